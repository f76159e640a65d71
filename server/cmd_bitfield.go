package server

import (
	"encoding/binary"

	"github.com/neargrid/neargrid/protocol"
)

var bitFieldRows = []*Row{
	{Name: "bitfield", Arity: -2, Flags: Write | DenyOOM, Group: "bitmap",
		FindKeys: findBitFieldKeys, Keys: keys(1, 1, 1, RW|Access|Update|VariableFlags), Since: "3.2.0", Complexity: "O(1) per operation",
		Summary: "Reads and changes integers inside a string.",
		Syntax:  "key [operation:<GET encoding offset | write:{[OVERFLOW <WRAP | SAT | FAIL>] write_operation:<SET encoding offset value:integer | INCRBY encoding offset increment>}> [...]]", Run: cmdBitField},
	{Name: "bitfield_ro", Arity: -2, Flags: ReadOnly | Fast, Group: "bitmap",
		Keys: keys(1, 1, 1, RO|Access), Since: "6.0.0", Complexity: "O(1) per operation",
		Summary: "Reads integers inside a string.",
		Syntax:  "key [GET encoding offset [GET encoding offset ...]]", Run: cmdBitFieldRO},
}

func cmdBitField(c *Call)   { bitField(c, false) }
func cmdBitFieldRO(c *Call) { bitField(c, true) }

// bitFieldOp is one operation of BITFIELD on a field: an integer of so many bits, anywhere in a string.
type bitFieldOp struct {
	kind     bitFieldKind
	overflow overflowRule
	signed   bool
	width    uint  // in bits: 1..64, unsigned ..63
	offset   int64 // of its highest bit
	arg      int64 // the value to set, or the increment
}

type bitFieldKind uint8

const (
	fieldGet bitFieldKind = iota
	fieldSet
	fieldIncrBy
)

// overflowRule is what happens to a result that does not fit its field.
type overflowRule uint8

const (
	overflowWrap overflowRule = iota
	overflowSaturate
	overflowFail
)

func bitField(c *Call, readOnly bool) {
	var few [4]bitFieldOp
	ops, ok := c.bitFieldOps(few[:0])
	if !ok {
		return
	}
	key, end := c.Args[1], int64(0) // end: of the highest bit that may be written
	for i := range ops {
		if op := &ops[i]; op.kind != fieldGet {
			end = max(end, op.offset+int64(op.width))
		}
	}
	if end > 0 && readOnly {
		c.W.Error("ERR BITFIELD_RO only supports the GET subcommand")
		return
	}
	if _, _, ok := c.stringArg(key); !ok {
		return
	}
	c.W.Array(len(ops))
	for i := range ops {
		ops[i].run(c, key)
	}
	if end == 0 {
		return
	}
	// What was to be written makes the string long enough and raw, even where nothing came of it.
	if size := int((end + 7) / 8); size > len(c.peekString(key)) {
		c.Tx.Patch(key, size-1, []byte{0})
	} else {
		c.Tx.MakeRaw(key)
	}
}

// peekString is the string at a key that holds a string or nothing.
func (c *Call) peekString(key []byte) []byte {
	v, found := c.Tx.Peek(key)
	if !found {
		return nil
	}
	b, _ := v.String()
	return b
}

// bitFieldOps reads the operations of a command line and appends them.
func (c *Call) bitFieldOps(ops []bitFieldOp) (_ []bitFieldOp, ok bool) {
	overflow := overflowWrap
	for i := 2; i < len(c.Args); {
		op := bitFieldOp{overflow: overflow}
		name, rest := c.Args[i], len(c.Args)-i-1
		switch {
		case rest >= 2 && is(name, "get"):
		case rest >= 3 && is(name, "set"):
			op.kind = fieldSet
		case rest >= 3 && is(name, "incrby"):
			op.kind = fieldIncrBy
		case rest >= 1 && is(name, "overflow"):
			if overflow, ok = c.overflowArg(i + 1); !ok {
				return nil, false
			}
			i += 2
			continue
		default:
			c.W.Error(protocol.ErrSyntax)
			return nil, false
		}
		if op.signed, op.width, ok = c.fieldType(i + 1); !ok {
			return nil, false
		}
		if op.offset, ok = c.bitOffset(i+2, int(op.width)); !ok {
			return nil, false
		}
		i += 3
		if op.kind != fieldGet {
			if op.arg, ok = c.intArg(i); !ok {
				return nil, false
			}
			i++
		}
		ops = append(ops, op)
	}
	return ops, true
}

func (c *Call) overflowArg(i int) (rule overflowRule, ok bool) {
	switch arg := c.Args[i]; {
	case is(arg, "wrap"):
		return overflowWrap, true
	case is(arg, "sat"):
		return overflowSaturate, true
	case is(arg, "fail"):
		return overflowFail, true
	}
	c.W.Error("ERR Invalid OVERFLOW type specified")
	return 0, false
}

// fieldType reads the type of a field: i and u with a number of bits, as in i16.
func (c *Call) fieldType(i int) (signed bool, width uint, ok bool) {
	if arg := c.Args[i]; len(arg) > 1 && (arg[0] == 'i' || arg[0] == 'u') {
		signed, widest := arg[0] == 'i', int64(63)
		if signed {
			widest = 64
		}
		if n, ok := protocol.ParseInt(arg[1:]); ok && n >= 1 && n <= widest {
			return signed, uint(n), true
		}
	}
	c.W.Error("ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.")
	return false, 0, false
}

// run executes one operation and answers it.
func (op *bitFieldOp) run(c *Call, key []byte) {
	b := c.peekString(key)
	at, shift := op.offset>>3, uint(op.offset&7)
	var w fieldWindow
	if at < int64(len(b)) {
		copy(w[:], b[at:])
	}
	old := w.get(shift, op.width)
	if op.signed {
		old = uint64(int64(old<<(64-op.width)) >> (64 - op.width))
	}
	reply, base, add := old, old, op.arg
	if op.kind == fieldSet {
		base, add = uint64(op.arg), 0
	}
	if op.kind != fieldGet {
		value, ok := op.add(base, add)
		if !ok {
			c.W.Null()
			return
		}
		if op.kind == fieldIncrBy {
			reply = value
		}
		if value != old {
			w.put(shift, op.width, value)
			c.Tx.Patch(key, int(at), w[:(shift+op.width+7)/8])
		}
	}
	c.W.Int(int64(reply))
}

// add returns value + n as far as the field takes it; false where it does not and the rule is to fail.
func (op *bitFieldOp) add(value uint64, n int64) (sum uint64, ok bool) {
	limit, beyond := op.unsignedLimit(value, n)
	if op.signed {
		limit, beyond = op.signedLimit(int64(value), n)
	}
	switch {
	case beyond && op.overflow == overflowFail:
		return 0, false
	case beyond && op.overflow == overflowSaturate:
		return limit, true
	}
	sum = (value + uint64(n)) << (64 - op.width) // wrapped, which changes nothing where it fits
	if op.signed {
		return uint64(int64(sum) >> (64 - op.width)), true
	}
	return sum >> (64 - op.width), true
}

// unsignedLimit tells whether value + n is beyond an unsigned field, and on which side.
func (op *bitFieldOp) unsignedLimit(value uint64, n int64) (limit uint64, beyond bool) {
	highest := uint64(1)<<op.width - 1
	switch {
	case value > highest || n > 0 && uint64(n) > highest-value:
		return highest, true
	case n < 0 && uint64(-n) > value:
		return 0, true
	}
	return 0, false
}

// signedLimit tells whether value + n is beyond a signed field, and on which side. As in Redis, the room left up to the
// highest value is computed modulo 2^64: a value so low that it wraps is taken for one that is too high.
func (op *bitFieldOp) signedLimit(value, n int64) (limit uint64, beyond bool) {
	highest := int64(1)<<(op.width-1) - 1
	lowest := -highest - 1
	up, down := highest-value, lowest-value
	full := op.width == 64
	switch {
	case value > highest || !full && n > up || value >= 0 && n > 0 && n > up:
		return uint64(highest), true
	case value < lowest || !full && n < down || value < 0 && n < 0 && n < down:
		return uint64(lowest), true
	}
	return 0, false
}

// fieldWindow is the bytes of a string that a field may reach into.
type fieldWindow [9]byte

// get reads the field of width bits that begins shift bits into the window; shift is below 8.
func (w *fieldWindow) get(shift, width uint) uint64 {
	v := binary.BigEndian.Uint64(w[:])<<shift | uint64(w[8])>>(8-shift)
	return v >> (64 - width)
}

// put writes the low bits of v to the place where get reads them.
func (w *fieldWindow) put(shift, width uint, v uint64) {
	v <<= 64 - width
	mask := ^uint64(0) << (64 - width)
	head := binary.BigEndian.Uint64(w[:])
	binary.BigEndian.PutUint64(w[:], head&^(mask>>shift)|v>>shift)
	w[8] = w[8]&^byte(mask<<(8-shift)) | byte(v<<(8-shift))
}
