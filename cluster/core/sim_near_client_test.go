package core

import (
	"fmt"
	"strings"
	"time"

	"github.com/neargrid/neargrid/nearcache"
	"github.com/neargrid/neargrid/protocol"
	"github.com/neargrid/neargrid/server"
)

// nearClient is a program with a near cache: the real cache, and what package client does around it. Several threads use it at a time.
type nearClient struct {
	near    *nearSim
	id      int
	rate    float64 // of its clock
	base    time.Duration
	paused  bool
	content bool // with one key, which it reads: see desert
	only    int  // that
	backlog []func()

	cache   *nearcache.Cache
	direct  bool // knows of no partitions: all goes through one door
	door    *simNode
	version uint64 // of the table
	owners  []NodeID

	reads   map[NodeID]*nearConn // for near reads
	others  map[NodeID]*nearConn // for all else
	flights map[int]*nearFlight
}

// nearFlight is a read on its way. An own reply is there once it has landed.
type nearFlight struct {
	snapshot nearcache.Snapshot
	began    nearcache.Time
	waiting  []func(value uint64, ok bool)
}

func newNearClient(near *nearSim, id int) *nearClient {
	s := near.sim
	c := &nearClient{
		near: near, id: id, rate: 1 + 0.018*(s.random.Float64()-0.5), base: s.between(0, time.Hour),
		direct: s.random.IntN(4) == 0, owners: make([]NodeID, s.setup.partitions),
		reads: map[NodeID]*nearConn{}, others: map[NodeID]*nearConn{}, flights: map[int]*nearFlight{},
	}
	parts := s.setup.partitions
	if c.direct {
		parts = 1
	}
	cache, err := nearcache.New(nearcache.Options{MemoryBytes: nearcache.MemoryBytesMin, ItemsExpected: 16, Partitions: parts, Nodes: 16})
	if err != nil {
		panic(err)
	}
	c.cache = cache
	return c
}

func (c *nearClient) clock() nearcache.Time {
	return nearcache.Time(c.base + time.Duration(float64(c.near.sim.now)*c.rate))
}

// run runs f in the client's process: now, or when it wakes.
func (c *nearClient) run(f func()) {
	if c.paused {
		c.backlog = append(c.backlog, f)
		return
	}
	f()
}

func (c *nearClient) pause(d time.Duration) {
	c.near.sim.count("near: client paused")
	c.paused = true
	c.near.sim.after(d, c.resume)
}

func (c *nearClient) resume() {
	late := c.backlog
	c.paused, c.backlog = false, nil
	for _, f := range late {
		c.run(f)
	}
}

// number is a node's in the cache.
func (c *nearClient) number(n *simNode) (number int) {
	fmt.Sscanf(string(n.id), "n%d", &number)
	return number
}

func (c *nearClient) partition(key int) int {
	if c.direct {
		return 0
	}
	return c.near.keys[key].partition
}

// owner is the node that a key is read from.
func (c *nearClient) owner(key int) *simNode {
	if c.direct {
		return c.door
	}
	if id := c.owners[c.near.keys[key].partition]; id != "" {
		return c.near.sim.node(id)
	}
	return nil
}

// refresh asks some node for its table.
func (c *nearClient) refresh() {
	s := c.near.sim
	if c.direct {
		return
	}
	n := s.nodes[s.random.IntN(len(s.nodes))]
	s.after(s.between(100*time.Microsecond, s.setup.delayMax), func() {
		n.run(func() {
			version, owners := n.table.Version, make([]NodeID, s.setup.partitions)
			for p := range n.table.Rows {
				owners[p] = n.table.Rows[p].Primary.Node
			}
			s.after(s.between(100*time.Microsecond, s.setup.delayMax), func() { c.run(func() { c.follow(version, owners) }) })
		})
	})
}

func (c *nearClient) follow(version uint64, owners []NodeID) {
	if version <= c.version {
		return
	}
	c.version, c.owners = version, owners
	for p, id := range owners {
		number := nearcache.NoNode
		if id != "" {
			number = c.number(c.near.sim.node(id))
		}
		c.cache.AssignPartition(p, number)
	}
}

// choose has a client that knows of no partitions use some door.
func (c *nearClient) choose() {
	s := c.near.sim
	for range 20 {
		c.door = s.nodes[s.random.IntN(len(s.nodes))]
		if c.door.up && !c.door.gone {
			break
		}
	}
	c.cache.AssignPartition(0, c.number(c.door))
}

// forget is told that a connection has failed.
func (c *nearClient) forget(conn *nearConn) {
	conns := c.others
	if conn.near {
		conns = c.reads
	}
	id := conn.door.node.id
	if conns[id] == conn {
		delete(conns, id)
	}
	if c.direct && conn.near && c.door.id == id {
		c.choose()
	}
	c.near.sim.after(c.near.sim.between(time.Millisecond, 20*time.Millisecond), c.refresh)
}

func (c *nearClient) conn(n *simNode, near bool) *nearConn {
	conns := c.others
	if near {
		conns = c.reads
	}
	if conns[n.id] == nil {
		conns[n.id] = c.dial(n, near)
	}
	return conns[n.id]
}

// next does an operation of a thread, and then the next one.
func (c *nearClient) next() {
	s := c.near.sim
	if c.near.stopped {
		return
	}
	key := c.near.drawKey()
	again := func() { s.after(s.between(0, s.setup.thinkMax), func() { c.run(c.next) }) }
	if c.content {
		c.read(c.only, again)
		return
	}
	switch roll := s.random.IntN(1000); {
	case roll < 5:
		c.flush(key, again)
	case roll < 20:
		c.write(key, 0, again)
	case roll < 200:
		c.near.values++
		c.write(key, c.near.values, again)
	case roll < 230:
		c.past(c.near.check.begin(c.id, key), again)
	default:
		c.read(key, again)
	}
}

// read reads by way of the near cache. The clock is read first; the client may be stopped before it looks.
func (c *nearClient) read(key int, again func()) {
	s := c.near.sim
	op, now := c.near.check.begin(c.id, key), c.clock()
	look := func() {
		before := c.cache.Stats()
		held, ok := c.cache.Get(nearcache.NewKey(0, c.near.keys[key].name), now)
		if ok {
			s.count("near: hit")
			op.via = "held"
			c.near.check.end(op, nearRead, parseValue(string(held)))
			again()
			return
		}
		c.near.countMiss(before, c.cache.Stats())
		c.fetch(key, op, 0, again)
	}
	if s.random.IntN(10) == 0 {
		s.after(s.between(0, 3*time.Millisecond), func() { c.run(look) })
		return
	}
	look()
}

const nearTriesMax = 4

// fetch reads a key from its node and has the answer stored.
func (c *nearClient) fetch(key int, op *nearOp, tries int, again func()) {
	n := c.owner(key)
	if n == nil || !n.up || tries == nearTriesMax {
		c.past(op, again)
		return
	}
	conn := c.conn(n, true)
	conn.open(func(ok bool) {
		switch {
		case !ok:
			c.past(op, again)
		case c.owner(key) != n: // since then
			c.fetch(key, op, tries+1, again)
		default:
			c.board(conn, key, op, again)
		}
	})
}

// board sends a read, or waits for another's reply.
func (c *nearClient) board(conn *nearConn, key int, op *nearOp, again func()) {
	s := c.near.sim
	k := nearcache.NewKey(0, c.near.keys[key].name)
	snapshot, now := c.cache.Snapshot(k, c.partition(key)), c.clock()
	op.via = "by " + string(conn.door.node.id)
	landed := func(kind nearKind) func(value uint64, ok bool) {
		return func(value uint64, ok bool) {
			if !ok {
				c.past(op, again)
				return
			}
			c.near.check.end(op, kind, value)
			again()
		}
	}
	if f := c.flights[key]; f != nil && c.cache.Joinable(f.snapshot, f.began, now, nearcache.Time(simLease)) {
		s.count("near: waited for another's reply")
		f.waiting = append(f.waiting, landed(nearRead))
		return
	}
	f := &nearFlight{snapshot, now, []func(uint64, bool){landed(farRead)}}
	c.flights[key] = f
	var lines [][]string
	var takes []func(v protocol.Value, err error)
	if conn.until <= now {
		s.count("near: lease asked for with a read")
		lines, takes = append(lines, leaseLine), append(takes, func(v protocol.Value, err error) {
			if err == nil {
				conn.granted(now, v)
			}
		})
	}
	lines, takes = append(lines, []string{"GRID.READ", "GET", c.near.keys[key].name}), append(takes, func(v protocol.Value, err error) {
		wake := func() { c.land(f, key, k, now, v, err) }
		if s.random.IntN(2) == 0 { // the thread that waits gets its turn later than the one that reads
			s.after(s.between(0, 4*time.Millisecond), func() { c.run(wake) })
			return
		}
		wake()
	})
	conn.ask(lines, takes...)
}

func (c *nearClient) land(f *nearFlight, key int, k nearcache.Key, sent nearcache.Time, v protocol.Value, err error) {
	if c.flights[key] == f {
		delete(c.flights, key)
	}
	ok := err == nil && v.Kind == '*' && len(v.Elems) == 2
	value := uint64(0)
	if ok {
		text := string(v.Elems[0].Str)
		value = parseValue(text)
		expiry := nearcache.Never
		if ttl := v.Elems[1].Int; ttl >= 0 {
			expiry = sent + nearcache.Time(ttl)*nearcache.Time(time.Millisecond)
		}
		if !c.cache.Store(k, f.snapshot, []byte(text), expiry, c.clock()) {
			c.near.sim.count("near: not stored, as it was out of date")
		}
	}
	for _, f := range f.waiting {
		f(value, ok)
	}
}

// other is a connection for what does not go by the near cache, mostly to a node that is thought to lead.
func (c *nearClient) other(key int) *nearConn {
	s := c.near.sim
	n := c.owner(key)
	if n == nil || s.random.IntN(8) == 0 {
		n = s.nodes[s.random.IntN(len(s.nodes))]
	}
	if !n.up {
		return nil
	}
	return c.conn(n, false)
}

// past reads past the near cache.
func (c *nearClient) past(op *nearOp, again func()) {
	s, name := c.near.sim, c.near.keys[op.key].name
	conn := c.other(op.key)
	if conn == nil {
		s.after(s.between(time.Millisecond, 50*time.Millisecond), func() { c.run(again) })
		return
	}
	op.via = "past by " + string(conn.door.node.id)
	conn.ask([][]string{{"GET", name}}, func(v protocol.Value, err error) {
		c.cache.Invalidate(name)
		if err == nil && !v.IsError() {
			s.count("near: read past the near cache")
			c.near.check.end(op, farRead, parseValue(string(v.Str)))
		}
		again()
	})
}

// write sets a key, or deletes it where the value is 0.
func (c *nearClient) write(key int, value uint64, again func()) {
	s, name := c.near.sim, c.near.keys[key].name
	conn := c.other(key)
	if conn == nil {
		s.after(s.between(time.Millisecond, 50*time.Millisecond), func() { c.run(again) })
		return
	}
	op := c.near.check.begin(c.id, key)
	op.value, op.via = value, "by "+string(conn.door.node.id)
	line := []string{"DEL", name}
	if value != 0 {
		line = []string{"SET", name, formatValue(value)}
	}
	c.cache.Invalidate(name)
	conn.ask([][]string{line}, func(v protocol.Value, err error) {
		c.cache.Invalidate(name)
		c.near.check.wrote(op, outcomeOf(s, v, err))
		again()
	})
}

// outcomeOf tells what has become of a write by its reply (R14).
func outcomeOf(s *sim, v protocol.Value, err error) outcome {
	if err != nil {
		return unknown
	}
	if !v.IsError() {
		return done
	}
	switch code, _, _ := strings.Cut(string(v.Str), " "); code {
	case "INDETERMINATE":
		return unknown
	case "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS", "LOADING":
		return notExecuted
	}
	s.fail("a door answers a write: %s", v)
	return unknown
}

// flush empties a key's partition, as a door has its part of FLUSHALL done.
func (c *nearClient) flush(key int, again func()) {
	s, p := c.near.sim, c.near.keys[key].partition
	n := c.owner(key)
	if n == nil || !n.up {
		again()
		return
	}
	var ops []*nearOp
	for k := range c.near.keys {
		if c.near.keys[k].partition == p {
			ops = append(ops, c.near.check.begin(c.id, k))
		}
	}
	over := false
	end := func(o outcome) {
		if over {
			return
		}
		over = true
		c.cache.InvalidateAll()
		for _, op := range ops {
			c.near.check.wrote(op, o)
		}
		again()
	}
	c.cache.InvalidateAll()
	s.after(simSilenceMax, func() { c.run(func() { end(unknown) }) })
	d := n.door
	s.after(s.between(100*time.Microsecond, s.setup.delayMax), func() {
		d.run(func() {
			s.count("near: partition flushed")
			f := &server.Forwarded{
				Partition: p, Resp: 3, Timeout: 4 * time.Second, Kind: server.ForwardWalk, Args: [][]byte{{byte(p)}, []byte("FLUSHALL")},
			}
			d.srv.Execute("flush", f, func(a server.Answer) {
				o := done
				switch {
				case a.Outcome == server.NotExecuted:
					o = notExecuted
				case a.Outcome == server.Unknown || len(a.Reply) == 0 || a.Reply[0] == '-':
					o = unknown
				}
				s.after(s.between(100*time.Microsecond, s.setup.delayMax), func() { c.run(func() { end(o) }) })
			})
			d.endTurn()
		})
	})
}

// Values as they are in the store: of one width, so that they are found in batches. 0: no such key.

func formatValue(value uint64) string { return fmt.Sprintf("<%012d>", value) }

func parseValue(text string) (value uint64) {
	fmt.Sscanf(text, "<%012d>", &value)
	return value
}
