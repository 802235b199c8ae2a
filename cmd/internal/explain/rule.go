package explain

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/proxy"
	"github.com/attache-proxy/attache/proxy/policy"
)

// describe tells what the deciding rule does to a call that passes.
func (a *Account) describe(cfg *config.Config, rule config.Rule, r *policy.Request) {
	a.Connects = connects(cfg, rule, r)
	a.Limits = limits(rule.Limits, rule.Action == policy.Tunnel)
	if rule.Action == policy.Tunnel {
		a.Answer = "unseen: the connection is passed on unopened"
		return
	}
	for _, c := range rule.Attach {
		a.Attaches = append(a.Attaches, attaches(c)...)
		owns := c.Injector.Owns()
		a.Removes = append(a.Removes, owns.Headers...)
		for _, q := range owns.Query {
			a.Removes = append(a.Removes, "?"+q)
		}
		for _, k := range owns.Cookies {
			a.Removes = append(a.Removes, "cookie "+k)
		}
	}
	if len(rule.Attach) > 0 {
		a.Removes = append(a.Removes, clientCredentials(rule.Pass)...)
	}
	a.Removes = unique(append(a.Removes, rule.Strip...))
	a.Answer = answer(rule)
	if len(rule.Attach) > 0 && len(rule.Callers) == 0 {
		a.Warning = "no callers: everyone who reaches the listener is given this credential"
	}
}

// answer tells what of the answer is masked: the secrets of which the rule's credentials are made.
func answer(rule config.Rule) string {
	names := secretsOf(rule)
	if len(names) == 0 {
		return "passed on as it comes"
	}
	of, one := strings.Join(names, " and "), "this version and the one before"
	if len(names) > 1 {
		one = "their versions and the ones before"
	}
	switch rule.Scrub {
	case "headers":
		return "scrubbed in headers only, of " + of + ", " + one
	case "off":
		return "not scrubbed: " + of + " reaches the app if the upstream repeats it"
	}
	return "scrubbed of " + of + ", " + one
}

// secretsOf are the names of the secrets that a rule's credentials are made of, in order.
func secretsOf(rule config.Rule) []string {
	var names []string
	for _, c := range rule.Attach {
		for _, ref := range c.Injector.Secrets() {
			names = append(names, string(ref))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// clientCredentials are the headers that an attaching rule removes whatever it attaches, but for
// those that pass: names.
func clientCredentials(pass []string) []string {
	return slices.DeleteFunc(proxy.ClientCredentials(), func(name string) bool {
		return slices.ContainsFunc(pass, func(p string) bool {
			return strings.EqualFold(strings.ReplaceAll(p, "_", "-"), name)
		})
	})
}

// unique drops later spellings of the same name.
func unique(names []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, n := range names {
		if k := strings.ToLower(n); !seen[k] {
			seen[k] = true
			out = append(out, n)
		}
	}
	return out
}

// attaches tells what a credential looks like upstream by presenting it on an empty request, with
// "<name>" as the content of each secret. What cannot be shown that way is told by its kind.
func attaches(c config.Credential) []string {
	entries := map[string]secret.Entry{}
	var marks []string
	for _, ref := range c.Injector.Secrets() {
		mark := "<" + string(ref) + ">"
		marks = append(marks, mark)
		entries[string(ref)] = secret.Entry{Current: secret.New(string(ref), 1, time.Time{}, []byte(mark))}
	}
	out, err := http.NewRequest(http.MethodGet, "https://host.invalid/", nil)
	if err != nil {
		return nil
	}
	if plain(c.Kind) && c.Injector.Inject(context.Background(), out, secret.NewSet(entries)) == nil {
		if lines := shown(out); slices.ContainsFunc(lines, func(l string) bool {
			return slices.ContainsFunc(marks, func(m string) bool { return strings.Contains(l, m) })
		}) {
			return lines
		}
	}
	for _, k := range inject.Kinds() {
		if k.Name == c.Kind {
			return []string{k.Example}
		}
	}
	return []string{c.Kind}
}

// plain reports whether a kind does no more than put its secrets on the request. No other may be tried
// out: it could fetch a token, and show it.
func plain(kind string) bool {
	return slices.Contains([]string{"header", "bearer", "basic", "query", "cookie"}, kind)
}

// shown lists what an injector put on a request.
func shown(out *http.Request) []string {
	var lines []string
	for name, values := range out.Header {
		for _, v := range values {
			if b64, ok := strings.CutPrefix(v, "Basic "); ok {
				if plain, err := base64.StdEncoding.DecodeString(b64); err == nil {
					v = "Basic base64(" + string(plain) + ")"
				}
			}
			if text, err := url.QueryUnescape(v); err == nil && strings.Contains(text, "<") && strings.Contains(v, "%3C") {
				v = text
			}
			lines = append(lines, name+": "+v)
		}
	}
	for pair := range strings.SplitSeq(out.URL.RawQuery, "&") {
		if text, err := url.QueryUnescape(pair); err == nil && pair != "" {
			lines = append(lines, "?"+text)
		}
	}
	slices.Sort(lines)
	return lines
}

// connects tells where and how the upstream is reached.
func connects(cfg *config.Config, rule config.Rule, r *policy.Request) string {
	u := rule.Upstream
	where := fmt.Sprintf("%s:%d", r.Host, r.Port)
	if strings.Contains(r.Host, ":") {
		where = fmt.Sprintf("[%s]:%d", r.Host, r.Port)
	}
	if u.ConnectTo != "" {
		where = u.ConnectTo + " for " + where
	}
	parts := []string{where}
	switch {
	case rule.Action == policy.Tunnel:
		parts = append(parts, "the client's own TLS")
	case r.Scheme == "http" || u.Plaintext:
		parts = append(parts, "in clear")
	default:
		roots := "public roots"
		switch {
		case u.CA != "":
			roots = u.CA
		case u.Peer != "":
			roots = "trust bundles"
		}
		parts = append(parts, "TLS by "+roots)
		if u.ServerName != "" {
			parts = append(parts, "as "+u.ServerName)
		}
		if u.Peer != "" {
			parts = append(parts, "only "+u.Peer)
		}
		if u.Client != "" {
			parts = append(parts, "client certificate "+string(u.Client))
		}
		if u.SVID {
			parts = append(parts, "client certificate Attaché's SVID")
		}
	}
	if rule.Action != policy.Tunnel {
		parts = append(parts, protocolName(u.Protocol, r.Scheme))
	}
	if cfg.Egress.Via != "" && u.ConnectTo == "" {
		parts = append(parts, "via "+cfg.Egress.Via)
	}
	if len(u.Allow) > 0 {
		parts = append(parts, "private addresses allowed: "+strings.Join(u.Allow, " "))
	}
	return strings.Join(parts, ", ")
}

func protocolName(protocol, scheme string) string {
	switch {
	case protocol == "http1" || protocol == "" && scheme == "http":
		return "HTTP/1.1"
	case protocol == "http2":
		return "HTTP/2"
	default:
		return "HTTP/2 or 1.1"
	}
}

// limits tells the limits that bound a call.
func limits(l config.Limits, tunnel bool) string {
	var parts []string
	if !tunnel {
		if l.ResponseHeader > 0 {
			parts = append(parts, duration(l.ResponseHeader)+" to the first response byte")
		} else {
			parts = append(parts, "any time to the first response byte")
		}
		if l.RequestBody > 0 {
			parts = append(parts, "body up to "+size(l.RequestBody))
		} else {
			parts = append(parts, "body unlimited")
		}
	}
	if l.StreamIdle > 0 {
		parts = append(parts, duration(l.StreamIdle)+" without a byte")
	}
	if l.Total > 0 {
		parts = append(parts, duration(l.Total)+" in all")
	}
	if !tunnel {
		parts = append(parts, "no retry")
	}
	return strings.Join(parts, ", ")
}

// duration is d without units that are zero: "30s", "5m", "1h30m".
func duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// size is n bytes in the largest unit that divides it.
func size(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n >= 1024 && n%1024 == 0 && i < len(units)-1 {
		n, i = n/1024, i+1
	}
	return fmt.Sprintf("%d %s", n, units[i])
}
