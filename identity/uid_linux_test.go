package identity

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// connect returns both ends of a connection through l.
func connect(t *testing.T, l net.Listener, network, address string) (client, server net.Conn) {
	t.Helper()
	client, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

func conn(server net.Conn) Conn {
	return Conn{Local: server.LocalAddr(), Remote: server.RemoteAddr(), Net: server}
}

// wrapped is a connection in another, as a TLS or a replaying one.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

func me() uint32 { return uint32(os.Getuid()) }

// withUIDs authenticates by two uids: ours and another's.
func withUIDs(t *testing.T) *Authenticator {
	return mustNew(t, Spec{Name: "other", UID: uid(me() + 1)}, Spec{Name: "me", UID: uid(me())})
}

func TestOtherUserOnUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, server := connect(t, l, "unix", path)
	a := withUIDs(t)
	for _, c := range []net.Conn{server, wrapped{wrapped{server}}} {
		k := conn(server)
		k.Net = c
		p, err := a.Authenticate(a.Observe(k), "", Known{})
		if err != nil || !slices.Equal(p.Names(), []string{"me"}) {
			t.Errorf("%T: %v, %v; want me only", c, p.Names(), err)
		}
	}
}

// asUser runs f on a thread whose effective uid is another, and throws the thread away.
func asUser(t *testing.T, uid uint32, f func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		keep := ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(uid), keep); errno != 0 {
			done <- errno
			return
		}
		done <- f()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A real other user, over both kinds of connection. Only root can become one; for others
// the tests beside this one compare with a uid that is not theirs.
func TestOtherUserIsTold(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("not root: nothing to do here")
		return
	}
	const other = 12345
	a := mustNew(t, Spec{Name: "me", UID: uid(0)}, Spec{Name: "other", UID: uid(other)})
	path := filepath.Join(t.TempDir(), "s")
	for network, address := range map[string]string{"unix": path, "tcp": "127.0.0.1:0"} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if network == "unix" {
			for _, p := range []string{path, filepath.Dir(path), filepath.Dir(filepath.Dir(path))} {
				if err := os.Chmod(p, 0o777); err != nil {
					t.Fatal(err)
				}
			}
		}
		asUser(t, other, func() error {
			client, err := net.Dial(network, l.Addr().String())
			if err == nil {
				t.Cleanup(func() { client.Close() })
			}
			return err
		})
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		if p, err := a.Authenticate(a.Observe(conn(server)), "", Known{}); err != nil || !slices.Equal(p.Names(), []string{"other"}) {
			t.Errorf("%s: %v, %v; want other", network, p.Names(), err)
		}
	}
}

func TestUIDOnLoopbackTCP(t *testing.T) {
	for _, tc := range []struct{ listen, network, dial string }{
		{"127.0.0.1:0", "tcp4", "127.0.0.1"},
		{"127.0.0.2:0", "tcp4", "127.0.0.2"},
		{"[::1]:0", "tcp6", "::1"},
		{"[::]:0", "tcp4", "127.0.0.1"},
		{"[::]:0", "tcp6", "::1"},
		{"0.0.0.0:0", "tcp4", "127.9.9.9"},
	} {
		t.Run(tc.listen+" "+tc.dial, func(t *testing.T) {
			l, err := net.Listen("tcp", tc.listen)
			if err != nil {
				t.Skip("no such address here:", err)
			}
			defer l.Close()
			_, port, _ := net.SplitHostPort(l.Addr().String())
			_, server := connect(t, l, tc.network, net.JoinHostPort(tc.dial, port))
			a := withUIDs(t)
			p, err := a.Authenticate(a.Observe(conn(server)), "", Known{})
			if err != nil || !slices.Equal(p.Names(), []string{"me"}) {
				t.Errorf("%v, %v; want me only", p.Names(), err)
			}
		})
	}
}

// A client whose socket is of family AF_INET6 though it speaks IPv4 (Java's are).
func TestUIDOfMappedClient(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Skip("no IPv6 here:", err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrInet6{Port: l.Addr().(*net.TCPAddr).Port, Addr: netip.MustParseAddr("::ffff:127.0.0.1").As16()}
	if err := unix.Connect(fd, to); err != nil {
		t.Skip("no mapped addresses here:", err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	a := withUIDs(t)
	if o := a.Observe(conn(server)); !o.hasUID || o.uid != me() {
		t.Errorf("%+v, want uid %d", o, me())
	}
}

// A closing socket has no owner any more, and Linux then says uid 0: a process could become
// root by hanging up early.
func TestUIDOfAClosedClientIsUnknown(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a := mustNew(t, Spec{Name: "root", UID: uid(0)}, Spec{Name: "me", UID: uid(me())})
	hangUps := map[string]func(*net.TCPConn) error{
		"close":       (*net.TCPConn).Close,
		"close write": (*net.TCPConn).CloseWrite,
		"reset":       func(c *net.TCPConn) error { _ = c.SetLinger(0); return c.Close() },
	}
	for name, hangUp := range hangUps {
		client, server := connect(t, l, "tcp4", l.Addr().String())
		if o := a.Observe(conn(server)); !o.hasUID {
			t.Fatal("no uid while open: the test would prove nothing")
		}
		if err := hangUp(client.(*net.TCPConn)); err != nil {
			t.Fatal(err)
		}
		_, _ = server.Read(make([]byte, 1)) // until the end has come
		if o := a.Observe(conn(server)); o.hasUID {
			t.Errorf("%s: uid %d of a client that is gone", name, o.uid)
		}
		server.Close()
	}
}

// A client leaves a request behind and hangs up, and another's connection gets its port: the
// request is not the other's.
func TestUIDOfTheNextOnTheSamePort(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, first := connect(t, l, "tcp4", l.Addr().String())
	_ = client.(*net.TCPConn).SetLinger(0) // no TIME_WAIT
	client.Close()
	_, _ = first.Read(make([]byte, 1)) // until the reset has come
	d := net.Dialer{LocalAddr: client.LocalAddr()}
	next, err := d.Dial("tcp4", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	second, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	a := withUIDs(t)
	if o := a.Observe(conn(second)); !o.hasUID {
		t.Error("no uid of the one that is there")
	}
	if o := a.Observe(conn(first)); o.hasUID {
		t.Error("the one that is gone has the uid of the next")
	}
}

func TestUIDIsLookedUpOnlyIfAsked(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, server := connect(t, l, "tcp4", l.Addr().String())
	a := mustNew(t, Spec{Name: "lan", Network: "127.0.0.0/8"})
	if o := a.Observe(conn(server)); o.hasUID {
		t.Error("looked up though no caller has a uid")
	}
	k := conn(server)
	k.Net = nil
	if o := withUIDs(t).Observe(k); o.hasUID {
		t.Error("a uid without a socket to ask")
	}
}

// diagAnswer is a right answer for src and dst.
func diagAnswer(family byte, src, dst netip.AddrPort, uid uint32) []byte {
	b := make([]byte, nlmsgHeader+diagMessage)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint32(b[8:], diagSequence)
	m := b[nlmsgHeader:]
	m[0], m[1] = family, tcpEstablished
	binary.BigEndian.PutUint16(m[4:], src.Port())
	binary.BigEndian.PutUint16(m[6:], dst.Port())
	putAddr(m[8:24], family, src.Addr())
	putAddr(m[24:40], family, dst.Addr())
	binary.NativeEndian.PutUint32(m[64:], uid)
	binary.NativeEndian.PutUint32(m[68:], 4711)
	return b
}

var (
	diagSrc = netip.MustParseAddrPort("127.0.0.1:40000")
	diagDst = netip.MustParseAddrPort("127.0.0.1:15001")
)

func TestDiagAnswerIsReadStrictly(t *testing.T) {
	good := func() []byte { return diagAnswer(unix.AF_INET, diagSrc, diagDst, 1001) }
	if got, ok := diagUID(good(), diagSrc, diagDst); !ok || got != 1001 {
		t.Fatalf("a right answer: %d, %v", got, ok)
	}
	if _, ok := diagUID(diagAnswer(unix.AF_INET6, diagSrc, diagDst, 1001), diagSrc, diagDst); !ok {
		t.Fatal("a right answer with mapped addresses was refused")
	}
	m := nlmsgHeader
	for name, i := range map[string]int{
		"length": 3, "type": 4, "sequence": 8, "family": m, "state": m + 1, "source port": m + 4,
		"destination port": m + 7, "source": m + 11, "destination": m + 24,
	} {
		b := good()
		b[i] ^= 0x40
		if _, ok := diagUID(b, diagSrc, diagDst); ok {
			t.Errorf("%s may be wrong", name)
		}
	}
	b := good()
	clear(b[m+68:])
	if _, ok := diagUID(b, diagSrc, diagDst); ok {
		t.Error("a socket without owner has a uid")
	}
	for n := range len(b) {
		if _, ok := diagUID(good()[:n], diagSrc, diagDst); ok {
			t.Errorf("cut to %d bytes it is accepted", n)
		}
	}
}

func FuzzDiagAnswer(f *testing.F) {
	f.Add([]byte{})
	f.Add(diagAnswer(unix.AF_INET, diagSrc, diagDst, 1001))
	f.Add(diagAnswer(unix.AF_INET6, diagSrc, diagDst, 0))
	f.Add(diagAnswer(unix.AF_INET, diagDst, diagSrc, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		uid, ok := diagUID(b, diagSrc, diagDst)
		if !ok {
			return
		}
		// Whatever is accepted says all that a right answer says.
		want := diagAnswer(b[nlmsgHeader], diagSrc, diagDst, uid)
		for _, i := range []int{4, 5, 8, 9, 10, 11, 17, 20, 21, 22, 23} {
			if b[i] != want[i] {
				t.Fatalf("byte %d is %d in an accepted answer:\n%v\n%v", i, b[i], b, want)
			}
		}
	})
}

func BenchmarkObserveTCP(b *testing.B) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp4", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer server.Close()
	a, errs := New([]Spec{{Name: "me", UID: uid(me())}})
	if errs != nil {
		b.Fatal(fmt.Sprint(errs))
	}
	b.ReportAllocs()
	for b.Loop() {
		if o := a.Observe(conn(server)); !o.hasUID {
			b.Fatal("no uid")
		}
	}
}
