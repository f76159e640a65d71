package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Client is a connection to a grid, to a Redis Cluster or to a single server. All its methods may be called from any goroutine;
// one Client for a program is enough.
type Client struct {
	options Options
	seeds   []string // what Connect was given
	near    *near    // nil without Options.NearCache
	loads   loads
	calls   *sync.Pool

	lingering sync.Mutex // by who reads its own reply and looks for it without sleeping

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines, all of them

	table atomic.Pointer[table] // never nil once Connect has returned
	used  atomic.Bool           // commands were sent since the table was last asked for
	kick  chan struct{}         // capacity 1: ask for the table now

	mu struct {
		sync.Mutex
		closed    bool
		nodes     map[string]*node // by address: those of the table, and those MOVED has named since
		conns     map[*conn]struct{}
		confirmed time.Time // when a node last showed this table, or a newer one
	}
}

// Connect asks the addresses, one after the other, until one answers and has told which node has which keys. An address is HOST:PORT of
// any node's door, or the path of a Unix socket. The context bounds Connect alone; Close ends the client.
func Connect(ctx context.Context, addrs []string, o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 || len(addrs) > addressesMax {
		return nil, fmt.Errorf("neargrid: Connect got %d addresses; give one to %d, as HOST:PORT", len(addrs), addressesMax)
	}
	c := &Client{options: o, seeds: append([]string{}, addrs...), calls: newCalls(), kick: make(chan struct{}, 1)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.mu.nodes, c.mu.conns = map[string]*node{}, map[*conn]struct{}{}
	if o.NearCache != nil {
		if c.near, err = newNear(c, o.NearCache); err != nil {
			c.cancel()
			return nil, err
		}
	}
	if err := c.first(ctx); err != nil {
		c.Close()
		return nil, err
	}
	if c.near != nil {
		if err := c.near.check(ctx); err != nil {
			c.Close()
			return nil, err
		}
	}
	c.spawn(c.refresh)
	c.spawn(c.sweep)
	return c, nil
}

// first has the first table.
func (c *Client) first(ctx context.Context) error {
	var failures []error
	for _, addr := range c.seeds {
		err := c.askAt(ctx, addr)
		if err == nil {
			return nil
		}
		failures = append(failures, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(failures) == 1 {
		return failures[0]
	}
	return fmt.Errorf("neargrid: no address answers: %w", errors.Join(failures...))
}

// Close ends all connections and waits for the client's goroutines. Commands under way get errors that wrap ErrClosed.
func (c *Client) Close() {
	c.mu.Lock()
	c.mu.closed = true
	open := make([]*conn, 0, len(c.mu.conns))
	for conn := range c.mu.conns {
		open = append(open, conn)
	}
	c.mu.Unlock()
	c.cancel()
	for _, conn := range open {
		conn.fail(ErrClosed)
	}
	c.wg.Wait()
	if c.near != nil {
		c.near.close()
	}
}

// spawn runs f on a goroutine that Close waits for, or returns false where the client is being closed.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// remember notes a connection, so that Close finds it.
func (c *Client) remember(conn *conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return false
	}
	c.mu.conns[conn] = struct{}{}
	return true
}

func (c *Client) forget(conn *conn) {
	c.mu.Lock()
	delete(c.mu.conns, conn)
	c.mu.Unlock()
}

// own is the side of the client's own commands.
func (c *Client) own() Side { return Side{DB: c.options.DB, Resp: 3} }

// greeting is what every connection begins with.
func (c *Client) greeting(side Side) [][]string {
	lines := [][]string{c.options.hello(side.Resp)}
	if db := side.DB; db != 0 {
		lines = append(lines, []string{"SELECT", itoa(db)})
	}
	return lines
}

// nodeAt returns the node at an address.
func (c *Client) nodeAt(addr string) *node {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.mu.nodes[addr]
	if n == nil {
		n = newNode(c, addr)
		c.mu.nodes[addr] = n
	}
	return n
}

// jitter draws from the upper half of a time.
func (c *Client) jitter(d time.Duration) time.Duration {
	if d <= 1 {
		return d
	}
	return d/2 + rand.N(d/2)
}

// anyNode returns a node of the table, one that is connected where there is one, and another than the one to avoid.
func (c *Client) anyNode(t *table, avoid *node) *node {
	start := rand.IntN(len(t.nodes))
	var other *node
	for i := range t.nodes {
		n := t.nodes[(start+i)%len(t.nodes)]
		if n == avoid {
			continue
		}
		if conn := n.lanes[laneMain].conn.Load(); conn != nil && !conn.dead() {
			return n
		}
		if other == nil {
			other = n
		}
	}
	if other == nil {
		return t.nodes[start]
	}
	return other
}

// Nodes returns the addresses of the nodes that commands are sent to.
func (c *Client) Nodes() []string {
	t := c.table.Load()
	addrs := make([]string, len(t.nodes))
	for i, n := range t.nodes {
		addrs[i] = n.addr
	}
	return addrs
}
