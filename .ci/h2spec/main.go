// Command h2spec runs the cases of github.com/summerwind/h2spec against a proxy: it
// starts an upstream and Attaché before it, and a relay that CONNECTs through the
// proxy for each TCP connection, so that h2spec speaks to the server inside a tunnel.
// It is a module of its own, so that the product does not depend on it.
//
//	go build -o /tmp/attache ./cmd/attache && cd .ci/h2spec && go run . /tmp/attache
//
// The exit code is 1 unless
// exactly those fail that docs/protocol.md explains: the list "explained" below.
package main

import (
	"bufio"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

// explained are the cases that fail, and why: see docs/protocol.md.
func explained() map[string]string {
	return map[string]string{
		"http2/6.5.3/1":   "net/http ends a connection whose SETTINGS repeat an identifier",
		"http2/8.1.2.2/1": "answered 400, not reset",
		"http2/8.1.2.2/2": "answered 400, not reset",
	}
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: h2spec ATTACHE [CASE ...]")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "h2spec:", err)
		os.Exit(1)
	}
}

func run(binary string, sections []string) error {
	dir, err := os.MkdirTemp("", "h2spec")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	up := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "an answer that fills more than one small window")
	}))
	defer up.Close()
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer front.Close()
	proxy, stop, err := serve(binary, dir, front.Addr().String(), up)
	if err != nil {
		return err
	}
	defer stop()
	go relay(front, proxy)
	return check(front.Addr().(*net.TCPAddr).Port, sections)
}

// serve starts Attaché with a rule for the relay's address and waits until it is ready.
func serve(binary, dir, host string, up *httptest.Server) (proxy string, stop func(), err error) {
	ports := make([]string, 2)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", nil, err
		}
		ports[i] = l.Addr().String()
		_ = l.Close()
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: up.Certificate().Raw})
	yaml := fmt.Sprintf(`version: 1
listen: {proxy: %q, admin: %q}
ca: {publish: %q}
audit: {file: %q}
rules:
  - {id: h2spec, hosts: %q, upstream: {connect_to: %q, ca: %q, server_name: example.com}}
`, ports[0], ports[1], filepath.Join(dir, "trust"), filepath.Join(dir, "audit.jsonl"), host, up.Listener.Addr(), filepath.Join(dir, "up.pem"))
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "up.pem"), ca, 0o600), os.WriteFile(filepath.Join(dir, "attache.yaml"), []byte(yaml), 0o600), os.Mkdir(filepath.Join(dir, "trust"), 0o700)); err != nil {
		return "", nil, err
	}
	cmd := exec.Command(binary, "serve", "--config", filepath.Join(dir, "attache.yaml"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		res, err := http.Get("http://" + ports[1] + "/readyz")
		if err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return ports[0], stop, nil
			}
		}
		if time.Now().After(deadline) {
			stop()
			return "", nil, fmt.Errorf("attache did not get ready: %v", err)
		}
	}
}

// relay opens a tunnel to its own address for each connection.
func relay(front net.Listener, proxy string) {
	for {
		c, err := front.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			if err := tunnel(c, proxy, front.Addr().String()); err != nil {
				log.Print("relay: ", err)
			}
		}()
	}
}

func tunnel(c net.Conn, proxy, host string) error {
	p, err := net.Dial("tcp", proxy)
	if err != nil {
		return err
	}
	defer p.Close()
	fmt.Fprintf(p, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", host, host)
	r := bufio.NewReader(p)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	var wg sync.WaitGroup
	wg.Add(2)
	pass := func(dst net.Conn, src io.Reader) {
		defer wg.Done()
		_, _ = io.Copy(dst, src)
		_ = dst.(*net.TCPConn).CloseWrite()
	}
	go pass(p, c)
	go pass(c, r)
	wg.Wait()
	return nil
}

// check runs the cases and compares what failed with what is explained.
func check(port int, sections []string) error {
	c := &config.Config{
		Host: "127.0.0.1", Port: port, Path: "/", Timeout: 2 * time.Second, MaxHeaderLen: 4000,
		TLS: true, Insecure: true, Sections: sections,
	}
	known, passed := explained(), 0
	var surprises []string
	var walk func(g *spec.TestGroup)
	walk = func(g *spec.TestGroup) {
		for i, tc := range g.Tests {
			if tc.Result == nil {
				continue
			}
			id := fmt.Sprintf("%s/%d", g.ID(), i+1)
			_, expected := known[id]
			switch failed := tc.Result.Failed || tc.Result.Skipped; {
			case !failed:
				passed++
				if expected {
					surprises = append(surprises, id+" passes: take it off the list")
				}
			case !expected:
				surprises = append(surprises, fmt.Sprintf("%s fails: %s: %v", id, tc.Desc, tc.Result.Error))
			}
		}
		for _, g := range g.Groups {
			walk(g)
		}
	}
	for _, g := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		g.Test(c)
		walk(g)
	}
	fmt.Printf("\n%d cases pass\n", passed)
	if len(surprises) > 0 {
		return errors.New(strings.Join(surprises, "\n"))
	}
	return nil
}
