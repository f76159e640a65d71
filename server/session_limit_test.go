package server

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/clock"
)

// limitTest is a session on its own, whose clock is moved by hand.
type limitTest struct {
	*testing.T
	srv *Server
	s   *Session
}

func newLimitTest(t *testing.T, o Options) *limitTest {
	t.Helper()
	o.Logger = slog.New(slog.DiscardHandler)
	srv, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.store.Close)
	return &limitTest{t, srv, srv.newSession(noLoop{t}, connInfo{}).(*Session)}
}

// later is a time at which the clock stands.
type later struct {
	*clock.Clock
	now time.Duration
}

func (l later) Now() time.Duration                    { return l.now }
func (l later) After(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }

// pass moves the clock on and ticks the session.
func (l *limitTest) pass(d time.Duration) {
	l.srv.timing = later{l.srv.options.Clock, l.srv.clock() + d}
	l.s.Tick(time.Time{})
}

// send feeds the session and takes its output, as a client that reads at once does.
func (l *limitTest) send(text string) string {
	l.s.Feed([]byte(text))
	out := string(l.s.Out())
	l.s.Sent(len(out))
	return out
}

// want checks whether the session is to be closed.
func (l *limitTest) want(closed bool, when string) {
	l.Helper()
	if _, _, got := l.s.Wants(); got != closed {
		l.Fatalf("%s: to be closed is %v, want %v", when, got, closed)
	}
}

func TestSessionWithoutAuthIsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		password string
		sends    string
		closed   bool
	}{
		"silent":           {"secret", "", true},
		"a wrong password": {"secret", "AUTH wrong\r\n", true},
		"busy":             {"secret", "PING\r\nPING\r\n", true},
		"the password":     {"secret", "AUTH secret\r\n", false},
		"HELLO":            {"secret", "HELLO 3 AUTH default secret\r\n", false},
		"none is set":      {"", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLimitTest(t, Options{RequirePass: c.password})
			l.pass(authTimeout / 2)
			l.send(c.sends)
			l.pass(authTimeout/2 - time.Second)
			l.want(false, "a second before the time is up")
			l.send("PING\r\n")
			l.pass(2 * time.Second)
			l.want(c.closed, "a second after")
		})
	}
}

// RESET takes the authentication back, and gives the client its time again only as a new connection has it.
func TestSessionResetWithoutAuthIsClosed(t *testing.T) {
	l := newLimitTest(t, Options{RequirePass: "secret"})
	l.send("AUTH secret\r\n")
	l.pass(2 * authTimeout)
	l.want(false, "authenticated")
	if got := l.send("RESET\r\n"); got != "+RESET\r\n" {
		t.Fatalf("RESET: got %q", got)
	}
	l.pass(authTimeout / 2)
	l.want(false, "soon after RESET")
	l.pass(authTimeout)
	l.want(true, "long after RESET")
}

func TestIdleSessionIsClosed(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(l *limitTest)
		closed bool
	}{
		"nothing":             {func(*limitTest) {}, true},
		"a command":           {func(l *limitTest) { l.send("PING\r\n") }, false},
		"part of a command":   {func(l *limitTest) { l.send("*2\r\n$4\r\nECHO\r\n$100\r\nx") }, false},
		"a command elsewhere": {func(l *limitTest) { l.srv.newSession(noLoop{l.T}, connInfo{}).Feed([]byte("PING\r\n")) }, true},
		"reading on":          {func(l *limitTest) { l.s.Sent(1) }, false},
		"a slow command":      {func(l *limitTest) { l.s.barrier++ }, false},
		"no timeout any more": {func(l *limitTest) { l.srv.config.Timeout.Store(0) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLimitTest(t, Options{Config: [][2]string{{"timeout", "30"}}})
			l.s.Feed([]byte("PING\r\n")) // its reply is not read yet
			l.pass(29 * time.Second)
			l.want(false, "before the timeout")
			c.do(l)
			l.pass(2 * time.Second)
			l.want(c.closed, "after the timeout, in which it did: "+name)
		})
	}
}

func TestSoftOutputLimit(t *testing.T) {
	l := newLimitTest(t, Options{Config: [][2]string{{"client-output-buffer-limit", "normal 0 1000 10"}}})
	reply := "ECHO " + strings.Repeat("x", 600) + "\r\n"
	l.s.Feed([]byte(reply + reply))
	l.pass(time.Second)
	l.pass(9 * time.Second)
	l.want(false, "over the limit for 9 s")
	l.s.Sent(500)
	l.pass(time.Second)
	l.s.Feed([]byte(reply))
	l.pass(time.Second)
	l.pass(9 * time.Second)
	l.want(false, "over the limit for 9 s again")
	l.pass(2 * time.Second)
	l.want(true, "over the limit for 11 s")
	if out := l.s.Out(); len(out) > 0 {
		t.Errorf("%d bytes are still to be sent to a client that was closed", len(out))
	}
}

// A reply that was completed later counts as well.
func TestHardOutputLimitOfPendingReplies(t *testing.T) {
	l := newLimitTest(t, Options{Config: [][2]string{{"client-output-buffer-limit", "normal 1000 0 0"}}})
	l.s.queue = []segment{{ticket: 1}, {buf: make([]byte, 500)}}
	l.s.Complete(1, make([]byte, 400))
	l.want(false, "900 bytes wait")
	l.s.queue = []segment{{ticket: 2}}
	l.s.Complete(2, make([]byte, 200))
	l.want(true, "1100 bytes wait")
}
