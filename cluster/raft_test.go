package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/neargrid/neargrid/cluster/core"
)

// bigTable is one of a grid with so many partitions and nodes, three copies each.
func bigTable(t *testing.T, partitions, nodes int) *core.Table {
	t.Helper()
	node := func(i int) core.Node {
		n := core.Node{ID: core.NodeID(fmt.Sprintf("node-with-a-long-name-%03d", i)), Zone: "zone", FeatureMax: 1}
		n.Inc[0], n.Inc[15] = byte(i+1), 1
		n.Peer, n.Client, n.Cluster = "10.0.0.1:16379", "10.0.0.1:6379", "10.0.0.1:7379"
		return n
	}
	table := &core.Table{}
	apply := func(c core.Command) {
		t.Helper()
		if _, err := table.Apply(c); err != nil {
			t.Fatal(err)
		}
	}
	settings := core.Settings{Grid: [16]byte{1}, Seed: [16]byte{2}, Partitions: partitions, Copies: 3, MinISR: 2, Feature: 1}
	apply(core.Command{Kind: core.CreateGrid, Settings: settings, Node: node(0)})
	for i := 1; i < nodes; i++ {
		apply(core.Command{Kind: core.Register, Node: node(i)})
	}
	for _, kind := range []core.ChangeKind{core.AddLearner, core.Grow} {
		for copies := 1; copies <= 2 && nodes > 2; copies++ {
			c := core.Command{Kind: core.ChangeRows}
			for p := range table.Rows {
				at := 1 + (p+copies)%(nodes-1)
				c.Changes = append(c.Changes, core.Change{Kind: kind, Partition: p, Epoch: table.Rows[p].Epoch, Member: table.Nodes[at].Member()})
			}
			apply(c)
		}
	}
	return table
}

// TestTableEncoding has tables come back as they were, and in few bytes.
func TestTableEncoding(t *testing.T) {
	for _, c := range []struct{ partitions, nodes, sizeMax int }{{1, 1, 300}, {256, 64, 40 << 10}, {16384, 64, 1 << 20}} {
		want := bigTable(t, c.partitions, c.nodes)
		b := appendTable(nil, want)
		if len(b) > c.sizeMax {
			t.Errorf("%d rows and %d nodes take %d bytes, and %d are wanted at most", c.partitions, c.nodes, len(b), c.sizeMax)
		}
		got, err := parseTable(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(appendTable(nil, got), b) || !reflect.DeepEqual(got.Nodes, want.Nodes) || got.Settings != want.Settings {
			t.Errorf("%d rows and %d nodes: another table came back", c.partitions, c.nodes)
		}
	}
}

// TestDeltaEncoding follows a table from each of its versions.
func TestDeltaEncoding(t *testing.T) {
	table := bigTable(t, 8, 4)
	old := table.Clone()
	fence := core.Command{Kind: core.FenceNode, Member: table.Nodes[2].Member()}
	if _, err := table.Apply(fence); err != nil {
		t.Fatal(err)
	}
	d, err := parseDelta(appendDelta(nil, table.Since(old.Version)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := applyDelta(old, d)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(appendTable(nil, got), appendTable(nil, table)) {
		t.Errorf("got %+v\nwant %+v", got, table)
	}
	if _, err := applyDelta(&core.Table{}, d); err == nil {
		t.Error("a delta was applied to a table that it does not begin at")
	}
}

// TestCommandEncoding has each kind come back, and refuses what is not known (R27).
func TestCommandEncoding(t *testing.T) {
	m := core.Member{Node: "a", Inc: core.Incarnation{1, 2}}
	node := core.Node{ID: "a", Inc: m.Inc, Role: core.Witness, Zone: "z", FeatureMin: 1, FeatureMax: 3, Peer: "p:1", Client: "c:1", Cluster: "d:1"}
	settings := core.Settings{Grid: [16]byte{9}, Seed: [16]byte{8}, Partitions: 256, Copies: 2, MinISR: 1, ResetLost: true, Feature: 2}
	for _, want := range []core.Command{
		{Kind: core.CreateGrid, Settings: settings, Node: node},
		{Kind: core.Register, Node: node, Member: core.Member{Node: "a"}},
		{Kind: core.Register, Node: core.Node{ID: "a", Status: core.Stopping}, Member: m},
		{Kind: core.Register, Node: core.Node{ID: "a", Status: core.Fenced, Drains: true}},
		{Kind: core.Stop, Member: m},
		{Kind: core.FenceNode, Member: m},
		{Kind: core.Drain, Member: m},
		{Kind: core.Undrain, Member: m},
		{Kind: core.Leave, Member: m},
		{Kind: core.SetFeature, Feature: 7},
		{Kind: core.ChangeRows, Changes: []core.Change{
			{Kind: core.Grow, Partition: 3, Epoch: 1 << 40, Member: m},
			{Kind: core.Reset, Partition: 16383, Epoch: 1, Accepted: true},
		}},
	} {
		b, err := appendCommand(nil, want)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseCommand(b); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, want)
		}
		for i := range b { // each prefix, and each with a byte too many
			if _, err := parseCommand(b[:i]); !errors.Is(err, ErrEncoding) {
				t.Errorf("%d of %d bytes: %v", i, len(b), err)
			}
		}
		if _, err := parseCommand(append(b, 0)); !errors.Is(err, ErrEncoding) {
			t.Errorf("a byte too many: %v", err)
		}
	}
	for _, bad := range []core.Command{
		{Kind: 99},
		{},
		{Kind: core.ChangeRows, Changes: []core.Change{{Kind: 99, Member: m}}},
		{Kind: core.Register, Node: core.Node{ID: "a", Role: 9}},
		{Kind: core.Register, Node: core.Node{ID: "a", Peer: strings.Repeat("x", textSizeMax+1)}},
		{Kind: core.ChangeRows, Changes: []core.Change{{Kind: core.Grow, Partition: 1 << 20, Member: m}}},
	} {
		if _, err := appendCommand(nil, bad); !errors.Is(err, ErrEncoding) {
			t.Errorf("%+v is encoded: %v", bad, err)
		}
	}
	b, _ := appendCommand(nil, core.Command{Kind: core.Leave, Member: m})
	b[0]++
	if _, err := parseCommand(b); !errors.Is(err, ErrEncoding) {
		t.Errorf("another version: %v", err)
	}
}

// FuzzEncoding: whatever is read is written the same, and nothing makes it panic.
func FuzzEncoding(f *testing.F) {
	b, _ := appendCommand(nil, core.Command{Kind: core.ChangeRows, Changes: []core.Change{{Kind: core.Grow, Epoch: 5, Member: core.Member{Node: "a"}}}})
	f.Add(b)
	f.Add(appendTable(nil, &core.Table{Version: 3, Nodes: []core.Node{{ID: "a"}}, Settings: core.Settings{Partitions: 1},
		Rows: []core.Row{{Epoch: 1, Primary: core.Member{Node: "a"}, ISR: []core.Member{{Node: "a"}}}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := parseCommand(b); err == nil {
			if again, err := appendCommand(nil, c); err != nil {
				t.Errorf("%+v: %v", c, err)
			} else if got, err := parseCommand(again); err != nil || !reflect.DeepEqual(got, c) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, c)
			}
		}
		if d, err := parseDelta(b); err == nil {
			if got, err := parseDelta(appendDelta(nil, d)); err != nil || !reflect.DeepEqual(got, d) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, d)
			}
		}
	})
}

// command encodes, or panics: the test is wrong.
func command(c core.Command) *raft.Log {
	b, err := appendCommand(nil, c)
	if err != nil {
		panic(err)
	}
	return &raft.Log{Index: 1, Data: b}
}

// TestFSM applies entries, shows the table after each that changed it, and comes back from a snapshot.
func TestFSM(t *testing.T) {
	var shown []*core.Table
	f := newTableFSM(func(t *core.Table) { shown = append(shown, t) }, func(err error) { t.Error(err) })
	m := core.Member{Node: "a", Inc: core.Incarnation{1}}
	create := core.Command{Kind: core.CreateGrid, Node: core.Node{ID: "a", Inc: m.Inc}, Settings: core.Settings{Partitions: 2, Copies: 1, MinISR: 1}}

	for _, step := range []struct {
		command core.Command
		want    string
	}{
		{create, "version 1"},
		{create, "version 1, refused: create grid: there is one already: the change does not fit the row"},
		{core.Command{Kind: core.ChangeRows, Changes: []core.Change{{Kind: core.Reclaim, Partition: 0, Epoch: 9, Member: m}, {Kind: core.Reclaim, Partition: 1, Epoch: 1, Member: m}}},
			"version 2, not 0: reclaim of partition 0 in epoch 9, which is 1: the row has changed meanwhile"},
		{core.Command{Kind: core.FenceNode, Member: m}, "version 3"},
	} {
		o := f.Apply(command(step.command)).(outcome)
		got := fmt.Sprintf("version %d", f.shown.Version)
		if o.err != nil {
			got += fmt.Sprintf(", refused: %v", o.err)
		}
		for i, why := range o.refused {
			got += fmt.Sprintf(", not %d: %s", i, why)
		}
		if got != step.want {
			t.Errorf("got  %s\nwant %s", got, step.want)
		}
	}
	if len(shown) != 3 || shown[1].Rows[0].State != core.Serving || shown[2].Rows[0].State != core.Lost {
		t.Errorf("%d tables were shown, and what was shown is changed", len(shown))
	}

	s, err := f.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	store := raft.NewInmemSnapshotStore()
	sink, err := store.Create(1, 1, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Persist(sink); err != nil {
		t.Fatal(err)
	}
	_, r, err := store.Open(sink.ID())
	if err != nil {
		t.Fatal(err)
	}
	back := newTableFSM(func(*core.Table) {}, func(err error) { t.Error(err) })
	if err := back.Restore(r); err != nil || !bytes.Equal(appendTable(nil, back.shown), appendTable(nil, f.shown)) {
		t.Errorf("%v: another table comes back", err)
	}
	if err := back.Restore(io.NopCloser(strings.NewReader("nonsense"))); !errors.Is(err, ErrEncoding) {
		t.Errorf("nonsense is restored: %v", err)
	}
}

// TestFSMUnknown (R27): an entry that is not known ends the table; it is not skipped, and no snapshot passes it.
func TestFSMUnknown(t *testing.T) {
	var failed []error
	f := newTableFSM(func(*core.Table) {}, func(err error) { failed = append(failed, err) })
	settings := core.Settings{Partitions: 2, Copies: 1, MinISR: 1}
	f.Apply(command(core.Command{Kind: core.CreateGrid, Node: core.Node{ID: "a"}, Settings: settings}))

	unknown := command(core.Command{Kind: core.SetFeature, Feature: 5})
	unknown.Data[2] = 77 // the kind
	f.Apply(unknown)
	f.Apply(command(core.Command{Kind: core.Register, Node: core.Node{ID: "b"}}))
	if len(failed) != 1 || !errors.Is(failed[0], ErrEncoding) {
		t.Errorf("told %v", failed)
	}
	if f.shown.Version != 1 || f.table.Version != 1 {
		t.Errorf("the table goes on, to %d", f.table.Version)
	}
	if _, err := f.Snapshot(); !errors.Is(err, ErrEncoding) {
		t.Errorf("snapshot: %v", err)
	}
}

// TestRaftVerify (R10): a leader that reaches nonvoters only is not confirmed, though raft's own check would have it so.
func TestRaftVerify(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		hosts := []string{hostA, hostB, hostC, "10.0.0.4"}
		var nodes []*consensus
		for i, h := range hosts {
			tr := open(t, n.Host(h), h+":7000", identity(string(rune('a'+i))), rightKeys)
			c, err := openRaft(tr, memoryStores(), newTableFSM(func(*core.Table) {}, func(err error) { t.Error(err) }),
				func(core.NodeID) string { return "" }, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := c.close(); err != nil {
					t.Error(err)
				}
			})
			nodes = append(nodes, c)
		}
		a := nodes[0]
		if err := a.bootstrap(); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "a leads", func() bool { return a.State() == raft.Leader })
		for _, c := range nodes[1:3] {
			if err := a.AddVoter(c.self.ID, c.self.Address, 0, time.Second).Error(); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.verify(); err != nil {
			t.Errorf("not confirmed by voters: %v", err)
		}
		if err := a.AddNonvoter(nodes[3].self.ID, nodes[3].self.Address, 0, time.Second).Error(); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "the nonvoter follows", func() bool { return nodes[3].AppliedIndex() == a.AppliedIndex() })
		if err := a.verify(); err != nil {
			t.Errorf("not confirmed with a nonvoter: %v", err)
		}
		for _, h := range hosts[1:3] {
			n.Cut(h, hostA)
			n.Cut(hostA, h)
		}
		if err := a.verify(); err == nil {
			t.Error("confirmed by a nonvoter")
		}
		for _, h := range hosts[1:3] {
			n.Heal(h, hostA)
			n.Heal(hostA, h)
		}
	})
}

// TestRaftStore is what raft relies on, across a restart.
func TestRaftStore(t *testing.T) {
	dir := t.TempDir()
	openStore := func() *raftStore {
		s, err := openRaftStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	bounds := func(s *raftStore) string {
		first, err1 := s.FirstIndex()
		last, err2 := s.LastIndex()
		return fmt.Sprint(first, " to ", last, " ", errors.Join(err1, err2))
	}
	s := openStore()
	expect(t, "empty", bounds(s), "0 to 0 <nil>")
	if _, err := s.Get([]byte("k")); err == nil || err.Error() != "not found" {
		t.Errorf("a key that is not there: %v", err)
	}
	var logs []*raft.Log
	for i := range uint64(300) {
		logs = append(logs, &raft.Log{Index: i + 10, Term: i / 7, Type: raft.LogCommand, Data: []byte(fmt.Sprint("entry ", i+10)), AppendedAt: time.Unix(5, int64(i))})
	}
	logs[1].Extensions, logs[2].Type, logs[2].AppendedAt, logs[2].Data = []byte("ext"), raft.LogConfiguration, time.Time{}, nil
	if err := errors.Join(s.StoreLogs(logs), s.SetUint64([]byte("term"), 7), s.Set([]byte("k"), []byte("v"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = openStore()
	defer s.Close()
	expect(t, "after a restart", bounds(s), "10 to 309 <nil>")
	for _, want := range logs[:4] {
		var got raft.Log
		if err := s.GetLog(want.Index, &got); err != nil || !reflect.DeepEqual(got, *want) {
			t.Errorf("got %+v, %v\nwant %+v", got, err, *want)
		}
	}
	if err := s.GetLog(310, &raft.Log{}); err != raft.ErrLogNotFound {
		t.Errorf("an entry that is not there: %v", err)
	}
	if term, err := s.GetUint64([]byte("term")); term != 7 || err != nil {
		t.Errorf("term %d, %v", term, err)
	}
	if err := errors.Join(s.DeleteRange(300, 400), s.DeleteRange(1, 149)); err != nil {
		t.Fatal(err)
	}
	expect(t, "after deleting both ends", bounds(s), "150 to 299 <nil>")
	for i := uint64(150); i < 300; i++ {
		if err := s.GetLog(i, &raft.Log{}); err != nil {
			t.Errorf("entry %d: %v", i, err)
		}
	}
	if _, err := openRaftStore(dir); err == nil {
		t.Error("opened twice")
	}
}

// TestWriteFile leaves one file, the new one.
func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, content := range []string{"one", "two"} {
		if err := writeFile(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); string(b) != content || err != nil {
			t.Errorf("%q, %v, want %q", b, err, content)
		}
	}
	if names, err := filepath.Glob(path + "*"); len(names) != 1 || err != nil {
		t.Errorf("left %v, %v", names, err)
	}
}

// TestRaftLog has raft's warnings in our log.
func TestRaftLog(t *testing.T) {
	var b strings.Builder
	raftLogger(slog.New(slog.NewTextHandler(&b, nil))).Warn("heed", "this", 1)
	if got := b.String(); !strings.Contains(got, "heed: this=1") {
		t.Errorf("logged %q", got)
	}
}
