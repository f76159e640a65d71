package server

import (
	"errors"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// Answers of the grid. Those that begin with a word on which clients retry always mean that the command was not executed (R14).
const (
	errLost          = "CLUSTERDOWN The partition is lost: all nodes that had it are gone. 'neargrid recover' says what can be done"
	errNotServed     = "CLUSTERDOWN The partition has no node that serves it at present"
	errNoReplicas    = "NOREPLICAS Not enough copies are in sync to take writes"
	errUnconfirmed   = "TRYAGAIN The partition has changed hands, and what was read is not confirmed"
	errIndeterminate = "INDETERMINATE Executed, and not known to be held by all copies: it may be lost"
	errCrossSlot     = "CROSSSLOT Keys in request don't hash to the same slot; what is in {braces} alone counts: give them one such hash tag"
)

const (
	// commandTimeMax bounds how long a command may look for a node that executes it.
	commandTimeMax = 4500 * time.Millisecond
	// commitTimeMin is what is left for a commit where a command took all its time to find its node: then all of answerTimeMax is over.
	// How long looking may take without being taken off is lookTimeSlack.
	commitTimeMin = 500 * time.Millisecond
	answerTimeMax = commandTimeMax + commitTimeMin
	lookTimeSlack = 100 * time.Millisecond
	// The pause before a command that was refused is tried again doubles from the least to the most.
	retryPauseMin = time.Millisecond
	retryPauseMax = 20 * time.Millisecond
)

// place executes a command where its data is: on this loop if that is possible at once, otherwise as a task.
func (s *Session) place(c *Call) {
	if c.srv.upstream != nil {
		s.placeAway(c)
		return
	}
	row := c.Row
	switch {
	case row.Name == "exec" && row.container == nil:
		s.placeExec(c)
	case row.Name == "watch" && s.multi != nil: // refused, whoever has the keys
		c.parts, c.located = c.parts[:0], true
		c.call()
	case row.walks():
		s.placeWalk(c)
	case len(row.Keys) > 0:
		s.placeKeys(c)
	case row.OffLoop:
		s.runOffLoop(c)
	default:
		c.parts, c.located = c.parts[:0], row.Scope == ScopeKeys
		c.call()
	}
}

// walks tells whether a command is about all keys of a database.
func (r *Row) walks() bool {
	return r.Scope != ScopeKeys && r.Flags&(ReadOnly|Write) != 0 && len(r.Keys) == 0
}

// placeKeys places a command that has keys.
func (s *Session) placeKeys(c *Call) {
	top := c.srv.router.Topology()
	c.parts = c.addPartitions(c.parts[:0], c.Row, c.Args)
	owner, text := top.owner(c.parts)
	if len(c.keys) > 1 && (top.DataNodes > 1 || s.info.Cluster) && !oneSlot(c.Args, c.keys) {
		switch gathers := c.Row.Gather != nil && !s.info.Cluster; {
		case !gathers:
			s.reject(c, errCrossSlot)
			return
		case text != "" || owner != top.Self || s.travels.count > 0:
			s.gather(c)
			return
		}
	}
	if c.Row.Scope == ScopeAll && top.DataNodes == 1 {
		c.parts = top.all(c.parts[:0]) // its patterns may name any key
	}
	switch {
	case text != "":
		s.reject(c, text)
		return
	case owner != top.Self && s.info.Cluster:
		s.reject(c, top.moved(owner, c.Args[c.keys[0]]))
		return
	case owner == top.Self && !c.Row.OffLoop && !s.travels.with(c.parts):
		if top.DataNodes > 1 && !c.roomFor(s.grows(c.Row)) {
			s.reject(c, protocol.ErrOOM)
			return
		}
		start := len(c.W.Buf)
		c.located = true
		if c.call() {
			s.noteWrote(c)
			s.awaitCommit(c, start)
			return
		}
		if c.Row.Gather != nil && !s.info.Cluster && len(c.parts) > 1 {
			s.gather(c) // one of its partitions may be about to go elsewhere
			return
		}
	}
	if c.Row.Name == "watch" {
		s.placeWatch(c, owner)
		return
	}
	s.send(c, c.newTask(ForwardCommand, cloneArgs(c.Args), c.parts), owner)
}

// refuseMoved refuses a command that is to be queued at the cluster door where its keys are not this node's, as Redis Cluster does.
func (s *Session) refuseMoved(c *Call) bool {
	top := c.srv.router.Topology()
	c.parts = c.addPartitions(c.parts[:0], c.Row, c.Args)
	if len(c.keys) == 0 {
		return false
	}
	owner, text := top.owner(c.parts)
	switch {
	case !oneSlot(c.Args, c.keys):
		text = errCrossSlot
	case text == "" && owner != top.Self:
		text = top.moved(owner, c.Args[c.keys[0]])
	}
	if text != "" {
		s.reject(c, text)
	}
	return text != ""
}

// oneSlot tells whether the keys of a command, by position, are all of one slot.
func oneSlot(args [][]byte, keys []int) bool {
	slot := partition.Slot(args[keys[0]])
	for _, at := range keys[1:] {
		if partition.Slot(args[at]) != slot {
			return false
		}
	}
	return true
}

// owner is the one node that leads all of some partitions. Where there is none, text says why.
func (t *Topology) owner(parts []int) (owner NodeID, text string) {
	if len(parts) == 0 {
		return t.Self, ""
	}
	owner = t.Parts[parts[0]].Primary
	for _, p := range parts {
		switch primary := t.Parts[p].Primary; {
		case primary == "":
			return "", errLost
		case primary != owner:
			return "", errCrossSlot
		}
	}
	return owner, ""
}

// all appends every partition.
func (t *Topology) all(parts []int) []int {
	for p := range t.Parts {
		parts = append(parts, p)
	}
	return parts
}

// Node is a node of the topology, or nil.
func (t *Topology) Node(id NodeID) *GridNode {
	i, found := slices.BinarySearchFunc(t.Nodes, id, func(n GridNode, id NodeID) int {
		switch {
		case n.ID < id:
			return -1
		case n.ID > id:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return &t.Nodes[i]
}

// moved is the cluster door's answer for a key of another node (R26).
func (t *Topology) moved(owner NodeID, key []byte) string {
	n := t.Node(owner)
	if n == nil || n.Cluster == "" {
		return errNotServed
	}
	return "MOVED " + strconv.Itoa(partition.Slot(key)) + " " + n.Cluster
}

// task is a command that is not executed where it was read: it goes to another node, or waits until it can be executed here.
type task struct {
	srv      *Server
	kind     ForwardKind
	row      *Row
	args     [][]byte // of its own
	parts    []int    // ascending; one node executes for all of them
	db, resp int
	cluster  bool // it came in by the cluster door: it does not leave this node
	guest    bool // another node has sent it
	deadline time.Duration
	pause    time.Duration

	// Of a session's task.
	by      *tracker         // see Call
	track   readTracker      // the same
	origin  partition.Origin // the same
	drops   bool             // what another node reads for it is to be dropped: see dropReads
	ticket  uint64
	silent  bool
	session uint64
	first   bool
	onReply func(reply []byte) []byte // runs on the loop; nil: the reply is what it is

	// Of a server with an Upstream: any node executes it; or it is read near.
	whole, near bool

	work func(w *protocol.Writer) // in place of a command: what takes many of them; it may take long
	// Of an EXEC.
	multi    *transaction
	watching []watched
}

// newTask makes a task of the command, with arguments that are its own.
func (c *Call) newTask(kind ForwardKind, args [][]byte, parts []int) *task {
	s := c.s
	own := &struct {
		task
		part [1]int // room for t.parts, as most commands have one
	}{}
	own.task = task{
		srv: c.srv, kind: kind, row: c.Row, args: args, parts: append(own.part[:0], parts...), db: s.db, resp: c.W.Resp,
		cluster: s.info.Cluster, deadline: c.now + commandTimeMax, silent: s.replies != replyOn,
		by: c.by, track: c.track, origin: c.origin, drops: c.by != nil && (c.track != nil || c.by.mu.bcast),
	}
	return &own.task
}

// writes tells whether the task may change data.
func (t *task) writes() bool {
	if t.multi != nil {
		return t.multi.writes()
	}
	return t.row.Flags&Write != 0
}

// grows tells whether the task may need memory.
func (t *task) grows() bool {
	if t.multi != nil {
		return t.multi.grows()
	}
	return t.row.Flags&DenyOOM != 0
}

// refusal words an error that refuses the task before it ran.
func (t *task) refusal(text string) string {
	if t.multi != nil {
		return execAbort(text)
	}
	return text
}

// run tries to have the task executed until that is done, or its time is over; done is called once, on any goroutine.
func (t *task) run(done func(reply []byte)) {
	t.attempt(func(a Answer) {
		switch {
		case a.Outcome == Executed:
			done(a.Reply)
		case a.Outcome == Unknown && t.writes(): // never twice (R24)
			done(errorReply(errIndeterminate))
		case t.srv.clock() >= t.deadline:
			done(errorReply(t.srv.notServed()))
		default:
			t.pause = min(max(2*t.pause, retryPauseMin), retryPauseMax)
			t.srv.after(t.pause, func() {
				t.run(done)
				t.srv.flush()
			})
		}
	})
}

// attempt has the task executed by who leads its partitions now, once.
func (t *task) attempt(done func(Answer)) {
	top := t.srv.router.Topology()
	owner, text := t.ownerIn(top)
	switch {
	case text == errCrossSlot && t.cluster: // of what it led, a partition has gone
		done(Answer{Outcome: Executed, Reply: errorReply(errNotServed)})
	case text != "":
		done(Answer{Outcome: Executed, Reply: errorReply(text)})
	case owner == top.Self:
		t.execute(done)
	case t.cluster && t.multi != nil && t.multi.firstKey() == nil: // what it watches has gone
		done(Answer{Outcome: Executed, Reply: t.nullArray()})
	case t.cluster:
		done(Answer{Outcome: Executed, Reply: errorReply(t.movedTo(top, owner))})
	default:
		t.forward(owner, &Forwarded{}, done)
	}
}

// movedTo is for a task of the cluster door whose partition has gone elsewhere meanwhile.
func (t *task) movedTo(top *Topology, owner NodeID) string {
	if t.multi != nil {
		return top.moved(owner, t.multi.firstKey())
	}
	keys := t.row.keyPositions(nil, t.args)
	if len(keys) == 0 {
		return errNotServed
	}
	return top.moved(owner, t.args[keys[0]])
}

// forward hands the task to the router, in f.
func (t *task) forward(to NodeID, f *Forwarded, done func(Answer)) {
	*f = Forwarded{
		Session: t.session, First: t.first, DB: t.db, Resp: t.resp, Kind: t.kind, Args: t.args,
		Timeout: t.deadline - t.srv.clock(), Partition: t.parts[0], By: nameOrigin(t.origin),
	}
	switch {
	case t.kind == ForwardExec && !t.multi.travels():
		done(Answer{Outcome: Executed, Reply: errorReply(errExecSession)})
		return
	case t.kind == ForwardExec:
		var ok bool
		if f.Args, ok = encodeExec(t.multi, t.watching); !ok {
			done(Answer{Outcome: Executed, Reply: t.nullArray()})
			return
		}
	case t.kind == ForwardWalk:
		f.Args = append([][]byte{encodeParts(t.parts)}, t.args...)
	}
	relayed := false
	if t.track != nil {
		var kind ForwardKind
		if kind, relayed = t.relayReads(to); relayed {
			f.Kind = kind
		}
	}
	if t.drops && !relayed && !t.srv.casting(to, t.by) {
		answered := done
		done = func(a Answer) {
			if a.Outcome == Executed {
				t.dropReads()
			}
			answered(a)
		}
	}
	t.srv.router.Forward(to, f, done)
}

// execute executes the task here. It may return before it has.
func (t *task) execute(done func(Answer)) {
	if t.row.OffLoop || t.multi != nil && t.multi.slow {
		go func() {
			t.executeNow(done)
			t.srv.flush()
		}()
		return
	}
	t.executeNow(done)
	if !t.guest { // a guest's commands come many at a time: see Execute
		t.srv.flush()
	}
}

func (t *task) executeNow(done func(Answer)) {
	srv := t.srv
	c := srv.calls.Get().(*Call)
	c.standIn(t)
	c.now, c.Row, c.Args = srv.clock(), t.row, t.args
	c.W.Buf, c.W.Resp = nil, t.resp
	c.multi, c.watching, c.offLoop = t.multi, t.watching, true
	c.walk, c.by, c.track, c.origin = nil, t.by, t.track, t.origin
	switch {
	case t.kind == ForwardWalk:
		c.walk = t.parts
	case t.multi != nil:
		c.walk = t.execWalk()
	}
	c.marks = t.kind == ForwardWatch
	a := Answer{}
	var rests []Rest
	if !c.fits(t.grows()) {
		c.W.Error(t.refusal(protocol.ErrOOM))
	} else if !c.call() {
		a.Outcome, a.Version = NotExecuted, srv.router.Topology().Version
	} else {
		rests = c.rests()
	}
	a.Reply = c.W.Buf
	if len(rests) == 0 || srv.router.Committed(rests) || t.await(rests, c.wrote, a, done) {
		done(a)
	}
	c.tally.flush()
	c.W.Buf, c.s, c.Args, c.Row = nil, nil, nil, nil
	c.multi, c.watching, c.walk, c.offLoop, c.marks, c.wrote = nil, nil, nil, false, false, false
	c.by, c.track, c.origin = nil, nil, nil
	srv.calls.Put(c)
}

// await has an answer given once what it rests on is committed. It returns true, and calls nobody, where it is already. A command that
// has looked for its node for a while does not wait as long as others: its answer comes within 5 s of its arrival (R14).
func (t *task) await(rests []Rest, wrote bool, a Answer, done func(Answer)) bool {
	answer := func(err error) {
		if err != nil {
			a.Reply = errorReply(unconfirmed(wrote))
		}
		done(a)
	}
	left := t.deadline + commitTimeMin - t.srv.clock()
	if t.guest || left > answerTimeMax-lookTimeSlack {
		return t.srv.router.Await(rests, answer)
	}
	var once sync.Once
	timer := t.srv.after(left, func() { once.Do(func() { answer(errTooLate) }) })
	if t.srv.router.Await(rests, func(err error) {
		timer.Stop()
		once.Do(func() { answer(err) })
	}) {
		return timer.Stop() // else it has answered
	}
	return false
}

var errTooLate = errors.New("not committed in time")

// unconfirmed is the answer of a command whose batch, or whose reading, is not known to be committed (R14).
func unconfirmed(wrote bool) string {
	if wrote {
		return errIndeterminate
	}
	return errUnconfirmed
}

// standIn gives the call a session for a command that no session of this goroutine's has sent.
func (c *Call) standIn(t *task) {
	if c.proxy == nil {
		c.proxy = &Session{srv: c.srv, info: connInfo{Remote: "grid", Local: "grid", FD: -1}, authed: true}
	}
	c.proxy.db, c.proxy.resp, c.proxy.info.Cluster = t.db, t.resp, t.cluster
	c.s = c.proxy
}

func (t *task) nullArray() []byte {
	w := protocol.Writer{Resp: t.resp}
	w.NullArray()
	return w.Buf
}

func errorReply(text string) []byte {
	var w protocol.Writer
	w.Error(text)
	return w.Buf
}

// travels are the commands of a session that it has not simply executed. They keep its order: what other nodes have under way goes
// on in the order in which it was sent; whatever comes back, or must not overtake, is parked, and then executed one by one.
type travels struct {
	flights map[int]flight // by partition, of commands that other nodes have
	byNode  map[NodeID]int
	count   int     // of commands that other nodes have
	wrote   uint64  // ticket of the last command sent to another node that may change data
	parked  []*task // by ticket; each holds the session's barrier
	running bool    // parked[0] is
}

type flight struct {
	to    NodeID
	count int
}

// voyage is a task that another node has.
type voyage struct {
	s         *Session
	t         *task
	to        NodeID
	forwarded Forwarded
	state     atomic.Uint32
	answer    Answer
}

// landings are the voyages of a session that are over, until its loop looks at them: once for all that ended together.
type landings struct {
	sync.Mutex
	over  []*voyage
	spare []*voyage // the loop's: what over was before, to be filled next
	look  func()    // is Session.landAll
}

// landingsKeep: a longer list of voyages is not used again.
const landingsKeep = 64

// with tells whether a command on one of some partitions is under way.
func (t *travels) with(parts []int) bool {
	if t.count == 0 {
		return false
	}
	for _, p := range parts {
		if t.flights[p].count > 0 {
			return true
		}
	}
	return false
}

// elsewhere tells whether a command on one of some partitions is under way to another node.
func (t *travels) elsewhere(parts []int, to NodeID) bool {
	for _, p := range parts {
		if f := t.flights[p]; f.count > 0 && f.to != to {
			return true
		}
	}
	return false
}

// send makes a pending reply of a task, and has it executed by owner; here, or where it would overtake, when its turn comes.
func (s *Session) send(c *Call, t *task, owner NodeID) {
	t.ticket, t.session = s.pend(c), uint64(s.id)
	if t.work == nil && t.writes() {
		s.noteParts(t.parts)
	}
	if owner == c.srv.router.Topology().Self || t.kind != ForwardCommand || t.row.OffLoop || t.work != nil ||
		s.travels.elsewhere(t.parts, owner) || len(s.travels.parked) > 0 {
		s.park(t)
		return
	}
	s.fly(t, owner)
}

// What has become of a command between its being handed to the router and the router's return.
const (
	flightBegins uint32 = iota
	flightSent
	flightRefused // at once: nothing may be sent behind it
)

// fly sends a task to another node behind those that it already has of the session.
func (s *Session) fly(t *task, to NodeID) {
	v := &s.travels
	if v.flights == nil {
		v.flights, v.byNode = map[int]flight{}, map[NodeID]int{}
		s.landings.look = s.landAll
	}
	t.first = v.byNode[to] == 0
	v.byNode[to]++
	v.count++
	if t.writes() {
		v.wrote = t.ticket
	}
	for _, p := range t.parts {
		v.flights[p] = flight{to, v.flights[p].count + 1}
	}
	voy := &voyage{s: s, t: t, to: to}
	t.forward(to, &voy.forwarded, voy.answered)
	if !voy.state.CompareAndSwap(flightBegins, flightSent) {
		s.land(t, to)
		s.park(t)
	}
}

// answered is told, once, what has become of the task.
func (v *voyage) answered(a Answer) {
	if a.Outcome == NotExecuted && v.state.CompareAndSwap(flightBegins, flightRefused) {
		return
	}
	v.answer = a
	l := &v.s.landings
	l.Lock()
	l.over = append(l.over, v)
	first := len(l.over) == 1
	l.Unlock()
	if first {
		v.s.loop.Post(l.look)
	}
}

// landAll takes the answers that have come.
func (s *Session) landAll() {
	s.landings.Lock()
	over := s.landings.over
	s.landings.over, s.landings.spare = s.landings.spare, nil
	s.landings.Unlock()
	for i, v := range over {
		over[i] = nil
		s.landed(v.t, v.to, v.answer)
	}
	if cap(over) <= landingsKeep {
		s.landings.spare = over[:0]
	}
}

// landed takes another node's answer.
func (s *Session) landed(t *task, from NodeID, a Answer) {
	s.land(t, from)
	switch {
	case a.Outcome == Executed:
		s.arrive(t, a.Reply)
	case a.Outcome == Unknown && t.writes():
		s.arrive(t, errorReply(errIndeterminate))
	case a.Outcome == Unknown && s.travels.wrote > t.ticket:
		s.arrive(t, errorReply(errUnconfirmed)) // a write sent behind it may have been executed: now it would see that
	case s.srv.clock() >= t.deadline:
		s.arrive(t, errorReply(s.srv.notServed()))
	case s.killed: // nobody waits for it
	default:
		s.park(t)
	}
	s.runParked()
}

// land takes a task out of those that a node has.
func (s *Session) land(t *task, from NodeID) {
	v := &s.travels
	v.count--
	if v.byNode[from]--; v.byNode[from] == 0 {
		delete(v.byNode, from)
	}
	for _, p := range t.parts {
		if f := v.flights[p]; f.count > 1 {
			v.flights[p] = flight{f.to, f.count - 1}
		} else {
			delete(v.flights, p)
		}
	}
}

// arrive completes a task.
func (s *Session) arrive(t *task, reply []byte) {
	s.noteAnswer(t, reply)
	if t.onReply != nil {
		reply = t.onReply(reply)
	}
	if t.silent {
		reply = nil
	}
	s.Complete(t.ticket, reply)
}

// park has a task wait for its turn. Until it is done the session executes nothing else.
func (s *Session) park(t *task) {
	v := &s.travels
	i, _ := slices.BinarySearchFunc(v.parked, t, func(a, b *task) int { return int(a.ticket) - int(b.ticket) })
	v.parked = slices.Insert(v.parked, i, t)
	s.barrier++
	s.runParked()
}

// runParked runs the first of the parked tasks, once no other node has any of the session's commands.
func (s *Session) runParked() {
	v := &s.travels
	if v.running || v.count > 0 || len(v.parked) == 0 {
		return
	}
	v.running = true
	t := v.parked[0]
	t.first = true
	t.begin(func(reply []byte) {
		unwatchAll(t.watching)
		s.loop.Post(func() {
			v.running = false
			v.parked = slices.Delete(v.parked, 0, 1)
			s.barrier--
			s.arrive(t, reply)
			s.runParked()
		})
	})
}

// dropParked forgets the tasks that wait for their turn: the connection is closed, and its loop may not run what would begin them.
func (s *Session) dropParked() {
	v := &s.travels
	keep := 0
	if v.running {
		keep = 1
	}
	for _, t := range v.parked[keep:] {
		unwatchAll(t.watching)
	}
	clear(v.parked[keep:])
	v.parked = v.parked[:keep]
}

// begin has the task's work done, or its command executed.
func (t *task) begin(done func(reply []byte)) {
	if t.work == nil {
		t.run(done)
		return
	}
	go func() {
		w := &protocol.Writer{Resp: t.resp}
		t.work(w)
		done(w.Buf)
	}()
}
