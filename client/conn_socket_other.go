//go:build !unix

package client

import "net"

// socket is not there on this system: a connection's goroutines write and read.
type socket struct {
	net.Conn
	early []byte
}

func newSocket(net.Conn) *socket { return nil }

func (s *socket) writeNow([]byte) (int, error) { panic("there is no socket") }

func (s *socket) lookNow() sight { panic("there is no socket") }
