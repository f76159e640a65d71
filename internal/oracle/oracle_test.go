package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/neargrid/neargrid/internal/testgrid"
)

// built is the program that all tests use.
var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "neargrid-oracle-test-")
	if err != nil {
		panic(err)
	}
	if built, err = testgrid.BuildProgram(context.Background(), dir); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// The short form: each fault once. What is done to clients and settings, and what is done to nodes, are tried beside each other.

func TestOracleClients(t *testing.T) { short(t, faults[:nodeFaults]) }

func TestOracleNodes(t *testing.T) { short(t, faults[nodeFaults:]) }

// nearEnough near hits of hot keys show that readers of a kind were there: on a machine with much else to do they have few.
const nearEnough = 1000

func short(t *testing.T, chosen []fault) {
	t.Parallel()
	dir := t.TempDir()
	l := &lab{dir: dir, program: built, log: t.Logf}
	j := newJudge(t.Logf)
	o, err := l.run(t.Context(), plan{chosen: chosen, arenas: 1, seed: 1, near: nearEnough}, j)
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
		if kind != farKind && s.near < nearEnough {
			t.Errorf("readers of kind %s had %d near hits of hot keys, of %d reads", kind, s.near, s.reads)
		}
	}
	for _, f := range chosen {
		if why := o.leftOut[f.name]; why != "" {
			t.Logf("%s was left out: %s", f.name, why)
		} else if o.counts[f.name] == 0 {
			t.Errorf("%s was not tried", f.name)
		}
	}
	if o.counts[queueFault] > 0 && o.flushed == 0 {
		t.Error("with a push queue of 1 nobody was told to drop everything")
	}
}
