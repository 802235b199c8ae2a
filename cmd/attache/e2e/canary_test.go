package e2e

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// newCanary is a secret that is spelt differently in every encoding, and found
// nowhere by chance.
func newCanary() string {
	return "canary-" + rand.Text()[:10] + `/+=%&<"\` + rand.Text()[:10]
}

// spellings are the forms in which a secret could come back, by their names.
func spellings(secret string) map[string][]byte {
	all := map[string][]byte{}
	add := func(name, s string) { all[name] = []byte(s) }
	add("raw", secret)
	add("hex", hex.EncodeToString([]byte(secret)))
	add("HEX", strings.ToUpper(hex.EncodeToString([]byte(secret))))
	add("query", url.QueryEscape(secret))
	add("path", url.PathEscape(secret))
	add("percent, lower case", lowerEscapes(url.QueryEscape(secret)))
	add("quoted by Go", strings.Trim(strconv.Quote(secret), `"`))
	inJSON, _ := json.Marshal(strconv.Quote(secret)) // an error's text in an audit line
	add("quoted by Go, in JSON", strings.Trim(string(inJSON), `"\`))
	quoted, _ := json.Marshal(secret)
	add("JSON as Go writes it", strings.Trim(string(quoted), `"`))
	minimal := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(secret)
	add("JSON", minimal)
	add(`JSON with \/`, strings.ReplaceAll(minimal, "/", `\/`))
	add("Go string", strings.Trim(fmt.Sprintf("%q", secret), `"`))
	add("HTML", html.EscapeString(secret))
	// The ends of a base64 text depend on what stands around it: leave out
	// the first and last group.
	for offset := range 3 {
		padded := append(bytes.Repeat([]byte{0}, offset), secret...)
		std := base64.RawStdEncoding.EncodeToString(padded)
		std = std[4 : len(std)/4*4]
		add(fmt.Sprintf("base64 at %d", offset), std)
		add(fmt.Sprintf("base64url at %d", offset), strings.NewReplacer("+", "-", "/", "_").Replace(std))
	}
	return all
}

func lowerEscapes(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:i+3], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

// searchCanary fails the test if a secret stands in what, in any spelling. It
// prints no more than the place.
func searchCanary(t *testing.T, where string, what []byte, secret string) {
	t.Helper()
	for name, form := range spellings(secret) {
		if i := bytes.Index(what, form); i >= 0 {
			before := what[max(0, i-120):i]
			t.Errorf("the secret stands in %s (as %s), after %q", where, name, before)
			return
		}
	}
}

// recorder keeps all that is written to it.
type recorder struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed by the next Write; nil: nobody waits
}

func (r *recorder) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
	return r.b.Write(p)
}

// wait reports whether text was written before limit.
func (r *recorder) wait(text string, limit <-chan time.Time) bool {
	for {
		r.mu.Lock()
		if bytes.Contains(r.b.Bytes(), []byte(text)) {
			r.mu.Unlock()
			return true
		}
		if r.more == nil {
			r.more = make(chan struct{})
		}
		more := r.more
		r.mu.Unlock()
		select {
		case <-more:
		case <-limit:
			return false
		}
	}
}

func (r *recorder) Bytes() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return bytes.Clone(r.b.Bytes())
}

func (r *recorder) String() string { return string(r.Bytes()) }

func TestSearchCanaryFindsEverySpelling(t *testing.T) {
	secret := newCanary()
	for name, form := range spellings(secret) {
		found := false
		for _, other := range spellings(secret) {
			found = found || bytes.Contains(append([]byte("x "), form...), other)
		}
		if !found {
			t.Errorf("%s is not found", name)
		}
	}
	for offset := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte("Basic user:"[:9+offset] + secret + "tail"))
		hit := false
		for _, form := range spellings(secret) {
			hit = hit || strings.Contains(text, string(form))
		}
		if !hit {
			t.Errorf("base64 after %d bytes is not found", 9+offset)
		}
	}
}
