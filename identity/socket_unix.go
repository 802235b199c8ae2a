//go:build linux || darwin

package identity

import (
	"net"
	"syscall"
)

// socket is the connection under those that wrap it.
func socket(c net.Conn) net.Conn {
	for range 8 { // no chain of ours is longer
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = w.NetConn()
	}
	return nil
}

// control runs f with the descriptor of c; false if that cannot be had or f says so.
func control(c syscall.Conn, f func(fd int) bool) (ok bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) { ok = f(int(fd)) })
	return err == nil && ok
}
