// Package proxy is the data path: it accepts clients, opens or passes on their
// connections, decides on every request, presents credentials and forwards.
//
// It owns the listeners' connections from Accept to Close, the one place where
// a request meets its rule, its credential and its upstream, and the table of
// reasons for which a request is refused ([Reasons]).
//
// It must not know where secrets come from, how the configuration is written,
// or how certificates are signed.
//
// Concurrency: a request takes the [Snapshot] in force once, from [Live], and
// consults nothing else that changes. Publishing a Snapshot never waits for
// requests. Every goroutine that a [Proxy] starts ends before Shutdown returns.
package proxy
