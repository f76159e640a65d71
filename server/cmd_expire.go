package server

import (
	"math"
)

var expireRows = []*Row{
	{Name: "expire", Arity: -3, Flags: Write | Fast, Group: "generic",
		Keys: keys(1, 1, 1, RW|Update), Since: "1.0.0", Complexity: "O(1)",
		Summary: "Sets a key's time to live in seconds.",
		Syntax:  "key seconds condition:[NX | XX | GT | LT]", Run: cmdExpire},
	{Name: "expireat", Arity: -3, Flags: Write | Fast, Group: "generic",
		Keys: keys(1, 1, 1, RW|Update), Since: "1.2.0", Complexity: "O(1)",
		Summary: "Sets the second at which a key expires.",
		Syntax:  "key unix-time-seconds condition:[NX | XX | GT | LT]", Run: cmdExpireat},
	{Name: "expiretime", Arity: 2, Flags: ReadOnly | Fast, Group: "generic",
		Keys: keys(1, 1, 1, RO|Access), Since: "7.0.0", Complexity: "O(1)",
		Summary: "Returns the second at which a key expires.",
		Syntax:  "key", Run: cmdExpiretime},
	{Name: "persist", Arity: 2, Flags: Write | Fast, Group: "generic",
		Keys: keys(1, 1, 1, RW|Update), Since: "2.2.0", Complexity: "O(1)",
		Summary: "Removes a key's expiry.",
		Syntax:  "key", Run: cmdPersist},
	{Name: "pexpire", Arity: -3, Flags: Write | Fast, Group: "generic",
		Keys: keys(1, 1, 1, RW|Update), Since: "2.6.0", Complexity: "O(1)",
		Summary: "Sets a key's time to live in milliseconds.",
		Syntax:  "key milliseconds condition:[NX | XX | GT | LT]", Run: cmdPexpire},
	{Name: "pexpireat", Arity: -3, Flags: Write | Fast, Group: "generic",
		Keys: keys(1, 1, 1, RW|Update), Since: "2.6.0", Complexity: "O(1)",
		Summary: "Sets the millisecond at which a key expires.",
		Syntax:  "key unix-time-milliseconds condition:[NX | XX | GT | LT]", Run: cmdPexpireat},
	{Name: "pexpiretime", Arity: 2, Flags: ReadOnly | Fast, Group: "generic",
		Keys: keys(1, 1, 1, RO|Access), Since: "7.0.0", Complexity: "O(1)",
		Summary: "Returns the millisecond at which a key expires.",
		Syntax:  "key", Run: cmdPexpiretime},
	{Name: "pttl", Arity: 2, Flags: ReadOnly | Fast, Group: "generic",
		Keys: keys(1, 1, 1, RO|Access), Tips: []string{"nondeterministic_output"}, Since: "2.6.0", Complexity: "O(1)",
		Summary: "Returns a key's time to live in milliseconds.",
		Syntax:  "key", Run: cmdPttl},
	{Name: "ttl", Arity: 2, Flags: ReadOnly | Fast, Group: "generic",
		Keys: keys(1, 1, 1, RO|Access), Tips: []string{"nondeterministic_output"}, Since: "1.0.0", Complexity: "O(1)",
		Summary: "Returns a key's time to live in seconds.",
		Syntax:  "key", Run: cmdTtl},
}

func cmdExpire(c *Call)    { expire(c, c.Tx.Now, 1000) }
func cmdPexpire(c *Call)   { expire(c, c.Tx.Now, 1) }
func cmdExpireat(c *Call)  { expire(c, 0, 1000) }
func cmdPexpireat(c *Call) { expire(c, 0, 1) }

// expireCondition says when EXPIRE and its kin take effect.
type expireCondition struct{ nx, xx, gt, lt bool }

// expire sets an expiry of base plus the argument, in units of so many ms. One that has passed deletes the key.
func expire(c *Call, base, unit int64) {
	var cond expireCondition
	for _, arg := range c.Args[3:] {
		switch {
		case is(arg, "nx"):
			cond.nx = true
		case is(arg, "xx"):
			cond.xx = true
		case is(arg, "gt"):
			cond.gt = true
		case is(arg, "lt"):
			cond.lt = true
		default:
			c.W.Error("ERR Unsupported option " + untilNUL(arg))
			return
		}
	}
	if cond.nx && (cond.xx || cond.gt || cond.lt) {
		c.W.Error("ERR NX and XX, GT or LT options at the same time are not compatible")
		return
	}
	if cond.gt && cond.lt {
		c.W.Error("ERR GT and LT options at the same time are not compatible")
		return
	}
	n, ok := c.intArg(2)
	if !ok {
		return
	}
	at, ok := expiryOf(n, base, unit)
	if !ok {
		c.W.Error("ERR invalid expire time in '" + c.Row.fullName() + "' command")
		return
	}
	v, ok := c.Tx.Find(c.Args[1])
	if !ok || !cond.holds(v.ExpireAt(), at) {
		c.W.Int(0)
		return
	}
	if at <= c.Tx.Now {
		c.Tx.Del(c.Args[1])
	} else {
		c.Tx.ExpireAt(c.Args[1], at)
	}
	c.W.Int(1)
}

// expiryOf is base + n units in ms; false where that is no time.
func expiryOf(n, base, unit int64) (ms int64, ok bool) {
	if n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return 0, false
	}
	n *= unit
	if n > math.MaxInt64-base {
		return 0, false
	}
	return n + base, true
}

// holds compares the expiry a key has (0 = none, which counts as infinitely late) with the one it is to get.
func (e expireCondition) holds(has, gets int64) bool {
	switch {
	case e.nx && has != 0, e.xx && has == 0:
		return false
	case e.gt && (has == 0 || gets <= has):
		return false
	case e.lt && has != 0 && gets >= has:
		return false
	}
	return true
}

func cmdPersist(c *Call) {
	v, ok := c.Tx.Find(c.Args[1])
	if !ok || v.ExpireAt() == 0 {
		c.W.Int(0)
		return
	}
	c.Tx.ExpireAt(c.Args[1], 0)
	c.W.Int(1)
}

func cmdTtl(c *Call)         { expiry(c, false, 1000) }
func cmdPttl(c *Call)        { expiry(c, false, 1) }
func cmdExpiretime(c *Call)  { expiry(c, true, 1000) }
func cmdPexpiretime(c *Call) { expiry(c, true, 1) }

// expiry answers when a key expires, or how long that is from now, rounded to units of so many ms: -1 without an expiry,
// -2 without a key.
func expiry(c *Call, absolute bool, unit int64) {
	v, ok := c.Tx.Look(c.Args[1])
	switch {
	case !ok:
		c.W.Int(-2)
		return
	case v.ExpireAt() == 0:
		c.W.Int(-1)
		return
	}
	ms := v.ExpireAt()
	if !absolute {
		ms = max(0, ms-c.Tx.Now)
	}
	if unit == 1 {
		c.W.Int(ms)
		return
	}
	c.W.Int(int64((uint64(ms) + uint64(unit)/2) / uint64(unit))) // rounding up may pass the largest int64
}
