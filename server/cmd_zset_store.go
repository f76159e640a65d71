package server

import (
	"cmp"
	"math"
	"slices"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

var zsetStoreRows = []*Row{
	{Name: "zdiff", Arity: -3, Flags: ReadOnly | MovableKeys, Group: "sorted-set",
		Keys: []KeySpec{keysCounted(1, RO|Access)}, Since: "6.2.0", Complexity: "O(L + (N-K)log(N))",
		Summary: "Returns what the first sorted set has and the others have not.",
		Syntax:  "numkeys key [key ...] [WITHSCORES]", Run: cmdZDiff},
	{Name: "zdiffstore", Arity: -4, Flags: Write | DenyOOM | MovableKeys, Group: "sorted-set",
		Keys: []KeySpec{keyAt(1, OW|Update), keysCounted(2, RO|Access)}, Since: "6.2.0", Complexity: "O(L + (N-K)log(N))",
		Summary: "Stores what the first sorted set has and the others have not.",
		Syntax:  "destination numkeys key [key ...]", Run: cmdZDiffStore},
	{Name: "zinter", Arity: -3, Flags: ReadOnly | MovableKeys, Group: "sorted-set",
		Keys: []KeySpec{keysCounted(1, RO|Access)}, Since: "6.2.0", Complexity: "O(N*K) + O(M*log(M))",
		Summary: "Returns what all sorted sets have in common.",
		Syntax:  "numkeys key [key ...] [WEIGHTS weight [weight ...]] aggregate:[AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]", Run: cmdZInter},
	{Name: "zintercard", Arity: -3, Flags: ReadOnly | MovableKeys, Group: "sorted-set",
		Keys: []KeySpec{keysCounted(1, RO|Access)}, Since: "7.0.0", Complexity: "O(N*K)",
		Summary: "Counts what all sorted sets have in common.",
		Syntax:  "numkeys key [key ...] [LIMIT limit]", Run: cmdZInterCard},
	{Name: "zinterstore", Arity: -4, Flags: Write | DenyOOM | MovableKeys, Group: "sorted-set",
		Keys: []KeySpec{keyAt(1, OW|Update), keysCounted(2, RO|Access)}, Since: "2.0.0", Complexity: "O(N*K) + O(M*log(M))",
		Summary: "Stores what all sorted sets have in common.",
		Syntax:  "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] aggregate:[AGGREGATE <SUM | MIN | MAX>]", Run: cmdZInterStore},
	{Name: "zunion", Arity: -3, Flags: ReadOnly | MovableKeys, Group: "sorted-set",
		Keys: []KeySpec{keysCounted(1, RO|Access)}, Since: "6.2.0", Complexity: "O(N) + O(M*log(M))",
		Summary: "Returns what any of the sorted sets has.",
		Syntax:  "numkeys key [key ...] [WEIGHTS weight [weight ...]] aggregate:[AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]", Run: cmdZUnion},
	{Name: "zunionstore", Arity: -4, Flags: Write | DenyOOM | MovableKeys, Group: "sorted-set",
		Keys: []KeySpec{keyAt(1, OW|Update), keysCounted(2, RO|Access)}, Since: "2.0.0", Complexity: "O(N) + O(M log(M))",
		Summary: "Stores what any of the sorted sets has.",
		Syntax:  "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] aggregate:[AGGREGATE <SUM | MIN | MAX>]", Run: cmdZUnionStore},
}

func cmdZUnion(c *Call)      { combineScored(c, (*zsetInputs).union, weighed|scored) }
func cmdZUnionStore(c *Call) { combineScored(c, (*zsetInputs).union, weighed|stored) }
func cmdZInter(c *Call)      { combineScored(c, (*zsetInputs).intersect, weighed|scored) }
func cmdZInterStore(c *Call) { combineScored(c, (*zsetInputs).intersect, weighed|stored) }
func cmdZDiff(c *Call)       { combineScored(c, (*zsetInputs).subtract, scored) }
func cmdZDiffStore(c *Call)  { combineScored(c, (*zsetInputs).subtract, stored) }

// zsetOptions says what a command that combines sorted sets has beside its keys.
type zsetOptions uint8

const (
	stored  zsetOptions = 1 << iota // a destination, before the keys
	weighed                         // WEIGHTS and AGGREGATE
	scored                          // WITHSCORES
	limited                         // LIMIT
)

// combineScored gathers a sorted set from others, and answers or stores it.
func combineScored(c *Call, gather func(*zsetInputs, *partition.ZsetBuilder), options zsetOptions) {
	in, ok := c.zsetInputs(options)
	if !ok {
		return
	}
	result := c.Tx.NewZset()
	defer result.Close()
	gather(in, result)
	z := result.Zset()
	if options&stored != 0 {
		c.Tx.StoreZset(c.Args[1], z, 0, z.Len(), partition.ZsetArrival{})
		c.W.Int(int64(z.Len()))
		return
	}
	c.membersHeader(z.Len(), in.withScores)
	for it := z.From(0, false); it.Next(); {
		c.member(it.Member(), it.Score(), in.withScores)
	}
}

func cmdZInterCard(c *Call) {
	in, ok := c.zsetInputs(limited)
	if !ok {
		return
	}
	n := int64(0)
	in.common(func([]byte, float64) bool {
		n++
		return n != in.limit
	})
	c.W.Int(n)
}

// zsetInputs are the sets that a command combines, and how.
type zsetInputs struct {
	sets       []zsetInput
	aggregate  func(a, b float64) float64
	withScores bool
	limit      int64 // 0 = none
}

// zsetInput is a sorted set, or a set, whose members all have the score 1.
type zsetInput struct {
	zset   partition.Zset
	set    partition.Set
	isSet  bool
	weight float64
}

// zsetInputs reads the keys with their count, and the options behind them.
func (c *Call) zsetInputs(options zsetOptions) (in *zsetInputs, ok bool) {
	at := 1
	if options&stored != 0 {
		at = 2
	}
	numKeys, ok := c.intArg(at)
	switch at++; {
	case !ok:
		return nil, false
	case numKeys < 1:
		c.W.Error("ERR at least 1 input key is needed for '" + c.Row.fullName() + "' command")
		return nil, false
	case numKeys > int64(len(c.Args)-at):
		c.W.Error(protocol.ErrSyntax)
		return nil, false
	}
	in = &zsetInputs{sets: make([]zsetInput, numKeys), aggregate: sumScores}
	for i := range in.sets {
		if in.sets[i], ok = c.zsetInput(c.Args[at+i]); !ok {
			return nil, false
		}
	}
	return in, c.combineOptions(in, at+int(numKeys), options)
}

func (c *Call) zsetInput(key []byte) (in zsetInput, ok bool) {
	in.weight = 1
	v, ok := c.Tx.Find(key)
	if !ok {
		return in, true
	}
	in.isSet = v.Type() == partition.TypeSet
	var err error
	if in.isSet {
		in.set, err = v.Set()
	} else {
		in.zset, err = v.Zset()
	}
	if err != nil {
		c.W.Error(protocol.ErrWrongType)
		return in, false
	}
	return in, true
}

func (c *Call) combineOptions(in *zsetInputs, i int, options zsetOptions) (ok bool) {
	for i < len(c.Args) {
		switch arg, left := c.Args[i], len(c.Args)-i; {
		case options&weighed != 0 && left > len(in.sets) && is(arg, "weights"):
			for k := range in.sets {
				if in.sets[k].weight, ok = protocol.ParseFloat(c.Args[i+1+k]); !ok {
					c.W.Error("ERR weight value is not a float")
					return false
				}
			}
			i += 1 + len(in.sets)
		case options&weighed != 0 && left > 1 && is(arg, "aggregate"):
			if in.aggregate = aggregates[string(appendLower(nil, c.Args[i+1]))]; in.aggregate == nil {
				c.W.Error(protocol.ErrSyntax)
				return false
			}
			i += 2
		case options&scored != 0 && is(arg, "withscores"):
			in.withScores = true
			i++
		case options&limited != 0 && left > 1 && is(arg, "limit"):
			if in.limit, ok = protocol.ParseInt(c.Args[i+1]); !ok || in.limit < 0 {
				c.W.Error("ERR LIMIT can't be negative")
				return false
			}
			i += 2
		default:
			c.W.Error(protocol.ErrSyntax)
			return false
		}
	}
	return true
}

var aggregates = map[string]func(a, b float64) float64{"sum": sumScores, "min": lesserScore, "max": greaterScore}

// sumScores takes infinity and its opposite for 0 together.
func sumScores(a, b float64) float64 { return orZero(a + b) }

func orZero(score float64) float64 {
	if math.IsNaN(score) {
		return 0
	}
	return score
}

// lesserScore and greaterScore keep a where b is equal or, being weighed, no number.
func lesserScore(a, b float64) float64 {
	if b < a {
		return b
	}
	return a
}

func greaterScore(a, b float64) float64 {
	if b > a {
		return b
	}
	return a
}

func (in *zsetInput) len() int {
	if in.isSet {
		return in.set.Len()
	}
	return in.zset.Len()
}

func (in *zsetInput) score(member []byte) (score float64, ok bool) {
	if in.isSet {
		return 1, in.set.Has(member)
	}
	return in.zset.Score(member)
}

// each passes all members to f, until f says no.
func (in *zsetInput) each(f func(member []byte, score float64) bool) {
	if in.isSet {
		for it := in.set.Iter(); it.Next() && f(it.Member(), 1); {
		}
		return
	}
	for it := in.zset.From(0, false); it.Next() && f(it.Member(), it.Score()); {
	}
}

// sortBySize puts small sets first. So does Redis, and the order matters: sums are rounded as they are built up.
func (in *zsetInputs) sortBySize() {
	slices.SortStableFunc(in.sets, func(a, b zsetInput) int { return cmp.Compare(a.len(), b.len()) })
}

func (in *zsetInputs) union(result *partition.ZsetBuilder) {
	in.sortBySize()
	for i := range in.sets {
		s := &in.sets[i]
		s.each(func(member []byte, score float64) bool {
			score = orZero(s.weight * score)
			if sum, ok := result.Score(member); ok {
				score = in.aggregate(sum, score)
			}
			result.Set(member, score)
			return true
		})
	}
}

func (in *zsetInputs) intersect(result *partition.ZsetBuilder) {
	in.common(func(member []byte, score float64) bool {
		result.Set(member, score)
		return true
	})
}

// common passes what all sets have to f, with its aggregated score, until f says no.
func (in *zsetInputs) common(f func(member []byte, score float64) bool) {
	in.sortBySize()
	in.sets[0].each(func(member []byte, score float64) bool {
		sum := orZero(in.sets[0].weight * score)
		for i := range in.sets[1:] {
			s := &in.sets[1+i]
			score, ok := s.score(member)
			if !ok {
				return true
			}
			sum = in.aggregate(sum, s.weight*score)
		}
		return f(member, sum)
	})
}

func (in *zsetInputs) subtract(result *partition.ZsetBuilder) {
	in.sets[0].each(func(member []byte, score float64) bool {
		for i := range in.sets[1:] {
			if _, ok := in.sets[1+i].score(member); ok {
				return true
			}
		}
		result.Set(member, score)
		return true
	})
}
