package server

import (
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
	defer func() { srv.noteLatency(eventEvictionCycle, srv.clock()-now) }()
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
