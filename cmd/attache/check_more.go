package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/cmd/internal/replay"
)

// more does what check was asked for beyond checking.
func (k checkCmd) more(c *console, path string, cfg *config.Config, res *checked, now time.Time) error {
	if k.Production {
		res.checkProduction(cfg)
	}
	if k.Print {
		text, err := k.effective(path)
		if err != nil {
			return err
		}
		res.Effective = string(text)
	}
	if k.Replay == "" {
		return nil
	}
	in := c.in
	if k.Replay != "-" {
		f, err := os.Open(k.Replay)
		if err != nil {
			return &app.UsageError{Err: err}
		}
		defer f.Close()
		in = f
	}
	rep, err := replay.Run(in, cfg, now)
	if err != nil {
		return err
	}
	if rep.Broken > 0 && rep.Events == 0 {
		return &app.UsageError{
			Err:  fmt.Errorf("--replay %s: no line of it is an audit event", k.Replay),
			Hint: "name the file that audit.file names",
		}
	}
	res.Replay, res.log = rep, k.Replay
	res.OK = res.OK && rep.Refused == 0
	return nil
}

// effective is the configuration that the files come to.
func (k checkCmd) effective(path string) ([]byte, error) {
	files, err := config.Read(path, k.Profile)
	if err != nil {
		return nil, err
	}
	return config.Print(files)
}

// checkProduction refuses what is not for production, tokens that were found to be weak among it. What it refuses
// is not warned of beside that.
func (r *checked) checkProduction(cfg *config.Config) {
	r.production = true
	r.Production = problems(cfg.Production)
	for _, s := range r.Secrets {
		if slices.Contains(s.Warnings, app.WeakToken) {
			r.Production = append(r.Production, problem{Message: fmt.Sprintf("secret %q: %s", s.Name, app.WeakToken)})
		}
	}
	r.Warnings = slices.DeleteFunc(r.Warnings, func(w problem) bool {
		return slices.ContainsFunc(r.Production, func(p problem) bool {
			return p.File == w.File && p.Message == w.Message
		})
	})
	r.OK = r.OK && len(r.Production) == 0
}

// told is a problem in one text.
func told(p problem) string {
	text := p.Message
	if p.File != "" {
		text = place(config.Problem(p)) + "  " + text
	}
	if p.Hint != "" {
		text += "; " + p.Hint
	}
	return text
}

// mostRows is how many changes people are shown.
const mostRows = 30

func (r checked) printReplay(w io.Writer) {
	const width = 11
	rep := r.Replay
	text := count(rep.Calls, "call") + " of " + plainText(r.log)
	if !rep.From.IsZero() {
		const layout = "2006-01-02 15:04Z"
		text += ", " + rep.From.UTC().Format(layout) + " to " + rep.To.UTC().Format(layout)
	}
	field(w, width, "replayed", text)
	if rep.Broken > 0 {
		field(w, width, "", count(rep.Broken, "line")+" no audit event")
	}
	if rep.Skipped > 0 {
		field(w, width, "", count(rep.Skipped, "call")+" refused then by what rules do not decide, and left out")
	}
	changed := slices.DeleteFunc(slices.Clone(rep.Changes), func(c replay.Change) bool { return c.How == replay.Unknown })
	if len(changed) > 0 {
		printChanges(w, changed)
	}
	field(w, width, "the same", thousands(rep.Same))
	if rep.Unknown > 0 {
		field(w, width, "unknown", fmt.Sprintf("%s cannot be judged: rules ask for what the log does not hold (%s); "+
			"audit.paths: true records paths", count(rep.Unknown, "call"), strings.Join(openRules(rep), ", ")))
	}
	if rep.More > 0 {
		field(w, width, "", count(rep.More, "call")+" more changed, to too many hosts to list")
	}
}

// printChanges is the table of what changed, those that would be refused first.
func printChanges(w io.Writer, changes []replay.Change) {
	shown := changes[:min(len(changes), mostRows)]
	rows := [][]string{{"calls", "then", "now", "method", "caller", "host"}}
	for _, c := range shown {
		rows = append(rows, []string{
			thousands(c.Count), plainText(c.Then), plainText(c.Now), plainText(c.Method), cmp.Or(plainText(c.Caller), "-"), plainText(c.Host),
		})
	}
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], min(utf8.RuneCountInString(cell), 20))
		}
	}
	heads := map[string]string{
		replay.Refused: "would be refused", replay.Other: "would pass in another way", replay.Allowed: "would pass, and were refused",
	}
	for i, row := range rows {
		if i > 0 && (i == 1 || shown[i-1].How != shown[i-2].How) {
			fmt.Fprintf(w, "  %s\n", heads[shown[i-1].How])
		} else if i == 0 {
			fmt.Fprintln(w)
		}
		line := fmt.Sprintf("  %*s", widths[0], row[0])
		for j, cell := range row[1:] {
			line += fmt.Sprintf("  %-*s", widths[j+1], cell)
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
	if n := len(changes) - len(shown); n > 0 {
		fmt.Fprintf(w, "  and %s more: --output json lists them\n", count(n, "row"))
	}
	fmt.Fprintln(w)
}

// openRules are the rules because of which calls could not be judged.
func openRules(rep *replay.Report) []string {
	var ids []string
	for _, c := range rep.Changes {
		ids = append(ids, c.Rules...)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
