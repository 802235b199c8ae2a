// Package identitytest is a SPIFFE Workload API in the same process, with the authorities behind it: for tests,
// and for `attache demo`.
//
// It owns an [API] that behaves as the SPIFFE Workload API specification and SPIRE's agent do, its faults on
// demand included, and [CA]s that sign for peers of any trust domain. It must not know package identity, which it
// is there to test, nor package testing: it is in the binary. Its keys protect nothing.
//
// An API and a CA are safe for concurrent use. Close waits for the server's goroutines.
package identitytest
