package identitytest

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	shop = "spiffe://acme.example/ns/shop/sa/checkout"
	pay  = "spiffe://acme.example/ns/shop/sa/pay"
)

// rawClient speaks the Workload API without go-spiffe's help.
func rawClient(t *testing.T, api *API) workload.SpiffeWorkloadAPIClient {
	t.Helper()
	c, err := grpc.NewClient(api.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return workload.NewSpiffeWorkloadAPIClient(c)
}

func withHeader(ctx context.Context, value string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "workload.spiffe.io", value)
}

// TestSecurityHeaderIsRequired: SPIFFE Workload Endpoint §3, of every call.
func TestSecurityHeaderIsRequired(t *testing.T) {
	api := Start(t, shop)
	c := rawClient(t, api)
	for name, ctx := range map[string]context.Context{"none": t.Context(), "True": withHeader(t.Context(), "True"), "two": withHeader(withHeader(t.Context(), "true"), "true")} {
		_, jwt := c.FetchJWTSVID(ctx, &workload.JWTSVIDRequest{Audience: []string{"a"}})
		_, validate := c.ValidateJWTSVID(ctx, &workload.ValidateJWTSVIDRequest{Audience: "a", Svid: "x"})
		x509, err := c.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
		if err == nil {
			_, err = x509.Recv()
		}
		bundles, berr := c.FetchJWTBundles(ctx, &workload.JWTBundlesRequest{})
		if berr == nil {
			_, berr = bundles.Recv()
		}
		for _, err := range []error{jwt, validate, err, berr} {
			if status.Code(err) != codes.InvalidArgument {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// TestStreams: the first answer at once and whole, another with every change, PermissionDenied for who is not, or no longer,
// entitled, and the end when the agent ends.
func TestStreams(t *testing.T) {
	defer goleak.VerifyNone(t)
	api := Start(t)
	defer api.Close()
	cc, err := grpc.NewClient(api.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	c := workload.NewSpiffeWorkloadAPIClient(cc)
	ctx, cancel := context.WithCancel(withHeader(t.Context(), "true"))
	defer cancel()
	open := func() grpc.ServerStreamingClient[workload.X509SVIDResponse] {
		t.Helper()
		s, err := c.FetchX509SVID(ctx, &workload.X509SVIDRequest{}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if _, err := open().Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("unknown caller: %v", err)
	}
	api.RegisterEntries(Entry{ID: shop, Hint: "internal"}, Entry{ID: pay})
	s := open()
	first, err := s.Recv()
	if err != nil || len(first.Svids) != 2 || first.Svids[0].SpiffeId != shop || first.Svids[0].Hint != "internal" || len(first.FederatedBundles) != 0 {
		t.Fatalf("%v, %v", first, err)
	}
	svid, err := x509svid.ParseRaw(first.Svids[0].X509Svid, first.Svids[0].X509SvidKey)
	if err != nil || svid.ID.String() != shop {
		t.Errorf("%v, %v", svid, err)
	}
	api.Federate("bank.example")
	if next, err := s.Recv(); err != nil || len(next.FederatedBundles["spiffe://bank.example"]) == 0 || len(next.Svids) != 2 {
		t.Errorf("%v, %v", next, err)
	}
	api.Rotate()
	if next, err := s.Recv(); err != nil || string(next.Svids[0].X509Svid) == string(first.Svids[0].X509Svid) {
		t.Errorf("not rotated: %v", err)
	}
	api.Register()
	if _, err := s.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("entries gone: %v", err)
	}
	api.Register(shop)
	s = open()
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := api.Restart(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("agent gone: %v", err)
	}
	if _, err := open().Recv(); err != nil {
		t.Errorf("agent back: %v", err)
	}
}

func TestJWTProfile(t *testing.T) {
	api := Start(t, shop, pay)
	api.Federate("bank.example")
	c, err := workloadapi.New(t.Context(), workloadapi.WithAddr(api.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	all, err := c.FetchJWTSVIDs(t.Context(), jwtsvid.Params{Audience: "a", ExtraAudiences: []string{"b"}})
	if err != nil || len(all) != 2 || all[0].ID.String() != shop || len(all[0].Audience) != 2 {
		t.Fatalf("%v, %v", all, err)
	}
	if left := time.Until(all[0].Expiry); left < 4*time.Minute || left > 5*time.Minute {
		t.Errorf("lives for %v, want SPIRE's five minutes", left)
	}
	one, err := c.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: "a", Subject: all[1].ID})
	if err != nil || one.ID.String() != pay {
		t.Errorf("%v, %v", one, err)
	}
	bundles, err := c.FetchJWTBundles(t.Context())
	if err != nil || bundles.Len() != 2 {
		t.Fatalf("%v, %v", bundles, err)
	}
	for _, token := range []string{one.Marshal(), api.Token("spiffe://bank.example/x", "a", time.Minute)} {
		if _, err := jwtsvid.ParseAndValidate(token, bundles, []string{"a"}); err != nil {
			t.Error(err)
		}
		if _, err := c.ValidateJWTSVID(t.Context(), token, "a"); err != nil {
			t.Error(err)
		}
		if _, err := c.ValidateJWTSVID(t.Context(), token, "b"); status.Code(err) != codes.InvalidArgument {
			t.Errorf("wrong audience: %v", err)
		}
	}
	again, err := c.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: "a", Subject: all[1].ID})
	if err != nil || again.Marshal() != one.Marshal() {
		t.Errorf("another token in the first half of its life: %v", err)
	}
	api.RotateJWTKeys()
	api.Forget("acme.example")
	again, err = c.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: "a", Subject: all[1].ID})
	if err != nil || again.Marshal() == one.Marshal() {
		t.Errorf("the same token although its key was taken out: %v", err)
	}
	raw := rawClient(t, api)
	ctx := withHeader(t.Context(), "true")
	for name, tc := range map[string]struct {
		q    *workload.JWTSVIDRequest
		want codes.Code
	}{
		"no audience":    {&workload.JWTSVIDRequest{}, codes.InvalidArgument},
		"empty audience": {&workload.JWTSVIDRequest{Audience: []string{""}}, codes.Unavailable},
		"not an ID":      {&workload.JWTSVIDRequest{Audience: []string{"a"}, SpiffeId: "x"}, codes.InvalidArgument},
		"not entitled":   {&workload.JWTSVIDRequest{Audience: []string{"a"}, SpiffeId: shop + "/x"}, codes.PermissionDenied},
	} {
		if _, err := raw.FetchJWTSVID(ctx, tc.q); status.Code(err) != tc.want {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}
