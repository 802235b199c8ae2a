package config

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/watcher/source"
)

// Schema returns the JSON Schema (draft 2020-12) of a configuration file,
// indented. It is made of the structs that the decoder fills and of the kinds'
// options, so that editors know what Load knows.
func Schema() ([]byte, error) {
	text, err := json.MarshalIndent(schemaOf(newTables(inject.Kinds(), source.Kinds())), "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

// schemer makes the schema.
type schemer struct {
	kinds tables
	defs  map[string]*jsonschema.Schema
}

func schemaOf(kinds tables) *jsonschema.Schema {
	s := &schemer{kinds: kinds, defs: map[string]*jsonschema.Schema{}}
	root := s.structure(reflect.TypeFor[document]())
	root.Schema = "https://json-schema.org/draft/2020-12/schema"
	root.Title = "Attaché configuration, version 1"
	root.Defs = s.defs
	return root
}

// variable admits text with a variable in it where the filled-in text is judged.
func variable() *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Pattern: `\$\{`} }

func anyOf(all ...*jsonschema.Schema) *jsonschema.Schema { return &jsonschema.Schema{AnyOf: all} }

func (s *schemer) typ(t reflect.Type) *jsonschema.Schema {
	if t.Kind() == reflect.Pointer {
		return s.typ(t.Elem())
	}
	switch t {
	case reflect.TypeFor[attachSpec]():
		return s.attach()
	case reflect.TypeFor[denySpec]():
		return anyOf(&jsonschema.Schema{Type: "boolean"}, &jsonschema.Schema{Type: "string", MinLength: new(1)})
	case reflect.TypeFor[scrubSpec]():
		return anyOf(constant("all"), constant("headers"), constant(false))
	case reflect.TypeFor[unmatchedSpec]():
		o := s.structure(t)
		o.Required = []string{"observe_until"}
		return anyOf(constant("deny"), o)
	case reflect.TypeFor[secret.Ref]():
		return &jsonschema.Schema{Type: "string", MinLength: new(1)}
	}
	zero := reflect.Zero(t).Interface()
	if _, ok := zero.(scalarType); ok {
		return scalar(t)
	}
	if _, ok := reflect.New(t).Interface().(encoding.TextUnmarshaler); ok {
		return &jsonschema.Schema{Types: []string{"string", "number"}}
	}
	if _, ok := zero.(interface{ Seconds() float64 }); ok { // time.Duration
		return scalar(reflect.TypeFor[duration]())
	}
	switch t.Kind() {
	case reflect.Bool:
		return anyOf(&jsonschema.Schema{Type: "boolean"}, variable())
	case reflect.String:
		return &jsonschema.Schema{Type: "string"}
	case reflect.Slice:
		return s.slice(t)
	case reflect.Map:
		m := &jsonschema.Schema{Type: "object", AdditionalProperties: s.typ(t.Elem()), PatternProperties: ignored()}
		if t.Elem().Kind() == reflect.Pointer { // named things
			m.PropertyNames = &jsonschema.Schema{Pattern: `^(x-.*|[a-z0-9._-]{1,63})$`}
		}
		return m
	case reflect.Struct:
		return s.structure(t)
	}
	n := &jsonschema.Schema{Type: "integer"}
	if zeroValue := reflect.Zero(t); zeroValue.CanUint() {
		n.Minimum = new(0.0)
	}
	return anyOf(n, variable())
}

// scalar is a type of scalars.go.
func scalar(t reflect.Type) *jsonschema.Schema {
	name, pattern := reflect.Zero(t).Interface().(scalarType).look()
	number := &jsonschema.Schema{Type: "integer", Minimum: new(1.0)}
	switch name {
	case "number":
		return anyOf(number, variable())
	case "size", "size or none":
		return anyOf(number, &jsonschema.Schema{Type: "string", Pattern: pattern}, variable())
	}
	return anyOf(&jsonschema.Schema{Type: "string", Pattern: pattern}, variable())
}

// slice is a list, or one element in its place.
func (s *schemer) slice(t reflect.Type) *jsonschema.Schema {
	return anyOf(s.typ(t.Elem()), &jsonschema.Schema{Type: "array", Items: s.typ(t.Elem())})
}

func constant(v any) *jsonschema.Schema { return &jsonschema.Schema{Const: &v} }

// ignored are the keys that are for people and other programs.
func ignored() map[string]*jsonschema.Schema {
	return map[string]*jsonschema.Schema{"^x-": {}}
}

// structure is a map with known keys.
func (s *schemer) structure(t reflect.Type) *jsonschema.Schema {
	st := structureOf(t)
	o := &jsonschema.Schema{
		Type: "object", Properties: map[string]*jsonschema.Schema{}, PatternProperties: ignored(),
		AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}},
	}
	var main *field
	for i, f := range st.fields {
		o.Properties[f.key] = s.field(f)
		o.PropertyOrder = append(o.PropertyOrder, f.key)
		if f.required {
			o.Required = append(o.Required, f.key)
		}
		if f.main {
			main = &st.fields[i]
		}
	}
	if a, ok := reflect.Zero(t).Interface().(alternatives); ok {
		for _, key := range a.oneOf() {
			o.OneOf = append(o.OneOf, &jsonschema.Schema{Required: []string{key}})
		}
	}
	if st.chosen != nil {
		s.oneKind(o, st.table)
	}
	if main != nil {
		return anyOf(s.typ(main.typ), o)
	}
	return o
}

// field is the value of one key.
func (s *schemer) field(f field) *jsonschema.Schema {
	v := s.typ(f.typ)
	switch {
	case slices.Equal(f.enum, []string{"1"}):
		v = constant(1)
	case f.enum != nil:
		words := make([]any, len(f.enum))
		for i, w := range f.enum {
			words[i] = w
		}
		v = anyOf(&jsonschema.Schema{Enum: words}, variable())
	}
	if !f.empty {
		notEmpty(v)
	}
	if v.Ref != "" {
		v = &jsonschema.Schema{AllOf: []*jsonschema.Schema{v}}
	}
	v.Description = f.doc
	if f.def != "" {
		v.Description += ". Default: " + f.def
	}
	return v
}

// notEmpty refuses {} and [].
func notEmpty(v *jsonschema.Schema) {
	for _, o := range append(slices.Clone(v.AnyOf), v) {
		switch o.Type {
		case "object":
			o.MinProperties = new(1)
		case "array":
			o.MinItems = new(1)
		}
	}
}

// oneKind adds the kinds to a named thing, one of which it must have.
func (s *schemer) oneKind(o *jsonschema.Schema, table string) {
	for _, k := range s.kinds.of(table) {
		options := s.structure(reflect.TypeOf(k.options()).Elem())
		v := options
		if main := structureOf(reflect.TypeOf(k.options()).Elem()).find(k.main); main != nil {
			others := slices.DeleteFunc(slices.Clone(options.Required), func(r string) bool { return r == k.main })
			if len(others) == 0 {
				v = anyOf(s.typ(main.typ), options)
			}
		}
		v.Description = k.doc
		o.Properties[k.name] = v
		o.PropertyOrder = append(o.PropertyOrder, k.name)
		o.OneOf = append(o.OneOf, &jsonschema.Schema{Required: []string{k.name}})
	}
}

// attach is the name of a credential, one in place, or a list of these.
func (s *schemer) attach() *jsonschema.Schema {
	if s.defs["credential"] == nil {
		s.defs["credential"] = s.structure(reflect.TypeFor[credentialSpec]())
	}
	one := func() *jsonschema.Schema {
		return anyOf(&jsonschema.Schema{Type: "string", MinLength: new(1)}, &jsonschema.Schema{Ref: "#/$defs/credential"})
	}
	return anyOf(one(), &jsonschema.Schema{Type: "array", Items: one(), MinItems: new(1)})
}
