package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/neargrid/neargrid/nearcache"
)

// result is what a point gave, in percent.
type result struct {
	point    point
	requests int
	rates    map[nearcache.Policy]rates
	lru      float64
}

// rates are those of several replays.
type rates []float64

func (r rates) String() string {
	median := slices.Sorted(slices.Values(r))[len(r)/2]
	if len(r) == 1 {
		return fmt.Sprintf("%.2f", median)
	}
	return fmt.Sprintf("%.2f (%.2f-%.2f)", median, slices.Min(r), slices.Max(r))
}

// met: the worst replay counts.
func (r result) met() bool { return slices.Min(r.rates[nearcache.PolicyDefault]) >= r.point.target }

func (r result) verdict() string {
	if r.met() {
		return "met"
	}
	return "MISSED"
}

func misses(results []result) int {
	n := 0
	for _, r := range results {
		if !r.met() {
			n++
		}
	}
	return n
}

func (r result) String() string {
	line := fmt.Sprintf("%-18s", r.point.name())
	for _, policy := range nearcache.Policies {
		line += fmt.Sprintf(" %s %s", policy, r.rates[policy])
	}
	p := r.point.published
	return line + fmt.Sprintf("  LRU %5.2f | published: ristretto %.1f LRU %.1f ARC %.1f otter %.1f | want %g: %s",
		r.lru, p.ristretto, p.lru, p.arc, p.otter, r.point.target, r.verdict())
}

// page is docs/bench/hits.md.
func page(results []result, took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Hit rates of the near cache

Written by `+"`make bench-hits`"+`; do not edit.
%d of %d targets met.

Recorded requests are replayed through the near cache as a client uses it: a look-up, and on a miss a snapshot and a store. It
is bounded by items, with the same default settings for all traces. LRU is computed in the same run, with a list. Hit rates are in
percent; the published ones are from charts, good to half a point (testdata/traces/README.md has the sources). %s
depends on chance, on short traces much: median and range of three replays. The others do not change from run to run.

| trace, items | requests | target |`, len(results)-misses(results), len(results), nearcache.PolicyRistretto)
	for _, policy := range nearcache.Policies {
		title := string(policy)
		if policy == nearcache.PolicyDefault {
			title += " (default)"
		}
		fmt.Fprintf(&b, " %s |", title)
	}
	b.WriteString(" LRU | verdict | published: ristretto v1 alone | LRU | ARC | otter v2 |\n")
	b.WriteString(strings.Repeat("| --- ", 9+len(nearcache.Policies)) + "|\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| %s, %d | %d | %g |", r.point.trace, r.point.items, r.requests, r.point.target)
		for _, policy := range nearcache.Policies {
			fmt.Fprintf(&b, " %s |", r.rates[policy])
		}
		p := r.point.published
		fmt.Fprintf(&b, " %.2f | %s | %.1f | %.1f | %.1f | %.1f |\n", r.lru, r.verdict(), p.ristretto, p.lru, p.arc, p.otter)
	}
	fmt.Fprintf(&b, `
%s is ristretto v2.4.2 behind a window of a tenth of the items, which shows new entries at once. It had the time to take in each
store before the next request; without that, new entries are seen later or dropped.

The run took %s. [near-cache.md](../near-cache.md) tells what hit rates are worth.
`, nearcache.PolicyRistretto, took.Round(time.Second))
	return b.String()
}
