package core

import (
	"math"
	"time"

	"github.com/anishathalye/porcupine"
)

const (
	simClientTimeout = 5 * time.Second
	never            = math.MaxInt64
)

// simClient does one operation after another, and keeps a record of what it saw.
type simClient struct {
	sim     *sim
	id      int
	stopped bool
	count   uint64
}

func newSimClient(s *sim, id int) *simClient { return &simClient{sim: s, id: id} }

// next does an operation, and then the next one.
func (c *simClient) next() {
	s := c.sim
	if c.stopped {
		return
	}
	p, key := s.random.IntN(s.setup.partitions), s.random.IntN(simKeys)
	again := func() { s.after(s.between(time.Millisecond, s.setup.thinkMax), c.next) }
	switch roll := s.random.IntN(100); {
	case roll < 2:
		c.flush(p, again)
	case roll < 50:
		c.put(p, key, again)
	default:
		c.get(p, key, again)
	}
}

// outcome is what came of an operation. A node says nothing where it does not know.
type outcome int

const (
	unknown outcome = iota
	done
	notExecuted
)

// call sends an operation to a node that is thought to lead, and waits.
func (c *simClient) call(p int, execute func(n *simNode, answer func(o outcome, value uint64)), then func(o outcome, value uint64)) {
	s := c.sim
	to := s.control.table.Rows[p].Primary.Node
	if to == "" || s.random.IntN(8) == 0 {
		to = s.nodes[s.random.IntN(len(s.nodes))].id
	}
	over := false
	finish := func(o outcome, value uint64) {
		if !over {
			over = true
			then(o, value)
		}
	}
	s.after(simClientTimeout, func() { finish(unknown, 0) })
	// The client's own connection is reliable while both ends live: what is lost is lost with the node.
	s.after(s.between(100*time.Microsecond, s.setup.delayMax), func() {
		n := s.node(to)
		inc := n.inc
		if !n.up {
			finish(notExecuted, 0)
			return
		}
		n.run(func() {
			execute(n, func(o outcome, value uint64) {
				s.after(s.between(100*time.Microsecond, s.setup.delayMax), func() {
					if n.inc == inc {
						finish(o, value)
					}
				})
			})
		})
	})
}

func (c *simClient) put(p, key int, again func()) {
	c.count++
	value := uint64(c.id)<<32 | c.count
	start := c.sim.now
	c.call(p, func(n *simNode, answer func(outcome, uint64)) { n.write(p, opPut, key, value, answer) }, func(o outcome, _ uint64) {
		c.sim.oracle.wrote(c.id, p, key, value, start, o)
		again()
	})
}

func (c *simClient) flush(p int, again func()) {
	start := c.sim.now
	c.call(p, func(n *simNode, answer func(outcome, uint64)) { n.write(p, opFlush, 0, 0, answer) }, func(o outcome, _ uint64) {
		for key := range simKeys {
			c.sim.oracle.wrote(c.id, p, key, 0, start, o)
		}
		again()
	})
}

func (c *simClient) get(p, key int, again func()) {
	start := c.sim.now
	c.call(p, func(n *simNode, answer func(outcome, uint64)) { n.read(p, key, answer) }, func(o outcome, value uint64) {
		c.sim.oracle.read(c.id, p, key, value, start, o)
		again()
	})
}

// write is what a door does with a write: refuse before execution, or execute and answer when it is committed.
func (n *simNode) write(p int, kind byte, key int, value uint64, answer func(outcome, uint64)) {
	part := n.parts[p]
	if !part.rep.Serving(n.clock()) || !part.rep.Writable() {
		answer(notExecuted, 0)
		return
	}
	seq := part.rep.Last() + 1
	part.apply(kind, key, value, seq)
	n.sim.oracle.execute(p, Entry{Seq: seq, Epoch: part.rep.row.Reign, Payload: encodeOp(kind, key, value)})
	part.waiting = append(part.waiting, &simReply{seq, func() { answer(done, 0) }})
	if part.rep.Alone() && seq%3 == 0 { // harder than what nodes do: here others may come back
		n.sim.count("write skipped by the log")
		part.rep.Skip(part.rep.TimeMs() + 1)
		n.carryOut(p, Step{Committed: true})
		return
	}
	n.carryOut(p, part.rep.Propose(part.rep.TimeMs()+1, encodeOp(kind, key, value), n.clock()))
}

// read reads, then looks at the clock (R9), then waits until what it saw is committed (R12). The process may be paused at any
// point between.
func (n *simNode) read(p, key int, answer func(outcome, uint64)) {
	part, inc := n.parts[p], n.inc
	if !part.rep.Serving(n.clock()) {
		answer(notExecuted, 0)
		return
	}
	n.sim.after(n.sim.between(0, 500*time.Microsecond), func() {
		n.run(func() {
			if n.inc != inc || !part.rep.Serving(n.clock()) {
				return
			}
			value, need := part.store[key], part.seqOf(key)
			if part.rep.Commit() >= need {
				answer(done, value)
				return
			}
			n.sim.count("read waited for a commit")
			part.waiting = append(part.waiting, &simReply{need, func() { answer(done, value) }})
		})
	})
}

// readAll reads every key once more when all is well.
func (s *sim) readAll() {
	waiting := 0
	for p := range s.setup.partitions {
		if s.control.table.Rows[p].State != Serving {
			continue
		}
		for key := range simKeys {
			waiting++
			var try func()
			c := newSimClient(s, s.setup.clients)
			try = func() {
				start := s.now
				c.call(p, func(n *simNode, answer func(outcome, uint64)) { n.read(p, key, answer) }, func(o outcome, value uint64) {
					if o != done {
						s.after(50*time.Millisecond, try)
						return
					}
					s.oracle.read(c.id, p, key, value, start, o)
					waiting--
				})
			}
			try()
		}
	}
	s.runUntil(s.now+30*time.Second, func() bool { return waiting == 0 })
	if waiting > 0 {
		s.fail("%d keys could not be read at the end", waiting)
	}
}

// registerModel is one key: a value, 0 = not there.
var registerModel = porcupine.Model{
	Init: func() any { return uint64(0) },
	Step: func(state, input, output any) (bool, any) {
		in := input.(registerInput)
		if in.write {
			return true, in.value
		}
		return output.(uint64) == state.(uint64), state
	},
	Equal: func(a, b any) bool { return a.(uint64) == b.(uint64) },
}

type registerInput struct {
	write bool
	value uint64
}
