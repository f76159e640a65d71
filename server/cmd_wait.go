package server

import (
	"time"

	"github.com/neargrid/neargrid/protocol"
)

var waitRows = []*Row{
	{Name: "wait", Arity: 3, Flags: NoScript, ACL: CatConnection, Group: "generic", Since: "3.0.0", Complexity: "O(1)",
		Tips:    []string{"request_policy:all_shards", "response_policy:agg_min"},
		Summary: "Answers how many backups hold what this connection has written.",
		Syntax:  "numreplicas:integer timeout:integer", Run: cmdWait},
}

// waitPeriod is how often WAIT looks at least whether there are more backups by now; it begins with retryPauseMin.
const waitPeriod = 20 * time.Millisecond

// waitMax is the longest timeout of WAIT; a longer one ends there.
const waitMax = 24 * time.Hour

// cmdWait answers the smallest number of backups over the partitions that the session has written to (R26); over all partitions where it
// has written nothing. It counts when all before it is answered, so that all backups in sync hold that, but for writes in doubt (see
// written): what it waits for is more of them. Where it would wait for good (timeout 0) it answers with what there is after commandTimeMax.
// One that must not wait, in a transaction, counts nothing while something before it is not answered.
func cmdWait(c *Call) {
	wanted, ok := c.intArg(1)
	if !ok {
		return
	}
	ms, isInt := protocol.ParseInt(c.Args[2])
	switch {
	case !isInt:
		c.W.Error("ERR timeout is not an integer or out of range")
		return
	case ms < 0:
		c.W.Error("ERR timeout is negative")
		return
	}
	timeout := time.Duration(min(ms, int64(waitMax/time.Millisecond))) * time.Millisecond
	if c.srv.router == nil {
		c.W.Int(0)
		return
	}
	router := c.srv.router
	have, answered := c.s.leastBackups(router.Topology()), len(c.s.queue)+len(c.gate.replies) == 0
	switch {
	case c.isQueued() && !answered:
		c.W.Int(0)
		return
	case c.isQueued(), answered && have >= wanted:
		c.W.Int(have)
		return
	}
	if timeout == 0 {
		timeout = commandTimeMax
	}
	s, end, silent := c.s, c.now+timeout, c.s.replies != replyOn
	ticket := s.pend(c)
	s.barrier++
	pause := time.Duration(0)
	var look, lookLater func()
	look = func() {
		if s.killed {
			return
		}
		have := s.leastBackups(router.Topology())
		if have < wanted && s.srv.clock() < end || s.queue[0].ticket != ticket {
			lookLater()
			return
		}
		s.barrier--
		w := protocol.Writer{}
		if w.Int(have); silent {
			w.Buf = nil
		}
		s.Complete(ticket, w.Buf)
	}
	lookLater = func() {
		pause = min(max(2*pause, retryPauseMin), waitPeriod)
		after := pause
		if left := end - s.srv.clock(); left > 0 {
			after = min(after, left)
		}
		s.srv.after(after, func() { s.loop.Post(look) })
	}
	lookLater()
}

// isQueued tells whether the command is one of a transaction.
func (c *Call) isQueued() bool { return c.multi != nil }
