package admin

import (
	"io"
	"net/http"
	"time"
)

const (
	changesApart = time.Second      // between two notices of change, at least
	changesAtAll = 10 * time.Second // and at most: what is shown grows older by itself
	eventsIdle   = 15 * time.Second // between two signs of life of a stream of events
	eventsWrite  = 10 * time.Second // for a reader to take what is written
)

// events streams audit events as Server-Sent Events (WHATWG HTML §9.2), each "event: audit" with the
// line of the audit as its data. With ?changes it only says that something changed, once a second at
// most, as "event: changed".
func (h *handler) events(w http.ResponseWriter, r *http.Request) {
	changes := r.URL.Query().Has("changes")
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	s := h.o.Feed.subscribe(!changes)
	if s == nil {
		w.Header().Set("Retry-After", "5")
		refuse(w, http.StatusServiceUnavailable, "admin_busy", "too many watch already, or this process is stopping", "Close a page that shows the status.")
		return
	}
	defer h.o.Feed.drop(s)
	w.Header().Set("Content-Type", "text/event-stream")
	out := stream{w, http.NewResponseController(w)}
	_ = out.rc.SetReadDeadline(time.Time{}) // of the whole request, which has come
	if out.send(": watching\n\n") != nil {
		return
	}
	if changes {
		out.changes(r, s)
		return
	}
	out.lines(r, s)
}

// stream writes events, each within its own time.
type stream struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (o stream) send(text string) error {
	_ = o.rc.SetWriteDeadline(time.Now().Add(eventsWrite))
	if _, err := io.WriteString(o.w, text); err != nil {
		return err
	}
	return o.rc.Flush()
}

func (o stream) lines(r *http.Request, s *subscriber) {
	idle := time.NewTicker(eventsIdle)
	defer idle.Stop()
	for {
		text := ": idle\n\n"
		select {
		case <-r.Context().Done():
			return
		case <-s.gone:
			return
		case line := <-s.lines:
			text = "event: audit\ndata: " + string(line) + "\n" // which ends in a newline, and holds no other
		case <-idle.C:
		}
		if o.send(text) != nil {
			return
		}
	}
}

func (o stream) changes(r *http.Request, s *subscriber) {
	apart := time.NewTimer(changesApart)
	defer apart.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case <-s.gone:
			return
		case <-apart.C:
		}
		apart.Reset(changesAtAll - changesApart)
		select {
		case <-r.Context().Done():
			return
		case <-s.gone:
			return
		case <-s.changed:
		case <-apart.C:
		}
		if o.send("event: changed\ndata: {}\n\n") != nil {
			return
		}
		apart.Reset(changesApart)
	}
}
