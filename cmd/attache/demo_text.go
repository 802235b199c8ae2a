package main

import (
	"fmt"
	"io"
	"strings"
)

func demoIntro(w io.Writer) {
	fmt.Fprint(w, `
  A shop calls a payment API without holding its key. Everything runs in this
  process: no network, no configuration. The key is made up.
`)
}

// demoTitle prints the first line of a part: its number and name, and the outcome to the right.
func demoTitle(w io.Writer, n int, title, outcome string) {
	fmt.Fprintf(w, "\n  %d  %-49s  %s\n", n, title, outcome)
}

// demoLine prints one fact of a part.
func demoLine(w io.Writer, key, text, note string) {
	fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("     %-13s  %-40s  %s", key, text, note), " "))
}

func (s demoStep) printCall(w io.Writer) {
	demoTitle(w, 1, "The call", fmt.Sprintf("%d  in %.1f ms", s.Status, s.Millis))
	demoLine(w, "app sent", s.Sent, keyNote(s.CarriedKey))
	received, note := s.APIReceived, "attached"
	if received == "" {
		received, note = "nothing", ""
	}
	demoLine(w, "API received", received, note)
	note = keyNote(s.KeyCameBack)
	if s.KeyEchoed && !s.KeyCameBack {
		note = "masked"
	}
	demoLine(w, "app got back", s.GotBack, note)
}

func keyNote(there bool) string {
	if there {
		return "THE KEY IS IN IT"
	}
	return "no key"
}

func (s demoStep) printRefusal(w io.Writer, n int, title, note string) {
	demoTitle(w, n, title, fmt.Sprintf("%d  %s", s.Status, s.Reason))
	demoLine(w, "app sent", s.Sent, note)
	received := s.APIReceived
	if received == "" {
		received = "nothing"
	}
	demoLine(w, "API received", received, "")
}

func (r *demoRotation) print(w io.Writer) {
	demoTitle(w, 4, "Rotation under load", fmt.Sprintf("%s of %s failed", thousands(r.Failed), thousands(r.Requests)))
	fmt.Fprintf(w, "     %s calls over %d connections in %.1f s while the key's file was replaced\n",
		thousands(r.Requests), r.Connections, r.Millis/1000)
	if r.Generation2 == 0 {
		fmt.Fprintf(w, "     generation 1 throughout: the change was not seen within %.0f s here\n", demoPatience.Seconds())
		return
	}
	fmt.Fprintf(w, "     generation 1, then 2; first used %.0f ms after the file changed\n", r.FirstUse)
	if r.CameBack == 0 {
		fmt.Fprintln(w, "     neither key in any answer, though the API repeats it in each")
	} else {
		fmt.Fprintf(w, "     A KEY IS IN %s ANSWERS\n", thousands(r.CameBack))
	}
}

func (r *demoResult) printAudit(w io.Writer) {
	fmt.Fprintln(w)
	for i, e := range r.Audit {
		last := e.Reason
		if e.Credential != "" {
			last = fmt.Sprintf("%s g%d", e.Credential, e.Generation)
		}
		key := ""
		if i == 0 {
			key = "audit"
		}
		fmt.Fprintf(w, "  %-5s  %-6s  %-3s  %-8s  %-7s  %-12s  %d  %s\n",
			key, e.Decision, orDash(e.Rule), orDash(e.Caller), e.Method, e.Host, e.Status, last)
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func demoOutro(w io.Writer, keep bool, d *demoWorld) {
	if !keep {
		fmt.Fprint(w, "\n  Play with it:  attache demo --keep      Make yours:  attache init stripe\n\n")
		return
	}
	fmt.Fprintf(w, `
  It keeps running until Ctrl-C. Call it:

     curl --cacert %s \
       --proxy http://checkout:%s@%s \
       --data amount=5 https://api.pay.test/v1/charges

  Rotate the key:  printf demo_another1 > %s
  Read the audit:  tail -f %s

  What the API receives:
`, d.path("trust", "ca.pem"), d.tokens["checkout"], d.proxy, d.path("pay-key"), d.path("audit.jsonl"))
}
