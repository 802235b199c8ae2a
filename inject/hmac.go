package inject

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
)

type hmacOptions struct {
	Header          string     `json:"header" jsonschema:"name of the header that carries the signature"`
	Secret          secret.Ref `json:"secret" jsonschema:"secret whose content is the key, byte for byte"`
	Prefix          string     `json:"prefix,omitempty" jsonschema:"written before the signature as it stands, such as sha256="`
	Encoding        string     `json:"encoding,omitempty" jsonschema:"hex, unless base64 is given"`
	TimestampHeader string     `json:"timestamp_header,omitempty" jsonschema:"name of the header that carries the time; X-Timestamp unless given"`
	BodyLimit       int64      `json:"body_limit,omitempty" jsonschema:"most bytes of a body, which is held in memory to be signed; 1 MiB unless given, larger bodies are refused with 413"`
}

func hmacKind() Kind {
	return kind(Kind{
		Name:    "hmac",
		Main:    "secret",
		Doc:     "HMAC-SHA256 of time (Unix seconds), method, path with query, and body, with a line feed after each of the first three; other credentials of the rule stand before it.",
		Example: "X-Signature: hex(hmac(<time>⏎<method>⏎<path?query>⏎<body>))",
	}, newHMAC)
}

func newHMAC(o hmacOptions) (Injector, error) {
	if o.TimestampHeader == "" {
		o.TimestampHeader = "X-Timestamp"
	}
	limit, limitErr := bodyLimit(o.BodyLimit)
	header, headerErr := headerName("header", o.Header)
	stamp, stampErr := headerName("timestamp_header", o.TimestampHeader)
	err := errors.Join(headerErr, secretRequired("secret", o.Secret), checkPrefix(o.Prefix), stampErr, limitErr)
	if err != nil {
		return nil, err
	}
	if SameHeader(header, stamp) {
		return nil, &OptionError{Option: "timestamp_header", Problem: "is the header of the signature"}
	}
	s := &signature{header: header, stamp: stamp, secret: o.Secret, prefix: o.Prefix, limit: limit}
	switch o.Encoding {
	case "", "hex":
		s.encode = hex.EncodeToString
	case "base64":
		s.encode = base64.StdEncoding.EncodeToString
	default:
		return nil, &OptionError{Option: "encoding", Problem: "unknown", Hint: "hex or base64"}
	}
	return s, nil
}

type signature struct {
	header, stamp string // canonical
	secret        secret.Ref
	prefix        string
	encode        func([]byte) string
	limit         int64
}

func (s *signature) Owns() Owned           { return Owned{Headers: []string{s.header, s.stamp}} }
func (s *signature) Secrets() []secret.Ref { return []secret.Ref{s.secret} }

// Signs implements [Signer].
func (*signature) Signs() {}

// Inject reads the body to its end, so the request leaves only after the
// client has sent all of it. Errors of the request are a *[BodyTooLargeError]
// or a *[BodyError].
func (s *signature) Inject(_ context.Context, out *http.Request, set *secret.Set) error {
	key, err := set.Lookup(s.secret)
	if err != nil {
		return err
	}
	// No byte of the key travels, but one that an editor left in it would give
	// signatures that nobody can explain.
	if err := checkUser(s.secret, key.Reveal()); err != nil {
		return err
	}
	body, err := buffer(out, s.limit)
	if err != nil {
		return err
	}
	now := strconv.FormatInt(time.Now().Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write([]byte(now + "\n" + out.Method + "\n" + out.URL.RequestURI() + "\n"))
	mac.Write(body)
	out.Header[s.stamp] = []string{now}
	out.Header[s.header] = []string{s.prefix + s.encode(mac.Sum(nil))}
	return nil
}
