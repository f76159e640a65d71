package core

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// NodeID names a node for good: it is kept in its data directory.
type NodeID string

// Incarnation is a fresh UUID of each start of a process. What a node held in memory belongs to one incarnation.
type Incarnation [16]byte

func (i Incarnation) String() string { return fmt.Sprintf("%x", i[:4]) }

// Member is one start of one node: what a row names, so that an address that is used again is never taken for the copy that
// was there before (R1).
type Member struct {
	Node NodeID
	Inc  Incarnation
}

// IsZero tells whether m names nobody.
func (m Member) IsZero() bool { return m.Node == "" }

func (m Member) String() string {
	if m.IsZero() {
		return "nobody"
	}
	return string(m.Node) + "/" + m.Inc.String()
}

// Compare orders members by node, then by incarnation.
func (m Member) Compare(o Member) int {
	return cmp.Or(cmp.Compare(m.Node, o.Node), bytes.Compare(m.Inc[:], o.Inc[:]))
}

// RowState tells whether a partition has an owner.
type RowState uint8

const (
	// Serving: Primary owns the partition.
	Serving RowState = iota
	// Lost: no copy is left that must have every acknowledged write. Primary is nobody and ISR empty.
	Lost
)

func (s RowState) String() string {
	switch s {
	case Serving:
		return "serving"
	case Lost:
		return "lost"
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Row is the record of one partition (R1). Every change of it raises Epoch, so an epoch names one row and a proposal that
// was made for an earlier one can no longer be accepted (R4).
type Row struct {
	Partition int
	Epoch     uint64
	Version   uint64 // of the table, when the row last changed
	// Born is the epoch in which the partition last began empty: at the grid's creation, or when its loss was accepted. A
	// copy that was born in another epoch holds other data and starts anew.
	Born uint64

	State   RowState
	Primary Member
	// Reign is the epoch in which Primary took over. Later epochs in which it still leads belong to the same reign: what is
	// said within it stays valid when only the ISR changes.
	Reign    uint64
	ISR      []Member // Primary first; must have a write before it is acknowledged
	Learners []Member // being filled, by Primary
	// Stints say since which epoch each copy has been one without a break. A copy that leaves is wiped; were it to come back in
	// the same reign, what it said before must not be taken for what it has now.
	Stints []Stint
	// Released: Primary got the partition by handover, from one that had stopped; it need not wait for its promise (R20).
	Released bool
	// Target is the member of the ISR that is to be the primary; nobody while that is Primary. The primary hands over.
	Target Member
	// LastDropped is who left the ISR last: the one with the newest data when all copies are gone (for recover, R34, and for
	// the same incarnation when it comes back), never for automatic promotion.
	LastDropped Member
}

// Stint is an uninterrupted time of a member as one of a partition's copies.
type Stint struct {
	Member
	Since uint64 // epoch
}

// StintOf is the epoch in which m's present stint began; 0 where it has no copy.
func (r *Row) StintOf(m Member) uint64 {
	for _, s := range r.Stints {
		if s.Member == m {
			return s.Since
		}
	}
	return 0
}

// countStints brings Stints up to date with the copies, after a change that made the row's present epoch.
func (r *Row) countStints() {
	stints := make([]Stint, 0, len(r.ISR)+len(r.Learners))
	for _, copies := range [][]Member{r.ISR, r.Learners} {
		for _, m := range copies {
			since := r.StintOf(m)
			if since == 0 {
				since = r.Epoch
			}
			stints = append(stints, Stint{m, since})
		}
	}
	r.Stints = stints
}

// Holds tells whether m has, or is getting, a copy.
func (r *Row) Holds(m Member) bool {
	return slices.Contains(r.ISR, m) || slices.Contains(r.Learners, m)
}

// InSync tells whether m is in the ISR.
func (r *Row) InSync(m Member) bool { return slices.Contains(r.ISR, m) }

// copyOf returns the member of node that has or gets a copy.
func (r *Row) copyOf(node NodeID) (Member, bool) {
	of := func(m Member) bool { return m.Node == node }
	if i := slices.IndexFunc(r.ISR, of); i >= 0 {
		return r.ISR[i], true
	}
	if i := slices.IndexFunc(r.Learners, of); i >= 0 {
		return r.Learners[i], true
	}
	return Member{}, false
}

// Clone returns a row that shares nothing with r.
func (r *Row) Clone() Row {
	c := *r
	c.ISR, c.Learners, c.Stints = slices.Clone(r.ISR), slices.Clone(r.Learners), slices.Clone(r.Stints)
	return c
}

// check returns what is wrong with a row; every row of every table passes.
func (r *Row) check() error {
	switch {
	case r.State == Lost && (!r.Primary.IsZero() || len(r.ISR) > 0 || len(r.Learners) > 0):
		return fmt.Errorf("partition %d is lost and has copies: %+v", r.Partition, *r)
	case r.State == Serving && (len(r.ISR) == 0 || r.ISR[0] != r.Primary):
		return fmt.Errorf("partition %d: the primary does not lead the ISR: %+v", r.Partition, *r)
	case !r.Target.IsZero() && (!r.InSync(r.Target) || r.Target == r.Primary):
		return fmt.Errorf("partition %d: the target is no backup of the ISR: %+v", r.Partition, *r)
	case r.Born > r.Epoch || r.Reign > r.Epoch:
		return fmt.Errorf("partition %d, epoch %d: born in %d, reign since %d", r.Partition, r.Epoch, r.Born, r.Reign)
	}
	nodes := map[NodeID]bool{}
	for _, m := range append(slices.Clone(r.ISR), r.Learners...) {
		if m.IsZero() || nodes[m.Node] {
			return fmt.Errorf("partition %d: a copy of nobody, or two on %s: %+v", r.Partition, m.Node, *r)
		}
		nodes[m.Node] = true
	}
	return nil
}

// Role is what a node is for.
type Role uint8

const (
	Data    Role = iota
	Witness      // votes, and holds no data
)

func (r Role) String() string {
	if r == Witness {
		return "witness"
	}
	return "data"
}

// NodeStatus is what the grid thinks of a node.
type NodeStatus uint8

const (
	// Alive: the node's incarnation may hold copies.
	Alive NodeStatus = iota
	// Draining: its copies are being moved away.
	Draining
	// Fenced: its incarnation holds nothing any more; it registers anew when it is back.
	Fenced
	// Stopping: the node is about to end. It keeps its copies, and leads none of them where another can (R22).
	Stopping
)

func (s NodeStatus) String() string {
	switch s {
	case Alive:
		return "alive"
	case Draining:
		return "draining"
	case Fenced:
		return "fenced"
	case Stopping:
		return "stopping"
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// Node is one entry of the registry.
type Node struct {
	ID     NodeID
	Inc    Incarnation
	Role   Role
	Status NodeStatus
	// Drains: its copies are to be moved away, and then it leaves; this outlives fences and restarts. Draining implies it; who
	// drains is Draining or Fenced.
	Drains  bool
	Zone    string
	Version uint64 // of the table, when the entry last changed
	// Feature levels that the node's binary speaks (R27).
	FeatureMin, FeatureMax uint32
	// Where the node is reached; what they mean is the transport's business.
	Peer, Client, Cluster string
}

// Member is the node's present incarnation.
func (n *Node) Member() Member { return Member{n.ID, n.Inc} }

// holdsData tells whether the node may be given copies.
func (n *Node) holdsData() bool {
	return n.Role == Data && (n.Status == Alive || n.Status == Stopping)
}

// mayLead tells whether the node may be made a primary.
func (n *Node) mayLead() bool { return n.Role == Data && n.Status == Alive }

// Settings are the grid's, fixed or changed through the control plane only.
type Settings struct {
	Grid       [16]byte // the grid's id
	Seed       [16]byte // of the hash of keys: the same on every node (R19)
	Partitions int
	Copies     int // wanted, the primary's included
	MinISR     int // fewer in-sync copies refuse writes (R13)
	ResetLost  bool
	Feature    uint32 // the level in force (R27)
}

// Table is what the control plane agrees on and everybody follows. Nodes are in order of ID, rows in order of partition.
type Table struct {
	Version  uint64 // raised by every change
	Settings Settings
	Nodes    []Node
	Rows     []Row

	marks *Marks // of the branches that Apply reached; no part of what is agreed on, and of no clone
}

// Node returns a registry entry, or nil.
func (t *Table) Node(id NodeID) *Node {
	i, found := slices.BinarySearchFunc(t.Nodes, id, func(n Node, id NodeID) int { return cmp.Compare(n.ID, id) })
	if !found {
		return nil
	}
	return &t.Nodes[i]
}

// current tells whether m is the present incarnation of its node, and not fenced.
func (t *Table) current(m Member) bool {
	n := t.Node(m.Node)
	return n != nil && n.Inc == m.Inc && n.Status != Fenced
}

// leadable tells whether m is on a node that may be made a primary.
func (t *Table) leadable(m Member) bool {
	n := t.Node(m.Node)
	return n != nil && n.mayLead()
}

// OthersLead tells whether the grid has copies, and a node other than m that may lead.
func (t *Table) OthersLead(m Member) bool {
	return t.Settings.Copies > 1 && slices.ContainsFunc(t.Nodes, func(n Node) bool { return n.mayLead() && n.ID != m.Node })
}

// Drained are the nodes that drain and hold nothing any more, a witness at once. They may leave, unless they vote. One with
// which a partition was lost must stay: it could come back with the data (R10). Nobody may where no other node is left.
func (t *Table) Drained() (drained []Member) {
	holds := map[Member]bool{}
	for i := range t.Rows {
		for _, copies := range [][]Member{t.Rows[i].ISR, t.Rows[i].Learners} {
			for _, m := range copies {
				holds[m] = true
			}
		}
		if t.Rows[i].State == Lost {
			holds[t.Rows[i].LastDropped] = true
		}
	}
	stays := false
	for i := range t.Nodes {
		n := &t.Nodes[i]
		stays = stays || n.mayLead()
		if n.Drains && !holds[n.Member()] {
			drained = append(drained, n.Member())
		}
	}
	if !stays {
		return nil
	}
	return drained
}

// LeastLeading is the node that may lead and leads the fewest partitions, counting those in load too; nobody where none may.
func (t *Table) LeastLeading(load map[NodeID]int) Member {
	best := Member{}
	for i := range t.Nodes {
		if n := &t.Nodes[i]; n.mayLead() && (best.IsZero() || load[n.ID] < load[best.Node]) {
			best = n.Member()
		}
	}
	return best
}

// Clone returns a table that shares nothing with t.
func (t *Table) Clone() *Table {
	c := *t
	c.marks = nil
	c.Nodes = slices.Clone(t.Nodes)
	c.Rows = make([]Row, len(t.Rows))
	for i := range t.Rows {
		c.Rows[i] = t.Rows[i].Clone()
	}
	return &c
}

// Delta is what changed in a table after a version: enough to bring a copy of that version up to date.
type Delta struct {
	From, Version uint64
	Settings      Settings
	Nodes         []Node
	Rows          []Row
}

// Since returns the changes after version from; all there is for 0. Rows are shared with t.
func (t *Table) Since(from uint64) Delta {
	d := Delta{From: from, Version: t.Version, Settings: t.Settings}
	d.Nodes = append(d.Nodes, t.Nodes...) // few, and so absence needs no tombstones
	for i := range t.Rows {
		if t.Rows[i].Version > from {
			d.Rows = append(d.Rows, t.Rows[i])
		}
	}
	return d
}

// Follow returns the table that a delta leads to. t stays as it is, and shares what has not changed.
func (t *Table) Follow(d Delta) *Table {
	next := &Table{Version: d.Version, Settings: d.Settings, Nodes: d.Nodes, Rows: slices.Clone(t.Rows)}
	for i := range d.Rows {
		p := d.Rows[i].Partition
		if p >= len(next.Rows) {
			next.Rows = append(next.Rows, make([]Row, p+1-len(next.Rows))...)
		}
		next.Rows[p] = d.Rows[i]
	}
	return next
}
