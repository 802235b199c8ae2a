package admin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:embed page
var pageFiles embed.FS

// statusPage is the page, ready to be filled in. It is made when first asked for: most proxies are
// never looked at, and it takes memory.
type statusPage struct {
	template *template.Template
	style    template.CSS
	script   template.JS
	policy   string // its Content-Security-Policy
}

func newStatusPage() *statusPage {
	read := func(name string) string {
		b, err := pageFiles.ReadFile("page/" + name)
		if err != nil {
			panic(err) // it is embedded
		}
		return string(b)
	}
	style, script := read("page.css"), read("page.js")
	return &statusPage{
		template: template.Must(template.New("page").Funcs(pageFuncs()).Parse(read("page.html"))),
		style:    template.CSS(style), script: template.JS(script),
		policy: "default-src 'none'; style-src " + hashSource(style) + "; script-src " + hashSource(script) +
			"; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
	}
}

// hashSource allows one inline text (CSP Level 3 §2.3.1).
func hashSource(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// home shows the status page to browsers, and to others what there is.
func (h *handler) home(page func() *statusPage) func(w http.ResponseWriter, r *http.Request) {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "Accept")
		if !strings.Contains(r.Header.Get("Accept"), "text/html") {
			h.index(w, r)
			return
		}
		p := page()
		v := h.view(time.Now())
		v.Style, v.Script = p.style, p.script
		var b bytes.Buffer
		if err := p.template.Execute(&b, v); err != nil {
			h.o.Log.Error("status page cannot be made", "error", err)
			refuse(w, http.StatusInternalServerError, "internal", "this cannot be shown", "The log says why.")
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", p.policy)
		w.Header().Set("Cross-Origin-Opener-Policy", "same-origin")
		_, _ = w.Write(b.Bytes())
	}
}

// pageOnce makes the page when it is first asked for.
func pageOnce() func() *statusPage { return sync.OnceValue(newStatusPage) }

const (
	allRules   = 40 // more are shown only if they were called
	allKinds   = 12
	allPermits = 3
)

// view is all that the page shows.
type view struct {
	Summary
	StateClass, Span string
	Plots            []plot
	Shown, Quiet     []ruleView
	Unruled          *ruleView
	MoreKinds        int
	Authorities      []CAStatus
	Paths            []string
	Style            template.CSS
	Script           template.JS
}

// ruleView is a row of the rules.
type ruleView struct {
	RuleSummary
	What, Spark, Four, Five string
}

func (h *handler) view(now time.Time) view {
	v := view{Summary: h.summary(now)}
	v.StateClass = map[string]string{"ready": "good", "starting": warning, "draining": warning}[v.State]
	v.Span = spanOf(time.Duration(v.Traffic.Seconds) * time.Second)
	v.Plots = plots(&v.Traffic)
	for _, r := range v.Rules {
		row := newRuleView(r)
		if len(v.Rules) > allRules && r.Allowed+r.Refused == 0 {
			v.Quiet = append(v.Quiet, row)
			continue
		}
		v.Shown = append(v.Shown, row)
	}
	if v.NoRule.Allowed+v.NoRule.Refused > 0 {
		row := newRuleView(RuleSummary{RuleStatus{Action: "deny"}, v.NoRule})
		v.Unruled = &row
	}
	v.MoreKinds = max(0, len(v.Kinds)-allKinds)
	v.Kinds = v.Kinds[:len(v.Kinds)-v.MoreKinds]
	v.Authorities = slices.Clone(v.CA)
	slices.Reverse(v.Authorities)
	for _, path := range slices.Sorted(maps.Keys(h.pages)) {
		if h.pages[path].about != "" && h.pages[path].post == nil && path != decisionPath && path != "/api/explain" { // which need to be told what
			v.Paths = append(v.Paths, path)
		}
	}
	return v
}

func newRuleView(r RuleSummary) ruleView {
	v := ruleView{RuleSummary: r, Spark: bars(r.PerMinute, nil, 75, 18, 0), Four: "–", Five: "–"}
	if r.Action == "allow" { // others' calls are never seen to go upstream
		v.Four, v.Five = thousands(r.Upstream4xx), thousands(r.Upstream5xx)
	}
	if r.Allowed+r.Refused == 0 {
		v.Spark = ""
	}
	switch r.Action {
	case "deny":
		v.What = "denied"
	case "tunnel":
		v.What = "passed on unopened"
	}
	if len(r.Methods)+len(r.Paths) > 0 {
		v.What = strings.TrimSpace(v.What + " " + strings.Join(r.Methods, " ") + " " + few(r.Paths))
	}
	return v
}
