package source

import (
	"context"
	"path/filepath"
	"strings"
)

type credentialOptions struct {
	Name string `json:"name" jsonschema:"its name, as in LoadCredential=name:path"`
}

func credentialKind() Kind {
	return kind(Kind{
		Name: "credential",
		Main: "name",
		Doc:  "A credential that systemd loaded for the service, from $CREDENTIALS_DIRECTORY. It is read when the service starts: a new version needs a restart.",
	}, newCredential)
}

// newCredential holds the name to what systemd.exec(5) allows, so that it stays inside the directory.
// Outside a service the directory is not known; then the configuration is valid and reading fails.
func newCredential(o credentialOptions, env Env) (Source, error) {
	switch {
	case o.Name == "":
		return nil, &OptionError{Option: "name", Problem: "required", Hint: "for example stripe, with LoadCredential=stripe:/etc/attache/secrets/stripe in the unit"}
	case strings.ContainsAny(o.Name, `/\:`+"\x00") || o.Name == "." || o.Name == "..":
		return nil, &OptionError{Option: "name", Problem: "not a name of a credential", Hint: "the name in the unit, without a path"}
	}
	where := "credential " + o.Name
	if env.Getenv != nil {
		if dir, _ := env.Getenv("CREDENTIALS_DIRECTORY"); filepath.IsAbs(dir) {
			return &credential{file{filepath.Join(dir, o.Name)}, where}, nil
		}
	}
	return &noCredentials{where}, nil
}

type credential struct {
	file
	where string
}

func (c *credential) Describe() string { return c.where }

// noCredentials stands for a credential outside a service that has any.
type noCredentials struct{ where string }

func (n *noCredentials) Paths() []string  { return nil }
func (n *noCredentials) Describe() string { return n.where }

func (n *noCredentials) Read(context.Context) ([]byte, error) {
	return nil, &ReadError{Problem: "CREDENTIALS_DIRECTORY is not set: not started by systemd with LoadCredential=", Where: n.where}
}
