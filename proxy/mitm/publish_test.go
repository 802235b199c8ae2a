package mitm

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	pkcs12 "software.sslmate.com/src/go-pkcs12"
)

// someRoot stands for a system's root.
func someRoot(t *testing.T) []byte {
	t.Helper()
	g, err := newGeneration(names{}, true, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return certPEM(g.root.Raw)
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestPublishedFilesAgree: after the start and after each addition the three files hold the same roots of ours.
func TestPublishedFilesAgree(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	one, two := someRoot(t), someRoot(t)
	system := slicesConcat([]byte("# a comment\n"), one, []byte("\n# again\n"), one, two)
	a := mustNew(t, Options{Publish: dir, SystemRoots: system}, "a.test")
	for i, hosts := range [][]string{{"a.test"}, {"b.test"}, {"c.test"}} {
		mustPermit(t, a, i > 0, hosts...)
		ca, bundle := read(t, dir, "ca.pem"), read(t, dir, "bundle.pem")
		if !bytes.Equal(ca, a.CAPEM()) || countCerts(ca) != i+1 {
			t.Errorf("ca.pem holds %d, want %d", countCerts(ca), i+1)
		}
		if want := slicesConcat(one, two, ca); !bytes.Equal(bundle, want) || !bytes.Equal(bundle, a.BundlePEM()) {
			t.Errorf("bundle.pem is not the system's roots, once each, and ca.pem")
		}
		certs, err := pkcs12.DecodeTrustStore(read(t, dir, "truststore.p12"), trustPassword)
		if err != nil {
			t.Fatal(err)
		}
		var inStore []byte
		for _, c := range certs {
			inStore = append(inStore, certPEM(c.Raw)...)
		}
		if !bytes.Equal(inStore, bundle) {
			t.Error("truststore.p12 and bundle.pem differ")
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 {
		t.Errorf("%v, %v", entries, err)
	}
	if runtime.GOOS != "windows" {
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o644 {
				t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
			}
		}
	}
}

func slicesConcat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// TestPublishHoldsNoKey: applications read this directory.
func TestPublishHoldsNoKey(t *testing.T) {
	dir := t.TempDir()
	mustNew(t, Options{Publish: dir, State: t.TempDir(), SystemRoots: []byte{}}, "a.test")
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && bytes.Contains(read(t, dir, path), []byte("PRIVATE")) {
			t.Errorf("%s holds a key", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPublishFollowsNoLinks: an application that may write to the directory points our names elsewhere.
func TestPublishFollowsNoLinks(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	precious := filepath.Join(outside, "precious")
	if err := os.WriteFile(precious, []byte("keep"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca.pem", ".ca.pem.new", "bundle.pem", ".bundle.pem.new", "truststore.p12"} {
		if err := os.Symlink(precious, filepath.Join(dir, name)); err != nil {
			t.Skip("symbolic links: ", err)
		}
	}
	a := mustNew(t, Options{Publish: dir, SystemRoots: []byte{}}, "a.test")
	if got := read(t, precious); string(got) != "keep" {
		t.Fatalf("written through the link: %q", got)
	}
	if info, err := os.Lstat(filepath.Join(dir, "ca.pem")); err != nil || !info.Mode().IsRegular() {
		t.Error("still a link", err)
	}
	if !bytes.Equal(read(t, dir, "ca.pem"), a.CAPEM()) {
		t.Error("ca.pem is not ours")
	}
}

// TestPublishIsAtomic: a reader at any moment sees a whole file.
func TestPublishIsAtomic(t *testing.T) {
	dir := t.TempDir()
	a := mustNew(t, Options{Publish: dir, SystemRoots: []byte{}}, "h.test")
	done := make(chan error, 1)
	go func() {
		var hosts []string
		for i := range 20 {
			hosts = append(hosts, string(rune('a'+i))+".test")
			if _, err := a.Permit(hosts); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for least := 1; ; {
		data := read(t, dir, "ca.pem")
		n := countCerts(data)
		if n < least || !bytes.HasSuffix(data, []byte("-----END CERTIFICATE-----\n")) {
			t.Errorf("%d roots after %d, %d bytes", n, least, len(data))
		}
		least = n
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			return
		default:
		}
	}
}

func TestPublishErrorsSpeak(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Options{Publish: file, SystemRoots: []byte{}}, nil); err == nil || !strings.Contains(err.Error(), "ca.publish") || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
	if _, err := New(Options{State: file}, nil); err == nil || !strings.Contains(err.Error(), "ca.state") || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
}

// TestSystemRootsFound: where the system has a file of roots, Go can read what we make of it.
func TestSystemRootsFound(t *testing.T) {
	system := findRoots()
	if system == nil {
		t.Skip("system roots: none on this machine")
	}
	dir := t.TempDir()
	mustNew(t, Options{Publish: dir}, "a.test")
	bundle := read(t, dir, "bundle.pem")
	if countCerts(bundle) < 2 {
		t.Error("bundle.pem holds this CA alone")
	}
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			t.Error(err)
		}
	}
}
