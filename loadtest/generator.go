package loadtest

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	watcherCount = 1
	watchPeriod  = time.Millisecond

	// From these on the generator is said to be the bottleneck.
	busyShare = 0.9 // of the machine's processors, in use by this process
	lateShare = 0.5 // of the measured p99 latency, as the p99 of its own lateness
	lateLeast = 100 * time.Microsecond

	warnShare = 0.2 // like lateShare, from which on the report warns
)

// generator is what a run knows of itself: whether it, and not the server, was what limited it.
type generator struct {
	mu       sync.Mutex
	lateness *hdrhistogram.Histogram // in nanoseconds
	due      uint64
	delayed  uint64
	unsent   uint64
	cpuBegan time.Duration
	wall     time.Time
}

func (g *generator) begin() {
	g.lateness = newHistogram()
	g.cpuBegan, g.wall = processorTime(), time.Now()
}

func (g *generator) add(p *pacer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lateness.Merge(p.lateness)
	g.due += p.due
	g.delayed += p.delayed
	g.unsent += p.unsent
}

// watch measures, in a closed loop, how late this program gets to run: a thread that wants to wake once a millisecond. Clients that find
// no processor either are as late, and the server is charged for it.
func (r *run) watch() {
	pause, restore := r.options.pauses()
	defer restore()
	lateness := newHistogram()
	for !r.isOver() {
		began := time.Now()
		pause(watchPeriod)
		late := time.Since(began) - watchPeriod
		if time.Since(r.start) >= r.options.WarmUp {
			_ = lateness.RecordValue(int64(min(max(late, latencyMin), latencyMax))) // in range by construction
		}
	}
	r.generator.mu.Lock()
	defer r.generator.mu.Unlock()
	r.generator.lateness.Merge(lateness)
}
