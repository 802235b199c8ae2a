package inject

import (
	"context"
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/attache-proxy/attache/inject/secret"
)

type basicOptions struct {
	User       string     `json:"user,omitempty" jsonschema:"user name as it stands; instead of user_secret"`
	UserSecret secret.Ref `json:"user_secret,omitempty" jsonschema:"secret whose content is the user name, for services whose key is the user; instead of user"`
	Password   secret.Ref `json:"password,omitempty" jsonschema:"secret whose content is the password; may be left out beside user_secret"`
}

func basicKind() Kind {
	return kind(Kind{
		Name:    "basic",
		Main:    "password",
		Doc:     "User name and password (RFC 7617); either may be the secret.",
		Example: "Authorization: Basic base64(<user>:<password>)",
	}, newBasic)
}

func newBasic(o basicOptions) (Injector, error) {
	switch {
	case o.User != "" && o.UserSecret != "":
		return nil, &OptionError{Option: "user_secret", Problem: "stands beside user", Hint: "give one of them"}
	case o.User == "" && o.UserSecret == "":
		return nil, &OptionError{Option: "user", Problem: "required", Hint: "or user_secret, where the key is the user name"}
	case strings.Contains(o.User, ":"):
		return nil, &OptionError{Option: "user", Problem: "a user name cannot hold a colon (RFC 7617, section 2)"}
	case hasControl(o.User):
		return nil, &OptionError{Option: "user", Problem: "holds a control character"}
	case o.UserSecret == "" && o.Password == "":
		return nil, &OptionError{Option: "password", Problem: "required", Hint: "name an entry of secrets:"}
	}
	return &basic{user: o.User, userSecret: o.UserSecret, password: o.Password}, nil
}

type basic struct {
	user                 string
	userSecret, password secret.Ref
	cache                rendered
}

func (b *basic) Owns() Owned { return Owned{Headers: []string{"Authorization"}} }

func (b *basic) Secrets() []secret.Ref {
	var refs []secret.Ref
	for _, ref := range []secret.Ref{b.userSecret, b.password} {
		if ref != "" {
			refs = append(refs, ref)
		}
	}
	return refs
}

func (b *basic) Inject(_ context.Context, out *http.Request, set *secret.Set) error {
	var user, password secret.Value
	var err error
	if b.userSecret != "" {
		if user, err = set.Lookup(b.userSecret); err != nil {
			return err
		}
	}
	if b.password != "" {
		if password, err = set.Lookup(b.password); err != nil {
			return err
		}
	}
	text, err := b.cache.get(user, password, b.render)
	if err != nil {
		return err
	}
	out.Header["Authorization"] = []string{text}
	return nil
}

func (b *basic) render(user, password string) (string, error) {
	if b.userSecret == "" {
		user = b.user
	} else if strings.Contains(user, ":") {
		return "", &ContentError{string(b.userSecret), "holds a colon, which a user name cannot"}
	} else if err := checkUser(b.userSecret, user); err != nil {
		return "", err
	}
	if b.password != "" {
		if err := checkUser(b.password, password); err != nil {
			return "", err
		}
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password)), nil
}

// checkUser refuses what RFC 7617 §2 refuses: control characters. What is
// beyond ASCII passes; it travels in base64.
func checkUser(name secret.Ref, text string) error {
	if text == "" {
		return &ContentError{string(name), "is empty"}
	}
	return checkControl(name, text)
}
