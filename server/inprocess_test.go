package server

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/neargrid/neargrid/protocol"
)

// inProcess is a server without sockets: its clients' sessions have one loop, which runs when the test says so, on the
// test's own goroutine. It lives in a synctest bubble, where time stands still but for the test's sleeps, and what runs
// off the loop can be waited for.
type inProcess struct {
	*Server
	t       *testing.T
	clients []*client

	mu struct {
		sync.Mutex
		posted []func()
	}
}

// newInProcess makes a server that ends with the test.
func newInProcess(t *testing.T, o Options) *inProcess {
	t.Helper()
	o.Listen, o.Logger = "127.0.0.1:0", slog.New(slog.DiscardHandler)
	srv, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &inProcess{Server: srv, t: t}
}

func (p *inProcess) Post(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.posted = append(p.mu.posted, f)
}

func (p *inProcess) Touch(sessionIO) {}

// turn runs what was posted, and takes the sessions' output.
func (p *inProcess) turn() {
	p.mu.Lock()
	posted := p.mu.posted
	p.mu.posted = nil
	p.mu.Unlock()
	for _, f := range posted {
		f()
	}
	for _, c := range p.clients {
		if out := c.session.Out(); len(out) > 0 {
			c.out = append(c.out, out...)
			c.session.Sent(len(out))
		}
	}
}

// settle turns the loop until nothing more happens by itself.
func (p *inProcess) settle() {
	for {
		synctest.Wait()
		p.mu.Lock()
		quiet := len(p.mu.posted) == 0
		p.mu.Unlock()
		p.turn()
		if quiet {
			return
		}
	}
}

// client is one connection.
type client struct {
	server  *inProcess
	session *Session
	in      []byte // reused for input
	out     []byte // what the session has sent
}

func (p *inProcess) connect() *client {
	c := &client{server: p}
	c.session = p.newSession(p, connInfo{Remote: "test:1", Local: "test:0"}).(*Session)
	p.clients = append(p.clients, c)
	p.t.Cleanup(c.session.Closed)
	return c
}

// feed gives the session input, without waiting for replies.
func (c *client) feed(input []byte) {
	c.session.Feed(input)
	c.server.turn()
}

// do sends one command and returns its reply.
func (c *client) do(args ...string) []byte {
	c.server.t.Helper()
	c.in = protocol.AppendCommand(c.in[:0], args...)
	c.out = c.out[:0]
	c.feed(c.in)
	if len(c.session.queue) > 0 {
		c.server.settle()
	}
	if len(c.out) == 0 || len(c.session.queue) > 0 {
		c.server.t.Fatalf("%s: %d replies are pending, and %q is all there is", quoted(args), len(c.session.queue), c.out)
	}
	return c.out
}

// noLoop is the loop of a session that nothing is posted to.
type noLoop struct{ t *testing.T }

func (l noLoop) Post(func())     { l.t.Error("something was posted to the loop") }
func (l noLoop) Touch(sessionIO) {}
