package server

import (
	"math/bits"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// histogram counts durations by power of two of microseconds, four buckets to each power: percentiles are exact to a
// fifth. The zero histogram is ready; adding costs one atomic.
type histogram struct {
	buckets atomic.Pointer[[histogramBuckets]atomic.Int64]
}

const histogramBuckets = 4 * 36 // up to 2^36 us, 19 hours

func bucketOf(us uint64) int {
	if us < 4 {
		return int(us)
	}
	log := bits.Len64(us) - 1
	return min(4*(log-1)+int(us>>(log-2)&3), histogramBuckets-1)
}

// bucketTop is the largest number of microseconds that falls in a bucket.
func bucketTop(i int) uint64 {
	if i < 4 {
		return uint64(i)
	}
	log := i/4 + 1
	return (uint64(i%4)+5)<<(log-2) - 1
}

func (h *histogram) add(d time.Duration) {
	b := h.buckets.Load()
	if b == nil {
		h.buckets.CompareAndSwap(nil, new([histogramBuckets]atomic.Int64))
		b = h.buckets.Load()
	}
	b[bucketOf(uint64(d/time.Microsecond))].Add(1)
}

// each passes every bucket that is not empty to f, with the largest microseconds it stands for.
func (h *histogram) each(f func(topUs uint64, count int64)) {
	if b := h.buckets.Load(); b != nil {
		for i := range b {
			if n := b[i].Load(); n > 0 {
				f(bucketTop(i), n)
			}
		}
	}
}

// percentile is the microseconds that p percent of the durations did not exceed.
func (h *histogram) percentile(p float64) (us uint64) {
	total := int64(0)
	h.each(func(_ uint64, n int64) { total += n })
	seen := int64(0)
	done := false
	h.each(func(top uint64, n int64) {
		seen += n
		if !done && float64(seen) >= float64(total)*p/100 {
			us, done = top, true
		}
	})
	return us
}

func (h *histogram) reset() { h.buckets.Store(nil) }

func (s *rowStats) reset() {
	s.calls.Store(0)
	s.nanos.Store(0)
	s.rejected.Store(0)
	s.failed.Store(0)
	s.latency.reset()
}

// slowLog keeps the newest commands that took longer than slowlog-log-slower-than.
type slowLog struct {
	sync.Mutex
	entries []slowEntry // newest last
	nextID  int64
}

type slowEntry struct {
	id         int64
	at         time.Time
	took       time.Duration
	args       []string
	addr, name string
}

const (
	slowArgsMax     = 32  // arguments kept of an entry, as in Redis
	slowArgBytesMax = 128 // bytes kept of an argument
)

// noteSlow is called after every command.
func (srv *Server) noteSlow(c *Call, row *Row, took time.Duration) {
	limit := srv.config.SlowlogLogSlowerThan.Load()
	if limit < 0 || took < time.Duration(limit)*time.Microsecond || row.Flags&SkipSlowlog != 0 {
		return
	}
	e := slowEntry{at: time.Now(), took: took, args: slowArgs(c.Args), addr: c.s.info.Remote, name: c.s.name}
	log := &srv.slow
	log.Lock()
	defer log.Unlock()
	e.id = log.nextID
	log.nextID++
	log.entries = append(log.entries, e)
	if over := len(log.entries) - int(srv.config.SlowlogMaxLen.Load()); over > 0 {
		log.entries = slices.Delete(log.entries, 0, over)
	}
}

// slowArgs shortens a command line for the slow log: at most slowArgsMax arguments, slowArgBytesMax bytes of each.
func slowArgs(args [][]byte) []string {
	kept := args
	if len(args) > slowArgsMax {
		kept = args[:slowArgsMax-1]
	}
	out := make([]string, 0, len(kept)+1)
	for _, a := range kept {
		if len(a) > slowArgBytesMax {
			out = append(out, string(a[:slowArgBytesMax])+"... ("+strconv.Itoa(len(a)-slowArgBytesMax)+" more bytes)")
			continue
		}
		out = append(out, string(a))
	}
	if len(args) > len(kept) {
		out = append(out, "... ("+strconv.Itoa(len(args)-len(kept))+" more arguments)")
	}
	return out
}

// rates are what INFO calls instantaneous: over the last second.
type rates struct {
	ops, in, out    atomic.Int64 // a second
	last            time.Duration
	lastOps         int64
	lastIn, lastOut int64
}

// sampleRates is called about once a second, by cron.
func (srv *Server) sampleRates() {
	r, now := &srv.rates, srv.clock()
	ops := int64(0)
	for _, row := range calledRows() {
		ops += row.stats.calls.Load()
	}
	in, out := srv.stats.bytesIn.Load(), srv.stats.bytesOut.Load()
	if ms := int64((now - r.last) / time.Millisecond); ms > 0 && r.last > 0 {
		r.ops.Store(max(0, (ops-r.lastOps)*1000/ms))
		r.in.Store(max(0, (in-r.lastIn)*1000/ms))
		r.out.Store(max(0, (out-r.lastOut)*1000/ms))
	}
	r.last, r.lastOps, r.lastIn, r.lastOut = now, ops, in, out
}

// watchMemory keeps the Go heap's size and the peak of used memory.
func (srv *Server) watchMemory() {
	readGoHeap()
	srv.peakMemory.Store(max(srv.peakMemory.Load(), srv.usedMemory()))
}

// recentSeconds is the span of what INFO calls recent.
const recentSeconds = 8

// recentPeaks are the largest buffers that clients have had of late. Every session is looked at about once a second.
type recentPeaks struct {
	sync.Mutex
	slots [recentSeconds]recentSlot
}

type recentSlot struct {
	second        int64 // by the server's clock
	input, output int   // bytes
}

// note takes in one session.
func (r *recentPeaks) note(now time.Duration, input, output int) {
	if input == 0 && output == 0 {
		return
	}
	r.Lock()
	defer r.Unlock()
	second := int64(now / time.Second)
	slot := &r.slots[second%recentSeconds]
	if slot.second != second {
		*slot = recentSlot{second: second}
	}
	slot.input, slot.output = max(slot.input, input), max(slot.output, output)
}

// peaks are the largest of the last recentSeconds.
func (r *recentPeaks) peaks(now time.Duration) (input, output int) {
	r.Lock()
	defer r.Unlock()
	for _, slot := range r.slots {
		if slot.second > int64(now/time.Second)-recentSeconds {
			input, output = max(input, slot.input), max(output, slot.output)
		}
	}
	return input, output
}

// traffic is how often connections were read from and written to since the statistics were last reset.
func (srv *Server) traffic() (reads, writes int64) {
	if srv.driver == nil {
		return 0, 0
	}
	reads, writes = srv.driver.Traffic()
	return reads - srv.stats.readsBefore.Load(), writes - srv.stats.writesBefore.Load()
}

func (srv *Server) resetTraffic() {
	reads, writes := srv.traffic()
	srv.stats.readsBefore.Add(reads)
	srv.stats.writesBefore.Add(writes)
}
