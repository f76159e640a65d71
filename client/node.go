package client

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// The lanes of a node: connections that goroutines share, each opened when it is first needed.
const (
	laneMain = iota // commands, reads and writes
	laneBulk        // large requests, so that small ones need not wait behind them
	laneNear        // near-cached reads, pushes and leases
	laneLoad        // GRID.LOAD, and pushes to who waits for another one's load
	laneCount
	laneSide = laneCount // of a side: see async.go
)

// node is a server that commands are sent to.
type node struct {
	client *Client
	addr   string
	lanes  [laneCount]lane
	pool   pool     // connections that one command has for itself
	sides  sync.Map // of *lane, by Side: see async.go
}

func newNode(c *Client, addr string) *node {
	n := &node{client: c, addr: addr}
	for i := range n.lanes {
		n.lanes[i].node, n.lanes[i].index, n.lanes[i].side = n, i, c.own()
	}
	n.pool.node = n
	return n
}

// lane is one shared connection of a node, made when needed and made again when it has failed.
type lane struct {
	node  *node
	index int
	side  Side
	conn  atomic.Pointer[conn] // the newest; it may have failed

	mu struct {
		sync.Mutex
		dial  *dial // under way
		err   error // of the last attempt; nil after one that succeeded
		pause time.Duration
		until time.Time // no attempt before this
	}
}

// dial is an attempt to connect that whoever needs the connection waits for.
type dial struct {
	done chan struct{}
	conn *conn
	err  error
}

// get returns the lane's connection, and makes it where there is none. Where the last attempt has failed and the pause behind it
// is not over, its error is returned at once. An error means that nothing was sent.
func (l *lane) get(ctx context.Context) (*conn, error) {
	c, d, err := l.begin()
	if d == nil {
		return c, err
	}
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, &ConnError{Node: l.node.addr, Op: "connect", Err: ctx.Err()}
	}
}

// begin returns the lane's connection, or the attempt to make it that is under way, or why there is none.
func (l *lane) begin() (*conn, *dial, error) {
	if c := l.conn.Load(); c != nil && !c.dead() {
		return c, nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.conn.Load(); c != nil && !c.dead() {
		return c, nil, nil
	}
	if l.mu.dial != nil {
		return nil, l.mu.dial, nil
	}
	if l.mu.err != nil && time.Now().Before(l.mu.until) {
		return nil, nil, l.mu.err
	}
	d := &dial{done: make(chan struct{})}
	if !l.node.client.spawn(func() { l.run(d) }) {
		return nil, nil, ErrClosed
	}
	l.mu.dial = d
	return nil, d, nil
}

// run carries out an attempt to connect: in the client's time, not in that of the command which needed it first.
func (l *lane) run(d *dial) {
	d.conn, d.err = l.node.open(l.node.client.ctx, l.index, l.side)
	if d.err == nil {
		l.conn.Store(d.conn)
	}
	l.mu.Lock()
	l.mu.dial, l.mu.err = nil, d.err
	if d.err == nil {
		l.mu.pause = 0
	} else {
		l.mu.pause = min(max(2*l.mu.pause, backoffFirst), reconnectMax)
		l.mu.until = time.Now().Add(l.node.client.jitter(l.mu.pause))
	}
	l.mu.Unlock()
	close(d.done)
}

// open makes a connection for a lane, in the time of ctx and of DialTimeout.
func (n *node) open(ctx context.Context, lane int, side Side) (*conn, error) {
	c := n.client
	ctx, cancel := context.WithTimeout(ctx, c.options.DialTimeout)
	defer cancel()
	var conn *conn
	var err error
	switch lane {
	case laneNear:
		conn, err = c.near.open(ctx, n)
	case laneLoad:
		conn, err = c.openLoad(ctx, n)
	default:
		conn, err = dialConn(ctx, n, lane, c.greeting(side))
	}
	if err != nil {
		return nil, err
	}
	if !c.remember(conn) || !conn.start() {
		conn.fail(ErrClosed)
		return nil, ErrClosed
	}
	if conn.near != nil {
		if err := conn.near.begin(ctx); err != nil {
			conn.fail(err)
			return nil, err
		}
	}
	return conn, nil
}
