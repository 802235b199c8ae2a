package admin

import (
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"html"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/attache-proxy/attache/proxy/audit"
)

var pictures = flag.String("pictures", "", "a directory for screenshots of the status page")

// shop is a state as in the documentation: a shop's sidecar.
type shop struct {
	fakeState
	now   time.Time
	rules []RuleStatus
}

func (s *shop) Config() ConfigStatus {
	return ConfigStatus{Generation: 12, Loaded: s.now.Add(-4 * time.Hour), Files: []string{"/etc/attache/10-checkout.yaml", "/etc/attache/20-search.yaml"}}
}
func (s *shop) Rules() []RuleStatus { return s.rules }
func (s *shop) Secrets() []SecretStatus {
	return []SecretStatus{
		{Name: "stripe-key", Source: "file", State: "READY", Healthy: true, Generation: 7, Since: s.now.Add(-2 * time.Hour), NextLook: s.now.Add(11 * time.Second), Rules: []string{"stripe"}},
		{Name: "crm-token", Source: "file", Owner: "sales", State: "STALE", Reason: "permission denied (file /run/secrets/crm/token)", Generation: 4, Since: s.now.Add(-26 * time.Hour),
			StaleSince: s.now.Add(-38 * time.Minute), ServedUntil: s.now.Add(23 * time.Hour), NextLook: s.now.Add(20 * time.Second), Rules: []string{"crm"}},
		{Name: "openai-key", Source: "file", State: "READY", Healthy: true, Generation: 2, Since: s.now.Add(-6 * 24 * time.Hour), NextLook: s.now.Add(17 * time.Second), Expires: s.now.Add(40 * 24 * time.Hour), Rules: []string{"openai"}},
	}
}
func (s *shop) CA() []CAStatus {
	return []CAStatus{{ID: "feeee9a06f", Permits: []string{"api.stripe.com", "crm.example", "api.openai.com"}, Created: s.now.Add(-20 * 24 * time.Hour), NotAfter: s.now.Add(345 * 24 * time.Hour)}}
}

// newShop is that state with a quarter of an hour of traffic.
func newShop(now time.Time) (*shop, Options) {
	o := newOptions()
	o.Hostname, o.Version = "checkout-7d9f4", "v0.1.0"
	o.Recent, o.Window, o.Feed = audit.NewRecent(200), NewWindow(now.Add(-6*24*time.Hour)), NewFeed()
	o.Reasons = map[string]Reason{
		"no_rule":            {403, "policy", "No rule names the host.", "Add a rule for this host if the call should pass."},
		"method_not_allowed": {403, "policy", "The nearest rule allows other methods.", "Add the method to the rule if the call should pass."},
		"denied_by_rule":     {403, "policy", "A deny rule matched.", "Ask the rule's owner."},
	}
	s := &shop{now: now, rules: []RuleStatus{
		{ID: "no-refunds", Pos: "10-checkout.yaml:5", Hosts: []string{"api.stripe.com"}, Paths: []string{"/v1/refunds", "/v1/refunds/**"}, Action: "deny", Hint: "Refunds go through billing-api. Ask #payments."},
		{ID: "stripe", Owner: "payments", Pos: "10-checkout.yaml:9", Hosts: []string{"api.stripe.com"}, Methods: []string{"GET", "POST"}, Paths: []string{"/v1/**"}, Callers: []string{"pod"}, Action: "allow", Credentials: []string{"stripe-key"}},
		{ID: "crm", Owner: "sales", Pos: "10-checkout.yaml:16", Hosts: []string{"*.crm.example"}, Callers: []string{"pod"}, Action: "allow", Credentials: []string{"crm-token"}},
		{ID: "openai", Owner: "search", Pos: "20-search.yaml:4", Hosts: []string{"api.openai.com"}, Methods: []string{"POST"}, Paths: []string{"/v1/**"}, Callers: []string{"pod", "batch"}, Action: "allow", Credentials: []string{"openai-key"}},
		{ID: "packages", Pos: "20-search.yaml:12", Hosts: []string{"registry.npmjs.org"}, Action: "tunnel"},
	}}
	s.started = true
	s.identity = &IdentityStatus{
		Source: "unix:/spiffe/agent.sock", Generation: 31, SVIDs: []SVIDStatus{{ID: "spiffe://acme.example/ns/shop/sa/checkout", NotAfter: now.Add(42 * time.Minute)}},
		Bundles: []BundleStatus{{TrustDomain: "acme.example", X509: 2, JWT: 1}, {TrustDomain: "partner.example", Federated: true, X509: 1}},
	}
	var ids []string
	for _, r := range s.rules {
		ids = append(ids, r.ID)
	}
	o.Window.Configure(ids)
	traffic(now, &o)
	return s, o
}

// traffic records a quarter of an hour: mostly calls that pass, with some of everything.
func traffic(now time.Time, o *Options) {
	random := rand.New(rand.NewPCG(7, 7))
	n := 0
	record := func(e audit.Event) {
		n++
		e.Type, e.RequestID, e.Port = audit.Request, fmt.Sprintf("1M889EBX%08d", n), 443
		o.Window.Record(&e)
		o.Recent.Record(&e)
	}
	for second := -899; second <= 0; second++ {
		when := now.Add(time.Duration(second) * time.Second)
		load := 1 + .4*math.Sin(float64(second)/120)
		for range int(20 * load * (.8 + .4*random.Float64())) {
			e := audit.Event{Time: when, Decision: audit.Allow, Rule: "stripe", Caller: "pod", Status: 200, UpstreamStatus: 200, Credentials: []audit.Credential{{Name: "stripe-key"}}}
			e.Phases.FirstByte = time.Duration(80+40*random.NormFloat64()*random.NormFloat64()+30*load) * time.Millisecond
			e.Phases.Added = time.Duration(180+60*math.Abs(random.NormFloat64())*load) * time.Microsecond
			e.ClientCredential = random.Float64() < .03
			if random.Float64() < .0002 {
				e.Status, e.UpstreamStatus = 503, 503
			}
			record(e)
		}
		if second%9 == 0 {
			e := audit.Event{Time: when, Decision: audit.Allow, Rule: "openai", Caller: "pod", Status: 200, UpstreamStatus: 200}
			e.Phases.FirstByte, e.Phases.Added = time.Duration(600+400*random.Float64())*time.Millisecond, 240*time.Microsecond
			record(e)
		}
		if second%31 == 0 {
			e := audit.Event{Time: when, Decision: audit.Allow, Rule: "crm", Caller: "pod", Status: 200, UpstreamStatus: 200}
			e.Phases.FirstByte, e.Phases.Added = 35*time.Millisecond, 200*time.Microsecond
			record(e)
		}
		switch second {
		case -800, -640, -410, -407, -402, -399, -120, -60, -31:
			record(audit.Event{Time: when, Decision: audit.Refuse, Reason: "denied_by_rule", Fault: "policy", Rule: "no-refunds", Caller: "pod", Method: "POST", Host: "api.stripe.com", Status: 403})
		case -700, -22:
			record(audit.Event{Time: when, Decision: audit.Refuse, Reason: "no_rule", Fault: "policy", NearestRule: "stripe", DiffersBy: "host", Caller: "pod", Method: "CONNECT", Host: "api.segment.io", Status: 403})
		case -300:
			record(audit.Event{Time: when, Decision: audit.Refuse, Reason: "method_not_allowed", Fault: "policy", NearestRule: "openai", DiffersBy: "method", Caller: "batch", Method: "DELETE", Host: "api.openai.com", Status: 403})
		}
	}
}

func pageOf(t *testing.T, s State, o Options) (http.Header, string) {
	t.Helper()
	base, client := serve(t, Handler(s, o))
	status, head, body := call{path: "/", header: map[string]string{"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}}.do(t, client, base)
	if status != 200 || head.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %v", status, head)
	}
	return head, body
}

func TestStatusPageTellsWhatMatters(t *testing.T) {
	s, o := newShop(time.Now())
	_, body := pageOf(t, s, o)
	for _, want := range []string{
		"<title>(2) Attaché · checkout-7d9f4</title>", "READY", "g12, 4h ago", "v0.1.0",
		"Needs attention", "crm-token", "STALE 38m", "permission denied (file /run/secrets/crm/token); g4 served until", "of calls still carry a key of the app&#39;s own",
		"api.stripe.com", "GET POST /v1/**", "payments · 10-checkout.yaml:9", "anyone", "passed on unopened",
		"denied_by_rule", "Refunds go through billing-api. Ask #payments.", "CONNECT api.segment.io", "nearest stripe", "differs by host",
		"spiffe://acme.example/ns/shop/sa/checkout", "partner.example (federated)", "feeee9a06f", "api.stripe.com, crm.example, api.openai.com only",
		`<td class="n">9</td>`, "no rule",
	} {
		if !strings.Contains(body, want) && !strings.Contains(html.UnescapeString(body), want) {
			t.Errorf("missing %q", want)
		}
	}
	if strings.Contains(body, "ZgotmplZ") {
		t.Error("the template refused a value")
	}
	for _, bad := range []string{"style=", "onclick", "http://", "https://", "javascript:"} {
		text := strings.ReplaceAll(body, "http://www.w3.org/2000/svg", "")
		if strings.Contains(text, bad) {
			t.Errorf("the page holds %s", bad)
		}
	}
}

// What stands inline is what the policy allows, and nothing else may run, load, send or frame.
func TestStatusPagePolicy(t *testing.T) {
	s, o := newShop(time.Now())
	head, body := pageOf(t, s, o)
	csp := head.Get("Content-Security-Policy")
	for _, element := range []string{"style", "script"} {
		found := regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllStringSubmatch(body, -1)
		if len(found) != 1 {
			t.Fatalf("%d %s elements", len(found), element)
		}
		sum := sha256.Sum256([]byte(found[0][1]))
		if want := element + "-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(csp, want) {
			t.Errorf("%s lacks %s", csp, want)
		}
	}
	for _, want := range []string{"default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
		if !strings.Contains(csp, want) {
			t.Errorf("%s lacks %s", csp, want)
		}
	}
	if strings.Contains(csp, "unsafe") || head.Get("Cache-Control") != "no-store" || head.Get("X-Content-Type-Options") != "nosniff" || head.Get("Vary") != "Accept" {
		t.Errorf("head %v", head)
	}
}

// hostileShop is a shop that clients and upstreams wish ill.
func hostileShop() (*shop, Options) {
	now := time.Now()
	s, o := newShop(now)
	evil := `"><script>window.owned=1</script><img src=x onerror=window.owned=1>` + "\u202e\x1b[2J\x00{{.}}" + strings.Repeat("wide", 60)
	o.Recent.Record(&audit.Event{
		Type: audit.Request, Time: now, RequestID: `../../-/reload?"onmouseover="window.owned=1`, Decision: audit.Refuse, Reason: "no_rule",
		NearestRule: evil, DiffersBy: "host", Caller: evil, Method: evil, Host: evil,
	})
	s.rules = append(s.rules, RuleStatus{ID: evil, Owner: evil, Pos: evil, Hosts: []string{evil}, Methods: []string{evil}, Paths: []string{evil}, Callers: []string{evil}, Credentials: []string{evil}, Action: "allow", Problem: evil})
	s.secrets = []SecretStatus{{Name: evil, Source: evil, State: "STALE", Reason: evil}}
	s.identity = &IdentityStatus{Source: evil, Problem: evil, SVIDs: []SVIDStatus{{ID: "spiffe://" + evil, Hint: evil}}, Bundles: []BundleStatus{{TrustDomain: evil}}}
	return s, o
}

func TestStatusPageEscapes(t *testing.T) {
	s, o := hostileShop()
	_, body := pageOf(t, s, o)
	if n := strings.Count(body, "<script"); n != 1 {
		t.Errorf("%d scripts", n)
	}
	for _, bad := range []string{"<img", `"onmouseover=`, "\u202e", "\x1b", "\x00", `href="javascript:`} {
		if strings.Contains(body, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	if !strings.Contains(body, `\u202e`) {
		t.Error("a character that turns the text around it is not shown as what it is")
	}
}

// luminance of a colour #rrggbb (WCAG 2.2, relative luminance).
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(hex, "#"), 16, 32)
	check(t, err)
	channel := func(shift int) float64 {
		c := float64(n>>shift&255) / 255
		if c <= .04045 {
			return c / 12.92
		}
		return math.Pow((c+.055)/1.055, 2.4)
	}
	return .2126*channel(16) + .7152*channel(8) + .0722*channel(0)
}

// Text is told from its ground by 4.5 to 1 or more, in the light and in the dark (WCAG 2.2 §1.4.3).
func TestStatusPageContrast(t *testing.T) {
	css, err := pageFiles.ReadFile("page/page.css")
	check(t, err)
	before, after, found := strings.Cut(string(css), "@media (prefers-color-scheme: dark)")
	if !found {
		t.Fatal("no dark colours")
	}
	after, _, _ = strings.Cut(after, "* {")
	for name, text := range map[string]string{"light": before, "dark": after} {
		colours := map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): (#[0-9a-f]{6})`).FindAllStringSubmatch(text, -1) {
			colours[m[1]] = m[2]
		}
		for _, pair := range [][2]string{
			{"text", "card"}, {"text", "page"}, {"text", "rule"}, {"soft", "card"}, {"soft", "page"}, {"link", "card"}, {"link", "page"}, {"good", "good-soft"}, {"good", "card"},
			{"warn", "warn-soft"}, {"warn", "card"}, {"bad", "bad-soft"}, {"bad", "card"}, {"soft", "warn-soft"}, {"soft", "bad-soft"}, {"text", "warn-soft"}, {"text", "bad-soft"},
		} {
			a, b := luminance(t, colours[pair[0]])+.05, luminance(t, colours[pair[1]])+.05
			if ratio := max(a, b) / min(a, b); ratio < 4.5 {
				t.Errorf("%s: %s on %s is %.1f to 1", name, pair[0], pair[1], ratio)
			}
		}
	}
}

func TestOthersThanBrowsersGetText(t *testing.T) {
	base, client := serve(t, Handler(&fakeState{}, newOptions()))
	for _, accept := range []string{"", "*/*", "application/json"} {
		if _, head, _ := (call{path: "/", header: map[string]string{"Accept": accept}}).do(t, client, base); !strings.HasPrefix(head.Get("Content-Type"), "text/plain") {
			t.Errorf("Accept %q: %v", accept, head)
		}
	}
}

func TestStatusPageOfManyRules(t *testing.T) {
	s, o := newShop(time.Now())
	for i := range 5000 {
		s.rules = append(s.rules, RuleStatus{ID: fmt.Sprint("rule-", i), Hosts: []string{"x"}})
	}
	if _, body := pageOf(t, s, o); len(body) > 400<<10 {
		t.Errorf("%d KiB", len(body)>>10)
	}
}

// TestPicturedStateIsTrue: docs/status-*.png are taken from newShop; what it shows exists.
func TestPicturedStateIsTrue(t *testing.T) {
	sources, err := os.ReadFile("../../docs/sources.md")
	check(t, err)
	s, _ := newShop(time.Now())
	for _, secret := range s.Secrets() {
		if !strings.Contains(string(sources), "\n| `"+secret.Source+"` |") {
			t.Errorf("%s comes from %q, which docs/sources.md does not have", secret.Name, secret.Source)
		}
	}
}

// TestStatusPageInABrowser looks at the page as people do.
func TestStatusPageInABrowser(t *testing.T) {
	s, o := newShop(time.Now())
	h := Handler(s, o)
	base, _ := serve(t, h)
	t.Cleanup(o.Feed.Close)
	b := newBrowser(t)
	for name, look := range map[string]tabOptions{
		"light": {Width: 1280, Height: 900}, "dark": {Dark: true, Width: 1280, Height: 900},
		"narrow": {Width: 390, Height: 844}, "narrow dark": {Dark: true, Width: 390, Height: 844}, "without scripts": {NoScript: true, Width: 1280, Height: 900},
	} {
		t.Run(name, func(t *testing.T) {
			p := b.open(t, base+"/", look)
			if !look.NoScript {
				p.await("the page to be live", func() bool { return strings.Contains(p.text(), "Live") })
			}
			text := p.text()
			for _, want := range []string{"checkout-7d9f4", "Needs attention", "api.segment.io", "spiffe://acme.example"} {
				if !strings.Contains(text, want) {
					t.Errorf("it does not show %q", want)
				}
			}
			if still := strings.Contains(text, "look again"); still != look.NoScript {
				t.Errorf("how to look again is shown: %v", still)
			}
			if wide := p.eval("document.documentElement.scrollWidth"); wide != fmt.Sprint(look.Width) {
				t.Errorf("it is %s wide in a window of %d", wide, look.Width)
			}
			if got := p.eval("getComputedStyle(document.documentElement).colorScheme"); got != `"light dark"` {
				t.Errorf("color-scheme %s", got)
			}
			background := p.eval("getComputedStyle(document.documentElement).backgroundColor")
			if dark := strings.HasPrefix(background, `"rgb(18,`); dark != look.Dark {
				t.Errorf("background %s", background)
			}
			if bad := p.troubles(); len(bad) > 0 {
				t.Errorf("the browser complains: %s", strings.Join(bad, "\n"))
			}
			if *pictures != "" {
				name = strings.ReplaceAll(name, " ", "-")
				check(t, os.WriteFile(filepath.Join(*pictures, name+".png"), p.picture("body"), 0o644))
				check(t, os.WriteFile(filepath.Join(*pictures, "status-"+name+".png"), p.picture("#rules"), 0o644)) // docs/status-light.png, docs/status-dark.png
			}
		})
	}
}

// TestStatusPageIsLive: what happens is shown without anybody doing anything, and what the reader does is left alone.
func TestStatusPageIsLive(t *testing.T) {
	s, o := newShop(time.Now())
	base, _ := serve(t, Handler(s, o))
	t.Cleanup(o.Feed.Close)
	p := newBrowser(t).open(t, base+"/", tabOptions{Width: 1280, Height: 900})
	p.await("the page to be live", func() bool { return strings.Contains(p.text(), "Live") })
	p.eval(`window.mark = document.getElementById("ca"); document.querySelector("#rules .scroll").focus(); scrollTo(0, 200)`)
	e := &audit.Event{Type: audit.Request, Time: time.Now(), RequestID: "1M889EBXLIVELIVE", Decision: audit.Refuse, Reason: "no_rule", Host: "new.example", Method: "CONNECT", Port: 443}
	for _, sink := range []audit.Sink{o.Recent, o.Window, o.Feed} {
		sink.Record(e)
	}
	p.await("the refusal to be shown", func() bool { return strings.Contains(p.text(), "1M889EBXLIVELIVE") })
	if p.eval(`document.activeElement.className`) != `"scroll"` || p.eval("scrollY") != "200" {
		t.Error("focus or place were lost")
	}
	if p.eval(`window.mark === document.getElementById("ca")`) != "true" {
		t.Error("what did not change was replaced")
	}
	if bad := p.troubles(); len(bad) > 0 {
		t.Errorf("the browser complains: %s", strings.Join(bad, "\n"))
	}
	o.Feed.Close() // the proxy ends
	p.await("the page to say that it is old", func() bool { return strings.Contains(p.text(), "what was last seen") })
}

// TestStatusPageHoldsOff: what clients chose neither runs nor breaks the page, live or not.
func TestStatusPageHoldsOff(t *testing.T) {
	s, o := hostileShop()
	base, _ := serve(t, Handler(s, o))
	t.Cleanup(o.Feed.Close)
	p := newBrowser(t).open(t, base+"/", tabOptions{Width: 1280, Height: 900})
	p.await("the page to be live", func() bool { return strings.Contains(p.text(), "Live") })
	o.Feed.Record(&audit.Event{Type: audit.Request})
	o.Window.Record(&audit.Event{Type: audit.Request, Time: time.Now(), Decision: audit.Allow})
	p.await("the page to be renewed", func() bool { return strings.Contains(p.text(), "any other host") })
	if got := p.eval("typeof window.owned"); got != `"undefined"` {
		t.Error("a client's text ran")
	}
	if wide := p.eval("document.documentElement.scrollWidth"); wide != "1280" {
		t.Errorf("a client's text makes the page %s wide", wide)
	}
	if bad := p.troubles(); len(bad) > 0 {
		t.Errorf("the browser complains: %s", strings.Join(bad, "\n"))
	}
}

// TestTimesReadAsWords: no "in now", no "1 minutes".
func TestTimesReadAsWords(t *testing.T) {
	now := time.Now()
	for got, want := range map[string]string{
		ahead(now, now): "now", ahead(now, now.Add(9*time.Second)): "in 9s",
		spanOf(time.Second): "second", spanOf(30 * time.Second): "30 seconds", spanOf(90 * time.Second): "minute", spanOf(2 * time.Minute): "2 minutes",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
