// Package identity finds out who is at the other end of a connection: which of
// the configured callers, and by which proof (DESIGN §8).
//
// It owns the specs of callers, the reading of Proxy-Authorization, the uid of
// a peer on a unix socket or on Linux loopback, and the recheck of a proof
// given earlier. It must not know rules, secrets' values, requests or any other
// package of ours: a token is compared by a [TokenVerifier] that the proxy brings.
//
// An [Authenticator] is immutable and safe for concurrent use; so are a [Peer]
// and an [Observed] once made.
package identity
