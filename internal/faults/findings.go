package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Names of counts.
const (
	countFaults    = "faults injected"
	countAcked     = "acknowledged writes read back"
	countHistories = "histories"
	countOps       = "operations in them"
)

// findings are what a scenario has found.
type findings struct {
	mu       sync.Mutex
	names    []string // of samples, in the order in which they came
	samples  map[string][]time.Duration
	counts   map[string]int
	faults   []string // what must never be; the first few
	faultsN  int
	losses   int // acknowledged writes that are gone
	clients  tally
	promises []promise
	notes    []string
}

// promise is something that the grid promises, and what is wrong with that; nil: it was shown.
type promise struct {
	text string
	err  error
}

// faultsMax bounds the faults that are told one by one.
const faultsMax = 20

func newFindings() *findings {
	return &findings{samples: map[string][]time.Duration{}, counts: map[string]int{}}
}

// sample notes one figure.
func (f *findings) sample(name string, d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.samples[name] == nil {
		f.names = append(f.names, name)
	}
	f.samples[name] = append(f.samples[name], d)
}

func (f *findings) count(name string, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[name] += n
}

// fault notes what must never be.
func (f *findings) fault(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faultsN++
	if len(f.faults) < faultsMax {
		f.faults = append(f.faults, fmt.Sprintf(format, args...))
	}
}

// lost notes that an acknowledged write is gone.
func (f *findings) lost(key string) {
	f.fault("%s was acknowledged, and is gone", key)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.losses++
}

func (f *findings) tally(t tally) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.clients.add(t)
}

// promise notes whether a promise was kept; the error says what is wrong.
func (f *findings) promise(text string, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.promises = append(f.promises, promise{text, err})
	return err
}

func (f *findings) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notes = append(f.notes, fmt.Sprintf(format, args...))
}

// percentile is that of durations; 0 where there are none.
func percentile(of []time.Duration, percent int) time.Duration {
	if len(of) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(of))
	return sorted[(len(sorted)-1)*percent/100]
}

// troubleText lists what clients saw, such as "closed connection 12, TRYAGAIN 3".
func (t *tally) troubleText() string {
	if len(t.troubles) == 0 {
		return "none"
	}
	var parts []string
	for _, kind := range slices.Sorted(maps.Keys(t.troubles)) {
		parts = append(parts, fmt.Sprintf("%s %d", kind, t.troubles[kind]))
	}
	return strings.Join(parts, ", ")
}
