package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/neargrid/neargrid/cluster"
)

// role is what a victim is to the grid. Every node leads some partitions and has backups of others.
type role uint8

const (
	plainNode role = iota // it does not vote
	plainVoter
	leader // of the control plane
)

func (r role) String() string { return [...]string{"node without a vote", "voter", "raft leader"}[r] }

// rolesInTurn has a third of all faults hit each.
var rolesInTurn = []role{plainNode, plainVoter, leader}

// pick chooses a running node at random.
func (g *grid) pick(r role) (*node, error) {
	running := g.Running()
	s, err := running[0].Status()
	if err != nil {
		return nil, err
	}
	var fit []*node
	for _, n := range running {
		if roleIn(s, n.ID()) == r {
			fit = append(fit, n)
		}
	}
	if len(fit) == 0 {
		return nil, fmt.Errorf("no node is a %s", r)
	}
	return fit[g.lab.rng.IntN(len(fit))], nil
}

func roleIn(s cluster.Status, id string) role {
	if string(s.Leader) == id {
		return leader
	}
	if slices.ContainsFunc(s.Members, func(m cluster.MemberState) bool { return string(m.ID) == id && m.Voter }) {
		return plainVoter
	}
	return plainNode
}

// stakes are the partitions in which a node has a copy.
type stakes struct {
	parts       int // of the grid
	led, backed []int
}

func (g *grid) stakesOf(n *node) (s stakes, err error) {
	table, err := n.Table()
	if err != nil {
		return s, err
	}
	s.parts = len(table)
	for p, who := range table {
		switch id := n.ID(); {
		case who.Primary == id:
			s.led = append(s.led, p)
		case slices.Contains(who.Backups, id):
			s.backed = append(s.backed, p)
		}
	}
	return s, nil
}

func (s stakes) all() []int { return slices.Concat(s.led, s.backed) }

// Names of samples.
const (
	outagePrimary       = "outage, primary gone"
	outageBackup        = "outage, backup gone"
	outagePrimaryLeader = "outage, primary gone, which was the raft leader"
	outageBackupLeader  = "outage, backup gone, which was the raft leader"
	outageAny           = "outage, all"
	pauseRejoin         = "longest pause while copies are made again"
	wholeAgain          = "until the promise is kept again"
)

// outageTargets are the issue's.
var outageTargets = []target{
	{outageAny, 1500 * time.Millisecond, 0},
	{outagePrimary, 1500 * time.Millisecond, 2500 * time.Millisecond},
	{outageBackup, 1500 * time.Millisecond, 2500 * time.Millisecond},
	{outagePrimaryLeader, 0, 3500 * time.Millisecond},
	{outageBackupLeader, 0, 3500 * time.Millisecond},
}

// nodesUsual is a grid in which some nodes vote and some do not.
const nodesUsual = 5

// killNodes kills nodes, of all roles in turn, and starts each again once the others have taken over.
func killNodes(ctx context.Context, l *lab, f *findings) error {
	return l.killRounds(ctx, f, l.kills, true)
}

// killSafe does the same where three copies are kept.
func killSafe(ctx context.Context, l *lab, f *findings) error {
	return l.killRounds(ctx, f, max(l.kills/10, len(rolesInTurn)), true, "--profile", "safe")
}

// quickRestart starts a killed node again before anybody has noticed.
func quickRestart(ctx context.Context, l *lab, f *findings) error {
	return l.killRounds(ctx, f, max(l.kills/10, len(rolesInTurn)), false)
}

func (l *lab) killRounds(ctx context.Context, f *findings, rounds int, noticed bool, flags ...string) error {
	g, err := l.startGrid(ctx, nodesUsual, append([]string{"--partitions", strconv.Itoa(partsUsual)}, flags...)...)
	if err != nil {
		return err
	}
	defer g.Close()
	var loads []*load
	for i := range rounds {
		round, err := g.killOne(ctx, f, "kill"+strconv.Itoa(i), rolesInTurn[i%len(rolesInTurn)], noticed)
		if err != nil {
			return fmt.Errorf("kill %d: %w", i+1, err)
		}
		loads = append(loads, round)
	}
	for _, round := range loads {
		round.verify(f)
	}
	return nil
}

// killOne kills a node under load, and starts it again: once all is served without it, or else at once.
func (g *grid) killOne(ctx context.Context, f *findings, name string, r role, noticed bool) (*load, error) {
	victim, err := g.pick(r)
	if err != nil {
		return nil, err
	}
	at, err := g.stakesOf(victim)
	if err != nil {
		return nil, err
	}
	round := g.startLoad(name, usualLoad)
	probes := g.probe(at.all(), at.parts, victim, nil)
	if err := g.lab.sleep(ctx, g.lab.between(300*time.Millisecond, 900*time.Millisecond)); err != nil {
		return nil, err
	}
	from := time.Now()
	victim.Kill()
	gone := time.Now()
	f.count(countFaults, 1)
	var firsts map[int]time.Time
	if noticed {
		firsts = probes.await(ctx, gone, f)
	}
	startErr := victim.Start(ctx)
	if !noticed {
		firsts = probes.await(ctx, gone, f)
	}
	for p, first := range firsts {
		out := first.Sub(from)
		f.sample(outageAny, out)
		f.sample(outageName(r == leader, slices.Contains(at.led, p)), out)
	}
	g.lab.progress("%s: killed %s (%s), %d partitions, outage p50 %.3f s, max %.3f s", name, victim.Name, r, len(firsts),
		percentile(since(firsts, from), 50).Seconds(), percentile(since(firsts, from), 100).Seconds())
	err = errors.Join(startErr, g.Whole(ctx))
	whole := time.Now()
	f.sample(wholeAgain, whole.Sub(gone))
	for _, one := range probes.all {
		if first, ok := firsts[one.partition]; ok {
			f.sample(pauseRejoin, one.pause(first, whole))
		}
	}
	probes.end(f)
	if err != nil {
		round.end()
		return nil, err
	}
	round.finish(f)
	return round, nil
}

func outageName(ofLeader, led bool) string {
	switch {
	case ofLeader && led:
		return outagePrimaryLeader
	case ofLeader:
		return outageBackupLeader
	case led:
		return outagePrimary
	}
	return outageBackup
}

func since(firsts map[int]time.Time, from time.Time) (all []time.Duration) {
	for _, at := range firsts {
		all = append(all, at.Sub(from))
	}
	return all
}
