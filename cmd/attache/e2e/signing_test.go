package e2e

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

const signingRules = `
secrets: {key: {file: @dir/key}, id: {file: @dir/id}}
rules:
  - id: hmac
    hosts: hmac.test
    attach: {hmac: {header: X-Signature, secret: key, body_limit: 100000}}
    upstream: {connect_to: "@site", ca: @siteca}
  - id: aws
    hosts: aws.test
    attach: {sigv4: {access_key: id, secret_key: key, region: eu-central-1, service: execute-api, body_limit: 100000}}
    upstream: {connect_to: "@site", ca: @siteca}
`

// TestStreamedBodySigning: however a body comes, what the upstream gets is
// signed whole or not sent at all.
func TestStreamedBodySigning(t *testing.T) {
	t.Parallel()
	up, key := newSite(t, siteOptions{Names: []string{"hmac.test", "aws.test"}}), newCanary()
	s := serve(t, serveOptions{Config: signingRules, Vars: siteVars(up), Secrets: map[string]string{"key": key}, Files: map[string]string{"id": "AKEXAMPLE"}})
	for host, valid := range map[string]func(seen, string) error{"hmac.test": validHMAC, "aws.test": validSigV4} {
		t.Run(host, func(t *testing.T) {
			for name, body := range map[string]func() io.Reader{
				"none":           func() io.Reader { return nil },
				"sized":          func() io.Reader { return strings.NewReader("a=1&b=2") },
				"chunked":        func() io.Reader { return io.MultiReader(strings.NewReader("a=1"), strings.NewReader("&b=2")) },
				"empty, chunked": func() io.Reader { return io.MultiReader() },
				"at the limit":   func() io.Reader { return bytes.NewReader(pattern(100_000)) },
			} {
				for _, h1 := range []bool{true, false} {
					req := s.request(http.MethodPost, "https://"+host+"/v1/x%20y?b=2&a=%2F", body())
					s.do(s.client(clientOptions{H1: h1}), req).fine(t)
					if err := valid(up.last(t), key); err != nil {
						t.Errorf("body %s, HTTP/1.1 %v: %v", name, h1, err)
					}
				}
			}
			before := len(up.requests())
			for _, body := range []io.Reader{bytes.NewReader(pattern(100_001)), io.MultiReader(bytes.NewReader(pattern(100_001)))} {
				req := s.request(http.MethodPost, "https://"+host+"/", body)
				s.do(s.client(clientOptions{}), req).refused(t, http.StatusRequestEntityTooLarge, "body_too_large")
			}
			for _, head := range []string{"Content-Length: 10", "Transfer-Encoding: chunked"} {
				w := s.tunnel(host).send(crlf("POST /half HTTP/1.1", "Host: "+host, head), "5\r\nhalf")
				ok(t, w.conn.Close())
			}
			s.await("the audited end of the aborted requests", func() bool { return s.aborted(host) >= 2 })
			if n := len(up.requests()) - before; n != 0 {
				t.Errorf("the upstream got %d of the requests that were too large or broken off", n)
			}
			inParallel(t, s, up, host, key, valid)
		})
	}
}

// aborted counts the audited requests to host that were refused or cut off for the client's sake.
func (s *server) aborted(host string) int {
	n := 0
	for _, e := range s.audit() {
		if e.str("server.address") == host && e.str("fault") == "caller" && e.str("reason") != "body_too_large" {
			n++
		}
	}
	return n
}

// inParallel: requests at the same time do not share what is signed.
func inParallel(t *testing.T, s *server, up *site, host, key string, valid func(seen, string) error) {
	t.Helper()
	before := len(up.requests())
	c := s.client(clientOptions{})
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			body := strings.Repeat(fmt.Sprint(i, ","), 100+i)
			if a, err := s.try(c, s.request(http.MethodPost, "https://"+host+"/", strings.NewReader(body))); err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("request %d: %v", i, err)
			}
		})
	}
	all.Wait()
	for _, r := range up.requests()[before:] {
		if err := valid(r, key); err != nil {
			t.Error(err)
		}
	}
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

func validHMAC(r seen, key string) error {
	text := r.Header.Get("X-Timestamp") + "\n" + r.Method + "\n" + r.URI + "\n" + string(r.Body)
	if want := hex.EncodeToString(mac([]byte(key), text)); r.Header.Get("X-Signature") != want {
		return fmt.Errorf("%s with %d bytes: the signature is wrong", r.URI, len(r.Body))
	}
	return nil
}

// validSigV4 computes the signature as AWS documents it, from what arrived.
func validSigV4(r seen, key string) error {
	fields := map[string]string{}
	for part := range strings.SplitSeq(strings.TrimPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		fields[name] = value
	}
	_, scope, _ := strings.Cut(fields["Credential"], "/")
	path, query, _ := strings.Cut(r.URI, "?")
	pairs := strings.Split(query, "&")
	slices.Sort(pairs)
	canonical := r.Method + "\n" + (&url.URL{Path: path}).EscapedPath() + "\n" + strings.Join(pairs, "&") + "\n"
	for name := range strings.SplitSeq(fields["SignedHeaders"], ";") {
		value := r.Header.Get(name)
		if name == "host" {
			value = r.Host
		}
		if name == "content-length" {
			value = fmt.Sprint(len(r.Body))
		}
		canonical += name + ":" + strings.Join(strings.Fields(value), " ") + "\n"
	}
	sum := sha256.Sum256(r.Body)
	canonical += "\n" + fields["SignedHeaders"] + "\n" + hex.EncodeToString(sum[:])
	hashed := sha256.Sum256([]byte(canonical))
	text := "AWS4-HMAC-SHA256\n" + r.Header.Get("X-Amz-Date") + "\n" + scope + "\n" + hex.EncodeToString(hashed[:])
	signing := []byte("AWS4" + key)
	for part := range strings.SplitSeq(scope, "/") {
		signing = mac(signing, part)
	}
	if want := hex.EncodeToString(mac(signing, text)); fields["Signature"] != want {
		return fmt.Errorf("%s with %d bytes: the signature is wrong (signed headers %s)", r.URI, len(r.Body), fields["SignedHeaders"])
	}
	return nil
}
