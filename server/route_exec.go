package server

import (
	"encoding/binary"
	"slices"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// A transaction is executed by one node, as a whole: the queue travels there with its watches (R25).

const (
	errExecWalks   = "CROSSSLOT Commands about all keys cannot be in a transaction of a grid with several data nodes"
	errExecSession = "CROSSSLOT Commands about the node, and of those about the connection all but SELECT and CLIENT, cannot be in a transaction that another node executes"
)

// placeExec places EXEC.
func (s *Session) placeExec(c *Call) {
	if s.multi == nil || s.multi.broken {
		c.parts, c.located = c.parts[:0], true
		c.call()
		return
	}
	top := c.srv.router.Topology()
	if text := s.locateExec(c, top); text != "" {
		s.refuseExec(c, text)
		return
	}
	owner, text := top.owner(c.parts)
	switch {
	case text != "":
		s.refuseExec(c, text)
		return
	case owner != top.Self && s.info.Cluster:
		s.refuseExec(c, top.moved(owner, s.multi.firstKey()))
		return
	case s.info.Cluster && !s.addWatched(c, top): // what it watches has gone
		s.multi = nil
		s.unwatch()
		c.W.NullArray()
		return
	case owner == top.Self && top.DataNodes > 1 && !c.roomFor(s.multi.grows()):
		s.reject(c, protocol.ErrOOM)
		return
	}
	multi, watching := s.takeMulti()
	t := c.newTask(ForwardExec, nil, c.parts)
	t.multi, t.watching = multi, watching
	if owner == top.Self && !multi.offLoop() && !s.travels.with(c.parts) {
		c.walk, c.multi, c.watching = t.execWalk(), multi, watching
		start := len(c.W.Buf)
		done := c.call()
		c.walk, c.multi, c.watching = nil, nil, nil
		if done {
			unwatchAll(watching)
			s.noteWrote(c)
			s.awaitCommit(c, start)
			return
		}
	}
	if multi.ofSession {
		if !multi.travels() {
			unwatchAll(watching)
			c.W.Error(errExecSession)
			return
		}
		t.multi = multi.away()
		t.onReply = func(reply []byte) []byte { return s.joinExec(t, multi, reply) }
	}
	s.send(c, t, owner)
}

// locateExec notes the partitions of a transaction. text says why it cannot be executed as a whole, if so.
func (s *Session) locateExec(c *Call, top *Topology) (text string) {
	c.parts = c.parts[:0]
	severalNodes := top.DataNodes > 1
	slot := -1
	sameSlot := func(key []byte) bool {
		of := partition.Slot(key)
		same := slot < 0 || slot == of
		slot = of
		return same || !severalNodes && !s.info.Cluster
	}
	for _, q := range s.multi.queue {
		if q.row.Scope != ScopeKeys && !c.sortsOneSlot(q.row) {
			s.multi.wide = true
			switch {
			case s.info.Cluster: // the keys of the others must be this node's still
			case severalNodes:
				return errExecWalks
			default:
				c.parts = top.all(c.parts[:0])
				return ""
			}
		}
		c.parts = c.addPartitions(c.parts, q.row, q.args)
		for _, at := range c.keys {
			if !sameSlot(q.args[at]) {
				return errCrossSlot
			}
		}
	}
	for i := range s.watching {
		if !sameSlot([]byte(s.watching[i].key)) {
			return errCrossSlot
		}
		if !s.info.Cluster {
			c.parts = addSorted(c.parts, s.watching[i].partition)
		}
	}
	return ""
}

// addWatched adds the partitions of watched keys to those of a transaction at the cluster door, whose own are all this node's; where
// it has commands about all keys, all that this node leads. It returns false where a watched key is not this node's any more.
func (s *Session) addWatched(c *Call, top *Topology) bool {
	if s.multi.wide {
		c.parts = top.led(c.parts[:0])
	}
	for i := range s.watching {
		p := s.watching[i].partition
		if top.Parts[p].Primary != top.Self {
			return false
		}
		c.parts = addSorted(c.parts, p)
	}
	return true
}

// led appends the partitions that this node leads.
func (t *Topology) led(parts []int) []int {
	for p := range t.Parts {
		if t.Parts[p].Primary == t.Self {
			parts = append(parts, p)
		}
	}
	return parts
}

// refuseExec ends a transaction that cannot be executed, with an error as it stands: clients follow MOVED.
func (s *Session) refuseExec(c *Call, text string) {
	s.multi = nil
	s.unwatch()
	c.Row.stats.rejected.Add(1)
	c.srv.countError(text)
	c.W.Error(text)
}

// execWalk are the partitions that a transaction with commands about all keys is about; nil where it has none.
func (t *task) execWalk() []int {
	if t.multi.wide {
		return append([]int{}, t.parts...) // not nil where there are none
	}
	return nil
}

// travels tells whether another node can execute the command in a transaction: it has keys, or says nothing of where it runs.
func (r *Row) travels() bool {
	return len(r.Keys) > 0 || r.container == nil && (r.Name == "ping" || r.Name == "echo" || r.Name == "time" || r.Name == "select")
}

// grows tells whether a command of the transaction may need memory.
func (t *transaction) grows() bool {
	return slices.ContainsFunc(t.queue, func(q queued) bool { return q.row.Flags&DenyOOM != 0 })
}

// firstKey is a key of the transaction's, empty where it has none.
func (t *transaction) firstKey() []byte {
	for _, q := range t.queue {
		if at := q.row.keyPositions(nil, q.args); len(at) > 0 {
			return q.args[at[0]]
		}
	}
	return nil
}

// travels tells whether another node can execute the transaction, but for what stays at home.
func (t *transaction) travels() bool {
	return !slices.ContainsFunc(t.queue, func(q queued) bool { return !q.row.travels() && !q.row.staysHome() })
}

// staysHome tells whether the command, in a transaction that another node executes, is executed here.
func (r *Row) staysHome() bool {
	return r.container != nil && r.container.Name == "client" && r.ofSession()
}

// away is the part of a transaction that another node executes.
func (t *transaction) away() *transaction {
	away := &transaction{slow: t.slow, wide: t.wide}
	for _, q := range t.queue {
		if !q.row.staysHome() {
			away.queue = append(away.queue, q)
		}
	}
	return away
}

const errExecReply = "INDETERMINATE Executed, but there are not as many replies as commands"

// joinExec executes here what stays at home of a transaction, once the rest was executed, and puts its replies where they belong. Where that
// was not executed, this is not either. What is read in a transaction that changes how it is tracked is to be dropped.
func (s *Session) joinExec(t *task, multi *transaction, reply []byte) []byte {
	if s.killed || len(reply) == 0 || reply[0] != '*' || reply[1] == '-' {
		return reply
	}
	elements := replyElements(reply)
	if len(elements) != len(multi.away().queue) {
		return errorReply(errExecReply)
	}
	c := s.srv.calls.Get().(*Call)
	c.s, c.now, c.multi = s, s.srv.clock(), multi
	c.W.Buf, c.W.Resp = nil, t.resp
	c.W.Array(len(multi.queue))
	tracks := false
	for _, q := range multi.queue {
		if q.row.staysHome() {
			c.Row, c.Args = q.row, q.args
			start := len(c.W.Buf)
			q.row.Run(c)
			c.account(q.row, start, s.srv.clock())
			tracks = tracks || q.row.Name == "tracking" || q.row.Name == "caching"
			continue
		}
		if q.row.Name == "select" && !isError(elements[0]) {
			db, _ := protocol.ParseInt(q.args[1])
			s.db = int(db)
		}
		c.W.Raw(elements[0])
		elements = elements[1:]
	}
	reply = c.W.Buf
	c.tally.flush()
	c.W.Buf, c.s, c.Args, c.Row, c.multi = nil, nil, nil, nil, nil
	s.srv.calls.Put(c)
	if tracker := s.tracker; tracks && tracker != nil {
		tracker.caching = false
		tracker.rejoinNow()
		t.eachRead(tracker.drop)
	}
	return reply
}

// encodeExec makes arguments of a transaction: a head, then those of all queued commands. It fails where a watch cannot be proved
// unbroken elsewhere: one whose hold is here.
//
// The head has the number of watches, each with database, reign, sequence, expiry and key, and how many arguments each command has.
func encodeExec(t *transaction, watching []watched) (args [][]byte, ok bool) {
	head := binary.AppendUvarint(nil, uint64(len(watching)))
	for i := range watching {
		w := &watching[i]
		if !w.far {
			return nil, false
		}
		head = binary.AppendUvarint(head, uint64(w.db))
		head = appendMark(head, w.reign, w.mark)
		head = binary.AppendUvarint(head, uint64(len(w.key)))
		head = append(head, w.key...)
	}
	args = append(args, nil)
	for _, q := range t.queue {
		head = binary.AppendUvarint(head, uint64(len(q.args)))
		args = append(args, q.args...)
	}
	args[0] = head
	return args, true
}

// decodeExec reads what encodeExec has made; false where it is none, or has a command that does not travel.
func decodeExec(args [][]byte, partitionOf func(key []byte) int) (t *transaction, watching []watched, ok bool) {
	if len(args) == 0 {
		return nil, nil, false
	}
	head, args := execReader{b: args[0]}, args[1:]
	for n := head.uint(); n > 0 && !head.bad; n-- {
		w := watched{far: true, db: int(head.uint())}
		w.reign, w.mark = head.mark()
		w.key = string(head.bytes())
		w.partition = partitionOf([]byte(w.key))
		if w.db < 0 || w.db >= partition.Databases {
			return nil, nil, false
		}
		watching = append(watching, w)
	}
	t = &transaction{}
	for len(head.b) > 0 && !head.bad {
		n := head.uint()
		if n == 0 || n > uint64(len(args)) {
			return nil, nil, false
		}
		row := lookup(args[:n])
		if row == nil || !row.arityFits(int(n)) || row.Flags&NoMulti != 0 || row.runsInMulti() || !row.travels() {
			return nil, nil, false
		}
		t.queue = append(t.queue, queued{row, args[:n:n]})
		t.slow = t.slow || row.OffLoop
		args = args[n:]
	}
	return t, watching, !head.bad && len(args) == 0
}

func appendMark(b []byte, reign uint64, m partition.Mark) []byte {
	b = binary.AppendUvarint(b, reign)
	b = binary.AppendUvarint(b, m.Seq)
	return binary.AppendVarint(b, m.ExpiresMs)
}

// execReader reads numbers and strings; after a failure it returns zeros, and bad stays true.
type execReader struct {
	b   []byte
	bad bool
}

func (r *execReader) took(n int) bool {
	if n <= 0 || n > len(r.b) {
		r.b, r.bad = nil, true
		return false
	}
	r.b = r.b[n:]
	return true
}

func (r *execReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if !r.took(n) {
		return 0
	}
	return v
}

func (r *execReader) int() int64 {
	v, n := binary.Varint(r.b)
	if !r.took(n) {
		return 0
	}
	return v
}

func (r *execReader) mark() (reign uint64, m partition.Mark) {
	reign, m.Seq, m.ExpiresMs = r.uint(), r.uint(), r.int()
	return reign, m
}

// bytes is a view.
func (r *execReader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

// placeWatch has keys watched by the node that leads them: it answers with their marks.
func (s *Session) placeWatch(c *Call, owner NodeID) {
	t := c.newTask(ForwardWatch, cloneArgs(c.Args), c.parts)
	t.onReply = func(reply []byte) []byte { return s.takeMarks(t, reply) }
	s.send(c, t, owner)
}

// takeMarks notes what a session watches from afar. A key that it watches already goes on being watched as it was then.
func (s *Session) takeMarks(t *task, reply []byte) []byte {
	if isError(reply) {
		return reply
	}
	r := execReader{b: reply}
	var marks []watched
	for _, key := range t.args[1:] {
		w := watched{key: string(key), db: t.db, partition: t.srv.store.PartitionOf(key), far: true}
		w.reign, w.mark = r.mark()
		if !s.watches(t.db, key) {
			marks = append(marks, w)
		}
	}
	if r.bad || len(r.b) > 0 {
		return errorReply("ERR The node that has the keys answered what is no mark")
	}
	s.watching = append(s.watching, marks...)
	var ok protocol.Writer
	ok.OK()
	return ok.Buf
}
