package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one error or warning with its place.
type Problem struct {
	File         string // base name
	Line, Column int    // counted from 1
	Message      string
	Hint         string // what to do about it; may be empty
}

// String is "file:line:column: message; hint".
func (p Problem) String() string {
	s := fmt.Sprintf("%s:%d:%d: %s", p.File, p.Line, p.Column, p.Message)
	if p.Hint != "" {
		s += "; " + p.Hint
	}
	return s
}

// Errors are all problems found in one load, in the order of files and lines.
type Errors []Problem

// Error is one line for each problem.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, p := range e {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// report collects the problems of one load.
type report struct {
	order    map[string]int // of the files
	errors   Errors
	warnings []Problem
}

func newReport(files []file) *report {
	r := &report{order: make(map[string]int, len(files))}
	for i, f := range files {
		r.order[f.name] = i
	}
	return r
}

// fail records an error at n. The hint may be empty.
func (r *report) fail(n *node, hint, format string, args ...any) {
	n.bad = true
	r.errors = append(r.errors, n.problem(hint, format, args...))
}

// warn records a warning at n.
func (r *report) warn(n *node, hint, format string, args ...any) {
	r.warnings = append(r.warnings, n.problem(hint, format, args...))
}

// sorted puts problems in the order in which a reader of the files meets them.
func (r *report) sorted(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(r.order[a.File], r.order[b.File]),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
	return slices.Compact(problems)
}
