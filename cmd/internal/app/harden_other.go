//go:build !linux

package app

import "log/slog"

// harden does nothing where the system offers nothing that we know of.
func harden(*slog.Logger) {}

func hide(*slog.Logger) {}
