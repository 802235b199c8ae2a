package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/attache-proxy/attache/cmd/internal/config"
)

// A UsageError is a fault of how the process was started or configured: exit code 2.
type UsageError struct {
	Err  error
	Hint string // may be empty
}

func (e *UsageError) Error() string { return e.Err.Error() }

// Unwrap gives the fault itself, a [config.Errors] where the configuration is at fault.
func (e *UsageError) Unwrap() error { return e.Err }

// DefaultConfig is where a configuration is looked for that nobody named: attache.yaml in the current
// directory, then the directory /etc/attache.
func DefaultConfig() (string, error) {
	system := filepath.FromSlash("/etc/attache")
	for _, path := range []string{"attache.yaml", system} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", &UsageError{
		Err:  fmt.Errorf("no configuration: neither ./attache.yaml nor %s exists", system),
		Hint: "name one with --config, or see it work first: attache demo",
	}
}

// Home is the user's home directory, "" where there is none.
func Home() string {
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return home
}

// StateDir is where Attaché keeps what it must remember for this user, by the XDG Base Directory
// Specification: $XDG_STATE_HOME/attache, else ~/.local/state/attache.
func StateDir() (string, error) {
	if dir, ok := os.LookupEnv("XDG_STATE_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "attache"), nil
	}
	if home := Home(); home != "" {
		return filepath.Join(home, ".local", "state", "attache"), nil
	}
	return "", &UsageError{Err: errors.New("no home directory to remember in"), Hint: "set HOME or XDG_STATE_HOME"}
}

// ConfigEnv is what loading a configuration needs of this process.
func ConfigEnv(version string) config.Env { return config.Env{Getenv: os.LookupEnv, Version: version} }

// LoadConfig loads and checks a configuration with the process's environment. An error is a
// [UsageError]. Nothing is contacted and no secret is read.
func LoadConfig(path, profile, version string) (*config.Config, error) {
	cfg, err := config.Load(path, config.Env{Getenv: os.LookupEnv, Version: version, Profile: profile})
	if err != nil {
		return nil, &UsageError{Err: err}
	}
	return cfg, nil
}

// ReadListen is what a configuration that [LoadConfig] finds faulty says under listen, if it can be read.
func ReadListen(path, profile string) (config.Listen, bool) {
	return config.ReadListen(path, config.Env{Getenv: os.LookupEnv, Profile: profile})
}

// refuseHTTP2Debug refuses GODEBUG=http2debug=1 and 2, with which net/http logs every header, the
// Authorization that was injected included (promise 7).
func refuseHTTP2Debug(getenv func(string) (string, bool)) error {
	all, _ := getenv("GODEBUG")
	for setting := range strings.SplitSeq(all, ",") {
		key, value, _ := strings.Cut(strings.TrimSpace(setting), "=")
		if key == "http2debug" && value != "0" {
			return &UsageError{
				Err:  errors.New("GODEBUG has http2debug, which logs the credentials that Attaché attaches"),
				Hint: "unset it",
			}
		}
	}
	return nil
}
