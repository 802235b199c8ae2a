// Package project decides whether the attache.yaml of a directory may be used: a cloned repository must not
// send anyone's keys anywhere.
//
// It owns how such a file is found, the record of what was allowed, and the frozen copy that a command
// runs with: the bytes that were judged are the bytes that are loaded, whatever happens to the files
// meanwhile. What was allowed is the content of everything that the configuration is made of, for one path
// and profile; any other content has to be allowed again.
//
// It must not read a secret or contact anything, and it does not look at the environment: what it needs
// of it comes in a [config.Env].
//
// Concurrency: it starts no goroutine. Records are written whole and renamed into place, so that
// processes may work on one store at the same time.
package project
