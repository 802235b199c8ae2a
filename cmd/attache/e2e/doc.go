// Package e2e tests the attache binary from outside: a real process, real
// clients (Go, curl, Python, git, Java, Node, gRPC) and real TLS upstreams on
// loopback. Its tests carry the names of the attacks they mount.
//
// It owns the harness that starts `attache serve` and searches everything that
// came out of it for the secrets that went in. It must not know how Attaché
// works inside: nothing of the module is imported but to have results of
// tests expire when it changes, and the table of docs/clients.md.
//
// Concurrency: each test has its own process, its own upstreams and its own
// directory, so tests run in parallel.
package e2e
