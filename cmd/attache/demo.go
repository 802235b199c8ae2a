package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

type demoCmd struct {
	outputFlag
	Keep     bool `help:"Keep it running afterwards, to call it yourself."`
	Identity bool `help:"Show callers by SPIFFE ID instead."`
}

// demoResult is everything that the demo measured.
type demoResult struct {
	Call        demoStep      `json:"call"`
	Destination demoStep      `json:"another_destination"`
	Caller      demoStep      `json:"another_caller"`
	Rotation    *demoRotation `json:"rotation"`
	Audit       []demoEvent   `json:"audit"`
	Millis      float64       `json:"ms"`
}

// demoStep is one call and what came of it.
type demoStep struct {
	Sent        string  `json:"app_sent"`
	Caller      string  `json:"caller"`
	CarriedKey  bool    `json:"app_sent_key"` // whether the key was in what the app sent
	Status      int     `json:"status"`
	Reason      string  `json:"reason,omitempty"`
	Millis      float64 `json:"ms"`
	APIReceived string  `json:"api_received,omitempty"` // empty: nothing, not even a connection
	GotBack     string  `json:"app_got_back,omitempty"`
	KeyEchoed   bool    `json:"api_echoed_key"` // whether the key was in what the API answered
	KeyCameBack bool    `json:"key_came_back"`
}

// demoEvent is what the audit said of one call.
type demoEvent struct {
	Decision   string `json:"decision"`
	Rule       string `json:"rule,omitempty"`
	Caller     string `json:"caller,omitempty"`
	Method     string `json:"method"`
	Host       string `json:"host"`
	Status     int    `json:"status"`
	Reason     string `json:"reason,omitempty"`
	Credential string `json:"credential,omitempty"`
	Generation uint64 `json:"generation,omitempty"`
	Proof      string `json:"proof,omitempty"`
}

func (d demoCmd) Run(c *console) (err error) {
	if d.Identity {
		return d.runIdentity(c)
	}
	w, err := newDemoWorld(context.Background())
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer func() {
		if e := w.close(); err == nil && e != nil {
			err = fmt.Errorf("demo: %w", e)
		}
	}()
	if !d.json() {
		demoIntro(c.out)
	}
	res, err := d.play(c.out, w)
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	if d.json() {
		if err := printJSON(c.out, res); err != nil {
			return err
		}
	} else {
		res.printAudit(c.out)
		demoOutro(c.out, d.Keep, w)
	}
	if d.Keep {
		w.keep(c.out)
	}
	if !res.good() {
		return exitCode(exitFailed)
	}
	return nil
}

// play runs the four parts, printing each as it ends.
func (d demoCmd) play(out io.Writer, w *demoWorld) (*demoResult, error) {
	began := time.Now()
	text := out
	if d.json() {
		text = io.Discard
	}
	res := &demoResult{}
	var err error
	if res.Call, err = w.call("checkout"); err != nil {
		return nil, err
	}
	res.Call.printCall(text)
	if res.Destination, err = w.connect("checkout", "evil.test:443"); err != nil {
		return nil, err
	}
	res.Destination.printRefusal(text, 2, "Another destination", "")
	if res.Caller, err = w.call("reports"); err != nil {
		return nil, err
	}
	res.Caller.printRefusal(text, 3, "Another caller", "as reports")
	for range 3 {
		e, err := w.event()
		if err != nil {
			return nil, err
		}
		res.Audit = append(res.Audit, e)
	}
	if res.Rotation, err = w.rotate(2000, 32); err != nil {
		return nil, err
	}
	res.Rotation.print(text)
	res.Millis = millis(time.Since(began))
	return res, nil
}

// good reports whether everything came out as Attaché promises.
func (r *demoResult) good() bool {
	return r.Call.Status == 200 && !r.Call.CarriedKey && r.Call.KeyEchoed && !r.Call.KeyCameBack &&
		r.Destination.Status == 403 && r.Destination.APIReceived == "" &&
		r.Caller.Status == 403 && r.Caller.APIReceived == "" && r.Rotation.Failed == 0 && r.Rotation.CameBack == 0
}

func demoEventOf(e *audit.Event) demoEvent {
	d := demoEvent{
		Decision: string(e.Decision), Rule: e.Rule, Caller: e.Caller, Method: e.Method,
		Host: e.Host, Status: e.Status, Reason: e.Reason, Proof: e.Proof,
	}
	for _, c := range e.Credentials {
		d.Credential, d.Generation = c.Name, c.Generation
	}
	return d
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
