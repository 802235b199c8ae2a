package secret

import (
	"fmt"
	"log/slog"
	"time"
)

// Value is one version of one secret. It is the only type of Attaché that
// holds secret bytes; it prints as its name and generation, whatever the verb,
// and only [Value.Reveal] gives the bytes. Values are immutable and small
// enough to copy. The zero Value holds nothing.
type Value struct {
	// The bytes sit behind a pointer: fmt prints an unexported struct field
	// without calling its String method, and would print bytes held here.
	p *payload
}

type payload struct {
	name       string
	generation uint64
	loaded     time.Time
	expires    time.Time // zero: unknown
	// The bytes are what a closure holds, because reflection reads unexported
	// fields behind pointers too: dumpers and differs print those.
	reveal func() string
}

// New returns generation n of the named secret, counted from 1. It copies text.
func New(name string, generation uint64, loaded time.Time, text []byte) Value {
	return NewExpiring(name, generation, loaded, time.Time{}, text)
}

// NewExpiring is [New] for content that says when it expires, as a JWT or a
// certificate does: from then on [Set.Lookup] no longer gives it. A zero
// expires is unknown.
func NewExpiring(name string, generation uint64, loaded, expires time.Time, text []byte) Value {
	held := string(text)
	return Value{&payload{name: name, generation: generation, loaded: loaded, expires: expires, reveal: func() string { return held }}}
}

// IsZero reports whether v holds nothing.
func (v Value) IsZero() bool { return v.p == nil }

// Same reports whether v and w are the same version of the same secret.
func (v Value) Same(w Value) bool { return v.p == w.p }

// Name is the name of the secret, empty for the zero Value.
func (v Value) Name() string {
	if v.p == nil {
		return ""
	}
	return v.p.name
}

// Generation counts the versions of the secret that this process has used, from 1.
func (v Value) Generation() uint64 {
	if v.p == nil {
		return 0
	}
	return v.p.generation
}

// Loaded is when this version was read.
func (v Value) Loaded() time.Time {
	if v.p == nil {
		return time.Time{}
	}
	return v.p.loaded
}

// Expires is when this version expires, zero if that is not known.
func (v Value) Expires() time.Time {
	if v.p == nil {
		return time.Time{}
	}
	return v.p.expires
}

// Expired reports whether this version is known to have expired by the wall
// clock, which goes on while a machine sleeps.
func (v Value) Expired() bool {
	return v.p != nil && !v.p.expires.IsZero() && !time.Now().Before(v.p.expires)
}

// Reveal returns the secret bytes. Only code that puts them on the wire, or
// looks for them there, may call it.
func (v Value) Reveal() string {
	if v.p == nil {
		return ""
	}
	return v.p.reveal()
}

// String names the secret and its generation, never its content.
func (v Value) String() string {
	if v.p == nil {
		return "<no secret>"
	}
	return fmt.Sprintf("<%s g%d>", v.p.name, v.p.generation)
}

// GoString is String, so that %#v shows no more than %v.
func (v Value) GoString() string { return v.String() }

// Format writes String for every verb.
func (v Value) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(v.String())) }

// MarshalText gives String, so that no encoder shows more.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// LogValue gives String.
func (v Value) LogValue() slog.Value { return slog.StringValue(v.String()) }
