package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// testTimeout bounds one test run; a bug may be that something never ends.
const testTimeout = 2 * time.Minute

// tree is the module with some files changed, and the tests that were built of it.
type tree struct {
	dir      string // holds what follows; nobody else's
	overlay  string // for go build -overlay
	building sync.Mutex
	built    map[string]string // by package and build flags: the test binary
}

// newTree makes a tree of the working directory, with other content in some files.
func newTree(files map[string]string) (*tree, error) {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return nil, err
	}
	t := &tree{dir: dir, overlay: filepath.Join(dir, "overlay.json"), built: map[string]string{}}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for path, content := range files {
		target, err := filepath.Abs(path)
		if err != nil {
			return t, err
		}
		overlay.Replace[target] = filepath.Join(dir, strings.ReplaceAll(path, "/", "_"))
		if err := os.WriteFile(overlay.Replace[target], []byte(content), 0o644); err != nil {
			return t, err
		}
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		return t, err
	}
	return t, os.WriteFile(t.overlay, list, 0o644)
}

func (t *tree) remove() {
	if t != nil {
		os.RemoveAll(t.dir)
	}
}

// passAsleep runs the named tests with no bug awake, those of a package together: one that fails anyway would notice nothing.
func (t *tree) passAsleep(mutants []*mutant) error {
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
		out, err := t.run(g, 0)
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

// caughtBy wakes a bug and reports whether a test fails. That the changed code does not compile is an error.
func (t *tree) caughtBy(test testName, bug int) (bool, error) {
	out, err := t.run(test, bug)
	if err == nil {
		return false, nil
	}
	if !slices.ContainsFunc(ends, func(end string) bool { return strings.Contains(out, end) }) {
		return false, fmt.Errorf("%w\n%s", err, out)
	}
	return true, nil
}

// ends are what a test's output says where it failed, in whatever way: a bug in the store may well read memory that is not there, which
// the runtime calls a fatal error.
var ends = []string{"--- FAIL: ", "panic: ", "fatal error: "}

// run runs the tests that a name stands for (with | between them), with one bug awake, as go test would.
func (t *tree) run(test testName, bug int) (out string, err error) {
	binary, flags, err := t.build(test)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout+10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, append(flags, "-test.v", "-test.paniconexit0", "-test.timeout="+testTimeout.String(), "-test.run=^("+test.name+")$")...)
	cmd.Dir = test.pkg
	cmd.Env = append(os.Environ(), fmt.Sprint(awake, "=", bug))
	cmd.WaitDelay = time.Second
	b, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w", test.pkg, test.name, err)
	}
	return string(b), err
}

// build returns the test binary of a package, built once, and those of the test's flags that it takes. Without tables for debuggers it takes
// a quarter less time to build.
func (t *tree) build(test testName) (binary string, flags []string, err error) {
	args := []string{"test", "-c", "-vet=off", "-ldflags=-s -w", "-overlay", t.overlay}
	for _, f := range test.flags {
		if strings.HasPrefix(f, "-tags=") {
			args = append(args, f)
		} else {
			flags = append(flags, f)
		}
	}
	t.building.Lock()
	defer t.building.Unlock()
	key := fmt.Sprint(test.pkg, args)
	if t.built[key] == "" {
		binary = filepath.Join(t.dir, fmt.Sprintf("%d.test", len(t.built)))
		cmd := exec.Command("go", append(args, "-o", binary, test.pkg)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", nil, fmt.Errorf("%s: %w\n%s", cmd, err, out)
		}
		t.built[key] = binary
	}
	return t.built[key], flags, nil
}
