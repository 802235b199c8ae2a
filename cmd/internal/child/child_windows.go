package child

import (
	"errors"
	"os"
	"os/exec"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Run runs the command to its end. The error is an [Error]. The console tells the command of Ctrl-C as it
// tells us, so nothing is passed on.
func (c Command) Run() (Ending, error) {
	cmd := &exec.Cmd{Path: c.Path, Args: c.Args, Env: c.Env, Stdin: c.In, Stdout: c.Out, Stderr: c.Err}
	if err := cmd.Start(); err != nil {
		return Ending{}, notRun(c.Args[0], err)
	}
	if job, err := bind(cmd.Process); err == nil {
		defer windows.CloseHandle(job)
	}
	ended := make(chan struct{})
	var draining sync.WaitGroup
	draining.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-c.Signals:
			}
		}
	})
	err := cmd.Wait()
	close(ended)
	draining.Wait()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		return Ending{}, notRun(c.Args[0], err)
	}
	return Ending{Code: cmd.ProcessState.ExitCode()}, nil
}

// bind has the system kill the command when we die: with the last handle of a job its processes end.
func bind(p *os.Process) (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, err
	}
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{}
	info.BasicLimitInformation.LimitFlags = windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	if err == nil {
		var h windows.Handle
		if h, err = windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(p.Pid)); err == nil {
			err = windows.AssignProcessToJobObject(job, h)
			_ = windows.CloseHandle(h)
		}
	}
	if err != nil {
		_ = windows.CloseHandle(job)
		return 0, err
	}
	return job, nil
}

// Interrupt does nothing: here an exit code tells all.
func Interrupt() {}
