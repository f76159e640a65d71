package cluster

import (
	"cmp"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/neargrid/neargrid/cluster/core"
)

const (
	voteTimeout = 5 * time.Second // for raft to take one change of its configuration
	caughtUpLag = 64              // entries that a nonvoter may be behind and still be given the vote
)

// vote has planVoters decide who votes, and raft do it (R32). The leader calls it at each tick.
func (l *controlLoop) vote(now time.Duration) {
	c := l.c
	if l.voting {
		return
	}
	nodes := l.voterNodes(now)
	steps := planVoters(nodes, c.self.Node, now)
	if len(steps) == 0 {
		return
	}
	l.voting = true
	l.spawn(func() func() {
		for _, s := range steps {
			err := c.changeVoter(s)
			c.log.Info("voters", "step", s, "error", err)
			if err != nil {
				break
			}
		}
		return func() { l.voting = false }
	})
}

// voterNodes is what planVoters is to know.
func (l *controlLoop) voterNodes(now time.Duration) (nodes []voterNode) {
	t := l.c.follower.newest()
	commit := l.c.raft.CommitIndex()
	votes := map[core.NodeID]suffrage{}
	for _, s := range l.c.servers().Servers {
		if votes[s.ID] = nonvoter; s.Votes {
			votes[s.ID] = voter
		}
	}
	for i := range t.Nodes {
		n := &t.Nodes[i]
		since, heard := l.since[n.Member()], l.heard[n.Member()]
		nodes = append(nodes, voterNode{
			ID: n.ID, Registered: true, Witness: n.Role == core.Witness, Draining: n.Drains, Zone: n.Zone,
			Alive: since.alive, Since: since.at, Suffrage: votes[n.ID],
			CaughtUp: heard.Number > 0 && now <= heard.at+leaderSilence && heard.Index+caughtUpLag >= commit,
		})
		delete(votes, n.ID)
	}
	for id, s := range votes {
		nodes = append(nodes, voterNode{ID: id, Suffrage: s})
	}
	slices.SortFunc(nodes, func(a, b voterNode) int { return cmp.Compare(a.ID, b.ID) })
	return nodes
}

// changeVoter carries out one step, and waits until it is committed.
func (c *ControlPlane) changeVoter(s voterStep) error {
	id, addr := raft.ServerID(s.Node), raft.ServerAddress(c.addressOf(s.Node))
	switch s.Kind {
	case addNonvoter:
		return c.raft.AddNonvoter(id, addr, 0, voteTimeout).Error()
	case addVoter:
		return c.raft.AddVoter(id, addr, 0, voteTimeout).Error()
	case removeServer:
		return c.raft.RemoveServer(id, 0, voteTimeout).Error()
	default:
		return c.raft.LeadershipTransferToServer(id, addr).Error()
	}
}
