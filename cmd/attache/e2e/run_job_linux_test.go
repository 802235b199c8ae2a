package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pty is a shell with job control on a terminal of its own.
type pty struct {
	t      *testing.T
	master *os.File
	out    *recorder
	cmd    *exec.Cmd
	read   chan struct{}
	from   int // where the next wait begins
}

func newPTY(t *testing.T, r *runner) *pty {
	t.Helper()
	bash := need(t, "bash")
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	ok(t, err)
	ok(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	ok(t, err)
	slave, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	ok(t, err)
	p := &pty{t: t, master: master, out: &recorder{}, read: make(chan struct{})}
	p.cmd = exec.Command(bash, "--norc", "--noediting", "-i")
	p.cmd.Dir, p.cmd.Env = r.dir, append(r.env, "PS1=$ ", "ATTACHE="+os.Getenv(envBinary), "HISTFILE=")
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = slave, slave, slave
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ok(t, p.cmd.Start())
	_ = slave.Close()
	go func() { // ends when the last process of the terminal has
		defer close(p.read)
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			_, _ = p.out.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		_ = unix.Kill(-p.cmd.Process.Pid, unix.SIGKILL)
		_ = master.Close()
		if t.Failed() {
			t.Logf("the terminal:\n%s", p.out)
		}
	})
	p.wait("$ ")
	return p
}

func (p *pty) send(keys string) {
	p.t.Helper()
	_, err := p.master.WriteString(keys)
	ok(p.t, err)
}

// wait waits until the terminal shows text that has not been waited for.
func (p *pty) wait(text string) {
	p.t.Helper()
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); {
		b := p.out.Bytes()
		if i := bytes.Index(b[p.from:], []byte(text)); i >= 0 {
			p.from += i + len(text)
			return
		}
		select {
		case <-p.read:
			p.t.Fatalf("the terminal is gone; want %q", text)
		case <-time.After(5 * time.Millisecond): // a look, not a margin
		}
	}
	p.t.Fatalf("never shown: %q", text)
}

// TestRunJobControl: under a shell on a terminal Ctrl-C, Ctrl-Z and fg do what they do without Attaché, a
// command that stops by itself included, and one that was killed leaves the terminal as it was.
func TestRunJobControl(t *testing.T) {
	t.Parallel()
	p := newPTY(t, plainRunner(t))
	const loop = `while :; do sleep 0.05; done`
	for i, c := range []struct{ command, stop string }{
		{`trap "echo ba\"\"ck" CONT; echo u""p; ` + loop, "\x1a"},
		{`trap "echo ba\"\"ck" CONT; echo u""p; kill -STOP $$; ` + loop, ""}, // alone
	} {
		p.send(`"$ATTACHE" run -q -- sh -c '` + c.command + "'\n")
		p.wait("\nup")
		p.send(c.stop)
		p.wait("Stopped")
		p.wait("$ ")
		p.send("fg\n")
		p.wait("\nback")
		p.send("\x03")
		p.wait("$ ")
		p.send(fmt.Sprintf("echo c''ode=$? %d\n", i))
		p.wait(fmt.Sprintf("\ncode=130 %d", i))
	}
	// Ctrl-C comes once, and a command that heeds it goes on.
	p.send(`"$ATTACHE" run -q -- perl -e '$|=1; $SIG{INT}=sub{$n++; print "i"."nt\n"}; print "u"."p\n"; ` +
		`select(undef,undef,undef,0.05) until $n; select(undef,undef,undef,0.3); print "r"."ead\n"'` + "\n")
	p.wait("\nup")
	p.send("\x03")
	p.wait("int\r\n")
	p.wait("read")
	p.wait("$ ")
	// Raw mode without echo is undone by us: a script's shell does not do it.
	p.send(`sh -c '"$ATTACHE" run -q -- sh -c "stty raw -echo; kill -9 \$\$"; echo c""ode=$?; stty -a | grep -oE ".(icanon|echo)( |$)" | tr a-z A-Z'` + "\n")
	p.wait("\ncode=137")
	p.wait("\n ICANON")
	p.wait("\n ECHO")
	if n := strings.Count(p.out.String(), "int\r\n"); n != 1 {
		t.Errorf("Ctrl-C came %d times", n)
	}
}

// TestRunPassesSignalsOn: what a supervisor sends to Attaché alone is the command's.
func TestRunPassesSignalsOn(t *testing.T) {
	t.Parallel()
	r := plainRunner(t)
	for _, s := range []struct {
		name   string
		signal syscall.Signal
	}{{"TERM", syscall.SIGTERM}, {"INT", syscall.SIGINT}, {"HUP", syscall.SIGHUP}, {"USR1", syscall.SIGUSR1}} {
		cmd, out := r.begin(`trap 'echo got; exit 9' ` + s.name + `; echo $$ up; while :; do sleep 0.05; done`)
		r.shown(out, " up\n")
		ok(t, cmd.Process.Signal(s.signal))
		err := cmd.Wait()
		if cmd.ProcessState.ExitCode() != 9 || !strings.Contains(out.String(), "got\n") {
			t.Errorf("%s: %v\n%s", s.name, err, out)
		}
	}
}

// TestCommandDiesWithAttache: a command whose proxy is gone does not go on without it.
func TestCommandDiesWithAttache(t *testing.T) {
	t.Parallel()
	r := plainRunner(t)
	cmd, out := r.begin(`echo $$ up; exec sleep 1000`)
	r.shown(out, " up\n")
	pid, err := strconv.Atoi(strings.Fields(out.String())[0])
	ok(t, err)
	child, err := unix.PidfdOpen(pid, 0)
	ok(t, err)
	defer func() { _ = unix.Close(child) }()
	ok(t, cmd.Process.Kill())
	_ = cmd.Wait()
	for { // readable when it has ended, whoever reaps it
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(child), Events: unix.POLLIN}}, 20_000)
		if err == unix.EINTR {
			continue
		}
		if ok(t, err); n == 0 {
			_ = unix.PidfdSendSignal(child, unix.SIGKILL, nil, 0)
			t.Fatal("the command lives on")
		}
		return
	}
}

// begin starts a script under attache run.
func (r *runner) begin(script string) (*exec.Cmd, *recorder) {
	r.t.Helper()
	out := &recorder{}
	cmd := exec.Command(os.Getenv(envBinary), "run", "-q", "--", "sh", "-c", script)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = r.dir, r.env, out, out
	// As supervisors do: a group of its own, without a terminal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.WaitDelay = 5 * time.Second
	ok(r.t, cmd.Start())
	r.t.Cleanup(func() { _ = cmd.Process.Kill() })
	return cmd, out
}

func (r *runner) shown(out *recorder, text string) {
	r.t.Helper()
	if !out.wait(text, time.After(30*time.Second)) {
		r.t.Fatalf("never printed %q:\n%s", text, out)
	}
}
