package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/neargrid/neargrid/internal/testgrid"
)

// TestOracle does everything once to one grid.
func TestOracle(t *testing.T) {
	dir := t.TempDir()
	program, err := testgrid.BuildProgram(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{dir: dir, program: program, log: t.Logf}
	j := newJudge(t.Logf)
	o, err := l.run(t.Context(), plan{chosen: faults, arenas: 1, seed: 1}, j)
	if err != nil {
		logs, _ := filepath.Glob(filepath.Join(dir, "*", "*.log"))
		for _, log := range logs {
			text, _ := os.ReadFile(log)
			t.Logf("%s:\n%s", log, text[max(0, len(text)-2000):])
		}
		t.Fatal(err)
	}
	if _, count := j.found(); count > 0 {
		t.Errorf("%d violations", count)
	}
	for _, kind := range o.kinds {
		s := o.total("", kind)
		t.Logf("%s: %+v", kind, s)
		if kind != "far" && s.near < 1000 {
			t.Errorf("readers of kind %s had %d near hits of hot keys, of %d reads", kind, s.near, s.reads)
		}
	}
	for _, f := range faults {
		if why := o.leftOut[f.name]; why != "" {
			t.Logf("%s was left out: %s", f.name, why)
		} else if o.counts[f.name] == 0 {
			t.Errorf("%s was not tried", f.name)
		}
	}
	if o.flushed == 0 {
		t.Error("with a push queue of 1 nobody was told to drop everything")
	}
}
