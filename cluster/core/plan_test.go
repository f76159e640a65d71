package core

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// planNoLimits lets everything happen at once.
var planNoLimits = PlanLimits{LearnersPerNode: 1 << 20, LearnersPerSource: 1 << 20}

// planTable writes a table down. Nodes: "a:zone", with ! it drains, with ~ it is stopping, with - it is fenced, with ? it is a
// witness. Rows: the ISR
// with the primary first, +learner, >target; "lost" for none.
func planTable(copies int, nodes string, rows ...string) *Table {
	t := &Table{Version: 1, Settings: Settings{Partitions: len(rows), Copies: copies, MinISR: 1}}
	for _, f := range strings.Fields(nodes) {
		name := strings.TrimRight(f, "!~-?")
		id, zone, _ := strings.Cut(name, ":")
		n := Node{ID: NodeID(id), Zone: zone, Inc: Incarnation{1}}
		switch f[len(name):] {
		case "!":
			n.Status, n.Drains = Draining, true
		case "~":
			n.Status = Stopping
		case "-":
			n.Status = Fenced
		case "?":
			n.Role = Witness
		}
		t.Nodes = append(t.Nodes, n)
	}
	for i, text := range rows {
		r := Row{Partition: i, Epoch: uint64(10 + i), Born: 1, Reign: 1}
		if text == "lost" {
			r.State = Lost
			t.Rows = append(t.Rows, r)
			continue
		}
		for _, f := range strings.Fields(text) {
			m := Member{NodeID(strings.TrimLeft(f, "+>")), Incarnation{1}}
			switch f[0] {
			case '+':
				r.Learners = append(r.Learners, m)
			case '>':
				r.Target = m
			default:
				r.ISR = append(r.ISR, m)
			}
		}
		r.Primary = r.ISR[0]
		t.Rows = append(t.Rows, r)
	}
	return t
}

func planText(moves []Change) string {
	var lines []string
	for _, m := range moves {
		lines = append(lines, fmt.Sprintf("%d %s %s", m.Partition, m.Kind, m.Member.Node))
	}
	return strings.Join(lines, ", ")
}

func planRows(t *Table) string {
	var b strings.Builder
	for _, n := range t.Nodes {
		fmt.Fprintf(&b, "%s zone %q %s %s\n", n.Member(), n.Zone, n.Role, n.Status)
	}
	for _, r := range t.Rows {
		fmt.Fprintf(&b, "%d %s isr %v learners %v target %v\n", r.Partition, r.State, r.ISR, r.Learners, r.Target)
	}
	return b.String()
}

// R22, rule by rule: what a table asks for first.
func TestPlanRules(t *testing.T) {
	tests := []struct {
		rule   string
		copies int
		nodes  string
		rows   []string
		limits PlanLimits
		want   string
	}{
		{"nothing to do", 2, "a b", []string{"a b", "b a"}, planNoLimits, ""},
		{"a missing copy is added", 2, "a b", []string{"a b", "b"}, planNoLimits, "1 add learner a"},
		{"no more copies than nodes", 3, "a b", []string{"a b", "b a"}, planNoLimits, ""},
		{"witnesses and fenced nodes get none", 2, "a w? x-", []string{"a"}, planNoLimits, ""},
		{"one learner at a time", 2, "a b c", []string{"a +b", "b c", "c a"}, planNoLimits, ""},
		{"two copies short: two learners", 3, "a b c", []string{"a +b"}, planNoLimits, "0 add learner c"},
		{"one copy short: one learner, and a misplaced one may stay", 2, "a b c", []string{"a +b", "b a", "b c"}, planNoLimits,
			"2 set target c"},
		{"added before dropped", 1, "a b", []string{"a", "a", "a"}, planNoLimits, "1 add learner b"},
		{"dropped when there are too many", 2, "a b c", []string{"a b c", "b c", "c a"}, planNoLimits, "0 shrink c"},
		{"no drop that leaves too few", 2, "a b c!", []string{"a c", "b a"}, planNoLimits, "0 add learner b"},
		{"learners do not count as copies", 2, "a b c!", []string{"a c +b", "b a"}, planNoLimits, ""},
		{"a draining copy that is replaced is its primary's to drop", 2, "a b c!", []string{"a c b", "b a"}, planNoLimits, ""},
		{"a draining primary hands over at once", 2, "a! b c", []string{"a b", "b c", "c b"}, planNoLimits, "0 set target b"},
		{"to the backup that is to lead", 3, "a! b c d", []string{"a b c", "b c d", "b d c"}, planNoLimits,
			"0 set target c, 1 set target d"},
		{"whichever that is", 3, "a! b c d", []string{"a b c", "c b d", "c d b"}, planNoLimits,
			"0 set target b, 1 set target d"},
		{"a draining primary alone is copied first", 2, "a! b c", []string{"a", "b c", "c b"}, planNoLimits, "0 add learner c"},
		{"a draining primary is not dropped", 1, "a! b", []string{"a b >b", "b"}, planNoLimits, ""},
		{"nor after its handover", 1, "a! b", []string{"b a", "b"}, planNoLimits, ""},
		{"nothing but drains: it all stays", 2, "a! b!", []string{"a b", "b"}, planNoLimits, ""},
		{"who is about to end hands over at once", 2, "a~ b c", []string{"a b", "b c", "c a"}, planNoLimits, "0 set target b"},
		{"keeps its copies, and takes no lead back", 2, "a~ b c", []string{"b a", "b c", "c a"}, planNoLimits, ""},
		{"may lead what nobody else can", 2, "a~ b~", []string{"a b", "b a"}, planNoLimits, ""},
		{"hands over to none that is about to end itself", 2, "a~ b~ c", []string{"a b", "b c", "a c"}, planNoLimits,
			"1 set target c, 2 set target c"},
		{"and waits for a copy where it is alone", 2, "a~ b", []string{"a"}, planNoLimits, "0 add learner b"},
		{"a draining primary does not hand over to one", 2, "a! b~ c", []string{"a b", "c b"}, planNoLimits, "0 add learner c"},
		{"zones are distinct", 2, "a:A b:A c:B d:B", []string{"a b", "a c", "b d", "c d"}, planNoLimits,
			"0 add learner c, 3 add learner a"},
		{"zones win over evenness", 2, "a:A b:B c:B d:B", []string{"a b", "a c", "a d", "a b", "a c", "a d"}, planNoLimits,
			"0 set target b, 1 set target c, 2 set target d, 3 set target b"},
		{"three copies on two zones reach both", 3, "a:A b:A c:A d:B", []string{"a b c"}, planNoLimits, "0 add learner d"},
		{"the copy that goes leaves two zones", 2, "a:A b:A c:B", []string{"c a b", "b c"}, planNoLimits, "0 shrink b"},
		{"a full node gives, an empty one gets", 1, "a b c", []string{"a", "a", "a", "b", "b"}, planNoLimits, "0 add learner c"},
		{"what does not exceed the even share stays", 1, "a b c", []string{"a", "a", "b", "b", "c"}, planNoLimits, ""},
		{"a learner that has no place is dropped", 2, "a b c", []string{"a b +c", "b c", "c a"}, planNoLimits, "0 shrink c"},
		{"a learner that drains is dropped, even when short", 2, "a b c!", []string{"a +c", "b a"}, planNoLimits, "0 shrink c"},
		{"primaries are even", 2, "a b", []string{"a b", "a b", "a b", "a b"}, planNoLimits, "0 set target b, 1 set target b"},
		{"where a copy is in sync already", 2, "a b", []string{"a +b", "a b"}, planNoLimits, "1 set target b"},
		{"a handover under way counts", 2, "a b", []string{"a b", "a b >b"}, planNoLimits, ""},
		{"a row that hands over is left alone", 2, "a b c", []string{"a b c >b", "b c", "c a"}, planNoLimits, ""},
		{"except for a copy that it lacks", 3, "a b c", []string{"a b >b", "b a c", "c b a"}, planNoLimits, "0 add learner c"},
		{"lost rows are skipped", 2, "a b", []string{"lost", "a b", "b a"}, planNoLimits, ""},
		{"one node receives so much", 2, "a b", []string{"a", "a", "a", "a"}, PlanLimits{2, 9}, "0 add learner b, 1 add learner b"},
		{"what it receives already counts", 2, "a b", []string{"a", "a", "a +b", "a"}, PlanLimits{2, 9}, "0 add learner b"},
		{"one node feeds so much", 2, "a b c d", []string{"a", "a", "a", "a"}, PlanLimits{9, 3},
			"0 add learner c, 1 add learner d, 2 add learner d"},
		{"limits below 1 are 1", 2, "a b", []string{"a", "a"}, PlanLimits{}, "0 add learner b"},
		{"the fewest copies first", 3, "a b c d", []string{"a b", "c"}, planNoLimits, "1 add learner d, 0 add learner d"},
		{"the fewest copies first, then drains, then zones, then evenness, then primaries", 2, "a:A b:B c:A d:B e:A!",
			[]string{"a b", "a b", "a b", "a b", "a b", "a c", "d e", "c"}, planNoLimits,
			"7 add learner d, 6 add learner c, 5 add learner d, 0 add learner c, 1 add learner d, 2 set target b"},
	}
	for _, c := range tests {
		t.Run(c.rule, func(t *testing.T) {
			table := planTable(c.copies, c.nodes, c.rows...)
			if got := planText(Plan(table, c.limits)); got != c.want {
				t.Errorf("%d copies of %q on %s\ngot  %s\nwant %s", c.copies, c.rows, c.nodes, got, c.want)
			}
		})
	}
}

// planGrid is a grid that changes as the control plane would change it.
type planGrid struct {
	*testing.T
	table  *Table
	rng    *rand.Rand
	limits PlanLimits
	starts uint64
	// Since it was last set to nothing: what the plan asked for.
	adds, drops, targets int
}

func newPlanGrid(t *testing.T, rng *rand.Rand, partitions, copies int, zone string) *planGrid {
	g := &planGrid{T: t, rng: rng, limits: planNoLimits, table: &Table{}}
	settings := Settings{Partitions: partitions, Copies: copies, MinISR: 1}
	g.apply(Command{Kind: CreateGrid, Node: g.start("n00", zone), Settings: settings})
	return g
}

func (g *planGrid) start(id NodeID, zone string) Node {
	g.starts++
	n := Node{ID: id, Zone: zone}
	binary.BigEndian.PutUint64(n.Inc[:], g.starts)
	return n
}

func (g *planGrid) apply(c Command) {
	g.Helper()
	before := g.table.Clone()
	if refused, err := g.table.Apply(c); err != nil || len(refused) > 0 {
		g.Fatalf("%+v\ngot  %v %v\nwant no refusal\n%s", c, err, refused, planRows(g.table))
	}
	for i := range g.table.Rows {
		if err := g.table.Rows[i].check(); err != nil {
			g.Fatal(err)
		}
	}
	if c.Kind != ChangeRows {
		return
	}
	for i := range before.Rows { // no step takes a row below what is wanted, or further below
		had, has := g.table.eligible(before.Rows[i].ISR), g.table.eligible(g.table.Rows[i].ISR)
		if has < min(had, g.wanted()) {
			g.Fatalf("partition %d had %d copies, has %d, wanted are %d, after %+v", i, had, has, g.wanted(), c.Changes)
		}
	}
}

// plan asks for moves, and checks what must be true of any.
func (g *planGrid) plan() []Change {
	g.Helper()
	before := g.table.Clone()
	moves := Plan(g.table, g.limits)
	if !reflect.DeepEqual(before, g.table) {
		g.Fatal("the plan changed the table")
	}
	rows, filling, feeding := map[int]bool{}, map[NodeID]int{}, map[NodeID]int{}
	for _, r := range g.table.Rows {
		for _, l := range r.Learners {
			filling[l.Node]++
			feeding[r.Primary.Node]++
		}
	}
	for _, m := range moves {
		r := &g.table.Rows[m.Partition]
		if rows[m.Partition] || m.Epoch != r.Epoch {
			g.Fatalf("partition %d: two moves, or one for epoch %d of %d", m.Partition, m.Epoch, r.Epoch)
		}
		rows[m.Partition] = true
		if !r.Target.IsZero() && m.Kind != AddLearner {
			g.Fatalf("%s of %s while the row hands over: %+v", m.Kind, m.Member, *r)
		}
		switch m.Kind {
		case AddLearner:
			filling[m.Member.Node]++
			feeding[r.Primary.Node]++
			if a, b := filling[m.Member.Node], feeding[r.Primary.Node]; a > g.limits.LearnersPerNode || b > g.limits.LearnersPerSource {
				g.Fatalf("copying: %d to %s, %d from %s, limits %+v", a, m.Member, b, r.Primary, g.limits)
			}
		case Shrink:
			// Never a step below what is wanted.
			left := slices.DeleteFunc(slices.Clone(r.ISR), func(o Member) bool { return o == m.Member })
			if r.InSync(m.Member) && (m.Member == r.Primary || g.table.eligible(left) < g.wanted()) {
				g.Fatalf("drop of %s leaves too few: %+v\nwant %d copies on\n%s", m.Member, *r, g.wanted(), planRows(g.table))
			}
		case SetTarget:
			if !r.InSync(m.Member) || m.Member == r.Primary || g.table.eligible([]Member{m.Member}) == 0 {
				g.Fatalf("target %s: %+v", m.Member, *r)
			}
		default:
			g.Fatalf("a plan with a %s", m.Kind)
		}
	}
	return moves
}

func (g *planGrid) wanted() int {
	count := 0
	for i := range g.table.Nodes {
		if g.table.Nodes[i].holdsData() {
			count++
		}
	}
	return min(count, g.table.Settings.Copies)
}

// step makes some of the moves that are due, and lets some of what is under way complete; false: there was nothing of either.
func (g *planGrid) step(share float64) bool {
	g.Helper()
	moves := g.plan()
	busy := len(moves) > 0
	moves = slices.DeleteFunc(moves, func(Change) bool { return g.rng.Float64() >= share })
	for _, m := range moves {
		switch m.Kind {
		case AddLearner:
			g.adds++
		case Shrink:
			g.drops++
		case SetTarget:
			g.targets++
		}
	}
	if len(moves) > 0 {
		g.apply(Command{Kind: ChangeRows, Changes: moves})
	}
	var done []Change
	for i := range g.table.Rows {
		r := &g.table.Rows[i]
		var all []Change
		for _, l := range r.Learners {
			all = append(all, Change{Kind: Grow, Partition: i, Epoch: r.Epoch, Member: l})
		}
		if !r.Target.IsZero() {
			all = append(all, Change{Kind: Handover, Partition: i, Epoch: r.Epoch, Member: r.Target})
		}
		if m := g.table.Retirable(r); !m.IsZero() {
			all = append(all, Change{Kind: Shrink, Partition: i, Epoch: r.Epoch, Member: m})
		}
		busy = busy || len(all) > 0
		if len(all) > 0 && g.rng.Float64() < share {
			c := all[g.rng.IntN(len(all))]
			if c.Kind == Shrink {
				g.drops++
			}
			done = append(done, c)
		}
	}
	if len(done) > 0 {
		g.apply(Command{Kind: ChangeRows, Changes: done})
	}
	return busy
}

// planStepsMax is far above what any grid of these tests takes to come to rest.
const planStepsMax = 5000

// settle carries the plan out until nothing is left to do, and checks the grid then.
func (g *planGrid) settle(share float64) {
	g.Helper()
	g.adds, g.drops, g.targets = 0, 0, 0
	due, eligible := g.due(), g.wanted() > 0
	for steps := 0; g.step(share); steps++ {
		if steps == planStepsMax {
			g.Fatalf("after %d steps there is still %s\n%s", steps, planText(Plan(g.table, g.limits)), planRows(g.table))
		}
	}
	if !eligible {
		return
	}
	if most := 3 * len(g.table.Rows); g.targets > most {
		g.Errorf("handovers: got %d of %d partitions, want at most %d", g.targets, len(g.table.Rows), most)
	}
	// No copy is moved twice, in whatever order things complete.
	if g.adds != due {
		g.Errorf("copies added: got %d, want the %d that the goal asked for at first\n%s", g.adds, due, planRows(g.table))
	}
	g.settled()
}

// due counts the copies that the goal has and nobody holds.
func (g *planGrid) due() int {
	p := newPlanner(g.table)
	if p.wanted == 0 {
		return 0
	}
	p.placeCopies()
	sum := 0
	for i, r := range p.rows {
		for n := range p.nodes {
			if p.copies.has(i, n) && !r.Holds(p.nodes[n].Member()) {
				sum++
			}
		}
	}
	return sum
}

// settled checks a grid that is at rest:
//   - every row has the wanted copies, on nodes that may hold them, in as many zones as can be, and no learner and no target;
//   - within a zone the copies per node are within one of even;
//   - no exchange of leadership among the copies makes the primaries per node more even; and where the copies per node are within
//     one of even over the whole grid, so are the primaries.
func (g *planGrid) settled() {
	g.Helper()
	t := g.table
	zoneOf, zones, copies, primaries := map[NodeID]string{}, map[string]bool{}, map[NodeID]int{}, map[NodeID]int{}
	var nodes []NodeID
	for i := range t.Nodes {
		if n := &t.Nodes[i]; n.holdsData() {
			nodes, zoneOf[n.ID], zones[n.Zone] = append(nodes, n.ID), n.Zone, true
		}
	}
	for i := range t.Rows {
		r := &t.Rows[i]
		if r.State == Lost {
			continue
		}
		reached := map[string]bool{}
		for _, m := range r.ISR {
			reached[zoneOf[m.Node]] = true
			copies[m.Node]++
		}
		primaries[r.Primary.Node]++
		if len(r.ISR) != g.wanted() || t.eligible(r.ISR) != g.wanted() || len(r.Learners) > 0 || !r.Target.IsZero() {
			g.Fatalf("at rest: %+v\nwant %d copies\n%s", *r, g.wanted(), planRows(t))
		}
		if want := min(len(zones), g.wanted()); len(reached) != want {
			g.Fatalf("partition %d is in %d zones, want %d\n%s", i, len(reached), want, planRows(t))
		}
	}
	even := true
	for _, a := range nodes {
		for _, b := range nodes {
			if copies[a] > copies[b]+1 {
				even = false
				if zoneOf[a] == zoneOf[b] {
					g.Fatalf("copies of %s %d, of %s %d, both in zone %q, want within one\n%s",
						a, copies[a], b, copies[b], zoneOf[a], planRows(t))
				}
			}
		}
	}
	for _, a := range nodes {
		reach := leadsTo(t, a)
		for _, b := range nodes {
			if primaries[a] > primaries[b]+1 && (even || reach[b]) {
				g.Fatalf("primaries of %s %d, of %s %d, want within one (copies even: %v)\n%s",
					a, primaries[a], b, primaries[b], even, planRows(t))
			}
		}
	}
}

// leadsTo returns the nodes that can have one primary more so that from has one less, through any number of handovers.
func leadsTo(t *Table, from NodeID) map[NodeID]bool {
	reach, todo := map[NodeID]bool{from: true}, []NodeID{from}
	for len(todo) > 0 {
		at := todo[0]
		todo = todo[1:]
		for i := range t.Rows {
			if r := &t.Rows[i]; r.Primary.Node == at {
				for _, m := range r.ISR {
					if !reach[m.Node] {
						reach[m.Node] = true
						todo = append(todo, m.Node)
					}
				}
			}
		}
	}
	return reach
}

// change does something to the grid: a join, a crash, a restart, a drain or the end of one.
func (g *planGrid) change(zones int) {
	t := g.table
	n := &t.Nodes[g.rng.IntN(len(t.Nodes))]
	alive := 0
	for i := range t.Nodes {
		if t.Nodes[i].Status != Fenced {
			alive++
		}
	}
	switch what := g.rng.IntN(10); {
	case what < 4 && len(t.Nodes) < 12:
		id := NodeID(fmt.Sprintf("n%02d", g.starts))
		g.apply(Command{Kind: Register, Node: g.start(id, fmt.Sprint(g.rng.IntN(zones)))})
	case what < 6 && alive > 2 && n.Status != Fenced:
		g.apply(Command{Kind: FenceNode, Member: n.Member()})
	case what == 6 && (alive > 1 || n.Status == Fenced):
		g.apply(Command{Kind: Register, Node: g.start(n.ID, n.Zone)})
	case what < 9 && n.Status == Alive:
		g.apply(Command{Kind: Drain, Member: n.Member()})
	case n.Status == Draining:
		g.apply(Command{Kind: Undrain, Member: n.Member()})
	}
}

// R22: random grids that change while moves are half done; what completes, and when, is random as well.
func TestPlanRandomGrids(t *testing.T) {
	runs := uint64(300)
	if testing.Short() {
		runs = 60
	}
	for seed := range runs {
		rng := rand.New(rand.NewPCG(seed, 22))
		partitions, copies, zones := 16<<min(rng.IntN(5), rng.IntN(5)), 1+rng.IntN(3), 1+rng.IntN(4)
		ok := t.Run(fmt.Sprintf("seed %d: %d partitions, %d copies, %d zones", seed, partitions, copies, zones), func(t *testing.T) {
			g := newPlanGrid(t, rng, partitions, copies, "0")
			for range 1 + rng.IntN(6) {
				g.limits = PlanLimits{1 + rng.IntN(20), 1 + rng.IntN(20)}
				for range rng.IntN(8) {
					g.change(zones)
					for range rng.IntN(4) {
						g.step(0.5)
					}
				}
				if rng.IntN(2) == 0 {
					g.settle(0.7)
				}
			}
			g.settle(0.5)
		})
		if !ok {
			return
		}
	}
}

// R22: with zones, a node that leaves or drains costs its own copies and no more, where the zones that remain are as even.
func TestPlanDrainMovesItsCopies(t *testing.T) {
	g := newPlanGrid(t, rand.New(rand.NewPCG(1, 2)), 64, 2, "0")
	for n := 1; n < 8; n++ {
		g.apply(Command{Kind: Register, Node: g.start(NodeID(fmt.Sprintf("n%02d", n)), fmt.Sprint(n%2))})
	}
	g.settle(0.5)
	n := &g.table.Nodes[3]
	held := 0
	for i := range g.table.Rows {
		if g.table.Rows[i].Holds(n.Member()) {
			held++
		}
	}
	g.apply(Command{Kind: Drain, Member: n.Member()})
	g.settle(0.5)
	if g.adds != held || g.drops != held {
		t.Errorf("drain of a node with %d copies: got %d added, %d dropped, want as many", held, g.adds, g.drops)
	}
	g.apply(Command{Kind: Leave, Member: n.Member()})
}

// R22: the goal is the best there is, found by trying them all: zones, then evenness, then the fewest new copies; and for the
// primaries evenness, then the fewest handovers.
func TestPlanGoalIsTheBest(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 22))
		zones, copies := 1+rng.IntN(4), 1+rng.IntN(3)
		var nodes []string
		for _, name := range strings.Fields("a b c d e")[:1+rng.IntN(5)] {
			nodes = append(nodes, fmt.Sprintf("%s:%d", name, rng.IntN(zones)))
		}
		var rows []string
		for range 1 + rng.IntN(6) {
			var row []string
			for _, n := range rng.Perm(len(nodes)) {
				id, _, _ := strings.Cut(nodes[n], ":")
				switch rng.IntN(4) {
				case 0:
					row = append(row, id)
				case 1:
					row = append(row, "+"+id)
				}
			}
			slices.SortStableFunc(row, func(a, b string) int { return strings.Index(b, "+") - strings.Index(a, "+") })
			slices.Reverse(row)
			if i := slices.IndexFunc(row, func(f string) bool { return f[0] != '+' }); i >= 0 {
				row[0], row[i] = row[i], row[0]
				rows = append(rows, strings.Join(row, " "))
			}
		}
		table := planTable(copies, strings.Join(nodes, " "), rows...)
		p := newPlanner(table)
		p.placeCopies()
		p.placePrimaries()

		want := planBest(len(p.rows), len(p.nodes), func(row int) (sets [][]int, costs []int) {
			for set := range 1 << len(p.nodes) {
				var members []int
				reached, cost := map[int]bool{}, 0
				for n := range p.nodes {
					if set>>n&1 == 1 {
						members, reached[p.zone[n]] = append(members, n), true
						if !p.rows[row].Holds(p.nodes[n].Member()) {
							cost++
						}
					}
				}
				if len(members) == p.wanted && len(reached) == min(p.wanted, p.zones) {
					sets, costs = append(sets, members), append(costs, cost)
				}
			}
			return sets, costs
		})
		got := planValue{}
		for row, r := range p.rows {
			reached := map[int]bool{}
			for n := range p.nodes {
				if p.copies.has(row, n) {
					reached[p.zone[n]] = true
					if !r.Holds(p.nodes[n].Member()) {
						got.cost++
					}
				}
			}
			if p.copies.count(row) != p.wanted || len(reached) != min(p.wanted, p.zones) {
				t.Fatalf("seed %d: %d copies on %v, row %q: got %d in %d zones",
					seed, copies, nodes, rows[row], p.copies.count(row), len(reached))
			}
		}
		for _, load := range p.copies.load {
			got.squares += load * load
		}
		if got != want {
			t.Fatalf("seed %d: %d copies on %v, rows %q: got %+v, want %+v", seed, copies, nodes, rows, got, want)
		}

		want = planBest(len(p.rows), len(p.nodes), func(row int) (sets [][]int, costs []int) {
			for n := range p.nodes {
				if p.copies.has(row, n) {
					sets, costs = append(sets, []int{n}), append(costs, handovers(p, row, n))
				}
			}
			return sets, costs
		})
		got = planValue{}
		for row := range p.rows {
			for n := range p.nodes {
				if p.primaries.has(row, n) {
					got.cost += handovers(p, row, n)
				}
			}
		}
		for _, load := range p.primaries.load {
			got.squares += load * load
		}
		if got != want {
			t.Fatalf("seed %d: primaries of %d copies on %v, rows %q: got %+v, want %+v", seed, copies, nodes, rows, got, want)
		}
	}
}

func handovers(p *planner, row, node int) int {
	if p.rows[row].Primary == p.nodes[node].Member() {
		return 0
	}
	return 1
}

// planValue of a goal: what must be least, the first first.
type planValue struct{ squares, cost int }

// planBest tries everything: per row the sets of nodes that it may have, and what they cost.
func planBest(rows, nodes int, options func(row int) ([][]int, []int)) planValue {
	type loads [8]int
	costs := map[loads]int{{}: 0}
	for row := range rows {
		next := map[loads]int{}
		sets, prices := options(row)
		for load, cost := range costs {
			for i, set := range sets {
				l := load
				for _, n := range set {
					l[n]++
				}
				if c, known := next[l]; !known || cost+prices[i] < c {
					next[l] = cost + prices[i]
				}
			}
		}
		costs = next
	}
	best := planValue{1 << 30, 0}
	for load, cost := range costs {
		v := planValue{0, cost}
		for _, l := range load[:nodes] {
			v.squares += l * l
		}
		if v.squares < best.squares || v.squares == best.squares && v.cost < best.cost {
			best = v
		}
	}
	return best
}

// R22: equal tables give equal plans, however they came about.
func TestPlanIsDeterministic(t *testing.T) {
	for seed := range uint64(20) {
		want := ""
		for try := range uint64(5) {
			rng := rand.New(rand.NewPCG(seed, 22))
			shuffle := rand.New(rand.NewPCG(seed, try))
			var nodes []Node
			for i := range 12 {
				nodes = append(nodes, Node{ID: NodeID(fmt.Sprintf("n%d", i)), Inc: Incarnation{byte(i + 1)}, Zone: fmt.Sprint(rng.IntN(3))})
			}
			table := &Table{}
			settings := Settings{Partitions: 64, Copies: 3, MinISR: 1}
			if _, err := table.Apply(Command{Kind: CreateGrid, Node: nodes[0], Settings: settings}); err != nil {
				t.Fatal(err)
			}
			shuffle.Shuffle(len(nodes)-1, func(i, j int) { nodes[i+1], nodes[j+1] = nodes[j+1], nodes[i+1] })
			for _, n := range nodes[1:] {
				if _, err := table.Apply(Command{Kind: Register, Node: n}); err != nil {
					t.Fatal(err)
				}
			}
			for i := range table.Rows {
				r, n := &table.Rows[i], 1+rng.IntN(4)
				var members []Member
				for _, j := range rng.Perm(len(table.Nodes))[:n] {
					members = append(members, table.Nodes[j].Member())
				}
				r.Primary, r.ISR = members[0], members
			}
			got := planText(Plan(table, PlanLimits{20, 20}))
			if try == 0 {
				want = got
			}
			if got != want || got == "" {
				t.Fatalf("seed %d, try %d:\ngot  %s\nwant %s", seed, try, got, want)
			}
		}
	}
}

// The ring's order has every node once, also where the library alone would panic or list nothing.
func TestPlanOrderOfCandidates(t *testing.T) {
	for _, c := range []struct{ nodes, partitions int }{{1, 1}, {2, 1}, {12, 1}, {64, 1}, {100, 4}, {3, 256}, {64, 256}} {
		var nodes []*Node
		for i := range c.nodes {
			nodes = append(nodes, &Node{ID: NodeID(fmt.Sprintf("n%03d", i))})
		}
		order := candidates{nodes: nodes, partitions: c.partitions}
		first := make([]int, c.nodes)
		for p := range c.partitions {
			var ranks []int
			for n := range nodes {
				ranks = append(ranks, order.rank(p, n))
				if ranks[n] == 1 {
					first[n]++
				}
			}
			slices.Sort(ranks)
			for i, rank := range ranks {
				if rank != i+1 {
					t.Fatalf("%d nodes, partition %d of %d: ranks %v, want each once", c.nodes, p, c.partitions, ranks)
				}
			}
		}
		if most := slices.Max(first); c.partitions > 100 && most > 3*c.partitions/c.nodes {
			t.Errorf("%d nodes, %d partitions: one node comes first for %d", c.nodes, c.partitions, most)
		}
	}
}

// The points of the ring are told apart, even of names that are each other's beginnings.
func TestPlanRingNames(t *testing.T) {
	seen := map[string]string{}
	for _, id := range []NodeID{"n", "n1", "n11", "n1/", "n1/1", "1", ""} {
		for i := range ringPoints {
			key := fmt.Sprintf("%s%d", ringNode(id).String(), i)
			if other, twice := seen[key]; twice {
				t.Errorf("point %d of %q: %q is also one of %q", i, id, key, other)
			}
			seen[key] = string(id)
		}
	}
}

// R21: whose primary may drop which copy of a node that drains: none without which there are too few, or that leads, or while
// a handover is under way.
func TestR21Retirable(t *testing.T) {
	for _, c := range []struct {
		copies     int
		nodes, row string
		want       NodeID
	}{
		{2, "a b c!", "a b c", "c"},
		{2, "a b c!", "a c b", "c"},
		{2, "a b c!", "a c +b", ""},
		{2, "a b c!", "c a b", ""},
		{2, "a b c!", "a b c >b", ""},
		{2, "a b c", "a b c", ""},
		{2, "a c!", "a c", "c"},
		{3, "a~ b c!", "a b c", "c"},
		{2, "a! c!", "a c", ""},
		{2, "a b c!", "lost", ""},
	} {
		table := planTable(c.copies, c.nodes, c.row)
		for i := range table.Nodes {
			table.Nodes[i].Drains = table.Nodes[i].Status == Draining
		}
		if got := table.Retirable(&table.Rows[0]); got.Node != c.want {
			t.Errorf("%d copies of %q on %s: got %s, want %q", c.copies, c.row, c.nodes, got, c.want)
		}
	}
}

func TestPlanProgress(t *testing.T) {
	tests := []struct {
		name   string
		copies int
		nodes  string
		rows   []string
		want   Progress
	}{
		{"as it should be", 2, "a b", []string{"a b", "b a"}, Progress{}},
		{"copies missing", 2, "a b", []string{"a", "b +a"}, Progress{Missing: 2, Filling: 1, Adds: 1}},
		{"lost", 2, "a b", []string{"lost", "b a"}, Progress{Lost: 1}},
		{"drain", 2, "a! b c", []string{"a b", "b c"}, Progress{Missing: 1, Adds: 1, Drops: 1, Handovers: 2}},
		{"a handover under way", 2, "a b", []string{"a b >b", "a b"}, Progress{Handovers: 1}},
		{"a join", 1, "a b", []string{"a", "a", "a", "a"}, Progress{Adds: 2, Drops: 2, Handovers: 2}},
		{"nobody may hold anything", 2, "a!", []string{"a"}, Progress{}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			table := planTable(c.copies, c.nodes, c.rows...)
			before := table.Clone()
			if got := PlanProgress(table); got != c.want {
				t.Errorf("%d copies of %q on %s\ngot  %+v\nwant %+v", c.copies, c.rows, c.nodes, got, c.want)
			}
			if !reflect.DeepEqual(before, table) {
				t.Error("the table was changed")
			}
		})
	}
}

// BenchmarkPlan: 3 copies on 64 nodes in 2 zones; when the first has everything, at rest, when one more joins, and when another
// opens a zone of its own, which must get a copy of each partition.
func BenchmarkPlan(b *testing.B) {
	for _, partitions := range []int{256, 4096} {
		g := &planGrid{rng: rand.New(rand.NewPCG(1, 1)), limits: planNoLimits, table: &Table{}}
		apply := func(c Command) {
			if _, err := g.table.Apply(c); err != nil {
				b.Fatal(err)
			}
		}
		apply(Command{Kind: CreateGrid, Node: g.start("n00", "0"), Settings: Settings{Partitions: partitions, Copies: 3, MinISR: 1}})
		for n := 1; n < 64; n++ {
			apply(Command{Kind: Register, Node: g.start(NodeID(fmt.Sprintf("n%02d", n)), fmt.Sprint(n%2))})
		}
		run := func(name string) {
			b.Run(fmt.Sprintf("%s/%d", name, partitions), func(b *testing.B) {
				for b.Loop() {
					Plan(g.table, g.limits)
				}
			})
		}
		run("fresh")
		for moved := true; moved; {
			moves := Plan(g.table, g.limits)
			g.table.changeRows(moves, g.table.Version)
			done := underWay(g.table)
			g.table.changeRows(done, g.table.Version)
			moved = len(moves)+len(done) > 0
		}
		run("rest")
		apply(Command{Kind: Register, Node: g.start("n64", "0")})
		run("join")
		apply(Command{Kind: Register, Node: g.start("n65", "5")})
		run("zone")
	}
}
