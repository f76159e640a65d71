package server

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

var clientRows = []*Row{
	{Name: "client", Arity: -2, Group: "connection",
		Since:   "2.4.0",
		Summary: "Commands about connections.",
		Subs: []*Row{
			{Name: "caching", Arity: 3, Flags: NoScript | Loading | Stale, Group: "connection",
				Since: "6.0.0", Complexity: "O(1)",
				Summary: "Has the next command tracked, in OPTIN mode, or not tracked, in OPTOUT mode.",
				Syntax:  "mode:<YES | NO>", Run: cmdClientCaching},
			{Name: "getname", Arity: 2, Flags: NoScript | Loading | Stale, Group: "connection",
				Since: "2.6.9", Complexity: "O(1)",
				Summary: "Returns the connection's name.", Run: cmdClientGetname},
			{Name: "getredir", Arity: 2, Flags: NoScript | Loading | Stale, Group: "connection",
				Since: "6.0.0", Complexity: "O(1)",
				Summary: "Returns the number of the connection that is told of changes to what this one reads.", Run: cmdClientGetredir},
			{Name: "help", Arity: 2, Flags: Loading | Stale, Group: "connection",
				Since: "5.0.0", Complexity: "O(1)",
				Summary: "Lists the subcommands of CLIENT.", Run: cmdClientHelp},
			{Name: "id", Arity: 2, Flags: NoScript | Loading | Stale, Group: "connection",
				Since: "5.0.0", Complexity: "O(1)",
				Summary: "Returns the connection's number.", Run: cmdClientId},
			{Name: "info", Arity: 2, Flags: NoScript | Loading | Stale, Group: "connection",
				Tips: []string{"nondeterministic_output"}, Since: "6.2.0", Complexity: "O(1)",
				Summary: "Describes this connection on one line.", Run: cmdClientInfo},
			{Name: "kill", Arity: -3, Flags: Admin | NoScript | Loading | Stale, Group: "connection",
				Since: "2.4.0", Complexity: "O(N)",
				Summary: "Closes connections by address, id, type or other marks.",
				Syntax:  "filter:<ip:port | new-format:<[ID client-id] | normal_master_slave_pubsub:[TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] | [USER username] | [ADDR ip:port] | [LADDR ip:port] | [SKIPME yes/no]> [...]>", Run: cmdClientKill},
			{Name: "list", OffLoop: true, Arity: -2, Flags: Admin | NoScript | Loading | Stale, Group: "connection",
				Tips: []string{"nondeterministic_output"}, Since: "2.4.0", Complexity: "O(N)",
				Summary: "Describes all connections, one a line.",
				Syntax:  "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] id:[ID {client-id [client-id ...]}]", Run: cmdClientList},
			{Name: "no-evict", Arity: 3, Flags: Admin | NoScript | Loading | Stale, Group: "connection",
				Since: "7.0.0", Complexity: "O(1)",
				Summary: "Exempts the connection from eviction of clients.",
				Syntax:  "enabled:<ON | OFF>", Run: cmdClientNoevict},
			{Name: "pause", Arity: -3, Flags: Admin | NoScript | Loading | Stale, Group: "connection",
				Since: "2.9.50", Complexity: "O(1)",
				Summary: "Stops executing commands of all clients for a while.",
				Syntax:  "timeout mode:[WRITE | ALL]", Run: cmdClientPause},
			{Name: "reply", Arity: 3, Flags: NoScript | Loading | Stale, Group: "connection",
				Since: "3.2.0", Complexity: "O(1)",
				Summary: "Turns the replies to this connection on or off.",
				Syntax:  "<ON | OFF | SKIP>", Run: cmdClientReply},
			{Name: "setname", Arity: 3, Flags: NoScript | Loading | Stale, Group: "connection",
				Since: "2.6.9", Complexity: "O(1)",
				Summary: "Names the connection.",
				Syntax:  "connection-name", Run: cmdClientSetname},
			{Name: "tracking", Arity: -3, Flags: NoScript | Loading | Stale, Group: "connection",
				Since: "6.0.0", Complexity: "O(1)",
				Summary: "Has the client told when keys change that it has read, or that begin with a prefix: for caches outside of the server.",
				Syntax:  "status:<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
				Run:     cmdClientTracking},
			{Name: "trackinginfo", Arity: 2, Flags: NoScript | Loading | Stale, Group: "connection",
				Since: "6.2.0", Complexity: "O(1)",
				Summary: "Describes what CLIENT TRACKING has set for this connection.", Run: cmdClientTrackinginfo},
			{Name: "unblock", Arity: -3, Flags: Admin | NoScript | Loading | Stale, Group: "connection",
				Since: "5.0.0", Complexity: "O(log N)",
				Summary: "Ends another connection's blocking command.",
				Syntax:  "client-id [TIMEOUT | ERROR]", Run: cmdClientUnblock},
			{Name: "unpause", Arity: 2, Flags: Admin | NoScript | Loading | Stale, Group: "connection",
				Since: "6.2.0", Complexity: "O(N)",
				Summary: "Lets paused clients go on.", Run: cmdClientUnpause},
		}},
}

func cmdClientHelp(c *Call) { c.help() }

func cmdClientId(c *Call) { c.W.Int(c.s.id) }

func cmdClientGetname(c *Call) {
	if c.s.name == "" {
		c.W.Null()
		return
	}
	c.W.BulkString(c.s.name)
}

func cmdClientSetname(c *Call) {
	if c.setName(c.Args[2]) {
		c.W.OK()
	}
}

// setName names the connection, or answers why not.
func (c *Call) setName(name []byte) bool {
	for _, b := range name {
		if b < '!' || b > '~' {
			c.W.Error("ERR Client names cannot contain spaces, newlines or special characters.")
			return false
		}
	}
	c.s.name = string(name)
	return true
}

func cmdClientInfo(c *Call) { c.W.Verbatim([]byte(c.describeOwn()+"\n"), "txt") }

// describeOwn is the line of the session whose command this is, on its loop.
func (c *Call) describeOwn() string { return c.s.describe(argBytes(c.Args)) }

// describe is the session's line in CLIENT LIST, in Redis 7.0's form; args is the size of the arguments of the command that it
// is executing right now. It runs on the session's loop.
//
// Input is read into a buffer of the loop's: a session has one of its own, which counts in qbuf-free, only while input waits in it.
func (s *Session) describe(args int) string {
	now := s.srv.clock()
	multi, multiMem, cmd := -1, 0, "NULL"
	if s.multi != nil {
		multi, multiMem = len(s.multi.queue), s.multi.bytes
	}
	if s.last != nil {
		cmd = s.last.fullName()
	}
	input := s.unread
	if input == 0 {
		input = s.held.input + len(s.in)
	}
	args += s.held.args
	for _, t := range s.travels.parked {
		args += argBytes(t.args)
	}
	segments, waiting := 0, 0
	for i := range s.queue {
		if n := len(s.queue[i].buf); n > 0 {
			segments, waiting = segments+1, waiting+n
		}
	}
	events := "r"
	if len(s.out) > s.sent {
		events = "rw"
	}
	return fmt.Sprintf("id=%d addr=%s laddr=%s fd=%d name=%s age=%d idle=%d flags=%s db=%d sub=%d psub=0 ssub=0 multi=%d "+
		"qbuf=%d qbuf-free=%d argv-mem=%d multi-mem=%d rbs=%d rbp=%d obl=%d oll=%d omem=%d tot-mem=%d events=%s cmd=%s user=%s redir=%d resp=%d",
		s.id, s.info.Remote, s.info.Local, s.info.FD, s.name, seconds(now-s.created), seconds(now-s.active), s.flags(), s.db, s.subscriptions(), multi,
		input, cap(s.in)-len(s.in), args, multiMem, cap(s.out), cap(s.out), len(s.out)-s.sent, segments, waiting,
		s.memory()+args, events, cmd, defaultUser, s.redirect(), s.resp)
}

// flags are the letters of CLIENT LIST, in Redis's order.
func (s *Session) flags() string {
	tracks := s.tracker != nil && s.tracker.mu.on
	var letters []byte
	for _, f := range []struct {
		is     bool
		letter byte
	}{
		{s.subscribed.Load(), 'P'},
		{s.multi != nil, 'x'},
		{tracks, 't'}, {tracks && s.tracker.isBroken(), 'R'}, {tracks && s.tracker.mu.bcast, 'B'},
		{s.closing, 'c'},
		{s.info.Unix, 'U'},
		{s.noEvict, 'e'},
	} {
		if f.is {
			letters = append(letters, f.letter)
		}
	}
	if len(letters) == 0 {
		return "N"
	}
	return string(letters)
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }

// sessionBytes is about what a session takes without its buffers.
const sessionBytes = 1 << 10

// memory is about what the session takes.
func (s *Session) memory() int {
	n := sessionBytes + cap(s.in) + cap(s.out)
	for i := range s.queue {
		n += cap(s.queue[i].buf)
	}
	if s.multi != nil {
		n += s.multi.bytes
	}
	return n
}

// describeTimeout bounds how long CLIENT LIST waits for a loop that is busy with something else.
const describeTimeout = time.Second

// cmdClientList asks every session's loop for its line: only the loop may look into a session. It runs off the loop.
func cmdClientList(c *Call) {
	sessions, ok := c.chooseClients()
	if !ok {
		return
	}
	lines := make(chan string, len(sessions))
	for _, s := range sessions {
		if s == c.s && !c.offLoop { // inside EXEC on the loop, which cannot answer before EXEC is done
			lines <- c.describeOwn()
			continue
		}
		s.loop.Post(func() { lines <- s.describe(0) })
	}
	timeout := time.NewTimer(describeTimeout)
	defer timeout.Stop()
	found := make([]string, 0, len(sessions))
	for range sessions {
		select {
		case line := <-lines:
			found = append(found, line)
		case <-timeout.C:
			c.srv.log.Warn("CLIENT LIST is incomplete: an event loop did not answer in time")
			goto reply
		}
	}
reply:
	slices.SortFunc(found, func(a, b string) int { return cmp.Compare(lineID(a), lineID(b)) })
	var b strings.Builder
	for _, line := range found {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	c.W.Verbatim([]byte(b.String()), "txt")
}

func lineID(line string) (id int64) {
	_, _ = fmt.Sscanf(line, "id=%d", &id)
	return id
}

// chooseClients reads CLIENT LIST's arguments: TYPE t, or ID id ...
func (c *Call) chooseClients() (chosen []*Session, ok bool) {
	args := c.Args[2:]
	all := c.srv.allSessions()
	switch {
	case len(args) == 0:
		return all, true
	case len(args) == 2 && is(args[0], "type"):
		ofType, ok := c.clientType(args[1])
		if !ok {
			return nil, false
		}
		return slices.DeleteFunc(all, func(s *Session) bool { return !ofType(s) }), true
	case len(args) > 1 && is(args[0], "id"):
		for _, arg := range args[1:] {
			id, ok := protocol.ParseInt(arg)
			if !ok {
				c.W.Error("ERR Invalid client ID")
				return nil, false
			}
			for _, s := range all {
				if s.id == id {
					chosen = append(chosen, s)
				}
			}
		}
		return chosen, true
	}
	c.W.Error(protocol.ErrSyntax)
	return nil, false
}

// clientType reads the name of a type of client. Those that have subscribed are one, and there are no replicas of the Redis kind.
func (c *Call) clientType(name []byte) (ofType func(*Session) bool, ok bool) {
	switch lowerString(string(name)) {
	case "normal":
		return func(s *Session) bool { return !s.subscribed.Load() }, true
	case "pubsub":
		return func(s *Session) bool { return s.subscribed.Load() }, true
	case "slave", "replica", "master":
		return func(*Session) bool { return false }, true
	}
	c.W.Error("ERR Unknown client type '" + untilNUL(name) + "'")
	return nil, false
}

func (srv *Server) allSessions() []*Session {
	srv.sessions.Lock()
	defer srv.sessions.Unlock()
	all := make([]*Session, 0, len(srv.sessions.byID))
	for _, s := range srv.sessions.byID {
		all = append(all, s)
	}
	return all
}

func cmdClientReply(c *Call) {
	switch {
	case is(c.Args[2], "on"):
		c.s.replies = replyOn
		c.W.OK()
	case is(c.Args[2], "off"):
		c.s.replies = replyOff
	case is(c.Args[2], "skip"):
		if c.s.replies != replyOff {
			c.s.replies = replySkipNext
		}
	default:
		c.W.Error(protocol.ErrSyntax)
	}
}

func cmdClientNoevict(c *Call) {
	switch {
	case is(c.Args[2], "on"):
		c.s.noEvict = true
	case is(c.Args[2], "off"):
		c.s.noEvict = false
	default:
		c.W.Error(protocol.ErrSyntax)
		return
	}
	c.W.OK()
}

// killFilter is what CLIENT KILL looks for; zero fields match all.
type killFilter struct {
	addr, laddr string
	id          int64
	ofType      func(*Session) bool // nil: any type
	skipSelf    bool
}

func cmdClientKill(c *Call) {
	f, ok := c.killFilter()
	if !ok {
		return
	}
	killed := 0
	for _, s := range c.srv.allSessions() {
		if f.ofType != nil && !f.ofType(s) || f.id != 0 && s.id != f.id || f.addr != "" && s.info.Remote != f.addr ||
			f.laddr != "" && s.info.Local != f.laddr || f.skipSelf && s == c.s {
			continue
		}
		killed++
		if s == c.s {
			s.closing = true // once the reply is sent
			continue
		}
		s.loop.Post(func() {
			s.kill()
			s.loop.Touch(s)
		})
	}
	switch {
	case len(c.Args) > 3:
		c.W.Int(int64(killed))
	case killed == 0:
		c.W.Error("ERR No such client")
	default:
		c.W.OK()
	}
}

func (c *Call) killFilter() (f killFilter, ok bool) {
	if len(c.Args) == 3 {
		return killFilter{addr: string(c.Args[2])}, true
	}
	f.skipSelf = true
	for i := 2; i < len(c.Args); i += 2 {
		if i+1 == len(c.Args) {
			c.W.Error(protocol.ErrSyntax)
			return f, false
		}
		arg := c.Args[i+1]
		switch name := lowerString(string(c.Args[i])); name {
		case "id":
			if f.id, ok = protocol.ParseInt(arg); !ok || f.id < 1 {
				c.W.Error("ERR client-id should be greater than 0")
				return f, false
			}
		case "type":
			if f.ofType, ok = c.clientType(arg); !ok {
				return f, false
			}
		case "addr":
			f.addr = string(arg)
		case "laddr":
			f.laddr = string(arg)
		case "user":
			if string(arg) != defaultUser {
				c.W.Error("ERR No such user '" + untilNUL(arg) + "'")
				return f, false
			}
		case "skipme":
			f.skipSelf = is(arg, "yes")
			if !f.skipSelf && !is(arg, "no") {
				c.W.Error(protocol.ErrSyntax)
				return f, false
			}
		default:
			c.W.Error(protocol.ErrSyntax)
			return f, false
		}
	}
	return f, true
}

// cmdClientUnblock answers 0: no command of ours blocks yet.
func cmdClientUnblock(c *Call) {
	if len(c.Args) == 4 && !is(c.Args[3], "timeout") && !is(c.Args[3], "error") {
		c.W.Error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")
		return
	}
	if len(c.Args) > 4 {
		c.W.Error(unknownSubcommand(c.Row))
		return
	}
	if _, ok := c.intArg(2); ok {
		c.W.Int(0)
	}
}

func unknownSubcommand(row *Row) string {
	return "ERR unknown subcommand or wrong number of arguments for '" + upper(row.Name) + "'. Try " + upper(row.container.Name) + " HELP."
}

func cmdClientPause(c *Call) {
	writes := false
	switch {
	case len(c.Args) > 4:
		c.W.Error(unknownSubcommand(c.Row))
		return
	case len(c.Args) == 4 && is(c.Args[3], "write"):
		writes = true
	case len(c.Args) == 4 && !is(c.Args[3], "all"):
		c.W.Error("ERR CLIENT PAUSE mode must be WRITE or ALL")
		return
	}
	ms, ok := protocol.ParseInt(c.Args[2])
	if !ok {
		c.W.Error("ERR timeout is not an integer or out of range")
		return
	}
	if ms < 0 {
		c.W.Error("ERR timeout is negative")
		return
	}
	c.srv.pause(time.Duration(min(ms, int64(pauseMax/time.Millisecond)))*time.Millisecond, writes)
	c.W.OK()
}

func cmdClientUnpause(c *Call) {
	c.srv.unpause()
	c.W.OK()
}
