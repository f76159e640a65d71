package core

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// The simulation: replicas, leases, controller and plan of a whole grid in one goroutine, driven by one seed. Time, network,
// crashes, pauses and clocks are made up; raft is taken as given (one log, a leader that can fail, entries whose outcome stays
// unknown). Clients outside record what they saw; sim_check_test.go judges it.
//
// sim_test.go         the world: events, network, faults
// sim_node_test.go    one node: what the actors around the core do
// sim_control_test.go raft, reduced to what the core sees of it
// sim_client_test.go  clients and their histories
// sim_check_test.go   invariants at every step, convergence, linearizability
// sim_run_test.go     the tests
//
// With near caches nodes have real servers and stores, and clients talk to those: sim_near_test.go.

const (
	simKeys       = 3 // of each partition
	simLease      = time.Second
	simTick       = 50 * time.Millisecond
	simBeaconTick = 4 // ticks from beacon to beacon, and from heartbeat to heartbeat
)

// simSetup is what a seed draws first.
type simSetup struct {
	nodes, partitions, clients int
	settings                   Settings
	faults                     time.Duration // how long things go wrong
	loss, duplicate            float64       // of messages, while they do
	delayMax                   time.Duration
	keepEntries                int           // about, in a log
	lagEntries                 int           // the same, that a copy may lag behind (R18)
	wholeWalks                 bool          // a chunk holds all keys
	thinkMax                   time.Duration // of a client, between two operations
}

type event struct {
	at    time.Duration
	order int
	run   func()
}

type eventQueue []event

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *eventQueue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}

type sim struct {
	setup  simSetup
	random *rand.Rand
	now    time.Duration
	order  int
	queue  eventQueue

	nodes   []*simNode
	cut     map[[2]NodeID]bool // messages from one to the other are lost
	faulty  bool
	control simControl
	clients []*simClient
	near    *nearSim // nil: near caches take no part
	oracle  oracle
	faults  map[string]int
	marks   Marks
	log     []string // the end of what happened, for failures
	failure string
}

// A copy may lag behind by so many entries, about; in each lagTightEach-th seed by fewer, so that some do.
const (
	lagUsual     = 400
	lagTight     = 1
	lagTightEach = 5
)

func newSim(seed uint64, near bool) *sim {
	random := rand.New(rand.NewPCG(seed, 0x6e656172))
	s := &sim{random: random, cut: map[[2]NodeID]bool{}, faults: map[string]int{}}
	s.setup = drawSetup(random)
	if s.setup.lagEntries = lagUsual; seed%lagTightEach == 0 {
		s.setup.lagEntries = lagTight
	}
	if near {
		s.setup.clients = 0
		s.near = newNearSim(s)
	}
	s.oracle = newOracle(s)
	s.control.table = &Table{}
	for range s.setup.nodes {
		s.addNode()
	}
	s.control.begin(s, s.nodes[0])
	for i := range s.setup.clients {
		s.clients = append(s.clients, newSimClient(s, i))
	}
	return s
}

func drawSetup(random *rand.Rand) simSetup {
	set := simSetup{
		nodes: 3 + random.IntN(3), partitions: 4, clients: 4,
		faults: 15 * time.Second, loss: 0.05 * random.Float64(), duplicate: 0.05 * random.Float64(),
		delayMax: time.Duration(1+random.IntN(20)) * time.Millisecond,
	}
	set.keepEntries = 1 + random.IntN(12)
	set.wholeWalks = random.IntN(2) == 0
	set.thinkMax = time.Duration(5+random.IntN(60)) * time.Millisecond
	set.settings = Settings{Partitions: set.partitions, Copies: 2, MinISR: 1, Feature: 1}
	switch random.IntN(4) {
	case 0:
		set.settings.Copies, set.settings.MinISR = 3, 2
	case 1:
		set.settings.ResetLost = true
	}
	return set
}

func (s *sim) after(d time.Duration, run func()) {
	s.order++
	heap.Push(&s.queue, event{s.now + d, s.order, run})
}

func (s *sim) between(low, high time.Duration) time.Duration {
	return low + time.Duration(s.random.Int64N(int64(high-low)+1))
}

const simLogMax = 400

func (s *sim) note(format string, args ...any) {
	if len(s.log) == simLogMax {
		s.log = slices.Delete(s.log, 0, simLogMax/2)
	}
	if *simTrace {
		fmt.Printf("%8.3f ", s.now.Seconds())
		fmt.Printf(format+"\n", args...)
	}
	s.log = append(s.log, fmt.Sprintf("%8.3f ", s.now.Seconds())+fmt.Sprintf(format, args...))
}

func (s *sim) fail(format string, args ...any) {
	if s.failure == "" {
		s.failure = fmt.Sprintf(format, args...)
		s.note("FAILED: %s", s.failure)
	}
}

// runUntil runs events up to a time, or until done says so.
func (s *sim) runUntil(end time.Duration, done func() bool) {
	for len(s.queue) > 0 && s.queue[0].at <= end && s.failure == "" {
		e := heap.Pop(&s.queue).(event)
		s.now = e.at
		e.run()
		s.oracle.step()
		if done != nil && done() {
			return
		}
	}
	s.now = max(s.now, end)
}

// send delivers a message to the process that a node is when it arrives; the network may lose, delay, reorder and repeat it.
func (s *sim) send(from, to NodeID, deliver func(n *simNode)) {
	copies := 1
	if s.faulty && from != to {
		if s.cut[[2]NodeID{from, to}] || s.random.Float64() < s.setup.loss {
			s.count("message lost")
			return
		}
		if s.random.Float64() < s.setup.duplicate {
			s.count("message repeated")
			copies = 2
		}
	}
	for i := range copies {
		delay := s.between(100*time.Microsecond, s.setup.delayMax)
		if s.faulty && from != to && (i > 0 || s.random.IntN(200) == 0) {
			s.count("message late")
			delay += s.between(0, time.Second)
		}
		s.after(delay, func() {
			n := s.node(to)
			if s.faulty && s.cut[[2]NodeID{from, to}] {
				return
			}
			n.run(func() { deliver(n) })
		})
	}
}

func (s *sim) count(fault string) { s.faults[fault]++ }

func (s *sim) node(id NodeID) *simNode {
	i := slices.IndexFunc(s.nodes, func(n *simNode) bool { return n.id == id })
	return s.nodes[i]
}

func (s *sim) addNode() *simNode {
	n := &simNode{sim: s, id: NodeID(fmt.Sprintf("n%d", len(s.nodes)))}
	n.rate = 1 + 0.018*(s.random.Float64()-0.5) // any two clocks stay within the 2 % that promises allow for
	n.base = s.between(0, time.Hour)
	n.voter = len(s.nodes) < 3
	s.nodes = append(s.nodes, n)
	n.start()
	return n
}

// run is the whole life of a grid.
func (s *sim) run() {
	if s.settle("at first"); s.failure != "" {
		return
	}
	s.faulty = true
	s.after(s.between(0, time.Second), s.mischief)
	for _, c := range s.clients {
		c.next()
	}
	if s.near != nil {
		s.near.begin()
	}
	s.runUntil(s.now+s.setup.faults, nil)
	s.heal()
	s.runUntil(s.now+time.Second, nil)
	for _, c := range s.clients {
		c.stopped = true
	}
	if s.near != nil {
		s.near.stopped = true
	}
	s.runUntil(s.now+simClientTimeout+time.Second, nil) // so that every operation has an end on record
	s.settle("at last")
	if s.near != nil {
		s.near.end()
		s.oracle.end()
		return
	}
	s.readAll()
	s.oracle.end()
}

// settle waits until the table is as it should be and every copy is in sync.
func (s *sim) settle(when string) {
	const settleMax = 60 * time.Second
	reason := ""
	start := s.now
	next := s.now
	s.runUntil(s.now+settleMax, func() bool {
		if s.now < next {
			return false
		}
		next = s.now + simTick
		reason = s.unsettled()
		return reason == ""
	})
	if reason != "" {
		for _, n := range s.nodes {
			for p := range n.parts {
				s.note("%s %s", n.id, n.parts[p].rep.describe())
			}
		}
		s.fail("not settled %s after %s: %s", when, s.now-start, reason)
	}
}

// mischief does one bad thing, and arranges for the next.
func (s *sim) mischief() {
	if !s.faulty {
		return
	}
	s.after(s.between(50*time.Millisecond, 1500*time.Millisecond), s.mischief)
	n := s.nodes[s.random.IntN(len(s.nodes))]
	if n.gone {
		return
	}
	switch s.random.IntN(16) {
	case 0, 1:
		if n.up && s.mayCrash(n) {
			s.crash(n)
		}
	case 2, 3, 4:
		if n.up && !n.paused {
			n.pause(s.between(20*time.Millisecond, 3*time.Second))
		}
	case 5, 6:
		s.partition(n)
	case 7:
		s.reset(n)
	case 8:
		s.control.depose()
	case 12, 13, 14:
		s.strike()
	case 9:
		if len(s.nodes) < s.setup.nodes+2 {
			s.count("join")
			s.note("join of n%d", len(s.nodes))
			s.addNode()
		}
	case 10:
		s.drain(n)
	case 11:
		s.forceMove()
	case 15:
		s.stop(n)
	}
}

// mayCrash spares a majority of voters: without it there is nothing to simulate.
func (s *sim) mayCrash(n *simNode) bool {
	up := 0
	for _, v := range s.nodes {
		if v.voter && v.up {
			up++
		}
	}
	return !n.voter || up > 2
}

func (s *sim) crash(n *simNode) {
	s.count("crash")
	s.note("%s crashes", n.id)
	n.crash()
	for _, peer := range s.nodes {
		if peer != n && peer.up && s.random.IntN(3) > 0 { // else the connection's end goes unnoticed
			old := n.member()
			s.after(s.between(time.Millisecond, 50*time.Millisecond), func() { peer.run(func() { peer.peerReset(old) }) })
		}
	}
	down := s.between(10*time.Millisecond, 4*time.Second)
	if s.random.IntN(3) == 0 {
		down = s.between(time.Millisecond, 200*time.Millisecond) // back before anybody has noticed
		s.count("restart within the detection time")
	}
	if !n.voter && s.random.IntN(5) == 0 && len(s.nodes) < s.setup.nodes+2 {
		s.count("disk lost")
		n.gone = true
		s.after(down, func() { s.addNode() })
		return
	}
	s.after(down, func() {
		s.note("%s restarts", n.id)
		n.start()
	})
}

// partition cuts a node off from some others, in one or both directions.
func (s *sim) partition(n *simNode) {
	both := s.random.IntN(2) == 0
	s.count(map[bool]string{true: "network cut", false: "network cut one way"}[both])
	var cuts [][2]NodeID
	for _, peer := range s.nodes {
		if peer == n || s.random.IntN(3) == 0 {
			continue
		}
		pair := [2]NodeID{n.id, peer.id}
		if !both && s.random.IntN(2) == 0 {
			pair = [2]NodeID{peer.id, n.id}
		}
		cuts = append(cuts, pair)
		if both {
			cuts = append(cuts, [2]NodeID{peer.id, n.id})
		}
	}
	s.note("cut %v", cuts)
	for _, c := range cuts {
		s.cut[c] = true
	}
	s.after(s.between(100*time.Millisecond, 4*time.Second), func() {
		for _, c := range cuts {
			delete(s.cut, c)
		}
	})
}

// reset breaks the connections between two nodes that both live.
func (s *sim) reset(n *simNode) {
	peer := s.nodes[s.random.IntN(len(s.nodes))]
	if peer == n || !peer.up || !n.up {
		return
	}
	s.count("connection reset")
	a, b := n.member(), peer.member()
	n.run(func() { n.peerReset(b) })
	peer.run(func() { peer.peerReset(a) })
}

// drain takes a node out of service for good.
func (s *sim) drain(n *simNode) {
	data := 0
	for i := range s.control.table.Nodes {
		if s.control.table.Nodes[i].holdsData() {
			data++
		}
	}
	if n.voter || data <= s.setup.settings.Copies {
		return
	}
	s.count("drain")
	s.note("drain of %s", n.id)
	s.control.append(Command{Kind: Drain, Member: n.member()})
	var finish func()
	finish = func() {
		reg := s.control.table.Node(n.id)
		if n.gone || reg == nil || !reg.Drains {
			return
		}
		holds := slices.ContainsFunc(s.control.table.Rows, func(r Row) bool { return r.Holds(reg.Member()) })
		if holds || !n.up {
			s.after(time.Second, finish)
			return
		}
		s.count("drained node leaves")
		s.note("%s leaves", n.id)
		s.control.append(Command{Kind: Leave, Member: reg.Member()})
		n.crash()
		n.gone = true
	}
	s.after(time.Second, finish)
}

// stop has a node hand over what it leads, and then end, whether that is complete or not.
func (s *sim) stop(n *simNode) {
	if !n.up || n.paused {
		return
	}
	s.count("stop")
	s.note("%s is asked to stop", n.id)
	me := n.member()
	s.control.append(Command{Kind: Stop, Member: me})
	s.after(s.between(100*time.Millisecond, 3*time.Second), func() {
		if !n.up || n.member() != me || !s.mayCrash(n) {
			return // it goes on, marked as stopping until its next start
		}
		if s.control.table.Primaries()[n.id] == 0 {
			s.count("stopped with nothing to lead")
		}
		s.crash(n)
	})
}

// forceMove asks for a handover of a random partition, as balancing would.
func (s *sim) forceMove() {
	r := &s.control.table.Rows[s.random.IntN(s.setup.partitions)]
	if r.State != Serving || len(r.ISR) < 2 || !r.Target.IsZero() {
		return
	}
	s.count("handover asked for")
	s.control.append(Command{Kind: ChangeRows, Changes: []Change{{Kind: SetTarget, Partition: r.Partition, Epoch: r.Epoch, Member: r.ISR[1]}}})
}

// strike does what takes several things at once, aimed at one partition.
func (s *sim) strike() {
	r := &s.control.table.Rows[s.random.IntN(s.setup.partitions)]
	if r.State != Serving {
		return
	}
	first := s.node(r.Primary.Node)
	if !first.up || first.paused {
		return
	}
	switch {
	case s.setup.settings.ResetLost && s.random.IntN(2) == 0:
		// All copies stay in touch with each other and with clients, and nobody else hears of them; or the leader alone does,
		// until it is deposed.
		s.count("copies cut off together")
		var copies []NodeID
		for _, m := range r.ISR {
			copies = append(copies, m.Node)
		}
		if s.control.leader != nil && s.random.IntN(2) == 0 {
			copies = append(copies, s.control.leader.id)
			s.after(s.between(1200*time.Millisecond, 1500*time.Millisecond), s.control.depose)
		}
		s.isolate(copies, s.between(3*time.Second, 5*time.Second))
	case len(r.ISR) > 2 && s.random.IntN(2) == 0:
		// One backup gets what the other does not, and then the primary dies.
		s.count("primary dies between its backups")
		pair := [2]NodeID{first.id, r.ISR[1+s.random.IntN(2)].Node}
		s.cut[pair] = true
		s.after(s.between(50*time.Millisecond, 400*time.Millisecond), func() {
			if first.up && s.mayCrash(first) {
				s.crash(first)
			} else {
				s.isolate([]NodeID{first.id}, 2*time.Second)
			}
			delete(s.cut, pair)
		})
	case s.random.IntN(2) == 0:
		s.count("leader deposed in a handover")
		s.forceMove()
		s.after(s.between(0, 100*time.Millisecond), s.control.depose)
	default:
		// It writes more than it can commit, and is replaced.
		s.count("primary cut off from all")
		s.isolate([]NodeID{first.id}, s.between(time.Second, 2*time.Second))
	}
}

// isolate cuts some nodes off from all others for a while.
func (s *sim) isolate(some []NodeID, d time.Duration) {
	s.note("%v cut off for %s", some, d)
	var cuts [][2]NodeID
	for _, n := range s.nodes {
		if slices.Contains(some, n.id) {
			continue
		}
		for _, id := range some {
			cuts = append(cuts, [2]NodeID{n.id, id}, [2]NodeID{id, n.id})
		}
	}
	for _, c := range cuts {
		s.cut[c] = true
	}
	s.after(d, func() {
		for _, c := range cuts {
			delete(s.cut, c)
		}
	})
}

// heal ends all faults.
func (s *sim) heal() {
	s.note("healed")
	s.faulty = false
	s.cut = map[[2]NodeID]bool{}
	for _, n := range s.nodes {
		if n.paused {
			n.resume()
		}
	}
	if s.near != nil {
		s.near.heal()
	}
}

func (s *sim) transcript() string { return strings.Join(s.log, "\n") }

// An operation on the store, as the log carries it: kind, key, value.
const (
	opPut   byte = 1
	opFlush byte = 2

	simOpBytes = 10
)

func encodeOp(kind byte, key int, value uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{kind, byte(key)}, value)
}

func decodeOp(b []byte) (kind byte, key int, value uint64) {
	return b[0], int(b[1]), binary.BigEndian.Uint64(b[2:])
}

// keyHash spreads the keys over the walk's range.
func keyHash(key int) Bound { return Bound(key+1) << 60 }
