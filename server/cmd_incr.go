package server

import (
	"math"
	"math/big"
	"strconv"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

var incrRows = []*Row{
	{Name: "incr", Arity: 2, Flags: Write | DenyOOM | Fast, Group: "string",
		Keys: keys(1, 1, 1, RW|Access|Update), Since: "1.0.0", Complexity: "O(1)",
		Summary: "Adds one to an integer.",
		Syntax:  "key", Run: cmdIncr},
	{Name: "incrby", Arity: 3, Flags: Write | DenyOOM | Fast, Group: "string",
		Keys: keys(1, 1, 1, RW|Access|Update), Since: "1.0.0", Complexity: "O(1)",
		Summary: "Adds to an integer.",
		Syntax:  "key increment", Run: cmdIncrBy},
	{Name: "incrbyfloat", Arity: 3, Flags: Write | DenyOOM | Fast, Group: "string",
		Keys: keys(1, 1, 1, RW|Access|Update), Since: "2.6.0", Complexity: "O(1)",
		Summary: "Adds to a decimal number.",
		Syntax:  "key increment:double", Run: cmdIncrByFloat},
	{Name: "decr", Arity: 2, Flags: Write | DenyOOM | Fast, Group: "string",
		Keys: keys(1, 1, 1, RW|Access|Update), Since: "1.0.0", Complexity: "O(1)",
		Summary: "Subtracts one from an integer.",
		Syntax:  "key", Run: cmdDecr},
	{Name: "decrby", Arity: 3, Flags: Write | DenyOOM | Fast, Group: "string",
		Keys: keys(1, 1, 1, RW|Access|Update), Since: "1.0.0", Complexity: "O(1)",
		Summary: "Subtracts from an integer.",
		Syntax:  "key decrement", Run: cmdDecrBy},
}

func cmdIncr(c *Call) { increment(c, 1) }
func cmdDecr(c *Call) { increment(c, -1) }

func cmdIncrBy(c *Call) {
	if n, ok := c.intArg(2); ok {
		increment(c, n)
	}
}

func cmdDecrBy(c *Call) {
	n, ok := c.intArg(2)
	switch {
	case !ok:
	case n == math.MinInt64:
		c.W.Error("ERR decrement would overflow")
	default:
		increment(c, -n)
	}
}

// increment adds to the integer at a key, which keeps its expiry; a key that is not there counts as 0.
func increment(c *Call, by int64) {
	key := c.Args[1]
	old, expireAt, ok := c.numberArg(key)
	if !ok {
		return
	}
	var n int64
	if old != nil {
		if n, ok = protocol.ParseInt(old); !ok {
			c.W.Error(protocol.ErrNotInteger)
			return
		}
	}
	if n, ok = addInt(n, by); !ok {
		c.W.Error(protocol.ErrOverflow)
		return
	}
	var digits [20]byte // of the longest 64-bit integer, with its sign
	c.Tx.SetString(key, strconv.AppendInt(digits[:0], n, 10), partition.StringAuto, expireAt)
	c.W.Int(n)
}

// addInt is a + b; false where that is no 64-bit integer.
func addInt(a, b int64) (sum int64, ok bool) {
	if b > 0 && a > math.MaxInt64-b || b < 0 && a < math.MinInt64-b {
		return 0, false
	}
	return a + b, true
}

// numberArg looks up a string that is about to be overwritten with another number: nil where there is no such key. It
// answers where the key holds something else.
func (c *Call) numberArg(key []byte) (b []byte, expireAt int64, ok bool) {
	v, found := c.Tx.Peek(key)
	if !found {
		return nil, 0, true
	}
	b, err := v.String()
	if err != nil {
		c.W.Error(err.Error())
		return nil, 0, false
	}
	return b, v.ExpireAt(), true
}

func cmdIncrByFloat(c *Call) {
	key := c.Args[1]
	old, expireAt, ok := c.numberArg(key)
	if !ok {
		return
	}
	x := new(big.Float)
	if old != nil {
		x, ok = protocol.ParseLongDouble(old)
	}
	if !ok {
		c.W.Error(protocol.ErrNotFloat)
		return
	}
	by, ok := protocol.ParseLongDouble(c.Args[2])
	if !ok {
		c.W.Error(protocol.ErrNotFloat)
		return
	}
	sum, ok := protocol.AddLongDouble(x, by)
	if !ok {
		c.W.Error(protocol.ErrNaNOrInfinity)
		return
	}
	text := protocol.AppendLongDouble(nil, sum)
	c.Tx.SetString(key, text, partition.StringEmbedded, expireAt)
	c.W.Bulk(text)
}
