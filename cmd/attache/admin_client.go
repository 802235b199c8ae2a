package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/config"
)

// defaultAdmin is where the proxy's admin listener is unless its configuration says otherwise.
const defaultAdmin = "127.0.0.1:15000"

// adminFlag names the admin listener of a running proxy; commands that ask one embed it.
type adminFlag struct {
	Admin string `placeholder:"ADDRESS" help:"host:port or unix:/path of the running proxy's admin listener. Without it: listen.admin of the configuration, else 127.0.0.1:15000."`
}

// client asks the admin listener. The configuration on disk may be broken, or another one: what matters
// is what runs, so of a faulty one what it says of its listeners is used, and without one the default is tried.
func (f adminFlag) client(c configFlag) (*adminClient, error) {
	address, faulty := f.Admin, false
	if address == "" {
		address = defaultAdmin
		path, err := c.path()
		if err != nil && c.Config != "" {
			return nil, err
		}
		if err == nil {
			var listen config.Listen
			if listen, faulty, err = c.listeners(path); err != nil {
				return nil, err
			}
			if listen.Admin == "" {
				return nil, &app.UsageError{Err: errors.New("the configuration has no listen.admin"), Hint: "add one, or name another with --admin"}
			}
			address = listen.Admin
		}
	}
	network, target := dialable(address)
	return &adminClient{address: address, faulty: faulty, http: &http.Client{
		Timeout: 5 * time.Second,
		// Neither HTTP_PROXY, which is often this very proxy, nor a redirect may lead elsewhere.
		Transport: &http.Transport{Proxy: nil, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, target)
		}},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// listeners is where the configuration at path has a proxy listen. What is wrong in it is no reason not to
// ask there: the proxy serves on by its former one.
func (f configFlag) listeners(path string) (l config.Listen, faulty bool, err error) {
	cfg, err := app.LoadConfig(path, f.Profile, thisBuild().required())
	if err == nil {
		return cfg.Listen, false, nil
	}
	if l, ok := app.ReadListen(path, f.Profile); ok {
		return l, true, nil
	}
	if _, read := errors.AsType[config.Errors](err); !read && f.Config != "" {
		return config.Listen{}, false, err
	}
	return config.Listen{Admin: defaultAdmin}, true, nil
}

// adminClient asks one admin listener.
type adminClient struct {
	address string
	faulty  bool // the configuration is, so address may be another than the proxy's
	http    *http.Client
}

// maxAnswer bounds what is read of an answer: ten thousand rules are about 8 MiB.
const maxAnswer = 64 << 20

// notRunning is what an adminClient gives where nobody listens.
type notRunning struct {
	address string
	err     error
	faulty  bool
}

func (e *notRunning) Error() string {
	return fmt.Sprintf("no proxy answers at %s: %v", e.address, e.err)
}

func (a *adminClient) down(err error) error { return &notRunning{a.address, err, a.faulty} }

// refusedAnswer is an answer of the admin API that is none of 200.
type refusedAnswer struct {
	Title, Detail, Reason, Hint string
	Status                      int
	body                        []byte
}

func (e *refusedAnswer) Error() string {
	text := e.Title
	if e.Detail != "" {
		text = e.Detail
	}
	return text
}

// get asks for path and decodes its JSON into each of into.
func (a *adminClient) get(ctx context.Context, path string, into ...any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return err
	}
	res, err := a.http.Do(req)
	if err != nil {
		return a.down(innermost(err))
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return a.down(err)
	}
	if res.StatusCode != http.StatusOK {
		refused := &refusedAnswer{body: body, Status: res.StatusCode}
		if json.Unmarshal(body, refused) != nil || refused.Reason == "" {
			return a.down(fmt.Errorf("what listens there answers %d and is not this version's admin listener", res.StatusCode))
		}
		return refused
	}
	for _, v := range into {
		if err := json.Unmarshal(body, v); err != nil {
			return a.down(errors.New("what listens there is not this version's admin listener"))
		}
	}
	return nil
}

// innermost is what went wrong without the addresses around it.
func innermost(err error) error {
	for {
		cause := errors.Unwrap(err)
		if cause == nil {
			return err
		}
		err = cause
	}
}

// reportAdmin prints what kept an adminClient from its answer, and what to do.
func (c *console) reportAdmin(err error) error {
	if down, ok := errors.AsType[*notRunning](err); ok {
		fmt.Fprintf(c.err, "attache: %s\n", plainText(down.Error()))
		if down.faulty {
			field(c.err, 8, "but", "the configuration has errors, so this may be another address than the proxy's: attache check")
		}
		field(c.err, 8, "start", "one with \"attache serve\", or \"attache run -- COMMAND\"")
		field(c.err, 8, "or", "name the admin listener of the one that runs: --admin host:port, --admin unix:/path")
		return exitCode(exitFailed)
	}
	if refused, ok := errors.AsType[*refusedAnswer](err); ok {
		if refused.Status == http.StatusNotFound && refused.Reason == "not_found" {
			fmt.Fprintf(c.err, "attache: the proxy at this address is of an older version, which does not tell this\n")
			return exitCode(exitFailed)
		}
		return &app.UsageError{Err: refused, Hint: strings.TrimSpace(refused.Hint)}
	}
	return err
}
