package loadtest

import (
	"math"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// From these on the generator is said to be the bottleneck.
const (
	busyShare = 0.9 // of the machine's processors, in use by this process
	lateShare = 0.5 // of the measured p99 latency, as the p99 of its own lateness
	lateLeast = 100 * time.Microsecond

	warnShare = 0.2 // like lateShare, from which on the report warns
)

// generator is what a run knows of itself: whether it, and not the server, was what limited it. It looks at both of its halves:
// how late an open loop's pacers start operations, and how long goroutines, among them those that read replies, wait for a
// processor when they could go on; and at the processors it uses.
type generator struct {
	mu       sync.Mutex
	lateness *hdrhistogram.Histogram // of pacers, in nanoseconds
	due      uint64
	delayed  uint64
	unsent   uint64

	cpuBegan  time.Duration
	wall      time.Time
	scheduled *metrics.Float64Histogram
}

func (g *generator) begin() {
	g.lateness = newHistogram()
	g.cpuBegan, g.wall, g.scheduled = processorTime(), time.Now(), schedulingLatencies()
}

func (g *generator) add(p *pacer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lateness.Merge(p.lateness)
	g.due += p.due
	g.delayed += p.delayed
	g.unsent += p.unsent
}

// report closes the books; it is called once all pacers have ended.
func (g *generator) report() (r GeneratorReport, lateness, scheduling *hdrhistogram.Histogram) {
	r = GeneratorReport{
		Due: g.due, Delayed: g.delayed, Unsent: g.unsent,
		CPU:        float64(processorTime()-g.cpuBegan) / float64(max(time.Since(g.wall), 1)),
		Processors: runtime.NumCPU(),
	}
	return r, g.lateness, since(g.scheduled, schedulingLatencies())
}

// schedulingLatencies are those of all goroutines so far, in seconds.
func schedulingLatencies() *metrics.Float64Histogram {
	sample := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindFloat64Histogram {
		return &metrics.Float64Histogram{} // a later Go may not have it
	}
	return sample[0].Value.Float64Histogram()
}

// since is what came between two readings, in nanoseconds; of each bucket the upper end.
func since(before, after *metrics.Float64Histogram) *hdrhistogram.Histogram {
	h := newHistogram()
	for i, count := range after.Counts {
		if i < len(before.Counts) {
			count -= before.Counts[i]
		}
		if count == 0 {
			continue
		}
		value := after.Buckets[i+1]
		if math.IsInf(value, 1) {
			value = after.Buckets[i]
		}
		value = min(max(value*1e9, float64(latencyMin)), float64(latencyMax))
		_ = h.RecordValues(int64(value), int64(count)) // in range by construction
	}
	return h
}
