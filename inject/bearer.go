package inject

import "github.com/attache-proxy/attache/inject/secret"

type bearerOptions struct {
	Secret secret.Ref `json:"secret" jsonschema:"secret whose content is the token"`
}

func bearerKind() Kind {
	return kind(Kind{
		Name:    "bearer",
		Main:    "secret",
		Doc:     "A bearer token (RFC 6750).",
		Example: "Authorization: Bearer <secret>",
	}, newBearer)
}

func newBearer(o bearerOptions) (Injector, error) {
	if err := secretRequired("secret", o.Secret); err != nil {
		return nil, err
	}
	return &header{name: "Authorization", secret: o.Secret, prefix: "Bearer ", check: checkToken}, nil
}
