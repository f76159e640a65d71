package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// TestPromiseVoters: what a grid promises depends on who votes (R32). A node is written NAME, or NAME* where it votes; then a status, where
// it is not alive.
func TestPromiseVoters(t *testing.T) {
	const anyOne = "2 copies: survives any one crash; another one before the copies are made again may lose data"
	for _, test := range []struct{ nodes, text, why string }{
		{"a* b", "2 copies on two nodes: survives a crash of the one that does not vote; while the voter a is down partitions stop: " +
			"a third node, or a witness, helps", ""},
		{"a* b c", anyOne, "1 of 3 voters so far: no voter may fail (a)"},
		{"a* b* c", anyOne, "2 of 3 voters so far: no voter may fail (a, b)"},
		{"a* b* c*", anyOne, ""},
		{"a* b* c*:fenced", anyOne, "2 of 3 voters are there: no other may fail (a, b)"},
		{"a* b* c*:failed d", anyOne, "2 of 3 voters are there: no other may fail (a, b)"},
		{"a* b* c*:draining", anyOne, ""}, // two are left, and will have one voter
		{"a* b* c* d e f:fenced", anyOne, ""},
		{"a* b* c* d e f g", anyOne, "3 of 5 voters so far: no voter may fail (a, b, c)"},
		{"a* b* c* d* e* f g", anyOne, ""},
		{"a* b* c* d* e*:stopping f g", anyOne, ""},
		{"a* b* c* d*:failed e*:fenced f g", anyOne, "3 of 5 voters are there: no other may fail (a, b, c)"},
	} {
		table := &core.Table{Settings: core.Settings{Copies: 2, MinISR: 1}}
		var members []MemberState
		for _, word := range strings.Fields(test.nodes) {
			name, state, _ := strings.Cut(word, ":")
			name, voter := strings.CutSuffix(name, "*")
			if state == "" {
				state = core.Alive.String()
			}
			members = append(members, MemberState{ID: core.NodeID(name), Voter: voter, State: state, Drains: state == "draining"})
			table.Nodes = append(table.Nodes, core.Node{ID: core.NodeID(name), Role: core.Data})
		}
		p := promiseOf(table, PartitionCounts{}, "a", members)
		if why := strings.Join(p.Why, "; "); p.Text != test.text || why != test.why || p.Kept != (why == "") {
			t.Errorf("%s: kept %v\n%s\nbecause %q\nwant %q\nbecause %q", test.nodes, p.Kept, p.Text, why, test.text, test.why)
		}
	}
}

// TestNodePromise: no node says that the promise is kept before losing any one would be borne, and each does then.
func TestNodePromise(t *testing.T) {
	onNodes(t, func(t *testing.T, g *nodeGrid) {
		say := func(what, why string) {
			t.Helper()
			within(t, time.Minute, what, func() bool {
				for _, n := range g.nodes {
					if s := n.Status(); strings.Join(s.Promise.Why, "; ") != why || s.Promise.Kept != (why == "") {
						return false
					}
				}
				return true
			})
		}
		g.form(2)
		say("two nodes keep what two can", "")
		if text := g.nodes["b"].Status().Promise.Text; !strings.Contains(text, "while the voter a is down") {
			t.Errorf("two nodes promise: %s", text)
		}
		g.start("c", joins("a"))
		g.healed(3)
		say("one of three votes", "1 of 3 voters so far: no voter may fail (a)")
		say("three vote", "")
		g.kill(g.nodes["c"])
		g.healed(2)
		say("two of three are left", "2 of 3 voters are there: no other may fail (a, b)")
		g.start("c", joins("a"))
		g.healed(3)
		say("all are back", "")
	})
}
