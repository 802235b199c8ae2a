package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// identityResult is everything that the demo of identities measured.
type identityResult struct {
	Calls   []identityStep `json:"calls"`
	Revoked identityEnd    `json:"federation_ended"`
	Audit   []demoEvent    `json:"audit"`
	Millis  float64        `json:"ms"`
}

// identityStep is one call and what came of it.
type identityStep struct {
	Title   string `json:"title"`
	Showed  string `json:"showed"` // SPIFFE ID
	As      string `json:"as"`     // X509-SVID, JWT-SVID
	expects string // reason; empty: an answer
	demoStep
}

// identityEnd is what came of a connection that was open when its caller's trust domain was let go.
type identityEnd struct {
	Showed   string  `json:"showed"`
	Answered int     `json:"answered"` // calls before
	Status   int     `json:"status"`   // of the first that was not
	Reason   string  `json:"reason"`
	Millis   float64 `json:"ms"`     // from the end of the federation to that
	Leaked   int     `json:"leaked"` // calls that the API received afterwards
}

func (d demoCmd) runIdentity(c *console) (err error) {
	w, err := newIdentityWorld(context.Background())
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() {
		if e := w.close(); err == nil && e != nil {
			err = fmt.Errorf("demo: %w", e)
		}
	}()
	var text io.Writer = c.out
	if d.json() {
		text = io.Discard
	}
	fmt.Fprint(text, `
  Two workloads call a payment API by one Attaché, which knows each by the
  SPIFFE ID that its platform gave it. Neither holds a key. The Workload API,
  the proxy and the payment API run in this process, on loopback.
`)
	res, err := w.play(text)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if d.json() {
		if err := printJSON(c.out, res); err != nil {
			return err
		}
	} else {
		res.printAudit(c.out)
		w.outro(c.out, d.Keep)
	}
	if d.Keep {
		w.keep(c.out)
	}
	if !res.good() {
		return exitCode(exitFailed)
	}
	return nil
}

// play makes the calls, printing each as it ends.
func (w *identityWorld) play(out io.Writer) (*identityResult, error) {
	began := time.Now()
	res := &identityResult{}
	for i, call := range []struct {
		title, method, path, expects string
		by                           shown
	}{
		{"checkout pays", "POST", "/v1/charges", "", w.svid(demoCheckout)},
		{"reports tries to pay", "POST", "/v1/charges", "caller_not_allowed", w.svid(demoReports)},
		{"reports reads, by a key of its own", "GET", "/v1/balance", "", w.jwt(demoReports, demoAttache)},
		{"A token that reports gave to somebody else", "GET", "/v1/balance", "proxy_auth_invalid", w.jwt(demoReports, "https://metrics.test")},
		{"The same path in a strange trust domain", "POST", "/v1/charges", "caller_handshake", w.svid(demoStranger)},
	} {
		step, err := w.callAs(call.by, call.method, call.path)
		if err != nil {
			return nil, err
		}
		step.Title, step.expects = call.title, call.expects
		e, err := w.event()
		if err != nil {
			return nil, err
		}
		if step.Reason == "" {
			step.Reason = e.Reason
		}
		step.print(out, i+1)
		res.Calls, res.Audit = append(res.Calls, step), append(res.Audit, e)
	}
	end, err := w.endFederation()
	if err != nil {
		return nil, err
	}
	end.print(out, len(res.Calls)+1)
	e, err := w.refusal()
	if err != nil {
		return nil, err
	}
	res.Revoked, res.Audit = end, append(res.Audit, e)
	res.Millis = millis(time.Since(began))
	return res, nil
}

// refusal is the next refusal in the audit.
func (w *identityWorld) refusal() (demoEvent, error) {
	for range 1000 {
		e, err := w.event()
		if err != nil || e.Decision == "refuse" {
			return e, err
		}
	}
	return demoEvent{}, errors.New("the audit is missing the refusal")
}

// good reports whether everything came out as Attaché promises.
func (r *identityResult) good() bool {
	for _, s := range r.Calls {
		if s.CarriedKey || s.KeyCameBack || s.Reason != s.expects || (s.APIReceived == "") != (s.expects != "") {
			return false
		}
	}
	return r.Revoked.Answered > 0 && r.Revoked.Reason == "caller_expired" && r.Revoked.Leaked == 0
}

func (s identityStep) print(w io.Writer, n int) {
	outcome := fmt.Sprintf("%d  in %.1f ms", s.Status, s.Millis)
	switch {
	case s.Status == 0:
		outcome = "refused  in TLS"
	case s.Reason != "":
		outcome = fmt.Sprintf("%d  %s", s.Status, s.Reason)
	}
	demoTitle(w, n, s.Title, outcome)
	demoLine(w, "app showed", s.Showed, s.As)
	demoLine(w, "app sent", s.Sent, keyNote(s.CarriedKey))
	received, note := s.APIReceived, "attached"
	if received == "" {
		received, note = "nothing", ""
	}
	demoLine(w, "API received", received, note)
}

func (e identityEnd) print(w io.Writer, n int) {
	demoTitle(w, n, "A federation ends under an open connection", fmt.Sprintf("%d  %s", e.Status, e.Reason))
	demoLine(w, "app showed", e.Showed, "X509-SVID")
	fmt.Fprintf(w, "     %s answered, then refused %.1f ms after the trust domain was let go\n", count(e.Answered, "call"), e.Millis)
	received := "nothing"
	if e.Leaked > 0 {
		received = count(e.Leaked, "CALL")
	}
	demoLine(w, "API received", received, "after the refusal")
}

func (r *identityResult) printAudit(w io.Writer) {
	fmt.Fprintln(w)
	for i, e := range r.Audit {
		last := e.Reason
		if e.Credential != "" {
			last = e.Credential
		}
		key := ""
		if i == 0 {
			key = "audit"
		}
		fmt.Fprintf(w, "  %-5s  %-6s  %-4s  %-8s  %-4s  %-7s  %-12s  %s\n",
			key, e.Decision, orDash(e.Rule), orDash(e.Caller), orDash(e.Proof), orDash(e.Method), orDash(e.Host), last)
	}
}

func (w *identityWorld) outro(out io.Writer, keep bool) {
	if !keep {
		fmt.Fprint(out, "\n  Play with it:  attache demo --identity --keep      More:  docs/identity.md\n\n")
		return
	}
	fmt.Fprintf(out, `
  It keeps running until Ctrl-C. Call it as checkout, or as reports:

     cd %s
     curl --cacert trust/ca.pem --proxy https://%s \
       --proxy-cacert bundle.pem --proxy-cert checkout.pem --proxy-key checkout.key \
       --data amount=5 https://api.pay.test/v1/charges

  Read the audit:  tail -f %s

  What the API receives:
`, w.dir, w.byName(), w.path("audit.jsonl"))
}
