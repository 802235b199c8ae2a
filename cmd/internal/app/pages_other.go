//go:build !linux

package app

import "log/slog"

// dropPages needs Linux.
func dropPages(*slog.Logger) {}
