package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// moreSmuggling are further requests that have more than one reading. What must not
// be found is GET /evil.
func moreSmuggling() map[string]string {
	const h = "POST / HTTP/1.1\r\nHost: a\r\n"
	const evil = "GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
	const te = h + "Transfer-Encoding: chunked\r\n\r\n"
	all := map[string]string{
		"StartLineTab":         "POST\t/\tHTTP/1.1\r\nHost: a\r\n\r\n" + evil,
		"StartLineThreeSpaces": "POST / x HTTP/1.1\r\nHost: a\r\n\r\n" + evil,
		"StartLineNoVersion":   "POST /\r\nHost: a\r\n\r\n" + evil,
		"StartLineHTTP09":      "GET /\r\n\r\n" + evil,
		"StartLineHTTP2":       "POST / HTTP/2.0\r\nHost: a\r\n\r\n" + evil,
		"StartLineHTTP12":      "POST / HTTP/1.12\r\nHost: a\r\n\r\n" + evil,
		"StartLineLowerCase":   "POST / http/1.1\r\nHost: a\r\n\r\n" + evil,
		"StartLineCR":          "POST /\r HTTP/1.1\r\nHost: a\r\n\r\n" + evil,
		"StartLineNUL":         "POST /\x00 HTTP/1.1\r\nHost: a\r\n\r\n" + evil,
		"StartLineLF":          "POST /\nHost: evil HTTP/1.1\r\nHost: a\r\n\r\n" + evil,
		"MethodColon":          "PO:ST / HTTP/1.1\r\nHost: a\r\n\r\n" + evil,
		"MethodEmpty":          " / HTTP/1.1\r\nHost: a\r\n\r\n" + evil,
		"LeadingSpace":         " " + h + "\r\n" + evil,
		"LeadingLF":            "\n" + h + "\r\n" + evil,
		"LeadingCR":            "\r" + h + "\r\n" + evil,
		"LeadingNUL":           "\x00" + h + "\r\n" + evil,
		"NoHost":               "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + evil,
		"TwoHosts":             h + "Host: b\r\nContent-Length: 0\r\n\r\n" + evil,
		"TwoHostsSame":         h + "Host: a\r\nContent-Length: 0\r\n\r\n" + evil,
		"HostFolded":           "POST / HTTP/1.1\r\nHost:\r\n a\r\n\r\n" + evil,
		"NameSpaceBeforeColon": h + "Content-Length : 5\r\n\r\nhello" + evil,
		"NameTabBeforeColon":   h + "Content-Length\t: 5\r\n\r\nhello" + evil,
		"NameLeadingSpace":     h + " Content-Length: 5\r\n\r\nhello" + evil,
		"NameNUL":              h + "Content-Length\x00: 5\r\n\r\nhello" + evil,
		"NameVT":               h + "\x0bContent-Length: 5\r\n\r\nhello" + evil,
		"NameNBSP":             h + "Content-Length\xa0: 5\r\n\r\nhello" + evil,
		"NameEmpty":            h + ": x\r\n\r\n" + evil,
		"NameQuoted":           h + "\"Content-Length\": 5\r\n\r\nhello" + evil,
		"NameBracket":          h + "Transfer-Encoding[]: chunked\r\n\r\n" + evil,
		"ValueNUL":             h + "X: a\x00b\r\nContent-Length: 0\r\n\r\n" + evil,
		"ValueCR":              h + "X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + evil,
		"ValueBackspace":       h + "X: a\x08\r\nContent-Length: 0\r\n\r\n" + evil,
		"CLSpaceInside":        h + "Content-Length: 1 1\r\n\r\na" + evil,
		"CLTrailingComma":      h + "Content-Length: 1,\r\n\r\na" + evil,
		"CLFloat":              h + "Content-Length: 1.0\r\n\r\na" + evil,
		"CLExponent":           h + "Content-Length: 1e1\r\n\r\na" + evil,
		"CLUnderscoreDigits":   h + "Content-Length: 1_0\r\n\r\na" + evil,
		"CLQuoted":             h + "Content-Length: \"1\"\r\n\r\na" + evil,
		"CLArabicDigits":       h + "Content-Length: \u0661\r\n\r\na" + evil,
		"CLFullwidthDigit":     h + "Content-Length: \uff11\r\n\r\na" + evil,
		"CLVerticalTab":        h + "Content-Length: \x0b1\r\n\r\na" + evil,
		"CLFormFeed":           h + "Content-Length: 1\x0c\r\n\r\na" + evil,
		"CLMinusZero":          h + "Content-Length: -0\r\n\r\n" + evil,
		"CLInt64":              h + "Content-Length: 9223372036854775808\r\n\r\n" + evil,
		"CLUint64Wrap":         h + "Content-Length: 18446744073709551617\r\n\r\na" + evil,
		"CLTwiceCase":          h + "content-length: 1\r\nCONTENT-LENGTH: 1\r\n\r\na" + evil,
		"CLAndUnderscore":      h + "Content-Length: 1\r\nContent_Length: 5\r\n\r\na" + evil,
		"CLOnBothSidesOfTE":    h + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + evil,
		"TEEmpty":              h + "Transfer-Encoding:\r\n\r\n" + evil,
		"TEIdentity":           h + "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello" + evil,
		"TEChunkedChunked":     h + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + evil,
		"TEChunkedIdentity":    h + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + evil,
		"TEQuoted":             h + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n" + evil,
		"TEParameter":          h + "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n" + evil,
		"TETrailingComma":      h + "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n" + evil,
		"TELeadingComma":       h + "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n" + evil,
		"TENUL":                h + "Transfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n" + evil,
		"TEUnicode":            h + "Transfer-Encoding: chun\u212aed\r\n\r\n0\r\n\r\n" + evil,
		"TEFormFeed":           h + "Transfer-Encoding: \x0cchunked\r\n\r\n0\r\n\r\n" + evil,
		"TEUnderscoreAndCL":    h + "Transfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello" + evil,
		"TECow":                h + "Transfer-Encoding: cow\r\nContent-Length: 5\r\n\r\nhello" + evil,
		"TESplitOverLines":     h + "Transfer-Encoding: ch\r\n unked\r\n\r\n0\r\n\r\n" + evil,
		"ChunkHex0x":           te + "0x1\r\na\r\n0\r\n\r\n" + evil,
		"ChunkSizeEmpty":       te + "\r\na\r\n0\r\n\r\n" + evil,
		"ChunkSizeMinus":       te + "-1\r\na\r\n0\r\n\r\n" + evil,
		"ChunkSizeTab":         te + "1\t\r\na\r\n0\r\n\r\n" + evil,
		"ChunkSizeLeading":     te + " 1\r\na\r\n0\r\n\r\n" + evil,
		"ChunkSizeUnderscore":  te + "1_0\r\na\r\n0\r\n\r\n" + evil,
		"ChunkSizeNUL":         te + "1\x00\r\na\r\n0\r\n\r\n" + evil,
		"ChunkSizeLong":        te + strings.Repeat("0", 200) + "1\r\na\r\n0\r\n\r\n" + evil,
		"ChunkExtEmpty":        te + "1;\r\na\r\n0\r\n\r\n" + evil,
		"ChunkExtLF":           te + "1;x\na\r\n0\r\n\r\n" + evil,
		"ChunkExtQuotedCRLF":   te + "1;x=\"\r\n\"\r\na\r\n0\r\n\r\n" + evil,
		"ChunkExtLast":         te + "1\r\na\r\n0;x\r\n\r\n" + evil,
		"ChunkShort":           te + "5\r\na\r\n0\r\n\r\n" + evil,
		"ChunkLong":            te + "1\r\nabc\r\n0\r\n\r\n" + evil,
		"ChunkEndsLF":          te + "1\r\na\n0\r\n\r\n" + evil,
		"ChunkEndsCR":          te + "1\r\na\r0\r\n\r\n" + evil,
		"ChunkLastLF":          te + "1\r\na\r\n0\n\n" + evil,
		"ChunkLastCRLFLF":      te + "1\r\na\r\n0\r\n\n" + evil,
		"TrailerHost":          te + "0\r\nHost : b\r\n\r\n" + evil,
		"TrailerNoColon":       te + "0\r\nGET /evil HTTP/1.1\r\n\r\n" + evil,
		"TrailerLF":            te + "0\r\nX: y\n\r\n" + evil,
		"TrailerTEUnderscore":  te + "0\r\nTransfer_Encoding: chunked\r\n\r\n" + evil,
		"EndOfHeadLF":          h + "Content-Length: 0\r\n\n" + evil,
		"EndOfHeadCRCR":        h + "Content-Length: 0\r\r\n\r\n" + evil,
		"HTTP10Chunked":        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n" + evil,
	}
	maps.Copy(all, smuggling())
	return all
}

// odd are requests that have one reading, however unusual: answered as they are meant.
func odd() map[string]string {
	const h = "POST / HTTP/1.1\r\nHost: a\r\n"
	return map[string]string{
		"LengthZeros":    h + "Content-Length: 005\r\n\r\nhello",
		"LengthPadding":  h + "Content-Length: \t 5\t \r\n\r\nhello",
		"LengthCase":     h + "cOnTeNt-LeNgTh:5\r\n\r\nhello",
		"ChunkZeros":     h + "Transfer-Encoding: chunked\r\n\r\n0005\r\nhello\r\n000\r\n\r\n",
		"ChunkedCase":    h + "transfer-encoding:CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"ChunkHexCase":   h + "Transfer-Encoding: chunked\r\n\r\n00000A\r\nhellohello\r\n0\r\n\r\n",
		"BodyOfRequests": h + "Content-Length: 38\r\n\r\nGET /evil HTTP/1.1\r\nHost: api.test\r\n\r\n",
		"ChunkOfRequest": h + "Transfer-Encoding: chunked\r\n\r\n26\r\nGET /evil HTTP/1.1\r\nHost: api.test\r\n\r\n\r\n0\r\n\r\n",
		"GetWithBody":    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"DeleteWithBody": "DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"Trailer":        h + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
		"ObsText":        h + "X: \xff\xfe\r\nContent-Length: 5\r\n\r\nhello",
		"ConnectionTE":   h + "Connection: transfer-encoding, content-length\r\nContent-Length: 5\r\n\r\nhello",
		"TEHeader":       h + "TE: chunked, trailers\r\nContent-Length: 5\r\n\r\nhello",
	}
}

// strict is an upstream that reads HTTP/1.1 by the letter: every byte has to
// belong to one request, framed one way.
type strict struct {
	mu     sync.Mutex
	whole  []string // "METHOD target body"
	faults []string
}

func (s *strict) serve(c *tls.Conn, _ *net.TCPConn) {
	r := bufio.NewReader(c)
	for {
		got, err := strictRequest(r)
		s.mu.Lock()
		switch {
		case err == nil:
			s.whole = append(s.whole, got)
		case !errors.Is(err, io.EOF) && !errors.Is(err, errCutOff):
			s.faults = append(s.faults, err.Error())
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}

func (s *strict) take() (whole, faults []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	whole, faults = s.whole, s.faults
	s.whole, s.faults = nil, nil
	return whole, faults
}

var errCutOff = errors.New("cut off") // a constant: never assigned again

func strictLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", errCutOff
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok || strings.ContainsAny(line, "\r\x00") {
		return "", fmt.Errorf("line %q", line)
	}
	return line, nil
}

// strictRequest reads one request.
func strictRequest(r *bufio.Reader) (string, error) {
	if _, err := r.Peek(1); err != nil {
		return "", io.EOF
	}
	start, err := strictLine(r)
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`^([A-Z]+) (/[!-~]*) HTTP/1\.1$`).FindStringSubmatch(start)
	if m == nil {
		return "", fmt.Errorf("request line %q", start)
	}
	length, chunked := -1, false
	for {
		line, err := strictLine(r)
		if err != nil {
			return "", err
		}
		if line == "" {
			break
		}
		f := regexp.MustCompile("^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?(.*)$").FindStringSubmatch(line)
		if f == nil {
			return "", fmt.Errorf("field %q", line)
		}
		switch strings.ReplaceAll(strings.ToLower(f[1]), "_", "-") {
		case "content-length":
			n, err := strconv.ParseUint(f[2], 10, 31)
			if err != nil || length >= 0 || chunked {
				return "", fmt.Errorf("field %q", line)
			}
			length = int(n)
		case "transfer-encoding":
			if f[2] != "chunked" || length >= 0 || chunked {
				return "", fmt.Errorf("field %q", line)
			}
			chunked = true
		}
	}
	body, err := strictBody(r, length, chunked)
	return m[1] + " " + m[2] + " " + body, err
}

func strictBody(r *bufio.Reader, length int, chunked bool) (string, error) {
	if !chunked {
		body := make([]byte, max(length, 0))
		if _, err := io.ReadFull(r, body); err != nil {
			return "", errCutOff
		}
		return string(body), nil
	}
	var body strings.Builder
	for {
		line, err := strictLine(r)
		if err != nil {
			return "", err
		}
		n, err := strconv.ParseUint(line, 16, 31)
		if err != nil {
			return "", fmt.Errorf("chunk size %q", line)
		}
		if n == 0 {
			break
		}
		if _, err := io.CopyN(&body, r, int64(n)); err != nil {
			return "", errCutOff
		}
		if end, err := strictLine(r); err != nil || end != "" {
			return "", errCutOff
		}
	}
	for { // trailers
		line, err := strictLine(r)
		if err != nil || line == "" {
			return body.String(), err
		}
	}
}

// TestSmugglingCorpus sends the corpus through the listener: each is refused, its
// connection closed, and the upstream has at most the whole requests that were answered.
func TestSmugglingCorpus(t *testing.T) {
	up := &strict{}
	s := newStage(t, Options{}, api(handUpstream(t, up.serve)))
	corpus := moreSmuggling()
	if len(corpus) < 100 {
		t.Errorf("only %d cases", len(corpus))
	}
	for _, name := range slices.Sorted(maps.Keys(corpus)) {
		tc := s.open("api.test:443", "api.test")
		statuses := s.statuses(tc, corpus[name])
		whole, faults := up.take()
		if len(faults) > 0 {
			t.Errorf("%s: the upstream got %q", name, faults)
		}
		if n := len(statuses); n > 0 && statuses[n-1] < 400 && name != "SecondRequestBareLF" && name != "ChunkShort" {
			t.Errorf("%s: answers %v", name, statuses)
		}
		passed := 0
		for _, code := range statuses {
			if code == http.StatusOK {
				passed++
			}
		}
		if len(whole) > passed {
			t.Errorf("%s: the upstream got %q, the client %v", name, whole, statuses)
		}
		for _, w := range whole {
			if strings.Contains(w, "/evil ") {
				t.Errorf("%s: the upstream got the smuggled request", name)
			}
		}
	}
}

// TestOddRequestsPass: what has one reading passes as that, and so does what follows it.
func TestOddRequestsPass(t *testing.T) {
	up := &strict{}
	s := newStage(t, Options{}, api(handUpstream(t, up.serve)))
	for name, text := range odd() {
		tc := s.open("api.test:443", "api.test")
		statuses := s.statuses(tc, text+"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		whole, faults := up.take()
		if !slices.Equal(statuses, []int{200, 200}) || len(faults) > 0 || len(whole) != 2 || whole[1] != "GET /next " {
			t.Errorf("%s: answers %v, upstream %q, faults %q", name, statuses, whole, faults)
		} else if _, body, _ := strings.Cut(whole[0], " / "); !strings.Contains(body, "hello") && !strings.HasPrefix(body, "GET /evil HTTP/1.1\r\n") {
			t.Errorf("%s: the upstream got %q", name, whole[0])
		}
	}
}

// statuses sends text and returns the answers until the connection ends.
func (s *stage) statuses(tc *tls.Conn, text string) []int {
	s.Helper()
	_, _ = io.WriteString(tc, strings.ReplaceAll(text, "Host: a\r\n", "Host: api.test\r\n"))
	_ = tc.SetReadDeadline(time.Now().Add(patience))
	var all []int
	for r := bufio.NewReader(tc); ; {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
				s.Errorf("%.80q: the connection stays open after %v", text, all)
			}
			return all
		}
		_, _ = io.Copy(io.Discard, res.Body)
		all = append(all, res.StatusCode)
	}
}
