package stream

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// inPlace is a Scrubber used as a Writer does: bytes are read into its buffer and
// what is ready is taken from there, in units.
type inPlace struct {
	*Scrubber
	unit int
}

func (s inPlace) Append(dst, p []byte) ([]byte, error) {
	b := s.room(len(p))
	s.add(b[:copy(b, p)])
	s.advance(s.holdFrom())
	return append(dst, s.take(s.unit)...), nil
}

func (s inPlace) Release(dst []byte) []byte {
	s.advance(len(s.buf))
	return append(dst, s.take(1)...)
}

// hostileTexts are what an upstream that knows value can send to make the search
// work: what begins values and ends none, as often as may be, in every form.
func hostileTexts(value string) map[string]string {
	escape := func(format, text string) string {
		var b strings.Builder
		for _, c := range []byte(text) {
			fmt.Fprintf(&b, format, c)
		}
		return b.String()
	}
	almost := value[:len(value)-1] + "\x01"
	texts := map[string]string{
		"almost":        almost,
		"almost open":   value[:len(value)-1] + "~",
		"beginnings":    value[:min(len(value), 24)],
		"hex":           fmt.Sprintf("%x", value[:len(value)-1]) + "~",
		"percent":       escape("%%%02x", value[:len(value)-1]) + "~",
		"json":          escape(`\u%04x`, value[:len(value)-1]) + "~",
		"html":          escape("&#%d;", value[:len(value)-1]) + "~",
		"first escaped": escape("%%%02x", value[:1]) + value[1:len(value)-1] + "~",
		"last escaped":  value[:len(value)-1] + "%2",
		"introducers":   `%\&`,
		"references":    "&#" + fmt.Sprint(value[0]) + ";",
		"value":         value,
		"first byte":    value[:1],
	}
	for name, text := range texts {
		texts[name] = strings.Repeat(text, 1+(2<<10)/len(text))
	}
	return texts
}

// TestWorkIsBounded holds that no text, however cut, makes the search do more than
// a few steps for each of its bytes, however long the value; a value that resembles
// itself everywhere costs a few for each place where it does. Cuts change nothing
// of what is masked.
func TestWorkIsBounded(t *testing.T) {
	for _, test := range []struct {
		value         string
		whole, single float64 // the most steps for a byte: in large pieces, one by one
	}{
		{testValue(1, 12), 2, 40}, {testValue(1, 40), 2, 40}, {testValue(1, 1500), 2, 40}, {signsValue, 2, 40},
		{strings.Repeat("a", 12), 4, 60}, {strings.Repeat("a", 64), 20, 300}, {strings.Repeat("ab", 32), 10, 160}, {strings.Repeat("%", 20), 50, 640},
	} {
		p := Compile(test.value)
		for name, text := range hostileTexts(test.value) {
			want := scrub(t, p.NewScrubber(), []byte(text), fixed(len(text)))
			for _, size := range []int{1, 7, 1000, len(text)} {
				s, most := p.NewScrubber(), test.whole
				if size < 1000 {
					most = test.single
				}
				out := scrub(t, inPlace{s, 1 << 10}, []byte(text), fixed(size))
				if per := float64(s.search.steps) / float64(len(text)); per > most {
					t.Errorf("%.20q, %s in pieces of %d: %.1f steps for each byte", test.value, name, size, per)
				}
				if !bytes.Equal(out, want) || name == "value" && bytes.Contains(out, []byte(test.value[:12])) {
					t.Errorf("%.20q, %s in pieces of %d: other bytes are masked than in one", test.value, name, size)
				}
			}
		}
	}
}

// BenchmarkHostile is what the worst of hostileTexts cost, by the MiB.
func BenchmarkHostile(b *testing.B) {
	for kind, value := range map[string]string{"40": testValue(1, 40), "1500": testValue(1, 1500), "40 same": strings.Repeat("a", 40)} {
		for name, text := range hostileTexts(value) {
			b.Run(kind+"/"+strings.ReplaceAll(name, " ", "_"), func(b *testing.B) {
				p := Compile(value)
				text := []byte(text)
				b.SetBytes(int64(len(text)))
				for b.Loop() {
					s := p.NewScrubber()
					for piece := range chunks(text, 1<<10) {
						_, _ = inPlace{s, 1}.Append(nil, piece)
					}
				}
			})
		}
	}
}
