package watcher

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math"
	"regexp"
	"strings"
	"time"
)

// Expect is what the content of a secret must be. The zero Expect is anything.
type Expect struct {
	Kind    string         // "", "pem", "jwt", "json" or "regex"
	Pattern *regexp.Regexp // of "regex"; Regex makes one that the whole content must match
}

// Regex is the Expect of content that pattern matches from its first byte to
// its last.
func Regex(pattern string) (Expect, error) {
	re, err := regexp.Compile(`\A(?:` + pattern + `)\z`)
	return Expect{"regex", re}, err
}

// invalidError says that the content is there, and of no use.
type invalidError struct{ err error }

func (e *invalidError) Error() string { return e.err.Error() }
func (e *invalidError) Unwrap() error { return e.err }

// validate checks content by what is expected of it and by what it shows
// itself to be, and returns when it expires, zero if it does not say. Errors
// hold no byte of it.
func validate(text []byte, expect Expect, now time.Time) (expires time.Time, err error) {
	switch expect.Kind {
	case "pem":
		if block, _ := pem.Decode(text); block == nil {
			return time.Time{}, errors.New("is not PEM")
		}
	case "jwt":
		if _, ok := jwtClaims(text); !ok {
			return time.Time{}, errors.New("is not a JWT")
		}
	case "json":
		if !json.Valid(text) {
			return time.Time{}, errors.New("is not JSON")
		}
	case "regex":
		if !expect.Pattern.Match(text) {
			return time.Time{}, errors.New("does not match expect")
		}
	}
	if bytes.Contains(text, []byte("-----BEGIN ")) {
		if expires, err = certificateExpiry(text); err != nil {
			return time.Time{}, err
		}
	} else if claims, ok := jwtClaims(text); ok {
		expires = claims.expiry()
	}
	if !expires.IsZero() && !now.Before(expires) {
		return time.Time{}, errors.New("expired at " + expires.UTC().Format(time.RFC3339))
	}
	return expires, nil
}

type claims struct {
	Exp *float64 `json:"exp"` // RFC 7519 §4.1.4: seconds since the epoch
}

func (c claims) expiry() time.Time {
	if c.Exp == nil || math.IsNaN(*c.Exp) || *c.Exp < 0 || *c.Exp > 1e11 {
		return time.Time{}
	}
	return time.Unix(int64(*c.Exp), 0)
}

// jwtClaims reads what a JWT in the compact form (RFC 7515 §3.1) says of
// itself. Nobody verifies it: its issuer's business is with the upstream.
func jwtClaims(text []byte) (c claims, ok bool) {
	parts := strings.Split(string(text), ".")
	if len(parts) != 3 || parts[2] == "" {
		return c, false
	}
	var header struct {
		Alg string `json:"alg"`
	}
	decode := func(part string, into any) bool {
		raw, err := base64.RawURLEncoding.DecodeString(part)
		return err == nil && json.Unmarshal(raw, into) == nil
	}
	ok = decode(parts[0], &header) && header.Alg != "" && decode(parts[1], &c)
	return c, ok
}

// certificateExpiry is when the first certificate expires, which is the
// holder's own. A key beside it must be its key.
func certificateExpiry(text []byte) (time.Time, error) {
	var leaf *x509.Certificate
	key := false
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch {
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			key = true
		case block.Type == "CERTIFICATE" && leaf == nil:
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil { // its text may quote the content
				return time.Time{}, errors.New("holds a certificate that cannot be read")
			}
			leaf = c
		}
	}
	if leaf == nil {
		return time.Time{}, nil
	}
	if key {
		if _, err := tls.X509KeyPair(text, text); err != nil {
			return time.Time{}, errors.New("certificate and key do not belong together")
		}
	}
	return leaf.NotAfter, nil
}
