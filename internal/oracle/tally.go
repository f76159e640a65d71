package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// judge gathers what all arenas find.
type judge struct {
	log    func(format string, args ...any)
	writes [unknown + 1]atomic.Int64 // by outcome

	mu         sync.Mutex
	violations []string          // the first few
	count      int               // of all
	fault      map[string]string // by arena: what is being done to it
}

const violationsMax = 20

func newJudge(log func(format string, args ...any)) *judge {
	return &judge{log: log, fault: map[string]string{}}
}

// during notes what is being done to an arena from now on.
func (j *judge) during(arena, fault string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fault[arena] = fmt.Sprintf("%s, since %s", fault, seconds(now()))
}

// violation notes what must never be: what a viewer of an arena has seen.
func (j *judge) violation(arena, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.count++
	if len(j.violations) == violationsMax {
		return
	}
	text = fmt.Sprintf("%s\n    during: %s", strings.TrimRight(text, "\n"), j.fault[arena])
	j.violations = append(j.violations, text)
	j.log("VIOLATION %s", text)
}

func (j *judge) found() (violations []string, count int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.violations, j.count
}

// tally counts what a viewer has read.
type tally struct {
	reads   atomic.Int64
	old     atomic.Int64 // of keys that were not written within the last 2 L
	nothing atomic.Int64 // that the key was not there
	failed  atomic.Int64 // left out
	age     atomic.Int64 // time.Duration: the greatest since it was taken
}

func (t *tally) aged(d time.Duration) {
	for {
		have := t.age.Load()
		if have >= int64(d) || t.age.CompareAndSwap(have, int64(d)) {
			return
		}
	}
}

// sums is what was counted of some time.
type sums struct {
	reads, near, hits, old, nothing, failed int64 // near: hits of keys that were written within the last 2 L, at the least
	age                                     time.Duration
}

func (s *sums) add(o sums) {
	s.reads, s.near, s.hits, s.old = s.reads+o.reads, s.near+o.near, s.hits+o.hits, s.old+o.old
	s.nothing, s.failed, s.age = s.nothing+o.nothing, s.failed+o.failed, max(s.age, o.age)
}

// totals are what a viewer has counted until now.
func (v *viewer) totals(r reader) sums {
	return sums{
		reads: v.tally.reads.Load(), hits: r.hits(), old: v.tally.old.Load(), nothing: v.tally.nothing.Load(), failed: v.tally.failed.Load(),
		age: time.Duration(v.tally.age.Swap(0)),
	}
}

// since is what was counted from one moment to another. Which of the hits were of keys that were not hot is not known: all of the reads of
// such keys may have been hits.
func (s sums) since(before sums) sums {
	d := sums{
		reads: s.reads - before.reads, hits: s.hits - before.hits, old: s.old - before.old, nothing: s.nothing - before.nothing,
		failed: s.failed - before.failed, age: s.age,
	}
	d.near = max(0, d.hits-d.old)
	return d
}
