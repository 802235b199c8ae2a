// Package dial reaches upstreams: it resolves and judges addresses, verifies
// servers, and keeps one set of connections per [Profile].
//
// It owns the judgement of addresses ([Forbidden], DESIGN promise 11), the
// dialler that applies it at connect time, TLS towards upstreams, CONNECT
// through an upstream proxy, and the transports: net/http's, and one of our own for
// what has no body and goes over HTTP/1.1. It must not know rules,
// credentials or who is asking; what SPIFFE says of ourselves and of servers it is
// told by [Pool.SetIdentity].
//
// Concurrency: a [Pool] and an [Upstream] are safe for concurrent use. A
// Profile is not changed after it was given to a Pool. A dial may outlive the
// request that began it, by no more than Profile.Connect; it writes only to
// that request's record, under its lock.
package dial
