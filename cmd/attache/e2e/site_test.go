package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// site is an upstream: a real TLS server on loopback that remembers what came.
type site struct {
	addr string
	ca   string // PEM file of the authority that signed its certificate

	mu    sync.Mutex
	seen  []seen
	conns int
}

// seen is one request as the upstream got it.
type seen struct {
	Method, Host, URI, Proto string
	Header, Trailer          http.Header
	Body                     []byte
	TransferEncoding         []string
	Remote                   string
	SNI                      string
	ClientCert               bool // the proxy presented one
}

type siteOptions struct {
	Handler  http.HandlerFunc // after the request was recorded, body and all; default: answers who
	Streams  bool             // the handler reads the body itself; it is not recorded
	Names    []string         // of the certificate; default api.test
	CA       *authority       // default: a new one
	NotAfter time.Time        // default: tomorrow
	Clear    bool             // no TLS
	H1       bool             // HTTP/1.1 only
	TLS      func(*tls.Config)
}

func newSite(t *testing.T, o siteOptions) *site {
	t.Helper()
	if o.Names == nil {
		o.Names = []string{"api.test"}
	}
	if o.CA == nil {
		o.CA = newAuthority(t)
	}
	if o.NotAfter.IsZero() {
		o.NotAfter = time.Now().Add(24 * time.Hour)
	}
	if o.Handler == nil {
		o.Handler = who
	}
	s := &site{ca: o.CA.file}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	s.addr = l.Addr().String()
	srv := &http.Server{
		Handler:   s.record(o),
		ErrorLog:  log.New(io.Discard, "", 0),
		ConnState: s.count,
		Protocols: new(http.Protocols),
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetHTTP2(!o.H1 && !o.Clear)
	var done sync.WaitGroup
	done.Go(func() {
		if o.Clear {
			_ = srv.Serve(l)
			return
		}
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{o.CA.leaf(t, o.NotAfter, o.Names...)}}
		if o.TLS != nil {
			o.TLS(srv.TLSConfig)
		}
		_ = srv.ServeTLS(l, "", "")
	})
	t.Cleanup(func() { _ = srv.Close(); done.Wait() })
	return s
}

// who answers with what identifies the credential without repeating it.
func who(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, "auth-sha256="+fingerprint(r.Header.Get("Authorization"))+"\n")
}

// fingerprint is what the upstream tells of a credential.
func fingerprint(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func (s *site) record(o siteOptions) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body []byte
		if !o.Streams {
			body, _ = io.ReadAll(r.Body)
		}
		got := seen{
			Method: r.Method, Host: r.Host, URI: r.RequestURI, Proto: r.Proto, Header: r.Header.Clone(),
			Trailer: r.Trailer.Clone(), Body: body, TransferEncoding: slices.Clone(r.TransferEncoding), Remote: r.RemoteAddr,
		}
		if r.TLS != nil {
			got.SNI, got.ClientCert = r.TLS.ServerName, len(r.TLS.PeerCertificates) > 0
		}
		s.mu.Lock()
		s.seen = append(s.seen, got)
		s.mu.Unlock()
		o.Handler(w, r)
	}
}

func (s *site) count(_ net.Conn, state http.ConnState) {
	if state == http.StateNew {
		s.mu.Lock()
		s.conns++
		s.mu.Unlock()
	}
}

// requests are all that came so far.
func (s *site) requests() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// connections is how many were accepted so far.
func (s *site) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns
}

// last is the request that came last.
func (s *site) last(t *testing.T) seen {
	t.Helper()
	all := s.requests()
	if len(all) == 0 {
		t.Fatal("the upstream got no request")
	}
	return all[len(all)-1]
}

// untouched fails the test if anyone so much as connected.
func (s *site) untouched(t *testing.T) {
	t.Helper()
	if n := s.connections(); n != 0 {
		t.Errorf("a server that must see nothing saw %d connections, requests %+v", n, s.requests())
	}
}
