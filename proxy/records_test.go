package proxy

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestRecordsComeWholeAndInOrder: a stream cut a little over a record goes out
// in whole records, and small writes go out at once.
func TestRecordsComeWholeAndInOrder(t *testing.T) {
	var got bytes.Buffer
	var sizes []int
	r := records{w: writeFunc(func(p []byte) (int, error) { sizes = append(sizes, len(p)); return got.Write(p) })}
	var want []byte
	send := func(n int) {
		t.Helper()
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rand.Uint32())
		}
		want = append(want, p...)
		if m, err := r.Write(p); m != n || err != nil {
			t.Fatal(m, err)
		}
	}
	send(100)
	if got.Len() != 100 {
		t.Fatalf("a small write was kept: %d of 100 bytes", got.Len())
	}
	sizes = nil
	for range 50 {
		send(tlsRecord - 30 + rand.IntN(60))
	}
	for _, n := range sizes {
		if n%tlsRecord != 0 && n > tlsRecord {
			t.Fatalf("a write of %d bytes takes a record for %d of them", n, n%tlsRecord)
		}
	}
	if err := r.flush(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Fatal("what came out is not what went in")
	}
}

type writeFunc func([]byte) (int, error)

func (f writeFunc) Write(p []byte) (int, error) { return f(p) }
