package app

import (
	"net"
	"strings"
	"testing"
)

// TestPortInUseSaysWhatToDo: who starts a second Attaché is told how to find the first.
func TestPortInUseSaysWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, _, _, err = openListeners(t.Context(), []listenSpec{{kind: adminListener, name: "admin", address: taken.Addr().String()}}, nil, passedSockets{})
	if err == nil || !strings.HasPrefix(err.Error(), `listener "admin": `) || !strings.Contains(err.Error(), "attache status tells") {
		t.Error(err)
	}
}
