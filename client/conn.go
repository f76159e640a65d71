package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// conn is one connection, which goroutines share. Commands are encoded into one buffer; a goroutine writes what has gathered there,
// in one piece, and another hands replies to who waits for them, in the order of the commands. Who calls alone does both itself.
//
// A command whose context ends leaves its place in the queue behind: its reply is read and dropped.
type conn struct {
	node   *node
	lane   int
	number Sent
	nc     net.Conn
	dec    *protocol.Decoder

	onPush func(protocol.Value) // called by the reader, in order with replies
	onFail func()               // called once, before any command that waits learns of the failure
	near   *nearLink            // of laneNear
	plain  atomic.Bool          // of laneLoad: the server knows no GRID.LOAD

	socket *socket // for writes that do not wait; nil: the goroutines write and read
	leads  bool    // callers may read: there is a socket, and nothing comes unasked
	in     inbox   // the reader's

	mu struct {
		sync.Mutex
		out     []byte  // encoded and not yet handed to nc
		spare   []byte  // an empty buffer, or nil
		writing bool    // somebody writes, and will look for more behind it
		queue   []*call // whose replies the reader has not yet come to, behind those of its batch
		seq     uint64  // calls that were ever enqueued
		handed  uint64  // 0 <= handed <= seq: calls whose bytes were handed to nc, in whole or in part
		pending int     // replies that are owed, those of the reader's batch included until it is through
		alone   int     // 0 <= alone <= aloneMin: calls in a row that have found nothing pending
		reader  reader  // readerNobody: nothing is pending, and it has not failed
		room    chan struct{}
		err     error // why it failed; nothing is enqueued or handed over from then on
	}
	wake   chan struct{} // capacity 1: there is something in out
	resume chan struct{} // capacity 1: the goroutine reads again
	failed chan struct{} // closed by fail

	replies atomic.Uint64 // that have come, for the watch on silence

	quiet struct { // of the client's sweeper alone
		replies uint64
		since   time.Time
		swept   uint64 // replies, when it was last seen to that somebody reads
	}
}

var (
	errQuiet     = fmt.Errorf("no reply for %v", quietMax)
	errRetired   = errors.New("the node has left the grid's table")
	errUnasked   = errors.New("a reply that nobody asked for")
	errAbandoned = errors.New("abandoned") // its context ended; what was sent stays sent
)

// dialConn connects and says the first lines, hello among them. Nothing runs until start.
func dialConn(ctx context.Context, n *node, lane int, lines [][]string) (*conn, error) {
	o := &n.client.options
	nc, err := dialNet(ctx, o, n.addr)
	if err != nil {
		return nil, &ConnError{Node: n.addr, Op: "connect", Err: err}
	}
	c := &conn{
		node: n, lane: lane, number: Sent(sentLast.Add(1)), nc: nc,
		dec:    &protocol.Decoder{R: bufio.NewReaderSize(nc, readBytes)},
		wake:   make(chan struct{}, 1),
		resume: make(chan struct{}, 1),
		failed: make(chan struct{}),
		socket: newSocket(nc),
	}
	if c.socket != nil {
		c.dec.R.Reset(c.socket)
	}
	c.leads = c.socket != nil && lane != laneNear && lane != laneLoad
	c.quiet.since = time.Now()
	if err := c.handshake(ctx, lines); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

func dialNet(ctx context.Context, o *Options, address string) (net.Conn, error) {
	network, addr := network(address)
	nc, err := o.Dial(ctx, network, addr)
	if err != nil || o.TLS == nil {
		return nc, err
	}
	config := o.TLS.Clone()
	if config.ServerName == "" {
		if host, _, err := net.SplitHostPort(addr); err == nil {
			config.ServerName = host
		}
	}
	secure := tls.Client(nc, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, err
	}
	return secure, nil
}

// handshake sends the lines that begin a connection and checks that none is refused, within the context's time.
func (c *conn) handshake(ctx context.Context, lines [][]string) error {
	fail := func(err error) error {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return &ConnError{Node: c.node.addr, Op: "handshake", Err: err}
	}
	stop := context.AfterFunc(ctx, func() { c.nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	var out []byte
	for _, line := range lines {
		out = protocol.AppendCommand(out, line...)
	}
	if _, err := c.nc.Write(out); err != nil {
		return fail(err)
	}
	for _, line := range lines {
		v, err := c.next()
		if err != nil {
			return fail(err)
		}
		if v.IsError() {
			e := serverError(c.node.addr, v.Str)
			if line[0] == "HELLO" && (e.Code == "ERR" || e.Code == "NOPROTO") {
				return fail(fmt.Errorf("%w (this client speaks RESP3: Redis 6 or later)", e))
			}
			return fail(e)
		}
	}
	if !stop() { // the context ended: the deadline is, or is about to be, set
		return fail(ctx.Err())
	}
	return nil
}

// next reads a reply during the handshake; pushes are taken on the way.
func (c *conn) next() (protocol.Value, error) {
	for {
		v, err := c.dec.Decode()
		if err != nil || v.Kind != '>' {
			return v, err
		}
		if c.onPush != nil {
			c.onPush(v)
		}
	}
}

// start runs the two goroutines. It tells whether it could: not in a client that is being closed.
func (c *conn) start() bool {
	return c.node.client.spawn(c.read) && c.node.client.spawn(c.write)
}

// endAll ends every call that has no reply yet, on a connection that has failed.
func (c *conn) endAll(batch []*call) {
	c.mu.Lock()
	queue, handed, err := c.mu.queue, c.mu.handed, c.mu.err
	c.mu.queue = nil
	c.mu.Unlock()
	for _, rest := range [2][]*call{batch, queue} {
		for _, k := range rest {
			if k.seq > handed {
				k.end(&ConnError{Node: c.node.addr, Op: "send", Err: err})
			} else {
				k.end(&ConnError{Node: c.node.addr, Op: "read", Sent: true, Err: err})
			}
		}
	}
}

// fail ends the connection, once. What waits for replies is told by the reader, after onFail has returned.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.mu.err != nil {
		c.mu.Unlock()
		return
	}
	c.mu.err = err
	if c.mu.reader == readerNobody {
		c.resumeLocked()
	}
	c.mu.Unlock()
	if c.onFail != nil {
		c.onFail()
	}
	close(c.failed)
	c.nc.Close()
	c.node.client.forget(c)
}

// dead tells whether it has failed.
func (c *conn) dead() bool {
	select {
	case <-c.failed:
		return true
	default:
		return false
	}
}

// watchSilence fails the connection where it has owed replies for too long without one. The sweeper calls it.
func (c *conn) watchSilence(now time.Time) {
	n := c.replies.Load()
	if n != c.quiet.replies || c.idle() {
		c.quiet.replies, c.quiet.since = n, now
		return
	}
	if now.Sub(c.quiet.since) > quietMax {
		c.fail(errQuiet)
	}
}

// idle tells whether no reply is owed.
func (c *conn) idle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.pending == 0
}
