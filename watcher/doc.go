// Package watcher owns the secrets that are in use: the [Store] reads them from
// their sources, checks them, keeps the last good version of each, and
// publishes an immutable secret.Set whenever one changes.
//
// It knows no HTTP requests, credential kinds or rules, and never imports the
// proxy. It imports a YAML parser for one thing: a member of a YAML document
// that a secret names by its field.
//
// A Store may be used from many goroutines. One goroutine keeps time; looks run
// in goroutines of their own, at most one at a secret; results are taken in and
// callbacks called one at a time. Close waits for all of them.
package watcher
