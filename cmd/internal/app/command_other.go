//go:build !unix

package app

import "os"

// passedOn are the signals that a console sends to all its processes.
func passedOn() []os.Signal { return []os.Signal{os.Interrupt} }

// brokenPipe is a signal that does not exist here; nothing else may be asked for in its place.
func brokenPipe() []os.Signal { return []os.Signal{os.Interrupt} }
