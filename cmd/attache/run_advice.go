package main

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/cmd/internal/explain"
)

// inClear stands for the method of calls outside a tunnel that no rule is for.
const inClear = "in clear"

// advise says what would have let calls pass, as precisely as is known.
func (s *session) advise(t trouble) runTrouble {
	r := runTrouble{
		Count: t.count, Refused: t.refused, Reason: t.reason, Fault: t.fault, Host: t.host, Port: t.port,
		Method: t.method, Path: t.path, Rule: t.rule,
	}
	if t.method == inClear {
		r.Method, r.Scheme = "", "http"
	}
	if r.Rule == "" {
		r.Rule = t.nearest
	}
	if t.reason == "" { // those that are not told apart
		r.Reason = "various reasons"
		return r
	}
	file := filepath.Base(s.project.Path)
	rule := s.rule(r.Rule)
	r.Hint = explain.Reason(t.reason).Hint
	switch t.reason {
	case wouldDeny:
		r.Hint = "unmatched.observe_until lets it pass for now; to keep it, add to " + file + ":"
		r.Add = []string{fmt.Sprintf("- {id: %s, hosts: %s}", s.freeID(t.host), hostPattern(t))}
	case "no_rule":
		r.Hint = "if it should pass, add to " + file + ":"
		if t.nearest != "" && t.differs == "host" {
			r.Hint = fmt.Sprintf("rule %s comes nearest; if it should pass, add to %s:", t.nearest, file)
		}
		r.Add = []string{fmt.Sprintf("- {id: %s, hosts: %s}", s.freeID(t.host), hostPattern(t))}
	case "method_not_allowed":
		r.Hint = fmt.Sprintf("if it should pass, add %s to methods of rule %s in %s", t.method, r.Rule, file)
	case "path_not_allowed":
		r.Hint = fmt.Sprintf("if it should pass, add the path to paths of rule %s in %s", r.Rule, file)
		if t.path == "" {
			r.Hint += "; audit: {paths: true} has it shown here"
		}
	case "caller_not_allowed":
		if rule != nil {
			r.Hint = fmt.Sprintf("rule %s is for %s: attache run --as %s -- %s …", r.Rule, strings.Join(rule.Callers, ", "), rule.Callers[0], s.name)
		}
	case "denied_by_rule":
		r.Hint = "rule " + r.Rule + " denies it"
		if rule != nil && rule.Hint != "" {
			r.Hint = rule.Hint
		}
	case "credential_missing", "credential_error":
		r.Hint = "attache check --resolve tells more"
	case "dns_failed", "connect_failed", "connect_timeout":
		if s.behind && s.config().Egress.Via == "" {
			r.Hint = "a proxy was set in your environment; Attaché goes through it only as egress.via"
		}
	case answered401:
		r.Hint = "is what rule " + r.Rule + " attaches still good? attache check --resolve tells its version"
	case "client_handshake":
		r.Hint = "its client does not trust Attaché's CA: docs/clients.md has what each reads"
	}
	return r
}

func (s *session) rule(id string) *config.Rule {
	rules := s.config().Rules
	if i := slices.IndexFunc(rules, func(r config.Rule) bool { return r.ID == id }); i >= 0 && id != "" {
		return &rules[i]
	}
	return nil
}

// hostPattern is how a rule names what was called.
func hostPattern(t trouble) string {
	host, port := t.host, uint16(443)
	ipv6 := strings.Contains(host, ":")
	if ipv6 {
		host = "[" + host + "]"
	}
	clear := t.method == inClear
	if clear {
		host, port = "http://"+host, 80
	}
	if t.port != port {
		host = fmt.Sprintf("%s:%d", host, t.port)
	}
	if clear || ipv6 || t.port != port {
		return `"` + host + `"`
	}
	return host
}

// freeID is a rule's id that no rule has, from the host that it is for.
func (s *session) freeID(host string) string {
	id := host
	if domain, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil {
		suffix, _ := publicsuffix.PublicSuffix(domain)
		id = strings.TrimSuffix(domain, "."+suffix)
	} else if _, err := netip.ParseAddr(host); err == nil {
		id = "address"
	}
	id = strings.Trim(strings.Map(func(c rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_.", c) {
			return c
		}
		return '-'
	}, strings.ToLower(id)), ".-")
	if id == "" || len(id) > 60 {
		id = "host"
	}
	for n, free := 2, id; ; n++ {
		if s.rule(free) == nil {
			return free
		}
		free = fmt.Sprintf("%s-%d", id, n)
	}
}
