package watcher

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
)

// A writer writes half, waits, and writes the rest. Linux tells that the file
// is open for writing; elsewhere expect must tell half from whole.
func TestTornWriteOfAFile(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells who has a file open for writing")
	}
	path := filepath.Join(t.TempDir(), "s")
	write(t, path, "0-whole")
	rotated := make(chan Change, 100)
	s := New(Options{OnChange: func(c Change) { rotated <- c }})
	defer s.Close()
	s.Apply(t.Context(), []Spec{{Name: "k", Source: fileSource(t, path), Poll: time.Hour}})
	expect(t, s, "k", "0-whole g1")
	<-rotated
	for i := 1; i <= 3; i++ {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		check(t, err)
		for _, half := range []string{fmt.Sprint(i), "-who"} {
			_, err = f.WriteString(half)
			check(t, err)
			select {
			case c := <-rotated:
				t.Fatalf("rotated while half was written: %+v", c)
			case <-time.After(400 * time.Millisecond):
			}
			expect(t, s, "k", fmt.Sprintf("%d-whole g%d", i-1, i))
		}
		_, err = f.WriteString("le")
		check(t, err)
		check(t, f.Close())
		select {
		case <-rotated:
		case <-time.After(5 * time.Second):
			t.Fatal("not noticed")
		}
		expect(t, s, "k", fmt.Sprintf("%d-whole g%d", i, i+1))
	}
}

func TestTwoHundredSecretsInOneDirectory(t *testing.T) {
	dir := t.TempDir()
	var specs []Spec
	for i := range 200 {
		path := filepath.Join(dir, fmt.Sprint("s", i))
		write(t, path, "0")
		specs = append(specs, Spec{Name: fmt.Sprint("s", i), Source: fileSource(t, path), Poll: time.Hour})
	}
	rotated := make(chan Change, 2000)
	s := New(Options{OnChange: func(c Change) { rotated <- c }})
	defer s.Close()
	s.Apply(t.Context(), specs)
	for range specs {
		<-rotated
	}
	for _, text := range []string{"1", "2", "3"} {
		for i := range specs {
			write(t, filepath.Join(dir, ".tmp"), text)
			check(t, os.Rename(filepath.Join(dir, ".tmp"), filepath.Join(dir, fmt.Sprint("s", i))))
		}
		deadline := time.After(10 * time.Second)
		for n := 0; n < len(specs); n++ {
			select {
			case <-rotated:
			case <-deadline:
				t.Fatalf("%d of %d noticed", n, len(specs))
			}
		}
		for _, spec := range specs {
			if got := reveal(s, secret.Ref(spec.Name)); !strings.HasPrefix(got, text+" ") {
				t.Fatalf("%s is %s", spec.Name, got)
			}
		}
	}
}

func TestNothingLeaksOverAThousandRotations(t *testing.T) {
	descriptors := func() int {
		all, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(all)
	}
	path := filepath.Join(t.TempDir(), "s")
	write(t, path, "0")
	s := New(Options{})
	defer s.Close()
	spec := []Spec{{Name: "k", Source: fileSource(t, path)}}
	s.Apply(t.Context(), spec)
	s.Refresh(t.Context())
	fds, routines := descriptors(), runtime.NumGoroutine()
	for i := 1; i <= 1000; i++ {
		write(t, path+".tmp", fmt.Sprint(i))
		check(t, os.Rename(path+".tmp", path))
		s.Refresh(t.Context())
		if i%100 == 0 {
			s.Apply(t.Context(), spec) // a reload
		}
	}
	if e, _ := s.Set().Entry("k"); e.Current.Reveal() != "1000" || e.Current.Generation() != 1001 {
		t.Errorf("%v", e.Current)
	}
	for deadline := time.Now().Add(5 * time.Second); descriptors() > fds || runtime.NumGoroutine() > routines+2; {
		if time.Now().After(deadline) {
			t.Fatalf("%d descriptors and %d goroutines became %d and %d", fds, routines, descriptors(), runtime.NumGoroutine())
		}
		runtime.Gosched()
	}
}

func TestPermissionsWiderThanNeeded(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes mean little here")
	}
	path := filepath.Join(t.TempDir(), "s")
	write(t, path, "k")
	check(t, os.Chmod(path, 0o644))
	s := New(Options{})
	defer s.Close()
	s.Apply(t.Context(), []Spec{{Name: "k", Source: fileSource(t, path)}})
	st := s.Status()[0]
	if st.State != Ready || len(st.Warnings) != 1 || !strings.HasPrefix(st.Warnings[0], "permissions: mode 0644") {
		t.Errorf("%+v", st)
	}
	check(t, os.Chmod(path, 0o600))
	s.Refresh(t.Context())
	if st := s.Status()[0]; len(st.Warnings) != 0 {
		t.Errorf("%+v", st)
	}
}
