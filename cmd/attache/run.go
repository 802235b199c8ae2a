package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/child"
	"github.com/attache-proxy/attache/cmd/internal/clients"
	"github.com/attache-proxy/attache/cmd/internal/config"
)

type runCmd struct {
	configFlag
	outputFlag
	As      string   `placeholder:"CALLER" help:"Let it call as this caller of the configuration."`
	Quiet   bool     `short:"q" help:"Tell of refusals only."`
	Command []string `arg:"" passthrough:"" name:"command" help:"The command and its arguments; best after --."`
}

// Run runs the command and ends as it does. What Attaché itself has to say goes to standard error: the
// rest is the command's.
func (r runCmd) Run(c *console) error {
	if len(r.Command) > 0 && r.Command[0] == "--" {
		r.Command = r.Command[1:]
	}
	if len(r.Command) > 0 && strings.HasPrefix(r.Command[0], "-") { // kong takes it for the command
		return r.failed(c, &app.UsageError{Err: fmt.Errorf("run: unknown flag %s", r.Command[0]), Hint: "attache run --help"})
	}
	if len(r.Command) == 0 {
		return r.failed(c, &app.UsageError{Err: errors.New("run: no command"), Hint: "attache run -- npm test"})
	}
	s := &session{cmd: r, console: c, name: plainText(filepath.Base(r.Command[0]))}
	ending, err := s.play()
	if err != nil {
		return r.failed(c, err)
	}
	if ending.Interrupted {
		child.Interrupt()
	}
	return exitCode(ending.Code)
}

// failed reports an error of Attaché's own, or of starting the command.
func (r runCmd) failed(c *console, err error) error {
	if e, ok := errors.AsType[*child.Error](err); ok {
		fmt.Fprintf(c.err, "attache: %s\n", plainText(e.Error()))
		return exitCode(e.Code)
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return code
	}
	c.report(err)
	return exitCode(exitNotRun)
}

// session is one run of a command.
type session struct {
	cmd     runCmd
	console *console
	name    string // of the command, for people

	project  allowedProject
	dir      string // private
	app      *app.App
	token    string
	signals  <-chan os.Signal
	tally    *tally
	told     []string // warnings, for the summary in JSON
	heedless bool     // the command's, as was told
	behind   bool     // the user has a proxy of their own

	done chan struct{} // closed when the proxy has stopped
	err  error         // why, if before its time; set before done is closed
}

func (s *session) play() (ending child.Ending, err error) {
	if s.project, err = s.console.openProject(s.cmd.configFlag, s.name); err != nil {
		return ending, err
	}
	program, err := child.Find(s.cmd.Command[0])
	if err != nil {
		return ending, err
	}
	if s.dir, err = os.MkdirTemp("", "attache-run-"); err != nil {
		return ending, err
	}
	defer os.RemoveAll(s.dir)
	// What the command runs as another user has to reach the CA in it.
	if err := os.Chmod(s.dir, 0o711); err != nil {
		return ending, err
	}
	signals, unheed := app.Signals()
	defer unheed()
	s.signals, s.token, s.tally = signals, rand.Text(), newTally()
	stop, err := s.start()
	if err != nil {
		return ending, err
	}
	defer stop()
	env, err := s.environment()
	if err != nil {
		return ending, err
	}
	s.warnHeedless(program)
	select {
	case sig := <-signals:
		return ending, exitCode(child.CodeOf(sig))
	default:
	}
	began := time.Now()
	ending, err = child.Command{
		Path: program, Args: s.cmd.Command, Env: env, Signals: signals,
		In: s.console.in, Out: s.console.out, Err: s.console.err,
	}.Run()
	took := time.Since(began)
	stop()
	if err != nil {
		return ending, err
	}
	return ending, s.summary(ending, took)
}

// start brings the proxy up and waits until every secret has been tried.
func (s *session) start() (stop func(), err error) {
	s.done = make(chan struct{})
	build := thisBuild()
	s.app, err = app.New(s.project.Path, app.Options{
		Version: build.Version, Requires: build.required(), Frozen: s.project.Frozen, Sink: s.tally,
		Command: &app.Command{
			Token: s.token, As: s.cmd.As, Trust: filepath.Join(s.dir, "trust"), Roots: app.RootsOf(clients.Roots()),
		},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(s.done)
		s.err = s.app.Run(ctx)
	}()
	stop = func() {
		cancel()
		<-s.done
	}
	for _, step := range []<-chan struct{}{s.app.Ready(), s.app.Tried()} {
		if err := s.wait(step); err != nil {
			stop()
			return nil, err
		}
	}
	s.banner()
	return stop, nil
}

// slow is how long reading the secrets may take until the wait is explained.
const slow = 2 * time.Second

// wait waits for step, or for what makes waiting pointless.
func (s *session) wait(step <-chan struct{}) error {
	explain := time.NewTimer(slow)
	defer explain.Stop()
	for {
		select {
		case <-step:
			return nil
		case <-s.done:
			return s.err
		case sig := <-s.signals: // there is no command yet to pass it on to
			return exitCode(child.CodeOf(sig))
		case <-explain.C:
			s.say("waiting for the secrets to be read")
		}
	}
}

// proxyURL is what the command finds the proxy by.
func (s *session) proxyURL() *url.URL {
	return &url.URL{Scheme: "http", User: url.UserPassword(app.CommandCaller, s.token), Host: s.app.Addr("proxy").String()}
}

func (s *session) config() *config.Config { return s.app.Configuration() }
