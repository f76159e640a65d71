package main

import (
	"context"
	"crypto/sha1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/cluster"
	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/server"
)

// grid joins a server and its node of the grid, neither of which knows the other: to the server it is the Router, to the node the
// Executor, and it turns the types of one into those of the other.
type grid struct {
	node *cluster.Node
	srv  *server.Server // nil: a witness
	log  *slog.Logger
	top  atomic.Pointer[server.Topology]

	closing context.Context // done once the node is about to close
	close   context.CancelFunc

	news struct {
		sync.Mutex
		changed chan struct{} // closed, and replaced, at each table
	}
}

// openGrid makes the node a member of a grid. What the config has for OnTable is told of each table before the server is. Where that
// returns an error it becomes openGrid's.
func openGrid(ctx context.Context, config cluster.NodeConfig, check func(*core.Table) error) (*grid, error) {
	g := &grid{log: config.Log}
	g.closing, g.close = context.WithCancel(context.Background())
	g.news.changed = make(chan struct{})
	opening, refuse := context.WithCancelCause(ctx)
	defer refuse(nil)
	config.OnTable = func(t *core.Table) {
		if err := check(t); err != nil {
			refuse(err) // most often before the node has registered
		}
		g.follow(t, config.Node)
	}
	node, err := cluster.OpenNode(opening, config)
	g.node = node
	if cause := context.Cause(opening); cause != nil && ctx.Err() == nil {
		err = cause
		if node != nil {
			closing, cancel := context.WithTimeout(context.Background(), stopTimeout)
			defer cancel()
			err = errors.Join(err, node.Close(closing))
		}
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

// start has the server's store hold copies, and the server execute what other nodes send.
func (g *grid) start(srv *server.Server) {
	g.srv = srv
	g.node.Start(srv.Store(), newExecutor(srv))
}

// stop ends the node's part in the grid, within the time of ctx.
func (g *grid) stop(ctx context.Context) error {
	g.close()
	return g.node.Close(ctx)
}

// follow takes a new table.
func (g *grid) follow(t *core.Table, self core.NodeID) {
	top := newTopology(g.top.Load(), t, self)
	g.top.Store(top)
	if top.DataNodes > 1 {
		paceCollector()
	}
	g.news.Lock()
	defer g.news.Unlock()
	close(g.news.changed)
	g.news.changed = make(chan struct{})
}

// collectorPercent is how much a node with backups lets its Go heap grow between collections, in percent, unless GOGC says otherwise. What
// is in it are the logs, some 20 MB: at 100 percent a node that writes 100,000 keys a second collects several times a second, and
// a quarter of its time goes there. A node that is alone has next to nothing in that heap, and gains nothing.
const collectorPercent = 400

var paceCollector = sync.OnceFunc(func() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectorPercent)
	}
})

// lookAgain is how often await asks without news.
const lookAgain = time.Second

// await waits until something is true of the table.
func (g *grid) await(ctx context.Context, isSo func(*core.Table) bool) error {
	for {
		g.news.Lock()
		changed := g.news.changed
		g.news.Unlock()
		if isSo(g.node.Table()) {
			return nil
		}
		timer := time.NewTimer(lookAgain)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// seedOf is the grid's seed as the store takes it; every node must get the same.
func seedOf(s core.Settings) partition.Seed {
	return partition.Seed{K0: binary.LittleEndian.Uint64(s.Seed[:8]), K1: binary.LittleEndian.Uint64(s.Seed[8:])}
}

// newTopology is a table as doors see it. Of the partitions that have not changed since the old one it takes over what that says.
func newTopology(old *server.Topology, t *core.Table, self core.NodeID) *server.Topology {
	top := &server.Topology{Version: t.Version, Self: server.NodeID(self), Parts: make([]server.Assignment, len(t.Rows))}
	for i := range t.Nodes {
		e := &t.Nodes[i]
		top.Nodes = append(top.Nodes, server.GridNode{
			ID: server.NodeID(e.ID), Run: runOf(e.ID), Client: e.Client, Cluster: e.Cluster, Peer: e.Peer, Zone: e.Zone,
			Witness: e.Role == core.Witness, Fenced: e.Status == core.Fenced,
		})
		if e.Role == core.Data { // a fenced one too: it may be back before anybody has noticed
			top.DataNodes++
		}
	}
	for p := range t.Rows {
		r := &t.Rows[p]
		if old != nil && p < len(old.Parts) && old.Parts[p].Epoch == r.Epoch {
			top.Parts[p] = old.Parts[p]
			continue
		}
		part := server.Assignment{Epoch: r.Epoch, Primary: server.NodeID(r.Primary.Node)}
		for _, m := range r.ISR {
			if m != r.Primary {
				part.Backups = append(part.Backups, server.NodeID(m.Node))
			}
		}
		top.Parts[p] = part
	}
	return top
}

// runOf is a node's id in the form that clients of Redis Cluster know: 40 hexadecimal digits, the same at each start.
func runOf(id core.NodeID) string {
	sum := sha1.Sum([]byte(id))
	return hex.EncodeToString(sum[:])
}

// The Router.

func (g *grid) Topology() *server.Topology { return g.top.Load() }

func (g *grid) Serves(p int, at time.Duration) (reign uint64, ok bool) { return g.node.Serves(p, at) }

func (g *grid) ServesUntil(p int, at time.Duration) time.Duration { return g.node.ServesUntil(p, at) }

func (g *grid) Writable(p int) bool { return g.node.Writable(p) }

func (g *grid) Committed(rests []server.Rest) bool { return g.node.Committed(rests) }

func (g *grid) Flush() { g.node.Flush() }

func (g *grid) Await(rests []server.Rest, done func(error)) bool { return g.node.Await(rests, done) }

func (g *grid) Forward(to server.NodeID, f *server.Forwarded, done func(server.Answer)) {
	g.node.Forward(core.NodeID(to), f, done)
}

// executor is what the node has other nodes' commands executed by.
type executor struct {
	srv    *server.Server
	guests *atomic.Pointer[[]guest] // those that have sent something, and are not gone
}

// guest is one start of another node, and its name: what a new start sends has nothing to do with what the old one sent.
type guest struct {
	member core.Member
	name   server.NodeID
}

func newExecutor(srv *server.Server) executor {
	e := executor{srv: srv, guests: new(atomic.Pointer[[]guest])}
	e.guests.Store(new([]guest))
	return e
}

func (e executor) Execute(from core.Member, f *cluster.Forwarded, answer func(cluster.Answer)) {
	e.srv.Execute(e.nameOf(from), f, answer)
}

func (e executor) Gone(from core.Member) {
	e.srv.Gone(e.nameOf(from))
	for {
		old := e.guests.Load()
		left := slices.DeleteFunc(slices.Clone(*old), func(g guest) bool { return g.member == from })
		if e.guests.CompareAndSwap(old, &left) {
			return
		}
	}
}

// startOf names one start of a node.
func startOf(m core.Member) server.NodeID {
	return server.NodeID(string(m.Node) + "/" + hex.EncodeToString(m.Inc[:]))
}

// nameOf is asked for every command: names are made once.
func (e executor) nameOf(m core.Member) server.NodeID {
	for {
		old := e.guests.Load()
		for _, g := range *old {
			if g.member.Inc == m.Inc && g.member == m {
				return g.name
			}
		}
		more := append(slices.Clone(*old), guest{m, startOf(m)})
		e.guests.CompareAndSwap(old, &more)
	}
}

// beginAnew has a node whose grid is itself alone begin empty, where its last start had data: what one node promises is the memory of
// one process. That process is over, for this one has its data directory, so no person has to say so.
func (g *grid) beginAnew(ctx context.Context) error {
	return g.await(ctx, func(t *core.Table) bool {
		self := g.node.Self()
		if len(t.Nodes) != 1 || t.Nodes[0].ID != self.Node {
			return true // a loss in a grid is for a person to accept
		}
		if t.Nodes[0].Member() != self {
			return false // not registered yet
		}
		lost, dead := lossOf(t, self.Node)
		if len(lost) == 0 {
			return true
		}
		g.log.Info("begins empty: what a node that is alone held was in the memory of its last start")
		asking, cancel := context.WithTimeout(ctx, adminTimeout)
		defer cancel()
		if err := g.node.AcceptLoss(asking, lost, dead...); err != nil && ctx.Err() == nil {
			g.log.Warn("begin empty", "error", err)
		}
		return false
	})
}

// lossOf are the lost partitions that a node had last, and its starts that had them.
func lossOf(t *core.Table, id core.NodeID) (lost []int, dead []core.Member) {
	starts := map[core.Member]bool{}
	for p := range t.Rows {
		r := &t.Rows[p]
		if r.State != core.Lost || r.LastDropped.Node != id {
			continue
		}
		lost = append(lost, p)
		if !starts[r.LastDropped] {
			starts[r.LastDropped] = true
			dead = append(dead, r.LastDropped)
		}
	}
	return lost, dead
}
