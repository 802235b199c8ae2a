package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"

	"github.com/attache-proxy/attache/cmd/internal/clients"
)

// stacks are the clients of docs/clients.md that are known by CI, each by calls under `attache run`.
func stacks() map[string]func(t *testing.T) {
	return map[string]func(t *testing.T){
		"curl": func(t *testing.T) {
			r := plainRunner(t)
			r.prints(r.run(need(t, "curl"), "-sSf", "https://api.test/v1"))
		},
		"wget": func(t *testing.T) {
			r := plainRunner(t)
			r.prints(r.run(need(t, "wget"), "-qO-", "https://api.test/v1"))
		},
		"git":                    gitUnderRun,
		"Go net/http":            goUnderRun,
		"Python urllib":          pythonUnderRun("ssl", `import urllib.request as u; print(u.urlopen("https://api.test/v1").read().decode())`),
		"Python requests":        pythonUnderRun("requests", `import requests; print(requests.get("https://api.test/v1").text)`),
		"Python httpx":           pythonUnderRun("httpx", `import httpx; print(httpx.get("https://api.test/v1").text)`),
		"Python aiohttp":         pythonUnderRun("aiohttp", aiohttpClient),
		"Python grpcio":          grpcioUnderRun,
		"Java HttpURLConnection": javaUnderRun(`new String(java.net.URI.create("https://api.test/v1").toURL().openStream().readAllBytes())`),
		"Java HttpClient": javaUnderRun(`java.net.http.HttpClient.newHttpClient().send(java.net.http.HttpRequest.newBuilder(
			java.net.URI.create("https://api.test/v1")).build(), java.net.http.HttpResponse.BodyHandlers.ofString()).body()`),
		"Ruby net/http": func(t *testing.T) {
			r := plainRunner(t)
			r.prints(r.run(need(t, "ruby"), "-rnet/http", "-e", `puts Net::HTTP.get(URI("https://api.test/v1"))`))
		},
		"PHP curl, Guzzle": phpUnderRun(phpCurl + phpGuzzle),
		"Perl LWP": func(t *testing.T) {
			perl, r := need(t, "perl"), plainRunner(t)
			if exec.Command(perl, "-MLWP::Protocol::https", "-e", "1").Run() != nil {
				absent(t, "Perl's LWP: not installed")
			}
			r.prints(r.run(perl, "-MLWP::UserAgent", "-e", `my $r = LWP::UserAgent->new->get("https://api.test/v1"); print $r->decoded_content; exit !$r->is_success;`))
		},
		"AWS CLI, boto3": awsUnderRun,
		"Go gRPC":        goGRPCUnderRun,
		"Rust reqwest":   reqwestUnderRun,
		"Java Apache HttpClient": javaWithUnderRun(apacheJars, `new String(org.apache.http.impl.client.HttpClients.createSystem().execute(
			new org.apache.http.client.methods.HttpGet("https://api.test/v1")).getEntity().getContent().readAllBytes())`),
		"Java OkHttp":   javaWithUnderRun(okhttpJars, `new okhttp3.OkHttpClient().newCall(new okhttp3.Request.Builder().url("https://api.test/v1").build()).execute().body().string()`),
		"PHP streams":   phpUnderRun(phpStreams),
		"kubectl":       kubectlUnderRun,
		"Podman":        podmanUnderRun,
		"Docker daemon": dockerdUnderRun,
		"npm":           npmUnderRun,
		"Yarn 1":        yarnUnderRun,
		"pip":           pipUnderRun,
		"Poetry":        poetryUnderRun,
		"Composer":      composerUnderRun,
		"Ruby Bundler":  bundlerUnderRun,
		"Maven":         mavenUnderRun,
		"Cargo":         cargoUnderRun,
	}
}

// TestClientsUnderRun: every client that docs/clients.md knows by CI gets the proxy, its CA and nothing of the
// key from `attache run`, whatever its environment said before.
func TestClientsUnderRun(t *testing.T) {
	t.Parallel()
	all := stacks()
	for _, s := range clients.Stacks() {
		if (s.Known == clients.CI) != (all[s.Name] != nil) {
			t.Errorf("%s: documented as known by %s; there is a test: %t", s.Name, s.Known, all[s.Name] != nil)
		}
		if test := all[s.Name]; test != nil {
			t.Run(s.Name, test)
		}
		delete(all, s.Name)
	}
	for name := range all {
		t.Errorf("%s: a test of what is not documented", name)
	}
}

func plainRunner(t *testing.T) *runner { return newRunner(t, runRule, siteOptions{}) }

// pathsRunner is a runner before a site that serves texts by their paths.
func pathsRunner(t *testing.T, texts map[string]string) *runner {
	return newRunner(t, runRule, siteOptions{Handler: func(w http.ResponseWriter, r *http.Request) {
		text, found := texts[r.URL.Path]
		if !found {
			http.NotFound(w, r)
			return
		}
		switch text[0] {
		case '{':
			w.Header().Set("Content-Type", "application/json")
		case '<':
			w.Header().Set("Content-Type", "text/html")
		default:
			w.Header().Set("Content-Type", "text/plain")
		}
		_, _ = io.WriteString(w, text)
	}})
}

const aiohttpClient = `
import aiohttp, asyncio
async def main():
    async with aiohttp.ClientSession(trust_env=True) as s:
        async with s.get("https://api.test/v1") as r:
            print(await r.text())
asyncio.run(main())
`

func pythonUnderRun(module, code string) func(t *testing.T) {
	return func(t *testing.T) {
		python := pythonWith(t, module)
		r := plainRunner(t)
		r.prints(r.run(python, "-c", code))
	}
}

// pythonWith finds an interpreter that has a module.
func pythonWith(t *testing.T, module string) string {
	t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-c", "import "+module).Run() == nil {
			return name
		}
	}
	absent(t, "python3 with "+module+": not installed")
	return ""
}

func gitUnderRun(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef01234567"
	git := need(t, "git")
	r := pathsRunner(t, map[string]string{"/shop.git/info/refs": id + "\trefs/heads/main\n", "/shop.git/HEAD": "ref: refs/heads/main\n"})
	if out := r.run(git, "ls-remote", "https://api.test/shop.git"); !strings.Contains(out, id) {
		t.Errorf("printed %q", out)
	}
}

// goUnderRun has this very binary as the client: see TestMain.
func goUnderRun(t *testing.T) {
	self, err := os.Executable()
	ok(t, err)
	r := plainRunner(t)
	r.env = append(r.env, envGoClient+"=https://api.test/v1")
	r.prints(r.run(self))
}

// goClient is an ordinary client with the default transport.
func goClient(url string) int {
	r, err := http.Get(url)
	if err != nil {
		println(err.Error())
		return 1
	}
	defer func() { _ = r.Body.Close() }()
	if _, err := io.Copy(os.Stdout, r.Body); err != nil || r.StatusCode != http.StatusOK {
		return 1
	}
	return 0
}

func javaUnderRun(expression string) func(t *testing.T) { return javaWithUnderRun(nil, expression) }

// Where Debian has libraries, and what they need.
var (
	apacheJars = []string{"httpclient", "httpcore", "commons-logging", "commons-codec"}
	okhttpJars = []string{"okhttp", "okio"}
)

func javaWithUnderRun(jars []string, expression string) func(t *testing.T) {
	return func(t *testing.T) {
		java := need(t, "java")
		need(t, "javac")
		var path []string
		for _, jar := range jars {
			path = append(path, needFile(t, "/usr/share/java/"+jar+".jar"))
		}
		r := plainRunner(t)
		r.write("Client.java", "public class Client { public static void main(String[] a) throws Exception { System.out.println("+expression+"); System.exit(0); } }") // OkHttp's threads outlive main
		r.prints(r.run(java, "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", strings.Join(path, string(os.PathListSeparator)), "Client.java"))
	}
}

const grpcioClient = `
import grpc
channel = grpc.secure_channel("api.test:443", grpc.ssl_channel_credentials())
call = channel.unary_unary("/test.Pay/Charge", request_serializer=lambda b: b, response_deserializer=lambda b: b)
print(call(b"x", timeout=30).decode())
`

func grpcioUnderRun(t *testing.T) {
	python := pythonWith(t, "grpc")
	r := newRunner(t, runRule, siteOptions{Handler: grpcWho})
	r.prints(r.run(python, "-c", grpcioClient))
}

// grpcWho is who as a gRPC method that answers with a SimpleResponse, in its user name.
func grpcWho(w http.ResponseWriter, r *http.Request) {
	text := "auth-sha256=" + fingerprint(r.Header.Get("Authorization"))
	text = "\x12" + string(rune(len(text))) + text
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...))
	w.Header().Set("Grpc-Status", "0")
}

func goGRPCUnderRun(t *testing.T) {
	self, err := os.Executable()
	ok(t, err)
	r := newRunner(t, runRule, siteOptions{Handler: grpcWho})
	r.env = append(r.env, envGoGRPC+"=api.test:443")
	r.prints(r.run(self))
}

// goGRPC is an ordinary gRPC client.
func goGRPC(target string) int {
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(credentials.NewTLS(nil)))
	if err == nil {
		var got *testgrpc.SimpleResponse
		if got, err = testgrpc.NewTestServiceClient(conn).UnaryCall(context.Background(), new(testgrpc.SimpleRequest)); err == nil {
			fmt.Println(got.GetUsername())
		}
		err = errors.Join(err, conn.Close())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

const awsAnswer = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>
<Arn>arn:aws:iam::123456789012:user/made-up</Arn><UserId>AIDAMADEUP</UserId><Account>123456789012</Account></GetCallerIdentityResult>
<ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata></GetCallerIdentityResponse>`

func awsUnderRun(t *testing.T) {
	aws := need(t, "aws")
	rule := strings.Replace(runRule, "{API_TEST_KEY: placeholder}", "{AWS_ACCESS_KEY_ID: placeholder, AWS_SECRET_ACCESS_KEY: placeholder}", 1)
	r := newRunner(t, rule, siteOptions{Handler: func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/xml")
		_, _ = io.WriteString(w, awsAnswer)
	}})
	out := r.run(aws, "sts", "get-caller-identity", "--endpoint-url", "https://api.test", "--region", "eu-west-1")
	if !strings.Contains(out, "user/made-up") {
		t.Errorf("printed %q", out)
	}
}

// TestHeedlessClientIsTold: a Node that ignores the variables is told of before it starts; one that heeds
// them calls through Attaché.
func TestHeedlessClientIsTold(t *testing.T) {
	t.Parallel()
	node := need(t, "node")
	version, err := exec.Command(node, "--version").Output()
	ok(t, err)
	r := plainRunner(t)
	r.write("client", "#!/usr/bin/env node\nfetch('https://api.test/v1').then(r => r.text()).then(console.log)\n")
	ok(t, os.Chmod(filepath.Join(r.dir, "client"), 0o700))
	hint := clients.Heedless("node", strings.TrimSpace(string(version)))
	if hint == "" {
		r.prints(r.run("./client"))
		return
	}
	r.write("client", "#!/usr/bin/env node\n")
	out, err := r.attache("run", "--", "./client")
	ok(t, err)
	if text := strings.Join(strings.Fields(strings.ReplaceAll(out, "\nattache:", "")), " "); !strings.Contains(text, hint) {
		t.Errorf("not told: %s\n%s", hint, out)
	}
}
