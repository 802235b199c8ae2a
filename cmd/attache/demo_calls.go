package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// demoClient is how the demo's application calls: by the proxy, as a caller, without a key. dials
// counts its connections.
func (w *demoWorld) client(caller string, conns int, dials *atomic.Int64) *http.Client {
	return &http.Client{Timeout: demoPatience, Transport: &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "http", Host: w.proxy, User: url.UserPassword(caller, w.tokens[caller])}),
		TLSClientConfig: &tls.Config{RootCAs: w.roots},
		MaxConnsPerHost: conns, MaxIdleConnsPerHost: conns,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			dials.Add(1)
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
}

// call pays once as caller.
func (w *demoWorld) call(caller string) (demoStep, error) {
	client := w.client(caller, 1, new(atomic.Int64))
	defer client.CloseIdleConnections()
	const target = "https://" + demoHost + "/v1/charges"
	s := demoStep{Sent: "POST " + target, Caller: caller}
	req, err := http.NewRequest(http.MethodPost, target, strings.NewReader("amount=5"))
	if err != nil {
		return s, err
	}
	s.CarriedKey = w.holdsKey(fmt.Sprint(req.Header, "amount=5"))
	calls, conns := w.api.mark()
	began := time.Now()
	res, err := client.Do(req)
	if err != nil {
		return s, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return s, err
	}
	s.Millis, s.Status = millis(time.Since(began)), res.StatusCode
	s.APIReceived = w.api.since(calls, conns)
	s.KeyEchoed = w.holdsKey(w.api.answered())
	s.KeyCameBack = w.holdsKey(fmt.Sprint(res.Header, string(body), res.Trailer))
	if res.StatusCode == http.StatusOK {
		s.GotBack = string(body)
	} else {
		s.Reason = reasonOf(body)
	}
	return s, nil
}

// holdsKey reports whether text holds the key, before or after the rotation.
func (w *demoWorld) holdsKey(text string) bool {
	return strings.Contains(text, w.keys[0]) || strings.Contains(text, w.keys[1])
}

// reasonOf is the reason in a refusal's body.
func reasonOf(body []byte) string {
	var p struct {
		Reason string `json:"reason"`
	}
	_ = json.Unmarshal(body, &p)
	return p.Reason
}

// connect asks the proxy for another destination.
func (w *demoWorld) connect(caller, authority string) (demoStep, error) {
	s := demoStep{Sent: "CONNECT " + authority, Caller: caller}
	calls, conns := w.api.mark()
	began := time.Now()
	c, err := net.DialTimeout("tcp", w.proxy, demoPatience)
	if err != nil {
		return s, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(demoPatience))
	req := &http.Request{Method: http.MethodConnect, Host: authority, URL: &url.URL{Opaque: authority}, Header: http.Header{}}
	req.SetBasicAuth(caller, w.tokens[caller])
	req.Header["Proxy-Authorization"] = req.Header["Authorization"]
	req.Header.Del("Authorization")
	if err := req.Write(c); err != nil {
		return s, err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return s, err
	}
	defer res.Body.Close()
	s.Status, s.Millis = res.StatusCode, millis(time.Since(began))
	// ReadResponse leaves the body of an answer to CONNECT alone only where it is 2xx.
	body, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if s.Reason = reasonOf(body); s.Reason == "" {
		_, s.Reason, _ = strings.Cut(res.Status, "attache ")
	}
	s.APIReceived = w.api.since(calls, conns)
	return s, nil
}

// demoRotation is what came of a load during which the key's file was replaced.
type demoRotation struct {
	Requests    int     `json:"requests"`
	Failed      int     `json:"failed"`
	Connections int     `json:"connections"`
	CameBack    int     `json:"keys_came_back"` // answers that held one of the keys
	Generation1 int     `json:"generation_1"`   // calls that the API received with the first key
	Generation2 int     `json:"generation_2"`
	FirstUse    float64 `json:"first_use_ms"` // from the file's change to the first call with the second key
	Millis      float64 `json:"ms"`
}

// rotate sends total requests over conns connections, spread over most of a second, and replaces the
// key's file after a quarter of them. Should the change take longer to be seen, it goes on until it is.
func (w *demoWorld) rotate(total, conns int) (*demoRotation, error) {
	var dials, sent, failed, back atomic.Int64
	client := w.client("checkout", conns, &dials)
	defer client.CloseIdleConnections()
	const spread = 800 * time.Millisecond
	pace := spread * time.Duration(conns) / time.Duration(total)
	quarter := make(chan struct{})
	began := time.Now()
	before, _ := w.api.used(w.keys[0])
	enough := func(n int64) bool {
		if n <= int64(total) {
			return false
		}
		seen, _ := w.api.used(w.keys[1])
		return seen > 0 || time.Since(began) > demoPatience
	}
	var workers sync.WaitGroup
	for range conns {
		workers.Go(func() {
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for {
				n := sent.Add(1)
				if enough(n) {
					sent.Add(-1)
					return
				}
				if n == int64(total/4) {
					close(quarter)
				}
				body, ok := pay(client)
				if !ok {
					failed.Add(1)
				}
				if w.holdsKey(body) {
					back.Add(1)
				}
				<-tick.C
			}
		})
	}
	<-quarter
	changed := time.Now()
	err := replaceFile(w.path("pay-key"), w.keys[1])
	workers.Wait()
	if err != nil {
		return nil, err
	}
	r := &demoRotation{
		Requests: int(sent.Load()), Failed: int(failed.Load()), Connections: int(dials.Load()),
		CameBack: int(back.Load()), Millis: millis(time.Since(began)),
	}
	first, _ := w.api.used(w.keys[0])
	r.Generation1 = first - before
	second, at := w.api.used(w.keys[1])
	if r.Generation2 = second; second > 0 {
		r.FirstUse = millis(at.Sub(changed))
	}
	return r, nil
}

// pay pays once and returns the answer, and whether that worked.
func pay(client *http.Client) (body string, ok bool) {
	res, err := client.Post("https://"+demoHost+"/v1/charges", "application/x-www-form-urlencoded", strings.NewReader("amount=5"))
	if err != nil {
		return "", false
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err == nil && res.StatusCode == http.StatusOK
}

// replaceFile replaces a file as careful writers do: written beside it, then renamed.
func replaceFile(path, content string) error {
	next := path + ".next"
	if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}
