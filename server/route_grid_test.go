package server

import (
	"bytes"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/partition"
)

// testGrid is three servers, a, b and c, that forward to each other. What is true of the grid (who has a partition) and what each
// node knows of it (its topology) are apart, so that nodes may be wrong. A partition's data are copied when it moves, and only then:
// who has lost it holds what is old.
//
// Of four partitions node a has those of the keys a, e and d, h; b that of b, f; c that of c, g. a and e are of different slots.
type testGrid struct {
	t     *testing.T
	ids   []NodeID
	nodes map[NodeID]*gridNode
	links map[[2]NodeID]*gridLink

	mu struct {
		sync.Mutex
		version uint64
		parts   []gridPart
	}
}

// gridPart is the truth about a partition.
type gridPart struct {
	owner   NodeID // "" = it is lost
	reign   uint64
	backups int
}

// gridNode is a node: a server, and the router that it asks.
type gridNode struct {
	*fakeRouter
	id     NodeID
	grid   *testGrid
	server *inProcess

	truth struct { // beyond the grid's
		sync.Mutex
		lapses map[int]*gridLapse // by partition
	}
}

// gridLapse is a lease that ends and may come back.
type gridLapse struct {
	after int  // so often more the partition is said to be served
	times int  // then so often not; negative: for good
	anew  bool // and then in a new reign
}

const gridPartitions = 4

// newTestGrid makes a grid in a bubble. change, if not nil, changes a node's options.
func newTestGrid(t *testing.T, change func(id NodeID, o *Options)) *testGrid {
	g := &testGrid{t: t, ids: []NodeID{"a", "b", "c"}, nodes: map[NodeID]*gridNode{}, links: map[[2]NodeID]*gridLink{}}
	g.mu.version = 1
	for _, owner := range []NodeID{"b", "c", "a", "a"} {
		g.mu.parts = append(g.mu.parts, gridPart{owner: owner, reign: 1, backups: 1})
	}
	for _, from := range g.ids {
		n := &gridNode{fakeRouter: newFakeRouter(t, g.topology(from)), id: from, grid: g}
		n.truth.lapses = map[int]*gridLapse{}
		o := Options{Partitions: gridPartitions, Seed: partition.Seed{K0: 1, K1: 2}, Router: n}
		if change != nil {
			change(from, &o)
		}
		n.server = newInProcess(t, o)
		g.nodes[from] = n
		for _, to := range g.ids {
			if from != to {
				g.links[[2]NodeID{from, to}] = &gridLink{grid: g, from: from, to: to}
			}
		}
	}
	for p := range gridPartitions {
		for _, n := range g.nodes {
			n.server.store.Partition(p).SetActive(n.id == g.mu.parts[p].owner)
		}
	}
	t.Cleanup(g.finish)
	return g
}

// topology is what is true, as a node sees it.
func (g *testGrid) topology(self NodeID) *Topology {
	g.mu.Lock()
	defer g.mu.Unlock()
	var parts []string
	for _, p := range g.mu.parts {
		text := string(p.owner)
		for i := 0; i < p.backups && text != ""; i++ {
			text += " " + string(g.ids[(slices.Index(g.ids, p.owner)+1+i)%len(g.ids)])
		}
		parts = append(parts, text)
	}
	top := gridOf(g.mu.version, self, g.ids, parts...)
	for p := range top.Parts {
		top.Parts[p].Epoch = g.mu.parts[p].reign
	}
	return top
}

// see has nodes know the truth; all where none is named.
func (g *testGrid) see(ids ...NodeID) {
	if len(ids) == 0 {
		ids = g.ids
	}
	for _, id := range ids {
		g.nodes[id].setTopology(g.topology(id))
	}
}

// change changes the truth about a partition. Nobody knows yet.
func (g *testGrid) change(p int, f func(part *gridPart)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mu.version++
	f(&g.mu.parts[p])
}

// move gives a partition to a node, with its data, in a new reign. It must not be called while a command is executed.
func (g *testGrid) move(p int, to NodeID) {
	var from NodeID
	g.change(p, func(part *gridPart) {
		from, part.owner = part.owner, to
		part.reign++
	})
	if from == to {
		return
	}
	target := g.nodes[to].server.store.Partition(p)
	source := g.nodes[from].server.store.Partition(p)
	target.ResetTo(0)
	for at := partition.Bound(0); at != partition.BoundEnd; {
		var chunk []byte
		if chunk, at, _ = source.AppendChunk(nil, at, 1<<20); target.LoadChunk(chunk) != nil {
			g.t.Fatal("a chunk cannot be loaded")
		}
	}
	source.SetActive(false)
	target.SetActive(true)
}

func (n *gridNode) ServesUntil(p int, at time.Duration) time.Duration {
	n.grid.mu.Lock()
	defer n.grid.mu.Unlock()
	if n.grid.mu.parts[p].owner != n.id {
		return 0
	}
	return at + time.Second
}

func (n *gridNode) Serves(p int, _ time.Duration) (reign uint64, ok bool) {
	n.truth.Lock()
	defer n.truth.Unlock()
	n.grid.mu.Lock()
	defer n.grid.mu.Unlock()
	part := &n.grid.mu.parts[p]
	switch l := n.truth.lapses[p]; {
	case l == nil:
	case l.after > 0:
		l.after--
	case l.times != 0:
		l.times--
		return 0, false
	default:
		delete(n.truth.lapses, p)
		if l.anew {
			part.reign++
		}
	}
	return part.reign, part.owner == n.id
}

// lapse has the node's lease on a partition end; nil: it has it.
func (n *gridNode) lapse(p int, l *gridLapse) {
	n.truth.Lock()
	defer n.truth.Unlock()
	n.truth.lapses[p] = l
}

func (n *gridNode) Forward(to NodeID, f *Forwarded, done func(Answer)) {
	n.grid.links[[2]NodeID{n.id, to}].forward(f, done)
}

// gridLink carries commands from one node to another, in order, and their answers in any.
type gridLink struct {
	grid     *testGrid
	from, to NodeID

	mu struct {
		sync.Mutex
		queue          []*gridForward // not arrived
		faults         []string       // of the next ones
		answers        []func()       // held back
		executed       []string       // command lines that the other node has executed, in order
		holding        bool
		holdingAnswers bool
		running        bool
	}
}

// gridForward is a command under way.
type gridForward struct {
	link  *gridLink
	f     *Forwarded
	fault string // "" or one of gridFaults
	done  func(Answer)
	over  atomic.Bool
	timer *time.Timer
}

// What may befall a command: it is not sent; it gets lost; its answer does.
var gridFaults = []string{"full", "lose", "lose-answer"}

func (l *gridLink) forward(f *Forwarded, done func(Answer)) {
	l.mu.Lock()
	fault := ""
	if len(l.mu.faults) > 0 {
		fault, l.mu.faults = l.mu.faults[0], l.mu.faults[1:]
	}
	if fault == "full" || f.Timeout <= 0 {
		l.mu.Unlock()
		done(Answer{Outcome: NotExecuted})
		return
	}
	c := *f
	c.Args = cloneArgs(f.Args)
	x := &gridForward{link: l, f: &c, fault: fault, done: done}
	x.timer = time.AfterFunc(f.Timeout, x.expire)
	l.mu.queue = append(l.mu.queue, x)
	start := !l.mu.running && !l.mu.holding
	l.mu.running = l.mu.running || start
	l.mu.Unlock()
	if start {
		go l.run()
	}
}

// run has commands arrive one after the other.
func (l *gridLink) run() {
	for {
		l.mu.Lock()
		if l.mu.holding || len(l.mu.queue) == 0 {
			l.mu.running = false
			l.mu.Unlock()
			return
		}
		x := l.mu.queue[0]
		l.mu.queue = l.mu.queue[1:]
		l.mu.Unlock()
		x.arrive()
	}
}

func (x *gridForward) arrive() {
	l := x.link
	if x.fault == "lose" {
		x.finish(Answer{Outcome: Unknown})
		return
	}
	line := joinedArgs(x.f.Args)
	l.grid.nodes[l.to].server.Execute(l.from, x.f, func(a Answer) {
		a.Reply = bytes.Clone(a.Reply)
		for _, arg := range x.f.Args { // they are used for something else now
			for i := range arg {
				arg[i] = '#'
			}
		}
		l.mu.Lock()
		if a.Outcome == Executed {
			l.mu.executed = append(l.mu.executed, line)
		}
		if x.fault == "lose-answer" {
			a = Answer{Outcome: Unknown}
		}
		if l.mu.holdingAnswers {
			l.mu.answers = append(l.mu.answers, func() { x.finish(a) })
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		x.finish(a)
	})
}

func (x *gridForward) finish(a Answer) {
	if x.over.CompareAndSwap(false, true) {
		x.timer.Stop()
		x.done(a)
	}
}

// expire ends a command whose time is over. One that has not arrived never will.
func (x *gridForward) expire() {
	x.link.mu.Lock()
	i := slices.Index(x.link.mu.queue, x)
	outcome := Unknown
	if i >= 0 {
		x.link.mu.queue = slices.Delete(x.link.mu.queue, i, i+1)
		outcome = NotExecuted
	}
	x.link.mu.Unlock()
	x.finish(Answer{Outcome: outcome})
}

// next is the partition of the next command to arrive; false where there is none.
func (l *gridLink) next() (p int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.mu.queue) == 0 {
		return 0, false
	}
	return l.mu.queue[0].f.Partition, true
}

// hold holds commands back; release has them arrive.
func (l *gridLink) hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.holding = true
}

func (l *gridLink) release() {
	l.mu.Lock()
	l.mu.holding = false
	start := !l.mu.running && len(l.mu.queue) > 0
	l.mu.running = l.mu.running || start
	l.mu.Unlock()
	if start {
		go l.run()
	}
}

// holdAnswers holds answers back; releaseAnswers gives those named by their place, or all and those to come.
func (l *gridLink) holdAnswers() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.holdingAnswers = true
}

func (l *gridLink) releaseAnswers(places ...int) {
	l.mu.Lock()
	var given []func()
	for _, i := range places {
		given = append(given, l.mu.answers[i])
		l.mu.answers[i] = func() {}
	}
	if len(places) == 0 {
		given, l.mu.answers, l.mu.holdingAnswers = l.mu.answers, nil, false
	}
	l.mu.Unlock()
	for _, f := range given {
		f()
	}
}

func joinedArgs(args [][]byte) string { return string(bytes.Join(args, []byte(" "))) }

// settle turns all loops until nothing more happens by itself.
func (g *testGrid) settle() {
	for {
		synctest.Wait()
		quiet := true
		for _, n := range g.nodes {
			n.server.mu.Lock()
			quiet = quiet && len(n.server.mu.posted) == 0
			n.server.mu.Unlock()
			n.server.turn()
		}
		if quiet {
			return
		}
	}
}

// gridPassSteps: in so many steps time passes in a grid, so that loops turn meanwhile.
const gridPassSteps = 50

func (g *testGrid) pass(d time.Duration) {
	for range gridPassSteps {
		time.Sleep(d / gridPassSteps)
		g.settle()
	}
}

// finish lets everything end, and looks whether something is left over.
func (g *testGrid) finish() {
	for _, n := range g.nodes {
		for p := range gridPartitions {
			n.lapse(p, nil)
		}
		n.release(nil)
	}
	for _, l := range g.links {
		l.release()
		l.releaseAnswers()
	}
	g.see()
	g.settle()
	g.pass(2 * commandTimeMax)
	for _, n := range g.nodes {
		for _, c := range n.server.clients {
			if s := c.session; !s.killed && (s.barrier > 0 || len(s.queue) > 0) {
				g.t.Errorf("a session of %s has barrier %d, %d segments at the end", n.id, s.barrier, len(s.queue))
			}
			if v := &c.session.travels; v.count+len(v.flights)+len(v.byNode)+len(v.parked) > 0 || v.running {
				g.t.Errorf("a session of %s has commands under way at the end: %+v", n.id, *v)
			}
			c.session.Closed()
		}
		if held := n.watched(); held > 0 {
			g.t.Errorf("%s holds %d watched keys at the end", n.id, held)
		}
	}
}

// watched is how many keys of a node's store are watched.
func (n *gridNode) watched() (count int) {
	for p := range gridPartitions {
		count += reflect.ValueOf(n.server.store.Partition(p)).Elem().FieldByName("watched").Len()
	}
	return count
}
