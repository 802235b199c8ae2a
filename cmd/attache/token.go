package main

import (
	"context"
	"fmt"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/app"
)

type tokenCmd struct {
	configFlag
	Audience string        `required:"" placeholder:"NAME" help:"Whom the token is for, as the receiver names itself."`
	Timeout  time.Duration `default:"5s" help:"How long to try."`
}

// Help is what --help says beyond the flags.
func (tokenCmd) Help() string {
	return "Whose: of the identity in the configuration that --config names; without it, of SPIFFE_ENDPOINT_SOCKET; " +
		"without that, of the configuration in its usual place. Standard output has the token, and nothing else."
}

func (k tokenCmd) Run(c *console) error {
	ctx, cancel := context.WithTimeout(context.Background(), k.Timeout)
	defer cancel()
	token, err := app.Token(ctx, k.Audience, app.TokenOptions{Config: k.Config, Profile: k.Profile, Requires: thisBuild().required()})
	if err != nil {
		return err
	}
	fmt.Fprintln(c.out, token)
	return nil
}
