package stream

import (
	"fmt"
	"strings"
	"sync"
)

const (
	// MinBody is the length in bytes of the shortest value that is masked in
	// bodies. Shorter ones would be found where nobody put them.
	MinBody = 12
	// MinHeader is the length in bytes of the shortest value that is masked in
	// headers.
	MinHeader = 4
)

// Patterns are values compiled for masking. They are immutable and may be
// shared by any number of streams. The zero value masks nothing.
type Patterns struct {
	body, header, names *matcher
	buffers             sync.Pool // of *[]byte, for writers
}

// Compile makes patterns from values: what a request carried, in whole. Values
// shorter than [MinBody] are masked in headers only. Ignored are those shorter
// than [MinHeader], and those with control bytes (below 0x20, and 0x7F): a
// control byte is where hold-back ends, and a header cannot carry one.
func Compile(values ...string) *Patterns {
	var long, all []form
	for _, v := range values {
		if len(v) < MinHeader || strings.ContainsFunc(v, isControl) {
			continue
		}
		if len(v) >= MinBody {
			long = appendForms(long, v)
		}
		all = appendForms(all, v)
	}
	p := &Patterns{body: newMatcher(long)}
	p.header = p.body
	if len(all) > len(long) {
		p.header = newMatcher(all)
	}
	p.names = newMatcher(folded(long)) // names are chosen by few: a short value there is chance
	return p
}

func isControl(r rune) bool { return r < 0x20 || r == 0x7F }

// folded returns forms in lower case, for what changes the case of letters.
func folded(forms []form) []form {
	out := make([]form, 0, len(forms))
	seen := make(map[string]bool, len(forms))
	for _, f := range forms {
		if text := strings.ToLower(f.text); !seen[text] {
			seen[text] = true
			out = append(out, newForm(text, f.limit))
		}
	}
	return out
}

// Empty reports whether there is nothing to mask in bodies.
func (p *Patterns) Empty() bool { return p == nil || p.body == nil || len(p.body.forms) == 0 }

// Longest is the length in bytes of the longest text that is masked as one
// value in a body. A stream holds back fewer bytes than this.
func (p *Patterns) Longest() int {
	if p.Empty() {
		return 0
	}
	return p.body.longest
}

// Format prints no value, whatever the verb.
func (p *Patterns) Format(f fmt.State, _ rune) { fmt.Fprint(f, "stream.Patterns") }
