// Package mitm owns the certificate authority by which Attaché opens TLS: its
// generations, their files and the leaf certificates they sign.
//
// A generation is a root and one intermediate, both critically
// name-constrained (RFC 5280 section 4.2.1.10) to the hosts that rules
// intercept. The root's key signs the intermediate and is dropped: it never
// leaves the function that made it. Only the intermediate's key is kept, so
// what may be stolen can sign for those hosts and no other, and its certificate
// travels in every chain because Java enforces constraints on an intermediate
// and never on the anchor.
//
// What the extension says, and what it must not say, was measured with Go,
// OpenSSL, GnuTLS, Node, Python and Java (TestStolenCAKey). A client that does
// not know the extension refuses the chain, because it is critical; for such
// clients there is ca.constraints: off.
//
// The package must not know rules, callers or secrets; it imports none of our packages.
//
// Concurrency: what a handshake reads is an immutable list of generations
// behind an atomic pointer, and a bounded cache behind a short lock. Changes of
// generations (Permit, Run) are serialised by one mutex. The package starts no
// goroutine; Run works in its caller's.
package mitm
