package config

import (
	"errors"
	"reflect"
	"slices"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/watcher/source"
)

// kind is what a kind of credential and a kind of source have in common.
type kind struct {
	name, main, doc, example string
	options                  func() any
	credential               func(inject.Decode) (inject.Injector, error)
	source                   func(source.Decode, source.Env) (source.Source, error)
}

// tables are the kinds that this binary knows.
type tables struct{ credentials, secrets []kind }

// newTables takes the kinds from their packages.
func newTables(credentials []inject.Kind, sources []source.Kind) tables {
	var t tables
	for _, k := range credentials {
		t.credentials = append(t.credentials, kind{
			name: k.Name, main: k.Main, doc: k.Doc, example: k.Example, options: k.Options, credential: k.New,
		})
	}
	for _, k := range sources {
		t.secrets = append(t.secrets, kind{name: k.Name, main: k.Main, doc: k.Doc, options: k.Options, source: k.New})
	}
	return t
}

func (t tables) of(table string) []kind {
	if table == "credential" {
		return t.credentials
	}
	return t.secrets
}

func (t tables) find(table, name string) *kind {
	kinds := t.of(table)
	if i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == name }); i >= 0 {
		return &kinds[i]
	}
	return nil
}

func (t tables) names(table string) []string {
	var names []string
	for _, k := range t.of(table) {
		names = append(names, k.name)
	}
	return names
}

// chosen is the one kind key of a named thing.
type chosen struct {
	kind  *kind
	entry entry
	at    *trail
}

func (d *decoder) choose(e entry, k *kind, c *chosen, at *trail) {
	if c.kind != nil {
		d.fail(e.key, "a named thing is of one kind", "%s: %s is its kind already, at %s", at, c.kind.name, c.entry.key.seenFrom(e.key))
		return
	}
	*c = chosen{k, e, at}
}

// errReported says that decoding reported its problems already.
var errReported = errors.New("reported")

// options is the decode function for one kind: a map fills the options, and
// anything else the main one.
func (d *decoder) options(c chosen) func(any) error {
	return func(options any) error {
		n, before := c.entry.value, len(d.errors)
		v := reflect.ValueOf(options).Elem()
		main := d.structure(v.Type()).find(c.kind.main)
		if n.shape != dict && n.shape != null && main != nil {
			d.decode(n, v.FieldByIndex(main.index), c.at)
			for _, f := range d.structure(v.Type()).fields {
				if to := c.at.to(f.key); f.required && f.key != c.kind.main {
					d.fail(n, "", "%s: missing", to)
				}
			}
		} else {
			d.decode(n, v, c.at)
		}
		if len(d.errors) > before {
			return errReported
		}
		return nil
	}
}

// injector builds the credential that was chosen, or reports why not.
func (d *decoder) injector(c chosen) inject.Injector {
	if c.kind == nil {
		return nil
	}
	i, err := c.kind.credential(d.options(c))
	if err != nil {
		d.refused(c, err)
		return nil
	}
	return i
}

// source builds the source that was chosen, or reports why not.
func (d *decoder) source(c chosen, env source.Env) source.Source {
	if c.kind == nil {
		return nil
	}
	s, err := c.kind.source(d.options(c), env)
	if err != nil {
		d.refused(c, err)
		return nil
	}
	return s
}

// refused maps a kind's errors to the lines of the options that they name.
func (d *decoder) refused(c chosen, err error) {
	if errors.Is(err, errReported) {
		return
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			d.refused(c, e)
		}
		return
	}
	option, problem, hint := "", err.Error(), ""
	if e, ok := errors.AsType[*inject.OptionError](err); ok {
		option, problem, hint = e.Option, e.Problem, e.Hint
	} else if e, ok := errors.AsType[*source.OptionError](err); ok {
		option, problem, hint = e.Option, e.Problem, e.Hint
	}
	n, at := c.entry.value, c.at
	if e := n.get(option); e.value != nil {
		n, at = e.value, at.to(option)
	} else if option != "" && (n.shape == dict || option != c.kind.main) {
		at = at.to(option)
	}
	d.fail(n, hint, "%s: %s", at, problem)
}
