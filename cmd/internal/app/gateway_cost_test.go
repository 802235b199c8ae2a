//go:build unix

package app

import (
	"flag"
	"net/http"
	"slices"
	"syscall"
	"testing"
	"time"
)

var gatewayCost = flag.Bool("gateway.cost", false, "measure what calls through an edge and a gateway cost")

// TestGatewayCost measures a small GET on a warm connection, through one Attaché and through an edge and a
// gateway in turns: time, and CPU of the process, which holds the client, the upstream and all proxies.
func TestGatewayCost(t *testing.T) {
	if !*gatewayCost {
		t.Skip("asked for by -gateway.cost")
	}
	const rounds, calls = 15, 400
	m := newMesh(t)
	g := m.gateway("127.0.0.1:0")
	m.start(g.Addr("proxy").String())
	one := launch(t, m.site, basic, map[string]string{"key": "made-up-key-one"})
	ways := []*http.Client{one.client(), m.client(nil, g)}
	var took, used [2][]time.Duration
	for range rounds {
		for i, c := range ways {
			before := processTime(t)
			for range calls {
				begun := time.Now()
				if err := ask(c); err != nil {
					t.Fatal(err)
				}
				took[i] = append(took[i], time.Since(begun))
			}
			used[i] = append(used[i], (processTime(t)-before)/calls)
		}
	}
	for i, name := range []string{"one Attaché", "edge and gateway"} {
		slices.Sort(took[i])
		slices.Sort(used[i])
		t.Logf("%s: median %s, CPU %s", name, took[i][len(took[i])/2], used[i][rounds/2])
	}
}

func processTime(t *testing.T) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
