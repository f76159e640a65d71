package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// missReasonMax bounds, in bytes, how much of a failure's reason the list of misses quotes. The run prints all of it.
const missReasonMax = 120

// standInName is what the report calls the server under test in a self-test.
const standInName = "redis-server standing in for neargrid"

// unit says how a figure is printed.
type unit struct {
	name     string
	decimals int
}

var (
	perSecond    = unit{"/s", 0}
	microseconds = unit{"us", 2}
	mebibytes    = unit{"MiB", 1}
	bytesEach    = unit{"B", 1}
	percent      = unit{"%", 2}
	items        = unit{"items", 0}
	cores        = unit{"cores", 3}
	seconds      = unit{"s", 1}
	nanoseconds  = unit{"ns", 0}
	milliseconds = unit{"ms", 2}
	allocations  = unit{"", 3}
	counted      = unit{"", 0}
)

func (u unit) format(v float64) string {
	if math.IsNaN(v) {
		return "-"
	}
	return strings.TrimSpace(grouped(strconv.FormatFloat(v, 'f', u.decimals, 64)) + " " + u.name)
}

// grouped puts commas between thousands.
func grouped(number string) string {
	whole, fraction, found := strings.Cut(number, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if found {
		whole += "." + fraction
	}
	return sign + whole
}

// row is one line of the table: a metric of a point, and the verdict where there is a target.
type row struct {
	point   string
	metric  metric
	unit    unit
	median  [2]float64 // NaN where nothing was measured
	ratio   float64    // of the medians, ours over Redis's
	low     float64    // least and greatest ratio within one round
	high    float64
	target  *target
	verdict verdict
	reason  string // why nothing was measured
}

type verdict string

const (
	noTarget verdict = ""
	met      verdict = "met"
	missed   verdict = "MISSED"
)

// judge turns what a point measured into rows. A target whose metric is absent, because the point failed, is missed.
func judge(p point, out outcome, err error) []row {
	targets := map[metric]*target{}
	for i := range p.targets {
		targets[p.targets[i].metric] = &p.targets[i]
	}
	var rows []row
	for _, s := range out.series {
		r := summarize(p.name, s)
		if t := targets[s.metric]; t != nil {
			delete(targets, s.metric)
			r.target, r.verdict = t, missed
			value := r.ratio
			if t.absolute {
				value = r.median[ours]
			}
			if t.met(value) {
				r.verdict = met
			}
		}
		rows = append(rows, r)
	}
	if err == nil && len(targets) > 0 {
		err = errors.New("not measured")
	}
	for i := range p.targets {
		if t := &p.targets[i]; targets[t.metric] != nil {
			rows = append(rows, failedRow(p.name, t.metric, t, err))
		}
	}
	if err != nil && len(targets) == 0 {
		rows = append(rows, failedRow(p.name, "all of it", nil, err))
	}
	return rows
}

// failedRow counts as missed, with or without a target: a point that cannot be measured is no success.
func failedRow(name string, m metric, t *target, err error) row {
	nan := math.NaN()
	return row{point: name, metric: m, median: [2]float64{nan, nan}, ratio: nan, low: nan, high: nan,
		target: t, verdict: missed, reason: err.Error()}
}

func summarize(name string, s series) row {
	r := row{point: name, metric: s.metric, unit: s.unit, low: math.NaN(), high: math.NaN()}
	for i := range s.samples {
		r.median[i] = median(s.samples[i])
	}
	r.ratio = r.median[ours] / r.median[peer]
	for i := range min(len(s.samples[ours]), len(s.samples[peer])) {
		ratio := s.samples[ours][i] / s.samples[peer][i]
		if i == 0 {
			r.low, r.high = ratio, ratio
		}
		r.low, r.high = min(r.low, ratio), max(r.high, ratio)
	}
	return r
}

// median answers NaN for no samples, and the mean of the middle two for an even number.
func median(samples []float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

func (r row) cells() []string {
	ratio := "-"
	if !math.IsNaN(r.ratio) {
		ratio = fmt.Sprintf("%.2f (%.2f-%.2f)", r.ratio, r.low, r.high)
	}
	want := "-"
	if r.target != nil {
		want = r.target.describe()
	}
	return []string{r.point, string(r.metric), r.unit.format(r.median[ours]), r.unit.format(r.median[peer]), ratio, want, string(r.verdict)}
}

func (t target) describe() string {
	if t.absolute {
		return fmt.Sprintf("%s %g", t.rule, t.limit)
	}
	if t.aim != 0 {
		return fmt.Sprintf("%s %gx, aim %gx", t.rule, t.limit, t.aim)
	}
	return fmt.Sprintf("%s %gx", t.rule, t.limit)
}

// printRows shows a point's outcome as soon as it is there.
func printRows(w io.Writer, rows []row, took time.Duration) {
	shown := ""
	for _, r := range rows {
		c := r.cells()
		fmt.Fprintf(w, "%-28s %-32s %18s %18s %20s  %-24s %s\n", c[0], c[1], c[2], c[3], c[4], c[5], c[6])
		if r.reason != "" && r.reason != shown { // one failure is the reason of all of a point's rows
			fmt.Fprintf(w, "    %s\n", strings.ReplaceAll(r.reason, "\n", "\n    "))
			shown = r.reason
		}
	}
	fmt.Fprintf(w, "    took %s\n", took.Round(time.Second))
}

// report is everything that the written page says.
type report struct {
	options  options
	machine  string
	versions string
	started  time.Time
	took     time.Duration
	rows     []row
	notes    []string
	sections []string
}

// missed answers the rows that make the run fail.
func (rep report) missed() []row {
	return slices.DeleteFunc(slices.Clone(rep.rows), func(r row) bool { return r.verdict != missed })
}

// warnings answers what makes the figures unfit to be quoted, loudly.
func (rep report) warnings() []string {
	var list []string
	if rep.options.selfTest {
		list = append(list, "SELF-TEST: BOTH SERVERS ARE redis-server. These figures say nothing about neargrid.")
	}
	if rep.options.short {
		list = append(list, "SHORT RUN: a hundredth of the data, runs of 0.3 s. These figures mean nothing.")
	}
	if rep.options.only != "" {
		list = append(list, "PARTIAL RUN: only the points that match "+rep.options.only+".")
	}
	return list
}

func (rep report) underTest() string {
	if rep.options.selfTest {
		return standInName
	}
	return "neargrid"
}

func (rep report) banner() string {
	var b strings.Builder
	for _, warning := range rep.warnings() {
		fmt.Fprintf(&b, "*** %s ***\n", warning)
	}
	fmt.Fprintf(&b, "%s\n%s\nrounds: %d\n\n", rep.machine, rep.versions, rep.options.rounds)
	return b.String()
}

// verdict names the misses, or says that there are none.
func (rep report) verdict() string {
	list := rep.missed()
	if len(list) == 0 {
		return fmt.Sprintf("All %d targets are met.", rep.targetCount())
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d missed of %d targets:\n", len(list), rep.targetCount())
	for _, r := range list {
		fmt.Fprintf(&b, "- %s\n", r.miss())
	}
	return strings.TrimSpace(b.String())
}

func (r row) miss() string {
	got := fmt.Sprintf("%.2fx", r.ratio)
	switch {
	case r.reason != "":
		got, _, _ = strings.Cut(r.reason, "\n")
		if len(got) > missReasonMax {
			got = strings.ToValidUTF8(got[:missReasonMax], "") + "..."
		}
	case r.target.absolute:
		got = r.unit.format(r.median[ours])
	}
	want := ""
	if r.target != nil {
		want = ", want " + r.target.describe()
	}
	return fmt.Sprintf("%s, %s: %s%s", r.point, r.metric, got, want)
}

func (rep report) targetCount() int {
	count := 0
	for _, r := range rep.rows {
		if r.target != nil || r.verdict == missed {
			count++
		}
	}
	return count
}

// write renders the page. What a person wrote about the misses is in a file of its own, which is included and never
// changed here.
func (rep report) write(path, missesPath string) error {
	misses, err := os.ReadFile(missesPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.WriteFile(path, []byte(rep.markdown(string(misses))), 0o644)
}

func (rep report) markdown(misses string) string {
	var b strings.Builder
	suite := rep.options.measures()
	fmt.Fprintf(&b, "# %s\n\nWritten by `make %s`; do not edit. The last section is kept by hand in %s.\n\n",
		suite.title, suite.target, filepath.Base(suite.misses))
	for _, warning := range rep.warnings() {
		fmt.Fprintf(&b, "**%s**\n\n", warning)
	}
	fmt.Fprintf(&b, "%s\n\n", rep.verdict())

	rounds := strconv.Itoa(rep.options.rounds) + " a point; medians, the sides alternating (the trace: one replay each)"
	for _, f := range append([]fact{
		{"date", rep.started.UTC().Format("2006-01-02 15:04 UTC") + ", took " + rep.took.Round(time.Second).String()},
		{"machine", rep.machine}, {"versions", rep.versions}, {"rounds", rounds},
		{"command", "`" + strings.Join(append([]string{"go run ./internal/bench"}, rep.options.args...), " ") + "`"},
	}, suite.facts...) {
		fmt.Fprintf(&b, "- %s: %s\n", f.name, f.text)
	}

	b.WriteString("\n")
	columns := []string{"point", "metric", rep.underTest(), suite.against, "ratio (range over rounds)", "target", "verdict"}
	writeRow(&b, columns)
	writeRow(&b, slices.Repeat([]string{"---"}, len(columns)))
	for _, r := range rep.rows {
		writeRow(&b, r.cells())
	}
	b.WriteString("\n")
	for _, note := range rep.notes {
		fmt.Fprintf(&b, "- %s\n", note)
	}
	for _, section := range rep.sections {
		b.WriteString("\n" + section)
	}
	b.WriteString("\n## Misses and why\n\n")
	if names := rep.unexplained(misses); len(names) > 0 {
		fmt.Fprintf(&b, "Missed, and not explained yet: %s.\n\n", strings.Join(names, ", "))
	}
	b.WriteString(strings.TrimSpace(cmp.Or(misses, "Nothing is recorded.")))
	b.WriteString("\n")
	return b.String()
}

// unexplained answers the missed points that misses.md does not name in a heading.
func (rep report) unexplained(misses string) []string {
	var names []string
	for _, r := range rep.missed() {
		if !slices.Contains(names, r.point) && !hasHeading(misses, r.point) {
			names = append(names, r.point)
		}
	}
	return names
}

func hasHeading(text, title string) bool {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "#") && strings.TrimSpace(strings.TrimLeft(line, "#")) == title {
			return true
		}
	}
	return false
}

func writeRow(b *strings.Builder, cells []string) {
	fmt.Fprintf(b, "| %s |\n", strings.Join(cells, " | "))
}
