package partition

import "encoding/binary"

// A record is one key (or one member of a large collection) with its value, in an arena:
//
//	1 B   kind, and flags
//	3 B   access clock or counter          keys only
//	      key length, varint
//	      value length, varint
//	8 B   expiry, ms since 1970            where hasExpiry
//	      key, value
//
// Records start at multiples of 4. What a record occupies is a function of its lengths and flags, so a value of the same
// class is overwritten in place and a chunk can be walked without a directory.
const (
	recordAlign = 4

	kindMask   = 0x0f
	hasExpiry  = 0x10
	grown      = 0x20 // has grown before: capacity rounds up by eighths, so growing again is often in place
	deadRecord = 0x40

	accessBytes = 3
	expiryBytes = 8
)

// The kinds of record. A string's kind also says what OBJECT ENCODING shall answer.
const (
	kindNone      = iota
	kindString    // encoding follows from the content: int, embstr or raw
	kindStringRaw // was changed in place (APPEND, SETRANGE, SETBIT): raw
	kindStringEmb // never int, whatever it looks like (INCRBYFLOAT)
	kindList      // one packed blob
	kindHash      // one packed blob
	kindSet       // one packed blob of strings
	kindIntset    // one sorted array of integers
	kindZset      // one packed blob
	kindObject    // the value is the 4 B index of a large object of the partition
	kindMember    // a member of a large collection; has no access clock
)

// record is a decoded view of a record's bytes.
type record struct {
	mem      []byte // from the record's first byte; may be longer than the record
	keyAt    int
	keyLen   int
	valueLen int
}

func (r record) kind() byte  { return r.mem[0] & kindMask }
func (r record) key() []byte { return r.mem[r.keyAt : r.keyAt+r.keyLen : r.keyAt+r.keyLen] }
func (r record) value() []byte {
	return r.mem[r.keyAt+r.keyLen : r.keyAt+r.keyLen+r.valueLen : r.keyAt+r.keyLen+r.valueLen]
}
func (r record) size() int { return capacity(r.keyAt+r.keyLen+r.valueLen, r.mem[0]) }

// expireAt is in ms since 1970; 0 = never.
func (r record) expireAt() int64 {
	if r.mem[0]&hasExpiry == 0 {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(r.mem[r.keyAt-expiryBytes:]))
}

func (r record) access() uint32 {
	return uint32(r.mem[1]) | uint32(r.mem[2])<<8 | uint32(r.mem[3])<<16
}

func (r record) setAccess(a uint32) {
	r.mem[1], r.mem[2], r.mem[3] = byte(a), byte(a>>8), byte(a>>16)
}

// decodeRecord reads the record at the start of mem.
func decodeRecord(mem []byte) record {
	at := 1
	if mem[0]&kindMask != kindMember {
		at += accessBytes
	}
	keyLen, n := uvarint(mem[at:])
	at += n
	valueLen, n := uvarint(mem[at:])
	at += n
	if mem[0]&hasExpiry != 0 {
		at += expiryBytes
	}
	return record{mem: mem, keyAt: at, keyLen: keyLen, valueLen: valueLen}
}

// recordHasKey tells whether the record at the start of mem has this key, without decoding the rest.
func recordHasKey(mem, key []byte) bool {
	at := 1
	if mem[0]&kindMask != kindMember {
		at += accessBytes
	}
	keyLen, n := uvarint(mem[at:])
	if keyLen != len(key) {
		return false
	}
	at += n
	for mem[at] >= 0x80 {
		at++
	}
	at++
	if mem[0]&hasExpiry != 0 {
		at += expiryBytes
	}
	return string(mem[at:at+keyLen]) == string(key)
}

// memberKey is the key of a member's record at the start of mem, without decoding the rest.
func memberKey(mem []byte) []byte {
	keyLen, n := uvarint(mem[1:])
	at := 1 + n
	for mem[at] >= 0x80 { // the value's length
		at++
	}
	at++
	return mem[at : at+keyLen : at+keyLen]
}

// recordLen is what a record's contents take, before rounding to its capacity.
func recordLen(head byte, keyLen, valueLen int) int {
	n := 1 + uvarintLen(keyLen) + uvarintLen(valueLen) + keyLen + valueLen
	if head&kindMask != kindMember {
		n += accessBytes
	}
	if head&hasExpiry != 0 {
		n += expiryBytes
	}
	return n
}

// writeHeader writes all of a record but its value; mem is as long as the record's capacity.
func writeHeader(mem []byte, head byte, access uint32, key []byte, valueLen int, expireAt int64) record {
	mem[0] = head
	at := 1
	if head&kindMask != kindMember {
		mem[1], mem[2], mem[3] = byte(access), byte(access>>8), byte(access>>16)
		at += accessBytes
	}
	at += binary.PutUvarint(mem[at:], uint64(len(key)))
	at += binary.PutUvarint(mem[at:], uint64(valueLen))
	if head&hasExpiry != 0 {
		binary.LittleEndian.PutUint64(mem[at:], uint64(expireAt))
		at += expiryBytes
	}
	copy(mem[at:], key)
	return record{mem: mem, keyAt: at, keyLen: len(key), valueLen: valueLen}
}

// capacity is what a record of n bytes occupies.
func capacity(n int, head byte) int {
	if head&grown != 0 {
		return growSize(n)
	}
	return (n + recordAlign - 1) &^ (recordAlign - 1)
}

// growSize rounds up to the next eighth of a power of two: 64, 72, 80 ... 128, 144 ...
func growSize(n int) int {
	step := recordAlign
	for n > step*16 {
		step *= 2
	}
	return (n + step - 1) &^ (step - 1)
}

func uvarint(b []byte) (v, n int) {
	if b[0] < 0x80 {
		return int(b[0]), 1
	}
	u, n := binary.Uvarint(b)
	return int(u), n
}

func uvarintLen(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}
