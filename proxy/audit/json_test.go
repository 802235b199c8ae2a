package audit

import (
	"encoding/json"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// full is an Event with every field set, found by reflection so that none is forgotten.
func full() *Event {
	e := new(Event)
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		switch v.Interface().(type) {
		case time.Time:
			v.Set(reflect.ValueOf(time.Date(2026, 11, 2, 9, 12, 44, 71e6, time.FixedZone("", 3600))))
			return
		case time.Duration:
			v.SetInt(int64(1234567 * time.Nanosecond))
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				fill(v.Field(i))
			}
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 2, 2))
			fill(v.Index(0))
			fill(v.Index(1))
		case reflect.String:
			v.SetString("text")
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Int, reflect.Int64:
			v.SetInt(7)
		case reflect.Uint16, reflect.Uint64:
			v.SetUint(8)
		default:
			panic(v.Type().String())
		}
	}
	fill(reflect.ValueOf(e).Elem())
	e.Type = Request
	return e
}

// Never in a log (promise 7): no field of an Event can hold what must not be told.
func TestEventCannotHoldSecrets(t *testing.T) {
	forbidden := map[reflect.Type]bool{
		reflect.TypeFor[http.Header](): true, reflect.TypeFor[[]byte](): true,
		reflect.TypeFor[url.Values](): true, reflect.TypeFor[url.URL](): true,
	}
	seen := map[reflect.Type]bool{}
	var walk func(path string, ty reflect.Type)
	walk = func(path string, ty reflect.Type) {
		if seen[ty] {
			return
		}
		seen[ty] = true
		if ty == reflect.TypeFor[time.Time]() {
			return
		}
		if forbidden[ty] || strings.Contains(ty.PkgPath(), "inject") || strings.HasPrefix(ty.PkgPath(), "net/") {
			t.Errorf("%s is a %s", path, ty)
		}
		switch ty.Kind() {
		case reflect.Struct:
			for f := range ty.Fields() {
				walk(path+"."+f.Name, f.Type)
			}
		case reflect.Slice, reflect.Array:
			walk(path+"[]", ty.Elem())
		case reflect.Bool, reflect.String, reflect.Int, reflect.Int64, reflect.Uint16, reflect.Uint64:
		default: // pointers, maps, interfaces, functions can lead anywhere
			t.Errorf("%s is a %s", path, ty.Kind())
		}
	}
	walk("Event", reflect.TypeFor[Event]())
	if len(seen) < 10 {
		t.Fatalf("walked %d types only", len(seen))
	}
}

func TestAppendJSON(t *testing.T) {
	e := &Event{
		Type: Request, Time: time.Date(2026, 11, 2, 10, 12, 44, 71999999, time.FixedZone("", 3600)),
		RequestID: "01K", Decision: Refuse, Reason: "no_rule", Fault: "policy", NearestRule: "stripe", DiffersBy: "host",
		Caller: "ci", Proof: "token", Method: "POST", Host: "api.test", Port: 443, Status: 403, BytesIn: 5,
		Phases:      Phases{DNS: -1, Connect: -1, TLS: -1, FirstByte: -1, Total: 1500 * time.Microsecond},
		Credentials: []Credential{{Name: "k", Kind: "bearer", Generation: 2, Outcome: "attached", Age: 61 * time.Second}, {Name: "l", Outcome: "missing"}},
	}
	const want = `{"type":"request","time":"2026-11-02T09:12:44.071Z","request_id":"01K","decision":"refuse","reason":"no_rule","fault":"policy",` +
		`"nearest_rule":"stripe","differs_by":"host","caller":{"name":"ci","proof":"token"},"method":"POST","server.address":"api.test","server.port":443,` +
		`"status":403,"bytes":{"in":5,"out":0},"phase_ms":{"total":1.500},"credentials":[{"name":"k","kind":"bearer","generation":2,"outcome":"attached","age":61.000},` +
		`{"name":"l","outcome":"missing"}]}` + "\n"
	if got := string(AppendJSON([]byte("before "), e)); got != "before "+want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	out, err := json.Marshal(map[string]any{"events": []Event{*e}})
	if err != nil || string(out) != `{"events":[`+strings.TrimSuffix(want, "\n")+`]}` {
		t.Errorf("marshalled: %s, %v", out, err)
	}
}

func TestClientStringsAreEscapedAndCapped(t *testing.T) {
	long := strings.Repeat("a", 255)
	for in, want := range map[string]string{
		"plain /path?":              `plain /path?`,
		`q"u\o`:                     `q\"u\\o`,
		"\r\n\t\x00\x1b[2J\x7f":     `\r\n\t\u0000\u001b[2J\u007f`,
		"a\xffb\xc3":                "a\ufffdb\ufffd",
		"\xed\xa0\x80":              "\ufffd\ufffd\ufffd", // a surrogate
		"\u0085\u2028\u202e":        `\u0085\u2028\u202e`,
		"\U000e0041":                `\udb40\udc41`,
		"é漢😀":                       "é漢😀",
		long + "b" + "c":            long + "b",
		long + "é":                  long,
		long[:253] + "😀":            long[:253],
		strings.Repeat("\xbf", 300): strings.Repeat("\ufffd", 252),
	} {
		if got := string(appendText(nil, in, maxString)); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestTimes(t *testing.T) {
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(2024, 2, 29, 1, 2, 3, 4e6, time.FixedZone("", -7*3600))} {
		if got, want := string(appendTime(nil, at)), at.UTC().Format("2006-01-02T15:04:05.000Z"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func FuzzAppendJSON(f *testing.F) {
	for _, s := range []string{"", "GET", "a\xff", "\u2028\"\\\x00", strings.Repeat("é", 200), "\U000e0041"} {
		f.Add(s, int64(1))
	}
	f.Fuzz(func(t *testing.T, s string, n int64) {
		e := &Event{Type: Request, Time: time.UnixMilli(n), Method: s, Host: s, Path: s, Detail: s, CallerID: s, Caller: s, BytesIn: n, Phases: Phases{Total: time.Duration(n)}}
		line := AppendJSON(nil, e)
		var got map[string]any
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if strings.Count(string(line), "\n") != 1 || !utf8.Valid(line) {
			t.Fatalf("not one line of UTF-8: %q", line)
		}
		if path, _ := got["url.path"].(string); path != strings.ToValidUTF8(perByte(capped(s, maxString)), "") {
			t.Fatalf("%q reads as %q", s, path)
		}
	})
}

// perByte replaces each byte that is not UTF-8.
func perByte(s string) string {
	var b strings.Builder
	for _, r := range s {
		b.WriteRune(r)
	}
	return b.String()
}

func benchmarkEvent() *Event {
	return &Event{
		Type: Request, Time: time.Now(), RequestID: "01K93F6QWZ8Y2M", TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", Decision: Allow,
		Rule: "stripe", Owner: "payments", Caller: "checkout", Proof: "token", Listener: "proxy", Method: "POST", Host: "api.stripe.test", Port: 443,
		ResolvedIP: "192.0.2.7", Protocol: "h2", Status: 200, UpstreamStatus: 200, BytesIn: 312, BytesOut: 1840,
		Phases: Phases{DNS: -1, Connect: -1, TLS: -1, FirstByte: 84310 * time.Microsecond, Total: 85 * time.Millisecond}, Reused: true, Attempts: 1,
		Credentials: []Credential{{"stripe", "bearer", 3, "attached", time.Hour}}, ConfigGeneration: 2,
	}
}

func TestAppendJSONAllocatesNothing(t *testing.T) {
	e, b := benchmarkEvent(), make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() { b = AppendJSON(b[:0], e) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	e, buf := benchmarkEvent(), make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendJSON(buf[:0], e)
	}
	b.SetBytes(int64(len(buf)))
}
