package server

import (
	"maps"
	"sync"
	"time"

	"github.com/neargrid/neargrid/partition"
)

// guests are the other nodes whose doors have commands executed here (R23). Commands of one node come on one goroutine, in order.
type guests struct {
	sync.Mutex
	byNode map[NodeID]*guest
}

// guest is one start of another node.
type guest struct {
	sync.Mutex
	refusing map[uint64]time.Duration // its sessions with a command that was refused, up to their next First: when that was, by the server's clock
	sweepAt  int                      // with so many of them, those of long ago are forgotten
	reads    *guestReader             // nil: it has had nothing tracked
	loads    loadTokens               // that its clients were given
	gone     bool
}

// Sessions end without a word, so not each has another First. What was sent behind a refused command was sent before its answer was
// there, or its time was over; and once that has been so for long enough, there is nothing left that it could overtake.
const (
	refusingMax   = 2 * answerTimeMax
	refusingSweep = 1024
)

// guestSessionsMax bounds the sessions of a guest that are refused what they sent behind a refused command: beyond, a door has more
// connections than it can.
const guestSessionsMax = 1 << 20

// Execute executes a command of another node's door, and answers once, on any goroutine. from is a start of a node; calls with one from
// come one after the other. f and its arguments are the server's until it has answered. Whoever calls it calls Router.Flush after the last
// of the commands that have come together.
func (srv *Server) Execute(from NodeID, f *Forwarded, answer func(Answer)) {
	g := srv.guest(from)
	if g.refuses(f) {
		answer(Answer{Outcome: NotExecuted, Version: srv.router.Topology().Version})
		return
	}
	if f.Kind == ForwardRelay {
		if len(f.Args) != 1 {
			answer(Answer{Outcome: Executed, Reply: errorReply(errForwarded + "no question")})
			return
		}
		g.reader(srv).ask(f, answer)
		return
	}
	t, text := srv.guestTask(f)
	if text != "" {
		answer(Answer{Outcome: Executed, Reply: errorReply(text)})
		return
	}
	if f.Kind == ForwardTracked || f.Kind == ForwardTrackedExec {
		t.track = g.reader(srv)
	}
	t.execute(func(a Answer) {
		if a.Outcome == NotExecuted {
			g.refused(f, srv.clock())
		}
		g.give(t)
		answer(a)
	})
}

// Gone forgets a start of a node: its stream has ended.
func (srv *Server) Gone(from NodeID) {
	srv.guests.Lock()
	g := srv.guests.byNode[from]
	delete(srv.guests.byNode, from)
	srv.guests.Unlock()
	if g != nil {
		g.leave(srv)
	}
}

// leave ends the guest. What is still executed for it may come later.
func (g *guest) leave(srv *Server) {
	g.Lock()
	reads, loads := g.reads, g.loads
	g.gone, g.loads = true, nil
	g.Unlock()
	srv.passOwn(loads)
	if reads != nil {
		reads.leave()
	}
}

func (srv *Server) guest(from NodeID) *guest {
	srv.guests.Lock()
	defer srv.guests.Unlock()
	g := srv.guests.byNode[from]
	if g == nil {
		g = &guest{refusing: map[uint64]time.Duration{}}
		srv.guests.byNode[from] = g
	}
	return g
}

// refuses tells whether a command stands behind one of its session that was refused: it must not overtake that (R24).
func (g *guest) refuses(f *Forwarded) bool {
	if f.Session == 0 {
		return false
	}
	g.Lock()
	defer g.Unlock()
	if f.First {
		delete(g.refusing, f.Session)
	}
	_, refusing := g.refusing[f.Session]
	return refusing
}

func (g *guest) refused(f *Forwarded, now time.Duration) {
	if f.Session == 0 {
		return
	}
	g.Lock()
	defer g.Unlock()
	if len(g.refusing) >= max(g.sweepAt, refusingSweep) {
		maps.DeleteFunc(g.refusing, func(_ uint64, at time.Duration) bool { return now-at > refusingMax })
		g.sweepAt = 2 * len(g.refusing)
	}
	if len(g.refusing) < guestSessionsMax {
		g.refusing[f.Session] = now
	}
}

const errForwarded = "ERR The other node sent what cannot be executed here: "

// guestTask makes a task of what another node sent. text says what is wrong with that, if so.
func (srv *Server) guestTask(f *Forwarded) (t *task, text string) {
	kind := f.Kind
	switch kind {
	case ForwardTracked:
		kind = ForwardCommand
	case ForwardTrackedExec:
		kind = ForwardExec
	}
	t = &task{srv: srv, guest: true, kind: kind, args: f.Args, db: f.DB, resp: f.Resp, deadline: srv.clock() + min(f.Timeout, commandTimeMax),
		origin: namedOrigin(f.By)}
	if f.Resp != 2 && f.Resp != 3 || f.DB < 0 || f.DB >= partition.Databases || len(f.Args) == 0 {
		return nil, errForwarded + "no command"
	}
	switch kind {
	case ForwardExec:
		var ok bool
		if t.multi, t.watching, ok = decodeExec(f.Args, srv.store.PartitionOf); !ok {
			return nil, errForwarded + "no transaction"
		}
		t.row = lookupName("exec")
		return t, ""
	case ForwardWalk:
		var ok bool
		if t.parts, ok = decodeParts(f.Args[0], srv.store.Partitions()); !ok || len(f.Args) < 2 {
			return nil, errForwarded + "no list of partitions"
		}
		t.args = f.Args[1:]
	case ForwardCommand, ForwardWatch:
	default:
		return nil, errForwarded + "a kind that is not known"
	}
	t.row = lookup(t.args)
	switch row := t.row; {
	case row == nil || !row.arityFits(len(t.args)):
		return nil, errForwarded + "an unknown command, or a wrong number of arguments"
	case kind == ForwardWalk && !row.walks(),
		kind == ForwardCommand && (len(row.Keys) == 0 || row.runsInMulti()),
		kind == ForwardWatch && row.Name != "watch":
		return nil, errForwarded + "'" + row.fullName() + "', which is not forwarded so"
	}
	return t, ""
}
