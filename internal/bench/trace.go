package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/neargrid/neargrid/loadtest"
)

const (
	replayConnections = 8
	replayValueBytes  = 100
	replayKeyPrefix   = "oltp:"

	// Ours is replayed with a limit that is corrected until it holds as many items as Redis, within this share.
	equalItemsWithin = 0.01
	equalItemsTries  = 8
	equalItemsLine   = 0.1 // how far two replays must be apart for a line through them
	// Of two replays no further apart than this share, one with fewer items and one with more, what lies between is taken.
	equalItemsBetween = 0.1
)

var replayPolicies = []string{"allkeys-lru", "allkeys-lfu"}

// replay runs a recorded sequence of block numbers through a server used as a look-aside cache: GET, and on a miss SET.
// Both servers may use the same amount of memory above what they use when empty: a share of what Redis takes to hold
// every key of the trace. Items differ then, so ours is replayed once more with as many items as Redis held.
type replay struct {
	file  string
	share float64
}

// replayed is what one replay gave.
type replayed struct {
	items    float64
	hitRate  float64 // percent
	requests float64 // a second
}

func (t replay) run(ctx context.Context, l *lab) (outcome, error) {
	requests, err := loadtest.ReadTrace(filepath.Join(l.traces, t.file))
	if err != nil {
		return outcome{}, err
	}
	if l.scale.divisor > 1 {
		requests = requests[:len(requests)/l.scale.divisor]
	}
	needed, keys, err := sizeOfAll(ctx, l, requests)
	if err != nil {
		return outcome{}, err
	}
	budget := int64(t.share * float64(needed))
	out := outcome{notes: []string{fmt.Sprintf("Trace: %s, %d requests for %d keys, through %d connections, unpipelined, "+
		"values of %d B. Redis uses %d B above empty to hold every key; maxmemory of each server was its own empty used_memory plus "+
		"%.0f %% of that, %d B. One replay each, on fresh servers.",
		t.file, len(requests), keys, replayConnections, replayValueBytes, needed, 100*t.share, budget)}}
	for _, policy := range replayPolicies {
		var results [2]replayed
		for _, s := range []side{ours, peer} {
			if results[s], err = replayOnce(ctx, l, s, policy, budget, requests); err != nil {
				return out, err
			}
		}
		out.series = append(out.series, replaySeries(policy, results)...)

		equal, used, err := equalItems(results[peer].items, results[ours], budget, func(budget int64) (replayed, error) {
			return replayOnce(ctx, l, ours, policy, budget, requests)
		})
		if err != nil {
			return out, err
		}
		results[ours] = equal
		out.series = append(out.series, replaySeries(policy+", equal items", results)...)
		out.notes = append(out.notes, fmt.Sprintf("Trace, %s at equal items: the limit of %s was %d B above empty, %.2f of the budget, "+
			"found by replaying until its items were within %.0f %% of Redis's, or lay between those of two replays at most %.0f %% apart, whose "+
			"figures are then taken in proportion. Redis's are those of the first replay.",
			policy, l.programs[ours].name, used, float64(used)/float64(budget), 100*equalItemsWithin, 100*equalItemsBetween))
	}
	return out, nil
}

func replaySeries(prefix string, results [2]replayed) []series {
	one := func(name string, u unit, field func(replayed) float64) series {
		return series{metric: metric(prefix + ": " + name), unit: u,
			samples: [2][]float64{ours: {field(results[ours])}, peer: {field(results[peer])}}}
	}
	return []series{
		one("items held", items, func(r replayed) float64 { return r.items }),
		one("hit rate", percent, func(r replayed) float64 { return r.hitRate }),
		one("throughput", perSecond, func(r replayed) float64 { return r.requests }),
	}
}

// equalItems answers a replay that holds as many items as wanted, and the budget that it took. It starts from one that is known,
// corrects the budget in proportion, and from then on along the line through two replays: part of the memory holds no items. Replays of
// one budget differ by a few hundredths, so no line is drawn through two that are close to each other, and what lies between two that
// hold a little less and a little more will do as well.
func equalItems(want float64, known replayed, budget int64, replay func(budget int64) (replayed, error)) (replayed, int64, error) {
	slope := known.items / float64(budget)
	var less, more struct {
		replayed
		budget float64
	}
	for tries := 0; math.Abs(known.items-want) > equalItemsWithin*want; tries++ {
		if tries == equalItemsTries || known.items == 0 {
			return known, budget, fmt.Errorf("equal items: %.0f against %.0f after %d replays", known.items, want, tries)
		}
		next := float64(budget) + (want-known.items)/slope
		next = min(max(next, float64(budget)/2), 2*float64(budget))
		before, step := known, next-float64(budget)
		budget = int64(next)
		var err error
		if known, err = replay(budget); err != nil {
			return known, budget, err
		}
		if known.items < want {
			less.replayed, less.budget = known, next
		} else {
			more.replayed, more.budget = known, next
		}
		if less.items > 0 && more.items > 0 && more.items-less.items <= equalItemsBetween*want {
			share := (want - less.items) / (more.items - less.items)
			between := func(a, b float64) float64 { return a + share*(b-a) }
			known = replayed{items: want, hitRate: between(less.hitRate, more.hitRate), requests: between(less.requests, more.requests)}
			return known, int64(between(less.budget, more.budget)), nil
		}
		if line := (known.items - before.items) / step; line > 0 && math.Abs(known.items-before.items) > equalItemsLine*want {
			slope = line
		}
	}
	return known, budget, nil
}

// sizeOfAll answers what Redis uses above empty when it holds all keys of the trace, and how many those are.
func sizeOfAll(ctx context.Context, l *lab, requests []uint64) (needed int64, keys int, err error) {
	srv, err := l.start(ctx, peer)
	if err != nil {
		return 0, 0, err
	}
	defer srv.stop()
	empty, err := srv.info("used_memory")
	if err != nil {
		return 0, 0, err
	}
	seen := make(map[uint64]bool)
	var distinct []uint64
	for _, block := range requests {
		if !seen[block] {
			seen[block] = true
			distinct = append(distinct, block)
		}
	}
	value := strings.Repeat("v", replayValueBytes)
	err = srv.load(len(distinct), func(dst []byte, i int) []byte {
		return appendCommand(dst, "SET", replayKey(distinct[i]), value)
	})
	if err != nil {
		return 0, 0, err
	}
	full, err := srv.info("used_memory")
	return full - empty, len(distinct), err
}

// replayOnce replays the whole trace on a fresh server that may use budget bytes more than when empty.
func replayOnce(ctx context.Context, l *lab, s side, policy string, budget int64, requests []uint64) (replayed, error) {
	srv, err := l.start(ctx, s)
	if err != nil {
		return replayed{}, err
	}
	defer srv.stop()
	empty, err := srv.info("used_memory")
	if err != nil {
		return replayed{}, err
	}
	if err := srv.do("CONFIG", "SET", "maxmemory-policy", policy); err != nil {
		return replayed{}, err
	}
	if err := srv.do("CONFIG", "SET", "maxmemory", strconv.FormatInt(empty+budget, 10)); err != nil {
		return replayed{}, err
	}

	workload, err := loadtest.NewWorkload("c", 1)
	if err != nil {
		return replayed{}, err
	}
	workload.Choice, workload.Trace, workload.Sizes = loadtest.Replay, requests, loadtest.FixedSize(replayValueBytes)
	m, err := srv.measureAs(ctx, &loadtest.RESP{Prefix: replayKeyPrefix, ReadThrough: true},
		loadtest.Options{Workload: workload, Clients: replayConnections, Depth: 1})
	if err != nil {
		return replayed{}, err
	}
	held, err := srv.ask("DBSIZE")
	if err != nil {
		return replayed{}, err
	}
	count, err := strconv.ParseFloat(held, 64)
	return replayed{
		items:    count,
		hitRate:  100 * float64(m.Hits()) / float64(m.Hits()+m.Misses()),
		requests: m.PerSecond(),
	}, err
}

// replayKey is the key that the replay gives a block.
func replayKey(block uint64) string { return fmt.Sprintf("%s%012d", replayKeyPrefix, block) }
