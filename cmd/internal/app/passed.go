package app

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// passedSocket is a listening socket that the service manager opened and passed on.
type passedSocket struct {
	name    string // as the service manager calls it
	address string // as canonicalAddress writes it
	file    *os.File
}

// passedSockets are the sockets of socket activation (sd_listen_fds(3)). Each belongs to the listener
// that the configuration gives the same address: so the configuration says all that it says without
// them, and is checked alike.
type passedSockets []passedSocket

// open gives a listener on the passed socket of that address; nil if there is none. The socket itself
// stays open for a later reload.
func (p passedSockets) open(s listenSpec) (net.Listener, error) {
	i := slices.IndexFunc(p, func(x passedSocket) bool { return x.address == canonicalAddress(s.address) })
	if i < 0 {
		return nil, nil
	}
	if path, ok := strings.CutPrefix(s.address, "unix:"); ok && s.kind == adminListener {
		info, err := os.Lstat(path)
		if err != nil {
			return nil, err
		}
		if info.Mode()&0o007 != 0 {
			return nil, fmt.Errorf("%s: passed on with mode %#o, and whoever can write to it can reload; set SocketMode=0600", path, info.Mode().Perm())
		}
	}
	return net.FileListener(p[i].file)
}

// unclaimed is an error where a socket was passed on that no listener uses: clients would connect to
// it, and wait for ever.
func (p passedSockets) unclaimed(specs []listenSpec) error {
	var faults []error
	for _, x := range p {
		if !slices.ContainsFunc(specs, func(s listenSpec) bool { return canonicalAddress(s.address) == x.address }) {
			faults = append(faults, fmt.Errorf("socket %q: %s: passed on by the service manager, but no listener of the configuration has this address", x.name, x.address))
		}
	}
	return errors.Join(faults...)
}

// canonicalAddress writes equal addresses alike.
func canonicalAddress(s string) string {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		return "unix:" + filepath.Clean(path)
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return s
	}
	switch host {
	case "":
		host = "::"
	case "localhost":
		host = "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return net.JoinHostPort(host, port)
}
