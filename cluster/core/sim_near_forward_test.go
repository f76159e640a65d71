package core

import (
	"cmp"
	"slices"
	"time"

	"github.com/neargrid/neargrid/server"
)

// simLink is a stream on which a door has another one execute commands. What is sent arrives in order, or not at all.
type simLink struct {
	from, to *simDoor
	peer     Member
	up, down simPipe
	queued   []func() // to be sent by flush
	calls    []*simCall
	broken   bool // nothing is sent or answered any more
	tracks   bool // it has had keys tracked
}

type simCall struct {
	number int // of all
	done   func(server.Answer)
}

// simPipe is one direction of a connection.
type simPipe struct {
	last  time.Duration // when the newest message arrives
	held  bool          // nothing arrives for the time being
	stuck []func()
}

// send has something arrive, behind what was sent before.
func (p *simPipe) send(s *sim, arrive func()) {
	p.last = max(p.last, s.now+s.between(100*time.Microsecond, s.setup.delayMax))
	s.after(p.last-s.now, func() {
		if p.held {
			p.stuck = append(p.stuck, arrive)
			return
		}
		arrive()
	})
}

// release lets what is stuck arrive, and all that comes behind it.
func (p *simPipe) release() {
	stuck := p.stuck
	p.held, p.stuck = false, nil
	for _, arrive := range stuck {
		arrive()
	}
}

// trickle lets what is stuck arrive piece by piece, and then all that comes behind it.
func (p *simPipe) trickle(s *sim) {
	if !p.held || len(p.stuck) == 0 {
		p.held = false
		return
	}
	first := p.stuck[0]
	p.stuck = p.stuck[1:]
	first()
	s.after(s.between(0, 600*time.Millisecond), func() { p.trickle(s) })
}

// Forward has another node execute a command.
func (d *simDoor) Forward(to server.NodeID, f *server.Forwarded, done func(server.Answer)) {
	e := d.node.table.Node(NodeID(to))
	if e == nil || e.Status == Fenced || f.Timeout <= 0 {
		done(server.Answer{Outcome: server.NotExecuted, Version: d.node.table.Version})
		return
	}
	l := d.link(e.Member())
	c := *f
	c.Args = make([][]byte, len(f.Args))
	for i, arg := range f.Args {
		c.Args[i] = slices.Clone(arg)
	}
	d.node.sim.near.calls++
	call := &simCall{d.node.sim.near.calls, done}
	l.calls = append(l.calls, call)
	d.After(f.Timeout, func() { l.finish(call, server.Answer{Outcome: server.Unknown}) })
	l.queued = append(l.queued, func() { l.serve(&c, call) })
}

func (d *simDoor) link(to Member) *simLink {
	i := slices.IndexFunc(d.links, func(l *simLink) bool { return l.peer == to && !l.broken })
	if i >= 0 {
		return d.links[i]
	}
	l := &simLink{from: d, peer: to}
	d.links = append(slices.DeleteFunc(d.links, func(l *simLink) bool { return l.broken }), l)
	return l
}

func (l *simLink) flush() {
	s := l.from.node.sim
	for _, f := range l.queued {
		l.up.send(s, func() { l.arrive(f) })
	}
	l.queued = nil
}

// arrive runs what has come at the other node. While the network between the two is cut it waits, or the stream breaks.
func (l *simLink) arrive(f func()) {
	s := l.from.node.sim
	n := s.node(l.peer.Node)
	switch {
	case l.broken:
	case !n.up || n.member() != l.peer:
		l.fail()
	case s.cut[[2]NodeID{l.from.node.id, n.id}] && s.random.IntN(2) == 0:
		s.count("near: stream between doors cut")
		l.fail()
	case s.cut[[2]NodeID{l.from.node.id, n.id}]:
		l.up.held = true
		l.up.stuck = append(l.up.stuck, func() { l.arrive(f) })
		s.after(50*time.Millisecond, l.up.release)
	default:
		n.run(f)
	}
}

// serve has the other node's server execute a command.
func (l *simLink) serve(f *server.Forwarded, call *simCall) {
	s := l.from.node.sim
	d := s.node(l.peer.Node).door
	if l.broken {
		return
	}
	from := Member{l.from.node.id, l.from.inc}
	l.to = d
	if older := d.guests[from]; older != l {
		if older != nil {
			older.fail()
			d.srv.Gone(startOf(from))
		}
		d.guests[from] = l
	}
	if f.Kind == server.ForwardTracked {
		s.count("near: tracked read by way of another door")
		l.tracks = true
	}
	d.node.sim.near.trace("%s executes %q of kind %d for %s", d.node.id, f.Args, f.Kind, from)
	d.srv.Execute(startOf(from), f, func(a server.Answer) {
		d.node.sim.near.trace("%s answers %q of kind %d for %s: %d %q", d.node.id, f.Args, f.Kind, from, a.Outcome, a.Reply)
		if d.closed {
			return
		}
		a.Reply = slices.Clone(a.Reply)
		d.answers = append(d.answers, simAnswer{l, call, a})
		if len(d.answers) == 1 {
			s.after(0, d.sendAnswers)
		}
	})
	d.endTurn()
}

// simAnswer is one that was given, and is about to be sent: in an order that does not rest on who goes through a map.
type simAnswer struct {
	link *simLink
	call *simCall
	server.Answer
}

func (d *simDoor) sendAnswers() {
	slices.SortStableFunc(d.answers, func(a, b simAnswer) int {
		return cmp.Or(cmp.Compare(a.link.from.node.id, b.link.from.node.id), cmp.Compare(a.call.number, b.call.number))
	})
	for _, a := range d.answers {
		a.link.down.send(d.node.sim, func() { a.link.from.run(func() { a.link.finish(a.call, a.Answer) }) })
	}
	d.answers = nil
}

func (l *simLink) finish(call *simCall, a server.Answer) {
	i := slices.Index(l.calls, call)
	if i < 0 {
		return
	}
	l.calls = slices.Delete(l.calls, i, i+1)
	call.done(a)
	l.from.endTurn()
}

// fail breaks the stream; each end notices in its time.
func (l *simLink) fail() {
	if l.broken {
		return
	}
	l.broken = true
	s := l.from.node.sim
	s.after(s.between(0, 500*time.Millisecond), func() {
		l.from.run(func() {
			for len(l.calls) > 0 {
				l.finish(l.calls[0], server.Answer{Outcome: server.Unknown})
			}
		})
	})
	if l.to == nil {
		return
	}
	from := Member{l.from.node.id, l.from.inc}
	s.after(s.between(0, 2*time.Second), func() {
		l.to.run(func() {
			if l.to.guests[from] == l {
				delete(l.to.guests, from)
				l.to.srv.Gone(startOf(from))
			}
		})
	})
}
