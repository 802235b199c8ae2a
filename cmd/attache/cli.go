package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/config"
)

// Exit codes: scripts rely on them.
const (
	exitDone   = 0
	exitFailed = 1 // what was asked for did not work, or does not hold
	exitUsage  = 2 // the command line or the configuration is wrong

	exitNotRun = 125 // run: Attaché failed, so the command was not run; also what may not be used
)

// cli has the commands in the order in which a newcomer meets them: help lists them so.
type cli struct {
	Demo        demoCmd        `cmd:"" help:"See it work: seconds, no network, no configuration."`
	Init        initCmd        `cmd:"" help:"Write a configuration for the APIs that this project calls."`
	Run         runCmd         `cmd:"" help:"Run a command that calls through Attaché."`
	Allow       allowCmd       `cmd:"" help:"Let commands use this project's configuration as it is now."`
	Check       checkCmd       `cmd:"" help:"Check a configuration and run its tests."`
	Explain     explainCmd     `cmd:"" help:"Tell what would become of one call, or what became of it, and why."`
	Serve       serveCmd       `cmd:"" help:"Run the proxy."`
	Status      statusCmd      `cmd:"" help:"Show how the running proxy is doing, and what needs attention."`
	Env         envCmd         `cmd:"" help:"Print the variables that clients of a running proxy need."`
	Token       tokenCmd       `cmd:"" help:"Print a JWT-SVID, for scripts."`
	Healthcheck healthcheckCmd `cmd:"" help:"Ask the running proxy whether it is ready."`
	Schema      schemaCmd      `cmd:"" help:"Print the JSON Schema of the configuration."`
	Completion  completionCmd  `cmd:"" help:"Print the completion of a shell: source <(attache completion bash)."`
	Man         manCmd         `cmd:"" help:"Print the manual page: attache man | man -l -."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
	Complete    completeCmd    `cmd:"" name:"__complete" hidden:""`
}

// configFlag names the configuration; commands that read one embed it.
type configFlag struct {
	Config  string `short:"c" placeholder:"PATH" help:"Configuration: a file, or a directory of *.yaml. Without it: attache.yaml here (run, env, check, explain: or above), else /etc/attache."`
	Profile string `placeholder:"NAME" env:"ATTACHE_PROFILE" help:"Lay attache.NAME.yaml over attache.yaml."`
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

// newParser knows every command and flag.
func newParser(c *console) (*kong.Kong, error) {
	return kong.New(&cli{},
		kong.Name("attache"),
		kong.Description("Attaché presents credentials on outgoing API calls, so that applications need not hold them."),
		kong.Writers(c.out, c.err),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 80}),
		kong.Bind(c),
	)
}

// run is main with everything it touches passed in, but for what package app reads of the process.
func run(args []string, in, out, errs *os.File) int {
	// net/http tells this logger what upstreams send unasked, in their words; credentials may be among them.
	log.SetOutput(io.Discard)
	c := &console{in, out, errs}
	parser, err := newParser(c)
	if err != nil {
		return c.report(err)
	}
	if len(args) == 0 {
		parser.Stdout = errs
		ctx, err := kong.Trace(parser, nil)
		if err == nil {
			err = ctx.PrintUsage(false)
		}
		if err != nil {
			return c.report(err)
		}
		return exitUsage
	}
	cmd, err := parser.Parse(args)
	if err != nil {
		code := c.report(&app.UsageError{Err: err, Hint: "attache --help, or attache COMMAND --help"})
		if len(args) > 0 && args[0] == "run" {
			return exitNotRun // every other code is the command's
		}
		return code
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
	// A file's name or another program's answer may be in it.
	for i, line := range strings.Split(err.Error(), "\n") {
		if i == 0 {
			line = "attache: " + line
		}
		fmt.Fprintln(c.err, plainText(line))
	}
	usage, ok := errors.AsType[*app.UsageError](err)
	if !ok {
		return exitFailed
	}
	if usage.Hint != "" {
		fmt.Fprintf(c.err, "  hint: %s\n", plainText(usage.Hint))
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
