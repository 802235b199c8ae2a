package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// grpcCase is one of gRPC's interoperability tests. They end the process when
// they fail, so they run in one of their own: this binary again, with envGRPC set.
type grpcCase struct {
	name string
	run  func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)
}

func grpcCases() []grpcCase {
	return []grpcCase{
		{"empty_unary", interop.DoEmptyUnaryCall},
		{"large_unary", interop.DoLargeUnaryCall},
		{"client_streaming", interop.DoClientStreaming},
		{"server_streaming", interop.DoServerStreaming},
		{"ping_pong", interop.DoPingPong},
		{"empty_stream", interop.DoEmptyStream},
		{"custom_metadata", interop.DoCustomMetadata},
		{"status_code_and_message", interop.DoStatusCodeAndMessage},
		{"special_status_message", interop.DoSpecialStatusMessage},
		{"cancel_after_begin", interop.DoCancelAfterBegin},
		{"cancel_after_first_response", interop.DoCancelAfterFirstResponse},
		{"timeout_on_sleeping_server", interop.DoTimeoutOnSleepingServer},
		{"large_unary, compressed", compressed(interop.DoLargeUnaryCall)},
		{"ping_pong, compressed", compressed(interop.DoPingPong)},
	}
}

// compressed is a case whose client compresses, and whose server then does too.
func compressed(run func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption) {
	return func(ctx context.Context, c testgrpc.TestServiceClient, o ...grpc.CallOption) {
		run(ctx, c, append(o, grpc.UseCompressor(gzip.Name))...)
	}
}

// TestGRPC runs gRPC's interoperability tests through the proxy, against a
// server that wants the credential in each call.
func TestGRPC(t *testing.T) {
	t.Parallel()
	key := newCanary()
	ca := newAuthority(t)
	addr := grpcServer(t, ca, key)
	s := serve(t, serveOptions{Config: oneRule, Vars: map[string]string{"site": addr, "siteca": ca.file}, Secrets: map[string]string{"key": key}})
	self, err := os.Executable()
	ok(t, err)
	for _, c := range grpcCases() {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, self)
			cmd.Env = append(cleanEnv(t), envGRPC+"="+c.name, "PROXY="+s.proxy, "CA="+s.caFile())
			out, err := cmd.CombinedOutput()
			_, _ = s.received.Write(out)
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// grpcServer is gRPC's interoperability server; calls without the key fail.
func grpcServer(t *testing.T, ca *authority, key string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	allowed := func(ctx context.Context) error {
		md, _ := metadata.FromIncomingContext(ctx)
		if got := md.Get("authorization"); len(got) != 1 || got[0] != "Bearer "+key {
			return status.Errorf(codes.Unauthenticated, "%d authorization values, or another one", len(got))
		}
		return nil
	}
	srv := grpc.NewServer(
		grpc.Creds(credentials.NewServerTLSFromCert(new(ca.leaf(t, time.Now().Add(time.Hour), "api.test")))),
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := allowed(ctx); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := allowed(ss.Context()); err != nil {
				return err
			}
			return next(srv, ss)
		}),
	)
	testgrpc.RegisterTestServiceServer(srv, interop.NewTestServer())
	var done sync.WaitGroup
	done.Go(func() { _ = srv.Serve(l) })
	t.Cleanup(func() { srv.Stop(); done.Wait() })
	return l.Addr().String()
}

// grpcClient is main of the process that runs one case.
func grpcClient() int {
	if err := runGRPC(os.Getenv(envGRPC)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func runGRPC(name string) error {
	pem, err := os.ReadFile(os.Getenv("CA"))
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	conn, err := grpc.NewClient("passthrough:///api.test:443",
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool})),
		grpc.WithContextDialer(connectDialer(os.Getenv("PROXY"))))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	for _, c := range grpcCases() {
		if c.name == name {
			c.run(ctx, testgrpc.NewTestServiceClient(conn), grpc.WaitForReady(true))
			return nil
		}
	}
	return fmt.Errorf("no case %q", name)
}

func connectDialer(proxy string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", proxy)
		if err != nil {
			return nil, err
		}
		_, _ = fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", addr, addr)
		r := bufio.NewReader(c)
		resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
		if err == nil && (resp.StatusCode != http.StatusOK || r.Buffered() > 0) {
			err = errors.New("CONNECT: " + resp.Status)
		}
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		return c, nil
	}
}
