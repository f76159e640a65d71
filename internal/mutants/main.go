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
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// testTimeout bounds one test run; a bug may be that something never ends.
const testTimeout = "60s"

func main() {
	if err := run("internal/mutants/testdata"); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

// run plants every bug found in a directory. It runs in the module's root.
func run(dir string) error {
	mutants, err := readAll(dir)
	if err != nil {
		return err
	}
	if err := passUnchanged(mutants); err != nil {
		return err
	}
	survived := 0
	for _, m := range mutants {
		for _, test := range m.tests {
			start := time.Now()
			caught, err := m.caughtBy(test)
			if err != nil {
				return fmt.Errorf("%s: %w", m.name, err)
			}
			verdict := "caught"
			if !caught {
				verdict = "SURVIVED"
				survived++
			}
			fmt.Printf("%-28s %-8s by %s %s (%.1f s)\n", m.name, verdict, test.pkg, test.name, time.Since(start).Seconds())
		}
	}
	if survived > 0 {
		return fmt.Errorf("%d tests did not notice the bug that they should", survived)
	}
	return nil
}

// passUnchanged runs the named tests without any bug: one that fails anyway would notice nothing.
func passUnchanged(mutants []*mutant) error {
	passed := map[string]bool{}
	for _, m := range mutants {
		for _, test := range m.tests {
			if passed[fmt.Sprint(test)] {
				continue
			}
			passed[fmt.Sprint(test)] = true
			if out, err := test.run(); err != nil {
				return fmt.Errorf("without a planted bug: %w\n%s", err, out)
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
	if strings.Contains(out, "[build failed]") || !strings.Contains(out, "--- FAIL: ") && !strings.Contains(out, "panic: ") {
		return false, fmt.Errorf("%w\n%s", err, out)
	}
	return true, nil
}

// run runs the test, with flags for go test beside its own.
func (t testName) run(flags ...string) (out string, err error) {
	args := append([]string{"test", "-vet=off", "-timeout", testTimeout, "-run", "^" + t.name + "$"}, flags...)
	args = append(append(args, t.pkg), t.flags...)
	cmd := exec.Command("go", args...)
	b, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w", cmd, err)
	}
	if err == nil && strings.Contains(string(b), "no tests to run") {
		err = fmt.Errorf("%s: there is no such test", cmd)
	}
	return string(b), err
}
