package core

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"
)

// before is a table as a control plane may have left it: partition 0 is led by a with backups b and c, 1 by b with a backup on a, 2 by c
// alone, 3 is lost with d, 4 is handed over from a to b, 5 is led by a, with a learner on c.
func before(t *testing.T) (table *Table, a, b, c, d Member) {
	t.Helper()
	member := func(name string) Member { return Member{NodeID(name), Incarnation{name[0]}} }
	a, b, c, d = member("a"), member("b"), member("c"), member("d")
	table = &Table{Version: 70, Settings: Settings{Partitions: 6, Copies: 3, MinISR: 1}}
	for _, m := range []Member{a, b, c, d} {
		table.Nodes = append(table.Nodes, Node{ID: m.Node, Inc: m.Inc, Version: 7})
	}
	table.Nodes[3].Status = Fenced
	table.Rows = []Row{
		{Epoch: 9, Reign: 3, Born: 1, Primary: a, ISR: []Member{a, b, c}},
		{Epoch: 12, Reign: 12, Born: 1, Primary: b, ISR: []Member{b, a}, Released: true},
		{Epoch: 4, Reign: 2, Born: 1, Primary: c, ISR: []Member{c}},
		{Epoch: 5, Reign: 2, Born: 1, State: Lost, LastDropped: d},
		{Epoch: 6, Reign: 2, Born: 1, Primary: a, ISR: []Member{a, b}, Target: b},
		{Epoch: 8, Reign: 2, Born: 1, Primary: a, ISR: []Member{a}, Learners: []Member{c}},
	}
	for p := range table.Rows {
		r := &table.Rows[p]
		r.Partition, r.Version = p, 60
		r.countStints()
	}
	return table, a, b, c, d
}

// TestR34Succeed takes nodes out of a table, and looks at the rows of the next generation.
func TestR34Succeed(t *testing.T) {
	old, a, b, c, d := before(t)
	kept := old.Clone()
	next, err := old.Succeed(1, []Member{b, d}, []Member{c})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(old, kept) {
		t.Error("the old table has changed")
	}
	const base = 1 << generationShift
	type row struct {
		state   RowState
		primary Member
		copies  int
		reign   uint64
		dropped Member
	}
	for p, want := range []row{
		{Serving, a, 1, 3, b},
		{Serving, a, 1, base + 2, b},
		{Lost, Member{}, 0, 2, c},
		{Lost, Member{}, 0, 2, d},
		{Serving, a, 1, 2, b},
		{Serving, a, 1, 2, Member{}},
	} {
		r := &next.Rows[p]
		got := row{r.State, r.Primary, len(r.ISR) + len(r.Learners), r.Reign, r.LastDropped}
		if got != want || r.Released || !r.Target.IsZero() {
			t.Errorf("partition %d: %+v, want %+v", p, *r, want)
		}
		if err := r.check(); err != nil || r.Born != 1 || r.StintOf(a) != old.Rows[p].StintOf(a) {
			t.Errorf("partition %d: %+v, %v", p, *r, err)
		}
	}
	if n := next.Nodes; len(n) != 2 || n[0].Member() != a || n[0].Status != Alive || n[1].Member() != c || n[1].Status != Fenced {
		t.Errorf("nodes: %+v", n)
	}
	if next.Generation() != 1 || old.Generation() != 0 {
		t.Errorf("generations %d and %d", old.Generation(), next.Generation())
	}
}

// TestR34Generations: whatever an earlier generation has in store, it is older than anything of a later one, row by row, and its changes
// are stale.
func TestR34Generations(t *testing.T) {
	old, a, b, c, d := before(t)
	next, err := old.Succeed(1, []Member{d}, nil)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	late := old.Clone() // goes on in secret
	for range 1000 {
		p, m := random.IntN(len(late.Rows)), []Member{a, b, c, d}[random.IntN(4)]
		change := Change{Kind: ChangeKind(1 + random.IntN(7)), Partition: p, Epoch: late.Rows[p].Epoch, Member: m, Accepted: true}
		if _, err := late.Apply(Command{Kind: ChangeRows, Changes: []Change{change}}); err != nil {
			t.Fatal(err)
		}
		if refused := next.Clone().changeRows([]Change{change}, next.Version+1); !errors.Is(refused[0], ErrStale) {
			t.Fatalf("%+v of the old control plane is followed: %v", change, refused)
		}
	}
	if late.Version == old.Version || late.Version >= next.Version {
		t.Errorf("version %d of the old control plane, after %d, and %d of the new", late.Version, old.Version, next.Version)
	}
	for p := range next.Rows {
		if r, l := &next.Rows[p], &late.Rows[p]; r.Epoch <= l.Epoch || r.Version <= l.Version {
			t.Errorf("partition %d: epoch %d of the new control plane, %d of the old", p, r.Epoch, l.Epoch)
		}
	}
	third, err := next.Succeed(3, nil, nil)
	if err != nil || third.Generation() != 3 || third.Rows[0].Epoch <= next.Rows[0].Epoch {
		t.Errorf("once more: %v", err)
	}
}

// TestR34SucceedRefuses: no generation goes back, and nobody is given up who is not there.
func TestR34SucceedRefuses(t *testing.T) {
	old, a, _, _, _ := before(t)
	third, err := old.Succeed(3, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := Member{a.Node, Incarnation{9}}
	for what, got := range map[string]func() (*Table, error){
		"the same one":           func() (*Table, error) { return third.Succeed(3, nil, nil) },
		"an earlier one":         func() (*Table, error) { return third.Succeed(2, nil, nil) },
		"too late a one":         func() (*Table, error) { return third.Succeed(GenerationMax+1, nil, nil) },
		"of no table":            func() (*Table, error) { return (&Table{}).Succeed(1, nil, nil) },
		"another start is gone":  func() (*Table, error) { return third.Succeed(4, []Member{other}, nil) },
		"another start was over": func() (*Table, error) { return third.Succeed(4, nil, []Member{other}) },
	} {
		if table, err := got(); err == nil {
			t.Errorf("%s: version %d", what, table.Version)
		}
	}
}
