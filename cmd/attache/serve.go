package main

import (
	"context"
	"io"
	"log/slog"

	"github.com/attache-proxy/attache/cmd/internal/app"
)

type serveCmd struct {
	configFlag
	LogFormat string     `enum:"text,json" default:"text" help:"Format of the log on standard error: text or json."`
	LogLevel  slog.Level `default:"info" help:"debug, info, warn or error."`
}

func (s serveCmd) Run(c *console) error {
	path, err := s.path()
	if err != nil {
		return err
	}
	build := thisBuild()
	log := newLog(c.err, s.LogFormat, s.LogLevel)
	a, err := app.New(path, app.Options{
		Log: log, Version: build.Version, Requires: build.required(), Stdout: c.out, Process: true,
		Profile: s.Profile, Dir: s.dir(path), MayRun: s.mayRun(path),
	})
	if err != nil {
		return err
	}
	return a.Run(context.Background())
}

func newLog(w io.Writer, format string, level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
