package admin

import (
	"fmt"
	"html/template"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

// pageFuncs are what the page's template says things with. What a client or an upstream chose goes
// through p, as on terminals: what does not print could turn the text around it.
func pageFuncs() template.FuncMap {
	return template.FuncMap{
		"p": audit.Printable, "upper": strings.ToUpper, "thousands": thousands, "ms": msText, "few": few,
		"ahead": ahead, "age": age, "ago": ago, "clockOf": clockOf, "rfc": func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"expired": func(t, now time.Time) bool { return !now.Before(t) }, "secretClass": secretClass, "callOf": callOf,
	}
}

func secretClass(s SecretStatus) string {
	switch {
	case s.Healthy:
		return "good"
	case s.State == "STALE":
		return warning
	}
	return failing
}

// age is how long after from to is, in one unit.
func age(from, to time.Time) string {
	switch d := to.Sub(from); {
	case d < time.Second:
		return "now"
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// ahead is when something to come is.
func ahead(now, t time.Time) string {
	if a := age(now, t); a != "now" {
		return "in " + a
	}
	return "now"
}

func ago(t, now time.Time) string {
	if a := age(t, now); a != "now" {
		return a + " ago"
	}
	return "now"
}

func clockOf(t, now time.Time) string {
	if t.UTC().Format(time.DateOnly) == now.UTC().Format(time.DateOnly) {
		return t.UTC().Format("15:04:05")
	}
	return t.UTC().Format("2 Jan 15:04")
}

func spanOf(d time.Duration) string {
	if d < 2*time.Second {
		return "second"
	}
	if d < time.Minute {
		return fmt.Sprintf("%d seconds", int(d.Seconds()))
	}
	if d < 2*time.Minute {
		return "minute"
	}
	return fmt.Sprintf("%d minutes", int(d.Minutes()))
}

// few is a list, shortened.
func few(all []string) string {
	shown := all[:min(len(all), allPermits)]
	text := audit.Printable(strings.Join(shown, ", "))
	if n := len(all) - len(shown); n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return text
}

// thousands is n with a comma after every three digits.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// msText is Milliseconds where nothing may have been measured.
func msText(ms float64) string {
	if ms == 0 {
		return "–"
	}
	return Milliseconds(ms)
}

// Milliseconds is a duration as people read it: "0.4 ms", "412 ms", "2.1 s".
func Milliseconds(ms float64) string {
	switch {
	case ms >= 10_000:
		return fmt.Sprintf("%.0f s", ms/1000)
	case ms >= 1000:
		return fmt.Sprintf("%.1f s", ms/1000)
	case ms >= 10:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= .1:
		return fmt.Sprintf("%.1f ms", ms)
	default:
		return fmt.Sprintf("%.2f ms", ms)
	}
}

// callOf is "POST api.stripe.com", with its port if that is not the usual one.
func callOf(e audit.Event) string {
	host := e.Host
	if e.Port != 0 && e.Port != 443 {
		host = net.JoinHostPort(host, strconv.Itoa(int(e.Port)))
	}
	return strings.TrimSpace(e.Method + " " + host)
}
