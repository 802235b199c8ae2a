package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// demoHost is the host of the demo's API; .test resolves nowhere (RFC 6761).
const demoHost = "api.pay.test"

// payAPI is a payment API on loopback, with real TLS. It takes every key that begins with demo_, as
// an API does while an old and a new key overlap, and repeats it in its answer, as an API should not.
type payAPI struct {
	server *http.Server
	addr   string
	pem    []byte // of its certificate
	done   sync.WaitGroup

	mu    sync.Mutex
	conns int
	last  string         // Authorization of the last call
	said  string         // the last answer
	calls map[string]int // by Authorization
	first map[string]time.Time
	tell  func(*http.Request) // of every call; nil: nobody
}

func newPayAPI() (*payAPI, error) {
	cert, certPEM, err := selfSigned(demoHost)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &payAPI{addr: l.Addr().String(), pem: certPEM, calls: map[string]int{}, first: map[string]time.Time{}}
	p.server = &http.Server{
		Handler: p, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
		ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				p.mu.Lock()
				p.conns++
				p.mu.Unlock()
			}
		},
	}
	p.done.Go(func() { _ = p.server.ServeTLS(l, "", "") })
	return p, nil
}

func (p *payAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20))
	auth := r.Header.Get("Authorization")
	p.mu.Lock()
	p.last = auth
	p.calls[auth]++
	if p.calls[auth] == 1 {
		p.first[auth] = time.Now()
	}
	tell := p.tell
	p.mu.Unlock()
	if tell != nil {
		tell(r)
	}
	w.Header().Set("Content-Type", "application/json")
	if !strings.HasPrefix(auth, "Bearer demo_") {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"error":"no such key"}`)
		return
	}
	said := `{"paid":true,"you_sent":"` + strings.TrimPrefix(auth, "Bearer ") + `"}`
	p.mu.Lock()
	p.said = said
	p.mu.Unlock()
	_, _ = io.WriteString(w, said)
}

// answered is what the API last answered.
func (p *payAPI) answered() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said
}

// tellOf has every call told to tell from now on.
func (p *payAPI) tellOf(tell func(*http.Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tell = tell
}

// mark is how much the API has seen so far: calls, and connections even without one.
func (p *payAPI) mark() (calls, conns int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.calls {
		calls += n
	}
	return calls, p.conns
}

// since tells what the API received after a mark; empty: not even a connection.
func (p *payAPI) since(calls, conns int) string {
	c, n := p.mark()
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case c > calls:
		return "Authorization: " + p.last
	case n > conns:
		return "a connection, and no call"
	default:
		return ""
	}
}

// used tells how often the key came, and when it first did.
func (p *payAPI) used(key string) (int, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls["Bearer "+key], p.first["Bearer "+key]
}

func (p *payAPI) close() {
	_ = p.server.Close()
	p.done.Wait()
}

// selfSigned makes a certificate for one name that is its own root.
func selfSigned(name string) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		BasicConstraintsValid: true, IsCA: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
