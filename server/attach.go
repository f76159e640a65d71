package server

import "time"

// A server without sockets, whose time is somebody else's: cluster/core's simulation runs whole grids of them on one goroutine. Start is
// not called, so nothing runs by itself: no loop, no cron.

// Timing is where a server has its time from. It may be asked from any goroutine.
type Timing interface {
	// Now is the time since Started. It does not go back.
	Now() time.Duration
	Started() time.Time
	// After has f run when a time is over, not before After returns, on any goroutine.
	After(d time.Duration, f func()) Timer
}

// Timer is a call that was asked for.
type Timer interface {
	Stop() bool // false: it is too late
}

// clock is the time since the server started.
func (srv *Server) clock() time.Duration {
	if srv.timing != nil {
		return srv.timing.Now()
	}
	return srv.options.Clock.Now()
}

// after has f run when a time is over, on any goroutine.
func (srv *Server) after(d time.Duration, f func()) Timer {
	if srv.timing != nil {
		return srv.timing.After(d, f)
	}
	return time.AfterFunc(d, f)
}

// wallBase is the time of day when the clock began, in ns since 1970.
func (srv *Server) wallBase() int64 {
	if srv.timing != nil {
		return srv.timing.Started().UnixNano()
	}
	return time.Now().UnixNano() - int64(srv.clock())
}

// Attach makes the session of a connection to the grid door that the caller moves the bytes of. All calls of its methods, and of what is
// posted, are the caller's one after the other; post has a function run soon, not at once, and may be called from any goroutine. Where
// Options has a Router, its Flush is to be called after Feed and after what was posted.
func (srv *Server) Attach(post func(f func())) *Session {
	return srv.newSession(attached(post), connInfo{Remote: "attached", Local: "attached", FD: -1}).(*Session)
}

// attached is the loop of such a session.
type attached func(f func())

func (post attached) Post(f func()) { post(f) }

// Touch has nothing to do: the caller looks at Out and Wants after each call.
func (post attached) Touch(sessionIO) {}
