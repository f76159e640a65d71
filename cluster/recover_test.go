package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// voterNames are the names of the nodes that vote, as a node knows it.
func (n *gridNode) voterNames() (names []string) {
	for _, id := range n.control.Load().Voters() {
		names = append(names, string(id))
	}
	slices.Sort(names)
	return names
}

// noLeader waits until some nodes hear nobody lead.
func (g *nodeGrid) noLeader(nodes ...*gridNode) {
	g.Helper()
	within(g.T, 10*time.Second, "nobody leads", func() bool {
		return !slices.ContainsFunc(nodes, func(n *gridNode) bool { return n.Status().Leader != "" })
	})
}

// formVoters starts five nodes with three copies of everything, and waits until three of them vote.
func (g *nodeGrid) formVoters() {
	g.Helper()
	settings := nodeSettings
	settings.Copies = 3
	g.start("a", func(c *NodeConfig) { c.Create = &settings })
	for _, name := range []string{"b", "c", "d", "e"} {
		g.start(name, joins("a"))
	}
	g.healed(5)
	within(g.T, 2*time.Minute, "three voters", func() bool { return len(g.nodes["a"].voterNames()) == 3 })
}

// loseVoters has five nodes keep some values, "one" each, then ends two of their three voters at once, and returns the nodes that are
// left: the voter first.
func (g *nodeGrid) loseVoters(values int) (left []*gridNode, lost []*gridNode) {
	g.Helper()
	g.formVoters()
	g.putAll(values, "one")
	voters := g.nodes["a"].voterNames()
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		n := g.nodes[name]
		switch {
		case name == voters[1] || name == voters[2]:
			lost = append(lost, n)
		case name == voters[0]:
			left = append([]*gridNode{n}, left...)
		default:
			left = append(left, n)
		}
	}
	for _, n := range lost {
		g.network.Isolate(hostOf(n.name))
	}
	for _, n := range lost {
		g.kill(n)
	}
	g.noLeader(left...)
	return left, lost
}

// recoverAt has another control plane begun at a node.
func (g *nodeGrid) recoverAt(n *gridNode, gone ...*gridNode) (Recovery, error) {
	g.Helper()
	ctx, cancel := context.WithTimeout(g.Context(), 20*time.Second)
	defer cancel()
	s, err := n.SurveyControl(ctx)
	if err != nil {
		return Recovery{}, err
	}
	var dead []core.Member
	for _, d := range gone {
		dead = append(dead, d.self)
	}
	return n.RecoverControl(ctx, s, dead)
}

// noFailures fails where a node has given up.
func (g *nodeGrid) noFailures(nodes ...*gridNode) {
	g.Helper()
	for _, n := range nodes {
		n.mu.Lock()
		if len(n.mu.failed) > 0 {
			g.Errorf("%s gave up: %v", n.name, n.mu.failed)
		}
		n.mu.Unlock()
	}
}

// TestR34NewControlPlane loses two of three voters with their disks. What was acknowledged is there under the new control plane, which is
// whole again by itself; an old voter that comes back with its disk is not followed, and joins once that is put aside.
func TestR34NewControlPlane(t *testing.T) {
	for i, at := range []string{"the voter that is left", "a node that has no vote"} {
		t.Run(at, func(t *testing.T) {
			dir := t.TempDir()
			onNodes(t, func(t *testing.T, g *nodeGrid) {
				g.dir = dir
				left, lost := g.loseVoters(100)
				founder := left[i]
				old := founder.Table().Version
				for range i { // an attempt that ended in the middle has left a promise
					if err := left[2].control.Load().promise(Generation{1, [16]byte{9}}, addrOf("z")); err != nil {
						t.Fatal(err)
					}
				}
				r, err := g.recoverAt(founder, lost...)
				if err != nil {
					t.Fatal(err)
				}
				if r.Generation.Number != uint64(1+i) || r.Lost != 0 || r.Version <= old {
					t.Errorf("recovered: %+v, after table %d", r, old)
				}
				g.checkAll(100, "one")
				g.putAll(100, "two")
				g.healed(3)
				within(t, 2*time.Minute, "three voters again", func() bool {
					return len(founder.voterNames()) == 3
				})
				g.checkAll(100, "two")
				for _, n := range left {
					if n.Table().Generation() != uint64(1+i) || n.Status().member(t, n.self.Node).State != "alive" {
						t.Errorf("%s is not of the new control plane: %s", n.name, statusText(n.Status()))
					}
				}
				g.noFailures(left...)
				g.oldVoterReturns(lost[0].name, founder)
			})
		})
	}
}

// oldVoterReturns has a voter of the old control plane come back with its disk.
func (g *nodeGrid) oldVoterReturns(name string, founder *gridNode) {
	g.Helper()
	for what, joins := range map[string]func(*NodeConfig){"by itself": joins(), "with --join": joins(founder.name)} {
		ctx, cancel := context.WithTimeout(g.Context(), 20*time.Second)
		defer cancel()
		if _, err := g.try(ctx, name, joins); !errors.Is(err, ErrReplaced) {
			g.Errorf("an old voter came back %s: %v", what, err)
		}
	}
	if n := len(founder.Table().Nodes); n != 3 {
		g.Errorf("%d nodes after an old voter's return", n)
	}
	g.putAside(name)
	g.start(name, joins(founder.name))
	g.healed(4)
	g.checkAll(100, "two")
}

// putAside does to a node's data directory what the message about it asks for.
func (g *nodeGrid) putAside(name string) {
	g.Helper()
	for _, file := range []string{gridFile, "raft"} {
		path := filepath.Join(g.dir, name, file)
		if err := os.Rename(path, path+".old"); err != nil {
			g.Error(err)
		}
	}
}

// TestR34RefusesLiveGrid: nothing is begun beside a control plane that lives, nor beside nodes that could.
func TestR34RefusesLiveGrid(t *testing.T) {
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		g.form(2)
		a, b := g.nodes["a"], g.nodes["b"]
		refused := func(at *gridNode, want string, gone ...*gridNode) {
			t.Helper()
			if _, err := g.recoverAt(at, gone...); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
		refused(b, "the control plane answers")
		g.network.Isolate(hostOf("a"))
		g.noLeader(b)
		refused(b, "1 nodes do not answer, and could still be serving: a/")
		g.network.Rejoin(hostOf("a"))
		refused(b, "the control plane answers", a)
		g.network.Isolate(hostOf("a"))
		g.noLeader(b)
		s, err := b.SurveyControl(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		other := core.Member{Node: "a", Inc: core.Incarnation{9}}
		if err := s.Judge([]core.Member{other}); err == nil || !strings.Contains(err.Error(), "names no such start") {
			t.Errorf("another start of a: %v", err)
		}
		// It comes back between the look and the deed: nothing of the old control plane is followed by then, and what was promised to b
		// by itself counts.
		if _, err := b.RecoverControl(t.Context(), s, []core.Member{a.self}); err != nil {
			t.Fatal(err)
		}
		g.network.Rejoin(hostOf("a"))
		within(t, 10*time.Second, "a ends", func() bool {
			a.mu.Lock()
			defer a.mu.Unlock()
			return len(a.mu.failed) > 0 && errors.Is(a.mu.failed[0], ErrReplaced)
		})
		if e := b.Table().Node("a"); e != nil {
			t.Errorf("a is in the new table: %+v", e)
		}
	})
}

// TestR34Judge has surveys of one node's answer and others', and what is refused.
func TestR34Judge(t *testing.T) {
	grid := [16]byte{7}
	member := func(name string) core.Member {
		return core.Member{Node: core.NodeID(name), Inc: core.Incarnation{name[0]}}
	}
	table := func(version uint64, names ...string) *core.Table {
		t := &core.Table{Version: version, Settings: core.Settings{Grid: grid, Partitions: 1}}
		for _, name := range names {
			t.Nodes = append(t.Nodes, core.Node{ID: core.NodeID(name), Inc: member(name).Inc, Peer: name})
		}
		t.Rows = []core.Row{{Epoch: 1, Version: 1, Primary: member("a"), ISR: []core.Member{member("a")}}}
		return t
	}
	answer := func(name string, of *core.Table) surveyAnswer {
		list := serverList{Index: of.Version, Servers: []server{{ID: "a", Votes: true}, {ID: "b", Votes: true}, {ID: "c", Votes: true}, {ID: "d"}}}
		return surveyAnswer{Member: member(name), Info: gridInfo{Member: true, Grid: grid, Servers: list, Delta: of.Since(0)}}
	}
	all := table(5, "a", "b", "c", "d")
	change := func(a surveyAnswer, f func(*surveyAnswer)) surveyAnswer {
		f(&a)
		return a
	}
	votes := func(a *surveyAnswer) { a.Votes = true }
	for _, row := range []struct {
		what    string
		answers []surveyAnswer // the first is that of the node itself
		heard   map[core.NodeID]core.NodeID
		gone    string
		want    string // "": it may be done
	}{
		{what: "two of three voters gone", answers: []surveyAnswer{change(answer("a", all), votes), answer("d", all)}, gone: "bc"},
		{what: "all voters gone", answers: []surveyAnswer{answer("d", all)}, gone: "abc"},
		{what: "one is not named", answers: []surveyAnswer{answer("a", all), answer("d", all)}, gone: "b",
			want: "1 nodes do not answer, and could still be serving: c/63000000 at c: bring them back, or name them as off for good"},
		{what: "only a newer table knows of one", answers: []surveyAnswer{answer("a", table(4, "a", "d")), answer("d", table(5, "a", "b", "d"))},
			want: "1 nodes do not answer, and could still be serving: b/62000000 at b: bring them back, or name them as off for good"},
		{what: "only an older table knows of one", answers: []surveyAnswer{answer("a", table(4, "a", "b", "d")), answer("d", table(5, "a", "d"))}},
		{what: "one that answers is named", answers: []surveyAnswer{answer("a", all), answer("d", all)}, gone: "bcd",
			want: "d/64000000 was said to be off for good, and its node answers"},
		{what: "one that answers another is named", answers: []surveyAnswer{answer("a", all), answer("d", all)}, gone: "bc",
			heard: map[core.NodeID]core.NodeID{"c": "d"}, want: "c/63000000 was said to be off for good, and its node answers d"},
		{what: "one of no table is named", answers: []surveyAnswer{answer("a", all), answer("d", all)}, gone: "bcx",
			want: "x/78000000 was said to be off for good, and the newest table names no such start"},
		{what: "a majority of the voters is there", gone: "c",
			answers: []surveyAnswer{change(answer("a", all), votes), change(answer("b", all), votes), answer("d", all)},
			want:    "2 of 3 voters are there (a, b): they will find a leader by themselves"},
		{what: "a majority, without its disks", gone: "c", answers: []surveyAnswer{change(answer("a", all), votes), answer("b", all), answer("d", all)}},
		{what: "somebody hears a leader", gone: "bc",
			answers: []surveyAnswer{answer("a", all), change(answer("d", all), func(a *surveyAnswer) { a.Leader = "b" })},
			want:    "the control plane answers: d hears b lead it"},
		{what: "another grid", gone: "bc",
			answers: []surveyAnswer{answer("a", all), change(answer("d", all), func(a *surveyAnswer) { a.Info.Grid[0] = 8 })},
			want:    fmt.Sprintf("the nodes disagree on which grid they are of: d says 08%030d, and this node 07%030d", 0, 0)},
		{what: "a later generation", gone: "bc",
			answers: []surveyAnswer{answer("a", all), change(answer("d", all), func(a *surveyAnswer) { a.Info.Generation.Number = 1 })},
			want:    "d is of generation 1 (00000000) of the control plane, and this node of 0"},
		{what: "no table", answers: []surveyAnswer{{Member: member("a")}}, want: "no node that answers has a table"},
	} {
		s := newSurvey(row.answers[0], "at")
		s.Grid = grid
		for _, a := range row.answers[1:] {
			s.take(a, string(a.Member.Node))
		}
		s.settle()
		if row.heard != nil {
			s.heard = row.heard
		}
		var gone []core.Member
		for _, name := range row.gone {
			gone = append(gone, member(string(name)))
		}
		if err := s.Judge(gone); fmt.Sprint(err) != row.want && (err != nil || row.want != "") {
			t.Errorf("%s: %v, want %q", row.what, err, row.want)
		}
	}
}

// TestR34NewestTable: of the tables that come with promises the newest counts, and none of another grid or generation.
func TestR34NewestTable(t *testing.T) {
	known, newer := bigTable(t, 16, 3), bigTable(t, 16, 3)
	newer.Version = known.Version + 1
	s := &Survey{Grid: known.Settings.Grid}
	info := func(change func(*core.Table)) gridInfo {
		c := newer.Clone()
		change(c)
		return gridInfo{Member: true, Delta: c.Since(0)}
	}
	for what, row := range map[string]struct {
		info gridInfo
		want uint64 // version; 0: an error
	}{
		"none":               {gridInfo{}, known.Version},
		"newer":              {info(func(*core.Table) {}), newer.Version},
		"older":              {info(func(c *core.Table) { c.Version = known.Version - 1 }), known.Version},
		"another grid's":     {info(func(c *core.Table) { c.Settings.Grid[3]++ }), 0},
		"another generation": {info(func(c *core.Table) { c.Version = 1 << 40 }), 0},
	} {
		got, err := s.newer(known, row.info)
		if (err != nil) != (row.want == 0) || err == nil && got.Version != row.want {
			t.Errorf("%s: version %d, %v", what, got.Version, err)
		}
	}
}

// TestR34Promise: who has promised to follow another control plane takes no part in the old one any more, not even after a restart; and
// does again once that is taken back.
func TestR34Promise(t *testing.T) {
	dir := t.TempDir()
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		g.dir = dir
		g.form(3)
		a := g.nodes["a"]
		within(t, 2*time.Minute, "three voters", func() bool { return len(a.voterNames()) == 3 })
		for _, name := range []string{"b", "c"} {
			g.network.Isolate(hostOf(name))
		}
		g.kill(g.nodes["b"])
		g.kill(g.nodes["c"])
		g.noLeader(a)
		first := Generation{1, [16]byte{1}}
		if err := a.control.Load().promise(first, addrOf("a")); err != nil {
			t.Fatal(err)
		}
		for what, g := range map[string]Generation{"as late a one": {1, [16]byte{2}}, "the present one": {}} {
			if err := a.control.Load().promise(g, addrOf("a")); err == nil {
				t.Errorf("promised %s too", what)
			}
		}
		if err := a.control.Load().found(Generation{1, [16]byte{2}}, a.Table()); err == nil {
			t.Fatal("a begins what it has not promised to follow")
		}
		version := a.control.Load().info(0).Delta.Version
		opened := make(chan *gridNode, 1)
		resume := func(name string) {
			n, err := g.open(t.Context(), name, joins())
			if err != nil {
				t.Errorf("open %s: %v", name, err)
			}
			opened <- n
		}
		go resume("b") // a and b are two of three voters
		b := <-opened  // it has a table from a
		g.run(b)
		pass(20 * time.Second)
		if got := a.control.Load().info(0).Delta.Version; got != version || a.Status().Leader != "" || b.Status().Leader != "" {
			t.Errorf("table %d after %d; %q leads, says b", got, version, b.Status().Leader)
		}
		g.kill(a)
		go resume("a")
		pass(20 * time.Second)
		if id := b.Status().Leader; id != "" || len(opened) > 0 {
			t.Errorf("%s leads, says b: a promise was forgotten with the process", id)
		}
		// Who asked for the promise takes it back.
		tr := open(t, g.network.Host(hostOf("z")), addrOf("z"), identity("z"), rightKeys)
		tr.SetGrid(a.Settings().Grid)
		c := &ControlPlane{config: ControlConfig{Transport: tr}, links: controlLinks{transport: tr}}
		within(t, time.Minute, "a is released", func() bool { return c.askRelease(t.Context(), addrOf("a"), first) == nil })
		a = <-opened
		g.run(a)
		within(t, time.Minute, "two voters find a leader", func() bool { return a.Status().Leader != "" && b.Status().Leader != "" })
		if a.control.Load().generation != (Generation{}) {
			t.Error("a is of another generation")
		}
	})
}

// TestR34PromiseSuperseded: a promise that a later one has taken the place of counts again when that is taken back, for by then a control
// plane may have been begun on it; until then the node neither follows nor fails. What is taken back in the other order leaves nothing.
func TestR34PromiseSuperseded(t *testing.T) {
	dir := t.TempDir()
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		g.dir = dir
		left, lost := g.loseVoters(50)
		n := left[0]
		c := n.control.Load()
		one, two, three := Generation{1, [16]byte{1}}, Generation{2, [16]byte{2}}, Generation{3, [16]byte{3}}
		do := func(what string, err error, promised, superseded Generation, founder string) {
			t.Helper()
			saved, loadErr := loadGrid(c.config.DataDir, n.self.Node)
			var behind Generation
			for _, p := range saved.Superseded {
				behind = p.Generation
			}
			if err != nil || loadErr != nil || saved.Promised != promised || behind != superseded || saved.Peers[0] != founder || !c.promises.frozen.Load() {
				t.Errorf("%s: %v; on disk %+v, %v, frozen %v", what, err, saved, loadErr, c.promises.frozen.Load())
			}
		}
		do("promise one", c.promise(one, "one:1"), one, Generation{}, "one:1")
		do("promise two", c.promise(two, "two:1"), two, one, "two:1")
		do("promise two again", c.promise(two, "two:1"), two, one, "two:1")
		c.hear(Identity{Member: left[1].self, Generation: one})
		if c.mayFollow(one) || !c.mayFollow(two) {
			t.Error("it may follow one, or not two")
		}
		synctest.Wait()
		g.noFailures(left...)
		do("take back two", c.release(two), one, Generation{}, "one:1")
		if !c.mayFollow(one) || *c.founder.Load() != "one:1" || n.control.Load() != c {
			t.Error("it goes on with what it has given up, or looks for one elsewhere")
		}
		do("promise three", c.promise(three, "three:1"), three, one, "three:1")
		do("take back one", c.release(one), three, Generation{}, "three:1")
		if err := c.release(three); err != nil {
			t.Error(err)
		}
		asItWas := func() bool {
			c := n.control.Load()
			return !c.promises.frozen.Load() && c.savedState().Promised == (Generation{})
		}
		within(t, 10*time.Second, "it is as it was", asItWas)

		// The same in a later generation.
		r, err := g.recoverAt(n, lost...)
		if err != nil {
			t.Fatal(err)
		}
		within(t, 2*time.Minute, "three voters", func() bool { return len(n.voterNames()) == 3 })
		g.kill(left[1])
		g.kill(left[2])
		g.noLeader(n)
		c = n.control.Load()
		if err := errors.Join(c.promise(Generation{5, [16]byte{5}}, "five:1"), c.release(Generation{5, [16]byte{5}})); err != nil {
			t.Error(err)
		}
		within(t, 10*time.Second, "it is as it was", asItWas)
		if of := n.control.Load().generation; of != r.Generation {
			t.Errorf("it is of generation %s, want %s", of, r.Generation)
		}
		g.noFailures(n)
	})
}

// TestR34GivenUp: an attempt that fails in the middle leaves everything as it was, and the next one works.
func TestR34GivenUp(t *testing.T) {
	dir := t.TempDir()
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		g.dir = dir
		left, lost := g.loseVoters(50)
		s, err := left[0].SurveyControl(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		g.network.Isolate(hostOf(left[2].name))
		if _, err := left[0].RecoverControl(t.Context(), s, []core.Member{lost[0].self, lost[1].self}); err == nil {
			t.Error("begun without a promise of every node")
		}
		g.network.Rejoin(hostOf(left[2].name))
		within(t, 10*time.Second, "all are as they were", func() bool {
			return !slices.ContainsFunc(left, func(n *gridNode) bool {
				c := n.control.Load()
				return c.promises.frozen.Load() || c.savedState().Promised != (Generation{})
			})
		})
		if r, err := g.recoverAt(left[1], lost...); err != nil || r.Generation.Number != 1 {
			t.Fatalf("the next attempt: %+v, %v", r, err)
		}
		g.healed(3)
		g.checkAll(50, "one")
		g.noFailures(left...)
	})
}

// TestR34Reset (R10): where losses are reset nobody serves without the controller's word; that of the new control plane is as good.
func TestR34Reset(t *testing.T) {
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		settings := nodeSettings
		settings.ResetLost = true
		a := g.start("a", func(c *NodeConfig) { c.Create = &settings })
		b := g.start("b", joins("a"))
		g.healed(2)
		g.putAll(50, "one")
		g.kill(a) // the only voter
		within(t, 2*nodeLease, "b serves nothing", func() bool {
			for p := range nodeSettings.Partitions {
				if g.leader(p) != nil {
					return false
				}
			}
			return true
		})
		g.noLeader(b)
		if _, err := g.recoverAt(b, a); err != nil {
			t.Fatal(err)
		}
		g.checkAll(50, "one")
		g.putAll(50, "two")
	})
}

// TestR34TwoAtOnce has another control plane begun at two nodes at the same time: there is one in the end, whoever has to try again.
func TestR34TwoAtOnce(t *testing.T) {
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		left, lost := g.loseVoters(50)
		results := make(chan error, 2)
		for _, n := range left[1:] {
			go func() {
				_, err := g.recoverAt(n, lost...)
				results <- err
			}()
		}
		first, second := <-results, <-results
		if first == nil && second == nil {
			t.Error("both were begun")
		}
		if first != nil && second != nil {
			t.Logf("neither: %v; %v", first, second)
			within(t, time.Minute, "the next attempt", func() bool {
				_, err := g.recoverAt(left[0], lost...)
				return err == nil
			})
		}
		within(t, time.Minute, "one control plane", func() bool {
			of := left[0].control.Load().generation
			return of.Number > 0 && !slices.ContainsFunc(left, func(n *gridNode) bool { return n.control.Load().generation != of })
		})
		g.healed(3)
		g.checkAll(50, "one")
		g.noFailures(left...)
	})
}

// TestR34Apart: a person has another control plane begun on both sides of a cut, and says of each that the other is gone. Neither follows
// the other, then or later, and nothing of one gets into the other.
func TestR34Apart(t *testing.T) {
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		left, lost := g.loseVoters(0)
		one, others := left[0], left[1:]
		g.network.Isolate(hostOf(one.name))
		for _, o := range others {
			g.network.Reset(hostOf(one.name), hostOf(o.name))
		}
		if _, err := g.recoverAt(one, append(lost, others...)...); err != nil {
			t.Fatal(err)
		}
		if _, err := g.recoverAt(others[0], append(lost, one)...); err != nil {
			t.Fatal(err)
		}
		g.network.Rejoin(hostOf(one.name))
		pass(30 * time.Second)
		for _, n := range left {
			same := n == one
			for _, e := range n.Table().Nodes {
				if (string(e.ID) == one.name) != same {
					t.Errorf("%s is in the table of %s", e.ID, n.name)
				}
			}
		}
		if _, err := one.transport.Dial(t.Context(), addrOf(others[0].name), Data); !errors.Is(err, ErrForked) {
			t.Errorf("a stream from one to the other: %v", err)
		}
		g.noFailures(left...)
	})
}

// TestR34Joiners: who waits to join when another control plane is begun, as voters with new disks do, joins that.
func TestR34Joiners(t *testing.T) {
	dir := t.TempDir()
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		g.dir = dir
		g.form(2)
		g.putAll(20, "one")
		a, b := g.nodes["a"], g.nodes["b"]
		g.kill(a) // the only voter
		g.noLeader(b)
		joined := make(chan *gridNode, 1)
		go func() {
			n, err := g.open(t.Context(), "c", joins("b"))
			if err != nil {
				t.Errorf("open c: %v", err)
			}
			joined <- n
		}()
		pass(5 * time.Second)
		if _, err := g.recoverAt(b, a); err != nil {
			t.Fatal(err)
		}
		g.run(<-joined)
		g.healed(2)
		g.checkAll(20, "one")
		// Both know it after a restart: c has no other state, and b is the only voter.
		c := g.nodes["c"]
		g.kill(c)
		c = g.start("c", func(*NodeConfig) {})
		g.healed(2)
		g.checkAll(20, "one")
		g.kill(b)
		b = g.start("b", func(*NodeConfig) {})
		g.healed(2)
		g.checkAll(20, "one")
		for _, n := range []*gridNode{b, c} {
			if n.control.Load().generation.Number != 1 {
				t.Errorf("%s is of generation %s", n.name, n.control.Load().generation)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "b", "raft-1", "raft.db")); err != nil {
			t.Error(err)
		}
	})
}

// TestR34Streams: between generations there are control streams only, which take no proposals.
func TestR34Streams(t *testing.T) {
	inMemory(t, func(t *testing.T, n *MemNetwork) {
		later := identity("b")
		later.Generation = Generation{2, [16]byte{5}}
		a := open(t, n.Host(hostA), hostA+":7000", identity("a"), rightKeys)
		b := open(t, n.Host(hostB), hostB+":7000", later, rightKeys)
		heard := map[core.NodeID]Generation{}
		heardB := make(chan Identity, 64)
		a.HandleGenerations(func(peer Identity) { heard[peer.Member.Node] = peer.Generation })
		b.HandleGenerations(func(peer Identity) { heardB <- peer })
		for _, kind := range []StreamKind{Gossip, Raft, Data, Forward} {
			b.Handle(kind, func(c *Conn) { c.Close() })
			if _, err := a.Dial(t.Context(), hostB+":7000", kind); !errors.Is(err, ErrReplaced) {
				t.Errorf("%s to a later generation: %v", kind, err)
			}
			a.Handle(kind, func(c *Conn) { c.Close() })
			if _, err := b.Dial(t.Context(), hostA+":7000", kind); !errors.Is(err, ErrReplacedPeer) {
				t.Errorf("%s to an earlier generation: %v", kind, err)
			}
		}
		if heard["b"] != later.Generation || (<-heardB).Member.Node != "a" {
			t.Errorf("who was heard: %v", heard)
		}
		service := &scriptedService{}
		b.Handle(Control, func(c *Conn) { serveControl(c, service) })
		links := &controlLinks{transport: a}
		t.Cleanup(links.close)
		info, err := links.pull(t.Context(), hostB+":7000", pullTimeout, 5)
		if err != nil || info.Generation != later.Generation || service.since != 0 {
			t.Errorf("pull: %+v since %d, %v", info, service.since, err)
		}
		if _, err := links.propose(t.Context(), hostB+":7000", true, []byte("command")); !errors.Is(err, errNotSent) {
			t.Errorf("a proposal was sent: %v", err)
		}
		b2, _, err := links.ask(t.Context(), hostB+":7000", true, surveyRequest, appendSurvey(nil, nil), surveyAnswered)
		if err != nil || len(b2) == 0 {
			t.Errorf("survey: %v", err)
		}
		// A program that does send one gets no answer but that it was not taken.
		c, err := a.Dial(t.Context(), hostB+":7000", Control)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		answer, err := newControlStream(c).exchange(proposeRequest, []byte("command"), proposeAnswer)
		if p, bad := parseProposal(answer); err != nil || bad != nil || p.Status != proposalNotTaken {
			t.Errorf("a proposal of an earlier generation: %+v, %v, %v", p, err, bad)
		}
	})
}

// TestR34LateWords: neither the word of an old leader counts, nor a table of another generation, whatever its version.
func TestR34LateWords(t *testing.T) {
	c := &ControlPlane{generation: Generation{1, [16]byte{1}}, pullWanted: make(chan struct{}, 1), promises: newPromises()}
	c.config = ControlConfig{Now: func() time.Duration { return time.Second }, Lease: time.Second}
	c.follower = newTableFollower(func(core.Delta) {}, func() {})
	c.leader.Store(&leaderInfo{})
	c.list.Store(&serverList{})
	l := newControlLoop(c)
	old := core.Member{Node: "old", Inc: core.Incarnation{1}}
	for _, term := range []uint64{1, 1<<generationTermShift - 1, 2 << generationTermShift} {
		l.takeWord(old, &word{Term: term, Version: 99, Servers: 99, Sent: time.Second, Vouched: true}, time.Second)
		if id, _ := c.Leader(); id != "" || c.Vouched() != 0 || len(c.pullWanted) > 0 {
			t.Errorf("a word of term %d counts: %q leads, vouched until %v", term, id, c.Vouched())
		}
	}
	l.takeWord(old, &word{Term: 1<<generationTermShift + 1, Sent: time.Second, Vouched: true}, time.Second)
	if id, _ := c.Leader(); id != "old" || c.Vouched() != 2*time.Second {
		t.Errorf("a word of this generation does not count: %q leads", id)
	}
	table := bigTable(t, 16, 3)
	for what, g := range map[string]Generation{"an earlier generation": {}, "this one, it says": c.generation, "another as late": {1, [16]byte{2}}} {
		if err := c.learn(gridInfo{Member: true, Generation: g, Delta: table.Since(0)}); err == nil {
			t.Errorf("a table of %s is followed", what)
		}
	}
	if v := c.follower.newest().Version; v != 0 {
		t.Errorf("table %d", v)
	}
}

// TestR34FrozenTable: once a promise is given the table that was told stays the newest, wherever a newer one comes from.
func TestR34FrozenTable(t *testing.T) {
	f := newTableFollower(func(core.Delta) {}, func() {})
	old, newer := bigTable(t, 16, 3), bigTable(t, 16, 3)
	newer.Version++
	f.offer(old)
	f.freeze()
	f.offer(newer)
	if err := f.offerDelta(newer.Since(0)); err != nil {
		t.Error(err)
	}
	if got := f.newest().Version; got != old.Version {
		t.Errorf("table %d after %d, which was promised to be the last", got, old.Version)
	}
}
