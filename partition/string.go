package partition

import "encoding/binary"

const (
	// embeddedMax is the longest string that Redis embeds in its object.
	embeddedMax = 44
	// largeStringBytes: longer strings live in a mapping of their own.
	largeStringBytes = 1 << 20
	// StringMaxBytes is the longest string the store takes, whatever limit its users set.
	StringMaxBytes = 1 << 32
)

// StringKind says what OBJECT ENCODING shall answer for a string.
type StringKind byte

const (
	StringAuto     = StringKind(kindString)    // by content: int, embstr, raw
	StringRaw      = StringKind(kindStringRaw) // raw, since it was changed in place
	StringEmbedded = StringKind(kindStringEmb) // embstr or raw, never int
)

func stringEncoding(b []byte) string {
	if _, ok := exactInt(b); ok {
		return "int"
	}
	return rawOrEmbedded(len(b))
}

func rawOrEmbedded(n int) string {
	if n <= embeddedMax {
		return "embstr"
	}
	return "raw"
}

// String is a string value's bytes: a view.
func (v Value) String() ([]byte, error) {
	switch v.rec.kind() {
	case kindString, kindStringRaw, kindStringEmb:
		return v.rec.value(), nil
	case kindObject:
		if s, ok := v.p.object(v.rec).(*largeString); ok {
			return s.mem[:s.len:s.len], nil
		}
	}
	return nil, ErrWrongType
}

// String looks up a string: a view, with ok false where there is no such key.
func (tx *Tx) String(key []byte) (b []byte, ok bool, err error) {
	v, ok := tx.Find(key)
	if !ok {
		return nil, false, nil
	}
	b, err = v.String()
	return b, err == nil, err
}

// SetString makes key a string, whatever it was. expireAt is in ms since 1970, 0 = never. value may be a view of the
// store, the key's own old value too: what is stored is the effect's copy.
func (tx *Tx) SetString(key, value []byte, kind StringKind, expireAt int64) {
	p, h := tx.locate(key)
	p.emitSet(tx, h, key, kind, expireAt)
	p.effects = appendBytes(p.effects, value)
	p.applySet(tx.DB, h, key, byte(kind), p.effects[len(p.effects)-len(value):], expireAt)
}

// SetStringOf is SetString for a value of n bytes that fill writes: into zeroed memory, once, where it stays. fill may
// read views of the store, the key's own old value too.
func (tx *Tx) SetStringOf(key []byte, n int, fill func(value []byte), kind StringKind, expireAt int64) {
	p, h := tx.locate(key)
	p.emitSet(tx, h, key, kind, expireAt)
	p.effects = binary.AppendUvarint(p.effects, uint64(n))
	p.effects = append(p.effects, make([]byte, n)...)
	value := p.effects[len(p.effects)-n:]
	fill(value)
	p.applySet(tx.DB, h, key, byte(kind), value, expireAt)
}

// emitSet begins an opSet; the value follows. To overwrite a key is to use it.
func (p *Partition) emitSet(tx *Tx, h uint64, key []byte, kind StringKind, expireAt int64) {
	if p.store.Limits.LFU.Load() {
		if v, ok := tx.live(p, h, key); ok {
			p.noteAccess(v.rec, tx.Now)
		}
	}
	p.emit(opSet, tx.DB, key)
	p.effects = append(p.effects, byte(kind))
	p.effects = binary.AppendUvarint(p.effects, uint64(expireAt))
}

func (p *Partition) applySet(db int, h uint64, key []byte, kind byte, value []byte, expireAt int64) bool {
	if kind < kindString || kind > kindStringEmb {
		return false
	}
	if len(value) > largeStringBytes {
		s := newLargeString(p.store.Space, len(value))
		copy(s.mem, value)
		p.putObject(db, h, key, s, expireAt)
		return true
	}
	copy(p.put(db, h, key, kind, len(value), expireAt).value(), value)
	return true
}

// Patch overwrites part of a string, which grows to offset+len(data) where it is shorter, filled with zero bytes; a key
// that is not there counts as empty. The expiry stays. The key must hold a string or nothing, and the end must not be
// beyond StringMaxBytes.
func (tx *Tx) Patch(key []byte, offset int, data []byte) {
	p, h := tx.locate(key)
	tx.live(p, h, key)
	p.emit(opPatch, tx.DB, key)
	p.patch(tx.DB, h, key, offset, data)
}

// MakeRaw makes a string's encoding raw, as a change in place would that changes nothing. It is no change to those who
// watch the key. The key must hold a string.
func (tx *Tx) MakeRaw(key []byte) {
	p, h := tx.locate(key)
	v, _ := tx.live(p, h, key)
	if v.Encoding() == "raw" {
		return
	}
	p.emitUnwatched(opPatch, tx.DB, key)
	p.patch(tx.DB, h, key, 0, nil)
}

func (p *Partition) patch(db int, h uint64, key []byte, offset int, data []byte) {
	p.effects = binary.AppendUvarint(p.effects, uint64(offset))
	p.effects = appendBytes(p.effects, data)
	p.applyPatch(db, h, key, offset, data)
}

func (p *Partition) applyPatch(db int, h uint64, key []byte, offset int, data []byte) bool {
	if offset < 0 || offset > StringMaxBytes-len(data) {
		return false
	}
	end := offset + len(data)
	at := p.find(db, h, key)
	if at.off == 0 {
		return p.patchNew(db, h, key, nil, end, offset, data, 0)
	}
	d := p.dict(db)
	r := d.record(at.off)
	if r.kind() == kindObject {
		s, ok := p.object(r).(*largeString)
		if !ok {
			return false
		}
		s.resize(max(s.len, end))
		copy(s.mem[offset:], data)
		return true
	}
	if kindTypes[r.kind()] != TypeString {
		return false
	}
	old := r.value()
	head := byte(kindStringRaw | grown)
	size := max(len(old), end)
	// In place: where the record's capacity and the place of the value in it stay the same.
	if r.mem[0]&^hasExpiry == head && size <= largeStringBytes &&
		capacity(recordLen(r.mem[0], r.keyLen, size), r.mem[0]) == r.size() && uvarintLen(size) == uvarintLen(len(old)) {
		r := writeHeader(r.mem, r.mem[0], r.access(), key, size, r.expireAt())
		clearGap(r.value(), len(old), offset)
		copy(r.value()[offset:], data)
		return true
	}
	return p.patchNew(db, h, key, old, size, offset, data, r.expireAt())
}

// patchNew writes a patched string to a new record or mapping.
func (p *Partition) patchNew(db int, h uint64, key, old []byte, size, offset int, data []byte, expireAt int64) bool {
	var v []byte
	if size > largeStringBytes {
		s := newLargeString(p.store.Space, size)
		v = s.mem[:size]
		copy(v, old)
		p.putObject(db, h, key, s, expireAt)
	} else {
		old = append(p.scratch[:0], old...) // put may write over it
		v = p.put(db, h, key, kindStringRaw|grown, size, expireAt).value()
		copy(v, old)
		p.keepScratch(old)
	}
	clearGap(v, len(old), offset)
	copy(v[offset:], data)
	return true
}

// clearGap zeroes what lies between the old end and where the patch begins.
func clearGap(v []byte, oldLen, offset int) {
	if offset > oldLen {
		clear(v[oldLen:offset])
	}
}

// largeString is a string of more than largeStringBytes: a region of its own, so that growing it moves pages, not bytes.
type largeString struct {
	space *Space
	mem   []byte // len(mem) is what is mapped
	len   int    // 0 <= len <= len(mem)
}

func newLargeString(space *Space, n int) *largeString {
	return &largeString{space: space, mem: space.region(nil, n), len: n}
}

// resize makes the string n bytes long, with an eighth to spare when it has to move. What is added is zero, since n
// never goes down.
func (s *largeString) resize(n int) {
	if n > len(s.mem) {
		s.mem = s.space.region(s.mem, growSize(n))
	}
	s.len = n
}

func (s *largeString) typ() Type               { return TypeString }
func (s *largeString) encoding() string        { return "raw" }
func (s *largeString) count() int              { return s.len }
func (s *largeString) bytes() int              { return len(s.mem) }
func (s *largeString) index() *dict            { return nil }
func (s *largeString) digest(seed Seed) uint64 { return seed.hash(s.mem[:s.len]) }
func (s *largeString) release()                { s.space.region(s.mem, 0) }
func (s *largeString) dump(dst []byte) []byte  { return append(dst, s.mem[:s.len]...) }

func init() {
	restorers[TypeString] = func(p *Partition, dump []byte) (object, bool) {
		s := newLargeString(p.store.Space, len(dump))
		copy(s.mem, dump)
		return s, true
	}
}
