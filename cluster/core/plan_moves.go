package core

import (
	"cmp"
	"slices"
)

// The next steps towards where copies should be.

// urgency of what a row needs. Lower goes first.
type urgency int

const (
	tooFewCopies    urgency = iota // those with the fewest before others
	drains                         // a copy is on a node that drains
	tooFewZones                    // copies share a zone and need not
	uneven                         // copies are to be elsewhere
	unevenPrimaries                // at most the primary is to be another
)

// errand is a row, and why it may need something.
type errand struct {
	row    int
	reason urgency
	copies int // in sync
}

// moves takes each row a step towards the goal.
func (p *planner) moves(limits PlanLimits) []Change {
	errands := make([]errand, len(p.rows))
	for i, r := range p.rows {
		errands[i] = errand{row: i, reason: p.reason(i), copies: len(r.ISR)}
	}
	slices.SortStableFunc(errands, func(a, b errand) int {
		if a.reason == tooFewCopies && b.reason == tooFewCopies {
			return cmp.Compare(a.copies, b.copies)
		}
		return cmp.Compare(a.reason, b.reason)
	})
	load := p.transfers(limits)
	var moves []Change
	for _, e := range errands {
		if m, ok := p.move(e.row, load); ok {
			m.Partition, m.Epoch = p.rows[e.row].Partition, p.rows[e.row].Epoch
			moves = append(moves, m)
		}
	}
	return moves
}

func (p *planner) reason(row int) urgency {
	r := p.rows[row]
	if len(r.ISR) < p.wanted {
		return tooFewCopies
	}
	reached, zones, moved := make([]bool, p.zones), 0, len(r.ISR) > p.wanted || len(r.Learners) > 0
	for _, m := range r.ISR {
		n, ok := p.node(m)
		if !ok {
			return drains
		}
		moved = moved || !p.copies.has(row, n)
		if z := p.zone[n]; !reached[z] {
			reached[z] = true
			zones++
		}
	}
	switch {
	case zones < min(p.wanted, p.zones):
		return tooFewZones
	case moved:
		return uneven
	}
	return unevenPrimaries
}

// transfers counts the copies under way.
type transfers struct {
	limits           PlanLimits
	filling, feeding map[NodeID]int
}

func (p *planner) transfers(limits PlanLimits) *transfers {
	t := &transfers{limits: limits, filling: map[NodeID]int{}, feeding: map[NodeID]int{}}
	t.limits.LearnersPerNode, t.limits.LearnersPerSource = max(1, limits.LearnersPerNode), max(1, limits.LearnersPerSource)
	for _, r := range p.rows {
		for _, m := range r.Learners {
			t.count(r.Primary, m)
		}
	}
	return t
}

func (t *transfers) count(from, to Member) {
	t.feeding[from.Node]++
	t.filling[to.Node]++
}

func (t *transfers) room(from, to Member) bool {
	return t.feeding[from.Node] < t.limits.LearnersPerSource && t.filling[to.Node] < t.limits.LearnersPerNode
}

// move returns the next step of a row. Copies are added before others are dropped, so that there are never fewer than are
// wanted (R22); the primary is never dropped, it hands over first.
func (p *planner) move(row int, load *transfers) (Change, bool) {
	r := p.rows[row]
	inSync := 0 // on nodes that may go on holding them
	for _, m := range r.ISR {
		if _, ok := p.node(m); ok {
			inSync++
		}
	}
	if r.Target.IsZero() { // otherwise the row has enough to do
		if m, ok := p.heir(row); ok {
			return Change{Kind: SetTarget, Member: m}, true
		}
		if m, ok := p.needlessLearner(row, inSync); ok {
			return Change{Kind: Shrink, Member: m}, true
		}
	}
	absent, here := p.absent(row)
	// One at a time, unless the row is two copies short.
	if len(r.Learners) < max(1, p.wanted-inSync) {
		for _, m := range absent {
			if load.room(r.Primary, m) {
				load.count(r.Primary, m)
				return Change{Kind: AddLearner, Member: m}, true
			}
		}
	}
	if !here || !r.Target.IsZero() {
		return Change{}, false
	}
	if m, ok := p.surplus(row); ok {
		return Change{Kind: Shrink, Member: m}, true
	}
	for n := range p.nodes {
		if m := p.nodes[n].Member(); p.primaries.has(row, n) && m != r.Primary {
			return Change{Kind: SetTarget, Member: m}, true
		}
	}
	return Change{}, false
}

// heir returns who takes over at once from a primary whose node drains or is about to end: the one that is to lead in the end,
// where it is in sync; else the first of the ring's order. It does not wait for new copies, as there may be no time for them.
func (p *planner) heir(row int) (Member, bool) {
	r := p.rows[row]
	if n, ok := p.node(r.Primary); ok && p.nodes[n].mayLead() {
		return Member{}, false
	}
	best, found := len(p.nodes)+1, Member{}
	for _, m := range r.ISR {
		n, ok := p.node(m)
		if !ok || !p.nodes[n].mayLead() {
			continue
		}
		if p.primaries.has(row, n) {
			return m, true
		}
		if rank := p.order.rank(r.Partition, n); rank < best {
			best, found = rank, m
		}
	}
	return found, !found.IsZero()
}

// needlessLearner returns a learner that no longer has a place in the goal. While the row is short of copies, even a misplaced
// one that is on its way is better than none.
func (p *planner) needlessLearner(row, inSync int) (Member, bool) {
	for _, m := range p.rows[row].Learners {
		if n, ok := p.node(m); !ok || inSync >= p.wanted && !p.copies.has(row, n) {
			return m, true
		}
	}
	return Member{}, false
}

// absent returns the members of the goal that have no copy yet, in the ring's order, and whether all of the goal is in sync.
func (p *planner) absent(row int) (absent []Member, here bool) {
	r := p.rows[row]
	var nodes []int
	here = true
	for n := range p.nodes {
		if m := p.nodes[n].Member(); p.copies.has(row, n) {
			here = here && r.InSync(m)
			if !r.Holds(m) {
				nodes = append(nodes, n)
			}
		}
	}
	if len(nodes) > 1 {
		slices.SortFunc(nodes, func(a, b int) int {
			return cmp.Compare(p.order.rank(r.Partition, a), p.order.rank(r.Partition, b))
		})
	}
	for _, n := range nodes {
		absent = append(absent, p.nodes[n].Member())
	}
	return absent, here
}

// surplus returns a backup to drop from a row that has all of its goal in sync; not one of a node that drains: see Retirable.
func (p *planner) surplus(row int) (Member, bool) {
	for _, m := range p.rows[row].ISR[1:] {
		if n, ok := p.node(m); ok && !p.copies.has(row, n) {
			return m, true
		}
	}
	return Member{}, false
}
