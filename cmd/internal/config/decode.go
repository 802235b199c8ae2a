package config

import (
	"encoding"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
)

// decoder fills structs from nodes. It is strict: whatever it does not
// recognise is a problem.
type decoder struct {
	*report
	kinds   tables
	structs map[reflect.Type]*structure
	refs    []reference // secrets named so far
}

// reference is a place that names a secret.
type reference struct {
	name secret.Ref
	node *node
}

// nodeDecoder is a type that reads itself from a node.
type nodeDecoder interface {
	decodeNode(d *decoder, n *node, at *trail)
}

// alternatives is a struct of which exactly one of some keys must be there.
type alternatives interface {
	oneOf() []string
}

func (d *decoder) structure(t reflect.Type) *structure {
	s := d.structs[t]
	if s == nil {
		s = structureOf(t)
		d.structs[t] = s
	}
	return s
}

// decode fills v from n.
func (d *decoder) decode(n *node, v reflect.Value, at *trail) {
	if n.bad {
		return // its variables could not be filled in
	}
	if n.shape == null {
		d.fail(n, "give it a value, or leave the key out", "%s: has no value", at)
		return
	}
	switch p := v.Addr().Interface().(type) {
	case nodeDecoder:
		p.decodeNode(d, n, at)
		return
	case *secret.Ref:
		*p = d.ref(n, at)
		return
	case *time.Duration:
		d.unmarshal(n, (*duration)(p), v, at)
		return
	case encoding.TextUnmarshaler:
		d.unmarshal(n, p, v, at)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.decode(n, v.Elem(), at)
	case reflect.String:
		if d.is(n, text, at) {
			v.SetString(n.text)
		}
	case reflect.Bool:
		if d.is(n, boolean, at) {
			v.SetBool(n.text == "true")
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		d.integer(n, v, at)
	case reflect.Slice:
		d.slice(n, v, at)
	case reflect.Map:
		d.mapOf(n, v, at)
	case reflect.Struct:
		d.fill(n, v, at)
	default:
		panic("config: the grammar has a field of type " + v.Type().String())
	}
}

// slice fills a slice from a list, or from anything else as a list of one.
func (d *decoder) slice(n *node, v reflect.Value, at *trail) {
	if n.shape != list {
		s := reflect.MakeSlice(v.Type(), 1, 1)
		d.decode(n, s.Index(0), at)
		v.Set(s)
		return
	}
	s := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		d.decode(item, s.Index(i), at.element(i))
	}
	v.Set(s)
}

// mapOf fills a map with string keys.
func (d *decoder) mapOf(n *node, v reflect.Value, at *trail) {
	if n.shape != dict {
		d.fail(n, "", "%s: must be a map, not %s", at, n.shape)
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.entries)))
	for _, e := range n.entries {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.decode(e.value, elem, at.to(e.key.text))
		v.SetMapIndex(reflect.ValueOf(e.key.text).Convert(v.Type().Key()), elem)
	}
}

// fill fills a struct from a dict; or, if it has a main key, from a scalar.
func (d *decoder) fill(n *node, v reflect.Value, at *trail) {
	s := d.structure(v.Type())
	if s.node != nil {
		v.FieldByIndex(s.node).Set(reflect.ValueOf(n))
	}
	if n.shape != dict {
		if i := slices.IndexFunc(s.fields, func(f field) bool { return f.main }); i >= 0 && n.shape != list {
			d.decode(n, v.FieldByIndex(s.fields[i].index), at)
			return
		}
		hint := ""
		if s.chosen != nil && len(d.kinds.of(s.table)) > 0 {
			hint = "as in {" + d.kinds.names(s.table)[0] + ": …}"
		}
		d.fail(n, hint, "%s: must be a map, not %s", at, n.shape)
		return
	}
	for _, e := range n.entries {
		d.entry(e, s, v, at)
	}
	for _, f := range s.fields {
		if f.required && n.get(f.key).value == nil {
			to := at.to(f.key)
			d.fail(n, "", "%s: missing", to)
		}
	}
	if a, ok := v.Addr().Interface().(alternatives); ok {
		d.exactlyOne(n, a.oneOf(), at)
	}
	if s.chosen != nil && v.FieldByIndex(s.chosen).Interface().(chosen).kind == nil && !d.namesUnknownKind(n, s) {
		d.fail(n, "one of "+strings.Join(d.kinds.names(s.table), ", "), "%s: has no kind", at)
	}
}

// decodeStruct is fill for the struct that p points to.
func (d *decoder) decodeStruct(n *node, p any, at *trail) {
	d.fill(n, reflect.ValueOf(p).Elem(), at)
}

// entry decodes one key of a struct.
func (d *decoder) entry(e entry, s *structure, v reflect.Value, at *trail) {
	key := e.key.text
	to := at.to(key)
	if f := s.find(key); f != nil {
		d.value(e, f, v.FieldByIndex(f.index), to)
		return
	}
	if s.chosen != nil {
		if k := d.kinds.find(s.table, key); k != nil {
			d.choose(e, k, v.FieldByIndex(s.chosen).Addr().Interface().(*chosen), to)
			return
		}
	}
	d.unknown(e, s, v, to)
}

// value decodes the value of one known key.
func (d *decoder) value(e entry, f *field, v reflect.Value, to *trail) {
	n := e.value
	if !f.empty && (n.shape == list && len(n.items) == 0 || n.shape == dict && len(n.entries) == 0) {
		// An empty list of callers must not read as "everyone".
		hint := "leave the key out"
		if f.required {
			hint = ""
		}
		d.fail(n, hint, "%s: must not be empty", to)
		return
	}
	d.decode(n, v, to)
	if f.enum == nil || n.bad || n.shape != text && n.shape != number {
		return
	}
	if !slices.Contains(f.enum, n.text) {
		hint := ""
		if plainName(n.text) {
			hint = didYouMean(n.text, f.enum)
		}
		d.fail(n, hint, "%s: must be %s", to, strings.Join(f.enum, " or "))
	}
}

// unknown reports a key that is none.
func (d *decoder) unknown(e entry, s *structure, v reflect.Value, to *trail) {
	if h, ok := v.Addr().Interface().(interface {
		hint(key string) (message, hint string)
	}); ok {
		if message, hint := h.hint(e.key.text); message != "" {
			d.fail(e.key, hint, "%s: %s", to, message)
			return
		}
	}
	keys := make([]string, 0, len(s.fields))
	for _, f := range s.fields {
		keys = append(keys, f.key)
	}
	if s.chosen != nil {
		keys = append(keys, d.kinds.names(s.table)...)
	}
	d.fail(e.key, didYouMean(e.key.text, keys), "%s: unknown key", to)
}

// namesUnknownKind reports whether a key was refused that may have meant the kind.
func (d *decoder) namesUnknownKind(n *node, s *structure) bool {
	return slices.ContainsFunc(n.entries, func(e entry) bool { return e.key.bad && s.find(e.key.text) == nil })
}

// exactlyOne holds a struct to one of its alternatives.
func (d *decoder) exactlyOne(n *node, keys []string, at *trail) {
	var found []*node
	for _, e := range n.entries {
		if slices.Contains(keys, e.key.text) {
			found = append(found, e.key)
		}
	}
	switch {
	case len(found) > 1:
		d.fail(found[1], "", "%s: %s and %s exclude each other", at, found[0].text, found[1].text)
	case len(found) == 0 && !slices.ContainsFunc(n.entries, func(e entry) bool { return e.key.bad }):
		d.fail(n, "", "%s: must have one of %s", at, strings.Join(keys, ", "))
	}
}
