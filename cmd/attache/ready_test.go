package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// BenchmarkReady measures from exec to the first /readyz that answers 200, and reports the median.
// Run it on a quiet machine: go test -run=- -bench=Ready -benchtime=20x ./cmd/attache
func BenchmarkReady(b *testing.B) {
	dir := b.TempDir()
	bin := filepath.Join(dir, "attache")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	admin := l.Addr().String()
	l.Close()
	for name, content := range map[string]string{
		"key": "made-up-key-one",
		"attache.yaml": fmt.Sprintf(`version: 1
listen: {proxy: "127.0.0.1:0", admin: %q}
ca: {publish: %q, state: %q}
audit: {file: %q}
secrets: {key: {file: %q}}
rules: [{id: a, hosts: a.example, attach: {bearer: key}}]
`, admin, filepath.Join(dir, "trust"), filepath.Join(dir, "ca"), filepath.Join(dir, "audit"), filepath.Join(dir, "key")),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	var took []time.Duration
	for b.Loop() {
		took = append(took, readyIn(b, bin, filepath.Join(dir, "attache.yaml"), admin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "median-ms")
}

// readyIn starts the proxy, times it and stops it.
func readyIn(b *testing.B, bin, config, admin string) time.Duration {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	cmd := exec.Command(bin, "serve", "--config", config, "--log-level", "error")
	began := time.Now()
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	for time.Since(began) < 10*time.Second {
		res, err := client.Get("http://" + admin + "/readyz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return time.Since(began)
			}
		}
		time.Sleep(200 * time.Microsecond)
	}
	b.Fatal("not ready in 10 s")
	return 0
}
