package admin

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

func (h *handler) addProbes() {
	h.pages["/livez"] = page{probe: true, get: h.livez, about: "200 while the process can answer"}
	h.pages["/readyz"] = page{probe: true, get: h.readyz, about: "200 once started and until it drains; ?verbose tells what does not work"}
	h.pages["/startupz"] = page{probe: true, get: h.startupz, about: "200 once every secret that is not optional was there"}
	if h.o.Metrics != nil {
		h.pages["/metrics"] = page{get: h.o.Metrics.Handler().ServeHTTP, about: "Prometheus metrics"}
	}
}

func (h *handler) livez(w http.ResponseWriter, _ *http.Request) { answer(w, true, "alive") }

func (h *handler) startupz(w http.ResponseWriter, _ *http.Request) {
	if h.state.Started() {
		answer(w, true, "started")
		return
	}
	answer(w, false, "starting")
}

// readyz fails before the start is complete and when draining, never for what broke later: one
// missing token must not take a pod out of service (DESIGN §9).
func (h *handler) readyz(w http.ResponseWriter, r *http.Request) {
	var text string
	ready := false
	switch {
	case h.state.Draining():
		text = "draining"
	case !h.state.Started():
		text = "starting"
	default:
		ready, text = true, "ready"
	}
	if r.URL.Query().Has("verbose") {
		if lines := h.state.Degraded(); len(lines) > 0 {
			text += fmt.Sprintf(", %d degraded\n%s", len(lines), strings.Join(lines, "\n"))
		}
	}
	answer(w, ready, text)
}

func answer(w http.ResponseWriter, ok bool, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = io.WriteString(w, text+"\n")
}
