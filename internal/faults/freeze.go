package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// freezes are how long nodes are stopped: shorter than it takes to notice, about as long, and much longer.
var freezes = []time.Duration{
	500 * time.Millisecond, 900 * time.Millisecond, 1200 * time.Millisecond, 2 * time.Second, 3 * time.Second, 5 * time.Second,
	10 * time.Second, 20 * time.Second,
}

// freezeNodes stops nodes where they are, and lets them go on: what a node believes when it awakes is old.
func freezeNodes(ctx context.Context, l *lab, f *findings) error {
	g, err := l.startGrid(ctx, nodesUsual, "--partitions", strconv.Itoa(partsUsual))
	if err != nil {
		return err
	}
	defer g.Close()
	var loads []*load
	for i := range max(1, l.kills/100) {
		for k, d := range freezes {
			r := rolesInTurn[(i+k)%len(rolesInTurn)]
			round, err := g.freezeOne(ctx, f, fmt.Sprintf("freeze%d.%d", i, k), r, d)
			if err != nil {
				return fmt.Errorf("a freeze of %v: %w", d, err)
			}
			loads = append(loads, round)
		}
	}
	for _, round := range loads {
		round.verify(f)
	}
	return nil
}

const (
	outageFrozenPrimary = "outage, primary frozen for 2 s or more"
	outageFrozenBackup  = "outage, backup frozen for 2 s or more"
)

// freezeOne freezes a node under load for a while. Some of the clients are at its doors.
func (g *grid) freezeOne(ctx context.Context, f *findings, name string, r role, d time.Duration) (*load, error) {
	victim, err := g.pick(r)
	if err != nil {
		return nil, err
	}
	at, err := g.stakesOf(victim)
	if err != nil {
		return nil, err
	}
	plan := usualLoad
	plan.frozen = victim
	round := g.startLoad(name, plan)
	probes := g.probe(at.all(), at.parts, victim, victim)
	err = g.lab.sleep(ctx, g.lab.between(300*time.Millisecond, 900*time.Millisecond))
	from := time.Now()
	err = errors.Join(err, victim.Process().Freeze(), g.lab.sleep(ctx, d), victim.Process().Thaw())
	f.count(countFaults, 1)
	firsts := probes.await(ctx, from, f)
	for p, first := range firsts {
		if d >= 2*time.Second && slices.Contains(at.led, p) {
			f.sample(outageFrozenPrimary, first.Sub(from))
		} else if d >= 2*time.Second {
			f.sample(outageFrozenBackup, first.Sub(from))
		}
	}
	g.lab.progress("%s: froze %s (%s) for %v, %d partitions, outage p50 %.3f s, max %.3f s", name, victim.Name, r, d, len(firsts),
		percentile(since(firsts, from), 50).Seconds(), percentile(since(firsts, from), 100).Seconds())
	thawed := time.Now()
	err = errors.Join(err, g.Whole(ctx))
	f.sample(wholeAgain, time.Since(thawed))
	probes.end(f)
	if err != nil {
		round.end()
		return nil, err
	}
	round.finish(f)
	return round, nil
}
