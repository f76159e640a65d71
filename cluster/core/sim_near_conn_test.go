package core

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/neargrid/neargrid/nearcache"
	"github.com/neargrid/neargrid/protocol"
	"github.com/neargrid/neargrid/server"
)

// nearConn is a connection of a client to a node's door. Bytes arrive in order, late, or not at all; each end notices the end of the
// other in its time.
type nearConn struct {
	client   *nearClient
	door     *simDoor
	session  *server.Session // nil until the door has accepted
	up, down simPipe
	waits    []*nearWait // replies that are owed, in order
	failed   bool        // at the client
	gone     bool        // at the door

	// Of a connection for near reads.
	near    bool
	opening []func(ok bool) // nil once it is open, or has failed
	link    *nearcache.Link
	until   nearcache.Time // the end of the lease
	grant   nearcache.Time // for how long it was granted
	keeping bool           // its renewal is under way
}

// nearWait is a reply that is owed.
type nearWait struct {
	take func(v protocol.Value, err error)
	over bool
}

var errSimConn = errors.New("the connection has failed")

const simSilenceMax = 6 * time.Second

// dial begins a connection to what runs on a node.
func (c *nearClient) dial(n *simNode, near bool) *nearConn {
	conn := &nearConn{client: c, door: n.door, near: near}
	c.near.conns = append(c.near.conns, conn)
	conn.toDoor(func() {
		d := conn.door
		conn.session = d.srv.Attach(d.post)
		d.conns = append(d.conns, conn)
	})
	return conn
}

// toDoor has something arrive at the door.
func (c *nearConn) toDoor(f func()) {
	s := c.client.near.sim
	c.up.send(s, func() {
		if c.gone || c.door.closed || !c.door.node.up {
			s.after(s.between(0, 50*time.Millisecond), func() { c.client.run(c.fail) }) // a reset
			return
		}
		c.door.run(func() {
			if !c.gone {
				f()
			}
		})
	})
}

// ask sends command lines in one piece. take gets each one's reply, or an error.
func (c *nearConn) ask(lines [][]string, take ...func(v protocol.Value, err error)) {
	if c.failed {
		for _, f := range take {
			f(protocol.Value{}, errSimConn)
		}
		return
	}
	var in []byte
	for i, line := range lines {
		in = protocol.AppendCommand(in, line...)
		w := &nearWait{take: take[i]}
		c.waits = append(c.waits, w)
		c.client.near.sim.after(simSilenceMax, func() {
			c.client.run(func() {
				if !w.over {
					c.fail()
				}
			})
		})
	}
	c.toDoor(func() {
		c.client.near.trace("%s hears from client %d: %q", c.door.node.id, c.client.id, in)
		c.session.Feed(in)
		c.door.endTurn()
	})
}

// settle sends what the door has to say.
func (c *nearConn) settle() {
	out := c.session.Out()
	if len(out) > 0 {
		b := slices.Clone(out)
		c.client.near.trace("%s says to client %d: %q", c.door.node.id, c.client.id, b)
		c.session.Sent(len(out))
		c.down.send(c.client.near.sim, func() { c.client.run(func() { c.take(b) }) })
	}
	if _, _, closing := c.session.Wants(); closing {
		c.hangUp()
		c.down.send(c.client.near.sim, func() { c.client.run(c.fail) })
	}
}

// hangUp ends the door's side.
func (c *nearConn) hangUp() {
	if c.gone {
		return
	}
	c.gone = true
	c.door.conns = slices.DeleteFunc(c.door.conns, func(o *nearConn) bool { return o == c })
	if c.session != nil && !c.door.closed {
		c.session.Closed()
	}
}

// take reads what has come.
func (c *nearConn) take(b []byte) {
	in := protocol.NewDecoder(bytes.NewReader(b))
	for lost := false; !c.failed; {
		v, err := in.Decode()
		if err == io.EOF {
			return
		}
		if err != nil {
			c.client.near.sim.fail("a door sends %q: %v", b, err)
			return
		}
		if v.Kind == '>' {
			lost = c.push(v) || lost
			continue
		}
		if len(c.waits) == 0 {
			c.client.near.sim.fail("a reply that nobody asked for: %s", v)
			return
		}
		if lost && v.Kind == ':' {
			c.client.near.sim.count("near: told of a partition ahead of a lease that omits it")
			lost = false
		}
		w := c.waits[0]
		c.waits = c.waits[1:]
		w.over = true
		w.take(v, nil)
	}
}

// fail ends the client's side: what rests on it is stale at once.
func (c *nearConn) fail() {
	if c.failed {
		return
	}
	c.failed = true
	if c.link != nil {
		c.client.near.sim.count("near: connection lost, and what rests on it")
		c.link.Close()
	}
	c.client.forget(c)
	for _, w := range c.waits {
		w.over = true
		w.take(protocol.Value{}, errSimConn)
	}
	c.waits = nil
	for _, f := range c.opening {
		f(false)
	}
	c.opening = nil
	s := c.client.near.sim
	s.after(s.between(0, 2*time.Second), func() { c.door.run(c.hangUp) })
}

// open makes a connection one for near reads, as package client does: its door is told to track before anything is read, and what is held
// of the node rests on this connection from then on. open is called again where the door refuses nothing.
func (c *nearConn) open(then func(ok bool)) {
	if c.failed || c.link != nil && c.opening == nil {
		then(!c.failed)
		return
	}
	c.opening = append(c.opening, then)
	if len(c.opening) > 1 {
		return
	}
	check := func(v protocol.Value, err error) {
		if err == nil && v.IsError() {
			c.client.near.sim.fail("a door does not track: %s", v)
		}
	}
	c.ask([][]string{{"HELLO", "3"}, {"CLIENT", "TRACKING", "ON"}}, check, func(v protocol.Value, err error) {
		check(v, err)
		if err != nil {
			return
		}
		c.link = c.client.cache.OpenLink(c.client.number(c.door.node))
		c.lease(func() {
			ready := c.opening
			c.opening = nil
			for _, f := range ready {
				f(true)
			}
		})
	})
}

// lease asks for a lease.
func (c *nearConn) lease(then func()) {
	sent := c.client.clock()
	c.ask([][]string{leaseLine}, func(v protocol.Value, err error) {
		if err == nil {
			c.granted(sent, v)
			then()
		}
	})
}

var leaseLine = []string{"GRID.LEASE", "1000"}

// granted takes a lease, and keeps it from then on: package client does the same.
func (c *nearConn) granted(sent nearcache.Time, v protocol.Value) {
	s := c.client.near.sim
	c.grant = 0
	if v.Kind == ':' {
		c.grant = min(nearcache.Time(v.Int)*nearcache.Time(time.Millisecond), nearcache.Time(simLease))
	}
	switch {
	case v.Kind != ':':
		s.fail("a door answers a question for a lease: %s", v)
	case v.Int == 0:
		s.count("near: no lease granted")
	case c.grant < nearcache.Time(simLease)-nearcache.Time(simLease)/100:
		s.count("near: lease cut short by the node's own")
	}
	holds := false
	if c.until, holds = c.link.Grant(sent, c.grant, c.client.clock()); !holds && v.Int > 0 {
		s.count("near: lease over when it came")
	}
	if holds && !c.keeping {
		c.keeping = true
		c.keep()
	}
}

// keep renews the lease at a third of what was granted, where entries were looked up that rest on it.
func (c *nearConn) keep() {
	s := c.client.near.sim
	pause := time.Duration(c.grant) / 3
	if pause <= 0 {
		pause = simLease / 3
	}
	s.after(max(pause, 5*time.Millisecond), func() {
		c.client.run(func() {
			switch {
			case c.failed:
			case c.link.TakeUsed():
				s.count("near: lease renewed")
				c.lease(c.keep)
			case c.until <= c.client.clock():
				c.keeping = false // until the next read asks
			default:
				c.keep()
			}
		})
	})
}

// push takes what the door says unasked. lost: it is about partitions.
func (c *nearConn) push(v protocol.Value) (lost bool) {
	s, cache, what := c.client.near.sim, c.client.cache, v.Elems[1]
	if c.link == nil {
		return false // nothing rests on it yet
	}
	switch string(v.Elems[0].Str) {
	case "invalidate":
		if what.Null {
			s.count("near: told to drop everything")
			cache.InvalidateNode(c.client.number(c.door.node))
			return false
		}
		for _, key := range what.Elems {
			s.count("near: told of a key")
			cache.InvalidateBytes(key.Str)
		}
	case "grid-invalidate":
		for _, p := range what.Elems {
			s.count("near: told of a partition")
			if c.client.direct {
				cache.InvalidateNode(c.client.number(c.door.node))
				continue
			}
			cache.InvalidatePartition(int(p.Int))
		}
		s.after(s.between(time.Millisecond, 20*time.Millisecond), c.client.refresh)
		return true
	}
	return false
}
