package client

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/neargrid/neargrid/protocol"
)

// laneExclusive marks connections that one goroutine has for itself at a time.
const laneExclusive = -1

// pool holds a node's exclusive connections: for commands that block, and for watches. They are made when needed.
type pool struct {
	node *node
	mu   struct {
		sync.Mutex
		open int           // 0 <= open <= exclusiveMax: in use, idle or being made
		idle []*conn       // at most exclusiveIdleMax
		room chan struct{} // closed when one has come back, where somebody waits
	}
}

// get returns a connection that nobody else uses until put.
func (p *pool) get(ctx context.Context) (*conn, error) {
	for {
		p.mu.Lock()
		for len(p.mu.idle) > 0 {
			last := len(p.mu.idle) - 1
			c := p.mu.idle[last]
			p.mu.idle = p.mu.idle[:last]
			if !c.dead() {
				p.mu.Unlock()
				return c, nil
			}
			p.mu.open--
		}
		if p.mu.open < exclusiveMax {
			p.mu.open++
			p.mu.Unlock()
			return p.dial(ctx)
		}
		if p.mu.room == nil {
			p.mu.room = make(chan struct{})
		}
		room := p.mu.room
		p.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return nil, &ConnError{Node: p.node.addr, Op: "connect", Err: ctx.Err()}
		}
	}
}

func (p *pool) dial(ctx context.Context) (*conn, error) {
	type made struct {
		conn *conn
		err  error
	}
	done := make(chan made, 1)
	if !p.node.client.spawn(func() {
		c, err := p.node.open(p.node.client.ctx, laneExclusive, p.node.client.own())
		done <- made{c, err}
	}) {
		p.put(nil)
		return nil, ErrClosed
	}
	select {
	case m := <-done:
		if m.err != nil {
			p.put(nil)
		}
		return m.conn, m.err
	case <-ctx.Done():
		p.node.client.spawn(func() { // what is still made goes to the next one
			m := <-done
			p.put(m.conn)
		})
		return nil, &ConnError{Node: p.node.addr, Op: "connect", Err: ctx.Err()}
	}
}

// put gives a connection back; nil where none could be made.
func (p *pool) put(c *conn) {
	p.mu.Lock()
	keep := c != nil && !c.dead() && len(p.mu.idle) < exclusiveIdleMax
	if keep {
		p.mu.idle = append(p.mu.idle, c)
	} else {
		p.mu.open--
	}
	if p.mu.room != nil {
		close(p.mu.room)
		p.mu.room = nil
	}
	p.mu.Unlock()
	if c != nil && !keep {
		c.fail(errSpare)
	}
}

var errSpare = errors.New("the connection was not needed any more")

// mayBlock tells whether a command line that may block would: streams do only with BLOCK.
func mayBlock(s *spec, args []string) bool {
	if !s.is(flagStreams) {
		return true
	}
	for _, arg := range args {
		switch strings.ToUpper(arg) {
		case "BLOCK":
			return true
		case "STREAMS":
			return false
		}
	}
	return false
}

// exclusively sends a command that may block on a connection of its own. If its context ends, the connection is closed, so that
// the server stops waiting and takes nothing for a client that is gone.
func (c *Client) exclusively(ctx context.Context, s *spec, args []string) (v protocol.Value, err error) {
	err = c.try(ctx, trial{s: s, args: args, slot: s.slotOf(args)}, func(n *node, _ bool) (refusal *ServerError, err error) {
		if v, err = n.pool.send(ctx, args); err == nil && v.IsError() {
			refusal = serverError(n.addr, v.Str)
		}
		return refusal, err
	})
	return v, err
}

func (p *pool) send(ctx context.Context, args []string) (v protocol.Value, err error) {
	if err := ctx.Err(); err != nil {
		return v, &ConnError{Node: p.node.addr, Op: "send", Err: err}
	}
	conn, err := p.get(ctx)
	if err != nil {
		return v, err
	}
	defer p.put(conn)
	err = conn.roundTrip(ctx, [][]string{args}, func(replies []protocol.Value) { v = replies[0] })
	if err == errAbandoned {
		conn.fail(ctx.Err())
	}
	return v, err
}
