//go:build unix

package child

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const shell = "/bin/sh"

// Run runs the command to its end. The error is an [Error].
func (c Command) Run() (Ending, error) {
	type result struct {
		Ending
		err error
	}
	done := make(chan result)
	go func() {
		// Linux sends the signal for a dead parent when the parent's thread ends, so the thread that starts
		// the command lives as long as the command. It is not unlocked: it ends with this goroutine.
		runtime.LockOSThread()
		e, err := c.run()
		done <- result{e, err}
	}()
	r := <-done
	return r.Ending, r.err
}

func (c Command) run() (Ending, error) {
	term := openTerminal()
	defer term.close()
	attr := &os.ProcAttr{Env: c.Env, Files: []*os.File{c.In, c.Out, c.Err}, Sys: attributes()}
	p, err := os.StartProcess(c.Path, c.Args, attr)
	if errors.Is(err, unix.ENOEXEC) { // a script that does not say what for: sh, as shells and execvp have it
		p, err = os.StartProcess(shell, append([]string{shell, c.Path}, c.Args[1:]...), attr)
	}
	if err != nil {
		return Ending{}, notRun(c.Args[0], err)
	}
	ended := make(chan struct{})
	var passing sync.WaitGroup
	passing.Go(func() { c.pass(p, term, ended) })
	status, err := await(p.Pid, term)
	close(ended)
	passing.Wait()
	_ = p.Release()
	if err != nil { // nobody else waits for it
		return Ending{}, notRun(c.Args[0], err)
	}
	if !status.Signaled() {
		return Ending{Code: status.ExitStatus()}, nil
	}
	term.restore()
	s := status.Signal()
	return Ending{Code: CodeOf(s), Signal: unix.SignalName(s), Interrupted: s == unix.SIGINT}, nil
}

// pass passes signals on until the command has ended.
func (c Command) pass(p *os.Process, term *terminal, ended <-chan struct{}) {
	for {
		select {
		case <-ended:
			return
		case s := <-c.Signals:
			// The keyboard's signals go to all of the group in the foreground: passed on, they would come
			// twice, and twice Ctrl-C means "at once" to many programs.
			if (s == os.Interrupt || s == unix.SIGQUIT) && term.foreground() {
				continue
			}
			_ = p.Signal(s) // it may have ended
		}
	}
}

// settle is how long a stop of the command alone must last. The keyboard's stop reaches us too, and
// stops us within that time.
const settle = 100 * time.Millisecond

// await waits for the command's end, and stops this process when the command alone stops: the shell
// waits for us, and would never have its terminal back.
func await(pid int, term *terminal) (unix.WaitStatus, error) {
	for {
		status, err := wait(pid)
		if err != nil || !status.Stopped() {
			return status, err
		}
		group, err := unix.Getpgid(pid)
		if err != nil {
			group = unix.Getpgrp()
		}
		held := term.group()
		if held != unix.Getpgrp() && held != group {
			continue // nobody waits at a terminal; whoever stopped it will continue it
		}
		time.Sleep(settle)
		var now unix.WaitStatus
		got, err := unix.Wait4(pid, &now, unix.WNOHANG|unix.WCONTINUED, nil)
		switch {
		case err != nil || got == 0: // it is stopped, and we are not
			_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
			time.Sleep(settle) // the stop comes within it, and this goes on when we do
			if group != unix.Getpgrp() && held == group && term.foreground() {
				term.give(group) // to a shell, which has a group of its own
			}
			_ = unix.Kill(-group, unix.SIGCONT)
		case !now.Continued():
			return now, nil
		}
	}
}

func wait(pid int) (unix.WaitStatus, error) {
	for {
		var status unix.WaitStatus
		if _, err := unix.Wait4(pid, &status, unix.WUNTRACED, nil); !errors.Is(err, unix.EINTR) {
			return status, err
		}
	}
}

// Interrupt ends this process as Ctrl-C does. It returns where that cannot be, as for the first process
// of a container. Nobody may be asking for SIGINT any more.
func Interrupt() {
	_ = unix.Kill(unix.Getpid(), unix.SIGINT)
	time.Sleep(time.Second) // the signal is on its way
}
