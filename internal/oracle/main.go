package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/neargrid/neargrid/internal/machine"
	"github.com/neargrid/neargrid/internal/only"
	"github.com/neargrid/neargrid/internal/testgrid"
)

const (
	exitMet    = 0
	exitMissed = 1
	exitFault  = 2 // nothing can be said

	reportFile  = "docs/bench/oracle.md"
	faultsUsual = 1000
	nearTarget  = 10_000_000 // near reads of hot keys
	seedUsual   = 1
)

type options struct {
	plan    plan
	only    string
	near    int64
	out     string
	keep    bool
	program string
	args    []string // as given, for the report
}

func main() {
	var o options
	flag.IntVar(&o.plan.faults, "faults", faultsUsual, "how many faults, in all grids together")
	flag.IntVar(&o.plan.arenas, "grids", 3, "how many grids are tried beside each other")
	flag.Uint64Var(&o.plan.seed, "seed", seedUsual, "for the choices that are random")
	flag.StringVar(&o.only, "only", "", "try only the faults whose name matches this `regexp`")
	flag.Int64Var(&o.near, "near", nearTarget, "how many near reads of hot keys are wanted")
	flag.StringVar(&o.out, "out", "", "report `file`; a whole run writes "+reportFile+" unless set, others write none")
	flag.StringVar(&o.program, "program", "", "try this neargrid, a `file`, rather than the one of this tree")
	flag.BoolVar(&o.keep, "keep", false, "keep the nodes' logs; they are kept anyway where something is wrong")
	flag.Parse()
	o.args = os.Args[1:]
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := try(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "oracle:", err)
	}
	os.Exit(code)
}

// try runs, prints, writes the report and answers the exit status.
func try(ctx context.Context, o options) (code int, err error) {
	if o.plan.chosen, err = only.Choose(faults, func(f fault) string { return f.name }, "fault", o.only); err != nil {
		return exitFault, err
	}
	if o.plan.faults < 1 || o.plan.arenas < 1 || o.plan.arenas > arenasMax {
		return exitFault, fmt.Errorf("-faults must be 1 or more, and -grids 1 to %d", arenasMax)
	}
	dir, err := os.MkdirTemp("", "neargrid-oracle-")
	if err != nil {
		return exitFault, err
	}
	l := &lab{dir: dir, log: func(format string, args ...any) {
		fmt.Printf("%10.3f s  %s\n", now().Seconds(), fmt.Sprintf(format, args...))
	}}
	if l.program = o.program; l.program == "" {
		l.program, err = testgrid.BuildProgram(ctx, dir)
	}
	if err != nil {
		return exitFault, errors.Join(err, os.RemoveAll(dir))
	}
	machine := machine.Describe() // with the load before the run
	j := newJudge(l.log)
	found, err := l.run(ctx, o.plan, j)
	r := newReport(ctx, o, machine, found, j)
	fmt.Print(r.text())
	if err != nil || r.missed() > 0 || o.keep {
		fmt.Println("logs are in", dir)
	} else if err := os.RemoveAll(dir); err != nil {
		return exitFault, err
	}
	if err != nil && j.count == 0 {
		return exitFault, err
	}
	if out := o.report(); out != "" && err == nil {
		if err := os.WriteFile(out, []byte(r.text()), 0o644); err != nil {
			return exitFault, err
		}
		fmt.Println("wrote", out)
	}
	if r.missed() > 0 {
		return exitMissed, err
	}
	return exitMet, nil
}

// report is the file to write, "" for none.
func (o options) report() string {
	if o.out == "" && o.only == "" && o.program == "" && o.plan.faults >= faultsUsual {
		return reportFile
	}
	return o.out
}

// moment is a time as a report shows it.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }
