package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/cmd/internal/explain"
	"github.com/attache-proxy/attache/proxy/policy"
)

type explainCmd struct {
	configFlag
	adminFlag
	outputFlag
	Method string `arg:"" name:"method" help:"HTTP method, as in POST. Alone: the request id of a call that was made."`
	URL    string `arg:"" optional:"" name:"url" help:"What would be called, as in https://api.stripe.com/v1/charges."`
	Caller string `placeholder:"NAME" help:"Name of the caller, as configured, or a SPIFFE ID. Without it: one that has proven nothing."`
	Live   bool   `help:"Let the running proxy decide, by the configuration and secrets it has now."`
}

func (e explainCmd) Run(c *console) error {
	switch {
	case e.URL == "" && strings.ContainsAny(e.Method, "/.:"):
		return &app.UsageError{Err: errors.New("explain needs a method before the URL"), Hint: "attache explain GET " + e.Method}
	case e.URL == "" && slices.Contains([]string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"}, strings.ToUpper(e.Method)):
		return &app.UsageError{Err: errors.New("explain needs a URL after the method"), Hint: "attache explain " + e.Method + " https://api.stripe.com/v1/charges"}
	case e.URL == "":
		return e.call(c)
	case e.Live:
		return e.live(c)
	}
	path, err := e.find()
	if err != nil {
		return err
	}
	cfg, err := app.LoadConfig(path, e.Profile, thisBuild().required())
	if err != nil {
		return err
	}
	x, err := e.explain(cfg, time.Now())
	if err != nil {
		return err
	}
	if e.json() {
		return printJSON(c.out, x)
	}
	printAccount(c.out, x)
	if e.Caller == "" && x.Reason == string(policy.CallerNotAllowed) {
		var names []string
		for _, spec := range cfg.Callers {
			names = append(names, spec.Name)
		}
		for _, text := range wrap("Asked of a caller that has proven nothing; --caller names one: "+strings.Join(names, ", "), columns-2) {
			fmt.Fprintln(c.out, "  "+text)
		}
	}
	return nil
}

// live has the running proxy decide.
func (e explainCmd) live(c *console) error {
	client, err := e.client(e.configFlag)
	if err != nil {
		return err
	}
	query := url.Values{"method": {e.Method}, "url": {e.URL}, "caller": {e.Caller}}
	var raw json.RawMessage
	var x explain.Account
	if err := client.get(context.Background(), "/api/explain?"+query.Encode(), &raw, &x); err != nil {
		return c.reportAdmin(err)
	}
	if e.json() {
		return printJSON(c.out, raw)
	}
	printAccount(c.out, &x)
	return nil
}

// call tells what became of a call that was made.
func (e explainCmd) call(c *console) error {
	client, err := e.client(e.configFlag)
	if err != nil {
		return err
	}
	var raw json.RawMessage
	var told toldCall
	err = client.get(context.Background(), "/api/decision/"+url.PathEscape(e.Method), &raw, &told)
	if refused, ok := errors.AsType[*refusedAnswer](err); ok && refused.Status == http.StatusNotFound && refused.Reason == "call_unknown" {
		return e.forgotten(c, refused)
	}
	if err != nil {
		return c.reportAdmin(err)
	}
	if e.json() {
		return printJSON(c.out, raw)
	}
	if len(told.Events) == 0 {
		return errors.New("the proxy's answer holds no event")
	}
	told.print(c.out)
	return nil
}

// forgotten says how far back the running proxy remembers.
func (e explainCmd) forgotten(c *console, refused *refusedAnswer) error {
	if e.json() {
		if err := printJSON(c.out, json.RawMessage(refused.body)); err != nil {
			return err
		}
		return exitCode(exitFailed)
	}
	var m struct {
		Memory struct {
			Events, Refusals int
			Since            time.Time
			RefusalsSince    time.Time `json:"refusals_since"`
		}
	}
	_ = json.Unmarshal(refused.body, &m)
	fmt.Fprintf(c.err, "attache: request id %q: not one that the running proxy remembers\n", e.Method)
	now, parts := time.Now(), []string{}
	if m.Memory.Refusals > 0 {
		parts = append(parts, fmt.Sprintf("the last %s, back to %s", count(m.Memory.Refusals, "refusal"), ago(m.Memory.RefusalsSince, now)))
	}
	if m.Memory.Events > 0 {
		parts = append(parts, fmt.Sprintf("the last %s of any kind, back to %s", count(m.Memory.Events, "event"), ago(m.Memory.Since, now)))
	}
	if len(parts) == 0 {
		parts = []string{"nothing yet"}
	}
	field(c.err, 12, "remembered", strings.Join(parts, "; "))
	field(c.err, 12, "older ones", "are in the audit log, if audit.file is set: grep "+e.Method)
	return exitCode(exitFailed)
}

func (e explainCmd) explain(cfg *config.Config, now time.Time) (*explain.Account, error) {
	x, err := explain.Call(cfg, e.Method, e.URL, e.Caller, now)
	if unknown, ok := errors.AsType[*explain.CallerError](err); ok {
		return nil, &app.UsageError{Err: err, Hint: unknown.Hint()}
	}
	if err != nil {
		return nil, &app.UsageError{Err: err, Hint: "attache explain POST https://api.example.com/v1/things"}
	}
	return x, nil
}
