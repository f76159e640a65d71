package server

import (
	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

var zsetRows = []*Row{
	{Name: "zadd", Arity: -4, Flags: Write | DenyOOM | Fast, Group: "sorted-set",
		Keys: keys(1, 1, 1, RW|Update), Since: "1.2.0", Complexity: "O(log(N)) per member",
		Summary: "Adds members to a sorted set, or changes their scores.",
		Syntax:  "key condition:[NX | XX] comparison:[GT | LT] change:[CH] increment:[INCR] score member [score member ...]", Run: cmdZAdd},
	{Name: "zcard", Arity: 2, Flags: ReadOnly | Fast, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO), Since: "1.2.0", Complexity: "O(1)",
		Summary: "Counts the members of a sorted set.",
		Syntax:  "key", Run: cmdZCard},
	{Name: "zincrby", Arity: 4, Flags: Write | DenyOOM | Fast, Group: "sorted-set",
		Keys: keys(1, 1, 1, RW|Access|Update), Since: "1.2.0", Complexity: "O(log(N))",
		Summary: "Adds to a member's score.",
		Syntax:  "key increment member", Run: cmdZIncrBy},
	{Name: "zmpop", Arity: -4, Flags: Write | MovableKeys, Group: "sorted-set",
		Keys: []KeySpec{keysCounted(1, RW|Access|Delete)}, Since: "7.0.0", Complexity: "O(K) + O(M*log(N))",
		Summary: "Takes the lowest or highest members off the first sorted set that has some.",
		Syntax:  "numkeys key [key ...] where:<MIN | MAX> [COUNT count]", Run: cmdZMPop},
	{Name: "zmscore", Arity: -3, Flags: ReadOnly | Fast, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Since: "6.2.0", Complexity: "O(N)",
		Summary: "Returns the scores of several members.",
		Syntax:  "key member [member ...]", Run: cmdZMScore},
	{Name: "zpopmax", Arity: -2, Flags: Write | Fast, Group: "sorted-set",
		Keys: keys(1, 1, 1, RW|Access|Delete), Since: "5.0.0", Complexity: "O(log(N)*M)",
		Summary: "Removes the members with the highest scores and returns them.",
		Syntax:  "key [count]", Run: cmdZPopMax},
	{Name: "zpopmin", Arity: -2, Flags: Write | Fast, Group: "sorted-set",
		Keys: keys(1, 1, 1, RW|Access|Delete), Since: "5.0.0", Complexity: "O(log(N)*M)",
		Summary: "Removes the members with the lowest scores and returns them.",
		Syntax:  "key [count]", Run: cmdZPopMin},
	{Name: "zrandmember", Arity: -2, Flags: ReadOnly, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Tips: []string{"nondeterministic_output"}, Since: "6.2.0", Complexity: "O(N)",
		Summary: "Returns random members.",
		Syntax:  "key options:[count [WITHSCORES]]", Run: cmdZRandMember},
	{Name: "zrank", Arity: 3, Flags: ReadOnly | Fast, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Since: "2.0.0", Complexity: "O(log(N))",
		Summary: "Returns a member's rank from the lowest score.",
		Syntax:  "key member", Run: cmdZRank},
	{Name: "zrem", Arity: -3, Flags: Write | Fast, Group: "sorted-set",
		Keys: keys(1, 1, 1, RW|Delete), Since: "1.2.0", Complexity: "O(M*log(N))",
		Summary: "Removes members of a sorted set.",
		Syntax:  "key member [member ...]", Run: cmdZRem},
	{Name: "zrevrank", Arity: 3, Flags: ReadOnly | Fast, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Since: "2.0.0", Complexity: "O(log(N))",
		Summary: "Returns a member's rank from the highest score.",
		Syntax:  "key member", Run: cmdZRevRank},
	{Name: "zscan", Arity: -3, Flags: ReadOnly, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Tips: []string{"nondeterministic_output"}, Since: "2.8.0", Complexity: "O(1) per call, O(N) for a whole walk",
		Summary: "Walks the members of a sorted set, some at a time.",
		Syntax:  "key cursor [MATCH pattern] [COUNT count]", Run: cmdZScan},
	{Name: "zscore", Arity: 3, Flags: ReadOnly | Fast, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Since: "1.2.0", Complexity: "O(1)",
		Summary: "Returns a member's score.",
		Syntax:  "key member", Run: cmdZScore},
}

// zset looks up a sorted set, and answers where the key holds something else. A key that is not there is an empty set.
func (c *Call) zset(key []byte) (z partition.Zset, found, wrong bool) {
	z, found, err := c.Tx.Zset(key)
	if err != nil {
		c.W.Error(protocol.ErrWrongType)
		return z, false, true
	}
	return z, found, false
}

func cmdZAdd(c *Call)    { zadd(c, 0) }
func cmdZIncrBy(c *Call) { zadd(c, partition.ZAddIncr) }

func zadd(c *Call, mode partition.ZAddMode) {
	options, countChanged := 2, false
	for ; options < len(c.Args); options++ {
		switch arg := c.Args[options]; {
		case is(arg, "nx"):
			mode |= partition.ZAddNX
		case is(arg, "xx"):
			mode |= partition.ZAddXX
		case is(arg, "gt"):
			mode |= partition.ZAddGT
		case is(arg, "lt"):
			mode |= partition.ZAddLT
		case is(arg, "incr"):
			mode |= partition.ZAddIncr
		case is(arg, "ch"):
			countChanged = true
		default:
			if pairs := c.Args[options:]; c.checkScores(mode, pairs) {
				c.addScores(mode, pairs, countChanged)
			}
			return
		}
	}
	c.W.Error(protocol.ErrSyntax)
}

// checkScores checks all that ZADD can refuse before anything is changed.
func (c *Call) checkScores(mode partition.ZAddMode, pairs [][]byte) bool {
	const nx, xx, gt, lt = partition.ZAddNX, partition.ZAddXX, partition.ZAddGT, partition.ZAddLT
	has := func(both partition.ZAddMode) bool { return mode&both == both }
	switch {
	case len(pairs)%2 != 0:
		c.W.Error(protocol.ErrSyntax)
		return false
	case has(nx | xx):
		c.W.Error("ERR XX and NX options at the same time are not compatible")
		return false
	case has(gt|nx) || has(lt|nx) || has(gt|lt):
		c.W.Error("ERR GT, LT, and/or NX options at the same time are not compatible")
		return false
	case has(partition.ZAddIncr) && len(pairs) > 2:
		c.W.Error("ERR INCR option supports a single increment-element pair")
		return false
	}
	for i := 0; i < len(pairs); i += 2 {
		if _, ok := protocol.ParseFloat(pairs[i]); !ok {
			c.W.Error(protocol.ErrNotFloat)
			return false
		}
	}
	_, _, wrong := c.zset(c.Args[1])
	return !wrong
}

func (c *Call) addScores(mode partition.ZAddMode, pairs [][]byte, countChanged bool) {
	count := int64(0)
	for i := 0; i < len(pairs); i += 2 {
		score, _ := protocol.ParseFloat(pairs[i])
		score, did := c.Tx.ZAdd(c.Args[1], mode, score, pairs[i+1])
		if did == partition.ZNew || did == partition.ZChanged && countChanged {
			count++
		}
		if mode&partition.ZAddIncr == 0 {
			continue
		}
		switch did {
		case partition.ZRefused:
			c.W.Null()
		case partition.ZNotANumber:
			c.W.Error(protocol.ErrScoreNaN)
		default:
			c.W.Double(score)
		}
		return
	}
	c.W.Int(count)
}

func cmdZCard(c *Call) {
	if z, _, wrong := c.zset(c.Args[1]); !wrong {
		c.W.Int(int64(z.Len()))
	}
}

func cmdZScore(c *Call) {
	if z, _, wrong := c.zset(c.Args[1]); !wrong {
		c.score(z, c.Args[2])
	}
}

func cmdZMScore(c *Call) {
	z, _, wrong := c.zset(c.Args[1])
	if wrong {
		return
	}
	c.W.Array(len(c.Args) - 2)
	for _, member := range c.Args[2:] {
		c.score(z, member)
	}
}

// score answers a member's score, or nothing.
func (c *Call) score(z partition.Zset, member []byte) {
	score, ok := z.Score(member)
	if !ok {
		c.W.Null()
		return
	}
	c.W.Double(score)
}

func cmdZRank(c *Call)    { zrank(c, false) }
func cmdZRevRank(c *Call) { zrank(c, true) }

func zrank(c *Call, reverse bool) {
	z, _, wrong := c.zset(c.Args[1])
	if wrong {
		return
	}
	rank, ok := z.Rank(c.Args[2])
	switch {
	case !ok:
		c.W.Null()
	case reverse:
		c.W.Int(int64(z.Len() - 1 - rank))
	default:
		c.W.Int(int64(rank))
	}
}

func cmdZRem(c *Call) {
	if _, _, wrong := c.zset(c.Args[1]); !wrong {
		c.W.Int(int64(c.Tx.ZRem(c.Args[1], c.Args[2:]...)))
	}
}

func cmdZPopMin(c *Call) { zpop(c, false) }
func cmdZPopMax(c *Call) { zpop(c, true) }

func zpop(c *Call, highest bool) {
	if len(c.Args) > 3 {
		c.W.Error(protocol.ErrSyntax)
		return
	}
	count, counted := int64(1), len(c.Args) == 3
	if counted {
		var ok bool
		if count, ok = protocol.ParseInt(c.Args[2]); !ok || count < 0 {
			c.W.Error(protocol.ErrNotPositive)
			return
		}
	}
	z, _, wrong := c.zset(c.Args[1])
	if wrong {
		return
	}
	n := int(min(count, int64(z.Len())))
	nested := counted && c.W.Resp == 3
	c.scoredHeader(n, nested)
	c.popMembers(c.Args[1], z, highest, n, nested)
}

// popMembers answers n members from one end with their scores, and removes them.
func (c *Call) popMembers(key []byte, z partition.Zset, highest bool, n int, nested bool) {
	if n == 0 {
		return
	}
	first, lowest := 0, 0
	if highest {
		first, lowest = z.Len()-1, z.Len()-n
	}
	it := z.From(first, highest)
	for range n {
		it.Next()
		c.scoredMember(it.Member(), it.Score(), nested)
	}
	c.Tx.ZCut(key, lowest, n)
}

// scoredHeader begins a reply of n members with their scores: nested, each with its score is an array.
func (c *Call) scoredHeader(n int, nested bool) {
	if !nested {
		n *= 2
	}
	c.W.Array(n)
}

func (c *Call) scoredMember(member []byte, score float64, nested bool) {
	if nested {
		c.W.Array(2)
	}
	c.W.Bulk(member)
	c.W.Double(score)
}

// membersHeader begins a reply of n members as RESP2 and RESP3 have it: with scores, flat in the one and nested in the other.
func (c *Call) membersHeader(n int, withScores bool) {
	if withScores {
		c.scoredHeader(n, c.W.Resp == 3)
		return
	}
	c.W.Array(n)
}

func (c *Call) member(member []byte, score float64, withScore bool) {
	if withScore {
		c.scoredMember(member, score, c.W.Resp == 3)
		return
	}
	c.W.Bulk(member)
}

func cmdZMPop(c *Call) {
	numKeys, where, ok := c.popKeys(1)
	if !ok {
		return
	}
	highest := is(c.Args[where], "max")
	if !highest && !is(c.Args[where], "min") {
		c.W.Error(protocol.ErrSyntax)
		return
	}
	count, ok := c.popCount(where + 1)
	if !ok {
		return
	}
	for _, key := range c.Args[2 : 2+numKeys] {
		z, found, wrong := c.zset(key)
		if wrong {
			return
		}
		if found {
			n := int(min(count, int64(z.Len())))
			c.W.Array(2)
			c.W.Bulk(key)
			c.scoredHeader(n, true)
			c.popMembers(key, z, highest, n, true)
			return
		}
	}
	c.W.NullArray()
}

func cmdZScan(c *Call) {
	cursor, ok := c.scanCursor(2)
	if !ok {
		return
	}
	z, found, wrong := c.zset(c.Args[1])
	if wrong {
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
	// Redis prints scores from a listpack as it stores them there: whole numbers with all their digits.
	appendScore := protocol.AppendFloat
	if z.Packed() {
		appendScore = protocol.AppendFloatOrInt
	}
	var items protocol.Writer
	var text []byte
	n := 0
	next := z.Scan(o.cursor, o.count, func(member []byte, score float64) {
		if o.matches(member) {
			text = appendScore(text[:0], score)
			items.Bulk(member)
			items.Bulk(text)
			n += 2
		}
	})
	c.scanReply(next, n, items.Buf)
}

func cmdZRandMember(c *Call) {
	if len(c.Args) == 2 {
		z, found, wrong := c.zset(c.Args[1])
		switch {
		case wrong:
		case !found:
			c.W.Null()
		default:
			member, _ := z.Random(c.Tx.Rand())
			c.W.Bulk(member)
		}
		return
	}
	count, withScores, ok := c.randomCount("withscores")
	if !ok {
		return
	}
	z, found, wrong := c.zset(c.Args[1])
	switch {
	case wrong:
	case !found:
		c.W.Array(0)
	case count < 0:
		c.draw(-count, func(n int) { c.membersHeader(n, withScores) }, func() {
			member, score := z.Random(c.Tx.Rand())
			c.member(member, score, withScores)
		})
	default:
		n := int(min(count, int64(z.Len())))
		c.membersHeader(n, withScores)
		z.Sample(c.Tx.Rand(), n, func(member []byte, score float64) { c.member(member, score, withScores) })
	}
}
