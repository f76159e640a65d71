package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/partition"
)

// A grid of which much is to be moved over a slow network.
const (
	movePartitions = 64
	moveKeys       = 12 * movePartitions
	moveValueBytes = chunkBytes // so that a partition is some chunks
	moveLatency    = 30 * time.Millisecond
)

// moveSample is a status while much is moved.
type moveSample struct {
	at       time.Time
	learners int // of the node that has most
	moves    MoveStatus
}

// R22: a node is drained, and what it has is moved a few copies at a time. Meanwhile the status says truthfully how far that is: what is left
// is never more than at first (handovers may turn out to be others than were planned), what is under way is within the throttle, and the time left is no other order of magnitude than what it turns out to be.
func TestNodeMoveThrottled(t *testing.T) {
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		settings := core.Settings{Partitions: movePartitions, Copies: 2, MinISR: 1}
		a := g.start("a", func(c *NodeConfig) { c.Create = &settings })
		within(t, time.Minute, "a serves all", func() bool { return a.Status().member(t, "a").Primary == movePartitions })
		fill(t, a)
		for i, name := range []string{"b", "c"} {
			g.start(name, joins("a"))
			g.healed(i + 2)
		}
		for _, way := range [][2]string{{"a", "b"}, {"b", "c"}, {"c", "a"}} { // now: while a node joins, a lock is held over a wait
			g.network.SetLatency(hostOf(way[0]), hostOf(way[1]), moveLatency)
			g.network.SetLatency(hostOf(way[1]), hostOf(way[0]), moveLatency)
		}
		if err := a.Drain(t.Context(), "c"); err != nil {
			t.Fatal(err)
		}
		var samples []moveSample
		within(t, 5*time.Minute, "c holds nothing", func() bool {
			s := a.Status()
			if len(samples) == 0 && s.Moves.Left == 0 {
				return false // it has not begun
			}
			learners := 0
			for _, m := range s.Members {
				learners = max(learners, m.Learner)
			}
			samples = append(samples, moveSample{time.Now(), learners, s.Moves})
			return s.Moves.Left == 0
		})
		judgeMoves(t, samples)
	})
}

// fill writes some large values at a node that is alone, as a door would.
func fill(t *testing.T, n *gridNode) {
	t.Helper()
	value := make([]byte, moveValueBytes)
	tx := partition.NewTx(n.store)
	for i := range moveKeys {
		key := fmt.Appendf(nil, "key:%d", i)
		p := n.store.PartitionOf(key)
		tx.Begin(1, p)
		reign, ok := n.Serves(p, n.config.Now())
		tx.SetString(key, value, partition.StringAuto, 0)
		tx.End()
		if err := n.await(tx, reign); err != nil || !ok {
			t.Fatalf("SET %s: serves %v, %v", key, ok, err)
		}
	}
}

// judgeMoves holds what was said on the way against what came.
func judgeMoves(t *testing.T, samples []moveSample) {
	t.Helper()
	limit := core.DefaultControlOptions().Limits.LearnersPerNode
	end, first := samples[len(samples)-1].at, samples[0].moves.Left
	took := end.Sub(samples[0].at)
	most, known := 0, 0
	for _, s := range samples {
		most = max(most, s.learners)
		if s.moves.Left > first {
			t.Errorf("%d are left, of %d", s.moves.Left, first)
		}
		if s.moves.UnderWay > s.moves.Left {
			t.Errorf("%d under way of %d that are left", s.moves.UnderWay, s.moves.Left)
		}
		if s.moves.SecondsLeft <= 0 {
			continue
		}
		known++
		said, came := time.Duration(s.moves.SecondsLeft)*time.Second, end.Sub(s.at)
		if said > 4*came+3*time.Second || 3*said+time.Second < came { // seconds are counted, and copies come in bursts
			t.Fatalf("after %v of %v, %+v: it said %v, and took %v", s.at.Sub(samples[0].at), took, s.moves, said, came)
		}
	}
	t.Logf("%d moves in %v, up to %d copies at a time; in %d of %d looks the time left was known", first, took, most, known, len(samples))
	if most > limit || most < limit/2 {
		t.Errorf("up to %d copies were filled at a time, want at most %d, and about that", most, limit)
	}
	if known < len(samples)/3 {
		t.Errorf("in %d of %d looks the time left was known, want a third of them", known, len(samples))
	}
}
