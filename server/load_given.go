package server

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// Others wait for who has a token of GRID.LOAD. It is given back at once, as by GRID.PASS, where the server knows that its holder never
// got it, or is gone:
//
//	a reply is taken back, or becomes an error                                              Call.confirm, gate.failed, task.await
//	a reply is not wanted: CLIENT REPLY                                                     Session.give
//	a connection ends: what it was given last                                               Session.Closed
//	an answer comes for a connection that has ended                                         Session.give, gaveLate
//	another node's stream ends: what was given to its clients, who may have got it or not   guest.leave
//	another node is answered later than it waits                                            guest.give
//
// So a token is good no longer than the connection that it was given on. Who forwards knows his clients' tokens by the replies, and gives
// back those of a client that has gone by forwarding GRID.PASS: a node's door as well as a sidecar.

// loadToken is a token of GRID.LOAD that somebody was given.
type loadToken struct {
	db    int
	key   []byte
	token int64
	until int64 // ms since 1970: it is void from then on
}

// loadTokens are the tokens that a connection was given. They are not told of those that are void: to give such a one back does nothing.
type loadTokens []loadToken // up to the bound of who has them

const (
	// sessionLoadsMax and guestLoadsMax bound the tokens that are given back for a client, and for another node. Of more, the oldest run out
	// by themselves.
	sessionLoadsMax = 1024
	guestLoadsMax   = 8192
)

// add adds tokens. For want of room those go whose time is over, and if that is not enough the oldest.
func (l *loadTokens) add(given []loadToken, now int64, bound int) {
	for _, t := range given {
		if len(*l) >= bound {
			*l = slices.DeleteFunc(*l, func(t loadToken) bool { return t.until <= now })
			*l = slices.Delete(*l, 0, max(0, len(*l)-bound*3/4))
		}
		*l = append(*l, t)
	}
}

// giveLoad notes a token that the command gives.
func (c *Call) giveLoad(key []byte, l partition.Load) {
	c.given = append(c.given, loadToken{db: c.Tx.DB, key: bytes.Clone(key), token: l.Token, until: c.Tx.Now + l.LeftMs})
}

// takeGiven takes the tokens that the last command has given.
func (c *Call) takeGiven() []loadToken {
	given := c.given
	c.given = nil
	return given
}

// give notes tokens that the session gets, or gives them back where it is closed, or wants no replies.
func (s *Session) give(given []loadToken, wanted bool) {
	if len(given) == 0 {
		return
	}
	if s.killed || !wanted {
		s.srv.passLoads(given)
		return
	}
	s.loads.add(given, s.srv.wallMs(s.srv.clock()), sessionLoadsMax)
}

// giveNow does so with those that a command has given which was executed at once.
func (s *Session) giveNow(c *Call, wanted bool) {
	if len(c.given) > 0 {
		s.give(c.takeGiven(), wanted)
	}
}

// giveTask does so with those in the answer to a task.
func (s *Session) giveTask(t *task, reply []byte) {
	if !t.passed {
		s.give(t.loadsIn(reply), !t.silent)
	}
}

// gaveLate gives back those in an answer to a session that has ended: its loop may not run any more. The caller may hold locks.
func (s *Session) gaveLate(t *task, reply []byte) {
	if given := t.loadsIn(reply); len(given) > 0 && !t.passed {
		t.passed = true
		s.srv.after(0, func() {
			s.srv.passLoads(given)
			s.srv.flush()
		})
	}
}

// endLoads gives back the tokens of a session that ends; those in answers that wait for it, and in those that come from now on, too.
func (s *Session) endLoads() {
	l := &s.landings
	l.Lock()
	l.ended = true
	for _, v := range l.over {
		s.gaveLate(v.t, v.answer.Reply)
	}
	l.Unlock()
	if len(s.loads) > 0 {
		s.srv.passLoads(s.loads)
		s.srv.flush()
		s.loads = nil
	}
}

func (l *landings) isEnded() bool {
	l.Lock()
	defer l.Unlock()
	return l.ended
}

// give notes what clients of the other node get by a task's answer. What comes later than they wait is given back. The caller may hold
// locks.
func (g *guest) give(t *task) {
	given := t.given
	if len(given) == 0 {
		return
	}
	now := t.srv.clock()
	g.Lock()
	late := g.gone || now > t.deadline
	if !late {
		g.loads.add(given, t.srv.wallMs(now), guestLoadsMax)
	}
	g.Unlock()
	if late {
		t.srv.after(0, func() { t.srv.passOwn(given) })
	}
}

// passLoads gives tokens back, of this node and others. The caller must hold no partition.
func (srv *Server) passLoads(given []loadToken) {
	now := srv.wallMs(srv.clock())
	for i := range given {
		if l := &given[i]; l.until > now && !srv.passHere(l) && srv.router != nil {
			srv.passAway(l)
		}
	}
}

// passOwn gives back tokens of this node's own. The caller must hold no partition.
func (srv *Server) passOwn(given []loadToken) {
	for i := range given {
		srv.passHere(&given[i])
	}
}

// passHere gives back a token of this node's own; false where it has no such.
func (srv *Server) passHere(l *loadToken) bool {
	c := srv.calls.Get().(*Call)
	defer srv.calls.Put(c)
	c.Tx.DB = l.db
	c.Tx.Begin(srv.wallMs(srv.clock()), srv.store.PartitionOf(l.key))
	defer c.Tx.End()
	return c.Tx.PassLoad(l.key, l.token)
}

// passAway has the node that has the key do it, where that is another.
func (srv *Server) passAway(l *loadToken) {
	p := srv.store.PartitionOf(l.key)
	if top := srv.router.Topology(); top.Parts[p].Primary == top.Self {
		return
	}
	t := &task{
		srv: srv, kind: ForwardCommand, row: lookupName("grid.pass"), parts: []int{p}, db: l.db, resp: 2, first: true,
		args:     [][]byte{[]byte("GRID.PASS"), l.key, strconv.AppendInt(nil, l.token, 10)},
		deadline: srv.clock() + min(commandTimeMax, time.Duration(l.until-srv.wallMs(srv.clock()))*time.Millisecond),
	}
	t.run(func([]byte) {})
}

// loadsIn are the tokens in a task's answer.
func (t *task) loadsIn(reply []byte) (given []loadToken) {
	take := func(db int, args [][]byte, reply []byte) {
		if token, ms := loadReply(reply); token != 0 {
			now := t.srv.wallMs(t.srv.clock())
			given = append(given, loadToken{db: db, key: bytes.Clone(args[1]), token: token, until: now + ms})
		}
	}
	switch {
	case t.row != nil && t.row.Name == "grid.load":
		take(t.db, t.args, reply)
	case t.multi != nil && t.multi.loads() && len(reply) > 1 && reply[0] == '*' && reply[1] != '-':
		db, elements := t.db, replyElements(reply)
		for i, element := range elements[:min(len(elements), len(t.multi.queue))] {
			switch q := t.multi.queue[i]; {
			case q.row.Name == "grid.load":
				take(db, q.args, element)
			case q.row.Name == "select" && !isError(element):
				n, _ := protocol.ParseInt(q.args[1])
				db = int(n)
			}
		}
	}
	return given
}

// loads tells whether a command of the transaction may give a token.
func (t *transaction) loads() bool {
	return slices.ContainsFunc(t.queue, func(q queued) bool { return q.row.Name == "grid.load" })
}

// loadReply reads a token in a reply to GRID.LOAD, and for how many ms it is good; zeros where it gives none.
func loadReply(reply []byte) (token, ms int64) {
	rest, ok := bytes.CutPrefix(reply, []byte("*3\r\n$4\r\nload\r\n:"))
	if !ok {
		return 0, 0
	}
	first := firstLine(rest)
	token, _ = protocol.ParseInt(first)
	if rest, ok = bytes.CutPrefix(rest[len(first):], []byte("\r\n:")); ok {
		ms, _ = protocol.ParseInt(firstLine(rest))
	}
	return token, ms
}

// Late is what an Upstream that has ended a command without an answer calls with one that comes then; nil: it need not. f's arguments must
// stay as they are.
func (srv *Server) Late(f *Forwarded) func(reply []byte) {
	loads := func(name []byte) bool { return is(name, "grid.load") }
	if f.Kind != ForwardExec && !loads(f.Args[0]) || !slices.ContainsFunc(f.Args, loads) {
		return nil
	}
	t := &task{srv: srv, args: f.Args, db: f.DB}
	if f.Kind == ForwardExec {
		t.multi, _, _ = decodeExec(f.Args, srv.store.PartitionOf)
	} else {
		t.row = lookup(f.Args)
	}
	return func(reply []byte) {
		srv.passLoads(t.loadsIn(reply))
		srv.flush()
	}
}
