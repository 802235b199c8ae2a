package admin

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// browser is a headless Chromium, spoken to in the Chrome DevTools Protocol over two pipes.
type browser struct {
	to   *os.File
	mu   sync.Mutex
	last int
	wait map[int]chan message
	said map[string][]message // events by session
}

// message is a call, its answer, or an event.
type message struct {
	ID      int                       `json:"id,omitempty"`
	Session string                    `json:"sessionId,omitempty"`
	Method  string                    `json:"method,omitempty"`
	Params  json.RawMessage           `json:"params,omitempty"`
	Result  json.RawMessage           `json:"result,omitempty"`
	Error   *struct{ Message string } `json:"error,omitempty"`
}

// newBrowser starts Chromium, which can reach loopback only. Without one the test is skipped; in CI that is
// a failure.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("ATTACHE_CI") != "" {
			t.Fatal("chromium: not installed")
		}
		t.Skip("chromium: not installed")
	}
	reads, to, err := os.Pipe()
	check(t, err)
	from, writes, err := os.Pipe()
	check(t, err)
	cmd := exec.Command(path, "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--user-data-dir="+t.TempDir(),
		"--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--disable-default-apps", "--disable-extensions", "--no-pings", "--no-proxy-server", "--hide-scrollbars",
		"--force-device-scale-factor=1", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank")
	cmd.ExtraFiles = []*os.File{reads, writes} // descriptors 3 and 4
	check(t, cmd.Start())
	reads.Close()
	writes.Close()
	b := &browser{to: to, wait: map[int]chan message{}, said: map[string][]message{}}
	var reading sync.WaitGroup
	reading.Go(func() { b.read(from) })
	t.Cleanup(func() {
		_, _ = b.try("", "Browser.close", nil)
		to.Close()
		_ = cmd.Wait()
		from.Close()
		reading.Wait()
	})
	return b
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// read takes what Chromium says, until it ends.
func (b *browser) read(from *os.File) {
	r := bufio.NewReader(from)
	for {
		text, err := r.ReadBytes(0)
		b.mu.Lock()
		if err != nil {
			for id, c := range b.wait {
				delete(b.wait, id)
				close(c)
			}
			b.wait = nil
			b.mu.Unlock()
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) == nil {
			if c := b.wait[m.ID]; m.ID != 0 && c != nil {
				delete(b.wait, m.ID)
				c <- m
			} else if m.Method != "" {
				b.said[m.Session] = append(b.said[m.Session], m)
			}
		}
		b.mu.Unlock()
	}
}

func (b *browser) try(session, method string, params any) (json.RawMessage, error) {
	p, err := json.Marshal(params)
	if err != nil {
		return nil, err
	}
	answer := make(chan message, 1)
	b.mu.Lock()
	if b.wait == nil {
		b.mu.Unlock()
		return nil, fmt.Errorf("%s: chromium has ended", method)
	}
	b.last++
	m := message{ID: b.last, Session: session, Method: method, Params: p}
	if params == nil {
		m.Params = nil
	}
	b.wait[m.ID] = answer
	text, _ := json.Marshal(m)
	_, err = b.to.Write(append(text, 0))
	b.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case a, ok := <-answer:
		if !ok {
			return nil, fmt.Errorf("%s: chromium has ended", method)
		}
		if a.Error != nil {
			return nil, fmt.Errorf("%s: %s", method, a.Error.Message)
		}
		return a.Result, nil
	case <-time.After(time.Minute):
		return nil, fmt.Errorf("%s: no answer", method)
	}
}

func (b *browser) call(t *testing.T, session, method string, params any) json.RawMessage {
	t.Helper()
	result, err := b.try(session, method, params)
	check(t, err)
	return result
}

// tab is one page in a browser.
type tab struct {
	t       *testing.T
	b       *browser
	session string
}

type tabOptions struct {
	Dark, NoScript bool
	Width, Height  int
}

// open shows a page and waits until it is loaded.
func (b *browser) open(t *testing.T, url string, o tabOptions) *tab {
	t.Helper()
	var target struct{ TargetID string }
	check(t, json.Unmarshal(b.call(t, "", "Target.createTarget", map[string]any{"url": "about:blank"}), &target))
	var attached struct{ SessionID string }
	check(t, json.Unmarshal(b.call(t, "", "Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}), &attached))
	p := &tab{t, b, attached.SessionID}
	for _, domain := range []string{"Page", "Runtime", "Log", "Audits", "Network"} {
		p.call(domain+".enable", nil)
	}
	scheme := "light"
	if o.Dark {
		scheme = "dark"
	}
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
	if o.Width > 0 {
		p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": o.Width, "height": o.Height, "deviceScaleFactor": 1, "mobile": o.Width < 500})
	}
	if o.NoScript {
		p.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": true})
	}
	p.call("Page.navigate", map[string]any{"url": url})
	p.await("the page to load", func() bool { return p.heard("Page.loadEventFired") })
	return p
}

func (p *tab) call(method string, params any) json.RawMessage {
	p.t.Helper()
	return p.b.call(p.t, p.session, method, params)
}

// heard reports whether an event has come.
func (p *tab) heard(method string) bool {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	return slices.ContainsFunc(p.b.said[p.session], func(m message) bool { return m.Method == method })
}

// eval is the value of an expression, as JSON.
func (p *tab) eval(expression string) string {
	p.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	check(p.t, json.Unmarshal(p.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}), &r))
	if r.ExceptionDetails != nil {
		p.t.Fatalf("%s: %s", expression, r.ExceptionDetails)
	}
	return string(r.Result.Value)
}

// text is what the page shows.
func (p *tab) text() string {
	p.t.Helper()
	var s string
	check(p.t, json.Unmarshal([]byte(p.eval("document.body.innerText")), &s))
	return s
}

// await waits until what holds.
func (p *tab) await(message string, what func() bool) {
	p.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.After(time.Minute); !what(); {
		select {
		case <-tick.C:
		case <-limit:
			p.t.Fatalf("not so within a minute: %s", message)
		}
	}
}

// troubles are errors, warnings and violations of policy that the browser told of.
func (p *tab) troubles() []string {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	var all []string
	for _, m := range p.b.said[p.session] {
		switch m.Method {
		case "Runtime.exceptionThrown", "Audits.issueAdded", "Log.entryAdded", "Runtime.consoleAPICalled", "Network.loadingFailed":
			if !strings.Contains(string(m.Params), `"level":"verbose"`) {
				all = append(all, m.Method+" "+string(m.Params))
			}
		}
	}
	return all
}

// picture is a screenshot as PNG: of the page from its top, as wide as its window, to the end of an element.
func (p *tab) picture(to string) []byte {
	p.t.Helper()
	var width, height float64
	check(p.t, json.Unmarshal([]byte(p.eval("innerWidth")), &width))
	check(p.t, json.Unmarshal([]byte(p.eval("Math.ceil(scrollY + document.querySelector("+strconv.Quote(to)+").getBoundingClientRect().bottom) + 16")), &height))
	var shot struct{ Data string }
	check(p.t, json.Unmarshal(p.call("Page.captureScreenshot", map[string]any{
		"format": "png", "captureBeyondViewport": true, "clip": map[string]float64{"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
	}), &shot))
	png, err := base64.StdEncoding.DecodeString(shot.Data)
	check(p.t, err)
	return png
}
