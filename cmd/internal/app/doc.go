// Package app assembles the process: it builds everything from a configuration, in order, reloads
// it while requests are under way, and takes it down again. It is the only package that reads the
// environment and signals.
//
// It must not know how a request is decided, carried or injected: that is package proxy's and what
// is below it.
//
// Concurrency: one goroutine calls [New] and [App.Run]; everything else may be called from any.
// Two locks: reload.mu lets one reload through at a time and is held while things are built; mu
// guards what is in force, is held for moments only, and is what the secret store's callback takes.
// They nest in that order.
package app
