package e2e

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// oneRule attaches a bearer token on api.test and knows no other host.
const oneRule = `
secrets: {key: {file: @dir/key}}
rules:
  - {id: api, hosts: api.test, attach: {bearer: key}, upstream: {connect_to: "@site", ca: @siteca}}
`

// serveOne starts Attaché with oneRule before a site.
func serveOne(t *testing.T, o siteOptions) (*server, *site, string) {
	t.Helper()
	return serveRules(t, oneRule, o)
}

// serveRules starts Attaché with a configuration that names one site, as @site
// and @siteca, and one secret, the file @dir/key.
func serveRules(t *testing.T, config string, o siteOptions) (*server, *site, string) {
	t.Helper()
	up, key := newSite(t, o), newCanary()
	s := serve(t, serveOptions{Config: config, Vars: siteVars(up), Secrets: map[string]string{"key": key + "\n"}})
	return s, up, key
}

func siteVars(up *site) map[string]string {
	return map[string]string{"site": up.addr, "siteca": up.ca}
}

// attached fails the test unless the site's last request carried the token once.
func attached(t *testing.T, up *site, key string) seen {
	t.Helper()
	last := up.last(t)
	if got := last.Header.Values("Authorization"); len(got) != 1 || got[0] != "Bearer "+key {
		t.Errorf("the upstream got %d Authorization values, or another one", len(got))
	}
	return last
}

func TestGoClient(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{})
	for name, h1 := range map[string]bool{"HTTP/1.1": true, "HTTP/2": false} {
		t.Run(name, func(t *testing.T) {
			a := s.get(s.client(clientOptions{H1: h1}), "https://api.test/v1/x?a=1").fine(t)
			if want := "auth-sha256=" + fingerprint("Bearer "+key) + "\n"; string(a.body) != want {
				t.Errorf("body %q, want %q", a.body, want)
			}
			if got := a.ProtoMajor == 1; got != h1 {
				t.Errorf("protocol %s", a.Proto)
			}
			if last := attached(t, up, key); last.URI != "/v1/x?a=1" || last.Host != "api.test" || last.SNI != "api.test" {
				t.Errorf("the upstream got %q on host %q, SNI %q", last.URI, last.Host, last.SNI)
			}
		})
	}
}

func TestCurl(t *testing.T) {
	t.Parallel()
	curl := need(t, "curl")
	s, up, key := serveOne(t, siteOptions{})
	for _, version := range []string{"--http1.1", "--http2"} {
		t.Run(version, func(t *testing.T) {
			out, err := s.program(nil, curl, "-sS", "-q", version, "--proxy", "http://"+s.proxy, "--cacert", s.caFile(),
				"-w", "%{http_version} %{http_code}", "-d", "x=1", "https://api.test/v1/charges")
			ok(t, err)
			want := "1.1 200"
			if version == "--http2" {
				want = "2 200"
			}
			if !strings.HasSuffix(out, want) || !strings.Contains(out, fingerprint("Bearer "+key)) {
				t.Errorf("curl printed %q, want its end to be %q", out, want)
			}
			if last := attached(t, up, key); string(last.Body) != "x=1" {
				t.Errorf("the upstream got the body %q", last.Body)
			}
		})
	}
	t.Run("refused", func(t *testing.T) {
		out, err := s.program([]string{"HTTPS_PROXY=http://" + s.proxy}, curl, "-sS", "-q", "--cacert", s.caFile(), "https://other.test/")
		if err == nil || !strings.Contains(err.Error(), "403") {
			t.Errorf("curl printed %q (%v), want the refusal of CONNECT", out, err)
		}
	})
	t.Run("bundle.pem", func(t *testing.T) {
		bundle := filepath.Join(s.dir, "trust", "bundle.pem")
		out, err := s.program([]string{"HTTPS_PROXY=http://" + s.proxy, "CURL_CA_BUNDLE=" + bundle}, curl, "-sS", "-q", "https://api.test/")
		ok(t, err)
		if !strings.Contains(out, fingerprint("Bearer "+key)) {
			t.Errorf("curl printed %q", out)
		}
	})
}

// python finds an interpreter that has what the test imports.
func (s *server) python(module string) string {
	s.t.Helper()
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if _, err := s.program(nil, name, "-c", "import "+module); err == nil {
			return name
		}
	}
	absent(s.t, "python3 with "+module+": not installed")
	return ""
}

func TestPythonRequests(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{})
	env := []string{"HTTPS_PROXY=http://" + s.proxy, "REQUESTS_CA_BUNDLE=" + filepath.Join(s.dir, "trust", "bundle.pem")}
	out, err := s.program(env, s.python("requests"), "-c", `
import requests
with requests.Session() as s:
    for _ in range(3):
        r = s.post("https://api.test/v1/charges", data={"amount": 1}, headers={"Authorization": "Bearer mine"})
        print(r.status_code, r.text, end="")
    r = s.get("https://api.test/v1/charges", stream=True)
    print(r.status_code, b"".join(r.iter_content(7)).decode(), end="")
`)
	ok(t, err)
	if want := strings.Repeat("200 auth-sha256="+fingerprint("Bearer "+key)+"\n", 4); out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	attached(t, up, key)
}

func TestPythonUrllib(t *testing.T) {
	t.Parallel()
	s, up, key := serveOne(t, siteOptions{})
	env := []string{"https_proxy=http://" + s.proxy, "SSL_CERT_FILE=" + s.caFile()}
	out, err := s.program(env, s.python("ssl"), "-c", `
import urllib.request, urllib.error
r = urllib.request.urlopen("https://api.test/v1/charges", data=b"amount=1")
print(r.status, r.read().decode(), end="")
try:
    urllib.request.urlopen("https://other.test/")
except OSError as e:
    print(e)
`)
	ok(t, err)
	if want := "200 auth-sha256=" + fingerprint("Bearer "+key) + "\n"; !strings.HasPrefix(out, want) {
		t.Errorf("printed %q, want %q first", out, want)
	}
	if !strings.Contains(out, "no_rule") {
		t.Errorf("printed %q: the refusal of CONNECT does not say why", out)
	}
	attached(t, up, key)
}

const javaClient = `
import java.net.*;
import java.net.http.*;
import java.net.http.HttpResponse.BodyHandlers;

public class Client {
    public static void main(String[] args) throws Exception {
        URI proxy = URI.create(args[0]);
        HttpClient.Builder b = HttpClient.newBuilder()
            .proxy(ProxySelector.of(new InetSocketAddress(proxy.getHost(), proxy.getPort())))
            .version(HttpClient.Version.valueOf(args[1]));
        b.authenticator(new Authenticator() {
            protected PasswordAuthentication getPasswordAuthentication() {
                String[] user = proxy.getUserInfo().split(":", 2);
                return getRequestorType() == RequestorType.PROXY ? new PasswordAuthentication(user[0], user[1].toCharArray()) : null;
            }
        });
        HttpClient client = b.build();
        for (int i = 0; i < 3; i++) {
            HttpResponse<String> r = client.send(HttpRequest.newBuilder(URI.create(args[2]))
                .POST(HttpRequest.BodyPublishers.ofString("x=" + i)).build(), BodyHandlers.ofString());
            System.out.print(r.statusCode() + " " + r.version() + " " + r.body());
        }
    }
}
`

func TestJavaHttpClient(t *testing.T) {
	t.Parallel()
	java := need(t, "java")
	need(t, "javac") // java runs a source file only where the compiler is
	s, up, key := serveTokens(t)
	source := filepath.Join(s.dir, "Client.java")
	s.write("Client.java", javaClient)
	for _, version := range []string{"HTTP_1_1", "HTTP_2"} {
		t.Run(version, func(t *testing.T) {
			out, err := s.program(nil, java, "-Xshare:auto", "-XX:TieredStopAtLevel=1",
				"-Djdk.http.auth.tunneling.disabledSchemes=",
				"-Djavax.net.ssl.trustStore="+filepath.Join(s.dir, "trust", "truststore.p12"),
				"-Djavax.net.ssl.trustStorePassword=changeit",
				source, "http://ci:"+ciToken+"@"+s.proxy, version, "https://api.test/v1/charges")
			ok(t, err)
			if want := strings.Repeat("200 "+version+" auth-sha256="+fingerprint("Bearer "+key)+"\n", 3); out != want {
				t.Errorf("printed %q, want %q", out, want)
			}
			if last := attached(t, up, key); string(last.Body) != "x=2" {
				t.Errorf("the upstream got the body %q", last.Body)
			}
		})
	}
}

// ciToken is the token of the caller ci in serveTokens.
const ciToken = "e2e-ci-token-4f1c"

const tokenRule = `
secrets: {key: {file: @dir/key}, ci-token: {file: @dir/ci-token}}
callers: {ci: {token: ci-token}}
rules:
  - {id: api, hosts: api.test, callers: ci, attach: {bearer: key}, upstream: {connect_to: "@site", ca: @siteca}}
`

// serveTokens is serveOne for the caller ci, whose token is ciToken.
func serveTokens(t *testing.T) (*server, *site, string) {
	t.Helper()
	up, key := newSite(t, siteOptions{}), newCanary()
	s := serve(t, serveOptions{Config: tokenRule, Vars: siteVars(up), Secrets: map[string]string{"key": key, "ci-token": ciToken}})
	return s, up, key
}

const nodeClient = `
const http = require("http"), https = require("https"), tls = require("tls");
const [host, port] = process.env.PROXY.split(":");
http.request({ host, port, method: "CONNECT", path: "api.test:443" })
  .on("connect", (res, socket) => {
    const secure = tls.connect({ socket, servername: "api.test" }, () => {
      const req = https.request({ host: "api.test", port: 443, defaultPort: 443, path: "/v1/charges", method: "POST", createConnection: () => secure }, r => {
        let text = r.statusCode + " ";
        r.on("data", d => text += d).on("end", () => { process.stdout.write(text); secure.end(); });
      });
      req.write("a"); req.write("b"); req.end();
    });
  }).end();
`

func TestNode(t *testing.T) {
	t.Parallel()
	node := need(t, "node")
	s, up, key := serveOne(t, siteOptions{})
	s.write("client.js", nodeClient)
	out, err := s.program([]string{"PROXY=" + s.proxy, "NODE_EXTRA_CA_CERTS=" + s.caFile()}, node, filepath.Join(s.dir, "client.js"))
	ok(t, err)
	if want := "200 auth-sha256=" + fingerprint("Bearer "+key) + "\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	if last := attached(t, up, key); string(last.Body) != "ab" || last.Method != http.MethodPost {
		t.Errorf("the upstream got %s %q", last.Method, last.Body)
	}
}
