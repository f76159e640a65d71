package server

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/partition"
)

// evictTimeMax bounds how long one command makes room for itself. A command that ends sooner than the room is made
// leaves the rest to those after it; only where nothing can be evicted at all is a command refused.
const evictTimeMax = 500 * time.Microsecond

// makeRoom evicts keys until memory is below its limit. It reports false where it is not and nothing is left to evict.
func (srv *Server) makeRoom(now time.Duration) bool {
	limit := srv.config.MaxMemory.Load()
	if limit == 0 || srv.usedMemory() <= limit {
		return true
	}
	srv.stats.exceeded.begin(now)
	defer func() {
		end := srv.clock()
		srv.noteLatency(eventEvictionCycle, end-now)
		if srv.usedMemory() <= limit {
			srv.stats.exceeded.end(end)
		}
	}()
	policy := partition.Policy(srv.config.MaxMemoryPolicy.Load())
	samples := int(srv.config.MaxMemorySamples.Load())
	for tries := 1; srv.usedMemory() > limit; tries++ {
		if !srv.store.Evict(policy, samples, srv.wallMs(now)) {
			return false
		}
		if tries%16 == 0 && srv.clock()-now > evictTimeMax {
			return true
		}
	}
	return true
}

// usedMemory is what counts against maxmemory: live data, its index, and the Go heap as the last collection left it.
// Garbage must neither evict data nor raise -OOM.
func (srv *Server) usedMemory() int64 { return srv.store.Space.Live() + goHeapLive.Load() }

// firstHeap has the heap collected before the first server of a process opens its doors: who sets maxmemory by what an empty server uses
// must not find a heap that was never measured.
var firstHeap sync.Once

// goHeapLive is read once a cron period: reading it costs more than a command.
var goHeapLive atomic.Int64

func readGoHeap() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() == metrics.KindUint64 {
		goHeapLive.Store(int64(sample[0].Value.Uint64()))
	}
}

// droppedLeastBytes: smaller buffers make no difference to what is measured.
const droppedLeastBytes = 1 << 20

// dropped notes that a session gave up a buffer. What the last collection found in use may hold it, for two minutes where the server has
// nothing to do; so cron collects anew.
func (srv *Server) dropped(bytes int) {
	if bytes >= droppedLeastBytes {
		srv.largeDropped.Store(true)
	}
}

// collectDropped measures the heap anew where large buffers were given up.
func (srv *Server) collectDropped() {
	if srv.largeDropped.Swap(false) {
		runtime.GC()
		readGoHeap()
	}
}

// exceeded measures for how long more memory is used than maxmemory allows.
type exceeded struct {
	since atomic.Int64 // ns by the server's clock, since when it is so; 0 = it is not
	total atomic.Int64 // ns, of the times that have ended
}

func (e *exceeded) begin(now time.Duration) { e.since.CompareAndSwap(0, max(1, int64(now))) }

func (e *exceeded) end(now time.Duration) {
	if since := e.since.Swap(0); since > 0 {
		e.total.Add(max(0, int64(now)-since))
	}
}

// times are what has been gathered in all, and what of it belongs to now.
func (e *exceeded) times(now time.Duration) (total, current time.Duration) {
	if since := e.since.Load(); since > 0 {
		current = max(0, now-time.Duration(since))
	}
	return time.Duration(e.total.Load()) + current, current
}

// reset forgets what has been gathered. A time under way goes on, from now.
func (e *exceeded) reset(now time.Duration) {
	e.total.Store(0)
	if e.since.Load() > 0 {
		e.since.Store(max(1, int64(now)))
	}
}

// watchExceeded ends the time of too much memory where no command needed to make room: cron calls it.
func (srv *Server) watchExceeded() {
	if limit := srv.config.MaxMemory.Load(); limit == 0 || srv.usedMemory() <= limit {
		srv.stats.exceeded.end(srv.clock())
	}
}
