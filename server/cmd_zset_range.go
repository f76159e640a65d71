package server

import (
	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

var zsetRangeRows = []*Row{
	{Name: "zcount", Arity: 4, Flags: ReadOnly | Fast, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Since: "2.0.0", Complexity: "O(log(N))",
		Summary: "Counts the members with a score in a range.",
		Syntax:  "key min:double max:double", Run: cmdZCount},
	{Name: "zlexcount", Arity: 4, Flags: ReadOnly | Fast, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Since: "2.8.9", Complexity: "O(log(N))",
		Summary: "Counts the members in a range of names.",
		Syntax:  "key min max", Run: cmdZLexCount},
	{Name: "zrange", Arity: -4, Flags: ReadOnly, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Since: "1.2.0", Complexity: "O(log(N)+M)",
		Summary: "Returns members by rank, score or name.",
		Syntax:  "key start:string stop:string sortby:[BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]", Run: cmdZRange},
	{Name: "zrangebylex", Arity: -4, Flags: ReadOnly, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Since: "2.8.9", Deprecated: "6.2.0", ReplacedBy: "ZRANGE BYLEX", Complexity: "O(log(N)+M)",
		Summary: "Returns members by name.",
		Syntax:  "key min max [LIMIT offset count]", Run: cmdZRangeByLex},
	{Name: "zrangebyscore", Arity: -4, Flags: ReadOnly, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Since: "1.0.5", Deprecated: "6.2.0", ReplacedBy: "ZRANGE BYSCORE", Complexity: "O(log(N)+M)",
		Summary: "Returns members by score.",
		Syntax:  "key min:double max:double [WITHSCORES] [LIMIT offset count]", Run: cmdZRangeByScore},
	{Name: "zrangestore", Arity: -5, Flags: Write | DenyOOM, Group: "sorted-set",
		Keys: []KeySpec{keyAt(1, OW|Update), keyAt(2, RO|Access)}, Since: "6.2.0", Complexity: "O(log(N)+M)",
		Summary: "Stores a range of members in another key.",
		Syntax:  "dst src min max sortby:[BYSCORE | BYLEX] [REV] [LIMIT offset count]", Run: cmdZRangeStore},
	{Name: "zremrangebylex", Arity: 4, Flags: Write, Group: "sorted-set",
		Keys: keys(1, 1, 1, RW|Delete), Since: "2.8.9", Complexity: "O(log(N)+M)",
		Summary: "Removes the members in a range of names.",
		Syntax:  "key min max", Run: cmdZRemRangeByLex},
	{Name: "zremrangebyrank", Arity: 4, Flags: Write, Group: "sorted-set",
		Keys: keys(1, 1, 1, RW|Delete), Since: "2.0.0", Complexity: "O(log(N)+M)",
		Summary: "Removes the members in a range of ranks.",
		Syntax:  "key start stop", Run: cmdZRemRangeByRank},
	{Name: "zremrangebyscore", Arity: 4, Flags: Write, Group: "sorted-set",
		Keys: keys(1, 1, 1, RW|Delete), Since: "1.2.0", Complexity: "O(log(N)+M)",
		Summary: "Removes the members with a score in a range.",
		Syntax:  "key min:double max:double", Run: cmdZRemRangeByScore},
	{Name: "zrevrange", Arity: -4, Flags: ReadOnly, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Since: "1.2.0", Deprecated: "6.2.0", ReplacedBy: "ZRANGE REV", Complexity: "O(log(N)+M)",
		Summary: "Returns members by rank, highest score first.",
		Syntax:  "key start stop [WITHSCORES]", Run: cmdZRevRange},
	{Name: "zrevrangebylex", Arity: -4, Flags: ReadOnly, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Since: "2.8.9", Deprecated: "6.2.0", ReplacedBy: "ZRANGE REV BYLEX", Complexity: "O(log(N)+M)",
		Summary: "Returns members by name, last name first.",
		Syntax:  "key max min [LIMIT offset count]", Run: cmdZRevRangeByLex},
	{Name: "zrevrangebyscore", Arity: -4, Flags: ReadOnly, Group: "sorted-set",
		Keys: keys(1, 1, 1, RO|Access), Since: "2.2.0", Deprecated: "6.2.0", ReplacedBy: "ZRANGE REV BYSCORE", Complexity: "O(log(N)+M)",
		Summary: "Returns members by score, highest first.",
		Syntax:  "key max:double min:double [WITHSCORES] [LIMIT offset count]", Run: cmdZRevRangeByScore},
}

// zsetRange is a part of a sorted set, as ZRANGE and its kin name it.
type zsetRange struct {
	by         rangeBy
	reverse    bool
	withScores bool
	first      int64 // by rank
	last       int64
	min, max   scoreBound  // by score
	low, high  memberBound // by name
	offset     int64       // by score or name
	count      int64       // negative: all
}

type rangeBy uint8

const (
	byAny rangeBy = iota // the options tell; without any, by rank
	byRank
	byScore
	byName
)

type scoreBound struct {
	score     float64
	exclusive bool
}

type memberBound struct {
	member    []byte
	exclusive bool
	beyond    int // -1 below all members, 1 above all, 0 at member
}

func cmdZRange(c *Call)           { zrange(c, zsetRange{}) }
func cmdZRevRange(c *Call)        { zrange(c, zsetRange{by: byRank, reverse: true}) }
func cmdZRangeByScore(c *Call)    { zrange(c, zsetRange{by: byScore}) }
func cmdZRevRangeByScore(c *Call) { zrange(c, zsetRange{by: byScore, reverse: true}) }
func cmdZRangeByLex(c *Call)      { zrange(c, zsetRange{by: byName}) }
func cmdZRevRangeByLex(c *Call)   { zrange(c, zsetRange{by: byName, reverse: true}) }
func cmdZRemRangeByRank(c *Call)  { zremrange(c, byRank) }
func cmdZRemRangeByScore(c *Call) { zremrange(c, byScore) }
func cmdZRemRangeByLex(c *Call)   { zremrange(c, byName) }
func cmdZCount(c *Call)           { zcount(c, byScore) }
func cmdZLexCount(c *Call)        { zcount(c, byName) }

func zrange(c *Call, r zsetRange) {
	if !c.rangeOptions(&r, 4, true) || !c.rangeBounds(&r, 2) {
		return
	}
	z, _, wrong := c.zset(c.Args[1])
	if wrong {
		return
	}
	rank, n := r.find(z)
	c.membersHeader(n, r.withScores)
	if r.reverse {
		rank += n - 1
	}
	it := z.From(rank, r.reverse)
	for range n {
		it.Next()
		c.member(it.Member(), it.Score(), r.withScores)
	}
}

func cmdZRangeStore(c *Call) {
	var r zsetRange
	if !c.rangeOptions(&r, 5, false) || !c.rangeBounds(&r, 3) {
		return
	}
	z, _, wrong := c.zset(c.Args[2])
	if wrong {
		return
	}
	rank, n := r.find(z)
	c.Tx.StoreZset(c.Args[1], z, rank, n, partition.ZsetArrival{Single: true, Reverse: r.reverse, Counted: r.by == byRank || r.by == byAny})
	c.W.Int(int64(n))
}

func zremrange(c *Call, by rangeBy) {
	r := zsetRange{by: by, count: -1}
	if !c.rangeBounds(&r, 2) {
		return
	}
	z, _, wrong := c.zset(c.Args[1])
	if wrong {
		return
	}
	rank, n := r.find(z)
	if n > 0 {
		c.Tx.ZCut(c.Args[1], rank, n)
	}
	c.W.Int(int64(n))
}

func zcount(c *Call, by rangeBy) {
	r := zsetRange{by: by, count: -1}
	if !c.rangeBounds(&r, 2) {
		return
	}
	if z, _, wrong := c.zset(c.Args[1]); !wrong {
		_, n := r.find(z)
		c.W.Int(int64(n))
	}
}

// rangeOptions reads the options from argument i on. What the command's name says already is no option.
func (c *Call) rangeOptions(r *zsetRange, i int, scores bool) bool {
	auto := r.by == byAny
	r.count = -1
	for ; i < len(c.Args); i++ {
		switch arg := c.Args[i]; {
		case scores && is(arg, "withscores"):
			r.withScores = true
		case is(arg, "limit") && i+2 < len(c.Args):
			var ok bool
			if r.offset, ok = c.intArg(i + 1); !ok {
				return false
			}
			if r.count, ok = c.intArg(i + 2); !ok {
				return false
			}
			i += 2
		case auto && !r.reverse && is(arg, "rev"):
			r.reverse = true
		case r.by == byAny && is(arg, "bylex"):
			r.by = byName
		case r.by == byAny && is(arg, "byscore"):
			r.by = byScore
		default:
			c.W.Error(protocol.ErrSyntax)
			return false
		}
	}
	if r.by == byAny {
		r.by = byRank
	}
	switch {
	case r.by == byRank && r.count != -1:
		c.W.Error("ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX")
		return false
	case r.by == byName && r.withScores:
		c.W.Error("ERR syntax error, WITHSCORES not supported in combination with BYLEX")
		return false
	}
	return true
}

// rangeBounds reads the two bounds at argument i; in reverse the upper one comes first, but not of ranks.
func (c *Call) rangeBounds(r *zsetRange, i int) (ok bool) {
	low, high := i, i+1
	if r.reverse && r.by != byRank {
		low, high = high, low
	}
	switch r.by {
	case byRank:
		if r.first, ok = c.intArg(low); ok {
			r.last, ok = c.intArg(high)
		}
		return ok
	case byScore:
		if r.min, ok = parseScoreBound(c.Args[low]); ok {
			r.max, ok = parseScoreBound(c.Args[high])
		}
		if !ok {
			c.W.Error(protocol.ErrMinMaxFloat)
		}
		return ok
	default:
		if r.low, ok = parseMemberBound(c.Args[low]); ok {
			r.high, ok = parseMemberBound(c.Args[high])
		}
		if !ok {
			c.W.Error(protocol.ErrMinMaxString)
		}
		return ok
	}
}

func parseScoreBound(b []byte) (bound scoreBound, ok bool) {
	if len(b) > 0 && b[0] == '(' {
		bound.exclusive, b = true, b[1:]
	}
	bound.score, ok = protocol.ParseBound(b)
	return bound, ok
}

// parseMemberBound reads "(member", "[member", "-" or "+". As in Redis, a zero byte ends one of the latter two.
func parseMemberBound(b []byte) (bound memberBound, ok bool) {
	if len(b) == 0 {
		return bound, false
	}
	switch b[0] {
	case '(', '[':
		return memberBound{member: b[1:], exclusive: b[0] == '('}, true
	case '-':
		bound.beyond = -1
	case '+':
		bound.beyond = 1
	default:
		return bound, false
	}
	return bound, len(b) == 1 || b[1] == 0
}

// find is where the range is in a set: the lowest rank, and how many members.
func (r *zsetRange) find(z partition.Zset) (rank, n int) {
	if r.by == byRank {
		return r.findRanks(z.Len())
	}
	var end int
	if r.by == byScore {
		rank = z.CountBelow(r.min.score, r.min.exclusive)
		end = z.CountBelow(r.max.score, !r.max.exclusive)
	} else {
		rank = r.low.rank(z, r.low.exclusive)
		end = r.high.rank(z, !r.high.exclusive)
	}
	n = max(end-rank, 0)
	if r.offset < 0 || r.offset >= int64(n) {
		return 0, 0
	}
	skip := int(r.offset)
	n -= skip
	keep := n
	if r.count >= 0 {
		keep = int(min(r.count, int64(n)))
	}
	if r.reverse {
		return rank + n - keep, keep
	}
	return rank + skip, keep
}

func (r *zsetRange) findRanks(length int) (rank, n int) {
	first, last := r.first, r.last
	if first < 0 {
		first = max(first+int64(length), 0)
	}
	if last < 0 {
		last += int64(length)
	}
	last = min(last, int64(length)-1)
	if first > last {
		return 0, 0
	}
	rank, n = int(first), int(last-first)+1
	if r.reverse {
		rank = length - rank - n
	}
	return rank, n
}

// rank is how many members are below the bound or, where inclusive, at it.
func (b memberBound) rank(z partition.Zset, inclusive bool) int {
	switch {
	case b.beyond < 0:
		return 0
	case b.beyond > 0:
		return z.Len()
	default:
		return z.CountBelowMember(b.member, inclusive)
	}
}
