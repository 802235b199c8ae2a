package proxy

import (
	"bytes"
	"errors"
	"io"
	"strings"
)

// framing checks a client's HTTP/1 byte stream ahead of net/http, which
// accepts what intermediaries disagree on: Content-Length beside
// Transfer-Encoding (it drops the former), bare LF, folded header lines,
// chunk extensions. RFC 9112 §§2.2, 5.2, 6.3 and 7.1.1 let a server refuse
// all of these, and a proxy that holds credentials does.
//
// It withholds the byte that completes a faulty line, so that net/http never
// sees a whole faulty request and answers 400.
type framing struct {
	state  framingState
	line   []byte // the line being read, cut at cap
	long   bool   // line was cut
	last   byte   // the byte before the next one
	tail   []byte // the end of the line, for the version of a long request line
	first  bool   // no line of this head has ended yet
	seen   framingHeaders
	remain uint64 // bytes of body or chunk to come
	bare   bool   // what was read last is the end of a request without a body
	failed bool
}

type framingState uint8

const (
	framingHead framingState = iota
	framingBody
	framingChunkSize
	framingChunkData
	framingChunkEnd
	framingTrailer
	framingRaw // after CONNECT or Upgrade: no longer HTTP/1
)

type framingHeaders struct {
	length, chunked, raw bool
	older                bool // than HTTP/1.1
}

// Bytes of a line that framing looks at: enough for the names and values that
// frame a message. The length of lines is for net/http to limit.
const framingLine = 128

const http11 = " HTTP/1.1\r\n"

var errFraming = errors.New("ambiguous or malformed HTTP/1 framing") // a constant: never assigned again

func newFraming() *framing {
	return &framing{line: make([]byte, 0, framingLine), tail: make([]byte, 0, 2*len(http11)), first: true}
}

// read reads from src into b what passes. After a fault every read gives the
// error: net/http tries again where it skips space. A nil framing checks nothing.
func (f *framing) read(src io.Reader, b []byte, c *conn) (int, error) {
	if f == nil {
		return src.Read(b)
	}
	if f.failed || c.spent.Load() {
		return 0, errFraming
	}
	n, err := src.Read(b)
	if n == 0 {
		return n, err
	}
	ok, bad := f.check(b[:n])
	if bad == nil {
		return n, err
	}
	f.failed = true
	if f.state == framingHead { // else the exchange whose body it is finds out
		c.proxy.refusedFraming(c)
	}
	if ok > 0 {
		return ok, nil
	}
	return 0, bad
}

// betweenRequests reports whether the last request, one without a body, was read whole and nothing since. net/http
// then reads in one of two ways: the next request into its buffer, or a single byte, to learn whether the
// client is still there.
func (f *framing) betweenRequests() bool { return f != nil && f.bare }

// check looks at b, the next bytes of the stream, and returns how many of them
// may be passed on. An error is final.
func (f *framing) check(b []byte) (int, error) {
	for i := 0; i < len(b); {
		f.bare = false
		switch f.state {
		case framingRaw:
			return len(b), nil
		case framingBody, framingChunkData:
			n := min(uint64(len(b)-i), f.remain)
			f.remain -= n
			i += int(n)
			if f.remain == 0 {
				f.endOfData()
			}
		default:
			n, whole := f.takeLine(b[i:])
			if f.bareCR(b[i : i+n]) {
				return i, errFraming
			}
			if whole {
				if err := f.endOfLine(); err != nil {
					return i + n - 1, err
				}
			}
			i += n
		}
	}
	return len(b), nil
}

func (f *framing) endOfData() {
	if f.state == framingBody {
		f.startHead()
		return
	}
	f.state = framingChunkEnd
}

func (f *framing) startHead() {
	f.state, f.first, f.seen = framingHead, true, framingHeaders{}
}

// takeLine adds to the line what of b belongs to it, line feed included, and
// reports whether that ends it.
func (f *framing) takeLine(b []byte) (n int, whole bool) {
	n = bytes.IndexByte(b, '\n') + 1
	whole = n > 0
	if !whole {
		n = len(b)
	}
	room := min(n, cap(f.line)-len(f.line))
	f.line = append(f.line, b[:room]...)
	f.long = f.long || room < n
	if f.first && f.state == framingHead {
		f.keepTail(b[:n])
	}
	return n, whole
}

// keepTail keeps the last bytes of the request line.
func (f *framing) keepTail(b []byte) {
	b = b[max(0, len(b)-len(http11)):]
	if over := len(f.tail) + len(b) - len(http11); over > 0 {
		f.tail = append(f.tail[:0], f.tail[over:]...)
	}
	f.tail = append(f.tail, b...)
}

// bareCR reports a CR without LF, or an LF without CR, in the next bytes of a line.
func (f *framing) bareCR(b []byte) bool {
	for _, c := range b {
		if (c == '\n') != (f.last == '\r') {
			return true
		}
		f.last = c
	}
	if len(b) > 0 && f.last == '\n' {
		f.last = 0
	}
	return false
}

func (f *framing) endOfLine() error {
	line, long := f.line, f.long
	if !long {
		line = line[:len(line)-2]
	}
	f.line, f.long = f.line[:0], false
	switch f.state {
	case framingChunkSize:
		return f.chunkSize(line, long)
	case framingChunkEnd:
		f.state = framingChunkSize
		if len(line) != 0 || long {
			return errFraming
		}
		return nil
	}
	if len(line) == 0 && !long {
		return f.endOfHead()
	}
	if f.first {
		f.first = false
		f.seen.raw = bytes.HasPrefix(line, []byte("CONNECT "))
		f.seen.older = string(f.tail) != http11
		f.tail = f.tail[:0]
		return nil
	}
	return f.header(line, long)
}

func (f *framing) header(line []byte, long bool) error {
	if line[0] == ' ' || line[0] == '\t' {
		return errFraming // obs-fold
	}
	name, value, found := bytes.Cut(line, []byte(":"))
	if !found {
		if long {
			return nil // a name longer than any that frames
		}
		return errFraming
	}
	if n := len(name); n > 0 && (name[n-1] == ' ' || name[n-1] == '\t') {
		return errFraming // RFC 9112 §5.1; net/http lets it pass in trailers
	}
	var known string
	switch len(name) {
	case len("upgrade"), len("content-length"), len("transfer-encoding"):
		known = strings.ToLower(strings.ReplaceAll(string(name), "_", "-"))
	}
	switch known {
	case "content-length":
		if long || f.state == framingTrailer || f.seen.length || !isDigits(bytes.Trim(value, " \t")) || bytes.IndexByte(name, '_') >= 0 {
			return errFraming
		}
		f.seen.length = true
		f.remain = 0
		for _, c := range bytes.Trim(value, " \t") {
			f.remain = f.remain*10 + uint64(c-'0')
		}
	case "transfer-encoding":
		if long || f.state == framingTrailer || f.seen.chunked || !bytes.EqualFold(bytes.Trim(value, " \t"), []byte("chunked")) || bytes.IndexByte(name, '_') >= 0 {
			return errFraming
		}
		f.seen.chunked = true
	case "upgrade":
		f.seen.raw = true
	}
	return nil
}

func (f *framing) endOfHead() error {
	switch {
	case f.state == framingTrailer:
		f.startHead()
	case f.seen.chunked && (f.seen.length || f.seen.older):
		return errFraming
	case f.seen.raw:
		f.state = framingRaw
	case f.seen.chunked:
		f.state = framingChunkSize
	case f.seen.length && f.remain > 0:
		f.state = framingBody
	default:
		f.startHead()
		f.bare = true
	}
	return nil
}

func (f *framing) chunkSize(line []byte, long bool) error {
	if long || len(line) == 0 || len(line) > 15 {
		return errFraming
	}
	var n uint64
	for _, c := range line {
		d := hexDigit(c)
		if d < 0 {
			return errFraming // chunk extensions too
		}
		n = n<<4 | uint64(d)
	}
	f.remain, f.state = n, framingChunkData
	if n == 0 {
		f.state = framingTrailer
	}
	return nil
}

// isDigits reports a decimal number that fits an int64.
func isDigits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(b) > 0 && len(b) <= 18
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
