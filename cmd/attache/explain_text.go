package main

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// print is explain for people: the answer first, the hint last of the facts, then the rules in order.
func (x *explained) print(w io.Writer) {
	const key = 10
	fmt.Fprintln(w)
	rule := ""
	if x.Rule != nil {
		rule = located("rule "+x.Rule.ID, x.Rule.Pos)
	}
	switch x.Outcome {
	case allowed:
		line(w, key, "allowed", rule)
	case tunnel:
		line(w, key, "tunnel", rule)
	case observed:
		line(w, key, "observed", "no rule names the host; passed on unopened, credential-less")
	default:
		status := "connection closed"
		if x.Status > 0 {
			status = fmt.Sprint(x.Status)
		}
		if x.AtConnect {
			x.Reason += ", at the CONNECT"
		}
		line(w, key, "refused", status+" "+x.Reason)
		if x.Rule != nil {
			line(w, key, "rule", located(x.Rule.ID, x.Rule.Pos))
		}
	}
	if x.Nearest != nil {
		line(w, key, "nearest", located("rule "+x.Nearest.ID, x.Nearest.Pos))
		field(w, key, "", "differs by "+x.DiffersBy)
	}
	if x.Caller != nil {
		field(w, key, "caller", x.Caller.Name+", proven by "+x.Caller.Proof)
	} else if x.Outcome == allowed {
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
	x.printOrder(w)
	fmt.Fprintln(w, "\n  Decided from the files, as the forward proxy decides.")
}

func first(i int, key string) string {
	if i == 0 {
		return key
	}
	return ""
}

// line prints text that is already laid out.
func line(w io.Writer, width int, key, text string) {
	fmt.Fprintf(w, "  %-*s%s\n", width, key, text)
}

// located puts a position to the right of what stands there.
func located(what, pos string) string {
	pad := max(2, 39-utf8.RuneCountInString(what))
	return what + strings.Repeat(" ", pad) + pos
}

// printOrder prints how the rules met the call.
func (x *explained) printOrder(w io.Writer) {
	fmt.Fprintln(w)
	if len(x.InOrder) == 0 {
		fmt.Fprintf(w, "  No rule names %s (%s).\n", x.request.Host, count(x.Elsewhere, "rule"))
		return
	}
	name, query := len("in order"), false
	for _, s := range x.InOrder {
		name = max(name, len(s.Rule))
		query = query || s.Query != "any"
	}
	row := func(s ruleStep) {
		cells := fmt.Sprintf("  %-*s  %-5s  ", name+2, s.Rule, s.Host)
		if query {
			cells += fmt.Sprintf("%-5s  ", s.Query)
		}
		cells += fmt.Sprintf("%-6s  %-5s  %-7s  %s", s.Method, s.Path, s.Caller, s.Outcome)
		fmt.Fprintln(w, strings.TrimRight(cells, " "))
	}
	row(ruleStep{"in order", "host", "query", "method", "path", "caller", ""})
	for _, s := range x.InOrder {
		row(s)
	}
	if x.Elsewhere > 0 {
		fmt.Fprintf(w, "  and %s for other hosts\n", count(x.Elsewhere, "rule"))
	}
}
