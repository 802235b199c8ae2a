package identity

import (
	"context"
	"errors"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Waits between attempts at the Workload API, go-spiffe's and gRPC's own ones included: theirs grow to 30 s and
// 120 s, and an agent's restart must not cost that.
const (
	waitFirst = 100 * time.Millisecond
	waitMost  = time.Second

	unimplementedWait = time.Minute // an agent without the JWT profile may be replaced by one that has it
)

// CheckAddress reports what is wrong with the address of a Workload API, which has the form of
// SPIFFE_ENDPOINT_SOCKET (SPIFFE Workload Endpoint §4): "unix:" and an absolute path, or tcp:// with an IP address
// and a port.
func CheckAddress(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "unix" && u.Scheme != "tcp" {
		return errors.New("must be unix:/path, or tcp:// with an IP address and a port")
	}
	if u.Scheme == "unix" && (u.Host != "" || !strings.HasPrefix(u.Path, "/") || strings.HasSuffix(u.Path, "/")) {
		return errors.New("a unix socket needs the absolute path of a file, and nothing else")
	}
	if err := workloadapi.ValidateAddress(address); err != nil {
		return errors.New(strings.TrimPrefix(err.Error(), "workload endpoint "))
	}
	return nil
}

// LocalAddress reports whether a valid address leads to this host only. A Workload API sends private keys in clear.
func LocalAddress(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "tcp" {
		return err == nil
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err == nil && (ip.Unmap().IsLoopback() || ip.Unmap().IsLinkLocalUnicast())
}

// workloadAPI is the client of one agent.
type workloadAPI struct {
	client *workloadapi.Client
	once   sync.Once
	err    error
}

func (w *workloadAPI) close() error {
	w.once.Do(func() { w.err = w.client.Close() })
	return w.err
}

// watch starts the client and its two streams.
func (s *Source) watch() {
	client, err := workloadapi.New(s.ctx,
		workloadapi.WithAddr(s.o.Address),
		workloadapi.WithBackoffStrategy(strategy{}),
		workloadapi.WithDialOptions(
			grpc.WithNoProxy(), // HTTPS_PROXY may name ourselves
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: waitFirst, Multiplier: 1.6, Jitter: 0.2, MaxDelay: waitMost},
				MinConnectTimeout: 5 * time.Second,
			})))
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.trouble(err.Error())
		return
	}
	s.working.Go(s.giveUpOnJWT)
	s.api, s.ask = &workloadAPI{client: client}, s.askToken
	s.supervise(func(ctx context.Context, _ func()) error {
		return client.WatchX509Context(ctx, &x509Watcher{s: s})
	})
	s.supervise(func(ctx context.Context, stop func()) error {
		return client.WatchJWTBundles(ctx, &jwtWatcher{s: s, stop: stop})
	})
}

// supervise runs a watch of go-spiffe's for as long as the Source lives: it gives up for good on
// InvalidArgument and Canceled, which an agent that restarts may well answer. A watch that calls stop
// is not begun again for unimplementedWait.
func (s *Source) supervise(watch func(ctx context.Context, stop func()) error) {
	s.working.Go(func() {
		var wait waits
		for s.ctx.Err() == nil {
			ctx, cancel := context.WithCancel(s.ctx)
			began := time.Now()
			_ = watch(ctx, cancel) // the watcher was told
			pause := wait.Next()
			if ctx.Err() != nil {
				pause = unimplementedWait
			}
			cancel()
			if time.Since(began) > waitMost {
				wait.Reset()
			}
			timer := time.NewTimer(pause)
			select {
			case <-s.ctx.Done():
			case <-timer.C:
			}
			timer.Stop()
		}
	})
}

// strategy gives go-spiffe our waits.
type strategy struct{}

func (strategy) NewBackoff() workloadapi.Backoff { return new(waits) }

// waits doubles from waitFirst to waitMost.
type waits time.Duration

func (w *waits) Next() time.Duration {
	*w = waits(min(max(2*time.Duration(*w), waitFirst), waitMost))
	return time.Duration(*w)
}

func (w *waits) Reset() { *w = 0 }

// problemOf is an error of the Workload API for people, without gRPC's wrapping.
func problemOf(err error) string {
	st, ok := status.FromError(err)
	switch {
	case !ok:
		return err.Error()
	case st.Code() == codes.PermissionDenied:
		return "the agent denies: " + st.Message()
	case st.Code() == codes.Unavailable && ofConnection(st.Message()):
		return "the agent cannot be reached: " + unwrapped(st.Message())
	}
	return "the agent answers: " + st.Message()
}

// ofConnection reports whether gRPC itself says that it is Unavailable. SPIRE's agent answers so as well: when it cannot
// find out who asks, or its server is away.
func ofConnection(message string) bool {
	for _, begin := range []string{
		"connection error: ", "last connection error: ", "error reading from server: ", "closing transport",
		"transport is closing", "the connection is draining", "the stream is rejected", "latest balancer error: ",
	} {
		if strings.HasPrefix(message, begin) {
			return true
		}
	}
	return false
}

// unwrapped is the end of a message of gRPC's about its connection, which is what the system said.
func unwrapped(message string) string {
	if strings.Contains(message, "error reading server preface") {
		return "it takes connections and does not answer"
	}
	if i := strings.LastIndex(message, `desc = "`); i >= 0 {
		message = message[i+len(`desc = "`):]
	}
	if i := strings.LastIndex(message, "dial "); i >= 0 {
		message = message[i:]
	}
	return strings.Trim(message, `"`)
}
