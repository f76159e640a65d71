//go:build unix

package client

import (
	"net"
	"syscall"
)

// socket is a connection's descriptor, for what must not wait. It is nil where there is none that is known: with TLS, or where
// Options.Dial returned something else than the system's TCP and Unix connections.
type socket struct {
	nc  net.Conn
	raw syscall.RawConn

	write   func(fd uintptr) bool // made once: a closure for each call would be allocated
	out     []byte                // what write is to write
	written int
	failure error

	look  func(fd uintptr) bool
	seen  sight
	early []byte // of room: what look has read, and Read has not returned yet
	room  [lookBytes]byte
}

func newSocket(nc net.Conn) *socket {
	s := &socket{nc: nc}
	var err error
	switch nc := nc.(type) { // no others that have a descriptor: what wraps one may do more than to write and read
	case *net.TCPConn:
		s.raw, err = nc.SyscallConn()
	case *net.UnixConn:
		s.raw, err = nc.SyscallConn()
	}
	if s.raw == nil || err != nil {
		return nil
	}
	s.write = func(fd uintptr) bool {
		s.written, s.failure = syscall.Write(int(fd), s.out)
		return true
	}
	s.look = func(fd uintptr) bool {
		n, err := syscall.Read(int(fd), s.room[:])
		switch {
		case err == syscall.EAGAIN || err == syscall.EINTR:
			s.seen = sightNothing
		case err != nil || n == 0:
			s.seen = sightEnd
		default:
			s.seen, s.early = sightBytes, s.room[:n]
		}
		return true
	}
	return s
}

// writeNow writes what the system takes without waiting: n bytes. Nothing else may be writing.
func (s *socket) writeNow(b []byte) (n int, err error) {
	s.out = b
	err = s.raw.Write(s.write)
	s.out = nil
	switch {
	case err != nil:
		return 0, err
	case s.failure == syscall.EAGAIN || s.failure == syscall.EINTR:
		return 0, nil
	case s.failure != nil:
		return 0, s.failure
	}
	return s.written, nil
}

// lookNow tells what there is to read, which Read will return. Nothing else may be reading.
func (s *socket) lookNow() sight {
	if len(s.early) > 0 {
		return sightBytes
	}
	if err := s.raw.Read(s.look); err != nil {
		return sightEnd
	}
	return s.seen
}

// Read waits, as the connection's does.
func (s *socket) Read(p []byte) (int, error) {
	if len(s.early) == 0 {
		return s.nc.Read(p)
	}
	n := copy(p, s.early)
	s.early = s.early[n:]
	return n, nil
}
