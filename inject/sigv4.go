package inject

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/attache-proxy/attache/inject/secret"
)

type sigv4Options struct {
	AccessKey    secret.Ref `json:"access_key" jsonschema:"secret whose content is the access key ID"`
	SecretKey    secret.Ref `json:"secret_key" jsonschema:"secret whose content is the secret access key"`
	SessionToken secret.Ref `json:"session_token,omitempty" jsonschema:"secret whose content is the session token of temporary credentials"`
	Region       string     `json:"region" jsonschema:"such as eu-central-1"`
	Service      string     `json:"service" jsonschema:"name of the service in signatures, such as s3 or dynamodb"`
	BodyLimit    int64      `json:"body_limit,omitempty" jsonschema:"most bytes of a body, which is held in memory to be signed; 1 MiB unless given, larger bodies are refused with 413"`
}

func sigv4Kind() Kind {
	return kind(Kind{
		Name:    "sigv4",
		Main:    "secret_key",
		Doc:     "AWS Signature Version 4 over host, path, query and body; other credentials of the rule stand before it.",
		Example: "Authorization: AWS4-HMAC-SHA256 Credential=…, Signature=…",
	}, newSigV4)
}

func newSigV4(o sigv4Options) (Injector, error) {
	limit, err := bodyLimit(o.BodyLimit)
	err = errors.Join(
		secretRequired("access_key", o.AccessKey),
		secretRequired("secret_key", o.SecretKey),
		scopePart("region", o.Region, "for example eu-central-1"),
		scopePart("service", o.Service, "for example s3"),
		err,
	)
	if err != nil {
		return nil, err
	}
	return &sigv4{o, limit}, nil
}

// scopePart checks a part of the credential scope, whose separator is "/".
func scopePart(option, value, hint string) error {
	if err := required(option, value, hint); err != nil {
		return err
	}
	if !isToken(value) {
		return &OptionError{Option: option, Problem: "not a name", Hint: hint}
	}
	return nil
}

type sigv4 struct {
	o     sigv4Options
	limit int64
}

const (
	amzDate  = "X-Amz-Date"
	amzToken = "X-Amz-Security-Token"
	amzHash  = "X-Amz-Content-Sha256"
)

func (*sigv4) Owns() Owned {
	return Owned{
		Headers: signedHeaders(),
		Query:   presigned(),
	}
}

// signedHeaders are those that a signed request carries.
func signedHeaders() []string { return []string{"Authorization", amzDate, amzToken, amzHash} }

// presigned are the parameters of a URL that carries its own signature.
func presigned() []string {
	return []string{
		"X-Amz-Algorithm", "X-Amz-Credential", amzDate, "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature", amzToken,
	}
}

func (s *sigv4) Secrets() []secret.Ref {
	refs := []secret.Ref{s.o.AccessKey, s.o.SecretKey}
	if s.o.SessionToken != "" {
		refs = append(refs, s.o.SessionToken)
	}
	return refs
}

// Signs implements [Signer].
func (*sigv4) Signs() {}

// Inject reads the body to its end, so the request leaves only after the
// client has sent all of it. Errors of the request are a *[QueryError], a
// *[RequestError], a *[BodyTooLargeError] or a *[BodyError].
func (s *sigv4) Inject(ctx context.Context, out *http.Request, set *secret.Set) error {
	credentials, err := s.credentials(set)
	if err != nil {
		return err
	}
	query, err := StripQuery(out.URL.RawQuery, presigned())
	if err != nil {
		return err
	}
	for _, coding := range out.Header["Content-Encoding"] {
		if strings.Contains(strings.ToLower(coding), "aws-chunked") {
			return &RequestError{"a body in aws-chunked coding carries the client's own signature; switch off chunked signing in the client"}
		}
	}
	body, err := buffer(out, s.limit)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	out.URL.RawQuery = query
	signed := toSign(out, hash)
	// A signer of its own for each request: it caches what it derives from the
	// secret key by the access key's ID alone, and would go on with an old one.
	err = v4.NewSigner(func(o *v4.SignerOptions) {
		// S3 alone takes the path as it was sent.
		o.DisableURIPathEscaping = s.o.Service == "s3" || strings.HasPrefix(s.o.Service, "s3-") || s.o.Service == "s3express"
	}).SignHTTP(ctx, credentials, signed, hash, s.o.Service, s.o.Region, time.Now())
	if err != nil {
		return errors.New("request cannot be signed") // the cause is a library's, and might quote
	}
	for _, name := range signedHeaders() {
		out.Header.Del(name)
		if v := signed.Header[name]; len(v) > 0 {
			out.Header[name] = v
		}
	}
	return nil
}

// toSign returns what of out is signed: the host, the content's type and hash,
// and what begins with X-Amz-. What hops add and change is left out.
func toSign(out *http.Request, hash string) *http.Request {
	u := *out.URL // the signer writes to it
	header := http.Header{amzHash: {hash}}
	for name, values := range out.Header {
		ours := slices.Contains(signedHeaders(), name)
		if !ours && (name == "Content-Type" || strings.HasPrefix(name, "X-Amz-")) {
			header[name] = slices.Clone(values)
		}
	}
	return &http.Request{Method: out.Method, URL: &u, Host: out.Host, Header: header}
}

func (s *sigv4) credentials(set *secret.Set) (aws.Credentials, error) {
	var c aws.Credentials
	for _, part := range []struct {
		name  secret.Ref
		check func(secret.Ref, string) error
		to    *string
	}{
		{s.o.AccessKey, checkAccessKey, &c.AccessKeyID},
		{s.o.SecretKey, checkToken, &c.SecretAccessKey},
		{s.o.SessionToken, checkToken, &c.SessionToken},
	} {
		if part.name == "" {
			continue
		}
		v, err := set.Lookup(part.name)
		if err != nil {
			return c, err
		}
		if err := part.check(part.name, v.Reveal()); err != nil {
			return c, err
		}
		*part.to = v.Reveal()
	}
	return c, nil
}

// checkAccessKey refuses what would end the ID inside the header.
func checkAccessKey(name secret.Ref, text string) error {
	if strings.ContainsAny(text, ",") {
		return &ContentError{string(name), "holds a comma, which an access key ID cannot"}
	}
	return checkToken(name, text)
}
