package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/identity"
	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/watcher"
	"github.com/attache-proxy/attache/watcher/source"
)

// The names of a SPIFFE credential folder (SPIFFE Filesystem Delivery, section 2).
const (
	folderCredential = "credential-bundle.private-key.pem"
	folderBundle     = ".spiffe-trust-bundle.pem"
)

// identitySecret is the name of the one secret in the Store that keeps these files.
const identitySecret = "identity"

// identityFiles are the files of an identity as one source: a whole version of all of them, or an error.
type identityFiles struct{ config.IdentityFiles }

var _ source.Source = identityFiles{}

func (f identityFiles) Describe() string { return "files" }

func (f identityFiles) Paths() []string {
	var paths []string
	for _, m := range f.members() {
		paths = append(paths, m.path)
	}
	return paths
}

// member is one file, and the trust domain whose roots it holds.
type member struct {
	path, mark string // mark: "" for what is no trust bundle
	secret     bool   // it holds the key
}

// members are the files, those of the identity itself first.
func (f identityFiles) members() []member {
	var all []member
	if f.Dir != "" {
		all = append(all, member{path: filepath.Join(f.Dir, folderCredential), secret: true})
		entries, _ := os.ReadDir(f.Dir) // the credential cannot be read then either
		for _, e := range entries {
			if domain, ok := strings.CutSuffix(e.Name(), folderBundle); ok {
				all = append(all, member{path: filepath.Join(f.Dir, e.Name()), mark: identity.BundleMark + " " + domain})
			}
		}
		return all
	}
	for _, path := range []string{f.PEM, f.Cert, f.Key} {
		if path != "" {
			all = append(all, member{path: path, secret: path != f.Cert})
		}
	}
	if f.Bundle != "" {
		all = append(all, member{path: f.Bundle, mark: identity.BundleMark})
	}
	var federated []member
	for domain, path := range f.Federated {
		federated = append(federated, member{path: path, mark: identity.BundleMark + " " + domain})
	}
	slices.SortFunc(federated, func(a, b member) int { return strings.Compare(a.mark, b.mark) })
	return append(all, federated...)
}

// Inspect implements [source.Inspector].
func (f identityFiles) Inspect() []source.Trouble {
	var found []source.Trouble
	for _, m := range f.members() {
		if i, ok := source.File(m.path).(source.Inspector); ok {
			for _, trouble := range i.Inspect() {
				if m.secret || trouble.Code == source.PinnedInode { // anyone may read certificates
					found = append(found, trouble)
				}
			}
		}
	}
	return found
}

// Read returns the files one after the other, in the form that identity.Source.SetPEM takes. The Store reads
// until two reads agree, so that all are of one version.
func (f identityFiles) Read(ctx context.Context) ([]byte, error) {
	var text bytes.Buffer
	var writing error
	for _, m := range f.members() {
		part, err := source.File(m.path).Read(ctx)
		if _, ok := errors.AsType[*source.UnsettledError](err); ok {
			writing = err
		} else if err != nil {
			return nil, err
		}
		if m.mark != "" {
			if marked(part) { // or whoever gives us one trust domain's roots could name another's
				return nil, fmt.Errorf("%s: a line in it begins with %q, which only a file with the SVID may have", m.path, identity.BundleMark)
			}
			text.WriteString(m.mark + "\n")
		}
		text.Write(part)
		text.WriteString("\n")
	}
	return text.Bytes(), writing
}

// marked reports whether a line of text begins the roots of a trust domain.
func marked(text []byte) bool {
	return bytes.HasPrefix(text, []byte(identity.BundleMark)) || bytes.Contains(text, []byte("\n"+identity.BundleMark))
}

// identityStore feeds a source from files, once its Apply is called with what identitySpecs gives. The last good version
// serves for as long as it is valid.
func identityStore(log *slog.Logger, notices watcher.Notices, to *identity.Source) *watcher.Store {
	var store *watcher.Store
	feed := func(set *secret.Set) {
		if v, err := set.Lookup(identitySecret); err == nil {
			_ = to.SetPEM([]byte(v.Reveal())) // its status tells
		}
	}
	store = watcher.New(watcher.Options{Log: log, Notices: notices, OnSet: feed, OnChange: func(c watcher.Change) {
		switch c.Result {
		case "rotated":
		case "unchanged": // readable again
			feed(store.Set())
		default:
			to.SetProblem("files: " + c.Reason)
		}
	}})
	return store
}

func identitySpecs(files config.IdentityFiles) []watcher.Spec {
	return []watcher.Spec{{
		Name: identitySecret, Source: identityFiles{files}, Expect: watcher.Expect{Kind: "pem"}, MaxStale: 100 * 365 * 24 * time.Hour,
	}}
}
