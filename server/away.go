package server

import (
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// A server without partitions, in front of a grid: what a sidecar is. Every command with keys goes to another node, but for reads that
// are answered from memory at once. Sessions, their order, MULTI, CLIENT TRACKING and all that concerns the connection are as in any server.
//
// Reads that the near cache may answer next time go to NearNode, a node in name only: Forward has them read by their real nodes, on the
// connections by which those tell of changes. What is under way there and elsewhere for one partition never is at the same time, as between
// real nodes: travels.

// NearNode is the node that reads near, in the eyes of a server that has an Upstream.
const NearNode NodeID = "near"

// Upstream is a Router that has all the data elsewhere. Its Topology gives this server no partitions.
//
// A ForwardWatch is answered as WATCH is; the keys stay watched until the session's next ForwardExec or Unwatch. The replies of
// NearNode to ForwardTracked are told of when they are out of date: NearChanged, NearLost.
type Upstream interface {
	Router
	// Waiting is what commands are told that need the grid, as long as it was never reached; "" = it was.
	Waiting() string
	// Away is what a command is told that no node has executed in its time.
	Away() string
	// NearTakes tells whether replies to a command of that name, in small letters, may be held.
	NearTakes(name string) bool
	// NearFits tells whether the reply to such a command is one to hold: by its keys, and for a version of the protocol.
	NearFits(resp int, args [][]byte) bool
	// NearAnswer answers such a command from memory, in database 0; false where that may not be done now. It does not wait.
	NearAnswer(w *protocol.Writer, args [][]byte) bool
	// NearLeft is for how long what was read near counts, as far as is known now.
	NearLeft() time.Duration
	// NoCast says why clients may not track by prefixes; "" = they may.
	NoCast() string
	// NoLoop says why clients may not ask to hear of no changes of their own; "" = they may.
	NoLoop() string
	// Casts is told that clients want to hear of other prefixes than before: NearCasts. It must not wait.
	Casts()
	// CastLeft is for how long what NearCast has said holds, as far as is known now.
	CastLeft() time.Duration
	// Any is the node for commands that any will do for.
	Any() NodeID
	// Unwatch ends what a session watches, Closed a session.
	Unwatch(session uint64)
	Closed(session uint64)
}

// nearRowsOf are the rows whose replies may be held.
func nearRowsOf(up Upstream) map[*Row]bool {
	near := map[*Row]bool{}
	for name, row := range table {
		if up.NearTakes(name) {
			near[row] = true
		}
	}
	return near
}

// placeAway is place for a server that has an Upstream.
func (s *Session) placeAway(c *Call) {
	switch row := c.Row; {
	case row.Name == "exec" && row.container == nil:
		s.placeExec(c)
	case row.Name == "watch" && s.multi != nil: // refused, whoever has the keys
		c.parts, c.located = c.parts[:0], true
		c.call()
	case row.Name == "wait" && row.container == nil:
		s.waitAway(c)
	case row.walks():
		c.parts = c.srv.router.Topology().all(c.parts[:0])
		s.sendWhole(c)
	case len(row.Keys) > 0:
		s.placeKeysAway(c)
	case row.OffLoop:
		s.runOffLoop(c)
	default:
		c.parts, c.located = c.parts[:0], row.Scope == ScopeKeys
		c.call()
	}
}

// placeKeysAway answers a command from memory, or sends it where its keys are.
func (s *Session) placeKeysAway(c *Call) {
	near := s.db == 0 && c.srv.nearRows[c.Row]
	if near && s.travels.count == 0 && s.answerNear(c) {
		return
	}
	top := c.srv.router.Topology()
	c.parts = c.addPartitions(c.parts[:0], c.Row, c.Args)
	if len(c.parts) == 0 { // GRID.READ of nothing that reads, and the like: it says what is wrong
		c.located = true
		c.call()
		return
	}
	if near && s.travels.count > 0 && !s.travels.with(c.parts) && s.answerNear(c) {
		return
	}
	oneSlot := len(c.keys) < 2 || oneSlot(c.Args, c.keys)
	near = near && c.srv.upstream.NearFits(c.W.Resp, c.Args)
	// Whoever tracks has all reads read where changes are told of. Who does not, and has something under way for the partition, reads behind it.
	tracks := c.track != nil && s.db == 0 && c.W.Resp == 3 && oneSlot && c.Row.Flags&ReadOnly != 0
	switch {
	case tracks || near && (c.track != nil || !s.travels.elsewhere(c.parts, NearNode)):
		t := c.newTask(ForwardCommand, cloneArgs(c.Args), c.parts)
		t.near = true
		s.send(c, t, NearNode)
	case c.Row.Name == "watch":
		s.watchAway(c)
	case !oneSlot && top.DataNodes > 1 && c.Row.Gather == nil:
		s.reject(c, errCrossSlot)
	case !oneSlot:
		s.sendWhole(c)
	default:
		owner, _ := top.owner(c.parts)
		s.send(c, c.newTask(ForwardCommand, cloneArgs(c.Args), c.parts), owner)
	}
}

// answerNear answers a read from memory. Who tracks is noted as a reader first: whatever makes the answer stale from then on is told.
func (s *Session) answerNear(c *Call) bool {
	if c.track != nil && !s.noteNear(c) {
		return false
	}
	start := len(c.W.Buf)
	if !c.srv.upstream.NearAnswer(c.W, c.Args) {
		return false
	}
	if c.by != nil && c.by.mu.bcast && !c.srv.casting(NearNode, c.by) { // nobody would tell of it: see dropReads
		for _, key := range c.nearKeys() {
			c.by.drop(key)
		}
	}
	c.account(c.Row, start, c.srv.clock())
	return true
}

func (s *Session) noteNear(c *Call) bool { return c.srv.relayTo(NearNode).note(c.by, c.nearKeys()) }

// nearKeys are the keys of a read.
func (c *Call) nearKeys() [][]byte {
	c.keys = c.Row.keyPositions(c.keys[:0], c.Args)
	keys := make([][]byte, len(c.keys))
	for i, at := range c.keys {
		keys[i] = c.Args[at]
	}
	return keys
}

// sendWhole has a command executed by any node, which divides it where that is needed. It is a barrier.
func (s *Session) sendWhole(c *Call) {
	t := c.newTask(ForwardCommand, cloneArgs(c.Args), c.parts)
	t.whole = true
	t.ticket, t.session = s.pend(c), uint64(s.id)
	s.park(t)
}

// waitAway has a node say how many backups there are: the smallest number over all partitions, as it does not know where this session has
// written. It is a barrier, so all that the session has sent is answered, and all copies in sync have it.
func (s *Session) waitAway(c *Call) {
	c.parts = c.srv.router.Topology().all(c.parts[:0])
	t := c.newTask(ForwardCommand, cloneArgs(c.Args), c.parts)
	t.whole = true
	if ms, ok := protocol.ParseInt(c.Args[2]); ok && ms > 0 { // else the node says what is wrong, or waits as long as for any command
		t.deadline = max(t.deadline, c.now+time.Duration(min(ms, int64(waitMax/time.Millisecond)))*time.Millisecond)
	}
	t.ticket, t.session = s.pend(c), uint64(s.id)
	s.park(t)
}

// watchAway has keys watched on a connection that the session has for itself.
func (s *Session) watchAway(c *Call) {
	t := c.newTask(ForwardWatch, cloneArgs(c.Args), c.parts)
	t.whole = true
	t.onReply = func(reply []byte) []byte {
		if isError(reply) {
			return reply
		}
		for _, key := range t.args[1:] {
			s.watching = append(s.watching, watched{
				key: string(key), db: t.db, partition: s.srv.store.PartitionOf(key), far: true, away: s,
			})
		}
		return reply
	}
	t.ticket, t.session = s.pend(c), uint64(s.id)
	s.park(t)
}

// ownerIn is the node that is to execute the task. Where there is none, text says why.
func (t *task) ownerIn(top *Topology) (owner NodeID, text string) {
	switch {
	case t.near:
		return NearNode, ""
	case t.whole, t.srv.upstream != nil && t.kind == ForwardExec:
		return t.srv.upstream.Any(), ""
	}
	return top.owner(t.parts)
}

// notServed is what a command is told that nobody has executed in its time.
func (srv *Server) notServed() string {
	if srv.upstream != nil {
		return srv.upstream.Away()
	}
	return errNotServed
}

// NearChanged says that a key may have changed that was read near for a client who tracks; by is the number of the session that has changed
// it, 0 where that is not known. Any goroutine may call it.
func (srv *Server) NearChanged(key []byte, by uint64) {
	r := srv.relayTo(NearNode)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropLocked(string(key), origin{srv.family, by})
}

// NearLost says that any key may have.
func (srv *Server) NearLost() {
	r := srv.relayTo(NearNode)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropAllLocked()
}

// NearRests tells whether clients rest on what was read near.
func (srv *Server) NearRests() bool {
	r := srv.relayTo(NearNode)
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.mu.readers) > 0
}

// NearCasts are the prefixes that clients want to hear of, none of which begins with another, and the number of this set of them.
func (srv *Server) NearCasts() (version uint64, prefixes []string) { return srv.casts.wanted() }

// NearCast says that from now on the keys that anybody changes are told of which begin with a set's prefixes. Where that begins only now,
// clients are told to drop what they have, as changes may have been missed: those who were not told of their prefixes before. Nothing may
// be answered from memory any more that was held before it began.
func (srv *Server) NearCast(version uint64, begins bool) {
	r := srv.relayTo(NearNode)
	r.mu.Lock()
	defer r.mu.Unlock()
	if begins {
		srv.casts.dropAll(r.mu.cast, version)
	}
	r.mu.cast = max(r.mu.cast, version)
}

// NearUncast says that they are not told of any more.
func (srv *Server) NearUncast() {
	r := srv.relayTo(NearNode)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.uncastLocked()
}

// NearCastChanged tells of one such key, by as for NearChanged. It must not be answered from memory any more.
func (srv *Server) NearCastChanged(key []byte, by uint64) {
	srv.casts.tell(string(key), origin{srv.family, by})
}

// NearCastAll says that any such key may have changed. None may be answered from memory any more that was held before.
func (srv *Server) NearCastAll() {
	r := srv.relayTo(NearNode)
	r.mu.Lock()
	defer r.mu.Unlock()
	srv.casts.dropAll(0, r.mu.cast)
}

// Lives tells whether a session is open.
func (srv *Server) Lives(session uint64) bool { return srv.session(int64(session)) != nil }

// ExecLines are the commands of a ForwardExec, MULTI and EXEC around them; watches tells whether it depends on watched keys.
func (srv *Server) ExecLines(f *Forwarded) (lines [][][]byte, watches, ok bool) {
	multi, watching, ok := decodeExec(f.Args, srv.store.PartitionOf)
	if !ok {
		return nil, false, false
	}
	lines = append(lines, [][]byte{[]byte("MULTI")})
	for _, q := range multi.queue {
		lines = append(lines, q.args)
	}
	return append(lines, [][]byte{[]byte("EXEC")}), len(watching) > 0, true
}
