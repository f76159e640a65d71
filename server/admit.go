package server

import (
	"slices"
	"time"
)

// verdict is what has become of a command that was to be executed here.
type verdict uint8

const (
	admitted  verdict = iota
	elsewhere         // this node does not serve one of its partitions, or not for sure: nothing is executed
	tooFew            // too few copies are in sync to write (R13): nothing is executed
)

// admit tells whether the command may be executed on the partitions that it holds, and notes their reigns (R9, R13). Where it walks
// partitions that it does not hold, that is asked at each: see Enter.
func (c *Call) admit(writes bool) bool {
	r := c.srv.router
	c.reigns = c.reigns[:0]
	for _, p := range c.parts {
		reign, ok := r.Serves(p, c.now)
		if !ok {
			c.verdict = elsewhere
			return false
		}
		if writes && !r.Writable(p) {
			c.verdict = tooFew
			return false
		}
		c.reigns = append(c.reigns, reign)
	}
	c.Tx.Guard = nil
	if c.walk != nil || c.Row.Scope == ScopeEach && c.Row.walks() {
		c.Tx.Guard = c // of what is held already it is not asked
	}
	return true
}

// Wants tells whether the command is about a partition that it walks to.
func (c *Call) Wants(p int) bool {
	if c.walk == nil {
		return true
	}
	_, found := slices.BinarySearch(c.walk, p)
	return found
}

// Enter admits the command to a partition that it walks to.
func (c *Call) Enter(p int) bool {
	reign, ok := c.srv.router.Serves(p, c.srv.clock())
	if !ok {
		c.verdict = elsewhere
		return false
	}
	if i, found := slices.BinarySearch(c.parts, p); !found { // it may come twice
		c.parts = slices.Insert(c.parts, i, p)
		c.reigns = slices.Insert(c.reigns, i, reign)
	} else if c.reigns[i] != reign {
		c.verdict = elsewhere
		return false
	}
	return true
}

// Leave makes sure that what was read of a partition was this node's to read.
func (c *Call) Leave(p int) {
	if reign, ok := c.srv.router.Serves(p, c.srv.clock()); !ok || reign != c.reignOf(p) {
		c.verdict = elsewhere
	}
}

// reignOf is in which reign a partition was admitted.
func (c *Call) reignOf(p int) uint64 {
	if i, found := slices.BinarySearch(c.parts, p); found && i < len(c.reigns) {
		return c.reigns[i]
	}
	return 0
}

// confirm tells whether the command has been answered, once its locks are given back. at is read from the clock after the last look at
// data: what was read is good only while no other node may have served the partition, which is until the lease ends (R9). A reply that
// may not leave is taken back; start is where it begins.
func (c *Call) confirm(start int, at time.Duration) bool {
	c.Tx.Guard = nil
	if c.verdict == admitted && len(c.parts) > 0 && len(c.reigns) == len(c.parts) {
		for i, p := range c.parts {
			if reign, ok := c.srv.router.Serves(p, at); !ok || reign != c.reigns[i] {
				c.verdict = elsewhere
				break
			}
		}
	}
	switch {
	case c.verdict == tooFew, c.verdict == admitted && c.Tx.Overdue() && !c.wrote:
		// A key that has expired must be deleted before a reply says so, and nothing can be written (R17).
		c.W.Buf = append(c.W.Buf[:start], errorReply(errNoReplicas)...)
	case c.verdict == elsewhere && c.wrote:
		c.W.Buf = append(c.W.Buf[:start], errorReply(errIndeterminate)...)
	case c.verdict == elsewhere:
		c.W.Buf = c.W.Buf[:start]
	default:
		return true
	}
	c.srv.passOwn(c.takeGiven())
	return c.verdict != elsewhere || c.wrote
}

// rests are what the reply to the command rests on. They are good until the next command.
func (c *Call) rests() []Rest {
	c.waits = c.waits[:0]
	for _, seen := range c.Tx.Seen() {
		c.waits = append(c.waits, Rest{Seen: seen, Reign: c.reignOf(seen.Partition)})
	}
	return c.waits
}

// sortsOneSlot tells whether a command whose patterns may name any key, SORT, has to do with those of one slot: so it is where the grid
// has several data nodes.
func (c *Call) sortsOneSlot(row *Row) bool {
	return c.srv.router != nil && len(row.Keys) > 0 && c.srv.router.Topology().DataNodes > 1
}

// denyPatterns refuses SORT's patterns where the keys they name may be on other nodes, as Redis Cluster does.
func (c *Call) denyPatterns(o *sortOptions) bool {
	switch {
	case !c.sortsOneSlot(c.Row):
		return false
	case o.by != nil && !o.unsorted:
		c.W.Error("ERR BY option of SORT denied in cluster mode.")
		return true
	case slices.ContainsFunc(o.get, func(g []byte) bool { return string(g) != "#" }):
		c.W.Error("ERR GET option of SORT denied in cluster mode.")
		return true
	}
	return false
}
