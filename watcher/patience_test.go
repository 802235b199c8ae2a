package watcher

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// patient is a source that asks a person, who takes a while.
type patient struct{ fake }

func (*patient) Patience() time.Duration { return 32 * time.Second }

func (*patient) Read(ctx context.Context) ([]byte, error) {
	select {
	case <-time.After(20 * time.Second):
		return []byte("made-up-key-one"), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// TestPatientSourcesAreWaitedFor: a look that may take longer than a file's is not cut short; one that
// takes longer than it may is.
func TestPatientSourcesAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{})
		defer s.Close()
		began := time.Now()
		s.Apply(t.Context(), []Spec{{Name: "key", Source: &patient{}}})
		if took := time.Since(began); took != 20*time.Second {
			t.Errorf("took %v", took)
		}
		if warm, missing := s.Warm(); !warm {
			t.Errorf("missing: %v", missing)
		}
	})
}
