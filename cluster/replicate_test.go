package cluster

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/partition"
)

const gridPartitions = 8

// testGrid is nodes with stores and replicators over a network in memory, and in place of the control plane a table that
// changes at once.
type testGrid struct {
	t       *testing.T
	network *MemNetwork
	started time.Time

	mu    sync.Mutex
	table *core.Table
	nodes []*testNode
}

type testNode struct {
	grid      *testGrid
	host      string
	member    core.Member
	transport *Transport
	store     *partition.Store
	repl      *Replicator
	deltas    chan core.Delta
	lag       atomic.Int64 // ns before a table is applied here
	stopped   chan struct{}
}

func (g *testGrid) now() time.Duration { return time.Since(g.started) }

func newTestGrid(t *testing.T, network *MemNetwork, nodes, copies int) *testGrid {
	g := &testGrid{t: t, network: network, started: time.Now().Add(-time.Hour), table: &core.Table{}}
	settings := core.Settings{Partitions: gridPartitions, Copies: copies, MinISR: 1, Feature: 1}
	for i := range nodes {
		n := g.addNode(i + 1)
		reg := core.Node{ID: n.member.Node, Inc: n.member.Inc, FeatureMin: 1, FeatureMax: 1, Peer: n.transport.Addr().String()}
		if i == 0 {
			g.apply(core.Command{Kind: core.CreateGrid, Settings: settings, Node: reg})
		} else {
			g.apply(core.Command{Kind: core.Register, Node: reg})
		}
	}
	return g
}

func (g *testGrid) addNode(i int) *testNode {
	t := g.t
	n := &testNode{grid: g, host: fmt.Sprintf("10.0.0.%d", i), deltas: make(chan core.Delta, 1000), stopped: make(chan struct{})}
	n.member = core.Member{Node: core.NodeID(fmt.Sprintf("n%d", i)), Inc: core.Incarnation{byte(i)}}
	id := Identity{Member: n.member, FeatureMin: 1, FeatureMax: 1}
	n.transport = open(t, g.network.Host(n.host), netip.AddrPortFrom(netip.MustParseAddr(n.host), 7000).String(), id, NoSecret())
	n.repl = NewReplicator()
	var err error
	n.store, err = partition.NewStore(partition.Options{Partitions: gridPartitions, Seed: partition.Seed{K0: 1, K1: 2}, Sink: n.repl.Sink, Track: true})
	if err != nil {
		t.Fatal(err)
	}
	n.repl.Start(ReplicatorConfig{
		Transport: n.transport, Store: n.store, Now: g.now, Lease: time.Second,
		Settings: core.Settings{Partitions: gridPartitions, Copies: 2, MinISR: 1},
		Vouched:  func() time.Duration { return g.now() + time.Second },
		Propose: func(changes []core.Change) {
			go g.apply(core.Command{Kind: core.ChangeRows, Changes: changes}) // not under the replica's lock
		},
		OnFailure: func(err error) { t.Errorf("%s: %v", n.member, err) },
	})
	deltas := n.deltas
	go func() {
		defer close(n.stopped)
		for d := range deltas {
			time.Sleep(time.Duration(n.lag.Load()))
			n.repl.OnTable(d)
		}
	}()
	t.Cleanup(func() {
		n.stop()
		n.store.Close()
	})
	g.mu.Lock()
	g.nodes = append(g.nodes, n)
	g.mu.Unlock()
	return n
}

// stop ends a node, as a crash would.
func (n *testNode) stop() {
	g := n.grid
	g.mu.Lock()
	deltas := n.deltas
	n.deltas = nil
	g.mu.Unlock()
	if deltas == nil {
		return
	}
	close(deltas)
	<-n.stopped
	n.repl.Close()
	if err := n.transport.Close(); err != nil {
		g.t.Errorf("close: %v", err)
	}
}

// apply changes the table, and tells every node.
func (g *testGrid) apply(c core.Command) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.table.Version
	if _, err := g.table.Apply(c); err != nil || g.table.Version == before {
		return
	}
	d := g.table.Clone().Since(before)
	for _, n := range g.nodes {
		if n.deltas == nil {
			continue
		}
		if before == 0 || c.Kind == core.Register && c.Node.ID == n.member.Node {
			n.deltas <- g.table.Clone().Since(0)
			continue
		}
		n.deltas <- d
	}
}

// balance carries out the plan until nothing is left to do.
func (g *testGrid) balance() {
	within(g.t, time.Minute, "the plan is carried out", func() bool {
		g.mu.Lock()
		changes := core.Plan(g.table, core.PlanLimits{LearnersPerNode: 4, LearnersPerSource: 4})
		settled := len(changes) == 0
		for i := range g.table.Rows {
			r := &g.table.Rows[i]
			settled = settled && len(r.Learners) == 0 && r.Target.IsZero()
		}
		g.mu.Unlock()
		if len(changes) > 0 {
			g.apply(core.Command{Kind: core.ChangeRows, Changes: changes})
		}
		return settled
	})
}

func (g *testGrid) row(p int) core.Row {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.table.Rows[p].Clone()
}

func (g *testGrid) leader(p int) *testNode {
	primary := g.row(p).Primary
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.nodes {
		if n.member == primary {
			return n
		}
	}
	return nil
}

// put does what a door does with SET. acked is false where it was not executed, or nobody knows.
func (n *testNode) put(tx *partition.Tx, key, value string) (acked, executed bool) {
	p := n.store.PartitionOf([]byte(key))
	tx.Begin(1, p)
	reign, ok := n.repl.Serves(p, n.grid.now())
	if !ok || !n.repl.Writable(p) {
		tx.End()
		return false, false
	}
	tx.SetString([]byte(key), []byte(value), partition.StringAuto, 0)
	tx.End()
	return n.await(tx, reign) == nil, true
}

func (n *testNode) await(tx *partition.Tx, reign uint64) error {
	var rests []Rest
	for _, s := range tx.Seen() {
		rests = append(rests, Rest{s, reign})
	}
	done := make(chan error, 1)
	if n.repl.Await(rests, func(err error) { done <- err }) {
		return nil
	}
	return <-done
}

// get does what a door does with GET.
func (n *testNode) get(tx *partition.Tx, key string) (value string, ok bool) {
	p := n.store.PartitionOf([]byte(key))
	tx.Begin(1, p)
	b, _, err := tx.String([]byte(key))
	value = string(bytes.Clone(b))
	reign, ok := n.repl.Serves(p, n.grid.now())
	tx.End()
	return value, ok && err == nil && n.await(tx, reign) == nil
}

// putAll writes keys through whoever leads, each until it is acknowledged.
func (g *testGrid) putAll(count int, value string) {
	tx := map[*testNode]*partition.Tx{}
	for i := range count {
		key := fmt.Sprintf("key:%d", i)
		within(g.t, time.Minute, "a write is acknowledged", func() bool {
			n := g.leader(partition.Slot([]byte(key)) / (partition.Slots / gridPartitions))
			if n == nil {
				return false
			}
			if tx[n] == nil {
				tx[n] = partition.NewTx(n.store)
			}
			acked, _ := n.put(tx[n], key, value)
			return acked
		})
	}
}

func (g *testGrid) checkAll(count int, value string) {
	g.t.Helper()
	for i := range count {
		key := fmt.Sprintf("key:%d", i)
		got := ""
		within(g.t, time.Minute, key+" can be read", func() bool {
			n := g.leader(partition.Slot([]byte(key)) / (partition.Slots / gridPartitions))
			var ok bool
			if n != nil {
				got, ok = n.get(partition.NewTx(n.store), key)
			}
			return ok
		})
		if got != value {
			g.t.Fatalf("%s is %q, and %q was acknowledged", key, got, value)
		}
	}
}

// checkCopies compares every copy with its primary.
func (g *testGrid) checkCopies() {
	g.t.Helper()
	for p := range gridPartitions {
		within(g.t, 10*time.Second, fmt.Sprintf("copies of partition %d are equal", p), func() bool {
			row := g.row(p)
			first := g.leader(p)
			want, seq := first.store.Partition(p).ContentDigest()
			for _, m := range row.ISR[1:] {
				for _, n := range g.nodes {
					if n.member != m {
						continue
					}
					if got, at := n.store.Partition(p).ContentDigest(); got != want || at != seq {
						return false
					}
				}
			}
			return true
		})
	}
}

// A grid of one node becomes one of three: copies are filled by walks while keys are written, and hold the same.
func TestReplicatorFillsCopies(t *testing.T) {
	inMemory(t, func(t *testing.T, network *MemNetwork) {
		g := newTestGrid(t, network, 3, 2)
		g.putAll(200, "before")
		writing := make(chan struct{})
		go func() {
			defer close(writing)
			g.putAll(300, "after")
		}()
		g.balance()
		<-writing
		g.balance()
		for p := range gridPartitions {
			if r := g.row(p); len(r.ISR) != 2 {
				t.Errorf("partition %d has the copies %v, want 2", p, r.ISR)
			}
		}
		g.checkCopies()
		g.checkAll(300, "after")
	})
}

// What was acknowledged is there after the primary has died (R11, R12, R15), and its partitions are served again (R8).
func TestReplicatorFailover(t *testing.T) {
	inMemory(t, func(t *testing.T, network *MemNetwork) {
		g := newTestGrid(t, network, 3, 2)
		g.balance()
		g.putAll(300, "one")
		dead := g.leader(0)
		dead.stop()
		g.apply(core.Command{Kind: core.FenceNode, Member: dead.member})
		start := g.now()
		g.checkAll(300, "one")
		if took := g.now() - start; took > 3*time.Second {
			t.Errorf("reading all took %s after the fence, want less than three leases", took)
		}
		g.balance()
		g.putAll(300, "two")
		g.checkCopies()
		g.checkAll(300, "two")
	})
}

// A primary that is cut off stops serving before its successor begins (R7, R8), and knows of no write that it acknowledged in
// between.
func TestReplicatorCutOffStops(t *testing.T) {
	inMemory(t, func(t *testing.T, network *MemNetwork) {
		g := newTestGrid(t, network, 3, 2)
		g.balance()
		g.putAll(100, "one")
		old := g.leader(0)
		network.Isolate(old.host)
		// The old one hears nothing of the new table.
		g.mu.Lock()
		deaf := old.deltas
		old.deltas = nil
		g.mu.Unlock()
		g.apply(core.Command{Kind: core.FenceNode, Member: old.member})
		var both bool
		within(t, 5*time.Second, "partition 0 is served again", func() bool {
			_, here := old.repl.Serves(0, g.now())
			_, there := g.leader(0).repl.Serves(0, g.now())
			both = both || here && there
			return there
		})
		if both {
			t.Error("R8: partition 0 was served by two at once")
		}
		if _, here := old.repl.Serves(0, g.now()); here {
			t.Error("R7: the old primary still serves")
		}
		g.checkAll(100, "one")
		g.mu.Lock()
		old.deltas = deaf
		g.mu.Unlock()
	})
}

// Handovers under load lose no acknowledged write, and no write fails that was executed (R20).
func TestReplicatorHandover(t *testing.T) {
	inMemory(t, func(t *testing.T, network *MemNetwork) {
		g := newTestGrid(t, network, 3, 2)
		g.balance()
		stop := make(chan struct{})
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(w)))
				tx := map[*testNode]*partition.Tx{}
				last := map[string]string{}
				for i := 0; ; i++ {
					select {
					case <-stop:
						for key, value := range last {
							n := g.leader(partition.Slot([]byte(key)) / (partition.Slots / gridPartitions))
							if got, ok := n.get(partition.NewTx(n.store), key); ok && got != value {
								t.Errorf("%s is %q, and %q was acknowledged", key, got, value)
							}
						}
						return
					case <-time.After(time.Millisecond):
					}
					key, value := fmt.Sprintf("w%d:%d", w, random.IntN(50)), fmt.Sprint(i)
					n := g.leader(partition.Slot([]byte(key)) / (partition.Slots / gridPartitions))
					if tx[n] == nil {
						tx[n] = partition.NewTx(n.store)
					}
					acked, executed := n.put(tx[n], key, value)
					if executed && !acked {
						t.Errorf("%s = %s was executed on %s and not acknowledged", key, value, n.member)
					}
					if acked {
						last[key] = value
					}
				}
			})
		}
		for i := range 40 {
			p := i % gridPartitions
			r := g.row(p)
			g.apply(core.Command{Kind: core.ChangeRows, Changes: []core.Change{
				{Kind: core.SetTarget, Partition: p, Epoch: r.Epoch, Member: r.ISR[1]}}})
			within(t, 5*time.Second, "the handover is done", func() bool { return g.row(p).Primary == r.ISR[1] })
		}
		within(t, 5*time.Second, "all is served", func() bool {
			for p := range gridPartitions {
				if _, ok := g.leader(p).repl.Serves(p, g.now()); !ok {
					return false
				}
			}
			return true
		})
		close(stop)
		writers.Wait()
		g.checkCopies()
	})
}

// A partition is handed to a node that has led nothing so far, and whose backup learns of that late. Neither the leases nor the question
// where the backup is wait for the next time that one is due.
func TestReplicatorTakesOverSoon(t *testing.T) {
	inMemory(t, func(t *testing.T, network *MemNetwork) {
		g := newTestGrid(t, network, 2, 2)
		a, b := g.nodes[0], g.nodes[1]
		for p := range gridPartitions {
			r := g.row(p)
			g.apply(core.Command{Kind: core.ChangeRows, Changes: []core.Change{{Kind: core.AddLearner, Partition: p, Epoch: r.Epoch, Member: b.member}}})
			within(t, 5*time.Second, "the copy is filled", func() bool { return len(g.row(p).ISR) == 2 })
		}
		const lag = 30 * time.Millisecond
		a.lag.Store(int64(lag))
		for p := range gridPartitions {
			pass(50*time.Millisecond + time.Duration(p)*23*time.Millisecond) // so that each begins at another time between two beacons
			r := g.row(p)
			g.apply(core.Command{Kind: core.ChangeRows, Changes: []core.Change{{Kind: core.SetTarget, Partition: p, Epoch: r.Epoch, Member: b.member}}})
			within(t, 5*time.Second, "the handover is done", func() bool { return g.row(p).Primary == b.member })
			begin := time.Now()
			key := keyOf(p)
			tx := partition.NewTx(b.store)
			within(t, 5*time.Second, "a write is acknowledged", func() bool { acked, _ := b.put(tx, key, "x"); return acked })
			if took := time.Since(begin); took > 2*lag {
				t.Errorf("partition %d: the first write took %v, and the table came to its backup within %v", p, took, lag)
			}
		}
	})
}

// keyOf is a key of a partition.
func keyOf(p int) string {
	for i := 0; ; i++ {
		if key := fmt.Sprint(i); partition.Slot([]byte(key))/(partition.Slots/gridPartitions) == p {
			return key
		}
	}
}

// A batch larger than a frame arrives in pieces (R18).
func TestReplicatorLargeBatch(t *testing.T) {
	inMemory(t, func(t *testing.T, network *MemNetwork) {
		g := newTestGrid(t, network, 2, 2)
		g.balance()
		value := string(bytes.Repeat([]byte("0123456789abcdef"), 1<<16)) // 1 MiB
		g.putAll(3, value)
		g.checkCopies()
		g.leader(0).stop()
		synctest.Wait()
	})
}

// R18: a primary whose copy does not keep up, and that hears of no table in which that copy has gone, ends to take writes, and goes on when
// the copy has caught up.
func TestReplicatorBacklog(t *testing.T) {
	inMemory(t, func(t *testing.T, network *MemNetwork) {
		g := newTestGrid(t, network, 2, 2)
		g.balance()
		n, backup := g.leader(0), g.nodes[0]
		if backup == n {
			backup = g.nodes[1]
		}
		n.lag.Store(int64(10 * time.Second))
		network.SetLatency(n.host, backup.host, 200*time.Millisecond)
		tx, key, value := partition.NewTx(n.store), keyOf(0), make([]byte, 1<<20)
		for written := 0; n.repl.Writable(0); written++ {
			tx.Begin(1, 0)
			if _, ok := n.repl.Serves(0, g.now()); !ok || written > 100 {
				tx.End()
				t.Fatalf("with %d MB that are not committed: it serves %v, and takes writes", written, ok)
			}
			tx.SetString([]byte(key), value, partition.StringAuto, 0)
			tx.End()
			time.Sleep(2 * time.Millisecond)
		}
		network.SetLatency(n.host, backup.host, 0)
		within(t, time.Minute, "it takes writes again", func() bool { return n.repl.Writable(0) })
		g.checkCopies()
	})
}

// Copies of a node that drains are compared with the others before they are dropped, while keys are written (R21).
func TestReplicatorDrain(t *testing.T) {
	inMemory(t, func(t *testing.T, network *MemNetwork) {
		g := newTestGrid(t, network, 3, 2)
		g.balance()
		g.putAll(300, "one")
		gone := g.leader(0)
		g.apply(core.Command{Kind: core.Drain, Member: gone.member})
		stop := make(chan struct{})
		var writers sync.WaitGroup
		for w := range 4 {
			writers.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
					}
					key := fmt.Sprintf("w%d:%d", w, i%50)
					n := g.leader(partition.Slot([]byte(key)) / (partition.Slots / gridPartitions))
					n.put(partition.NewTx(n.store), key, fmt.Sprint(i))
				}
			})
		}
		within(t, time.Minute, "it holds nothing", func() bool {
			g.balance()
			return g.holds(gone.member) == 0
		})
		close(stop)
		writers.Wait()
		g.checkCopies()
		g.checkAll(300, "one")
	})
}

// A copy that is not what the others are is kept by a drain (R21): the row's other copies may be the wrong ones.
func TestReplicatorDrainKeepsWhatDiffers(t *testing.T) {
	inMemory(t, func(t *testing.T, network *MemNetwork) {
		g := newTestGrid(t, network, 3, 2)
		g.balance()
		g.putAll(300, "one")
		row := g.row(0)
		var gone *testNode
		for _, n := range g.nodes {
			if n.member == row.ISR[1] {
				gone = n
			}
		}
		within(t, time.Second, "the backup has all", func() bool {
			_, want := g.leader(0).store.Partition(0).ContentDigest()
			_, got := gone.store.Partition(0).ContentDigest()
			return got == want
		})
		_, seq := gone.store.Partition(0).ContentDigest()
		gone.store.Partition(0).ResetTo(seq) // loses everything
		g.apply(core.Command{Kind: core.Drain, Member: gone.member})
		within(t, time.Minute, "it holds that partition alone", func() bool {
			g.balance()
			return g.holds(gone.member) == 1
		})
		<-time.After(2 * differPause)
		if r := g.row(0); !r.InSync(gone.member) || len(r.ISR) != 3 {
			t.Errorf("copies of partition 0: %v", r.ISR)
		}
	})
}

// holds counts the rows that name a member.
func (g *testGrid) holds(m core.Member) (count int) {
	for p := range gridPartitions {
		if r := g.row(p); r.Holds(m) {
			count++
		}
	}
	return count
}

// TestReplicatorPromiseSleptR8: what is promised to a primary behind a suspension of the machine holds for its whole time. The clock that
// is read stands still in the suspension, and jumps once somebody has looked.
func TestReplicatorPromiseSleptR8(t *testing.T) {
	inMemory(t, func(t *testing.T, network *MemNetwork) {
		tr := open(t, network.Host(hostA), hostA+":7000", identity("a"), NoSecret())
		store, err := partition.NewStore(partition.Options{Partitions: gridPartitions, Seed: partition.Seed{K0: 1, K1: 2}, Track: true})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		began := time.Now()
		var missing atomic.Int64 // ns that the clock does not know of
		missing.Store(int64(800 * time.Millisecond))
		r := NewReplicator()
		r.Start(ReplicatorConfig{
			Transport: tr, Store: store, Settings: nodeSettings, Lease: time.Second,
			Now:     func() time.Duration { return time.Minute + time.Since(began) - time.Duration(missing.Load()) },
			Look:    func() { missing.Store(0) },
			Vouched: func() time.Duration { return 0 }, Propose: func([]core.Change) {}, OnFailure: func(err error) { t.Error(err) },
		})
		defer r.Close()
		primary := core.Member{Node: "b", Inc: core.Incarnation{1}}
		r.takeBeacon(primary, appendBeacon(nil, beaconAsk, 0, 0))
		missing.Store(0)
		r.leases.RLock()
		defer r.leases.RUnlock()
		if left := r.leases.Promise(primary) - time.Minute; left < time.Second {
			t.Errorf("the promise is over after %v, and the lease that it is for after a second", left)
		}
	})
}
