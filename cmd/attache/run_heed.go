package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/attache-proxy/attache/cmd/internal/clients"
)

// warnHeedless tells of a program that is known to ignore what it is given.
func (s *session) warnHeedless(program string) {
	interpreter := interpreterOf(program)
	version := ""
	if clients.AsksVersion(interpreter) {
		version = versionOf(interpreter, program)
	}
	if hint := clients.Heedless(interpreter, version); hint != "" {
		s.heedless = true
		s.warn("%s", hint)
	}
}

// interpreterOf is the name of the program that runs: that of a script's first line, or its own.
func interpreterOf(program string) string {
	name := strings.TrimSuffix(strings.ToLower(filepath.Base(program)), ".exe")
	f, err := os.Open(program)
	if err != nil {
		return name
	}
	defer f.Close()
	head, err := io.ReadAll(io.LimitReader(f, 256))
	if err != nil || !bytes.HasPrefix(head, []byte("#!")) {
		return name
	}
	line, _, _ := bytes.Cut(head[2:], []byte("\n"))
	words := strings.Fields(string(line))
	for i, w := range words {
		base := filepath.Base(w)
		if i == 0 && base == "env" || strings.HasPrefix(w, "-") || strings.Contains(w, "=") {
			continue
		}
		return base
	}
	return name
}

// versionOf asks an interpreter, "" if it does not say.
func versionOf(interpreter, program string) string {
	path := program
	if filepath.Base(program) != interpreter {
		var err error
		if path, err = exec.LookPath(interpreter); err != nil {
			return ""
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out[:min(len(out), 40)]))
}
