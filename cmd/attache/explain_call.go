package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/attache-proxy/attache/proxy/admin"
	"github.com/attache-proxy/attache/proxy/audit"
)

// toldCall is an [admin.Decision] as it arrives.
type toldCall struct {
	admin.Decision
	Events []auditLine `json:"events"`
}

// print tells what became of a call: the answer first, the hint last of what decided, then how it went.
func (d *toldCall) print(w io.Writer) {
	const key = 10
	e := &d.Events[0]
	tell := func(name, text string) {
		if text != "" {
			field(w, key, name, audit.Printable(text))
		}
	}
	fmt.Fprintln(w)
	d.outcome(w, key, e)
	tell("when", e.Time.UTC().Format("15:04:05 UTC on 2 January")+", "+ago(e.Time, d.Now))
	call := e.destination()
	if e.Protocol != "" {
		call += ", " + e.Protocol
	}
	tell("call", call+", by listener "+e.Listener)
	tell("caller", callerOf(e))
	if e.Nearest != "" {
		line(w, key, "nearest", ruleAt("rule "+e.Nearest, d.Nearest))
		tell("", "differs by "+e.DiffersBy)
	}
	if d.Reason != nil {
		tell("fault", e.Fault+": "+d.Reason.Meaning)
	}
	tell("detail", e.Detail)
	tell("hint", d.Hint)
	for _, c := range e.Credentials {
		text := fmt.Sprintf("%s (%s)", c.Name, c.Kind)
		if c.Generation > 0 {
			text += fmt.Sprintf(", generation %d, read %s before", c.Generation, seconds(c.Age))
			text = strings.Replace(text, "read now before", "just read", 1)
		}
		tell(c.Outcome, text)
	}
	if e.ClientCredential {
		own := "the app sent credentials of its own"
		if len(e.Credentials) > 0 {
			own += ", which were removed"
		}
		tell("removed", own)
	}
	tell("upstream", upstreamOf(e))
	if e.Redacted > 0 {
		tell("masked", fmt.Sprintf("the answer repeated a credential, %s", count(e.Redacted, "time")))
	}
	tell("took", tookOf(e))
	if e.Bytes.In+e.Bytes.Out > 0 {
		tell("bytes", thousands(int(e.Bytes.In))+" in, "+thousands(int(e.Bytes.Out))+" out")
	}
	generation := fmt.Sprintf("generation %d, in force now", e.ConfigGeneration)
	if e.ConfigGeneration != d.ConfigGeneration {
		generation = fmt.Sprintf("generation %d; generation %d is in force now", e.ConfigGeneration, d.ConfigGeneration)
	}
	tell("config", generation)
	if e.Type == "opened" {
		fmt.Fprintln(w, "\n  It is still under way.")
	}
}

// outcome is the first line: what became of the call, by which rule.
func (d *toldCall) outcome(w io.Writer, key int, e *auditLine) {
	status := "connection closed"
	if e.Status > 0 {
		status = fmt.Sprint(e.Status)
	}
	switch {
	case e.Decision == "refuse":
		line(w, key, "refused", strings.TrimSpace(status+" "+audit.Printable(e.Reason)))
		if e.Rule != "" {
			line(w, key, "rule", ruleAt(e.Rule, d.Rule))
		}
	case e.Type == "opened":
		line(w, key, "open", ruleAt("under way, by rule "+e.Rule, d.Rule))
	case e.Decision == "would_deny":
		line(w, key, "observed", status+", passed on unopened, credential-less: no rule names the host")
	case e.Decision == "tunnel":
		line(w, key, "tunnel", ruleAt("passed on unopened, by rule "+e.Rule, d.Rule))
	case e.Reason != "":
		line(w, key, "failed", status+" "+audit.Printable(e.Reason))
		line(w, key, "allowed", ruleAt("by rule "+e.Rule, d.Rule))
	default:
		line(w, key, "allowed", ruleAt(status+", by rule "+e.Rule, d.Rule))
	}
}

// ruleAt is text about a rule and where that stands, if it still is in the configuration.
func ruleAt(text string, r *admin.RuleStatus) string {
	pos := "no longer configured"
	if r != nil {
		pos = r.Pos
	}
	return located(audit.Printable(text), pos)
}

func callerOf(e *auditLine) string {
	switch {
	case e.Caller.Name == "" && e.Caller.ID == "":
		return "nobody in particular: nothing was proven"
	case e.Caller.Name == "":
		return fmt.Sprintf("%s, proven by %s, for which no caller is configured", e.Caller.ID, e.Caller.Proof)
	case e.Caller.ID != "":
		return fmt.Sprintf("%s, %s, proven by %s", e.Caller.Name, e.Caller.ID, e.Caller.Proof)
	}
	return e.Caller.Name + ", proven by " + e.Caller.Proof
}

func upstreamOf(e *auditLine) string {
	var parts []string
	if e.UpstreamStatus > 0 {
		parts = append(parts, fmt.Sprintf("answered %d", e.UpstreamStatus))
	}
	if e.ResolvedIP != "" {
		parts = append(parts, "at "+e.ResolvedIP)
	}
	if e.Reused {
		parts = append(parts, "on a connection that was open")
	}
	if e.Attempts > 1 {
		parts = append(parts, fmt.Sprintf("asked %d times, with a newer version of the secret", e.Attempts))
	}
	if len(parts) == 0 && e.Attempts == 0 && e.Decision != "tunnel" {
		return "never asked"
	}
	return strings.Join(parts, ", ")
}

func tookOf(e *auditLine) string {
	p := &e.Phases
	if p.Total == 0 {
		return ""
	}
	var parts []string
	for _, phase := range []struct {
		name string
		ms   float64
	}{{"DNS", p.DNS}, {"connect", p.Connect}, {"TLS", p.TLS}, {"first byte", p.FirstByte}, {"Attaché itself", p.Added}} {
		if phase.ms > 0 {
			parts = append(parts, phase.name+" "+admin.Milliseconds(phase.ms))
		}
	}
	text := admin.Milliseconds(p.Total)
	if len(parts) > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	return text
}

// seconds is a length of time in one unit.
func seconds(s float64) string {
	now := time.Unix(1<<40, 0)
	return age(now.Add(-time.Duration(s*float64(time.Second))), now)
}
