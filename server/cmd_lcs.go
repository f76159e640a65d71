package server

import (
	"slices"

	"github.com/neargrid/neargrid/protocol"
)

var lcsRows = []*Row{
	{Name: "lcs", Arity: -3, Flags: ReadOnly, Group: "string", OffLoop: true,
		Keys: keys(1, 2, 1, RO|Access), Since: "7.0.0", Complexity: "O(N*M)",
		Summary: "Finds the longest common subsequence of two strings.",
		Syntax:  "key1 key2 [LEN] [IDX] [MINMATCHLEN len] [WITHMATCHLEN]", Run: cmdLCS},
}

// lcsOptions are LCS's options.
type lcsOptions struct {
	length, indexes, withLength bool
	minLength                   int64
}

func cmdLCS(c *Call) {
	a, _, errA := c.Tx.String(c.Args[1])
	b, _, errB := c.Tx.String(c.Args[2])
	if errA != nil || errB != nil {
		c.W.Error("ERR The specified keys must contain string values")
		return
	}
	o, ok := c.lcsOptions()
	if !ok {
		return
	}
	if o.length && o.indexes {
		c.W.Error("ERR If you want both the length and indexes, please just use IDX.")
		return
	}
	if cells := c.stringMax() / lcsCellBytes; int64(len(a)+1) > cells/int64(len(b)+1) {
		c.W.Error("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
		return
	}
	length, up := lcsTable(a, b)
	switch {
	case o.length:
		c.W.Int(int64(length))
	case o.indexes:
		c.replyMatches(o, length, lcsMatches(a, b, up))
	default:
		common := make([]byte, 0, length)
		matches := lcsMatches(a, b, up)
		for i := len(matches) - 1; i >= 0; i-- {
			m := matches[i]
			common = append(common, a[m.a:m.a+m.n]...)
		}
		c.W.Bulk(common)
	}
}

func (c *Call) lcsOptions() (o lcsOptions, ok bool) {
	for i := 3; i < len(c.Args); i++ {
		arg := c.Args[i]
		switch {
		case is(arg, "idx"):
			o.indexes = true
		case is(arg, "len"):
			o.length = true
		case is(arg, "withmatchlen"):
			o.withLength = true
		case is(arg, "minmatchlen") && i+1 < len(c.Args):
			i++
			if o.minLength, ok = c.intArg(i); !ok {
				return o, false
			}
		default:
			c.W.Error(protocol.ErrSyntax)
			return o, false
		}
	}
	return o, true
}

// replyMatches answers with the matches that are long enough, the last first.
func (c *Call) replyMatches(o lcsOptions, length int, matches []lcsMatch) {
	matches = slices.DeleteFunc(matches, func(m lcsMatch) bool { return int64(m.n) < o.minLength })
	c.W.Map(2)
	c.W.BulkString("matches")
	c.W.Array(len(matches))
	for _, m := range matches {
		if o.withLength {
			c.W.Array(3)
		} else {
			c.W.Array(2)
		}
		for _, from := range [2]int{m.a, m.b} {
			c.W.Array(2)
			c.W.Int(int64(from))
			c.W.Int(int64(from + m.n - 1))
		}
		if o.withLength {
			c.W.Int(int64(m.n))
		}
	}
	c.W.BulkString("len")
	c.W.Int(int64(length))
}

// lcsCellBytes is what Redis's table takes for each pair of prefixes. Its size decides which strings are refused as too
// long; ours takes a bit.
const lcsCellBytes = 4

// lcsTable finds the length of the longest common subsequence of a and b by dynamic programming over pairs of prefixes.
// Only one row of lengths is kept: the way back through the table needs no more than, for each pair of prefixes whose
// last bytes differ, whether the shorter a is better than the shorter b. That is a bit of up.
func lcsTable(a, b []byte) (length int, up bitSet) {
	up = make(bitSet, (len(a)*len(b)+63)/64)
	row := make([]uint32, len(b)+1) // row[j]: for the prefix of a so far and the first j bytes of b
	for i, x := range a {
		var diagonal uint32 // row[j] of the row before
		for j, y := range b {
			above := row[j+1]
			switch left := row[j]; {
			case x == y:
				row[j+1] = diagonal + 1
			case above > left:
				up.set(i*len(b) + j)
			default:
				row[j+1] = left
			}
			diagonal = above
		}
	}
	return int(row[len(b)]), up
}

// lcsMatch is a stretch of n bytes that both strings have, at a in one and at b in the other.
type lcsMatch struct{ a, b, n int }

// lcsMatches follows the table back from its end and returns what the common subsequence is made of, last first.
func lcsMatches(a, b []byte, up bitSet) (matches []lcsMatch) {
	adjacent := false
	for i, j := len(a)-1, len(b)-1; i >= 0 && j >= 0; {
		if a[i] != b[j] {
			adjacent = false
			if up.has(i*len(b) + j) {
				i--
			} else {
				j--
			}
			continue
		}
		if !adjacent {
			matches = append(matches, lcsMatch{a: i + 1, b: j + 1})
			adjacent = true
		}
		m := &matches[len(matches)-1]
		m.a, m.b, m.n = i, j, m.n+1
		i--
		j--
	}
	return matches
}

// bitSet is a set of small integers.
type bitSet []uint64

func (s bitSet) set(i int)      { s[i>>6] |= 1 << (i & 63) }
func (s bitSet) has(i int) bool { return s[i>>6]&(1<<(i&63)) != 0 }
