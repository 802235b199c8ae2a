package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/clients"
	"github.com/attache-proxy/attache/cmd/internal/config"
)

// environment is what the command gets: ours, with the variables of package clients and the placeholders of
// client_env in place of what they were.
func (s *session) environment() ([]string, error) {
	env := newEnvironment(app.Environ())
	place := clients.Place{
		Proxy: s.proxyURL(), Direct: directOf(s.config()), Trust: filepath.Join(s.dir, "trust"), Settings: filepath.Join(s.dir, "settings"),
	}
	if err := os.Mkdir(place.Settings, 0o700); err != nil {
		return nil, err
	}
	for name, content := range clients.Files(place, app.Wgetrc()) {
		if err := os.WriteFile(filepath.Join(place.Settings, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	if err := s.placeholders(env); err != nil {
		return nil, err
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		was, _ := env.get(name)
		s.behind = s.behind || was != ""
	}
	for _, v := range clients.Environment(place, env.get) {
		env.set(v.Name, v.Value)
	}
	return env.list(), nil
}

// directOf is what clients of a configuration call directly.
func directOf(cfg *config.Config) []string {
	var proxied []string
	for _, r := range cfg.Rules {
		proxied = append(proxied, r.Hosts...)
	}
	return append(clients.Loopback(proxied), cfg.NoProxy...)
}

// placeholdersOf are those of every rule; the configuration holds that they agree.
func placeholdersOf(cfg *config.Config) map[string]string {
	all := map[string]string{}
	for _, r := range cfg.Rules {
		maps.Copy(all, r.ClientEnv)
	}
	return all
}

// placeholders takes real keys out of env where client_env names them, and tells of those that it does
// not name.
func (s *session) placeholders(env *environment) error {
	given := placeholdersOf(s.config())
	for _, name := range slices.Sorted(maps.Keys(given)) {
		text := given[name]
		if held := s.app.Holding(text); held != "" {
			return fmt.Errorf("client_env: %s: the placeholder is %s itself; write another", name, held)
		}
		if was, ok := env.get(name); ok && was != "" && was != text {
			if s.app.Holding(was) != "" {
				s.warn("%s held the real key; %s gets a placeholder", name, s.name)
			} else {
				s.warn("%s was set; %s gets the placeholder instead", name, s.name)
			}
		}
		env.set(name, text)
	}
	for _, name := range env.names() {
		value, _ := env.get(name)
		if held := s.app.Holding(value); held != "" {
			s.warn("%s holds %s, and %s inherits it: unset it, or name it in client_env", name, held, s.name)
		}
	}
	return nil
}

// environment is a list of variables in which each name stands once.
type environment struct {
	values map[string]string
	fold   bool // names differ by more than their case, as on Windows
}

func newEnvironment(list []string) *environment {
	e := &environment{values: map[string]string{}, fold: runtime.GOOS == "windows"}
	for _, entry := range list {
		// Windows keeps directories of drives in names that begin with "=".
		if i := strings.IndexByte(entry[min(1, len(entry)):], '='); i >= 0 {
			e.set(entry[:i+1], entry[i+2:])
		}
	}
	return e
}

// key is the name that a variable has already.
func (e *environment) key(name string) string {
	if _, ok := e.values[name]; ok || !e.fold {
		return name
	}
	for have := range e.values {
		if strings.EqualFold(have, name) {
			return have
		}
	}
	return name
}

func (e *environment) get(name string) (string, bool) {
	v, ok := e.values[e.key(name)]
	return v, ok
}

func (e *environment) set(name, value string) { e.values[e.key(name)] = value }

func (e *environment) names() []string { return slices.Sorted(maps.Keys(e.values)) }

func (e *environment) list() []string {
	var all []string
	for _, name := range e.names() {
		all = append(all, name+"="+e.values[name])
	}
	return all
}
