package dial

import "sync"

// clientShare is how many times as many places as are free one client may hold.
const clientShare = 4

// places bounds how much is under way at once and shares it out among clients: of most, one that is alone
// gets four fifths, so that whoever comes finds some free; what several hold evens out as they give back
// (dynamic thresholds: Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998). Of four places
// or fewer one client may hold all. It may be used by many goroutines.
type places struct {
	most int

	mu    sync.Mutex
	taken int
	held  map[any]int // by client; none that holds nothing
}

func newPlaces(most int) places { return places{most: most, held: map[any]int{}} }

// take takes a place for client, which is comparable or nil. Without one it returns why.
func (p *places) take(client any) (Reason, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	free := p.most - p.taken
	if free <= 0 {
		return Busy, false
	}
	n := p.held[client]
	if n >= clientShare*free {
		return ClientBusy, false
	}
	p.taken++
	p.held[client] = n + 1
	return "", true
}

// leave gives back a place that client had taken.
func (p *places) leave(client any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if n := p.held[client]; n > 1 {
		p.held[client] = n - 1
	} else {
		delete(p.held, client)
	}
}
