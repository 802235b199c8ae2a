// Command mutants shows that the attacks' tests can fail. Each patch beside it
// removes one defence and names the test that must then fail:
//
//	Test: ./proxy/dial TestDNSRebinding
//	Removes: the judgement of resolved addresses.
//
//	--- a/proxy/dial/dialer.go
//	...
//
// It works in a copy of the tracked files. Run from the repository's root:
//
//	go run ./.ci/mutants            all of them
//	go run ./.ci/mutants -share 6   every sixth, another sixth with every commit
//	go run ./.ci/mutants NAME...
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// testTime bounds one test. One that hangs for want of the defence has failed. Building counts apart: a slow
// machine is no find.
const (
	testTime  = 3 * time.Minute
	buildTime = 20 * time.Minute
)

type mutant struct {
	name, patch, pkg, test, removes string
}

func main() {
	share := flag.Int("share", 1, "run one in so many, chosen by the commit")
	flag.Parse()
	if err := run(*share, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(share int, names []string) error {
	all, err := load(".ci/mutants")
	if err != nil {
		return err
	}
	all, err = choose(all, share, names)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := copyTracked(dir); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	var bad []string
	for _, m := range all {
		begun := time.Now()
		err := m.try(dir)
		took := time.Since(begun).Round(100 * time.Millisecond)
		if err != nil {
			bad = append(bad, m.name)
			fmt.Printf("%-9s %-34s %6s  %v\n", "SURVIVED", m.name, took, err)
			continue
		}
		fmt.Printf("%-9s %-34s %6s  %s\n", "killed", m.name, took, m.test)
	}
	if len(bad) > 0 {
		return fmt.Errorf("%d of %d were not found: %s", len(bad), len(all), strings.Join(bad, " "))
	}
	fmt.Printf("%d mutants, all found\n", len(all))
	return nil
}

func load(dir string) ([]mutant, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.patch"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, fmt.Errorf("no patch in %s", dir))
	}
	var all []mutant
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		abs, err := filepath.Abs(f)
		if err != nil {
			return nil, err
		}
		m := mutant{name: strings.TrimSuffix(filepath.Base(f), ".patch"), patch: abs}
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, "Test: "); ok {
				m.pkg, m.test, _ = strings.Cut(strings.TrimSpace(rest), " ")
			}
			if rest, ok := strings.CutPrefix(line, "Removes: "); ok {
				m.removes = strings.TrimSpace(rest)
			}
		}
		if m.test == "" || m.removes == "" {
			return nil, fmt.Errorf("%s: needs the lines Test: PACKAGE NAME and Removes: WHAT", f)
		}
		all = append(all, m)
	}
	return all, nil
}

// choose takes those named, or the commit's share.
func choose(all []mutant, share int, names []string) ([]mutant, error) {
	if len(names) > 0 {
		for _, n := range names {
			if !slices.ContainsFunc(all, func(m mutant) bool { return m.name == n }) {
				return nil, fmt.Errorf("no mutant %q", n)
			}
		}
		return slices.DeleteFunc(all, func(m mutant) bool { return !slices.Contains(names, m.name) }), nil
	}
	if share <= 1 {
		return all, nil
	}
	count, err := exec.Command("git", "rev-list", "--count", "HEAD").Output()
	if err != nil {
		return nil, err
	}
	turn, err := strconv.Atoi(strings.TrimSpace(string(count)))
	if err != nil {
		return nil, err
	}
	var mine []mutant
	for i, m := range all {
		if i%share == turn%share {
			mine = append(mine, m)
		}
	}
	return mine, nil
}

func copyTracked(dir string) error {
	out, err := exec.Command("git", "ls-files", "-z").Output()
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if err := copyFile(name, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	info, err := os.Lstat(from)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil // removed and not yet committed
		}
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if info.Mode()&os.ModeSymlink != 0 {
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// try applies the patch, and returns an error unless the test fails for it.
func (m mutant) try(dir string) error {
	if err := command(dir, "git", "apply", "-C1", m.patch); err != nil {
		return fmt.Errorf("the patch no longer applies: %w", err)
	}
	defer command(dir, "git", "apply", "-R", "-C1", m.patch)
	ctx, cancel := context.WithTimeout(context.Background(), buildTime+testTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-vet=off", "-timeout="+testTime.String(), "-run", "^"+m.test+"$", m.pkg)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	cmd.Env = append(os.Environ(), "GOFLAGS=")
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("built and tested nothing within %v", buildTime+testTime)
	case err == nil && bytes.Contains(out, []byte("no tests to run")):
		return fmt.Errorf("there is no %s in %s", m.test, m.pkg)
	case err == nil:
		return fmt.Errorf("%s passes without %s", m.test, m.removes)
	case bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("building attache:")) || bytes.Contains(out, []byte("[setup failed]")):
		return fmt.Errorf("does not build: %s", last(out))
	case !bytes.Contains(out, []byte("--- FAIL: "+m.test)) && !bytes.Contains(out, []byte("panic: ")):
		return fmt.Errorf("failed, but not in %s: %s", m.test, last(out))
	}
	return nil
}

func command(dir, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, last(out))
	}
	return nil
}

func last(out []byte) string {
	return strings.Join(strings.Fields(string(out[max(0, len(out)-400):])), " ")
}
