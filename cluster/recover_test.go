package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// votersOf are the names of the nodes that vote, as a node knows it.
func (n *gridNode) voterNames() (names []string) {
	for _, id := range n.control.Load().Voters() {
		names = append(names, string(id))
	}
	slices.Sort(names)
	return names
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

// loseVoters ends two of three voters at once, and returns the nodes that are left: the voter first.
func (g *nodeGrid) loseVoters() (left []*gridNode, lost []*gridNode) {
	g.Helper()
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
	within(g.T, 10*time.Second, "nobody leads", func() bool {
		return !slices.ContainsFunc(left, func(n *gridNode) bool { return n.Status().Leader != "" })
	})
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
				g.formVoters()
				g.putAll(100, "one")
				left, lost := g.loseVoters()
				founder := left[i]
				old := founder.Table().Version
				r, err := g.recoverAt(founder, lost...)
				if err != nil {
					t.Fatal(err)
				}
				if r.Generation.Number != 1 || r.Lost != 0 || r.Version <= old {
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
					if n.Table().Generation() != 1 || n.Status().member(t, n.self.Node).State != "alive" {
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
