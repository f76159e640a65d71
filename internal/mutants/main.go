// Command mutants plants bugs, one at a time, and fails where the tests that should notice do not. The tree stays as it
// is: go test reads the changed files from elsewhere (-overlay).
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
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// testTimeout bounds one test run; a bug may be that something never ends.
const testTimeout = "120s"

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
	if err := passUnchanged(mutants); err != nil {
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
			for i, test := range m.tests { // one after the other: they share what was compiled
				start := time.Now()
				caught, err := m.caughtBy(test)
				of[i] <- verdict{m, test, caught, time.Since(start), err}
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

// passUnchanged runs the named tests without any bug, those of a package together: one that fails anyway would notice nothing.
func passUnchanged(mutants []*mutant) error {
	var groups []testName
	for _, m := range mutants {
		for _, test := range m.tests {
			i := slices.IndexFunc(groups, func(g testName) bool {
				return g.pkg == test.pkg && slices.Equal(g.flags, test.flags)
			})
			switch {
			case i < 0:
				groups = append(groups, test)
			case !slices.Contains(strings.Split(groups[i].name, "|"), test.name):
				groups[i].name += "|" + test.name
			}
		}
	}
	for _, g := range groups {
		out, err := g.run("-v")
		if err != nil {
			return fmt.Errorf("without a planted bug: %w\n%s", err, out)
		}
		for _, name := range strings.Split(g.name, "|") {
			if !strings.Contains(out, "--- PASS: "+name+" ") {
				return fmt.Errorf("%s has no test %s that passes", g.pkg, name)
			}
		}
	}
	return nil
}

// caughtBy plants the bug and reports whether a test fails. That the changed code does not compile is an error.
func (m *mutant) caughtBy(test testName) (bool, error) {
	dir, err := os.MkdirTemp("", "mutant")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for path, content := range m.files {
		target, err := filepath.Abs(path)
		if err != nil {
			return false, err
		}
		overlay.Replace[target] = filepath.Join(dir, strings.ReplaceAll(path, "/", "_"))
		if err := os.WriteFile(overlay.Replace[target], []byte(content), 0o644); err != nil {
			return false, err
		}
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		return false, err
	}
	listPath := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(listPath, list, 0o644); err != nil {
		return false, err
	}
	out, err := test.run("-overlay", listPath, "-count=1")
	if err == nil {
		return false, nil
	}
	if strings.Contains(out, "[build failed]") || !slices.ContainsFunc(ends, func(end string) bool { return strings.Contains(out, end) }) {
		return false, fmt.Errorf("%w\n%s", err, out)
	}
	return true, nil
}

// ends are what a test's output says where it failed, in whatever way: a bug in the store may well read memory that is not there, which
// the runtime calls a fatal error.
var ends = []string{"--- FAIL: ", "panic: ", "fatal error: "}

// run runs the tests that t names (with | between them), with flags for go test beside their own. Without its tables for debuggers a test
// takes a quarter less time to build.
func (t testName) run(flags ...string) (out string, err error) {
	args := append([]string{"test", "-vet=off", "-ldflags=-s -w", "-timeout", testTimeout, "-run", "^(" + t.name + ")$"}, flags...)
	args = append(append(args, t.pkg), t.flags...)
	cmd := exec.Command("go", args...)
	b, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w", cmd, err)
	}
	return string(b), err
}
