package dial

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// profileKey is equal for equal Profiles, and holds no secret.
type profileKey [sha256.Size]byte

func (p *Profile) key() profileKey {
	h := sha256.New()
	field := func(b []byte) {
		_, _ = h.Write(binary.AppendUvarint(nil, uint64(len(b)))) // lengths keep neighbours apart
		_, _ = h.Write(b)
	}
	number := func(n int64) { field(binary.AppendVarint(nil, n)) }
	flag := func(b bool) {
		if b {
			number(1)
		} else {
			number(0)
		}
	}
	for _, s := range []string{p.ConnectTo, p.ServerName, p.Peer, p.ClientName, string(p.Protocol)} {
		field([]byte(s))
	}
	flag(p.CA != nil)
	field(p.CA)
	flag(p.SVID)
	flag(p.Client != nil)
	field(p.Client)
	flag(p.Via != nil)
	if p.Via != nil {
		field([]byte(p.Via.URL.String()))
		field([]byte(p.Via.Key))
		flag(p.Via.CA != nil)
		field(p.Via.CA)
	}
	allow := slices.SortedFunc(slices.Values(p.Allow), netip.Prefix.Compare)
	number(int64(len(allow)))
	for _, a := range allow {
		field([]byte(a.String()))
	}
	flag(p.Plaintext)
	flag(p.AnyClear)
	number(int64(p.MaxInFlight))
	number(int64(p.ResponseHeader))
	number(int64(p.Connect))
	return profileKey(h.Sum(nil))
}

// connectTo is Profile.ConnectTo taken apart. The zero value is the target itself.
type connectTo struct {
	unix string
	host string
	port uint16
}

func newUpstream(p Profile, opt Options, identity *Identity) (*Upstream, error) {
	u := &Upstream{
		dialer: dialer{resolver: opt.Resolver, own: opt.Own},
		log:    opt.Log,
		holds:  map[*heldConn]struct{}{},
	}
	u.identity.Store(identity)
	if p.MaxInFlight <= 0 {
		p.MaxInFlight = DefaultInFlight
	}
	u.requests, u.dials = newPlaces(p.MaxInFlight), newPlaces(2*p.MaxInFlight)
	if p.Connect <= 0 {
		p.Connect = DefaultConnect
	}
	switch p.Protocol {
	case Auto, HTTP1, HTTP2:
	default:
		return nil, fmt.Errorf("upstream protocol %q: not http1 or http2", p.Protocol)
	}
	if p.Client != nil && p.shows() {
		return nil, errors.New("upstream client: the SVID is presented already")
	}
	if p.Plaintext && (p.Client != nil || p.SVID || p.Peer != "") {
		return nil, errors.New("upstream plaintext: excludes client and peer, which are proved by TLS")
	}
	var err error
	if u.to, err = parseConnectTo(p.ConnectTo); err != nil {
		return nil, fmt.Errorf("upstream connect_to %q: %w", p.ConnectTo, err)
	}
	if u.via, err = parseVia(p.Via, opt); err != nil {
		return nil, err
	}
	if u.tls, err = tlsConfig(&p, opt.Roots); err != nil {
		return nil, err
	}
	p.Client = nil // its key lives in tls alone
	u.profile = p
	u.now.Store(u.newTransports())
	return u, nil
}

func parseConnectTo(s string) (connectTo, error) {
	if s == "" {
		return connectTo{}, nil
	}
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return connectTo{}, errors.New("not an absolute path")
		}
		return connectTo{unix: path}, nil
	}
	host, port, err := splitAddr(s)
	return connectTo{host: host, port: port}, err
}

func parseVia(v *Via, opt Options) (*viaPoint, error) {
	if v == nil {
		return nil, nil
	}
	point := &viaPoint{authorization: v.Authorization}
	port := v.URL.Port()
	switch v.URL.Scheme {
	case "http":
		if port == "" {
			port = "80"
		}
	case "https":
		if port == "" {
			port = "443"
		}
		point.tls = &tls.Config{
			MinVersion: tls.VersionTLS12, RootCAs: opt.Roots,
			ServerName: v.URL.Hostname(), NextProtos: []string{"http/1.1"},
		}
		if v.CA != nil {
			pool, err := rootPool(v.CA)
			if err != nil {
				return nil, fmt.Errorf("upstream via: ca: %w", err)
			}
			point.tls.RootCAs = pool
		}
	default:
		return nil, errors.New("upstream via: not an http or https URL")
	}
	if v.URL.User != nil {
		return nil, errors.New("upstream via: credentials in the URL")
	}
	var err error
	if point.host, point.port, err = splitAddr(net.JoinHostPort(v.URL.Hostname(), port)); err != nil {
		return nil, fmt.Errorf("upstream via: %w", err)
	}
	return point, nil
}
