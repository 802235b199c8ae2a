// Package secret owns the one type that holds secret bytes, [Value], and the
// immutable [Set] of them that a request works from.
//
// It is a leaf: it knows no sources, credential kinds, rules or requests, and
// imports nothing of Attaché.
//
// Everything here is immutable after its making, so it may be shared between
// goroutines and copied freely.
package secret
