package server

import (
	"bytes"
	"math"
	"slices"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

var listRows = []*Row{
	{Name: "lindex", Arity: 3, Flags: ReadOnly, Group: "list",
		Keys: keys(1, 1, 1, RO|Access), Since: "1.0.0", Complexity: "O(N)",
		Summary: "Returns the element at an index.",
		Syntax:  "key index", Run: cmdLIndex},
	{Name: "linsert", Arity: 5, Flags: Write | DenyOOM, Group: "list",
		Keys: keys(1, 1, 1, RW|Insert), Since: "2.2.0", Complexity: "O(N)",
		Summary: "Inserts an element beside another.",
		Syntax:  "key where:<BEFORE | AFTER> pivot element", Run: cmdLInsert},
	{Name: "llen", Arity: 2, Flags: ReadOnly | Fast, Group: "list",
		Keys: keys(1, 1, 1, RO), Since: "1.0.0", Complexity: "O(1)",
		Summary: "Returns the length of a list.",
		Syntax:  "key", Run: cmdLLen},
	{Name: "lmove", Arity: 5, Flags: Write | DenyOOM, Group: "list",
		Keys: []KeySpec{keyAt(1, RW|Access|Delete), keyAt(2, RW|Insert)}, Since: "6.2.0", Complexity: "O(1)",
		Summary: "Takes an element off one end of a list and puts it on an end of another.",
		Syntax:  "source destination wherefrom:<LEFT | RIGHT> whereto:<LEFT | RIGHT>", Run: cmdLMove},
	{Name: "lmpop", Arity: -4, Flags: Write | MovableKeys, Group: "list",
		Keys: []KeySpec{keysCounted(1, RW|Access|Delete)}, Since: "7.0.0", Complexity: "O(N+M)",
		Summary: "Takes elements off the first list that has some.",
		Syntax:  "numkeys key [key ...] where:<LEFT | RIGHT> [COUNT count]", Run: cmdLMPop},
	{Name: "lpop", Arity: -2, Flags: Write | Fast, Group: "list",
		Keys: keys(1, 1, 1, RW|Access|Delete), Since: "1.0.0", Complexity: "O(N)",
		Summary: "Takes elements off the head.",
		Syntax:  "key [count]", Run: cmdLPop},
	{Name: "lpos", Arity: -3, Flags: ReadOnly, Group: "list",
		Keys: keys(1, 1, 1, RO|Access), Since: "6.0.6", Complexity: "O(N)",
		Summary: "Finds the index of elements by value.",
		Syntax:  "key element [RANK rank] [COUNT num-matches] [MAXLEN len]", Run: cmdLPos},
	{Name: "lpush", Arity: -3, Flags: Write | DenyOOM | Fast, Group: "list",
		Keys: keys(1, 1, 1, RW|Insert), Since: "1.0.0", Complexity: "O(1) per element",
		Summary: "Puts elements before the head.",
		Syntax:  "key element [element ...]", Run: cmdLPush},
	{Name: "lpushx", Arity: -3, Flags: Write | DenyOOM | Fast, Group: "list",
		Keys: keys(1, 1, 1, RW|Insert), Since: "2.2.0", Complexity: "O(1) per element",
		Summary: "Puts elements before the head of a list that exists.",
		Syntax:  "key element [element ...]", Run: cmdLPushX},
	{Name: "lrange", Arity: 4, Flags: ReadOnly, Group: "list",
		Keys: keys(1, 1, 1, RO|Access), Since: "1.0.0", Complexity: "O(S+N)",
		Summary: "Returns a range of elements.",
		Syntax:  "key start stop", Run: cmdLRange},
	{Name: "lrem", Arity: 4, Flags: Write, Group: "list",
		Keys: keys(1, 1, 1, RW|Delete), Since: "1.0.0", Complexity: "O(N+M)",
		Summary: "Removes elements by value.",
		Syntax:  "key count element", Run: cmdLRem},
	{Name: "lset", Arity: 4, Flags: Write | DenyOOM, Group: "list",
		Keys: keys(1, 1, 1, RW|Update), Since: "1.0.0", Complexity: "O(N)",
		Summary: "Replaces the element at an index.",
		Syntax:  "key index element", Run: cmdLSet},
	{Name: "ltrim", Arity: 4, Flags: Write, Group: "list",
		Keys: keys(1, 1, 1, RW|Delete), Since: "1.0.0", Complexity: "O(N)",
		Summary: "Removes all elements outside a range.",
		Syntax:  "key start stop", Run: cmdLTrim},
	{Name: "rpop", Arity: -2, Flags: Write | Fast, Group: "list",
		Keys: keys(1, 1, 1, RW|Access|Delete), Since: "1.0.0", Complexity: "O(N)",
		Summary: "Takes elements off the tail.",
		Syntax:  "key [count]", Run: cmdRPop},
	{Name: "rpoplpush", Arity: 3, Flags: Write | DenyOOM, Group: "list",
		Keys: []KeySpec{keyAt(1, RW|Access|Delete), keyAt(2, RW|Insert)}, Since: "1.2.0", Deprecated: "6.2.0", ReplacedBy: "LMOVE RIGHT LEFT", Complexity: "O(1)",
		Summary: "Takes the tail of a list and puts it before the head of another.",
		Syntax:  "source destination", Run: cmdRPopLPush},
	{Name: "rpush", Arity: -3, Flags: Write | DenyOOM | Fast, Group: "list",
		Keys: keys(1, 1, 1, RW|Insert), Since: "1.0.0", Complexity: "O(1) per element",
		Summary: "Puts elements after the tail.",
		Syntax:  "key element [element ...]", Run: cmdRPush},
	{Name: "rpushx", Arity: -3, Flags: Write | DenyOOM | Fast, Group: "list",
		Keys: keys(1, 1, 1, RW|Insert), Since: "2.2.0", Complexity: "O(1) per element",
		Summary: "Puts elements after the tail of a list that exists.",
		Syntax:  "key element [element ...]", Run: cmdRPushX},
}

// list looks up a list, and answers where the key holds something else.
func (c *Call) list(key []byte) (l partition.List, ok, wrong bool) {
	l, ok, err := c.Tx.List(key)
	if err != nil {
		c.W.Error(protocol.ErrWrongType)
		return l, false, true
	}
	return l, ok, false
}

func cmdLPush(c *Call)  { push(c, true, false) }
func cmdRPush(c *Call)  { push(c, false, false) }
func cmdLPushX(c *Call) { push(c, true, true) }
func cmdRPushX(c *Call) { push(c, false, true) }

func push(c *Call, left, onlyExisting bool) {
	l, ok, wrong := c.list(c.Args[1])
	if wrong {
		return
	}
	if !ok && onlyExisting {
		c.W.Int(0)
		return
	}
	items, index := c.Args[2:], l.Len()
	if left {
		index = 0
		if len(items) > 1 { // the last one pushed comes first
			items = slices.Clone(items)
			slices.Reverse(items)
		}
	}
	n := l.Len() + len(items)
	c.Tx.ListSplice(c.Args[1], index, 0, items...)
	c.W.Int(int64(n))
}

func cmdLPop(c *Call) { pop(c, true) }
func cmdRPop(c *Call) { pop(c, false) }

func pop(c *Call, left bool) {
	if len(c.Args) > 3 {
		c.W.Error(wrongArity(c.Row))
		return
	}
	count := int64(-1)
	if len(c.Args) == 3 {
		var ok bool
		if count, ok = protocol.ParseInt(c.Args[2]); !ok || count < 0 {
			c.W.Error(protocol.ErrNotPositive)
			return
		}
	}
	l, ok, wrong := c.list(c.Args[1])
	switch {
	case wrong:
	case !ok && count < 0:
		c.W.Null()
	case !ok:
		c.W.NullArray()
	case count == 0:
		c.W.Array(0)
	case count < 0 && left:
		c.W.Bulk(l.At(0))
		c.Tx.ListSplice(c.Args[1], 0, 1)
	case count < 0:
		last := l.Len() - 1
		c.W.Bulk(l.At(last))
		c.Tx.ListSplice(c.Args[1], last, 1)
	default:
		c.popElements(c.Args[1], l, left, count)
	}
}

// popElements answers up to count elements of one end, in the order of popping, and removes them.
func (c *Call) popElements(key []byte, l partition.List, left bool, count int64) {
	n := int(min(count, int64(l.Len())))
	c.W.Array(n)
	if left {
		c.elements(l, 0, n)
		c.Tx.ListSplice(key, 0, n)
		return
	}
	it := l.From(l.Len())
	for range n {
		it.Prev()
		c.W.Bulk(it.Value())
	}
	c.Tx.ListSplice(key, l.Len()-n, n)
}

// elements answers n elements from an index on.
func (c *Call) elements(l partition.List, from, n int) {
	it := l.From(from)
	for range n {
		it.Next()
		c.W.Bulk(it.Value())
	}
}

func cmdLMPop(c *Call) {
	numKeys, where, ok := c.popKeys(1)
	if !ok {
		return
	}
	left, ok := c.leftOrRight(where)
	if !ok {
		return
	}
	count, ok := c.popCount(where + 1)
	if !ok {
		return
	}
	for _, key := range c.Args[2 : 2+numKeys] {
		l, ok, wrong := c.list(key)
		if wrong {
			return
		}
		if ok {
			c.W.Array(2)
			c.W.Bulk(key)
			c.popElements(key, l, left, count)
			return
		}
	}
	c.W.NullArray()
}

// popKeys reads LMPOP's and ZMPOP's count of keys at argument i, and finds the argument behind the keys.
func (c *Call) popKeys(i int) (numKeys, next int, ok bool) {
	n, ok := protocol.ParseInt(c.Args[i])
	if !ok || n < 1 {
		c.W.Error("ERR numkeys should be greater than 0")
		return 0, 0, false
	}
	if n >= int64(len(c.Args)-i-1) {
		c.W.Error(protocol.ErrSyntax)
		return 0, 0, false
	}
	return int(n), i + 1 + int(n), true
}

// popCount reads [COUNT count] from argument i to the end; 1 without it.
func (c *Call) popCount(i int) (count int64, ok bool) {
	switch rest := c.Args[i:]; {
	case len(rest) == 0:
		return 1, true
	case len(rest) == 1 || !is(rest[0], "count"):
		c.W.Error(protocol.ErrSyntax)
		return 0, false
	}
	count, ok = protocol.ParseInt(c.Args[i+1])
	if !ok || count < 1 {
		c.W.Error("ERR count should be greater than 0")
		return 0, false
	}
	if len(c.Args) > i+2 {
		c.W.Error(protocol.ErrSyntax)
		return 0, false
	}
	return count, true
}

func (c *Call) leftOrRight(i int) (left, ok bool) {
	switch {
	case is(c.Args[i], "left"):
		return true, true
	case is(c.Args[i], "right"):
		return false, true
	}
	c.W.Error(protocol.ErrSyntax)
	return false, false
}

func cmdLLen(c *Call) {
	if l, _, wrong := c.list(c.Args[1]); !wrong {
		c.W.Int(int64(l.Len()))
	}
}

// fromEnd turns an index that may count from the end, -1 being the last, into one from the beginning. It may lie outside.
func fromEnd(index int64, n int) int64 {
	if index < 0 {
		return index + int64(n)
	}
	return index
}

// indexRange clips a range of indexes, both ends included, to n elements; count 0 = there is nothing in it.
func indexRange(start, stop int64, n int) (from, count int) {
	start, stop = max(fromEnd(start, n), 0), min(fromEnd(stop, n), int64(n)-1)
	if start > stop {
		return 0, 0
	}
	return int(start), int(stop - start + 1)
}

func cmdLIndex(c *Call) {
	l, ok, wrong := c.list(c.Args[1])
	if wrong {
		return
	}
	if !ok {
		c.W.Null()
		return
	}
	index, ok := c.intArg(2)
	if !ok {
		return
	}
	index = fromEnd(index, l.Len())
	if index < 0 || index >= int64(l.Len()) {
		c.W.Null()
		return
	}
	c.W.Bulk(l.At(int(index)))
}

func cmdLRange(c *Call) {
	start, ok := c.intArg(2)
	if !ok {
		return
	}
	stop, ok := c.intArg(3)
	if !ok {
		return
	}
	l, _, wrong := c.list(c.Args[1])
	if wrong {
		return
	}
	from, n := indexRange(start, stop, l.Len())
	c.W.Array(n)
	c.elements(l, from, n)
}

func cmdLTrim(c *Call) {
	start, ok := c.intArg(2)
	if !ok {
		return
	}
	stop, ok := c.intArg(3)
	if !ok {
		return
	}
	l, ok, wrong := c.list(c.Args[1])
	if wrong {
		return
	}
	if ok {
		n := l.Len()
		from, count := indexRange(start, stop, n)
		if count == 0 {
			from = n
		}
		if count == n {
			c.Tx.Signal(c.Args[1]) // as in Redis, also where nothing goes
		}
		c.Tx.ListSplice(c.Args[1], from+count, n-from-count)
		c.Tx.ListSplice(c.Args[1], 0, from)
	}
	c.W.OK()
}

func cmdLSet(c *Call) {
	l, ok, wrong := c.list(c.Args[1])
	if wrong {
		return
	}
	if !ok {
		c.W.Error(protocol.ErrNoSuchKey)
		return
	}
	index, ok := c.intArg(2)
	if !ok {
		return
	}
	index = fromEnd(index, l.Len())
	if index < 0 || index >= int64(l.Len()) {
		c.W.Error(protocol.ErrIndexRange)
		return
	}
	c.Tx.ListSplice(c.Args[1], int(index), 1, c.Args[3])
	c.W.OK()
}

func cmdLInsert(c *Call) {
	after := is(c.Args[2], "after")
	if !after && !is(c.Args[2], "before") {
		c.W.Error(protocol.ErrSyntax)
		return
	}
	l, ok, wrong := c.list(c.Args[1])
	if wrong {
		return
	}
	if !ok {
		c.W.Int(0)
		return
	}
	index, n := l.Index(c.Args[3], 0), l.Len()
	if index < 0 {
		c.W.Int(-1)
		return
	}
	if after {
		index++
	}
	c.Tx.ListSplice(c.Args[1], index, 0, c.Args[4])
	c.W.Int(int64(n + 1))
}

// cmdLRem finds the elements first and removes them from the last to the first, so that each index is still right.
func cmdLRem(c *Call) {
	count, ok := c.intArg(2)
	if !ok {
		return
	}
	l, ok, wrong := c.list(c.Args[1])
	if wrong {
		return
	}
	if !ok {
		c.W.Int(0)
		return
	}
	var found []int
	step, it := (*partition.ListIterator).Next, l.From(0)
	index, by := 0, 1
	if count < 0 {
		step, it = (*partition.ListIterator).Prev, l.From(l.Len())
		index, by = l.Len()-1, -1
	}
	for ; step(&it); index += by {
		if bytes.Equal(it.Value(), c.Args[3]) {
			found = append(found, index)
			if int64(len(found)) == max(count, -count) {
				break
			}
		}
	}
	if count >= 0 {
		slices.Reverse(found)
	}
	for i := 0; i < len(found); {
		run := 1 // neighbours go in one splice
		for i+run < len(found) && found[i+run] == found[i]-run {
			run++
		}
		c.Tx.ListSplice(c.Args[1], found[i]-run+1, run)
		i += run
	}
	c.W.Int(int64(len(found)))
}

func cmdLMove(c *Call) {
	fromLeft, ok := c.leftOrRight(3)
	if !ok {
		return
	}
	toLeft, ok := c.leftOrRight(4)
	if !ok {
		return
	}
	moveElement(c, fromLeft, toLeft)
}

func cmdRPopLPush(c *Call) { moveElement(c, false, true) }

func moveElement(c *Call, fromLeft, toLeft bool) {
	from, to := c.Args[1], c.Args[2]
	l, ok, wrong := c.list(from)
	if wrong {
		return
	}
	if !ok {
		c.W.Null()
		return
	}
	if _, _, wrong := c.list(to); wrong {
		return
	}
	index := 0
	if !fromLeft {
		index = l.Len() - 1
	}
	element := bytes.Clone(l.At(index)) // both lists may be the same
	if bytes.Equal(from, to) && l.Len() == 1 {
		c.Tx.ListSplice(from, 0, 1, element) // the list never becomes empty: it keeps its expiry
		c.W.Bulk(element)
		return
	}
	c.Tx.ListSplice(from, index, 1)
	target, _, _ := c.Tx.List(to)
	index = 0
	if !toLeft {
		index = target.Len()
	}
	c.Tx.ListSplice(to, index, 0, element)
	c.W.Bulk(element)
}

// posOptions are LPOS's: rank of the first match to report, negative from the end; how many, -1 = one alone and not as an
// array, 0 = all; how many elements to look at, 0 = all.
type posOptions struct{ rank, count, maxLen int64 }

func (c *Call) posOptions() (o posOptions, ok bool) {
	o = posOptions{rank: 1, count: -1}
	for i := 3; i < len(c.Args); i += 2 {
		if i+1 == len(c.Args) {
			c.W.Error(protocol.ErrSyntax)
			return o, false
		}
		switch arg := c.Args[i]; {
		case is(arg, "rank"):
			if o.rank, ok = c.intArg(i + 1); !ok {
				return o, false
			}
			if o.rank == 0 {
				c.W.Error("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list")
				return o, false
			}
		case is(arg, "count"):
			if o.count, ok = protocol.ParseInt(c.Args[i+1]); !ok || o.count < 0 {
				c.W.Error("ERR COUNT can't be negative")
				return o, false
			}
		case is(arg, "maxlen"):
			if o.maxLen, ok = protocol.ParseInt(c.Args[i+1]); !ok || o.maxLen < 0 {
				c.W.Error("ERR MAXLEN can't be negative")
				return o, false
			}
		default:
			c.W.Error(protocol.ErrSyntax)
			return o, false
		}
	}
	if o.rank == math.MinInt64 { // its negative does not fit: Redis then takes every match from the end
		o.rank, o.count = -1, min(o.count, 0)
	}
	return o, true
}

func cmdLPos(c *Call) {
	o, ok := c.posOptions()
	if !ok {
		return
	}
	l, _, wrong := c.list(c.Args[1])
	if wrong {
		return
	}
	found := findPositions(l, c.Args[2], o)
	if o.count < 0 {
		if len(found) == 0 {
			c.W.Null()
			return
		}
		c.W.Int(int64(found[0]))
		return
	}
	c.W.Array(len(found))
	for _, index := range found {
		c.W.Int(int64(index))
	}
}

func findPositions(l partition.List, element []byte, o posOptions) (found []int) {
	step, it, index, by := (*partition.ListIterator).Next, l.From(0), 0, 1
	if o.rank < 0 {
		step, it, index, by = (*partition.ListIterator).Prev, l.From(l.Len()), l.Len()-1, -1
	}
	want, matches := max(o.count, -o.count), int64(0) // -1: one
	for looked := int64(0); (o.maxLen == 0 || looked < o.maxLen) && step(&it); looked++ {
		if bytes.Equal(it.Value(), element) {
			if matches++; matches >= max(o.rank, -o.rank) {
				found = append(found, index)
				if int64(len(found)) == want {
					return found
				}
			}
		}
		index += by
	}
	return found
}
