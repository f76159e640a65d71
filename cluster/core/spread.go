package core

import (
	"math"
	"slices"
)

// spread chooses nodes for rows: as evenly as the rules allow, and then as cheaply as can be. It is a flow of least cost: each
// row sends its copies through zones to nodes, and a node that has n copies asks 2n+1 for one more, so that the sum of squares
// of the loads is least. Any choice that keeps to the rules can be bettered, cycle by cycle, until it is the best.
type spread struct {
	nodes int
	cost  []int64 // [row*nodes+node] of choosing it; barred: must not be chosen
	in    []bool  // [row*nodes+node] is chosen
	load  []int   // how many rows chose the node

	zone       []int // of each node
	zones      int
	inZone     []int // [row*zones+zone] how many it chose there
	perZoneMin int   // of each row, once it is filled
	perZoneMax int

	rank func(row, node int) int // lower is better, between equals
}

const (
	barred     = -1
	costUneven = 1 << 40 // for each unit of load: above all that the choices of a cycle may cost
)

// newSpread returns one in which nothing is chosen, without zones.
func newSpread(rows, nodes int, cost int64) spread {
	return spread{
		nodes: nodes,
		cost:  slices.Repeat([]int64{cost}, rows*nodes), in: make([]bool, rows*nodes), load: make([]int, nodes),
		zone: make([]int, nodes), zones: 1, inZone: make([]int, rows), perZoneMax: 1,
		rank: func(int, int) int { return 0 },
	}
}

func (s *spread) has(row, node int) bool { return s.in[row*s.nodes+node] }

func (s *spread) count(row int) int {
	sum := 0
	for _, in := range s.inZone[row*s.zones : (row+1)*s.zones] {
		sum += in
	}
	return sum
}

func (s *spread) choose(row, node int) { s.put(row, node, 1) }

func (s *spread) unchoose(row, node int) { s.put(row, node, -1) }

func (s *spread) put(row, node, by int) {
	s.in[row*s.nodes+node] = by > 0
	s.load[node] += by
	s.inZone[row*s.zones+s.zone[node]] += by
}

// may tells whether row can have node to in place of node from, which it has.
func (s *spread) may(row, from, to int) bool {
	if s.has(row, to) || s.cost[row*s.nodes+to] == barred {
		return false
	}
	a, b := s.zone[from], s.zone[to]
	return a == b || s.inZone[row*s.zones+a] > s.perZoneMin && s.inZone[row*s.zones+b] < s.perZoneMax
}

// level takes single steps from a full node to an empty one, the widest gap first. It comes close to the best in little time.
func (s *spread) level() {
	stuck := make([]bool, s.nodes*s.nodes) // no row allows this step
	for {
		from, to, gap := 0, 0, 1
		for a := range s.nodes {
			for b := range s.nodes {
				if g := s.load[a] - s.load[b]; g > gap && !stuck[a*s.nodes+b] {
					from, to, gap = a, b, g
				}
			}
		}
		if gap == 1 {
			return
		}
		row := s.cheapest(from, to)
		if row < 0 {
			stuck[from*s.nodes+to] = true
			continue
		}
		s.unchoose(row, from)
		s.choose(row, to)
	}
}

// cheapest returns the row in which it is best to replace from by to; -1: there is none.
func (s *spread) cheapest(from, to int) int {
	best, bestCost := -1, int64(0)
	for row := range len(s.in) / s.nodes {
		if !s.has(row, from) || !s.may(row, from, to) {
			continue
		}
		cost := s.cost[row*s.nodes+to] - s.cost[row*s.nodes+from]
		if best < 0 || cost < bestCost || cost == bestCost && s.rank(row, to) < s.rank(best, to) {
			best, bestCost = row, cost
		}
	}
	return best
}

// polish goes on until no cycle of steps makes the choice better: then it is the best. Every cycle lowers a sum of whole
// numbers, and so it ends.
func (s *spread) polish() {
	for {
		cycle := s.cycle()
		if cycle == nil {
			return
		}
		for _, e := range cycle {
			if e.row >= 0 {
				s.unchoose(e.row, e.from)
				s.choose(e.row, e.to)
			}
		}
	}
}

// step is one of a cycle: row has node to in place of from. Row -1 leads from the node that ends with one more, by way of a
// vertex beyond all nodes, to the one that ends with one less.
type step struct{ row, from, to int }

// cycle returns steps that together cost less than nothing; nil: there are none. It is the algorithm of Bellman and Ford, over
// the nodes and the vertex beyond, which looks for a cycle among the predecessors after every round.
//
// Two steps of the same row, a to b and c to d, might each be allowed and not both, where they cross zones. Such a pair never
// stands among the predecessors. The row also allows a to d and c to b, and what a step costs is the difference of its two
// ends: so where a is the better way to b, it is to d as well, and whichever of a and c was looked at last has both.
func (s *spread) cycle() []step {
	vertices := s.nodes + 1
	const none = math.MaxInt64
	cost, row := slices.Repeat([]int64{none}, vertices*vertices), slices.Repeat([]int{-1}, vertices*vertices)
	for r := range len(s.in) / s.nodes {
		for from := range s.nodes {
			if !s.has(r, from) {
				continue
			}
			for to := range s.nodes {
				if !s.may(r, from, to) {
					continue
				}
				i := from*vertices + to
				if c := s.cost[r*s.nodes+to] - s.cost[r*s.nodes+from]; c < cost[i] {
					cost[i], row[i] = c, r
				}
			}
		}
	}
	for n := range s.nodes {
		cost[n*vertices+s.nodes] = costUneven * int64(2*s.load[n]+1)
		if s.load[n] > 0 {
			cost[s.nodes*vertices+n] = -costUneven * int64(2*s.load[n]-1)
		}
	}
	dist, prev := make([]int64, vertices), slices.Repeat([]int{-1}, vertices)
	for changed := true; changed; {
		changed = false
		for from := range vertices {
			for to, c := range cost[from*vertices : (from+1)*vertices] {
				if c != none && dist[from]+c < dist[to] {
					dist[to], prev[to], changed = dist[from]+c, from, true
				}
			}
		}
		if at := loop(prev); at >= 0 {
			var cycle []step
			for to := at; ; to = prev[to] {
				cycle = append(cycle, step{row[prev[to]*vertices+to], prev[to], to})
				if prev[to] == at {
					slices.Reverse(cycle)
					return cycle
				}
			}
		}
	}
	return nil
}

// loop returns a vertex that is its own predecessor, over one or more; -1: there is none.
func loop(prev []int) int {
	seen := make([]int, len(prev)) // from which start, counted from 1
	for start := range prev {
		at := start
		for at >= 0 && seen[at] == 0 {
			seen[at] = start + 1
			at = prev[at]
		}
		if at >= 0 && seen[at] == start+1 {
			return at
		}
	}
	return -1
}
