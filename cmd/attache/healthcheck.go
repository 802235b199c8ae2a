package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/config"
)

type healthcheckCmd struct {
	configFlag
	Address string        `placeholder:"ADDR" help:"host:port or unix:/path of the health or admin listener. Without it: what the configuration says."`
	Timeout time.Duration `default:"3s" help:"How long to wait for the answer."`
}

func (h healthcheckCmd) Run(c *console) error {
	address, faulty, err := h.address()
	if err != nil {
		return err
	}
	network, target := dialable(address)
	client := &http.Client{
		Timeout: h.Timeout,
		// Neither HTTP_PROXY, which is often this very proxy, nor a redirect may lead elsewhere.
		Transport: &http.Transport{Proxy: nil, DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, target)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Get("http://localhost/readyz")
	if err != nil {
		fmt.Fprintf(c.out, "not ready: %s: %v\n", address, innermost(err))
		if faulty {
			fmt.Fprintln(c.out, "  hint: the configuration has errors: attache check")
		}
		return exitCode(exitFailed)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		fmt.Fprintf(c.out, "not ready: %s answers %d\n", address, res.StatusCode)
		return exitCode(exitFailed)
	}
	fmt.Fprintf(c.out, "ready: %s\n", address)
	return nil
}

// address is where to ask, and whether a configuration that has errors names it.
func (h healthcheckCmd) address() (address string, faulty bool, err error) {
	if h.Address != "" {
		return h.Address, false, nil
	}
	path, err := h.path()
	if err != nil {
		return "", false, err
	}
	listen, faulty, err := h.listeners(path)
	if err != nil {
		return "", false, err
	}
	address, err = healthAddress(listen)
	return address, faulty, err
}

func healthAddress(l config.Listen) (string, error) {
	for _, address := range []string{l.Health, l.Admin} {
		if address != "" {
			return address, nil
		}
	}
	return "", &app.UsageError{
		Err:  errors.New("the configuration has neither listen.health nor listen.admin"),
		Hint: "add one, for example listen: {health: 0.0.0.0:15090}",
	}
}

// dialable is the network and address by which a listener of this host is reached.
func dialable(address string) (network, target string) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix", path
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "tcp", address
	}
	switch ip := net.ParseIP(host); {
	case host == "", ip.Equal(net.IPv4zero):
		host = "127.0.0.1"
	case ip.Equal(net.IPv6unspecified):
		host = "::1"
	}
	return "tcp", net.JoinHostPort(host, port)
}
