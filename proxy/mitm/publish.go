package mitm

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"

	pkcs12 "software.sslmate.com/src/go-pkcs12"
)

// trustPassword is what Java expects of a trust store; it guards nothing.
const trustPassword = "changeit"

// CAPEM is what ca.pem holds: every live root, oldest first.
func (a *Authority) CAPEM() []byte { return rootsPEM(*a.live.Load()) }

// BundlePEM is what bundle.pem holds: the system's roots, read anew, and every live root.
func (a *Authority) BundlePEM() []byte {
	return pems(collect(a.systemRoots(), *a.live.Load()))
}

func (a *Authority) systemRoots() []byte {
	system := a.opts.SystemRoots
	if system == nil {
		system = findRoots()
	}
	if len(a.opts.MoreRoots) == 0 {
		return system
	}
	return slices.Concat(system, []byte("\n"), a.opts.MoreRoots)
}

// publish replaces the three files. Each is whole at any time. ca.pem comes
// last, so that who sees a new root there finds it in the others too.
// Nothing is synced to disk: every start writes them again.
func (a *Authority) publish(gens []*generation) error {
	if a.opts.Publish == "" {
		return nil
	}
	all := collect(a.systemRoots(), gens)
	if len(all) == len(gens) {
		a.log.Warn("no system roots found: bundle.pem and truststore.p12 hold this CA alone", "publish", a.opts.Publish)
	}
	store, err := trustStore(all)
	if err != nil {
		return fmt.Errorf("ca.publish %q: truststore.p12: %w", a.opts.Publish, err)
	}
	if err := os.MkdirAll(a.opts.Publish, 0o755); err != nil {
		return fmt.Errorf("ca.publish: %w", err)
	}
	for _, f := range []struct {
		name string
		data []byte
	}{
		{"truststore.p12", store},
		{"bundle.pem", pems(all)},
		{"ca.pem", rootsPEM(gens)},
	} {
		if err := replaceFile(a.opts.Publish, f.name, f.data, 0o644, false); err != nil {
			return fmt.Errorf("ca.publish: %w", err)
		}
	}
	return nil
}

// replaceFile writes dir/name by way of a new file beside it. The
// directory may be shared with an application that plants links: a rename
// replaces a link instead of following it, and os.Root leads nowhere else.
func replaceFile(dir, name string, data []byte, mode fs.FileMode, durable bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	temp := "." + name + ".new"
	if err := root.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) { // left by a crash
		return err
	}
	err = writeNew(root, temp, data, mode, durable)
	if err == nil {
		err = root.Rename(temp, name)
	}
	if err != nil {
		return errors.Join(err, ignoreMissing(root.Remove(temp)))
	}
	if durable {
		return syncDir(root)
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func writeNew(root *os.Root, name string, data []byte, mode fs.FileMode, durable bool) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Chmod(mode); err != nil { // whatever the umask
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if durable {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return f.Close()
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func rootsPEM(gens []*generation) []byte { return pems(collect(nil, gens)) }

func pems(ders [][]byte) []byte {
	var b bytes.Buffer
	b.Grow(2048 * len(ders))
	for _, der := range ders {
		pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a Buffer takes all
	}
	return b.Bytes()
}

// trustStore is what Java 8u301, 11.0.12 and later read: PBES2 with AES. Aliases
// must differ, or Java keeps the last one only.
func trustStore(ders [][]byte) ([]byte, error) {
	entries := make([]pkcs12.TrustStoreEntry, len(ders))
	for i, der := range ders {
		entries[i].Cert = &x509.Certificate{Raw: der} // the encoder reads no more: parsing would cost 3 ms
		entries[i].FriendlyName = "root-" + strconv.Itoa(i+1)
	}
	return pkcs12.Modern2023.EncodeTrustStoreEntries(entries, trustPassword)
}

// collect lists every certificate once, in DER: the system's, then ours.
func collect(system []byte, gens []*generation) [][]byte {
	var out [][]byte
	seen := make(map[[sha256.Size]byte]bool)
	add := func(der []byte) {
		if sum := sha256.Sum256(der); !seen[sum] {
			seen[sum] = true
			out = append(out, der)
		}
	}
	for block, rest := pem.Decode(system); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			add(block.Bytes)
		}
	}
	for _, g := range gens {
		add(g.root.Raw)
	}
	return out
}

// findRoots reads the first file of roots that the system has; nil if it has
// none (Windows). The variables that name others are the application's
// business: it passes SystemRoots.
func findRoots() []byte {
	for _, path := range []string{
		"/etc/ssl/certs/ca-certificates.crt",                // Debian, Gentoo, our image
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL
		"/etc/pki/tls/certs/ca-bundle.crt",                  // older RHEL
		"/etc/ssl/ca-bundle.pem",                            // SUSE
		"/var/lib/ca-certificates/ca-bundle.pem",            // SUSE, newer
		"/etc/ssl/cert.pem",                                 // Alpine, macOS, the BSDs
		"/usr/local/etc/ssl/cert.pem",                       // FreeBSD
	} {
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte("-----BEGIN CERTIFICATE-----")) {
			return data
		}
	}
	return nil
}
