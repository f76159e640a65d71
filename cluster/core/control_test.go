package core

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// controlRoom drives one controller: who sends heartbeats, and what it proposes.
type controlRoom struct {
	*grid
	c     *Controller
	alive []Member
	now   time.Duration
	leads bool
	// What each member has applied, where it is not the newest table.
	applied map[Member]uint64
}

func newControlRoom(t *testing.T, s Settings, members ...Member) *controlRoom {
	return &controlRoom{
		grid: newGrid(t, s, members...), c: NewController(DefaultControlOptions()), alive: members, now: time.Hour, leads: true,
		applied: map[Member]uint64{},
	}
}

// run lets time pass, with ticks and heartbeats every 50 ms, and returns what was proposed: each kind with its first time since
// the call. Nothing of it is carried out.
func (r *controlRoom) run(d time.Duration) string {
	var lines []string
	seen := map[string]bool{}
	for start := r.now; r.now < start+d; {
		r.now += ms(50)
		for _, m := range r.alive {
			version, behind := r.applied[m]
			if !behind {
				version = r.Version
			}
			r.c.Heard(m, version, r.now)
		}
		for _, c := range r.c.Tick(r.Table, r.leads, r.now) {
			for _, what := range describeCommand(c) {
				if !seen[what] {
					seen[what] = true
					lines = append(lines, fmt.Sprintf("%s %s", r.now-start, what))
				}
			}
		}
	}
	return strings.Join(lines, "; ")
}

// describeCommand names fences, resets and feature levels; the plan has tests of its own.
func describeCommand(c Command) (what []string) {
	switch c.Kind {
	case FenceNode:
		return []string{"fence " + string(c.Member.Node)}
	case SetFeature:
		return []string{fmt.Sprintf("feature level %d", c.Feature)}
	}
	for _, ch := range c.Changes {
		if ch.Kind == Reset {
			what = append(what, "reset on "+string(ch.Member.Node))
		}
	}
	return what
}

func (r *controlRoom) expect(d time.Duration, want string) {
	r.t.Helper()
	if got := r.run(d); got != want {
		r.t.Errorf("within %s:\ngot  %q\nwant %q", d, got, want)
	}
}

// R3: a node that is silent for a second is dead; the others are not.
func TestR3Silent(t *testing.T) {
	r := newControlRoom(t, oneRow, memA, memB, memC)
	r.expect(10*time.Second, "")
	r.alive = []Member{memA, memC}
	r.expect(2*time.Second, "1.05s fence b")
	r.do(Command{Kind: FenceNode, Member: memB})
	r.expect(10*time.Second, "")
}

// R3: one heartbeat is enough to start anew, and that of another start is none.
func TestR3SilentIncarnation(t *testing.T) {
	r := newControlRoom(t, oneRow, memA, memB)
	r.run(time.Second)
	r.alive = []Member{memA}
	r.run(900 * time.Millisecond)
	r.c.Heard(memB, r.Version, r.now)
	r.expect(time.Second, "")
	r.alive = []Member{memA, memB2}
	r.expect(100*time.Millisecond, "50ms fence b")
}

// R3: a controller that was asleep blames nobody for it: it restarts its timers, and then judges again.
func TestR3ControllerAsleep(t *testing.T) {
	r := newControlRoom(t, oneRow, memA, memB)
	r.run(time.Second)
	r.alive = []Member{memA}
	r.expect(900*time.Millisecond, "")
	r.now += 400 * time.Millisecond // asleep
	r.expect(3*time.Second, "1.1s fence b")
}

// R3: it was not asleep after a gap that is within bounds.
func TestR3ControllerLate(t *testing.T) {
	r := newControlRoom(t, oneRow, memA, memB)
	r.run(time.Second)
	r.alive = []Member{memA}
	r.run(900 * time.Millisecond)
	r.now += 200 * time.Millisecond
	r.expect(50*time.Millisecond, "50ms fence b")
}

// R3: a node that shows an outdated table for two seconds is dead, heartbeats or not; one that follows a table which changes
// all the time is not, although it never has the newest.
func TestR3Behind(t *testing.T) {
	r := newControlRoom(t, oneRow, memA, memB)
	r.run(time.Second)
	change := func() {
		r.do(Command{Kind: Register, Node: testNode(memA)})
	}
	r.applied[memB] = r.Version
	change()
	if got := r.run(3 * time.Second); !strings.HasSuffix(got, " fence b") || strings.HasPrefix(got, "1") {
		t.Errorf("b is behind: %q; want a fence of b after 2 s", got)
	}
	delete(r.applied, memB)
	r.expect(time.Second, "")
	for range 100 {
		r.applied[memB] = r.Version // the one before
		change()
		r.expect(100*time.Millisecond, "")
	}
}

// R3: time in which the controller was asleep does not count for those behind, either.
func TestR3BehindWhileAsleep(t *testing.T) {
	r := newControlRoom(t, oneRow, memA, memB)
	r.run(time.Second)
	r.applied[memB] = r.Version
	r.do(Command{Kind: Register, Node: testNode(memA)})
	r.run(1500 * time.Millisecond)
	r.now += time.Second
	if got := r.run(1900 * time.Millisecond); got != "" {
		t.Errorf("blamed for the controller's sleep: %q", got)
	}
	if got := r.run(300 * time.Millisecond); !strings.HasSuffix(got, "fence b") {
		t.Errorf("and never judged again: %q", got)
	}
}

// R3: who becomes the leader and has observed as a follower need not wait again; as a follower it proposes nothing.
func TestR3NewLeader(t *testing.T) {
	r := newControlRoom(t, oneRow, memA, memB)
	r.leads = false
	r.run(time.Second)
	r.alive = []Member{memA}
	r.expect(5*time.Second, "")
	r.leads = true
	r.expect(time.Second, "50ms fence b")
}

// R3: one that has just started has heard nobody, and waits.
func TestR3JustStarted(t *testing.T) {
	r := newControlRoom(t, oneRow, memA, memB)
	r.alive = []Member{memA}
	r.expect(2*time.Second, "1.1s fence b")
}

// R2, R3: the same start, fenced, that comes back is judged by what it does from then on.
func TestR3FencedAndBack(t *testing.T) {
	r := newControlRoom(t, oneRow, memA, memB)
	r.run(time.Second)
	r.applied[memB] = r.Version
	r.alive = []Member{memA}
	r.run(1500 * time.Millisecond)
	r.do(Command{Kind: FenceNode, Member: memB})
	r.run(5 * time.Second)
	r.do(Command{Kind: Register, Node: testNode(memB)})
	r.alive = []Member{memA, memB}
	r.expect(1900*time.Millisecond, "") // its table is old; it has 2 s to follow
	delete(r.applied, memB)
	r.expect(5*time.Second, "")
}

// lostRoom is a grid whose only partition is lost, seen by the controller for the first time in the next tick.
func lostRoom(t *testing.T, s Settings) *controlRoom {
	r := newControlRoom(t, s, memA, memB)
	r.run(time.Second)
	r.alive = []Member{memB}
	r.do(Command{Kind: FenceNode, Member: memA})
	return r
}

var resetting = Settings{Partitions: 1, Copies: 2, MinISR: 1, ResetLost: true}

// R10: a lost partition is reset 2 L after it was seen to be lost, no sooner: its last owner may serve until then.
func TestR10ResetWaits2L(t *testing.T) {
	r := lostRoom(t, resetting)
	r.expect(3*time.Second, "2.05s reset on b") // seen after 50 ms
}

// R10: where the settings do not allow it, never.
func TestR10NoReset(t *testing.T) {
	s := resetting
	s.ResetLost = false
	lostRoom(t, s).expect(10*time.Second, "")
}

// R10: the wait begins anew after the controller was asleep, in a new leader, and for another loss.
func TestR10ResetWaitsAnew(t *testing.T) {
	t.Run("asleep", func(t *testing.T) {
		r := lostRoom(t, resetting)
		r.expect(1900*time.Millisecond, "")
		r.now += time.Second
		r.expect(3*time.Second, "2.05s reset on b")
	})
	t.Run("new leader", func(t *testing.T) {
		r := lostRoom(t, resetting)
		r.leads = false
		r.expect(5*time.Second, "")
		r.leads = true
		r.expect(3*time.Second, "2.05s reset on b")
	})
	t.Run("leader again", func(t *testing.T) {
		r := lostRoom(t, resetting)
		r.expect(1900*time.Millisecond, "")
		r.leads = false
		r.expect(ms(100), "")
		r.leads = true
		r.expect(3*time.Second, "2.05s reset on b")
	})
	t.Run("resumed and lost again", func(t *testing.T) {
		r := lostRoom(t, resetting)
		r.expect(1900*time.Millisecond, "")
		r.do(Command{Kind: Register, Node: testNode(memA)})
		r.do(Command{Kind: FenceNode, Member: memA}) // between two ticks
		r.expect(3*time.Second, "2.05s reset on b")
	})
}

// R10: a reset that changed nothing is proposed again, but not at every tick; where it was made, it is over.
func TestR10ResetIsRepeated(t *testing.T) {
	r := lostRoom(t, resetting)
	r.run(2 * time.Second)
	count := 0
	for range 40 { // 2 s
		r.now += ms(50)
		r.c.Heard(memB, r.Version, r.now)
		for _, c := range r.c.Tick(r.Table, true, r.now) {
			count += len(describeCommand(c))
		}
	}
	if count < 2 || count > 5 {
		t.Errorf("proposed %d times in 2 s", count)
	}
	r.change(Reset, memB)
	r.expect(5*time.Second, "")
}

// R10: with several losses the emptied partitions are spread.
func TestR10ResetsAreSpread(t *testing.T) {
	s := resetting
	s.Partitions = 8
	r := newControlRoom(t, s, memA, memB, memC)
	r.run(time.Second)
	r.alive = []Member{memB, memC}
	r.do(Command{Kind: FenceNode, Member: memA})
	r.run(2 * time.Second)
	on := map[NodeID]int{}
	for range 20 {
		r.now += ms(50)
		r.c.Heard(memB, r.Version, r.now)
		r.c.Heard(memC, r.Version, r.now)
		for _, c := range r.c.Tick(r.Table, true, r.now) {
			for _, ch := range c.Changes {
				if ch.Kind == Reset {
					on[ch.Member.Node]++
				}
			}
		}
		if len(on) > 0 {
			break
		}
	}
	if on["b"] != 4 || on["c"] != 4 {
		t.Errorf("resets: %v, want 4 on each of b and c", on)
	}
}

// What was heard of starts that are over is forgotten.
func TestR3ForgetsOldStarts(t *testing.T) {
	r := newControlRoom(t, oneRow, memA, memB)
	for i := range 50 {
		m := Member{"b", Incarnation{byte(i + 2)}}
		r.alive = []Member{memA, m}
		r.run(ms(100))
		r.do(Command{Kind: Register, Node: testNode(m)})
	}
	r.run(ms(100))
	if n := len(r.c.heard); n != 2 {
		t.Errorf("%d members are remembered, of 2 nodes", n)
	}
}

// R27: the level is raised once the last node of the registry speaks it, one that is down included.
func TestR27Raise(t *testing.T) {
	r := newControlRoom(t, oneRow, memA, memB)
	upgrade := func(m Member, old Member) {
		n := testNode(m)
		n.FeatureMax = 3
		r.do(Command{Kind: Register, Node: n, Member: old})
	}
	r.expect(time.Second, "")
	upgrade(memA, memA)
	r.expect(time.Second, "")
	r.do(Command{Kind: FenceNode, Member: memB})
	r.alive = []Member{memA}
	r.expect(time.Second, "")
	upgrade(memB2, memB)
	r.alive = []Member{memA, memB2}
	r.expect(200*time.Millisecond, "50ms feature level 3")
	r.expect(time.Second, "350ms feature level 3") // nothing came of it
	r.do(Command{Kind: SetFeature, Feature: 3})
	r.expect(2*time.Second, "")
}
