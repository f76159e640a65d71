package server

import (
	"bytes"
	"slices"
)

// gate holds back replies until what they rest on is committed (R12): those of commands that were executed one after the other, from
// one reading of the connection. One wait for all costs much less than one each, and as replies leave in order the last of them
// leaves no later.
type gate struct {
	s       *Session
	ticket  uint64
	reply   []byte // all replies from the first gated one on
	replies []gatedReply
	rests   []Rest // theirs, one after the other
	err     error

	done     func(error) // is wait
	complete func()      // is finish
}

// gatedReply is where the reply to one command stands in a gate, and what it rests on.
type gatedReply struct {
	start, end int // of its bytes
	rests      int // how many
	wrote      bool
	given      []loadToken
}

// gateMax bounds the replies behind one gate.
const gateMax = 32

func newGate() *gate {
	g := &gate{}
	g.done, g.complete = g.wait, g.finish
	return g
}

// awaitCommit holds back what the command just executed has answered until all it saw is committed. start is where the reply begins.
func (s *Session) awaitCommit(c *Call, start int) {
	if s.replies != replyOn { // there is nothing to hold back
		if c.wrote {
			s.noteSilent(c.rests())
		}
		return
	}
	rests := c.rests()
	if len(rests) == 0 || c.srv.router.Committed(rests) {
		return
	}
	if len(c.gate.replies) == 0 {
		c.gateStart = start
	}
	g := &c.gate
	g.rests = append(g.rests, rests...)
	g.replies = append(g.replies, gatedReply{start - c.gateStart, len(c.W.Buf) - c.gateStart, len(rests), c.wrote, c.given})
	if len(g.replies) == gateMax {
		s.closeGate(c)
	}
}

// closeGate makes a pending reply of what gathers behind the gate.
func (s *Session) closeGate(c *Call) {
	if len(c.gate.replies) == 0 {
		return
	}
	g := c.srv.gates.Get().(*gate)
	g.s, g.err = s, nil
	g.replies, c.gate.replies = c.gate.replies, g.replies[:0]
	g.rests, c.gate.rests = c.gate.rests, g.rests[:0]
	if c.srv.router.Await(g.rests, g.done) {
		c.srv.gates.Put(g)
		return
	}
	// wait may have been called already: what it posts runs later, on this goroutine.
	g.reply = bytes.Clone(c.W.Buf[c.gateStart:])
	c.W.Buf = c.W.Buf[:c.gateStart]
	g.ticket = s.pend(c)
}

// wait is told how the wait has ended.
func (g *gate) wait(err error) {
	g.err = err
	g.s.loop.Post(g.complete)
}

// finish runs on the session's loop.
func (g *gate) finish() {
	s := g.s
	if g.err != nil {
		g.reply = g.failed()
	}
	s.Complete(g.ticket, g.reply)
	g.s, g.reply = nil, nil
	s.srv.gates.Put(g)
}

// failed are the replies where not all is committed: those whose own rests are not become errors.
func (g *gate) failed() (reply []byte) {
	at, rests := 0, g.rests
	for _, r := range g.replies {
		reply = append(reply, g.reply[at:r.start]...)
		if own := rests[:r.rests]; g.s.srv.router.Committed(own) {
			reply = append(reply, g.reply[r.start:r.end]...)
		} else {
			reply = append(reply, errorReply(unconfirmed(r.wrote))...)
			g.s.srv.passOwn(r.given)
			if r.wrote {
				g.s.noteUncommitted(own)
			}
		}
		at, rests = r.end, rests[r.rests:]
	}
	return slices.Concat(reply, g.reply[at:])
}
