package config

import (
	"encoding"
	"reflect"
	"strconv"

	"github.com/attache-proxy/attache/inject/secret"
)

// is reports whether n is a scalar of the shape, which a variable may stand for.
func (d *decoder) is(n *node, want shape, at *trail) bool {
	if n.shape == want {
		return true
	}
	if n.flexible && (want == number || n.text == "true" || n.text == "false") {
		return true
	}
	hint := ""
	if want == text && (n.shape == number || n.shape == boolean) {
		hint = "write it in quotes"
	}
	d.fail(n, hint, "%s: must be %s, not %s", at, want, n.shape)
	return false
}

func (d *decoder) ref(n *node, at *trail) secret.Ref {
	if n.shape != text {
		d.fail(n, "write the name of one of the secrets", "%s: must name a secret", at)
		return ""
	}
	d.refs = append(d.refs, reference{secret.Ref(n.text), n})
	return secret.Ref(n.text)
}

func (d *decoder) unmarshal(n *node, p encoding.TextUnmarshaler, v reflect.Value, at *trail) {
	scalar, ours := v.Interface().(scalarType)
	hint, name := "", ""
	if ours {
		name, _ = scalar.look()
	}
	fits := n.shape == number || n.shape == text
	if name == "number" && n.shape == text && !n.flexible {
		fits, hint = false, "write it without quotes"
	}
	if !fits && !ours {
		d.is(n, text, at)
		return
	}
	err := p.UnmarshalText([]byte(n.text))
	if !fits {
		err = p.UnmarshalText(nil) // for its words
	}
	if err != nil {
		d.fail(n, hint, "%s: %v", at, err)
	}
}

func (d *decoder) integer(n *node, v reflect.Value, at *trail) {
	if !d.is(n, number, at) {
		return
	}
	bits := v.Type().Bits()
	if v.CanUint() {
		if u, err := strconv.ParseUint(n.text, 10, bits); err == nil {
			v.SetUint(u)
			return
		}
		d.fail(n, "", "%s: must be a whole number from 0 to %d", at, ^uint64(0)>>(64-bits))
		return
	}
	i, err := strconv.ParseInt(n.text, 10, bits)
	if err != nil {
		d.fail(n, "", "%s: must be a whole number", at)
		return
	}
	v.SetInt(i)
}
