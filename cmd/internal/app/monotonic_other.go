//go:build !linux

package app

import "time"

// monotonic is of use to systemd only.
func monotonic() time.Duration { return 0 }
