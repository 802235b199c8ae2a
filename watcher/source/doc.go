// Package source owns where secrets are read from: the [Source] interface, the
// table of [Kinds] and one file for each of them.
//
// It knows no credential kinds, rules or requests, keeps no state between
// reads, and decides nothing about what it read: the watcher does. What it
// needs of the process it gets as an [Env].
//
// Sources are immutable and may be read from many goroutines at once.
package source
