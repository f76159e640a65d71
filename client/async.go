package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/neargrid/neargrid/protocol"
)

// For programs that pass on other programs' commands, such as the sidecar: they have an order of their own to keep, wait for nobody, and speak
// the protocol and name the database that those do. What they send goes past the near cache: they call Outside.

// Side is what a connection is set to: the database, and the version of the protocol, 2 or 3.
type Side struct{ DB, Resp int }

// Owners says which node has which partition.
type Owners struct {
	Nodes []string // addresses, at least one
	Parts []string // by partition, the address of the node that has it; "" = nobody at present
}

// Owners returns the newest table. It is never changed; a newer one is another pointer.
func (c *Client) Owners() *Owners { return c.table.Load().view }

func (t *table) owned() *Owners {
	o := &Owners{Parts: make([]string, len(t.owners))}
	for _, n := range t.nodes {
		o.Nodes = append(o.Nodes, n.addr)
	}
	for p, n := range t.owners {
		if n != nil {
			o.Parts[p] = n.addr
		}
	}
	return o
}

// Sent is a connection's number, which no other connection of the program has; 0 = none.
type Sent uint64

var sentLast atomic.Uint64

// errDialing and errFull refuse what Begin would have to wait for; errBroken what should follow on a connection that has gone.
var (
	errDialing = errors.New("the connection is being made")
	errFull    = errors.New("the connection has too much under way")
	errBroken  = errors.New("the connection has been lost")
)

// Begin sends command lines in one piece to the node at an address, and returns at once. done is called once with the replies to all, or
// with an error, a *ConnError that says whether they were sent; on a goroutine that must not wait. Where Begin returns an
// error nothing was sent, and done is not called.
//
// Lines to one node on one side are executed in the order of the calls, as long as the connection stays the same: after, where it is
// not 0, is the one on which the last ones went.
func (c *Client) Begin(addr string, side Side, after Sent, lines [][]string, done func([]protocol.Value, error)) (Sent, error) {
	if !c.used.Load() {
		c.used.Store(true)
	}
	l := c.nodeAt(addr).sideLane(side)
	conn, dial, err := l.begin()
	switch {
	case dial != nil:
		return 0, &ConnError{Node: addr, Op: "connect", Err: errDialing}
	case err != nil:
		c.refreshSoon()
		return 0, err
	}
	return conn.begin(after, lines, done)
}

// sideLane is the connection of a side.
func (n *node) sideLane(side Side) *lane {
	if l, ok := n.sides.Load(side); ok {
		return l.(*lane)
	}
	l, _ := n.sides.LoadOrStore(side, &lane{node: n, index: laneSide, side: side})
	return l.(*lane)
}

// begin is Begin on a connection.
func (c *conn) begin(after Sent, lines [][]string, done func([]protocol.Value, error)) (Sent, error) {
	if after != 0 && after != c.number {
		return 0, &ConnError{Node: c.node.addr, Op: "send", Err: errBroken}
	}
	k := c.newCall(len(lines))
	k.then = func(k *call) { done(k.replies, k.err) }
	c.mu.Lock()
	err := c.mu.err
	if err == nil && c.fullLocked(k.want) {
		err = errFull
	}
	if err == nil {
		if err = c.leadLocked(k); err != nil {
			defer c.fail(err)
		}
	}
	if err != nil {
		c.mu.Unlock()
		k.free()
		return 0, &ConnError{Node: c.node.addr, Op: "send", Err: err}
	}
	c.putLocked(k, lines)
	return c.number, nil
}

// Line is a connection that has one user, who may change its state.
type Line struct{ conn *conn }

// Dial makes one to the node at an address. It waits, until ctx or the client ends at the latest.
func (c *Client) Dial(ctx context.Context, addr string, side Side) (*Line, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	conn, err := c.nodeAt(addr).open(ctx, laneExclusive, side)
	if err != nil {
		return nil, err
	}
	return &Line{conn}, nil
}

// Begin is Client.Begin on the line.
func (l *Line) Begin(lines [][]string, done func([]protocol.Value, error)) error {
	_, err := l.conn.begin(0, lines, done)
	return err
}

// Close ends the connection.
func (l *Line) Close() { l.conn.fail(errSpare) }

// Connected returns the addresses of the nodes that a connection is open to.
func (c *Client) Connected() []string {
	open := map[string]bool{}
	for _, conn := range c.connections() {
		if !conn.dead() {
			open[conn.node.addr] = true
		}
	}
	return slices.Sorted(maps.Keys(open))
}
