package app

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// signals are the signals that the process was asked to heed.
type signals struct {
	quit chan struct{} // closed at the first SIGTERM or SIGINT
	kill chan struct{} // closed at the second
	stop func()
}

// watchSignals heeds signals if the App is the whole process; otherwise its channels stay silent.
func (a *App) watchSignals() *signals {
	s := &signals{quit: make(chan struct{}), kill: make(chan struct{}), stop: func() {}}
	if !a.o.Process {
		return s
	}
	asked := make(chan os.Signal, 8)
	signal.Notify(asked, syscall.SIGTERM, os.Interrupt, syscall.SIGHUP)
	// A reader of our standard output or error that goes away must not take the proxy with it: once
	// somebody is notified of SIGPIPE, such a write only fails. Nobody reads this channel.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	done := make(chan struct{})
	var heeding sync.WaitGroup
	heeding.Go(func() { a.heed(s, asked, done) })
	s.stop = func() {
		signal.Stop(asked)
		signal.Stop(pipe)
		close(done)
		heeding.Wait()
	}
	return s
}

func (a *App) heed(s *signals, asked <-chan os.Signal, done <-chan struct{}) {
	asks := 0
	for {
		select {
		case <-done:
			return
		case sig := <-asked:
			if sig == syscall.SIGHUP {
				nudge(a.reload.hup)
				continue
			}
			asks++
			switch asks {
			case 1:
				a.log.Info("stopping", "signal", sig.String())
				close(s.quit)
			case 2:
				a.log.Warn("stopping at once", "signal", sig.String())
				close(s.kill)
			}
		}
	}
}

// nudge sends to a channel of one unless it is full: what waits there covers this nudge too.
func nudge(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// UntilInterrupted is ctx until the user asks the process to stop; stop gives up waiting for that.
func UntilInterrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
}
