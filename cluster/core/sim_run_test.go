package core

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

var (
	simSeeds = flag.Int("sim.seeds", 100, "how many seeds the simulation runs")
	simFirst = flag.Uint64("sim.first", 1, "the first of them")
	simReach = flag.Bool("sim.reach", true, "fail where a fault or a branch was never reached")
	simTrace = flag.Bool("sim.trace", false, "print what happens")
)

// TestSim runs grids through faults, one for each seed. A failing seed replays exactly: -sim.first SEED -sim.seeds 1.
// Over the whole run every fault and every branch of the rules must have been reached.
func TestSim(t *testing.T) {
	runSims(t, false, simFaults)
}

// TestSimNear is TestSim with near caches: clients that hold what they have read, and the servers that tell them.
func TestSimNear(t *testing.T) {
	runSims(t, true, slices.Concat(simFaults, simNearFaults))
}

// runSims runs simulations, and fails where one does, or where a fault or a branch was never reached.
func runSims(t *testing.T, near bool, mustHappen []string) {
	var marks Marks
	faults := map[string]int{}
	for seed := *simFirst; seed < *simFirst+uint64(*simSeeds); seed++ {
		s := newSim(seed, near)
		s.run()
		s.close()
		if s.failure != "" {
			t.Fatalf("seed %d: %s\n%s", seed, s.failure, s.transcript())
		}
		for i, n := range s.marks {
			marks[i] += n
		}
		for name, n := range s.faults {
			faults[name] += n
		}
	}
	t.Log(reached(&marks, faults))
	if *simSeeds < 100 || !*simReach {
		return // too few to reach everything
	}
	for i, n := range marks {
		if n == 0 && (*simSeeds >= 1000 || !slices.Contains(rareMarks, Mark(i))) {
			t.Errorf("%s was never reached", Mark(i))
		}
	}
	for _, name := range mustHappen {
		if faults[name] == 0 {
			t.Errorf("the fault %q never happened", name)
		}
	}
	if faults["history too hard to judge"] > 0 {
		t.Errorf("%d histories were too hard to judge", faults["history too hard to judge"])
	}
}

// TestSimReplays: a seed gives the same run again.
func TestSimReplays(t *testing.T) {
	for _, near := range []bool{false, true} {
		for seed := uint64(1); seed <= 6; seed++ {
			var runs [2]string
			for i := range runs {
				s := newSim(seed, near)
				s.run()
				s.close()
				runs[i] = fmt.Sprintf("%d events until %s, %v, next random number %d, %s", s.order, s.now, s.faults, s.random.Uint64(), s.failure)
			}
			if runs[0] != runs[1] {
				t.Errorf("seed %d, near %v:\n%s\n%s", seed, near, runs[0], runs[1])
			}
		}
	}
}

// rareMarks are reached less than once in 20 seeds; each has a test of its own.
var rareMarks = []Mark{TrimmedMeanwhile, HandoverGivenUp, ChangeRefused}

// simFaults are those that must happen.
var simFaults = []string{
	"crash", "restart within the detection time", "disk lost", "pause", "network cut", "network cut one way", "connection reset",
	"message lost", "message repeated", "leader deposed", "entry of a deposed leader committed", "join", "drain",
	"drained node leaves", "stop", "stopped with nothing to lead", "handover asked for", "reset", "read waited for a commit", "message late", "copies cut off together",
	"primary dies between its backups", "leader deposed in a handover", "primary cut off from all",
	"registration repeated", "primary without the controller's word", "primary vouched for again",
}

func reached(marks *Marks, faults map[string]int) string {
	var b strings.Builder
	b.WriteString("faults:\n")
	for _, name := range slices.Sorted(maps.Keys(faults)) {
		fmt.Fprintf(&b, "  %-40s %d\n", name, faults[name])
	}
	b.WriteString("branches:\n")
	for i, n := range marks {
		fmt.Fprintf(&b, "  %-40s %d\n", Mark(i), n)
	}
	return b.String()
}
