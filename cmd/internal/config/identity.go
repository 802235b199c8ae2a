package config

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/attache-proxy/attache/identity"
)

// spiffeSocket is where the Workload API is, unless the configuration says so
// (SPIFFE Workload Endpoint, section 4).
const spiffeSocket = "SPIFFE_ENDPOINT_SOCKET"

// Identity is where the proxy's own identity comes from. The zero Identity is none.
type Identity struct {
	Address string        // of the SPIFFE Workload API; empty: Files
	Files   IdentityFiles // absolute paths
	Key     string        // equal means unchanged
	Pos     string        // file:line, or the environment variable
}

// IdentityFiles are PEM files. Set is PEM alone, Cert with Key and Bundle, or Dir alone;
// Bundle and Federated may stand beside PEM too.
type IdentityFiles struct {
	PEM, Cert, Key, Bundle, Dir string
	Federated                   map[string]string // trust domain → bundle
}

type identitySpec struct {
	Node   *node
	Spiffe string             `json:"spiffe,omitempty" jsonschema:"the SPIFFE Workload API: unix:/path, or tcp:// with an IP address and a port" default:"SPIFFE_ENDPOINT_SOCKET, where something needs an identity" example:"unix:/run/spire/agent.sock"`
	Files  *identityFilesSpec `json:"files,omitempty" jsonschema:"PEM files in its place, read anew when they change: the path of one that holds certificate, key and roots; or a map"`
}

func (identitySpec) oneOf() []string { return []string{"spiffe", "files"} }

type identityFilesSpec struct {
	Node      *node
	PEM       string            `json:"pem,omitempty" main:"ok" jsonschema:"one file: the X509-SVID, certificates after it in its chain, its key, and the self-signed roots of its trust domain" example:"/run/svid/svid.pem"`
	Cert      string            `json:"cert,omitempty" jsonschema:"the X509-SVID, and the certificates between it and the root" example:"/run/svid/svid.pem"`
	Key       string            `json:"key,omitempty" jsonschema:"its key" example:"/run/svid/svid_key.pem"`
	Bundle    string            `json:"bundle,omitempty" jsonschema:"the roots of its trust domain" example:"/run/svid/bundle.pem"`
	Federated map[string]string `json:"federated,omitempty" jsonschema:"the roots of other trust domains, by trust domain" example:"{bank.example: /run/svid/bank.pem}"`
	Dir       string            `json:"dir,omitempty" jsonschema:"a SPIFFE credential folder: credential-bundle.private-key.pem, and NAME.spiffe-trust-bundle.pem for every trust domain" example:"/run/spiffe"`
}

func (identityFilesSpec) oneOf() []string { return []string{"pem", "cert", "dir"} }

// needIdentity notes a place that needs the proxy to have an identity.
func (b *builder) needIdentity(n *node) { b.needs = append(b.needs, n) }

// buildIdentity comes after everything that may need one.
func (b *builder) buildIdentity() {
	doc, n := b.the("identity")
	if doc.Identity.Node == nil {
		b.identityOfEnvironment()
		return
	}
	if n.faulty() {
		return
	}
	s := doc.Identity
	b.cfg.Identity = Identity{Address: s.Spiffe, Key: canonical(n), Pos: n.where()}
	if at := n.at("spiffe"); s.Files == nil {
		if err := identity.CheckAddress(s.Spiffe); err != nil {
			b.fail(at, `as in "unix:/run/spire/agent.sock"`, "identity.spiffe: %v", err)
		} else if !identity.LocalAddress(s.Spiffe) {
			b.warn(at, "use a unix socket, or an address of this host", "identity.spiffe: the private key would come over the network, in clear")
		}
		return
	}
	b.identityFiles(s.Files, n.at("files"))
	for _, n := range b.tokens {
		b.fail(n, "write identity: {spiffe: unix:/path}", "identity.files give no JWT-SVIDs")
	}
}

// identityOfEnvironment is the identity where the configuration says nothing of it: none, unless
// something needs one.
func (b *builder) identityOfEnvironment() {
	if len(b.needs) == 0 {
		return
	}
	spec, err := EnvironmentIdentity(b.env.Getenv)
	switch {
	case err != nil:
		b.fail(b.needs[0], "", "%v", err)
	case spec.Key == "":
		for _, n := range b.needs {
			b.fail(n, "write identity: {spiffe: unix:/path}, or set "+spiffeSocket, "needs the proxy to have an identity of its own")
		}
	}
	b.cfg.Identity = spec
}

// EnvironmentIdentity is the identity that SPIFFE_ENDPOINT_SOCKET leads to, the zero one if it is not set.
func EnvironmentIdentity(getenv func(string) (string, bool)) (Identity, error) {
	address, _ := getenv(spiffeSocket)
	if address == "" {
		return Identity{}, nil
	}
	if err := identity.CheckAddress(address); err != nil {
		return Identity{}, fmt.Errorf("%s: %w", spiffeSocket, err)
	}
	return Identity{Address: address, Key: address, Pos: spiffeSocket}, nil
}

func (b *builder) identityFiles(s *identityFilesSpec, n *node) {
	f := IdentityFiles{PEM: s.PEM, Cert: s.Cert, Key: s.Key, Bundle: s.Bundle, Dir: s.Dir, Federated: maps.Clone(s.Federated)}
	for _, key := range []string{"key", "bundle"} {
		if n.shape == dict && s.Cert != "" && n.get(key).value == nil {
			b.fail(n, "", "identity.files: cert needs %s beside it", key)
		}
	}
	for _, e := range n.entries {
		switch key := e.key.text; {
		case s.Dir != "" && key != "dir":
			b.fail(e.key, "", "identity.files: %s does nothing beside dir, which has its own", key)
		case s.PEM != "" && key == "key":
			b.fail(e.key, "", "identity.files: key does nothing beside pem, which holds one")
		}
	}
	for _, domain := range slices.Sorted(maps.Keys(f.Federated)) {
		if td, err := spiffeid.TrustDomainFromString(domain); err != nil || td.Name() != domain {
			b.fail(n.at("federated").get(domain).key, `as in {bank.example: /run/svid/bank.pem}`, "identity.files.federated: not the name of a trust domain")
		}
	}
	for _, path := range []*string{&f.PEM, &f.Cert, &f.Key, &f.Bundle, &f.Dir} {
		*path = b.absolute(n, *path)
	}
	for domain, path := range f.Federated {
		f.Federated[domain] = b.absolute(n, path)
	}
	b.cfg.Identity.Files = f
}

// absolute makes a path that is not empty absolute.
func (b *builder) absolute(n *node, path string) string {
	if path == "" {
		return ""
	}
	abs, err := filepath.Abs(b.path(path))
	if err != nil || strings.ContainsRune(path, 0) {
		b.fail(n, "write absolute paths", "identity.files: not a path")
	}
	return abs
}
