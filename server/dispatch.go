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
	watching []watched

	// In a grid. located: parts are known already. walk: which partitions a command about all keys is about.
	located   bool
	walk      []int
	by        *tracker         // of the session whose command it is, where it tracks
	origin    partition.Origin // whose changes it makes: by, or who is named for it; nil: nobody asks
	track     readTracker      // for whom what the command reads is to be tracked; nil: for nobody
	pushed    int              // where in W's bytes the pushes before the reply end
	reigns    []uint64         // of parts, when they were admitted
	verdict   verdict
	wrote     bool // the command has changed something
	waits     []Rest
	given     []loadToken // tokens of GRID.LOAD in the reply, until it is known who gets it
	gate      gate        // gathers replies that wait for commits; of it replies and rests alone
	gateStart int         // where in W's bytes they begin
	marks     bool        // WATCH is to answer with the keys' marks
	proxy     *Session    // stands in for the sessions of other nodes

	writer protocol.Writer
	tally  tally
	ahead  ahead
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
	c.forgetAhead()
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
	if c.srv.upstream != nil && row.Flags&Loading == 0 {
		if text := c.srv.upstream.Waiting(); text != "" {
			s.reject(c, text)
			return
		}
	}
	if s.tracker != nil {
		c.srv.limitTracking()
	}
	if c.isAlone() && !c.roomFor(s.grows(row)) {
		s.reject(c, protocol.ErrOOM)
		return
	}
	if s.onlyPubSub(row) {
		s.reject(c, errOnlyPubSub(row))
		return
	}
	switch {
	case s.multi != nil && !row.runsInMulti():
		if s.info.Cluster && c.srv.router != nil && s.refuseMoved(c) {
			return
		}
		s.enqueue(c)
	case c.srv.router != nil:
		s.place(c)
	case row.OffLoop || s.multi != nil && s.multi.offLoop() && row.Name == "exec":
		s.runOffLoop(c)
	default:
		c.call()
	}
}

// grows tells whether a command may need memory: for EXEC, whether one it would run does.
func (s *Session) grows(row *Row) bool {
	if row.Name != "exec" || s.multi == nil {
		return row.Flags&DenyOOM != 0
	}
	return s.multi.grows()
}

// isAlone tells whether all data is here. Where it is not, the node that executes a command sees to its own memory.
func (c *Call) isAlone() bool { return c.srv.router == nil || c.srv.router.Topology().DataNodes <= 1 }

// fits makes room where memory is short, and tells whether a command may be executed: one that does not grow may, always.
func (c *Call) fits(grows bool) bool {
	return c.srv.config.MaxMemory.Load() <= 0 || c.srv.makeRoom(c.now) || !grows
}

// roomFor is fits, for a command of the session's own loop: of what had to be evicted it is told before it gets its reply.
func (c *Call) roomFor(grows bool) bool {
	fits := c.fits(grows)
	if c.s.tracker != nil {
		c.deliver()
	}
	return fits
}

// reject refuses a command before it ran; a transaction under construction is then refused as a whole. Where the refused
// command is EXEC, the transaction ends, if there is one.
func (s *Session) reject(c *Call, text string) {
	switch {
	case c.Row != nil && c.Row.Name == "exec":
		s.multi = nil
		s.unwatch()
		text = execAbort(text)
	case s.multi != nil:
		s.multi.broken = true
	}
	if c.Row != nil {
		c.Row.stats.rejected.Add(1)
	}
	c.srv.countError(text)
	c.W.Error(text)
}

// execAbort is EXEC's answer where an error refuses it.
func execAbort(text string) string {
	return "EXECABORT Transaction discarded because of: " + strings.TrimPrefix(text, "ERR ")
}

// call is the choke point: every command that touches data runs here, under the locks of its partitions, and leaves a
// sealed batch. In a grid it may turn out that the command cannot be executed here; then nothing is, and it returns false.
func (c *Call) call() bool {
	start := len(c.W.Buf)
	if c.tally.row != c.Row {
		c.tally.flush() // a command that reads statistics finds those of the ones before it
	}
	c.Tx.DB, c.Tx.CountHits = c.s.db, c.Row.Flags&ReadOnly != 0
	c.verdict, c.wrote = admitted, false
	c.Tx.Origin = c.origin
	c.lock()
	if c.srv.router == nil || c.admit(c.Row.Flags&Write != 0) {
		c.run()
		c.wrote = c.wrote || c.Tx.Changed() > 0 // EXEC has ended its transaction itself
	}
	c.Tx.End()
	c.Tx.Origin = nil
	end := c.srv.clock()
	if c.srv.router != nil && !c.confirm(start, end) {
		return false
	}
	c.account(c.Row, start, end)
	return true
}

// run runs the handler. What it has read is tracked before anybody else can change it.
func (c *Call) run() {
	c.runRow()
	if c.track != nil && c.Row.Flags&ReadOnly != 0 {
		c.trackReads()
	}
}

func (c *Call) runRow() {
	if !invariants {
		c.Row.Run(c)
		return
	}
	start, changed := len(c.W.Buf), c.Tx.Changed()
	row := c.Row
	row.Run(c)
	if row.Name != "exec" { // it ends its own transaction, and runs the commands of the MULTI here too
		c.checkRun(c.W.Buf[min(start, len(c.W.Buf)):], c.Tx.Changed()-changed) // WAIT makes its reply a pending one
	}
}

// lock begins the transaction on the partitions of the command's keys.
func (c *Call) lock() {
	now := c.srv.wallMs(c.now)
	located := c.located
	c.located = false
	switch {
	case located:
		c.Tx.Begin(now, c.parts...)
	case c.Row.Scope == ScopeAll && !c.sortsOneSlot(c.Row):
		c.beginAll(now)
	case c.Row.Scope == ScopeEach:
		c.parts = c.parts[:0] // those that it comes to
		c.Tx.Begin(now)
	default:
		c.parts = c.addPartitions(c.parts[:0], c.Row, c.Args)
		c.Tx.Begin(now, c.parts...)
	}
}

// beginAll begins the transaction on every partition; in a grid, on those that the command is about.
func (c *Call) beginAll(now int64) {
	c.parts = c.parts[:0]
	if c.walk == nil {
		c.Tx.BeginAll(now)
		if c.srv.router == nil {
			return
		}
		for p := range c.srv.store.Partitions() {
			c.parts = append(c.parts, p)
		}
		return
	}
	c.parts = append(c.parts, c.walk...)
	c.Tx.Begin(now, c.parts...)
}

// addPartitions adds the partitions of a command's keys to a set, which stays sorted. It leaves the keys' positions in c.keys.
func (c *Call) addPartitions(parts []int, row *Row, args [][]byte) []int {
	if len(row.Keys) == 0 {
		c.keys = c.keys[:0]
		return parts
	}
	if k := &row.Keys[0]; len(row.Keys) == 1 && !k.Unknown && k.Keyword == "" && k.NumKeys == nil && k.Last == 0 && k.Index < len(args) {
		c.keys = append(c.keys[:0], k.Index)
		return addSorted(parts, c.Tx.PartitionOf(args[k.Index]))
	}
	c.keys = row.keyPositions(c.keys[:0], args)
	for _, i := range c.keys {
		parts = addSorted(parts, c.Tx.PartitionOf(args[i]))
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

// account keeps the row's statistics, the slow log and the error counters. start is where the reply begins, end when the command ended.
func (c *Call) account(row *Row, start int, end time.Duration) {
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

// runOffLoop runs a command that may take long, and waits for no commit, on a goroutine of its own. It is a barrier: the session's next command
// waits for it, as do the replies behind it. The arguments are copied, since the input buffer goes on being used.
func (s *Session) runOffLoop(c *Call) {
	ticket := s.pend(c)
	s.barrier++
	row, resp, now := c.Row, c.W.Resp, c.now
	by, track, origin := c.by, c.track, c.origin
	args := cloneArgs(c.Args)
	s.held = held{s.current, argBytes(args)}
	silent := s.replies != replyOn
	var multi *transaction
	var watching []watched
	if row.Name == "exec" {
		multi, watching = s.takeMulti()
	}
	go func() {
		oc := s.srv.calls.Get().(*Call)
		oc.s, oc.now, oc.Row, oc.Args = s, now, row, args
		oc.W.Buf, oc.W.Resp = nil, resp
		oc.multi, oc.watching, oc.offLoop = multi, watching, true
		oc.by, oc.track, oc.origin = by, track, origin
		oc.call()
		oc.tally.flush()
		reply, given := oc.W.Buf, oc.takeGiven()
		oc.W.Buf, oc.s, oc.Args, oc.Row = nil, nil, nil, nil
		oc.multi, oc.watching, oc.offLoop = nil, nil, false
		oc.by, oc.track, oc.origin = nil, nil, nil
		s.srv.calls.Put(oc)
		if silent {
			reply = nil
		}
		unwatchAll(watching)
		s.loop.Post(func() {
			s.held = held{}
			s.barrier--
			s.give(given, !silent)
			s.Complete(ticket, reply)
		})
	}()
}

// argBytes is the size of arguments together.
func argBytes(args [][]byte) (n int) {
	for _, a := range args {
		n += len(a)
	}
	return n
}

func cloneArgs(args [][]byte) [][]byte {
	buf := make([]byte, 0, argBytes(args))
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
