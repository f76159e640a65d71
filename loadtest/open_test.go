package loadtest

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime/metrics"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

func TestArrivals(t *testing.T) {
	const count = 200_000
	mean := float64(50 * time.Microsecond)
	plan := arrivals{random: rand.New(rand.NewPCG(1, 1)), mean: mean}
	var last time.Duration
	var longer int
	for range count {
		next := plan.next()
		if next < last {
			t.Fatalf("arrival at %s after one at %s", next, last)
		}
		if float64(next-last) > mean {
			longer++
		}
		last = next
	}
	if got := float64(last) / count; math.Abs(got/mean-1) > 0.02 {
		t.Errorf("mean gap %.0f ns, want %.0f", got, mean)
	}
	// Of exponential gaps, 1/e are longer than the mean; of even ones none would be.
	if got := float64(longer) / count; math.Abs(got-1/math.E) > 0.01 {
		t.Errorf("share of gaps above the mean %.3f, want %.3f", got, 1/math.E)
	}

	even := arrivals{mean: mean}
	for i := range 10 {
		if got, want := even.next(), time.Duration(i+1)*50*time.Microsecond; got != want {
			t.Errorf("even arrival %d at %s, want %s", i, got, want)
		}
	}
}

// stall is a server that answers nothing between two times.
func stall(from, to time.Duration) *fake {
	start := time.Now()
	f := &fake{}
	f.handle = func(c *fakeConn, words []string) string {
		if now := time.Since(start); now >= from && now < to {
			time.Sleep(to - now)
		}
		return f.store(c, words)
	}
	return f
}

// A server that stalls for half a second is charged for all that it delays, whether those operations have been sent, or wait
// because as many as may be are under way. The figures do not depend on that bound.
func TestStallIsCharged(t *testing.T) {
	for _, inFlight := range []int{0, 20} {
		synctest.Test(t, func(t *testing.T) {
			f := stall(900*time.Millisecond, 1400*time.Millisecond)
			m := measure(t, Options{
				Target: f.target(), Workload: workload(t, "a", 1000), Clients: 4, Rate: 1000, Even: true, InFlight: inFlight,
				WarmUp: 500 * time.Millisecond, Duration: 2 * time.Second,
			})
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			if got := m.Operations(); got < 1998 || got > 2002 {
				t.Errorf("in flight %d: %d operations measured, want 2000", inFlight, got)
			}
			// A quarter of the operations is due in the stall and waits for its end: one in a hundred for 480 ms or more.
			for _, c := range []struct{ percent, low, high float64 }{{50, 0, 1}, {74, 0, 15}, {80, 90, 115}, {99, 470, 490}, {100, 490, 502}} {
				if got := m.Quantile(c.percent).Seconds() * 1e3; got < c.low || got > c.high {
					t.Errorf("in flight %d: p%g is %.1f ms, want %g to %g", inFlight, c.percent, got, c.low, c.high)
				}
			}
			if delayed := m.generator.Delayed; (delayed > 0) != (inFlight > 0) {
				t.Errorf("in flight %d: %d operations waited for room", inFlight, delayed)
			}
			if inFlight > 0 && m.IsBottleneck() {
				t.Errorf("the generator blames itself for what waited for the server: late by %s", time.Duration(m.lateness.ValueAtQuantile(99)))
			}
			if len(m.Seconds) != 2 || m.Seconds[0].Max < 490e3 || m.Seconds[1].Max > 15e3 {
				t.Errorf("in flight %d: rows %+v, want the stall in the first of two", inFlight, m.Seconds)
			}
		})
	}
}

// What is not answered, or not even sent, when the run ends counts with the time that it has waited; and the run ends.
func TestServerThatStopsAnswering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		start := time.Now()
		f.handle = func(c *fakeConn, words []string) string {
			if time.Since(start) >= time.Second {
				<-c.closed
				return ""
			}
			return f.store(c, words)
		}
		began := time.Now()
		m := measure(t, Options{
			Target: f.target(), Workload: workload(t, "a", 1000), Clients: 2, Rate: 1000, Even: true, InFlight: 100, Duration: 2 * time.Second,
		})
		if took := time.Since(began); took != 2*time.Second+paceGrace+drainMax {
			t.Errorf("the run took %s, want its time, %s and %s", took, paceGrace, drainMax)
		}
		if got, _ := m.failure(unanswered); got != 200 {
			t.Errorf("%d operations not answered, want the 200 that may be in flight", got)
		}
		if got, _ := m.failure(notSent); got < 799 || got > 801 {
			t.Errorf("%d operations not sent, want 800", got)
		}
		if got := m.Operations(); got < 998 || got > 1001 {
			t.Errorf("%d operations, want the 1000 before the stop", got)
		}
		// Half of all have waited for between 0 and 3 seconds, those that were sent also while the end was waited for.
		if got := m.Quantile(99); got < 2900*time.Millisecond {
			t.Errorf("p99 is %s, want about 3 s", got)
		}
		if got := m.Quantile(40); got > time.Millisecond {
			t.Errorf("p40 is %s, want next to nothing", got)
		}
	})
}

func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, rate := range []float64{0, 500} {
			f := &fake{}
			f.handle = func(c *fakeConn, words []string) string {
				time.Sleep(time.Millisecond)
				return f.store(c, words)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
			began := time.Now()
			m := measureUntil(t, ctx, Options{Target: f.target(), Workload: workload(t, "c", 1000), Clients: 2, Rate: rate, Depth: 1, Duration: time.Hour})
			cancel()
			if took := time.Since(began); !m.Interrupted || took > 800*time.Millisecond {
				t.Errorf("rate %g: interrupted %v after %s", rate, m.Interrupted, took)
			}
			if err := m.Check(); err != nil || m.Operations() < 300 || m.Took > 710*time.Millisecond {
				t.Errorf("rate %g: %d operations in %s, %v", rate, m.Operations(), m.Took, err)
			}
		}
	})
}

// Pacers that are late by their own doing say so. (Latencies are long, for goroutines wait in real time also here.)
func TestLatePacers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := Options{
			Target: slow(10 * time.Millisecond).target(), Workload: workload(t, "a", 1000), Clients: 2, Rate: 20, Duration: 5 * time.Second,
		}
		for name, c := range map[string]struct {
			late    time.Duration // of each sleep
			highest float64       // p99 of the lateness, in microseconds
		}{
			"in time": {0, 1},
			"late":    {200 * time.Millisecond, 201e3},
		} {
			o.sleep = func(d time.Duration) { time.Sleep(d + c.late) }
			report, err := Compare(t.Context(), o, []Target{o.Target}, 1)
			if err != nil {
				t.Fatal(err)
			}
			self := report.Targets[0].Self
			if self.IsBottleneck != (c.late > 0) || self.LatenessP99 > c.highest || self.LatenessP99 < 0.75*float64(c.late.Microseconds()) {
				t.Errorf("%s: %+v", name, self)
			}
			if text := strings.Join(report.Notes, "\n"); strings.Contains(text, "THE GENERATOR WAS THE BOTTLENECK") != (c.late > 0) {
				t.Errorf("%s: notes %q", name, text)
			}
		}
	})
}

// What limits a run is judged by how late each half of the generator is against what was measured, and by the processors it uses.
func TestIsBottleneck(t *testing.T) {
	of := func(value time.Duration) *hdrhistogram.Histogram {
		h := newHistogram()
		_ = h.RecordValue(int64(value))
		return h
	}
	for _, c := range []struct {
		name                     string
		latency, lateness, waits time.Duration
		cpu                      float64
		want                     bool
	}{
		{"idle", time.Millisecond, 10 * time.Microsecond, 10 * time.Microsecond, 0.1, false},
		{"late to send", time.Millisecond, 600 * time.Microsecond, 10 * time.Microsecond, 0.1, true},
		{"late to read", time.Millisecond, 10 * time.Microsecond, 600 * time.Microsecond, 0.1, true},
		{"late, but the server far more", 10 * time.Millisecond, 600 * time.Microsecond, 600 * time.Microsecond, 0.1, false},
		{"late by next to nothing", 80 * time.Microsecond, 60 * time.Microsecond, 60 * time.Microsecond, 0.1, false},
		{"busy", time.Millisecond, 10 * time.Microsecond, 10 * time.Microsecond, 3.7, true},
	} {
		m := &Measured{lateness: of(c.lateness), scheduling: of(c.waits), generator: GeneratorReport{CPU: c.cpu, Processors: 4}}
		m.total.record(Read, c.latency)
		if got := m.IsBottleneck(); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// What goroutines waited between two readings.
func TestSince(t *testing.T) {
	buckets := []float64{math.Inf(-1), 0, 1e-6, 1e-3, math.Inf(1)}
	before := &metrics.Float64Histogram{Counts: []uint64{0, 5, 5, 0}, Buckets: buckets}
	after := &metrics.Float64Histogram{Counts: []uint64{0, 105, 5, 2}, Buckets: buckets}
	h := since(before, after)
	if h.TotalCount() != 102 || h.ValueAtQuantile(50) != 1000 || h.Max() < 999e3 || h.Max() > 1001e3 {
		t.Errorf("%d waits, p50 %d ns, max %d ns, want 100 of 1 µs and 2 of 1 ms", h.TotalCount(), h.ValueAtQuantile(50), h.Max())
	}
	if real := schedulingLatencies(); len(real.Counts) == 0 {
		t.Error("this Go does not tell how long goroutines wait")
	}
}

// The same seed starts the same operations, in the same order, whatever the clients.
func TestRunIsDeterministic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := func(seed uint64, clients int) string {
			var sent []string
			f := &fake{}
			f.handle = func(c *fakeConn, words []string) string {
				f.mu.Lock()
				sent = append(sent, strings.Join(words[:2], " "))
				f.mu.Unlock()
				return f.store(c, words)
			}
			w := workload(t, "d", 1000)
			w.Seed, w.Limit = seed, 500
			m := measure(t, Options{Target: f.target(), Workload: w, Clients: clients, Rate: 1000, Even: true})
			if m.Operations() != 500 {
				t.Errorf("%d operations, want 500", m.Operations())
			}
			return strings.Join(sent, "\n")
		}
		first := run(1, 1)
		if again := run(1, 1); again != first {
			t.Error("the same seed sent other commands")
		}
		if other := run(2, 1); other == first {
			t.Error("another seed sent the same commands")
		}
	})
}
