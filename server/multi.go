package server

import (
	"slices"
	"unsafe"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// transaction is a MULTI under construction.
type transaction struct {
	queue     []queued
	bytes     int  // that the queue takes
	broken    bool // a command was refused: EXEC answers EXECABORT
	slow      bool // a queued command may take long
	wide      bool // a queued command is about more than its keys; known once EXEC was placed
	ofSession bool // a queued command concerns the session itself
}

type queued struct {
	row  *Row
	args [][]byte
}

// What a queued command takes beyond its arguments' bytes: for itself, and for each argument.
const (
	queuedBytes    = int(unsafe.Sizeof(queued{}))
	queuedArgBytes = int(unsafe.Sizeof([]byte(nil)))
)

// enqueue keeps a command for EXEC. What a client has queued counts as input that is not executed, so the limit on that
// holds for it too. A transaction that EXEC will refuse anyway grows no more.
func (s *Session) enqueue(c *Call) {
	if t := s.multi; !t.broken {
		t.add(c)
		if int64(t.bytes) > c.srv.config.ClientQueryBufferLimit.Load() {
			c.srv.log.Warn("closing client: query buffer limit reached by MULTI", "client", s.id, "addr", s.info.Remote, "bytes", t.bytes)
			s.kill()
			return
		}
	}
	c.W.Simple("QUEUED")
}

// add appends a command to the queue; its arguments are copied.
func (t *transaction) add(c *Call) {
	args := cloneArgs(c.Args)
	t.bytes += queuedBytes + len(args)*queuedArgBytes
	for _, a := range args {
		t.bytes += len(a)
	}
	t.queue = append(t.queue, queued{c.Row, args})
	t.slow = t.slow || c.Row.OffLoop
	t.ofSession = t.ofSession || c.Row.ofSession()
}

// offLoop tells whether EXEC runs off the loop: where it may take long, unless it concerns the session, which only its
// loop may look into.
func (t *transaction) offLoop() bool { return t.slow && !t.ofSession }

// ofSession: the command reads or changes what its session is: name, database, protocol.
func (r *Row) ofSession() bool {
	switch r.fullName() {
	case "ping", "echo", "client|list", "client|help":
		return false
	case "wait":
		return true
	}
	return r.Group == "connection" || r.Group == "pubsub"
}

// runsInMulti: executed at once inside MULTI, not queued.
func (r *Row) runsInMulti() bool {
	switch r.Name {
	case "exec", "discard", "multi", "watch", "quit", "reset":
		return r.container == nil
	}
	return false
}

var multiRows = []*Row{
	{Name: "discard", Arity: 1, Flags: NoScript | Loading | Stale | Fast | AllowBusy, Group: "transactions",
		Since: "2.0.0", Complexity: "O(N)",
		Summary: "Drops the queued commands.", Run: cmdDiscard},
	{Name: "exec", Arity: 1, Flags: NoScript | Loading | Stale | SkipSlowlog, Group: "transactions",
		Since:   "1.2.0",
		Summary: "Runs the queued commands as one.", Run: cmdExec},
	{Name: "multi", Arity: 1, Flags: NoScript | Loading | Stale | Fast | AllowBusy, Group: "transactions",
		Since: "1.2.0", Complexity: "O(1)",
		Summary: "Starts a transaction: the commands that follow are queued.", Run: cmdMulti},
	{Name: "unwatch", Arity: 1, Flags: NoScript | Loading | Stale | Fast | AllowBusy, Group: "transactions",
		Since: "2.2.0", Complexity: "O(1)",
		Summary: "Forgets all watched keys.", Run: cmdUnwatch},
	{Name: "watch", Arity: -2, Flags: NoScript | Loading | Stale | Fast | AllowBusy, Group: "transactions",
		Keys: keys(1, -1, 1, RO), Since: "2.2.0", Complexity: "O(1) per key",
		Summary: "Makes the next EXEC depend on keys staying unchanged.",
		Syntax:  "key [key ...]", Run: cmdWatch},
}

func cmdMulti(c *Call) {
	if c.s.multi != nil {
		c.W.Error("ERR MULTI calls can not be nested")
		return
	}
	c.s.multi = &transaction{}
	c.W.OK()
}

func cmdDiscard(c *Call) {
	if c.s.multi == nil {
		c.W.Error("ERR DISCARD without MULTI")
		return
	}
	c.s.multi = nil
	c.s.unwatch()
	c.W.OK()
}

func cmdWatch(c *Call) {
	if c.s.multi != nil {
		c.W.Error("ERR WATCH inside MULTI is not allowed")
		return
	}
	if c.marks { // of a session elsewhere
		for _, key := range c.Args[1:] {
			reign := c.reignOf(c.Tx.PartitionOf(key))
			c.W.Buf = appendMark(c.W.Buf, reign, c.Tx.Mark(key))
		}
		return
	}
	for _, key := range c.Args[1:] {
		if !c.s.watches(c.Tx.DB, key) {
			w := watched{hold: c.Tx.Watch(key)}
			w.key, w.db, w.partition = w.hold.Key(), w.hold.DB(), w.hold.Partition()
			w.reign = c.reignOf(w.partition)
			c.s.watching = append(c.s.watching, w)
		}
	}
	c.W.OK()
}

// watched is a key that a session watches: by a hold on it here, or by the mark that another node has given.
type watched struct {
	key       string
	db        int
	partition int
	reign     uint64 // of the partition when the watch began; 0 = the node is alone
	hold      partition.Watched
	far       bool // there is no hold, but a mark
	mark      partition.Mark
	away      *Session // whose watch an Upstream holds; nil: it does not
}

func (w *watched) unwatch() {
	switch {
	case w.away != nil:
		w.away.srv.upstream.Unwatch(uint64(w.away.id))
	case !w.far:
		w.hold.Unwatch()
	}
}

func (s *Session) watches(db int, key []byte) bool {
	for i := range s.watching {
		if w := &s.watching[i]; w.key == string(key) && w.db == db {
			return true
		}
	}
	return false
}

// unbroken tells whether a watched key is sure to be unchanged. What was watched on another node, or in another reign, is not: the
// partition has changed hands (R25).
func (c *Call) unbroken(w *watched) bool {
	if w.reign != c.reignOf(w.partition) {
		return false
	}
	if !w.far {
		return c.Tx.Unchanged(w.hold)
	}
	db := c.Tx.DB
	defer func() { c.Tx.DB = db }()
	c.Tx.DB = w.db
	return c.Tx.UnchangedSince([]byte(w.key), w.mark)
}

// cmdUnwatch holds no partition: each watch takes its own lock. Inside EXEC nothing is watched any more.
func cmdUnwatch(c *Call) {
	c.s.unwatch()
	c.W.OK()
}

// unwatch ends all watches. It must not run inside a transaction that holds partitions.
func (s *Session) unwatch() {
	unwatchAll(s.watching)
	s.watching = nil
}

func unwatchAll(list []watched) {
	for i := range list {
		list[i].unwatch()
	}
}

// cmdExec runs the queue under the locks of all partitions that its commands and the watched keys touch: one batch for
// each of them.
func cmdExec(c *Call) {
	t, watching := c.multi, c.watching // of a task, or from runOffLoop: who has made them ends the watches
	if t == nil {
		if t, watching = c.s.takeMulti(); t == nil {
			c.W.Error("ERR EXEC without MULTI")
			return
		}
		defer unwatchAll(watching)
	}
	if t.broken {
		c.W.Error(protocol.ErrExecAbort)
		return
	}
	c.lockAll(t, watching)
	defer c.endExec()
	if c.srv.router != nil && !c.admit(t.writes()) {
		return
	}
	for i := range watching {
		if !c.unbroken(&watching[i]) {
			c.W.NullArray()
			return
		}
	}
	begin, hard := len(c.W.Buf), c.s.hardOutputLimit()
	c.W.Array(len(t.queue))
	row, args := c.Row, c.Args
	for _, q := range t.queue {
		c.Row, c.Args = q.row, q.args
		if t.ofSession { // CLIENT TRACKING and CLIENT CACHING change what the next one is
			c.asReader(c.s.tracker)
		}
		c.Tx.DB, c.Tx.CountHits = c.s.db, q.row.Flags&ReadOnly != 0
		start := len(c.W.Buf)
		c.run()
		c.account(q.row, start, c.srv.clock())
		c.W.Buf = c.W.Buf[:min(len(c.W.Buf), begin+hard+1)] // a client over the limit is closed: it needs no more
	}
	c.Row, c.Args = row, args
}

// endExec ends the transaction, and notes whether it has changed anything.
func (c *Call) endExec() {
	c.wrote = c.Tx.Changed() > 0
	c.Tx.End()
}

// writes tells whether a command of the transaction may change data.
func (t *transaction) writes() bool {
	return slices.ContainsFunc(t.queue, func(q queued) bool { return q.row.Flags&Write != 0 })
}

// takeMulti ends a MULTI under construction, and hands it over with the watches. It runs on the session's loop: were it
// done where EXEC runs off it, a connection that closes meanwhile could end the same watches once more.
func (s *Session) takeMulti() (t *transaction, watching []watched) {
	if s.multi != nil {
		t, watching = s.multi, s.watching
		s.multi, s.watching = nil, nil
	}
	return t, watching
}

// lockAll begins the transaction on everything the queue and the watches need.
func (c *Call) lockAll(t *transaction, watching []watched) {
	now := c.srv.wallMs(c.now)
	parts := c.parts[:0]
	for _, q := range t.queue {
		if q.row.Scope != ScopeKeys && !c.sortsOneSlot(q.row) {
			c.beginAll(now)
			return
		}
		parts = c.addPartitions(parts, q.row, q.args)
	}
	for i := range watching {
		parts = addSorted(parts, watching[i].partition)
	}
	c.parts = parts
	c.Tx.Begin(now, parts...)
}
