package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/neargrid/neargrid/internal/testredis"
)

// stat counts one row's replies.
type stat struct{ runs, errors, hits int }

// report is a run's outcome.
type report struct {
	seed        uint64
	commands    int
	rows        []*row
	leftOut     []string
	stats       map[string]*stat
	differences int
	partial     bool // stopped early, or only some rows: rarely run rows say nothing
}

// mostlyErrors are the rows that may answer errors more often than not, and why.
var mostlyErrors = map[string]string{
	"object|freq":   "an error unless an LFU policy is set",
	"latency|graph": "an error unless something was slow",
}

// errorsJudgedFrom is how many runs of a row it takes to judge its share of errors.
const errorsJudgedFrom = 30

// complaints are the reasons why a run without a difference does not count.
func (r *report) complaints() []string {
	var list []string
	if r.partial {
		return nil
	}
	for _, row := range r.rows {
		st := r.stats[row.name]
		switch {
		case st.runs == 0:
			list = append(list, row.name+" never ran")
		case st.runs >= errorsJudgedFrom && 2*st.errors > st.runs && mostlyErrors[row.name] == "":
			list = append(list, fmt.Sprintf("%s: %d of %d replies were errors: its generator is not good enough", row.name, st.errors, st.runs))
		}
	}
	return list
}

func (r *report) failed() bool { return r.differences > 0 || len(r.complaints()) > 0 }

func (r *report) print(w io.Writer, table bool) {
	complaints := r.complaints()
	if table || len(complaints) > 0 {
		fmt.Fprintf(w, "%-28s %9s %9s %9s\n", "command", "runs", "errors", "hits")
		for _, row := range r.rows {
			st := r.stats[row.name]
			fmt.Fprintf(w, "%-28s %9d %9d %9d\n", row.name, st.runs, st.errors, st.hits)
		}
		slices.Sort(r.leftOut)
		for _, line := range r.leftOut {
			fmt.Fprintf(w, "left out: %s\n", line)
		}
	}
	for _, c := range complaints {
		fmt.Fprintln(w, "FAIL:", c)
	}
	fmt.Fprintf(w, "seed %d: %d commands of %d kinds, %d differences\n", r.seed, r.commands, len(r.rows), r.differences)
}

// transcript writes a difference's history as a transcript: what the reference answers, then what both do to the last.
func (p *pair) transcript(steps []step, diff *difference) string {
	var b strings.Builder
	p.reset()
	for i, s := range steps {
		b.WriteString(commandLine(s, ">") + "\n")
		if i == len(steps)-1 && diff.step.conn == s.conn && slices.Equal(diff.step.args, s.args) {
			break
		}
		if v, err := p.sides[1].conns[s.conn].Call(s.args...); err == nil {
			b.WriteString(shown(v) + "\n")
		}
		if s.expires {
			b.WriteString(commandLine(step{conn: s.conn, args: []string{"EXISTS", s.args[1]}}, ">>") + "\n(integer) 0\n")
		}
	}
	if len(steps) == 0 || !slices.Equal(diff.step.args, steps[len(steps)-1].args) {
		b.WriteString(commandLine(diff.step, ">") + "\n")
	}
	if diff.what != "" {
		fmt.Fprintf(&b, "# %s\n", diff.what)
	}
	fmt.Fprintf(&b, "# the reference:\n%s\n# the server under test:\n%s\n", diff.b, diff.a)
	return b.String()
}

// shownMax bounds how much of a reply is shown, in bytes.
const shownMax = 2000

func shown(v testredis.Value) string {
	text := testredis.Format(v)
	if len(text) > shownMax {
		return text[:shownMax] + fmt.Sprintf("... (%d bytes more)", len(text)-shownMax)
	}
	return text
}

// commandLine writes a step as a transcript does. Odd connections speak RESP3 from the start.
func commandLine(s step, mark string) string {
	if s.conn == 0 {
		return mark + " " + testredis.Line(s.args)
	}
	name := fmt.Sprintf("c%d", s.conn)
	if s.conn%2 == 1 {
		name += "_resp3"
	}
	return fmt.Sprintf("[%s] %s %s", name, mark, testredis.Line(s.args))
}
