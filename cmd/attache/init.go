package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/attache-proxy/attache/cmd/internal/app"
	"github.com/attache-proxy/attache/cmd/internal/config"
	"github.com/attache-proxy/attache/cmd/internal/preset"
	"github.com/attache-proxy/attache/cmd/internal/project"
)

type initCmd struct {
	outputFlag
	Presets []string `arg:"" optional:"" name:"preset" help:"APIs that the project calls: attache init --list. Without one: look at the project, and propose."`
	Secrets string   `enum:"file,env,op,pass,keychain,secret-tool,mock" default:"file" help:"Where the keys are kept: ${enum}."`
	Serve   bool     `help:"For attache serve, beside an application in production: callers are named, the CA is kept."`
	List    bool     `xor:"what" help:"List the presets."`
	Print   bool     `xor:"what" help:"Print the configuration, and write nothing."`
	Force   bool     `xor:"what" help:"Replace an attache.yaml that is there."`
}

// initialized is everything that init tells.
type initialized struct {
	Wrote   []string       `json:"wrote,omitempty"`
	Presets []string       `json:"presets"`
	Found   []preset.Found `json:"found,omitempty"` // without a preset: what the project shows
	Config  string         `json:"config,omitempty"`
	Secrets []secretPlace  `json:"secrets,omitempty"`

	dir string // of the keys, where they are files
}

type secretPlace struct {
	Name string `json:"name"`
	Key  string `json:"key"`    // where it is made
	From string `json:"source"` // YAML
	Put  string `json:"put"`    // how it gets there
}

func (i initCmd) Run(c *console) error {
	if i.List {
		return i.list(c)
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	if len(i.Presets) == 0 {
		return i.propose(c, dir)
	}
	presets, err := i.chosen()
	if err != nil {
		return err
	}
	o := preset.Options{Project: projectName(dir), Source: i.Secrets, Serve: i.Serve, UID: applicationUID()}
	res := initialized{Presets: i.Presets, Config: o.Render(presets), dir: o.Dir()}
	for _, at := range o.Places(presets) {
		res.Secrets = append(res.Secrets, secretPlace{at.Secret, at.Key, at.YAML, at.Put})
	}
	if !i.Print {
		if res.Wrote, err = i.write(dir, res.Config); err != nil {
			return err
		}
	}
	switch {
	case i.json():
		return printJSON(c.out, res)
	case i.Print:
		_, err := fmt.Fprint(c.out, res.Config)
		return err
	}
	i.tell(c, res)
	return nil
}

// chosen are the presets that were named, in the order in which their rules must stand.
func (i initCmd) chosen() ([]preset.Preset, error) {
	var presets []preset.Preset
	for _, name := range i.Presets {
		if _, ok := preset.Find(name); !ok {
			hint := "attache init --list"
			if near := config.Nearest(strings.ToLower(name), preset.Names()); near != "" {
				hint = fmt.Sprintf("did you mean %q? All of them: %s", near, hint)
			}
			return nil, &app.UsageError{Err: fmt.Errorf("preset %q: not known", plainText(name)), Hint: hint}
		}
	}
	for _, p := range preset.All() {
		if slices.Contains(i.Presets, p.Name) {
			presets = append(presets, p)
		}
	}
	return presets, nil
}

// write writes what is not there yet: the configuration, and in a repository the line that keeps the file for one machine out of it.
func (i initCmd) write(dir, text string) (wrote []string, err error) {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if i.Force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(filepath.Join(dir, project.Name), flags, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, &app.UsageError{
			Err:  fmt.Errorf("%s is there already, and stays as it is", project.Name),
			Hint: "attache init --print shows what to add; --force replaces it",
		}
	}
	if err != nil {
		return nil, err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	wrote = append(wrote, project.Name)
	added, err := ignoreLocal(dir)
	if added {
		wrote = append(wrote, ".gitignore")
	}
	return wrote, err
}

// ignored is the file for one machine.
const ignored = "attache.local.yaml"

// ignoreLocal keeps attache.local.yaml out of a repository.
func ignoreLocal(dir string) (bool, error) {
	if !inRepository(dir) {
		return false, nil
	}
	path := filepath.Join(dir, ".gitignore")
	if info, err := os.Lstat(path); err == nil && !info.Mode().IsRegular() {
		return false, nil // a link may lead anywhere
	}
	text, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for line := range strings.Lines(string(text)) {
		if strings.TrimPrefix(strings.TrimSpace(line), "/") == ignored {
			return false, nil
		}
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return false, err
	}
	line := ignored + "\n"
	if len(text) > 0 && !strings.HasSuffix(string(text), "\n") {
		line = "\n" + line
	}
	_, err = f.WriteString(line)
	return true, errors.Join(err, f.Close())
}

func inRepository(dir string) bool {
	for {
		if _, err := os.Lstat(filepath.Join(dir, ".git")); err == nil {
			return true
		}
		up := filepath.Dir(dir)
		if up == dir {
			return false
		}
		dir = up
	}
}

// projectName is a directory's name, as far as it can stand in a path.
func projectName(dir string) string {
	name := strings.Map(func(c rune) rune {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
			return c
		}
		return '-'
	}, filepath.Base(dir))
	return strings.Trim(name, "-.")
}

// applicationUID is whom an application most likely runs as.
func applicationUID() int {
	if uid := os.Getuid(); uid > 0 {
		return uid
	}
	return 1000
}

// propose tells what the project shows, and writes nothing.
func (i initCmd) propose(c *console, dir string) error {
	found := preset.Detect(dir)
	if i.json() {
		return printJSON(c.out, initialized{Presets: []string{}, Found: found})
	}
	if len(found) == 0 {
		return &app.UsageError{
			Err:  errors.New("nothing here shows which APIs this project calls"),
			Hint: "name them: attache init stripe openai; attache init --list lists them",
		}
	}
	command := "attache init"
	width := 0
	for _, f := range found {
		command += " " + f.Preset
		width = max(width, len(f.Preset))
	}
	for n, f := range found {
		line(c.out, 11, first(n, "found"), fmt.Sprintf("%-*s  %s", width, f.Preset, plainText(f.Why)))
	}
	fmt.Fprintln(c.out)
	// To be pasted as it stands: the shell is told where a line goes on.
	lines := wrap(command, columns-15)
	for n, text := range lines {
		if n < len(lines)-1 {
			text += " \\"
		}
		line(c.out, 11, first(n, "write it"), text)
	}
	return nil
}

func (i initCmd) list(c *console) error {
	all := preset.All()
	if i.json() {
		return printJSON(c.out, initialized{Presets: preset.Names()})
	}
	for _, p := range all {
		fmt.Fprintf(c.out, "  %-12s  %s\n", p.Name, p.Title)
	}
	return nil
}

// tell says what was written, where the keys go, and what comes next.
func (i initCmd) tell(c *console, res initialized) {
	field(c.out, 10, "wrote", strings.Join(res.Wrote, ", ")+": "+strings.Join(res.Presets, ", "))
	last := ""
	for _, s := range res.Secrets {
		if last == "" {
			fmt.Fprintln(c.out, "\n  Put each key where only you can read it:")
			if i.Secrets == "file" && !i.Serve {
				fmt.Fprintf(c.out, "\n    umask 077; mkdir -p %s\n", res.dir)
			}
		}
		if s.Key != last {
			fmt.Fprintln(c.out)
			for _, line := range wrap(s.Key, columns-4) {
				fmt.Fprintln(c.out, "    # "+line)
			}
			last = s.Key
		}
		fmt.Fprintln(c.out, "    "+s.Put)
	}
	fmt.Fprintln(c.out)
	if i.Serve {
		field(c.out, 10, "then", "attache check --production --resolve")
		field(c.out, 10, "", "attache serve")
		return
	}
	field(c.out, 10, "then", "attache check --resolve")
	field(c.out, 10, "", "attache allow")
	field(c.out, 10, "", "attache run -- "+likely())
}

// likely is a command that someone may want to run here.
func likely() string {
	for _, c := range [][2]string{{"package.json", "npm test"}, {"go.mod", "go test ./..."}, {"Cargo.toml", "cargo test"}, {"pyproject.toml", "pytest"}, {"Gemfile", "bundle exec rspec"}} {
		if _, err := os.Stat(c[0]); err == nil {
			return c[1]
		}
	}
	return "your-command"
}
