package audit

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"
)

func TestRecentKeepsRefusalsApart(t *testing.T) {
	r := NewRecent(3)
	for i := range 20 {
		e := event(i)
		if i < 5 {
			e.Decision = Refuse
		}
		r.Record(e)
		var want []string
		for j := i; j >= 0 && j > i-3; j-- {
			want = append(want, fmt.Sprint(j))
		}
		if got := requestIDs(r.All()); got != strings.Join(want, " ") {
			t.Fatalf("after %d: %s, want %s", i, got, want)
		}
	}
	if got := requestIDs(r.Refusals()); got != "4 3 2" {
		t.Errorf("refusals: %s", got)
	}
	none := NewRecent(0)
	none.Record(event(1))
	if len(none.All()) != 0 {
		t.Error("a ring of none keeps events")
	}
}

func requestIDs(events []Event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.RequestID)
	}
	return strings.Join(all, " ")
}

func TestRecentFinds(t *testing.T) {
	r := NewRecent(3)
	if m := r.Memory(); m.Events != 0 || !m.EventsSince.IsZero() || len(r.Find("0")) != 0 {
		t.Errorf("%+v before anything", m)
	}
	for i := range 8 {
		e := event(i / 2)
		e.Time = time.Unix(int64(i), 0)
		if i < 2 {
			e.Decision = Refuse
		}
		r.Record(e)
	}
	if got := r.Find("3"); len(got) != 2 || got[0].Time.Unix() != 7 || got[1].Time.Unix() != 6 {
		t.Errorf("%+v", got)
	}
	if got := r.Find("0"); len(got) != 2 || got[0].Decision != Refuse {
		t.Errorf("a refusal that others pushed out: %+v", got)
	}
	if got := r.Find("1"); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if m := r.Memory(); m.Events != 3 || m.EventsSince.Unix() != 5 || m.Refusals != 2 || m.RefusalsSince.Unix() != 0 {
		t.Errorf("%+v", m)
	}
}

func TestRecentKeepsNothingOfTheEvent(t *testing.T) {
	r := NewRecent(2)
	line := "GET /v1/x?secret=query HTTP/1.1"
	e := &Event{Type: Request, Method: line[:3], Path: line[4:9], Host: strings.Repeat("h", 1000), Credentials: []Credential{{Name: "a"}}}
	r.Record(e)
	e.Credentials[0].Name = "changed"
	got := r.All()[0]
	if got.Credentials[0].Name != "a" || got.Method != "GET" || got.Path != "/v1/x" || len(got.Host) != 256 {
		t.Errorf("%+v", got)
	}
	if unsafe.StringData(got.Method) == unsafe.StringData(line) || unsafe.StringData(got.Path) == unsafe.StringData(line[4:]) {
		t.Error("the request line is kept, its query too")
	}
	got.Credentials[0].Name = "changed"
	if r.All()[0].Credentials[0].Name != "a" {
		t.Error("All gives what it keeps")
	}
}

func BenchmarkRecent(b *testing.B) {
	r, e := NewRecent(200), benchmarkEvent()
	b.ReportAllocs()
	for b.Loop() {
		r.Record(e)
	}
}
