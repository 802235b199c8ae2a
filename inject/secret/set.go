package secret

import (
	"fmt"
	"maps"
)

// Ref is the name of a configured secret, as an option of a credential kind
// or of anything else that needs one. The configuration checks that every Ref
// names a secret that exists.
type Ref string

// Set is an immutable view of every configured secret at one moment. A request
// uses one Set from its first byte to its last.
type Set struct {
	entries map[string]Entry
}

// Entry is one secret in a Set.
type Entry struct {
	Current  Value  // zero while the secret has no usable version
	Previous Value  // the version before Current, zero if there was none
	Problem  string // why Current is zero, without secret bytes: "not found", "expired"
}

// NewSet returns a Set of the entries, by name. It keeps the map: the caller
// must not change it afterwards.
func NewSet(entries map[string]Entry) *Set { return &Set{entries} }

// With returns a Set that has the entries beside those of s, and in their place.
func (s *Set) With(entries map[string]Entry) *Set {
	if len(entries) == 0 {
		return s
	}
	all := make(map[string]Entry, len(entries))
	if s != nil {
		maps.Copy(all, s.entries)
	}
	maps.Copy(all, entries)
	return &Set{all}
}

// Lookup returns the current version of the named secret, or a *[MissingError].
func (s *Set) Lookup(name Ref) (Value, error) {
	e, ok := s.Entry(name)
	switch {
	case !ok:
		return Value{}, &MissingError{Name: string(name), Problem: "not configured"}
	case e.Current.IsZero():
		return Value{}, &MissingError{Name: string(name), Problem: e.Problem}
	case e.Current.Expired(): // whoever publishes Sets may be late
		return Value{}, &MissingError{Name: string(name), Problem: "expired"}
	}
	return e.Current, nil
}

// Entry returns all that the Set holds of the named secret.
func (s *Set) Entry(name Ref) (Entry, bool) {
	if s == nil {
		return Entry{}, false
	}
	e, ok := s.entries[string(name)]
	return e, ok
}

// MissingError says that a secret has no usable version.
type MissingError struct {
	Name    string
	Problem string
}

func (e *MissingError) Error() string { return fmt.Sprintf("secret %q: %s", e.Name, e.Problem) }
