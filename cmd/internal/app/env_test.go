package app

import (
	"errors"
	"testing"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
)

func TestHTTP2Debug(t *testing.T) {
	for value, refused := range map[string]bool{
		"": false, "netdns=go": false, "http2debug=0": false, "http2client=0,http2debug=0": false,
		"http2debug=1": true, "http2debug=2": true, "netdns=go,http2debug=2": true, "http2debug=2,http2debug=0": true,
		" http2debug=1": true, "http2debug": true, "http2debug=": true,
	} {
		err := refuseHTTP2Debug(func(string) (string, bool) { return value, value != "" })
		if (err != nil) != refused {
			t.Errorf("GODEBUG=%q: %v, want refused: %v", value, err, refused)
		}
		if _, ok := errors.AsType[*UsageError](err); refused && !ok {
			t.Errorf("GODEBUG=%q: %T, want a UsageError", value, err)
		}
	}
}

func TestProxyTokenNeverMatchesNothing(t *testing.T) {
	set := secret.NewSet(map[string]secret.Entry{
		"good":    {Current: secret.New("good", 1, time.Time{}, []byte("made-up-token"))},
		"empty":   {Current: secret.New("empty", 1, time.Time{}, nil)},
		"missing": {Problem: "not found"},
	})
	for _, c := range []struct {
		name, presented string
		want            bool
	}{
		{"good", "made-up-token", true},
		{"good", "made-up-toke", false},
		{"good", "made-up-token ", false},
		{"good", "", false},
		{"empty", "", false},
		{"missing", "", false},
		{"unknown", "", false},
	} {
		if got := verifyToken(set, secret.Ref(c.name), c.presented); got != c.want {
			t.Errorf("%s by %q: %v, want %v", c.name, c.presented, got, c.want)
		}
	}
	if verifyToken(nil, "good", "made-up-token") {
		t.Error("a token without any secrets")
	}
}
