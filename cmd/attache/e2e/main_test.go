package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	// What the binary is made of, so that go test does not reuse a result
	// from before a change.
	_ "github.com/attache-proxy/attache/cmd/internal/app"
	_ "github.com/attache-proxy/attache/cmd/internal/child"
	_ "github.com/attache-proxy/attache/cmd/internal/project"
)

// Environment variables that these tests read.
const (
	envBinary = "ATTACHE_E2E_BINARY" // an attache binary to test instead of building one
	envRace   = "ATTACHE_E2E_RACE"   // build it with the race detector
	envCI     = "ATTACHE_CI"         // an absent program is a failure
	envGRPC   = "ATTACHE_E2E_GRPC"   // the test binary is a gRPC client

	envGoClient = "ATTACHE_E2E_GO_CLIENT" // the test binary gets this URL
	envGoGRPC   = "ATTACHE_E2E_GO_GRPC"   // the test binary calls this target
)

func TestMain(m *testing.M) {
	if os.Getenv(envGRPC) != "" {
		os.Exit(grpcClient())
	}
	if url := os.Getenv(envGoClient); url != "" {
		os.Exit(goClient(url))
	}
	if target := os.Getenv(envGoGRPC); target != "" {
		os.Exit(goGRPC(target))
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv(envBinary) != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "attache-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "attache")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	args := []string{"build", "-o", binary}
	if os.Getenv(envRace) != "" {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/attache-proxy/attache/cmd/attache")...).CombinedOutput()
	if err != nil {
		fmt.Fprintf(os.Stderr, "building attache: %v\n%s", err, out)
		return 1
	}
	if err := os.Setenv(envBinary, binary); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// need skips the test where a program is not installed; in CI that is a failure.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		absent(t, program+": not installed")
	}
	return path
}

// needFile is need for what is no program.
func needFile(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		absent(t, path+": not installed")
	}
	return path
}

// absent ends the test for the lack of what.
func absent(t *testing.T, what string) {
	t.Helper()
	if os.Getenv(envCI) != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// needRoot skips a test that acts as other users.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("root: not available")
	}
}
