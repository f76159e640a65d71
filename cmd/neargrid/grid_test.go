package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/neargrid/neargrid/cluster"
	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/protocol"
	"github.com/neargrid/neargrid/server"
)

var peersField = regexp.MustCompile(` peers=(\S+)`)

// peers is where other nodes reach a node.
func (n *process) peers() string {
	n.t.Helper()
	found := peersField.FindStringSubmatch(n.ready)
	if found == nil {
		n.t.Fatalf("its log does not tell the peer port: %s", n.ready)
	}
	return found[1]
}

// id is the node's.
func (n *process) id() string {
	n.t.Helper()
	_, rest, _ := strings.Cut(n.ready, " node=")
	id, _, _ := strings.Cut(rest, " ")
	return id
}

// client is a connection that is asked one command at a time.
type client struct {
	conn    net.Conn
	replies *protocol.Decoder
}

func (n *process) client() *client {
	n.t.Helper()
	conn := n.dial()
	return &client{conn, protocol.NewDecoder(conn)}
}

func (c *client) do(words ...string) (protocol.Value, error) {
	if _, err := c.conn.Write(requestOf(words)); err != nil {
		return protocol.Value{}, err
	}
	return c.replies.Decode()
}

// say runs a command that has an answer and ends with success.
func say(t *testing.T, dir, stdin string, args ...string) string {
	t.Helper()
	cmd := program(t, dir, nil, args...)
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = strings.NewReader(stdin), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("neargrid %v: %v\n%s%s", args, err, out, stderr.String())
	}
	return string(out)
}

func (n *process) status() (s cluster.Status) {
	n.t.Helper()
	reply, err := n.client().do("GRID.STATUS")
	if err == nil {
		err = json.Unmarshal(reply.Str, &s)
	}
	if err != nil {
		n.t.Fatalf("GRID.STATUS: %v, %q", err, reply.Str)
	}
	return s
}

// statusPause is between two looks at a status: there is no event to wait for in another process.
const statusPause = 50 * time.Millisecond

// until waits until a node sees the grid in some way.
func (n *process) until(what string, isSo func(cluster.Status) bool) {
	n.t.Helper()
	deadline := time.Now().Add(waitMax)
	for {
		s := n.status()
		if isSo(s) {
			return
		}
		if time.Now().After(deadline) {
			text, _ := json.MarshalIndent(s, "", "  ")
			n.t.Fatalf("not within %v: %s\n%s", waitMax, what, text)
		}
		time.Sleep(statusPause)
	}
}

// untilWhole waits until so many nodes are there, and have all copies. That enough of them vote, for the promise to be kept, takes longer.
func (n *process) untilWhole(nodes int) {
	n.t.Helper()
	n.until(fmt.Sprintf("%d nodes, and all copies", nodes), func(s cluster.Status) bool {
		alive := 0
		for _, m := range s.Members {
			if m.State == core.Alive.String() {
				alive++
			}
		}
		p := s.Partitions
		return alive == nodes && s.Leader != "" && p.Serving == p.Total && p.BelowCopies == 0 && s.Moves.Left == 0
	})
}

// testGrid is nodes that one test starts, each with a data directory of its name.
type testGrid struct {
	*testing.T
	dir   string
	flags []string
	nodes map[string]*process

	within []string // the words that start a program where the next node is to be; none: here
}

func newTestGrid(t *testing.T, flags ...string) *testGrid {
	return &testGrid{T: t, dir: t.TempDir(), flags: flags, nodes: map[string]*process{}}
}

// start starts a node, which joins those that run.
func (g *testGrid) start(name string, flags ...string) *process {
	g.Helper()
	args := append([]string{"--listen", "127.0.0.1:0", "--data-dir", name}, g.flags...)
	var join []string
	for _, n := range g.nodes {
		join = append(join, n.peers())
	}
	if len(join) > 0 {
		args = append(args, "--join", strings.Join(join, ","))
	}
	cmd := program(g.T, g.dir, nil, append(append([]string{"server"}, args...), flags...)...)
	if len(g.within) > 0 {
		cmd.Args = append(slices.Clone(g.within), cmd.Args...)
		if cmd.Path, cmd.Err = exec.LookPath(cmd.Args[0]); cmd.Err != nil {
			g.Fatal(cmd.Err)
		}
	}
	g.nodes[name] = start(g.T, cmd)
	return g.nodes[name]
}

func (g *testGrid) stop(name string, s os.Signal) (code int, stderr string) {
	n := g.nodes[name]
	delete(g.nodes, name)
	return n.stop(s)
}

// untilSaved waits until a node has on disk which grid it is of.
func (g *testGrid) untilSaved(name string) {
	g.Helper()
	for deadline := time.Now().Add(waitMax); ; time.Sleep(statusPause) {
		if _, err := os.Stat(filepath.Join(g.dir, name, "grid.json")); err == nil {
			return
		}
		if time.Now().After(deadline) {
			g.Fatalf("%s has not saved its grid", name)
		}
	}
}

const testKeys = 100

func setKeys(t *testing.T, n *process, value string) {
	t.Helper()
	c := n.client()
	for i := range testKeys {
		if reply, err := c.do("SET", "key:"+strconv.Itoa(i), value); err != nil || string(reply.Str) != "OK" {
			t.Fatalf("SET key:%d: %q, %v", i, reply.Str, err)
		}
	}
}

// checkKeys reads all keys, each for a few seconds if need be: nobody may know at once who leads its partition now.
func checkKeys(t *testing.T, n *process, value string) {
	t.Helper()
	c := n.client()
	deadline := time.Now().Add(5 * time.Second)
	for i := range testKeys {
		key := "key:" + strconv.Itoa(i)
		reply, err := c.do("GET", key)
		for err == nil && reply.IsError() && time.Now().Before(deadline) {
			time.Sleep(statusPause)
			reply, err = c.do("GET", key)
		}
		if err != nil || string(reply.Str) != value {
			t.Fatalf("GET %s at %s: got %q, %v, want %q", key, n.addr, reply.Str, err, value)
		}
	}
}

// TestGrid has three processes form a grid, shows it, takes a node out in each way that there is, and looks for what was written.
func TestGrid(t *testing.T) {
	g := newTestGrid(t, "--partitions", "8")
	a := g.start("a")
	b, c := g.start("b", "--zone", "east"), g.start("c")
	a.untilWhole(3)
	setKeys(t, a, "one")
	checkKeys(t, b, "one")
	checkKeys(t, c, "one")
	for _, step := range []struct {
		name string
		run  func(t *testing.T, g *testGrid)
	}{{"status", testStatus}, {"near", testNear}, {"handover", testHandOver}, {"kill", testKill}, {"drain", testDrain}} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, g) }) {
			return // the next one begins with the nodes that this one should have left
		}
	}
}

func testStatus(t *testing.T, g *testGrid) {
	b := g.nodes["b"]
	b.until("the promise is kept, which takes three voters", func(s cluster.Status) bool { return s.Promise.Kept })
	text := say(t, g.dir, "", "status", "--addr", b.addr)
	for _, want := range []string{
		"promise     cache: 2 copies", "kept now    yes", "partitions  8, all served\n", "moves       none", "NODE  ",
		b.id() + "  east  data  alive",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	var s cluster.Status
	if err := json.Unmarshal([]byte(say(t, g.dir, "", "status", "--json", "--addr", b.addr)), &s); err != nil {
		t.Fatal(err)
	}
	primaries := 0
	for _, m := range s.Members {
		primaries += m.Primary
		if m.Client != g.nodes["a"].addr && m.Client != b.addr && m.Client != g.nodes["c"].addr {
			t.Errorf("nobody's door is at %s", m.Client)
		}
	}
	if len(s.Members) != 3 || primaries != 8 || string(s.Node) != b.id() {
		t.Errorf("status --json: %+v", s)
	}
	info := ask(t, b.dial(), "INFO grid")
	for _, want := range []string{"grid_id:" + s.Grid, "grid_nodes:3", "promise_kept:1", "partitions_total:8", "moves_left:0"} {
		if !strings.Contains(info, want+" ") {
			t.Errorf("%q is missing in INFO: %s", want, info)
		}
	}
}

// load writes through a node until it is told to stop or the connection ends, and returns what went wrong.
func load(n *process, stop <-chan struct{}) (done func() (writes int, err error)) {
	c := n.client()
	writes, failed := 0, error(nil)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			reply, err := c.do("SET", "load:"+strconv.Itoa(writes%testKeys), "x")
			switch {
			case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
				failed = io.EOF
				return
			case err == nil && string(reply.Str) != "OK":
				err = errors.New(string(reply.Str))
			}
			if err != nil {
				failed = err
				return
			}
			writes++
		}
	})
	return func() (int, error) {
		running.Wait()
		return writes, failed
	}
}

// testHandOver stops a node under load: clients of others notice nothing, its own that their connections end.
func testHandOver(t *testing.T, g *testGrid) {
	stop := make(chan struct{})
	other, own := load(g.nodes["a"], stop), load(g.nodes["b"], stop)
	begin := time.Now()
	code, stderr := g.stop("b", syscall.SIGTERM)
	if took := time.Since(begin); code != 0 || took > stopTimeout || strings.Contains(stderr, "not everything was handed over") {
		t.Errorf("exit %d after %v\n%s", code, took, stderr)
	}
	close(stop)
	if writes, err := other(); err != nil || writes == 0 {
		t.Errorf("through another node: %d writes, then %v", writes, err)
	}
	if writes, err := own(); !errors.Is(err, io.EOF) || writes == 0 {
		t.Errorf("through the node itself: %d writes, then %v", writes, err)
	}
	checkKeys(t, g.nodes["a"], "one")
	g.start("b", "--zone", "east")
	g.nodes["a"].untilWhole(3)
}

// testKill ends a node without a word: what was acknowledged is there, and within seconds everything is served again.
func testKill(t *testing.T, g *testGrid) {
	setKeys(t, g.nodes["b"], "two")
	g.stop("c", syscall.SIGKILL)
	for _, n := range g.nodes {
		checkKeys(t, n, "two")
	}
	g.nodes["a"].untilWhole(2)
	setKeys(t, g.nodes["b"], "three")
	g.start("c")
	g.nodes["a"].untilWhole(3)
}

func testDrain(t *testing.T, g *testGrid) {
	b := g.nodes["b"]
	out := say(t, g.dir, "", "drain", "--addr", b.addr) // itself
	if !strings.HasPrefix(out, "node "+b.id()+" is to leave the grid\n") || !strings.HasSuffix(out, "node "+b.id()+" has left the grid\n") {
		t.Errorf("drain says\n%s", out)
	}
	if code, stderr := b.wait(); code != 0 || !strings.Contains(stderr, `msg="left the grid"`) {
		t.Errorf("exit %d, want 0, having left\n%s", code, stderr)
	}
	a := g.nodes["a"]
	checkKeys(t, a, "three")
	if s := a.status(); len(s.Members) != 2 || s.Partitions.BelowCopies > 0 {
		t.Errorf("after the drain: %+v", s)
	}
}

// fails runs a program that cannot start, and returns its last line.
func (g *testGrid) fails(args ...string) string {
	g.Helper()
	cmd := program(g.T, g.dir, nil, append([]string{"server", "--listen", "127.0.0.1:0"}, args...)...)
	timer := time.AfterFunc(waitMax, func() { cmd.Process.Kill() })
	defer timer.Stop()
	out, _ := cmd.CombinedOutput()
	logged, said := splitLast(string(out))
	if code := cmd.ProcessState.ExitCode(); code == 0 || !isLog(logged) {
		g.Errorf("neargrid server %v: exit %d\n%s", args, code, out)
	}
	return said
}

// TestGridRefusals: who does not belong to a grid is told why, in one line.
func TestGridRefusals(t *testing.T) {
	g := newTestGrid(t)
	writeFile(t, g.dir, "secret", "a secret that is long enough\n")
	a := g.start("a")
	other := newTestGrid(t)
	other.dir = g.dir
	other.start("b")
	other.untilSaved("b")
	other.stop("b", syscall.SIGTERM)
	for _, test := range []struct {
		args string
		want []string
	}{
		{"--data-dir s --secret-file secret --join " + a.peers(), []string{a.peers(), "wrong secret", ": give all nodes of a grid the same --secret-file"}},
		{"--data-dir b --join " + a.peers(), []string{a.peers(), "member of another grid", ": correct --join, or have the node begin anew with another --data-dir than b"}},
		{"--data-dir p --profile safe --join " + a.peers(), []string{`--profile "safe": the grid has 2 copies, of which 1 must be in sync`}},
		{"--data-dir l --on-total-loss reset --join " + a.peers(), []string{`--on-total-loss "reset": the grid has error`}},
	} {
		got := g.fails(strings.Fields(test.args)...)
		for _, want := range test.want {
			if !strings.HasPrefix(got, "neargrid server: ") || !strings.Contains(got, want) {
				t.Errorf("%s: got %swant %q", test.args, got, want)
			}
		}
	}
}

// TestGridWaits: a node that is to join waits for a member, and ends when it is told to.
func TestGridWaits(t *testing.T) {
	cmd := program(t, t.TempDir(), nil, "server", "--listen", "127.0.0.1:0", "--join", "127.0.0.1:1")
	var stderr bytes.Buffer
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	line := make([]byte, 4096)
	n, _ := pipe.Read(line) // the first attempt has failed
	stderr.Write(line[:n])
	cmd.Process.Signal(syscall.SIGTERM)
	io.Copy(&stderr, pipe)
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 0 || !strings.Contains(stderr.String(), "127.0.0.1:1") {
		t.Errorf("exit %d\n%s", code, stderr.String())
	}
}

// TestLoneRestart: a node that is alone begins empty after a crash, and serves.
func TestLoneRestart(t *testing.T) {
	g := newTestGrid(t, "--partitions", "8")
	setKeys(t, g.start("a"), "one")
	g.stop("a", syscall.SIGKILL)
	a := g.start("a")
	if reply, err := a.client().do("GET", "key:1"); err != nil || !reply.Null {
		t.Errorf("after a restart: %+v, %v", reply, err)
	}
	setKeys(t, a, "two")
}

// TestRecover loses a whole grid: its partitions answer errors until a person gives up what was in them.
func TestRecover(t *testing.T) {
	g := newTestGrid(t, "--partitions", "8")
	a := g.start("a")
	g.start("b")
	a.untilWhole(2)
	setKeys(t, a, "one")
	g.stop("b", syscall.SIGKILL)
	g.stop("a", syscall.SIGKILL)
	a = g.start("a")
	a.until("all is lost", func(s cluster.Status) bool { return s.Partitions.Lost == 8 })
	if reply, err := a.client().do("GET", "key:1"); err != nil || !strings.HasPrefix(string(reply.Str), "CLUSTERDOWN ") {
		t.Errorf("GET of what is lost: %q, %v", reply.Str, err)
	}
	list := say(t, g.dir, "", "recover", "--addr", a.addr)
	var dead []string
	for line := range strings.Lines(list) {
		if start, ok := strings.CutPrefix(line, "lost with   "); ok {
			dead = append(dead, strings.TrimSpace(start))
		}
	}
	if len(dead) == 0 {
		t.Fatalf("recover does not tell who had them:\n%s", list)
	}
	args := []string{"recover", "--addr", a.addr, "--accept-data-loss", "0-7", "--dead", strings.Join(dead, ",")}
	no := program(t, g.dir, nil, args...)
	no.Stdin = strings.NewReader("no\n")
	if out, _ := no.CombinedOutput(); no.ProcessState.ExitCode() != 1 || !strings.HasSuffix(string(out), "neargrid recover: nothing was done\n") {
		t.Errorf("not accepted: exit %d\n%s", no.ProcessState.ExitCode(), out)
	}
	if out := say(t, g.dir, "accept\n", args...); !strings.HasSuffix(out, "8 partitions begin anew, empty\n") {
		t.Errorf("accepted:\n%s", out)
	}
	a.until("all is served", func(s cluster.Status) bool { return s.Partitions.Lost == 0 })
	setKeys(t, a, "two")
	checkKeys(t, a, "two")
	if out := say(t, g.dir, "", "recover", "--addr", a.addr); out != "No partition is lost.\n" {
		t.Errorf("afterwards:\n%s", out)
	}
}

// TestDevGrid tries each door of neargrid dev, and ends one of its nodes.
func TestDevGrid(t *testing.T) {
	dir := t.TempDir()
	env := []string{"NEARGRID_LOG_LEVEL=notice"}
	n := start(t, program(t, dir, env, "dev", "--port", "0", "--data-dir", "data"))
	s := n.status()
	if len(s.Members) != 3 {
		t.Fatalf("members: %+v", s.Members)
	}
	set := n.client()
	if reply, err := set.do("SET", "k", "v"); err != nil || string(reply.Str) != "OK" {
		t.Fatalf("SET: %q, %v", reply.Str, err)
	}
	for _, m := range s.Members {
		if got := ask(t, dial(t, "tcp", m.Client), "GET k"); got != "$1 v" {
			t.Errorf("GET at the grid door %s: %q", m.Client, got)
		}
		if got := ask(t, dial(t, "tcp", m.Cluster), "GET k"); got != "$1 v" && !strings.HasPrefix(got, "-MOVED 7629 127.0.0.1:") {
			t.Errorf("GET at the cluster door %s: %q", m.Cluster, got)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "data", "node-*", nodeIDFile)); len(left) != 3 {
		t.Errorf("data directories: %v", left)
	}
	other := slices.IndexFunc(s.Members, func(m cluster.MemberState) bool { return m.Client != n.addr })
	conn := dial(t, "tcp", s.Members[other].Client)
	fmt.Fprint(conn, "SHUTDOWN\r\n")
	if got, err := io.ReadAll(conn); err != nil || len(got) > 0 {
		t.Errorf("SHUTDOWN: got %q, %v, want the end of the connection", got, err)
	}
	if got := ask(t, n.dial(), "GET k"); got != "$1 v" {
		t.Errorf("GET after one node has ended: %q", got)
	}
	if code, stderr := n.stop(syscall.SIGINT); code != 0 {
		t.Errorf("exit %d, %s", code, stderr)
	}
}

// The adapter turns numbers of one package into those of the other.
func TestForwardedNumbers(t *testing.T) {
	kinds := [][2]int{
		{int(server.ForwardCommand), int(cluster.ForwardCommand)}, {int(server.ForwardWatch), int(cluster.ForwardWatch)},
		{int(server.ForwardExec), int(cluster.ForwardExec)}, {int(server.ForwardWalk), int(cluster.ForwardWalk)},
		{int(server.ForwardTracked), int(cluster.ForwardTracked)}, {int(server.ForwardTrackedExec), int(cluster.ForwardTrackedExec)},
		{int(server.ForwardRelay), int(cluster.ForwardRelay)},
		{int(server.Executed), int(cluster.Executed)}, {int(server.NotExecuted), int(cluster.NotExecuted)}, {int(server.Unknown), int(cluster.Unknown)},
	}
	for _, k := range kinds {
		if k[0] != k[1] {
			t.Errorf("%v differ", k)
		}
	}
}

func TestPartitionsText(t *testing.T) {
	for text, want := range map[string][]int{"3": {3}, "0-3": {0, 1, 2, 3}, "5,7-8,7": {5, 7, 8}} {
		if got, err := parsePartitions(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "3-1", "-1", "1-", "0-16384", "1,,2"} {
		if got, err := parsePartitions(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
	if got, want := formatPartitions([]int{0, 1, 2, 5, 7, 8}), "0-2,5,7-8"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAnnounced(t *testing.T) {
	outward := outwardHost()
	for _, test := range [][3]string{
		{"", "", ""}, {"", "127.0.0.1:1", "127.0.0.1:1"}, {"", "localhost:1", "localhost:1"}, {"h", "0.0.0.0:1", "h:1"}, {"fd00::1", ":1", "[fd00::1]:1"},
		{"", "0.0.0.0:1", net.JoinHostPort(outward, "1")}, {"", "[::]:1", net.JoinHostPort(outward, "1")}, {"", ":1", net.JoinHostPort(outward, "1")},
	} {
		if got := announced(test[0], test[1]); got != test[2] {
			t.Errorf("announced(%q, %q): got %q, want %q", test[0], test[1], got, test[2])
		}
	}
}
