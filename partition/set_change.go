package partition

import "encoding/binary"

// SAdd adds members and returns how many were not in yet.
func (tx *Tx) SAdd(key []byte, members ...[]byte) (added int, err error) {
	if v, ok := tx.Find(key); ok {
		s, err := v.Set()
		if err != nil {
			return 0, err
		}
		if members = s.pick(members, false); len(members) == 0 {
			return 0, nil
		}
	}
	p, h := tx.locate(key)
	limit := tx.intsetMax()
	p.emit(opSAdd, tx.DB, key)
	p.effects = binary.AppendUvarint(p.effects, uint64(limit))
	p.effects = appendMany(p.effects, 1, members)
	added, _ = p.applySAdd(tx.DB, h, key, limit, members)
	return added, nil
}

// SRem removes members and returns how many there were; without any left the key is gone.
func (tx *Tx) SRem(key []byte, members ...[]byte) (removed int, err error) {
	v, ok := tx.Find(key)
	if !ok {
		return 0, nil
	}
	s, err := v.Set()
	if err != nil {
		return 0, err
	}
	if members = s.pick(members, true); len(members) == 0 {
		return 0, nil
	}
	p, h := tx.locate(key)
	p.emit(opSRem, tx.DB, key)
	p.effects = appendMany(p.effects, 1, members)
	removed, _ = p.applySRem(tx.DB, h, key, members)
	return removed, nil
}

// pick returns those of the values that are members, or those that are not.
func (s *Set) pick(values [][]byte, in bool) [][]byte {
	for i, v := range values {
		if s.Has(v) == in {
			continue
		}
		if len(values) == 1 {
			return nil
		}
		picked := append([][]byte(nil), values[:i]...)
		for _, v := range values[i+1:] {
			if s.Has(v) == in {
				picked = append(picked, v)
			}
		}
		return picked
	}
	return values
}

// SPop removes count random members of the set at key, 0 < count <= s.Len(), and returns them: views of the batch, good
// to the end of the transaction.
func (tx *Tx) SPop(key []byte, s *Set, count int) [][]byte {
	p, h := tx.locate(key)
	p.emit(opSRem, tx.DB, key)
	start := len(p.effects)
	p.effects = binary.AppendUvarint(p.effects, uint64(count))
	if count == 1 {
		p.effects = appendBytes(p.effects, s.Random(tx.rng))
	} else {
		s.Sample(tx.rng, count, func(member []byte) { p.effects = appendBytes(p.effects, member) })
	}
	r := effectReader{b: p.effects[start:]}
	members := r.many(1)
	p.applySRem(tx.DB, h, key, members)
	return members
}

// StoreSet makes key hold what b has gathered, whatever it held; nothing gathered deletes it. expireAt is in ms since
// 1970, 0 = never.
func (tx *Tx) StoreSet(key []byte, b *SetBuilder, expireAt int64) {
	tx.Del(key)
	if b.Len() == 0 {
		return
	}
	limit := b.limit
	if !b.ints || b.large != nil {
		limit = 0 // it was no intset any more at some time: it is none now
	}
	p, h := tx.locate(key)
	p.emit(opSAdd, tx.DB, key)
	p.effects = binary.AppendUvarint(p.effects, uint64(limit))
	start := len(p.effects)
	p.effects = binary.AppendUvarint(p.effects, uint64(b.Len()))
	for it := b.Iter(); it.Next(); {
		p.effects = appendBytes(p.effects, it.Member())
	}
	r := effectReader{b: p.effects[start:]}
	p.applySAdd(tx.DB, h, key, limit, r.many(1))
	if expireAt != 0 {
		tx.ExpireAt(key, expireAt)
	}
}

// intsetMax is how many integers an intset may have. It is part of the effect, so that a copy with another setting
// chooses the same encoding.
func (tx *Tx) intsetMax() int {
	return int(min(max(tx.store.Limits.SetMaxIntset.Load(), 0), intsetEntriesMax))
}

func (p *Partition) applySAdd(db int, h uint64, key []byte, intsetMax int, members [][]byte) (added int, ok bool) {
	if len(members) == 0 {
		return 0, false
	}
	var s Set
	if at := p.find(db, h, key); at.off != 0 {
		var err error
		if s, err = (Value{rec: p.dict(db).record(at.off), p: p}).Set(); err != nil {
			return 0, false
		}
	} else {
		_, s.ints = exactInt(members[0])
	}
	switch {
	case s.large != nil:
		p.touch(s.large.d)
		for _, m := range members {
			if s.large.add(m) {
				added++
			}
		}
		return added, true
	case len(members) == 1 && !s.ints && s.packs(members[0]):
		if s.Has(members[0]) {
			return 0, true
		}
		e := packedSetAdd(s.blob, members[0])
		p.edit(db, h, key, kindSet, &e)
		return 1, true
	}
	e := p.editSet(s, intsetMax)
	for _, m := range members {
		if e.add(m) {
			added++
		}
	}
	p.putSet(db, h, key, &e)
	return added, true
}

func (p *Partition) applySRem(db int, h uint64, key []byte, members [][]byte) (removed int, ok bool) {
	at := p.find(db, h, key)
	if at.off == 0 {
		return 0, false
	}
	s, err := Value{rec: p.dict(db).record(at.off), p: p}.Set()
	if err != nil {
		return 0, false
	}
	if s.large != nil {
		p.touch(s.large.d)
		return p.removeLarge(db, h, key, at, s.large, members), true
	}
	e := p.editSet(s, 0)
	for _, m := range members {
		if e.remove(m) {
			removed++
		}
	}
	if e.Len() == 0 {
		p.remove(db, at)
		p.keepScratch(e.blob)
		return removed, true
	}
	p.putSet(db, h, key, &e)
	return removed, true
}

// repackCount: a large set that shrinks to so many members is packed again.
const repackCount = packedSetEntriesMax / 4

func (p *Partition) removeLarge(db int, h uint64, key []byte, at entry, l *largeSet, members [][]byte) (removed int) {
	before := l.count()
	for _, m := range members {
		if l.remove(m) {
			removed++
		}
	}
	switch n := l.count(); {
	case n == 0:
		p.remove(db, at)
	case n <= repackCount && before > repackCount:
		if blob, ok := l.pack(p.scratch[:0]); ok {
			p.setPacked(db, h, key, kindSet, blob)
			p.keepScratch(blob)
		}
	}
	return removed
}
