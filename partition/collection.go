package partition

import "math/rand/v2"

// What the types share: changing a packed blob in its record, and large collections of members.

// edit makes a change to the packed value of a key: in the record where it fits, which for one that has grown before is
// often, and otherwise in a new one.
func (p *Partition) edit(db int, h uint64, key []byte, kind byte, e *packedEdit) {
	size := e.size()
	at := p.find(db, h, key)
	if at.off == 0 {
		e.appendTo(p.put(db, h, key, kind, size, 0).value()[:0])
		return
	}
	r := p.dict(db).record(at.off)
	head := r.mem[0]&hasExpiry | grown | kind
	fits := capacity(recordLen(head, r.keyLen, size), head) == r.size()
	if fits && r.mem[0] == head && uvarintLen(size) == uvarintLen(r.valueLen) {
		value := r.keyAt + r.keyLen
		writeHeader(r.mem, head, r.access(), key, size, r.expireAt())
		e.appendTo(r.mem[value : value : value+size])
		return
	}
	if fits { // the new record will stand where the old one is
		e.blob = append(p.scratch[:0], e.blob...)
		p.keepScratch(e.blob)
	}
	e.appendTo(p.put(db, h, key, kind|grown, size, r.expireAt()).value()[:0])
}

// setPacked makes a key's value a blob, which must not be a view of the old one. The expiry stays.
func (p *Partition) setPacked(db int, h uint64, key []byte, kind byte, blob []byte) {
	expireAt := int64(0)
	if at := p.find(db, h, key); at.off != 0 {
		expireAt = p.dbs[db].record(at.off).expireAt()
		kind |= grown
	}
	copy(p.put(db, h, key, kind, len(blob), expireAt).value(), blob)
}

// setLarge makes a key's value a large collection; the expiry stays.
func (p *Partition) setLarge(db int, h uint64, key []byte, o object) {
	expireAt := int64(0)
	if at := p.find(db, h, key); at.off != 0 {
		expireAt = p.dbs[db].record(at.off).expireAt()
	}
	p.putObject(db, h, key, o, expireAt)
}

// members is what large hashes, sets and sorted sets have in common: a dict of members, of any number.
type members struct{ d *dict }

func newMembers(p *Partition) members { return members{newDict(p.store.Space, p.store.seed)} }

func (m members) count() int   { return m.d.count }
func (m members) bytes() int   { return m.d.bytes() }
func (m members) index() *dict { return m.d }
func (m members) release()     { m.d.release() }

func (m members) has(member []byte) bool {
	return m.d.find(m.d.hash(member), member).off != 0
}

// set makes or overwrites a member with its value, and reports whether it is new.
func (m members) set(member, value []byte) (added bool) {
	h := m.d.hash(member)
	at := m.d.find(h, member)
	head := byte(kindMember)
	if at.off != 0 {
		head |= grown
	}
	r, _ := m.d.put(at, h, member, head, 0, len(value), 0)
	copy(r.value(), value)
	return at.off == 0
}

func (m members) remove(member []byte) bool {
	at := m.d.find(m.d.hash(member), member)
	if at.off == 0 {
		return false
	}
	m.d.remove(at)
	return true
}

// digest is the sum over the members: their order is no part of the value.
func (m members) digest(seed Seed) (sum uint64) {
	var buf []byte
	m.d.each(func(r record) bool {
		buf = appendBytes(appendBytes(buf[:0], r.key()), r.value())
		sum += seed.hash(buf)
		return true
	})
	return sum
}

// dump appends all members with their values.
func (m members) dump(dst []byte) []byte {
	m.d.each(func(r record) bool {
		dst = appendBytes(appendBytes(dst, r.key()), r.value())
		return true
	})
	return dst
}

// restore adds what dump wrote.
func (m members) restore(dump []byte) bool {
	r := effectReader{b: dump}
	for len(r.b) > 0 {
		member, value := r.bytes(), r.bytes()
		if r.bad {
			return false
		}
		m.set(member, value)
	}
	return true
}

func (m members) random(rng *rand.Rand) record { return m.d.record(m.d.random(rng.Uint64)) }

// scan walks from a cursor as SCAN does, passing about count members.
func (m members) scan(cursor uint64, count int, f func(r record)) (next uint64) {
	to, done := m.d.scan(unpackPlace(cursor), count, f)
	if done {
		return 0
	}
	return to.pack()
}
