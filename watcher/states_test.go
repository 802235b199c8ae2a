package watcher

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attache-proxy/attache/inject/secret"
	"github.com/attache-proxy/attache/watcher/source"
)

var gone = &source.ReadError{Problem: "not found", Where: "file /f", Err: fs.ErrNotExist}

func lastState(s *Store) string {
	st := s.Status()[0]
	return strings.TrimSpace(fmt.Sprintf("%s %s", st.State, st.Reason))
}

func jwt(exp time.Time) string {
	enc := base64.RawURLEncoding.EncodeToString
	return enc([]byte(`{"alg":"none-of-your-business"}`)) + "." + enc(fmt.Appendf(nil, `{"exp":%d}`, exp.Unix())) + ".c2ln"
}

// one keeps one fake secret, polled seldom.
func one(t *testing.T, r *recorder, n Notices, f *fake, change func(*Spec)) *Store {
	o := r.options(n)
	o.OnMissed = func(string) { r.changes = append(r.changes, Change{Result: "missed"}) }
	s := New(o)
	spec := Spec{Name: "k", Source: f, Poll: 24 * time.Hour}
	if change != nil {
		change(&spec)
	}
	s.Apply(t.Context(), []Spec{spec})
	return s
}

func TestExpiredJWTIsNeverUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		exp := time.Now().Add(time.Hour).Truncate(time.Second)
		first := jwt(exp)
		f := &fake{text: first}
		s := one(t, &r, nil, f, nil)
		defer s.Close()
		expect(t, s, "k", first+" g1")
		if st := s.Status()[0]; !st.Expires.Equal(exp) {
			t.Errorf("expires %v, want %v", st.Expires, exp)
		}
		old := s.Set()
		time.Sleep(time.Until(exp) - time.Millisecond)
		synctest.Wait()
		expect(t, s, "k", first+" g1")
		if n := f.count(); n < 2 {
			t.Error("nobody looked for another before it expired")
		}
		time.Sleep(time.Millisecond)
		if _, err := old.Lookup("k"); err == nil || err.Error() != `secret "k": expired` {
			t.Errorf("an old Set still gives it: %v", err)
		}
		synctest.Wait()
		expectState(t, s, "k EXPIRED expired")
		e, _ := s.Set().Entry("k")
		if !e.Current.IsZero() || e.Problem != "expired" || e.Previous.Reveal() != first {
			t.Errorf("%+v", e)
		}
		s.Refresh(t.Context()) // the same again
		expectState(t, s, "k EXPIRED expired")
		next := jwt(time.Now().Add(time.Hour))
		f.put(next, nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		expect(t, s, "k", next+" g2")
		f.put(jwt(time.Now().Add(-time.Second)), nil) // one that has expired never replaces a good one
		s.Refresh(t.Context())
		expect(t, s, "k", next+" g2")
		if st := lastState(s); !strings.HasPrefix(st, "STALE expired at 20") {
			t.Error(st)
		}
		if i := slices.Index(r.results(), "expired"); i < 0 {
			t.Error(r.results())
		}
	})
}

func pair(t *testing.T, notAfter time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &k.PublicKey, k)
	check(t, err)
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	check(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

func TestCertificateAndKey(t *testing.T) {
	until := time.Now().Add(time.Hour).Truncate(time.Second)
	cert, key := pair(t, until)
	_, otherKey := pair(t, until)
	expired, expiredKey := pair(t, time.Now().Add(-time.Hour))
	for text, want := range map[string]string{
		cert + key: "", key + cert: "", cert: "", key: "",
		cert + otherKey:      "do not belong together",
		expired + expiredKey: "expired at",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n": "cannot be read",
	} {
		exp, err := validate([]byte(text), Expect{Kind: "pem"}, time.Now())
		if want == "" && (err != nil || strings.Contains(text, "CERT") && !exp.Equal(until)) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.40s…: %v %v, want %q", text, exp, err, want)
		}
	}
}

func TestExpectedContent(t *testing.T) {
	re, err := Regex("sk_[a-z]{4}|x")
	check(t, err)
	for _, c := range []struct {
		expect Expect
		text   string
		ok     bool
	}{
		{re, "sk_abcd", true}, {re, "sk_abc", false}, {re, "sk_abcde", false}, {re, "xx", false}, {re, "x", true},
		{Expect{Kind: "json"}, `{"a":1}`, true}, {Expect{Kind: "json"}, `{"a":1`, false},
		{Expect{Kind: "jwt"}, jwt(time.Now().Add(time.Hour)), true}, {Expect{Kind: "jwt"}, "a.b.c", false}, {Expect{Kind: "jwt"}, "4711", false},
		{Expect{Kind: "pem"}, "4711", false}, {Expect{}, "a.b.c", true},
	} {
		if _, err := validate([]byte(c.text), c.expect, time.Now()); (err == nil) != c.ok {
			t.Errorf("%s of %q: %v", c.expect.Kind, c.text, err)
		} else if err != nil && strings.Contains(err.Error(), c.text) {
			t.Errorf("the error shows content: %v", err)
		}
	}
}

func TestSecretDeleted(t *testing.T) {
	for _, policy := range []Policy{Keep, Withdraw} {
		synctest.Test(t, func(t *testing.T) {
			var r recorder
			f := &fake{text: "one"}
			s := one(t, &r, nil, f, func(s *Spec) { s.OnDeleted = policy; s.MaxStale = time.Hour })
			defer s.Close()
			f.put("", gone)
			s.Refresh(t.Context())
			time.Sleep(5 * time.Second)
			expect(t, s, "k", "one g1")
			f.put("one", nil) // back within the grace
			s.Refresh(t.Context())
			expectState(t, s, "k READY")
			f.put("", gone)
			s.Refresh(t.Context())
			time.Sleep(10 * time.Second)
			synctest.Wait()
			if policy == Keep {
				expect(t, s, "k", "one g1")
				expectState(t, s, "k STALE not found (file /f)")
				time.Sleep(time.Hour)
				synctest.Wait()
				expectState(t, s, "k EXPIRED could not be confirmed for 1h0m0s: not found (file /f)")
			} else {
				expectState(t, s, "k REVOKED deleted: not found (file /f)")
			}
			e, _ := s.Set().Entry("k")
			if !e.Current.IsZero() || e.Problem == "" || e.Previous.Reveal() != "one" {
				t.Errorf("%+v: withdrawn, and still to be masked", e)
			}
			f.put("one", nil)
			s.Refresh(t.Context())
			expect(t, s, "k", "one g1")
			f.put("two", nil)
			s.Refresh(t.Context())
			expect(t, s, "k", "two g2")
			if e, _ := s.Set().Entry("k"); e.Previous.Reveal() != "one" {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestInvalidContentDenied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		f := &fake{text: "one"}
		s := one(t, &r, nil, f, func(s *Spec) { s.OnInvalid = Withdraw })
		defer s.Close()
		f.put("4711\x00", nil)
		s.Refresh(t.Context())
		expect(t, s, "k", "one g1") // a moment for who writes in place
		time.Sleep(time.Second)
		synctest.Wait()
		expectState(t, s, "k REVOKED replaced by invalid content: holds a NUL byte")
		f.put("", errors.New("no route to the store")) // says nothing of content
		s.Refresh(t.Context())
		expectState(t, s, "k REVOKED replaced by invalid content: holds a NUL byte")
		f.put("two", nil)
		s.Refresh(t.Context())
		expect(t, s, "k", "two g2")
		f.put("", errors.New("no route to the store"))
		s.Refresh(t.Context())
		time.Sleep(time.Hour)
		synctest.Wait()
		expect(t, s, "k", "two g2")
		time.Sleep(24 * time.Hour)
		synctest.Wait()
		expectState(t, s, "k EXPIRED could not be confirmed for 24h0m0s: no route to the store")
		if n := len(r.sets); n != 4 {
			t.Errorf("%d sets, want one a step", n)
		}
	})
}

func TestStatesOfARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		n := &notices{}
		f := &fake{text: "one", files: []string{"/f"}}
		s := one(t, &r, n, f, nil)
		defer s.Close()
		expectState(t, s, "k READY")
		f.mu.Lock()
		f.reads, f.read = 0, func(n int) (string, error) { return strings.Repeat("t", min(n, 3)), nil } // being written
		f.mu.Unlock()
		n.tell()
		synctest.Wait()
		expectState(t, s, "k SETTLING")
		expect(t, s, "k", "one g1")
		time.Sleep(time.Second)
		synctest.Wait()
		expectState(t, s, "k READY")
		expect(t, s, "k", "ttt g2")
	})
}

// A writer that has the file open keeps the old value in force, for 10 s at most.
func TestTornWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		n := &notices{}
		f := &fake{text: "old", files: []string{"/f"}}
		s := one(t, &r, n, f, nil)
		defer s.Close()
		writing := &source.UnsettledError{Where: "file /f"}
		f.put("ne", writing)
		n.tell()
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			expect(t, s, "k", "old g1")
			expectState(t, s, "k SETTLING")
		}
		f.put("new", nil)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		expect(t, s, "k", "new g2")
		f.put("newer", writing) // one that never closes it
		n.tell()
		time.Sleep(10*time.Second + 100*time.Millisecond)
		synctest.Wait()
		expect(t, s, "k", "newer g3")
		if got := strings.Join(r.results(), " "); got != "rotated rotated rotated" {
			t.Error(got)
		}
	})
}

func TestMissedChangeIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		n := &notices{}
		f := &fake{text: "one", files: []string{"/f"}}
		s := one(t, &r, n, f, func(s *Spec) { s.Poll = 10 * time.Second })
		defer s.Close()
		f.put("two", nil)
		time.Sleep(20 * time.Second) // nobody tells
		synctest.Wait()
		expect(t, s, "k", "two g2")
		f.put("three", nil)
		for reveal(s, "k") == "two g2" {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		n.tell() // the poll was only quicker
		f.put("four", nil)
		n.tell()
		time.Sleep(time.Minute)
		synctest.Wait()
		expect(t, s, "k", "four g4")
		if got := strings.Join(r.results(), " "); got != "rotated rotated missed rotated rotated" {
			t.Error(got)
		}
	})
}

func TestRereadIsRateLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		f := &fake{text: "one"}
		s := one(t, &r, nil, f, nil)
		defer s.Close()
		first, err := s.Set().Lookup("k")
		check(t, err)
		reads := f.count()
		for range 100 {
			if s.Reread(t.Context(), first) {
				t.Error("there is no other version")
			}
		}
		if n := f.count() - reads; n != 1 {
			t.Errorf("%d reads for a hundred refusals", n)
		}
		f.put("two", nil)
		if s.Reread(t.Context(), first) {
			t.Error("looked again too soon")
		}
		time.Sleep(10 * time.Second)
		f.mu.Lock()
		f.hang = make(chan struct{})
		f.mu.Unlock()
		var wg sync.WaitGroup
		for range 10 { // they wait for one look
			wg.Go(func() {
				if !s.Reread(t.Context(), first) {
					t.Error("did not wait for the new version")
				}
			})
		}
		synctest.Wait()
		time.Sleep(500 * time.Millisecond)
		close(f.hang)
		wg.Wait()
		second, _ := s.Set().Lookup("k")
		if reads := f.count(); !s.Reread(t.Context(), first) || f.count() != reads {
			t.Error("a version that is there needs no look")
		}
		time.Sleep(10 * time.Second)
		f.mu.Lock()
		f.hang = make(chan struct{})
		f.mu.Unlock()
		start := time.Now()
		if s.Reread(t.Context(), second) || time.Since(start) != time.Second {
			t.Errorf("waited %v", time.Since(start))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if s.Reread(ctx, secret.New("nobody", 1, start, nil)) || s.Reread(ctx, second) {
			t.Error("there is no other version")
		}
		close(f.hang)
	})
}

// A user name and its password change together or not at all.
func TestPairIsOneVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r recorder
		n := &notices{}
		s := New(r.options(n))
		defer s.Close()
		doc := `{"user":"u1","password":"p1"}`
		var mu sync.Mutex
		read := func(int) (string, error) { mu.Lock(); defer mu.Unlock(); return doc, nil }
		put := func(v string) { mu.Lock(); defer mu.Unlock(); doc = v }
		files := []string{"/d/user", "/d/password"}
		user, password := &fake{files: files, read: read}, &fake{files: files, read: read}
		s.Apply(t.Context(), []Spec{{Name: "user", Source: user, Field: "user"}, {Name: "password", Source: password, Field: "password"}})
		expect(t, s, "user", "u1 g1")
		put(`{"user":"u2","password":"4711\u0000"}`) // half of it is of no use
		n.tell()
		time.Sleep(time.Second)
		synctest.Wait()
		expect(t, s, "user", "u1 g1")
		expect(t, s, "password", "p1 g1")
		put(`{"user":"u3","password":"p3"}`)
		time.Sleep(time.Minute) // by polls alone, each with a jitter of its own
		synctest.Wait()
		expect(t, s, "user", "u3 g2")
		expect(t, s, "password", "p3 g2")
		for _, set := range r.sets {
			u, _ := set.Lookup("user")
			p, _ := set.Lookup("password")
			if u.Reveal()[1:] != p.Reveal()[1:] {
				t.Errorf("published %s with %s", u.Reveal(), p.Reveal())
			}
		}
		if o := []outcome{{raw: [32]byte{1}, text: []byte("u")}, {raw: [32]byte{2}, text: []byte("p")}}; true {
			together([]*kept{newKept(Spec{Source: user}), newKept(Spec{Source: password})}, o)
			if o[0].err == nil || o[1].err == nil || o[0].text != nil {
				t.Error("two versions went together")
			}
		}
	})
}
