package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/neargrid/neargrid/partition"
)

// probePause is between two writes of a probe.
const probePause = 10 * time.Millisecond

// probes write one key of each of some partitions all the time, so that it is seen when that works. Those of even partitions use a
// grid door, the others cluster doors.
type probes struct {
	grid  *grid
	stop  chan struct{}
	ended sync.WaitGroup
	all   []*probe
}

// probe is that of one partition.
type probe struct {
	partition int
	mu        sync.Mutex
	successes []success
	last      answer // the newest
	tally     tally
}

// success is a write that was acknowledged.
type success struct{ start, end time.Time }

// probe begins to write into some partitions, by way of other nodes than one. frozen is a node that will be for a while; nil: none.
func (g *grid) probe(partitions []int, parts int, avoid, frozen *node) *probes {
	p := &probes{grid: g, stop: make(chan struct{})}
	for _, number := range partitions {
		one := &probe{partition: number}
		p.all = append(p.all, one)
		c := g.client(door(number%2), avoid, uint64(number))
		c.frozen = frozen
		key := keyIn(number, parts)
		p.ended.Go(func() {
			defer c.close()
			one.run(p.stop, c, key)
		})
	}
	return p
}

// keyIn is a key of a partition.
func keyIn(number, parts int) string {
	for i := 0; ; i++ {
		key := "probe:" + strconv.Itoa(number) + ":" + strconv.Itoa(i)
		if partition.Slot([]byte(key))*parts/partition.Slots == number {
			return key
		}
	}
}

func (p *probe) run(stop chan struct{}, c *client, key string) {
	ticker := time.NewTicker(probePause)
	defer ticker.Stop()
	for count := 0; ; count++ {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		start := time.Now()
		a := c.do(key, "SET", key, strconv.Itoa(count))
		end := time.Now()
		p.mu.Lock()
		p.tally.note(a, end.Sub(start))
		p.last = a
		if a.outcome == done {
			p.successes = append(p.successes, success{start, end})
		}
		p.mu.Unlock()
	}
}

// end stops the probes.
func (p *probes) end(f *findings) {
	close(p.stop)
	p.ended.Wait()
	for _, one := range p.all {
		f.tally(one.tally)
	}
}

// first is when the first write that was sent after a moment has succeeded; false: none has yet.
func (p *probe) first(after time.Time) (at time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.successes {
		if s.start.After(after) {
			return s.end, true
		}
	}
	return at, false
}

const (
	outageMax  = 20 * time.Second // an outage that lasts longer is a fault of its own
	outageLook = 20 * time.Millisecond
)

// await waits until every partition has been written to after a moment, and returns when each was first, by partition. One that is not
// written to in time is a fault.
func (p *probes) await(ctx context.Context, after time.Time, f *findings) (firsts map[int]time.Time) {
	firsts = map[int]time.Time{}
	for deadline := time.Now().Add(outageMax); len(firsts) < len(p.all) && ctx.Err() == nil; time.Sleep(outageLook) {
		for _, one := range p.all {
			if at, ok := one.first(after); ok {
				firsts[one.partition] = at
			}
		}
		if time.Now().After(deadline) {
			f.fault("partitions are not written to for %v: %s", outageMax, p.missing(firsts))
			break
		}
	}
	return firsts
}

// missing lists the probes without a success.
func (p *probes) missing(firsts map[int]time.Time) string {
	var texts []string
	for _, one := range p.all {
		if _, ok := firsts[one.partition]; !ok {
			one.mu.Lock()
			texts = append(texts, fmt.Sprintf("%d (%s %s)", one.partition, one.last.trouble, one.last.detail))
			one.mu.Unlock()
		}
	}
	return strings.Join(texts, ", ")
}

// pause is the longest time between two successes, of those that ended between two moments, or to such a moment.
func (p *probe) pause(from, to time.Time) (longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := from
	for _, s := range p.successes {
		if s.end.After(from) && s.end.Before(to) {
			longest = max(longest, s.end.Sub(last))
			last = s.end
		}
	}
	return max(longest, to.Sub(last))
}
