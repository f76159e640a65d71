package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/neargrid/neargrid/internal/testgrid"
)

// built is a lab whose program all tests use.
var built *lab

func TestMain(m *testing.M) {
	var err error
	if built, err = newLab(context.Background(), 1, 1, os.Stderr); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(built.dir)
	os.Exit(code)
}

// testOutput is the test's log.
type testOutput struct{ *testing.T }

func (o testOutput) Write(b []byte) (int, error) {
	o.Log(strings.TrimSuffix(string(b), "\n"))
	return len(b), nil
}

// testLab has a directory of its own, which stays where the test fails.
func testLab(t *testing.T) *lab {
	t.Helper()
	dir, err := os.MkdirTemp("", "neargrid-faults-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("logs and histories are in %s", dir)
			return
		}
		os.RemoveAll(dir)
	})
	l := *built
	l.dir, l.out, l.began = dir, testOutput{t}, time.Now()
	return &l
}

// check fails the test where something was found that must never be. How long things took is not asked: a busy machine is slow.
func (f *findings) check(t *testing.T, may []string) {
	t.Helper()
	for _, fault := range f.faults {
		t.Error(fault)
	}
	for _, p := range f.promises {
		if p.err != nil {
			t.Errorf("%s: %v", p.text, p.err)
		}
	}
	for kind, n := range f.clients.troubles {
		if !slices.Contains(may, kind) {
			t.Errorf("clients saw %d times %s: %q", n, kind, f.clients.wrong)
		}
	}
	if f.clients.commands > 0 && f.counts[countAcked] == 0 {
		t.Error("no write was acknowledged")
	}
	t.Logf("%d commands, %d acknowledged writes read back, trouble: %s", f.clients.commands, f.counts[countAcked], f.clients.troubleText())
}

// TestFaults kills nodes, voters and leaders, freezes one, and restarts all, under load.
func TestFaults(t *testing.T) {
	t.Parallel()
	l, f := testLab(t), newFindings()
	g, err := l.startGrid(t.Context(), 3, "--partitions", "16")
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	var loads []*load
	for i, r := range []role{plainVoter, leader, plainVoter, leader, plainVoter} {
		noticed := i != 2 // that one is started again at once
		round, err := g.killOne(t.Context(), f, "kill"+string(rune('0'+i)), r, noticed)
		if err != nil {
			t.Fatal(err)
		}
		loads = append(loads, round)
	}
	round, err := g.freezeOne(t.Context(), f, "freeze", plainVoter, 1500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	loads = append(loads, round)
	rolling := g.startLoad("rolling", usualLoad)
	for _, n := range g.Running() {
		if err := g.restart(t.Context(), f, n); err != nil {
			t.Fatal(err)
		}
	}
	rolling.finish(f)
	for _, round := range loads {
		round.verify(f)
	}
	f.check(t, append(failing(), noReplyFrozen))
}

func TestTwoNodes(t *testing.T) {
	t.Parallel()
	l, f := testLab(t), newFindings()
	if err := twoNodes(t.Context(), l, f); err != nil {
		t.Error(err)
	}
	f.check(t, nil)
}

func TestTwoAndWitness(t *testing.T) {
	t.Parallel()
	l, f := testLab(t), newFindings()
	if err := twoAndWitness(t.Context(), l, f); err != nil {
		t.Error(err)
	}
	f.check(t, nil)
}

// TestJudge: what the histories of faulty grids would look like is found, and what is merely unknown is not held against them.
func TestJudge(t *testing.T) {
	at := func(start, end int, o operation) operation {
		o.start, o.end = time.Duration(start), time.Duration(end)
		return o
	}
	read := func(start, end int, seen string) operation { return at(start, end, operation{seen: seen}) }
	write := func(start, end int, value string) operation {
		return at(start, end, operation{kind: opWrite, value: value})
	}
	swap := func(start, end int, value, seen string) operation {
		return at(start, end, operation{kind: opSwap, value: value, seen: seen})
	}
	unknown := func(o operation) operation {
		o.unknown = true
		return o
	}
	for _, test := range []struct {
		name    string
		history []operation
		want    porcupine.CheckResult
	}{
		{"empty", nil, porcupine.Ok},
		{"in order", []operation{read(0, 1, ""), write(2, 3, "a"), swap(4, 5, "b", "a"), read(6, 7, "b")}, porcupine.Ok},
		{"lost", []operation{write(0, 1, "a"), read(2, 3, "")}, porcupine.Illegal},
		{"an old value", []operation{write(0, 1, "a"), write(2, 3, "b"), read(4, 5, "a")}, porcupine.Illegal},
		{"at the same time", []operation{write(0, 9, "a"), write(1, 8, "b"), read(10, 11, "a"), read(12, 13, "a")}, porcupine.Ok},
		{"a read of what was lost later", []operation{unknown(write(0, 1, "a")), read(2, 3, "a"), read(4, 5, "")}, porcupine.Illegal},
		{"unknown, and not executed", []operation{write(0, 1, "a"), unknown(write(2, 3, "b")), read(4, 5, "a")}, porcupine.Ok},
		{"unknown, and late", []operation{unknown(write(0, 1, "b")), write(2, 3, "a"), read(4, 5, "a"), read(6, 7, "b")}, porcupine.Ok},
		{"executed twice", []operation{unknown(write(0, 1, "b")), read(2, 3, "b"), write(4, 5, "a"), read(6, 7, "b")}, porcupine.Illegal},
		{"nobody wrote it", []operation{read(0, 1, "x")}, porcupine.Illegal},
		{"a swap that lost a race", []operation{write(0, 1, "a"), swap(2, 3, "b", ""), read(4, 5, "b")}, porcupine.Illegal},
	} {
		if got := judge(test.history); got != test.want {
			t.Errorf("%s: got %s, want %s\n%s", test.name, got, test.want, describe(test.history))
		}
	}
}

// TestReport: what was missed is said, first of all, and the exit code follows.
func TestReport(t *testing.T) {
	f := newFindings()
	for _, ms := range []int{900, 1000, 2600} {
		f.sample(outageAny, time.Duration(ms)*time.Millisecond)
	}
	f.clients.note(answer{trouble: "WRONGTYPE", detail: "WRONGTYPE x"}, time.Second)
	f.lost("key")
	s := scenario{name: "s", about: "a scenario", targets: []target{{outageAny, 1500 * time.Millisecond, 0}}}
	r := &report{chapters: []chapter{judgeScenario(s, f, nil, time.Second)}}
	if got := r.missed(); got != 3 { // lost, at fault, the wrong error
		t.Errorf("missed: got %d, want 3", got)
	}
	text := r.markdown()
	for _, want := range []string{
		"3 missed of 5 targets:\n", "| outage, all | 3 | 1.000 s | 1.000 s | 2.600 s | p50 under 1.500 s | met |",
		"1 lost | ", "key was acknowledged, and is gone", "WRONGTYPE 1; WRONGTYPE x",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

// TestLeftOut: what this machine does not allow is no target met, and the first line says that it was not tried.
func TestLeftOut(t *testing.T) {
	s := scenario{name: "cut", about: "a scenario"}
	why := fmt.Errorf("%w: network namespaces: not permitted", testgrid.ErrLeftOut)
	r := &report{chapters: []chapter{judgeScenario(s, newFindings(), why, time.Second)}}
	const want = "0 missed of 0 targets; LEFT OUT, as this machine does not allow it: cut"
	if got := r.verdict(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, want := range []string{want + ".\n", "network namespaces: not permitted"} {
		if text := r.markdown(); !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

// TestPartialRun: the report of a run that is not whole is written only where it is asked for.
func TestPartialRun(t *testing.T) {
	out := filepath.Join(t.TempDir(), "report.md")
	for _, test := range []struct {
		o    options
		want string
	}{
		{options{kills: killsUsual}, reportFile}, {options{kills: 3}, ""}, {options{kills: killsUsual, only: "x"}, ""}, {options{kills: 3, out: out}, out},
	} {
		if got := test.o.report(); got != test.want {
			t.Errorf("%+v: got %q, want %q", test.o, got, test.want)
		}
	}
}
