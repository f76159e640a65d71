package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// parseVoters reads nodes such as "a voter, b voter dead=5s, c nonvoter caught up, d witness, e new, f left voter". A node has
// been there for an hour unless it is new (5 s) or dead for some time. Upper case leads.
func parseVoters(t *testing.T, text string, now time.Duration) (nodes []voterNode, leader core.NodeID) {
	t.Helper()
	for _, one := range strings.Split(text, ", ") {
		words := strings.Fields(one)
		n := voterNode{ID: core.NodeID(strings.ToLower(words[0])), Registered: true, Alive: true, Since: now - time.Hour}
		if string(n.ID) != words[0] {
			leader = n.ID
		}
		for _, w := range words[1:] {
			key, value, _ := strings.Cut(w, "=")
			switch key {
			case "voter":
				n.Suffrage = voter
			case "nonvoter":
				n.Suffrage = nonvoter
			case "ready":
				n.CaughtUp = true
			case "witness":
				n.Witness = true
			case "draining":
				n.Draining = true
			case "new":
				n.Since = now - 5*time.Second
			case "left":
				n.Registered, n.Alive = false, false
			case "zone":
				n.Zone = value
			case "dead":
				d, err := time.ParseDuration(value)
				if err != nil {
					t.Fatal(err)
				}
				n.Alive, n.Since = false, now-d
			default:
				t.Fatalf("%q in %q", w, one)
			}
		}
		nodes = append(nodes, n)
	}
	return nodes, leader
}

// TestPlanVoters is R32.
func TestPlanVoters(t *testing.T) {
	for _, c := range []struct{ what, nodes, want string }{
		{"one node", "A voter", ""},
		{"two nodes: one voter", "A voter, b", ""},
		{"three nodes follow the log first", "A voter, b, c", "add nonvoter b; add nonvoter c"},
		{"each one's own join counts", "A voter, b, c new", ""},
		{"one has not caught up: neither votes", "A voter, b nonvoter ready, c nonvoter", ""},
		{"both have: back to back", "A voter, b nonvoter ready, c nonvoter ready", "add voter b; add voter c"},
		{"cut short at two, it goes on", "A voter, b voter, c nonvoter ready", "add voter c"},
		{"the third is gone: not rested at two", "A voter, b voter, c nonvoter ready dead=2s", "remove c; remove b"},
		{"a nonvoter that died does not stay", "A voter, b nonvoter ready, c nonvoter dead=2s", "remove c"},
		{"three of six", "A voter, b voter, c voter, d, e, f", ""},
		{"five of seven", "A voter, b voter, c voter, d, e, f, g", "add nonvoter d; add nonvoter e"},
		{"five, ready", "A voter, b voter, c voter, d nonvoter ready, e nonvoter ready, f, g", "add voter d; add voter e"},

		{"a crash reduces nothing", "A voter, b voter, c voter dead=1h", ""},
		{"two crashes neither", "A voter, b voter dead=1h, c voter dead=1h", ""},
		{"a crash: nobody takes its vote at once", "A voter, b voter, c voter dead=30s, d", ""},
		{"gone: another takes its vote", "A voter, b voter, c voter dead=2m, d", "add nonvoter d"},
		{"gone: its own goes last", "A voter, b voter, c voter dead=2m, d nonvoter ready", "add voter d; remove c"},
		{"with two of three gone nothing can be done", "A voter, b voter dead=2m, c voter dead=2m, d nonvoter ready", ""},

		{"witnesses first", "A voter, b, c, w witness", "add nonvoter b; add nonvoter w"},
		{"a witness takes a vote", "A voter, b voter, c voter, w witness", "add nonvoter w"},
		{"the vote that goes is not the leader's", "A voter, b voter, c voter, w nonvoter ready witness", "add voter w; remove c"},
		{"zones", "A voter zone=1, b zone=1, c zone=1, d zone=2, e zone=3", "add nonvoter d; add nonvoter e"},
		{"votes stay, whatever the zones", "A voter zone=1, b voter zone=1, c voter zone=1, d zone=2", ""},

		{"drain moves the vote", "A voter, b voter draining, c voter, d", "add nonvoter d"},
		{"drain: then it goes", "A voter, b voter draining, c voter, d nonvoter ready", "add voter d; remove b"},
		{"drain waits for a new node", "A voter, b voter draining, c voter, d new", ""},
		{"three become two: one voter", "A voter, b voter draining, c voter", "remove b; remove c"},
		{"the leader drains: it hands over first", "A voter draining, b voter, c voter, d nonvoter ready", "add voter d; transfer to b"},
		{"the leader drains, of three", "A voter draining, b voter, c voter", "transfer to b"},
		{"and its heir goes on", "a voter draining, B voter, c voter", "remove a; remove c"},
		{"the only voter drains", "A voter draining, b", "add nonvoter b"},
		{"the only voter drains: it hands over", "A voter draining, b nonvoter ready", "add voter b; transfer to b"},
		{"and is removed", "a voter draining, B voter", "remove a"},
		{"all drain", "A voter draining, b draining", ""},
		{"a drain with a dead node: the dead vote goes first", "A voter, b voter dead=2s, c voter draining", "remove b; remove c"},

		{"who has left does not vote", "A voter, b voter, c left voter, d nonvoter ready", "add voter d; remove c"},
		{"who has left, of three", "A voter, b voter, c left voter", "remove c; remove b"},
		{"who has left follows no log", "A voter, b, c left nonvoter", "remove c"},
	} {
		t.Run(c.what, func(t *testing.T) {
			now := 24 * time.Hour
			nodes, leader := parseVoters(t, c.nodes, now)
			var got []string
			for _, s := range planVoters(nodes, leader, now) {
				got = append(got, s.String())
			}
			if got := strings.Join(got, "; "); got != c.want {
				t.Errorf("%s\n got %q\nwant %q", c.nodes, got, c.want)
			}
		})
	}
}

// TestPlanVotersEnds carries plans out, step by step, from many beginnings: it comes to rest, never at two voters, and never
// with fewer than a majority of the voters alive (R32).
func TestPlanVotersEnds(t *testing.T) {
	const nodesMax = 8
	kinds := []string{"", "voter", "voter draining", "voter dead=2m", "witness", "draining", "new", "left voter"}
	now := time.Hour
	for seed := range 4000 {
		var text []string
		for i := range 1 + seed%nodesMax {
			kind := kinds[(seed/nodesMax*(i+7)+i*i*seed)%len(kinds)]
			if i == 0 {
				kind = strings.TrimSpace("voter " + []string{"", "draining"}[seed/3%2])
			}
			text = append(text, strings.TrimSpace(fmt.Sprintf("%c %s", 'a'+i, kind)))
		}
		begin := strings.Join(text, ", ")
		nodes, _ := parseVoters(t, begin, now)
		if voters, alive := countVotes(nodes); alive <= voters/2 {
			continue // no leader
		}
		leader := core.NodeID("a")
		rounds := 0
		for steps := planVoters(nodes, leader, now); len(steps) > 0; steps = planVoters(nodes, leader, now) {
			if rounds++; rounds > 20 {
				t.Fatalf("%s: no end: %v", begin, steps)
			}
			for _, s := range steps {
				carryOutVote(nodes, s, &leader)
				if voters, alive := countVotes(nodes); alive <= voters/2 {
					t.Fatalf("%s: after %s %d of %d voters are alive", begin, s, alive, voters)
				}
			}
			for i := range nodes {
				nodes[i].CaughtUp = true
			}
		}
		if voters, alive := countVotes(nodes); voters == 2 && alive == 2 {
			t.Fatalf("%s: rests at two voters", begin)
		}
	}
}

func countVotes(nodes []voterNode) (voters, alive int) {
	for _, n := range nodes {
		if n.Suffrage == voter {
			voters++
			if n.Alive {
				alive++
			}
		}
	}
	return voters, alive
}

func carryOutVote(nodes []voterNode, s voterStep, leader *core.NodeID) {
	for i := range nodes {
		n := &nodes[i]
		if n.ID != s.Node {
			continue
		}
		switch s.Kind {
		case addNonvoter:
			n.Suffrage = nonvoter
		case addVoter:
			n.Suffrage = voter
		case removeServer:
			n.Suffrage, n.CaughtUp = noVoter, false
		case transferTo:
			*leader = n.ID
		}
	}
}
