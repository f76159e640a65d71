package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/neargrid/neargrid/cluster"
)

// TestRecoverControl ends the only voter of two nodes for good. The other goes on with a control plane of its own and all data, and the
// voter is refused when it comes back with its disk.
func TestRecoverControl(t *testing.T) {
	g := newTestGrid(t, "--partitions", "8")
	a := g.start("a")
	b := g.start("b")
	a.untilWhole(2)
	setKeys(t, a, "one")
	gone := ""
	for _, m := range b.status().Members {
		if string(m.ID) == a.id() {
			gone = string(m.ID) + "/" + m.Incarnation
		}
	}
	args := []string{"recover", "--addr", b.addr, "--new-control-plane"}
	refused := func(stdin, want string, more ...string) {
		t.Helper()
		cmd := program(t, g.dir, nil, append(args, more...)...)
		cmd.Stdin = strings.NewReader(stdin)
		out, _ := cmd.CombinedOutput()
		_, said := splitLast(string(out))
		if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(said, want) {
			t.Errorf("%v: exit %d, %s\nwant %q", more, cmd.ProcessState.ExitCode(), out, want)
		}
	}
	refused("", "the control plane answers: ", "--yes")
	g.stop("a", syscall.SIGKILL)
	b.until("nobody leads", func(s cluster.Status) bool { return s.Leader == "" })
	refused("", "1 nodes do not answer, and could still be serving: bring them back, or, once it is sure that these processes are off for good, "+
		"name them: --dead "+gone)
	refused("", "is no start of a node that does not answer", "--yes", "--dead", gone+","+b.id()+"00/12345678")
	refused("", "its node answers", "--yes", "--dead", gone+","+b.id()+"/12345678")
	refused("accept\n", "neargrid recover: nothing was done", "--dead", gone)
	out := say(t, g.dir, "begin\n", append(args, "--dead", gone)...)
	if !strings.Contains(out, "\n  "+gone+"\n") || !strings.HasSuffix(out, " of the control plane has begun here: 8 partitions are served or about to be, 0 are lost\n") {
		t.Errorf("begun:\n%s", out)
	}
	checkKeys(t, b, "one")
	setKeys(t, b, "two")
	refused("", "the control plane answers: ", "--yes")

	said := g.fails("--data-dir", "a", "--join", b.peers())
	for _, want := range []string{"another was begun in its place", "move grid.json, raft and raft-* out of a, and start it with --join"} {
		if !strings.Contains(said, want) {
			t.Errorf("the old voter: got %swant %q", said, want)
		}
	}
	for _, name := range []string{"grid.json", "raft"} {
		if err := os.Rename(filepath.Join(g.dir, "a", name), filepath.Join(g.dir, name+"-of-a")); err != nil {
			t.Fatal(err)
		}
	}
	g.start("a").untilWhole(2)
	checkKeys(t, b, "two")
}
