package sidecar

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/protocol"
	"github.com/neargrid/neargrid/server"
)

// session is what the sidecar keeps of a local client: on which connection its last commands went, and the one by which it watches.
type session struct {
	mu struct {
		sync.Mutex
		sent   map[string]client.Sent // by node: a command behind others must follow on their connection
		line   *client.Line           // its own, while it watches
		side   client.Side            // that line is set to
		broken bool                   // it watches, and line is lost: EXEC must not be executed
		gone   bool                   // it is closed: nothing would end another line
	}
}

// session finds or makes what is kept of a session; nil where it is closed, or was no session's command.
func (s *Sidecar) session(id uint64) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.mu.sessions[id]
	if of == nil {
		if !s.srv.Lives(id) { // Closed was called, or will be: nobody would forget it
			return nil
		}
		of = &session{}
		of.mu.sent = map[string]client.Sent{}
		s.mu.sessions[id] = of
	}
	return of
}

// begin sends a session's command lines. Those behind others that are under way follow on the same connection, or not at all:
//
//	1 SET k 1 waits to be written; its connection fails, and the session is about to learn that it was not sent
//	2 another connection is made, and SET k 2 sent
//	3 the session learns it, and sends SET k 1 once more: k is 1
func (of *session) begin(c *client.Client, addr string, side client.Side, first bool, lines [][]string, done func([]protocol.Value, error)) error {
	of.mu.Lock()
	after := of.mu.sent[addr]
	of.mu.Unlock()
	if first {
		after = 0
	}
	sent, err := c.Begin(addr, side, after, lines, done)
	if err == nil && sent != after {
		of.mu.Lock()
		of.mu.sent[addr] = sent
		of.mu.Unlock()
	}
	return err
}

// watch has keys watched on the session's line, which is made for the first of them.
func (of *session) watch(s *Sidecar, c *client.Client, to server.NodeID, f *server.Forwarded, done func(server.Answer)) {
	began := time.Now()
	s.answerSoon(done, func() {
		of.mu.Lock()
		line, broken := of.mu.line, of.mu.broken
		of.mu.Unlock()
		if broken { // EXEC will say so
			done(server.Answer{Outcome: server.Executed, Reply: []byte("+OK\r\n")})
			return
		}
		if line == nil {
			ctx, cancel := context.WithTimeout(s.ctx, f.Timeout)
			defer cancel()
			var err error
			if line, err = c.Dial(ctx, string(to), client.Side{DB: f.DB, Resp: f.Resp}); err != nil {
				done(server.Answer{Outcome: server.NotExecuted})
				return
			}
			if !of.use(line, client.Side{DB: f.DB, Resp: f.Resp}) {
				line.Close()
				done(server.Answer{Outcome: server.NotExecuted})
				return
			}
		}
		left := *f
		left.Timeout -= time.Since(began)
		one := newAnswer(&left, func() {}, func(a server.Answer) {
			if a.Outcome != server.Executed { // nothing is watched by it any more
				of.lose()
				a = server.Answer{Outcome: server.Executed, Reply: []byte("+OK\r\n")}
			}
			done(a)
		})
		if err := line.Begin(of.turned(f, [][]string{words(f.Args)}), one.replies); err != nil {
			one.end(server.Answer{Outcome: server.Unknown})
		}
	})
}

// use makes a line the session's. It returns false where the session has been closed meanwhile.
func (of *session) use(line *client.Line, side client.Side) bool {
	of.mu.Lock()
	defer of.mu.Unlock()
	if of.mu.gone {
		return false
	}
	of.mu.line, of.mu.side = line, side
	return true
}

// turned puts ahead of lines what sets the session's line to the side of a command.
func (of *session) turned(f *server.Forwarded, lines [][]string) [][]string {
	of.mu.Lock()
	defer of.mu.Unlock()
	var before [][]string
	if f.Resp != of.mu.side.Resp {
		before = append(before, []string{"HELLO", itoa(f.Resp)})
	}
	if f.DB != of.mu.side.DB {
		before = append(before, []string{"SELECT", itoa(f.DB)})
	}
	of.mu.side = client.Side{DB: f.DB, Resp: f.Resp}
	return append(before, lines...)
}

// exec sends a transaction on the line by which its keys are watched. Where that is lost nobody knows whether they have changed: nothing is
// executed, as if they had.
func (of *session) exec(c *client.Client, f *server.Forwarded, lines [][]string, done func(server.Answer)) {
	var line *client.Line
	if of != nil {
		of.mu.Lock()
		line = of.mu.line
		of.mu.Unlock()
	}
	one := newAnswer(f, outside(c, lines), done)
	err := errors.New("there is no line")
	if line != nil {
		lines, one.behind = restored(f, named(f, lines))
		err = line.Begin(of.turned(f, lines), one.replies)
	}
	if err != nil {
		w := protocol.Writer{Resp: f.Resp}
		w.NullArray()
		one.end(server.Answer{Outcome: server.Executed, Reply: w.Buf})
	}
}

// lose notes that what is watched is not any more.
func (of *session) lose() {
	of.mu.Lock()
	defer of.mu.Unlock()
	if of.mu.line != nil {
		of.mu.line.Close()
	}
	of.mu.line, of.mu.broken = nil, true
}

// Unwatch ends what a session watches.
func (s *Sidecar) Unwatch(id uint64) {
	s.mu.Lock()
	of := s.mu.sessions[id]
	s.mu.Unlock()
	if of != nil {
		of.unwatch(false)
	}
}

// unwatch ends what the session watches; gone says that it watches nothing any more.
func (of *session) unwatch(gone bool) {
	of.mu.Lock()
	defer of.mu.Unlock()
	if of.mu.line != nil {
		of.mu.line.Close()
	}
	of.mu.line, of.mu.broken, of.mu.gone = nil, false, of.mu.gone || gone
}

// Closed forgets a session.
func (s *Sidecar) Closed(id uint64) {
	s.mu.Lock()
	of := s.mu.sessions[id]
	delete(s.mu.sessions, id)
	s.mu.Unlock()
	if of != nil {
		of.unwatch(true)
	}
}
