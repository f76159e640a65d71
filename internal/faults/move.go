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

// Names of samples of what is planned.
const (
	pauseHandover = "pause of a partition that is handed over"
	pauseBackup   = "pause of a partition whose backup stops"
	pauseReturn   = "longest pause until a node that comes back has its copies"
	pauseJoin     = "longest pause of a partition while a node joins"
	pauseDrain    = "longest pause of a partition while a node drains"
)

// handoverTarget is the issue's.
const handoverTarget = 100 * time.Millisecond

// rollingRestart stops every node as a person would, and starts it again once it has ended; the next, once the promise is kept.
func rollingRestart(ctx context.Context, l *lab, f *findings) error {
	g, err := l.startGrid(ctx, nodesUsual, "--partitions", strconv.Itoa(partsUsual))
	if err != nil {
		return err
	}
	defer g.Close()
	for i := range max(1, l.kills/50) {
		round := g.startLoad("rolling"+strconv.Itoa(i), usualLoad)
		for _, n := range g.Running() {
			if err = g.restart(ctx, f, n); err != nil {
				break
			}
		}
		if err != nil {
			round.end()
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		round.finish(f)
	}
	return nil
}

// afterStop is how long a pause that a stop makes may begin after it.
const afterStop = 300 * time.Millisecond

// restart stops one node and starts it again, and measures how long partitions were not written to.
func (g *grid) restart(ctx context.Context, f *findings, n *node) error {
	at, err := g.stakesOf(n)
	if err != nil {
		return err
	}
	probes := g.probe(at.all(), at.parts, n, nil)
	defer probes.end(f)
	err = g.lab.sleep(ctx, 500*time.Millisecond)
	from := time.Now()
	stopErr := n.Stop()
	gone := time.Now()
	err = errors.Join(err, stopErr, g.lab.sleep(ctx, afterStop))
	f.count(countFaults, 1)
	off := time.Now()
	err = errors.Join(err, n.Start(ctx), g.Whole(ctx))
	whole := time.Now()
	var handed []time.Duration
	for _, one := range probes.all {
		pause := one.pause(from, off)
		if slices.Contains(at.led, one.partition) {
			f.sample(pauseHandover, pause)
			handed = append(handed, pause)
		} else {
			f.sample(pauseBackup, pause)
		}
		f.sample(pauseReturn, one.pause(off, whole))
	}
	g.lab.progress("restarted %s: it ended in %.2f s, %d partitions paused for p50 %.3f s, max %.3f s", n.Name, gone.Sub(from).Seconds(),
		len(handed), percentile(handed, 50).Seconds(), percentile(handed, 100).Seconds())
	return err
}

// joinAndDrain has nodes join and leave under load.
func joinAndDrain(ctx context.Context, l *lab, f *findings) error {
	g, err := l.startGrid(ctx, nodesUsual-1, "--partitions", strconv.Itoa(partsUsual))
	if err != nil {
		return err
	}
	defer g.Close()
	var some []int // partitions: a probe for each would keep the machine busy
	for p := range partsUsual {
		if p%4 < 2 {
			some = append(some, p)
		}
	}
	for i := range max(1, l.kills/40) {
		round := g.startLoad("join"+strconv.Itoa(i), usualLoad)
		err := g.joinOne(ctx, f, some)
		if err == nil {
			err = g.drainOne(ctx, f, some)
		}
		if err != nil {
			round.end()
			return fmt.Errorf("round %d: %w", i+1, err)
		}
		round.finish(f)
	}
	return nil
}

func (g *grid) joinOne(ctx context.Context, f *findings, some []int) error {
	probes := g.probe(some, partsUsual, nil, nil)
	defer probes.end(f)
	from := time.Now()
	_, err := g.Add(ctx)
	err = errors.Join(err, g.Whole(ctx))
	f.count(countFaults, 1)
	g.pauses(f, pauseJoin, probes, from)
	return err
}

// drainOne has a node leave, and waits until it has.
func (g *grid) drainOne(ctx context.Context, f *findings, some []int) error {
	nodes := g.Running()
	leaving := nodes[g.lab.rng.IntN(len(nodes))]
	probes := g.probe(some, partsUsual, leaving, nil)
	defer probes.end(f)
	from := time.Now()
	_, err := leaving.Ask("GRID.DRAIN")
	if err != nil {
		return err
	}
	select {
	case <-leaving.Process().Exited:
	case <-time.After(testgrid.WholeMax):
		return fmt.Errorf("drain %s: it has not left after %v", leaving.Name, testgrid.WholeMax)
	case <-ctx.Done():
		return ctx.Err()
	}
	err = errors.Join(leaving.Off().Wait(), g.Whole(ctx))
	f.count(countFaults, 1)
	g.pauses(f, pauseDrain, probes, from)
	return err
}

// pauses notes how long partitions were not written to, from some moment until now.
func (g *grid) pauses(f *findings, name string, probes *probes, from time.Time) {
	now := time.Now()
	var all []time.Duration
	for _, one := range probes.all {
		all = append(all, one.pause(from, now))
		f.sample(name, all[len(all)-1])
	}
	g.lab.progress("%s: p50 %.3f s, max %.3f s, in %.1f s", name, percentile(all, 50).Seconds(), percentile(all, 100).Seconds(), now.Sub(from).Seconds())
}
