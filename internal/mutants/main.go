// Command mutants plants bugs, one at a time, and fails where the tests that should notice do not. The tree stays as it
// is: the compiler reads the changed files from elsewhere (-overlay).
//
// Bugs inside functions, nearly all, are compiled together, asleep, and the tests of a package built once; a run of them wakes one
// bug, or none to see that the tests pass without (combine.go). Where a bug changes declarations, the tests are built for it alone.
//
// Each file in testdata is one bug:
//
//	# What is wrong.
//	test ./server TestGate            who must notice; one line for each. Flags of the test may follow.
//	file server/session.go            what is changed:
//	 a line that stays
//	-a line that is taken away
//	+a line that comes in its place
//
// The lines that stay and those taken away must stand in the file once, one after the other. Where the code has moved on
// they do not, and the bug is to be planted anew: a test says so (mutants_test.go).
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"slices"
	"time"
)

func main() {
	only := flag.String("only", "", "plant only the bugs whose name matches this `regexp`")
	flag.Parse()
	if err := run("internal/mutants/testdata", *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// run plants the bugs of a directory whose names match, as many at a time as there are processors, and prints the verdicts in order.
// It runs in the module's root.
func run(dir, only string) error {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-only: %w", err)
	}
	mutants, err := readAll(dir)
	if err != nil {
		return err
	}
	mutants = slices.DeleteFunc(mutants, func(m *mutant) bool { return !chosen.MatchString(m.name) })
	if len(mutants) == 0 {
		return fmt.Errorf("no bug is named %q", only)
	}
	files, alone, err := combine(mutants)
	if err != nil {
		return err
	}
	together, err := newTree(files)
	if err != nil {
		return err
	}
	defer together.remove()
	if err := together.passAsleep(mutants); err != nil {
		return err
	}
	var verdicts []chan verdict
	slots := make(chan struct{}, runtime.NumCPU())
	for _, m := range mutants {
		of := make([]chan verdict, len(m.tests))
		for i := range of {
			of[i] = make(chan verdict, 1)
		}
		verdicts = append(verdicts, of...)
		go func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			t, err := together, error(nil)
			if slices.Contains(alone, m) {
				t, err = newTree(m.files)
				defer t.remove()
			}
			for i, test := range m.tests { // one after the other: they may share what is built for them alone
				v := verdict{mutant: m, test: test, err: err}
				if start := time.Now(); err == nil {
					v.caught, v.err = t.caughtBy(test, m.number)
					v.took = time.Since(start)
				}
				of[i] <- v
			}
		}()
	}
	survived := 0
	for _, next := range verdicts {
		v := <-next
		if v.err != nil {
			return fmt.Errorf("%s: %w", v.mutant.name, v.err)
		}
		if !v.caught {
			survived++
		}
		fmt.Println(v)
	}
	if survived > 0 {
		return fmt.Errorf("%d tests did not notice the bug that they should", survived)
	}
	return nil
}

// verdict is what one test said of one bug. An err says that it said nothing, for instance because nothing was compiled.
type verdict struct {
	mutant *mutant
	test   testName
	caught bool
	took   time.Duration
	err    error
}

func (v verdict) String() string {
	word := "SURVIVED"
	if v.caught {
		word = "caught"
	}
	return fmt.Sprintf("%-28s %-8s by %s %s (%.1f s)", v.mutant.name, word, v.test.pkg, v.test.name, v.took.Seconds())
}
