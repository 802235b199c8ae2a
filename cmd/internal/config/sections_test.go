package config

import (
	"reflect"
	"strings"
)

// block is one map of the grammar, for tests and the documentation.
type block struct {
	path string // "rules[].upstream"
	doc  string
	typ  reflect.Type
}

// sections lists the maps of the grammar in the order in which they are met.
func sections() []block {
	all := []block{{typ: reflect.TypeFor[document]()}}
	for i := 0; i < len(all); i++ {
		var inner []block
		for _, f := range structureOf(all[i].typ).fields {
			t, path := f.typ, f.key
			for {
				switch {
				case t.Kind() == reflect.Pointer:
					t = t.Elem()
					continue
				case t.Kind() == reflect.Slice:
					t, path = t.Elem(), path+"[]"
					continue
				case t.Kind() == reflect.Map:
					t, path = t.Elem(), path+".NAME"
					continue
				}
				break
			}
			if t.Kind() == reflect.Struct && (len(structureOf(t).fields) > 0 || structureOf(t).chosen != nil) {
				inner = append(inner, block{strings.TrimPrefix(all[i].path+"."+path, "."), f.doc, t})
			}
		}
		all = append(all[:i+1], append(inner, all[i+1:]...)...)
	}
	return all
}

func sectionOf(path string) reflect.Type {
	for _, s := range sections() {
		if s.path == path {
			return s.typ
		}
	}
	return nil
}
