package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/nearcache"
	"github.com/neargrid/neargrid/protocol"
)

// For programs that tell others of all changes to keys with some prefixes, such as the sidecar.

// CastWatch is told what a Cast hears, in order, by goroutines that must not wait.
type CastWatch struct {
	Changed func(key []byte, by uint64) // somebody has changed the key; key and by are as in NearWatch
	All     func()                      // any key may have changed
	Lost    func()                      // nothing is told from now on. Called once, perhaps before NewCast has returned
	Family  uint64                      // as in NearWatch
}

// Cast is a connection on which one node tells of every change to keys with given prefixes in the whole grid (CLIENT TRACKING BCAST at a
// grid door). How long that is good for is said by leases, as for near reads: one lapses, and the connection is given up.
//
// It tells of everything that has changed since it began, and until it is lost. What is held in the near cache of such keys is stale before
// that is told.
type Cast struct {
	near  *near
	watch CastWatch
	conn  *conn
	grid  bool          // the node has GRID.LEASE; set before it is used
	age   time.Duration // leases are asked for so long: what changed before then has been told when one is granted

	began   atomic.Int64 // nearcache.Time: all changes from then on are told; 0: it has not begun
	vouched atomic.Int64 // nearcache.Time: all changes before then have been told
	until   atomic.Int64 // nearcache.Time: the end of the lease
	over    atomic.Bool
}

const (
	// castAgeMax bounds the leases of a Cast: doors of a grid grant no more than a second for what other nodes tell.
	castAgeMax = time.Second
	// castBeginMax is how long a node may take until it tells of all keys: it has all others join in.
	castBeginMax = 5 * time.Second
	// castPauseMin and castPauseMax are the shortest and longest pause between questions whether something is so far.
	castPauseMin = time.Millisecond
	castPauseMax = 50 * time.Millisecond
)

var (
	errCastDoors = errors.New("the nodes have cluster doors alone, each of which tells of its own keys")
	errCastLate  = errors.New("it does not tell of all nodes' keys within " + castBeginMax.String())
	errCastLapse = errors.New("its word for the invalidations has lapsed")
	errCastSpare = errors.New("they are told by another connection")
)

// Casts says why there can be no Cast; nil = there can.
func (c *Client) Casts() error {
	if t := c.table.Load(); t.perNode && len(t.nodes) > 1 {
		return errCastDoors
	}
	return nil
}

// Origins says why nodes cannot tell by whom a key was changed, whose number was given by GRID.ORIGIN; nil = they can.
func (c *Client) Origins() error {
	if t := c.table.Load(); t.kind != tableGrid {
		return fmt.Errorf("%s is no node of neargrid, and does not tell who has changed a key", t.nodes[0].addr)
	}
	return nil
}

// NewCast makes one to any node but, where there are others, the one at the address avoid, and returns when it has begun. No prefix may begin
// with another. Errors name the node.
func (c *Client) NewCast(ctx context.Context, avoid string, prefixes []string, watch CastWatch) (*Cast, error) {
	if err := c.Casts(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, castBeginMax)
	defer cancel()
	k := &Cast{near: c.near, watch: watch, age: min(c.near.options.Staleness, castAgeMax)}
	track := []string{"CLIENT", "TRACKING", "ON", "BCAST"}
	for _, prefix := range prefixes {
		track = append(track, "PREFIX", prefix)
	}
	t := c.table.Load()
	var avoided *node
	if i := slices.IndexFunc(t.nodes, func(n *node) bool { return n.addr == avoid }); i >= 0 {
		avoided = t.nodes[i]
	}
	node := c.anyNode(t, avoided)
	conn, err := dialConn(ctx, node, laneNear, append(c.greeting(Side{Resp: 3}), track))
	if err != nil {
		return nil, err
	}
	k.conn, conn.onPush, conn.onFail = conn, k.push, k.lose
	if !c.remember(conn) || !conn.start() {
		conn.fail(ErrClosed)
		return nil, ErrClosed
	}
	if err := k.begin(ctx); err != nil {
		conn.fail(err)
		return nil, err
	}
	return k, nil
}

// begin waits until a lease is granted: then all nodes have joined in.
func (k *Cast) begin(ctx context.Context) error {
	addr := k.conn.node.addr
	if k.watch.Family != 0 { // a node that does not know it tells all changes alike
		if _, err := k.conn.ask(ctx, []string{"GRID.ORIGIN", strconv.FormatUint(k.watch.Family, 10)}); err != nil {
			return err
		}
	}
	k.grid = true
	v, err := k.lease(ctx)
	if err == nil && isUnknownCommand(v) {
		k.grid = false
		v, err = k.lease(ctx)
	}
	if err == nil && v.IsError() {
		err = &ConnError{Node: addr, Op: "handshake", Err: serverError(addr, v.Str)}
	}
	for pause := castPauseMin; err == nil && k.began.Load() == 0; pause = min(2*pause, castPauseMax) {
		if !sleep(ctx, pause) {
			return &ConnError{Node: addr, Op: "handshake", Err: errCastLate}
		}
		_, err = k.lease(ctx)
	}
	if err == nil && !k.near.client.spawn(k.keep) {
		err = ErrClosed
	}
	return err
}

func (k *Cast) lease(ctx context.Context) (protocol.Value, error) {
	line := []string{"PING"}
	if k.grid {
		line = []string{"GRID.LEASE", itoa64(k.age.Milliseconds())}
	}
	sent := k.near.now()
	return k.conn.hear(ctx, line, func(v protocol.Value) { k.granted(sent, v) })
}

// granted takes a lease. A door grants for as long as its oldest news of another node is younger than age:
//
//	1 another node was heard of last at t
//	2 the lease is asked for at t + 0.2 s, for 1 s; 0.8 s are granted
//	3 so what changed before t, which is 0.8 s - 1 s after the asking, has been told ahead of the answer
func (k *Cast) granted(sent nearcache.Time, v protocol.Value) {
	d := time.Duration(0)
	switch {
	case v.IsError():
	case !k.grid:
		d = k.age
	case v.Kind == ':':
		d = min(time.Duration(v.Int)*time.Millisecond, k.age)
	}
	now := k.near.now()
	k.until.Store(int64(sent) + int64(d))
	if d <= 0 {
		return
	}
	k.vouched.Store(int64(sent) + int64(d-k.age))
	if k.began.Load() == 0 && int64(now) < k.until.Load() {
		k.began.Store(int64(now))
	}
}

// keep renews the lease until it lapses.
func (k *Cast) keep() {
	c := k.near.client
	for {
		left := k.Left()
		if left <= 0 {
			k.conn.fail(errCastLapse)
			return
		}
		timer := time.NewTimer(min(left, max(left/leaseShare, leasePauseMin)))
		select {
		case <-timer.C:
		case <-k.conn.failed:
			timer.Stop()
			return
		}
		ctx, cancel := context.WithTimeout(c.ctx, k.Left())
		_, err := k.lease(ctx)
		cancel()
		if err != nil {
			k.conn.fail(errCastLapse) // unless it has failed before
			return
		}
	}
}

// push takes what the node says unasked. The reader calls it, in order with replies. What is said before it has begun is of no use: there
// may be more that is not said.
func (k *Cast) push(v protocol.Value) {
	if k.began.Load() == 0 || len(v.Elems) < 2 {
		return
	}
	st, what := k.near.state.Load(), v.Elems[1]
	by := uint64(0)
	switch string(v.Elems[0].Str) {
	case "grid-invalidate-by":
		if len(v.Elems) < 3 || what.Kind != ':' {
			return
		}
		by, what = uint64(what.Int), v.Elems[2]
	case "invalidate":
	case "grid-invalidate": // of partitions, in which any key may have changed
		what = protocol.Value{Null: true}
	default:
		return
	}
	if what.Null {
		if st != nil {
			st.cache.InvalidateAll()
		}
		k.watch.All()
		return
	}
	for _, key := range what.Elems {
		if st != nil {
			st.cache.InvalidateBytes(key.Str)
		}
		k.watch.Changed(key.Str, by)
	}
}

func (k *Cast) lose() {
	k.over.Store(true)
	k.watch.Lost()
}

// Left is for how long its word holds, from now; not positive: it does not.
func (k *Cast) Left() time.Duration {
	if k.over.Load() {
		return 0
	}
	return time.Duration(k.until.Load() - int64(k.near.now()))
}

// Node is the address of the node that it is connected to.
func (k *Cast) Node() string { return k.conn.node.addr }

// Settle returns when all that changed before another Cast began has been told, or an error where it is lost before.
func (k *Cast) Settle(ctx context.Context, next *Cast) error {
	for pause := castPauseMin; k.vouched.Load() < next.began.Load(); pause = min(2*pause, castPauseMax) {
		if _, err := k.lease(ctx); err != nil {
			return err
		}
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
	if k.over.Load() {
		return errCastLapse
	}
	return nil
}

// Close ends the connection; Lost is called, if it was not.
func (k *Cast) Close() { k.conn.fail(errCastSpare) }
