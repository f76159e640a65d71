package core

import "time"

// simControl is raft as the core sees it: a log that decides, behind a leader that fails. What was proposed to a leader that is
// deposed meanwhile may still be committed by the next one.
type simControl struct {
	sim     *sim
	table   *Table
	leader  *simNode
	term    int
	limbo   []Command     // of deposed leaders, not committed
	failing time.Duration // since when the leader does not work; 0 = it does
}

func (c *simControl) begin(s *sim, first *simNode) {
	c.sim, c.table, c.leader = s, &Table{marks: &s.marks}, first
	node := Node{ID: first.id, Inc: first.inc, FeatureMin: 1, FeatureMax: 1}
	c.commit(Command{Kind: CreateGrid, Settings: s.setup.settings, Node: node})
	c.watch()
}

// works tells whether a voter can lead: it runs, and hears and reaches a majority.
func (c *simControl) works(n *simNode) bool {
	reach := 0
	for _, v := range c.sim.nodes {
		if v.voter && v.up && !v.paused && !c.sim.cut[[2]NodeID{n.id, v.id}] && !c.sim.cut[[2]NodeID{v.id, n.id}] {
			reach++
		}
	}
	return n.up && !n.paused && reach >= 2
}

// watch replaces a leader that has not worked for half a second.
func (c *simControl) watch() {
	s := c.sim
	s.after(50*time.Millisecond, c.watch)
	switch {
	case c.leader == nil:
	case c.works(c.leader):
		c.failing = 0
	case c.failing == 0:
		c.failing = s.now
	case s.now > c.failing+500*time.Millisecond:
		c.depose()
	}
}

// depose ends a leader's term; the next begins after an election.
func (c *simControl) depose() {
	if c.leader == nil {
		return
	}
	s := c.sim
	s.count("leader deposed")
	s.note("leader %s deposed", c.leader.id)
	c.leader, c.failing = nil, 0
	c.term++
	c.elect()
}

func (c *simControl) elect() {
	s := c.sim
	s.after(s.between(100*time.Millisecond, time.Second), func() {
		var able []*simNode
		for _, v := range s.nodes {
			if v.voter && c.works(v) {
				able = append(able, v)
			}
		}
		if len(able) == 0 {
			c.elect()
			return
		}
		c.leader = able[s.random.IntN(len(able))]
		s.note("leader %s", c.leader.id)
		limbo := c.limbo
		c.limbo = nil
		for _, cmd := range limbo {
			if s.random.IntN(2) == 0 {
				s.count("entry of a deposed leader committed")
				c.commit(cmd)
			}
		}
	})
}

// propose sends a command to the leader.
func (c *simControl) propose(from *simNode, cmd Command) {
	if c.leader == nil {
		return
	}
	c.sim.send(from.id, c.leader.id, func(n *simNode) { c.appendAt(n, cmd) })
}

// append proposes a command at whoever leads.
func (c *simControl) append(cmd Command) {
	if c.leader != nil {
		c.appendAt(c.leader, cmd)
	}
}

// appendAt puts a command into the log, if n leads, and commits it a little later, if n still leads then.
func (c *simControl) appendAt(n *simNode, cmd Command) {
	if c.leader != n || !c.works(n) {
		return
	}
	term := c.term
	c.sim.after(c.sim.between(time.Millisecond, 20*time.Millisecond), func() {
		if c.term != term || !c.works(n) {
			c.limbo = append(c.limbo, cmd)
			return
		}
		c.commit(cmd)
	})
}

// register proposes a node's registration; it may be proposed once more, a while later, as where its answer was lost. By then the node may
// have been fenced, or started again.
func (c *simControl) register(at *simNode, cmd Command) {
	c.appendAt(at, cmd)
	if s := c.sim; s.faulty && s.random.IntN(2) == 0 {
		s.count("registration repeated")
		s.after(s.between(0, 5*time.Second), func() { c.append(cmd) })
	}
}

func (c *simControl) commit(cmd Command) {
	before := c.table.Version
	born := make([]uint64, len(c.table.Rows))
	for p := range c.table.Rows {
		born[p] = c.table.Rows[p].Born
	}
	_, err := c.table.Apply(cmd)
	if cmd.Kind != ChangeRows {
		c.sim.note("command %d of %s%s: %v", cmd.Kind, cmd.Member, cmd.Node.Member(), err)
	}
	if err != nil || c.table.Version == before {
		return
	}
	for p := range c.table.Rows {
		r := &c.table.Rows[p]
		if err := r.check(); err != nil {
			c.sim.fail("%v", err)
		}
		if p < len(born) && r.Born != born[p] {
			c.sim.oracle.wasReset(p)
		}
		if r.Version == c.table.Version && before > 0 {
			c.sim.note("row %d epoch %d: %s primary %s isr %v learners %v target %s released %v", p, r.Epoch, r.State, r.Primary, r.ISR, r.Learners, r.Target, r.Released)
		}
	}
	if c.leader == nil {
		return
	}
	d := c.table.Clone().Since(before)
	for _, n := range c.sim.nodes {
		c.sim.send(c.leader.id, n.id, func(n *simNode) { n.follow(d) })
	}
}
