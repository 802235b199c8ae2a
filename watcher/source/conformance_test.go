package source_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/attache-proxy/attache/watcher/source"
)

// canary is what every source that can hold a given value is made to hold.
const canary = "q7Zx-canary-made-up-by-a-test"

// sample is how one kind is made to work, and to fail although it holds the canary somewhere.
type sample struct {
	good, bad string // options
	holds     string // what a good one reads; empty: anything that is not empty
}

func samples(t *testing.T, dir string) map[string]sample {
	t.Helper()
	for name, text := range map[string]string{"key": canary, "big": strings.Repeat(canary, source.MaxSize/len(canary)+1)} {
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	all := map[string]sample{
		"file":       {`{"path":"key"}`, `{"path":"big"}`, canary},
		"files":      {`{"cert":"key","key":"key"}`, `{"cert":"key","key":"big"}`, canary + "\n" + canary},
		"env":        {`{"name":"CANARY"}`, `{"name":"BIG"}`, canary},
		"credential": {`{"name":"key"}`, `{"name":"big"}`, canary},
		"exec":       {`{"command":["sh","-c","echo ` + canary + `"]}`, `{"command":["sh","-c","echo ` + canary + `; echo ` + canary + ` >&2; exit 1"]}`, canary + "\n"},
		"mock":       {`{"prefix":"sk_"}`, "", ""},
	}
	if runtime.GOOS == "windows" {
		delete(all, "exec")
	}
	return all
}

// TestConformance holds every kind to what the watcher and its readers rely on: a read gives the whole content, again
// and from many goroutines; what is asked for and missing is a fault of an option; and no error, description or path
// holds a byte of what was read.
func TestConformance(t *testing.T) {
	dir := t.TempDir()
	env := source.Env{Dir: dir, MayRun: true, Getenv: func(name string) (string, bool) {
		v, ok := map[string]string{
			"CANARY": canary, "BIG": strings.Repeat(canary, source.MaxSize/len(canary)+1), "CREDENTIALS_DIRECTORY": dir, "PATH": os.Getenv("PATH"),
		}[name]
		return v, ok
	}}
	all := samples(t, dir)
	for _, k := range source.Kinds() {
		s, ok := all[k.Name]
		if !ok {
			if runtime.GOOS != "windows" {
				t.Errorf("%s has no sample here", k.Name)
			}
			continue
		}
		t.Run(k.Name, func(t *testing.T) {
			src := build(t, k.Name, s.good, env)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					got, err := src.Read(t.Context())
					if err != nil || len(got) == 0 || s.holds != "" && string(got) != s.holds {
						t.Errorf("read %d bytes, %v", len(got), err)
						return
					}
					clear(got) // what was read is the reader's own
				})
			}
			wg.Wait()
			tell := fmt.Sprint(src.Describe(), src.Paths())
			if s.bad != "" {
				text, err := build(t, k.Name, s.bad, env).Read(t.Context())
				if err == nil {
					t.Error("no error")
				}
				tell += fmt.Sprintf("%v %+v %#v", err, err, err)
				if len(text) > 0 {
					t.Error("content beside an error")
				}
			}
			if strings.Contains(tell, canary) {
				t.Errorf("tells %s", tell)
			}
			if src.Describe() == "" || strings.ContainsAny(src.Describe(), "\n") {
				t.Errorf("described as %q", src.Describe())
			}
		})
	}
}
