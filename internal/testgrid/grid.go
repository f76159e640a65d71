package testgrid

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
	WholeMax   = 90 * time.Second      // for a grid to keep its promise again
	partsUsual = 64                    // of a grid that is tried; a probe for each is possible
)

// Grid is nodes as processes of this machine.
type Grid struct {
	Program string   // neargrid, as BuildProgram makes it
	Dir     string   // of what nodes leave: a data directory and a log for each
	Flags   []string // of every node

	network *Network // nil: all nodes share this machine's
	mu      sync.Mutex
	nodes   []*Node
}

// Node is one node of the grid, through all its starts. Its addresses stay.
type Node struct {
	Name                string
	Number              int    // from 1, its place in a network
	Door, Cluster, Peer string // host:port; Door and Cluster are empty for a witness

	grid    *Grid
	command []string
	mu      sync.Mutex
	proc    *Process // nil: off
}

// New makes a grid without nodes, in a new directory below dir.
func New(program, dir string, flags ...string) (*Grid, error) {
	dir, err := os.MkdirTemp(dir, "grid-")
	if err != nil {
		return nil, err
	}
	return &Grid{Program: program, Dir: dir, Flags: flags}, nil
}

// Start has a grid of so many nodes that hold data, and waits until it is whole and as many vote as will. An error leaves no process.
func (g *Grid) Start(ctx context.Context, nodes int) (err error) {
	for range nodes {
		if _, err = g.Add(ctx); err != nil {
			break
		}
	}
	if err == nil {
		err = errors.Join(g.Whole(ctx), g.Voting(ctx))
	}
	if err != nil {
		g.Close()
	}
	return err
}

// Close ends all processes.
func (g *Grid) Close() {
	for _, n := range g.All() {
		n.Kill()
	}
}

func (g *Grid) All() []*Node {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.nodes)
}

// Add starts another node, which joins those that are there.
func (g *Grid) Add(ctx context.Context, flags ...string) (*Node, error) {
	n, err := g.Place(flags...)
	if err != nil {
		return nil, err
	}
	return n, n.Start(ctx)
}

// Place makes a node that is off.
func (g *Grid) Place(flags ...string) (*Node, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	number := len(g.nodes) + 1
	host, prefix := "127.0.0.1", []string(nil)
	if g.network != nil {
		if err := g.network.Add(number); err != nil {
			return nil, err
		}
		host, prefix = g.network.Host(number), g.network.Prefix(number)
	}
	ports, err := freePorts(host, len(prefix) > 0)
	if err != nil {
		return nil, err
	}
	n := &Node{grid: g, Name: "n" + strconv.Itoa(number), Number: number}
	n.Peer = net.JoinHostPort(host, strconv.Itoa(ports[2]))
	n.command = append(prefix, g.Program, "server", "--data-dir", filepath.Join(g.Dir, n.Name), "--peer-listen", n.Peer)
	if slices.Contains(flags, "witness") {
		n.command = append(n.command, "--listen", net.JoinHostPort(host, strconv.Itoa(ports[0]))) // which it does not
	} else {
		n.Door, n.Cluster = net.JoinHostPort(host, strconv.Itoa(ports[0])), net.JoinHostPort(host, strconv.Itoa(ports[1]))
		n.command = append(n.command, "--listen", n.Door, "--cluster-listen", n.Cluster)
	}
	var peers []string
	for _, other := range g.nodes {
		peers = append(peers, other.Peer)
	}
	if len(peers) > 0 {
		n.command = append(n.command, "--join", strings.Join(peers, ","))
	}
	n.command = append(append(n.command, g.Flags...), flags...)
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

// Start starts the node, again perhaps.
func (n *Node) Start(ctx context.Context) error {
	p, err := StartProcess(ctx, filepath.Join(n.grid.Dir, n.Name+".log"), n.command)
	if err != nil {
		return fmt.Errorf("start %s: %w", n.Name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.proc = p
	return nil
}

// Off takes the process out of the node: from now on it does not count as running.
func (n *Node) Off() *Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.proc
	n.proc = nil
	return p
}

func (n *Node) Process() *Process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.proc
}

func (n *Node) Runs() bool { return n.Process() != nil }

// ID is the node's; "" where it is off.
func (n *Node) ID() string {
	if p := n.Process(); p != nil {
		return p.ID
	}
	return ""
}

// Kill ends the node without a word.
func (n *Node) Kill() {
	if p := n.Off(); p != nil {
		p.Kill()
	}
}

// Stop has the node hand over and end.
func (n *Node) Stop() error {
	p := n.Off()
	if p == nil {
		return nil
	}
	if err := p.Stop(); err != nil {
		return fmt.Errorf("stop %s: %w", n.Name, err)
	}
	return nil
}

// Running are the nodes that run, witnesses left out.
func (g *Grid) Running() (nodes []*Node) {
	for _, n := range g.All() {
		if n.Runs() && n.Door != "" {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Processes counts all that run.
func (g *Grid) Processes() (count int) {
	for _, n := range g.All() {
		if n.Runs() {
			count++
		}
	}
	return count
}

// Ask has one node run a command. An error that it answers is an error.
func (n *Node) Ask(words ...string) (testredis.Value, error) {
	c, err := testredis.Dial(n.Door)
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

// InfoField asks for a number that INFO tells in a section.
func (n *Node) InfoField(section, name string) (int64, error) {
	v, err := n.Ask("INFO", section)
	if err != nil {
		return 0, err
	}
	number, ok := InfoNumber(v.Text, name)
	if !ok {
		return 0, fmt.Errorf("INFO %s of %s tells no %s", section, n.Name, name)
	}
	return number, nil
}

// InfoNumber finds a number in what INFO tells.
func InfoNumber(text, name string) (number int64, ok bool) {
	for line := range strings.Lines(text) {
		if word, found := strings.CutPrefix(line, name+":"); found {
			number, err := strconv.ParseInt(strings.TrimSpace(word), 10, 64)
			return number, err == nil
		}
	}
	return 0, false
}

func (n *Node) Status() (s cluster.Status, err error) {
	v, err := n.Ask("GRID.STATUS")
	if err == nil {
		err = json.Unmarshal([]byte(v.Text), &s)
	}
	if err != nil {
		return s, fmt.Errorf("status of %s: %w", n.Name, err)
	}
	return s, nil
}

// Part is who has a partition.
type Part struct {
	Primary string // "": it is lost
	Backups []string
}

// Table asks a node who has what.
func (n *Node) Table() (parts []Part, err error) {
	v, err := n.Ask("GRID.TABLE", "BACKUPS")
	if err != nil || len(v.Elems) < 10 {
		return nil, fmt.Errorf("table of %s: %w", n.Name, cmp.Or(err, errors.New("it is short")))
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
		has := Part{Primary: name(owner)}
		for _, b := range told["backups"][p].Elems {
			has.Backups = append(has.Backups, name(b))
		}
		parts = append(parts, has)
	}
	return parts, nil
}

// Until waits until a node sees the grid in some way, and for at most limit.
func (n *Node) Until(ctx context.Context, limit time.Duration, what string, isSo func(cluster.Status) bool) error {
	ticker := time.NewTicker(lookPause)
	defer ticker.Stop()
	for deadline := time.Now().Add(limit); ; {
		s, err := n.Status()
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

// Whole waits until every running node sees all the others, the promise kept, and nothing left to move.
func (g *Grid) Whole(ctx context.Context) error {
	count := g.Processes()
	what := fmt.Sprintf("%d nodes, the promise kept, no moves", count)
	for _, n := range g.Running() {
		err := n.Until(ctx, WholeMax, what, func(s cluster.Status) bool {
			return Alive(s) == count && s.Promise.Kept && s.Moves.Left == 0
		})
		if err != nil {
			return fmt.Errorf("%s sees no whole grid: %w", n.Name, err)
		}
	}
	return nil
}

func Alive(s cluster.Status) (count int) {
	for _, m := range s.Members {
		if m.State == core.Alive.String() {
			count++
		}
	}
	return count
}

func Voters(s cluster.Status) (count int) {
	for _, m := range s.Members {
		if m.Voter {
			count++
		}
	}
	return count
}

// Voting waits until as many nodes vote as a grid of this size wants (R32).
func (g *Grid) Voting(ctx context.Context) error {
	want := 1
	switch count := g.Processes(); {
	case count >= 7:
		want = 5
	case count >= 3:
		want = 3
	}
	for _, n := range g.Running() {
		err := n.Until(ctx, WholeMax, fmt.Sprintf("%d voters", want), func(s cluster.Status) bool { return Voters(s) == want })
		if err != nil {
			return err
		}
	}
	return nil
}
