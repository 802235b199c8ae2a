package proxy

import (
	"crypto/rand"
	"encoding/binary"
	"sync/atomic"
	"time"
)

// requestIDs makes identifiers that sort by time: nine letters of milliseconds
// and seven of a count from a random start, in Crockford's base 32.
type requestIDs struct{ count atomic.Uint64 }

func newRequestIDs() *requestIDs {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	ids := &requestIDs{}
	ids.count.Store(binary.LittleEndian.Uint64(b[:]))
	return ids
}

func (r *requestIDs) next(now time.Time) string {
	var id [16]byte
	encode32(id[:9], uint64(now.UnixMilli()))
	encode32(id[9:], r.count.Add(1))
	return string(id[:])
}

func encode32(dst []byte, v uint64) {
	for i := len(dst) - 1; i >= 0; i-- {
		dst[i] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"[v&31]
		v >>= 5
	}
}
