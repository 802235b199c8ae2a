package config

import "time"

// defaultLimits are the limits where the configuration says nothing. What a
// slow model, a large upload or a quiet stream needs is unbounded or wide;
// what only an attacker needs is narrow.
func defaultLimits() (Limits, time.Duration) {
	return Limits{
		RequestBody:    -1,
		ResponseHeader: -1,
		StreamIdle:     24 * time.Hour,
		Total:          -1,
		Connect:        10 * time.Second,
		InFlight:       512,
		Connections:    10_000,
		HeaderBytes:    64 << 10,
		HeaderRead:     10 * time.Second,
		Handshake:      10 * time.Second,
		Idle:           5 * time.Minute,
		Streams:        250,
	}, 20 * time.Second
}

func (b *builder) buildLimits() {
	doc, n := b.the("limits")
	l, grace := defaultLimits()
	s := doc.Limits
	s.apply(&l)
	set(&l.Connections, s.Connections)
	set(&l.HeaderBytes, s.HeaderBytes)
	set(&l.HeaderRead, s.HeaderRead)
	set(&l.Handshake, s.Handshake)
	set(&l.Idle, s.Idle)
	set(&l.Streams, s.Streams)
	set(&grace, s.ShutdownGrace)
	if s.HeaderBytes != nil && *s.HeaderBytes > 16<<20 {
		b.fail(n.at("header_bytes"), "", "limits.header_bytes: must be 16MiB or less")
	}
	b.cfg.Limits, b.cfg.Shutdown = l, grace
}

// apply sets what a rule, or the proxy as a whole, sets.
func (s *ruleLimitsSpec) apply(l *Limits) {
	set(&l.RequestBody, s.RequestBody)
	set(&l.ResponseHeader, s.ResponseHeader)
	set(&l.StreamIdle, s.StreamIdle)
	set(&l.Total, s.Total)
	set(&l.Connect, s.Connect)
	set(&l.InFlight, s.InFlight)
}

// set stores a limit that was given.
func set[T, S ~int | ~int64](to *T, given *S) {
	if given != nil {
		*to = T(*given)
	}
}
