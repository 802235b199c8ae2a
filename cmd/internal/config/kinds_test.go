package config

import (
	"context"
	"net/http"
	"slices"

	"github.com/attache-proxy/attache/inject"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/watcher/source"
)

// Kinds of which the tests know every option, so that they do not change with
// the product's.

type sample struct {
	Name   string     `json:"name,omitempty" jsonschema:"name of the header"`
	Secret secret.Ref `json:"secret" jsonschema:"the secret"`
	Words  []string   `json:"words,omitempty" jsonschema:"some words"`
}

type sampleInjector struct{ sample }

func (s sampleInjector) Owns() inject.Owned                                       { return inject.Owned{Headers: []string{s.Name}} }
func (s sampleInjector) Secrets() []secret.Ref                                    { return []secret.Ref{s.Secret} }
func (s sampleInjector) Inject(context.Context, *http.Request, *secret.Set) error { return nil }

func sampleCredential(name string, needsName bool) inject.Kind {
	return inject.Kind{
		Name: name, Main: "secret", Doc: "A sample.",
		Options: func() any { return &sample{} },
		New: func(decode inject.Decode) (inject.Injector, error) {
			o := sample{}
			if err := decode(&o); err != nil {
				return nil, err
			}
			switch {
			case needsName && o.Name == "":
				return nil, &inject.OptionError{Option: "name", Problem: "required", Hint: `for example "X-Api-Key"`}
			case o.Name == "Host":
				return nil, &inject.OptionError{Option: "name", Problem: "Host cannot carry a credential"}
			case !needsName:
				o.Name = "Authorization"
			}
			return sampleInjector{o}, nil
		},
	}
}

type sampleFile struct {
	Path string `json:"path" jsonschema:"path of the file"`
}

type sampleSource struct{ path string }

func (sampleSource) Read(context.Context) ([]byte, error) { panic("a secret was read while loading") }
func (s sampleSource) Paths() []string                    { return []string{s.path} }
func (sampleSource) Describe() string                     { return "file" }

func sampleSourceKind(name string) source.Kind {
	return source.Kind{
		Name: name, Main: "path", Doc: "A sample.",
		Options: func() any { return &sampleFile{} },
		New: func(decode source.Decode, _ source.Env) (source.Source, error) {
			var o sampleFile
			if err := decode(&o); err != nil {
				return nil, err
			}
			if o.Path == "relative" {
				return nil, &source.OptionError{Option: "path", Problem: "must be absolute"}
			}
			return sampleSource{o.Path}, nil
		},
	}
}

func sampleKinds() tables {
	fetched := slices.IndexFunc(inject.Kinds(), func(k inject.Kind) bool { return k.Name == "jwt_svid" })
	return newTables(
		[]inject.Kind{sampleCredential("bearer", false), sampleCredential("header", true), inject.Kinds()[fetched]},
		[]source.Kind{sampleSourceKind("file"), sampleSourceKind("env")},
	)
}
