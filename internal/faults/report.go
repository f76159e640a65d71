package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/neargrid/neargrid/internal/machine"
	"github.com/neargrid/neargrid/internal/testgrid"
)

// line is one row of the report.
type line struct {
	what    string
	count   int
	figures [3]string // p50, p99, longest; or the first alone
	target  string
	verdict verdict
	reason  string // of a miss
}

type verdict string

const (
	noTarget verdict = ""
	met      verdict = "met"
	missed   verdict = "MISSED"
	leftOut  verdict = "left out"
)

func verdictOf(isMet bool) verdict {
	if isMet {
		return met
	}
	return missed
}

// chapter is a scenario's share of the report.
type chapter struct {
	scenario scenario
	lines    []line
	notes    []string
	took     time.Duration
}

// judgeScenario holds what was found against what is asked.
func judgeScenario(s scenario, f *findings, err error, took time.Duration) chapter {
	c := chapter{scenario: s, took: took, notes: f.notes}
	if errors.Is(err, testgrid.ErrLeftOut) {
		c.lines = []line{{what: "the scenario", verdict: leftOut, reason: err.Error()}}
		return c // what was measured until then stands in the notes
	}
	if n := f.counts[countFaults]; n > 0 {
		c.lines = append(c.lines, line{what: countFaults, count: n})
	}
	for _, name := range f.names {
		c.lines = append(c.lines, sampleLine(name, f.samples[name], s.targets))
	}
	for _, p := range f.promises {
		l := line{what: p.text, target: "shown", verdict: verdictOf(p.err == nil)}
		if p.err != nil {
			l.reason = p.err.Error()
		}
		c.lines = append(c.lines, l)
	}
	if f.clients.commands > 0 {
		c.lines = append(c.lines, clientLines(s, f)...)
	}
	if err != nil {
		c.lines = append(c.lines, line{what: "the scenario", target: "runs to its end", verdict: missed, reason: err.Error()})
	}
	return c
}

func sampleLine(name string, of []time.Duration, targets []target) line {
	l := line{what: name, count: len(of)}
	for i, percent := range []int{50, 99, 100} {
		l.figures[i] = seconds(percentile(of, percent))
	}
	i := slices.IndexFunc(targets, func(t target) bool { return t.sample == name })
	if i < 0 {
		return l
	}
	var wanted []string
	l.verdict = met
	for _, bound := range []struct {
		name    string
		percent int
		at      time.Duration
	}{{"p50", 50, targets[i].p50}, {"p99", 99, targets[i].p99}} {
		if bound.at == 0 {
			continue
		}
		wanted = append(wanted, bound.name+" under "+seconds(bound.at))
		if got := percentile(of, bound.percent); got >= bound.at {
			l.verdict, l.reason = missed, bound.name+" "+seconds(got)
		}
	}
	l.target = strings.Join(wanted, ", ")
	return l
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }

// clientLines are about what clients saw, and whether it was right.
func clientLines(s scenario, f *findings) []line {
	lines := []line{
		{what: countAcked, count: f.counts[countAcked], figures: [3]string{fmt.Sprintf("%d lost", f.losses)}, target: "0 lost", verdict: verdictOf(f.losses == 0)},
		{
			what: fmt.Sprintf("operations, in %d histories that are linearizable", f.counts[countHistories]), count: f.counts[countOps],
			figures: [3]string{fmt.Sprintf("%d faults", f.faultsN)}, target: "0 faults", verdict: verdictOf(f.faultsN == 0), reason: strings.Join(f.faults, "; "),
		},
	}
	t := &f.clients
	errs := line{what: "commands; errors that clients saw", count: t.commands, figures: [3]string{t.troubleText()}, verdict: met}
	may := s.may
	if may == nil {
		may = failing()
	}
	errs.target = "only " + strings.Join(may, ", ")
	for kind, n := range t.troubles {
		if !slices.Contains(may, kind) {
			errs.verdict = missed
			errs.reason += fmt.Sprintf("%s %d; ", kind, n)
		}
	}
	if errs.verdict == missed {
		errs.reason += strings.Join(t.wrong, "; ")
	}
	slow := line{
		what: "replies that took more than " + seconds(slowReply), count: t.slow, figures: [3]string{2: seconds(t.slowest)},
		target: "none", verdict: verdictOf(t.slow == 0),
	}
	return append(lines, errs, slow)
}

// text is the chapter for a terminal.
func (c *chapter) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s: %s (%.0f s)\n", c.scenario.name, c.scenario.about, c.took.Seconds())
	for _, l := range c.lines {
		fmt.Fprintf(&b, "  %-58s %8s  %s", l.what, l.counted(), strings.TrimRight(strings.Join(l.figures[:], "  "), " "))
		if l.target != "" {
			fmt.Fprintf(&b, "  [%s]", l.target)
		}
		fmt.Fprintf(&b, "  %s", l.verdict)
		if l.verdict != met && l.reason != "" {
			fmt.Fprintf(&b, ": %s", l.reason)
		}
		fmt.Fprintln(&b)
	}
	for _, n := range c.notes {
		fmt.Fprintf(&b, "  - %s\n", n)
	}
	fmt.Fprintln(&b)
	return b.String()
}

func (l *line) counted() string {
	if l.count == 0 {
		return ""
	}
	return fmt.Sprint(l.count)
}

// report is a whole run.
type report struct {
	options           options
	seed              uint64
	machine, versions string
	started           time.Time
	took              time.Duration
	chapters          []chapter
}

func newReport(ctx context.Context, o options, seed uint64) *report {
	return &report{options: o, seed: seed, machine: machine.Describe(), versions: "neargrid at commit " + machine.Commit(ctx) + "; " + runtime.Version(), started: time.Now()}
}

func (r *report) command() string {
	return strings.TrimSpace("go run ./internal/faults " + strings.Join(r.options.args, " "))
}

func (r *report) banner() string {
	return fmt.Sprintf("%s\n%s\n%s, seed %d\n", r.machine, r.versions, r.command(), r.seed)
}

// missed counts the targets that were missed.
func (r *report) missed() (count int) {
	for _, c := range r.chapters {
		for _, l := range c.lines {
			if l.verdict == missed {
				count++
			}
		}
	}
	return count
}

func (r *report) verdict() string {
	targets := 0
	var left []string
	for _, c := range r.chapters {
		for _, l := range c.lines {
			switch l.verdict {
			case met, missed:
				targets++
			case leftOut:
				left = append(left, c.scenario.name)
			}
		}
	}
	text := fmt.Sprintf("%d missed of %d targets", r.missed(), targets)
	if len(left) > 0 {
		text += "; LEFT OUT, as this machine does not allow it: " + strings.Join(left, ", ")
	}
	return text
}

// reasonMax bounds, in bytes, how much of a reason the report quotes; the run prints all of it.
const reasonMax = 200

// markdown is the report as it is checked in.
func (r *report) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Faults with real processes\n\nWritten by `make faults`; do not edit.\n\n%s", r.verdict())
	if r.missed() == 0 {
		fmt.Fprint(&b, ".\n")
	} else {
		fmt.Fprint(&b, ":\n")
	}
	for _, c := range r.chapters {
		for _, l := range c.lines {
			if l.verdict == missed {
				fmt.Fprintf(&b, "- %s, %s: %s\n", c.scenario.name, l.what, oneLine(l.reason))
			}
		}
	}
	fmt.Fprintf(&b, "\n- date: %s UTC, took %s\n- machine: %s\n- versions: %s\n- command: `%s`, seed %d\n", r.started.UTC().Format("2006-01-02 15:04"),
		r.took.Round(time.Second), r.machine, r.versions, r.command(), r.seed)
	fmt.Fprint(&b, aboutRun)
	for _, c := range r.chapters {
		fmt.Fprintf(&b, "\n## %s\n\n%s (%s).\n\n", c.scenario.name, c.scenario.about, c.took.Round(time.Second))
		fmt.Fprint(&b, "| what | count | p50 | p99 | longest | target | verdict |\n| --- | --- | --- | --- | --- | --- | --- |\n")
		for _, l := range c.lines {
			cells := []string{l.what, l.counted(), l.figures[0], l.figures[1], l.figures[2], l.target, string(l.verdict)}
			if l.verdict == leftOut {
				cells[2] = oneLine(l.reason)
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
		}
		for i, n := range c.notes {
			if i == 0 {
				fmt.Fprintln(&b)
			}
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	return b.String()
}

func oneLine(text string) string {
	text = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "/")
	if len(text) > reasonMax {
		text = text[:reasonMax] + "..."
	}
	return text
}

const aboutRun = `
Nodes are processes of one machine, the clients are in one more. Unless said otherwise a grid has five nodes, of which three vote, and 64
partitions. Sixteen clients, half of them at grid doors and half at cluster doors, read and write registers and keys that are written
once; a probe for each partition in which the victim has a copy writes every 10 ms by way of other nodes. An outage is the time from
the fault to the end of the first write into the partition that was sent after it. After each fault the grid must become whole; then
everything that was acknowledged is read, and the histories are checked with porcupine.
`
