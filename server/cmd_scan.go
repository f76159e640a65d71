package server

import (
	"strconv"
	"strings"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

var scanRows = []*Row{
	{Name: "keys", Scope: ScopeEach, OffLoop: true, Arity: 2, Flags: ReadOnly, ACL: CatDangerous, Group: "generic",
		Tips: []string{"request_policy:all_shards", "nondeterministic_output_order"}, Since: "1.0.0", Complexity: "O(N)",
		Summary: "Returns all keys that match a pattern.",
		Syntax:  "pattern", Gather: &Gather{0, joinArrays}, Run: cmdKeys},
	{Name: "randomkey", Scope: ScopeEach, Arity: 1, Flags: ReadOnly, Group: "generic",
		Tips: []string{"request_policy:all_shards", "nondeterministic_output"}, Since: "1.0.0", Complexity: "O(1)",
		Summary: "Returns a random key.", Run: cmdRandomkey},
	{Name: "scan", Scope: ScopeEach, Arity: -2, Flags: ReadOnly, Group: "generic",
		Tips: []string{"nondeterministic_output", "request_policy:special"}, Since: "2.8.0", Complexity: "O(1) per call, O(N) for a whole walk",
		Summary: "Walks the keys of the database, some at a time.",
		Syntax:  "cursor [MATCH pattern] [COUNT count] [TYPE type]", Run: cmdScan},
	{Name: "dbsize", Scope: ScopeEach, Arity: 1, Flags: ReadOnly | Fast, ACL: CatKeyspace, Group: "server",
		Tips: []string{"request_policy:all_shards", "response_policy:agg_sum"}, Since: "1.0.0", Complexity: "O(1)",
		Summary: "Counts the keys of the database.", Gather: &Gather{0, joinSum}, Run: cmdDbsize},
	{Name: "flushall", Scope: ScopeAll, Arity: -1, Flags: Write, ACL: CatKeyspace | CatDangerous, Group: "server",
		Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"}, Since: "1.0.0", Complexity: "O(N)",
		Summary: "Empties every database.",
		Syntax:  "async:[ASYNC | SYNC]", Gather: &Gather{0, joinOK}, Run: cmdFlushall},
	{Name: "flushdb", Scope: ScopeAll, Arity: -1, Flags: Write, ACL: CatKeyspace | CatDangerous, Group: "server",
		Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"}, Since: "1.0.0", Complexity: "O(N)",
		Summary: "Empties the database.",
		Syntax:  "async:[ASYNC | SYNC]", Gather: &Gather{0, joinOK}, Run: cmdFlushdb},
	{Name: "swapdb", Scope: ScopeAll, Arity: 3, Flags: Write | Fast, ACL: CatKeyspace | CatDangerous, Group: "server",
		Since: "4.0.0", Complexity: "O(N)",
		Summary: "Exchanges two databases.",
		Syntax:  "index1 index2", Run: cmdSwapdb},
}

func cmdKeys(c *Call) {
	pattern, n := c.Args[1], 0
	all := len(pattern) == 1 && pattern[0] == '*'
	var keys protocol.Writer
	c.Tx.EachKey(func(key []byte, _ partition.Value) bool {
		if all || protocol.Match(pattern, key, false) {
			keys.Bulk(key)
			n++
		}
		return true
	})
	c.W.Array(n)
	c.W.Raw(keys.Buf)
}

func cmdRandomkey(c *Call) {
	key, ok := c.Tx.RandomKey()
	if !ok {
		c.W.Null()
		return
	}
	c.W.Bulk(key)
}

func cmdDbsize(c *Call) { c.W.Int(int64(c.Tx.Len(c.Tx.DB))) }

// flushMode checks FLUSHDB's and FLUSHALL's argument. Memory is freed in the background in either mode; the keys are
// gone when the reply is sent.
func (c *Call) flushMode() bool {
	if len(c.Args) == 1 || len(c.Args) == 2 && (is(c.Args[1], "sync") || is(c.Args[1], "async")) {
		return true
	}
	c.W.Error(protocol.ErrSyntax)
	return false
}

func cmdFlushdb(c *Call) {
	if c.flushMode() {
		c.Tx.FlushDB(c.Tx.DB)
		c.W.OK()
	}
}

func cmdFlushall(c *Call) {
	if c.flushMode() {
		for db := range partition.Databases {
			c.Tx.FlushDB(db)
		}
		c.W.OK()
	}
}

func cmdSwapdb(c *Call) {
	a, ok := c.intInRange(1, "ERR invalid first DB index")
	if !ok {
		return
	}
	b, ok := c.intInRange(2, "ERR invalid second DB index")
	if !ok {
		return
	}
	if a < 0 || a >= partition.Databases || b < 0 || b >= partition.Databases {
		c.W.Error(protocol.ErrDBIndex)
		return
	}
	if a != b {
		c.Tx.SwapDB(a, b)
	}
	c.W.OK()
}

// scanOptions are the arguments that SCAN, HSCAN, SSCAN and ZSCAN share.
type scanOptions struct {
	cursor  uint64
	count   int
	pattern []byte // nil = everything
	typ     string // SCAN's TYPE; empty = any
}

func (o *scanOptions) matches(b []byte) bool {
	return o.pattern == nil || protocol.Match(o.pattern, b, false)
}

const scanCountDefault = 10

// scanCursor reads a cursor; it is the first thing that is checked. As with C's strtoul, which Redis uses, a zero byte
// ends it, nothing at all is 0, and a sign counts modulo 2^64.
func (c *Call) scanCursor(i int) (cursor uint64, ok bool) {
	text, _, _ := strings.Cut(string(c.Args[i]), "\x00")
	if text == "" {
		return 0, true
	}
	digits := text
	if text[0] == '-' || text[0] == '+' {
		digits = text[1:]
	}
	cursor, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		c.W.Error(protocol.ErrInvalidCursor)
		return 0, false
	}
	if text[0] == '-' {
		cursor = -cursor
	}
	return cursor, true
}

// scanOptions reads the options from argument i on; TYPE is for SCAN alone.
func (c *Call) scanOptions(i int, cursor uint64, withType bool) (o scanOptions, ok bool) {
	o = scanOptions{cursor: cursor, count: scanCountDefault}
	for ; i < len(c.Args); i += 2 {
		arg, more := c.Args[i], i+1 < len(c.Args)
		switch {
		case more && is(arg, "count"):
			n, ok := c.intArg(i + 1)
			if !ok {
				return o, false
			}
			if n < 1 {
				c.W.Error(protocol.ErrSyntax)
				return o, false
			}
			o.count = int(min(n, scanCountMax))
		case more && is(arg, "match"):
			o.pattern = c.Args[i+1]
			if string(o.pattern) == "*" {
				o.pattern = nil
			}
		case more && withType && is(arg, "type"):
			o.typ = string(c.Args[i+1])
		default:
			c.W.Error(protocol.ErrSyntax)
			return o, false
		}
	}
	return o, true
}

// scanCountMax bounds what one call of SCAN may return, whatever COUNT says.
const scanCountMax = 1 << 24

// scanReply writes a cursor and the n elements already encoded in items.
func (c *Call) scanReply(cursor uint64, n int, items []byte) {
	c.W.Array(2)
	var buf [20]byte
	c.W.Bulk(strconv.AppendUint(buf[:0], cursor, 10))
	c.W.Array(n)
	c.W.Raw(items)
}

func cmdScan(c *Call) {
	cursor, ok := c.scanCursor(1)
	if !ok {
		return
	}
	o, ok := c.scanOptions(2, cursor, true)
	if !ok {
		return
	}
	var items protocol.Writer
	n := 0
	next := c.Tx.Scan(o.cursor, o.count, func(key []byte, v partition.Value) {
		if o.matches(key) && (o.typ == "" || v.Type().String() == lowerString(o.typ)) {
			items.Bulk(key)
			n++
		}
	})
	c.scanReply(next, n, items.Buf)
}

func lowerString(s string) string { return string(appendLower(nil, []byte(s))) }
