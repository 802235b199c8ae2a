package mitm

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// logged returns a logger and what it was told.
func logged() (*slog.Logger, *bytes.Buffer) {
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

// TestStateKeepsTheCA: a restart asks nothing of clients.
func TestStateKeepsTheCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	a := mustNew(t, Options{State: dir, SystemRoots: []byte{}}, "a.test", "10.0.0.1")
	mustPermit(t, a, true, "a.test", "b.test", "2001:db8::1")
	log, out := logged()
	b := mustNew(t, Options{State: dir, SystemRoots: []byte{}, Log: log, OnGeneration: func(g Generation) { t.Errorf("told of %v, which is not new", g) }}, "a.test", "b.test")
	if !bytes.Equal(a.CAPEM(), b.CAPEM()) {
		t.Error("the CA changed")
	}
	for _, host := range []string{"a.test", "b.test", "10.0.0.1", "2001:db8::1"} {
		if err := verify(t, b, host, a.CAPEM(), time.Now()); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if out.Len() > 0 {
		t.Errorf("logged: %s", out)
	}
	if got, want := b.Generations()[1].Permits, a.Generations()[1].Permits; strings.Join(got, " ") != strings.Join(want, " ") || len(got) != 3 {
		t.Errorf("permits %v, want %v", got, want)
	}
}

// TestStateHoldsNoRootKey: what the state keeps can sign leaves and nothing above.
func TestStateHoldsNoRootKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	mustNew(t, Options{State: dir, SystemRoots: []byte{}}, "a.test")
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(data, []byte("PRIVATE KEY-----")); n != 2 { // begin and end of one
		t.Errorf("%d key lines", n)
	}
	if runtime.GOOS == "windows" {
		return
	}
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, stateFile): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
}

// TestStateDamaged: whatever the file holds, the start succeeds, says so, and prints nothing of it.
func TestStateDamaged(t *testing.T) {
	good := stateOf(t, "a.test")
	other := stateOf(t, "b.test")
	mix := func(change func(g, o *stateGeneration)) []byte {
		var g, o stateJSON
		if json.Unmarshal(good, &g) != nil || json.Unmarshal(other, &o) != nil {
			t.Fatal("bad seed")
		}
		change(&g.Generations[0], &o.Generations[0])
		out, err := json.Marshal(g)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	for name, data := range map[string][]byte{
		"empty":        {},
		"binary":       {0, 1, 2, 0xff},
		"half":         good[:len(good)/2],
		"version":      bytes.Replace(good, []byte(`"version": 1`), []byte(`"version": 2`), 1),
		"null":         []byte("null"),
		"huge":         bytes.Repeat([]byte(" "), stateLimit+1),
		"other key":    mix(func(g, o *stateGeneration) { g.Key = o.Key }),
		"other root":   mix(func(g, o *stateGeneration) { g.Root = o.Root }),
		"other issuer": mix(func(g, o *stateGeneration) { g.Issuer = o.Issuer }),
		"root signs":   mix(func(g, o *stateGeneration) { g.Issuer = g.Root }),
		"no key":       mix(func(g, o *stateGeneration) { g.Key = "" }),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, stateFile), data, 0o600); err != nil {
				t.Fatal(err)
			}
			log, out := logged()
			a := mustNew(t, Options{State: dir, SystemRoots: []byte{}, Log: log}, "a.test")
			if err := verify(t, a, "a.test", a.CAPEM(), time.Now()); err != nil {
				t.Error(err)
			}
			if !strings.Contains(out.String(), "CA state damaged") {
				t.Errorf("logged %q", out)
			}
			if strings.Contains(out.String(), "MIG") || strings.Contains(out.String(), "BEGIN") {
				t.Errorf("the log quotes the file: %s", out)
			}
			b := mustNew(t, Options{State: dir, SystemRoots: []byte{}}, "a.test")
			if !bytes.Equal(a.CAPEM(), b.CAPEM()) {
				t.Error("not repaired")
			}
		})
	}
}

func TestStateExpired(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	a := mustNew(t, Options{State: dir, SystemRoots: []byte{}}, "a.test")
	now = now.Add(caLife - leafLife/2) // alive, and past its last leaf
	b := mustNew(t, Options{State: dir, SystemRoots: []byte{}, Now: func() time.Time { return now }}, "a.test")
	if n := len(b.Generations()); n != 2 || verify(t, b, "a.test", b.CAPEM(), now) != nil {
		t.Errorf("%d generations, want the old one and its successor", n)
	}
	if verify(t, b, "a.test", a.CAPEM(), now) == nil {
		t.Error("a leaf may outlive its issuer")
	}
	now = now.Add(leafLife)
	c := mustNew(t, Options{State: dir, SystemRoots: []byte{}, Now: func() time.Time { return now }}, "a.test")
	if n := len(c.Generations()); n != 1 {
		t.Errorf("%d generations, want the successor alone", n)
	}
}

// TestStateUnconstrainedDropped: constraints that are switched on again bind at once.
func TestStateUnconstrainedDropped(t *testing.T) {
	dir := t.TempDir()
	log, out := logged()
	a := mustNew(t, Options{State: dir, SystemRoots: []byte{}, Unconstrained: true, Log: log}, "a.test")
	if !strings.Contains(out.String(), "CA without constraints") {
		t.Errorf("no warning: %s", out)
	}
	if err := verify(t, a, "any.example", a.CAPEM(), time.Now()); err != nil {
		t.Error(err)
	}
	mustPermit(t, a, false, "b.test")
	b := mustNew(t, Options{State: dir, SystemRoots: []byte{}}, "a.test")
	if _, err := b.Leaf("any.example"); err == nil || len(b.Generations()) != 1 {
		t.Error("the unconstrained generation lives on")
	}
	c := mustNew(t, Options{State: dir, SystemRoots: []byte{}, Unconstrained: true}, "a.test")
	if _, err := c.Leaf("any.example"); err != nil || len(c.Generations()) != 2 {
		t.Errorf("switched off again: %v, %d", err, len(c.Generations()))
	}
}

func TestStateExposed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("access lists, not mode bits")
	}
	dir := t.TempDir()
	mustNew(t, Options{State: dir, SystemRoots: []byte{}}, "a.test")
	if err := os.Chmod(filepath.Join(dir, stateFile), 0o640); err != nil {
		t.Fatal(err)
	}
	log, out := logged()
	mustNew(t, Options{State: dir, SystemRoots: []byte{}, Log: log}, "a.test")
	if !strings.Contains(out.String(), "can be read by other users") {
		t.Errorf("logged %q", out)
	}
	if info, err := os.Stat(filepath.Join(dir, stateFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Error("not closed again", err)
	}
}

// TestStateApart: a key beside what applications read would be theirs.
func TestStateApart(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Skip("symbolic links: ", err)
	}
	for _, state := range []string{dir, filepath.Join(dir, "deep", "er"), filepath.Join(link, "state")} {
		if _, err := New(Options{Publish: dir, State: state}, nil); err == nil || !strings.Contains(err.Error(), "ca.state") {
			t.Errorf("%s: %v", state, err)
		}
	}
	mustNew(t, Options{Publish: filepath.Join(dir, "trust"), State: filepath.Join(dir, "trust-state"), SystemRoots: []byte{}})
}

func stateOf(t testing.TB, hosts ...string) []byte {
	t.Helper()
	n, err := parseNames(hosts)
	if err != nil {
		t.Fatal(err)
	}
	g, err := newGeneration(n, false, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	data, err := marshalState([]*generation{g})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// FuzzState: no bytes make the parser panic, and what it accepts signs leaves that verify.
func FuzzState(f *testing.F) {
	f.Add(stateOf(f, "a.test", "10.0.0.1"))
	f.Add(stateOf(f))
	f.Add([]byte(`{"version":1,"generations":[{"root":"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"}]}`))
	f.Add([]byte(`{"version":1,"generations":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		gens, faults := parseState(data)
		for _, err := range faults {
			if strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("a fault quotes the file: %v", err)
			}
		}
		for _, g := range gens {
			if err := g.issuer.CheckSignatureFrom(g.root); err != nil {
				t.Error(err)
			}
			again, err := marshalState([]*generation{g})
			if err != nil {
				t.Fatal(err)
			}
			if back, faults := parseState(again); len(back) != 1 || len(faults) > 0 {
				t.Errorf("does not survive a round: %v", faults)
			}
		}
	})
}
