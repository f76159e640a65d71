// Command hits replays recorded requests through the near cache, with each of its policies, and prints the hit rates beside
// those of plain LRU, computed in the same run, and published ones. Where the default policy misses a target the exit
// status is 1; trouble in the tool itself is 2. A whole run writes docs/bench/hits.md.
//
// The path of a run: main takes the points one by one from the table in points.go; replay.go replays the point's trace, lru.go
// does the same with a list; report.go judges and prints.
//
// The near cache is the real one, as a client uses it: a look-up, and on a miss a snapshot and a store. It is bounded by
// items, as the published figures are.
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/neargrid/neargrid/loadtest"
	"github.com/neargrid/neargrid/nearcache"
)

func main() {
	dir := flag.String("traces", "testdata/traces", "`directory` of the traces")
	out := flag.String("out", "docs/bench/hits.md", "`file` that a whole run writes")
	only := flag.String("only", "", "points whose name matches this `expression`; nothing is written then")
	flag.Parse()
	pattern, err := regexp.Compile(*only)
	if err != nil || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "hits: -only takes an expression, and there are no arguments:", err, flag.Args())
		os.Exit(2)
	}
	start := time.Now()
	var results []result
	for _, p := range points {
		if !pattern.MatchString(p.name()) {
			continue
		}
		r, err := p.run(*dir)
		if err != nil {
			fmt.Fprintln(os.Stderr, "hits:", err)
			os.Exit(2)
		}
		fmt.Println(r)
		results = append(results, r)
	}
	if len(results) == 0 {
		fmt.Fprintf(os.Stderr, "hits: no point matches %q\n", *only)
		os.Exit(2)
	}
	if *only == "" {
		if err := os.WriteFile(*out, []byte(page(results, time.Since(start))), 0o644); err != nil {
			fmt.Fprintln(os.Stderr, "hits:", err)
			os.Exit(2)
		}
	}
	if missed := misses(results); missed > 0 {
		fmt.Fprintf(os.Stderr, "hits: %d of %d targets missed\n", missed, len(results))
		os.Exit(1)
	}
}

// run replays the point's trace with each policy and with LRU.
func (p point) run(dir string) (result, error) {
	requests, err := loadtest.ReadTrace(filepath.Join(dir, p.file))
	if err != nil {
		return result{}, err
	}
	r := result{point: p, requests: len(requests), rates: map[nearcache.Policy]rates{}, lru: lru(requests, p.items)}
	// A trace that is not what was published, or is read wrongly, shows where nothing depends on us.
	if math.Abs(r.lru-p.published.lru) > lruWithin {
		return r, fmt.Errorf("%s: LRU has %.2f %%, published are %.1f %%: not the same trace", p.name(), r.lru, p.published.lru)
	}
	for _, policy := range nearcache.Policies {
		for range replays(policy) {
			rate, err := replay(requests, p.items, policy)
			if err != nil {
				return r, fmt.Errorf("%s with %s: %w", p.name(), policy, err)
			}
			r.rates[policy] = append(r.rates[policy], rate)
		}
	}
	return r, nil
}
