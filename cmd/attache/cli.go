package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/alecthomas/kong"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/config"
)

// Exit codes: scripts rely on them.
const (
	exitDone   = 0
	exitFailed = 1 // what was asked for did not work, or does not hold
	exitUsage  = 2 // the command line or the configuration is wrong
)

type cli struct {
	Serve       serveCmd       `cmd:"" help:"Run the proxy."`
	Demo        demoCmd        `cmd:"" help:"See it work: seconds, no network, no configuration."`
	Check       checkCmd       `cmd:"" help:"Check a configuration and run its tests."`
	Explain     explainCmd     `cmd:"" help:"Tell what would become of one call, and why."`
	Healthcheck healthcheckCmd `cmd:"" help:"Ask the running proxy whether it is ready."`
	Schema      schemaCmd      `cmd:"" help:"Print the JSON Schema of the configuration."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
}

// configFlag names the configuration; commands that read one embed it.
type configFlag struct {
	Config string `short:"c" placeholder:"PATH" help:"Configuration: a file, or a directory of *.yaml. Without it: ./attache.yaml, else /etc/attache."`
}

func (f configFlag) path() (string, error) {
	if f.Config != "" {
		return f.Config, nil
	}
	return app.DefaultConfig()
}

// outputFlag chooses between text for people and JSON for programs; both tell the same.
type outputFlag struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

func (f outputFlag) json() bool { return f.Output == "json" }

// console is where a command prints: answers to out, everything else to err.
type console struct {
	in       *os.File
	out, err *os.File
}

// exitCode ends a command that has said all there is to say.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// run is main with everything it touches passed in, but for what package app reads of the process.
func run(args []string, in, out, errs *os.File) int {
	// net/http tells this logger what upstreams send unasked, in their words; credentials may be among them.
	log.SetOutput(io.Discard)
	c := &console{in, out, errs}
	parser, err := kong.New(&cli{},
		kong.Name("attache"),
		kong.Description("Attaché presents credentials on outgoing API calls, so that applications need not hold them."),
		kong.Writers(out, errs),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 80}),
		kong.Bind(c),
	)
	if err != nil {
		return c.report(err)
	}
	cmd, err := parser.Parse(args)
	if err != nil {
		return c.report(&app.UsageError{Err: err, Hint: "attache --help, or attache COMMAND --help"})
	}
	return c.report(cmd.Run())
}

// report prints an error, if there is one, and returns the exit code.
func (c *console) report(err error) int {
	if err == nil {
		return exitDone
	}
	if code, ok := errors.AsType[exitCode](err); ok {
		return int(code)
	}
	if problems, ok := errors.AsType[config.Errors](err); ok {
		printProblems(c.err, problems)
		return exitUsage
	}
	fmt.Fprintf(c.err, "attache: %v\n", err)
	usage, ok := errors.AsType[*app.UsageError](err)
	if !ok {
		return exitFailed
	}
	if usage.Hint != "" {
		fmt.Fprintf(c.err, "  hint: %s\n", usage.Hint)
	}
	return exitUsage
}

// printJSON prints v as indented JSON.
func printJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
