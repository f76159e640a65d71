package main

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		samples []float64
		want    float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{4, 1, 3, 100}, 3.5},
		{[]float64{1, 1, 1, 1, 1000, 1000, 2, 2, 2}, 2},
	} {
		before := append([]float64(nil), c.samples...)
		if got := median(c.samples); got != c.want {
			t.Errorf("median(%v) = %v, want %v", before, got, c.want)
		}
		for i := range before {
			if c.samples[i] != before[i] {
				t.Fatalf("median reordered its argument: %v, was %v", c.samples, before)
			}
		}
	}
	if got := median(nil); !math.IsNaN(got) {
		t.Errorf("median of nothing = %v, want NaN", got)
	}
}

func TestUnitFormat(t *testing.T) {
	for _, c := range []struct {
		unit  unit
		value float64
		want  string
	}{
		{perSecond, 1234567.8, "1,234,568 /s"},
		{perSecond, 999, "999 /s"},
		{microseconds, 1234.567, "1,234.57 us"},
		{mebibytes, -1234.5, "-1,234.5 MiB"},
		{bytesEach, 100, "100.0 B"},
		{percent, math.NaN(), "-"},
	} {
		if got := c.unit.format(c.value); got != c.want {
			t.Errorf("%v of %s = %q, want %q", c.value, c.unit.name, got, c.want)
		}
	}
}

// samplesOf is three rounds with the given medians.
func samplesOf(ourMedian, peerMedian float64) [2][]float64 {
	return [2][]float64{{ourMedian, 0.9 * ourMedian, 1.1 * ourMedian}, {peerMedian, peerMedian, peerMedian}}
}

func TestJudge(t *testing.T) {
	fast := target{metric: throughput, rule: atLeast, limit: 1.4}
	cheap := target{metric: cpuPerCommand, rule: atMost, limit: 0.7}
	small := target{metric: resident, rule: atMost, limit: 4096, absolute: true}
	for _, c := range []struct {
		name    string
		targets []target
		series  []series
		err     error
		want    []verdict
	}{
		{"at least, reached exactly", []target{fast}, []series{{metric: throughput, samples: samplesOf(140, 100)}}, nil, []verdict{met}},
		{"at least, short of it", []target{fast}, []series{{metric: throughput, samples: samplesOf(139, 100)}}, nil, []verdict{missed}},
		{"at most", []target{cheap}, []series{{metric: cpuPerCommand, samples: samplesOf(7, 10)}}, nil, []verdict{met}},
		{"at most, above", []target{cheap}, []series{{metric: cpuPerCommand, samples: samplesOf(7.1, 10)}}, nil, []verdict{missed}},
		{"absolute: Redis's figure does not matter", []target{small}, []series{{metric: resident, samples: samplesOf(4096, 10)}}, nil, []verdict{met}},
		{"absolute, above", []target{small}, []series{{metric: resident, samples: samplesOf(4097, 9000)}}, nil, []verdict{missed}},
		{"nothing wanted", nil, []series{{metric: throughput, samples: samplesOf(1, 100)}}, nil, []verdict{noTarget}},
		{"nothing measured of one", []target{fast, cheap}, []series{{metric: throughput, samples: samplesOf(150, 100)}}, nil, []verdict{met, missed}},
		{"failed", []target{fast, cheap}, nil, errors.New("it exited"), []verdict{missed, missed}},
		{"failed, nothing wanted", nil, nil, errors.New("it exited"), []verdict{missed}},
		{"failed after a part", []target{fast}, []series{{metric: throughput, samples: samplesOf(150, 100)}}, errors.New("it exited"), []verdict{met, missed}},
		{"Redis's figure is zero", []target{cheap}, []series{{metric: cpuPerCommand, samples: samplesOf(1, 0)}}, nil, []verdict{missed}},
		{"both are zero", []target{cheap}, []series{{metric: cpuPerCommand, samples: samplesOf(0, 0)}}, nil, []verdict{missed}},
	} {
		rows := judge(point{name: "p", targets: c.targets}, outcome{series: c.series}, c.err)
		var got []verdict
		for _, r := range rows {
			got = append(got, r.verdict)
		}
		if len(got) != len(c.want) {
			t.Errorf("%s: verdicts %q, want %q", c.name, got, c.want)
			continue
		}
		for i := range got {
			if got[i] != c.want[i] {
				t.Errorf("%s: verdicts %q, want %q", c.name, got, c.want)
				break
			}
		}
	}
}

func sampleReport(o options) report {
	met := point{name: "SET", targets: unpipelined[:1]}
	slow := point{name: "LPUSH pipeline 16", targets: faster(1.1)}
	broken := point{name: "APPEND to 100 MB", targets: faster(1)}
	rep := report{options: o, machine: "two cores", versions: "neargrid at commit 0123", notes: []string{"A note."},
		started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), took: 90 * time.Second}
	rep.rows = append(rep.rows, judge(met, outcome{series: []series{{metric: throughput, unit: perSecond, samples: samplesOf(50_000, 50_000)}}}, nil)...)
	rep.rows = append(rep.rows, judge(slow, outcome{series: []series{{metric: throughput, unit: perSecond, samples: samplesOf(100, 200)}}}, nil)...)
	rep.rows = append(rep.rows, judge(broken, outcome{}, errors.New("neargrid: it exited\npanic: whatever"))...)
	return rep
}

func TestReportWrite(t *testing.T) {
	dir := t.TempDir()
	path, missesPath := filepath.Join(dir, "node.md"), filepath.Join(dir, "misses.md")
	const byHand = "### LPUSH pipeline 16\n\nThe reason, with its profile.\n"
	if err := os.WriteFile(missesPath, []byte(byHand), 0o644); err != nil {
		t.Fatal(err)
	}
	rep := sampleReport(options{rounds: 5, args: []string{"-rounds", "5"}})
	for range 2 { // what is kept by hand survives being regenerated
		if err := rep.write(path, missesPath); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"2 missed of 3 targets:\n- LPUSH pipeline 16, throughput: 0.50x, want at least 1.1x\n- APPEND to 100 MB, throughput: neargrid: it exited, want at least 1x\n",
		"- date: 2026-01-02 03:04 UTC, took 1m30s\n",
		"- machine: two cores\n",
		"- versions: neargrid at commit 0123\n",
		"- rounds: 5 a point; medians",
		"- command: `go run ./internal/bench -rounds 5`\n",
		"| SET | throughput | 50,000 /s | 50,000 /s | 1.00 (0.90-1.10) | at least 0.9x, aim 1x | met |\n",
		"| LPUSH pipeline 16 | throughput | 100 /s | 200 /s | 0.50 (0.45-0.55) | at least 1.1x | MISSED |\n",
		"- A note.\n",
		"## Misses and why\n\nMissed, and not explained yet: APPEND to 100 MB.\n\n" + byHand,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report lacks %q; it is:\n%s", want, text)
		}
	}
	if strings.Contains(string(text), "SELF-TEST") {
		t.Errorf("an ordinary report speaks of a self-test:\n%s", text)
	}
	if strings.Count(string(text), byHand) != 1 {
		t.Errorf("what was written by hand is there %d times, want once", strings.Count(string(text), byHand))
	}
	if kept, err := os.ReadFile(missesPath); string(kept) != byHand {
		t.Errorf("misses.md is now %q, %v, want it untouched", kept, err)
	}
}

func TestMissQuotesTheBeginningOfALongReason(t *testing.T) {
	r := failedRow("SET", throughput, &target{rule: atLeast, limit: 1}, errors.New(strings.Repeat("\u00e9", missReasonMax)+"\nsecond line"))
	want := "SET, throughput: " + strings.Repeat("\u00e9", missReasonMax/2) + "..., want at least 1x"
	if got := r.miss(); got != want {
		t.Errorf("miss = %q, want %q", got, want)
	}
}

func TestReportWithoutMissesFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.md")
	if err := sampleReport(options{rounds: 1}).write(path, filepath.Join(dir, "misses.md")); err != nil {
		t.Errorf("write: %v", err)
	}
}

func TestReportSaysLoudlyWhatItIsNot(t *testing.T) {
	for _, c := range []struct {
		options options
		want    string
	}{
		{options{selfTest: true}, "BOTH SERVERS ARE redis-server"},
		{options{short: true}, "SHORT RUN"},
		{options{only: "SET"}, "PARTIAL RUN"},
	} {
		rep := sampleReport(c.options)
		for place, text := range map[string]string{"page": rep.markdown(""), "banner": rep.banner()} {
			if !strings.Contains(text, c.want) {
				t.Errorf("%s of %+v lacks %q:\n%s", place, c.options, c.want, text)
			}
		}
	}
}

func TestReportPath(t *testing.T) {
	for _, c := range []struct {
		options options
		want    string
		fails   bool
	}{
		{options{rounds: 9}, suites["node"].report, false},
		{options{rounds: 2}, suites["node"].report, false},
		{options{rounds: 9, out: "x.md"}, "x.md", false},
		{options{rounds: 9, only: "SET"}, "", false},
		{options{rounds: 9, short: true}, "", false},
		{options{rounds: 9, selfTest: true}, "", false},
		{options{rounds: 9, selfTest: true, out: "x.md"}, "x.md", false},
		{options{rounds: 9, selfTest: true, out: suites["node"].report}, "", true},
		{options{rounds: 9, short: true, out: "./docs/../" + suites["node"].report}, "", true},
		{options{rounds: 9, only: "SET", out: suites["node"].report}, "", true},
		{options{rounds: 0}, "", true},
	} {
		got, err := c.options.reportPath()
		if got != c.want || (err != nil) != c.fails {
			t.Errorf("reportPath of %+v = %q, %v, want %q, error %v", c.options, got, err, c.want, c.fails)
		}
	}
}

func TestPointNamesAreDistinct(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range nodePoints {
		if seen[p.name] {
			t.Errorf("two points are named %s", p.name)
		}
		seen[p.name] = true
	}
}
