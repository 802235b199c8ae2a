package app

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

// TestNothingLeaksOverRotations: twenty secrets are rotated by rename round after round, each found by its
// notice and told of in the audit, with calls and reloads between: the process has as many goroutines and
// descriptors after it as before. 1,000 rotations with -rotation.full.
func TestNothingLeaksOverRotations(t *testing.T) {
	descriptors := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(all)
	}
	const secrets = 20
	rounds := 10
	if *rotationFull {
		rounds = 50
	}
	var list []string
	files := map[string]string{}
	for i := range secrets {
		name := fmt.Sprintf("key%d", i)
		list = append(list, name+": {file: @dir/"+name+"}")
		files[name] = "made-up-" + name + "-0"
	}
	s := newSite(t, nil)
	config := strings.NewReplacer("key: {file: @dir/key}", strings.Join(list, ", "), "bearer: key", "bearer: key0").Replace(basic)
	r := launch(t, s, config, files)
	await(t, "started", r.Started)
	c := r.client()
	round := func(i int) {
		for name := range files {
			next := filepath.Join(r.dir, name+".next")
			put(t, next, fmt.Sprintf("made-up-%s-%d", name, i))
			must(t, os.Rename(next, filepath.Join(r.dir, name)))
		}
		await(t, fmt.Sprintf("round %d in the audit", i), func() bool { return r.events.count(audit.SecretRotated) == secrets*(i+1) })
		if status, body := get(t, c, "https://example.com/"); status != 200 {
			t.Fatalf("round %d: %d %s", i, status, body)
		}
		if i%10 == 0 {
			if err := r.Reload(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	round(1)
	round(2)
	fds, routines, began := descriptors(), runtime.NumGoroutine(), time.Now()
	for i := range rounds {
		round(3 + i)
	}
	t.Logf("%d rotations in %v", secrets*rounds, time.Since(began))
	// Two goroutines may be those of a look that is just under way.
	await(t, fmt.Sprintf("%d descriptors and %d goroutines", fds, routines), func() bool {
		return descriptors() <= fds && runtime.NumGoroutine() <= routines+2
	})
	if got := s.received(); got[len(got)-1] != fmt.Sprintf("Bearer made-up-key0-%d", rounds+2) {
		t.Errorf("the last call carried %q", got[len(got)-1])
	}
}

func (e *events) count(of audit.Type) (n int) {
	for _, t := range e.types() {
		if t == of {
			n++
		}
	}
	return n
}
