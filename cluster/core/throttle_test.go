package core

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// R22: what moves does so with few copies at a time, by the settings that voters use: a node that joins with next to nothing to do is
// not sent everything at once, and who feeds it is not either. As one copy has at most one chunk under way
// (TestR22OneChunkAtATime), that bounds what is under way, whatever a partition's size.
func TestR22MovesAreThrottled(t *testing.T) {
	limits := DefaultControlOptions().Limits
	if limits.LearnersPerNode != 16 || limits.LearnersPerSource != 16 {
		t.Errorf("got %+v, and docs/REPLICATION.md says 16 and 16", limits)
	}
	for _, test := range []struct {
		what         string
		before, join int // nodes at rest, and those that come
		least, most  int // of the most copies under way at a time
	}{
		{"one joins four: it receives few", 4, 1, 12, 16},
		{"four join one: it feeds few", 1, 4, 12, 16},
		{"four join four: each feeds few", 4, 4, 24, 64},
	} {
		g := newPlanGrid(t, rand.New(rand.NewPCG(1, 22)), 256, 2, "")
		g.limits = limits // plan checks them at every step
		join := func(count int) {
			for range count {
				g.apply(Command{Kind: Register, Node: g.start(NodeID(fmt.Sprintf("n%02d", g.starts)), "")})
			}
		}
		join(test.before - 1)
		g.settle(1)
		join(test.join)
		most, perNode := 0, 0
		for busy := true; busy; {
			receives, all := map[NodeID]int{}, 0
			for i := range g.table.Rows {
				for _, m := range g.table.Rows[i].Learners {
					receives[m.Node]++
					all++
					perNode = max(perNode, receives[m.Node])
				}
			}
			most = max(most, all)
			busy = g.step(0.2)
		}
		if most > test.most || most < test.least || perNode > limits.LearnersPerNode {
			t.Errorf("%s: got up to %d copies under way, %d to one node, want %d to %d and at most %d",
				test.what, most, perNode, test.least, test.most, limits.LearnersPerNode)
		}
		g.settled()
	}
}

// R22: of the data of a partition, one chunk at a time is on its way to a copy; the next one waits for its answer.
func TestR22OneChunkAtATime(t *testing.T) {
	a, c := walkBegins(t, memC, 2)
	for i, end := range []Bound{100, 200, WalkDone} {
		if _, ok := a.WantsChunk(memC); !ok {
			t.Fatalf("chunk %d is not wanted: %s", i, a.describe())
		}
		chunk := a.Chunk(memC, nil, end, 0)
		if start, ok := a.WantsChunk(memC); ok {
			t.Fatalf("with chunk %d on its way, one from %x on is wanted: %s", i, uint64(start), a.describe())
		}
		a.OnAck(*c.OnChunk(chunk).Answer, 0)
	}
	if _, ok := a.WantsChunk(memC); ok {
		t.Error("the walk is done, and a chunk is wanted")
	}
}
