package server

import (
	"context"
	"sync/atomic"
	"time"
)

// sessionIO is one connection without its I/O: bytes in, bytes out. Every method is called on the session's loop only.
type sessionIO interface {
	// Feed takes bytes that were read. p is valid during the call only: the session copies what it keeps.
	Feed(p []byte)
	// EOF is called when the peer has finished sending, or is to be treated so; pending replies still drain.
	EOF()
	// Out is what can be written now, valid until the next call of any method.
	Out() []byte
	// Sent notes that n bytes of Out were written.
	Sent(n int)
	// Wants tells what to do next: read more (false is back-pressure); write Out; close as soon as Out is empty, which
	// it is at once where the session does not want its output sent.
	Wants() (read, write, close bool)
	// Tick is called ten times a second while output is stuck, else about once a second.
	Tick(now time.Time)
	// Closed is called once, when the connection is gone. No other call follows.
	Closed()
}

// loop is what a session needs of its driver: one connection's view of the goroutine that owns it.
type loop interface {
	// Post runs f on the session's loop soon. Any goroutine may call it; it never blocks, and drops nothing until the
	// loop has stopped. f may run after Closed; where the connection had its loop to itself, it may be dropped then.
	Post(f func())
	// Touch is for functions that were posted: s may have output now, or want something else.
	Touch(s sessionIO)
}

// connInfo is what is known of a connection when it is accepted.
type connInfo struct {
	Remote, Local string // host:port; for Unix sockets the path and ":0", as Redis has it
	Unix          bool
	Cluster       bool // it came in by the cluster door
	FD            int  // -1 where there is none
}

// acceptor makes the session of a new connection, on its loop. It decides on maxclients: a connection that is refused
// has its error in Out and wants to be closed.
type acceptor func(l loop, info connInfo) sessionIO

// driver moves bytes between connections and sessions. There are two: epollDriver, and goroutineDriver for TLS and for
// systems without epoll. What they do is the same, and one set of tests says so.
type driver interface {
	// Start begins to accept.
	Start() error
	// OnTurnEnd has every loop call flush after it has executed what was read, before it writes the replies. Then it looks at sleeps,
	// where that is not nil, and if this has changed since the last look closes the connections instead of writing. Before Start only.
	// Loops call both at the same time as each other.
	OnTurnEnd(flush func(), sleeps func() uint64)
	// Traffic is how often the driver has read from connections and written to them, since it was made. Any goroutine may call it.
	Traffic() (reads, writes int64)
	// CloseListeners returns when no connection is accepted any more. Not to be called on a loop.
	CloseListeners()
	// Shutdown closes the listeners, treats every client as one that has finished sending, and returns when all
	// connections are closed; when ctx ends first, it cuts the rest and returns ctx's error. Not to be called on a loop.
	Shutdown(ctx context.Context) error
}

// traffic counts the reads and writes of a driver, or of one of its loops.
type traffic struct{ reads, writes atomic.Int64 }

const (
	readSizeMax  = 64 << 10  // bytes read from one connection before the others have their turn
	writeSizeMax = 256 << 10 // bytes written to one connection before the others have their turn

	tickPeriod = 100 * time.Millisecond // between ticks of a session whose output is stuck
	tickSlices = 10                     // other sessions are ticked every tickSlices periods, a slice in each

	// closeStallMax bounds how long a session that wants to close waits for a peer that reads nothing.
	closeStallMax = 10 * time.Second

	// A close with unread input would make the kernel send a reset, which can overtake the last replies. So a
	// connection that we close lingers: our side is shut down, and input is discarded until the peer closes too,
	// within these bounds.
	lingerTime     = 500 * time.Millisecond
	lingerBytesMax = 1 << 20

	// acceptPause is how long a listener rests after an error that would repeat at once.
	acceptPause = tickPeriod

	// keepAliveProbes is how many unanswered probes end a connection; they are a third of the keep-alive time apart.
	keepAliveProbes = 3
)

// unixAddr names both ends of a connection over a Unix socket.
func unixAddr(path string) string { return path + ":0" }
