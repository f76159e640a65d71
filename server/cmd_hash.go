package server

import (
	"math"
	"strconv"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

var hashRows = []*Row{
	{Name: "hdel", Arity: -3, Flags: Write | Fast, Group: "hash",
		Keys: keys(1, 1, 1, RW|Delete), Since: "2.0.0", Complexity: "O(N)",
		Summary: "Deletes fields of a hash.",
		Syntax:  "key field [field ...]", Run: cmdHDel},
	{Name: "hexists", Arity: 3, Flags: ReadOnly | Fast, Group: "hash",
		Keys: keys(1, 1, 1, RO), Since: "2.0.0", Complexity: "O(1)",
		Summary: "Tells whether a hash has a field.",
		Syntax:  "key field", Run: cmdHExists},
	{Name: "hget", Arity: 3, Flags: ReadOnly | Fast, Group: "hash",
		Keys: keys(1, 1, 1, RO|Access), Since: "2.0.0", Complexity: "O(1)",
		Summary: "Returns one field's value.",
		Syntax:  "key field", Run: cmdHGet},
	{Name: "hgetall", Arity: 2, Flags: ReadOnly, Group: "hash",
		Keys: keys(1, 1, 1, RO|Access), Tips: []string{"nondeterministic_output_order"}, Since: "2.0.0", Complexity: "O(N)",
		Summary: "Returns all fields and values.",
		Syntax:  "key", Run: cmdHGetAll},
	{Name: "hincrby", Arity: 4, Flags: Write | DenyOOM | Fast, Group: "hash",
		Keys: keys(1, 1, 1, RW|Access|Update), Since: "2.0.0", Complexity: "O(1)",
		Summary: "Adds to the integer in a field.",
		Syntax:  "key field increment", Run: cmdHIncrBy},
	{Name: "hincrbyfloat", Arity: 4, Flags: Write | DenyOOM | Fast, Group: "hash",
		Keys: keys(1, 1, 1, RW|Access|Update), Since: "2.6.0", Complexity: "O(1)",
		Summary: "Adds to the decimal number in a field.",
		Syntax:  "key field increment:double", Run: cmdHIncrByFloat},
	{Name: "hkeys", Arity: 2, Flags: ReadOnly, Group: "hash",
		Keys: keys(1, 1, 1, RO|Access), Tips: []string{"nondeterministic_output_order"}, Since: "2.0.0", Complexity: "O(N)",
		Summary: "Returns all fields.",
		Syntax:  "key", Run: cmdHKeys},
	{Name: "hlen", Arity: 2, Flags: ReadOnly | Fast, Group: "hash",
		Keys: keys(1, 1, 1, RO), Since: "2.0.0", Complexity: "O(1)",
		Summary: "Counts the fields.",
		Syntax:  "key", Run: cmdHLen},
	{Name: "hmget", Arity: -3, Flags: ReadOnly | Fast, Group: "hash",
		Keys: keys(1, 1, 1, RO|Access), Since: "2.0.0", Complexity: "O(N)",
		Summary: "Returns the values of several fields.",
		Syntax:  "key field [field ...]", Run: cmdHMGet},
	{Name: "hmset", Arity: -4, Flags: Write | DenyOOM | Fast, Group: "hash",
		Keys: keys(1, 1, 1, RW|Update), Since: "2.0.0", Deprecated: "4.0.0", ReplacedBy: "HSET", Complexity: "O(N)",
		Summary: "Sets several fields.",
		Syntax:  "key field value [field value ...]", Run: cmdHMSet},
	{Name: "hrandfield", Arity: -2, Flags: ReadOnly, Group: "hash",
		Keys: keys(1, 1, 1, RO|Access), Tips: []string{"nondeterministic_output"}, Since: "6.2.0", Complexity: "O(N)",
		Summary: "Returns random fields.",
		Syntax:  "key options:[count [WITHVALUES]]", Run: cmdHRandField},
	{Name: "hscan", Arity: -3, Flags: ReadOnly, Group: "hash",
		Keys: keys(1, 1, 1, RO|Access), Tips: []string{"nondeterministic_output"}, Since: "2.8.0", Complexity: "O(1) per call, O(N) for a whole walk",
		Summary: "Walks the fields of a hash, some at a time.",
		Syntax:  "key cursor [MATCH pattern] [COUNT count]", Run: cmdHScan},
	{Name: "hset", Arity: -4, Flags: Write | DenyOOM | Fast, Group: "hash",
		Keys: keys(1, 1, 1, RW|Update), Since: "2.0.0", Complexity: "O(1) per field",
		Summary: "Sets fields and counts those that are new.",
		Syntax:  "key field value [field value ...]", Run: cmdHSet},
	{Name: "hsetnx", Arity: 4, Flags: Write | DenyOOM | Fast, Group: "hash",
		Keys: keys(1, 1, 1, RW|Insert), Since: "2.0.0", Complexity: "O(1)",
		Summary: "Sets a field that does not exist yet.",
		Syntax:  "key field value", Run: cmdHSetNX},
	{Name: "hstrlen", Arity: 3, Flags: ReadOnly | Fast, Group: "hash",
		Keys: keys(1, 1, 1, RO), Since: "3.2.0", Complexity: "O(1)",
		Summary: "Returns the length of a field's value.",
		Syntax:  "key field", Run: cmdHStrLen},
	{Name: "hvals", Arity: 2, Flags: ReadOnly, Group: "hash",
		Keys: keys(1, 1, 1, RO|Access), Tips: []string{"nondeterministic_output_order"}, Since: "2.0.0", Complexity: "O(N)",
		Summary: "Returns all values.",
		Syntax:  "key", Run: cmdHVals},
}

// hash looks up a command's hash, and answers where the key holds something else.
func (c *Call) hash() (h partition.Hash, ok, wrong bool) {
	h, ok, err := c.Tx.Hash(c.Args[1])
	if err != nil {
		c.W.Error(protocol.ErrWrongType)
		return h, false, true
	}
	return h, ok, false
}

func cmdHSet(c *Call) {
	if added, ok := c.setFields(); ok {
		c.W.Int(int64(added))
	}
}

func cmdHMSet(c *Call) {
	if _, ok := c.setFields(); ok {
		c.W.OK()
	}
}

func (c *Call) setFields() (added int, ok bool) {
	if len(c.Args)%2 != 0 {
		c.W.Error(wrongArity(c.Row))
		return 0, false
	}
	if _, _, wrong := c.hash(); wrong {
		return 0, false
	}
	return c.Tx.HSet(c.Args[1], c.Args[2:]...), true
}

func cmdHSetNX(c *Call) {
	h, ok, wrong := c.hash()
	if wrong {
		return
	}
	if ok {
		if _, exists := h.Get(c.Args[2]); exists {
			c.W.Int(0)
			return
		}
	}
	c.Tx.HSet(c.Args[1], c.Args[2:4]...)
	c.W.Int(1)
}

func cmdHGet(c *Call) {
	h, ok, wrong := c.hash()
	switch {
	case wrong:
	case !ok:
		c.W.Null()
	default:
		c.field(h, c.Args[2])
	}
}

// field answers a field's value, or nothing.
func (c *Call) field(h partition.Hash, field []byte) {
	value, ok := h.Get(field)
	if !ok {
		c.W.Null()
		return
	}
	c.W.Bulk(value)
}

func cmdHMGet(c *Call) {
	h, _, wrong := c.hash()
	if wrong {
		return
	}
	c.W.Array(len(c.Args) - 2)
	for _, field := range c.Args[2:] {
		c.field(h, field)
	}
}

func cmdHDel(c *Call) {
	if _, _, wrong := c.hash(); !wrong {
		c.W.Int(int64(c.Tx.HDel(c.Args[1], c.Args[2:]...)))
	}
}

func cmdHExists(c *Call) {
	h, _, wrong := c.hash()
	if wrong {
		return
	}
	if _, ok := h.Get(c.Args[2]); ok {
		c.W.Int(1)
		return
	}
	c.W.Int(0)
}

func cmdHLen(c *Call) {
	if h, _, wrong := c.hash(); !wrong {
		c.W.Int(int64(h.Len()))
	}
}

func cmdHStrLen(c *Call) {
	if h, _, wrong := c.hash(); !wrong {
		value, _ := h.Get(c.Args[2])
		c.W.Int(int64(len(value)))
	}
}

func cmdHGetAll(c *Call) {
	h, _, wrong := c.hash()
	if wrong {
		return
	}
	c.W.Map(h.Len())
	h.Each(func(field, value []byte) bool {
		c.W.Bulk(field)
		c.W.Bulk(value)
		return true
	})
}

func cmdHKeys(c *Call) {
	h, _, wrong := c.hash()
	if wrong {
		return
	}
	c.W.Array(h.Len())
	h.Each(func(field, _ []byte) bool {
		c.W.Bulk(field)
		return true
	})
}

func cmdHVals(c *Call) {
	h, _, wrong := c.hash()
	if wrong {
		return
	}
	c.W.Array(h.Len())
	h.Each(func(_, value []byte) bool {
		c.W.Bulk(value)
		return true
	})
}

func cmdHIncrBy(c *Call) {
	by, ok := c.intArg(3)
	if !ok {
		return
	}
	h, _, wrong := c.hash()
	if wrong {
		return
	}
	n := int64(0)
	if value, exists := h.Get(c.Args[2]); exists {
		if n, ok = protocol.ParseInt(value); !ok {
			c.W.Error("ERR hash value is not an integer")
			return
		}
	}
	sum, ok := addInt(n, by)
	if !ok {
		c.W.Error(protocol.ErrOverflow)
		return
	}
	var text [20]byte
	c.Tx.HSet(c.Args[1], c.Args[2], strconv.AppendInt(text[:0], sum, 10))
	c.W.Int(sum)
}

func cmdHIncrByFloat(c *Call) {
	by, ok := protocol.ParseLongDouble(c.Args[3])
	if !ok {
		c.W.Error(protocol.ErrNotFloat)
		return
	}
	if by.IsInf() {
		c.W.Error("ERR value is NaN or Infinity")
		return
	}
	h, _, wrong := c.hash()
	if wrong {
		return
	}
	sum := by
	if value, exists := h.Get(c.Args[2]); exists {
		old, ok := protocol.ParseLongDouble(value)
		if !ok {
			c.W.Error("ERR hash value is not a float")
			return
		}
		if sum, ok = protocol.AddLongDouble(old, by); !ok {
			c.W.Error(protocol.ErrNaNOrInfinity)
			return
		}
	}
	text := protocol.AppendLongDouble(nil, sum)
	c.Tx.HSet(c.Args[1], c.Args[2], text)
	c.W.Bulk(text)
}

func cmdHScan(c *Call) {
	cursor, ok := c.scanCursor(2)
	if !ok {
		return
	}
	h, exists, wrong := c.hash()
	if wrong {
		return
	}
	if !exists {
		c.scanReply(0, 0, nil)
		return
	}
	o, ok := c.scanOptions(3, cursor, false)
	if !ok {
		return
	}
	var items protocol.Writer
	n := 0
	next := h.Scan(o.cursor, o.count, func(field, value []byte) {
		if o.matches(field) {
			items.Bulk(field)
			items.Bulk(value)
			n += 2
		}
	})
	c.scanReply(next, n, items.Buf)
}

func cmdHRandField(c *Call) {
	if len(c.Args) == 2 {
		h, ok, wrong := c.hash()
		switch {
		case wrong:
		case !ok:
			c.W.Null()
		default:
			field, _ := h.Random(c.Tx.Rand())
			c.W.Bulk(field)
		}
		return
	}
	count, withValues, ok := c.randomCount("withvalues")
	if !ok {
		return
	}
	h, exists, wrong := c.hash()
	if wrong {
		return
	}
	if !exists || count == 0 {
		c.W.Array(0)
		return
	}
	put := func(field, value []byte) {
		if withValues && c.W.Resp == 3 {
			c.W.Array(2)
		}
		c.W.Bulk(field)
		if withValues {
			c.W.Bulk(value)
		}
	}
	header := func(n int) {
		if withValues && c.W.Resp != 3 {
			n *= 2
		}
		c.W.Array(n)
	}
	if count < 0 {
		c.draw(-count, header, func() { put(h.Random(c.Tx.Rand())) })
		return
	}
	n := int(min(count, int64(h.Len())))
	header(n)
	// n of all, each set of n as likely as any other: in one pass, a field is taken with the chance still needed.
	left, need := h.Len(), n
	h.Each(func(field, value []byte) bool {
		if c.Tx.Rand().IntN(left) < need {
			put(field, value)
			need--
		}
		left--
		return need > 0
	})
}

// randomCount reads the count and the option of HRANDFIELD and ZRANDMEMBER.
func (c *Call) randomCount(option string) (count int64, with, ok bool) {
	count, ok = protocol.ParseInt(c.Args[2])
	switch {
	case !ok:
		c.W.Error(protocol.ErrNotInteger)
		return 0, false, false
	case count == math.MinInt64:
		c.W.Error(rangeError(-math.MaxInt64, math.MaxInt64))
		return 0, false, false
	case len(c.Args) > 4 || len(c.Args) == 4 && !is(c.Args[3], option):
		c.W.Error(protocol.ErrSyntax)
		return 0, false, false
	case len(c.Args) == 4 && (count < -math.MaxInt64/2 || count > math.MaxInt64/2):
		c.W.Error(protocol.ErrOutOfRange)
		return 0, false, false
	}
	return count, len(c.Args) == 4, true
}
