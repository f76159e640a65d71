package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const (
	exitMet    = 0
	exitMissed = 1
	exitFault  = 2
)

// The directory of the report, and the part of it that is kept by hand.
const (
	reportFile = "docs/bench/node.md"
	missesFile = "docs/bench/misses.md"
)

type options struct {
	rounds   int
	only     string
	short    bool
	selfTest bool
	traces   string
	out      string
	args     []string // as given, for the report
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 9, "rounds per point; medians are taken over them")
	flag.StringVar(&o.only, "only", "", "measure only the points whose name matches this `regexp`")
	flag.BoolVar(&o.short, "short", false, "try the tool: a hundredth of the data, runs of 0.3 s; figures mean nothing")
	flag.BoolVar(&o.selfTest, "self-test", false, "try the tool: redis-server stands in for neargrid too")
	flag.StringVar(&o.traces, "traces", "testdata/traces", "`directory` of the cache traces")
	flag.StringVar(&o.out, "out", "", "report `file`; a whole run writes "+reportFile+" unless set, others write none")
	flag.Parse()
	o.args = os.Args[1:]

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, o, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	os.Exit(code)
}

// run measures, prints, writes the report and answers the exit status.
func run(ctx context.Context, o options, w io.Writer) (int, error) {
	chosen, err := choose(points, o.only)
	if err != nil {
		return exitFault, err
	}
	out, err := o.reportPath()
	if err != nil {
		return exitFault, err
	}
	l, err := newLab(ctx, o)
	if err != nil {
		return exitFault, err
	}
	defer l.close()

	rep := report{machine: describeMachine(), versions: l.versions(ctx), options: o, started: time.Now()}
	fmt.Fprint(w, rep.banner())
	for _, p := range chosen {
		began := time.Now()
		out, err := p.run(ctx, l)
		if ctx.Err() != nil {
			return exitFault, errors.New("interrupted")
		}
		rows := judge(p, out, err)
		rep.rows = append(rep.rows, rows...)
		rep.notes = append(rep.notes, out.notes...)
		printRows(w, rows, time.Since(began))
	}
	rep.took = time.Since(rep.started)

	missed := rep.missed()
	fmt.Fprint(w, "\n", rep.verdict(), "\n")
	if out != "" {
		if err := rep.write(out, missesFile); err != nil {
			return exitFault, err
		}
		fmt.Fprintln(w, "wrote", out)
	}
	if len(missed) > 0 {
		return exitMissed, nil
	}
	return exitMet, nil
}

// choose answers the points whose name matches the pattern, in the table's order.
func choose(all []point, pattern string) ([]point, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	var chosen []point
	var names []string
	for _, p := range all {
		names = append(names, p.name)
		if re.MatchString(p.name) {
			chosen = append(chosen, p)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("-only %s matches no point; there are: %s", pattern, strings.Join(names, ", "))
	}
	return chosen, nil
}

// whole says whether the run is one that the checked-in report may rest on. Fewer rounds are: the report states them.
func (o options) whole() bool { return o.only == "" && !o.short && !o.selfTest }

// reportPath answers the file to write, empty for none. A run that is not whole never replaces the checked-in report.
func (o options) reportPath() (string, error) {
	switch {
	case o.rounds < 1:
		return "", fmt.Errorf("-rounds %d: at least 1", o.rounds)
	case o.out == "" && o.whole():
		return reportFile, nil
	case o.out != "" && !o.whole() && sameFile(o.out, reportFile):
		return "", fmt.Errorf("-out %s: a run with -only, -short or -self-test may not replace the report", o.out)
	}
	return o.out, nil
}

func sameFile(a, b string) bool {
	absA, errA := filepath.Abs(a)
	absB, errB := filepath.Abs(b)
	if errA == nil && errB == nil && absA == absB {
		return true
	}
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}
