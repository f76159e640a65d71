// Package scripts holds shell scripts, and here their tests.
package scripts

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A package whose fuzz targets cannot be listed makes scripts/fuzz fail; it must not lose its targets silently.
func TestFuzzFailsWherePackagesDoNotBuild(t *testing.T) {
	for name, test := range map[string]struct {
		listing string // what "go test -list" does for the second package
		ok      bool
		want    string
	}{
		"all build":      {"echo FuzzB; echo ok", true, "2 fuzz targets, no finding"},
		"one does not":   {"echo 'b.go:1: no'; exit 1", false, "the fuzz targets of example/b cannot be listed"},
		"one has none":   {"echo ok", true, "1 fuzz targets, no finding"},
		"list may crash": {"kill -9 $$", false, "the fuzz targets of example/b cannot be listed"},
	} {
		t.Run(name, func(t *testing.T) {
			fake := filepath.Join(t.TempDir(), "go")
			script := "#!/bin/sh\ncase \"$*\" in\n" +
				"list*) echo example/a; echo example/b ;;\n" +
				"*-list*example/a) echo FuzzA; echo ok ;;\n" +
				"*-list*example/b) " + test.listing + " ;;\n" +
				"*-fuzz*) ;;\n*) exit 9 ;;\nesac\n"
			if err := os.WriteFile(fake, []byte(script), 0o700); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("./fuzz")
			cmd.Env = append(os.Environ(), "GO="+fake)
			out, err := cmd.CombinedOutput()
			if (err == nil) != test.ok || !strings.Contains(string(out), test.want) {
				t.Errorf("scripts/fuzz: %v, want success %v and %q:\n%s", err, test.ok, test.want, out)
			}
		})
	}
}
