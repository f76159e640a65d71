package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

const (
	historySteps = 2000 // then the servers are emptied: what a difference may have come from
	stateSteps   = 500  // then all data is compared
)

// run compares the servers at o.addrA and o.addrB until enough commands ran or enough differences were found.
func run(o options, out io.Writer) (*report, error) {
	rows, leftOut, err := readChosen(o)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if err := covers(r); err != nil {
			return nil, err
		}
	}
	v := &values{Rand: rand.New(rand.NewPCG(o.seed, 0))}
	for _, r := range rows {
		v.names = append(v.names, r.name)
	}
	if v.configs, err = agreedSettings(o.addrA, o.addrB); err != nil {
		return nil, err
	}
	rep := &report{seed: o.seed, rows: rows, leftOut: leftOut, stats: map[string]*stat{}, partial: o.only != ""}
	for _, r := range rows {
		rep.stats[r.name] = &stat{}
	}
	p := newPair(o, rows)
	p.stats = rep.stats
	defer p.close()

	deadline := time.Now().Add(o.bound)
	for rep.commands < o.commands {
		if o.bound > 0 && time.Now().After(deadline) {
			rep.partial = true
			break
		}
		if len(rows) == 0 {
			break // all of them differ
		}
		steps, diff, err := p.history(newStory(v, rows), min(historySteps, o.commands-rep.commands))
		if err != nil {
			return nil, err
		}
		rep.commands += len(steps)
		if diff == nil {
			continue
		}
		rep.differences++
		rep.partial = true
		name := p.show(out, o.seed, steps, diff)
		if diff.fatal && o.restart == nil || rep.differences >= o.failures {
			break
		}
		rows = slices.DeleteFunc(slices.Clone(rows), func(r *row) bool { return r.name == name })
	}
	return rep, nil
}

// readChosen reads the rows of a server and picks those to test.
func readChosen(o options) ([]*row, []string, error) {
	only, err := compileOnly(o.only)
	if err != nil {
		return nil, nil, err
	}
	var rows []*row
	switch o.rowsFrom {
	case "a", "":
		if rows, err = readRows(o.addrA); err != nil {
			err = fmt.Errorf("the commands of the server under test: %w (-rows b takes the reference's)", err)
		}
	case "b":
		if rows, err = readRows(o.addrB); err == nil {
			rows, err = known(rows, o.addrA)
		}
	default:
		err = fmt.Errorf("-rows is %q, not a or b", o.rowsFrom)
	}
	if err != nil {
		return nil, nil, err
	}
	return choose(rows, only)
}

// history runs steps on emptied servers up to the first difference.
func (p *pair) history(s *story, count int) ([]step, *difference, error) {
	if err := p.reset(); err != nil {
		return nil, nil, err
	}
	s.queue = s.preamble()
	var steps []step
	for len(steps) < count || len(s.queue) > 0 {
		st := s.next()
		steps = append(steps, st)
		if d := p.do(st); d != nil {
			return steps, d, nil
		}
		if len(steps)%stateSteps == 0 {
			if d := p.compareState(); d != nil {
				return steps, d, nil
			}
		}
	}
	return steps, p.compareState(), nil
}

// show prints a difference with the smallest history found, and returns the name of the row that it is about.
func (p *pair) show(out io.Writer, seed uint64, steps []step, diff *difference) string {
	fmt.Fprintf(out, "\n=== difference in %s (seed %d, after %d commands)\n", diff.row, seed, len(steps))
	var small []step
	var smallDiff *difference
	if !diff.fatal || p.revive() {
		small, smallDiff = p.shrink(steps)
	}
	if smallDiff == nil {
		fmt.Fprintf(out, "it was not made to show again; the last commands:\n")
		for _, s := range steps[max(0, len(steps)-20):] {
			fmt.Fprintln(out, commandLine(s, ">"))
		}
		fmt.Fprintf(out, "# %s\n# the reference:\n%s\n# the server under test:\n%s\n", diff.what, diff.b, diff.a)
		return diff.row
	}
	fmt.Fprint(out, p.transcript(small, smallDiff))
	if smallDiff.row == "(data)" && len(small) > 0 {
		// What changed the data last is what is wrong.
		if r := p.rowOf(small[len(small)-1].args); r != nil {
			return r.name
		}
	}
	return smallDiff.row
}

// agreedSettings are the CONFIG names that both servers know and give the same value.
func agreedSettings(addrs ...string) ([][2]string, error) {
	var agreed [][2]string
	for i, addr := range addrs {
		conn, err := testredis.Dial(addr)
		if err != nil {
			return nil, err
		}
		v, err := conn.Call("CONFIG", "GET", "*")
		conn.Close()
		if err != nil {
			return nil, err
		}
		values := map[string]string{}
		for j := 0; j+1 < len(v.Elems); j += 2 {
			values[v.Elems[j].Text] = v.Elems[j+1].Text
			if i == 0 {
				agreed = append(agreed, [2]string{v.Elems[j].Text, v.Elems[j+1].Text})
			}
		}
		agreed = slices.DeleteFunc(agreed, func(c [2]string) bool { return values[c[0]] != c[1] || limits(c[0]) })
	}
	if len(agreed) == 0 {
		return nil, errors.New("the servers have no setting in common")
	}
	return agreed, nil
}

// limits tells the settings that runs change by themselves.
func limits(name string) bool {
	for i := 0; i < len(settings); i += 2 {
		if settings[i] == name {
			return true
		}
	}
	return false
}
