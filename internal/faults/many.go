package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/neargrid/neargrid/internal/testgrid"
)

// What the issue asks for.
const (
	manyNodes   = 50
	manyClients = 200
	manyTime    = time.Minute
	manyAtOnce  = 5 // nodes that are started together
	manyParts   = 256
)

// manyLoad is 200 clients, of which each sends a command a second: so many nodes keep a small machine busy by themselves.
var manyLoad = loadPlan{clients: manyClients, registers: 100, pause: time.Second}

// fiftyNodes kills one of fifty nodes in the middle of a minute of load.
func fiftyNodes(ctx context.Context, l *lab, f *findings) error {
	g, err := l.newGrid("--partitions", strconv.Itoa(manyParts), "--io-loops", "1")
	if err != nil {
		return err
	}
	defer g.Close()
	began := time.Now()
	if err := g.addMany(ctx, manyNodes); err != nil {
		return err
	}
	if err := errors.Join(g.Whole(ctx), g.Voting(ctx)); err != nil {
		return err
	}
	f.note("%d nodes were whole, with 5 voters, %.0f s after the first was started", manyNodes, time.Since(began).Seconds())
	if err := g.noteCPU(ctx, f, "idle"); err != nil {
		return err
	}
	round := g.startLoad("many", manyLoad)
	defer round.end()
	if err := g.underLoad(ctx, f); err != nil {
		return err
	}
	round.finish(f)
	return nil
}

// underLoad lets a minute pass, and kills a node in the middle of it.
func (g *grid) underLoad(ctx context.Context, f *findings) error {
	if err := g.noteCPU(ctx, f, "under load"); err != nil {
		return err
	}
	if err := g.lab.sleep(ctx, manyTime/2-cpuTime); err != nil {
		return err
	}
	// With copies missing already a kill would be a second fault. Where nodes are found silent all the time the machine is too small.
	if err := g.Whole(ctx); err != nil {
		return fmt.Errorf("%w: this machine is too small for %d nodes under load, see below: %w", testgrid.ErrLeftOut, manyNodes, err)
	}
	victim, err := g.pick(plainVoter)
	if err != nil {
		return err
	}
	at, err := g.stakesOf(victim)
	if err != nil {
		return err
	}
	probes := g.probe(at.all(), at.parts, victim, nil)
	defer probes.end(f)
	from := time.Now()
	victim.Kill()
	gone := time.Now()
	f.count(countFaults, 1)
	for _, first := range probes.await(ctx, gone, f) {
		f.sample(outageAny, first.Sub(from))
	}
	err = errors.Join(g.lab.sleep(ctx, time.Until(from.Add(manyTime/2))), g.Whole(ctx))
	f.sample(wholeAgain, time.Since(gone))
	return err
}

// cpuTime is how long the processors' use is measured.
const cpuTime = 5 * time.Second

// noteCPU notes how much of the machine the nodes use.
func (g *grid) noteCPU(ctx context.Context, f *findings, when string) error {
	before := g.cpu()
	if err := g.lab.sleep(ctx, cpuTime); err != nil {
		return err
	}
	if used := g.cpu() - before; used > 0 {
		f.note("%s, the nodes use %.2f of %d processors", when, used.Seconds()/cpuTime.Seconds(), runtime.NumCPU())
	}
	return nil
}

// cpu is the processor time that the running nodes have used; 0 where the system does not tell.
func (g *grid) cpu() (used time.Duration) {
	const ticks = 100 // a second, in /proc
	for _, n := range g.Running() {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.Process().PID()))
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 13 {
			continue
		}
		for _, field := range fields[11:13] { // in user and in kernel mode
			n, _ := strconv.Atoi(field)
			used += time.Duration(n) * time.Second / ticks
		}
	}
	return used
}

// addMany starts nodes, the first alone, then some at a time.
func (g *grid) addMany(ctx context.Context, count int) error {
	if _, err := g.Add(ctx); err != nil {
		return err
	}
	for started := 1; started < count && ctx.Err() == nil; {
		errs := make([]error, min(manyAtOnce, count-started))
		var starting sync.WaitGroup
		for i := range errs {
			n, err := g.Place()
			if err != nil {
				return err
			}
			starting.Go(func() { errs[i] = n.Start(ctx) })
			started++
		}
		starting.Wait()
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("with %d nodes: %w", started, err)
		}
	}
	return ctx.Err()
}
