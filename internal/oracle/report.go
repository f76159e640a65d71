package main

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/neargrid/neargrid/internal/machine"
)

// report is a whole run.
type report struct {
	options           options
	started           time.Time
	machine, versions string
	found             *outcomes
	violations        []string
	count             int // of violations
	writes            [unknown + 1]int64
}

func newReport(ctx context.Context, o options, where string, found *outcomes, j *judge) *report {
	r := &report{
		options: o, started: began, machine: where, versions: "neargrid at commit " + machine.Commit(ctx) + "; " + runtime.Version(), found: found,
	}
	if o.program != "" {
		r.versions += "; the program that was tried was built elsewhere"
	}
	r.violations, r.count = j.found()
	for i := range r.writes {
		r.writes[i] = j.writes[i].Load()
	}
	return r
}

// target is one thing that is asked of a run.
type target struct {
	what       string
	want, have string
	isMet      bool
}

func (r *report) targets() (list []target) {
	add := func(what, want string, have any, isMet bool) {
		list = append(list, target{what, want, fmt.Sprint(have), isMet})
	}
	add("violations", "0", r.count, r.count == 0)
	near := r.found.total("", "").near
	add("near reads of keys written within the last 2 L", fmt.Sprintf("at least %d", r.options.near), near, near >= r.options.near)
	faults := r.found.faults()
	add("faults", fmt.Sprintf("at least %d", r.options.plan.faults), faults, faults >= r.options.plan.faults)
	for _, kind := range r.found.kinds {
		if kind != farKind {
			of := r.found.total("", kind).near
			add("of these reads, by "+kind, "more than 0", of, of > 0)
		}
	}
	return list
}

func (r *report) missed() (count int) {
	for _, t := range r.targets() {
		if !t.isMet {
			count++
		}
	}
	return count
}

// text is the report as it is checked in.
func (r *report) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# The staleness oracle\n\nWritten by `make oracle`; do not edit.\n\n")
	fmt.Fprintf(&b, "- date: %s UTC, took %s\n- machine: %s\n- versions: %s\n- command: `%s`, seed %d\n", moment(r.started), r.found.took.Round(time.Second),
		r.machine, r.versions, strings.TrimSpace("go run ./internal/oracle "+strings.Join(r.options.args, " ")), r.options.plan.seed)
	fmt.Fprintf(&b, "- L: %v; grids beside each other: %d\n- writes: %d acknowledged, %d refused, %d of unknown outcome\n", L, r.options.plan.arenas,
		r.writes[done], r.writes[refused], r.writes[unknown])
	fmt.Fprint(&b, "\n| what | wanted | got | |\n| --- | --- | --- | --- |\n")
	for _, t := range r.targets() {
		verdict := "met"
		if !t.isMet {
			verdict = "MISSED"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", t.what, t.want, t.have, verdict)
	}
	fmt.Fprint(&b, aboutRun)
	r.tables(&b)
	if r.count > 0 {
		fmt.Fprintf(&b, "\n## Violations, the first %d of %d\n\n```\n%s\n```\n", len(r.violations), r.count, strings.Join(r.violations, "\n"))
	}
	return b.String()
}

const head = "| | count | reads | near hits | of hot keys | greatest age, ms | not there | not answered |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n"

func (r *report) tables(b *strings.Builder) {
	fmt.Fprint(b, "\n## By fault\n\n", head)
	for _, f := range r.options.plan.chosen {
		if why := r.found.leftOut[f.name]; why != "" {
			fmt.Fprintf(b, "| %s | left out: %s | | | | | | |\n", f.name, why)
			continue
		}
		row(b, f.name+": "+f.about, fmt.Sprint(r.found.counts[f.name]), r.found.total(f.name, ""))
	}
	row(b, "all", fmt.Sprint(r.found.faults()), r.found.total("", ""))
	fmt.Fprint(b, "\n## By reader\n\n", head)
	for _, kind := range r.found.kinds {
		row(b, kind+": "+readerKinds[kind], "", r.found.total("", kind))
	}
	fmt.Fprint(b, "\n## Near hits of hot keys, by fault and reader\n\n|")
	for _, kind := range r.found.kinds {
		fmt.Fprintf(b, " | %s", kind)
	}
	fmt.Fprint(b, " |\n| ---", strings.Repeat(" | ---", len(r.found.kinds)), " |\n")
	for _, f := range r.options.plan.chosen {
		fmt.Fprintf(b, "| %s", f.name)
		for _, kind := range r.found.kinds {
			fmt.Fprintf(b, " | %d", r.found.total(f.name, kind).near)
		}
		fmt.Fprintln(b, " |")
	}
}

func row(b *strings.Builder, what, count string, s sums) {
	fmt.Fprintf(b, "| %s | %s | %d | %d | %d | %.1f | %d | %d |\n", what, count, s.reads, s.hits, s.near, float64(s.age)/float64(time.Millisecond), s.nothing, s.failed)
}

const aboutRun = `
Grids of three nodes, processes of one machine, each node and the sidecar in a network namespace of its own. In each grid every reader, and a
client without a near cache, writes ten keys, each every 20 to 120 ms, and reads all keys again and again, at the same time as faults are done, one
after the other. A value tells its sequence. A read that began at t0 must not return what was over for certain by t0 - L, that is: a later
write, or a removal, was acknowledged by then; nor what is behind anything that its client had seen or had written before. The client without a
near cache is held to L = 0.

"Of hot keys" are those of the near hits that were of keys written within the last 2 L, at the least: hits less all reads of other keys.
The greatest age is what is certain: from the acknowledgement of a later write until the read began.
`
