package clients

import (
	"fmt"
	"strings"
)

// AsksVersion reports whether [Heedless] wants to know a program's version.
func AsksVersion(program string) bool { return program == "node" || program == "nodejs" }

// Heedless says, in one line, what to do about a program that ignores the variables, by its name and what it
// prints for --version. It is empty for those that heed them, and for those that are not known.
func Heedless(program, version string) string {
	switch program {
	case "node", "nodejs":
		if version != "" && !nodeHeeds(version) {
			return fmt.Sprintf("node %s ignores proxy variables; 22.21 and 24.5 heed them (docs/clients.md)", strings.TrimPrefix(version, "v"))
		}
	case "podman":
		return "podman: what it pulls passes Attaché; its containers get the proxy's variables but not the CA: docs/clients.md"
	case "docker", "nerdctl":
		return program + ": containers do not get these variables, nor does the daemon that pulls: docs/clients.md"
	}
	return ""
}

// nodeHeeds reports whether a Node heeds NODE_USE_ENV_PROXY in fetch and in http(s): from 22.21 in the 22s, and
// from 24.5 (nodejs.org/api/cli.html). What cannot be read is taken to.
func nodeHeeds(version string) bool {
	var major, minor int
	if n, _ := fmt.Sscanf(version, "v%d.%d", &major, &minor); n != 2 {
		return true
	}
	switch {
	case major < 22, major == 23:
		return false
	case major == 22:
		return minor >= 21
	case major == 24:
		return minor >= 5
	}
	return true
}
