package client

import (
	"context"
	"errors"
	"strings"

	"github.com/neargrid/neargrid/protocol"
)

// ErrAborted is what Exec returns of a transaction that was not executed because a watched key has changed.
var ErrAborted = errors.New("neargrid: the transaction was not executed: a watched key has changed")

// transact sends MULTI, the commands and EXEC in one piece, so that no other goroutine's command gets between them.
func (p *Pipeline) transact(ctx context.Context) ([]Result, error) {
	slot, err := oneSlot(p.lines, p.c.table.Load().splits())
	if err != nil {
		return nil, err
	}
	lines := make([][]string, 0, len(p.lines)+2)
	lines = append(lines, []string{"MULTI"})
	lines = append(lines, p.lines...)
	lines = append(lines, []string{"EXEC"})
	if p.on != nil {
		replies, err := p.on.send(ctx, lines, "EXEC")
		if err != nil {
			return nil, err
		}
		return readExec(p.on.conn.node, replies)
	}
	return p.c.transaction(ctx, slot, lines)
}

// transaction tries a transaction until it is executed, or that cannot be known or waited for. Its last reply tells: where a command was
// refused when it was queued, EXEC has executed nothing, and what that command was told is the reason.
func (c *Client) transaction(ctx context.Context, slot int, lines [][]string) (results []Result, err error) {
	t := trial{s: &unlisted, args: []string{"EXEC"}, slot: slot} // a write, whatever is in it
	failed := c.try(ctx, t, func(n *node, _ bool) (*ServerError, error) {
		replies, sendErr := c.sendAll(ctx, n, lines)
		if sendErr != nil {
			return nil, sendErr
		}
		results, err = readExec(n, replies)
		var e *ServerError
		if errors.As(err, &e) && notExecuted(e.Code, e.Text) {
			return e, nil
		}
		return nil, nil
	})
	if failed != nil {
		return nil, failed
	}
	return results, err
}

// sendAll sends lines in one piece and returns all replies.
func (c *Client) sendAll(ctx context.Context, n *node, lines [][]string) ([]protocol.Value, error) {
	if err := ctx.Err(); err != nil {
		return nil, &ConnError{Node: n.addr, Op: "send", Err: err}
	}
	conn, err := n.lanes[laneMain].get(ctx)
	if err != nil {
		return nil, err
	}
	return conn.all(ctx, lines)
}

// all sends lines in one piece on a connection and returns all replies.
func (c *conn) all(ctx context.Context, lines [][]string) (replies []protocol.Value, err error) {
	err = c.roundTrip(ctx, lines, func(all []protocol.Value) { replies = append(replies, all...) })
	return replies, err
}

// readExec reads the replies to MULTI, the commands and EXEC.
func readExec(n *node, replies []protocol.Value) ([]Result, error) {
	last := replies[len(replies)-1]
	if last.IsError() {
		for _, v := range replies[:len(replies)-1] {
			if v.IsError() { // why EXEC did nothing
				return nil, serverError(n.addr, v.Str)
			}
		}
		e := serverError(n.addr, last.Str)
		if e.Code == "INDETERMINATE" {
			return nil, &IndeterminateError{Node: n.addr, Command: "EXEC", Err: e}
		}
		return nil, e
	}
	if last.Null {
		return nil, ErrAborted
	}
	if len(last.Elems) != len(replies)-2 {
		return nil, Reply{last}.mismatch("one reply for each command")
	}
	results := make([]Result, len(last.Elems))
	for i, v := range last.Elems {
		results[i].v = v
		if v.IsError() {
			results[i].Err = serverError(n.addr, v.Str)
		}
	}
	return results, nil
}

// oneSlot returns the slot of the keys of all lines, -1 where there are none. Where it must be one slot, more are an error.
func oneSlot(lines [][]string, must bool) (slot int, err error) {
	slot = -1
	for _, line := range lines {
		specOf(line[0]).eachKey(line, func(i int) {
			switch s := Slot(line[i]); {
			case slot < 0:
				slot = s
			case slot != s && must:
				err = ErrCrossSlot
			}
		})
	}
	return slot, err
}

// Session is a connection of its own, as Watch gives one to its function. It is used by one goroutine, until that function returns.
type Session struct {
	c    *Client
	conn *conn
}

// Watch calls f with a connection that watches keys of one slot. What f reads with Do is then the ground of a transaction of Session.Multi: its
// Exec returns ErrAborted where one of the keys has changed since, and f may be run again by calling Watch again.
func (c *Client) Watch(ctx context.Context, keys []string, f func(*Session) error) error {
	line := append([]string{"WATCH"}, keys...)
	slot, err := oneSlot([][]string{append([]string{"DEL"}, keys...)}, c.table.Load().splits())
	if err != nil {
		return err
	}
	a := attempts{c: c}
	var to, failed *node
	for {
		n := to
		if n == nil {
			n = c.choose(slot, failed)
		}
		to, failed = nil, nil
		conn, err := n.pool.get(ctx)
		if err == nil {
			var v protocol.Value
			s := &Session{c, conn}
			if len(keys) == 0 {
				return s.run(f)
			}
			v, err = conn.ask(ctx, line)
			if err == nil && !v.IsError() {
				return s.run(f)
			}
			if err == nil {
				e := serverError(n.addr, v.Str)
				n.pool.put(conn)
				next, asking := c.redirect(n, e)
				switch {
				case next != nil && !asking && a.follow():
					to = next
					continue
				case !notExecuted(e.Code, e.Text):
					return e
				}
				err = e
			} else {
				conn.fail(err)
				n.pool.put(conn)
			}
		}
		failed = n
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return err
		}
		if err := a.again(ctx, err); err != nil {
			return err
		}
	}
}

// run calls f and gives the connection back, with nothing watched.
func (s *Session) run(f func(*Session) error) error {
	pool := &s.conn.node.pool
	clean := false
	defer func() {
		if !clean { // f has panicked, or the connection's state is not known
			s.conn.fail(errors.New("a watch has ended before its connection was clean"))
		}
		pool.put(s.conn)
	}()
	err := f(s)
	ctx, cancel := context.WithTimeout(s.c.ctx, tableTimeout)
	defer cancel()
	v, askErr := s.conn.ask(ctx, []string{"UNWATCH"})
	clean = askErr == nil && !v.IsError()
	return err
}

// Do sends a command on the session's connection. It is not tried again, as that would be on another connection.
func (s *Session) Do(ctx context.Context, args ...string) (Reply, error) {
	if len(args) == 0 {
		return Reply{}, errors.New("neargrid: Session.Do got no command")
	}
	sp := specOf(args[0])
	if !strings.EqualFold(args[0], "WAIT") {
		if err := sp.shared(args); err != nil {
			return Reply{}, err
		}
	}
	s.c.near.sending(sp, args)
	replies, err := s.send(ctx, [][]string{args}, args[0])
	s.c.near.answered(sp, args)
	if err != nil {
		return Reply{}, err
	}
	if v := replies[0]; v.IsError() {
		return Reply{v}, s.c.final(s.conn.node, args, serverError(s.conn.node.addr, v.Str))
	}
	return Reply{replies[0]}, nil
}

// Multi returns a transaction on the session's connection.
func (s *Session) Multi() *Pipeline { return &Pipeline{c: s.c, multi: true, on: s} }

// Pipeline returns a pipeline on the session's connection.
func (s *Session) Pipeline() *Pipeline { return &Pipeline{c: s.c, on: s} }

func (s *Session) pipeline(ctx context.Context, lines [][]string) ([]Result, error) {
	replies, err := s.send(ctx, lines, lines[0][0])
	if err != nil {
		return nil, err
	}
	results := make([]Result, len(lines))
	for i, v := range replies {
		results[i].v = v
		if v.IsError() {
			results[i].Err = s.c.final(s.conn.node, lines[i], serverError(s.conn.node.addr, v.Str))
		}
	}
	return results, nil
}

// send sends lines in one piece. Where it fails after they were sent, what changes data is indeterminate, and the connection is closed.
func (s *Session) send(ctx context.Context, lines [][]string, name string) ([]protocol.Value, error) {
	n := s.conn.node
	replies, err := s.conn.all(ctx, lines)
	if err == nil {
		return replies, nil
	}
	if err == errAbandoned {
		s.conn.fail(ctx.Err())
	}
	sp := &unlisted
	if len(lines) == 1 {
		sp = specOf(name)
	}
	if done := s.c.settle(ctx, sp, n, []string{name}, err); done != nil {
		return nil, done
	}
	return nil, err
}
