package server

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// Call is one command under way: what a handler gets. It is reused; Args are valid during the call only.
type Call struct {
	Args [][]byte
	Row  *Row
	W    *protocol.Writer
	Tx   *partition.Tx

	srv *Server
	s   *Session

	now   time.Duration // the server's clock, when the command began
	parts []int         // partitions of the transaction
	keys  []int         // scratch of keyPositions

	// Of an EXEC that runs off the session's loop: what it is to execute. nil: the session has it.
	multi    *transaction
	watching []partition.Watched

	writer protocol.Writer
	tally  tally
	// offLoop: the command runs on a goroutine of its own; it must not look into its session.
	offLoop bool
	// The last command's name as it was written, and its row: commands of one kind often follow each other.
	lastName [commandNameMax]byte
	lastLen  int
	lastRow  *Row
}

func newCall(srv *Server) *Call {
	c := &Call{srv: srv, Tx: partition.NewTx(srv.store)}
	c.W = &c.writer
	return c
}

// begin makes the call serve a session's commands, with replies going where the session wants them.
func (c *Call) begin(s *Session) {
	c.s = s
	c.now = c.srv.clock()
	c.W.Buf = s.takeBuffer()
	c.W.Resp = s.resp
}

// finish gives the session its replies.
func (c *Call) finish() {
	c.s.putBuffer(c.W.Buf)
	c.tally.flush()
	c.W.Buf, c.s, c.Args, c.Row = nil, nil, nil, nil
}

// findRow is lookup, with a short cut for a name that is written like the last one.
func (c *Call) findRow() *Row {
	name := c.Args[0]
	if c.lastRow != nil && string(name) == string(c.lastName[:c.lastLen]) {
		return c.lastRow
	}
	row := lookup(c.Args)
	if row != nil && len(row.Subs) == 0 && row.container == nil {
		c.lastRow, c.lastLen = row, copy(c.lastName[:], name)
	}
	return row
}

// dispatch checks a command line and runs, queues or refuses it. Checks stand in Redis's order.
func (s *Session) dispatch(c *Call) {
	c.Row = c.findRow()
	if c.Row == nil && isHTTP(c.Args[0]) {
		c.srv.log.Warn("closing client: it speaks HTTP; a web page may be abusing a browser", "client", s.id, "addr", s.info.Remote)
		s.kill()
		return
	}
	if c.Row == nil {
		s.reject(c, unknownCommand(c.Args))
		return
	}
	row := c.Row
	s.last = row
	if !row.arityFits(len(c.Args)) {
		s.reject(c, wrongArity(row))
		return
	}
	if !s.authed && row.Flags&NoAuth == 0 {
		s.reject(c, protocol.ErrNoAuth)
		return
	}
	if s.multi != nil && row.Flags&NoMulti != 0 {
		s.reject(c, "ERR Command not allowed inside a transaction")
		return
	}
	if c.srv.config.MaxMemory.Load() > 0 && !c.srv.makeRoom(c.now) && s.grows(row) {
		s.reject(c, protocol.ErrOOM)
		return
	}
	switch {
	case s.multi != nil && !row.runsInMulti():
		s.enqueue(c)
	case row.OffLoop || s.multi != nil && s.multi.offLoop() && row.Name == "exec":
		s.runOffLoop(c)
	default:
		start := len(c.W.Buf)
		c.call()
		if c.srv.gate != nil {
			s.awaitCommit(c, start)
		}
	}
}

// awaitCommit holds back what the command just executed has answered until all it saw is committed.
func (s *Session) awaitCommit(c *Call, start int) {
	if s.replies != replyOn {
		return // there is nothing to hold back
	}
	// They are set below, when done may have been called already: what it posts runs later, on this goroutine.
	var ticket uint64
	var reply []byte
	if c.srv.gate.Await(c.parts, func() { s.loop.Post(func() { s.Complete(ticket, reply) }) }) {
		return
	}
	reply = bytes.Clone(c.W.Buf[start:])
	c.W.Buf = c.W.Buf[:start]
	ticket = s.pend(c)
}

// grows tells whether a command may need memory: for EXEC, whether one it would run does.
func (s *Session) grows(row *Row) bool {
	if row.Name != "exec" || s.multi == nil {
		return row.Flags&DenyOOM != 0
	}
	return slices.ContainsFunc(s.multi.queue, func(q queued) bool { return q.row.Flags&DenyOOM != 0 })
}

// reject refuses a command before it ran; a transaction under construction is then refused as a whole. Where the refused
// command is EXEC, the transaction ends, if there is one.
func (s *Session) reject(c *Call, text string) {
	switch {
	case c.Row != nil && c.Row.Name == "exec":
		s.multi = nil
		s.unwatch()
		text = "EXECABORT Transaction discarded because of: " + strings.TrimPrefix(text, "ERR ")
	case s.multi != nil:
		s.multi.broken = true
	}
	if c.Row != nil {
		c.Row.stats.rejected.Add(1)
	}
	c.srv.countError(text)
	c.W.Error(text)
}

// call is the choke point: every command that touches data runs here, under the locks of its partitions, and leaves a
// sealed batch.
func (c *Call) call() {
	start := len(c.W.Buf)
	if c.tally.row != c.Row {
		c.tally.flush() // a command that reads statistics finds those of the ones before it
	}
	c.Tx.DB, c.Tx.CountHits = c.s.db, c.Row.Flags&ReadOnly != 0
	c.lock()
	c.run()
	c.Tx.End()
	c.account(c.Row, start)
}

// run runs the handler.
func (c *Call) run() {
	if !invariants {
		c.Row.Run(c)
		return
	}
	start, changed := len(c.W.Buf), c.Tx.Changed()
	row := c.Row
	row.Run(c)
	if row.Name != "exec" { // it ends its own transaction, and runs the commands of the MULTI here too
		c.checkRun(c.W.Buf[start:], c.Tx.Changed()-changed)
	}
}

// lock begins the transaction on the partitions of the command's keys.
func (c *Call) lock() {
	now := c.srv.wallMs(c.now)
	switch c.Row.Scope {
	case ScopeAll:
		c.beginAll(now)
	case ScopeEach:
		c.Tx.Begin(now)
		c.parts = c.parts[:0]
		// What describes the server, such as INFO, waits for no commit: it is wanted most when commits are stuck.
		if c.Row.Flags&(ReadOnly|Write) != 0 {
			c.addAllPartitions()
		}
	default:
		c.parts = c.addPartitions(c.parts[:0], c.Row, c.Args)
		c.Tx.Begin(now, c.parts...)
	}
}

// beginAll begins the transaction on every partition.
func (c *Call) beginAll(now int64) {
	c.Tx.BeginAll(now)
	c.addAllPartitions()
}

// addAllPartitions makes the reply wait for every partition's batches, where replies wait at all.
func (c *Call) addAllPartitions() {
	c.parts = c.parts[:0]
	if c.srv.gate == nil {
		return
	}
	for i := range c.srv.store.Partitions() {
		c.parts = append(c.parts, i)
	}
}

// addPartitions adds the partitions of a command's keys to a set, which stays sorted.
func (c *Call) addPartitions(parts []int, row *Row, args [][]byte) []int {
	if len(row.Keys) == 0 {
		return parts
	}
	if k := &row.Keys[0]; len(row.Keys) == 1 && k.Keyword == "" && k.NumKeys == nil && k.Last == 0 && k.Index < len(args) {
		return addSorted(parts, c.srv.store.PartitionOf(args[k.Index]))
	}
	c.keys = row.keyPositions(c.keys[:0], args)
	for _, i := range c.keys {
		parts = addSorted(parts, c.srv.store.PartitionOf(args[i]))
	}
	return parts
}

func addSorted(set []int, v int) []int {
	if len(set) == 0 {
		return append(set, v)
	}
	i, found := slices.BinarySearch(set, v)
	if found {
		return set
	}
	return slices.Insert(set, i, v)
}

// account keeps the row's statistics, the slow log and the error counters. start is where the reply begins.
func (c *Call) account(row *Row, start int) {
	end := c.srv.clock()
	took := end - c.now
	c.now = end
	if c.tally.row != row {
		c.tally.flush()
		c.tally.row = row
	}
	c.tally.calls++
	c.tally.nanos += int64(took)
	if c.srv.config.LatencyTracking.Load() {
		row.stats.latency.add(took)
	}
	if len(c.W.Buf) > start && c.W.Buf[start] == '-' {
		row.stats.failed.Add(1)
		c.srv.countError(string(firstLine(c.W.Buf[start+1:])))
	}
	if event := eventCommand; took >= time.Millisecond {
		if row.Flags&Fast != 0 {
			event = eventFastCommand
		}
		c.srv.noteLatency(event, took)
	}
	c.srv.noteSlow(c, row, took)
}

// tally gathers the statistics of commands of one kind that follow each other, as in a pipeline: the counters they go to
// are shared by all loops.
type tally struct {
	row          *Row
	calls, nanos int64
}

func (t *tally) flush() {
	if t.calls > 0 {
		t.row.stats.calls.Add(t.calls)
		t.row.stats.nanos.Add(t.nanos)
	}
	*t = tally{}
}

func firstLine(b []byte) []byte {
	if i := bytes.IndexByte(b, '\r'); i >= 0 {
		return b[:i]
	}
	return b
}

// runOffLoop runs a command that may take long on a goroutine of its own. It is a barrier: the session's next command
// waits for it, as do the replies behind it. The arguments are copied, since the input buffer goes on being used.
func (s *Session) runOffLoop(c *Call) {
	ticket := s.pend(c)
	s.barrier++
	row, resp, now := c.Row, c.W.Resp, c.now
	args := cloneArgs(c.Args)
	silent := s.replies != replyOn
	var multi *transaction
	var watching []partition.Watched
	if row.Name == "exec" {
		multi, watching = s.takeMulti()
	}
	go func() {
		oc := s.srv.calls.Get().(*Call)
		oc.s, oc.now, oc.Row, oc.Args = s, now, row, args
		oc.W.Buf, oc.W.Resp = nil, resp
		oc.multi, oc.watching, oc.offLoop = multi, watching, true
		oc.call()
		oc.tally.flush()
		reply, parts := oc.W.Buf, slices.Clone(oc.parts)
		oc.W.Buf, oc.s, oc.Args, oc.Row = nil, nil, nil, nil
		oc.multi, oc.watching, oc.offLoop = nil, nil, false
		s.srv.calls.Put(oc)
		if silent {
			reply = nil
		}
		complete := func() {
			s.loop.Post(func() {
				s.barrier--
				s.Complete(ticket, reply)
			})
		}
		if gate := s.srv.gate; gate == nil || gate.Await(parts, complete) {
			complete()
		}
	}()
}

func cloneArgs(args [][]byte) [][]byte {
	size := 0
	for _, a := range args {
		size += len(a)
	}
	buf := make([]byte, 0, size)
	out := make([][]byte, len(args))
	for i, a := range args {
		buf = append(buf, a...)
		out[i] = buf[len(buf)-len(a) : len(buf) : len(buf)]
	}
	return out
}

// isHTTP tells whether a command is a line of an HTTP request. A web page can have a browser send such requests here, with
// commands in the body; so nothing behind this line is executed, as in Redis.
func isHTTP(name []byte) bool { return is(name, "post") || is(name, "host:") }

// unknownCommand is Redis's answer to a name it does not have. What it quotes ends at a NUL byte.
func unknownCommand(args [][]byte) string {
	if row := lookupName(string(args[0])); row != nil && len(row.Subs) > 0 && len(args) > 1 {
		return sanitize("ERR unknown subcommand '" + string(clip(args[1], 128)) + "'. Try " + upper(row.Name) + " HELP.")
	}
	var b bytes.Buffer
	b.WriteString("ERR unknown command '")
	b.Write(clip(args[0], 128))
	b.WriteString("', with args beginning with: ")
	quoted := 0
	for _, a := range args[1:] {
		if quoted >= 128 {
			break
		}
		a = clip(a, 128-quoted)
		b.WriteByte('\'')
		b.Write(a)
		b.WriteString("' ")
		quoted += len(a) + 3
	}
	return sanitize(b.String())
}

func wrongArity(row *Row) string {
	return "ERR wrong number of arguments for '" + row.fullName() + "' command"
}

// untilNUL is an argument as Redis's errors repeat it: as far as the first NUL byte.
func untilNUL(b []byte) string { return string(clip(b, len(b))) }

// clip returns b's first n bytes, and none from a NUL byte on.
func clip(b []byte, n int) []byte {
	b = b[:min(len(b), n)]
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return b
}

func upper(s string) string { return string(bytes.ToUpper([]byte(s))) }

// sanitize keeps an error on one line.
func sanitize(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c == '\r' || c == '\n' {
			b[i] = ' '
		}
	}
	return string(b)
}
