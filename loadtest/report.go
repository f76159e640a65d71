package loadtest

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// FormatVersion is of the JSON report. It changes when a field changes its meaning or goes; new fields may come at any time.
const FormatVersion = 1

// Report is a whole measurement: one target, or several in turn. docs/load.md explains the fields for users.
type Report struct {
	Format      int            `json:"format"`
	Started     time.Time      `json:"started"`
	Generator   string         `json:"generator"` // the program that made it, with its version
	Command     string         `json:"command,omitempty"`
	Options     OptionsReport  `json:"options"`
	Interrupted bool           `json:"interrupted"` // ended before its time
	Targets     []TargetReport `json:"targets"`
	Ratios      []Ratio        `json:"ratios,omitempty"` // of the second target and further ones, to the first
	Notes       []string       `json:"notes"`            // what a reader must know to judge the figures
}

// OptionsReport is what was asked for. Durations are in seconds.
type OptionsReport struct {
	Workload    string  `json:"workload"`
	Loop        string  `json:"loop"`               // "open" or "closed"
	Rate        float64 `json:"rate,omitempty"`     // of an open loop, operations a second
	Arrivals    string  `json:"arrivals,omitempty"` // "poisson" or "even"
	InFlight    int     `json:"in_flight,omitempty"`
	Clients     int     `json:"clients"`
	Pipeline    int     `json:"pipeline,omitempty"` // of a closed loop
	Keys        Choice  `json:"keys"`
	Theta       float64 `json:"theta,omitempty"`
	Records     uint64  `json:"records"`
	ValueSize   string  `json:"value_size"`
	Limit       uint64  `json:"operations_limit,omitempty"`
	Seed        uint64  `json:"seed"`
	WarmUp      float64 `json:"warm_up_seconds"`
	Duration    float64 `json:"duration_seconds"` // of each turn; 0: until the workload ends
	Rounds      int     `json:"rounds"`
	ReadThrough bool    `json:"read_through"`
	Source      float64 `json:"source_seconds,omitempty"`
	TTL         float64 `json:"ttl_seconds,omitempty"`

	NearPrefixes []string `json:"near_prefixes,omitempty"` // of near: targets; absent: all keys of the run
	NearMemory   int64    `json:"near_memory,omitempty"`   // bytes; absent: the client's default
	Staleness    float64  `json:"near_staleness_seconds,omitempty"`
}

// TargetReport is what one target gave, all its turns together.
type TargetReport struct {
	Target     string          `json:"target"`
	Seconds    float64         `json:"measured_seconds"`
	Operations uint64          `json:"operations"` // answered, and not with an error
	PerSecond  float64         `json:"per_second"`
	Errors     uint64          `json:"errors"`
	Latency    Latencies       `json:"latency"` // of all kinds together
	Kinds      []KindReport    `json:"kinds"`
	Hits       uint64          `json:"hits"` // records that were read and there
	Misses     uint64          `json:"misses"`
	Near       *NearReads      `json:"near,omitempty"` // of a near: target
	Failures   []FailureCount  `json:"failures"`
	Self       GeneratorReport `json:"self"`
	Series     []Second        `json:"series"`
	Turns      []Turn          `json:"turns"`

	percentiles []point // for the chart
}

// Latencies are in microseconds, from the time at which an operation was to begin. Operations that were never answered count as
// long as they had waited.
type Latencies struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean_us"`
	Min   float64 `json:"min_us"`
	P50   float64 `json:"p50_us"`
	P90   float64 `json:"p90_us"`
	P95   float64 `json:"p95_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
	P9999 float64 `json:"p9999_us"`
	Max   float64 `json:"max_us"`
}

// NearReads are look-ups in near caches. An operation may make none or several: MGET one for each key.
type NearReads struct {
	Hits  uint64 `json:"hits"`  // answered from memory
	Reads uint64 `json:"reads"` // all of them
}

// KindReport is one kind of operation.
type KindReport struct {
	Kind    string    `json:"kind"`
	Latency Latencies `json:"latency"`
}

// FailureCount is one kind of error.
type FailureCount struct {
	Kind  Failure `json:"kind"`
	Count uint64  `json:"count"`
	First string  `json:"first"` // the first one in full
}

// GeneratorReport is what the load generator says of itself.
type GeneratorReport struct {
	Due          uint64  `json:"due"`             // of an open loop: operations that were due
	Delayed      uint64  `json:"delayed"`         // of them, those that waited because as many as may be were in flight
	Unsent       uint64  `json:"unsent"`          // of them, those whose turn did not come before the end
	LatenessP50  float64 `json:"lateness_p50_us"` // of an open loop: how late operations were started, by its own doing
	LatenessP99  float64 `json:"lateness_p99_us"`
	LatenessMax  float64 `json:"lateness_max_us"`
	WaitP50      float64 `json:"wait_p50_us"` // how long its goroutines waited for a processor, for example to read a reply that was there
	WaitP99      float64 `json:"wait_p99_us"`
	CPU          float64 `json:"cpu_cores"` // processors it used
	Processors   int     `json:"processors"`
	IsBottleneck bool    `json:"is_bottleneck"`
}

// Turn is one turn at a target.
type Turn struct {
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_us"`
	P99       float64 `json:"p99_us"`
	Errors    uint64  `json:"errors"`
}

// Ratio compares a target with the first one: each figure divided by that of the first.
type Ratio struct {
	Target     string  `json:"target"`
	Throughput float64 `json:"throughput"`
	P50        float64 `json:"p50"`
	P99        float64 `json:"p99"`
	P999       float64 `json:"p999"`
}

// JSON writes the report as JSON.
func (r *Report) JSON(w io.Writer) error {
	out := json.NewEncoder(w)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(r)
}

func newTargetReport(name string, m *Measured) TargetReport {
	all := m.total.all()
	t := TargetReport{
		Target: name, Seconds: m.Took.Seconds(), Operations: m.Operations(), PerSecond: m.PerSecond(), Errors: m.Errors(),
		Latency: latencies(all), Kinds: []KindReport{}, Hits: m.Hits(), Misses: m.Misses(),
		Failures: append([]FailureCount{}, m.failures...), Series: append([]Second{}, m.Seconds...), Turns: []Turn{},
		percentiles: percentilePoints(all),
	}
	for kind, h := range m.total.latency {
		if h != nil && h.TotalCount() > 0 {
			t.Kinds = append(t.Kinds, KindReport{Kind(kind).String(), latencies(h)})
		}
	}
	if m.near.Reads > 0 {
		t.Near = &m.near
	}
	t.Self = m.self()
	return t
}

// self judges whether the generator was what limited the run.
func (m *Measured) self() GeneratorReport {
	g := m.generator
	g.LatenessP50 = microseconds(m.lateness.ValueAtQuantile(50))
	g.LatenessP99 = microseconds(m.lateness.ValueAtQuantile(99))
	g.LatenessMax = microseconds(m.lateness.Max())
	g.WaitP50, g.WaitP99 = microseconds(m.scheduling.ValueAtQuantile(50)), microseconds(m.scheduling.ValueAtQuantile(99))
	late := g.late() > float64(lateLeast.Microseconds()) && g.late() > lateShare*microseconds(m.total.all().ValueAtQuantile(99))
	g.IsBottleneck = late || g.CPU > busyShare*float64(g.Processors)
	return g
}

// late is the p99 of the slower half of the generator, in microseconds.
func (g *GeneratorReport) late() float64 { return max(g.LatenessP99, g.WaitP99) }

func (m *Measured) turn() Turn {
	all := m.total.all()
	return Turn{m.PerSecond(), microseconds(all.ValueAtQuantile(50)), microseconds(all.ValueAtQuantile(99)), m.Errors()}
}

// compare adds ratios and notes.
func (r *Report) compare() {
	first := &r.Targets[0]
	for i := range r.Targets[1:] {
		t := &r.Targets[1+i]
		r.Ratios = append(r.Ratios, Ratio{t.Target, over(t.PerSecond, first.PerSecond), over(t.Latency.P50, first.Latency.P50),
			over(t.Latency.P99, first.Latency.P99), over(t.Latency.P999, first.Latency.P999)})
	}
	for i := range r.Targets {
		r.Notes = append(r.Notes, r.Targets[i].notes()...)
	}
	if r.Interrupted {
		r.Notes = append(r.Notes, "The run was interrupted; the figures are of what was measured until then.")
	}
}

func over(a, b float64) float64 {
	if b == 0 {
		return 0
	}
	return a / b
}

// notes are what a reader must know of a target's figures.
func (t *TargetReport) notes() (notes []string) {
	note := func(format string, args ...any) { notes = append(notes, t.Target+": "+fmt.Sprintf(format, args...)) }
	s := &t.Self
	switch {
	case s.IsBottleneck && t.Near != nil:
		note("the near cache is in this program, which used %.1f of %d processors: the figures are of the client, the generator and the server together. "+
			"What a hit costs by itself is told by 'make bench-near'.", s.CPU, s.Processors)
	case s.IsBottleneck:
		note("THE GENERATOR WAS THE BOTTLENECK: 1 in 100 of its own steps came %s late or later, against a p99 latency of %s, "+
			"and it used %.1f of %d processors. The figures say more about it than about the server: lower the rate, use fewer clients, or run it on another machine.",
			micros(s.late()), micros(t.Latency.P99), s.CPU, s.Processors)
	case s.late() > warnShare*t.Latency.P99 && t.Latency.Count > 0:
		note("of the p99 latency of %s, up to %s may be the generator's own: 1 in 100 of its steps came so late.",
			micros(t.Latency.P99), micros(s.late()))
	}
	if s.Delayed > 0 {
		note("%s of %s operations had to wait because as many as may be were in flight; their latency has the wait in it.",
			thousands(s.Delayed), thousands(s.Due))
	}
	if s.Unsent > 0 {
		note("%s of %s operations were not sent, for the run was over before their turn came. They count with the time they had waited.",
			thousands(s.Unsent), thousands(s.Due))
	}
	if t.Errors > 0 {
		note("%s operations failed.", thousands(t.Errors))
	}
	if t.Operations == 0 {
		note("no operation succeeded.")
	}
	return notes
}

// Line is what the generator says of itself, for a person.
func (g *GeneratorReport) Line() string {
	line := fmt.Sprintf("late to read by %s (p50), %s (p99)", micros(g.WaitP50), micros(g.WaitP99))
	if g.Due > 0 {
		line = fmt.Sprintf("late to send by %s (p50), %s (p99); ", micros(g.LatenessP50), micros(g.LatenessP99)) + line
	}
	return fmt.Sprintf("%s; used %.2f of %d processors", line, g.CPU, g.Processors)
}

// micros writes a number of microseconds for a person.
func micros(us float64) string {
	switch {
	case us < 10:
		return fmt.Sprintf("%.2f µs", us)
	case us < 999.5:
		return fmt.Sprintf("%.0f µs", us)
	case us < 999_995:
		return fmt.Sprintf("%.2f ms", us/1e3)
	}
	return fmt.Sprintf("%.2f s", us/1e6)
}
