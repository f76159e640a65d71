package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	gridTimeout = 2 * time.Minute // for a grid to have all its copies
	gridPoll    = 100 * time.Millisecond
)

// startGrid starts nodes as processes, and waits until they hold all the copies that they should.
func (l *lab) startGrid(ctx context.Context, nodes int) (*server, error) {
	var first *server
	for i := range nodes {
		node, err := l.startNode(ctx, first)
		if err != nil {
			if first != nil {
				first.stop()
			}
			return nil, err
		}
		if i == 0 {
			first = node
		} else {
			first.others = append(first.others, node)
		}
	}
	if err := first.awaitGrid(ctx, nodes); err != nil {
		first.stop()
		return nil, err
	}
	return first, nil
}

// startNode starts a node with the usual distances between its ports, by which a sidecar finds its door. It joins another one's grid where there is one.
func (l *lab) startNode(ctx context.Context, member *server) (*server, error) {
	port, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	ports := [3]int{port, port + clusterDistance, port + peerDistance}
	at := func(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }
	prog := l.programs[ours]
	prog.args = func(port int, dir string) []string {
		args := []string{"server", "--listen", at(port), "--cluster-listen", at(ports[1]), "--peer-listen", at(ports[2]), "--data-dir", dir}
		if member != nil {
			args = append(args, "--join", at(member.peerPort))
		}
		return args
	}
	node, err := l.launch(ctx, prog, ports[0])
	if err != nil {
		return nil, err
	}
	node.clusterPort, node.peerPort = ports[1], ports[2]
	return node, nil
}

// awaitGrid waits until a grid of so many nodes keeps its promise, and nothing is being moved.
func (s *server) awaitGrid(ctx context.Context, nodes int) error {
	for deadline := time.Now().Add(gridTimeout); ; {
		var status struct {
			Promise struct{ Kept bool }
			Members []struct{}
			Moves   struct{ Left int }
		}
		text, err := s.ask("GRID.STATUS")
		if err == nil {
			err = json.Unmarshal([]byte(text), &status)
		}
		if err == nil && status.Promise.Kept && len(status.Members) == nodes && status.Moves.Left == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the grid of %d nodes is not complete after %s: %s %w%s", nodes, gridTimeout, text, err, s.logTail())
		}
		if err := wait(ctx, gridPoll); err != nil {
			return err
		}
	}
}

// threeNodes is a grid of three against one redis-server.
func threeNodes(ctx context.Context, l *lab) (pair, error) {
	return l.gridAgainst(ctx, func() (*server, error) { return l.start(ctx, peer) })
}

// threeNodesAndReplica is a grid of three against redis-server with one replica.
func threeNodesAndReplica(ctx context.Context, l *lab) (pair, error) {
	return l.gridAgainst(ctx, func() (*server, error) {
		master, err := l.start(ctx, peer)
		if err != nil {
			return nil, err
		}
		replica, err := l.start(ctx, peer)
		if err != nil {
			master.stop()
			return nil, err
		}
		master.others = []*server{replica}
		if err := replica.follow(ctx, master); err != nil {
			master.stop()
			return nil, err
		}
		return master, nil
	})
}

func (l *lab) gridAgainst(ctx context.Context, start func() (*server, error)) (p pair, err error) {
	if p[peer], err = start(); err != nil {
		return pair{}, err
	}
	if p[ours], err = l.startGrid(ctx, 3); err != nil {
		p.stop()
		return pair{}, err
	}
	return p, nil
}

// follow makes a redis-server the replica of another, and waits until it has its data.
func (s *server) follow(ctx context.Context, master *server) error {
	if err := s.do("REPLICAOF", "127.0.0.1", strconv.Itoa(master.port)); err != nil {
		return err
	}
	for deadline := time.Now().Add(startTimeout); ; {
		text, err := s.ask("INFO", "replication")
		if err == nil && strings.Contains(text, "master_link_status:up") {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the replica does not follow: %w\n%s", err, text)
		}
		if err := wait(ctx, gridPoll); err != nil {
			return err
		}
	}
}

// growth measures what a command costs in a large grid beside a small one, at the same rate for each node. The small grid stands where
// Redis does in the report.
type growth struct {
	nodes   [2]int
	perNode int // commands a second
}

func (g growth) run(ctx context.Context, l *lab) (outcome, error) {
	cost := series{metric: cpuPerCommand, unit: microseconds}
	rate := series{metric: offeredRate, unit: perSecond}
	for s, nodes := range g.nodes {
		grid, err := l.startGrid(ctx, nodes)
		if err != nil {
			return outcome{}, err
		}
		for range l.rounds {
			sent, used, err := g.pace(ctx, l, grid, nodes*g.perNode)
			if err != nil {
				grid.stop()
				return outcome{}, err
			}
			cost.samples[s] = append(cost.samples[s], float64(used)/float64(sent)/float64(time.Microsecond))
			rate.samples[s] = append(rate.samples[s], float64(sent)/l.scale.runMin.Seconds())
		}
		grid.stop()
	}
	note := fmt.Sprintf("SET at %d nodes over %d: the second column is the grid of %d nodes, both at %d commands a second for each node, "+
		"from go-redis's ClusterClient; what the nodes need to be a grid at all, idle, is in it", g.nodes[0], g.nodes[1], g.nodes[1], g.perNode)
	return outcome{series: []series{rate, cost}, notes: []string{note}}, nil
}

// pace sends SETs at a rate, each to the owner of its key, for as long as a run lasts.
func (g growth) pace(ctx context.Context, l *lab, grid *server, perSecond int) (sent int64, used time.Duration, err error) {
	var addrs []string
	for _, p := range grid.processes() {
		addrs = append(addrs, "127.0.0.1:"+strconv.Itoa(p.clusterPort))
	}
	db := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs})
	defer db.Close()
	value := strings.Repeat("v", valueSizeBytes)
	set := func() error { return db.Set(ctx, keyName(rand.IntN(keySpace)), value, 0).Err() }
	for range 10 * clientCount { // connections are made beforehand
		if err := set(); err != nil {
			return 0, 0, err
		}
	}
	before, err := grid.cpu()
	if err != nil {
		return 0, 0, err
	}
	var count atomic.Int64
	var failure atomic.Pointer[error]
	start, length := time.Now(), l.scale.runMin
	var senders sync.WaitGroup
	for i := range clientCount {
		senders.Go(func() {
			every := time.Second * clientCount / time.Duration(perSecond)
			for at := every * time.Duration(i) / clientCount; at < length; at += every {
				time.Sleep(time.Until(start.Add(at)))
				if err := set(); err != nil {
					failure.Store(&err)
					return
				}
				count.Add(1)
			}
		})
	}
	senders.Wait()
	if e := failure.Load(); e != nil {
		return 0, 0, *e
	}
	after, err := grid.cpu()
	return count.Load(), after - before, err
}

// crowd measures many nodes in one process that have nothing to do.
type crowd struct{ nodes int }

func (c crowd) run(ctx context.Context, l *lab) (outcome, error) {
	nodes := max(3, c.nodes/l.scale.divisor)
	started := series{metric: timeToStart, unit: seconds}
	idle := series{metric: coresIdle, unit: cores}
	memory := series{metric: residentNode, unit: mebibytes}
	began := time.Now()
	grid, err := l.startDev(ctx, nodes)
	if err != nil {
		return outcome{}, err
	}
	defer grid.stop()
	started.samples[ours] = []float64{time.Since(began).Seconds()}
	for range l.rounds {
		if err := wait(ctx, l.scale.settle); err != nil {
			return outcome{}, err
		}
		used, err := grid.coresOver(ctx, l.scale.settle)
		if err != nil {
			return outcome{}, err
		}
		idle.samples[ours] = append(idle.samples[ours], used)
		resident, err := grid.residentBytes()
		if err != nil {
			return outcome{}, err
		}
		memory.samples[ours] = append(memory.samples[ours], float64(resident)/float64(nodes)/(1<<20))
	}
	return outcome{series: []series{started, idle, memory}}, nil
}

// startDev starts a grid of nodes in one process, and waits until it is whole.
func (l *lab) startDev(ctx context.Context, nodes int) (*server, error) {
	port, err := freePorts(nodes)
	if err != nil {
		return nil, err
	}
	prog := l.programs[ours]
	prog.args = func(port int, dir string) []string {
		return []string{"dev", "--nodes", strconv.Itoa(nodes), "--port", strconv.Itoa(port), "--data-dir", filepath.Join(dir, "grid")}
	}
	patient := *l
	patient.startMax = gridTimeout
	grid, err := patient.launch(ctx, prog, port)
	if err != nil {
		return nil, err
	}
	grid.clusterPort, grid.peerPort = port+clusterDistance, port+peerDistance
	if err := grid.awaitGrid(ctx, nodes); err != nil {
		grid.stop()
		return nil, err
	}
	return grid, nil
}

// coresOver is how many processors all processes that serve together use for so long, on average.
func (s *server) coresOver(ctx context.Context, length time.Duration) (float64, error) {
	before, err := s.cpu()
	if err != nil {
		return 0, err
	}
	from := time.Now()
	if err := wait(ctx, length); err != nil {
		return 0, err
	}
	after, err := s.cpu()
	return float64(after-before) / float64(time.Since(from)), err
}

// The ports of a grid in one process: those of clients begin at one, those of the other doors at fixed distances (see neargrid dev).
const (
	crowdPortMin, crowdPortMax = 20_000, 40_000
	clusterDistance            = 1_000
	peerDistance               = 10_000
)

// freePorts finds a port with so many free ones from there on, and at the distances.
func freePorts(count int) (int, error) {
	for range 100 {
		first := crowdPortMin + rand.IntN(crowdPortMax-crowdPortMin)
		free := true
		for i := 0; i < count && free; i++ {
			for _, distance := range []int{0, clusterDistance, peerDistance} {
				free = free && portIsFree(first+i+distance)
			}
		}
		if free {
			return first, nil
		}
	}
	return 0, fmt.Errorf("no %d free ports in a row", count)
}

// clusterPoints is the target table of a grid.
var clusterPoints = []point{
	{"SET to the owner", []target{{metric: throughput, rule: atLeast, limit: 0.6}, {metric: cpuPerCommand, rule: atMost, limit: 2.2}},
		drive{test: "set", row: "SET", cpu: true, start: threeNodes, door: ownerDoors}.run},
	{"SET to the owner, pipeline 16", []target{{metric: throughput, rule: atLeast, limit: 0.6}, {metric: cpuPerCommand, rule: atMost, limit: 2.2}},
		drive{test: "set", row: "SET", pipeline: 16, cpu: true, start: threeNodes, door: ownerDoors}.run},
	{"SET to the owner, Redis with a replica", []target{{metric: cpuPerCommand, rule: atMost, limit: 1.6}},
		drive{test: "set", row: "SET", cpu: true, start: threeNodesAndReplica, door: ownerDoors}.run},
	{"SET to the owner, pipeline 16, Redis with a replica", []target{{metric: cpuPerCommand, rule: atMost, limit: 1}},
		drive{test: "set", row: "SET", pipeline: 16, cpu: true, start: threeNodesAndReplica, door: ownerDoors}.run},
	{"SET at any node", []target{{metric: throughput, rule: atLeast, limit: 0.4}, {metric: cpuPerCommand, rule: atMost, limit: 3.2}},
		drive{test: "set", row: "SET", cpu: true, start: threeNodes, door: eachInTurn}.run},
	{"SET at any node, pipeline 16", []target{{metric: throughput, rule: atLeast, limit: 0.4}, {metric: cpuPerCommand, rule: atMost, limit: 3.2}},
		drive{test: "set", row: "SET", pipeline: 16, cpu: true, start: threeNodes, door: eachInTurn}.run},
	{"GET to the owner", []target{{metric: cpuPerCommand, rule: atMost, limit: 1.2}},
		drive{test: "get", row: "GET", prepare: fillStrings, cpu: true, start: threeNodes, door: ownerDoors}.run},
	{"SET at 12 nodes over 3", []target{{metric: cpuPerCommand, rule: atMost, limit: 1.2}}, growth{nodes: [2]int{12, 3}, perNode: 500}.run},
	{"64 nodes in one process", []target{
		{metric: timeToStart, rule: atMost, limit: 60, absolute: true},
		{metric: coresIdle, rule: atMost, limit: 0.25, absolute: true},
		{metric: residentNode, rule: atMost, limit: 40, absolute: true},
	}, crowd{64}.run},
}
