package main

import "github.com/attache-proxy/attache/cmd/internal/config"

type schemaCmd struct{}

func (schemaCmd) Run(c *console) error {
	schema, err := config.Schema()
	if err != nil {
		return err
	}
	_, err = c.out.Write(append(schema, '\n'))
	return err
}
