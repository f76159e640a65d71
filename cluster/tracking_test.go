package cluster

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/partition"
)

// lossWatcher is a near cache that notes what it is told.
type lossWatcher struct{ lost, changed atomic.Int64 }

func (w *lossWatcher) Invalidate(int, []byte, partition.Origin) { w.changed.Add(1) }
func (w *lossWatcher) Broadcast([]byte, partition.Origin)       { w.changed.Add(1) }
func (w *lossWatcher) InvalidateAll()                           { w.changed.Add(1) }
func (w *lossWatcher) Lost(int, []byte)                         { w.lost.Add(1) }
func (w *lossWatcher) LosePartition(int)                        {}

// watch has a watcher read a key of partition 0 at a node.
func (n *testNode) watch() (w *lossWatcher, key string) {
	w = &lossWatcher{}
	for i := 0; n.store.PartitionOf([]byte(key)) != 0 || key == ""; i++ {
		key = fmt.Sprint("key:", i)
	}
	tx := partition.NewTx(n.store)
	tx.Begin(1, 0)
	tx.Track([]byte(key), w)
	tx.End()
	return w, key
}

// Before a partition is served by the node that it is handed to, who has read its keys at the old one is told, although that one learns
// late that the handover is done.
func TestTrackedLostBeforeHandover(t *testing.T) {
	inMemory(t, func(t *testing.T, network *MemNetwork) {
		g := newTestGrid(t, network, 3, 2)
		g.balance()
		g.putAll(100, "one")
		old, r := g.leader(0), g.row(0)
		w, _ := old.watch()
		old.lag.Store(int64(300 * time.Millisecond))
		g.apply(core.Command{Kind: core.ChangeRows, Changes: []core.Change{
			{Kind: core.SetTarget, Partition: 0, Epoch: r.Epoch, Member: r.ISR[1]}}})
		within(t, 5*time.Second, "the other one serves", func() bool {
			next := g.leader(0)
			_, served := next.repl.Serves(0, g.now())
			return next != old && served
		})
		if w.lost.Load() != 1 || w.changed.Load() != 0 {
			t.Errorf("told of %d losses and %d changes, want one loss", w.lost.Load(), w.changed.Load())
		}
	})
}

// What a primary grants that is cut off ends before its successor begins; once it hears of that, it tells who has read there.
func TestTrackedLeaseOfCutOff(t *testing.T) {
	inMemory(t, func(t *testing.T, network *MemNetwork) {
		g := newTestGrid(t, network, 3, 2)
		g.balance()
		g.putAll(100, "one")
		old := g.leader(0)
		w, _ := old.watch()
		if left := old.repl.ServesUntil(0, g.now()) - g.now(); left < 500*time.Millisecond || left > time.Second {
			t.Errorf("a primary that is well may grant %s", left)
		}
		network.Isolate(old.host)
		g.mu.Lock()
		deaf := old.deltas
		old.deltas = nil
		before := g.table.Version
		g.mu.Unlock()
		g.apply(core.Command{Kind: core.FenceNode, Member: old.member})
		granted := time.Duration(0)
		within(t, 5*time.Second, "partition 0 is served again", func() bool {
			granted = max(granted, old.repl.ServesUntil(0, g.now()))
			_, there := g.leader(0).repl.Serves(0, g.now())
			return there
		})
		if granted > g.now() {
			t.Errorf("it granted leases until %s, and its successor serves at %s", granted, g.now())
		}
		if w.lost.Load() != 0 {
			t.Error("it has told of a loss before it could know of it")
		}
		g.mu.Lock()
		old.deltas = deaf
		deaf <- g.table.Clone().Since(before)
		g.mu.Unlock()
		within(t, 5*time.Second, "it tells of the loss", func() bool { return w.lost.Load() == 1 })
	})
}
