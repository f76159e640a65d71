package server

import (
	"bytes"
	"slices"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// Commands on the ends of lists; those on elements by index or value are in cmd_list_index.go.

var listRows = []*Row{
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
	{Name: "lpush", Arity: -3, Flags: Write | DenyOOM | Fast, Group: "list",
		Keys: keys(1, 1, 1, RW|Insert), Since: "1.0.0", Complexity: "O(1) per element",
		Summary: "Puts elements before the head.",
		Syntax:  "key element [element ...]", Run: cmdLPush},
	{Name: "lpushx", Arity: -3, Flags: Write | DenyOOM | Fast, Group: "list",
		Keys: keys(1, 1, 1, RW|Insert), Since: "2.2.0", Complexity: "O(1) per element",
		Summary: "Puts elements before the head of a list that exists.",
		Syntax:  "key element [element ...]", Run: cmdLPushX},
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
