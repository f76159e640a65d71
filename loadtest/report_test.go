package loadtest

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// instant is a target in the process itself, as a client with a near cache is: an operation has ended when Start returns.
type instant struct {
	name  string
	takes time.Duration
	dials *[]string
}

func (i *instant) String() string { return i.name }

func (i *instant) Dial(_ context.Context, events Events) (Client, error) {
	*i.dials = append(*i.dials, i.name)
	return &instantClient{i.takes, events}, nil
}

type instantClient struct {
	takes  time.Duration
	events Events
}

func (c *instantClient) Start(op Op) {
	time.Sleep(c.takes)
	c.events.Done(op, Result{Hits: 1})
}
func (c *instantClient) Flush() {}
func (c *instantClient) Close() {}

// Targets take turns, whoever went first going last in the next round, and are compared with the first.
func TestCompare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials []string
		targets := []Target{&instant{"slow", 4 * time.Millisecond, &dials}, &instant{"fast", time.Millisecond, &dials}}
		o := Options{Workload: workload(t, "c", 100), Clients: 1, Depth: 1, WarmUp: 100 * time.Millisecond, Duration: time.Second, sleep: time.Sleep}
		r, err := Compare(t.Context(), o, targets, 3)
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"slow", "fast", "slow", "fast", "fast", "slow", "slow", "fast"}; !slices.Equal(dials, want) { // after a look at both
			t.Errorf("turns %v, want %v", dials, want)
		}
		for i, want := range []float64{250, 1000} {
			got := r.Targets[i]
			if got.PerSecond < 0.98*want || got.PerSecond > 1.02*want || len(got.Turns) != 3 || len(got.Series) != 3 || got.Seconds < 2.9 || got.Seconds > 3.1 {
				t.Errorf("%s: %.0f/s in %.1f s, %d turns, %d rows, want %.0f in three turns of a second", got.Target, got.PerSecond, got.Seconds, len(got.Turns), len(got.Series), want)
			}
		}
		ratio := r.Ratios[0]
		if len(r.Ratios) != 1 || ratio.Target != "fast" || ratio.Throughput < 3.9 || ratio.Throughput > 4.1 || ratio.P50 < 0.24 || ratio.P50 > 0.26 {
			t.Errorf("ratios %+v, want fast 4 and 0.25", r.Ratios)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		if r, err = Compare(ctx, o, targets, 3); err != nil || !r.Interrupted || len(r.Targets) != 2 || len(r.Targets[1].Turns) != 1 {
			t.Errorf("interrupted in the second turn: %+v, %v", r, err)
		}
		cancel()
		dials = nil
		nobody := &RESP{Addr: "x:1", dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return nil, ctx.Err() }}
		if r, err = Compare(ctx, o, []Target{nobody}, 1); !errors.As(err, new(*UnreachableError)) {
			t.Errorf("interrupted before anything: %+v, %v", r, err)
		}
		nobody.dial = func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("nobody there") }
		began := time.Now()
		if r, err = Compare(t.Context(), o, []Target{targets[0], nobody}, 1); !errors.As(err, new(*UnreachableError)) || time.Since(began) > 0 {
			t.Errorf("a target that cannot be reached is noticed after %s: %+v, %v", time.Since(began), r, err)
		}
	})
}

// sample is a report with everything in it.
func sample(t *testing.T) *Report {
	t.Helper()
	var report *Report
	synctest.Test(t, func(t *testing.T) {
		f := slow(time.Millisecond)
		store := f.handle
		f.handle = func(c *fakeConn, words []string) string {
			if strings.HasSuffix(words[1], "7") {
				return "-ERR <script>alert('x & y')</script> \"quoted\"\r\n"
			}
			return store(c, words)
		}
		var dials []string
		target := f.target()
		target.ReadThrough = true
		o := Options{Workload: workload(t, "a", 100), Clients: 4, Rate: 1500, Duration: 3 * time.Second, sleep: time.Sleep}
		var err error
		if report, err = Compare(t.Context(), o, []Target{target, &instant{"<b>other</b>", time.Millisecond, &dials}}, 1); err != nil {
			t.Fatal(err)
		}
	})
	report.Generator, report.Command = "neargrid test", "neargrid load --addr \"<x>\""
	return report
}

// The fields of the JSON report are a promise: docs/load.md names them.
func TestJSON(t *testing.T) {
	var out bytes.Buffer
	if err := sample(t).JSON(&out); err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(out.Bytes(), &tree); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	fields("", tree, got)
	latency := []string{"count", "mean_us", "min_us", "p50_us", "p90_us", "p95_us", "p99_us", "p999_us", "p9999_us", "max_us"}
	want := []string{
		"format", "started", "generator", "command", "interrupted", "notes", "options", "targets", "ratios",
		"options.workload", "options.loop", "options.rate", "options.arrivals", "options.in_flight", "options.clients", "options.keys", "options.theta",
		"options.records", "options.value_size", "options.seed", "options.warm_up_seconds", "options.duration_seconds", "options.rounds", "options.read_through",
		"targets.target", "targets.measured_seconds", "targets.operations", "targets.per_second", "targets.errors", "targets.latency", "targets.kinds",
		"targets.hits", "targets.misses", "targets.failures", "targets.self", "targets.series", "targets.turns", "targets.kinds.kind", "targets.kinds.latency",
		"targets.failures.kind", "targets.failures.count", "targets.failures.first", "targets.self.due", "targets.self.delayed", "targets.self.unsent", "targets.self.lateness_p50_us",
		"targets.self.lateness_p99_us", "targets.self.lateness_max_us", "targets.self.wait_p50_us", "targets.self.wait_p99_us", "targets.self.cpu_cores", "targets.self.processors", "targets.self.is_bottleneck",
		"targets.series.second", "targets.series.length_seconds", "targets.series.operations", "targets.series.errors", "targets.series.p50_us",
		"targets.series.p99_us", "targets.series.p999_us", "targets.series.max_us", "targets.turns.per_second", "targets.turns.p50_us", "targets.turns.p99_us",
		"targets.turns.errors", "ratios.target", "ratios.throughput", "ratios.p50", "ratios.p99", "ratios.p999",
	}
	for _, field := range latency {
		want = append(want, "targets.latency."+field, "targets.kinds.latency."+field)
	}
	manual, err := os.ReadFile("../docs/load.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range want {
		if !got[field] {
			t.Errorf("field %s is missing", field)
		}
		delete(got, field)
		if name := field[strings.LastIndexByte(field, '.')+1:]; !strings.Contains(string(manual), "`"+name) && !strings.Contains(string(manual), "]."+name) {
			t.Errorf("docs/load.md does not tell of field %s", field)
		}
	}
	for field := range got {
		t.Errorf("field %s is not expected: name it here and in docs/load.md", field)
	}
}

func fields(path string, tree any, names map[string]bool) {
	switch tree := tree.(type) {
	case map[string]any:
		for name, value := range tree {
			full := strings.TrimPrefix(path+"."+name, ".")
			names[full] = true
			fields(full, value, names)
		}
	case []any:
		for _, value := range tree {
			fields(path, value, names)
		}
	}
}

// The page is well-formed, needs nothing from elsewhere, and shows what servers say as text.
func TestHTML(t *testing.T) {
	r := sample(t)
	var out bytes.Buffer
	if err := r.HTML(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if found := regexp.MustCompile(`(?i)<script|https?:|src=|href=|@import|url\(|<link|<iframe|<img|<object`).FindString(text); found != "" {
		t.Errorf("the page has %q in it: it is to be whole by itself, and without script", found)
	}
	decoder := xml.NewDecoder(&out)
	decoder.Strict = true
	lines, words := 0, strings.Builder{}
	for {
		token, err := decoder.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("not well-formed: %v", err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			for _, a := range token.Attr {
				if token.Name.Local == "polyline" && a.Name.Local == "points" {
					lines++
					if strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf") || a.Value == "" {
						t.Errorf("a line of points %q", a.Value)
					}
				}
			}
		case xml.CharData:
			words.Write(token)
		}
	}
	if want := 2 * (2 + 2*4 + 2); lines != want { // throughput, latency of two targets, distribution; each line with its key
		t.Errorf("%d lines in charts, want %d", lines, want)
	}
	for _, want := range []string{"<script>alert('x & y')</script>", "<b>other</b>", "neargrid test", `"<x>"`, "open loop: 1,500 operations/s", "read-through fill", "Against fake:1"} {
		if !strings.Contains(words.String(), want) {
			t.Errorf("the page does not show %q", want)
		}
	}
}

// A report of nothing is a report, and a page.
func TestEmptyReport(t *testing.T) {
	r := &Report{Targets: []TargetReport{newTargetReport("x", &Measured{lateness: newHistogram(), scheduling: newHistogram()})}}
	r.compare()
	for name, write := range map[string]func(io.Writer) error{"text": r.Text, "JSON": r.JSON, "HTML": r.HTML} {
		var out bytes.Buffer
		if err := write(&out); err != nil || strings.Contains(out.String(), "NaN") || strings.Contains(out.String(), "null") {
			t.Errorf("%s: %v\n%s", name, err, out.String())
		}
	}
	if !strings.Contains(fmt.Sprint(r.Notes), "no operation succeeded") {
		t.Errorf("notes: %v", r.Notes)
	}
}

func TestText(t *testing.T) {
	var out strings.Builder
	if err := sample(t).Text(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"workload a: 100 records, keys zipf 0.99, values of 100 B, seed 1\n",
		"open loop: 1,500 operations/s, poisson arrivals, 4 clients, at most 4096 in flight each; 3 s after 0 s of warm-up\n",
		"\nfake:1\n", "  throughput  ", "  latency            count", "read-through fill", " x ERR: read of k:0000000000", "against fake:1 (1 is the same)", "note: fake:1: ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
}

func TestWords(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is written %s, want %s", n, got, want)
		}
	}
	for us, want := range map[float64]string{0.5: "0.50 µs", 12: "12 µs", 1500: "1.50 ms", 2.5e6: "2.50 s"} {
		if got := micros(us); got != want {
			t.Errorf("%g µs is written %s, want %s", us, got, want)
		}
	}
	for us, want := range map[float64]string{0.1: "100 ns", 1: "1 µs", 100: "100 µs", 1e3: "1 ms", 1e5: "100 ms", 1e6: "1 s", 1e8: "100 s"} {
		if got := microsTick(us); got != want {
			t.Errorf("the tick of %g µs is written %s, want %s", us, got, want)
		}
	}
	for least, want := range map[float64]float64{0: 1, 1: 1, 1.1: 2, 3: 5, 7: 10, 120: 200} {
		if got := niceStep(least); got != want {
			t.Errorf("niceStep(%g) = %g, want %g", least, got, want)
		}
	}
}

// Of many points the highest stay.
func TestThin(t *testing.T) {
	points := make([]point, 10*pointsMax+1)
	for i := range points {
		points[i] = point{float64(i), 1}
	}
	points[777].y, points[len(points)-1].y = 50, 60
	kept := thin(points)
	if len(kept) > pointsMax || !slices.Contains(kept, points[777]) || !slices.Contains(kept, points[len(points)-1]) {
		t.Errorf("%d points of %d, want at most %d with the peaks", len(kept), len(points), pointsMax)
	}
}

// Kinds of failure are bounded, and none is lost.
func TestFailureKinds(t *testing.T) {
	r := newRecorder()
	for i := range 10 * failureKindsMax {
		r.record(i, Op{charge: true}, Result{Failure: Failure(fmt.Sprint("E", i)), Detail: fmt.Sprint("first ", i)}, time.Second)
	}
	r.record(0, Op{}, Result{Failure: "WARM"}, time.Second)
	counts := r.failureCounts()
	sum := uint64(0)
	for _, f := range counts {
		sum += f.Count
	}
	if len(counts) != failureKindsMax+1 || sum != 10*failureKindsMax || counts[0].Kind != otherKinds {
		t.Errorf("%d kinds, %d failures, the most frequent is %s", len(counts), sum, counts[0].Kind)
	}
}
