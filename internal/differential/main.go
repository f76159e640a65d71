// Command differential sends the same random commands to a neargrid and to a redis-server, and compares every reply and,
// now and then, all the data.
//
//	main.go      flags, servers, the report's exit code
//	rows.go      the commands there are: COMMAND DOCS and COMMAND of our server
//	generate.go  a random command from a row's argument tree; values.go the values of each argument
//	special.go   rows whose arguments the tree does not tell; exclude.go rows that are left out, and why
//	session.go   what the connections are in the middle of (MULTI blocks, expiries), so that steps make sense
//	pair.go      one step on both servers; pair_chosen.go where what they choose may differ; compare.go when two replies are the
//	             same; state.go when all data is
//	shrink.go    from the history of a difference to a minimal one
//	run.go       the loop over all that; report.go what it prints
//
// Everything follows from -seed, apart from time and the servers' own random choices.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

// options are the flags.
type options struct {
	seed     uint64
	commands int
	failures int           // stop after so many differences; each in another command
	only     string        // regular expression over "group name"
	rowsFrom string        // "a" or "b"
	addrA    string        // the server under test; empty: start one
	addrB    string        // the reference; empty: start one
	bound    time.Duration // of the whole run; 0: none
	verbose  bool
	restart  func() (addr string, err error) // replaces the server under test; nil where it was given by address
}

func main() {
	var o options
	flag.Uint64Var(&o.seed, "seed", 0, "seed of all random choices (0: from the clock)")
	flag.IntVar(&o.commands, "n", 60_000, "number of commands")
	flag.IntVar(&o.failures, "failures", 1, "stop after this many differences; a command that differed is not tried again")
	flag.StringVar(&o.only, "only", "", "only commands of which \"group name\" matches this regular expression, e.g. '^hash ' or ' set$'")
	flag.StringVar(&o.rowsFrom, "rows", "a", "whose COMMAND DOCS to take commands from: a (the server under test), or b (the reference; commands that a does not know are left out)")
	flag.StringVar(&o.addrA, "addr-a", "", "address of the server under test (default: build and start neargrid)")
	flag.StringVar(&o.addrB, "addr-b", "", "address of the reference (default: start redis-server)")
	flag.DurationVar(&o.bound, "time", 0, "stop after this long (0: no bound)")
	flag.BoolVar(&o.verbose, "v", false, "print the table of all commands also where nothing differed")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "differential: unexpected argument %q\n", flag.Arg(0))
		os.Exit(2)
	}
	os.Exit(start(o, os.Stdout))
}

// start launches the servers that were not given, runs, and returns the exit code: 1 for a difference or an
// incomplete run, 2 where it could not begin.
func start(o options, out io.Writer) int {
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	var servers []*testredis.Server
	stop := func() {
		for _, s := range servers {
			s.Stop()
		}
		testredis.RemoveBinary()
	}
	defer stop()
	interrupt := make(chan os.Signal, 1)
	signal.Notify(interrupt, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupt
		stop()
		os.Exit(130)
	}()

	launch := func(f func(...string) (*testredis.Server, error)) (addr string, err error) {
		s, err := f()
		if err != nil {
			return "", err
		}
		servers = append(servers, s)
		return s.Addr, nil
	}
	var err error
	if o.addrA == "" {
		o.restart = func() (string, error) { return launch(testredis.LaunchNeargrid) }
		o.addrA, err = o.restart()
	}
	if o.addrB == "" && err == nil {
		o.addrB, err = launch(testredis.LaunchRedis)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "differential:", err)
		return 2
	}
	report, err := run(o, out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "differential:", err)
		for _, s := range servers {
			fmt.Fprintf(os.Stderr, "output of the server at %s:\n%s\n", s.Addr, s.Output())
		}
		return 2
	}
	report.print(out, o.verbose)
	if report.failed() {
		return 1
	}
	return 0
}

// compileOnly makes the filter of -only.
func compileOnly(pattern string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	return re, nil
}
