package client

import (
	"bufio"
	"bytes"
	"context"
	"time"

	"github.com/neargrid/neargrid/nearcache"
	"github.com/neargrid/neargrid/protocol"
)

// flight is one read on its way, which others may wait for that want the same.
type flight struct {
	state    *nearState
	snapshot nearcache.Snapshot // taken before the request was sent
	began    nearcache.Time     // before that too
	done     chan struct{}
	ok       bool // v is the answer; else it failed, for reasons that need not be those of others
	v        protocol.Value
}

type flightID struct{ key, view string }

// fetch reads a key from its node and has the answer stored.
//
// It waits for another's reply instead where nearcache.Cache.Joinable allows that.
func (n *near) fetch(ctx context.Context, st *nearState, k nearcache.Key, view string, args []string) (protocol.Value, error) {
	if v, ok, err := n.fetchNear(ctx, st, k, view, args); ok {
		return v, err
	}
	return n.past(ctx, specOf(args[0]), args)
}

// fetchNear is fetch where the near connection of the key's node is there; else ok is false, and nothing is known of the key.
func (n *near) fetchNear(ctx context.Context, st *nearState, k nearcache.Key, view string, args []string) (v protocol.Value, ok bool, err error) {
	id := flightID{args[1], view}
	for range nearTriesMax {
		t := n.client.table.Load()
		p := st.partition(args[1])
		var owner *node
		if t.partitions() == st.partitions {
			owner = t.owners[p]
		}
		if owner == nil {
			break
		}
		conn, err := owner.lanes[laneNear].get(ctx)
		if err != nil {
			break
		}
		if conn.near.state != st { // it was opened for another grid
			conn.fail(errRetired)
			continue
		}
		// The snapshot must be of the time in which this node is the one that serves the partition: between the two looks at the table
		// its assignment is that of t, or none, with which nothing is stored.
		snapshot := st.cache.Snapshot(k, p)
		if n.client.table.Load() != t {
			continue
		}
		f, mine := n.board(id, st, snapshot)
		if mine {
			return n.fly(ctx, conn, f, id, k, args)
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return v, true, &ConnError{Node: owner.addr, Op: "read", Sent: true, Err: ctx.Err()}
		}
		if f.ok {
			return f.v, true, nil
		}
	}
	return v, false, nil
}

// board returns the flight that answers a read, its own where there is none that it may join.
func (n *near) board(id flightID, st *nearState, snapshot nearcache.Snapshot) (f *flight, mine bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	if f := n.mu.flights[id]; f != nil && f.state == st && st.cache.Joinable(f.snapshot, f.began, now, nearcache.Time(n.options.Staleness)) {
		return f, false
	}
	f = &flight{state: st, snapshot: snapshot, began: now, done: make(chan struct{})}
	n.mu.flights[id] = f
	return f, true
}

// land ends a flight: nobody boards it any more, and who waits goes on.
func (n *near) land(id flightID, f *flight) {
	n.mu.Lock()
	if n.mu.flights[id] == f {
		delete(n.mu.flights, id)
	}
	n.mu.Unlock()
	close(f.done)
}

// fly sends a read on the connection that is told of its key's changes, and stores the answer with the snapshot taken before. It
// returns ok = false where the read must go past the near cache: the connection is lost, or the node answers with an error, which
// the command itself will tell better.
func (n *near) fly(ctx context.Context, conn *conn, f *flight, id flightID, k nearcache.Key, args []string) (v protocol.Value, ok bool, err error) {
	defer n.land(id, f)
	if err := ctx.Err(); err != nil {
		return v, true, &ConnError{Node: conn.node.addr, Op: "send", Err: err}
	}
	sent := n.now()
	call, lines := conn.near.request(sent, args)
	if err := conn.enqueue(ctx, call, lines); err != nil {
		call.free()
		return v, false, nil
	}
	if err := conn.wait(ctx, call); err != nil {
		if err == errAbandoned {
			return v, true, &ConnError{Node: conn.node.addr, Op: "read", Sent: true, Err: ctx.Err()}
		}
		call.free()
		return v, false, nil
	}
	v, ttl, ok := conn.near.answer(call.replies)
	call.free()
	if !ok {
		return v, false, nil
	}
	expiry := nearcache.Never
	if ttl >= 0 {
		expiry = sent + nearcache.Time(ttl)*nearcache.Time(time.Millisecond)
	}
	f.state.cache.Store(k, f.snapshot, encodeHeld(v), expiry, n.now())
	f.v, f.ok = v, true
	return v, true, nil
}

// Values are held as their RESP3 form, strings without their length and line ends: "$" and the bytes.

func encodeHeld(v protocol.Value) []byte {
	if v.Kind == '$' && !v.Null {
		return append(append(make([]byte, 0, 1+len(v.Str)), '$'), v.Str...)
	}
	return protocol.AppendValue(nil, v)
}

func decodeHeld(held []byte) (protocol.Value, error) {
	switch held[0] {
	case '$':
		return protocol.Value{Kind: '$', Str: held[1:]}, nil
	case '_':
		return protocol.Value{Kind: '_', Null: true}, nil
	}
	d := protocol.Decoder{R: bufio.NewReaderSize(bytes.NewReader(held), 512)}
	return d.Decode()
}
