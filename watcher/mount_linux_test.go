package watcher

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestBindMountedFile runs itself in a mount namespace of its own. A single
// file mounted into a container is seen when it is written in place on its
// host, and reported when its host replaces it, which nothing inside can see.
func TestBindMountedFile(t *testing.T) {
	if dir := os.Getenv("WATCHER_TEST_MOUNT"); dir != "" {
		bindMounted(t, dir)
		return
	}
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		t.Skip(err)
	}
	cmd := exec.Command(unshare, "-m", os.Args[0], "-test.run=^TestBindMountedFile$", "-test.v")
	cmd.Env = append(os.Environ(), "WATCHER_TEST_MOUNT="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "unshare failed") || strings.Contains(string(out), "cannot mount") {
		t.Skipf("no mount namespaces here: %s", out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestBindMountedFile") {
		t.Errorf("%v\n%s", err, out)
	}
}

func bindMounted(t *testing.T, dir string) {
	host, inside := filepath.Join(dir, "host", "s"), filepath.Join(dir, "container", "s")
	write(t, host, "0")
	write(t, inside, "")
	if err := syscall.Mount(host, inside, "", syscall.MS_BIND, ""); err != nil {
		t.Skip("cannot mount: ", err)
	}
	defer func() { check(t, syscall.Unmount(inside, syscall.MNT_DETACH)) }()
	changes := make(chan Change, 100)
	s := New(Options{OnChange: func(c Change) { changes <- c }})
	defer s.Close()
	s.Apply(t.Context(), []Spec{{Name: "k", Source: fileSource(t, inside), Poll: time.Hour}})
	expect(t, s, "k", "0 g1")
	await := func(state State) Change {
		for deadline := time.After(5 * time.Second); ; {
			select {
			case c := <-changes:
				if c.State == state {
					return c
				}
			case <-deadline:
				t.Fatalf("not %s: %+v", state, s.Status())
			}
		}
	}
	await(Ready)
	for i, text := range []string{"1", "2", "3"} { // through the host's name: no event in the container's directory
		write(t, host, text)
		await(Ready)
		expect(t, s, "k", text+" g"+string(rune('2'+i)))
	}
	write(t, host+".next", "4")
	check(t, os.Rename(host+".next", host))
	c := await(Stale)
	if !strings.HasPrefix(c.Reason, "pinned_inode: ") || !strings.Contains(c.Reason, "mount its directory") || c.ServedUntil.IsZero() {
		t.Errorf("%+v", c)
	}
	expect(t, s, "k", "3 g4")
}

func TestReadOnlyMount(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	if dir := os.Getenv("WATCHER_TEST_MOUNT"); dir != "" {
		host, inside := filepath.Join(dir, "host"), filepath.Join(dir, "container")
		write(t, host+"/s", "0")
		check(t, os.Mkdir(inside, 0o700))
		if err := syscall.Mount(host, inside, "", syscall.MS_BIND, ""); err != nil {
			t.Skip("cannot mount: ", err)
		}
		defer func() { check(t, syscall.Unmount(inside, syscall.MNT_DETACH)) }()
		check(t, syscall.Mount("", inside, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		if os.WriteFile(inside+"/t", nil, 0o600) == nil {
			t.Error("not read-only")
		}
		rotated := make(chan Change, 100)
		s := New(Options{OnChange: func(c Change) { rotated <- c }})
		defer s.Close()
		s.Apply(t.Context(), []Spec{{Name: "k", Source: fileSource(t, inside+"/s"), Poll: time.Hour}})
		<-rotated
		for _, text := range []string{"1", "2", "3"} {
			write(t, host+"/.s", text)
			check(t, os.Rename(host+"/.s", host+"/s"))
			select {
			case <-rotated:
			case <-time.After(5 * time.Second):
				t.Fatal("not noticed")
			}
			if got := reveal(s, "k"); !strings.HasPrefix(got, text) {
				t.Error(got)
			}
		}
		return
	}
	cmd := exec.Command("unshare", "-m", os.Args[0], "-test.run=^TestReadOnlyMount$", "-test.v")
	cmd.Env = append(os.Environ(), "WATCHER_TEST_MOUNT="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if strings.Contains(string(out), "unshare failed") || strings.Contains(string(out), "cannot mount") || len(out) == 0 {
		t.Skipf("no mount namespaces here: %v %s", err, out)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: TestReadOnlyMount") {
		t.Errorf("%v\n%s", err, out)
	}
}
