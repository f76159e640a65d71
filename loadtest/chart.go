package loadtest

import (
	"fmt"
	"math"
	"strings"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A chart's place, in units of its drawing.
const (
	chartWidth, chartHeight = 760, 260
	plotLeft, plotRight     = 70, chartWidth - 12
	plotTop, plotBottom     = 12, chartHeight - 34
	pointsMax               = 1200 // of a line: of more, the highest of several stands for them
	ticksAbout              = 5
)

type point struct{ x, y float64 }

type chartLine struct {
	Name   string
	Class  string // its colour
	points []point
	Path   string // for the drawing
}

// chart is drawn by report.html.
type chart struct {
	Title  string
	Lines  []chartLine
	XTicks []tick
	YTicks []tick
	XTitle string
}

type tick struct {
	At   float64
	Text string
}

// draw lays the lines out. log is for the y axis; text writes its ticks.
func (c *chart) draw(log bool, text func(float64) string, xTicks func(low, high float64) []tick) {
	low, high := bounds(c.Lines, func(p point) float64 { return p.y })
	left, right := bounds(c.Lines, func(p point) float64 { return p.x })
	if right <= left {
		right = left + 1
	}
	scale := func(y float64) float64 { return y }
	var values []float64
	if log {
		low, high = math.Pow(10, math.Floor(math.Log10(max(low, 1e-3)))), math.Pow(10, math.Ceil(math.Log10(max(high, 1e-2))))
		if low == high {
			high = 10 * low
		}
		scale = math.Log10
		for v := low; v <= high*1.01; v *= 10 {
			values = append(values, v)
		}
	} else {
		step := niceStep(high / ticksAbout)
		low, high = 0, step*math.Ceil(max(high, step)/step)
		for v := 0.0; v <= high*1.001; v += step {
			values = append(values, v)
		}
	}
	x := func(v float64) float64 { return plotLeft + (v-left)/(right-left)*(plotRight-plotLeft) }
	y := func(v float64) float64 {
		v = min(max(v, low), high)
		return plotBottom - (scale(v)-scale(low))/(scale(high)-scale(low))*(plotBottom-plotTop)
	}
	for _, v := range values {
		c.YTicks = append(c.YTicks, tick{y(v), text(v)})
	}
	for _, t := range xTicks(left, right) {
		c.XTicks = append(c.XTicks, tick{x(t.At), t.Text})
	}
	for i := range c.Lines {
		var path strings.Builder
		for j, p := range thin(c.Lines[i].points) {
			separator := " "
			if j == 0 {
				separator = ""
			}
			fmt.Fprintf(&path, "%s%.1f,%.1f", separator, x(p.x), y(p.y))
		}
		c.Lines[i].Path = path.String()
	}
}

func bounds(lines []chartLine, of func(point) float64) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, line := range lines {
		for _, p := range line.points {
			low, high = min(low, of(p)), max(high, of(p))
		}
	}
	if low > high {
		return 0, 1
	}
	return low, high
}

// niceStep is the next 1, 2 or 5 times a power of ten.
func niceStep(least float64) float64 {
	if least <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, n := range []float64{1, 2, 5} {
		if n*power >= least {
			return n * power
		}
	}
	return 10 * power
}

// thin leaves of many points the highest of each group, so that no peak is lost.
func thin(points []point) []point {
	if len(points) <= pointsMax {
		return points
	}
	group := (len(points) + pointsMax - 1) / pointsMax
	var kept []point
	for first := 0; first < len(points); first += group {
		highest := points[first]
		for _, p := range points[first:min(first+group, len(points))] {
			if p.y > highest.y {
				highest = p
			}
		}
		kept = append(kept, highest)
	}
	return kept
}

// nines are the percentiles of a latency distribution's axis. Each is as far from the last one as that from the one before: the
// axis counts by how many times fewer operations take longer.
var nines = []float64{0, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.995, 99.999}

func ninesAt(percent float64) float64 { return -math.Log10(1 - percent/100) }

// percentilePoints are a distribution for its chart, as far as there are operations that tell of it.
func percentilePoints(h *hdrhistogram.Histogram) (points []point) {
	for step := 0.0; step <= 5; step += 0.05 {
		share := math.Pow(10, -step) // of operations that take longer
		if share*float64(h.TotalCount()) < 1 {
			break
		}
		points = append(points, point{step, microseconds(h.ValueAtQuantile(100 * (1 - share)))})
	}
	return points
}

// charts are those of a report: over time for each target and of all distributions.
func (r *Report) charts() []chart {
	throughput := chart{Title: "Throughput, operations a second", XTitle: "seconds"}
	distribution := chart{Title: "Latency by percentile, all operations", XTitle: "percent of the operations that took no longer"}
	var overTime []chart
	for i := range r.Targets {
		t := &r.Targets[i]
		class := fmt.Sprintf("c%d", i%6)
		rate := func(s Second) float64 { return over(float64(s.Operations), s.Length) }
		throughput.Lines = append(throughput.Lines, t.line(t.Target, class, rate))
		distribution.Lines = append(distribution.Lines, chartLine{Name: t.Target, Class: class, points: t.percentiles})
		latency := chart{Title: "Latency over time: " + t.Target, XTitle: "seconds", Lines: []chartLine{
			t.line("max", "c3", func(s Second) float64 { return s.Max }),
			t.line("p99.9", "c2", func(s Second) float64 { return s.P999 }),
			t.line("p99", "c1", func(s Second) float64 { return s.P99 }),
			t.line("p50", "c0", func(s Second) float64 { return s.P50 }),
		}}
		latency.draw(true, microsTick, secondTicks)
		overTime = append(overTime, latency)
	}
	throughput.draw(false, func(v float64) string { return thousands(uint64(v + 0.5)) }, secondTicks)
	distribution.draw(true, microsTick, func(_, high float64) (ticks []tick) {
		for _, percent := range nines {
			if at := ninesAt(percent); at <= high {
				ticks = append(ticks, tick{at, fmt.Sprintf("%g", percent)})
			}
		}
		return ticks
	})
	return append(append([]chart{throughput}, overTime...), distribution)
}

func (t *TargetReport) line(name, class string, value func(Second) float64) chartLine {
	line := chartLine{Name: name, Class: class}
	for _, s := range t.Series {
		line.points = append(line.points, point{float64(s.Second), value(s)})
	}
	if len(line.points) == 1 { // a line has two ends
		line.points = append(line.points, point{line.points[0].x + 1, line.points[0].y})
	}
	return line
}

// microsTick writes a round number of microseconds.
func microsTick(us float64) string {
	switch {
	case us < 0.999:
		return fmt.Sprintf("%g ns", math.Round(us*1e3))
	case us < 999:
		return fmt.Sprintf("%g µs", math.Round(us))
	case us < 999e3:
		return fmt.Sprintf("%g ms", math.Round(us/1e3))
	}
	return fmt.Sprintf("%g s", math.Round(us/1e6))
}

func secondTicks(low, high float64) (ticks []tick) {
	step := max(niceStep((high-low)/10), 1)
	for at := math.Ceil(low/step) * step; at <= high; at += step {
		ticks = append(ticks, tick{at, fmt.Sprintf("%g", at)})
	}
	return ticks
}
