package identity

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestProblemsReadPlainly holds what people are told to what gRPC says now.
func TestProblemsReadPlainly(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
	}{
		{status.Error(codes.PermissionDenied, "no identity issued"), "the agent denies: no identity issued"},
		{status.Error(codes.InvalidArgument, "security header missing from request"), "the agent answers: security header missing from request"},
		{status.Error(codes.Unavailable, "connection error: desc = \"transport: Error while dialing: dial unix /run/a.sock: connect: no such file or directory\""),
			"the agent cannot be reached: dial unix /run/a.sock: connect: no such file or directory"},
		{status.Error(codes.Unavailable, "connection error: desc = \"error reading server preface: raw-read unix: use of closed network connection"),
			"the agent cannot be reached: it takes connections and does not answer"},
		{status.Error(codes.Unavailable, "connection error: desc = \"keepalive failed\""), "the agent cannot be reached: keepalive failed"},
		{status.Error(codes.Unavailable, "error reading from server: EOF"), "the agent cannot be reached: error reading from server: EOF"},
		{status.Error(codes.Unavailable, "transport is closing"), "the agent cannot be reached: transport is closing"},
		{status.Error(codes.Unavailable, "workload attestation failed"), "the agent answers: workload attestation failed"},
		{status.Error(codes.Unavailable, `could not fetch JWT-SVID: rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:8081: connect: connection refused"`),
			`the agent answers: could not fetch JWT-SVID: rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial tcp 127.0.0.1:8081: connect: connection refused"`},
		{errors.New("no SVIDs in response"), "no SVIDs in response"},
	} {
		if got := problemOf(tc.err); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for address, local := range map[string]bool{
		"unix:/run/a.sock": true, "unix:///run/a.sock": true, "tcp://127.0.0.1:8081": true, "tcp://[::1]:8081": true,
		"tcp://169.254.1.1:8081": true, "tcp://10.1.2.3:8081": false, "tcp://[::ffff:10.1.2.3]:8081": false,
	} {
		if err := CheckAddress(address); err != nil || LocalAddress(address) != local {
			t.Errorf("%s: %v, local %v", address, err, LocalAddress(address))
		}
	}
	for _, address := range []string{
		"", "/run/a.sock", "unix:", "unix:a.sock", "unix://a/b.sock", "unix:/run/", "unix:/a?x", "unix:/a#x", "unix:@a", "tcp:127.0.0.1:80",
		"tcp://agent:80", "tcp://127.0.0.1", "tcp://127.0.0.1:80/x", "tcp://u@127.0.0.1:80", "http://127.0.0.1:80", "npipe:a", "unix:/a\x00",
	} {
		if err := CheckAddress(address); err == nil {
			t.Errorf("%q is accepted", address)
		}
	}
}
