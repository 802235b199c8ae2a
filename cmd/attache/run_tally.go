package main

import (
	"cmp"
	"net/http"
	"slices"
	"sync"

	"github.com/attache-proxy/attache/proxy/audit"
)

// maxKinds bounds how many different refusals are told apart: a command may try any number of hosts.
const maxKinds = 500

// answered401 stands where a reason does for calls whose credential the upstream did not take.
const answered401 = "answered_401"

// wouldDeny stands likewise for calls that unmatched.observe_until let pass.
const wouldDeny = "would_deny"

// tally counts the calls of a command. It is safe for concurrent use.
type tally struct {
	mu                       sync.Mutex
	allowed, refused, failed int
	kinds                    map[troubled]*trouble
}

// troubled is what calls that did not succeed have in common.
type troubled struct {
	reason, host  string
	port          uint16
	rule, nearest string
	method, path  string
}

// trouble is calls that did not succeed, for one reason.
type trouble struct {
	troubled
	count   int
	first   int // the order in which they came
	refused bool
	fault   string
	differs string
	owner   string
	detail  string
}

func newTally() *tally { return &tally{kinds: map[troubled]*trouble{}} }

// Record implements [audit.Sink].
func (t *tally) Record(e *audit.Event) {
	if e.Type != audit.Request {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	refused := e.Decision == audit.Refuse
	reason, fault := e.Reason, e.Fault
	switch {
	case e.UpstreamStatus == http.StatusUnauthorized && len(e.Credentials) > 0 && reason == "":
		t.allowed++ // it was carried; what it carried may be wrong
		reason, fault = answered401, "credential"
	case e.Decision == audit.WouldDeny && reason == "":
		t.allowed++
		reason, fault = wouldDeny, "policy"
	case refused:
		t.refused++
	case e.Reason != "" && (e.Fault == "upstream" || e.Fault == "proxy" || e.Fault == "policy" || e.Fault == "credential"):
		t.failed++
	default: // a client that goes away has what it wanted
		t.allowed++
		return
	}
	k := troubled{reason: reason, host: e.Host, port: e.Port, rule: e.Rule, nearest: e.NearestRule}
	switch inside := e.DiffersBy != "host" && reason != "no_rule" && reason != wouldDeny; {
	case e.Method == http.MethodConnect:
	case inside:
		k.method, k.path = e.Method, e.Path
	default:
		k.method = inClear
	}
	if t.kinds[k] == nil && len(t.kinds) >= maxKinds {
		k = troubled{}
	}
	x := t.kinds[k]
	if x == nil {
		x = &trouble{
			troubled: k, first: len(t.kinds), refused: refused, fault: fault, differs: e.DiffersBy, owner: e.Owner, detail: e.Detail,
		}
		t.kinds[k] = x
	}
	x.count++
}

// counts are how many calls were allowed, refused, and allowed but failed.
func (t *tally) counts() (allowed, refused, failed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.allowed, t.refused, t.failed
}

// troubles are what did not succeed, the most frequent first.
func (t *tally) troubles() []trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []trouble
	for _, x := range t.kinds {
		all = append(all, *x)
	}
	slices.SortFunc(all, func(a, b trouble) int {
		return cmp.Or(cmp.Compare(b2i(b.host != ""), b2i(a.host != "")), cmp.Compare(b.count, a.count), cmp.Compare(a.first, b.first))
	})
	return all
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
