package mitm

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

const (
	stateFile    = "ca.json"
	stateVersion = 1
	stateLimit   = 4 << 20 // bytes; maxGenerations of full size are 2.5 MiB
)

// stateJSON is the format of the state file. The root has no key: it is gone.
type stateJSON struct {
	Version     int               `json:"version"`
	Generations []stateGeneration `json:"generations"`
}

type stateGeneration struct {
	Root   string `json:"root"`   // PEM
	Issuer string `json:"issuer"` // PEM
	Key    string `json:"key"`    // PEM, PKCS #8, of the issuer
}

// apart refuses a state directory that applications would see.
func (a *Authority) apart() error {
	if a.opts.State == "" || a.opts.Publish == "" {
		return nil
	}
	state, publish := resolved(a.opts.State), resolved(a.opts.Publish)
	if rel, err := filepath.Rel(publish, state); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return fmt.Errorf("ca.state %q: lies in ca.publish %q, where applications would read its key", a.opts.State, a.opts.Publish)
	}
	return nil
}

// resolved follows the links of as much of path as exists.
func resolved(path string) string {
	path, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(resolved(dir), filepath.Base(path))
	}
	return path
}

// loadState reads what keep wrote. What it cannot use it warns of and leaves
// out, so a damaged file costs a new generation and never the start; a
// file it may not read is an error.
func loadState(dir string, log *slog.Logger) ([]*generation, error) {
	if dir == "" {
		return nil, nil
	}
	path := filepath.Join(dir, stateFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ca.state: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("ca.state: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("ca.state %q: not a regular file", path)
	}
	if !ours(info) {
		log.Warn("CA state ignored: the file belongs to another user; a new CA is made", "file", path)
		return nil, nil
	}
	if exposed(info) {
		log.Warn("CA state can be read by other users; who has read it can sign for the hosts it permits", "file", path, "mode", info.Mode().String())
	}
	data, err := io.ReadAll(io.LimitReader(f, stateLimit+1))
	if err != nil {
		return nil, fmt.Errorf("ca.state: %w", err)
	}
	gens, faults := parseState(data)
	for _, fault := range faults {
		log.Warn("CA state damaged: what it does not hold is made anew, and clients must read the CA again", "file", path, "error", fault)
	}
	return gens, nil
}

// parseState returns every generation that is whole, and why others are not.
// No fault quotes the file: it holds keys.
func parseState(data []byte) (gens []*generation, faults []error) {
	if len(data) > stateLimit {
		return nil, []error{errors.New("larger than 4 MiB")}
	}
	var s stateJSON
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, []error{errors.New("not JSON of its kind")}
	}
	if s.Version != stateVersion {
		return nil, []error{fmt.Errorf("version %d, not %d", s.Version, stateVersion)}
	}
	if len(s.Generations) > maxGenerations {
		return nil, []error{errors.New("too many generations")}
	}
	for i, sg := range s.Generations {
		g, err := sg.parse()
		if err != nil {
			faults = append(faults, fmt.Errorf("generation %d: %w", i+1, err))
			continue
		}
		gens = append(gens, g)
	}
	return gens, faults
}

func (s *stateGeneration) parse() (*generation, error) {
	root, err := parseCert(s.Root)
	if err != nil {
		return nil, fmt.Errorf("root: %w", err)
	}
	issuer, err := parseCert(s.Issuer)
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	block, _ := pem.Decode([]byte(s.Key))
	if block == nil {
		return nil, errors.New("key: not PEM")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	key, ok := parsed.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, errors.New("key: not one of ours")
	}
	return assemble(root, issuer, key)
}

func parseCert(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("not PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// keep writes the state, whole or not at all, and to the disk: a key that is
// lost after its root was published breaks clients.
func (a *Authority) keep(gens []*generation) error {
	if a.opts.State == "" || len(gens) > 0 && gens[0].Given {
		return nil
	}
	data, err := marshalState(gens)
	if err == nil {
		err = os.MkdirAll(a.opts.State, 0o700)
	}
	if err == nil {
		err = replaceFile(a.opts.State, stateFile, data, 0o600, true)
	}
	if err != nil {
		return fmt.Errorf("ca.state: %w", err)
	}
	return nil
}

func marshalState(gens []*generation) ([]byte, error) {
	s := stateJSON{Version: stateVersion}
	for _, g := range gens {
		key, err := x509.MarshalPKCS8PrivateKey(g.key)
		if err != nil {
			return nil, err
		}
		s.Generations = append(s.Generations, stateGeneration{
			Root:   string(certPEM(g.root.Raw)),
			Issuer: string(certPEM(g.issuer.Raw)),
			Key:    string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		})
	}
	return json.MarshalIndent(s, "", " ")
}
