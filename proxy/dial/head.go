package dial

import (
	"bufio"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// validRequest refuses what would not be one request, as http.Transport does.
func validRequest(req *http.Request) error {
	if req.URL.Scheme != "https" && req.URL.Scheme != "http" || !httpguts.ValidHeaderFieldName(req.Method) ||
		!httpguts.ValidHostHeader(hostOf(req)) || strings.IndexByte(hostOf(req), '%') >= 0 || !isPath(req.URL.RequestURI()) {
		return errMalformedRequest
	}
	for name, values := range req.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return errMalformedRequest
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return errMalformedRequest
			}
		}
	}
	return nil
}

// hostOf is what Host will say.
func hostOf(req *http.Request) string {
	if req.Host != "" {
		return req.Host
	}
	return req.URL.Host
}

// isPath reports that s is a path and no byte of it ends a word or a line.
func isPath(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return strings.HasPrefix(s, "/")
}

// writeHead writes a request that has no body and is valid: the bytes that http.Request.Write gives, for
// half of its cost. w keeps its error for Flush.
func writeHead(w *bufio.Writer, req *http.Request) {
	write := func(parts ...string) {
		for _, s := range parts {
			_, _ = w.WriteString(s)
		}
	}
	write(req.Method, " ", req.URL.RequestURI(), " HTTP/1.1\r\nHost: ", hostOf(req), "\r\n")
	if agent := req.Header["User-Agent"]; len(agent) > 0 && agent[0] != "" {
		write("User-Agent: ", strings.Trim(agent[0], " \t"), "\r\n")
	}
	var room [16]string
	names := room[:0]
	for name := range req.Header {
		switch name {
		case "Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Trailer": // written above, or of a body
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range req.Header[name] {
			write(name, ": ", strings.Trim(v, " \t"), "\r\n")
		}
	}
	write("\r\n")
}
