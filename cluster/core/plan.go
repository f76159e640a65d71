package core

import (
	"cmp"
	"math"
)

// Where copies should be, and what to do next so that they get there (R22).
//
// From a table follows a goal: for each row the nodes that are to hold it, and the one that is to lead it. The goal is the
// best there is, in this order: it has the wanted copies on as many zones as can be; node by node it is as even as the zones
// allow; it has the fewest copies that nobody holds yet. Moves lead from the rows as they are to the goal: add, then hand over,
// then drop.
//
// Why it ends: the first two do not depend on who holds what. So a copy added to reach the goal lowers the third by one, and
// dropping what is not in the goal changes nothing: a plan carried out by halves, in any order, is followed by the rest of one
// as good, and no copy is moved twice. A search that only betters the present state, row by row, has no such bound once
// several copies are under way; it was the simpler way, and was left for that.
//
// A node that joins n others takes at most its even share of the copies, 1/(n+1), and in one zone nothing else moves. With zones it takes
// more where its zone is to have one copy of each partition: of those its share among the nodes there, all of them when it opens a zone.
// Others may move as well then. docs/REPLICATION.md has the bounds ("What joining and leaving moves").

// PlanLimits bound what is copied at the same time. Less than 1 counts as 1.
type PlanLimits struct {
	LearnersPerNode   int // copies that one node may be receiving
	LearnersPerSource int // copies that one node may be feeding, as their primary
}

// Plan returns the changes that may be made now, the most urgent first and at most one of a row: AddLearner, Shrink and
// SetTarget. None: nothing can be done until a learner is filled or a partition handed over, or nothing is left to do.
// Equal tables give equal plans, whoever asks.
func Plan(t *Table, limits PlanLimits) []Change {
	p := newPlanner(t)
	if p.wanted == 0 {
		return nil // nobody can take a copy: whatever is there stays
	}
	p.placeCopies()
	p.placePrimaries()
	return p.moves(limits)
}

// Progress is how far a table is from what it should be.
type Progress struct {
	Lost    int // partitions that have no copy; the plan leaves them alone
	Missing int // copies that are wanted and not in sync
	Filling int // learners that there are now
	// Changes that remain, if nothing else happens: copies to begin, copies to drop, primaries to hand over.
	Adds, Drops, Handovers int
}

// Moves is how many changes remain.
func (p Progress) Moves() int { return p.Adds + p.Drops + p.Handovers }

// forwardRoundsMax bounds the rounds of PlanProgress. A round takes every row a step further, and a row has a few steps to go
// for each of its copies: it is never reached.
const forwardRoundsMax = 1000

// PlanProgress carries out the plan on a copy of t until nothing is left to do.
func PlanProgress(t *Table) Progress {
	var sum Progress
	wanted := newPlanner(t).wanted
	for i := range t.Rows {
		r := &t.Rows[i]
		if r.State != Serving {
			sum.Lost++
			continue
		}
		sum.Missing += max(0, wanted-t.eligible(r.ISR))
		sum.Filling += len(r.Learners)
		if !r.Target.IsZero() {
			sum.Handovers++
		}
	}
	t = t.Clone()
	for range forwardRoundsMax {
		moves := Plan(t, PlanLimits{LearnersPerNode: math.MaxInt, LearnersPerSource: math.MaxInt})
		for _, m := range moves {
			switch m.Kind {
			case AddLearner:
				sum.Adds++
			case Shrink:
				sum.Drops++
			case SetTarget:
				sum.Handovers++
			}
		}
		t.changeRows(moves, t.Version)
		done := underWay(t)
		for _, m := range done {
			if m.Kind == Shrink {
				sum.Drops++
			}
		}
		t.changeRows(done, t.Version)
		if len(moves)+len(done) == 0 {
			break
		}
	}
	return sum
}

// underWay returns what the primaries will propose when they have done what the rows ask of them; one change of a row.
func underWay(t *Table) []Change {
	var done []Change
	for i := range t.Rows {
		switch r := &t.Rows[i]; {
		case !r.Target.IsZero():
			done = append(done, Change{Kind: Handover, Partition: i, Epoch: r.Epoch, Member: r.Target})
		case len(r.Learners) > 0:
			done = append(done, Change{Kind: Grow, Partition: i, Epoch: r.Epoch, Member: r.Learners[0]})
		default:
			if m := t.Retirable(r); !m.IsZero() {
				done = append(done, Change{Kind: Shrink, Partition: i, Epoch: r.Epoch, Member: m})
			}
		}
	}
	return done
}

// Retirable is the copy, of a node that drains, which the row's primary is to drop once it has compared the copies (R21): there
// are enough in sync without it. Nobody where there is none. The plan leaves these drops to the primary.
func (t *Table) Retirable(r *Row) Member {
	holders := 0
	for i := range t.Nodes {
		if t.Nodes[i].holdsData() {
			holders++
		}
	}
	if r.State != Serving || !r.Target.IsZero() || holders == 0 || t.eligible(r.ISR[:1]) == 0 ||
		t.eligible(r.ISR) < min(t.Settings.Copies, holders) {
		return Member{}
	}
	for _, m := range r.ISR[1:] {
		if n := t.Node(m.Node); n != nil && n.Drains {
			return m
		}
	}
	return Member{}
}

// eligible counts the members whose nodes may hold copies.
func (t *Table) eligible(members []Member) int {
	count := 0
	for _, m := range members {
		if n := t.Node(m.Node); n != nil && n.holdsData() {
			count++
		}
	}
	return count
}

// planner works out one plan. Nodes and rows go by their index in nodes and rows.
type planner struct {
	nodes  []*Node // that may hold copies, in order of ID
	index  map[NodeID]int
	zone   []int // of each node
	zones  int
	rows   []*Row // that are served
	wanted int    // copies of each row
	order  candidates

	copies    spread // who is to hold each row
	primaries spread // who is to lead it
}

func newPlanner(t *Table) *planner {
	p := &planner{index: map[NodeID]int{}}
	zones := map[string]int{}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if !n.holdsData() {
			continue
		}
		if _, known := zones[n.Zone]; !known {
			zones[n.Zone] = len(zones)
		}
		p.index[n.ID] = len(p.nodes)
		p.nodes = append(p.nodes, n)
		p.zone = append(p.zone, zones[n.Zone])
	}
	for i := range t.Rows {
		if r := &t.Rows[i]; r.State == Serving {
			p.rows = append(p.rows, r)
		}
	}
	p.zones, p.wanted = len(zones), min(t.Settings.Copies, len(p.nodes))
	p.order = candidates{nodes: p.nodes, partitions: len(t.Rows)}
	return p
}

// node returns the index of m's node; false: it may hold nothing, because it drains, say. Rows name no other than the present
// incarnation of a node (R2).
func (p *planner) node(m Member) (int, bool) {
	i, ok := p.index[m.Node]
	return i, ok
}

// What the goal pays. Each is more than all that a cycle of steps may pay of the one before.
const (
	costLearner  = 1 // a copy, or a primary, that is not in sync yet
	costNew      = 1 << 20
	costHandover = 1 << 20
)

// placeCopies finds the goal of the copies. What it does must not depend on who is the primary: handing over would change the
// goal, and that the next handover.
func (p *planner) placeCopies() {
	s := newSpread(len(p.rows), len(p.nodes), costNew)
	s.zone, s.zones = p.zone, p.zones
	s.perZoneMin, s.perZoneMax = 0, 1
	if p.zones <= p.wanted {
		s.perZoneMin = 1
	}
	if p.zones < p.wanted {
		s.perZoneMax = p.wanted
	}
	s.rank = func(row, node int) int { return p.order.rank(p.rows[row].Partition, node) }
	s.inZone = make([]int, len(p.rows)*p.zones)
	for i, r := range p.rows {
		for _, m := range r.Learners {
			if n, ok := p.node(m); ok {
				s.cost[i*s.nodes+n] = costLearner
				s.choose(i, n)
			}
		}
		for _, m := range r.ISR {
			if n, ok := p.node(m); ok {
				s.cost[i*s.nodes+n] = 0
				s.choose(i, n)
			}
		}
	}
	for i := range p.rows {
		p.trim(&s, i)
		p.fill(&s, i)
	}
	s.level()
	s.polish()
	p.copies = s
}

// trim takes nodes out of a row until it has no more than are wanted, leaving room for the zones that it does not reach yet.
func (p *planner) trim(s *spread, row int) {
	for {
		double, missed := false, 0
		for _, in := range s.inZone[row*s.zones : (row+1)*s.zones] {
			double = double || in > 1
			if in == 0 {
				missed++
			}
		}
		if s.count(row) <= p.wanted-s.perZoneMin*missed && !(double && s.perZoneMax == 1) {
			return
		}
		worst := -1
		for n := range s.nodes {
			if !s.has(row, n) || double && s.inZone[row*s.zones+s.zone[n]] < 2 {
				continue
			}
			if worst < 0 || cmp.Or(cmp.Compare(s.load[n], s.load[worst]),
				cmp.Compare(s.cost[row*s.nodes+n], s.cost[row*s.nodes+worst])) > 0 {
				worst = n
			}
		}
		s.unchoose(row, worst)
	}
}

// fill gives a row nodes until it has those that are wanted: in zones that it does not reach while there are any, the emptiest
// first, by the ring between equals.
func (p *planner) fill(s *spread, row int) {
	for count := s.count(row); count < p.wanted; count++ {
		best, bestReaches := -1, false
		for n := range s.nodes {
			if s.has(row, n) {
				continue
			}
			reaches := s.inZone[row*s.zones+s.zone[n]] == 0
			switch {
			case best < 0 || reaches && !bestReaches:
			case bestReaches && !reaches || s.load[n] > s.load[best]:
				continue
			case s.load[n] == s.load[best] && s.rank(row, n) > s.rank(row, best):
				continue
			}
			best, bestReaches = n, reaches
		}
		s.choose(row, best)
	}
}

// placePrimaries finds the goal of the primaries, among the goal's copies: as even as these allow, with the fewest handovers.
// Nodes that are about to end lead only what nobody else can.
func (p *planner) placePrimaries() {
	s := newSpread(len(p.rows), len(p.nodes), barred)
	for i, r := range p.rows {
		stays := false
		for n := range s.nodes {
			stays = stays || p.copies.has(i, n) && p.nodes[n].mayLead()
		}
		for n := range s.nodes {
			if !p.copies.has(i, n) || stays && !p.nodes[n].mayLead() {
				continue
			}
			s.cost[i*s.nodes+n] = costHandover
			if !r.InSync(p.nodes[n].Member()) {
				s.cost[i*s.nodes+n] += costLearner
			}
		}
		if n, ok := p.leads(r); ok && s.cost[i*s.nodes+n] != barred {
			s.cost[i*s.nodes+n] = 0
			s.choose(i, n)
		}
	}
	for i := range p.rows {
		if s.count(i) > 0 {
			continue
		}
		best := -1
		for n := range s.nodes {
			if s.cost[i*s.nodes+n] != barred && (best < 0 || s.load[n] < s.load[best]) {
				best = n
			}
		}
		s.choose(i, best)
	}
	s.level()
	s.polish()
	p.primaries = s
}

// leads returns the node that leads a row, or will when the handover is done.
func (p *planner) leads(r *Row) (int, bool) {
	if !r.Target.IsZero() {
		return p.node(r.Target)
	}
	return p.node(r.Primary)
}
