package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"time"

	"github.com/neargrid/neargrid/cluster"
	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/internal/clock"
	"github.com/neargrid/neargrid/server"
)

// nodePlan is what a command line makes of a node.
type nodePlan struct {
	server  server.Options // without what the data directory and the grid decide
	dataDir string
	grid    *gridPlan // nil: the node stays alone
}

// gridPlan is a node's part in a grid.
type gridPlan struct {
	listen   string // the peer port
	host     string // that others are told; empty: as announced chooses
	join     []string
	create   *core.Settings // of a grid that it may create; nil: it may not
	wants    []wish
	role     core.Role
	zone     string
	keys     *cluster.Keys
	insecure bool // the peer port may be reached by other machines without a secret
	secret   bool // there is one
}

// wish is a setting of the grid that was asked for by name. It counts where the grid is created; to a grid that has another, who asked
// does not belong.
type wish struct {
	flag  input
	holds func(core.Settings) bool
	is    func(core.Settings) string // the grid's own
}

func (w wish) check(s core.Settings) error {
	if w.holds(s) {
		return nil
	}
	return usagef("%s %q: the grid has %s, and that is settled when a grid is created: leave it out", w.flag.from, w.flag.value, w.is(s))
}

// Times of a node's end, counted from its beginning. What is not done by then is left.
const (
	stopTimeout  = 10 * time.Second
	handOverTime = 6 * time.Second         // for its partitions to be taken over (R22)
	drainTime    = 8500 * time.Millisecond // for connections to receive their last replies; all of stopTimeout for a node that is alone
)

// node is one node, from its data directory to its doors.
type node struct {
	log    *slog.Logger
	dir    *dataDir
	srv    *server.Server // nil: a witness
	grid   *grid          // nil: it is alone
	role   core.Role
	failed chan error // that it cannot go on; has room for one
}

// startNode starts a node: it returns once clients can connect. It gives up when ctx ends.
func startNode(ctx context.Context, plan nodePlan, log *slog.Logger) (*node, error) {
	n := &node{log: log, failed: make(chan error, 1)}
	err := n.start(ctx, plan)
	if err == nil {
		return n, nil
	}
	stopping, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	_ = n.close(stopping, stopping) // the reason that counts is known
	return nil, err
}

func (n *node) start(ctx context.Context, plan nodePlan) (err error) {
	if n.dir, err = openDataDir(plan.dataDir); err != nil {
		return err
	}
	o := plan.server
	o.NodeID, o.Logger, o.Clock = n.dir.nodeID, n.log, clock.New()
	if plan.grid == nil {
		if n.srv, err = server.New(o); err != nil {
			return err
		}
		return n.srv.Start()
	}
	if n.role = plan.grid.role; n.role == core.Witness {
		o.Listen, o.ClusterListen, o.Unixsocket = "", "", ""
	}
	if err := tryOptions(o); err != nil {
		return err
	}
	if o.Listen, err = reservePort(o.Listen, "--listen"); err != nil {
		return err
	}
	if o.ClusterListen, err = reservePort(o.ClusterListen, "--cluster-listen"); err != nil {
		return err
	}
	if err := n.enter(ctx, plan, &o); err != nil {
		return err
	}
	if n.role == core.Witness {
		return nil
	}
	if n.srv, err = server.New(o); err != nil {
		return err
	}
	n.grid.start(n.srv)
	if err := n.grid.beginAnew(ctx); err != nil {
		return err
	}
	return n.srv.Start()
}

// tryOptions finds what is wrong with options before the node is a member of anything.
func tryOptions(o server.Options) error {
	srv, err := server.New(o)
	if err != nil {
		return err
	}
	return srv.Shutdown(context.Background())
}

// enter makes the node a member of its grid, and completes the server's options.
func (n *node) enter(ctx context.Context, plan nodePlan, o *server.Options) (err error) {
	g := plan.grid
	if !g.secret && !g.insecure && !server.IsLoopback(g.listen) {
		return usagef("other machines could join the grid at %s without a secret: set one with --secret-file, listen for peers on 127.0.0.1 "+
			"with --peer-listen, give --insecure, or --peer-listen off for a node that stays alone", g.listen)
	}
	peerHost, _ := splitAddress(announced(g.host, g.listen))
	n.grid, err = openGrid(ctx, cluster.NodeConfig{
		Network: cluster.Sockets(), Listen: g.listen, Advertise: hostAnyPort(peerHost), Keys: g.keys,
		Node: core.NodeID(n.dir.nodeID), DataDir: n.dir.path, Role: g.role, Zone: g.zone, Version: server.Version,
		Client: announced(g.host, o.Listen), Cluster: announced(g.host, o.ClusterListen),
		Join: g.join, Create: g.create,
		Now: o.Clock.Now, Clock: o.Clock,
		Log: n.log, OnFailure: n.fail,
	}, g.check)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return &portError{g.listen, "--peer-listen", server.ErrAddrInUse}
	case err != nil:
		return explainEntry(err, plan.dataDir)
	}
	settings := n.grid.node.Settings()
	o.Partitions, o.Seed = settings.Partitions, seedOf(settings)
	o.Router, o.Sink, o.Sleeps = n.grid, n.grid.node.Sink, n.grid.node.Sleeps
	return nil
}

// check holds the grid's settings against what was asked for.
func (g *gridPlan) check(t *core.Table) error {
	if len(t.Rows) == 0 {
		return nil
	}
	for _, w := range g.wants {
		if err := w.check(t.Settings); err != nil {
			return err
		}
	}
	return nil
}

// explainEntry adds to the reason why a node is not a member what is to be done about it.
func explainEntry(err error, dataDir string) error {
	advice := ""
	switch {
	case errors.Is(err, cluster.ErrWrongSecret):
		advice = "give all nodes of a grid the same --secret-file"
	case errors.Is(err, cluster.ErrOtherGrid):
		advice = fmt.Sprintf("correct --join, or have the node begin anew with another --data-dir than %s", dataDir)
	case errors.Is(err, cluster.ErrReplaced):
		advice = fmt.Sprintf("this node was given up then, and what it had is of no use any more: move grid.json, raft and raft-* out of %s, "+
			"and start it with --join and the address of a node that answers", dataDir)
	case errors.Is(err, cluster.ErrVersion):
		advice = "run versions that go together"
	case errors.Is(err, cluster.ErrSuperseded):
		advice = fmt.Sprintf("%s is a copy of another node's data directory: give each its own with --data-dir", dataDir)
	default:
		return err
	}
	return fmt.Errorf("%w: %s", err, advice)
}

// fail notes that the node cannot go on; the first reason counts.
func (n *node) fail(err error) {
	select {
	case n.failed <- err:
	default:
	}
}

// logReady says that the node takes part, and what its grid promises.
func (n *node) logReady(o server.Options) {
	what := []any{"listen", n.addr(), "unixsocket", o.Unixsocket, "node", n.dir.nodeID, "version", server.Version}
	if n.grid == nil {
		n.log.Info("ready", append(what, "partitions", o.Partitions, "maxmemory", o.MaxMemory, "data", "in the memory of this process alone")...)
		return
	}
	s := n.grid.node.Status()
	what = append(what, "partitions", s.Partitions.Total, "maxmemory", o.MaxMemory, "peers", n.grid.node.Peer(), "grid", s.Grid, "role", n.role)
	n.log.Info("ready", what...)
	text := s.Promise.Text
	if len(s.Members) == 1 {
		text = "one node: data is in the memory of this process alone"
	}
	n.log.Info("promise", "profile", s.Promise.Profile, "text", text, "kept", s.Promise.Kept, "why", strings.Join(s.Promise.Why, "; "))
}

// addr is the grid door's address; empty where there is none.
func (n *node) addr() string {
	if n.srv == nil {
		return ""
	}
	return n.srv.Addr()
}

// run has the node serve until it is told to stop, by a signal or by SHUTDOWN, or cannot go on, and ends it. An error says why it could
// not go on, or that a second signal came. handOver is for a signal: whether others are to take over what it leads.
func (n *node) run(signals stopSignals, handOver bool) error {
	var shutdown <-chan struct{}
	if n.srv != nil {
		shutdown = n.srv.Done()
	}
	var failed error
	select {
	case <-signals.first.Done():
		n.log.Info("stopping", "why", context.Cause(signals.first))
	case <-shutdown:
		n.log.Info("stopping", "why", "SHUTDOWN")
		handOver = true
	case failed = <-n.failed:
		handOver = false
		if errors.Is(failed, cluster.ErrLeft) {
			n.log.Info("left the grid")
			failed = nil
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.stop(handOver)
	}()
	select {
	case <-done:
	case <-signals.second.Done():
		return fmt.Errorf("stopped at once by a second signal (%w)", context.Cause(signals.second))
	}
	n.log.Info("stopped")
	return explainEntry(failed, n.dir.path)
}

// stop ends the node within stopTimeout: others take over what it leads, connections receive what is executed, its part in the grid
// ends.
func (n *node) stop(handOver bool) {
	begin := time.Now()
	all, cancel := context.WithDeadline(context.Background(), begin.Add(stopTimeout))
	defer cancel()
	doors := all
	if n.grid != nil {
		if handOver {
			handing, cancel := context.WithDeadline(all, begin.Add(handOverTime))
			if err := n.grid.node.HandOver(handing); err != nil {
				n.log.Warn("not everything was handed over", "error", err)
			}
			cancel()
		}
		var cancel context.CancelFunc
		doors, cancel = context.WithDeadline(all, begin.Add(drainTime))
		defer cancel()
	}
	if err := n.close(doors, all); err != nil {
		n.log.Warn("end of the node", "error", err)
	}
}

// close ends what was started: the doors within the time of one context, the rest within that of another.
func (n *node) close(doors, all context.Context) error {
	var errs []error
	if n.srv != nil {
		if err := n.srv.Shutdown(doors); err != nil {
			errs = append(errs, fmt.Errorf("connections were closed before they were drained: %w", err))
		}
	}
	if n.grid != nil {
		errs = append(errs, n.grid.stop(all))
	}
	if n.dir != nil {
		errs = append(errs, n.dir.Close())
	}
	return errors.Join(errs...)
}
