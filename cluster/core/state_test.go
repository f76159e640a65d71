package core

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// grid is a table for tests, changed by commands as raft's log would.
type grid struct {
	t *testing.T
	*Table
}

func testNode(m Member) Node { return Node{ID: m.Node, Inc: m.Inc, FeatureMin: 1, FeatureMax: 1} }

// newGrid makes a grid of the given members, all of them data nodes, with all copies on the first.
func newGrid(t *testing.T, s Settings, members ...Member) *grid {
	t.Helper()
	s.Feature = 1
	g := &grid{t, &Table{}}
	g.do(Command{Kind: CreateGrid, Settings: s, Node: testNode(members[0])})
	for _, m := range members[1:] {
		g.do(Command{Kind: Register, Node: testNode(m)})
	}
	return g
}

// do applies a command that must be accepted as a whole.
func (g *grid) do(c Command) {
	g.t.Helper()
	before := g.Version
	if refused, err := g.Apply(c); err != nil || len(refused) > 0 {
		g.t.Fatalf("command %d: %v %v", c.Kind, err, refused)
	}
	if g.Version != before+1 {
		g.t.Fatalf("command %d: version %d after %d", c.Kind, g.Version, before)
	}
	for p := range g.Rows {
		if err := g.Rows[p].check(); err != nil {
			g.t.Fatal(err)
		}
	}
}

// change makes a change of partition 0 in its present epoch.
func (g *grid) change(kind ChangeKind, m Member) *Row {
	g.t.Helper()
	g.do(Command{Kind: ChangeRows, Changes: []Change{{Kind: kind, Epoch: g.Rows[0].Epoch, Member: m}}})
	return &g.Rows[0]
}

// backup makes members backups of partition 0.
func (g *grid) backup(members ...Member) {
	g.t.Helper()
	for _, m := range members {
		g.change(AddLearner, m)
		g.change(Grow, m)
	}
}

var oneRow = Settings{Partitions: 1, Copies: 3, MinISR: 1}

// R2: a new start's registration and the end of the old one are one entry; the new one holds nothing.
func TestR2RegisterFencesOld(t *testing.T) {
	g := newGrid(t, oneRow, memA, memB, memC)
	g.backup(memB, memC)
	g.change(SetTarget, memB)
	g.change(Handover, memB) // b leads a, c
	epoch, version := g.Rows[0].Epoch, g.Version
	g.do(Command{Kind: Register, Node: testNode(memB2)})
	r := &g.Rows[0]
	if r.Holds(memB) || r.Holds(memB2) || r.Primary == memB {
		t.Errorf("after the new start's registration: primary %s, ISR %v", r.Primary, r.ISR)
	}
	if r.Epoch != epoch+1 || r.Version != version+1 || r.Reign != r.Epoch || r.LastDropped != memB || r.Released {
		t.Errorf("row %+v", *r)
	}
	if n := g.Node("b"); n.Member() != memB2 || n.Status != Alive {
		t.Errorf("registry: %+v", *n)
	}
	if _, err := g.Apply(Command{Kind: FenceNode, Member: memB}); !errors.Is(err, ErrUnknown) {
		t.Errorf("a fence of the old start, late: %v; want %v", err, ErrUnknown)
	}
}

// R2: the same start registering again is not dropped.
func TestR2RegisterTwice(t *testing.T) {
	g := newGrid(t, oneRow, memA, memB)
	g.backup(memB)
	before := g.Rows[0].Clone()
	g.do(Command{Kind: Register, Node: testNode(memB)})
	if !reflect.DeepEqual(before, g.Rows[0]) {
		t.Errorf("the row changed from %+v to %+v", before, g.Rows[0])
	}
}

// R2: a fence ends a member in every row: as primary, backup, learner and target.
func TestR2FenceNode(t *testing.T) {
	tests := []struct {
		name    string
		fenced  Member
		primary Member
		isr     []Member
	}{
		{"the primary: a backup leads, in a new reign", memA, memB, []Member{memB, memC}},
		{"a backup: the primary goes on in its reign", memC, memA, []Member{memA, memB}},
		{"a learner", memD, memA, []Member{memA, memB, memC}},
	}
	for _, tt := range tests {
		g := newGrid(t, oneRow, memA, memB, memC, memD)
		g.backup(memB, memC)
		r := g.change(AddLearner, memD)
		reign := r.Reign
		g.do(Command{Kind: FenceNode, Member: tt.fenced})
		r = &g.Rows[0]
		if r.Primary != tt.primary || !reflect.DeepEqual(r.ISR, tt.isr) || r.Holds(tt.fenced) {
			t.Errorf("%s: primary %s, ISR %v, learners %v", tt.name, r.Primary, r.ISR, r.Learners)
		}
		if changed := r.Reign != reign; changed != (tt.fenced == memA) || changed && r.Reign != r.Epoch {
			t.Errorf("%s: reign %d in epoch %d, before %d", tt.name, r.Reign, r.Epoch, reign)
		}
		if g.Node(tt.fenced.Node).Status != Fenced {
			t.Errorf("%s: it is %s", tt.name, g.Node(tt.fenced.Node).Status)
		}
		if _, err := g.Apply(Command{Kind: FenceNode, Member: tt.fenced}); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: a second fence: %v", tt.name, err)
		}
	}
}

// R2: who was the target is none any more.
func TestR2FenceOfTheTarget(t *testing.T) {
	g := newGrid(t, oneRow, memA, memB)
	g.backup(memB)
	g.change(SetTarget, memB)
	g.do(Command{Kind: FenceNode, Member: memB})
	if r := &g.Rows[0]; !r.Target.IsZero() || r.Primary != memA {
		t.Errorf("target %s of a row led by %s", r.Target, r.Primary)
	}
}

// R2, R22: who takes over is the one with the fewest partitions to lead, counting those that it gets by the same entry.
func TestR2FenceSpreadsPrimaries(t *testing.T) {
	g := newGrid(t, Settings{Partitions: 8, Copies: 3, MinISR: 1}, memA, memB, memC)
	for p := range g.Rows {
		for _, m := range []Member{memB, memC} {
			for _, kind := range []ChangeKind{AddLearner, Grow} {
				g.do(Command{Kind: ChangeRows, Changes: []Change{{Kind: kind, Partition: p, Epoch: g.Rows[p].Epoch, Member: m}}})
			}
		}
	}
	g.do(Command{Kind: FenceNode, Member: memA})
	if load := g.Primaries(); load["b"] != 4 || load["c"] != 4 {
		t.Errorf("b leads %d, c %d, of 8", load["b"], load["c"])
	}
}

// R4: a change is made in the epoch that it was made for, and in no other.
func TestR4CompareAndSet(t *testing.T) {
	g := newGrid(t, oneRow, memA, memB, memC)
	epoch := g.Rows[0].Epoch
	changes := []Change{
		{Kind: AddLearner, Epoch: epoch + 1, Member: memB}, // of an epoch to come
		{Kind: AddLearner, Epoch: epoch, Member: memB},
		{Kind: AddLearner, Epoch: epoch, Member: memC}, // stale by the one before
		{Kind: AddLearner, Epoch: epoch, Partition: 1, Member: memC},
	}
	refused, err := g.Apply(Command{Kind: ChangeRows, Changes: changes})
	if err != nil || len(refused) != 3 || !errors.Is(refused[0], ErrStale) || !errors.Is(refused[2], ErrStale) || refused[3] == nil {
		t.Fatalf("refused %v, %v", refused, err)
	}
	if r := &g.Rows[0]; r.Epoch != epoch+1 || !reflect.DeepEqual(r.Learners, []Member{memB}) {
		t.Errorf("row %+v", *r)
	}
	version, before := g.Version, g.Rows[0].Clone()
	for _, kind := range []ChangeKind{AddLearner, Grow, Shrink, SetTarget, Handover, Reclaim, Reset} {
		refused, err := g.Apply(Command{Kind: ChangeRows, Changes: []Change{{Kind: kind, Epoch: epoch, Member: memB, Accepted: true}}})
		if err != nil || !errors.Is(refused[0], ErrStale) {
			t.Errorf("%s of an earlier epoch: %v %v", kind, refused, err)
		}
	}
	if g.Version != version || !reflect.DeepEqual(before, g.Rows[0]) {
		t.Errorf("what was refused changed the table")
	}
}

// R4: what a row can be asked for, by the member's part in it. A change outside is refused and changes nothing.
func TestR4ChangesFit(t *testing.T) {
	// Row 0: a leads, b is in sync, c learns, d has nothing. e drains, f is fenced.
	memE, memF := Member{"e", Incarnation{1}}, Member{"f", Incarnation{1}}
	memD2 := Member{"d", Incarnation{2}}
	all := []Member{memA, memB, memC, memD, memE, memF, memB2, memD2}
	allowed := map[ChangeKind][]Member{
		AddLearner: {memD},
		Grow:       {memC},
		Shrink:     {memB, memC},
		SetTarget:  {memA, memB},
		Handover:   {memB},
		Reclaim:    {memA},
		Reset:      nil,
	}
	for kind, members := range allowed {
		for _, m := range all {
			g := newGrid(t, oneRow, memA, memB, memC, memD, memE, memF)
			g.backup(memB)
			g.change(AddLearner, memC)
			g.do(Command{Kind: Drain, Member: memE})
			g.do(Command{Kind: FenceNode, Member: memF})
			want := false
			for _, ok := range members {
				want = want || ok == m
			}
			refused, err := g.Apply(Command{Kind: ChangeRows, Changes: []Change{{Kind: kind, Epoch: g.Rows[0].Epoch, Member: m}}})
			if got := len(refused) == 0; got != want || err != nil {
				t.Errorf("%s of %s: made %v, want %v (%v %v)", kind, m, got, want, refused, err)
			}
			if !want && !errors.Is(refused[0], ErrRefused) {
				t.Errorf("%s of %s: %v, want %v", kind, m, refused[0], ErrRefused)
			}
			if err := g.Rows[0].check(); err != nil {
				t.Errorf("%s of %s: %v", kind, m, err)
			}
		}
	}
}

// R20: by a handover alone is a primary released from waiting; every other way to lead takes it back.
func TestR20ReleasedByHandoverOnly(t *testing.T) {
	g := newGrid(t, oneRow, memA, memB)
	g.backup(memB)
	g.change(SetTarget, memB)
	if r := g.change(Handover, memB); !r.Released || r.Primary != memB || r.Reign != r.Epoch || !r.Target.IsZero() {
		t.Fatalf("after a handover: %+v", *r)
	}
	if r := g.change(SetTarget, memA); !r.Released {
		t.Errorf("a change within the reign took the release back")
	}
	r := g.change(Reclaim, memB)
	if r.Released || r.Primary != memB || r.Reign == r.Epoch {
		t.Errorf("after reclaiming: %+v", *r)
	}
	g.change(Handover, memA)
	g.do(Command{Kind: FenceNode, Member: memA})
	if r := &g.Rows[0]; r.Released || r.Primary != memB {
		t.Errorf("after a fence: %+v", *r)
	}
}

// R1: a stint lasts while the member is a copy, from learner to primary, and begins anew when it comes back.
func TestR1StintsOfARow(t *testing.T) {
	g := newGrid(t, oneRow, memA, memB)
	since := g.change(AddLearner, memB).StintOf(memB)
	if since != g.Rows[0].Epoch {
		t.Fatalf("a stint since %d in epoch %d", since, g.Rows[0].Epoch)
	}
	g.change(Grow, memB)
	g.change(SetTarget, memB)
	if r := g.change(Handover, memB); r.StintOf(memB) != since {
		t.Errorf("learner, backup, primary: the stint became %d, want %d", r.StintOf(memB), since)
	}
	if r := g.change(Shrink, memA); r.StintOf(memA) != 0 {
		t.Errorf("who left has a stint since %d", r.StintOf(memA))
	}
	if r := g.change(AddLearner, memA); r.StintOf(memA) != r.Epoch {
		t.Errorf("who came back has a stint since %d in epoch %d", r.StintOf(memA), r.Epoch)
	}
	g.do(Command{Kind: FenceNode, Member: memA})
	g.do(Command{Kind: Register, Node: testNode(memA)})
	if r := g.change(AddLearner, memA); r.StintOf(memA) != r.Epoch {
		t.Errorf("the same start, fenced and back: since %d in epoch %d", r.StintOf(memA), r.Epoch)
	}
}

// R10: with the last copy a partition is lost, learners or not; the same start that comes back resumes it, and no other.
func TestR10LostAndResumed(t *testing.T) {
	lose := func() *grid {
		g := newGrid(t, oneRow, memB, memA, memC)
		g.backup(memA)
		g.change(AddLearner, memC)
		g.change(Shrink, memA)
		g.do(Command{Kind: FenceNode, Member: memB})
		return g
	}
	g := lose()
	r := &g.Rows[0]
	if r.State != Lost || len(r.ISR)+len(r.Learners)+len(r.Stints) > 0 || !r.Primary.IsZero() || r.LastDropped != memB {
		t.Fatalf("without its last copy: %+v", *r)
	}
	epoch := r.Epoch
	for _, m := range []Member{memA, memC, memB2} {
		g := lose()
		if g.do(Command{Kind: Register, Node: testNode(m)}); g.Rows[0].State != Lost || g.Rows[0].Epoch != epoch {
			t.Errorf("%s resumed what %s had: %+v", m, memB, g.Rows[0])
		}
	}
	g.do(Command{Kind: Register, Node: testNode(memB)})
	if r.State != Serving || r.Primary != memB || r.Epoch != epoch+1 || r.Reign != r.Epoch || r.Born != 1 || r.Released {
		t.Errorf("resumed: %+v", *r)
	}
	if r.StintOf(memB) != r.Epoch {
		t.Errorf("its stint began in %d, want %d", r.StintOf(memB), r.Epoch)
	}
}

// R10, R34: a loss is reset where the settings allow it or a person does; the partition is born again, and who had it last
// resumes nothing.
func TestR10Reset(t *testing.T) {
	tests := []struct {
		name               string
		resetLost, person  bool
		member             Member
		state              RowState
		resumedAfterwards  bool
		ownerAfterReturned Member
	}{
		{"neither", false, false, memB, Lost, true, memA},
		{"the settings", true, false, memB, Serving, false, memB},
		{"a person", false, true, memB, Serving, false, memB},
		{"on one that is unknown", true, true, memB2, Lost, true, memA},
		{"on one that is fenced", true, true, memA, Lost, true, memA},
	}
	for _, tt := range tests {
		s := oneRow
		s.ResetLost = tt.resetLost
		g := newGrid(t, s, memA, memB)
		g.do(Command{Kind: FenceNode, Member: memA})
		c := Change{Kind: Reset, Epoch: g.Rows[0].Epoch, Member: tt.member, Accepted: tt.person}
		if _, err := g.Apply(Command{Kind: ChangeRows, Changes: []Change{c}}); err != nil {
			t.Fatal(err)
		}
		r := &g.Rows[0]
		if r.State != tt.state {
			t.Errorf("%s: the row is %s, want %s", tt.name, r.State, tt.state)
		}
		if r.State == Serving && (r.Born != r.Epoch || r.Reign != r.Epoch || r.Primary != memB || !r.LastDropped.IsZero()) {
			t.Errorf("%s: %+v", tt.name, *r)
		}
		g.do(Command{Kind: Register, Node: testNode(memA)})
		if r.Primary != tt.ownerAfterReturned {
			t.Errorf("%s: when %s is back, %s leads; want %s", tt.name, memA, r.Primary, tt.ownerAfterReturned)
		}
	}
}

// R2: a witness, even one that held data before, resumes nothing and gets nothing.
func TestR2WitnessHoldsNothing(t *testing.T) {
	g := newGrid(t, oneRow, memA, memB)
	g.do(Command{Kind: FenceNode, Member: memA})
	witness := testNode(memA)
	witness.Role = Witness
	g.do(Command{Kind: Register, Node: witness})
	if r := &g.Rows[0]; r.State != Lost {
		t.Errorf("a witness leads: %+v", *r)
	}
}

// A drain ends what may be given to a node; it lasts over a quick restart, and leaving needs empty hands.
func TestDrainAndLeave(t *testing.T) {
	g := newGrid(t, oneRow, memA, memB)
	g.backup(memB)
	g.do(Command{Kind: Drain, Member: memB})
	if _, err := g.Apply(Command{Kind: Drain, Member: memB}); !errors.Is(err, ErrUnknown) {
		t.Errorf("drained twice: %v", err)
	}
	if _, err := g.Apply(Command{Kind: Leave, Member: memB}); !errors.Is(err, ErrRefused) {
		t.Errorf("left with a copy: %v", err)
	}
	g.do(Command{Kind: Register, Node: testNode(memB2)})
	if n := g.Node("b"); n.Status != Draining {
		t.Errorf("after a restart it is %s, want %s", n.Status, Draining)
	}
	if _, err := g.Apply(Command{Kind: Leave, Member: memB}); !errors.Is(err, ErrUnknown) {
		t.Errorf("an earlier start left: %v", err)
	}
	g.do(Command{Kind: Undrain, Member: memB2})
	g.do(Command{Kind: Leave, Member: memB2})
	if g.Node("b") != nil {
		t.Errorf("it left, and is there")
	}
}

// A drain is not forgotten where the node is fenced before it is back, and one that is down can be drained.
func TestDrainOutlivesFence(t *testing.T) {
	g := newGrid(t, oneRow, memA, memB, memC)
	g.do(Command{Kind: Drain, Member: memB})
	g.do(Command{Kind: FenceNode, Member: memB})
	g.do(Command{Kind: FenceNode, Member: memC})
	g.do(Command{Kind: Drain, Member: memC})
	if b, c := g.Node("b"), g.Node("c"); b.Status != Fenced || c.Status != Fenced || !b.Drains || !c.Drains {
		t.Errorf("fenced and drained: %+v, %+v", *b, *c)
	}
	g.do(Command{Kind: Register, Node: testNode(memB2)})
	if n := g.Node("b"); n.Status != Draining || !n.Drains {
		t.Errorf("after the fence and a restart it is %s, want %s", n.Status, Draining)
	}
	g.do(Command{Kind: Undrain, Member: memB2})
	if n := g.Node("b"); n.Status != Alive || n.Drains {
		t.Errorf("kept after all: %+v", *n)
	}
	g.do(Command{Kind: Undrain, Member: memC})
	if n := g.Node("c"); n.Status != Fenced || n.Drains {
		t.Errorf("kept while it is down: %+v", *n)
	}
}

// Who drained may leave: with nothing in hand, nor lost with it, and never the last.
func TestDrained(t *testing.T) {
	g := newGrid(t, oneRow, memA, memB)
	drained := func(want ...Member) {
		t.Helper()
		if got := g.Drained(); !reflect.DeepEqual(got, want) {
			t.Errorf("drained are %v, want %v", got, want)
		}
	}
	drained()
	g.do(Command{Kind: Drain, Member: memB})
	drained(memB)
	g.do(Command{Kind: Undrain, Member: memB})
	g.backup(memB)
	g.do(Command{Kind: Drain, Member: memB})
	drained()
	g.change(SetTarget, memB)
	g.change(Handover, memB)
	g.change(Shrink, memA)
	g.do(Command{Kind: FenceNode, Member: memB})
	if g.Rows[0].State != Lost {
		t.Fatalf("row %+v", g.Rows[0])
	}
	drained() // it may come back with the data
	g.do(Command{Kind: ChangeRows, Changes: []Change{{Kind: Reset, Epoch: g.Rows[0].Epoch, Member: memA, Accepted: true}}})
	drained(memB)
	g.do(Command{Kind: Drain, Member: memA})
	drained() // somebody has to stay
}

// R22: who stops keeps its copies and leads no more than it has to: a handover to it is called off, and after a crash of the
// primary another takes over, where there is one. Its next start is as any other.
func TestR22Stop(t *testing.T) {
	g := newGrid(t, oneRow, memA, memB, memC)
	g.backup(memB, memC)
	r := g.change(SetTarget, memB)
	epoch, reign := r.Epoch, r.Reign
	g.do(Command{Kind: Stop, Member: memB})
	r = &g.Rows[0]
	if !r.Target.IsZero() || r.Epoch != epoch+1 || r.Reign != reign || !r.InSync(memB) {
		t.Errorf("after the stop of its target: %+v", *r)
	}
	refused, _ := g.Apply(Command{Kind: ChangeRows, Changes: []Change{{Kind: Handover, Epoch: epoch, Member: memB}}})
	if !errors.Is(refused[0], ErrStale) {
		t.Errorf("the handover that was under way: %v", refused)
	}
	if _, err := g.Apply(Command{Kind: Stop, Member: memB}); !errors.Is(err, ErrUnknown) {
		t.Errorf("stopped twice: %v", err)
	}
	g.do(Command{Kind: FenceNode, Member: memA})
	if r := &g.Rows[0]; r.Primary != memC {
		t.Errorf("%s leads after the crash of a, while b stops", r.Primary)
	}
	g.do(Command{Kind: FenceNode, Member: memC})
	if r := &g.Rows[0]; r.Primary != memB {
		t.Errorf("%s leads, and only b is left", r.Primary)
	}
	g.do(Command{Kind: Register, Node: testNode(memB2)})
	if n := g.Node("b"); n.Status != Alive {
		t.Errorf("its next start is %s", n.Status)
	}
	g.do(Command{Kind: Stop, Member: memB2})
	g.do(Command{Kind: Undrain, Member: memB2})
	if n := g.Node("b"); n.Status != Alive {
		t.Errorf("kept after all, it is %s", n.Status)
	}
	g.do(Command{Kind: Drain, Member: memB2})
	if _, err := g.Apply(Command{Kind: Stop, Member: memB2}); !errors.Is(err, ErrUnknown) {
		t.Errorf("stopped while it drains: %v", err)
	}
}

// R2: a registration names what it replaces, so that one that is late ends no later start.
func TestR2RegisterInPlaceOf(t *testing.T) {
	g := newGrid(t, oneRow, memA)
	none := Member{Node: "b"}
	g.do(Command{Kind: Register, Node: testNode(memB), Member: none})
	for _, late := range []Member{none, memB} {
		g.do(Command{Kind: Register, Node: testNode(memB), Member: late}) // again: it is there
	}
	g.do(Command{Kind: Register, Node: testNode(memB2), Member: memB})
	for _, late := range []Member{none, memB} {
		if _, err := g.Apply(Command{Kind: Register, Node: testNode(memB), Member: late}); !errors.Is(err, ErrStale) {
			t.Errorf("an earlier start in place of %s: %v", late, err)
		}
	}
	if n := g.Node("b"); n.Member() != memB2 || n.Status != Alive {
		t.Errorf("registry: %+v", *n)
	}
	g.do(Command{Kind: Leave, Member: memB2})
	if _, err := g.Apply(Command{Kind: Register, Node: testNode(memB2), Member: memB}); !errors.Is(err, ErrStale) {
		t.Errorf("one that has left: %v", err)
	}
}

// R27: the level in force goes up, no further than every member that is not fenced speaks; who does not speak it stays out.
func TestR27Feature(t *testing.T) {
	g := newGrid(t, oneRow, memA, memB)
	if _, err := g.Apply(Command{Kind: SetFeature, Feature: 2}); !errors.Is(err, ErrRefused) {
		t.Errorf("raised although nobody speaks it: %v", err)
	}
	a := testNode(memA)
	a.FeatureMax = 2
	g.do(Command{Kind: Register, Node: a})
	g.do(Command{Kind: FenceNode, Member: memB})
	g.do(Command{Kind: SetFeature, Feature: 2})
	for _, level := range []uint32{1, 2} {
		if _, err := g.Apply(Command{Kind: SetFeature, Feature: level}); !errors.Is(err, ErrRefused) {
			t.Errorf("set to %d: %v", level, err)
		}
	}
	if _, err := g.Apply(Command{Kind: Register, Node: testNode(memB)}); !errors.Is(err, ErrRefused) {
		t.Errorf("registered without speaking it: %v", err)
	}
}

// A command that is refused as a whole changes nothing.
func TestRefusedCommands(t *testing.T) {
	empty := &Table{}
	if _, err := empty.Apply(Command{Kind: Register, Node: testNode(memA)}); !errors.Is(err, ErrRefused) || empty.Version != 0 {
		t.Errorf("registered without a grid: %v", err)
	}
	for _, s := range []Settings{{}, {Partitions: 3, Copies: 1, MinISR: 1}, {Partitions: 4, Copies: 1, MinISR: 2},
		{Partitions: 1 << 15, Copies: 1, MinISR: 1}} {
		if _, err := empty.Apply(Command{Kind: CreateGrid, Settings: s, Node: testNode(memA)}); err == nil || empty.Version != 0 {
			t.Errorf("a grid of %+v was made", s)
		}
	}
	g := newGrid(t, oneRow, memA)
	before := g.Table.Clone()
	for _, c := range []Command{
		{Kind: CreateGrid, Settings: oneRow, Node: testNode(memB)}, {Kind: FenceNode, Member: memB}, {Kind: Drain, Member: memB},
		{Kind: Leave, Member: memB}, {Kind: 99},
	} {
		if _, err := g.Apply(c); err == nil {
			t.Errorf("command %d was accepted", c.Kind)
		}
	}
	if !reflect.DeepEqual(before, g.Table) {
		t.Errorf("what was refused changed the table")
	}
}

// A follower that applies deltas, from whatever version it has, has the table: rows that skipped versions, nodes that left.
func TestDeltaRoundTrip(t *testing.T) {
	g := newGrid(t, Settings{Partitions: 4, Copies: 2, MinISR: 1}, memA, memB, memC)
	versions := []*Table{{}, g.Table.Clone()}
	step := func(c Command) {
		g.do(c)
		versions = append(versions, g.Table.Clone())
	}
	for p := range 3 {
		step(Command{Kind: ChangeRows, Changes: []Change{{Kind: AddLearner, Partition: p, Epoch: g.Rows[p].Epoch, Member: memB}}})
		step(Command{Kind: ChangeRows, Changes: []Change{{Kind: Grow, Partition: p, Epoch: g.Rows[p].Epoch, Member: memB}}})
	}
	step(Command{Kind: Leave, Member: memC})
	step(Command{Kind: FenceNode, Member: memA})
	step(Command{Kind: Register, Node: testNode(memD)})
	for i, from := range versions {
		for _, to := range versions[i:] {
			d := to.Since(from.Version)
			for _, r := range d.Rows {
				if from.Version > 0 && r.Version <= from.Version {
					t.Errorf("from %d to %d: row %d of version %d is sent", from.Version, to.Version, r.Partition, r.Version)
				}
			}
			before := from.Clone()
			got := from.Follow(d)
			if !reflect.DeepEqual(before, from.Clone()) {
				t.Errorf("from %d to %d: following changed what was there", from.Version, to.Version)
			}
			if !reflect.DeepEqual(got, to) && to.Version > 0 {
				t.Errorf("from %d to %d:\n%+v\nwant\n%+v", from.Version, to.Version, got, to)
			}
		}
	}
}

// R1: what no row may be.
func TestR1RowCheck(t *testing.T) {
	ok := Row{Epoch: 5, Reign: 3, Born: 1, Primary: memA, ISR: []Member{memA, memB}, Learners: []Member{memC}}
	if err := ok.check(); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		want  string
		spoil func(r *Row)
	}{
		{"lost and has copies", func(r *Row) { r.State = Lost }},
		{"does not lead the ISR", func(r *Row) { r.Primary = memB }},
		{"does not lead the ISR", func(r *Row) { r.ISR = nil }},
		{"no backup of the ISR", func(r *Row) { r.Target = memC }},
		{"no backup of the ISR", func(r *Row) { r.Target = memA }},
		{"reign since 6", func(r *Row) { r.Reign = 6 }},
		{"born in 6", func(r *Row) { r.Born = 6 }},
		{"two on b", func(r *Row) { r.Learners = []Member{memB2} }},
		{"a copy of nobody", func(r *Row) { r.Learners = []Member{{}} }},
	}
	for _, tt := range tests {
		r := ok.Clone()
		tt.spoil(&r)
		if err := r.check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", r, err, tt.want)
		}
	}
}
