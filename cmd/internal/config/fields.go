package config

import (
	"reflect"
	"strings"
)

// field is one key of a struct of the grammar, read from its tags:
//
//	json        the key; omitempty or omitzero: it may be left out
//	jsonschema  what it means, one sentence
//	default     what holds where it is left out
//	enum        the words allowed, separated by commas
//	example     a value for the documentation, in YAML
//	empty       "ok": an empty list or map says something other than no key
//	main        "ok": a scalar in place of the map sets this key
type field struct {
	key, doc, def, example string
	enum                   []string
	required, empty, main  bool
	index                  []int
	typ                    reflect.Type
}

// Types of fields that are no keys.
var (
	nodeType   = reflect.TypeFor[*node]()
	chosenType = reflect.TypeFor[chosen]()
)

// shapeOf is what the tags of a struct say.
type structure struct {
	fields []field
	node   []int  // of the *node field, nil if there is none
	chosen []int  // of the chosen field, nil if there is none
	table  string // of the chosen field: "secret" or "credential"
}

func (s *structure) find(key string) *field {
	for i := range s.fields {
		if s.fields[i].key == key {
			return &s.fields[i]
		}
	}
	return nil
}

// structureOf reads the tags of t and of the structs embedded in it.
func structureOf(t reflect.Type) *structure {
	s := &structure{}
	for i := range t.NumField() {
		f := t.Field(i)
		switch {
		case f.Type == nodeType:
			s.node = f.Index
			continue
		case f.Type == chosenType:
			s.chosen, s.table = f.Index, f.Tag.Get("kinds")
			continue
		case f.Anonymous && f.Type.Kind() == reflect.Struct:
			for _, inner := range structureOf(f.Type).fields {
				inner.index = append([]int{i}, inner.index...)
				s.fields = append(s.fields, inner)
			}
			continue
		}
		key, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || key == "" || key == "-" {
			continue
		}
		field := field{
			key:      key,
			doc:      f.Tag.Get("jsonschema"),
			def:      f.Tag.Get("default"),
			example:  f.Tag.Get("example"),
			required: !strings.Contains(options, "omit"),
			empty:    f.Tag.Get("empty") == "ok",
			main:     f.Tag.Get("main") == "ok",
			index:    f.Index,
			typ:      f.Type,
		}
		if e := f.Tag.Get("enum"); e != "" {
			field.enum = strings.Split(e, ",")
		}
		s.fields = append(s.fields, field)
	}
	return s
}
