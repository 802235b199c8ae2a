// Package clients knows what client programs read to find a proxy and the roots to trust: the table of
// variables that `attache run` and `attache env` set and that docs/clients.md is written from.
//
// It must not know how the proxy works or what a configuration says, and reads nothing: neither the
// environment nor a file. A variable stands in one place, [Variables]; a client stack in [Stacks].
//
// Concurrency: there is no state; everything may be called from any goroutine.
package clients
