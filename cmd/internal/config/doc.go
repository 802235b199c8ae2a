// Package config turns YAML files into specs that can be built from, with the
// place of everything that is wrong in them.
//
// It owns the grammar of the configuration (grammar.go), its defaults, its
// JSON Schema and every check that needs more than one part of it. It is the
// only package that knows YAML: kinds of credentials and sources get a decode
// function and answer with option errors, which are mapped to lines here.
//
// It must not read a secret, contact anything or look at the environment: what
// it needs of the process comes in an [Env]. No message repeats a value, only
// keys and names, because a value in the wrong place may be a secret.
//
// # Loading
//
// The steps of a load are: read the files; cut each into tokens and parse it
// into nodes; check requires and version; lay layers over the file below them;
// fill in variables; decode nodes into the structs of the grammar by reflection;
// merge the files of a directory; check across them; build the
// specs. A step collects all its problems, and the later ones run on what is
// sound, so that one run tells everything.
//
// YAML is kept to what people expect of a configuration file. Refused are
// aliases, anchors and merge keys (so nothing can expand), tags, directives,
// complex keys, several documents, duplicate keys, nesting deeper than 64 and
// files larger than 1 MiB.
//
// # Concurrency
//
// The package starts no goroutine and holds no state; a [Config] is not changed
// after Load has returned it.
package config
