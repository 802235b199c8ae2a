package app

import (
	"context"
	"runtime/debug"
	"time"
)

// tidyMemory gives back, once, what starting needed and serving does not: reading the configuration
// and encoding trust stores takes more memory than an idle proxy ever holds. GOGC and GOMEMLIMIT are
// left to the environment.
func tidyMemory(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(2 * time.Second):
		debug.FreeOSMemory()
	}
}
