// Package replay judges the calls of an audit log by another configuration: what would become of them now.
//
// It owns reading the log and comparing the decisions. It decides nothing itself: package policy does.
// What the log does not hold, as paths unless they were opted in, and queries, makes a call one that cannot be judged,
// unless every path and query would lead to the same end. It must not contact anything or read a
// secret.
//
// Concurrency: none; a log is read by one goroutine.
package replay
