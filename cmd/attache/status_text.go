package main

import (
	"cmp"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/attache-proxy/attache/proxy/admin"
	"github.com/attache-proxy/attache/proxy/audit"
)

const (
	statusRules    = 20 // more are shown only if they were called
	statusRefusals = 5
)

// text is the status for people: what to see to first, then rules, secrets, who we are, refusals.
func (s *seen) text() string {
	var b strings.Builder
	s.head(&b)
	s.attention(&b)
	s.rules(&b)
	s.secrets(&b)
	s.identity(&b)
	s.refusals(&b)
	return b.String()
}

func (s *seen) head(b *strings.Builder) {
	parts := []string{
		s.Host, strings.ToUpper(s.State),
		fmt.Sprintf("config g%d, %s", s.Config.Generation, ago(s.Config.Loaded, s.Now)), "v" + strings.TrimPrefix(s.Version, "v"),
	}
	if s.Host == "" {
		parts = parts[1:]
	}
	b.WriteString(audit.Printable(strings.Join(parts, "   ")) + "\n")
	t := &s.Traffic
	figures := []string{
		thousands(int(t.Allowed)) + " allowed", thousands(int(t.Refused)) + " refused", thousands(int(t.Upstream5xx)) + " upstream 5xx",
	}
	if t.Allowed > 0 {
		figures = append(figures, "+"+admin.Milliseconds(t.AddedP99)+" p99")
	}
	fmt.Fprintf(b, "%s:  %s\n", span(time.Duration(t.Seconds)*time.Second), strings.Join(figures, "   "))
}

func (s *seen) attention(b *strings.Builder) {
	b.WriteString("\n")
	if len(s.Attention) == 0 {
		b.WriteString("Nothing needs attention.\n")
		return
	}
	b.WriteString("NEEDS ATTENTION\n")
	subject, state := 0, 0
	states := make([]string, len(s.Attention))
	for i, a := range s.Attention {
		states[i] = audit.Printable(a.State)
		if !a.Since.IsZero() && s.Now.Sub(a.Since) > time.Second {
			states[i] = strings.TrimSpace(states[i] + " " + age(a.Since, s.Now))
		}
		subject, state = max(subject, len([]rune(audit.Printable(a.Subject)))), max(state, len([]rune(states[i])))
	}
	subject = min(subject, 20)
	for i, a := range s.Attention {
		head := fmt.Sprintf("  %-*s  %-*s  ", subject, cut(audit.Printable(a.Subject), subject), state, states[i])
		text := wrap(audit.Printable(a.Text), columns-2-len([]rune(head)))
		if a.Do != "" {
			text = append(text, wrap(audit.Printable(a.Do), columns-2-len([]rune(head)))...)
		}
		for _, t := range text {
			b.WriteString(strings.TrimRight(head+t, " ") + "\n")
			head = strings.Repeat(" ", len([]rune(head)))
		}
	}
}

func (s *seen) rules(b *strings.Builder) {
	b.WriteString("\n")
	t := newTable("RULE", "/s", "refused", "4xx", "5xx", "p99", "CREDENTIAL", "CALLERS")
	for _, i := range []int{1, 2, 3, 4, 5} {
		t.right[i] = true
	}
	t.max[0], t.max[6], t.max[7] = 20, 16, 20
	left := 0
	for _, r := range s.Rules {
		if len(s.Rules) > statusRules && r.Allowed+r.Refused == 0 {
			left++
			continue
		}
		callers := strings.Join(r.Callers, ", ")
		if callers == "" {
			callers = "anyone"
		}
		t.add(append(traffic(r.RuleTraffic, r.Action), strings.Join(r.Credentials, ", "), callers)...)
		t.rows[len(t.rows)-1][0] = audit.Printable(r.ID)
	}
	if n := s.NoRule; n.Allowed+n.Refused > 0 {
		t.add(append(traffic(n, "deny"), "", "")...)
		t.rows[len(t.rows)-1][0] = "(no rule)"
	}
	t.write(b, "")
	if left > 0 {
		fmt.Fprintf(b, "and %s that nobody called\n", count(left, "rule"))
	}
}

// traffic is the first six cells of a rule's row, its name left to fill in.
func traffic(t admin.RuleTraffic, action string) []string {
	cells := []string{"", fmt.Sprintf("%.1f", t.PerSecond), thousands(int(t.Refused)), thousands(int(t.Upstream4xx)), thousands(int(t.Upstream5xx)), "-"}
	if t.UpstreamP99 > 0 {
		cells[5] = admin.Milliseconds(t.UpstreamP99)
	}
	if action != "allow" { // its calls are never seen to go upstream
		cells[3], cells[4] = "-", "-"
	}
	return cells
}

func (s *seen) secrets(b *strings.Builder) {
	b.WriteString("\n")
	if len(s.Secrets) == 0 {
		b.WriteString("SECRETS      none\n")
		return
	}
	t := newTable("SECRET", "STATE", "GEN", "SINCE", "NEXT LOOK", "SOURCE")
	t.right[2] = true
	t.max[0] = 22
	for _, v := range s.Secrets {
		generation, since, next := "-", "-", "-"
		if v.Generation > 0 {
			generation, since = fmt.Sprint(v.Generation), age(v.Since, s.Now)
		}
		if !v.NextLook.IsZero() {
			next = age(s.Now, v.NextLook)
		}
		t.add(v.Name, v.State, generation, since, next, v.Source)
	}
	t.write(b, "")
}

func (s *seen) identity(b *strings.Builder) {
	b.WriteString("\n")
	row := func(key, text string) {
		for i, l := range wrap(audit.Printable(text), columns-13) {
			b.WriteString(strings.TrimRight(fmt.Sprintf("%-11s  %s", first(i, key), l), " ") + "\n")
		}
	}
	switch id := s.Identity; {
	case id == nil:
		row("IDENTITY", "none configured")
	case len(id.SVIDs) == 0:
		row("IDENTITY", "none yet from "+id.Source)
	default:
		for i, svid := range id.SVIDs {
			state := "ends in " + age(s.Now, svid.NotAfter)
			if !s.Now.Before(svid.NotAfter) {
				state = "EXPIRED " + age(svid.NotAfter, s.Now) + " ago"
			}
			row(first(i, "IDENTITY"), svid.ID+"   "+state)
		}
	}
	if n := len(s.CA); n > 0 {
		newest := s.CA[n-1]
		row("CA", fmt.Sprintf("%s, %s, for %s, until %s", count(n, "generation"), "newest "+newest.ID, cmp.Or(cut(strings.Join(newest.Permits, ", "), 120), "no host"), newest.NotAfter.UTC().Format(time.DateOnly)))
	}
}

func (s *seen) refusals(b *strings.Builder) {
	b.WriteString("\n")
	if len(s.Kinds) == 0 {
		b.WriteString("REFUSED      nothing that is remembered\n")
		return
	}
	t := newTable("REFUSED", "LAST", "REASON", "CALLER", "CALL")
	t.right[0] = true
	t.max[2], t.max[3] = 20, 12
	var below []string // the latest one's id, and what to do
	for _, k := range s.Kinds[:min(len(s.Kinds), statusRefusals)] {
		e := &k.Last
		call := e.Host
		if e.Port != 443 {
			call = hostPort(e.Host, e.Port)
		}
		if e.Method != "CONNECT" {
			call = e.Method + " " + call
		}
		t.add(thousands(k.Count)+"x", e.Time.UTC().Format("15:04:05"), e.Reason, e.Caller.Name, call)
		below = append(below, cut("         "+audit.Printable(e.RequestID+"  "+k.Hint), columns))
	}
	var rows strings.Builder
	t.write(&rows, "")
	for i, row := range strings.Split(strings.TrimSuffix(rows.String(), "\n"), "\n") {
		b.WriteString(row + "\n")
		if i > 0 {
			b.WriteString(below[i-1] + "\n")
		}
	}
	if n := len(s.Kinds) - statusRefusals; n > 0 {
		fmt.Fprintf(b, "         and %s before\n", count(n, "other kind"))
	}
	b.WriteString("         attache explain ID tells what happened.\n")
}

// age is how long after from to is, in one unit.
func age(from, to time.Time) string {
	if !from.Before(to) {
		return "now"
	}
	return strings.TrimSuffix(ago(from, to), " ago")
}

// span is a length of time in one unit, as a heading has it.
func span(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	return fmt.Sprintf("%d min", int(d.Minutes()))
}

func hostPort(host string, port int) string {
	if port == 0 {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}
