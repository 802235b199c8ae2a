package proxy

import (
	"errors"
	"net/http"

	"github.com/attache-proxy/attache/proxy/dial"
)

// failed answers for an error of the round trip.
func (x *exchange) failed(_ http.ResponseWriter, _ *http.Request, err error) {
	f := x.classify(err)
	x.refuse(f.reason, f.detail)
}

func (x *exchange) classify(err error) *refusal {
	ended := x.brokenOff()
	if ended != nil && ended.reason != string(dial.Cancelled) {
		return ended // by us; reading the body failed for that reason
	}
	if f := x.body.failure(); f != nil {
		return f
	}
	if f, ok := errors.AsType[*refusal](err); ok {
		return f
	}
	if ended != nil {
		return ended
	}
	if d, ok := errors.AsType[*dial.Error](err); ok {
		x.event.ResolvedIP = x.info.IP()
		if neverSent(d.Reason) {
			for i := range x.event.Credentials {
				x.event.Credentials[i].Outcome = "unsent"
			}
		}
		if d.Reason == dial.NoIdentity {
			return &refusal{string(d.Reason), errText(d.Err)}
		}
		return &refusal{string(d.Reason), ""}
	}
	return &refusal{string(dial.BadResponse), ""} // ReverseProxy's own: a switch of protocols nobody asked for
}

// neverSent reports whether a request that failed so has not left.
func neverSent(r dial.Reason) bool {
	switch r {
	case dial.AddressForbidden, dial.Loop, dial.DNSFailed, dial.ConnectFailed, dial.ConnectTimeout,
		dial.TLSUnverified, dial.TLSFailed, dial.ViaRefused, dial.Busy, dial.ClientBusy, dial.PlaintextRefused, dial.NoIdentity:
		return true
	}
	return false
}
