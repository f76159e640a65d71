package loadtest

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	latencyMin    = time.Nanosecond
	latencyMax    = time.Hour // longer ones count as this
	latencyDigits = 3

	stripeCount     = 4         // recorders side by side, so that connections seldom wait for one another
	failureKindsMax = 64        // further kinds are counted as one
	secondsMax      = 24 * 3600 // rows of a run; later ones count in the total alone
	rowMin          = progressEvery / 4
)

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(latencyMin.Nanoseconds(), latencyMax.Nanoseconds(), latencyDigits)
}

// tally is what was counted in some time.
type tally struct {
	latency      [kindCount]*hdrhistogram.Histogram // in nanoseconds; nil where a kind has not come
	failed       uint64
	hits, misses uint64
}

func (t *tally) record(kind Kind, latency time.Duration) {
	h := t.latency[kind]
	if h == nil {
		h = newHistogram()
		t.latency[kind] = h
	}
	_ = h.RecordValue(int64(min(max(latency, latencyMin), latencyMax))) // in range by construction
}

func (t *tally) add(other *tally) {
	for kind, h := range other.latency {
		if h == nil || h.TotalCount() == 0 {
			continue
		}
		if t.latency[kind] == nil {
			t.latency[kind] = newHistogram()
		}
		t.latency[kind].Merge(h)
	}
	t.failed += other.failed
	t.hits += other.hits
	t.misses += other.misses
}

func (t *tally) reset() {
	for _, h := range t.latency {
		if h != nil && h.TotalCount() > 0 {
			h.Reset()
		}
	}
	t.failed, t.hits, t.misses = 0, 0, 0
}

// all is the latency of all kinds together.
func (t *tally) all() *hdrhistogram.Histogram {
	sum := newHistogram()
	for _, h := range t.latency {
		if h != nil {
			sum.Merge(h)
		}
	}
	return sum
}

// recorder gathers results as they come. Several clients record at a time; collect is for one goroutine.
type recorder struct {
	stripes  [stripeCount]stripe
	last     atomic.Int64 // when the last measured operation ended, since the start of the run
	failures struct {
		sync.Mutex
		kinds map[Failure]*failureCount
	}

	total   tally
	seconds []Second
	spare   *tally // empty, to be exchanged for one that is not
}

type stripe struct {
	mu struct {
		sync.Mutex
		now *tally
	}
	_ [64]byte // a cache line of its own
}

type failureCount struct {
	count uint64
	first string
}

func newRecorder() *recorder {
	r := &recorder{spare: &tally{}}
	for i := range r.stripes {
		r.stripes[i].mu.now = &tally{}
	}
	r.failures.kinds = map[Failure]*failureCount{}
	return r
}

// record counts an operation that has ended. One that was not answered, or not even sent, has the latency that it had reached: it
// would be left out just where it matters otherwise. Of other failures the time tells nothing.
func (r *recorder) record(lane int, op Op, result Result, ended time.Duration) {
	if !op.charge {
		return
	}
	kind := op.Kind
	if result.Filled {
		kind = Fill
	}
	s := &r.stripes[lane%stripeCount]
	s.mu.Lock()
	now := s.mu.now
	if result.Failure == "" || result.Failure == unanswered || result.Failure == notSent {
		now.record(kind, ended-op.Due)
	}
	if result.Failure != "" {
		now.failed++
	}
	now.hits += uint64(result.Hits)
	now.misses += uint64(result.Misses)
	s.mu.Unlock()
	if result.Failure != "" {
		r.fail(result)
		return
	}
	if last := r.last.Load(); int64(ended) > last {
		r.last.CompareAndSwap(last, int64(ended)) // whoever was faster ended at about the same time
	}
}

func (r *recorder) fail(result Result) {
	r.failures.Lock()
	defer r.failures.Unlock()
	kind := result.Failure
	of := r.failures.kinds[kind]
	if of == nil && len(r.failures.kinds) >= failureKindsMax {
		kind = otherKinds
		of = r.failures.kinds[kind]
	}
	if of == nil {
		of = &failureCount{}
		r.failures.kinds[kind] = of
	}
	of.count++
	if of.first == "" {
		of.first = result.Detail
	}
}

// Second is what ended in one second of a run.
type Second struct {
	Second     int     `json:"second"`         // counted from 0, from the end of the warm-up
	Length     float64 `json:"length_seconds"` // 1; the last one may be shorter, or longer while answers are waited for
	Operations uint64  `json:"operations"`
	Errors     uint64  `json:"errors"`
	P50        float64 `json:"p50_us"` // latencies are in microseconds
	P99        float64 `json:"p99_us"`
	P999       float64 `json:"p999_us"`
	Max        float64 `json:"max_us"`
}

// collect closes a row of the series: what has been recorded since the last call becomes one, and part of the total. What comes
// in less than rowMin belongs to the row before it.
func (r *recorder) collect(length time.Duration) Second {
	var now tally
	spare := r.spare
	for i := range r.stripes {
		s := &r.stripes[i]
		s.mu.Lock()
		taken := s.mu.now
		s.mu.now = spare
		s.mu.Unlock()
		now.add(taken)
		taken.reset()
		spare = taken
	}
	r.spare = spare
	r.total.add(&now)
	row := now.second(len(r.seconds), length)
	switch {
	case length < rowMin && len(r.seconds) > 0:
		last := &r.seconds[len(r.seconds)-1]
		last.Length += row.Length
		last.Operations += row.Operations
		last.Errors += row.Errors
		last.Max = max(last.Max, row.Max)
	case len(r.seconds) < secondsMax && (length >= rowMin || row.Operations+row.Errors > 0):
		r.seconds = append(r.seconds, row)
	}
	return row
}

func (t *tally) second(second int, length time.Duration) Second {
	all := t.all()
	return Second{
		Second: second, Length: length.Seconds(), Operations: uint64(all.TotalCount()), Errors: t.failed,
		P50: microseconds(all.ValueAtQuantile(50)), P99: microseconds(all.ValueAtQuantile(99)),
		P999: microseconds(all.ValueAtQuantile(99.9)), Max: microseconds(all.Max()),
	}
}

func microseconds(nanoseconds int64) float64 { return float64(nanoseconds) / 1e3 }
