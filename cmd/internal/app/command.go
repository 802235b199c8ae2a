package app

import (
	"bytes"
	"context"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy/policy"
	"github.com/attache-proxy/attache/watcher"
)

// Command makes an App serve one command that this user runs, whatever its configuration is deployed
// for: on a loopback port of its own, with a CA of its own, and to nobody else.
type Command struct {
	Token string // that the command's proxy URL presents, with the user name [CommandCaller]
	As    string // the configured caller that the command counts as; empty: none of them
	Trust string // a directory that receives the CA for the command
	Roots []byte // PEM of roots that the command trusts beside the system's
}

// CommandCaller is the caller that a command is by its token. By its user, on Linux, it is
// commandUser: clients that drop the user and password of their proxy URL are known by it.
const (
	CommandCaller = "run"
	commandUser   = "run-uid"
	commandToken  = "the token of this run" // no configured secret can have this name
)

// commandGrace is how long requests may go on that outlive the command.
const commandGrace = 500 * time.Millisecond

func fault(format string, args ...any) error {
	return config.Errors{{Message: fmt.Sprintf(format, args...)}}
}

// adapt makes a configuration serve c.
func (c *Command) adapt(cfg *config.Config) error {
	cfg.Listen = config.Listen{Proxy: "127.0.0.1:0", IPConnectSNI: cfg.Listen.IPConnectSNI}
	cfg.AdminToken = ""
	cfg.CA.Publish, cfg.CA.State = c.Trust, ""
	if cfg.Audit.File == "-" {
		cfg.Audit.File = "" // standard output is the command's
	}
	cfg.Shutdown = min(cfg.Shutdown, commandGrace)
	known := c.As == ""
	for _, caller := range cfg.Callers {
		known = known || caller.Name == c.As
		if caller.Name == CommandCaller || caller.Name == commandUser {
			return fault("caller %q: attache run gives this name to what it runs; choose another", caller.Name)
		}
	}
	if !known {
		return fault("caller %q: not defined; --as takes the name of one of the configuration's callers", c.As)
	}
	cfg.Callers = slices.DeleteFunc(slices.Clone(cfg.Callers), provenByPlace)
	cfg.Secrets = append(cfg.Secrets, config.Secret{Name: commandToken, Kind: "run", Source: givenToken(c.Token)})
	names := []string{CommandCaller}
	cfg.Callers = append(cfg.Callers, identity.Spec{Name: CommandCaller, Token: commandToken})
	if uid := os.Geteuid(); runtime.GOOS == "linux" && uid >= 0 {
		id := uint32(uid)
		names = append(names, commandUser)
		cfg.Callers = append(cfg.Callers, identity.Spec{Name: commandUser, UID: &id})
	}
	if c.As == "" {
		return nil
	}
	specs := make([]policy.Spec, len(cfg.Rules))
	for i := range cfg.Rules {
		r := &cfg.Rules[i]
		if slices.Contains(r.Callers, c.As) {
			r.Callers = append(slices.Clone(r.Callers), names...)
		}
		specs[i] = r.Spec
	}
	p, faults := policy.New(specs)
	if len(faults) > 0 {
		return faults[0]
	}
	cfg.Policy = p
	return nil
}

// provenByPlace reports whether a caller is known by where it calls from, and not as this user. On the machine where a command
// runs that may be anyone: its other users have the same loopback, and their own meaning of a user's number.
func provenByPlace(s identity.Spec) bool {
	return s.Network != "" || s.Proof == identity.ProofPod || s.UID != nil && int(*s.UID) != os.Geteuid()
}

// givenToken is a source of what this process has made up.
type givenToken string

func (t givenToken) Read(context.Context) ([]byte, error) { return []byte(t), nil }
func (givenToken) Paths() []string                        { return nil }
func (givenToken) Describe() string                       { return "this run" }
func (givenToken) String() string                         { return "this run" }
func (givenToken) GoString() string                       { return "this run" }

func (a *App) moreRoots() []byte {
	if a.o.Command == nil {
		return nil
	}
	return a.o.Command.Roots
}

// Tried is closed once every secret has been read, or has failed to be, for the first time.
func (a *App) Tried() <-chan struct{} { return a.applied }

// SecretStatus tells of the configured secrets. It may be called once [App.Ready] is closed.
func (a *App) SecretStatus() []watcher.Status {
	return slices.DeleteFunc(a.store.Status(), func(s watcher.Status) bool { return s.Name == commandToken })
}

// Holding names the configured secret whose value is text, "" if it is none. It may be called once
// [App.Ready] is closed.
func (a *App) Holding(text string) string {
	set := a.store.Set()
	for _, s := range a.config().Secrets {
		v, err := set.Lookup(secret.Ref(s.Name))
		if err == nil && text != "" && subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(text)) == 1 {
			return s.Name
		}
	}
	return ""
}

// Environ is the environment of this process, as "NAME=value".
func Environ() []string { return os.Environ() }

// maxRoots bounds a file of roots that a variable names.
const maxRoots = 4 << 20

// RootsOf reads the PEM files that the named variables of this process name: roots that its user has
// chosen to trust. What cannot be read, directories among it, is left out.
func RootsOf(variables []string) []byte {
	var all bytes.Buffer
	seen := map[string]bool{}
	for _, name := range variables {
		path := os.Getenv(name)
		if path == "" || seen[path] {
			continue
		}
		seen[path] = true
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(f, maxRoots))
		_ = f.Close()
		if err != nil {
			continue
		}
		for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
			if _, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type == "CERTIFICATE" {
				all.Write(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}))
			}
		}
	}
	return all.Bytes()
}

// Signals gives the signals that a process passes on to the command that it runs. Those that it was
// started to ignore, as by nohup, stay ignored, here and there. stop gives them back.
func Signals() (signals <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 16)
	var heeded []os.Signal
	for _, s := range passedOn() {
		if !signal.Ignored(s) {
			heeded = append(heeded, s)
		}
	}
	if len(heeded) > 0 {
		signal.Notify(c, heeded...)
	}
	// A reader of our standard error that goes away must not end the proxy: see watchSignals.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, brokenPipe()...)
	return c, func() { signal.Stop(c); signal.Stop(pipe) }
}

// Wgetrc is what this user has set for wget, which reads one such file only; nil: nothing.
func Wgetrc() []byte {
	path := os.Getenv("WGETRC")
	if path == "" {
		path = filepath.Join(Home(), ".wgetrc")
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return data
}
