package partition

import "math/rand/v2"

// largeHash is a hash of too many or too long fields to be packed.
type largeHash struct{ members }

func (*largeHash) typ() Type        { return TypeHash }
func (*largeHash) encoding() string { return "hashtable" }

func init() {
	restorers[TypeHash] = func(p *Partition, dump []byte) (object, bool) {
		l := &largeHash{newMembers(p)}
		return l, l.restore(dump) && l.count() > 0
	}
}

// Hash is a view of a hash, stale after any change to its key.
type Hash struct {
	blob  []byte
	large *largeHash // nil = packed
}

// Hash looks up a hash; ok is false where there is no such key.
func (tx *Tx) Hash(key []byte) (hash Hash, ok bool, err error) {
	v, ok := tx.Find(key)
	if !ok {
		return hash, false, nil
	}
	hash, err = v.Hash()
	return hash, err == nil, err
}

// Hash is the value as a hash.
func (v Value) Hash() (Hash, error) {
	switch v.rec.kind() {
	case kindHash:
		return Hash{blob: v.rec.value()}, nil
	case kindObject:
		if l, ok := v.p.object(v.rec).(*largeHash); ok {
			return Hash{large: l}, nil
		}
	}
	return Hash{}, ErrWrongType
}

// Len is the number of fields.
func (h Hash) Len() int {
	if h.large != nil {
		return h.large.count()
	}
	return packedHashLen(h.blob)
}

// Get returns a field's value: a view.
func (h Hash) Get(field []byte) (value []byte, ok bool) {
	if h.large != nil {
		r, ok := h.large.d.get(field)
		if !ok {
			return nil, false
		}
		return r.value(), true
	}
	e, ok := packedHashFind(h.blob, field)
	return e.value, ok
}

// Each passes all fields to f, until f says no: of a packed hash in the order in which they were first set.
func (h Hash) Each(f func(field, value []byte) bool) {
	if h.large != nil {
		h.large.d.each(func(r record) bool { return f(r.key(), r.value()) })
		return
	}
	for it := packedIter(h.blob); it.next(); {
		field := it.value
		if !it.next() || !f(field, it.value) {
			return
		}
	}
}

// Random returns one field, each as likely as any other. The hash must not be empty.
func (h Hash) Random(rng *rand.Rand) (field, value []byte) {
	if h.large != nil {
		r := h.large.random(rng)
		return r.key(), r.value()
	}
	e, _ := packedAt(h.blob, 2*rng.IntN(h.Len()))
	it := packedIterator{blob: h.blob, packedEntry: e}
	it.next()
	return e.value, it.value
}

// Scan passes about count fields from a cursor on to f, and returns the next cursor, 0 at the end. A packed hash is passed
// whole.
func (h Hash) Scan(cursor uint64, count int, f func(field, value []byte)) (next uint64) {
	if h.large != nil {
		return h.large.scan(cursor, count, func(r record) { f(r.key(), r.value()) })
	}
	h.Each(func(field, value []byte) bool {
		f(field, value)
		return true
	})
	return 0
}

// HSet sets fields, given as field, value, field, value ..., and returns how many are new. The key must hold a hash or
// nothing.
func (tx *Tx) HSet(key []byte, pairs ...[]byte) (added int) {
	p, h := tx.locate(key)
	tx.live(p, h, key)
	p.emit(opHSet, tx.DB, key)
	p.effects = appendMany(p.effects, 2, pairs)
	added, _ = p.applyHSet(tx.DB, h, key, pairs)
	return added
}

func (p *Partition) applyHSet(db int, h uint64, key []byte, pairs [][]byte) (added int, ok bool) {
	var blob []byte
	at := p.find(db, h, key)
	if at.off != 0 {
		hash, err := Value{rec: p.dict(db).record(at.off), p: p}.Hash()
		if err != nil {
			return 0, false
		}
		if hash.large != nil {
			p.touch(hash.large.d)
			return hash.large.setAll(pairs), true
		}
		blob = hash.blob
	}
	if !p.hashFits(pairs) {
		large := p.enlargeHash(blob)
		added = large.setAll(pairs)
		p.setLarge(db, h, key, large)
		return added, true
	}
	if len(pairs) == 2 {
		e, isNew := packedHashSet(blob, pairs[0], pairs[1])
		if isNew {
			added = 1
		}
		if int64(packedHashLen(blob)+added) <= p.store.Limits.HashMaxEntries.Load() {
			p.edit(db, h, key, kindHash, &e)
			return added, true
		}
		added = 0
	}
	blob = append(p.scratch[:0], blob...)
	for i := 0; i < len(pairs); i += 2 {
		e, isNew := packedHashSet(blob, pairs[i], pairs[i+1])
		blob = e.appendTo(blob[:0])
		if isNew {
			added++
		}
		if int64(packedHashLen(blob)) > p.store.Limits.HashMaxEntries.Load() {
			large := p.enlargeHash(blob)
			added += large.setAll(pairs[i+2:])
			p.setLarge(db, h, key, large)
			p.keepScratch(blob)
			return added, true
		}
	}
	p.setPacked(db, h, key, kindHash, blob)
	p.keepScratch(blob)
	return added, true
}

// hashFits tells whether fields and values are short enough to be packed.
func (p *Partition) hashFits(pairs [][]byte) bool {
	limit := int(p.store.Limits.HashMaxValue.Load())
	for _, b := range pairs {
		if len(b) > limit {
			return false
		}
	}
	return true
}

func (p *Partition) enlargeHash(blob []byte) *largeHash {
	l := &largeHash{newMembers(p)}
	Hash{blob: blob}.Each(func(field, value []byte) bool {
		l.set(field, value)
		return true
	})
	return l
}

func (l *largeHash) setAll(pairs [][]byte) (added int) {
	for i := 0; i < len(pairs); i += 2 {
		if l.set(pairs[i], pairs[i+1]) {
			added++
		}
	}
	return added
}

// HDel deletes fields and returns how many there were; without any left the key is gone. The key must hold a hash or
// nothing.
func (tx *Tx) HDel(key []byte, fields ...[]byte) (removed int) {
	p, h := tx.locate(key)
	v, ok := tx.live(p, h, key)
	if !ok {
		return 0
	}
	hash, err := v.Hash()
	if err != nil || !hash.hasAny(fields) {
		return 0
	}
	p.emit(opHDel, tx.DB, key)
	p.effects = appendMany(p.effects, 1, fields)
	removed, _ = p.applyHDel(tx.DB, h, key, fields)
	return removed
}

func (h Hash) hasAny(fields [][]byte) bool {
	for _, f := range fields {
		if _, ok := h.Get(f); ok {
			return true
		}
	}
	return false
}

func (p *Partition) applyHDel(db int, h uint64, key []byte, fields [][]byte) (removed int, ok bool) {
	for _, field := range fields {
		at := p.find(db, h, key)
		if at.off == 0 {
			return removed, removed > 0
		}
		hash, err := Value{rec: p.dict(db).record(at.off), p: p}.Hash()
		if err != nil {
			return removed, false
		}
		if hash.large != nil {
			p.touch(hash.large.d)
			if hash.large.remove(field) {
				removed++
			}
		} else if e, found := packedHashRemove(hash.blob, field); found {
			removed++
			if e.count > 0 {
				p.edit(db, h, key, kindHash, &e)
				continue
			}
			p.remove(db, at)
			continue
		}
		if hash.Len() == 0 {
			p.remove(db, at)
		}
	}
	return removed, true
}
