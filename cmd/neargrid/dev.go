package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/neargrid/neargrid/cluster"
	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/server"
)

var devCommand = command{
	name:    "dev",
	summary: "starts a grid to try things on, and prints how to connect",
	about: "neargrid dev starts a grid of several nodes in one process and prints how to connect to it.\n" +
		"Its data is gone when it stops. SHUTDOWN ends the node that it is sent to.",
	flags: []flagSpec{
		{name: "nodes", placeholder: "N", value: "3", help: "how many nodes, up to 64"},
		{name: "port", placeholder: "PORT", value: "6379",
			help: "where clients connect to the first node, at 127.0.0.1; the others follow; 0: any free ports"},
		{name: "profile", placeholder: "PROFILE", value: profileCache,
			help: "cache: 2 copies; safe: 3, no write is acknowledged that fewer than 2 nodes hold"},
		{name: "data-dir", placeholder: "DIR",
			help: "keeps what nodes know of their grid in DIR, not the data; without it in a directory that is removed at exit"},
		configFlag,
	},
	run: runDev,
}

const (
	devNodesMax = 64
	devHost     = "127.0.0.1"
)

func runDev(env environment, in inputs) error {
	plans, err := devPlans(env, in)
	if err != nil {
		return err
	}
	dir := in.text("data-dir")
	if dir == "" {
		if dir, err = os.MkdirTemp("", "neargrid-dev-"); err != nil {
			return fmt.Errorf("cannot make a temporary directory (choose one with --data-dir): %w", err)
		}
		defer os.RemoveAll(dir)
	}
	level := new(slog.LevelVar)
	level.Set(slog.LevelWarn) // what matters here is on standard output
	for i := range plans {
		plans[i].dataDir = filepath.Join(dir, "node-"+strconv.Itoa(i+1))
		plans[i].server.LogLevel = level
	}
	log, err := newLogger(env, level)
	if err != nil {
		return err
	}
	stopProfiler, err := startProfiler(env, log)
	if err != nil {
		return err
	}
	defer stopProfiler()
	return runNodes(env, in, plans, log, level)
}

// devPlans are the nodes. The first creates the grid, and the others join it there. What is lost is reset: all nodes end together, so
// after a restart there is nothing to be had back.
func devPlans(env environment, in inputs) ([]nodePlan, error) {
	count, err := in.number("nodes", 1, devNodesMax)
	if err != nil {
		return nil, err
	}
	port, err := in.number("port", 0, portMax-peerPortStep-count+1)
	if err != nil {
		return nil, err
	}
	settings, wants, err := profileSettings(in)
	if err != nil {
		return nil, err
	}
	settings.Partitions, settings.ResetLost = partitionsDefault, true
	ports, err := devPorts(count, port)
	if err != nil {
		return nil, err
	}
	plans := make([]nodePlan, count)
	for i, p := range ports {
		plans[i].server = server.Options{
			Listen: p.door, ClusterListen: p.cluster, Partitions: partitionsDefault, Loops: max(1, (runtime.NumCPU()-1)/count),
		}
		addSettings(env, in, &plans[i].server)
		plans[i].grid = &gridPlan{listen: p.peer, wants: wants, keys: cluster.NoSecret(), join: []string{ports[0].peer}}
	}
	plans[0].grid.join, plans[0].grid.create = nil, &settings
	return plans, nil
}

// devAddresses are where one node listens.
type devAddresses struct{ door, cluster, peer string }

func devPorts(count, port int) ([]devAddresses, error) {
	at := func(port int) string { return net.JoinHostPort(devHost, strconv.Itoa(port)) }
	all := make([]devAddresses, count)
	if port != 0 {
		for i := range all {
			all[i] = devAddresses{at(port + i), at(port + i + clusterPortStep), at(port + i + peerPortStep)}
		}
		return all, nil
	}
	free, err := freePorts(3 * count)
	if err != nil {
		return nil, fmt.Errorf("look for free ports: %w", err)
	}
	for i := range all {
		all[i] = devAddresses{at(free[3*i]), at(free[3*i+1]), at(free[3*i+2])}
	}
	return all, nil
}

// portTries bounds the ports that are looked at for one that is free for TCP and UDP.
const portTries = 10

// freePorts are ports that nobody listens on now, TCP or UDP. They are all held until the last is found, so that none comes twice.
func freePorts(count int) (ports []int, err error) {
	var held []interface{ Close() error }
	defer func() {
		for _, h := range held {
			h.Close()
		}
	}()
	for tries := 0; len(ports) < count; tries++ {
		l, err := net.Listen("tcp", hostAnyPort(devHost))
		if err != nil {
			return nil, err
		}
		held = append(held, l)
		p, err := net.ListenPacket("udp", l.Addr().String())
		if err != nil {
			if tries == count+portTries {
				return nil, err
			}
			continue
		}
		held = append(held, p)
		_, port := splitAddress(l.Addr().String())
		ports = append(ports, port)
	}
	return ports, nil
}

// runNodes starts all nodes at once, says how to connect when they are a grid, and has them serve until the last has ended.
func runNodes(env environment, in inputs, plans []nodePlan, log *slog.Logger, level *slog.LevelVar) error {
	signals := watchSignals()
	// While all nodes end, what each says of the others is no news.
	context.AfterFunc(signals.first, func() { level.Set(max(level.Level(), slog.LevelError)) })
	nodes, err := startNodes(signals.first, plans, log)
	if err == nil {
		err = nodes[0].grid.await(signals.first, func(t *core.Table) bool { return isWhole(t, nodes) })
	}
	switch {
	case err == nil:
		for i, n := range nodes {
			n.logReady(plans[i].server)
		}
		printHowToConnect(env, plans)
	case signals.first.Err() != nil:
	default:
		stopNodes(nodes)
		return explainDev(in, err)
	}
	ended := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() { ended <- n.run(signals, false) }()
	}
	var errs []error
	for range nodes {
		if err := <-ended; err != nil {
			errs = append(errs, err)
			if signals.second.Err() != nil {
				break
			}
		}
	}
	return errors.Join(errs...)
}

// startNodes returns those that were started, whatever becomes of the others: with the first error all give up.
func startNodes(ctx context.Context, plans []nodePlan, log *slog.Logger) (nodes []*node, err error) {
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	type result struct {
		index int
		node  *node
		err   error
	}
	results := make(chan result, len(plans))
	for i, plan := range plans {
		go func() {
			n, err := startNode(ctx, plan, log.With("node_number", i+1))
			results <- result{i, n, err}
		}()
	}
	all := make([]*node, len(plans))
	for range plans {
		r := <-results
		all[r.index] = r.node
		if r.err != nil && err == nil {
			err = r.err
			giveUp()
		}
	}
	for _, n := range all {
		if n != nil {
			nodes = append(nodes, n)
		}
	}
	return nodes, err
}

func stopNodes(nodes []*node) {
	ended := make(chan struct{}, len(nodes))
	for _, n := range nodes {
		go func() {
			n.stop(false)
			ended <- struct{}{}
		}()
	}
	for range nodes {
		<-ended
	}
}

// isWhole tells whether all nodes take part and all partitions are served.
func isWhole(t *core.Table, nodes []*node) bool {
	for _, n := range nodes {
		entry := t.Node(n.grid.node.Self().Node)
		if entry == nil || entry.Member() != n.grid.node.Self() || entry.Status != core.Alive {
			return false
		}
	}
	for p := range t.Rows {
		if t.Rows[p].State != core.Serving {
			return false
		}
	}
	return true
}

// explainDev words errors in terms of the flags of neargrid dev.
func explainDev(in inputs, err error) error {
	var taken *portError
	if errors.As(err, &taken) && errors.Is(err, server.ErrAddrInUse) {
		_, port := splitAddress(taken.addr)
		return fmt.Errorf("port %d is in use: stop the program that has it, or choose other ports with --port", port)
	}
	return explain(in, err)
}

func printHowToConnect(env environment, plans []nodePlan) {
	var doors, clusters []string
	for _, p := range plans {
		doors = append(doors, p.server.Listen)
		clusters = append(clusters, p.server.ClusterListen)
	}
	_, port := splitAddress(doors[0])
	_, clusterPort := splitAddress(clusters[0])
	nodes := "one node"
	if len(plans) > 1 {
		nodes = fmt.Sprintf("a grid of %d nodes", len(plans))
	}
	fmt.Fprintf(env.stdout, `neargrid is running at %[1]s: %[2]s. Connect with any Redis client:

  shell    redis-cli -p %[3]d
  Go       redis.NewClient(&redis.Options{Addr: "%[1]s"})     github.com/redis/go-redis/v9
  Python   redis.Redis(port=%[3]d)                                 pip install redis

Every node takes every command:      %[4]s
Clients that know Redis Cluster:     %[5]s, as redis-cli -c -p %[6]d
What the grid is doing:              neargrid status --addr %[1]s

Ctrl-C stops it.
`, doors[0], nodes, port, someOf(doors), someOf(clusters), clusterPort)
}

// someMax is how many addresses are printed in one line.
const someMax = 4

func someOf(addrs []string) string {
	if len(addrs) <= someMax {
		return strings.Join(addrs, " ")
	}
	return strings.Join(addrs[:someMax-2], " ") + " ... " + addrs[len(addrs)-1]
}
