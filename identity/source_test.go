package identity

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attache-proxy/attache/identity/identitytest"
)

const (
	shop = "spiffe://acme.example/ns/shop/sa/checkout"
	bank = "spiffe://bank.example/ns/pay/sa/api"
)

// watched is a Source and every State that it told of.
type watched struct {
	*Source
	mu  sync.Mutex
	all []*State
}

// watchAPI starts a Source on the API.
func watchAPI(t *testing.T, api *identitytest.API, o SourceOptions) *watched {
	t.Helper()
	w := &watched{}
	o.Address = api.Addr()
	o.OnState = func(s *State) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.all = append(w.all, s)
	}
	w.Source = NewSource(o)
	t.Cleanup(func() { w.Close() })
	return w
}

// readySource is watchAPI, and waits for the first State.
func readySource(t *testing.T, api *identitytest.API, o SourceOptions) *watched {
	t.Helper()
	w := watchAPI(t, api, o)
	<-w.Ready()
	return w
}

// await waits for what to hold.
func await(t *testing.T, message string, what func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !what() {
		select {
		case <-limit:
			t.Fatal("not so within 20 s: " + message)
		case <-tick.C:
		}
	}
}

// trusts reports whether s verifies a fresh SVID of that ID.
func trusts(s *State, api *identitytest.API, id string) bool {
	_, _, err := s.VerifyX509(raw(api.Issue(id, time.Hour)), time.Now())
	return err == nil
}

func TestSourceFromWorkloadAPI(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, tcp := range []bool{false, true} {
		api, err := identitytest.New(identitytest.Options{TCP: tcp}, shop, bank)
		if err != nil {
			t.Fatal(err)
		}
		api.Federate("partner.example")
		s := readySource(t, api, SourceOptions{})
		st := s.State()
		if st.ID().String() != shop || len(st.SVIDs) != 2 {
			t.Fatalf("ID %q of %d", st.ID(), len(st.SVIDs))
		}
		for _, id := range []string{shop, bank, "spiffe://partner.example/x"} {
			svid := api.Issue(id, time.Hour)
			got, end, err := st.VerifyX509(raw(svid), time.Now())
			if err != nil || got.String() != id || !end.Equal(svid.Certificates[0].NotAfter) {
				t.Errorf("VerifyX509(%s): %v, %v, %v", id, got, end, err)
			}
			if got, _, err = st.VerifyJWT(api.Token(id, "attache", time.Minute), "attache", time.Now()); err != nil || got.String() != id {
				t.Errorf("VerifyJWT(%s): %v, %v", id, got, err)
			}
		}
		status := s.Status()
		if len(status.SVIDs) != 2 || len(status.Bundles) != 3 || status.Problem != "" {
			t.Errorf("%+v", status)
		}
		for _, b := range status.Bundles {
			if b.X509 != 1 || b.JWT != 1 || b.Federated != (b.TrustDomain == "partner.example") {
				t.Errorf("%+v", b)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("second Close: %v", err)
		}
		api.Close()
	}
}

// TestRotationsArrive holds three rotations, with a root's own in between: never one alone.
func TestRotationsArrive(t *testing.T) {
	api := identitytest.Start(t, shop)
	s := readySource(t, api, SourceOptions{})
	for range 3 {
		before := s.State()
		api.RotateRoot("acme.example")
		api.Rotate()
		await(t, "the new SVID is there", func() bool {
			now := s.State()
			return !now.SVIDs[0].Certificates[0].Equal(before.SVIDs[0].Certificates[0]) && trusts(now, api, shop)
		})
		if now := s.State(); now.Generation <= before.Generation {
			t.Errorf("generation %d after %d", now.Generation, before.Generation)
		}
	}
}

func TestFederationComesAndGoes(t *testing.T) {
	api := identitytest.Start(t, shop)
	s := readySource(t, api, SourceOptions{})
	peer, token := api.Issue(bank, time.Hour), api.Token(bank, "a", time.Hour)
	for _, federated := range []bool{false, true, false, true} {
		if federated {
			api.Federate("bank.example")
		} else {
			api.Unfederate("bank.example")
		}
		await(t, "the bundles follow", func() bool {
			_, _, x509 := s.State().VerifyX509(raw(peer), time.Now())
			_, _, jwt := s.State().VerifyJWT(token, "a", time.Now())
			return (x509 == nil) == federated && (jwt == nil) == federated
		})
	}
}

func TestAgentDown(t *testing.T) {
	defer goleak.VerifyNone(t)
	api := identitytest.Start(t, shop)
	defer api.Close()
	api.Stop()
	s := watchAPI(t, api, SourceOptions{})
	await(t, "the outage shows", func() bool { return strings.Contains(s.Status().Problem, "agent.sock") })
	if _, _, err := s.State().Certificate(time.Now()); !errors.Is(err, ErrNone) {
		t.Errorf("certificate: %v, want ErrNone", err)
	}
	if _, _, err := s.Token(t.Context(), "a"); err == nil {
		t.Error("a token without an agent")
	}
	if err := api.Resume(); err != nil {
		t.Fatal(err)
	}
	<-s.Ready()
	if st := s.Status(); st.Problem != "" || !st.Since.IsZero() {
		t.Errorf("problem %q since %v", st.Problem, st.Since)
	}
	s.Close()
}

// TestAgentRestarted holds that what the agent gave serves through its restarts, also where it answers at first as
// go-spiffe gives up on, and that what it gives afterwards arrives.
func TestAgentRestarted(t *testing.T) {
	defer goleak.VerifyNone(t)
	api := identitytest.Start(t, shop)
	defer api.Close()
	s := readySource(t, api, SourceOptions{})
	for _, first := range []codes.Code{codes.OK, codes.Canceled, codes.InvalidArgument, codes.PermissionDenied, codes.Unavailable} {
		before := s.State()
		api.Stop()
		await(t, "the outage shows", func() bool { return s.Status().Problem != "" })
		if first != codes.OK {
			api.Fail(status.Error(first, "not yet"))
		}
		api.Rotate()
		if err := api.Resume(); err != nil {
			t.Fatal(err)
		}
		if first != codes.OK {
			await(t, first.String()+" was answered", func() bool { return strings.Contains(s.Status().Problem, "not yet") })
			if _, _, err := s.State().Certificate(time.Now()); err != nil {
				t.Errorf("%v: %v", first, err)
			}
		}
		api.Allow()
		await(t, first.String()+": the new SVID is there", func() bool {
			return !s.State().SVIDs[0].Certificates[0].Equal(before.SVIDs[0].Certificates[0])
		})
	}
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.all, func(st *State) bool { return len(st.SVIDs) == 0 }); i >= 0 {
		t.Errorf("state %d of %d has no SVID", i, len(s.all))
	}
}

// TestAgentDeniesThenAllows: before the first SVID; and afterwards, when what was given ends with the denial.
func TestAgentDeniesThenAllows(t *testing.T) {
	api := identitytest.Start(t)
	s := watchAPI(t, api, SourceOptions{})
	await(t, "the denial shows", func() bool { return s.Status().Problem == "the agent denies: no identity issued" })
	api.Register(shop)
	<-s.Ready()
	for range 3 {
		api.Deny()
		await(t, "nothing is left", func() bool {
			_, _, err := s.State().Certificate(time.Now())
			return errors.Is(err, ErrNone) && !trusts(s.State(), api, shop)
		})
		if _, _, err := s.Token(t.Context(), "a"); !errors.Is(err, ErrNone) {
			t.Errorf("token: %v, want ErrNone", err)
		}
		api.Allow()
		await(t, "all is back", func() bool {
			_, _, err := s.State().Certificate(time.Now())
			return err == nil && trusts(s.State(), api, shop)
		})
	}
}

// TestKeysComeBackWithTheIdentity: an agent that gives bundles to everybody neither ends the stream of JWT bundles with the
// identity nor repeats them with the next one.
func TestKeysComeBackWithTheIdentity(t *testing.T) {
	api := identitytest.Start(t, shop)
	api.Everybody()
	s := readySource(t, api, SourceOptions{})
	token := api.Token(shop, "a", time.Hour)
	for range 3 {
		api.Register()
		await(t, "nothing is left", func() bool {
			_, _, err := s.State().VerifyJWT(token, "a", time.Now())
			return err != nil && s.State().ID().IsZero() && !trusts(s.State(), api, shop)
		})
		api.Register(shop)
		await(t, "all is back", func() bool {
			_, _, err := s.State().VerifyJWT(token, "a", time.Now())
			return err == nil && s.State().ID().String() == shop
		})
	}
}

// TestDenialAfterRestartIsBelievedInTime holds both sides of the grace for an agent that does not know us yet.
func TestDenialAfterRestartIsBelievedInTime(t *testing.T) {
	denied, gone := status.Error(codes.PermissionDenied, "no identity issued"), status.Error(codes.Unavailable, "gone")
	var d denial
	t0 := time.Now()
	d.gave()
	steps := []struct {
		err   error
		after time.Duration
		want  bool
	}{
		{gone, 0, false}, {denied, time.Second, false}, {gone, 5 * time.Second, false},
		{denied, 10 * time.Second, false}, {denied, 11 * time.Second, true},
	}
	for _, s := range steps {
		if got := d.denies(s.err, t0.Add(s.after)); got != s.want {
			t.Errorf("after %v: %v, want %v", s.after, got, s.want)
		}
	}
	d.gave()
	if !d.denies(denied, t0) {
		t.Error("a denial on the stream that gave is not believed at once")
	}
}

// TestJWTProfileSwitchedOff: an agent without it still makes us ready.
func TestJWTProfileSwitchedOff(t *testing.T) {
	api := identitytest.Start(t, shop)
	api.FailJWT(status.Error(codes.Unimplemented, "no such profile"))
	s := readySource(t, api, SourceOptions{})
	if st := s.Status(); st.JWTProblem != "the agent answers: no such profile" || st.Problem != "" {
		t.Errorf("%+v", st)
	}
	if _, _, err := s.State().VerifyJWT(api.Token(shop, "a", time.Minute), "a", time.Now()); err == nil {
		t.Error("a JWT-SVID verified without a bundle")
	}
}

// TestExpiredFromAgentNeverReplaces: an agent that lost its server may repeat what it has.
func TestExpiredFromAgentNeverReplaces(t *testing.T) {
	api := identitytest.Start(t, shop)
	s := readySource(t, api, SourceOptions{})
	before := s.State()
	api.SetTTL(-time.Minute, 0)
	api.Rotate()
	await(t, "the agent gave an expired SVID", func() bool { return strings.Contains(s.Status().Problem, "expired") })
	if _, _, err := s.State().Certificate(time.Now()); err != nil {
		t.Error(err)
	}
	api.SetTTL(time.Hour, 0)
	api.Rotate()
	await(t, "a good one is taken", func() bool {
		return !s.State().SVIDs[0].Certificates[0].Equal(before.SVIDs[0].Certificates[0])
	})
}

// TestRepeatsAreNoNews: the start is told of once, and an agent that comes back with what it gave not at all.
func TestRepeatsAreNoNews(t *testing.T) {
	api := identitytest.Start(t, shop)
	api.Federate("bank.example")
	s := readySource(t, api, SourceOptions{})
	for range 3 {
		api.Stop()
		await(t, "the outage shows", func() bool { return s.Status().Problem != "" })
		if err := api.Resume(); err != nil {
			t.Fatal(err)
		}
		await(t, "the agent is back", func() bool { return s.Status().Problem == "" && s.Status().JWTProblem == "" })
	}
	if n := s.Status().Generation; n != 1 {
		t.Errorf("%d States of one identity", n)
	}
	api.Rotate()
	await(t, "news", func() bool { return s.Status().Generation == 2 })
}

// TestSilentJWTProfile: an agent that answers nothing for JWT bundles holds up no start for long.
func TestSilentJWTProfile(t *testing.T) {
	api := identitytest.Start(t, shop)
	api.Mute()
	s := readySource(t, api, SourceOptions{})
	if _, _, err := s.State().Certificate(time.Now()); err != nil {
		t.Error(err)
	}
	api.Allow()
	await(t, "the keys come later", func() bool {
		_, _, err := s.State().VerifyJWT(api.Token(shop, "a", time.Minute), "a", time.Now())
		return err == nil
	})
}

func TestWaitsStayShort(t *testing.T) {
	var w waits
	for i := range 20 {
		if d := w.Next(); d < waitFirst || d > time.Second {
			t.Errorf("wait %d is %v", i, d)
		}
	}
}
