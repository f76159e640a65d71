package server

import (
	"errors"
	"sync"
	"time"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

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

	given  []loadToken // in its answer, where it was executed here
	passed bool        // those in its answer were given back

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
	c.given = nil
	var rests []Rest
	if !c.fits(t.grows()) {
		c.W.Error(t.refusal(protocol.ErrOOM))
	} else if !c.call() {
		a.Outcome, a.Version = NotExecuted, srv.router.Topology().Version
	} else {
		rests = c.rests()
	}
	a.Reply, t.given = c.W.Buf, c.takeGiven()
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
			if given := t.given; len(given) > 0 {
				t.given = nil
				t.srv.after(0, func() { t.srv.passOwn(given) }) // who has called may hold locks
			}
		}
		done(a)
	}
	left := answerTimeMax
	if !t.guest {
		left = t.deadline + commitTimeMin - t.srv.clock()
	}
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
