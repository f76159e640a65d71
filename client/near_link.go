package client

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/nearcache"
	"github.com/neargrid/neargrid/protocol"
)

// nearLink is what the near cache rests on at one node: the connection on which near-cached reads are sent, invalidations are pushed and
// the lease is granted. It lives and dies with that connection, because what vouches for an entry is the order of things on it: when the
// reply to a lease has come, everything that the node had to say before it has come too.
type nearLink struct {
	near  *near
	state *nearState
	conn  *conn
	node  int // its number in the cache
	link  *nearcache.Link

	grid  bool          // the node has GRID.READ and GRID.LEASE; set before the link is used
	until atomic.Int64  // nearcache.Time: the end of the lease
	grant atomic.Int64  // time.Duration: how long the last lease was granted for
	fresh chan struct{} // capacity 1: a lease was granted
}

// open connects to a node for near-cached reads. The caller starts the connection, then begin has the first lease.
func (n *near) open(ctx context.Context, to *node) (*conn, error) {
	lines := append(n.client.greeting(n.client.own()), []string{"CLIENT", "TRACKING", "ON"})
	conn, err := dialConn(ctx, to, laneNear, lines)
	if err != nil {
		return nil, err
	}
	st := n.state.Load()
	number, known := n.number(to)
	if st == nil || !known {
		conn.nc.Close()
		return nil, &ConnError{Node: to.addr, Op: "connect", Err: errRetired}
	}
	l := &nearLink{near: n, state: st, conn: conn, node: number, link: st.cache.OpenLink(number), fresh: make(chan struct{}, 1)}
	conn.near, conn.onPush, conn.onFail = l, l.push, l.close
	return conn, nil
}

// begin finds out what the node can do, has the first lease and keeps it from then on.
func (l *nearLink) begin(ctx context.Context) error {
	l.grid = true
	v, err := l.lease(ctx)
	if err != nil {
		return err
	}
	if isUnknownCommand(v) {
		l.grid = false
		if v, err = l.lease(ctx); err != nil {
			return err
		}
	}
	if v.IsError() {
		return &ConnError{Node: l.conn.node.addr, Op: "handshake", Err: serverError(l.conn.node.addr, v.Str)}
	}
	if w := l.near.options.Watch; l.grid && w != nil && w.Family != 0 { // a node that does not know it tells all changes alike
		if _, err := l.conn.ask(ctx, []string{"GRID.ORIGIN", strconv.FormatUint(w.Family, 10)}); err != nil {
			return err
		}
	}
	if !l.near.client.spawn(l.keep) {
		return ErrClosed
	}
	return nil
}

// leaseLine is the command that a lease is asked for with.
func (l *nearLink) leaseLine() []string {
	if !l.grid {
		return []string{"PING"}
	}
	return []string{"GRID.LEASE", itoa64(l.near.options.Staleness.Milliseconds())}
}

// lease asks for a lease and waits for the answer.
func (l *nearLink) lease(ctx context.Context) (v protocol.Value, err error) {
	sent := l.near.now()
	return l.conn.hear(ctx, l.leaseLine(), func(v protocol.Value) { l.granted(sent, v) })
}

// hear sends one command line and waits for the reply, which the reader hands to hook, in order with pushes.
func (c *conn) hear(ctx context.Context, line []string, hook func(protocol.Value)) (v protocol.Value, err error) {
	k := c.newCall(1)
	k.hook = func(_ int, v protocol.Value) { hook(v) }
	if err := c.enqueue(ctx, k, [][]string{line}); err != nil {
		k.free()
		return v, err
	}
	switch err := c.wait(ctx, k); err {
	case nil:
		v = k.replies[0]
		k.free()
		return v, nil
	case errAbandoned:
		return v, &ConnError{Node: c.node.addr, Op: "read", Sent: true, Err: ctx.Err()}
	default:
		k.free()
		return v, err
	}
}

// granted takes a lease: the reader calls it, in order with the pushes that came before. It lasts from when it was asked for.
func (l *nearLink) granted(sent nearcache.Time, v protocol.Value) {
	d := time.Duration(0)
	switch {
	case v.IsError():
	case !l.grid:
		d = l.near.options.Staleness
	case v.Kind == ':':
		d = min(time.Duration(v.Int)*time.Millisecond, l.near.options.Staleness)
	}
	until, holds := l.link.Grant(sent, nearcache.Time(d), l.near.now())
	l.grant.Store(int64(d))
	l.until.Store(int64(until))
	if !holds {
		return
	}
	select {
	case l.fresh <- struct{}{}:
	default:
	}
}

// keep renews the lease until the connection fails: at a third of what was granted, and only where entries were looked up since
// that rest on it. A lease that has lapsed is asked for again by the next read; until then nothing is to be done here: of 200 clients of
// 50 nodes, mostly idle, 10,000 timers took more of a processor than all else.
func (l *nearLink) keep() {
	for {
		pause := time.Duration(l.grant.Load()) / leaseShare
		if pause <= 0 {
			pause = l.near.options.Staleness / leaseShare
		}
		timer := time.NewTimer(max(pause, leasePauseMin))
		select {
		case <-timer.C:
		case <-l.conn.failed:
			timer.Stop()
			return
		}
		if used := l.link.TakeUsed(); !used && !l.near.options.Watch.rests() {
			if !l.lapsed(l.near.now()) {
				continue
			}
			select {
			case <-l.fresh: // perhaps one of before the last look: then there is one look more
				continue
			case <-l.conn.failed:
				return
			}
		}
		if _, err := l.lease(l.near.client.ctx); err != nil {
			return // the connection has failed, or the client is closed
		}
	}
}

func (l *nearLink) lapsed(now nearcache.Time) bool { return nearcache.Time(l.until.Load()) <= now }

// request makes the call of a near-cached read. Where the lease has lapsed it is asked for ahead, in the same write.
func (l *nearLink) request(sent nearcache.Time, args []string) (*call, [][]string) {
	var lines [][]string
	lapsed := l.lapsed(sent)
	if lapsed {
		lines = append(lines, l.leaseLine())
	}
	if l.grid {
		lines = append(lines, append([]string{"GRID.READ"}, args...))
	} else {
		// The time to live is asked for behind the value. Were the key written in between, its invalidation would stand
		// between the two replies, and the value would not be stored.
		lines = append(lines, args, []string{"PTTL", args[1]})
	}
	k := l.conn.newCall(len(lines))
	if lapsed {
		k.hook = func(i int, v protocol.Value) {
			if i == 0 {
				l.granted(sent, v)
			}
		}
	}
	return k, lines
}

// answer takes value and time to live, in milliseconds, out of the replies to a request; -1 and -2 are Redis's: none, and no key.
func (l *nearLink) answer(replies []protocol.Value) (v protocol.Value, ttl int64, ok bool) {
	last := replies[len(replies)-1]
	if l.grid {
		if last.Kind != '*' || len(last.Elems) != 2 || last.Elems[1].Kind != ':' || last.Elems[0].IsError() {
			return v, 0, false
		}
		return last.Elems[0], last.Elems[1].Int, true
	}
	v = replies[len(replies)-2]
	if v.IsError() || last.Kind != ':' {
		return v, 0, false
	}
	return v, last.Int, true
}

// push takes what the node says unasked. The reader calls it, in order with replies.
func (l *nearLink) push(v protocol.Value) {
	if len(v.Elems) < 2 {
		return
	}
	cache, what := l.state.cache, v.Elems[1]
	switch string(v.Elems[0].Str) {
	case "invalidate":
		if what.Null { // a flush
			cache.InvalidateNode(l.node)
			l.near.options.Watch.lost()
			return
		}
		for _, key := range what.Elems {
			cache.InvalidateBytes(key.Str)
			l.near.options.Watch.changed(key.Str, 0)
		}
	case "grid-invalidate-by": // what members of the family change is out of date here as well
		if len(v.Elems) < 3 || what.Kind != ':' {
			return
		}
		for _, key := range v.Elems[2].Elems {
			cache.InvalidateBytes(key.Str)
			l.near.options.Watch.changed(key.Str, uint64(what.Int))
		}
	case "grid-invalidate":
		for _, p := range what.Elems {
			if l.state.partitions > 1 && p.Kind == ':' && p.Int >= 0 && p.Int < int64(l.state.partitions) {
				cache.InvalidatePartition(int(p.Int))
				continue
			}
			cache.InvalidateNode(l.node) // the node is talked to directly, and its partitions are not known here
		}
		l.near.options.Watch.lost()
		l.near.client.refreshSoon()
	}
}

// close is told that the connection has failed: nothing that rests on it may be used any more.
func (l *nearLink) close() {
	l.link.Close()
	l.near.options.Watch.lost()
}
