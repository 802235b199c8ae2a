package stream

import (
	"bytes"
	"slices"
)

// MaskHeader masks values in the values of h, a header or trailer, in place, and
// returns how many stretches it masked. A field whose name contains a value,
// whatever the case of its letters, is deleted and counts as one.
func (p *Patterns) MaskHeader(h map[string][]string) (count int) {
	if p == nil || p.header == nil || len(p.header.forms) == 0 {
		return 0
	}
	for name, values := range h {
		if p.inName(name) {
			delete(h, name)
			count++
			continue
		}
		for i, v := range values {
			masked, n := p.MaskString(v)
			if n > 0 {
				// The slice may be shared with the header it was copied from.
				values = slices.Clone(values)
				values[i] = masked
				h[name] = values
				count += n
			}
		}
	}
	return count
}

// MaskString masks values in one text by the rules of headers and returns how
// many stretches it masked.
func (p *Patterns) MaskString(text string) (masked string, count int) {
	if p == nil || p.header == nil || len(p.header.forms) == 0 || len(text) < p.header.shortest {
		return text, 0
	}
	var stack [512]byte
	b := append(stack[:0], text...)
	spans := p.header.all(b)
	if len(spans) == 0 {
		return text, 0
	}
	for _, s := range spans {
		mask(b[s.start:s.end])
	}
	return string(b), len(spans)
}

func (p *Patterns) inName(name string) bool {
	if len(name) < p.names.shortest {
		return false
	}
	var stack [128]byte
	return len(p.names.all(bytes.ToLower(append(stack[:0], name...)))) > 0
}
