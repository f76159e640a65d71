package server

import (
	"bytes"
	"math"
	"slices"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// Commands on the elements of a list by where they are, or by what they are.

var listIndexRows = []*Row{
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
	{Name: "lpos", Arity: -3, Flags: ReadOnly, Group: "list",
		Keys: keys(1, 1, 1, RO|Access), Since: "6.0.6", Complexity: "O(N)",
		Summary: "Finds the index of elements by value.",
		Syntax:  "key element [RANK rank] [COUNT num-matches] [MAXLEN len]", Run: cmdLPos},
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
