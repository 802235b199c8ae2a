package app

import (
	"log/slog"
	"os"
	"syscall"
	"testing"
)

func TestSecondSignalStopsAtOnce(t *testing.T) {
	a := &App{log: slog.New(slog.DiscardHandler)}
	a.reload.init()
	s := &signals{quit: make(chan struct{}), kill: make(chan struct{})}
	asked, done := make(chan os.Signal), make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		a.heed(s, asked, done)
	}()
	closed := func(c chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	}
	asked <- syscall.SIGHUP
	asked <- syscall.SIGHUP // while the first waits to be heeded
	<-a.reload.hup
	if closed(s.quit) {
		t.Error("SIGHUP stops")
	}
	asked <- syscall.SIGTERM
	<-s.quit
	if closed(s.kill) {
		t.Error("the first signal stops at once")
	}
	asked <- os.Interrupt
	<-s.kill
	asked <- os.Interrupt // a third is as good
	close(done)
	<-ended
}

func TestReloadDuringShutdownIsRefused(t *testing.T) {
	s := newSite(t, nil)
	r := launch(t, s, basic, map[string]string{"key": "made-up-key-one"})
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	if err := r.Reload(t.Context()); err == nil {
		t.Error("accepted")
	}
}
