package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/loadtest"
)

// startSidecar starts a sidecar of the rig's node, which holds every record, and answers it with the path of its Unix socket.
func (l *lab) startSidecar(ctx context.Context, g *nearRig) (*server, string, error) {
	help, err := exec.CommandContext(ctx, l.programs[ours].path, "help").CombinedOutput()
	if err != nil {
		return nil, "", err
	}
	if !strings.Contains(string(help), "sidecar") {
		return nil, "", errors.New("not measured: this build of neargrid has no sidecar (neargrid help does not name it)")
	}
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	socket := ""
	prog := l.programs[ours]
	prog.name = "neargrid sidecar"
	prog.args = func(port int, dir string) []string {
		socket = filepath.Join(dir, "near.sock")
		return []string{"sidecar", "--join", "127.0.0.1:" + strconv.Itoa(g.node.peerPort), "--listen", "127.0.0.1:" + strconv.Itoa(port),
			"--unixsocket", socket, "--near-memory", strconv.FormatInt(g.roomForAll(), 10)}
	}
	side, err := l.launch(ctx, prog, port)
	if err != nil {
		return nil, "", err
	}
	if err := fillSidecar(ctx, g, socket); err != nil {
		side.stop()
		return nil, "", err
	}
	return side, socket, nil
}

// fillSidecar reads every record through it, twice: what is measured next are hits.
func fillSidecar(ctx context.Context, g *nearRig, socket string) error {
	c, err := client.Connect(ctx, []string{socket}, client.Options{})
	if err != nil {
		return err
	}
	defer c.Close()
	for range 2 {
		if err := readAll(g.records, getter(ctx, c)); err != nil {
			return fmt.Errorf("through the sidecar: %w", err)
		}
	}
	return nil
}

// sidecarSpeedUp is speedUp through a sidecar's Unix socket. The sidecar's own connections to the node have no relay, as nothing of them is
// waited for.
type sidecarSpeedUp struct{}

func (sidecarSpeedUp) run(ctx context.Context, l *lab) (outcome, error) {
	g, err := l.startRig(ctx, nearHeld)
	if err != nil {
		return outcome{}, err
	}
	defer g.close()
	side, socket, err := l.startSidecar(ctx, g)
	if err != nil {
		return outcome{}, err
	}
	defer side.stop()
	added, err := g.relay.Calibrate(nearTrip, nearPings)
	if err != nil {
		return outcome{}, err
	}
	c, err := client.Connect(ctx, []string{socket}, client.Options{})
	if err != nil {
		return outcome{}, err
	}
	defer c.Close()
	return g.againstFar(ctx, l, added, getter(ctx, c))
}

// sidecarHit measures hits of a sidecar against redis-server with the same records: the latency of one client over Unix sockets, or the
// throughput of pipelines over loopback.
type sidecarHit struct{ pipelined bool }

const pipelineDepth = 16

func (p sidecarHit) run(ctx context.Context, l *lab) (outcome, error) {
	g, err := l.startRig(ctx, nearHeld)
	if err != nil {
		return outcome{}, err
	}
	defer g.close()
	side, socket, err := l.startSidecar(ctx, g)
	if err != nil {
		return outcome{}, err
	}
	defer side.stop()
	redis, redisSocket, err := l.startRedisSocket(ctx)
	if err != nil {
		return outcome{}, err
	}
	defer redis.stop()
	w, err := g.workload()
	if err != nil {
		return outcome{}, err
	}
	if err := redis.store(ctx, w); err != nil {
		return outcome{}, err
	}

	servers := pair{ours: side, peer: redis}
	o := loadtest.Options{Workload: w, Clients: 1, Depth: 1, Duration: l.scale.runMin}
	addrs := [2]string{ours: socket, peer: redisSocket}
	if p.pipelined {
		o.Clients, o.Depth = clientCount, pipelineDepth
		addrs = [2]string{ours: side.addr, peer: redis.addr}
	}
	rate := series{metric: throughput, unit: perSecond}
	latency := series{metric: latencyMedian, unit: microseconds}
	for round := range l.rounds {
		for _, s := range turn(round) {
			m, err := servers[s].measureAt(ctx, addrs[s], &loadtest.RESP{Prefix: keyPrefix}, o)
			if err != nil {
				return outcome{}, err
			}
			rate.samples[s] = append(rate.samples[s], m.PerSecond())
			latency.samples[s] = append(latency.samples[s], float64(m.Quantile(50).Nanoseconds())/1e3)
		}
	}
	return outcome{series: []series{latency, rate}, notes: []string{fmt.Sprintf(
		"sidecar hit: GET by Zipf over %d keys, all held, with package loadtest; the second column is redis-server. Latency is of one client over Unix "+
			"sockets, pipelines of %d are of %d clients over loopback.", g.records, pipelineDepth, clientCount)}}, nil
}

// startRedisSocket starts a redis-server that listens on a Unix socket too.
func (l *lab) startRedisSocket(ctx context.Context) (*server, string, error) {
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	socket := ""
	prog := l.programs[peer]
	prog.args = func(port int, dir string) []string {
		socket = filepath.Join(dir, "redis.sock")
		return append(redisArgs(port, dir), "--unixsocket", socket)
	}
	srv, err := l.launch(ctx, prog, port)
	return srv, socket, err
}
