package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/attache-proxy/attache/identity/identitytest"
)

// machineVariables are those by which a machine presets proxies and roots; scripts run without them.
const machineVariables = `HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy
	SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE REQUESTS_CA_BUNDLE NODE_EXTRA_CA_CERTS GIT_SSL_CAINFO GODEBUG SPIFFE_ENDPOINT_SOCKET`

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"attache": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			for _, name := range strings.Fields(machineVariables) {
				env.Setenv(name, "")
			}
			env.Setenv("TMPDIR", env.WorkDir)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			path, ok := strings.CutPrefix(cond, "exists:")
			if !ok {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			_, err := os.Stat(path)
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fits": fits, "exitcode": exitcode, "waitready": waitready, "mode": mode, "expand": expand, "agent": agent,
		},
	})
}

// fits holds that the last output keeps to 80 columns.
func fits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: fits stdout|stderr")
	}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\r\n")); n > columns {
			ts.Fatalf("%d columns: %s", n, line)
		}
	}
}

// exitcode runs a command and holds its exit code: exitcode 2 attache nonsense.
func exitcode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N command [arg...]")
	}
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// waitready waits until the proxy at an address is ready.
func waitready(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waitready ADDRESS")
	}
	for limit := time.Now().Add(10 * time.Second); ; {
		err := ts.Exec("attache", "healthcheck", "--address", args[0])
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			ts.Fatalf("not ready: %v", err)
		}
	}
}

// mode holds a file's permission bits: mode admin.sock 0600.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode FILE MODE")
	}
	info, err := os.Lstat(ts.MkAbs(args[0]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[1] {
		ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
	}
}

// expand replaces $WORK and $AGENT in a file: configurations name absolute paths.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: expand FILE")
	}
	text := strings.NewReplacer("$WORK", ts.Getenv("WORK"), "$AGENT", ts.Getenv("AGENT")).Replace(ts.ReadFile(args[0]))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o600))
}

// agent serves a Workload API for the rest of the script and sets $AGENT to its address: agent SPIFFE-ID...
func agent(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: agent [SPIFFE-ID...]")
	}
	api, err := identitytest.New(identitytest.Options{}, args...)
	ts.Check(err)
	ts.Defer(api.Close)
	api.Federate("bank.example")
	ts.Setenv("AGENT", api.Addr())
}
