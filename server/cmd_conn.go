package server

import (
	"crypto/subtle"
	"slices"

	"github.com/neargrid/neargrid/protocol"
)

// What HELLO and INFO say we are: client libraries test for it (DESIGN: "What each door says").
const (
	helloServer  = "redis"
	redisVersion = "7.4.0"
)

var connRows = []*Row{
	{Name: "auth", Arity: -2, Flags: NoScript | Loading | Stale | Fast | NoAuth | AllowBusy, Group: "connection",
		Since: "1.0.0", Complexity: "O(N)",
		Summary: "Authenticates the connection.",
		Syntax:  "[username] password", Run: cmdAuth},
	{Name: "echo", Arity: 2, Flags: Loading | Stale | Fast, Group: "connection",
		Since: "1.0.0", Complexity: "O(1)",
		Summary: "Returns its argument.",
		Syntax:  "message", Run: cmdEcho},
	{Name: "hello", Arity: -1, Flags: NoScript | Loading | Stale | Fast | NoAuth | AllowBusy, Group: "connection",
		Since: "6.0.0", Complexity: "O(1)",
		Summary: "Chooses the protocol version, and may authenticate and name the connection.",
		Syntax:  "arguments:[protover [AUTH username password] [SETNAME clientname]]", Run: cmdHello},
	{Name: "ping", Arity: -1, Flags: Fast, Group: "connection",
		Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"}, Since: "1.0.0", Complexity: "O(1)",
		Summary: "Answers PONG, or its argument.",
		Syntax:  "[message]", Run: cmdPing},
	{Name: "quit", Arity: -1, Flags: NoScript | Loading | Stale | Fast | NoAuth | AllowBusy, Group: "connection",
		Since: "1.0.0", Complexity: "O(1)",
		Summary: "Closes the connection once all replies are sent.", Run: cmdQuit},
	{Name: "reset", Arity: 1, Flags: NoScript | Loading | Stale | Fast | NoAuth | AllowBusy, Group: "connection",
		Since: "6.2.0", Complexity: "O(1)",
		Summary: "Puts the connection back to how it began.", Run: cmdReset},
	{Name: "select", Arity: 2, Flags: Loading | Stale | Fast, Group: "connection",
		Since: "1.0.0", Complexity: "O(1)",
		Summary: "Chooses the database of this connection.",
		Syntax:  "index", Run: cmdSelect},
}

func cmdPing(c *Call) {
	switch {
	case len(c.Args) > 2:
		c.W.Error(wrongArity(c.Row))
	case c.W.Resp != 3 && c.s.subscribed.Load(): // in the form of a message
		c.W.Array(2)
		c.W.BulkString("pong")
		c.W.Bulk(slices.Concat(c.Args[1:]...))
	case len(c.Args) == 1:
		c.W.Simple("PONG")
	default:
		c.W.Bulk(c.Args[1])
	}
}

func cmdEcho(c *Call) { c.W.Bulk(c.Args[1]) }

func cmdQuit(c *Call) {
	c.W.OK()
	c.s.closing = true
}

func cmdSelect(c *Call) {
	db, ok := c.dbArg(1, "")
	if !ok {
		return
	}
	if db != 0 && c.s.info.Cluster {
		c.W.Error("ERR SELECT is not allowed in cluster mode")
		return
	}
	c.s.db = db
	c.W.OK()
}

// defaultUser is the only user there is.
const defaultUser = "default"

// authenticate checks a name and password, and marks the session where they are right.
func (s *Session) authenticate(user, password []byte) bool {
	want := s.srv.config.RequirePass()
	if string(user) != defaultUser || want != "" && subtle.ConstantTimeCompare(password, []byte(want)) != 1 {
		return false
	}
	s.setAuthed(true)
	return true
}

func (s *Session) setAuthed(authed bool) {
	s.authed = authed
	s.reader.Unauthenticated = !authed
}

func cmdAuth(c *Call) {
	user, password := []byte(defaultUser), c.Args[1]
	switch {
	case len(c.Args) > 3:
		c.W.Error(protocol.ErrSyntax)
		return
	case len(c.Args) == 3:
		user, password = c.Args[1], c.Args[2]
	case c.srv.config.RequirePass() == "":
		c.W.Error("ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?")
		return
	}
	if !c.s.authenticate(user, password) {
		c.W.Error(protocol.ErrWrongPass)
		return
	}
	c.W.OK()
}

func cmdHello(c *Call) {
	version, i := int64(0), 1
	if len(c.Args) > 1 {
		var ok bool
		if version, ok = protocol.ParseInt(c.Args[1]); !ok {
			c.W.Error("ERR Protocol version is not an integer or out of range")
			return
		}
		if version != 2 && version != 3 {
			c.W.Error(protocol.ErrNoProto)
			return
		}
		i = 2
	}
	for ; i < len(c.Args); i++ {
		more := len(c.Args) - 1 - i
		switch {
		case is(c.Args[i], "auth") && more >= 2:
			if !c.s.authenticate(c.Args[i+1], c.Args[i+2]) {
				c.W.Error(protocol.ErrWrongPass)
				return
			}
			i += 2
		case is(c.Args[i], "setname") && more >= 1:
			if !c.setName(c.Args[i+1]) {
				return
			}
			i++
		default:
			c.W.Error("ERR Syntax error in HELLO option '" + untilNUL(c.Args[i]) + "'")
			return
		}
	}
	if !c.s.authed {
		c.W.Error("NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time")
		return
	}
	if version != 0 {
		c.s.resp = int(version)
		c.W.Resp = c.s.resp
	}
	c.W.Map(7)
	c.W.BulkString("server")
	c.W.BulkString(helloServer)
	c.W.BulkString("version")
	c.W.BulkString(redisVersion)
	c.W.BulkString("proto")
	c.W.Int(int64(c.s.resp))
	c.W.BulkString("id")
	c.W.Int(c.s.id)
	c.W.BulkString("mode")
	c.W.BulkString(c.mode())
	c.W.BulkString("role")
	if c.replicaOf() != nil {
		c.W.BulkString("replica")
	} else {
		c.W.BulkString("master")
	}
	c.W.BulkString("modules")
	c.W.Array(0)
}

// cmdReset puts the session back to how it began; a password has to be given again.
func cmdReset(c *Call) {
	s := c.s
	s.multi = nil
	s.unwatch()
	s.unsubscribe()
	if t := s.tracker; t != nil && t.mu.on {
		t.caching = false
		t.change(trackingMode{}, s)
	}
	s.db, s.resp, s.name = 0, 2, ""
	s.noEvict = false
	s.replies = replyOn
	s.setAuthed(c.srv.config.RequirePass() == "")
	s.unknown = c.now
	c.W.Resp = 2
	c.W.Simple("RESET")
}
