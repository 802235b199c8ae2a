package source

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

type filesOptions struct {
	Dir      string `json:"dir,omitempty" jsonschema:"directory of the files, for relative names; alone: it holds tls.crt and tls.key, as a Kubernetes TLS secret does"`
	Cert     string `json:"cert,omitempty" jsonschema:"PEM file of a certificate chain; needs key"`
	Key      string `json:"key,omitempty" jsonschema:"PEM file of its private key"`
	User     string `json:"user,omitempty" jsonschema:"file of a user name; needs password, and field to say which of the two the secret is"`
	Password string `json:"password,omitempty" jsonschema:"file of a password"`
}

func filesKind() Kind {
	return kind(Kind{
		Name: "files",
		Main: "dir",
		Doc:  "Two files that belong together, read as one version: a client certificate and its key, or a user name and password.",
	}, newFiles)
}

func newFiles(o filesOptions, env Env) (Source, error) {
	if o == (filesOptions{Dir: o.Dir}) && o.Dir != "" {
		o.Cert, o.Key = "tls.crt", "tls.key"
	}
	f := &files{document: o.User != "" || o.Password != ""}
	names := []string{"cert", "key"}
	members := []string{o.Cert, o.Key}
	if f.document {
		if o.Cert != "" || o.Key != "" {
			return nil, &OptionError{Option: "user", Problem: "stands beside a certificate", Hint: "make two secrets of it"}
		}
		names, members = []string{"user", "password"}, []string{o.User, o.Password}
	}
	for i, m := range members {
		switch {
		case m == "":
			return nil, &OptionError{Option: names[i], Problem: "required", Hint: "as in {cert: client.pem, key: client.key}"}
		case strings.ContainsRune(o.Dir+m, 0):
			return nil, &OptionError{Option: names[i], Problem: "holds a NUL byte"}
		}
		for _, dir := range []string{o.Dir, env.Dir} {
			if !filepath.IsAbs(m) {
				m = filepath.Join(dir, m)
			}
		}
		abs, err := filepath.Abs(m)
		if err != nil {
			return nil, &OptionError{Option: names[i], Problem: err.Error(), Hint: "write an absolute path"}
		}
		f.paths = append(f.paths, abs)
	}
	return f, nil
}

// files is a pair of files.
type files struct {
	paths    []string
	document bool // user and password: read as a JSON document; else PEM, one after the other
}

func (f *files) Paths() []string  { return slices.Clone(f.paths) }
func (f *files) Describe() string { return "files" }

// Inspect implements [Inspector].
func (f *files) Inspect() []Trouble {
	var found []Trouble
	for _, p := range f.paths {
		found = append(found, inspect(p)...)
	}
	return found
}

// versions is how often Read begins again because the links moved meanwhile.
const versions = 4

// Read returns both files, of one version: their links lead to the same places
// before and after.
func (f *files) Read(ctx context.Context) ([]byte, error) {
	for range versions {
		before, err := f.resolve()
		if err != nil {
			return nil, err
		}
		raw, err := f.read(before)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if after, e := f.resolve(); e == nil && slices.Equal(before, after) {
			return raw, err
		}
	}
	return nil, &UnsettledError{"files " + strings.Join(f.paths, ", ")}
}

// resolve follows the links of each path, and reads each link once: what hangs
// on one link is of one version.
func (f *files) resolve() ([]string, error) {
	seen := map[string]string{}
	real := make([]string, len(f.paths))
	for i, p := range f.paths {
		r, err := follow(p, seen)
		if err != nil {
			return nil, readError("file "+p, err)
		}
		real[i] = r
	}
	return real, nil
}

const mostLinks = 40 // as many as Linux follows

// follow gives the path without symlinks. It notes in seen where each link
// leads, "" for what is none, and believes what stands there.
func follow(path string, seen map[string]string) (string, error) {
	volume := filepath.VolumeName(path)
	at, rest := volume+string(filepath.Separator), strings.Split(filepath.ToSlash(path[len(volume):]), "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		full := filepath.Join(at, name)
		target, known := seen[full]
		if !known {
			info, err := os.Lstat(full)
			if err != nil {
				return "", err
			}
			if info.Mode()&os.ModeSymlink != 0 {
				if target, err = os.Readlink(full); err != nil {
					return "", err
				}
			}
			seen[full] = target
		}
		if target == "" {
			at = full
			continue
		}
		if links++; links > mostLinks {
			return "", &os.PathError{Op: "open", Path: path, Err: errors.New("too many links")}
		}
		if filepath.IsAbs(target) {
			volume := filepath.VolumeName(target)
			at, target = volume+string(filepath.Separator), target[len(volume):]
		}
		rest = append(strings.Split(filepath.ToSlash(target), "/"), rest...)
	}
	return at, nil
}

func (f *files) read(real []string) ([]byte, error) {
	var texts []string
	var writing error
	for i, p := range real {
		text, err := readFile(p)
		if _, ok := errors.AsType[*UnsettledError](err); ok {
			writing = err
		} else if err != nil {
			return nil, err
		}
		if len(strings.TrimSpace(string(text))) == 0 {
			return nil, &ReadError{Problem: "empty", Where: "file " + f.paths[i]}
		}
		texts = append(texts, string(text))
	}
	if !f.document {
		return []byte(strings.TrimSuffix(texts[0], "\n") + "\n" + texts[1]), writing
	}
	for i := range texts {
		if !utf8.ValidString(texts[i]) { // JSON would not keep it
			return nil, &ReadError{Problem: "is not UTF-8", Where: "file " + f.paths[i]}
		}
	}
	doc, err := json.Marshal(map[string]string{"user": line(texts[0]), "password": line(texts[1])})
	if err != nil {
		return nil, &ReadError{Problem: "is not text", Where: "files " + strings.Join(f.paths, ", ")}
	}
	return doc, writing
}

// line is text without one newline at its end.
func line(text string) string {
	if cut, ok := strings.CutSuffix(text, "\n"); ok {
		return strings.TrimSuffix(cut, "\r")
	}
	return text
}
