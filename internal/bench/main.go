package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/neargrid/neargrid/internal/machine"
	"github.com/neargrid/neargrid/internal/only"
)

const (
	exitMet    = 0
	exitMissed = 1
	exitFault  = 2
)

// suite is a target table, and how its report speaks of it.
type suite struct {
	title   string
	target  string // of make
	report  string // the file
	misses  string // the part of it that is kept by hand
	against string // the second column's heading: what ours is held against
	rounds  int    // a point, unless -rounds says otherwise
	facts   []fact
	points  []point
}

// fact is what a reader of the report must know of how it was measured.
type fact struct{ name, text string }

// againstRedis are the facts of the suites that measure servers. cpu says whose CPU is meant, memory has a verb for when it is read.
func againstRedis(servers, cpu, memory string) []fact {
	return []fact{
		{"servers", servers + ", `redis-server --save '' --appendonly no`, same loopback"},
		{"clients", fmt.Sprintf("redis-benchmark, %d clients, %d B values, %d keys, at least %s a run; CPU is user and system time of %s",
			clientCount, valueSizeBytes, keySpace, fullScale.runMin, cpu)},
		{"memory", fmt.Sprintf(memory, fullScale.settle)},
	}
}

var suites = map[string]suite{
	"node": {
		title: "One node against redis-server", target: "bench", report: "docs/bench/node.md", misses: "docs/bench/misses.md",
		against: "Redis", rounds: 9, points: nodePoints,
		facts: againstRedis("`neargrid server --listen 127.0.0.1:PORT --data-dir DIR` (and free ports for its other doors)",
			"the whole server process", "VmRSS over the empty server's, read %s after the load"),
	},
	"cluster": {
		title: "A grid of three nodes against redis-server", target: "bench-cluster", report: "docs/bench/cluster.md",
		misses: "docs/bench/cluster-misses.md", against: "Redis", rounds: 9, points: clusterPoints,
		facts: againstRedis("three processes of `neargrid server`, 2 copies, each write acknowledged by both",
			"all processes of a side", "VmRSS of the whole process, read %s after the start"),
	},
	"near": {
		title: "Near caches", target: "bench-near", report: "docs/bench/near.md", misses: "docs/bench/near-misses.md",
		against: "against", rounds: 5, points: nearPoints, facts: nearFacts,
	},
}

// measures is the suite that was asked for.
func (o options) measures() suite { return suites[cmp.Or(o.suite, "node")] }

type options struct {
	suite    string
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
	flag.StringVar(&o.suite, "suite", "node", "the target table: node, cluster or near")
	flag.IntVar(&o.rounds, "rounds", 0, "rounds per point; medians are taken over them (default: the suite's, 9, for near 5)")
	flag.StringVar(&o.only, "only", "", "measure only the points whose name matches this `regexp`")
	flag.BoolVar(&o.short, "short", false, "try the tool: a hundredth of the data, runs of 0.3 s; figures mean nothing")
	flag.BoolVar(&o.selfTest, "self-test", false, "try the tool: redis-server stands in for neargrid too")
	flag.StringVar(&o.traces, "traces", "testdata/traces", "`directory` of the cache traces")
	flag.StringVar(&o.out, "out", "", "report `file`; a whole run writes the suite's unless set, others write none")
	flag.Parse()
	o.args = os.Args[1:]
	if !isSet("rounds") {
		o.rounds = o.measures().rounds
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := run(ctx, o, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
	os.Exit(code)
}

// isSet tells whether a flag was given.
func isSet(name string) (set bool) {
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// run measures, prints, writes the report and answers the exit status.
func run(ctx context.Context, o options, w io.Writer) (int, error) {
	out, err := o.reportPath()
	if err != nil {
		return exitFault, err
	}
	chosen, err := only.Choose(o.measures().points, func(p point) string { return p.name }, "point", o.only)
	if err != nil {
		return exitFault, err
	}
	l, err := newLab(ctx, o)
	if err != nil {
		return exitFault, err
	}
	defer l.close()

	rep := report{machine: machine.Describe(), versions: l.versions(ctx), options: o, started: time.Now()}
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
		rep.sections = append(rep.sections, out.sections...)
		printRows(w, rows, time.Since(began))
		for _, s := range out.sections {
			fmt.Fprint(w, s, "\n")
		}
	}
	rep.took = time.Since(rep.started)

	missed := rep.missed()
	fmt.Fprint(w, "\n", rep.verdict(), "\n")
	if out != "" {
		if err := rep.write(out, o.measures().misses); err != nil {
			return exitFault, err
		}
		fmt.Fprintln(w, "wrote", out)
	}
	if len(missed) > 0 {
		return exitMissed, nil
	}
	return exitMet, nil
}

// whole says whether the run is one that the checked-in report may rest on. Fewer rounds are: the report states them.
func (o options) whole() bool { return o.only == "" && !o.short && !o.selfTest }

// reportPath answers the file to write, empty for none. A run that is not whole never replaces the checked-in report.
func (o options) reportPath() (string, error) {
	switch {
	case o.measures().title == "":
		return "", fmt.Errorf("-suite %s: there are node, cluster and near", o.suite)
	case o.selfTest && o.measures().target != "bench":
		return "", errors.New("-self-test is for -suite node")
	case o.rounds < 1:
		return "", fmt.Errorf("-rounds %d: at least 1", o.rounds)
	case o.out == "" && o.whole():
		return o.measures().report, nil
	case o.out != "" && !o.whole() && sameFile(o.out, o.measures().report):
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
