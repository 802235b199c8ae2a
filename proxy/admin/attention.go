package admin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Attention is one thing that somebody should see to, with the one thing to do.
type Attention struct {
	Severity string    `json:"severity"`        // "failing": calls are refused for it, or soon will be; "warning"
	Subject  string    `json:"subject"`         // a secret, a rule, "config", …
	State    string    `json:"state,omitempty"` // a word; the state of a secret
	Since    time.Time `json:"since,omitzero"`  // when it began, if that is known
	Text     string    `json:"text"`            // what is the matter
	Do       string    `json:"do,omitempty"`    // the one thing to do
}

const (
	failing = "failing"
	warning = "warning"
)

// How many calls of a rule must have gone wrong, and which share, before it is said.
const (
	someCalls = 3
	someShare = 0.01
	badShare  = 0.05
)

// attention lists what needs any, worst first. Lines of degraded that the Summary tells in more detail
// are left out.
func attention(s *Summary, degraded []string) []Attention {
	all := []Attention{}
	if s.Config.LastError != "" {
		all = append(all, Attention{
			Severity: failing, Subject: "config", State: "REJECTED", Text: firstLine(s.Config.LastError),
			Do: fmt.Sprintf("Mend the file: generation %d serves on until then.", s.Config.Generation),
		})
	}
	for i := range s.Secrets {
		all = append(all, ofSecret(&s.Secrets[i], s.Now)...)
	}
	all = append(all, ofIdentity(s.Identity, s.Now)...)
	for i := range s.Rules {
		all = append(all, ofRule(&s.Rules[i])...)
	}
	if n := s.NoRule.Observed; n > 0 {
		all = append(all, Attention{
			Severity: warning, Subject: "unmatched", State: "OBSERVED", Text: fmt.Sprintf("%s calls to hosts that no rule names passed unopened", thousands(n)),
			Do: "Write rules for them before unmatched.observe_until ends; attache check --replay lists them.",
		})
	}
	if n := len(s.CA); n > 0 && s.CA[n-1].NotAfter.Sub(s.Now) < 30*24*time.Hour {
		all = append(all, Attention{
			Severity: warning, Subject: "CA", State: "ENDS", Text: "the newest generation ends on " + s.CA[n-1].NotAfter.UTC().Format(time.DateOnly),
			Do: "If ca.cert was given, renew it; else restart, and let clients read ca.pem again.",
		})
	}
	for _, line := range degraded {
		subject, text, _ := strings.Cut(line, ": ")
		switch subject {
		case "files":
			all = append(all, Attention{Severity: warning, Subject: subject, State: "POLLED", Text: text, Do: "Changes are seen within half a minute all the same. Raise the limit on inotify instances to see them at once."})
		case "audit":
			all = append(all, Attention{Severity: failing, Subject: subject, State: "LOST", Text: text, Do: "What takes the log is too slow, or its disk is full."})
		}
	}
	slices.SortStableFunc(all, func(a, b Attention) int { return cmp.Compare(a.Severity, b.Severity) }) // failing < warning
	return all
}

func ofSecret(s *SecretStatus, now time.Time) []Attention {
	var all []Attention
	if !s.Healthy {
		a := Attention{Severity: failing, Subject: s.Name, State: s.State, Since: s.StaleSince, Text: cmp.Or(firstLine(s.Reason), "not there yet")}
		users := "there is none"
		if len(s.Rules) > 0 {
			users = "rule " + strings.Join(s.Rules, ", ") + " answers 503"
			if len(s.Rules) > 1 {
				users = "rules " + strings.Join(s.Rules, ", ") + " answer 503"
			}
		}
		switch {
		case s.State == "STALE" && !s.ServedUntil.IsZero():
			a.Text += fmt.Sprintf("; g%d served until %s", s.Generation, clock(s.ServedUntil, now))
			a.Do = "Mend the source before then: after it, " + users + "."
			if s.ServedUntil.Sub(now) > time.Hour {
				a.Severity = warning
			}
		case s.State == "STALE":
			a.Text += fmt.Sprintf("; g%d served on", s.Generation)
			a.Do = "Mend the source."
		case len(s.Rules) == 0:
			a.Severity, a.Do = warning, "Put it there: it is looked for until it comes."
		default:
			a.Text += "; " + users
			a.Do = "Put it there: it is looked for until it comes."
		}
		all = append(all, a)
	}
	for _, w := range s.Warnings {
		all = append(all, Attention{Severity: warning, Subject: s.Name, Text: w})
	}
	if s.Healthy && !s.Expires.IsZero() && s.Expires.Sub(now) < 24*time.Hour && s.NextLook.After(s.Expires) {
		all = append(all, Attention{Severity: warning, Subject: s.Name, State: "EXPIRES", Text: "expires " + clock(s.Expires, now), Do: "Rotate it: an expired one is never sent."})
	}
	return all
}

func ofIdentity(id *IdentityStatus, now time.Time) []Attention {
	if id == nil {
		return nil
	}
	var all []Attention
	for _, svid := range id.SVIDs {
		if !now.Before(svid.NotAfter) {
			all = append(all, Attention{Severity: failing, Subject: "identity", State: "EXPIRED", Since: svid.NotAfter, Text: svid.ID, Do: "Mend the agent: an expired SVID is never used."})
		}
	}
	switch {
	case id.Problem != "" && len(id.SVIDs) == 0:
		all = append(all, Attention{Severity: failing, Subject: "identity", State: "NONE", Since: id.Since, Text: firstLine(id.Problem), Do: "See that the workload is registered and the agent runs: " + id.Source + "."})
	case id.Problem != "":
		all = append(all, Attention{Severity: warning, Subject: "identity", State: "STALE", Since: id.Since, Text: firstLine(id.Problem), Do: "The present SVID serves until it expires. Mend the source: " + id.Source + "."})
	case len(id.SVIDs) == 0:
		all = append(all, Attention{Severity: failing, Subject: "identity", State: "NONE", Text: "no SVID yet", Do: "See that the workload is registered and the agent runs: " + id.Source + "."})
	}
	return all
}

func ofRule(r *RuleSummary) []Attention {
	var all []Attention
	if r.Problem != "" {
		all = append(all, Attention{Severity: failing, Subject: r.ID, State: "UPSTREAM", Text: firstLine(r.Problem), Do: "Mend the rule's upstream: its calls are refused."})
	}
	calls := r.Allowed + r.Refused
	if n := r.Unauthorized; n >= someCalls && share(n, r.Allowed) >= someShare {
		all = append(all, Attention{
			Severity: failing, Subject: r.ID, State: "401", Text: fmt.Sprintf("the API refuses the credential in %s of calls", percent(n, r.Allowed)),
			Do: "The key was revoked, or rotated elsewhere: put the new one at its source.",
		})
	}
	if n := r.Upstream5xx; n >= someCalls && share(n, r.Allowed) >= badShare {
		all = append(all, Attention{
			Severity: warning, Subject: r.ID, State: "5xx", Text: fmt.Sprintf("%s of calls fail upstream", percent(n, r.Allowed)),
			Do: "Not Attaché's doing: ask whoever runs the API.",
		})
	}
	if n := r.OwnCredentials; n > 0 && len(r.Credentials) > 0 && calls > 0 {
		all = append(all, Attention{
			Severity: warning, Subject: r.ID, State: "OWN KEY", Text: fmt.Sprintf("%s of calls still carry a key of the app's own", percent(n, calls)),
			Do: "Take the key out of the application: it is removed on the way and not needed.",
		})
	}
	return all
}

func share(n, of uint64) float64 { return float64(n) / float64(max(1, of)) }

// percent is "3 %", never 0 for something nor 100 for less than all.
func percent(n, of uint64) string {
	p := int(share(n, of)*100 + .5)
	switch {
	case p < 1:
		return "under 1 %"
	case p >= 100 && n < of:
		p = 99
	}
	return fmt.Sprintf("%d %%", p)
}

// clock is a moment in UTC, with its day if that is not today.
func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.Format(time.DateOnly) == now.Format(time.DateOnly) {
		return t.Format("15:04 UTC")
	}
	return t.Format("2 Jan 15:04 UTC")
}

// firstLine is the first of text's lines, and how many more there are.
func firstLine(text string) string {
	first, rest, more := strings.Cut(strings.TrimSpace(text), "\n")
	if n := strings.Count(rest, "\n") + 1; more {
		first = fmt.Sprintf("%s (and %d more)", first, n)
	}
	return first
}
