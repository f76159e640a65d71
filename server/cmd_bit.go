package server

import (
	"encoding/binary"
	"math/bits"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

var bitRows = []*Row{
	{Name: "bitcount", Arity: -2, Flags: ReadOnly, Group: "bitmap",
		Keys: keys(1, 1, 1, RO|Access), Since: "2.6.0", Complexity: "O(N)",
		Summary: "Counts the set bits of a string.",
		Syntax:  "key index:[start end index_unit:[BYTE | BIT]]", Run: cmdBitCount},
	{Name: "bitop", Arity: -4, Flags: Write | DenyOOM, Group: "bitmap",
		Keys: []KeySpec{keyAt(2, OW|Update), keysFrom(3, RO|Access)}, Since: "2.6.0", Complexity: "O(N)",
		Summary: "Combines strings bit by bit and stores the result.",
		Syntax:  "operation destkey key [key ...]", OffLoop: true, Run: cmdBitOp},
	{Name: "bitpos", Arity: -3, Flags: ReadOnly, Group: "bitmap",
		Keys: keys(1, 1, 1, RO|Access), Since: "2.8.7", Complexity: "O(N)",
		Summary: "Finds the first bit that is set or clear.",
		Syntax:  "key bit index:[start end_index:[end index_unit:[BYTE | BIT]]]", Run: cmdBitPos},
	{Name: "getbit", Arity: 3, Flags: ReadOnly | Fast, Group: "bitmap",
		Keys: keys(1, 1, 1, RO|Access), Since: "2.2.0", Complexity: "O(1)",
		Summary: "Returns one bit of a string.",
		Syntax:  "key offset", Run: cmdGetBit},
	{Name: "setbit", Arity: 4, Flags: Write | DenyOOM, Group: "bitmap",
		Keys: keys(1, 1, 1, RW|Access|Update), Since: "2.2.0", Complexity: "O(1)",
		Summary: "Changes one bit of a string.",
		Syntax:  "key offset value:integer", Run: cmdSetBit},
}

func cmdSetBit(c *Call) {
	key := c.Args[1]
	offset, ok := c.bitOffset(2, 0)
	if !ok {
		return
	}
	bit, ok := protocol.ParseInt(c.Args[3])
	if !ok || bit != 0 && bit != 1 {
		c.W.Error("ERR bit is not an integer or out of range")
		return
	}
	b, _, ok := c.stringArg(key)
	if !ok {
		return
	}
	at, mask := int(offset>>3), byte(0x80)>>(offset&7)
	var old byte
	if at < len(b) {
		old = b[at]
	}
	c.W.Int(oneIf(old&mask != 0))
	changed := old &^ mask
	if bit == 1 {
		changed |= mask
	}
	if at < len(b) && changed == old {
		c.Tx.MakeRaw(key)
		return
	}
	c.Tx.Patch(key, at, []byte{changed})
}

func oneIf(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// bitOffset reads the place of a bit in a string. Where width is given, #n is the place of the n-th field so wide.
func (c *Call) bitOffset(i, width int) (offset int64, ok bool) {
	arg := c.Args[i]
	scale := int64(1)
	if width > 0 && len(arg) > 0 && arg[0] == '#' {
		arg, scale = arg[1:], int64(width)
	}
	n, ok := protocol.ParseInt(arg)
	offset = n * scale // may wrap, as Redis's does
	if !ok || offset < 0 || offset>>3 >= c.stringMax() {
		c.W.Error(protocol.ErrBitOffset)
		return 0, false
	}
	return offset, true
}

func cmdGetBit(c *Call) {
	offset, ok := c.bitOffset(2, 0)
	if !ok {
		return
	}
	b, _, ok := c.stringArg(c.Args[1])
	if !ok {
		return
	}
	at := offset >> 3
	c.W.Int(oneIf(at < int64(len(b)) && b[at]<<(offset&7)&0x80 != 0))
}

func cmdBitCount(c *Call) {
	b, found, ok := c.stringArg(c.Args[1])
	switch {
	case !ok:
		return
	case !found:
		c.W.Int(0)
		return
	}
	from, to := int64(0), int64(len(b))*8
	switch len(c.Args) {
	case 2:
	case 4, 5:
		start, ok := c.intArg(2)
		if !ok {
			return
		}
		end, ok := c.intArg(3)
		if !ok {
			return
		}
		if start < 0 && end < 0 && start > end {
			c.W.Int(0) // before the unit is looked at
			return
		}
		unit, ok := c.bitUnit(4)
		if !ok {
			return
		}
		from, to = clampRange(start, end, to/unit)
		from, to = from*unit, to*unit
	default:
		c.W.Error(protocol.ErrSyntax)
		return
	}
	c.W.Int(countBits(b, from, to))
}

// bitUnit reads the unit of a range, in bits: BYTE's where there is no such argument.
func (c *Call) bitUnit(i int) (unit int64, ok bool) {
	switch {
	case i >= len(c.Args) || is(c.Args[i], "byte"):
		return 8, true
	case is(c.Args[i], "bit"):
		return 1, true
	}
	c.W.Error(protocol.ErrSyntax)
	return 0, false
}

// countBits counts the bits that are set among those from .. to-1 of b.
func countBits(b []byte, from, to int64) (n int64) {
	if from >= to {
		return 0
	}
	first, last := from>>3, (to-1)>>3
	head, tail := byte(0xff)>>(from&7), byte(0xff)<<(7-(to-1)&7)
	if first == last {
		return int64(bits.OnesCount8(b[first] & head & tail))
	}
	n = int64(bits.OnesCount8(b[first]&head) + bits.OnesCount8(b[last]&tail))
	for b = b[first+1 : last]; len(b) >= 8; b = b[8:] {
		n += int64(bits.OnesCount64(binary.NativeEndian.Uint64(b)))
	}
	for _, x := range b {
		n += int64(bits.OnesCount8(x))
	}
	return n
}

func cmdBitPos(c *Call) {
	bit, ok := c.intArg(2)
	if !ok {
		return
	}
	if bit != 0 && bit != 1 {
		c.W.Error("ERR The bit argument must be 1 or 0.")
		return
	}
	b, found, ok := c.stringArg(c.Args[1])
	switch {
	case !ok:
		return
	case !found:
		c.W.Int(-bit) // as if it were zeros without end
		return
	}
	from, to, ok := c.bitPosRange(int64(len(b)))
	if !ok {
		return
	}
	pos := findBit(b, bit == 1, from, to)
	if pos < 0 && bit == 0 && len(c.Args) < 5 && from < to {
		pos = to // zeros follow the end of a string, unless the range has an end of its own
	}
	c.W.Int(pos)
}

// bitPosRange reads the range that BITPOS looks at, in bits, for a string of size bytes.
func (c *Call) bitPosRange(size int64) (from, to int64, ok bool) {
	if len(c.Args) == 3 {
		return 0, size * 8, true
	}
	if len(c.Args) > 6 {
		c.W.Error(protocol.ErrSyntax)
		return 0, 0, false
	}
	start, ok := c.intArg(3)
	if !ok {
		return 0, 0, false
	}
	unit, ok := c.bitUnit(5)
	if !ok {
		return 0, 0, false
	}
	end := int64(-1)
	if len(c.Args) >= 5 {
		if end, ok = c.intArg(4); !ok {
			return 0, 0, false
		}
	}
	size = size * 8 / unit
	if start < 0 && end < 0 && start > end && start+size <= 0 {
		start, end = 0, 0 // both before the string: its first unit, unlike elsewhere
	}
	from, to = clampRange(start, end, size)
	return from * unit, to * unit, true
}

// findBit returns the place of the first bit among from .. to-1 of b that is as wanted, or -1.
func findBit(b []byte, set bool, from, to int64) int64 {
	var flip uint64 // turns what is wanted to ones
	if !set {
		flip = ^flip
	}
	for at := from; at < to; {
		if at&7 == 0 && to-at >= 64 {
			if x := binary.BigEndian.Uint64(b[at>>3:]) ^ flip; x != 0 {
				return at + int64(bits.LeadingZeros64(x))
			}
			at += 64
			continue
		}
		if x := (b[at>>3] ^ byte(flip)) << (at & 7); x != 0 {
			if at += int64(bits.LeadingZeros8(x)); at < to {
				return at
			}
			return -1
		}
		at = at&^7 + 8
	}
	return -1
}

// bitOp is what BITOP does with its sources.
type bitOp uint8

const (
	bitAnd bitOp = iota
	bitOr
	bitXor
	bitNot
)

func cmdBitOp(c *Call) {
	var op bitOp
	switch name := c.Args[1]; {
	case is(name, "and"):
		op = bitAnd
	case is(name, "or"):
		op = bitOr
	case is(name, "xor"):
		op = bitXor
	case is(name, "not"):
		op = bitNot
	default:
		c.W.Error(protocol.ErrSyntax)
		return
	}
	if op == bitNot && len(c.Args) != 4 {
		c.W.Error("ERR BITOP NOT must be called with a single source key.")
		return
	}
	target := c.Args[2]
	sources := make([][]byte, 0, len(c.Args)-3)
	size := 0
	for _, key := range c.Args[3:] {
		b, _, ok := c.stringArg(key)
		if !ok {
			return
		}
		sources = append(sources, b)
		size = max(size, len(b))
	}
	c.W.Int(int64(size))
	if size == 0 {
		c.Tx.Del(target)
		return
	}
	combine := func(value []byte) { op.combine(value, sources) }
	c.Tx.SetStringOf(target, size, combine, partition.StringRaw, 0)
}

// combine writes to dst, which is as long as the longest source; shorter ones count as padded with zero bytes.
func (op bitOp) combine(dst []byte, sources [][]byte) {
	copy(dst, sources[0])
	if op == bitNot {
		op.apply(dst, dst)
	}
	for _, src := range sources[1:] {
		op.apply(dst, src)
		if op == bitAnd {
			clear(dst[len(src):])
		}
	}
}

// apply combines dst with src, as far as src goes.
func (op bitOp) apply(dst, src []byte) {
	i := 0
	for ; i+8 <= len(src); i += 8 {
		d := dst[i : i+8]
		binary.NativeEndian.PutUint64(d, op.word(binary.NativeEndian.Uint64(d), binary.NativeEndian.Uint64(src[i:])))
	}
	for ; i < len(src); i++ {
		dst[i] = byte(op.word(uint64(dst[i]), uint64(src[i])))
	}
}

func (op bitOp) word(x, y uint64) uint64 {
	switch op {
	case bitAnd:
		return x & y
	case bitOr:
		return x | y
	case bitXor:
		return x ^ y
	}
	return ^x
}
