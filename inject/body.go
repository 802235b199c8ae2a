package inject

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
)

const (
	defaultBodyLimit = 1 << 20
	mostBodyLimit    = 64 << 20
)

// BodyTooLargeError says that a request's body is larger than what may be
// buffered for signing it. The client is answered 413.
type BodyTooLargeError struct {
	Limit int64 // bytes
}

func (e *BodyTooLargeError) Error() string {
	return fmt.Sprintf("request body: over %d bytes, the most that is buffered to be signed", e.Limit)
}

// BodyError says that a request's body ended early. The client is at fault.
type BodyError struct {
	Err error
}

func (e *BodyError) Error() string { return "request body: " + e.Err.Error() }
func (e *BodyError) Unwrap() error { return e.Err }

// RequestError says that a request cannot be signed as it stands: 400.
type RequestError struct {
	Problem string
}

func (e *RequestError) Error() string { return "request: " + e.Problem }

// bodyLimit checks the option of that name and fills in its default.
func bodyLimit(limit int64) (int64, error) {
	switch {
	case limit == 0:
		return defaultBodyLimit, nil
	case limit < 0 || limit > mostBodyLimit:
		return 0, &OptionError{Option: "body_limit", Problem: fmt.Sprintf("must be between 1 and %d bytes", mostBodyLimit)}
	}
	return limit, nil
}

// buffer reads the whole body of out, up to limit bytes, and puts in its place
// one that gives the same bytes with their length. A body that does not come
// to its end is an error: nobody gets a signature of half a body.
func buffer(out *http.Request, limit int64) ([]byte, error) {
	if out.Body == nil || out.Body == http.NoBody {
		return nil, nil
	}
	if out.ContentLength > limit {
		return nil, &BodyTooLargeError{limit}
	}
	body := bytes.NewBuffer(make([]byte, 0, max(out.ContentLength, 0)+bytes.MinRead))
	n, err := body.ReadFrom(io.LimitReader(out.Body, limit+1))
	switch {
	case err != nil:
		return nil, &BodyError{err}
	case n > limit:
		return nil, &BodyTooLargeError{limit}
	case out.ContentLength >= 0 && n != out.ContentLength:
		return nil, &BodyError{io.ErrUnexpectedEOF}
	}
	text := body.Bytes()
	out.Body = &buffered{*bytes.NewReader(text), out.Body}
	if len(out.Trailer) == 0 { // trailers travel after chunks only
		out.ContentLength = n
		out.TransferEncoding = nil
		if n == 0 {
			err = out.Body.Close()
			out.Body = http.NoBody
		}
	}
	if err != nil {
		return nil, &BodyError{err}
	}
	return text, nil
}

type buffered struct {
	bytes.Reader
	io.Closer // the body that was read
}
