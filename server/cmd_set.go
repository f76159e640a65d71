package server

import (
	"math"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

var setRows = []*Row{
	{Name: "sadd", Arity: -3, Flags: Write | DenyOOM | Fast, Group: "set",
		Keys: keys(1, 1, 1, RW|Insert), Since: "1.0.0", Complexity: "O(1) per element",
		Summary: "Adds members to a set.",
		Syntax:  "key member [member ...]", Run: cmdSAdd},
	{Name: "scard", Arity: 2, Flags: ReadOnly | Fast, Group: "set",
		Keys: keys(1, 1, 1, RO), Since: "1.0.0", Complexity: "O(1)",
		Summary: "Counts the members of a set.",
		Syntax:  "key", Run: cmdSCard},
	{Name: "sdiff", Arity: -2, Flags: ReadOnly, Group: "set",
		Keys: keys(1, -1, 1, RO|Access), Tips: []string{"nondeterministic_output_order"}, Since: "1.0.0", Complexity: "O(N)",
		Summary: "Returns what the first set has and the others have not.",
		Syntax:  "key [key ...]", Run: cmdSDiff},
	{Name: "sdiffstore", Arity: -3, Flags: Write | DenyOOM, Group: "set",
		Keys: []KeySpec{keyAt(1, OW|Update), keysFrom(2, RO|Access)}, Since: "1.0.0", Complexity: "O(N)",
		Summary: "Stores what the first set has and the others have not.",
		Syntax:  "destination key [key ...]", Run: cmdSDiffStore},
	{Name: "sinter", Arity: -2, Flags: ReadOnly, Group: "set",
		Keys: keys(1, -1, 1, RO|Access), Tips: []string{"nondeterministic_output_order"}, Since: "1.0.0", Complexity: "O(N*M)",
		Summary: "Returns what all sets have in common.",
		Syntax:  "key [key ...]", Run: cmdSInter},
	{Name: "sintercard", Arity: -3, Flags: ReadOnly | MovableKeys, Group: "set",
		Keys: []KeySpec{keysCounted(1, RO|Access)}, Since: "7.0.0", Complexity: "O(N*M)",
		Summary: "Counts what all sets have in common.",
		Syntax:  "numkeys key [key ...] [LIMIT limit]", Run: cmdSInterCard},
	{Name: "sinterstore", Arity: -3, Flags: Write | DenyOOM, Group: "set",
		Keys: []KeySpec{keyAt(1, RW|Update), keysFrom(2, RO|Access)}, Since: "1.0.0", Complexity: "O(N*M)",
		Summary: "Stores what all sets have in common.",
		Syntax:  "destination key [key ...]", Run: cmdSInterStore},
	{Name: "sismember", Arity: 3, Flags: ReadOnly | Fast, Group: "set",
		Keys: keys(1, 1, 1, RO), Since: "1.0.0", Complexity: "O(1)",
		Summary: "Tells whether a value is a member.",
		Syntax:  "key member", Run: cmdSIsMember},
	{Name: "smembers", Arity: 2, Flags: ReadOnly, Group: "set",
		Keys: keys(1, 1, 1, RO|Access), Tips: []string{"nondeterministic_output_order"}, Since: "1.0.0", Complexity: "O(N)",
		Summary: "Returns all members.",
		Syntax:  "key", Run: cmdSMembers},
	{Name: "smismember", Arity: -3, Flags: ReadOnly | Fast, Group: "set",
		Keys: keys(1, 1, 1, RO|Access), Since: "6.2.0", Complexity: "O(N)",
		Summary: "Tells of several values whether they are members.",
		Syntax:  "key member [member ...]", Run: cmdSMIsMember},
	{Name: "smove", Arity: 4, Flags: Write | Fast, Group: "set",
		Keys: []KeySpec{keyAt(1, RW|Access|Delete), keyAt(2, RW|Insert)}, Since: "1.0.0", Complexity: "O(1)",
		Summary: "Moves a member to another set.",
		Syntax:  "source destination member", Run: cmdSMove},
	{Name: "spop", Arity: -2, Flags: Write | Fast, Group: "set",
		Keys: keys(1, 1, 1, RW|Access|Delete), Tips: []string{"nondeterministic_output"}, Since: "1.0.0", Complexity: "O(1), with a count O(N)",
		Summary: "Removes random members and returns them.",
		Syntax:  "key [count]", Run: cmdSPop},
	{Name: "srandmember", Arity: -2, Flags: ReadOnly, Group: "set",
		Keys: keys(1, 1, 1, RO|Access), Tips: []string{"nondeterministic_output"}, Since: "1.0.0", Complexity: "O(1), with a count O(N)",
		Summary: "Returns random members.",
		Syntax:  "key [count]", Run: cmdSRandMember},
	{Name: "srem", Arity: -3, Flags: Write | Fast, Group: "set",
		Keys: keys(1, 1, 1, RW|Delete), Since: "1.0.0", Complexity: "O(N)",
		Summary: "Removes members of a set.",
		Syntax:  "key member [member ...]", Run: cmdSRem},
	{Name: "sscan", Arity: -3, Flags: ReadOnly, Group: "set",
		Keys: keys(1, 1, 1, RO|Access), Tips: []string{"nondeterministic_output"}, Since: "2.8.0", Complexity: "O(1) per call, O(N) for a whole walk",
		Summary: "Walks the members of a set, some at a time.",
		Syntax:  "key cursor [MATCH pattern] [COUNT count]", Run: cmdSScan},
	{Name: "sunion", Arity: -2, Flags: ReadOnly, Group: "set",
		Keys: keys(1, -1, 1, RO|Access), Tips: []string{"nondeterministic_output_order"}, Since: "1.0.0", Complexity: "O(N)",
		Summary: "Returns what any of the sets has.",
		Syntax:  "key [key ...]", Run: cmdSUnion},
	{Name: "sunionstore", Arity: -3, Flags: Write | DenyOOM, Group: "set",
		Keys: []KeySpec{keyAt(1, OW|Update), keysFrom(2, RO|Access)}, Since: "1.0.0", Complexity: "O(N)",
		Summary: "Stores what any of the sets has.",
		Syntax:  "destination key [key ...]", Run: cmdSUnionStore},
}

// set looks up a set to be read. Where key holds something else it answers so, and ok is false; a key that is not there
// is an empty set.
func (c *Call) set(key []byte) (s partition.Set, found, ok bool) {
	s, found, err := c.Tx.Set(key)
	if err != nil {
		c.W.Error(err.Error())
		return s, false, false
	}
	return s, found, true
}

func cmdSAdd(c *Call) {
	added, err := c.Tx.SAdd(c.Args[1], c.Args[2:]...)
	c.replyCount(added, err)
}

func cmdSRem(c *Call) {
	removed, err := c.Tx.SRem(c.Args[1], c.Args[2:]...)
	c.replyCount(removed, err)
}

func (c *Call) replyCount(n int, err error) {
	if err != nil {
		c.W.Error(err.Error())
		return
	}
	c.W.Int(int64(n))
}

func cmdSCard(c *Call) {
	if s, _, ok := c.set(c.Args[1]); ok {
		c.W.Int(int64(s.Len()))
	}
}

func cmdSIsMember(c *Call) {
	if s, _, ok := c.set(c.Args[1]); ok {
		c.replyMember(&s, c.Args[2])
	}
}

func cmdSMIsMember(c *Call) {
	s, _, ok := c.set(c.Args[1])
	if !ok {
		return
	}
	c.W.Array(len(c.Args) - 2)
	for _, member := range c.Args[2:] {
		c.replyMember(&s, member)
	}
}

func (c *Call) replyMember(s *partition.Set, member []byte) {
	if s.Has(member) {
		c.W.Int(1)
	} else {
		c.W.Int(0)
	}
}

func cmdSMembers(c *Call) {
	if s, _, ok := c.set(c.Args[1]); ok {
		c.W.Set(s.Len())
		c.replyMembers(&s)
	}
}

func (c *Call) replyMembers(s *partition.Set) {
	for it := s.Iter(); it.Next(); {
		c.W.Bulk(it.Member())
	}
}

func cmdSMove(c *Call) {
	from, to, member := c.Args[1], c.Args[2], c.Args[3]
	s, found, ok := c.set(from)
	switch {
	case !ok:
		return
	case !found:
		c.W.Int(0) // before the type of the other key is looked at
		return
	}
	if _, _, ok := c.set(to); !ok {
		return
	}
	if !s.Has(member) || string(from) == string(to) {
		c.replyMember(&s, member)
		return
	}
	c.Tx.SRem(from, member)
	c.Tx.SAdd(to, member)
	c.W.Int(1)
}

func cmdSScan(c *Call) {
	cursor, ok := c.scanCursor(2)
	if !ok {
		return
	}
	s, found, ok := c.set(c.Args[1])
	if !ok {
		return
	}
	if !found {
		c.scanReply(0, 0, nil)
		return
	}
	o, ok := c.scanOptions(3, cursor, false)
	if !ok {
		return
	}
	var items protocol.Writer
	n := 0
	next := s.Scan(o.cursor, o.count, func(member []byte) {
		if o.matches(member) {
			items.Bulk(member)
			n++
		}
	})
	c.scanReply(next, n, items.Buf)
}

func cmdSPop(c *Call) {
	switch {
	case len(c.Args) == 3:
		c.popMany()
		return
	case len(c.Args) > 3:
		c.W.Error(protocol.ErrSyntax)
		return
	}
	s, found, ok := c.set(c.Args[1])
	switch {
	case !ok:
	case !found:
		c.W.Null()
	default:
		c.W.Bulk(c.Tx.SPop(c.Args[1], &s, 1)[0])
	}
}

// popKeepShare: where at most one member in so many is to stay, SPOP writes those anew.
const popKeepShare = 6

func (c *Call) popMany() {
	n, ok := protocol.ParseInt(c.Args[2])
	if !ok || n < 0 {
		c.W.Error(protocol.ErrNotPositive)
		return
	}
	key := c.Args[1]
	s, _, ok := c.set(key)
	if !ok {
		return
	}
	count := int(min(n, int64(s.Len())))
	c.W.Set(count)
	switch keep := s.Len() - count; {
	case count == 0:
	case keep == 0:
		c.replyMembers(&s)
		c.Tx.Del(key)
	case keep <= s.Len()/popKeepShare:
		c.popAllBut(key, &s, keep)
	default:
		for _, member := range c.Tx.SPop(key, &s, count) {
			c.W.Bulk(member)
		}
	}
}

// popAllBut pops all but some members of a set. Those are a set like a new one: in Redis, too, integers that were among
// strings are an intset afterwards.
func (c *Call) popAllBut(key []byte, s *partition.Set, count int) {
	kept := c.Tx.NewSet()
	defer kept.Close()
	s.Sample(c.Tx.Rand(), count, func(member []byte) { kept.Add(member) })
	for it := s.Iter(); it.Next(); {
		if m := it.Member(); !kept.Has(m) {
			c.W.Bulk(m)
		}
	}
	v, _ := c.Tx.Peek(key)
	c.Tx.StoreSet(key, kept, v.ExpireAt())
}

func cmdSRandMember(c *Call) {
	switch {
	case len(c.Args) == 3:
		c.randomMembers()
		return
	case len(c.Args) > 3:
		c.W.Error(protocol.ErrSyntax)
		return
	}
	s, found, ok := c.set(c.Args[1])
	switch {
	case !ok:
	case !found:
		c.W.Null()
	default:
		c.W.Bulk(s.Random(c.Tx.Rand()))
	}
}

// randomMembers answers SRANDMEMBER with a count: that many different members or, where it is negative, as many as that,
// each drawn from all.
func (c *Call) randomMembers() {
	n, ok := protocol.ParseInt(c.Args[2])
	switch {
	case !ok:
		c.W.Error(protocol.ErrNotInteger)
		return
	case n == math.MinInt64:
		c.W.Error(rangeError(-math.MaxInt64, math.MaxInt64))
		return
	}
	s, found, ok := c.set(c.Args[1])
	switch {
	case !ok:
	case !found:
		c.W.Array(0)
	case n >= 0:
		count := int(min(n, int64(s.Len())))
		c.W.Array(count)
		s.Sample(c.Tx.Rand(), count, c.W.Bulk)
	default:
		c.draw(-n, c.W.Array, func() { c.W.Bulk(s.Random(c.Tx.Rand())) })
	}
}

// drawnBytesMax bounds a reply whose length the client chooses; no member takes less than drawnBytesMin of it.
const (
	drawnBytesMax = 512 << 20
	drawnBytesMin = len("$0\r\n\r\n")
)

// draw answers as many elements as the client says: header announces them, one writes a random one. What would be too
// long a reply is refused.
func (c *Call) draw(count int64, header func(n int), one func()) {
	start := len(c.W.Buf)
	if count <= drawnBytesMax/int64(drawnBytesMin) {
		header(int(count))
		for ; count > 0 && len(c.W.Buf)-start <= drawnBytesMax; count-- {
			one()
		}
	}
	if count > 0 {
		c.W.Buf = c.W.Buf[:start]
		c.W.Error(protocol.ErrOutOfRange)
	}
}
