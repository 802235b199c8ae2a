// Package identity finds out who is at the other end of a connection: which of
// the configured callers, and by which proof; and it keeps who the proxy itself
// is: its SVIDs, and the trust bundles that SVIDs of others are verified with (DESIGN §8).
//
// It owns the specs of callers, the reading of Proxy-Authorization, the uid of
// a peer on a unix socket or on Linux loopback, the recheck of a proof
// given earlier, the SPIFFE Workload API's client, and TLS by SPIFFE ID. It must not know rules, secrets' values, requests or any other
// package of ours: a token is compared by a [TokenVerifier] that the proxy brings, and files are read by whoever calls [Source.SetPEM].
//
// An [Authenticator], a [State] and a [Pattern] are immutable and safe for concurrent use; so are a [Peer]
// and an [Observed] once made. A [Source] runs goroutines of its own; Close waits for them.
package identity
