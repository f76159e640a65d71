package server

import (
	"math/rand/v2"
	"strconv"

	"github.com/neargrid/neargrid/partition"
)

// Who wants to hear of no changes of its own (NOLOOP) must be known wherever they are made. Here a session is known by its tracker. Elsewhere
// it is known by a family, drawn by the door that it is connected to, and by its number there: they travel with its commands, and back with
// word of what those have changed. A sidecar's sessions are one family as well: its connections to nodes, which it shares between them, say by
// GRID.ORIGIN for whom they send, and its connections for near reads, of which family they are.
//
//	session     door                            owner
//	SET k ....  forward: By ..................  Tx.Origin: origin; guestReader.Invalidate
//	            relay.answered: dropOf <......  k, by whom
//
// An origin that gets lost on the way, or a key that several have changed, costs no more than a push that was not needed.

// origin is whose changes are made; the zero value: nobody's who asks.
type origin struct{ family, number uint64 }

// familyMax bounds families and numbers: they are written as integers.
const familyMax = 1<<63 - 1

func drawFamily() uint64 { return 1 + rand.Uint64N(familyMax) }

// Family is the family of this server's sessions: the first half of Forwarded.By.
func (srv *Server) Family() uint64 { return srv.family }

// origin is the session as others know it.
func (s *Session) origin() origin { return origin{s.srv.family, uint64(s.id)} }

// nameOrigin is what other nodes are to know of who makes changes: nothing, where it wants to hear of them.
func nameOrigin(by partition.Origin) [2]uint64 {
	o, _ := by.(origin)
	if t, ok := by.(*tracker); ok && t.noloop() {
		o = t.s.origin()
	}
	return [2]uint64{o.family, o.number}
}

// namedOrigin undoes nameOrigin.
func namedOrigin(by [2]uint64) partition.Origin {
	if by == [2]uint64{} {
		return nil
	}
	return origin{by[0], by[1]}
}

const (
	errOrigin   = "ERR GRID.ORIGIN takes positive integers"
	errNoOrigin = "ERR GRID.ORIGIN of a family needs HELLO 3, and CLIENT TRACKING ON without REDIRECT"
)

// cmdGridOrigin with a number says whose changes the next command makes, or the next transaction; without one, that this connection is to be
// told by which member of a family a key was changed.
func cmdGridOrigin(c *Call) {
	o, t := origin{}, c.s.tracker
	if len(c.Args) > 3 {
		c.W.Error(wrongArity(c.Row))
		return
	}
	for i, to := range []*uint64{&o.family, &o.number}[:len(c.Args)-1] {
		n, err := strconv.ParseUint(string(c.Args[1+i]), 10, 63)
		if err != nil || n == 0 {
			c.W.Error(errOrigin)
			return
		}
		*to = n
	}
	switch {
	case len(c.Args) == 3:
		c.s.as = o
	case t == nil || !t.mu.on || t.mu.redirect != 0 || c.s.resp != 3:
		c.W.Error(errNoOrigin)
		return
	default:
		t.joinFamily(o.family)
	}
	c.W.OK()
}

func (t *tracker) joinFamily(family uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.family = family
}

func (t *tracker) noloop() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.noloop
}

// endOrigin ends what GRID.ORIGIN has said: it is for one command, or for a whole transaction.
func (s *Session) endOrigin(c *Call) {
	c.origin = nil
	if s.as != (origin{}) && s.multi == nil && (c.Row == nil || c.Row.Name != "grid.origin") {
		s.as = origin{}
	}
}
