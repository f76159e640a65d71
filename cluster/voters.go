package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

const (
	// voterStable is how long a node must have been there, since its own join, before it is given a vote (R32).
	voterStable = 10 * time.Second
	// voterGone is how long a voter must have been away before another node gets its vote. Its own goes only then, so a crash
	// alone never reduces the voters (R32).
	voterGone = time.Minute
)

// suffrage is what a node is in raft's configuration.
type suffrage uint8

const (
	noVoter  suffrage = iota // not in it
	nonvoter                 // follows the log
	voter
)

// voterNode is what decides about one node's vote.
type voterNode struct {
	ID         core.NodeID
	Registered bool // in the table; false: only raft's configuration still has it
	Witness    bool
	Draining   bool
	Zone       string
	Alive      bool          // its present incarnation is not fenced
	Since      time.Duration // when it joined, or, not alive, when it was gone
	Suffrage   suffrage
	CaughtUp   bool // a nonvoter has the log
}

// usable tells whether a node can have a vote now.
func (n *voterNode) usable(now time.Duration) bool {
	return n.Alive && (n.Suffrage == voter || now >= n.Since+voterStable)
}

// stepKind is one thing to do with raft's configuration.
type stepKind uint8

const (
	addNonvoter stepKind = iota
	addVoter
	removeServer
	transferTo // leadership
)

func (k stepKind) String() string {
	return [...]string{"add nonvoter", "add voter", "remove", "transfer to"}[k]
}

// voterStep is one change of raft's configuration, or of its leader.
type voterStep struct {
	Kind stepKind
	Node core.NodeID
}

func (s voterStep) String() string { return fmt.Sprintf("%s %s", s.Kind, s.Node) }

// wantedVoters is how many of so many nodes vote (R32).
func wantedVoters(nodes int) int {
	switch {
	case nodes < 3:
		return 1
	case nodes < 7:
		return 3
	}
	return 5
}

// planVoters returns what the leader does next about who votes (R32), to be done in this order, one raft change at a time and
// without a pause; when one fails, the rest is left and it asks again. None: all is well, or something is to be waited for.
//
// A node first follows the log as a nonvoter. Votes are given only when all that are to get one have caught up, so that an even
// number of voters is passed through and not rested at; then surplus ones are taken, those of the dead first. A leader that
// is to lose its vote hands over first. nodes are in order of their ids.
func planVoters(nodes []voterNode, leader core.NodeID, now time.Duration) []voterStep {
	target, enough := targetVoters(nodes, now)
	var steps []voterStep
	if !enough {
		for _, n := range nodes {
			if n.Suffrage == nonvoter && !n.usable(now) {
				steps = append(steps, voterStep{removeServer, n.ID})
			}
		}
		return append(steps, restingAtTwo(nodes, leader)...)
	}
	var add, remove []voterNode
	waiting := false
	for _, n := range nodes {
		switch wanted := slices.Contains(target, n.ID); {
		case wanted && n.Suffrage == noVoter:
			steps = append(steps, voterStep{addNonvoter, n.ID})
		case wanted && n.Suffrage == nonvoter:
			add = append(add, n)
			waiting = waiting || !n.CaughtUp
		case !wanted && n.Suffrage == nonvoter:
			steps = append(steps, voterStep{removeServer, n.ID})
		case !wanted && n.Suffrage == voter:
			remove = append(remove, n)
		}
	}
	if len(steps) > 0 || waiting {
		return steps
	}
	return changeVotes(nodes, add, remove, target, leader)
}

// targetVoters chooses who is to vote; enough is false where there are not as many as are wanted.
func targetVoters(nodes []voterNode, now time.Duration) (target []core.NodeID, enough bool) {
	var able []voterNode
	members, voters := 0, 0
	for _, n := range nodes {
		if n.Suffrage == voter {
			voters++
		}
		if !n.Registered || n.Draining {
			continue
		}
		members++
		if n.usable(now) || n.Suffrage == voter {
			able = append(able, n)
		}
	}
	if members == 0 {
		return nil, false // all are draining: somebody has to vote
	}
	wanted := wantedVoters(members)
	size := wanted
	if len(able) < wanted {
		if size = (len(able) - 1) | 1; size <= voters {
			return nil, false // waits for more, or for a person
		}
	}
	inZone := map[string]int{}
	for range size {
		best := slices.MinFunc(able, func(a, b voterNode) int {
			return cmp.Or(
				first(a.usable(now) || now < a.Since+voterGone, b.usable(now) || now < b.Since+voterGone),
				first(a.Witness, b.Witness),
				first(a.Suffrage == voter, b.Suffrage == voter),
				cmp.Compare(inZone[a.Zone], inZone[b.Zone]),
				first(a.Suffrage == nonvoter, b.Suffrage == nonvoter),
				cmp.Compare(a.ID, b.ID))
		})
		target = append(target, best.ID)
		inZone[best.Zone]++
		able = slices.DeleteFunc(able, func(n voterNode) bool { return n.ID == best.ID })
	}
	return target, true
}

// first orders what is so before what is not.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// changeVotes gives and takes votes, as far as those that are alive are a majority at each step.
func changeVotes(nodes, add, remove []voterNode, target []core.NodeID, leader core.NodeID) (steps []voterStep) {
	voters, alive := 0, 0
	for _, n := range nodes {
		if n.Suffrage == voter {
			voters++
			if n.Alive {
				alive++
			}
		}
	}
	safe := func(voters, alive int) bool { return alive > voters/2 }
	for _, n := range add {
		if voters, alive = voters+1, alive+1; !safe(voters, alive) {
			return steps
		}
		steps = append(steps, voterStep{addVoter, n.ID})
	}
	for _, n := range remove {
		if n.ID != leader {
			continue
		}
		if heir := heirOf(nodes, target); heir != "" {
			steps = append(steps, voterStep{transferTo, heir})
		}
		return steps
	}
	slices.SortStableFunc(remove, func(a, b voterNode) int {
		return cmp.Or(first(!a.Alive, !b.Alive), first(a.Draining, b.Draining), first(!a.Witness, !b.Witness))
	})
	for _, n := range remove {
		if voters--; n.Alive {
			alive--
		}
		if !safe(voters, alive) {
			return steps
		}
		steps = append(steps, voterStep{removeServer, n.ID})
	}
	return steps
}

// heirOf is who takes the lead from a leader that is to lose its vote; "" where nobody can.
func heirOf(nodes []voterNode, target []core.NodeID) core.NodeID {
	for _, n := range nodes {
		if n.Alive && slices.Contains(target, n.ID) {
			return n.ID
		}
	}
	return ""
}

// restingAtTwo goes back to one voter: with two, the loss of either stops the control plane (R32).
func restingAtTwo(nodes []voterNode, leader core.NodeID) []voterStep {
	var voters []voterNode
	for _, n := range nodes {
		if n.Suffrage == voter {
			voters = append(voters, n)
		}
	}
	if len(voters) != 2 || !voters[0].Alive || !voters[1].Alive {
		return nil
	}
	out := slices.IndexFunc(voters, func(n voterNode) bool { return n.Draining || !n.Registered })
	if out < 0 {
		out = slices.IndexFunc(voters, func(n voterNode) bool { return n.ID != leader })
	}
	if voters[out].ID == leader {
		return []voterStep{{transferTo, voters[1-out].ID}}
	}
	return []voterStep{{removeServer, voters[out].ID}}
}
