package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/neargrid/neargrid/cluster/core"
)

// controlGrid is a grid on a network in memory, in virtual time. A node's name is a letter; it says which host it is on.
type controlGrid struct {
	*testing.T
	network *MemNetwork
	starts  int
	nodes   map[string]*controlNode
	watch   *resetWatch // may be nil
}

// controlNode is one start of one node.
type controlNode struct {
	*ControlPlane
	name, host string
	tr         *Transport
	mu         struct {
		sync.Mutex
		deltas []core.Delta
		failed []error
	}
}

var controlSettings = core.Settings{Partitions: 8, Copies: 2, MinISR: 1}

func onGrid(t *testing.T, f func(t *testing.T, g *controlGrid)) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		f(t, &controlGrid{T: t, network: n, nodes: map[string]*controlNode{}})
	})
}

func hostOf(name string) string { return fmt.Sprintf("10.0.1.%d", name[0]-'a'+1) }
func addrOf(name string) string { return hostOf(name) + ":7000" }

// try starts a node, or says why it does not start. The test ends it.
func (g *controlGrid) try(name string, change func(*ControlConfig)) (*controlNode, error) {
	g.Helper()
	g.starts++
	n := &controlNode{name: name, host: hostOf(name)}
	id := Identity{Member: core.Member{Node: core.NodeID(name)}, FeatureMin: 1, FeatureMax: 2}
	binary.BigEndian.PutUint64(id.Member.Inc[:], uint64(g.starts))
	tr, err := OpenTransport(g.Context(), TransportConfig{Network: g.network.Host(n.host), Listen: addrOf(name), Identity: id, Keys: rightKeys})
	if err != nil {
		g.Fatal(err)
	}
	n.tr = tr
	began := time.Now().Add(-time.Duration(g.starts) * time.Hour) // clocks differ
	config := ControlConfig{
		Transport: tr, Client: n.host + ":6379", Cluster: n.host + ":7379",
		Now: func() time.Duration { return time.Since(began) }, Random: rand.NewChaCha8([32]byte{byte(g.starts)}),
		OnTable: func(d core.Delta) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.mu.deltas = append(n.mu.deltas, d)
			if g.watch != nil {
				g.watch.takeDelta(d)
			}
		},
		OnFailure: func(err error) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.mu.failed = append(n.mu.failed, err)
		},
	}
	change(&config)
	n.ControlPlane, err = StartControl(g.Context(), config)
	if err != nil {
		if err := tr.Close(); err != nil {
			g.Error(err)
		}
		return nil, err
	}
	g.nodes[name] = n
	if g.watch != nil {
		g.watch.mu.Lock()
		g.watch.mu.nodes[n.self] = n.ControlPlane
		g.watch.mu.Unlock()
	}
	g.Cleanup(func() { g.stop(n) })
	return n, nil
}

func (g *controlGrid) start(name string, change func(*ControlConfig)) *controlNode {
	g.Helper()
	n, err := g.try(name, change)
	if err != nil {
		g.Fatalf("start %s: %v", name, err)
	}
	return n
}

// stop ends a node; again is no error.
func (g *controlGrid) stop(n *controlNode) {
	g.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(n.Shutdown(ctx), n.tr.Close()); err != nil {
		g.Errorf("stop %s: %v", n.name, err)
	}
	if g.nodes[n.name] == n {
		delete(g.nodes, n.name)
	}
}

func create(c *ControlConfig) { c.Create = &controlSettings }

func joining(names ...string) func(*ControlConfig) {
	return func(c *ControlConfig) {
		for _, name := range names {
			c.Join = append(c.Join, addrOf(name))
		}
	}
}

// form starts nodes a, b, c, ...: the first creates, the others join.
func (g *controlGrid) form(count int) {
	g.Helper()
	g.start("a", create)
	for i := 1; i < count; i++ {
		g.start(string(rune('a'+i)), joining("a"))
	}
}

// all are the running nodes, by name.
func (g *controlGrid) all() (nodes []*controlNode) {
	for _, n := range g.nodes {
		nodes = append(nodes, n)
	}
	slices.SortFunc(nodes, func(a, b *controlNode) int { return strings.Compare(a.name, b.name) })
	return nodes
}

// leader waits until the given nodes agree on one of them.
func (g *controlGrid) leader(limit time.Duration, nodes ...*controlNode) (leader *controlNode) {
	g.Helper()
	within(g.T, limit, "one leader", func() bool {
		leader = nil
		for _, n := range nodes {
			id, addr := n.Leader()
			at := slices.IndexFunc(nodes, func(n *controlNode) bool { return n.self.Node == id })
			if at < 0 || addr != addrOf(nodes[at].name) || leader != nil && leader != nodes[at] {
				return false
			}
			leader = nodes[at]
		}
		return true
	})
	return leader
}

// settle waits until the given nodes have the same table, each is alive in it, and vouched for.
func (g *controlGrid) settle(nodes ...*controlNode) {
	g.Helper()
	within(g.T, time.Minute, "the same table everywhere", func() bool {
		for _, n := range nodes {
			self := n.Table().Node(n.self.Node)
			if n.Table().Version != nodes[0].Table().Version || self == nil || self.Member() != n.self || self.Status == core.Fenced ||
				n.Vouched() <= n.config.Now() {
				return false
			}
		}
		return true
	})
	for _, n := range nodes {
		if !bytes.Equal(appendTable(nil, n.Table()), appendTable(nil, nodes[0].Table())) {
			g.Errorf("%s and %s have other tables %d", n.name, nodes[0].name, n.Table().Version)
		}
	}
}

// voters waits until the given nodes know these voters.
func (g *controlGrid) voters(want string, nodes ...*controlNode) {
	g.Helper()
	within(g.T, time.Minute, "voters "+want, func() bool {
		for _, n := range nodes {
			if votersOf(n) != want {
				return false
			}
		}
		return true
	})
}

func votersOf(n *controlNode) string {
	ids := n.Voters()
	slices.Sort(ids)
	return strings.Trim(fmt.Sprint(ids), "[]")
}

// pass lets virtual time go by.
func pass(d time.Duration) { <-time.After(d) }

func (n *controlNode) status(of string) string {
	e := n.Table().Node(core.NodeID(of))
	if e == nil {
		return "absent"
	}
	return e.Status.String()
}

func (n *controlNode) propose(t *testing.T, c core.Command) map[int]string {
	t.Helper()
	refused, err := n.Propose(t.Context(), c)
	if err != nil {
		t.Fatalf("%s proposes: %v", n.name, err)
	}
	return refused
}

// TestControlForms has one create and two join; all follow the table, by deltas without a gap.
func TestControlForms(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		g.form(3)
		g.settle(g.all()...)
		first := g.nodes["a"].Table()
		if s := first.Settings; s.Grid == [16]byte{} || s.Seed == [16]byte{} || s.Grid == s.Seed || s.Partitions != 8 || s.Feature != 2 {
			t.Errorf("settings %+v", s)
		}
		for _, n := range g.all() {
			if got := n.tr.Identity().Grid; got != first.Settings.Grid {
				t.Errorf("%s is of grid %x", n.name, got)
			}
			e := n.Table().Node(n.self.Node)
			if e.Peer != addrOf(n.name) || e.Client != n.host+":6379" || e.Cluster != n.host+":7379" {
				t.Errorf("%s is at %+v", n.name, e)
			}
			var at uint64
			n.mu.Lock()
			for _, d := range n.mu.deltas {
				if d.From != at {
					t.Errorf("%s: a delta from %d after version %d", n.name, d.From, at)
				}
				at = d.Version
			}
			n.mu.Unlock()
			if at != n.Table().Version {
				t.Errorf("%s was told of version %d, and the table has %d", n.name, at, n.Table().Version)
			}
		}
	})
}

// TestControlSockets is the same over sockets, with files, and leaves no goroutine.
func TestControlSockets(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	began := time.Now()
	var nodes []*ControlPlane
	for i, name := range []string{"a", "b"} {
		id := Identity{Member: core.Member{Node: core.NodeID(name), Inc: core.Incarnation{byte(i + 1)}}, FeatureMin: 1, FeatureMax: 1}
		tr := open(t, Sockets(), "127.0.0.1:0", id, rightKeys)
		config := ControlConfig{Transport: tr, DataDir: t.TempDir(), Now: func() time.Duration { return time.Since(began) }, Random: rand.NewChaCha8([32]byte{})}
		if i == 0 {
			config.Create = &controlSettings
		} else {
			config.Join = []string{nodes[0].config.Transport.Addr().String()}
		}
		c, err := StartControl(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Shutdown(context.Background()); err != nil {
				t.Error(err)
			}
		})
		nodes = append(nodes, c)
	}
	within(t, 10*time.Second, "both in both tables", func() bool {
		return len(nodes[0].Table().Nodes) == 2 && len(nodes[1].Table().Nodes) == 2
	})
}

// TestControlProposals reach the leader from any node; a stale one is refused by name (R4).
func TestControlProposals(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		g.form(3)
		g.settle(g.all()...)
		for _, n := range g.all() {
			var grow core.Change
			within(t, time.Minute, "a learner grows, proposed by "+n.name, func() bool { // the row may change meanwhile
				i := slices.IndexFunc(n.Table().Rows, func(r core.Row) bool { return len(r.Learners) > 0 })
				if i < 0 {
					return false
				}
				row := &n.Table().Rows[i]
				grow = core.Change{Kind: core.Grow, Partition: row.Partition, Epoch: row.Epoch, Member: row.Learners[0]}
				stale := grow
				stale.Epoch--
				refused := n.propose(t, core.Command{Kind: core.ChangeRows, Changes: []core.Change{grow, stale}})
				if !strings.Contains(refused[1], core.ErrStale.Error()) {
					t.Errorf("%s: refused %v", n.name, refused)
				}
				return refused[0] == ""
			})
			within(t, time.Minute, "the copy is in sync, at "+n.name, func() bool { return n.Table().Rows[grow.Partition].InSync(grow.Member) })
		}
		_, err := g.nodes["b"].Propose(t.Context(), core.Command{Kind: core.Leave, Member: core.Member{Node: "z"}})
		var refused *RefusedError
		if !errors.As(err, &refused) || !errors.Is(err, core.ErrUnknown) || !strings.Contains(err.Error(), "leave of z") {
			t.Errorf("leave of nobody: %v", err)
		}
		if _, err := g.nodes["b"].Propose(t.Context(), core.Command{Kind: 99}); !errors.Is(err, ErrEncoding) {
			t.Errorf("a command of no kind: %v", err)
		}
	})
}

// TestControlProposeLater has the changes of a tick made together.
func TestControlProposeLater(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		g.form(2)
		g.settle(g.all()...)
		b := g.nodes["b"]
		learners := func() (changes []core.Change) {
			for _, r := range b.Table().Rows {
				for _, m := range r.Learners {
					changes = append(changes, core.Change{Kind: core.Grow, Partition: r.Partition, Epoch: r.Epoch, Member: m})
				}
			}
			return changes
		}
		within(t, time.Minute, "learners", func() bool { return len(learners()) >= 4 })
		changes := learners()[:4]
		b.ProposeLater(changes[:2])
		b.ProposeLater(changes) // two of them again
		within(t, time.Minute, "all in sync", func() bool {
			return !slices.ContainsFunc(changes, func(c core.Change) bool { return !b.Table().Rows[c.Partition].InSync(c.Member) })
		})
		versions := map[uint64]bool{}
		for _, c := range changes {
			versions[b.Table().Rows[c.Partition].Version] = true
		}
		if len(versions) != 1 {
			t.Errorf("they were made in versions %v", versions)
		}
	})
}

// TestControlFences a node that falls silent, about a second later, and takes it back in (R2, R3). It is not vouched for
// meanwhile (R10), and what it sent before does not count again.
func TestControlFences(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		g.form(3)
		g.settle(g.all()...)
		a, c := g.nodes["a"], g.nodes["c"]
		var packets [][]byte
		for i := range uint64(10) {
			packets = append(packets, appendBeat(nil, beat{Number: i + 1, Version: a.Table().Version}))
		}
		g.network.Isolate(c.host)
		silent := time.Now()
		within(t, 5*time.Second, "c is fenced", func() bool {
			for _, p := range packets { // as somebody on the way could send them again
				a.takePacket(c.self, p)
			}
			return a.status("c") == "fenced"
		})
		if took := time.Since(silent); took < 800*time.Millisecond || took > 1500*time.Millisecond {
			t.Errorf("fenced after %v", took)
		}
		if left := c.Vouched() - c.config.Now(); left > 0 {
			t.Errorf("vouched for %v more", left)
		}
		if a.status("b") != "alive" {
			t.Errorf("b is %s", a.status("b"))
		}
		g.network.Rejoin(c.host)
		g.settle(g.all()...)
		if c.status("c") != "alive" {
			t.Errorf("back, it is %s", c.status("c"))
		}
	})
}

// TestControlVouchesForWhoKnows: a node that was fenced and has registered again is vouched for once it has applied the table that says
// so, and not while its replicas have the one from before (R10).
func TestControlVouchesForWhoKnows(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		applies := make(chan struct{})
		close(applies)
		var gate atomic.Pointer[chan struct{}]
		gate.Store(&applies)
		g.form(2)
		c := g.start("c", func(config *ControlConfig) {
			joining("a")(config)
			config.OnTable = func(core.Delta) { <-*gate.Load() }
		})
		g.settle(g.all()...)
		a := g.nodes["a"]
		g.network.Isolate(c.host)
		within(t, 5*time.Second, "c is fenced", func() bool { return a.status("c") == "fenced" })
		pass(2 * controlLease)
		held := make(chan struct{})
		release := sync.OnceFunc(func() { close(held) })
		defer release()
		gate.Store(&held)
		g.network.Rejoin(c.host)
		within(t, 5*time.Second, "c is back", func() bool { return a.status("c") == "alive" })
		for range 10 {
			if pass(100 * time.Millisecond); c.Vouched() > c.config.Now() {
				t.Fatalf("vouched for, with table %d; it came back in table %d", c.follower.applied.Load(), a.Table().Node("c").Version)
			}
		}
		release()
		g.settle(g.all()...)
	})
}

// TestControlLeaderCut: of five nodes the leader is cut off. Another leads within three seconds, and nobody healthy is fenced
// (R3). The old leader vouches for nobody, not even itself (R10), and knows afterwards.
func TestControlLeaderCut(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		g.form(5)
		g.settle(g.all()...)
		g.voters("a b c", g.all()...)
		old := g.leader(time.Minute, g.all()...)
		pass(2 * time.Second)
		g.network.Isolate(old.host)
		cut := old.config.Now()
		var others []*controlNode
		for _, n := range g.all() {
			if n != old {
				others = append(others, n)
			}
		}
		next := g.leader(3*time.Second, others...)
		within(t, 5*time.Second, "the old leader is fenced", func() bool { return next.status(old.name) == "fenced" })
		if _, err := old.Propose(t.Context(), core.Command{Kind: core.Drain, Member: old.self}); !errors.Is(err, ErrNoLeader) {
			t.Errorf("the old leader's proposal: %v", err)
		}
		// It vouches for nothing that was sent after the cut: no majority confirms it.
		if until := old.Vouched(); until > cut+controlLease {
			t.Errorf("the old leader vouched for itself until %v after the cut", until-cut)
		}
		pass(5 * time.Second)
		for _, n := range others {
			for _, of := range others {
				if got := n.status(of.name); got != "alive" {
					t.Errorf("%s says that %s is %s", n.name, of.name, got)
				}
				if n.Table().Node(of.self.Node).Version > old.Table().Version {
					t.Errorf("%s was fenced meanwhile", of.name)
				}
			}
			if n.Vouched() < n.config.Now() {
				t.Errorf("%s is not vouched for", n.name)
			}
		}
		g.network.Rejoin(old.host)
		g.settle(g.all()...)
	})
}

// TestControlUnknownOutcome: a leader that loses its followers cannot say what becomes of what it has taken.
func TestControlUnknownOutcome(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		g.form(3)
		g.voters("a b c", g.all()...)
		old := g.leader(time.Minute, g.all()...)
		g.network.Isolate(old.host)
		_, err := old.Propose(t.Context(), core.Command{Kind: core.Drain, Member: old.self})
		if !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("got %v", err)
		}
		g.network.Rejoin(old.host)
		g.settle(g.all()...)
	})
}

// TestControlVoters goes from one voter to three, and moves a vote before its node is drained (R32).
func TestControlVoters(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		g.form(3)
		began := time.Now()
		g.settle(g.all()...)
		if got := votersOf(g.nodes["a"]); got != "a" {
			t.Errorf("voters at first: %s", got)
		}
		seen := map[string]bool{}
		within(t, time.Minute, "three voters", func() bool {
			seen[votersOf(g.nodes["c"])] = true
			return votersOf(g.nodes["c"]) == "a b c"
		})
		if took := time.Since(began); took < voterStable || took > voterStable+3*time.Second {
			t.Errorf("three vote after %v", took)
		}
		g.start("d", joining("b"))
		pass(15 * time.Second)
		g.voters("a b c", g.all()...)

		leader := g.leader(time.Minute, g.all()...)
		g.nodes["d"].propose(t, core.Command{Kind: core.Drain, Member: leader.self})
		var left []string
		for _, n := range g.all() {
			if n != leader {
				left = append(left, n.name)
			}
		}
		g.voters(strings.Join(left, " "), g.all()...)
		if next := g.leader(time.Minute, g.all()...); next == leader {
			t.Errorf("%s still leads", next.name)
		}
		g.settle(g.all()...)
	})
}

// TestControlWitness votes before data nodes do (R32), and gets no copies.
func TestControlWitness(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		g.form(3)
		g.start("w", func(c *ControlConfig) {
			joining("a")(c)
			c.Role = core.Witness
		})
		g.voters("a b w", g.all()...)
		g.settle(g.all()...)
		for _, r := range g.nodes["w"].Table().Rows {
			if r.Holds(g.nodes["w"].self) {
				t.Errorf("the witness has a copy: %+v", r)
			}
		}
	})
}

// TestControlRestart ends all of three nodes and starts them from disk: the same grid, the same table, new incarnations.
func TestControlRestart(t *testing.T) {
	dir := t.TempDir()
	onGrid(t, func(t *testing.T, g *controlGrid) {
		onDisk := func(name string, change func(*ControlConfig)) func(*ControlConfig) {
			return func(c *ControlConfig) {
				c.DataDir = filepath.Join(dir, name)
				change(c)
			}
		}
		g.start("a", onDisk("a", create))
		g.start("b", onDisk("b", joining("a")))
		g.start("c", onDisk("c", joining("a")))
		g.start("d", onDisk("d", joining("a")))
		g.settle(g.all()...)
		g.voters("a b c", g.all()...)
		pass(time.Second)
		before := g.nodes["b"].Table()
		for _, n := range g.all() {
			g.stop(n)
		}
		for _, name := range []string{"a", "b", "c", "d"} {
			g.start(name, onDisk(name, func(*ControlConfig) {}))
		}
		g.settle(g.all()...)
		g.voters("a b c", g.all()...)
		after := g.nodes["d"].Table()
		if after.Settings != before.Settings || after.Version <= before.Version || len(after.Nodes) != 4 {
			t.Errorf("settings %+v, version %d after %d, %d nodes", after.Settings, after.Version, before.Version, len(after.Nodes))
		}
		for p := range after.Rows {
			if r := &after.Rows[p]; r.Epoch < before.Rows[p].Epoch || r.Born != before.Rows[p].Born {
				t.Errorf("partition %d was %+v and is %+v", p, before.Rows[p], *r)
			}
		}
		// Its directory is a's: neither another node's, nor to be used with another grid.
		g.stop(g.nodes["a"])
		if _, err := g.try("e", onDisk("a", create)); err == nil || !strings.Contains(err.Error(), "belongs to node a") {
			t.Errorf("another node started in a's directory: %v", err)
		}
	})
}

// TestControlVoterRestart: the only voter comes back as another incarnation, and the others find it.
func TestControlVoterRestart(t *testing.T) {
	dir := t.TempDir()
	onGrid(t, func(t *testing.T, g *controlGrid) {
		a := g.start("a", func(c *ControlConfig) { create(c); c.DataDir = dir })
		g.start("b", joining("a"))
		g.settle(g.all()...)
		g.stop(a)
		pass(5 * time.Second)
		if b := g.nodes["b"]; b.Vouched() > b.config.Now() {
			t.Error("b is vouched for without a leader")
		}
		g.start("a", func(c *ControlConfig) { c.DataDir = dir })
		g.settle(g.all()...)
	})
}

// TestControlVoterBack: a voter that was away for long counts again as soon as it is back. Raft by itself would send it no entry for 10 s,
// and the end of another voter would stop all until then.
func TestControlVoterBack(t *testing.T) {
	dir := t.TempDir()
	onGrid(t, func(t *testing.T, g *controlGrid) {
		onDisk := func(name string, change func(*ControlConfig)) func(*ControlConfig) {
			return func(c *ControlConfig) {
				c.DataDir = filepath.Join(dir, name)
				change(c)
			}
		}
		g.start("a", onDisk("a", create))
		for _, name := range []string{"b", "c", "d"} {
			g.start(name, onDisk(name, joining("a")))
		}
		g.settle(g.all()...)
		g.voters("a b c", g.all()...)
		leader := g.leader(time.Minute, g.all()...)
		var others []string
		for _, name := range []string{"a", "b", "c"} {
			if name != leader.name {
				others = append(others, name)
			}
		}
		g.stop(g.nodes[others[0]])
		pass(12 * time.Second)
		g.start(others[0], onDisk(others[0], joining("a")))
		g.settle(g.all()...)
		pass(time.Second)
		g.stop(g.nodes[others[1]])
		begin := time.Now()
		_, err := leader.Propose(t.Context(), core.Command{Kind: core.Drain, Member: g.nodes["d"].self})
		if took := time.Since(begin); err != nil || took > time.Second {
			t.Errorf("with the one that is back: %v after %v", err, took)
		}
	})
}

// TestControlOtherGrid is refused by name (R33).
func TestControlOtherGrid(t *testing.T) {
	dir := t.TempDir()
	onGrid(t, func(t *testing.T, g *controlGrid) {
		g.start("a", create)
		b := g.start("b", func(c *ControlConfig) { create(c); c.DataDir = dir })
		g.settle(b)
		g.stop(b)
		_, err := g.try("b", func(c *ControlConfig) { joining("a")(c); c.DataDir = dir })
		if !errors.Is(err, ErrOtherGrid) || !strings.Contains(err.Error(), addrOf("a")) {
			t.Errorf("got %v", err)
		}
	})
}

// TestControlJoinErrors says for each address why not.
func TestControlJoinErrors(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		if _, err := g.try("a", func(*ControlConfig) {}); !errors.Is(err, ErrNothingToDo) {
			t.Errorf("with nothing to do: %v", err)
		}
		open(t, g.network.Host(hostOf("b")), addrOf("b"), identity("b"), wrongKeys)
		_, err := g.try("a", joining("b"))
		if !errors.Is(err, ErrWrongSecret) { // at once: it cannot get better
			t.Errorf("with the wrong secret: %v", err)
		}
		if _, err := g.try("a", func(c *ControlConfig) { joining("b")(c); create(c) }); !errors.Is(err, ErrWrongSecret) {
			t.Errorf("refused by who is there, and it may create a grid: %v", err) // not beside that one
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		other := open(t, g.network.Host(hostOf("e")), addrOf("e"), Identity{Member: core.Member{Node: "e", Inc: core.Incarnation{1}}}, rightKeys)
		_, err = StartControl(ctx, ControlConfig{
			Transport: other, Join: []string{addrOf("b"), addrOf("c"), addrOf("e")}, Now: func() time.Duration { return 0 },
		})
		for _, want := range []string{"cannot join", addrOf("b") + ": ", "wrong secret", addrOf("c") + ": ", "refused", addrOf("e") + ": ", "the node itself"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in: %v", want, err)
			}
		}
	})
}

// TestControlJoinOrCreate: with both, a node creates only where nobody listed is a member for ten seconds (R33). Nodes that
// all start together with the same list, of which one may create, become one grid.
func TestControlJoinOrCreate(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		var starting sync.WaitGroup
		var mu sync.Mutex // of g
		began := time.Now()
		for _, name := range []string{"a", "b", "c"} {
			starting.Go(func() {
				mu.Lock()
				g := &controlGrid{T: g.T, network: g.network, nodes: map[string]*controlNode{}, starts: int(name[0])}
				mu.Unlock()
				n := g.start(name, func(c *ControlConfig) {
					joining("a", "b", "c")(c)
					if name == "a" {
						create(c)
					}
				})
				mu.Lock()
				defer mu.Unlock()
				_ = n
			})
		}
		starting.Wait()
		if took := time.Since(began); took < joinTime || took > joinTime+5*time.Second {
			t.Errorf("formed after %v", took)
		}
		d := g.start("d", func(c *ControlConfig) { joining("a", "b", "c")(c); create(c) })
		within(t, time.Minute, "four nodes", func() bool { return len(d.Table().Nodes) == 4 })
	})
}

// TestControlSuperseded: a second process with a node's id ends the first, which does not take its place back.
func TestControlSuperseded(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		g.form(2)
		b := g.nodes["b"]
		g.settle(g.all()...)
		g.nodes["a"].propose(t, core.Command{Kind: core.Register, Node: core.Node{ID: "b", Inc: core.Incarnation{99}, FeatureMax: 2, Peer: addrOf("b")}})
		within(t, time.Minute, "b notices", func() bool {
			b.mu.Lock()
			defer b.mu.Unlock()
			return len(b.mu.failed) == 1 && errors.Is(b.mu.failed[0], ErrSuperseded)
		})
		pass(5 * time.Second)
		if got := g.nodes["a"].Table().Node("b").Inc; got != (core.Incarnation{99}) {
			t.Errorf("b is %s again", got)
		}
	})
}

// TestControlUnknownEntry (R27): a node whose raft meets an entry that it does not know says so and stops, with its table as it
// was.
func TestControlUnknownEntry(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		g.form(1)
		a := g.nodes["a"]
		g.settle(a)
		version := a.Table().Version
		b := command(core.Command{Kind: core.SetFeature, Feature: 9}).Data
		b[2] = 77
		if p := a.submit(b); p.Status != proposalBad {
			t.Errorf("it got into the log, with status %d", p.Status)
		}
		a.raft.Apply(b, time.Second) // as a program of a later level would
		within(t, time.Minute, "a says so", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return len(a.mu.failed) == 1 && errors.Is(a.mu.failed[0], ErrEncoding)
		})
		if a.Table().Version != version {
			t.Errorf("the table goes on to %d", a.Table().Version)
		}
	})
}

// TestControlLeft: a node that was drained leaves once it holds nothing, and does not register again.
func TestControlLeft(t *testing.T) {
	onGrid(t, func(t *testing.T, g *controlGrid) {
		g.form(2)
		b := g.nodes["b"]
		g.settle(g.all()...)
		g.nodes["a"].propose(t, core.Command{Kind: core.Drain, Member: b.self})
		within(t, time.Minute, "b is out", func() bool {
			var drop []core.Change
			for _, r := range g.nodes["a"].Table().Rows {
				if r.Holds(b.self) {
					drop = append(drop, core.Change{Kind: core.Shrink, Partition: r.Partition, Epoch: r.Epoch, Member: b.self})
				}
			}
			b.ProposeLater(drop)
			return g.nodes["a"].status("b") == "absent"
		})
		pass(5 * time.Second)
		if got := g.nodes["a"].status("b"); got != "absent" {
			t.Errorf("b is %s", got)
		}
	})
}

// actAsPrimary proposes what a primary would whose copies are filled at once, and which hands over when asked to.
func (n *controlNode) actAsPrimary() {
	var changes []core.Change
	for _, r := range n.Table().Rows {
		if r.Primary != n.self {
			continue
		}
		c := core.Change{Partition: r.Partition, Epoch: r.Epoch}
		switch {
		case !r.Target.IsZero():
			c.Kind, c.Member = core.Handover, r.Target
		case len(r.Learners) > 0:
			c.Kind, c.Member = core.Grow, r.Learners[0]
		default:
			continue
		}
		changes = append(changes, c)
	}
	n.ProposeLater(changes)
}

// TestControlTurmoil cuts hosts off, breaks connections, loses packets and restarts nodes, at random. No lost partition begins
// anew while its last owner is vouched for (R10), no version means two tables, and in the end all is well (R2, R3, R32).
func TestControlTurmoil(t *testing.T) {
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			dir := t.TempDir()
			onGrid(t, func(t *testing.T, g *controlGrid) {
				g.watch = newResetWatch()
				settings := controlSettings
				settings.Copies, settings.ResetLost = 1, true
				onDisk := func(name string) func(*ControlConfig) {
					return func(c *ControlConfig) {
						c.DataDir = filepath.Join(dir, name)
						if name == "a" {
							c.Create = &settings
						} else {
							joining("a")(c)
						}
					}
				}
				names := []string{"a", "b", "c", "d", "e"}
				for _, name := range names {
					g.start(name, onDisk(name))
				}
				g.voters("a b c", g.all()...)
				random := rand.New(rand.NewPCG(seed, 1))
				drop := rand.New(rand.NewPCG(seed, 2))
				g.network.DropPackets(func(_, _ netip.AddrPort) bool { return drop.IntN(20) == 0 })
				versions := map[uint64][]byte{}
				for range 250 {
					pass(time.Duration(random.IntN(400)) * time.Millisecond)
					for _, n := range g.all() {
						n.actAsPrimary()
						table := n.Table()
						b := appendTable(nil, table)
						if known := versions[table.Version]; known != nil && !bytes.Equal(known, b) {
							t.Fatalf("%s: another table %d", n.name, table.Version)
						}
						versions[table.Version] = b
					}
					name := names[random.IntN(len(names))]
					switch random.IntN(8) {
					case 0:
						g.network.Isolate(hostOf(name))
					case 1, 2, 3:
						g.network.Rejoin(hostOf(name))
					case 4:
						g.network.Reset(hostOf(name), hostOf(names[random.IntN(len(names))]))
					case 5:
						if random.IntN(4) == 0 {
							g.stop(g.nodes[name])
							g.start(name, onDisk(name))
						}
					}
				}
				for _, name := range names {
					g.network.Rejoin(hostOf(name))
				}
				g.network.DropPackets(func(_, _ netip.AddrPort) bool { return false })
				g.settle(g.all()...)
				for _, r := range g.nodes["a"].Table().Rows {
					if r.State != core.Serving {
						within(t, time.Minute, "partitions served again", func() bool {
							return g.nodes["a"].Table().Rows[r.Partition].State == core.Serving
						})
					}
				}
				g.watch.mu.Lock()
				defer g.watch.mu.Unlock()
				if g.watch.mu.resets == 0 || len(g.watch.mu.wrong) > 0 {
					t.Errorf("%d resets, of which wrong: %q", g.watch.mu.resets, g.watch.mu.wrong)
				}
			})
		})
	}
}

// resetWatch checks each reset of a partition as the first node hears of it (R10).
type resetWatch struct {
	mu struct {
		sync.Mutex
		nodes  map[core.Member]*ControlPlane
		rows   map[int]core.Row // the newest that is known
		resets int
		wrong  []string
	}
}

func newResetWatch() *resetWatch {
	w := &resetWatch{}
	w.mu.nodes, w.mu.rows = map[core.Member]*ControlPlane{}, map[int]core.Row{}
	return w
}

func (w *resetWatch) takeDelta(d core.Delta) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range d.Rows {
		before := w.mu.rows[r.Partition]
		if r.Epoch <= before.Epoch {
			continue
		}
		w.mu.rows[r.Partition] = r
		if r.Born == before.Born || before.Born == 0 {
			continue
		}
		w.mu.resets++
		last := before.LastDropped
		if before.State == core.Serving {
			last = before.Primary
		}
		if n := w.mu.nodes[last]; n != nil && n.Vouched() > n.config.Now() {
			w.mu.wrong = append(w.mu.wrong, fmt.Sprintf("partition %d is reset, and %s is vouched for %v more", r.Partition, last, n.Vouched()-n.config.Now()))
		}
	}
}

// TestControlMessages has messages of several frames come whole, and broken ones end the stream.
func TestControlMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a := open(t, n.Host(hostA), hostA+":7000", identity("a"), rightKeys)
		b := open(t, n.Host(hostB), hostB+":7000", identity("b"), rightKeys)
		table := bigTable(t, 16384, 64)
		service := &scriptedService{answer: gridInfo{
			Member: true, Grid: [16]byte{1}, Leader: leaderInfo{3, "a", "addr"},
			Servers: serverList{7, []server{{"a", true, "x"}, {"b", false, "y"}}}, Delta: table.Since(0),
		}}
		b.Handle(Control, func(c *Conn) { serveControl(c, service) })
		links := &controlLinks{transport: a}
		t.Cleanup(links.close)
		info, err := links.pull(t.Context(), b.Addr().String(), pullTimeout, 5)
		if err != nil || service.since != 5 || info.Leader != service.answer.Leader || !slices.Equal(info.Servers.Servers, service.answer.Servers.Servers) {
			t.Fatalf("got %+v, %v", info.Servers, err)
		}
		if got, err := applyDelta(&core.Table{}, info.Delta); err != nil || !bytes.Equal(appendTable(nil, got), appendTable(nil, table)) {
			t.Errorf("another table came: %v", err)
		}
		p, err := links.propose(t.Context(), b.Addr().String(), true, []byte("command"))
		if err != nil || fmt.Sprint(p) != fmt.Sprint(service.submit([]byte("command"))) {
			t.Errorf("got %+v, %v", p, err)
		}
		c := &ControlPlane{config: ControlConfig{Transport: a}, links: controlLinks{transport: a}}
		got, err := c.surveyPeer(t.Context(), b.Addr().String(), []string{"x", "y"})
		want := surveyAnswer{identity("b").Member, Generation{3, [16]byte{4}}, true, "l", service.answer, []core.NodeID{"x", "y"}}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("survey: got %+v, %v", got, err)
		}
		if info, err := c.askPromise(t.Context(), b.Addr().String(), Generation{3, [16]byte{4}}); err != nil || len(info.Delta.Rows) != 16384 {
			t.Errorf("promise: %d rows, %v", len(info.Delta.Rows), err)
		}
		if _, err := c.askPromise(t.Context(), b.Addr().String(), Generation{5, [16]byte{4}}); err == nil || err.Error() != "promised to 10.0.0.1:7000" {
			t.Errorf("no promise: %v", err)
		}
		if err := c.askRelease(t.Context(), b.Addr().String(), Generation{3, [16]byte{4}}); err != nil {
			t.Errorf("release: %v", err)
		}
		if _, _, err := links.ask(t.Context(), b.Addr().String(), true, 99, nil, pullAnswer); err == nil {
			t.Error("a request of no type was answered")
		}
	})
}

// TestControlFarPeer has a peer asked for the table over a new stream that is so far that opening it and asking take longer together than
// each of them may. Two streams to it are kept, for one request at a time each.
func TestControlFarPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := NewMemNetwork()
		a := open(t, n.Host(hostA), hostA+":7000", identity("a"), rightKeys)
		b := open(t, n.Host(hostB), hostB+":7000", identity("b"), rightKeys)
		var streams atomic.Int32
		b.Handle(Control, func(c *Conn) {
			streams.Add(1)
			serveControl(c, &scriptedService{answer: gridInfo{Member: true}})
		})
		for _, way := range [][2]string{{hostA, hostB}, {hostB, hostA}} {
			n.SetLatency(way[0], way[1], 80*time.Millisecond)
		}
		links := &controlLinks{transport: a}
		t.Cleanup(links.close)
		pull := func() {
			if info, err := links.pull(t.Context(), b.Addr().String(), pullTimeout, 5); err != nil || !info.Member {
				t.Errorf("pull: %+v, %v", info, err)
			}
		}
		begin := time.Now()
		pull()
		if took := time.Since(begin); took <= pullTimeout {
			t.Errorf("it took %v, which shows nothing", took)
		}
		for range 3 {
			var both sync.WaitGroup
			both.Go(pull)
			both.Go(pull)
			both.Wait()
		}
		if got := streams.Load(); got != 2 {
			t.Errorf("%d streams were opened, want 2", got)
		}
	})
}

// scriptedService answers always the same.
type scriptedService struct {
	since  uint64
	answer gridInfo
}

func (s *scriptedService) info(since uint64) gridInfo {
	s.since = since
	return s.answer
}

func (s *scriptedService) survey(addrs []string) surveyAnswer {
	a := surveyAnswer{Promised: Generation{3, [16]byte{4}}, Votes: true, Leader: "l", Info: s.answer}
	for _, addr := range addrs {
		a.Reached = append(a.Reached, core.NodeID(addr))
	}
	return a
}

func (s *scriptedService) promise(g Generation, founder string) error {
	if g != (Generation{3, [16]byte{4}}) {
		return errors.New("promised to " + founder)
	}
	return nil
}

func (s *scriptedService) release(Generation) error { return nil }

func (s *scriptedService) submit(command []byte) proposal {
	return proposal{Status: proposalDone, Refused: map[int]string{3: "x", 1: string(command)}, Reason: "r", Cause: 2}
}
