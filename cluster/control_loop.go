package cluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/neargrid/neargrid/cluster/core"
)

// controlLoop is what only the loop's goroutine knows.
type controlLoop struct {
	c *ControlPlane

	// What this node is in raft.
	serves    bool // it is in raft's configuration, so nodes tell it that they live
	leads     bool // it leads, and has applied all that was committed before
	term      uint64
	readyTerm uint64 // the last in which leads was reached

	number     uint64 // of the last heartbeat
	beatAt     time.Duration
	heard      map[core.Member]heardBeat
	unanswered map[core.Member]beat // since the last confirmation; for the leader
	wordAt     time.Duration        // of the last word from a leader
	controller *core.Controller     // while serves
	since      map[core.Member]standing
	observed   *core.Table // since is as it was in this one

	// What is being done elsewhere; at most one of each.
	verifying, preparing, proposing, voting, registering, flushing, saving bool

	registerAt time.Duration // not before
	seenSelf   bool          // this incarnation has been in the table
	savedIndex uint64        // of the servers that are on disk
}

// standing is since when a member is what it is.
type standing struct {
	alive bool
	at    time.Duration
}

func newControlLoop(c *ControlPlane) *controlLoop {
	return &controlLoop{
		c: c, heard: map[core.Member]heardBeat{}, unanswered: map[core.Member]beat{}, since: map[core.Member]standing{},
		wordAt: c.config.Now(),
	}
}

func (l *controlLoop) run() {
	ticker := time.NewTicker(l.c.config.Tick)
	defer ticker.Stop()
	for {
		select {
		case p := <-l.c.packets:
			l.takePacket(p)
		case f := <-l.c.results:
			f()
		case <-l.c.news:
			l.tableChanged()
		case <-l.c.laterNews:
			l.flush()
		case <-ticker.C:
			l.catchUp()
			l.tick()
		case <-l.c.closing.Done():
			return
		}
	}
}

// catchUp looks at all packets that have come, before anybody is judged by them.
func (l *controlLoop) catchUp() {
	for range packetsMax {
		select {
		case p := <-l.c.packets:
			l.takePacket(p)
		default:
			return
		}
	}
}

func (l *controlLoop) takePacket(p inHeartbeat) {
	if l.c.promises.frozen.Load() {
		return // nobody of this generation is followed any more
	}
	switch what := p.what.(type) {
	case *beat:
		l.takeBeat(p.from, what, p.at)
	case *word:
		l.takeWord(p.from, what, p.at)
	}
}

// spawn has work done elsewhere, and what it returns by the loop.
func (l *controlLoop) spawn(work func() (then func())) {
	c := l.c
	c.running.Go(func() {
		then := work()
		select {
		case c.results <- then:
		case <-c.closing.Done():
		}
	})
}

func (l *controlLoop) tick() {
	c, now := l.c, l.c.config.Now()
	if c.broken.Load() != nil {
		c.raft.stop()
		return
	}
	if c.promises.frozen.Load() {
		signal(c.pullWanted) // until somebody tells of what is promised to be followed
		return
	}
	l.stand()
	if now >= l.beatAt+heartbeatPause {
		l.heartbeat(now)
	}
	l.observe(now)
	l.control(now)
	if l.leads {
		l.answer()
		l.spread()
		l.vote(now)
		l.create()
	} else if now > l.wordAt+leaderSilence {
		signal(c.pullWanted)
	}
	l.register(now)
	l.flush()
	l.save()
}

// tableChanged does at once what need not wait for a tick.
func (l *controlLoop) tableChanged() {
	c := l.c
	if c.promises.frozen.Load() {
		return
	}
	t := c.follower.newest()
	if grid := t.Settings.Grid; grid != [16]byte{} {
		switch c.config.Transport.Identity().Grid {
		case grid:
		case [16]byte{}:
			c.config.Transport.SetGrid(grid)
		default:
			c.fail(fmt.Errorf("%w: the table is of grid %x", ErrOtherGrid, grid))
			return
		}
	}
	for m := range l.heard {
		if n := t.Node(m.Node); n == nil || n.Inc != m.Inc {
			delete(l.heard, m)
			delete(l.unanswered, m)
		}
	}
	if l.leads {
		l.spread()
	}
	l.register(c.config.Now())
}

// stand finds out what this node is in raft now.
func (l *controlLoop) stand() {
	c := l.c
	term := c.raft.CurrentTerm() // before the state: that of a leader is of this term, or of a later one
	leading := c.raft.State() == raft.Leader
	l.takeServers(term, leading)
	l.serves = slices.ContainsFunc(c.servers().Servers, func(s server) bool { return s.ID == c.self.Node })
	switch {
	case !l.serves:
		l.controller = nil
	case l.controller == nil:
		opt := core.DefaultControlOptions()
		opt.Lease = c.config.Lease
		l.controller = core.NewController(opt)
	}
	l.leads = leading && l.readyTerm == term
	if l.term = term; leading && !l.leads {
		l.prepare()
	}
	if !l.leads {
		clear(l.unanswered)
	}
	l.takeLeader(term)
}

// prepare waits until all that was committed before this node's term is applied: until then its table may be an old one.
func (l *controlLoop) prepare() {
	if l.preparing {
		return
	}
	l.preparing = true
	term := l.term
	l.spawn(func() func() {
		err := l.c.raft.Barrier(raftRPCTimeout).Error()
		return func() {
			if l.preparing = false; err == nil {
				l.readyTerm = term
				l.c.log.Info("leads the control plane", "term", term)
			}
		}
	})
}

// takeServers follows raft's configuration. The leader numbers it for the others; before anybody has heard from one, a voter's
// own has to do.
func (l *controlLoop) takeServers(term uint64, leading bool) {
	c := l.c
	known := c.servers()
	if !leading && known.Index > 0 {
		return
	}
	list := serverList{Index: firstServers}
	for _, s := range c.raft.servers() {
		addr := cmp.Or(c.addressOf(core.NodeID(s.ID)), string(s.Address))
		list.Servers = append(list.Servers, server{core.NodeID(s.ID), s.Suffrage == raft.Voter, addr})
	}
	if leading {
		begin := term << serversTermShift
		if known.Index >= begin && slices.Equal(known.Servers, list.Servers) {
			return
		}
		list.Index = max(begin, known.Index+1)
	}
	if len(list.Servers) > 0 {
		c.learnServers(list)
	}
}

// learnServers keeps the newest list.
func (c *ControlPlane) learnServers(list serverList) {
	for {
		known := c.list.Load()
		if list.Index <= known.Index || c.list.CompareAndSwap(known, &list) {
			return
		}
	}
}

// takeLeader follows what raft says of the leader, on the nodes that raft tells.
func (l *controlLoop) takeLeader(term uint64) {
	if !l.serves {
		if l.c.config.Now() > l.wordAt+leaderSilence {
			l.c.leader.Store(&leaderInfo{Term: l.c.leader.Load().Term})
		}
		return
	}
	addr, id := l.c.raft.LeaderWithID()
	known := l.c.leader.Load()
	if term < known.Term || id == "" && known.ID == "" {
		return
	}
	if at := l.c.addressOf(core.NodeID(id)); at != "" {
		addr = raft.ServerAddress(at)
	}
	l.c.leader.Store(&leaderInfo{Term: term, ID: core.NodeID(id), Addr: string(addr)})
}

// observe notes since when nodes are there, or gone.
func (l *controlLoop) observe(now time.Duration) {
	t := l.c.follower.newest()
	if t == l.observed {
		return
	}
	l.observed = t
	for m := range l.since {
		if n := t.Node(m.Node); n == nil || n.Inc != m.Inc {
			delete(l.since, m)
		}
	}
	for i := range t.Nodes {
		m, alive := t.Nodes[i].Member(), t.Nodes[i].Status != core.Fenced
		if s, known := l.since[m]; !known || s.alive != alive {
			l.since[m] = standing{alive, now}
		}
	}
}

// control has the controller decide (R3); where this node leads, its commands are proposed.
func (l *controlLoop) control(now time.Duration) {
	if l.controller == nil {
		return
	}
	t := l.c.follower.newest()
	commands := l.controller.Tick(t, l.leads, now)
	if l.leads {
		commands = append(commands, l.leaves(t)...)
	}
	if len(commands) == 0 || l.proposing {
		return // what still matters is decided again
	}
	l.proposing = true
	l.spawn(func() func() {
		for _, cmd := range commands {
			l.c.log.Info("controller proposes", "command", describeCommand(cmd))
			if b, err := appendCommand(nil, cmd); err != nil {
				l.c.log.Error("controller", "error", err)
			} else if p := l.c.submitLocally(b); p.Status != proposalDone || p.Reason != "" {
				l.c.log.Warn("controller's command", "status", p.Status, "reason", p.Reason)
			}
		}
		return func() { l.proposing = false }
	})
}

// leaves lets go of the nodes that drained: those without a copy that are no servers of raft any more (R32).
func (l *controlLoop) leaves(t *core.Table) (commands []core.Command) {
	for _, m := range t.Drained() {
		if !slices.ContainsFunc(l.c.servers().Servers, func(s server) bool { return s.ID == m.Node }) {
			commands = append(commands, core.Command{Kind: core.Leave, Member: m})
		}
	}
	return commands
}

// register enters this incarnation into the table, at first and when it was fenced (R2). A node that has left stays out.
func (l *controlLoop) register(now time.Duration) {
	c := l.c
	t := c.follower.newest()
	if len(t.Rows) == 0 || l.registering {
		return
	}
	n := t.Node(c.self.Node)
	switch {
	case n != nil && n.Member() == c.self && n.Status != core.Fenced:
		l.seenSelf = true
		return
	case n == nil && l.seenSelf:
		return
	case n != nil && n.Member() != c.self && l.seenSelf:
		c.fail(fmt.Errorf("%w: %s, and this is %s", ErrSuperseded, n.Member(), c.self))
		return
	case now < l.registerAt:
		return
	}
	l.registering, l.registerAt = true, now+registerPause
	replaces := core.Member{Node: c.self.Node}
	if n != nil {
		replaces = n.Member()
	}
	l.spawn(func() func() {
		ctx, cancel := context.WithTimeout(c.closing, proposeLaterTimeout)
		defer cancel()
		_, err := c.Propose(ctx, core.Command{Kind: core.Register, Node: c.node(), Member: replaces})
		if err != nil && c.closing.Err() == nil {
			c.log.Warn("register", "error", err)
		}
		return func() { l.registering = false }
	})
}
