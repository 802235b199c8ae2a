package dial

import (
	"math/rand/v2"
	"testing"
)

// inUse is how many places are taken.
func (p *places) inUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.taken
}

// TestPlacesLeaveRoom: whoever comes finds room beside any one client, what several hold evens out, and of a few
// places one may have all.
func TestPlacesLeaveRoom(t *testing.T) {
	for most, alone := range map[int]int{1: 1, 2: 2, 4: 4, 5: 4, 10: 8, 512: 410} {
		p := newPlaces(most)
		fill := func(client string) (n int, why Reason) {
			for {
				why, ok := p.take(client)
				if !ok {
					return n, why
				}
				n++
			}
		}
		n, why := fill("a")
		if n != alone {
			t.Errorf("of %d, one client got %d, want %d", most, n, alone)
		}
		if want := map[bool]Reason{true: Busy, false: ClientBusy}[n == most]; why != want {
			t.Errorf("of %d, %d taken: %s, want %s", most, n, why, want)
		}
		if n, _ := fill("b"); (n > 0) != (most > 4) {
			t.Errorf("of %d, the second client got %d", most, n)
		}
		for p.inUse() > 0 {
			for client, n := range p.held {
				if n <= 0 {
					t.Fatalf("%v is kept for nothing", client)
				}
				p.leave(client)
				break
			}
		}
		if len(p.held) > 0 {
			t.Errorf("of %d, still held: %v", most, p.held)
		}
	}

	p := newPlaces(512)
	held := map[string]int{}
	take := func(client string) {
		if _, ok := p.take(client); ok {
			held[client]++
		}
	}
	for range 1000 {
		take("first")
	}
	for range 20_000 { // requests end, and three clients send as many as they can
		for _, client := range []string{"first", "second", "third"} {
			if held[client] > 0 && rand.IntN(4) == 0 {
				p.leave(client)
				held[client]--
			}
			take(client)
		}
	}
	for client, n := range held {
		if n < 120 || n > 190 { // 512 * 4/13 = 157
			t.Errorf("%s holds %d, of %v", client, n, held)
		}
	}
}
