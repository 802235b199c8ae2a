package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/clients"
	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity"
)

type envCmd struct {
	configFlag
	Format string `enum:"sh,dotenv,json,docker,k8s" default:"sh" help:"sh (for eval), dotenv, json, docker (an env file) or k8s (a container's env)."`
	Proxy  string `placeholder:"HOST:PORT" help:"Where clients reach the proxy, if not where it listens."`
	Trust  string `placeholder:"DIR" help:"Where clients find what ca.publish receives, if elsewhere."`
}

// Run prints the variables by which clients find a proxy that serve runs: those that run would set.
func (e envCmd) Run(c *console) error {
	cfg, err := e.config(c)
	if err != nil {
		return err
	}
	place, err := e.place(cfg)
	if err != nil {
		return err
	}
	given := placeholdersOf(cfg)
	var all []clients.Setting
	for _, name := range slices.Sorted(maps.Keys(given)) {
		all = append(all, clients.Setting{Name: name, Value: given[name]})
	}
	all = append(all, clients.Environment(place, nil)...)
	if place.Proxy.User == nil && tokensOnly(cfg) {
		fmt.Fprintf(c.err, "attache: callers prove themselves by token: put name and token into the URLs, http://NAME:TOKEN@%s\n", place.Proxy.Host)
	}
	if place.Proxy.Scheme == "https" {
		fmt.Fprintln(c.err, "attache: clients speak TLS with this proxy: they must trust its trust domain's bundle, and show who they are; see docs/identity.md")
	}
	return printSettings(c.out, e.Format, all)
}

// config is the configuration that the variables are made from. One that was found must have been allowed, as
// for run: it chooses the proxy and the CA that this shell would trust.
func (e envCmd) config(c *console) (*config.Config, error) {
	if e.Config != "" {
		return app.LoadConfig(e.Config, e.Profile, thisBuild().required())
	}
	p, err := c.openProject(e.configFlag, "your shell")
	if err != nil {
		return nil, err
	}
	return p.Config, nil
}

// place is where clients find the proxy and its CA.
func (e envCmd) place(cfg *config.Config) (clients.Place, error) {
	p := clients.Place{Direct: directOf(cfg), Slash: e.Format == "docker" || e.Format == "k8s"}
	var err error
	if p.Proxy, err = e.proxy(cfg.Listen.Proxy); err != nil {
		return p, err
	}
	if cfg.Listen.TLS {
		p.Proxy.Scheme = "https"
	}
	switch {
	case e.Trust != "":
		p.Trust = e.Trust
	case cfg.CA.Publish == "":
		return p, &app.UsageError{
			Err:  errors.New("env: the configuration does not publish its CA, so clients could not trust it"),
			Hint: "set ca.publish, or say where the CA is with --trust; for one command: attache run -- COMMAND",
		}
	default:
		if p.Trust, err = filepath.Abs(cfg.CA.Publish); err != nil {
			return p, err
		}
	}
	return p, nil
}

// proxy is the URL of the proxy, from --proxy or where it listens.
func (e envCmd) proxy(listen string) (*url.URL, error) {
	address, fault := e.Proxy, "env: --proxy: must be HOST:PORT, or an http:// URL of these"
	if address == "" {
		address, fault = listen, "env: the proxy listens where its clients' variables cannot say: "+listen
	}
	if !strings.HasPrefix(address, "http://") && !strings.HasPrefix(address, "https://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.Port() == "" || u.Port() == "0" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		return nil, &app.UsageError{Err: errors.New(fault), Hint: "say where with --proxy 127.0.0.1:15001"}
	}
	u.Path = ""
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && a.IsUnspecified() {
		u.Host = "127.0.0.1:" + u.Port()
	}
	return u, nil
}

// tokensOnly reports whether callers are told apart, and only by what the URL has to hold.
func tokensOnly(cfg *config.Config) bool {
	return len(cfg.Callers) > 0 && !slices.ContainsFunc(cfg.Rules, func(r config.Rule) bool { return len(r.Callers) == 0 }) &&
		!slices.ContainsFunc(cfg.Callers, func(s identity.Spec) bool { return s.Token == "" })
}

// printSettings prints variables as something reads them.
func printSettings(w io.Writer, format string, all []clients.Setting) error {
	if format == "json" {
		values := map[string]string{}
		for _, s := range all {
			values[s.Name] = s.Value
		}
		return printJSON(w, values)
	}
	for _, s := range all {
		var err error
		switch format {
		case "sh":
			_, err = fmt.Fprintf(w, "export %s='%s'\n", s.Name, strings.ReplaceAll(s.Value, "'", `'\''`))
		case "dotenv":
			_, err = fmt.Fprintf(w, "%s=%s\n", s.Name, dotenvQuoted(s.Value))
		case "docker": // docker run --env-file: a line each, nothing is quoted
			_, err = fmt.Fprintf(w, "%s=%s\n", s.Name, s.Value)
		case "k8s": // JSON strings are YAML
			_, err = fmt.Fprintf(w, "- {name: %s, value: %s}\n", s.Name, strconv.Quote(s.Value))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// dotenvQuoted is text as every dotenv library reads it: in single quotes, where nothing is expanded,
// unless it holds one.
func dotenvQuoted(text string) string {
	if !strings.Contains(text, "'") {
		return "'" + text + "'"
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`).Replace(text) + `"`
}
