package proxy

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// refusing takes no answer.
type refusing struct{ http.ResponseWriter }

func (refusing) Header() http.Header       { return http.Header{} }
func (refusing) WriteHeader(int)           {}
func (refusing) Write([]byte) (int, error) { return 0, errors.New("the stream is gone") }

// TestBufferOfAFailedWriteIsNotLentAgain: HTTP/2 may still be sending what a failed write gave it; another caller's answer
// must not come to stand there.
func TestBufferOfAFailedWriteIsNotLentAgain(t *testing.T) {
	p := &Proxy{buffers: newBuffers()}
	x := &exchange{p: p, in: &http.Request{Method: http.MethodGet}}
	x.to.ResponseWriter, x.to.x, x.to.status = refusing{}, x, http.StatusOK
	x.out = &x.to
	res := &http.Response{Body: io.NopCloser(strings.NewReader("answer")), ContentLength: 6}
	if err := x.copyBody(res); err == nil || len(p.buffers) != 0 {
		t.Errorf("%v, %d buffers to be lent", err, len(p.buffers))
	}
}
