package mitm

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// target is a TLS server on loopback that a client must take, or not, for name.
type target struct {
	port int
	name string
}

// client connects to each target, trusting what the directory trust holds
// (ca.pem, truststore.p12), and returns nil where it accepts the certificate.
type client struct {
	name  string
	needs []string // programs
	try   func(t *testing.T, trust string, targets []target) []error
}

var clients = []client{
	{"go", nil, tryGo},
	{"curl", []string{"curl"}, tryCurl},
	{"openssl", []string{"openssl"}, tryOpenSSL},
	{"git", []string{"git"}, tryGit}, // by GnuTLS or OpenSSL, as its libcurl was built
	{"node", []string{"node"}, tryNode},
	{"python", []string{"python3"}, tryPython},
	{"java", []string{"java", "javac"}, tryJava},
}

// eachClient runs check against every installed client.
func eachClient(t *testing.T, check func(t *testing.T, c client)) {
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, p := range c.needs {
				if _, err := exec.LookPath(p); err != nil {
					t.Skip(p + ": not installed")
				}
			}
			check(t, c)
		})
	}
}

// serve answers on loopback with cert until the test ends.
func serve(t *testing.T, cert *tls.Certificate) int {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*cert}})
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok") }),
		ErrorLog:          log.New(io.Discard, "", 0), // refused handshakes are the point
		ReadHeaderTimeout: time.Minute,
	}
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	return l.Addr().(*net.TCPAddr).Port
}

func tryGo(t *testing.T, trust string, targets []target) []error {
	pem, err := os.ReadFile(filepath.Join(trust, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	out := make([]error, len(targets))
	for i, tg := range targets {
		d := tls.Dialer{Config: &tls.Config{RootCAs: pool, ServerName: tg.name}}
		conn, err := d.DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", tg.port))
		if err == nil {
			conn.Close()
		} else if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
			t.Fatalf("%s: not about the certificate: %v", tg.name, err)
		}
		out[i] = err
	}
	return out
}

func tryCurl(t *testing.T, trust string, targets []target) []error {
	out := make([]error, len(targets))
	for i, tg := range targets {
		host := tg.name
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		text, err := run(t, "curl", "-q", "-sS", "-o", os.DevNull, "--max-time", "30", "--cacert", filepath.Join(trust, "ca.pem"),
			"--connect-to", fmt.Sprintf("::127.0.0.1:%d", tg.port), "https://"+host+"/")
		if e, ok := errors.AsType[*exec.ExitError](err); ok && e.ExitCode() != 60 { // the peer's certificate
			t.Fatalf("%s: not about the certificate: %v: %s", tg.name, err, text)
		}
		out[i] = because(err, text)
	}
	return out
}

func tryOpenSSL(t *testing.T, trust string, targets []target) []error {
	out := make([]error, len(targets))
	for i, tg := range targets {
		args := []string{"s_client", "-connect", fmt.Sprintf("127.0.0.1:%d", tg.port), "-CAfile", filepath.Join(trust, "ca.pem"),
			"-no-CApath", "-no-CAstore", "-verify_return_error", "-x509_strict"}
		if net.ParseIP(tg.name) != nil {
			args = append(args, "-noservername", "-verify_ip", tg.name)
		} else {
			args = append(args, "-servername", tg.name, "-verify_hostname", tg.name)
		}
		text, err := run(t, "openssl", args...)
		if err != nil && !strings.Contains(text, "verify error") {
			t.Fatalf("%s: not about the certificate: %v: %s", tg.name, err, text)
		}
		out[i] = because(err, text)
	}
	return out
}

// errUntried: this client cannot be led to loopback under that name.
var errUntried = errors.New("not tried")

func tryGit(t *testing.T, trust string, targets []target) []error {
	out := make([]error, len(targets))
	for i, tg := range targets {
		if net.ParseIP(tg.name) != nil && tg.name != "127.0.0.1" {
			out[i] = errUntried
			continue
		}
		text, err := run(t, "git", "-c", "http.sslCAInfo="+filepath.Join(trust, "ca.pem"), "-c", "http.proxy=",
			"-c", fmt.Sprintf("http.curloptResolve=%s:%d:127.0.0.1", tg.name, tg.port),
			"ls-remote", fmt.Sprintf("https://%s:%d/", tg.name, tg.port))
		switch {
		case err == nil: // "ok" reads as a repository without branches
		case strings.Contains(text, "certificate"):
			out[i] = because(err, text)
		default:
			t.Fatalf("%s: not about the certificate: %v: %s", tg.name, err, text)
		}
	}
	return out
}

func tryNode(t *testing.T, trust string, targets []target) []error {
	return tryBatch(t, targets, "node", "testdata/client.js", filepath.Join(trust, "ca.pem"))
}

func tryPython(t *testing.T, trust string, targets []target) []error {
	return tryBatch(t, targets, "python3", "testdata/client.py", filepath.Join(trust, "ca.pem"))
}

func tryJava(t *testing.T, trust string, targets []target) []error {
	return tryBatch(t, targets, "java", "-XX:TieredStopAtLevel=1", "-Djavax.net.ssl.trustStore="+filepath.Join(trust, "truststore.p12"),
		"-Djavax.net.ssl.trustStorePassword=changeit", "testdata/Client.java")
}

// tryBatch runs one process for all targets: it prints a line for each.
func tryBatch(t *testing.T, targets []target, program string, args ...string) []error {
	for _, tg := range targets {
		args = append(args, strconv.Itoa(tg.port), tg.name)
	}
	text, err := run(t, program, args...)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) != len(targets) {
		t.Fatalf("%d answers for %d targets: %s", len(lines), len(targets), text)
	}
	out := make([]error, len(targets))
	for i, line := range lines {
		if why, refused := strings.CutPrefix(strings.TrimSpace(line), "refused: "); refused {
			out[i] = errors.New(why)
		} else if strings.TrimSpace(line) != "ok" {
			t.Fatalf("unexpected answer %q", line)
		}
	}
	return out
}

// run starts a program without whatever trust, proxies and options this machine presets.
func run(t *testing.T, program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	for _, v := range os.Environ() {
		name, _, _ := strings.Cut(strings.ToUpper(v), "=")
		preset := false
		for _, part := range []string{"CERT", "SSL", "CA_BUNDLE", "CA_INFO", "CAINFO", "PROXY", "JAVA_", "JDK_", "NODE_", "PYTHON"} {
			preset = preset || strings.Contains(name, part)
		}
		if !preset {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_TERMINAL_PROMPT=0", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func because(err error, text string) error {
	if err == nil {
		return nil
	}
	for line := range strings.Lines(text) {
		if strings.Contains(line, "error") || strings.Contains(line, "problem") || strings.Contains(line, "certificate") {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(line))
		}
	}
	return err
}
