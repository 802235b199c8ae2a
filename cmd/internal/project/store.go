package project

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/config"
)

// Store is the directory of what this user has allowed; app.StateDir names it.
type Store struct {
	Dir string
	Now func() time.Time // nil: time.Now
}

// Record is one configuration that was allowed.
type Record struct {
	Path    string            `json:"path"`
	Profile string            `json:"profile,omitempty"`
	At      time.Time         `json:"allowed"`
	Digests map[string]string `json:"digests"` // name → SHA-256; of files, and of the values of variables
}

// NotAllowedError says that a configuration may not be used as it is.
type NotAllowedError struct {
	*Project
	Since   time.Time // when other content was allowed; zero: never
	Changed []string  // what differs from that
}

func (e *NotAllowedError) Error() string {
	if e.Since.IsZero() {
		return fmt.Sprintf("%s was not allowed", e.Path)
	}
	return fmt.Sprintf("%s was allowed with other content: %s", e.Path, strings.Join(e.Changed, ", "))
}

// Open reads the configuration at path once and returns it with when it was allowed. If what it holds
// was not allowed the error is a [NotAllowedError]. Nothing else of it may be used then. Commands in
// it may run only if all of its files are this user's own.
func (s Store) Open(path, profile string, env config.Env) (*Project, time.Time, error) {
	p, err := freeze(path, profile, env)
	if err != nil {
		return nil, time.Time{}, err
	}
	rec, err := s.load(s.file(p.Path, profile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, time.Time{}, &NotAllowedError{Project: p}
	case err != nil:
		return nil, time.Time{}, err
	case rec.Path != p.Path || rec.Profile != profile:
		return nil, time.Time{}, &NotAllowedError{Project: p}
	}
	if changed := differ(rec.Digests, p.digests); len(changed) > 0 {
		return nil, time.Time{}, &NotAllowedError{Project: p, Since: rec.At, Changed: changed}
	}
	p.Frozen.MayRun = allOurs(p.Frozen.Files)
	return p, rec.At, nil
}

// OpenSystem is [Store.Open] for a configuration that [System] knows as the administrator's.
func OpenSystem(path, profile string, env config.Env) (*Project, error) {
	p, err := freeze(path, profile, env)
	if err == nil {
		p.Frozen.MayRun = true
	}
	return p, err
}

// Allow records what the configuration at path holds now, and returns that.
func (s Store) Allow(path, profile string, env config.Env) (*Project, error) {
	p, err := freeze(path, profile, env)
	if err != nil {
		return nil, err
	}
	now := s.Now
	if now == nil {
		now = time.Now
	}
	return p, s.save(Record{Path: p.Path, Profile: profile, At: now().UTC().Truncate(time.Second), Digests: p.digests})
}

// differ names what two sets of digests do not share.
func differ(a, b map[string]string) []string {
	names := map[string]bool{}
	for name := range a {
		names[name] = a[name] != b[name]
	}
	for name := range b {
		names[name] = a[name] != b[name]
	}
	maps.DeleteFunc(names, func(_ string, differs bool) bool { return !differs })
	return slices.Sorted(maps.Keys(names))
}

// file is where the record of a path and profile is kept.
func (s Store) file(path, profile string) string {
	return filepath.Join(s.Dir, digest([]byte(path + "\x00" + profile))[:32]+".json")
}

// check refuses a store that others can write to: they could allow for this user.
func (s Store) check() error {
	info, err := os.Stat(s.Dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || !private(info) {
		return fmt.Errorf("%s can be written to by others; make it yours alone: chmod 700", s.Dir)
	}
	return nil
}

func (s Store) load(file string) (Record, error) {
	var rec Record
	if err := s.check(); err != nil {
		return rec, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(data, &rec); err != nil {
		return rec, fmt.Errorf("%s: not a record: %w", file, err)
	}
	return rec, nil
}

func (s Store) save(rec Record) error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	data, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(s.Dir, ".new-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(append(data, '\n'))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), s.file(rec.Path, rec.Profile))
}

// List returns every record, in order of path and profile.
func (s Store) List() ([]Record, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []Record
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || filepath.Ext(e.Name()) != ".json" {
			continue
		}
		rec, err := s.load(filepath.Join(s.Dir, e.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, rec)
	}
	slices.SortFunc(all, func(a, b Record) int { return strings.Compare(a.Path+"\x00"+a.Profile, b.Path+"\x00"+b.Profile) })
	return all, nil
}

// Revoke takes back what was allowed for path, under every profile, and returns how much that was. The
// file itself may be gone.
func (s Store) Revoke(path string) (int, error) {
	if located, err := locate(path); err == nil {
		path = located
	}
	all, err := s.List()
	if err != nil {
		return 0, err
	}
	n := 0
	for _, rec := range all {
		if rec.Path != path {
			continue
		}
		if err := os.Remove(s.file(rec.Path, rec.Profile)); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
