package core

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
)

// simNode is a machine with at most one process on it.
type simNode struct {
	sim   *sim
	id    NodeID
	voter bool
	gone  bool // for good
	rate  float64
	base  time.Duration

	up, paused bool
	starts     uint64
	backlog    []func() // what arrived while paused

	// The process's memory.
	inc      Incarnation
	table    *Table
	leases   *Leases
	opt      Options
	parts    []*simPart
	door     *simDoor      // nil where near caches take no part
	vouched  time.Duration // R10
	observer *Controller
	ticks    int
}

// simPart is one partition on one node.
type simPart struct {
	rep     *Replica
	store   map[int]uint64
	lastSeq map[int]uint64 // of each key, for gating (R12)
	floor   uint64         // for keys that were loaded
	waiting []*simReply

	unvouched bool // it leads, and does not serve for want of the controller's word alone (R10)
}

// simReply waits for a commit.
type simReply struct {
	need   uint64
	answer func()
}

func (n *simNode) clock() time.Duration { return n.base + time.Duration(float64(n.sim.now)*n.rate) }
func (n *simNode) member() Member       { return Member{n.id, n.inc} }

// run runs f in the node's process: now, or when it wakes.
func (n *simNode) run(f func()) {
	inc := n.inc
	switch {
	case !n.up:
	case n.paused:
		n.backlog = append(n.backlog, func() {
			if n.inc == inc {
				f()
			}
		})
	default:
		f()
	}
}

func (n *simNode) start() {
	s := n.sim
	n.starts++
	n.up, n.paused, n.backlog = true, false, nil
	n.inc = Incarnation{}
	copy(n.inc[:], n.id)
	binary.BigEndian.PutUint64(n.inc[8:], n.starts)
	n.inc[0] = byte(n.starts)
	n.table = &Table{}
	n.leases = NewLeases(n.member(), simLease, &s.marks)
	n.opt = DefaultOptions(s.setup.settings)
	n.opt.Marks, n.opt.KeepBytes, n.opt.MessageBytes = &s.marks, s.setup.keepEntries*entryOverheadBytes, 4*entryOverheadBytes
	n.opt.LagBytesMax = s.setup.lagEntries * entryOverheadBytes
	n.vouched = 0
	n.opt.ControllerLease = func() time.Duration { return n.vouched }
	n.parts = nil
	for p := range s.setup.partitions {
		n.parts = append(n.parts, &simPart{rep: NewReplica(p, n.leases, &n.opt), store: map[int]uint64{}, lastSeq: map[int]uint64{}})
	}
	n.observer = nil
	if n.voter {
		opt := DefaultControlOptions()
		opt.Marks = &s.marks
		n.observer = NewController(opt)
	}
	if s.near != nil {
		n.door = newSimDoor(n)
	}
	n.tickFrom(n.inc)
}

func (n *simNode) tickFrom(inc Incarnation) {
	if !n.up || n.inc != inc {
		return
	}
	if !n.paused {
		n.tick()
	}
	n.sim.after(n.sim.between(simTick-simTick/10, simTick), func() { n.tickFrom(inc) })
}

func (n *simNode) crash() {
	n.up, n.paused, n.backlog, n.parts = false, false, nil, nil
	if n.door != nil {
		n.door.close()
	}
}

func (n *simNode) pause(d time.Duration) {
	n.sim.count("pause")
	n.sim.note("%s pauses for %s", n.id, d)
	n.paused = true
	inc := n.inc
	n.sim.after(d, func() {
		if n.inc == inc && n.paused {
			n.resume()
		}
	})
}

func (n *simNode) resume() {
	n.sim.note("%s resumes", n.id)
	n.paused = false
	late := n.backlog
	n.backlog = nil
	for _, f := range late {
		n.run(f)
	}
}

// tick is what the actors do by themselves: heartbeats, beacons, the core's own ticks.
func (n *simNode) tick() {
	n.ticks++
	if n.ticks%simBeaconTick == 0 {
		n.heartbeat()
		n.beacons()
	}
	for p, part := range n.parts {
		held := part.rep.Held()
		step := part.rep.Tick(n.clock())
		if n.door != nil {
			n.door.ticked(p, held)
		}
		n.carryOut(p, step)
		n.countVouched(part)
		if p >= len(n.table.Rows) || n.table.Rows[p].Primary != n.member() {
			continue
		}
		r := &n.table.Rows[p]
		if m := n.table.Retirable(r); !m.IsZero() {
			drop := Change{Kind: Shrink, Partition: p, Epoch: r.Epoch, Member: m}
			n.sim.control.propose(n, Command{Kind: ChangeRows, Changes: []Change{drop}})
		}
	}
	if n.voter {
		leads := n.sim.control.leader == n
		for _, c := range n.observer.Tick(n.sim.control.table, leads, n.clock()) {
			n.sim.control.appendAt(n, c)
		}
	}
}

// countVouched notes where a primary stops for want of the controller's word alone (R10), and where it goes on with it.
func (n *simNode) countVouched(part *simPart) {
	now, rep := n.clock(), part.rep
	serves := rep.Serving(now)
	vouched := n.vouched
	n.vouched = never
	misses := !serves && rep.Serving(now)
	n.vouched = vouched
	switch {
	case misses && !part.unvouched:
		n.sim.count("primary without the controller's word")
	case serves && part.unvouched:
		n.sim.count("primary vouched for again")
	}
	part.unvouched = misses
}

// heartbeat tells every voter that we live (R3). The leader's answer vouches for us (R10) and brings what is new.
func (n *simNode) heartbeat() {
	me, version, sent := n.member(), n.table.Version, n.clock()
	for _, v := range n.sim.nodes {
		if !v.voter {
			continue
		}
		n.sim.send(n.id, v.id, func(v *simNode) {
			v.observer.Heard(me, version, v.clock())
			c := &n.sim.control
			if c.leader != v || !c.works(v) {
				return
			}
			if !c.table.current(me) {
				replaces := Member{Node: me.Node}
				if n := c.table.Node(me.Node); n != nil {
					replaces = n.Member()
				}
				node := Node{ID: me.Node, Inc: me.Inc, FeatureMin: 1, FeatureMax: 1}
				c.register(v, Command{Kind: Register, Node: node, Member: replaces})
				return
			}
			d := c.table.Clone().Since(version)
			n.sim.send(v.id, n.id, func(n *simNode) {
				if n.member() == me {
					n.vouched = max(n.vouched, sent+simLease)
					n.follow(d)
				}
			})
		})
	}
}

func (n *simNode) beacons() {
	peers := map[Member]bool{}
	for i := range n.table.Rows {
		r := &n.table.Rows[i]
		if r.Primary != n.member() {
			continue
		}
		for _, m := range append(slices.Clone(r.ISR[1:]), r.Learners...) {
			peers[m] = true
		}
	}
	for i := range n.table.Nodes { // in order, for the seed's sake
		m := n.table.Nodes[i].Member()
		if !peers[m] {
			continue
		}
		b := n.leases.Beacon(m, n.clock())
		n.sim.send(n.id, m.Node, func(peer *simNode) {
			ack, ok := peer.leases.OnBeacon(b, peer.clock())
			if !ok {
				return
			}
			n.sim.send(peer.id, n.id, func(n *simNode) { n.leases.OnAck(ack, n.clock()) })
		})
	}
}

// follow applies a delta of the table: all rows and the version in one go.
func (n *simNode) follow(d Delta) {
	if d.Version <= n.table.Version || d.From > n.table.Version {
		return
	}
	t := &Table{Version: d.Version, Settings: d.Settings, Nodes: d.Nodes, Rows: n.table.Rows}
	if len(t.Rows) == 0 {
		t.Rows = make([]Row, len(d.Rows))
	}
	steps := map[int]Step{}
	for i := range d.Rows {
		p := d.Rows[i].Partition
		t.Rows[p] = d.Rows[i].Clone()
		rep := n.parts[p].rep
		led, reign := rep.Primary(), rep.Row().Reign
		steps[p] = rep.ApplyRow(&d.Rows[i], n.clock())
		if n.door != nil {
			n.door.rowApplied(p, led, led && rep.Primary() && rep.Row().Reign == reign)
		}
	}
	n.table = t
	n.leases.TableApplied(d.Version)
	n.leases.Prune(func(m Member) bool { return !t.current(m) }, n.clock())
	if n.door != nil {
		n.door.followed()
	}
	for i := range d.Rows {
		p := d.Rows[i].Partition
		n.carryOut(p, steps[p])
		if n.door != nil {
			n.door.open(p)
		}
		if !n.parts[p].rep.Primary() {
			n.parts[p].waiting = nil // their clients will not know
		}
	}
}

// carryOut does what a Step asks for.
func (n *simNode) carryOut(p int, s Step) {
	part := n.parts[p]
	change := part.change
	if n.door != nil {
		change = func(s *Step) bool { return n.door.change(p, s) }
	}
	if again := change(&s); again {
		n.carryOut(p, part.rep.RestartWalk(s.Answer))
		return
	}
	if a := s.Answer; a != nil {
		ack := *a
		n.sim.send(n.id, a.To.Node, func(peer *simNode) { peer.carryOut(p, peer.parts[p].rep.OnAck(ack, peer.clock())) })
	}
	for _, m := range s.Ready {
		n.pump(p, m)
	}
	if s.Committed {
		n.sim.oracle.committed(n, p)
	}
	n.release(part)
	if len(s.Propose) > 0 {
		n.sim.note("%s proposes %v", n.id, s.Propose)
		n.sim.control.propose(n, Command{Kind: ChangeRows, Changes: s.Propose})
	}
}

// change brings the data to where a step says; again: a whole database changes under a walk, which must start anew.
func (part *simPart) change(s *Step) (again bool) {
	if s.Wipe {
		part.store, part.lastSeq, part.floor = map[int]uint64{}, map[int]uint64{}, 0
	}
	if s.Load != nil {
		part.load(s.Load)
	}
	for _, e := range s.Apply {
		kind, key, value := decodeOp(e.Payload)
		if kind == opFlush && s.Bound != WalkDone {
			return true
		}
		if kind == opFlush || keyHash(key) < s.Bound {
			part.apply(kind, key, value, e.Seq)
		}
	}
	return false
}

// pump sends what there is for one copy.
func (n *simNode) pump(p int, m Member) {
	rep := n.parts[p].rep
	for {
		a, ok := rep.Pull(m, n.clock())
		if !ok {
			break
		}
		n.sim.send(n.id, m.Node, func(peer *simNode) { peer.carryOut(p, peer.parts[p].rep.OnAppend(a)) })
	}
	if start, ok := rep.WantsChunk(m); ok {
		cut := n.parts[p].cutChunk
		if n.door != nil {
			cut = n.door.chunkOf(p)
		}
		data, end := cut(start, n.sim.setup.wholeWalks)
		c := rep.Chunk(m, data, end, n.clock())
		n.sim.send(n.id, m.Node, func(peer *simNode) { peer.carryOut(p, peer.parts[p].rep.OnChunk(c)) })
	}
}

func (n *simNode) peerReset(m Member) {
	for p, part := range n.parts {
		n.carryOut(p, part.rep.PeerReset(m, n.clock()))
	}
}

// release answers what no longer waits for a commit.
func (n *simNode) release(part *simPart) {
	if !part.rep.Primary() {
		return
	}
	if n.door != nil {
		n.door.release(part.rep.Partition)
	}
	still := part.waiting[:0]
	for _, w := range part.waiting {
		if part.rep.Commit() >= w.need {
			w.answer()
			continue
		}
		still = append(still, w)
	}
	part.waiting = still
}

func (part *simPart) apply(kind byte, key int, value uint64, seq uint64) {
	if kind == opFlush {
		part.store = map[int]uint64{}
		for k := range simKeys {
			part.lastSeq[k] = seq
		}
		return
	}
	part.store[key] = value
	part.lastSeq[key] = seq
}

// cutChunk takes the next key of a walk, or all that are left.
func (part *simPart) cutChunk(start Bound, whole bool) (data []byte, end Bound) {
	for key := range simKeys {
		if keyHash(key) < start {
			continue
		}
		if v, ok := part.store[key]; ok {
			data = append(data, encodeOp(opPut, key, v)...)
		}
		if key < simKeys-1 && !whole {
			return data, keyHash(key) + 1
		}
	}
	return data, WalkDone
}

func (part *simPart) load(c *Chunk) {
	part.floor = max(part.floor, c.Seq)
	for op := range slices.Chunk(c.Data, simOpBytes) {
		kind, key, value := decodeOp(op)
		part.apply(kind, key, value, c.Seq)
	}
}

// describe is a replica's state for people.
func (r *Replica) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "partition %d epoch %d role %d born %d: log %d..%d commit %d applied %d bound %x walk %d reigns %v", r.Partition,
		r.row.Epoch, r.role, r.born, r.log.base, r.log.last, r.commit, r.applied, uint64(r.bound), r.walkID, r.log.reigns)
	for _, p := range r.peers {
		fmt.Fprintf(&b, "\n    %s state %d match %d next %d walk %d bound %x walked %x end %d ticket %d settled %d sent at %s",
			p.Member, p.state, p.match, p.next, p.walk, uint64(p.bound), uint64(p.walked), p.end, p.ticket, p.settled, p.sentAt)
	}
	return b.String()
}

// seqOf is the newest sequence number that may have touched a key.
func (part *simPart) seqOf(key int) uint64 { return max(part.floor, part.lastSeq[key]) }
