package clients

import (
	"net"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Place is where clients find the proxy and its CA.
type Place struct {
	Proxy    *url.URL // http://HOST:PORT, with user and password where it asks for them
	Direct   []string // what is not to go through it: entries of NO_PROXY
	Trust    string   // the directory of ca.pem, bundle.pem and truststore.p12
	Settings string   // the directory that [Files] were written to; empty: nowhere, and what needs them is left out
	Slash    bool     // paths are for a container: with slashes, whatever this system has
}

// Setting is one variable and its value.
type Setting struct{ Name, Value string }

// Environment is what clients of a place need. had tells what the variables are now; it may be nil.
func Environment(p Place, had func(string) (string, bool)) []Setting {
	if had == nil {
		had = func(string) (string, bool) { return "", false }
	}
	var all []Setting
	for _, v := range Variables() {
		if v.files() && p.Settings == "" {
			continue
		}
		before, _ := had(v.Name)
		all = append(all, Setting{v.Name, p.value(v, before)})
	}
	return all
}

func (p Place) value(v Variable, before string) string {
	switch v.Gives {
	case Proxy:
		return p.Proxy.String()
	case Direct:
		return strings.Join(p.Direct, ",")
	case Bundle:
		return p.join(p.Trust, "bundle.pem")
	case CA:
		if before != "" { // what it added so far is in the bundle
			return p.join(p.Trust, "bundle.pem")
		}
		return p.join(p.Trust, "ca.pem")
	case TrustDir:
		return p.Trust
	case Java:
		return strings.TrimSpace(before + " " + p.java())
	case PHP:
		// An empty element stands for the directory that PHP was built with.
		return before + string(os.PathListSeparator) + p.Settings
	case Wget:
		return p.join(p.Settings, wgetFile)
	}
	return string(v.Gives)
}

func (p Place) join(dir, name string) string {
	if p.Slash {
		return path.Join(dir, name)
	}
	return filepath.Join(dir, name)
}

// java is what a JVM needs. The last of two -D of one name wins, so ours stand behind. There is no
// option for a proxy's user and password: see the documentation.
func (p Place) java() string {
	host, port := p.Proxy.Hostname(), p.Proxy.Port()
	options := []string{
		"-Dhttp.proxyHost=" + host, "-Dhttp.proxyPort=" + port,
		"-Dhttps.proxyHost=" + host, "-Dhttps.proxyPort=" + port,
		"-Dhttp.nonProxyHosts=" + strings.Join(javaDirect(p.Direct), "|"),
		"-Djavax.net.ssl.trustStore=" + p.join(p.Trust, "truststore.p12"),
		"-Djavax.net.ssl.trustStoreType=PKCS12",
		"-Djavax.net.ssl.trustStorePassword=changeit",
		"-Djdk.http.auth.tunneling.disabledSchemes=", // or Basic is not sent with CONNECT
	}
	for i, o := range options {
		if strings.ContainsAny(o, " \t") {
			options[i] = `"` + o + `"`
		}
	}
	return strings.Join(options, " ")
}

// javaDirect writes entries of NO_PROXY as http.nonProxyHosts has them: names and addresses with a * at
// an end. Of networks only those of whole bytes can be said.
func javaDirect(direct []string) []string {
	var all []string
	for _, d := range direct {
		if prefix, err := netip.ParsePrefix(d); err == nil {
			if a := prefix.Addr(); a.Is4() && prefix.Bits()%8 == 0 && prefix.Bits() > 0 && prefix.Bits() < 32 {
				octets := strings.Split(a.String(), ".")
				all = append(all, strings.Join(octets[:prefix.Bits()/8], ".")+".*")
			}
			continue
		}
		addr, err := netip.ParseAddr(d)
		switch {
		case err == nil && addr.Is6():
			all = append(all, "["+d+"]")
		case d == "127.0.0.1":
			all = append(all, "127.*")
		case strings.HasPrefix(d, "."):
			all = append(all, "*"+d)
		default:
			all = append(all, d)
		}
	}
	return all
}

// Loopback are the entries of NO_PROXY for this machine, but for hosts that must go through the proxy,
// as rules write them.
func Loopback(proxied []string) []string {
	local := []string{"localhost", "127.0.0.1", "::1"}
	return slices.DeleteFunc(local, func(name string) bool {
		return slices.ContainsFunc(proxied, func(h string) bool {
			h = strings.TrimPrefix(strings.ToLower(h), "http://")
			if host, _, err := net.SplitHostPort(h); err == nil {
				h = host
			}
			return strings.Trim(h, "[]") == name
		})
	})
}

const wgetFile = "wgetrc"

// Files are those that the variables of Settings name, by name. wgetrc is what the user's own holds.
func Files(p Place, wgetrc []byte) map[string][]byte {
	bundle := filepath.Join(p.Trust, "bundle.pem")
	return map[string][]byte{
		"attache.ini": []byte(`openssl.cafile="` + bundle + `"` + "\n" + `curl.cainfo="` + bundle + `"` + "\n"),
		wgetFile:      slices.Concat(wgetrc, []byte("\nca_certificate = "+bundle+"\n")),
	}
}

// Roots are the variables that may name roots of the user's own, which bundle.pem must hold because these
// variables are overridden.
func Roots() []string {
	var names []string
	for _, v := range Variables() {
		if v.Gives == Bundle || v.Gives == CA {
			names = append(names, v.Name)
		}
	}
	return names
}
