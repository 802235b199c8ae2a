package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/proxy/admin"
)

// statusEvery is between two looks of status --watch.
const statusEvery = 2 * time.Second

type statusCmd struct {
	configFlag
	adminFlag
	outputFlag
	Watch bool `short:"w" help:"Show it anew every 2 seconds, until Ctrl-C."`
}

// seen is a Summary as it arrives.
type seen struct {
	admin.Summary
	Refusals []auditLine `json:"refusals"`
	Kinds    []struct {
		Last  auditLine `json:"last"`
		Count int       `json:"count"`
		Hint  string    `json:"hint"`
	} `json:"refusal_kinds"`
}

func (s statusCmd) Run(c *console) error {
	if s.Watch && (s.json() || !term.IsTerminal(int(c.out.Fd()))) {
		return &app.UsageError{
			Err:  errors.New("--watch needs a terminal"),
			Hint: "for programs: --output json once, or the stream at /api/events of the admin listener",
		}
	}
	client, err := s.client(s.configFlag)
	if err != nil {
		return err
	}
	if s.Watch {
		return s.watch(c, client)
	}
	if s.json() {
		var all json.RawMessage
		if err := client.get(context.Background(), "/api/summary", &all); err != nil {
			return c.reportAdmin(err)
		}
		return printJSON(c.out, all)
	}
	var now seen
	if err := client.get(context.Background(), "/api/summary", &now); err != nil {
		return c.reportAdmin(err)
	}
	fmt.Fprint(c.out, now.text())
	return nil
}

// watch shows the status in place until the user has seen enough. While the proxy is away it says so, and
// goes on.
func (s statusCmd) watch(c *console, client *adminClient) error {
	ctx, stop := app.UntilInterrupted(context.Background())
	defer stop()
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	last, clear := "", "\x1b[2J"
	for {
		var now seen
		text := ""
		switch err := client.get(ctx, "/api/summary", &now); {
		case ctx.Err() != nil:
			return nil
		case err != nil && last == "":
			return c.reportAdmin(err)
		case err != nil:
			text = fmt.Sprintf("%v\nLast seen before that:\n\n%s", err, last)
		default:
			text = now.text()
			last = text
		}
		width, height, err := term.GetSize(int(c.out.Fd()))
		if err != nil {
			width, height = columns, 24
		}
		fmt.Fprint(c.out, clear, screen(text, width, height))
		clear = ""
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// screen is text laid over what the terminal shows: from its top, each line cleared as it is written,
// so that nothing flickers, and no more lines than there are.
func screen(text string, width, height int) string {
	var b strings.Builder
	b.WriteString("\x1b[H")
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > height-1 && height > 2 {
		lines = append(lines[:height-2], fmt.Sprintf("and %s", count(len(lines)-height+2, "line")))
	}
	for _, line := range lines {
		b.WriteString(cut(line, max(width, 20)) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	return b.String()
}
