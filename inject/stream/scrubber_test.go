package stream

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
)

// scrub puts text through t in pieces of the lengths that size returns.
func scrub(t testing.TB, tr Transformer, text []byte, size func() int) []byte {
	t.Helper()
	var out []byte
	for rest := text; len(rest) > 0; {
		n := min(len(rest), max(1, size()))
		piece := bytes.Clone(rest[:n])
		var err error
		if out, err = tr.Append(out, piece); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(piece, rest[:n]) {
			t.Fatal("Append changed its input")
		}
		rest = rest[n:]
	}
	return tr.Release(out)
}

func fixed(n int) func() int { return func() int { return n } }

// The values of these tests hold every character that some encoder escapes.
const (
	plainValue  = "canary_c4AnAryXyz0123"
	signsValue  = `canary/+=&<>"'%\ ~-_.c4n`
	spacedValue = "canary with spaces and é€😀"
)

// encodings are what real encoders make of a value.
func encodings(t testing.TB, v string) map[string]string {
	js, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		t.Fatal(err)
	}
	unquote := func(s string) string { s = strings.TrimSpace(s); return s[1 : len(s)-1] }
	var all, entities, hexEntities, percent strings.Builder
	for _, r := range v {
		if r > 0xFFFF {
			fmt.Fprintf(&all, `\u%04X\u%04x`, 0xD800+(r-0x10000)>>10, 0xDC00+(r-0x10000)&0x3FF)
		} else {
			fmt.Fprintf(&all, `\u%04x`, r)
		}
		fmt.Fprintf(&entities, "&#%d;", r)
		fmt.Fprintf(&hexEntities, "&#x%X;", r)
	}
	for _, c := range []byte(v) {
		fmt.Fprintf(&percent, "%%%02x", c)
	}
	m := map[string]string{
		"raw":            v,
		"json":           unquote(string(js)),
		"json minimal":   unquote(plain.String()),
		"json slashes":   strings.ReplaceAll(unquote(plain.String()), "/", `\/`),
		"json all":       all.String(),
		"javascript":     template.JSEscapeString(v),
		"percent path":   url.PathEscape(v),
		"percent form":   url.QueryEscape(v),
		"percent lower":  strings.ToLower(percent.String()),
		"percent upper":  strings.ToUpper(percent.String()),
		"html":           html.EscapeString(v),
		"html template":  template.HTMLEscapeString(v),
		"html php":       strings.NewReplacer("&", "&amp;", "'", "&#039;", "<", "&lt;", ">", "&gt;", `"`, "&quot;").Replace(v),
		"html numeric":   entities.String(),
		"html hex":       hexEntities.String(),
		"html sloppy":    strings.NewReplacer("<", "&lt;", ">", "&gt;").Replace(v),
		"hex lower":      fmt.Sprintf("%x", v),
		"hex upper":      fmt.Sprintf("%X", v),
		"latin1":         refForms(v)[4],
		"latin1 percent": url.PathEscape(refForms(v)[4]),
	}
	for i := range 3 {
		prefix := "user:x"[:i+3]
		std := base64.StdEncoding.EncodeToString([]byte(prefix + v + "tail"))
		m[fmt.Sprint("base64 ", i)] = std
		m[fmt.Sprint("base64url ", i)] = base64.URLEncoding.EncodeToString([]byte(prefix + v + "tail"))
		m[fmt.Sprint("basic ", i)] = base64.StdEncoding.EncodeToString([]byte("user"[:i] + ":" + v))
		m[fmt.Sprint("base64 json ", i)] = strings.ReplaceAll(std, "/", `\/`)
		m[fmt.Sprint("base64 form ", i)] = url.QueryEscape(std)
	}
	return m
}

func TestReflectedInBody(t *testing.T) {
	for _, v := range []string{plainValue, signsValue, spacedValue, "éüßñ/äöéüßñ", strings.Repeat("%", 12), strings.Repeat("&", 13), strings.Repeat(`\`, 14)} {
		p := Compile(v)
		for name, form := range encodings(t, v) {
			text := []byte("before>" + form + "<after")
			whole := scrub(t, p.NewScrubber(), text, fixed(len(text)))
			if len(whole) != len(text) {
				t.Fatalf("%s: length %d became %d", name, len(text), len(whole))
			}
			if !bytes.HasPrefix(whole, []byte("before>")) || !bytes.HasSuffix(whole, []byte("<after")) {
				t.Errorf("%s: more than the value is masked: %q", name, whole)
			}
			// Of base64 the surroundings remain; of all else, nothing.
			left := len(bytes.ReplaceAll(whole[7:len(whole)-6], []byte("*"), nil))
			if allowed := 0; strings.HasPrefix(name, "bas") {
				if allowed = 4 * (len("user:") + len("tail")); left > allowed {
					t.Errorf("%s of %q: %d characters left: %q", name, v, left, whole)
				}
			} else if left > 0 {
				t.Errorf("%s of %q: %d characters left: %q", name, v, left, whole)
			}
			for size := 1; size < len(text); size++ {
				if got := scrub(t, p.NewScrubber(), text, fixed(size)); !bytes.Equal(got, whole) {
					t.Fatalf("%s in pieces of %d: %q, want %q", name, size, got, whole)
				}
			}
			for cut := range len(text) { // split once, at every byte
				first := true
				got := scrub(t, p.NewScrubber(), text, func() int {
					if first {
						first = false
						return cut
					}
					return len(text)
				})
				if !bytes.Equal(got, whole) {
					t.Fatalf("%s split at %d: %q, want %q", name, cut, got, whole)
				}
			}
		}
	}
}

// TestOneCharacterEscaped holds that the place of the only escape, or of the
// first of two, does not matter.
func TestOneCharacterEscaped(t *testing.T) {
	for length := MinBody; length < 70; length += 3 {
		v := testValue(uint64(length), length)
		p := Compile(v, testValue(1, 16))
		for i := range length {
			for _, format := range []string{"%%%02X", `\u%04x`, "&#%d;"} {
				form := v[:i] + fmt.Sprintf(format, v[i]) + v[i+1:]
				if i+9 < length {
					form = v[:i] + fmt.Sprintf(format, v[i]) + v[i+1:i+9] + fmt.Sprintf(format, v[i+9]) + v[i+10:]
				}
				// Beside bytes that no value has, and beside text.
				for _, before := range []string{"--"[:i%3], strings.Repeat("\x80", i+length%7), strings.Repeat("-", 100+i) + "\x80"} {
					text := []byte(before + form + "\x80\x01")
					for _, size := range []int{len(text), 1} {
						got := scrub(t, p.NewScrubber(), text, fixed(size))
						if want := before + strings.Repeat("*", len(form)) + "\x80\x01"; string(got) != want {
							t.Fatalf("%d of %d, in pieces of %d: %q became %q", i, length, size, text, got)
						}
					}
				}
			}
		}
	}
}

// TestOneCharacterEscapedOfAValueNotInASCII holds that escapes are searched for
// among bytes that are not ASCII if the value has such.
func TestOneCharacterEscapedOfAValueNotInASCII(t *testing.T) {
	text := []byte(strings.Repeat("\x80", 50) + "éüßñ%2Fäöéüßñ" + strings.Repeat("\x80", 50))
	got := scrub(t, Compile("éüßñ/äöéüßñ").NewScrubber(), text, fixed(len(text)))
	if n := bytes.Count(got, []byte("*")); n != len(text)-100 {
		t.Errorf("%d bytes masked: %q", n, got)
	}
}

// TestLengthLimitDoesNotDependOnCuts holds that what is too long to be held back
// is not masked where it happens to come in one piece.
func TestLengthLimitDoesNotDependOnCuts(t *testing.T) {
	v := testValue(1, 60)
	for _, literal := range []int{0, 1, 40, 70} {
		encoded := fmt.Sprintf("%x", v)
		text := []byte(encoded[:literal])
		for _, c := range encoded[literal:] {
			text = fmt.Appendf(text, `\u%04x`, c)
		}
		for _, size := range []int{1, 100, len(text)} {
			if got := scrub(t, Compile(v).NewScrubber(), text, fixed(size)); !bytes.Equal(got, text) {
				t.Errorf("in pieces of %d: %q", size, got)
			}
		}
	}
}

func TestControlBytesEndTheHoldBack(t *testing.T) {
	for c := range 256 {
		for length := range 20 {
			for at := range length {
				b := bytes.Repeat([]byte("\x80"), length)
				b[at] = byte(c)
				want := length
				if c < 0x20 || c == 0x7F {
					want = length - at - 1
				}
				if got := sinceControl(b); got != want {
					t.Fatalf("%q: %d, want %d", b, got, want)
				}
			}
		}
	}
}

func TestOverlappingSecrets(t *testing.T) {
	a, b, inside := "canary_AAAA_middle_x", "_middle_x_BBBB_canary", "AAAA_middle_"
	after := strings.Repeat("x", 200) // pushes what is held back out bit by bit
	text := []byte("<canary_AAAA_middle_x_BBBB_canary> " + a + "|" + b + after)
	want := "<" + strings.Repeat("*", 32) + "> " + strings.Repeat("*", len(a)) + "|" + strings.Repeat("*", len(b)) + after
	for size := 1; size <= len(text); size++ {
		s := Compile(a, b, inside).NewScrubber()
		if got := scrub(t, s, text, fixed(size)); string(got) != want {
			t.Errorf("in pieces of %d: %q", size, got)
		}
		if s.Count() != 3 {
			t.Errorf("in pieces of %d: %d stretches counted, want 3", size, s.Count())
		}
	}
}

// TestOverlapOverWhatIsMasked holds that a value is found whose beginning lies in a
// stretch that is to be masked when the bytes come that tell.
func TestOverlapOverWhatIsMasked(t *testing.T) {
	p := Compile(strings.Repeat("0", 21))
	for n := range 20 {
		first := strings.Repeat("&#048;", 40) + strings.Repeat("0", 30)
		text := first + strings.Repeat("0", n) + "\n"
		got := scrub(t, p.NewScrubber(), []byte(text), fixed(len(first)))
		if want := strings.Repeat("*", len(text)-1) + "\n"; string(got) != want {
			t.Fatalf("%d more: %q", n, got)
		}
	}
}

func TestReflectedPreviousVersion(t *testing.T) {
	now, before := testValue(1, 30), testValue(2, 30)
	got := scrub(t, Compile(now, before).NewScrubber(), []byte(now+"\n"+before), fixed(5))
	if string(bytes.ReplaceAll(got, []byte("*"), nil)) != "\n" {
		t.Errorf("left: %q", got)
	}
}

func TestShortSecretsAreMaskedInHeadersOnly(t *testing.T) {
	p := Compile("hunter22")
	if !p.Empty() || p.Longest() != 0 {
		t.Error("a short value is looked for in bodies")
	}
	body := []byte(`{"password":"hunter22"}`)
	if got := scrub(t, p.NewScrubber(), body, fixed(3)); !bytes.Equal(got, body) {
		t.Errorf("body: %q", got)
	}
	if got, n := p.MaskString("x hunter22 aHVudGVyMjI="); got != "x ******** **********I=" || n != 2 {
		t.Errorf("header: %q, %d", got, n)
	}
}

func TestValuesThatCannotBeMaskedAreIgnored(t *testing.T) {
	p := Compile("", "abc", "canary_with\ncontrol_byte", "canary_with\x7fcontrol_byte")
	if text, n := p.MaskString("canary_with\ncontrol_byte"); n != 0 {
		t.Errorf("masked: %q", text)
	}
	if !p.Empty() || !new(Patterns).Empty() || !(*Patterns)(nil).Empty() {
		t.Error("not empty")
	}
	if got := scrub(t, new(Patterns).NewScrubber(), []byte("text"), fixed(1)); string(got) != "text" {
		t.Errorf("nothing to mask: %q", got)
	}
}

// TestHoldBackOracle holds that what is released when, depends on lengths and
// control bytes, not on how much of the value a text resembles.
func TestHoldBackOracle(t *testing.T) {
	p := Compile(plainValue, signsValue)
	lengths := func(text string) (out []int) {
		s := p.NewScrubber()
		for i := range len(text) {
			b, _ := s.Append(nil, []byte{text[i]})
			out = append(out, len(b), s.Held())
		}
		return out
	}
	for n := range len(plainValue) + 1 {
		right := lengths(strings.Repeat("-", 300) + plainValue[:n] + "\n" + plainValue[:n])
		wrong := lengths(strings.Repeat("-", 300) + strings.Repeat("~", n) + "\n" + strings.Repeat("~", n))
		if fmt.Sprint(right) != fmt.Sprint(wrong) {
			t.Errorf("a guess of %d bytes is told from none:\n%v\n%v", n, right, wrong)
		}
	}
}

// TestEventsAreNotDelayed holds that a line or an event goes as soon as it ends.
func TestEventsAreNotDelayed(t *testing.T) {
	s := Compile(plainValue).NewScrubber()
	out, _ := s.Append(nil, []byte("data: "+plainValue+"\n\n"))
	if want := "data: " + strings.Repeat("*", len(plainValue)) + "\n\n"; string(out) != want || s.Held() != 0 {
		t.Errorf("ready: %q, %d held back", out, s.Held())
	}
	if out, _ = s.Append(nil, bytes.Repeat([]byte("x"), 5000)); s.Held() != 6*len(plainValue)-1 || len(out) != 5000-s.Held() {
		t.Errorf("%d bytes held back, want %d", s.Held(), 6*len(plainValue)-1)
	}
}

func TestPatternsPrintNothing(t *testing.T) {
	p := Compile(plainValue)
	s := p.NewScrubber()
	_, _ = s.Append(nil, []byte(plainValue))
	held := struct {
		p *Patterns
		s *Scrubber
	}{p, s}
	for _, x := range []any{p, s, held} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if text := fmt.Sprintf(verb, x); strings.Contains(text, "canary") || strings.Contains(text, "63616e617279") {
				t.Errorf("%s prints %s", verb, text)
			}
		}
	}
}

func FuzzScrubber(f *testing.F) {
	f.Add(plainValue, signsValue, "text %2f \\u002f &amp; more", uint64(1))
	f.Add(spacedValue, "canary with spaces", "a%b\\c&d", uint64(2))
	f.Add("%25%25%25%25", `\\\\\\\\\\\\u`, "%25%25%25%25%2525%25252525", uint64(3))
	f.Add("aaaaaaaaaaaa", "aaaaaaaaaaaab", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaab", uint64(4))
	f.Add("&amp;&amp;&amp;", "&#38;&#x26;amp;", "&amp;&#38;&amp;amp;amp;&#38;amp;", uint64(5))
	f.Add("\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9", "\xff\xfe\xfd\xfc\xff\xfe\xfd\xfc\xff\xfe\xfd\xfc", `\u00e9%c3%A9`, uint64(6))
	f.Add("000000000000000000000", "0000000000000&0000000", "00", uint64(46))
	for seed := range uint64(40) {
		f.Add(testValue(seed, 12+int(seed)), signsValue, "\n", seed)
	}
	f.Fuzz(func(t *testing.T, v, w, text string, seed uint64) {
		if len(v) > 60 || len(w) > 60 || len(text) > 200 {
			t.Skip()
		}
		if seed%8 == 0 {
			v += v // longer than what candidates come from
		}
		var values []string
		for _, x := range []string{v, w} {
			if len(x) >= MinBody && !strings.ContainsFunc(x, isControl) {
				values = append(values, x)
			}
		}
		r := rand.New(rand.NewPCG(seed, seed))
		for range r.IntN(4) {
			if len(values) == 0 {
				break
			}
			form := render(r, values[r.IntN(len(values))])
			if r.IntN(3) == 0 {
				form = form[:r.IntN(len(form))]
			}
			at := r.IntN(len(text) + 1)
			text = text[:at] + form + text[at:]
		}
		p := Compile(v, w)
		whole := p.NewScrubber()
		got := scrub(t, whole, []byte(text), fixed(len(text)))
		must, may := expected(text, values...)
		if len(got) != len(text) {
			t.Fatalf("length %d became %d", len(text), len(got))
		}
		for i := range got {
			if must[i] && got[i] != '*' || !may[i] && got[i] != text[i] {
				t.Fatalf("byte %d of %q for %q: %q (must %v, may %v)", i, text, values, got, must[i], may[i])
			}
		}
		for _, size := range []func() int{fixed(1), fixed(2), fixed(7), func() int { return 1 + r.IntN(30) }} {
			s := p.NewScrubber()
			if cut := scrub(t, s, []byte(text), size); !bytes.Equal(cut, got) || s.Count() != whole.Count() {
				t.Fatalf("cut: %q %d, whole: %q %d", cut, s.Count(), got, whole.Count())
			}
			if cut := scrub(t, inPlace{p.NewScrubber(), 1 + r.IntN(20)}, []byte(text), size); !bytes.Equal(cut, got) {
				t.Fatalf("cut, in place: %q, whole: %q", cut, got)
			}
		}
	})
}
