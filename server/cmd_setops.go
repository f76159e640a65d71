package server

import (
	"cmp"
	"slices"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// sets looks up several sets to be read; one that is not there is empty. Where a key holds something else it answers so,
// and ok is false.
func (c *Call) sets(keys [][]byte) (sets []partition.Set, ok bool) {
	sets = make([]partition.Set, len(keys))
	for i, key := range keys {
		if sets[i], _, ok = c.set(key); !ok {
			return nil, false
		}
	}
	return sets, true
}

func cmdSInter(c *Call) {
	var items protocol.Writer
	n := 0
	ok := c.intersect(c.Args[1:], func(member []byte) bool {
		items.Bulk(member)
		n++
		return true
	})
	if ok {
		c.W.Set(n)
		c.W.Raw(items.Buf)
	}
}

func cmdSInterStore(c *Call) {
	result := c.Tx.NewSet()
	defer result.Close()
	ok := c.intersect(c.Args[2:], func(member []byte) bool {
		result.Add(member)
		return true
	})
	if ok {
		c.storeSet(result)
	}
}

func cmdSInterCard(c *Call) {
	count, ok := protocol.ParseInt(c.Args[1])
	switch {
	case !ok || count <= 0:
		c.W.Error("ERR numkeys should be greater than 0")
		return
	case count > int64(len(c.Args)-2):
		c.W.Error("ERR Number of keys can't be greater than number of args")
		return
	}
	keys, options := c.Args[2:2+count], c.Args[2+count:]
	limit := int64(0) // none
	for ; len(options) > 0; options = options[2:] {
		if len(options) < 2 || !is(options[0], "limit") {
			c.W.Error(protocol.ErrSyntax)
			return
		}
		if limit, ok = protocol.ParseInt(options[1]); !ok || limit < 0 {
			c.W.Error("ERR LIMIT can't be negative")
			return
		}
	}
	n := int64(0)
	ok = c.intersect(keys, func([]byte) bool {
		n++
		return n != limit
	})
	if ok {
		c.W.Int(n)
	}
}

// intersect passes what all sets have in common to f, until f says no.
func (c *Call) intersect(keys [][]byte, f func(member []byte) bool) (ok bool) {
	sets, ok := c.sets(keys)
	if !ok {
		return false
	}
	slices.SortStableFunc(sets, func(a, b partition.Set) int { return cmp.Compare(a.Len(), b.Len()) })
	rest := sets[1:]
	for it := sets[0].Iter(); it.Next(); {
		m := it.Member()
		if !slices.ContainsFunc(rest, func(s partition.Set) bool { return !s.Has(m) }) && !f(m) {
			break
		}
	}
	return true
}

func cmdSUnion(c *Call)      { c.combine(c.Args[1:], (*Call).union, (*Call).replySet) }
func cmdSUnionStore(c *Call) { c.combine(c.Args[2:], (*Call).union, (*Call).storeSet) }
func cmdSDiff(c *Call)       { c.combine(c.Args[1:], (*Call).subtract, (*Call).replySet) }
func cmdSDiffStore(c *Call)  { c.combine(c.Args[2:], (*Call).subtract, (*Call).storeSet) }

// combine gathers a set from those at keys, and has it answered or stored.
func (c *Call) combine(keys [][]byte, gather func(*Call, [][]byte, *partition.SetBuilder) bool, finish func(*Call, *partition.SetBuilder)) {
	result := c.Tx.NewSet()
	defer result.Close()
	if gather(c, keys, result) {
		finish(c, result)
	}
}

func (c *Call) replySet(result *partition.SetBuilder) {
	c.W.Set(result.Len())
	c.replyMembers(&result.Set)
}

// storeSet makes the first argument's key the result, and answers its size.
func (c *Call) storeSet(result *partition.SetBuilder) {
	c.Tx.StoreSet(c.Args[1], result, 0)
	c.W.Int(int64(result.Len()))
}

func (c *Call) union(keys [][]byte, result *partition.SetBuilder) (ok bool) {
	sets, ok := c.sets(keys)
	for i := range sets {
		addAll(result, &sets[i])
	}
	return ok
}

func addAll(result *partition.SetBuilder, s *partition.Set) {
	for it := s.Iter(); it.Next(); {
		result.Add(it.Member())
	}
}

// subtract gathers what the first set has and no other one. It either looks each member up in the others, or takes the
// members of the others out of a copy. The choice is Redis's: a copy that has taken strings in is no intset afterwards,
// whatever is left.
func (c *Call) subtract(keys [][]byte, result *partition.SetBuilder) (ok bool) {
	sets, ok := c.sets(keys)
	if !ok || slices.ContainsFunc(keys[1:], func(k []byte) bool { return string(k) == string(keys[0]) }) {
		return ok
	}
	first, rest := &sets[0], sets[1:]
	lookups, removals := 0, 0
	for i := range sets {
		if n := sets[i].Len(); n > 0 {
			lookups += first.Len()
			removals += n
		}
	}
	if lookups/2 <= removals {
		for it := first.Iter(); it.Next(); {
			m := it.Member()
			if !slices.ContainsFunc(rest, func(s partition.Set) bool { return s.Has(m) }) {
				result.Add(m)
			}
		}
		return true
	}
	addAll(result, first)
	for i := range rest {
		for it := rest[i].Iter(); it.Next(); {
			result.Remove(it.Member())
		}
		if result.Len() == 0 {
			break
		}
	}
	return true
}
