package main

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/explain"
)

// TestExplainAgreesWithTheProxy makes calls through the real proxy and compares what becomes of them
// with what explain tells.
func TestExplainAgreesWithTheProxy(t *testing.T) {
	w, err := newDemoWorld(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	for _, c := range []struct{ caller, method, path string }{
		{"checkout", "POST", "/v1/charges"},
		{"checkout", "POST", "/v1/charges?x=1"},
		{"checkout", "GET", "/v1/charges"},
		{"checkout", "POST", "/v2/charges"},
		{"checkout", "POST", "/v1//charges"},
		{"checkout", "POST", "/v1/%2e%2e/admin"},
		{"checkout", "POST", "/v1/%2fadmin"},
		{"checkout", "POST", "/v1/a;b"},
		{"checkout", "TRACE", "/v1/charges"},
		{"checkout", "OPTIONS", "/v1/charges"},
		{"reports", "POST", "/v1/charges"},
		{"reports", "GET", "/"},
	} {
		client := w.client(c.caller, 1, new(atomic.Int64))
		req, err := http.NewRequest(c.method, "https://"+demoHost+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		client.CloseIdleConnections()
		x, err := explainCmd{Method: c.method, URL: "https://" + demoHost + c.path, Caller: c.caller}.explain(w.app.Configuration(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		reason := reasonOf(body)
		if (res.StatusCode == 200) != (x.Outcome == explain.Allowed) || reason != x.Reason || x.Status != 0 && x.Status != res.StatusCode {
			t.Errorf("%+v: the proxy %d %q, explain %s %d %q", c, res.StatusCode, reason, x.Outcome, x.Status, x.Reason)
		}
	}
}

// TestExplainTellsWhatIsRemovedAndAttached compares the same with what the API receives.
func TestExplainTellsWhatIsRemovedAndAttached(t *testing.T) {
	w, err := newDemoWorld(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	x, err := explainCmd{Method: "POST", URL: demoHost + "/v1/charges", Caller: "checkout"}.explain(w.app.Configuration(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan http.Header, 1)
	w.api.tellOf(func(r *http.Request) { received <- r.Header.Clone() })
	req, err := http.NewRequest("POST", "https://"+demoHost+"/v1/charges", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(x.Removes) < 6 {
		t.Fatalf("removes %q", x.Removes)
	}
	for _, name := range x.Removes {
		req.Header.Set(name, "the client's own")
	}
	client := w.client("checkout", 1, new(atomic.Int64))
	defer client.CloseIdleConnections()
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	got := <-received
	for name, values := range got {
		if strings.Contains(strings.Join(values, " "), "the client's own") {
			t.Errorf("%s arrived; explain tells that it is removed", name)
		}
	}
	want := strings.ReplaceAll(x.Attaches[0], "<pay-key>", w.keys[0])
	if line := "Authorization: " + got.Get("Authorization"); len(x.Attaches) != 1 || line != want {
		t.Errorf("attached %q, explain tells %q", line, x.Attaches)
	}
}
