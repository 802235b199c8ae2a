package kubernetes

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// sandbox plays a node for one pod: containers of Docker in one network namespace, with volumes written
// as the kubelet writes them. What only a kubelet does, it does by hand: it starts the sidecar first,
// waits for its startup probe, and stops it last.
type sandbox struct {
	t       *testing.T
	name    string
	image   string // of Attaché
	peer    string // of the app and the API, see cmd/attache/e2e/testdata/peer
	dir     string // of ConfigMaps and Secrets
	pod     workload
	volumes map[string]corev1.Volume
}

func (s *sandbox) docker(args ...string) (string, error) {
	out, err := exec.CommandContext(s.t.Context(), "docker", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (s *sandbox) must(args ...string) string {
	s.t.Helper()
	out, err := s.docker(args...)
	if err != nil {
		s.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// image is Attaché's, as ATTACHE_E2E_IMAGE names it.
func image(t *testing.T) string {
	t.Helper()
	name := os.Getenv("ATTACHE_E2E_IMAGE")
	if name == "" {
		if os.Getenv("ATTACHE_CI") != "" {
			t.Fatal("ATTACHE_E2E_IMAGE names no image: .ci/image builds one")
		}
		t.Skip("ATTACHE_E2E_IMAGE names no image: .ci/image builds one")
	}
	return name
}

// helper builds one of the programs of cmd/attache/e2e/testdata.
func helper(t *testing.T, dir, name string) {
	t.Helper()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, name), "./cmd/attache/e2e/testdata/"+name)
	build.Dir, build.Env = "../../..", append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// peerImage is an image with nothing but the peer.
func peerImage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	helper(t, dir, "peer")
	archive, err := exec.Command("tar", "-C", dir, "-c", "peer").Output()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("attache-pod-peer-%d", os.Getpid())
	load := exec.Command("docker", "import", "--change", `ENTRYPOINT ["/peer"]`, "-", name)
	load.Stdin = bytes.NewReader(archive)
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "--force", name).Run() })
	return name
}

// newSandbox starts what the pod has around it: the API on its loopback, which also keeps the namespace
// and the memory volumes while containers come and go.
func newSandbox(t *testing.T, name, peer string, pod workload, certificate, key []byte, network ...string) *sandbox {
	t.Helper()
	s := &sandbox{
		t: t, name: fmt.Sprintf("attache-pod-%s-%d", name, os.Getpid()), image: image(t), peer: peer,
		dir: t.TempDir(), pod: pod, volumes: map[string]corev1.Volume{},
	}
	run := slices.Concat([]string{"run", "--detach", "--name", s.name, "--user", "1000"}, network)
	for _, v := range pod.spec.Volumes {
		s.volumes[v.Name] = v
		if v.EmptyDir == nil {
			continue
		}
		s.must("volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs",
			"--opt", "o=mode=0777,size="+fmt.Sprint(v.EmptyDir.SizeLimit.Value()), s.name+"-"+v.Name)
		run = append(run, "--volume", s.name+"-"+v.Name+":/held/"+v.Name)
	}
	t.Cleanup(func() {
		for _, c := range []string{"-attache", "-app", ""} {
			_ = exec.Command("docker", "rm", "--force", s.name+c).Run()
		}
		for name, v := range s.volumes {
			if v.EmptyDir != nil {
				_ = exec.Command("docker", "volume", "rm", s.name+"-"+name).Run()
			}
		}
	})
	s.project("tls", map[string]string{"cert.pem": string(certificate), "key.pem": string(key)})
	s.must(append(run, "--volume", filepath.Join(s.dir, "tls")+":/tls:ro", s.peer, "upstream", "/tls/cert.pem", "/tls/key.pem")...)
	return s
}

// configure writes the pod's configuration: that of its ConfigMap, with a way to the API on loopback.
func (s *sandbox) configure(c *corev1.ConfigMap, ca []byte) map[string]string {
	files := map[string]string{"upstream-ca.pem": string(ca)}
	for name, text := range c.Data {
		files[name] = strings.ReplaceAll(text, "attach: {bearer: github-token}}", `attach: {bearer: github-token}, upstream: {connect_to: "127.0.0.1:8443", ca: /etc/attache/upstream-ca.pem}}`)
	}
	s.project("attache-config", files)
	return files
}

// start runs Attaché's container and waits for its startup probe.
func (s *sandbox) start() {
	s.t.Helper()
	all := containers(s.pod)
	c := all[slices.IndexFunc(all, own)]
	s.must(slices.Concat([]string{"run", "--detach", "--name", s.name + "-attache"}, s.container(c), []string{s.image}, c.Args)...)
	s.until("started", func() bool { return s.probe("/startupz") })
}

// probe asks Attaché as the kubelet does.
func (s *sandbox) probe(path string) bool {
	out, err := s.docker("run", "--rm", "--network", "container:"+s.name, s.peer, "direct", "GET", "http://127.0.0.1:15090"+path)
	return err == nil && strings.HasPrefix(out, "200 ")
}

// project writes the files of a volume as the kubelet does: into a new directory, to which the link
// ..data is then swapped in one step.
func (s *sandbox) project(volume string, files map[string]string) {
	s.t.Helper()
	dir := filepath.Join(s.dir, volume)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		s.t.Fatal(err)
	}
	version, err := os.MkdirTemp(dir, "..")
	if err != nil {
		s.t.Fatal(err)
	}
	for _, err := range []error{os.Chmod(version, 0o755), os.Symlink(filepath.Base(version), filepath.Join(dir, "..data_tmp"))} {
		if err != nil {
			s.t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(version, name), []byte(text), 0o644); err != nil {
			s.t.Fatal(err)
		}
		_ = os.Symlink("..data/"+name, filepath.Join(dir, name)) // there from the second time on
	}
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		s.t.Fatal(err)
	}
}

// container gives the arguments of docker run that a container's spec means.
func (s *sandbox) container(c corev1.Container) []string {
	args := []string{"--network", "container:" + s.name, "--security-opt", "no-new-privileges"}
	user := s.pod.spec.SecurityContext.RunAsUser
	if c.SecurityContext.RunAsUser != nil {
		user = c.SecurityContext.RunAsUser
	}
	args = append(args, "--user", fmt.Sprintf("%d:%d", *user, *user))
	if *c.SecurityContext.ReadOnlyRootFilesystem {
		args = append(args, "--read-only")
	}
	for _, drop := range c.SecurityContext.Capabilities.Drop {
		args = append(args, "--cap-drop", string(drop))
	}
	for _, e := range c.Env {
		switch {
		case e.ValueFrom != nil:
			args = append(args, "--env", e.Name+"=shop")
		default:
			args = append(args, "--env", e.Name+"="+strings.ReplaceAll(e.Value, "$(KUBERNETES_SERVICE_HOST)", "10.0.0.1"))
		}
	}
	for _, m := range c.VolumeMounts {
		from := filepath.Join(s.dir, m.Name)
		if s.volumes[m.Name].EmptyDir != nil {
			from = s.name + "-" + m.Name
		}
		if mount := from + ":" + m.MountPath; m.ReadOnly {
			args = append(args, "--volume", mount+":ro")
		} else {
			args = append(args, "--volume", mount)
		}
	}
	return args
}

// inside runs the peer in the pod as the app's container, and gives what it prints.
func (s *sandbox) inside(c corev1.Container, args ...string) (string, error) {
	return s.docker(slices.Concat([]string{"run", "--rm"}, s.container(c), []string{s.peer}, args)...)
}

// until waits for something that becomes so by itself.
func (s *sandbox) until(what string, so func() bool) {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !so(); {
		if time.Now().After(end) {
			logs, _ := s.docker("logs", "--tail", "30", s.name+"-attache")
			s.t.Fatalf("not in two minutes: %s\n%s", what, logs)
		}
	}
}

const call = "https://api.github.com/user"

func fingerprint(key string) string {
	sum := sha256.Sum256([]byte("Bearer " + key))
	return hex.EncodeToString(sum[:])
}

// TestPodRuns runs the Job of the manifests in containers: the sidecar as its spec says, an init
// container and the app that call through it, three rotations of the Secret, a change of the ConfigMap,
// a restart of the sidecar alone, and the Job's end.
func TestPodRuns(t *testing.T) {
	image(t)
	all := manifests(t)["sidecar"]
	pods := workloads("", all)
	pod := pods[slices.IndexFunc(pods, func(p workload) bool { return p.spec.RestartPolicy == corev1.RestartPolicyNever })]
	app := pod.spec.Containers[0]

	ca, certificate, key := pair(t, "api.github.com")
	s := newSandbox(t, "job", peerImage(t), pod, certificate, key, "--network", "none")
	files := s.configure(only[*corev1.ConfigMap](t, all), ca)
	s.project("attache-secret-github", map[string]string{"token": "made-up-token-one"})
	s.start()
	if !s.probe("/readyz") || !s.probe("/livez") {
		t.Error("it has started, and is not ready or alive")
	}

	if out, err := s.inside(app, "get", "GET", call); err != nil || out != "200 "+fingerprint("made-up-token-one") {
		t.Fatalf("an init container's call: %v, %s", err, out)
	}
	if out, err := s.inside(app, "get", "DELETE", call); err != nil || !strings.HasPrefix(out, "403 ") {
		t.Errorf("a call that no rule allows: %v, %s", err, out)
	}
	stranger := *app.DeepCopy()
	other := int64(1001)
	stranger.SecurityContext.RunAsUser = &other
	if out, err := s.inside(stranger, "get", "GET", call); err != nil || !strings.HasPrefix(out, "403 ") {
		t.Errorf("a call of another user: %v, %s", err, out)
	}
	if out, err := s.inside(app, "write", "/run/attache/trust/bundle.pem"); err == nil {
		t.Errorf("the app can write the trust: %s", out)
	}

	// The app trusts what it reads now, and calls on through all that follows.
	s.must(slices.Concat([]string{"run", "--detach", "--name", s.name + "-app"}, s.container(app), []string{s.peer, "loop", call})...)
	for _, token := range []string{"made-up-token-two", "made-up-token-three", "made-up-token-four"} {
		s.project("attache-secret-github", map[string]string{"token": token})
		s.until("rotated to "+token, func() bool {
			out, _ := s.docker("logs", "--tail", "1", s.name+"-app")
			return out == "200 "+fingerprint(token)
		})
	}
	if out := s.must("logs", s.name+"-app"); strings.Contains(out, "error") || strings.Contains(out, "403") {
		t.Errorf("calls failed in rotations:\n%s", out)
	}

	files["10-rules.yaml"] = strings.Replace(files["10-rules.yaml"], "methods: GET", "methods: [GET, DELETE]", 1)
	files["10-rules.yaml"] = files["10-rules.yaml"][:strings.Index(files["10-rules.yaml"], "tests:")]
	s.project("attache-config", files)
	s.until("the new rule is in force", func() bool {
		out, err := s.inside(app, "get", "DELETE", call)
		return err == nil && strings.HasPrefix(out, "200 ")
	})

	s.must("kill", "--signal", "KILL", s.name+"-attache")
	s.must("start", s.name+"-attache")
	s.until("started again", func() bool { return s.probe("/startupz") })
	since := time.Now().UTC().Format(time.RFC3339Nano)
	s.until("the app goes on, with the roots that it has", func() bool {
		out, _ := s.docker("logs", "--since", since, s.name+"-app")
		return strings.Contains(out, "200 "+fingerprint("made-up-token-four"))
	})

	s.must("rm", "--force", s.name+"-app")
	if out, err := s.inside(app, "get", "GET", call); err != nil { // the Job's container ends with success
		t.Errorf("%v, %s", err, out)
	}
	s.must("stop", "--time", "30", s.name+"-attache")
	if code := s.must("inspect", "--format", "{{.State.ExitCode}}", s.name+"-attache"); code != "0" {
		t.Errorf("the sidecar ended with %s", code)
	}
}

// TestGatewayRuns runs the gateway's pod and the app's, each in a namespace of its own on a network
// that leads nowhere else: the app calls through its edge and the gateway, by its pod's SPIFFE ID, with
// the gateway's key; another pod, another host, and a gateway that is away, are refused.
func TestGatewayRuns(t *testing.T) {
	image(t)
	all, peer := manifests(t), peerImage(t)
	network := fmt.Sprintf("attache-pod-%d", os.Getpid())
	if out, err := exec.Command("docker", "network", "create", "--internal", network).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "network", "rm", network).Run() })

	ca, certificate, key := pair(t, "api.github.com")
	gateway := newSandbox(t, "gateway", peer, workloads("", all["gateway"])[0], certificate, key,
		"--network", network, "--network-alias", "egress-attache.egress.svc")
	egressCA, egressKey := authority(t)
	gateway.configure(only[*corev1.ConfigMap](t, all["gateway"]), ca)
	gateway.project("attache-secret-github", map[string]string{"token": "made-up-token"})
	gateway.project("attache-ca", map[string]string{"tls.crt": string(egressCA), "tls.key": string(egressKey)})

	edge := newSandbox(t, "edge", peer, workloads("", all["sidecar-gateway"])[0], certificate, key, "--network", network)
	app := edge.pod.spec.Containers[0]
	edge.project("attache-trust", map[string]string{"ca.pem": string(egressCA), "bundle.pem": string(egressCA)})
	config := maps.Clone(only[*corev1.ConfigMap](t, all["sidecar-gateway"]).Data)
	// The Workload API here serves one workload; the other's identity is a file.
	const api = `{spiffe: "unix:/spiffe-workload-api/spire-agent.sock"}`
	if !strings.Contains(config["00-pod.yaml"], api) {
		t.Fatal("the edge has no identity")
	}
	config["00-pod.yaml"] = strings.Replace(config["00-pod.yaml"], api, "{files: /spiffe-workload-api/svid.pem}", 1)
	edge.project("attache-config", config)
	identities(t, gateway, edge, "spiffe://acme.example/ns/shop/sa/shop")

	gateway.start()
	edge.start()
	get := func(url, want string) {
		t.Helper()
		edge.until(url+" is answered "+want, func() bool {
			out, _ := edge.inside(app, "get", "GET", url)
			return strings.Contains(out, want)
		})
	}
	get(call, "200 "+fingerprint("made-up-token"))
	if out, _ := edge.inside(app, "get", "GET", "https://example.com/"); !strings.Contains(out, "gateway_refused") {
		t.Errorf("a host that no rule of the gateway names: %s", out)
	}
	if out, err := edge.inside(app, "get", "DELETE", call); err != nil || !strings.HasPrefix(out, "403 ") {
		t.Errorf("a call that no rule of the gateway allows: %v, %s", err, out)
	}

	stopped := time.Now()
	gateway.must("stop", "--time", "60", gateway.name+"-attache")
	t.Logf("the gateway stopped within %s", time.Since(stopped).Round(time.Second/10))
	if out, err := edge.inside(app, "get", "GET", call); err == nil && strings.HasPrefix(out, "200") {
		t.Errorf("without its gateway: %s", out)
	}
	gateway.must("start", gateway.name+"-attache")
	gateway.until("started again", func() bool { return gateway.probe("/startupz") })
	get(call, "200 "+fingerprint("made-up-token"))

	// A pod of another service account, by the same edge.
	edge.must("rm", "--force", edge.name+"-attache")
	gateway.must("rm", "--force", gateway.name+"-attache")
	identities(t, gateway, edge, "spiffe://acme.example/ns/shop/sa/stranger")
	gateway.start()
	edge.start()
	get(call, "gateway_refused") // at CONNECT: Go's client tells the status line
}

// identities gives the gateway a Workload API and the edge a file, in place of what was there.
func identities(t *testing.T, gateway, edge *sandbox, id string) {
	t.Helper()
	dir := t.TempDir()
	helper(t, dir, "agent")
	for _, s := range []*sandbox{gateway, edge} {
		spiffe := filepath.Join(s.dir, "attache-spiffe")
		for _, err := range []error{os.RemoveAll(spiffe), os.Mkdir(spiffe, 0o755)} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	agent := exec.Command(filepath.Join(dir, "agent"), filepath.Join(gateway.dir, "attache-spiffe"),
		"spiffe://acme.example/ns/egress/sa/egress-attache", filepath.Join(edge.dir, "attache-spiffe", "svid.pem"), id)
	in, err := agent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := agent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	agent.Stderr = os.Stderr
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = agent.Wait()
	})
	if _, err := out.Read(make([]byte, 16)); err != nil { // it serves
		t.Fatal(err)
	}
}

// authority makes a CA as a Secret of the type kubernetes.io/tls has it.
func authority(t *testing.T) (certificate, key []byte) {
	t.Helper()
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := template("made-up egress CA")
	c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	if err != nil {
		t.Fatal(err)
	}
	return block("CERTIFICATE", sign(t, c, c, signer.Public(), signer)), block("PRIVATE KEY", der)
}

// pair makes a CA, and a certificate for a host that it signed.
func pair(t *testing.T, host string) (ca, certificate, key []byte) {
	t.Helper()
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuer := template("made-up CA")
	issuer.IsCA, issuer.KeyUsage = true, x509.KeyUsageCertSign
	subject := template(host)
	subject.DNSNames = []string{host}
	der, err := x509.MarshalPKCS8PrivateKey(leaf)
	if err != nil {
		t.Fatal(err)
	}
	return block("CERTIFICATE", sign(t, issuer, issuer, root.Public(), root)),
		block("CERTIFICATE", sign(t, subject, issuer, leaf.Public(), root)), block("PRIVATE KEY", der)
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
}

func sign(t *testing.T, c, parent *x509.Certificate, public, signer any) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func block(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
