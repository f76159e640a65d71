package loadtest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Measured is what one run of one target gave.
type Measured struct {
	Took        time.Duration // from the warm-up's end to the last answer, or to the end of the time
	Interrupted bool
	Seconds     []Second
	total       tally
	failures    []FailureCount
	near        NearReads // zero where the target has no near cache
	generator   GeneratorReport
	lateness    *hdrhistogram.Histogram // of the generator's pacers, in nanoseconds
	scheduling  *hdrhistogram.Histogram // of its goroutines, in nanoseconds
}

// measured closes the books of a run that has ended.
func (r *run) measured(interrupted bool) *Measured {
	r.recorder.collect(r.closing)
	m := &Measured{
		Took:        max(max(r.halted, time.Duration(r.recorder.last.Load()))-r.options.WarmUp, 0),
		Interrupted: interrupted,
		Seconds:     r.recorder.seconds,
		total:       r.recorder.total,
		failures:    r.recorder.failureCounts(),
	}
	m.generator, m.lateness, m.scheduling = r.generator.report()
	return m
}

// failureCounts are the kinds of failure, the most frequent first.
func (r *recorder) failureCounts() (counts []FailureCount) {
	r.failures.Lock()
	defer r.failures.Unlock()
	for kind, of := range r.failures.kinds {
		counts = append(counts, FailureCount{Kind: kind, Count: of.count, First: of.first})
	}
	slices.SortFunc(counts, func(a, b FailureCount) int { return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Kind, b.Kind)) })
	return counts
}

// Operations is how many were answered, and not with an error.
func (m *Measured) Operations() uint64 {
	count := uint64(m.total.all().TotalCount())
	for _, f := range m.failures {
		if f.Kind == unanswered || f.Kind == notSent {
			count -= f.Count // they are in the latencies
		}
	}
	return count
}

// PerSecond is the throughput.
func (m *Measured) PerSecond() float64 {
	if m.Took <= 0 {
		return 0
	}
	return float64(m.Operations()) / m.Took.Seconds()
}

// Quantile is the latency that so many percent of the operations did not exceed.
func (m *Measured) Quantile(percent float64) time.Duration {
	return time.Duration(m.total.all().ValueAtQuantile(percent))
}

// Errors is how many operations failed.
func (m *Measured) Errors() uint64 { return m.total.failed }

// Hits and Misses count the records that were read.
func (m *Measured) Hits() uint64   { return m.total.hits }
func (m *Measured) Misses() uint64 { return m.total.misses }

// Near is what near caches did, where the target has some.
func (m *Measured) Near() NearReads { return m.near }

// Failures are the kinds of errors, the most frequent first.
func (m *Measured) Failures() []FailureCount { return m.failures }

// IsBottleneck tells whether the generator, and not the target, was what limited the run.
func (m *Measured) IsBottleneck() bool { return m.self().IsBottleneck }

// Check is an error where operations failed: the first one of the most frequent kind.
func (m *Measured) Check() error {
	if len(m.failures) == 0 {
		return nil
	}
	most := m.failures[0]
	return fmt.Errorf("%d operations failed, %d of them as %q: %s", m.Errors(), most.Count, most.Kind, most.First)
}

// add takes another turn at the same target in.
func (m *Measured) add(turn *Measured) {
	m.Took += turn.Took
	m.Interrupted = m.Interrupted || turn.Interrupted
	for _, row := range turn.Seconds {
		row.Second = len(m.Seconds)
		m.Seconds = append(m.Seconds, row)
	}
	m.total.add(&turn.total)
	for _, f := range turn.failures {
		i := slices.IndexFunc(m.failures, func(known FailureCount) bool { return known.Kind == f.Kind })
		if i < 0 {
			m.failures = append(m.failures, f)
			continue
		}
		m.failures[i].Count += f.Count
	}
	m.near.Hits += turn.near.Hits
	m.near.Reads += turn.near.Reads
	m.generator.Due += turn.generator.Due
	m.generator.Delayed += turn.generator.Delayed
	m.generator.Unsent += turn.generator.Unsent
	m.generator.CPU = max(m.generator.CPU, turn.generator.CPU)
	m.lateness.Merge(turn.lateness)
	m.scheduling.Merge(turn.scheduling)
}

// latencies is the report of a histogram in nanoseconds.
func latencies(h *hdrhistogram.Histogram) Latencies {
	at := func(percent float64) float64 { return microseconds(h.ValueAtQuantile(percent)) }
	return Latencies{
		Count: uint64(h.TotalCount()), Mean: h.Mean() / 1e3, Min: microseconds(h.Min()),
		P50: at(50), P90: at(90), P95: at(95), P99: at(99), P999: at(99.9), P9999: at(99.99), Max: microseconds(h.Max()),
	}
}
