package server

import (
	"slices"
	"sync"
	"sync/atomic"
)

// travels are the commands of a session that it has not simply executed. They keep its order: what other nodes have under way goes
// on in the order in which it was sent; whatever comes back, or must not overtake, is parked, and then executed one by one.
type travels struct {
	flights []flight // one for each partition of commands that other nodes have; in no order, and searched: most pipelines have few
	byNode  []flight // the same, for each of these nodes
	count   int      // of commands that other nodes have
	wrote   uint64   // ticket of the last command sent to another node that may change data
	parked  []*task  // by ticket; each holds the session's barrier
	running bool     // parked[0] is
}

// flight counts the commands on a partition that a node has, or of all partitions.
type flight struct {
	to        NodeID
	partition int
	count     int // > 0
}

// onPartition is the flight of a partition's commands, or nil.
func (t *travels) onPartition(p int) *flight {
	for i := range t.flights {
		if f := &t.flights[i]; f.partition == p {
			return f
		}
	}
	return nil
}

// toNode is the flight of all commands that a node has, or nil.
func (t *travels) toNode(to NodeID) *flight {
	for i := range t.byNode {
		if f := &t.byNode[i]; f.to == to {
			return f
		}
	}
	return nil
}

// begin counts a command of a flight in a list, and end takes it out again.
func (f *flight) begin(flights []flight, of flight) []flight {
	if f == nil {
		of.count = 1
		return append(flights, of)
	}
	f.to = of.to
	f.count++
	return flights
}

func (f *flight) end(flights []flight) []flight {
	if f.count--; f.count > 0 {
		return flights
	}
	last := len(flights) - 1
	*f, flights[last] = flights[last], flight{}
	return flights[:last]
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
	ended bool      // the session is closed: perhaps nobody looks any more
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
		if t.onPartition(p) != nil {
			return true
		}
	}
	return false
}

// elsewhere tells whether a command on one of some partitions is under way to another node.
func (t *travels) elsewhere(parts []int, to NodeID) bool {
	for _, p := range parts {
		if f := t.onPartition(p); f != nil && f.to != to {
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
	if s.landings.look == nil {
		s.landings.look = s.landAll
	}
	under := v.toNode(to)
	t.first = under == nil
	v.byNode = under.begin(v.byNode, flight{to: to})
	v.count++
	if t.writes() {
		v.wrote = t.ticket
	}
	for _, p := range t.parts {
		v.flights = v.onPartition(p).begin(v.flights, flight{to: to, partition: p})
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
	if l.ended {
		v.s.gaveLate(v.t, a.Reply)
	}
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
	v.byNode = v.toNode(from).end(v.byNode)
	for _, p := range t.parts {
		v.flights = v.onPartition(p).end(v.flights)
	}
}

// arrive completes a task.
func (s *Session) arrive(t *task, reply []byte) {
	s.noteAnswer(t, reply)
	s.giveTask(t, reply)
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
		if s.landings.isEnded() {
			s.gaveLate(t, reply)
		}
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
