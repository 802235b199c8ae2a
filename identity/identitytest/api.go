package identitytest

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
)

// Options of an API. The zero value is a unix socket in a directory of its own, which Close removes.
type Options struct {
	Dir    string        // for the socket; short, a socket's path has about 100 bytes
	TCP    bool          // listen on a loopback port instead
	TTL    time.Duration // of X509-SVIDs; 0: an hour, as SPIRE's default
	JWTTTL time.Duration // of JWT-SVIDs; 0: five minutes, likewise
	Now    func() time.Time
}

// API is one Workload API and the authorities behind it: agent, server and registration entries in one.
// All of its methods may be called at any time from any goroutine.
type API struct {
	o     Options
	own   string // directory to remove
	addr  string
	calls atomic.Int64 // of FetchJWTSVID

	mu        sync.Mutex
	server    *grpc.Server // nil while stopped
	done      chan struct{}
	cas       map[spiffeid.TrustDomain]*CA
	entries   []Entry
	svids     []*x509svid.SVID // of entries, in their order
	federated map[spiffeid.TrustDomain]bool
	fault     error                        // what every call answers; nil: what it asks for
	jwtFault  error                        // likewise, of the JWT profile alone
	mute      bool                         // the JWT profile answers nothing
	tokens    map[string]kept              // JWT-SVIDs given, by ID and audiences
	everybody bool                         // gets the bundles of last
	last      map[spiffeid.TrustDomain]*CA // the trust domains of the last entries
	changed   chan struct{}                // closed, and made anew, with every change
}

// Entry is one identity that the workload is registered for.
type Entry struct {
	ID   string
	Hint string
	DNS  []string // names in its X509-SVID, as for clients that verify a server by name
}

// TB is what of testing.TB [Start] needs; the package is in the binary too, without package testing.
type TB interface {
	Helper()
	Fatal(args ...any)
	Cleanup(f func())
}

// Start serves an API for the length of a test, with an SVID for each ID, the first being the default.
func Start(t TB, ids ...string) *API {
	t.Helper()
	a, err := New(Options{}, ids...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// New serves an API until Close. Without IDs every caller is denied.
func New(o Options, ids ...string) (*API, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TTL == 0 {
		o.TTL = time.Hour
	}
	if o.JWTTTL == 0 {
		o.JWTTTL = 5 * time.Minute
	}
	a := &API{o: o, cas: map[spiffeid.TrustDomain]*CA{}, federated: map[spiffeid.TrustDomain]bool{}, tokens: map[string]kept{}, changed: make(chan struct{})}
	switch {
	case o.TCP:
		a.addr = "tcp://127.0.0.1:0"
	case o.Dir == "":
		dir, err := os.MkdirTemp("", "attache-spiffe-")
		if err != nil {
			return nil, err
		}
		a.own, a.o.Dir = dir, dir
	}
	if !o.TCP {
		a.addr = "unix://" + filepath.Join(a.o.Dir, "agent.sock")
	}
	a.Register(ids...)
	if err := a.Resume(); err != nil {
		a.Close()
		return nil, err
	}
	return a, nil
}

// Addr is what SPIFFE_ENDPOINT_SOCKET has to be.
func (a *API) Addr() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.addr
}

// CA is the authority of a trust domain, which is made if there is none yet.
func (a *API) CA(trustDomain string) *CA {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ca(spiffeid.RequireTrustDomainFromString(trustDomain))
}

func (a *API) ca(td spiffeid.TrustDomain) *CA {
	ca := a.cas[td]
	if ca == nil {
		ca = newCA(td, a.o.Now)
		a.cas[td] = ca
	}
	return ca
}

// Issue signs an X509-SVID of any trust domain, for a peer in a test. The API does not serve it.
func (a *API) Issue(id string, ttl time.Duration) *x509svid.SVID {
	return a.CA(spiffeid.RequireFromString(id).TrustDomain().Name()).Issue(id, ttl)
}

// Token signs a JWT-SVID of any trust domain, for a peer in a test.
func (a *API) Token(id, audience string, ttl time.Duration) string {
	return a.CA(spiffeid.RequireFromString(id).TrustDomain().Name()).Token(id, audience, ttl)
}

// Register replaces the identities that the workload is entitled to, and issues them. Without IDs it is
// entitled to none, and denied.
func (a *API) Register(ids ...string) {
	entries := make([]Entry, len(ids))
	for i, id := range ids {
		entries[i].ID = id
	}
	a.RegisterEntries(entries...)
}

// RegisterEntries is Register for entries with hints.
func (a *API) RegisterEntries(entries ...Entry) {
	a.change(func() { a.entries = slices.Clone(entries); a.issue() })
}

// issue makes new SVIDs for the entries. API.mu is held.
func (a *API) issue() {
	a.svids = nil
	if len(a.entries) > 0 {
		a.last = map[spiffeid.TrustDomain]*CA{}
	}
	for _, e := range a.entries {
		td := spiffeid.RequireFromString(e.ID).TrustDomain()
		a.last[td] = a.ca(td)
		svid := a.ca(td).Issue(e.ID, a.o.TTL, e.DNS...)
		svid.Hint = e.Hint
		a.svids = append(a.svids, svid)
	}
}

// SetTTL changes the lifetimes of what is issued from now on; 0 leaves one as it is.
func (a *API) SetTTL(x509, jwt time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if x509 != 0 {
		a.o.TTL = x509
	}
	if jwt != 0 {
		a.o.JWTTTL = jwt
		clear(a.tokens)
	}
}

// Rotate issues every SVID anew, as an agent does at half of their life.
func (a *API) Rotate() { a.change(a.issue) }

// Federate makes the bundles of a trust domain known to the workload.
func (a *API) Federate(trustDomain string) {
	td := spiffeid.RequireTrustDomainFromString(trustDomain)
	a.change(func() { a.ca(td); a.federated[td] = true })
}

// Unfederate ends that.
func (a *API) Unfederate(trustDomain string) {
	a.change(func() { delete(a.federated, spiffeid.RequireTrustDomainFromString(trustDomain)) })
}

// RotateRoot gives a trust domain another root, and bundles that hold the old one too. What is issued from
// now on is signed by the new one.
func (a *API) RotateRoot(trustDomain string) {
	ca := a.CA(trustDomain)
	a.change(func() { ca.rotate(true, false) })
}

// RotateJWTKeys gives every trust domain another key for JWT-SVIDs; the bundles hold the old one too.
func (a *API) RotateJWTKeys() {
	a.change(func() {
		for _, ca := range a.cas {
			ca.rotate(false, true)
		}
	})
}

// Forget takes the older roots and keys of a trust domain out of its bundles, and what they signed out of what is given.
func (a *API) Forget(trustDomain string) {
	ca := a.CA(trustDomain)
	a.change(func() { ca.forget(true, true); clear(a.tokens) })
}

// Deny makes the API answer PermissionDenied and end its streams, as SPIRE does to a workload without an entry.
func (a *API) Deny() { a.Fail(errDenied) }

// Fail makes every call and stream answer with a status of gRPC; nil ends that.
func (a *API) Fail(err error) { a.change(func() { a.fault = err }) }

// FailJWT is Fail for the JWT profile alone, which operators may switch off.
func (a *API) FailJWT(err error) { a.change(func() { a.jwtFault = err }) }

// Mute makes calls of the JWT profile wait.
func (a *API) Mute() { a.change(func() { a.mute = true }) }

// Allow ends Deny, Fail, FailJWT and Mute.
func (a *API) Allow() { a.change(func() { a.fault, a.jwtFault, a.mute = nil, nil, false }) }

// kept is a JWT-SVID that is given again until half of its life is over, as SPIRE's agent does.
type kept struct {
	text  string
	until time.Time
}

// token is a JWT-SVID for a caller that has that view.
func (a *API) token(v *view, id spiffeid.ID, audience []string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := id.String() + " " + strings.Join(audience, " ")
	now := a.o.Now()
	if t, ok := a.tokens[name]; ok && now.Before(t.until) {
		return t.text
	}
	ca := v.own[id.TrustDomain()]
	ca.mu.Lock()
	key := ca.jwt[len(ca.jwt)-1]
	ca.mu.Unlock()
	t := kept{ca.token(key, id.String(), audience, v.jwtTTL), now.Add(v.jwtTTL / 2)}
	a.tokens[name] = t
	return t.text
}

// Everybody makes the API give the bundles of its trust domain to who has no entry too, as SPIRE's agent does with
// allow_unauthenticated_verifiers.
func (a *API) Everybody() { a.change(func() { a.everybody = true }) }

// JWTFetches is how many JWT-SVIDs were asked for.
func (a *API) JWTFetches() int { return int(a.calls.Load()) }

// change does f and wakes every stream.
func (a *API) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	close(a.changed)
	a.changed = make(chan struct{})
}

// Stop ends the agent: its streams break, its socket is gone.
func (a *API) Stop() {
	a.mu.Lock()
	s, done := a.server, a.done
	a.server = nil
	a.mu.Unlock()
	if s != nil {
		s.Stop()
		<-done
	}
}

// Resume starts a stopped agent at the same address.
func (a *API) Resume() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil {
		return errors.New("runs already")
	}
	network, address := "unix", ""
	if a.o.TCP {
		network, address = "tcp", a.addr[len("tcp://"):]
	} else {
		address = a.addr[len("unix://"):]
	}
	if info, err := os.Lstat(address); err == nil && info.Mode()&os.ModeSocket != 0 { // an agent that was killed left it
		_ = os.Remove(address)
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	if a.o.TCP {
		a.addr = "tcp://" + l.Addr().String()
	}
	s, done := grpc.NewServer(), make(chan struct{})
	workload.RegisterSpiffeWorkloadAPIServer(s, &handler{api: a})
	a.server, a.done = s, done
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	return nil
}

// Restart is Stop and Resume.
func (a *API) Restart() error {
	a.Stop()
	return a.Resume()
}

// Close stops the API and removes what it made.
func (a *API) Close() {
	a.Stop()
	if a.own != "" {
		_ = os.RemoveAll(a.own)
	}
}
