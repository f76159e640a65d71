package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/neargrid/neargrid/cluster"
	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/internal/testredis"
)

const (
	lookPause  = 50 * time.Millisecond // between two looks at a status: there is no event to wait for in another process
	askMax     = 2 * time.Second       // for a node to answer a question about the grid
	wholeMax   = 90 * time.Second      // for a grid to keep its promise again
	partsUsual = 64                    // of a grid that is tried; a probe for each is possible
)

// grid is nodes as processes of this machine.
type grid struct {
	lab   *lab
	dir   string
	flags []string
	hosts func(number int) (host string, prefix []string) // where a node runs, and what starts a program there

	mu    sync.Mutex
	nodes []*node
}

// node is one node of the grid, through all its starts. Its addresses stay.
type node struct {
	grid                *grid
	name                string
	door, cluster, peer string // host:port; door and cluster are empty for a witness
	command             []string

	mu   sync.Mutex
	proc *process // nil: off
}

// newGrid makes a grid without nodes.
func (l *lab) newGrid(flags ...string) (*grid, error) {
	dir, err := os.MkdirTemp(l.dir, "grid-")
	if err != nil {
		return nil, err
	}
	return &grid{lab: l, dir: dir, flags: flags, hosts: func(int) (string, []string) { return "127.0.0.1", nil }}, nil
}

// startGrid makes a grid of so many nodes that hold data, and waits until it is whole and as many vote as will.
func (l *lab) startGrid(ctx context.Context, nodes int, flags ...string) (*grid, error) {
	g, err := l.newGrid(flags...)
	if err != nil {
		return nil, err
	}
	for range nodes {
		if _, err := g.add(ctx); err != nil {
			g.close()
			return nil, err
		}
	}
	if err = g.whole(ctx); err == nil {
		err = g.voting(ctx)
	}
	if err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

// close ends all processes.
func (g *grid) close() {
	for _, n := range g.all() {
		n.kill()
	}
}

func (g *grid) all() []*node {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.nodes)
}

// add starts another node, which joins those that are there.
func (g *grid) add(ctx context.Context, flags ...string) (*node, error) {
	n, err := g.place(flags...)
	if err != nil {
		return nil, err
	}
	return n, n.start(ctx)
}

// place makes a node that is off.
func (g *grid) place(flags ...string) (*node, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	number := len(g.nodes) + 1
	host, prefix := g.hosts(number)
	ports, err := freePorts(host, len(prefix) > 0)
	if err != nil {
		return nil, err
	}
	n := &node{grid: g, name: "n" + strconv.Itoa(number)}
	n.peer = net.JoinHostPort(host, strconv.Itoa(ports[2]))
	n.command = append(prefix, g.lab.program, "server", "--data-dir", filepath.Join(g.dir, n.name), "--peer-listen", n.peer)
	if slices.Contains(flags, "witness") {
		n.command = append(n.command, "--listen", net.JoinHostPort(host, strconv.Itoa(ports[0]))) // which it does not
	} else {
		n.door, n.cluster = net.JoinHostPort(host, strconv.Itoa(ports[0])), net.JoinHostPort(host, strconv.Itoa(ports[1]))
		n.command = append(n.command, "--listen", n.door, "--cluster-listen", n.cluster)
	}
	var peers []string
	for _, other := range g.nodes {
		peers = append(peers, other.peer)
	}
	if len(peers) > 0 {
		n.command = append(n.command, "--join", strings.Join(peers, ","))
	}
	n.command = append(append(n.command, g.flags...), flags...)
	g.nodes = append(g.nodes, n)
	return n, nil
}

// freePorts finds three ports for a node, below those that the system gives to connections: they are to be free at each of its starts.
// In a network of its own it has the usual ones.
func freePorts(host string, own bool) (ports [3]int, err error) {
	if own {
		return [3]int{6379, 7379, 16379}, nil
	}
	const low, high, tries = 10000, 32000, 1000
	found := 0
	for range tries {
		port := low + rand.IntN(high-low)
		if slices.Contains(ports[:found], port) || !isFree(host, port) {
			continue
		}
		if ports[found] = port; found == 2 {
			return ports, nil
		}
		found++
	}
	return ports, errors.New("no free ports were found")
}

func isFree(host string, port int) bool {
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return false
	}
	defer l.Close()
	p, err := net.ListenPacket("udp", addr)
	if err != nil {
		return false
	}
	p.Close()
	return true
}

// start starts the node, again perhaps.
func (n *node) start(ctx context.Context) error {
	p, err := startProcess(ctx, filepath.Join(n.grid.dir, n.name+".log"), n.command)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.proc = p
	return nil
}

// off takes the process out of the node: from now on it does not count as running.
func (n *node) off() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.proc
	n.proc = nil
	return p
}

func (n *node) process() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc
}

func (n *node) runs() bool { return n.process() != nil }

// id is the node's; "" where it is off.
func (n *node) id() string {
	if p := n.process(); p != nil {
		return p.id
	}
	return ""
}

// kill ends the node without a word.
func (n *node) kill() {
	if p := n.off(); p != nil {
		p.kill()
	}
}

// stop has the node hand over and end.
func (n *node) stop() error {
	p := n.off()
	if p == nil {
		return nil
	}
	if err := p.stop(); err != nil {
		return fmt.Errorf("stop %s: %w", n.name, err)
	}
	return nil
}

// running are the nodes that run, witnesses left out.
func (g *grid) running() (nodes []*node) {
	for _, n := range g.all() {
		if n.runs() && n.door != "" {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// processes counts all that run.
func (g *grid) processes() (count int) {
	for _, n := range g.all() {
		if n.runs() {
			count++
		}
	}
	return count
}

// ask has one node run a command. An error that it answers is an error.
func (n *node) ask(words ...string) (testredis.Value, error) {
	c, err := testredis.Dial(n.door)
	if err != nil {
		return testredis.Value{}, err
	}
	defer c.Close()
	c.Timeout = askMax
	v, err := c.Call(words...)
	if err == nil && v.IsError() {
		err = fmt.Errorf("%s: %s", strings.Join(words, " "), v.Text)
	}
	return v, err
}

func (n *node) status() (s cluster.Status, err error) {
	v, err := n.ask("GRID.STATUS")
	if err == nil {
		err = json.Unmarshal([]byte(v.Text), &s)
	}
	if err != nil {
		return s, fmt.Errorf("status of %s: %w", n.name, err)
	}
	return s, nil
}

// part is who has a partition.
type part struct {
	primary string // "": it is lost
	backups []string
}

// table asks a node who has what.
func (n *node) table() (parts []part, err error) {
	v, err := n.ask("GRID.TABLE", "BACKUPS")
	if err != nil || len(v.Elems) < 10 {
		return nil, fmt.Errorf("table of %s: %w", n.name, cmp.Or(err, errors.New("it is short")))
	}
	told := map[string][]testredis.Value{}
	for i := 0; i+1 < len(v.Elems); i += 2 {
		told[v.Elems[i].Text] = v.Elems[i+1].Elems
	}
	name := func(index testredis.Value) string {
		i, err := strconv.Atoi(index.Text)
		if err != nil || i < 0 || i >= len(told["nodes"]) {
			return ""
		}
		return told["nodes"][i].Elems[0].Text
	}
	for p, owner := range told["owners"] {
		has := part{primary: name(owner)}
		for _, b := range told["backups"][p].Elems {
			has.backups = append(has.backups, name(b))
		}
		parts = append(parts, has)
	}
	return parts, nil
}

// until waits until a node sees the grid in some way, and for at most limit.
func (n *node) until(ctx context.Context, limit time.Duration, what string, isSo func(cluster.Status) bool) error {
	ticker := time.NewTicker(lookPause)
	defer ticker.Stop()
	for deadline := time.Now().Add(limit); ; {
		s, err := n.status()
		if err == nil && isSo(s) {
			return nil
		}
		if time.Now().After(deadline) {
			if err != nil {
				return fmt.Errorf("not within %v: %s: %w", limit, what, err)
			}
			text, _ := json.Marshal(s)
			return fmt.Errorf("not within %v: %s: %s", limit, what, text)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// whole waits until every running node sees all the others, the promise kept, and nothing left to move.
func (g *grid) whole(ctx context.Context) error {
	count := g.processes()
	what := fmt.Sprintf("%d nodes, the promise kept, no moves", count)
	for _, n := range g.running() {
		err := n.until(ctx, wholeMax, what, func(s cluster.Status) bool {
			return alive(s) == count && s.Promise.Kept && s.Moves.Left == 0
		})
		if err != nil {
			return fmt.Errorf("%s sees no whole grid: %w", n.name, err)
		}
	}
	return nil
}

func alive(s cluster.Status) (count int) {
	for _, m := range s.Members {
		if m.State == core.Alive.String() {
			count++
		}
	}
	return count
}

func voters(s cluster.Status) (count int) {
	for _, m := range s.Members {
		if m.Voter {
			count++
		}
	}
	return count
}

// voting waits until as many nodes vote as a grid of this size wants (R32).
func (g *grid) voting(ctx context.Context) error {
	want := 1
	switch count := g.processes(); {
	case count >= 7:
		want = 5
	case count >= 3:
		want = 3
	}
	for _, n := range g.running() {
		err := n.until(ctx, wholeMax, fmt.Sprintf("%d voters", want), func(s cluster.Status) bool { return voters(s) == want })
		if err != nil {
			return err
		}
	}
	return nil
}
