package inject

import (
	"context"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
)

type jwtSVIDOptions struct {
	Audience string `json:"audience" jsonschema:"whom the token is for: what the service expects in its aud claim"`
}

func jwtSVIDKind() Kind {
	return kind(Kind{
		Name:    "jwt_svid",
		Main:    "audience",
		Doc:     "A JWT-SVID of Attaché's own SPIFFE identity as a bearer token, fetched ahead and renewed at half its life; needs identity.",
		Example: "Authorization: Bearer <JWT-SVID>",
	}, newJWTSVID)
}

func newJWTSVID(o jwtSVIDOptions) (Injector, error) {
	if err := required("audience", o.Audience, `for example "vault" or "https://api.acme.example"`); err != nil {
		return nil, err
	}
	if hasControl(o.Audience) {
		return nil, &OptionError{Option: "audience", Problem: "holds a control character"}
	}
	name := secret.Ref("jwt_svid:" + o.Audience)
	return &jwtSVID{&header{name: "Authorization", secret: name, prefix: "Bearer ", check: checkToken}, o.Audience}, nil
}

// jwtSVID presents a JWT-SVID as a bearer token.
type jwtSVID struct {
	*header
	audience string
}

// Mint implements [Minter].
func (j *jwtSVID) Mint(ctx context.Context, from TokenSource) (string, time.Time, error) {
	return from.Token(ctx, j.audience)
}
