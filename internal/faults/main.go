package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/neargrid/neargrid/internal/only"
	"github.com/neargrid/neargrid/internal/testgrid"
)

const (
	exitMet    = 0
	exitMissed = 1
	exitFault  = 2

	reportFile = "docs/bench/faults.md"
	killsUsual = 200
)

type options struct {
	kills int
	only  string
	seed  uint64
	out   string
	keep  bool
	args  []string // as given, for the report
}

func main() {
	var o options
	flag.IntVar(&o.kills, "kills", killsUsual, "how many nodes are killed; the other scenarios are scaled with it")
	flag.StringVar(&o.only, "only", "", "run only the scenarios whose name matches this `regexp`")
	flag.Uint64Var(&o.seed, "seed", 0, "for the choices that are random; 0: another one each time")
	flag.StringVar(&o.out, "out", "", "report `file`; a whole run writes "+reportFile+" unless set, others write none")
	flag.BoolVar(&o.keep, "keep", false, "keep the nodes' logs and data; they are kept anyway where something is at fault")
	flag.Parse()
	o.args = os.Args[1:]
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, o, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
	}
	os.Exit(code)
}

// lab is what scenarios have in common.
type lab struct {
	dir     string // of everything that nodes leave
	program string
	seed    uint64
	rng     *rand.Rand
	kills   int
	out     io.Writer
	began   time.Time
}

func newLab(ctx context.Context, seed uint64, kills int, out io.Writer) (*lab, error) {
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	dir, err := os.MkdirTemp("", "neargrid-faults-")
	if err != nil {
		return nil, err
	}
	l := &lab{dir: dir, seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), kills: kills, out: out, began: time.Now()}
	if l.program, err = testgrid.BuildProgram(ctx, dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return l, nil
}

// progress prints what has just happened.
func (l *lab) progress(format string, args ...any) {
	fmt.Fprintf(l.out, "%7.1f s  %s\n", time.Since(l.began).Seconds(), fmt.Sprintf(format, args...))
}

// between is a duration at random.
func (l *lab) between(low, high time.Duration) time.Duration {
	return low + time.Duration(l.rng.Int64N(int64(high-low)))
}

// sleep lets a fault, or the time before one, last.
func (l *lab) sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run tries the scenarios, prints, writes the report and answers the exit status.
func run(ctx context.Context, o options, w io.Writer) (code int, err error) {
	chosen, err := only.Choose(scenarios, func(s scenario) string { return s.name }, "scenario", o.only)
	if err != nil {
		return exitFault, err
	}
	l, err := newLab(ctx, o.seed, o.kills, w)
	if err != nil {
		return exitFault, err
	}
	rep := newReport(ctx, o, l.seed)
	fmt.Fprint(w, rep.banner())
	for _, s := range chosen {
		l.progress("scenario %s: %s", s.name, s.about)
		began := time.Now()
		f := newFindings()
		err := s.run(ctx, l, f)
		if ctx.Err() != nil {
			return exitFault, errors.Join(errors.New("interrupted"), os.RemoveAll(l.dir))
		}
		c := judgeScenario(s, f, err, time.Since(began))
		rep.chapters = append(rep.chapters, c)
		fmt.Fprint(w, c.text())
	}
	rep.took = time.Since(rep.started)
	fmt.Fprintln(w, rep.verdict())
	if out := o.report(); out != "" {
		if err := os.WriteFile(out, []byte(rep.markdown()), 0o644); err != nil {
			return exitFault, err
		}
		fmt.Fprintln(w, "wrote", out)
	}
	if rep.missed() > 0 || o.keep {
		fmt.Fprintln(w, "logs and histories are in", l.dir)
	} else if err := os.RemoveAll(l.dir); err != nil {
		return exitFault, err
	}
	if rep.missed() > 0 {
		return exitMissed, nil
	}
	return exitMet, nil
}

// report is the file to write, "" for none.
func (o options) report() string {
	if o.out == "" && o.only == "" && o.kills >= killsUsual {
		return reportFile
	}
	return o.out
}
