// Package dial reaches upstreams: it resolves and judges addresses, verifies
// servers, and keeps one set of connections per [Profile].
//
// It owns the judgement of addresses ([Forbidden], DESIGN promise 11), the
// dialler that applies it at connect time, TLS towards upstreams, CONNECT
// through an upstream proxy, and the transports. It must not know rules,
// credentials or who is asking.
//
// Concurrency: a [Pool] and an [Upstream] are safe for concurrent use. A
// Profile is not changed after it was given to a Pool. A dial may outlive the
// request that began it, by no more than Profile.Connect; it writes only to
// that request's record, under its lock.
package dial
