package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/neargrid/neargrid/internal/testgrid"
)

// cutKind is a way to divide a network.
type cutKind uint8

const (
	cutNode   cutKind = iota // a node from all others
	cutLeader                // the raft leader from all others
	cutPair                  // two nodes from each other; both reach the rest
	cutTwo                   // two nodes, together, from all others
	cutOneWay                // nothing that a node sends arrives
	cutDeaf                  // a node sends and hears nothing
	cutKinds
)

func (k cutKind) String() string {
	return [...]string{"a node", "the raft leader", "two nodes from each other", "two nodes from the rest", "all that a node sends",
		"all that is sent to a node"}[k]
}

const outageCut = "longest pause of a partition of which a copy is cut off"

// cutNetwork divides the network between nodes; clients reach all of them all the time, those that are cut off included.
func cutNetwork(ctx context.Context, l *lab, f *findings) error {
	n, err := testgrid.OpenNetwork()
	if err != nil {
		return err
	}
	defer n.Close()
	g, err := l.startGridOn(ctx, n, nodesUsual, "--partitions", strconv.Itoa(partsUsual))
	if err != nil {
		return err
	}
	defer g.Close()
	var loads []*load
	for i := range max(1, l.kills/50) {
		for k := range cutKinds {
			round, err := g.cutOne(ctx, f, n, fmt.Sprintf("cut%d.%d", i, k), k)
			if err != nil {
				return fmt.Errorf("cut %s: %w", k, err)
			}
			loads = append(loads, round)
		}
	}
	for _, round := range loads {
		round.verify(f)
	}
	return nil
}

// cutOne divides the network under load for a while.
func (g *grid) cutOne(ctx context.Context, f *findings, n *testgrid.Network, name string, k cutKind) (*load, error) {
	r := rolesInTurn[g.lab.rng.IntN(2)]
	if k == cutLeader {
		r = leader
	}
	victim, err := g.pick(r)
	if err != nil {
		return nil, err
	}
	at, err := g.stakesOf(victim)
	if err != nil {
		return nil, err
	}
	cuts := g.cuts(k, victim)
	round := g.startLoad(name, usualLoad)
	probes := g.probe(at.all(), at.parts, victim, nil)
	err = g.lab.sleep(ctx, g.lab.between(300*time.Millisecond, 900*time.Millisecond))
	from := time.Now()
	for _, c := range cuts {
		err = errors.Join(err, n.Cut(c[0], c[1]))
	}
	f.count(countFaults, 1)
	d := g.lab.between(time.Second, 9*time.Second)
	err = errors.Join(err, g.lab.sleep(ctx, d))
	for _, c := range cuts {
		err = errors.Join(err, n.Heal(c[0], c[1]))
	}
	healed := time.Now()
	probes.await(ctx, healed, f)
	err = errors.Join(err, g.Whole(ctx))
	whole := time.Now()
	f.sample(wholeAgain, whole.Sub(healed))
	var outages []time.Duration
	for _, one := range probes.all { // at first all goes on: leases hold for a while
		outages = append(outages, one.pause(from, whole))
		f.sample(outageCut, outages[len(outages)-1])
	}
	g.lab.progress("%s: cut %s (%s) for %.1f s, outage p50 %.3f s, max %.3f s", name, k, victim.Name, d.Seconds(),
		percentile(outages, 50).Seconds(), percentile(outages, 100).Seconds())
	probes.end(f)
	if err != nil {
		round.end()
		return nil, err
	}
	round.finish(f)
	return round, nil
}

// cuts are the ways that are cut, from one node to another, by number.
func (g *grid) cuts(k cutKind, victim *node) (cuts [][2]int) {
	nodes := g.All()
	one := slices.Index(nodes, victim) + 1
	two := one%len(nodes) + 1
	for i := range nodes {
		other := i + 1
		out, in := [2]int{one, other}, [2]int{other, one}
		switch {
		case other == one:
		case k == cutNode, k == cutLeader, k == cutPair && other == two:
			cuts = append(cuts, out, in)
		case k == cutTwo && other != two:
			cuts = append(cuts, out, in, [2]int{two, other}, [2]int{other, two})
		case k == cutOneWay:
			cuts = append(cuts, out)
		case k == cutDeaf:
			cuts = append(cuts, in)
		}
	}
	return cuts
}
