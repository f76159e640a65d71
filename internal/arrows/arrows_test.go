// Package arrows holds the module's packages to who may import whom.
package arrows

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/neargrid/neargrid/"

// allowed names, for each package, the packages of ours that it may import; docs/ARCHITECTURE.md says why. One that is
// not here fails the test: a new package is placed first.
var allowed = map[string][]string{
	"protocol":       {},
	"partition":      {},
	"nearcache":      {},
	"cluster/core":   {},
	"cluster":        {"cluster/core", "internal/clock", "protocol", "partition"},
	"server":         {"internal/clock", "protocol", "partition"},
	"client":         {"internal/clock", "protocol", "nearcache"},
	"client/goredis": {"client"},
	"loadtest":       {"client", "internal/exactsleep", "protocol"},
	"sidecar":        {"protocol", "partition", "server", "client"},
	"cmd/neargrid":   {"protocol", "partition", "nearcache", "cluster", "cluster/core", "internal/clock", "server", "client", "loadtest", "sidecar"},

	"internal/clock":      {},
	"internal/exactsleep": {},

	// Tools and tests: nothing of the program imports them.
	"internal/arrows":       {},
	"internal/testredis":    {},
	"internal/bench":        {"client", "internal/exactsleep", "internal/machine", "internal/only", "internal/relay", "internal/testredis", "loadtest", "nearcache", "protocol"},
	"internal/hits":         {"loadtest", "nearcache"},
	"internal/differential": {"internal/testredis"},
	"internal/faults":       {"cluster", "cluster/core", "internal/machine", "internal/only", "internal/testgrid", "internal/testredis", "partition"},
	"internal/oracle":       {"client", "client/goredis", "cluster", "internal/machine", "internal/only", "internal/testgrid", "internal/testredis"},
	"internal/testgrid":     {"cluster", "cluster/core", "internal/testredis"},
	"internal/machine":      {},
	"internal/only":         {},
	"internal/mutants":      {},
	"internal/relay":        {"internal/exactsleep"},
	"scripts":               {},
}

// unaware names what a package must not know of, directly or by way of others.
var unaware = map[string][]string{
	"partition":    {"net", "github.com/tidwall/redcon"},
	"nearcache":    {"net"},
	"cluster/core": {"net"},
	"client":       {"github.com/redis/go-redis/v9", "github.com/redis/rueidis"}, // who imports it need not have them
}

// TestArrows reads the imports of every package, on each system that has files of its own.
func TestArrows(t *testing.T) {
	for _, system := range []string{"linux", "darwin"} {
		seen := 0
		for _, line := range goList(t, system, "-f", `{{.ImportPath}} {{join .Imports " "}}`, "./...") {
			words := strings.Fields(line)
			name := strings.TrimPrefix(words[0], module)
			arrows, placed := allowed[name]
			if !placed {
				t.Errorf("%s: nothing says which packages it may import: add it to allowed", name)
			}
			seen++
			for _, path := range words[1:] {
				to, ours := strings.CutPrefix(path, module)
				if ours && !slices.Contains(arrows, to) {
					t.Errorf("%s: %s imports %s, and may import %v of ours", system, name, to, arrows)
				}
			}
		}
		if seen < 5 {
			t.Errorf("%s: go list names %d packages", system, seen)
		}
	}
}

// TestUnaware reads what each package depends on, by any way.
func TestUnaware(t *testing.T) {
	for name, forbidden := range unaware {
		if _, err := os.Stat("../../" + name); err != nil {
			continue // not written yet
		}
		deps := goList(t, "linux", "-deps", module+name)
		for _, path := range forbidden {
			if slices.Contains(deps, path) {
				t.Errorf("%s depends on %s", name, path)
			}
		}
	}
}

func goList(t *testing.T, system string, args ...string) []string {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "GOOS="+system, "GOARCH=amd64")
	var problems strings.Builder
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &problems)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}
