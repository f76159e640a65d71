package main

import (
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

// ageBound is the age that what the sidecar answers may have. pastBound waits for as long: what is right earlier may be wrong then.
const ageBound = 300 * time.Millisecond

func pastBound() { time.Sleep(ageBound) }

// TestSidecar runs one before its grid, then through the death of a node and its return, then through its own suspension.
func TestSidecar(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "sidecar.sock")
	g := newTestGrid(t, "--partitions", "16")
	a := g.start("a")
	g.stop("a", syscall.SIGTERM)
	// The grid is to come where nothing is now.
	s := start(t, program(t, dir, nil, "sidecar", "--join", a.addr, "--listen", "127.0.0.1:0", "--unixsocket", socket, "--staleness", ageBound.String()))
	if said := s.readTo("waiting for the grid"); !strings.Contains(said, a.addr) {
		t.Fatalf("it does not say for whom it waits: %s", said)
	}
	c, err := testredis.Dial(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if v := c.Do(t, "GET", "k"); !strings.HasPrefix(v.Text, "LOADING ") {
		t.Fatalf("without a grid: %v", v)
	}
	a = g.start("a", "--listen", a.addr)
	s.readTo("the grid is found")
	b := g.start("b")
	g.start("c")
	a.untilWhole(3)
	held := func(value string) {
		t.Helper()
		deadline := time.Now().Add(waitMax)
		for i := 0; i < testKeys; i++ {
			key := "key:" + strconv.Itoa(i)
			v := c.Do(t, "GET", key)
			switch {
			case v.IsError() && time.Now().Before(deadline):
				i--
			case v.Text != value:
				t.Fatalf("GET %s: %v, want %q", key, v, value)
			}
		}
	}
	setKeys(t, b, "one")
	pastBound()
	held("one")
	held("one")
	g.stop("c", syscall.SIGKILL)
	held("one")
	b.untilWhole(2)
	setKeys(t, b, "two")
	pastBound()
	held("two")
	g.start("c")
	a.untilWhole(3)
	held("two")
	if v := c.Do(t, "SET", "key:0", "two"); v.Text != "OK" {
		t.Fatalf("SET: %v", v)
	}
	// Suspended, it does not hear what changes; awake again it must know that.
	if err := s.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	setKeys(t, b, "three")
	pastBound()
	if err := s.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	held("three")
	if code, log := s.stop(syscall.SIGTERM); code != 0 || !strings.Contains(log, "msg=stopped") {
		t.Errorf("it ends with %d:\n%s", code, log)
	}
}
