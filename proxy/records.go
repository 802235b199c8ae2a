package proxy

import "io"

// tlsRecord is the most plaintext that one TLS record holds (RFC 8446 §5.1).
const tlsRecord = 16 << 10

// records writes in multiples of what a TLS record holds. Masking holds back a
// few bytes of each record read, so what it lets go of a stream is a little over
// or under a record each time, and crypto/tls would send a second one, in a system
// call of its own, for the few bytes over.
type records struct {
	w    io.Writer
	tail []byte // less than a record, for the next write
}

// Write writes all of p that is less than a record, of more whole records.
func (r *records) Write(p []byte) (int, error) {
	whole := (len(r.tail) + len(p)) / tlsRecord * tlsRecord
	if len(r.tail) == 0 && (whole == 0 || whole == len(p)) {
		return r.w.Write(p)
	}
	r.tail = append(r.tail, p...)
	if whole == 0 {
		whole = len(r.tail)
	}
	_, err := r.w.Write(r.tail[:whole])
	r.tail = r.tail[:copy(r.tail, r.tail[whole:])]
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// flush writes what is left.
func (r *records) flush() error {
	if len(r.tail) == 0 {
		return nil
	}
	_, err := r.w.Write(r.tail)
	r.tail = r.tail[:0]
	return err
}
