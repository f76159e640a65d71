package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// plan is how much a run does.
type plan struct {
	chosen []fault // the kinds that are tried
	faults int     // in all arenas together; 0: each kind once
	arenas int     // 1 to arenasMax
	seed   uint64
	near   int64 // near hits of hot keys that each kind of readers is to have; while some has fewer the faults are done again, againMax times
}

const againMax = 4

const arenasMax = 8

// outcomes are what a run has found.
type outcomes struct {
	mu      sync.Mutex
	kinds   []string // of readers, in order
	counts  map[string]int
	cells   map[cell]*sums
	leftOut map[string]string // faults that could not be tried, and why
	flushed int64             // near reads that missed as all of a node was invalidated, with a push queue of 1
	took    time.Duration
}

// cell is what readers of a kind have counted during faults of a kind.
type cell struct{ fault, reader string }

func newOutcomes() *outcomes {
	return &outcomes{counts: map[string]int{}, cells: map[cell]*sums{}, leftOut: map[string]string{}}
}

// schedule is faults in an order at random, by their shares: a drain follows each join, and is not drawn by itself.
func schedule(chosen []fault, count int, rng *rand.Rand) (list []fault) {
	if count == 0 {
		return chosen
	}
	var tickets []fault
	var draining fault
	for _, f := range chosen {
		if f.name == "drain" {
			draining = f
			continue
		}
		for range f.share {
			tickets = append(tickets, f)
		}
	}
	for len(list) < count {
		f := tickets[rng.IntN(len(tickets))]
		list = append(list, f)
		if f.name == "join" && draining.run != nil {
			list = append(list, draining)
		}
	}
	return list
}

// run does a plan: some arenas beside each other, as most of the time is waiting.
func (l *lab) run(ctx context.Context, p plan, j *judge) (*outcomes, error) {
	o, start := newOutcomes(), time.Now()
	var wg sync.WaitGroup
	errs := make(chan error, p.arenas)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for i := range p.arenas {
		wg.Go(func() {
			if err := l.runArena(ctx, fmt.Sprintf("grid %d", i+1), p, uint64(i), j, o); err != nil {
				errs <- err
				cancel()
			}
		})
	}
	wg.Wait()
	o.took = time.Since(start)
	select {
	case err := <-errs:
		return o, err
	default:
		return o, nil
	}
}

func (l *lab) runArena(ctx context.Context, name string, p plan, number uint64, j *judge, o *outcomes) error {
	a, err := l.open(ctx, name, p.seed+number, j)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer a.close()
	l.log("%s: started", name)
	if err := a.warm(ctx); err != nil {
		return err
	}
	l.log("%s: all is running", name)
	var possible []fault
	for _, f := range p.chosen {
		why := ""
		if f.needs != nil {
			why = f.needs(a)
		}
		if why != "" {
			o.leaveOut(f.name, why)
		} else {
			possible = append(possible, f)
		}
	}
	list := schedule(possible, (p.faults+p.arenas-1)/p.arenas, a.rng)
	for again := 0; again == 0 || again <= againMax && o.fewest() < p.near; again++ {
		for i, f := range list {
			if err := a.round(ctx, f, o); err != nil {
				return fmt.Errorf("%s, fault %d, %s: %w", name, i+1, f.name, err)
			}
		}
	}
	return nil
}

const warmMax = 20 * time.Second

// warm waits until every reader has near hits: then all is running.
func (a *arena) warm(ctx context.Context) error {
	a.judge.during(a.name, "nothing yet")
	for deadline := time.Now().Add(warmMax); ; {
		cold := ""
		for i, r := range a.readers {
			if a.viewers[i].limit > 0 && r.hits() == 0 {
				cold = a.viewers[i].name
			}
		}
		if cold == "" {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s has no near hit after %v", cold, warmMax)
		}
		if err := last(ctx, L/10); err != nil {
			return err
		}
	}
}

// round is one fault, and the time in which all calms down.
func (a *arena) round(ctx context.Context, f fault, o *outcomes) error {
	before := make([]sums, len(a.readers))
	var flushes int64
	for i, r := range a.readers {
		before[i] = a.viewers[i].totals(r)
		flushes -= r.flushes()
	}
	a.judge.during(a.name, f.name)
	start := time.Now()
	err := f.run(ctx, a)
	a.judge.during(a.name, "the time after "+f.name)
	if err == nil {
		err = last(ctx, L)
	}
	took := time.Since(start)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.counts[f.name]++
	for i, r := range a.readers {
		v := a.viewers[i]
		o.addLocked(cell{f.name, v.kind}, v.totals(r).since(before[i]))
		flushes += r.flushes()
	}
	if f.name == queueFault {
		o.flushed += flushes
	}
	a.lab.log("%s: %s, %.2f s", a.name, f.name, took.Seconds())
	return err
}

func (o *outcomes) leaveOut(name, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.leftOut[name] = why
}

func (o *outcomes) addLocked(c cell, s sums) {
	known := false
	for _, kind := range o.kinds {
		known = known || kind == c.reader
	}
	if !known {
		o.kinds = append(o.kinds, c.reader)
	}
	if o.cells[c] == nil {
		o.cells[c] = &sums{}
	}
	o.cells[c].add(s)
}

// total is what was counted of a fault, or of a reader; "" means all.
func (o *outcomes) total(fault, reader string) (t sums) {
	for c, s := range o.cells {
		if (fault == "" || c.fault == fault) && (reader == "" || c.reader == reader) {
			t.add(*s)
		}
	}
	return t
}

// fewest are the near hits of hot keys of the kind of readers with a near cache that has had fewest.
func (o *outcomes) fewest() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	least := int64(math.MaxInt64)
	for _, kind := range o.kinds {
		if kind != farKind {
			least = min(least, o.total("", kind).near)
		}
	}
	return least
}

// faults counts all that were done.
func (o *outcomes) faults() (count int) {
	for _, n := range o.counts {
		count += n
	}
	return count
}
