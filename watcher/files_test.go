package watcher

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/attache-proxy/attache/watcher/source"
)

// These run real files through a real Store: what a unit under a fake clock
// cannot show.

func fileSource(t testing.TB, path string) source.Source {
	t.Helper()
	for _, k := range source.Kinds() {
		if k.Name == "file" {
			options := fmt.Sprintf(`{"path":%q}`, path)
			s, err := k.New(func(o any) error { return json.Unmarshal([]byte(options), o) }, source.Env{})
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	}
	t.Fatal("no kind file")
	return nil
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(text), 0o600))
}

func relink(t testing.TB, target, link string) {
	t.Helper()
	check(t, os.Symlink(target, link+".tmp"))
	check(t, os.Rename(link+".tmp", link))
}

func TestThreeRotations(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("symlinks need privileges on Windows")
	}
	for name, c := range map[string]struct {
		setUp  func(t *testing.T, dir string)
		rotate func(t *testing.T, dir, text string)
	}{
		"in-place write": {
			func(t *testing.T, dir string) { write(t, dir+"/s", "0\n") },
			func(t *testing.T, dir, text string) { write(t, dir+"/s", text+"\n") },
		},
		"temp+rename": {
			func(t *testing.T, dir string) { write(t, dir+"/s", "0\n") },
			func(t *testing.T, dir, text string) {
				write(t, dir+"/.s.tmp", text+"\n")
				check(t, os.Rename(dir+"/.s.tmp", dir+"/s"))
			},
		},
		"..data swap": {
			func(t *testing.T, dir string) {
				write(t, dir+"/..0/s", "0")
				check(t, os.Symlink("..0", dir+"/..data"))
				check(t, os.Symlink("..data/s", dir+"/s"))
			},
			func(t *testing.T, dir, text string) {
				old, err := os.Readlink(dir + "/..data")
				check(t, err)
				write(t, dir+"/.."+text+"/s", text)
				relink(t, ".."+text, dir+"/..data")
				check(t, os.RemoveAll(dir+"/"+old))
			},
		},
		"chain of links": {
			func(t *testing.T, dir string) {
				write(t, dir+"/v0/s", "0")
				check(t, os.Symlink(dir+"/v0", dir+"/current"))
				check(t, os.Symlink("current/s", dir+"/s"))
			},
			func(t *testing.T, dir, text string) {
				write(t, dir+"/v"+text+"/s", text)
				relink(t, dir+"/v"+text, dir+"/current")
			},
		},
		"CSI chain": { // ..data → a directory of links to files kept elsewhere
			func(t *testing.T, dir string) {
				write(t, dir+"/store/0/s", "0")
				check(t, os.Mkdir(dir+"/..0", 0o755))
				check(t, os.Symlink("../store/0/s", dir+"/..0/s"))
				check(t, os.Symlink("..0", dir+"/..data"))
				check(t, os.Symlink("..data/s", dir+"/s"))
			},
			func(t *testing.T, dir, text string) {
				old, err := os.Readlink(dir + "/..data")
				check(t, err)
				write(t, dir+"/store/"+text+"/s", text)
				check(t, os.Mkdir(dir+"/.."+text, 0o755))
				check(t, os.Symlink("../store/"+text+"/s", dir+"/.."+text+"/s"))
				relink(t, ".."+text, dir+"/..data")
				check(t, os.RemoveAll(dir+"/"+old))
				check(t, os.RemoveAll(dir+"/store/"+old[2:]))
			},
		},
		"editor": {
			func(t *testing.T, dir string) { write(t, dir+"/s", "0") },
			func(t *testing.T, dir, text string) {
				check(t, os.Rename(dir+"/s", dir+"/s~"))
				write(t, dir+"/s", text+"\n")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			c.setUp(t, dir)
			rotated := make(chan Change, 100)
			s := New(Options{OnChange: func(ch Change) { rotated <- ch }})
			defer s.Close()
			s.Apply(t.Context(), []Spec{{Name: "k", Source: fileSource(t, dir+"/s"), Poll: time.Hour}})
			expect(t, s, "k", "0 g1")
			<-rotated
			for i, text := range []string{"1", "2", "3"} {
				c.rotate(t, dir, text)
				for deadline := time.After(5 * time.Second); ; {
					select {
					case ch := <-rotated:
						if ch.Result != "rotated" {
							t.Logf("meanwhile: %s", ch.Reason) // the moment between two renames
							continue
						}
					case <-deadline:
						t.Fatalf("rotation %s was not noticed", text)
					}
					break
				}
				expect(t, s, "k", fmt.Sprintf("%s g%d", text, i+2))
			}
		})
	}
}

func TestSecretFileThatAppearsLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "late", "s")
	rotated := make(chan Change, 100)
	s := New(Options{OnChange: func(ch Change) { rotated <- ch }})
	defer s.Close()
	s.Apply(t.Context(), []Spec{{Name: "k", Source: fileSource(t, path)}})
	expect(t, s, "k", `secret "k": not found (file `+path+`)`)
	write(t, path, "here")
	for ch := range rotated {
		if ch.Result == "rotated" {
			break
		}
	}
	expect(t, s, "k", "here g1")
}

func BenchmarkApplyThreeFiles(b *testing.B) {
	dir := b.TempDir()
	var specs []Spec
	for i := range 3 {
		path := filepath.Join(dir, fmt.Sprint(i), "s")
		write(b, path, fmt.Sprint("secret ", i, "\n"))
		specs = append(specs, Spec{Name: fmt.Sprint(i), Source: fileSource(b, path)})
	}
	for b.Loop() {
		s := New(Options{})
		s.Apply(b.Context(), specs)
		b.StopTimer()
		if warm, cold := s.Warm(); !warm {
			b.Fatal(cold)
		}
		check(b, s.Close())
		b.StartTimer()
	}
}
