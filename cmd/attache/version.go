package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// development is the version of builds that are not of a tagged release.
const development = "0.1.0-dev"

type versionCmd struct {
	outputFlag
}

type buildVersion struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from files that differ from the revision
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (v versionCmd) Run(c *console) error {
	b := thisBuild()
	if v.json() {
		return printJSON(c.out, b)
	}
	fmt.Fprintln(c.out, b)
	return nil
}

// String is "attache 0.1.0-dev (abc1234, go1.26)".
func (b buildVersion) String() string {
	rev := ""
	if b.Revision != "" {
		rev = b.Revision[:min(7, len(b.Revision))]
		if b.Modified {
			rev += "+changes"
		}
		rev += ", "
	}
	return fmt.Sprintf("attache %s (%s%s)", b.Version, rev, b.Go)
}

// thisBuild is what the Go tool wrote into this binary.
func thisBuild() buildVersion {
	b := buildVersion{Version: development, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v, ok := strings.CutPrefix(info.Main.Version, "v"); ok && !strings.ContainsAny(v, "+") && !pseudo(v) {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// pseudo reports whether v, as of a Go module, names a commit and no release: it then ends in a time
// of 14 digits and 12 hexadecimal digits of the commit.
func pseudo(v string) bool {
	parts := strings.Split(v, "-")
	return len(parts) >= 3 && len(parts[len(parts)-1]) == 12 && len(parts[len(parts)-2]) >= 14
}

// required is the version that a configuration's requires: is compared with; empty satisfies any, as
// a development build should.
func (b buildVersion) required() string {
	if b.Version == development {
		return ""
	}
	return b.Version
}
