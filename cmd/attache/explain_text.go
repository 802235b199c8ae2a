package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/attache-proxy/attache/cmd/internal/explain"
)

// printAccount is explain for people: the answer first, the hint last of the facts, then the rules in order.
func printAccount(w io.Writer, x *explain.Account) {
	const key = 10
	fmt.Fprintln(w)
	rule := ""
	if x.Rule != nil {
		rule = located("rule "+x.Rule.ID, x.Rule.Pos)
	}
	switch x.Outcome {
	case explain.Allowed:
		line(w, key, "allowed", rule)
	case explain.Tunnel:
		line(w, key, "tunnel", rule)
	case explain.Gateway:
		line(w, key, "gateway", "no rule names the host; passed on unopened, and the gateway decides")
	case explain.Observed:
		line(w, key, "observed", "no rule names the host; passed on unopened, credential-less")
	default:
		status := "connection closed"
		if x.Status > 0 {
			status = fmt.Sprint(x.Status)
		}
		at := ""
		if x.AtConnect {
			at = ", at the CONNECT"
		}
		line(w, key, "refused", status+" "+x.Reason+at)
		if x.Rule != nil {
			line(w, key, "rule", located(x.Rule.ID, x.Rule.Pos))
		}
	}
	if x.Nearest != nil {
		line(w, key, "nearest", located("rule "+x.Nearest.ID, x.Nearest.Pos))
		field(w, key, "", "differs by "+x.DiffersBy)
	}
	if x.Caller != nil && x.Caller.ID != "" {
		field(w, key, "caller", x.Caller.Name+", "+x.Caller.ID)
		field(w, key, "", "accepted proof: "+strings.Join(x.Caller.Accepted, ", or "))
	} else if x.Caller != nil {
		field(w, key, "caller", x.Caller.Name+", proven by "+x.Caller.Proof)
	} else if x.Outcome == explain.Allowed {
		field(w, key, "caller", "anyone whom the listener admits")
	}
	for i, a := range x.Attaches {
		field(w, key, first(i, "attaches"), a)
	}
	if len(x.Removes) > 0 {
		field(w, key, "removes", strings.Join(x.Removes, ", ")+", sent by the app, however spelt")
	}
	for _, f := range [][2]string{
		{"connects", x.Connects}, {"limits", x.Limits}, {"answer", x.Answer}, {"warning", x.Warning}, {"hint", x.Hint},
	} {
		if f[1] != "" {
			field(w, key, f[0], f[1])
		}
	}
	printOrder(w, x)
	if x.Live == nil {
		fmt.Fprintln(w, "\n  Decided from the files. For the running proxy: --live, or explain REQUEST_ID.")
		return
	}
	fmt.Fprintln(w)
	for _, s := range x.Live.Secrets {
		text := fmt.Sprintf("%s is %s, generation %d", s.Name, s.State, s.Generation)
		if s.Reason != "" {
			text += ": " + s.Reason
		}
		field(w, key, "secret", text)
	}
	fmt.Fprintf(w, "  Decided by the running proxy, config generation %d.\n", x.Live.ConfigGeneration)
}

func first(i int, key string) string {
	if i == 0 {
		return key
	}
	return ""
}

// line prints text that is already laid out, made printable.
func line(w io.Writer, width int, key, text string) {
	fmt.Fprintf(w, "  %-*s%s\n", width, key, plainText(text))
}

// located puts a position to the right of what stands there.
func located(what, pos string) string {
	pad := max(2, 39-utf8.RuneCountInString(what))
	return what + strings.Repeat(" ", pad) + pos
}

// printOrder prints how the rules met the call.
func printOrder(w io.Writer, x *explain.Account) {
	fmt.Fprintln(w)
	if len(x.InOrder) == 0 {
		fmt.Fprintf(w, "  No rule names %s (%s).\n", plainText(x.Host), count(x.Elsewhere, "rule"))
		return
	}
	name, query := len("in order"), false
	for _, s := range x.InOrder {
		name = max(name, len(s.Rule))
		query = query || s.Query != "any"
	}
	row := func(s explain.RuleStep) {
		cells := fmt.Sprintf("  %-*s  %-5s  ", name+2, s.Rule, s.Host)
		if query {
			cells += fmt.Sprintf("%-5s  ", s.Query)
		}
		cells += fmt.Sprintf("%-6s  %-5s  %-7s  %s", s.Method, s.Path, s.Caller, s.Outcome)
		fmt.Fprintln(w, plainText(strings.TrimRight(cells, " ")))
	}
	row(explain.RuleStep{Rule: "in order", Host: "host", Query: "query", Method: "method", Path: "path", Caller: "caller"})
	for _, s := range x.InOrder {
		row(s)
	}
	if x.Elsewhere > 0 {
		fmt.Fprintf(w, "  and %s for other hosts\n", count(x.Elsewhere, "rule"))
	}
}
