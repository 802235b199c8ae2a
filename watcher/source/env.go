package source

import (
	"context"
	"strings"
)

type envOptions struct {
	Name string `json:"name" jsonschema:"name of the environment variable"`
}

func envKind() Kind {
	return kind(Kind{
		Name: "env",
		Main: "name",
		Doc:  "An environment variable. Second best: it cannot rotate, and other processes may read or inherit it.",
	}, newEnv)
}

func newEnv(o envOptions, env Env) (Source, error) {
	switch {
	case o.Name == "":
		return nil, &OptionError{Option: "name", Problem: "required", Hint: "for example STRIPE_KEY"}
	case strings.ContainsAny(o.Name, "=\x00"):
		return nil, &OptionError{Option: "name", Problem: "not a name of an environment variable"}
	case strings.HasPrefix(o.Name, "$"):
		return nil, &OptionError{Option: "name", Problem: "begins with $", Hint: "write the name alone"}
	}
	return &environment{o.Name, env.Getenv}, nil
}

type environment struct {
	name   string
	getenv func(string) (string, bool)
}

func (e *environment) Paths() []string  { return nil }
func (e *environment) Describe() string { return "env " + e.name }

func (e *environment) Read(context.Context) ([]byte, error) {
	if e.getenv == nil {
		return nil, &ReadError{Problem: "not set", Where: e.Describe()}
	}
	text, ok := e.getenv(e.name)
	switch {
	case !ok:
		return nil, &ReadError{Problem: "not set", Where: e.Describe()}
	case len(text) > MaxSize:
		return nil, &ReadError{Problem: "over 64 KiB", Where: e.Describe()}
	}
	return []byte(text), nil
}
