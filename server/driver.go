package server

import (
	"context"
	"time"
)

// sessionIO is one connection without its I/O: bytes in, bytes out. Every method is called on the session's loop only.
type sessionIO interface {
	// Feed takes bytes that were read. p is valid during the call only: the session copies what it keeps.
	Feed(p []byte)
	// EOF is called when the peer has finished sending; pending replies still drain.
	EOF()
	// Out is what can be written now, valid until the next call of any method.
	Out() []byte
	// Sent notes that n bytes of Out were written.
	Sent(n int)
	// Wants tells what to do next: read more; write Out; close as soon as Out is empty.
	Wants() (read, write, close bool)
	// Tick is called about ten times a second.
	Tick(now time.Time)
	// Closed is called once, when the connection is gone.
	Closed()
}

// loop is what a session needs of its driver.
type loop interface {
	// Post runs f on the session's loop soon. Any goroutine may call it; it never blocks, and drops nothing until the
	// loop has stopped.
	Post(f func())
	// Touch is for functions that were posted: s may have output now, or want something else.
	Touch(s sessionIO)
}

// connInfo is what is known of a connection when it is accepted.
type connInfo struct {
	Remote, Local string
	Unix          bool
	FD            int
}

// acceptor makes the session of a new connection. It decides on maxclients: a connection that is refused has its error
// in Out and wants to be closed.
type acceptor func(l loop, info connInfo) sessionIO

// driver moves bytes between connections and sessions.
type driver interface {
	Start() error
	Shutdown(ctx context.Context) error
	CloseListeners()
}
