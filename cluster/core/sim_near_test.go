package core

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/neargrid/neargrid/nearcache"
	"github.com/neargrid/neargrid/partition"
)

// Near caches in the simulation. Nodes have the real server (its sessions, tracking, leases, relays) over the real store, clients the real
// near cache; connections, clocks and what package client does with goroutines are made up, all on the simulation's one goroutine.
//
//	sim_near_test.go          the setup, faults of clients and connections
//	sim_near_door_test.go     a node's server: what the actors around it do
//	sim_near_forward_test.go  what doors forward to each other
//	sim_near_conn_test.go     connections of clients, leases, pushes
//	sim_near_client_test.go   clients: reads, writes, tables
//	sim_near_check_test.go    the guarantees G1 and G2
//
// G1: what a near read returns was the owner's value at some moment after L before it began. G2: for each key and client reads never go
// back, and acknowledged writes are read. What comes from nodes is checked to be linearizable, as without near caches.

const (
	nearClients = 3
	nearThreads = 3 // of each client
)

type nearSim struct {
	sim     *sim
	ctx     context.Context
	keys    []nearKey
	clients []*nearClient
	conns   []*nearConn
	check   nearCheck
	values  uint64 // that were given out
	calls   int    // that doors have forwarded
	stopped bool
}

type nearKey struct {
	name      string
	partition int
	index     int // in its partition
}

func newNearSim(s *sim) *nearSim {
	near := &nearSim{sim: s, ctx: context.Background()}
	slots := partition.Slots / s.setup.partitions
	count := make([]int, s.setup.partitions)
	for i := 0; len(near.keys) < simKeys*s.setup.partitions; i++ {
		name := fmt.Sprintf("k%05d;", i)
		if p := partition.Slot([]byte(name)) / slots; count[p] < simKeys {
			near.keys = append(near.keys, nearKey{name, p, count[p]})
			count[p]++
		}
	}
	near.check = newNearCheck(near)
	return near
}

// begin has clients work, and things go wrong for them.
func (near *nearSim) begin() {
	s := near.sim
	for i := range nearClients {
		c := newNearClient(near, i)
		near.clients = append(near.clients, c)
		if c.direct {
			c.choose()
		}
		c.poll()
		for range nearThreads {
			s.after(s.between(0, 100*time.Millisecond), func() { c.run(c.next) })
		}
	}
	s.after(s.between(0, 200*time.Millisecond), near.mischief)
}

// poll asks for tables all the time.
func (c *nearClient) poll() {
	if !c.content {
		c.refresh()
	}
	s := c.near.sim
	s.after(s.between(500*time.Millisecond, 6*time.Second), func() { c.run(c.poll) })
}

// drawKey is more often one of a few.
func (near *nearSim) drawKey() int {
	if near.sim.random.IntN(2) == 0 {
		return near.sim.random.IntN(3)
	}
	return near.sim.random.IntN(len(near.keys))
}

// mischief does one bad thing to a client or a connection, and arranges for the next.
func (near *nearSim) mischief() {
	s := near.sim
	if !s.faulty {
		return
	}
	s.after(s.between(20*time.Millisecond, 500*time.Millisecond), near.mischief)
	if s.random.IntN(20) == 0 {
		near.desert()
		return
	}
	near.conns = slices.DeleteFunc(near.conns, func(c *nearConn) bool { return c.failed })
	switch s.random.IntN(8) {
	case 0:
		if c := near.clients[s.random.IntN(nearClients)]; !c.paused {
			c.pause(s.between(10*time.Millisecond, 2*time.Second))
		}
		return
	case 1:
		n := s.nodes[s.random.IntN(len(s.nodes))]
		n.run(func() {
			if n.door.srv.Store().Tracking().Keys() > 0 && !n.door.relays() {
				s.count("near: table of tracked keys emptied into stripes")
				n.door.srv.Store().ShrinkTracked(0, 1<<20, s.random.IntN)
			}
		})
		return
	}
	if len(near.conns) == 0 {
		return
	}
	c := near.conns[s.random.IntN(len(near.conns))]
	switch s.random.IntN(4) {
	case 0:
		s.count("near: connection broken")
		c.client.run(c.fail)
	case 1: // the door has given it up, and the client hears of that later
		s.count("near: connection broken at the door")
		c.door.run(c.hangUp)
		s.after(s.between(0, 3*time.Second), func() { c.client.run(c.fail) })
	default:
		near.hole(c)
	}
}

// desert cuts the primary of a key that is read often off from all nodes, for longer than two leases. Clients still reach it, and one of
// them reads nothing but that key for the time: so it has no reason to ask anybody else who has it, while others write it elsewhere. Not in
// grids that reset what is lost: there a write may be acknowledged behind a reset (REPLICATION.md, "Open").
func (near *nearSim) desert() {
	s := near.sim
	key := s.random.IntN(3)
	row := &s.control.table.Rows[near.keys[key].partition]
	if row.State != Serving || !s.node(row.Primary.Node).up {
		return
	}
	s.count("near: primary cut off from nodes and not from clients")
	d := s.between(3*time.Second, 4500*time.Millisecond)
	s.isolate([]NodeID{row.Primary.Node}, d)
	s.count("near: client of a primary that is cut off reads one key")
	c := near.clients[s.random.IntN(nearClients)]
	c.content, c.only = true, key
	s.after(d, func() { c.content = false })
}

// relays tells whether other doors have had keys tracked here. They are told of one key after the other, in the order in which the table
// of tracked keys lets them go, which is not the seed's.
func (d *simDoor) relays() bool {
	for _, l := range d.guests {
		if l.tracks {
			return true
		}
	}
	return false
}

// hole has nothing arrive on a connection for a while, in one direction or both; then all of it does, or the connection breaks.
func (near *nearSim) hole(c *nearConn) {
	s := near.sim
	up, down := s.random.IntN(3) > 0, s.random.IntN(3) > 0
	if !up && !down || c.up.held || c.down.held {
		return
	}
	s.count("near: connection in a black hole")
	c.up.held, c.down.held = up, down
	s.after(s.between(50*time.Millisecond, 2500*time.Millisecond), func() {
		if s.random.IntN(3) == 0 {
			s.count("near: connection broken in a black hole")
			c.client.run(c.fail)
		}
		if s.random.IntN(2) == 0 {
			s.count("near: connection trickles")
			c.up.release()
			c.down.trickle(s)
			return
		}
		c.up.release()
		c.down.release()
	})
}

// heal ends the faults of clients and connections.
func (near *nearSim) heal() {
	for _, c := range near.conns {
		c.up.release()
		c.down.release()
	}
	for _, c := range near.clients {
		c.resume()
	}
}

// end reads every key once more, at its node, and judges.
func (near *nearSim) end() {
	s := near.sim
	for i, k := range near.keys {
		row := &s.control.table.Rows[k.partition]
		if row.State != Serving {
			continue
		}
		d := s.node(row.Primary.Node).door
		d.tx.Begin(0, k.partition)
		value := uint64(0)
		if v, ok := d.tx.Peek([]byte(k.name)); ok {
			text, _ := v.String()
			value = parseValue(string(text))
		}
		d.tx.End()
		near.check.end(near.check.begin(nearClients, i), farRead, value)
	}
	near.check.judge()
}

// trace notes what would fill the transcript, where all of it is printed.
func (near *nearSim) trace(format string, args ...any) {
	if *simTrace {
		near.sim.note(format, args...)
	}
}

// close gives back what a simulation has taken.
func (s *sim) close() {
	if s.near == nil {
		return
	}
	for _, n := range s.nodes {
		if n.up {
			n.crash()
		}
	}
	for _, c := range s.near.clients {
		c.cache.Close()
	}
}

func (near *nearSim) countMiss(before, after nearcache.Stats) {
	why := "near: miss, lease"
	switch {
	case after.MissesAbsent > before.MissesAbsent:
		why = "near: miss, absent"
	case after.MissesPartition > before.MissesPartition:
		why = "near: miss, partition"
	case after.MissesGeneration > before.MissesGeneration:
		why = "near: miss, generation"
	case after.MissesExpired > before.MissesExpired:
		why = "near: miss, expired"
	}
	near.sim.count(why)
}

// simNearFaults are the faults and branches that must happen with near caches.
var simNearFaults = []string{
	"near: client paused", "near: connection broken", "near: connection broken at the door", "near: connection in a black hole",
	"near: connection broken in a black hole", "near: connection trickles", "near: version of an earlier reign",
	"near: connection lost, and what rests on it", "near: hit", "near: miss, absent",
	"near: miss, generation", "near: miss, lease", "near: miss, partition", "near: lease asked for with a read",
	"near: lease cut short by the node's own", "near: lease over when it came", "near: lease renewed", "near: no lease granted",
	"near: not stored, as it was out of date", "near: partition flushed", "near: partition told of before a handover",
	"near: primary cut off from nodes and not from clients", "near: client of a primary that is cut off reads one key",
	"near: read past the near cache", "near: stream between doors cut", "near: table of tracked keys emptied into stripes",
	"near: told of a key", "near: told of a partition", "near: told of a partition ahead of a lease that omits it",
	"near: told to drop everything", "near: tracked read by way of another door", "near: waited for another's reply",
}
