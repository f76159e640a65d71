package server

import (
	"math"
	"time"
)

// Commands for clients that keep copies of what they read near to them: neargrid's own.

var nearRows = []*Row{
	{Name: "grid.lease", Arity: 2, Flags: NoScript | Loading | Stale | Fast | NoMulti, Group: "grid", Since: sinceGrid, Complexity: "O(1)",
		Tips:    []string{nondeterministic},
		Summary: "Returns for how many milliseconds what this connection has read and was not told to drop counts; has it told of partitions.",
		Syntax:  "milliseconds", Run: cmdGridLease},
	{Name: "grid.origin", Arity: -2, Flags: NoScript | Loading | Stale | Fast | NoMulti, Group: "grid", Since: sinceGrid, Complexity: "O(1)",
		Summary: "Says whose changes the next command or transaction makes; without a number, of whose family this connection is.",
		Syntax:  "family:integer [number:integer]", Run: cmdGridOrigin},
	{Name: "grid.read", Arity: -3, Flags: ReadOnly | MovableKeys, Group: "grid", Since: sinceGrid, Complexity: "O(1) and the command's",
		Keys: []KeySpec{keysUnknown(RO | Access)}, FindKeys: findWrapped, Wraps: true,
		Summary: "Runs a command that reads one key, and returns its reply and the key's time to live in milliseconds: -1 none, -2 no such key.",
		Syntax:  "command argument [argument ...]", Run: cmdGridRead},
}

const (
	errGridRead = "ERR GRID.READ takes commands that only read, one key, and that at once"
	errNoLease  = "ERR GRID.LEASE needs HELLO 3, and CLIENT TRACKING ON without REDIRECT"
	errLeaseMs  = "ERR A lease is asked for in milliseconds, from 1 to 3600000"

	leaseMax = time.Hour
)

// cmdGridRead answers value and time to live, both as they are at one moment.
func cmdGridRead(c *Call) {
	args := c.Args[1:]
	row := lookup(args)
	switch {
	case row == nil:
		c.W.Error(unknownCommand(args))
		return
	case !row.arityFits(len(args)):
		c.W.Error(wrongArity(row))
		return
	case row.Run == nil || row.Wraps || row.OffLoop || row.Scope != ScopeKeys || row.Flags&ReadOnly == 0:
		c.W.Error(errGridRead)
		return
	}
	c.keys = row.keyPositions(c.keys[:0], args)
	if len(c.keys) != 1 {
		c.W.Error(errGridRead)
		return
	}
	key, start := args[c.keys[0]], len(c.W.Buf)
	c.W.Array(2)
	value := len(c.W.Buf)
	wrapper, all := c.Row, c.Args
	c.Row, c.Args = row, args
	row.Run(c)
	c.Row, c.Args = wrapper, all
	if isError(c.W.Buf[value:]) {
		c.W.Buf = append(c.W.Buf[:start], c.W.Buf[value:]...)
		return
	}
	v, ok := c.Tx.Peek(key)
	switch {
	case !ok:
		c.W.Int(-2)
	case v.ExpireAt() == 0:
		c.W.Int(-1)
	default:
		c.W.Int(v.ExpireAt() - c.Tx.Now)
	}
}

// wrapped is the row of the command line that another command has for arguments; nil where there is none.
func wrapped(args [][]byte) *Row {
	if len(args) < 2 {
		return nil
	}
	row := lookup(args[1:])
	if row == nil || row.Wraps || !row.arityFits(len(args)-1) {
		return nil
	}
	return row
}

// wrappedPositions appends the positions of the keys of a command line within another.
func wrappedPositions(dst []int, args [][]byte) []int {
	row := wrapped(args)
	if row == nil {
		return dst
	}
	n := len(dst)
	dst = row.keyPositions(dst, args[1:])
	for i := range dst[n:] {
		dst[n+i]++
	}
	return dst
}

func findWrapped(args [][]byte) (refs []keyRef) {
	row := wrapped(args)
	if row == nil {
		return nil
	}
	refs, _ = row.keyRefs(args[1:])
	for i := range refs {
		refs[i].at++
	}
	return refs
}

// cmdGridLease grants time. The client counts it from when it sent the command. Whatever was to be dropped by then it has been told before
// the reply, so until the time is over nothing that it still has can be older than that. What is granted ends with this node's own leases
// over the partitions that the client has read: before another node may change anything there, the client has stopped using it.
func cmdGridLease(c *Call) {
	ms, ok := c.intArg(1)
	if !ok {
		return
	}
	t := c.s.tracker
	switch {
	case ms < 1 || ms > leaseMax.Milliseconds():
		c.W.Error(errLeaseMs)
		return
	case t == nil || !t.mu.on || t.mu.redirect != 0 || c.s.resp != 3:
		c.W.Error(errNoLease)
		return
	}
	left := c.leaseLeft(t, time.Duration(ms)*time.Millisecond)
	c.deliver() // behind the look at partitions: one that was lost before is among the pushes
	c.W.Int(min(ms, left.Milliseconds()))
}

// leaseLeft is for how long this node serves all partitions where a session may have read something, and what other nodes have read for it
// is no older than age.
func (c *Call) leaseLeft(t *tracker, age time.Duration) time.Duration {
	parts, relayed := t.makeNative()
	r := c.srv.router
	if r == nil {
		return math.MaxInt64
	}
	if t.mu.bcast {
		parts = r.Topology().led(nil)
	}
	now := c.srv.clock()
	left := min(servesFor(r, parts, now), c.srv.castsLeft(t, now, age))
	if relayed {
		left = min(left, c.srv.relaysLeft(now, age))
	}
	return left
}

// servesFor is for how long from now this node serves all of these partitions; without any, without end.
func servesFor(r Router, parts []int, now time.Duration) time.Duration {
	left := time.Duration(math.MaxInt64)
	for _, p := range parts {
		left = min(left, max(0, r.ServesUntil(p, now)-now))
	}
	return left
}

// makeNative notes that the session knows of partitions, and returns those where it may have read something; relayed: it may have at
// other nodes as well.
func (t *tracker) makeNative() (parts []int, relayed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.native = true
	return t.mu.parts.list(), t.mu.relayed
}
