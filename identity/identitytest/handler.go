package identitytest

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
)

// errDenied is what SPIRE's agent tells a caller that no entry is for.
var errDenied = status.Error(codes.PermissionDenied, "no identity issued")

// handler answers the calls of the Workload API.
type handler struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	api *API
}

// view is what a caller gets at one moment.
type view struct {
	svids   []*x509svid.SVID
	own     map[spiffeid.TrustDomain]*CA
	foreign map[spiffeid.TrustDomain]*CA
	jwtTTL  time.Duration
}

// asked is what a call is for.
type asked struct {
	jwt     bool // the JWT profile
	bundles bool // bundles alone, which operators may give to everybody
}

// look is the view now, and what is closed when it changes.
func (h *handler) look(ctx context.Context, q asked) (*view, <-chan struct{}, error) {
	// SPIFFE Workload Endpoint §4: what a server-side request forgery cannot send.
	if md, _ := metadata.FromIncomingContext(ctx); !slices.Equal(md.Get("workload.spiffe.io"), []string{"true"}) {
		return nil, nil, status.Error(codes.InvalidArgument, "security header missing from request")
	}
	a := h.api
	a.mu.Lock()
	defer a.mu.Unlock()
	for q.jwt && a.mute {
		changed := a.changed
		a.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		a.mu.Lock()
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
	}
	switch {
	case a.fault != nil:
		return nil, nil, a.fault
	case q.jwt && a.jwtFault != nil:
		return nil, nil, a.jwtFault
	case len(a.svids) == 0 && q.bundles && a.everybody:
		return &view{own: maps.Clone(a.last)}, a.changed, nil
	case len(a.svids) == 0:
		return nil, nil, errDenied
	}
	v := &view{svids: a.svids, own: map[spiffeid.TrustDomain]*CA{}, foreign: map[spiffeid.TrustDomain]*CA{}, jwtTTL: a.o.JWTTTL}
	for _, s := range v.svids {
		v.own[s.ID.TrustDomain()] = a.cas[s.ID.TrustDomain()]
	}
	for td := range a.federated {
		if v.own[td] == nil {
			v.foreign[td] = a.cas[td]
		}
	}
	return v, a.changed, nil
}

// stream sends one message for every view until the caller leaves, is denied, or the agent ends.
func (h *handler) stream(ctx context.Context, q asked, send func(*view) error) error {
	for {
		v, changed, err := h.look(ctx, q)
		if err != nil {
			return err
		}
		if err := send(v); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// news reports whether bundles differ from those sent before: SPIRE repeats SVIDs, and no bundles.
func news(sent *map[string][]byte, now map[string][]byte) bool {
	if *sent != nil && maps.EqualFunc(*sent, now, bytes.Equal) {
		return false
	}
	*sent = now
	return true
}

func (h *handler) FetchX509SVID(_ *workload.X509SVIDRequest, s grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	return h.stream(s.Context(), asked{}, func(v *view) error {
		r := &workload.X509SVIDResponse{FederatedBundles: map[string][]byte{}}
		for _, svid := range v.svids {
			certs, key, err := svid.MarshalRaw()
			if err != nil {
				return err
			}
			r.Svids = append(r.Svids, &workload.X509SVID{
				SpiffeId: svid.ID.String(), X509Svid: certs, X509SvidKey: key, Hint: svid.Hint,
				Bundle: rawBundle(v.own[svid.ID.TrustDomain()]),
			})
		}
		for td, ca := range v.foreign {
			r.FederatedBundles[td.IDString()] = rawBundle(ca)
		}
		return s.Send(r)
	})
}

func (h *handler) FetchX509Bundles(_ *workload.X509BundlesRequest, s grpc.ServerStreamingServer[workload.X509BundlesResponse]) error {
	var sent map[string][]byte
	return h.stream(s.Context(), asked{bundles: true}, func(v *view) error {
		r := &workload.X509BundlesResponse{Bundles: map[string][]byte{}}
		for td, ca := range v.all() {
			r.Bundles[td.IDString()] = rawBundle(ca)
		}
		if !news(&sent, r.Bundles) {
			return nil
		}
		return s.Send(r)
	})
}

func (h *handler) FetchJWTBundles(_ *workload.JWTBundlesRequest, s grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	var sent map[string][]byte
	return h.stream(s.Context(), asked{jwt: true, bundles: true}, func(v *view) error {
		r := &workload.JWTBundlesResponse{Bundles: map[string][]byte{}}
		for td, ca := range v.all() {
			text, err := jwks(ca, v.foreign[td] != nil)
			if err != nil {
				return err
			}
			r.Bundles[td.IDString()] = text
		}
		if !news(&sent, r.Bundles) {
			return nil
		}
		return s.Send(r)
	})
}

func (h *handler) FetchJWTSVID(ctx context.Context, q *workload.JWTSVIDRequest) (*workload.JWTSVIDResponse, error) {
	h.api.calls.Add(1)
	v, _, err := h.look(ctx, asked{jwt: true})
	switch {
	case err != nil:
		return nil, err
	case len(q.Audience) == 0:
		return nil, status.Error(codes.InvalidArgument, "audience must be specified")
	}
	if _, err := spiffeid.FromString(q.SpiffeId); q.SpiffeId != "" && err != nil {
		return nil, status.Errorf(codes.InvalidArgument, "invalid requested SPIFFE ID: %v", err)
	}
	audience := slices.DeleteFunc(slices.Clone(q.Audience), func(a string) bool { return a == "" })
	r := &workload.JWTSVIDResponse{}
	for _, svid := range v.svids {
		if id := svid.ID.String(); q.SpiffeId == "" || q.SpiffeId == id {
			if len(audience) == 0 {
				return nil, status.Error(codes.Unavailable, "could not fetch JWT-SVID: invalid JWT-SVID audience: cannot be empty")
			}
			r.Svids = append(r.Svids, &workload.JWTSVID{SpiffeId: id, Svid: h.api.token(v, svid.ID, audience), Hint: svid.Hint})
		}
	}
	if len(r.Svids) == 0 {
		return nil, errDenied
	}
	return r, nil
}

func (h *handler) ValidateJWTSVID(ctx context.Context, q *workload.ValidateJWTSVIDRequest) (*workload.ValidateJWTSVIDResponse, error) {
	v, _, err := h.look(ctx, asked{jwt: true})
	switch {
	case err != nil:
		return nil, err
	case q.Audience == "":
		return nil, status.Error(codes.InvalidArgument, "audience must be specified")
	case q.Svid == "":
		return nil, status.Error(codes.InvalidArgument, "svid must be specified")
	}
	bundles := jwtbundle.NewSet()
	for _, ca := range v.all() {
		bundles.Add(ca.JWTBundle())
	}
	svid, err := jwtsvid.ParseAndValidate(q.Svid, bundles, []string{q.Audience})
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	return &workload.ValidateJWTSVIDResponse{SpiffeId: svid.ID.String()}, nil
}

// all are the authorities that the caller may know.
func (v *view) all() map[spiffeid.TrustDomain]*CA {
	all := map[spiffeid.TrustDomain]*CA{}
	for _, of := range []map[spiffeid.TrustDomain]*CA{v.own, v.foreign} {
		for td, ca := range of {
			all[td] = ca
		}
	}
	return all
}

// jwks is a JWT bundle: as SPIRE's agent gives it, or with the members beside its keys that bundles may have
// (SPIFFE Trust Domain and Bundle §4.1).
func jwks(ca *CA, members bool) ([]byte, error) {
	text, err := ca.JWTBundle().Marshal()
	if err != nil {
		return nil, err
	}
	set := map[string]any{}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, err
	}
	if members {
		set["spiffe_sequence"], set["spiffe_refresh_hint"] = 1, 300
	}
	return json.MarshalIndent(set, "", "    ")
}

func rawBundle(ca *CA) []byte {
	var raw []byte
	for _, c := range ca.Bundle().X509Authorities() {
		raw = append(raw, c.Raw...)
	}
	return raw
}
