package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/neargrid/neargrid/client"
)

// hitSamples is how many hits are timed one by one.
const hitSamples = 200_000

// nearHit measures reads that memory answers, by Zipf over keys that are all held, and of one key.
type nearHit struct{}

func (nearHit) run(ctx context.Context, l *lab) (outcome, error) {
	g, err := l.startRig(ctx, nearHeld)
	if err != nil {
		return outcome{}, err
	}
	defer g.close()
	c, err := g.holding(ctx, true)
	if err != nil {
		return outcome{}, err
	}
	defer c.Close()

	all := series{metric: hitMedian, unit: nanoseconds}
	one := series{metric: "median time of a hit, one key", unit: nanoseconds}
	allocs := series{metric: hitAllocations, unit: allocations}
	single := series{metric: hitsOneCore, unit: perSecond}
	both := series{metric: hitsAllCores, unit: perSecond}
	for range l.rounds {
		all.samples[ours] = append(all.samples[ours], medianHit(ctx, c, g.names))
		one.samples[ours] = append(one.samples[ours], medianHit(ctx, c, g.names[:1]))
		allocs.samples[ours] = append(allocs.samples[ours], allocationsEach(ctx, c, g.names))
		for _, s := range []struct {
			into       *series
			goroutines int
		}{{&single, 1}, {&both, runtime.NumCPU()}} {
			rate, err := hitRate(s.goroutines, g.names, l.scale.runMin/3, getter(ctx, c))
			if err != nil {
				return outcome{}, err
			}
			s.into.samples[ours] = append(s.into.samples[ours], rate)
		}
	}
	note := fmt.Sprintf("near hit: client.Get by Zipf over %d keys, all held. A median is of %d hits timed one by one, less what reading the clock "+
		"takes; allocations are of the whole process while the reads of a round go on, renewal of leases among them.", g.records, hitSamples)
	return outcome{series: []series{all, one, allocs, single, both}, notes: []string{note}}, nil
}

// medianHit is the median time of a Get in nanoseconds, less that of two readings of the clock with nothing in between.
func medianHit(ctx context.Context, c *client.Client, names []string) float64 {
	times := make([]time.Duration, hitSamples)
	timed := func(do func(i int)) time.Duration {
		for i := range times {
			start := time.Now()
			do(i)
			times[i] = time.Since(start)
		}
		slices.Sort(times)
		return times[len(times)/2]
	}
	clock := timed(func(int) {})
	return float64(timed(func(i int) { _, _ = c.Get(ctx, names[i%len(names)]) }) - clock)
}

// allocationsEach counts the process's allocations while hits go on, to three decimals.
func allocationsEach(ctx context.Context, c *client.Client, names []string) float64 {
	const reads = 1_000_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range reads {
		_, _ = c.Get(ctx, names[i%len(names)])
	}
	runtime.ReadMemStats(&after)
	return float64((after.Mallocs-before.Mallocs)*1000/reads) / 1000
}

// hitRate has goroutines read for so long, each on its own, and answers what all of them read a second.
func hitRate(goroutines int, names []string, length time.Duration, get func(string) error) (sum float64, err error) {
	var mu sync.Mutex
	var readers sync.WaitGroup
	for i := range goroutines {
		readers.Go(func() {
			rate, failure := readsPerSecond(names, i*len(names)/goroutines, length, get)
			mu.Lock()
			defer mu.Unlock()
			sum += rate
			if failure != nil {
				err = failure
			}
		})
	}
	readers.Wait()
	return sum, err
}

// otherHits measures the same reads in the client-side caches of other libraries, all on one node and the same keys.
type otherHits struct{}

// otherTTL is for how long rueidis may keep what it has read; it wants to be told.
const otherTTL = time.Hour

func (otherHits) run(ctx context.Context, l *lab) (outcome, error) {
	g, err := l.startRig(ctx, nearHeld)
	if err != nil {
		return outcome{}, err
	}
	defer g.close()
	near, err := g.holding(ctx, true)
	if err != nil {
		return outcome{}, err
	}
	defer near.Close()
	rue, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{g.node.addr}, ForceSingleClient: true, CacheSizeEachConn: 512 << 20})
	if err != nil {
		return outcome{}, fmt.Errorf("rueidis: %w", err)
	}
	defer rue.Close()
	cached := redis.NewClient(&redis.Options{Addr: g.node.addr, ClientSideCacheConfig: &redis.ClientSideCacheConfig{MaxEntries: 2 * nearHeld}})
	defer cached.Close()

	reads := []func(string) error{
		getter(ctx, near),
		func(name string) error {
			_, err := rue.DoCache(ctx, rue.B().Get().Key(name).Cache(), otherTTL).ToString()
			return err
		},
		func(name string) error { return cached.Get(ctx, name).Err() },
	}
	for _, get := range reads[1:] {
		if err := readAll(g.records, get); err != nil {
			return outcome{}, err
		}
	}
	rates := make([][]float64, len(reads))
	for round := range l.rounds {
		for i := range reads {
			which := (i + round) % len(reads)
			rate, err := readsPerSecond(g.names, round*7919, l.scale.runMin/3, reads[which])
			if err != nil {
				return outcome{}, err
			}
			rates[which] = append(rates[which], rate)
		}
	}
	best, name := rates[1], "rueidis"
	if median(rates[2]) > median(rates[1]) {
		best, name = rates[2], "go-redis"
	}
	against := func(m metric, other []float64) series {
		return series{metric: m, unit: perSecond, samples: [2][]float64{rates[0], other}}
	}
	note := fmt.Sprintf("near hit against others: one goroutine, by Zipf over %d keys, all held, values as strings; the second column of "+
		"`%s` is the better one of the two, %s.", g.records, hitsOneCore, name)
	return outcome{notes: []string{note}, series: []series{
		against(hitsOneCore, best), against(hitsRueidis, rates[1]), against(hitsGoRedis, rates[2])}}, nil
}
