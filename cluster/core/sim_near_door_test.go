package core

import (
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/server"
)

// simDoor is a node's server and store: the real ones, but for sockets, loop and clock. It is the server's Router and Timing, and does to
// the store what package cluster's replica does. What it forwards to other doors is in sim_near_forward_test.go.
type simDoor struct {
	node   *simNode
	inc    Incarnation
	closed bool
	srv    *server.Server
	top    *server.Topology
	tx     *partition.Tx // of what the node itself does with the store

	mail    []func() // posted to the loop
	waking  bool
	conns   []*nearConn // that are accepted
	waits   [][]doorRest
	dirty   []bool // partitions that have executed something since the last Flush
	settled []bool // and of these, where it was committed at once

	takes   []bool              // by partition: writes are executed, and keys expire
	links   []*simLink          // to other nodes
	guests  map[Member]*simLink // from other nodes
	answers []simAnswer         // to them, to be sent
}

// doorWait is a reply that waits until all that it rests on is committed.
type doorWait struct {
	left int
	done func(error) // nil: it was called
}

type doorRest struct {
	seq uint64
	w   *doorWait
}

var (
	simSpace = partition.NewSpace() // of all stores, one after the other

	errSimUnknown = errors.New("not known to be committed")
	errSimAdmin   = errors.New("nobody to ask")
)

const commitMax = 5 * time.Second

func newSimDoor(n *simNode) *simDoor {
	parts := n.sim.setup.partitions
	d := &simDoor{
		node: n, inc: n.inc, waits: make([][]doorRest, parts), dirty: make([]bool, parts), settled: make([]bool, parts),
		takes: make([]bool, parts), guests: map[Member]*simLink{},
	}
	d.top = d.topology()
	srv, err := server.New(server.Options{
		Partitions: parts, Insecure: true, NodeID: string(n.id), Seed: partition.Seed{K0: 1, K1: 2}, Logger: slog.New(slog.DiscardHandler),
		Router: d, Sink: d.sink, Timing: d, Space: simSpace,
	})
	if err != nil {
		panic(err)
	}
	d.srv, d.tx = srv, partition.NewTx(srv.Store())
	for p := range parts {
		srv.Store().Partition(p).SetActive(false)
	}
	return d
}

// close ends the process: nobody is told anything.
func (d *simDoor) close() {
	d.closed = true
	for _, l := range d.links {
		l.fail()
	}
	for p := range d.waits {
		d.srv.Store().Partition(p).ResetTo(0) // gives the memory back
	}
	d.srv.Shutdown(d.node.sim.near.ctx)
}

// run runs f in the node's process, if it is still this one.
func (d *simDoor) run(f func()) {
	if !d.closed {
		d.node.run(f)
	}
}

// The loop.

func (d *simDoor) post(f func()) {
	d.mail = append(d.mail, f)
	if d.waking || d.closed {
		return
	}
	d.waking = true // nothing is drawn here: several may be posted to by one who goes through a map
	d.node.sim.after(100*time.Microsecond, func() { d.run(d.turn) })
}

// turn runs what was posted, and ends as every turn of a loop does.
func (d *simDoor) turn() {
	d.waking = false
	for len(d.mail) > 0 {
		mail := d.mail
		d.mail = nil
		for _, f := range mail {
			f()
		}
	}
	d.endTurn()
}

// endTurn has sent what was executed, and what there is to say to clients.
func (d *simDoor) endTurn() {
	d.Flush()
	for _, c := range slices.Clone(d.conns) {
		c.settle()
	}
}

// Timing.

func (d *simDoor) Now() time.Duration { return d.node.clock() }
func (d *simDoor) Started() time.Time { return time.Unix(1e9, 0) }

func (d *simDoor) After(wait time.Duration, f func()) server.Timer {
	t := &simTimer{}
	d.node.sim.after(time.Duration(float64(max(0, wait))/d.node.rate), func() {
		d.run(func() {
			if !t.over {
				t.over = true
				f()
				d.endTurn()
			}
		})
	})
	return t
}

type simTimer struct{ over bool }

func (t *simTimer) Stop() bool {
	was := t.over
	t.over = true
	return !was
}

// The router.

func (d *simDoor) part(p int) *simPart { return d.node.parts[p] }

func (d *simDoor) Topology() *server.Topology { return d.top }

func (d *simDoor) Serves(p int, at time.Duration) (reign uint64, ok bool) {
	rep := d.part(p).rep
	return rep.Row().Reign, rep.Serving(at)
}

func (d *simDoor) ServesUntil(p int, at time.Duration) time.Duration {
	if d.closed {
		return 0
	}
	rep := d.part(p).rep
	if !rep.Serving(at) {
		return 0
	}
	_, until := rep.Window()
	return until
}

func (d *simDoor) Writable(p int) bool { return d.takes[p] }

func (d *simDoor) committed(r server.Rest) bool {
	rep := d.part(r.Partition).rep
	return rep.Primary() && rep.Row().Reign == r.Reign && rep.Commit() >= r.Seq
}

func (d *simDoor) Committed(rests []server.Rest) bool {
	return !slices.ContainsFunc(rests, func(r server.Rest) bool { return !d.committed(r) })
}

func (d *simDoor) Await(rests []server.Rest, done func(error)) bool {
	if d.Committed(rests) {
		return true
	}
	d.node.sim.count("read waited for a commit")
	w := &doorWait{left: len(rests), done: done}
	for _, r := range rests {
		switch rep := d.part(r.Partition).rep; {
		case d.committed(r):
			w.left--
		case !rep.Primary() || rep.Row().Reign != r.Reign:
			w.fail()
		default:
			d.waits[r.Partition] = append(d.waits[r.Partition], doorRest{r.Seq, w})
		}
	}
	d.After(commitMax, w.fail)
	return false
}

func (w *doorWait) fail() {
	if done := w.done; done != nil {
		w.done = nil
		done(errSimUnknown)
	}
}

// release answers what a commit was waited for.
func (d *simDoor) release(p int) {
	commit := d.part(p).rep.Commit()
	d.waits[p] = slices.DeleteFunc(d.waits[p], func(r doorRest) bool {
		if r.seq > commit {
			return false
		}
		r.w.left--
		if done := r.w.done; r.w.left == 0 && done != nil {
			r.w.done = nil
			done(nil)
		}
		return true
	})
}

func (d *simDoor) Admin([]string) (string, error) { return "", errSimAdmin }

// Flush sends what was executed, and what is forwarded.
func (d *simDoor) Flush() {
	n := d.node
	for p := range d.dirty {
		if !d.dirty[p] {
			continue
		}
		d.dirty[p] = false
		rep := d.part(p).rep
		for _, m := range slices.Concat(rep.row.ISR, rep.row.Learners) {
			if m != n.member() && rep.Primary() {
				n.pump(p, m)
			}
		}
		if d.settled[p] {
			d.settled[p] = false
			n.carryOut(p, Step{Committed: true})
		}
	}
	for _, l := range d.links {
		l.flush()
	}
}

// sink takes what a primary has executed into its log.
func (d *simDoor) sink(data *partition.Partition, b partition.Batch) (settled bool) {
	n, p := d.node, data.ID
	rep := d.part(p).rep
	if !rep.Primary() || b.Seq != rep.Last()+1 || !rep.Serving(n.clock()) {
		n.sim.fail("partition %d: %s executes batch %d behind %d: primary %v, serving %v", p, n.id, b.Seq, rep.Last(), rep.Primary(), rep.Serving(n.clock()))
		return true
	}
	payload := partition.AppendBatch(nil, b)
	e := Entry{Seq: b.Seq, Epoch: rep.row.Reign, Payload: payload}
	n.sim.oracle.execute(p, e)
	n.sim.near.check.executed(n, p, e)
	d.dirty[p] = true
	if rep.Alone() && b.Seq%3 == 0 { // see simNode.write
		n.sim.count("write skipped by the log")
		rep.Skip(b.TimeMs)
		d.settled[p] = true
		return true
	}
	d.settled[p] = rep.Propose(b.TimeMs, payload, n.clock()).Committed || d.settled[p]
	return false
}

// What the node's replicas decide.

// change brings the data to where a step says.
func (d *simDoor) change(p int, s *Step) (again bool) {
	data := d.srv.Store().Partition(p)
	if s.Wipe {
		data.ResetTo(0)
	}
	if s.Load != nil {
		if err := data.LoadChunk(s.Load.Data); err != nil {
			d.node.sim.fail("partition %d on %s: %v", p, d.node.id, err)
		}
	}
	for _, e := range s.Apply {
		b, _, err := partition.DecodeBatch(e.Payload)
		if err == nil {
			err = data.ApplyBehind(b, partition.Bound(s.Bound))
		}
		if errors.Is(err, partition.ErrRestartWalk) {
			return true
		}
		if err != nil {
			d.node.sim.fail("partition %d on %s: %v", p, d.node.id, err)
		}
	}
	return false
}

func (d *simDoor) chunkOf(p int) func(start Bound, whole bool) (data []byte, end Bound) {
	return func(start Bound, whole bool) ([]byte, Bound) {
		size := 1
		if whole {
			size = 1 << 20
		}
		data, next, _ := d.srv.Store().Partition(p).AppendChunk(nil, partition.Bound(start), size)
		return data, Bound(next)
	}
}

func (d *simDoor) content(p int) uint64 {
	sum, _ := d.srv.Store().Partition(p).ContentDigest()
	return sum
}

// rowApplied is told what has become of a replica that had led, or not. goesOn: it leads as before.
func (d *simDoor) rowApplied(p int, led, goesOn bool) {
	rep := d.part(p).rep
	d.tx.Begin(0, p)
	d.takeWrites(p, goesOn && !rep.Held() && rep.Writable())
	if led && !goesOn {
		for _, r := range d.waits[p] {
			r.w.fail()
		}
		d.waits[p] = nil
		d.tx.LoseTracked(p)
	}
	d.tx.End()
}

// followed is told that a new table is applied.
func (d *simDoor) followed() { d.top = d.topology() }

// open lets a primary work, once its row's step is carried out.
func (d *simDoor) open(p int) {
	if rep := d.part(p).rep; rep.Primary() {
		d.tx.Begin(0, p)
		d.takeWrites(p, !rep.Held() && rep.Writable())
		d.tx.End()
	}
}

// ticked is told that time has passed for a replica. held: it held its commands back before.
func (d *simDoor) ticked(p int, held bool) {
	rep := d.part(p).rep
	d.tx.Begin(0, p)
	if rep.Held() && !held {
		d.node.sim.count("near: partition told of before a handover")
		d.tx.LoseTracked(p)
	}
	d.takeWrites(p, rep.Primary() && !rep.Held() && rep.Writable())
	d.tx.End()
}

// takeWrites says whether writes are executed, and keys expire. The transaction holds the partition.
func (d *simDoor) takeWrites(p int, takes bool) {
	d.takes[p] = takes
	d.tx.SetActive(p, takes)
}

// topology is the node's table as doors see it.
func (d *simDoor) topology() *server.Topology {
	t := d.node.table
	top := &server.Topology{Version: t.Version, Self: server.NodeID(d.node.id), Parts: make([]server.Assignment, d.node.sim.setup.partitions)}
	for i := range t.Nodes {
		e := &t.Nodes[i]
		top.Nodes = append(top.Nodes, server.GridNode{ID: server.NodeID(e.ID), Client: "127.0.0.1:1", Fenced: e.Status == Fenced})
	}
	top.DataNodes = max(2, len(t.Nodes)) // never alone: a node that is has more freedoms
	for p := range t.Rows {
		r := &t.Rows[p]
		top.Parts[p] = server.Assignment{Epoch: r.Epoch, Primary: server.NodeID(r.Primary.Node)}
		for _, m := range r.ISR {
			if m != r.Primary {
				top.Parts[p].Backups = append(top.Parts[p].Backups, server.NodeID(m.Node))
			}
		}
	}
	return top
}

// startOf names one start of a node.
func startOf(m Member) server.NodeID {
	return server.NodeID(string(m.Node) + "/" + hex.EncodeToString(m.Inc[:]))
}
