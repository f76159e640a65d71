package cluster

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/partition"
)

// nodeGrid is whole nodes with stores, on a network in memory, in virtual time.
type nodeGrid struct {
	*testing.T
	network *MemNetwork
	dir     string // holds the nodes' directories; "" = they have none
	starts  int
	nodes   map[string]*gridNode // that run, by name
	mapping sync.Mutex           // held to change nodes, and to go through them beside the test's own goroutine
}

// gridNode is one start of one node.
type gridNode struct {
	*Node
	name    string
	store   *partition.Store // nil: a witness
	stopped bool
	mu      struct {
		sync.Mutex
		failed   []error
		versions []uint64 // of tables that OnTable was told of
	}
}

// refuser executes nothing.
type refuser struct{}

func (refuser) Execute(_ core.Member, _ *Forwarded, answer func(Answer)) {
	answer(Answer{Outcome: NotExecuted})
}
func (refuser) Gone(core.Member) {}

var nodeSettings = core.Settings{Partitions: 8, Copies: 2, MinISR: 1}

func onNodes(t *testing.T, f func(t *testing.T, g *nodeGrid)) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		f(t, &nodeGrid{T: t, network: n, nodes: map[string]*gridNode{}})
	})
}

func (g *nodeGrid) config(name string) NodeConfig {
	g.starts++
	began := time.Now().Add(-time.Duration(g.starts) * time.Hour) // clocks differ
	dir := ""
	if g.dir != "" {
		dir = filepath.Join(g.dir, name)
	}
	return NodeConfig{
		DataDir: dir,
		Network: g.network.Host(hostOf(name)), Listen: addrOf(name), Keys: rightKeys, Node: core.NodeID(name), Version: "1.2.3",
		Client: hostOf(name) + ":6379", Cluster: hostOf(name) + ":7379", Zone: "zone-" + name,
		Now:    func() time.Duration { return time.Since(began) },
		Random: rand.NewChaCha8([32]byte{byte(g.starts)}),
	}
}

// try opens a node and starts it, where it holds data. It ends with the test.
func (g *nodeGrid) try(ctx context.Context, name string, change func(*NodeConfig)) (*gridNode, error) {
	g.Helper()
	n, err := g.open(ctx, name, change)
	if err == nil {
		g.run(n)
	}
	return n, err
}

func (g *nodeGrid) open(ctx context.Context, name string, change func(*NodeConfig)) (*gridNode, error) {
	n := &gridNode{name: name}
	config := g.config(name)
	config.OnFailure = func(err error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.mu.failed = append(n.mu.failed, err)
	}
	config.OnTable = func(t *core.Table) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.mu.versions = append(n.mu.versions, t.Version)
	}
	change(&config)
	var err error
	if n.Node, err = OpenNode(ctx, config); err != nil {
		return nil, err
	}
	return n, nil
}

// run has an open node do its part until the test ends.
func (g *nodeGrid) run(n *gridNode) {
	g.Helper()
	if n.config.Role == core.Data {
		s := n.Settings()
		var err error
		seed := partition.Seed{K0: binary.LittleEndian.Uint64(s.Seed[:8]), K1: binary.LittleEndian.Uint64(s.Seed[8:])}
		n.store, err = partition.NewStore(partition.Options{Partitions: s.Partitions, Seed: seed, Sink: n.Sink, Track: true})
		if err != nil {
			g.Fatal(err)
		}
		n.Start(n.store, refuser{})
	}
	g.mapping.Lock()
	g.nodes[n.name] = n
	g.mapping.Unlock()
	g.Cleanup(func() { g.close(n) })
}

func (g *nodeGrid) start(name string, change func(*NodeConfig)) *gridNode {
	g.Helper()
	n, err := g.try(g.Context(), name, change)
	if err != nil {
		g.Fatalf("start %s: %v", name, err)
	}
	return n
}

// close ends a node; again is no error.
func (g *nodeGrid) close(n *gridNode) {
	g.Helper()
	if n.stopped {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		g.Errorf("close %s: %v", n.name, err)
	}
	g.over(n)
}

// kill ends a node without a word to the others.
func (g *nodeGrid) kill(n *gridNode) {
	g.Helper()
	g.network.Isolate(hostOf(n.name))
	if err := n.transport.Close(); err != nil {
		g.Error(err)
	}
	g.close(n)
	g.network.Rejoin(hostOf(n.name))
}

func (g *nodeGrid) over(n *gridNode) {
	n.stopped = true
	if n.store != nil {
		n.store.Close()
	}
	g.mapping.Lock()
	defer g.mapping.Unlock()
	if g.nodes[n.name] == n {
		delete(g.nodes, n.name)
	}
}

func creates(c *NodeConfig) { c.Create = &nodeSettings }

func joins(names ...string) func(*NodeConfig) {
	return func(c *NodeConfig) {
		for _, name := range names {
			c.Join = append(c.Join, addrOf(name))
		}
	}
}

// form starts a, b, c, ... and waits until all is as it should be.
func (g *nodeGrid) form(count int) {
	g.Helper()
	g.start("a", creates)
	for i := 1; i < count; i++ {
		g.start(string(rune('a'+i)), joins("a"))
	}
	g.healed(count)
}

// healed waits until every node shows the grid with so many members and nothing left to do.
func (g *nodeGrid) healed(members int) {
	g.Helper()
	var last Status
	defer func() {
		if g.Failed() {
			g.Logf("the last status: %s", statusText(last))
		}
	}()
	within(g.T, 2*time.Minute, fmt.Sprintf("%d members, and all copies", members), func() bool {
		for _, n := range g.nodes {
			last = n.Status()
			alive := 0
			for _, m := range last.Members {
				if m.State == "alive" {
					alive++
				}
			}
			counts := PartitionCounts{Total: last.Partitions.Total, Serving: last.Partitions.Total}
			if alive != members || last.Partitions != counts || last.Leader == "" || last.Moves.Left > 0 {
				return false
			}
		}
		return true
	})
}

func statusText(s Status) string {
	b, _ := json.MarshalIndent(s, "", "  ")
	return string(b)
}

// leader is who serves a partition now; nil where nobody does.
func (g *nodeGrid) leader(p int) *gridNode {
	g.mapping.Lock()
	defer g.mapping.Unlock()
	for _, n := range g.nodes {
		if n.store == nil {
			continue
		}
		if _, ok := n.Serves(p, n.config.Now()); ok {
			return n
		}
	}
	return nil
}

// put does what a door does with SET; the error says that it was executed, and not acknowledged.
func (g *nodeGrid) put(key, value string) (acked bool, err error) {
	n := g.leader(partition.Slot([]byte(key)) / (partition.Slots / nodeSettings.Partitions))
	if n == nil {
		return false, nil
	}
	tx := partition.NewTx(n.store)
	p := n.store.PartitionOf([]byte(key))
	tx.Begin(1, p)
	reign, ok := n.Serves(p, n.config.Now())
	if !ok || !n.Writable(p) {
		tx.End()
		return false, nil
	}
	tx.SetString([]byte(key), []byte(value), partition.StringAuto, 0)
	tx.End()
	if err := n.await(tx, reign); err != nil {
		return false, fmt.Errorf("%s = %s on %s: %w", key, value, n.name, err)
	}
	return true, nil
}

func (n *gridNode) await(tx *partition.Tx, reign uint64) error {
	var rests []Rest
	for _, s := range tx.Seen() {
		rests = append(rests, Rest{Seen: s, Reign: reign})
	}
	done := make(chan error, 1)
	if n.Await(rests, func(err error) { done <- err }) {
		return nil
	}
	return <-done
}

func (g *nodeGrid) putAll(count int, value string) {
	g.Helper()
	for i := range count {
		within(g.T, time.Minute, "a write is acknowledged", func() bool {
			acked, _ := g.put(fmt.Sprintf("key:%d", i), value)
			return acked
		})
	}
}

func (g *nodeGrid) checkAll(count int, value string) {
	g.Helper()
	for i := range count {
		key, got := fmt.Sprintf("key:%d", i), ""
		within(g.T, time.Minute, key+" can be read", func() bool {
			n := g.leader(partition.Slot([]byte(key)) / (partition.Slots / nodeSettings.Partitions))
			if n == nil {
				return false
			}
			tx := partition.NewTx(n.store)
			p := n.store.PartitionOf([]byte(key))
			tx.Begin(1, p)
			b, _, err := tx.String([]byte(key))
			got = string(b)
			reign, ok := n.Serves(p, n.config.Now())
			tx.End()
			return ok && err == nil && n.await(tx, reign) == nil
		})
		if got != value {
			g.Fatalf("%s is %q, and %q was acknowledged", key, got, value)
		}
	}
}

func (s Status) member(t *testing.T, id core.NodeID) MemberState {
	t.Helper()
	i := slices.IndexFunc(s.Members, func(m MemberState) bool { return m.ID == id })
	if i < 0 {
		t.Fatalf("%s is no member: %s", id, statusText(s))
	}
	return s.Members[i]
}

// TestNodeForms has three nodes become a grid that keeps its promise, take writes, lose one without a word, and heal.
func TestNodeForms(t *testing.T) {
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		a := g.start("a", creates)
		s := a.Status()
		if s.Promise.Kept || s.Promise.Profile != "cache" || s.Partitions.BelowCopies != 8 || s.Partitions.Serving != 8 || len(s.Members) != 1 {
			t.Errorf("alone: %s", statusText(s))
		}
		for p := range nodeSettings.Partitions { // the rows of before Start
			if g.leader(p) != a {
				t.Errorf("partition %d is not served", p)
			}
		}
		g.start("b", joins("a"))
		g.start("c", joins("a"))
		g.healed(3)
		g.putAll(100, "one")
		s = g.nodes["c"].Status()
		if s.Partitions != (PartitionCounts{Total: 8, Serving: 8}) || s.Moves != (MoveStatus{}) || s.Grid != a.Status().Grid || s.Leader != "a" {
			t.Errorf("whole: %s", statusText(s))
		}
		primary, backup := 0, 0
		for _, m := range s.Members {
			primary, backup = primary+m.Primary, backup+m.Backup
			name := string(m.ID)
			if m.Version != "1.2.3" || m.Peer != addrOf(name) || m.Client != hostOf(name)+":6379" || m.Zone != "zone-"+name || m.Role != "data" {
				t.Errorf("member %+v", m)
			}
		}
		if primary != 8 || backup != 8 {
			t.Errorf("%d primaries and %d backups of 8 partitions", primary, backup)
		}

		dead := g.leader(0)
		g.kill(dead)
		within(t, 5*time.Second, "the loss shows", func() bool {
			for _, n := range g.nodes {
				if s := n.Status(); s.Promise.Kept || s.member(t, dead.self.Node).State == "alive" {
					return false
				}
			}
			return true
		})
		g.checkAll(100, "one")
		g.healed(2)
		g.putAll(100, "two")
		g.start(dead.name, joins("a", "b", "c"))
		g.healed(3)
		g.checkAll(100, "two")
		for _, n := range g.nodes {
			n.mu.Lock()
			if !slices.IsSorted(n.mu.versions) || len(n.mu.failed) > 0 {
				t.Errorf("%s was told of the tables %v, and failed with %v", n.name, n.mu.versions, n.mu.failed)
			}
			n.mu.Unlock()
		}
	})
}

// TestNodeHandOver stops one node after the other under load (R22): each hands over first, so that no write fails that was
// executed, none is lost, and nothing is without a primary at any time.
// Clients wait for nobody's tick but the one in which the old primary finds that it is to hand over; also when the node that ends has
// the lead of the control plane.
func TestNodeHandOver(t *testing.T) {
	const handOverPause = 100 * time.Millisecond
	dir := t.TempDir()
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		g.dir = dir
		g.form(3)
		within(t, time.Minute, "three voters", func() bool { return len(g.nodes["b"].control.Load().Voters()) == 3 })
		g.putAll(100, "one")
		for _, name := range []string{"a", "b", "c"} {
			n := g.nodes[name]
			other := g.nodes[map[string]string{"a": "b", "b": "c", "c": "a"}[name]]
			stop := make(chan struct{})
			var writers sync.WaitGroup
			for i := range 16 {
				writers.Go(func() {
					last := time.Now()
					for {
						select {
						case <-stop:
							return
						case <-time.After(5 * time.Millisecond):
						}
						acked, err := g.put(fmt.Sprintf("load:%d", i), name)
						if err != nil {
							t.Error(err)
						}
						if acked {
							if gap := time.Since(last); gap > handOverPause {
								t.Errorf("%s: no write of load:%d for %v", name, i, gap)
							}
							last = time.Now()
						}
					}
				})
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if err := n.HandOver(ctx); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			pass(2 * time.Second) // it must not get anything back
			if m := other.Status().member(t, n.self.Node); m.State != "stopping" || m.Primary != 0 || m.Backup == 0 {
				t.Errorf("%s before its end: %+v", name, m)
			}
			g.close(n)
			cancel()
			for range 100 {
				pass(50 * time.Millisecond)
				if c := other.Status().Partitions; c.Serving != 8 {
					t.Fatalf("%d of 8 partitions have a primary after the end of %s", c.Serving, name)
				}
			}
			close(stop)
			writers.Wait()
			g.start(name, joins("a", "b", "c"))
			g.healed(3)
			g.checkAll(100, "one")
		}
	})
}

// TestNodeHandOverAlone: there is nobody to hand over to, and nothing to wait for.
func TestNodeHandOverAlone(t *testing.T) {
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		a := g.start("a", creates)
		begin := time.Now()
		if err := a.HandOver(t.Context()); err != nil {
			t.Error(err)
		}
		if took := time.Since(begin); took > 0 {
			t.Errorf("it took %s", took)
		}
		b := g.start("b", joins("a"))
		g.healed(2)
		g.kill(b)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_ = a.HandOver(ctx) // b may not be found dead yet
		if ctx.Err() != nil && a.Status().member(t, "b").State == "fenced" {
			t.Error("it waits for a node that is fenced")
		}
	})
}

// TestNodeDrain moves everything off the node that leads the control plane and lets it leave; it says so.
func TestNodeDrain(t *testing.T) {
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		g.form(4)
		within(t, time.Minute, "three voters", func() bool { return len(g.nodes["b"].control.Load().Voters()) == 3 })
		g.putAll(100, "one")
		leader, _ := g.nodes["b"].control.Load().Leader()
		n := g.nodes[string(leader)]
		var other *gridNode
		for _, o := range g.nodes {
			if o != n {
				other = o
			}
		}
		if err := other.Drain(t.Context(), "nobody"); !errors.Is(err, core.ErrUnknown) {
			t.Errorf("a node that there is not: %v", err)
		}
		for range 2 {
			if err := other.Drain(t.Context(), leader); err != nil {
				t.Fatal(err)
			}
		}
		within(t, time.Second, "the drain shows", func() bool {
			s := other.Status()
			m := s.member(t, leader)
			return m.State == "draining" && m.Drains && s.Moves.Left > 0
		})
		least := 2
		within(t, 2*time.Minute, "it has left", func() bool {
			t := other.Table()
			for i := range t.Rows {
				least = min(least, len(t.Rows[i].ISR))
			}
			return t.Node(leader) == nil
		})
		if least < 2 {
			t.Errorf("a partition had %d copies meanwhile", least)
		}
		if slices.Contains(other.control.Load().Voters(), leader) {
			t.Errorf("it has left, and votes: %v", other.control.Load().Voters())
		}
		within(t, 10*time.Second, "it knows that it has left", func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return len(n.mu.failed) == 1 && errors.Is(n.mu.failed[0], ErrLeft)
		})
		g.close(n)
		g.healed(3)
		g.checkAll(100, "one")

		back := g.start(n.name, joins("a", "b", "c", "d")) // it may come again
		g.healed(4)
		if err := back.Drain(t.Context(), back.self.Node); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := other.Undrain(t.Context(), back.self.Node); err != nil {
				t.Error(err)
			}
		}
		g.healed(4)
		g.checkAll(100, "one")
	})
}

// TestNodeDrainOfTwo drains the only voter of two nodes: the vote goes to the other one, and all the data (R32).
func TestNodeDrainOfTwo(t *testing.T) {
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		g.form(2)
		g.putAll(100, "one")
		a, b := g.nodes["a"], g.nodes["b"]
		if err := a.Drain(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		within(t, time.Minute, "a has left", func() bool { return b.Table().Node("a") == nil })
		g.close(a)
		g.checkAll(100, "one")
		if s := b.Status(); s.Leader != "b" || s.Promise.Kept || s.Moves.Left > 0 || s.Partitions.Serving != 8 {
			t.Errorf("what is left: %s", statusText(s))
		}
		g.start("c", joins("b"))
		g.healed(2)
	})
}

// TestNodeWitness has a witness take part: it votes and shows the grid, and holds nothing.
func TestNodeWitness(t *testing.T) {
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		g.start("a", creates)
		g.start("b", joins("a"))
		w := g.start("w", func(c *NodeConfig) { joins("a", "b")(c); c.Role = core.Witness })
		g.healed(3)
		within(t, time.Minute, "it votes", func() bool { return w.Status().member(t, "w").Voter })
		if m := w.Status().member(t, "w"); m.Role != "witness" || m.Primary+m.Backup+m.Learner > 0 {
			t.Errorf("the witness: %+v", m)
		}
		w.Forward("a", &Forwarded{}, func(a Answer) {
			if a.Outcome != NotExecuted {
				t.Errorf("a command of a witness: %+v", a)
			}
		})
		if err := w.HandOver(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestNodeAcceptLoss: partitions that were lost begin anew only when a person says who had them, and that it is off (R34).
func TestNodeAcceptLoss(t *testing.T) {
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		settings := nodeSettings
		settings.Copies = 1
		a := g.start("a", func(c *NodeConfig) { c.Create = &settings })
		b := g.start("b", joins("a"))
		within(t, time.Minute, "b leads some", func() bool { return a.Status().member(t, "b").Primary == 4 && a.Status().Moves.Left == 0 })
		g.kill(b)
		within(t, 10*time.Second, "they are lost", func() bool { return a.Status().Partitions.Lost == 4 })
		var lost []int
		for i, r := range a.Table().Rows {
			if r.State == core.Lost {
				lost = append(lost, i)
			}
		}
		for what, err := range map[string]error{
			"without a word of b":    a.AcceptLoss(t.Context(), lost),
			"of another start of b":  a.AcceptLoss(t.Context(), lost, core.Member{Node: "b"}),
			"of one that is not":     a.AcceptLoss(t.Context(), append(slices.Clone(lost), 99), b.self),
			"of all, lost or not":    a.AcceptLoss(t.Context(), []int{0, 1, 2, 3, 4, 5, 6, 7}, b.self),
			"where nothing was lost": a.AcceptLoss(t.Context(), nil, b.self),
		} {
			if (err == nil) != (what == "where nothing was lost") {
				t.Errorf("%s: %v", what, err)
			}
		}
		if got := a.Status().Partitions.Lost; got != 4 {
			t.Fatalf("%d are lost", got)
		}
		if err := a.AcceptLoss(t.Context(), lost, b.self); err != nil {
			t.Fatal(err)
		}
		within(t, 5*time.Second, "all are served", func() bool {
			for p := range 8 {
				if g.leader(p) != a {
					return false
				}
			}
			return true
		})
	})
}

// TestNodeOpenEnds: a node that finds no grid ends when it is told to, and leaves nothing behind.
func TestNodeOpenEnds(t *testing.T) {
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := g.try(ctx, "b", joins("a")); err == nil {
			t.Error("it joined nobody")
		}
		if _, err := g.try(t.Context(), "b", func(*NodeConfig) {}); !errors.Is(err, ErrNothingToDo) {
			t.Errorf("nothing to do: %v", err)
		}
	})
}

// TestNodeResumes has a whole grid stop and come back from its directories: it waits for the others, as long as it is let.
func TestNodeResumes(t *testing.T) {
	dir := t.TempDir()
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		g.dir = dir
		g.form(2)
		a, b := g.nodes["a"], g.nodes["b"]
		grid := a.Status().Grid
		g.kill(b)
		g.kill(a) // the only voter
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if _, err := g.try(ctx, "b", func(*NodeConfig) {}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without a: %v", err)
		}
		opened := make(chan *gridNode, 1)
		go func() {
			b, err := g.open(t.Context(), "b", func(*NodeConfig) {})
			if err != nil {
				t.Error(err)
			}
			opened <- b
		}()
		pass(10 * time.Second)
		a = g.start("a", func(*NodeConfig) {})
		b = <-opened
		g.run(b)
		for _, n := range []*gridNode{a, b} {
			if got := n.Status().Grid; got != grid {
				t.Errorf("%s resumed grid %s, and was of %s", n.name, got, grid)
			}
		}
		within(t, 10*time.Second, "both are alive", func() bool {
			return a.Status().member(t, "a").State == "alive" && b.Status().member(t, "b").State == "alive"
		})
		// What was in memory only is gone, and says so.
		if got := a.Status().Partitions.Lost; got != nodeSettings.Partitions {
			t.Errorf("%d partitions are lost", got)
		}
	})
}

// TestNodeLeavesNothing ends a grid and looks for what still runs.
func TestNodeLeavesNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		g.form(2)
		g.close(g.nodes["b"])
		synctest.Wait()
	})
}

// TestProgressLog reckons the rate of moves.
func TestProgressLog(t *testing.T) {
	m := func(name string) core.Member { return core.Member{Node: core.NodeID(name)} }
	old := &core.Table{Rows: []core.Row{
		{Partition: 0, Primary: m("a"), ISR: []core.Member{m("a")}, Learners: []core.Member{m("b")}, Stints: []core.Stint{{Member: m("a")}, {Member: m("b")}}},
		{Partition: 1, Primary: m("a"), ISR: []core.Member{m("a"), m("b")}, Reign: 1, Stints: []core.Stint{{Member: m("a")}, {Member: m("b")}}},
	}}
	grown := core.Row{Partition: 0, Primary: m("a"), ISR: []core.Member{m("a"), m("b")}}
	handed := core.Row{Partition: 1, Primary: m("b"), ISR: []core.Member{m("b")}, Reign: 2, Released: true}
	var l progressLog
	if got := l.rate(0); got != 0 {
		t.Errorf("nothing was done, and the rate is %v", got)
	}
	l.note(old, old, []core.Row{grown}, 100*time.Second)
	l.note(old, old, []core.Row{handed}, 101*time.Second) // a handover, and a drop
	for _, tt := range []struct {
		at   time.Duration
		want float64
	}{{101 * time.Second, 1.5}, {102 * time.Second, 1}, {130 * time.Second, 2.0 / 30}, {200 * time.Second, 0}} {
		if got := l.rate(tt.at); got != tt.want {
			t.Errorf("at %s the rate is %v, want %v", tt.at, got, tt.want)
		}
	}

	// What is done after a rest is reckoned from its beginning, by itself, and not at once.
	rest := &core.Table{Settings: core.Settings{Copies: 2}, Rows: []core.Row{{Partition: 0, ISR: []core.Member{m("a")}}, old.Rows[1]}}
	busy := &core.Table{Settings: rest.Settings, Rows: old.Rows}
	for i := range 50 {
		l.note(busy, busy, []core.Row{grown}, time.Duration(300+i/10)*time.Second)
	}
	l.note(busy, rest, []core.Row{handed}, 305*time.Second)
	if got := l.rate(308 * time.Second); got != 0 {
		t.Errorf("after a rest the rate is %v", got)
	}
	l.note(rest, busy, []core.Row{old.Rows[0]}, 310*time.Second)
	l.note(busy, busy, []core.Row{handed}, 311*time.Second)
	for _, tt := range []struct {
		at   time.Duration
		want float64
	}{{311 * time.Second, 0}, {313 * time.Second, 0.5}} {
		if got := l.rate(tt.at); got != tt.want {
			t.Errorf("with a beginning at 310 s, at %s the rate is %v, want %v", tt.at, got, tt.want)
		}
	}
}
