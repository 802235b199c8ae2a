//go:build unix

package child

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// play runs a command with its output in a file.
func play(t *testing.T, name string, args ...string) (Ending, string, error) {
	t.Helper()
	path, err := Find(name)
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	e, err := Command{Path: path, Args: append([]string{name}, args...), Env: []string{"A=b c"}, In: os.Stdin, Out: out, Err: out}.Run()
	text, readErr := os.ReadFile(out.Name())
	return e, string(text), errors.Join(err, readErr)
}

// TestEndings: how a command ended is how a shell would tell it.
func TestEndings(t *testing.T) {
	for script, want := range map[string]Ending{
		"exit 0": {}, "exit 255": {Code: 255}, "kill -KILL $$": {Code: 137, Signal: "SIGKILL"},
		"kill -INT $$": {Code: 130, Signal: "SIGINT", Interrupted: true}, "kill -TERM $$": {Code: 143, Signal: "SIGTERM"},
		"exit 130": {Code: 130},
	} {
		if got, out, err := play(t, "sh", "-c", script); got != want || err != nil {
			t.Errorf("%s: %+v, want %+v (%v)\n%s", script, got, want, err, out)
		}
	}
	if _, out, err := play(t, "sh", "-c", `echo "$0,$1,$A"`, "x y", ""); out != "x y,,b c\n" || err != nil {
		t.Errorf("%q %v", out, err)
	}
}

// TestNotRun: what cannot be run is told apart from what is not there, by the codes that shells give.
func TestNotRun(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, code := range map[string]int{
		"no-such-command": NotFound, filepath.Join(dir, "gone"): NotFound, dir: NotExecutable,
		write("plain", "text", 0o600): NotExecutable,
	} {
		_, err := Find(name)
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != code || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v, want code %d", name, err, code)
		}
	}
	_, _, err := play(t, write("lost", "#!/nowhere/interpreter\n", 0o700))
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != NotExecutable {
		t.Errorf("a lost interpreter: %v", err)
	}
	if e, out, err := play(t, write("bare", "echo run by sh: $1\nexit 3\n", 0o700), "arg"); e.Code != 3 || out != "run by sh: arg\n" || err != nil {
		t.Errorf("a script without #!: %+v %q %v", e, out, err)
	}
}

// TestSignalAfterTheEnd: a signal for a command that has ended reaches nobody, and nothing hangs.
func TestSignalAfterTheEnd(t *testing.T) {
	signals := make(chan os.Signal, 4)
	for range 4 {
		signals <- unix.SIGUSR1
	}
	path, err := Find("sh")
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		_, err := Command{Path: path, Args: []string{"sh", "-c", "trap '' USR1"}, In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Signals: signals}.Run()
		if err != nil {
			t.Fatal(err)
		}
	}
}
