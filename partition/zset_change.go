package partition

import (
	"encoding/binary"
	"math"
)

// ZAddMode restricts what ZAdd does, as ZADD's options of the same names do.
type ZAddMode uint8

const (
	ZAddNX   ZAddMode = 1 << iota // only add
	ZAddXX                        // only change
	ZAddGT                        // change only to a greater score
	ZAddLT                        // change only to a smaller score
	ZAddIncr                      // the score is added to the member's
)

// ZAdded is what ZAdd has done.
type ZAdded uint8

const (
	ZRefused    ZAdded = iota // nothing: the mode forbids it
	ZSame                     // nothing: the member has that score
	ZNew                      // added the member
	ZChanged                  // changed the member's score
	ZNotANumber               // nothing: the sum of the scores is none
)

// ZAdd gives a member a score, which must be a number, and returns the score it has then. The key must hold a sorted set
// or nothing.
func (tx *Tx) ZAdd(key []byte, mode ZAddMode, score float64, member []byte) (float64, ZAdded) {
	p, h := tx.locate(key)
	var z Zset
	if v, ok := tx.live(p, h, key); ok {
		z, _ = v.Zset()
	}
	m := z.find(member)
	if !m.found {
		if mode&ZAddXX != 0 {
			return 0, ZRefused
		}
		p.emitZAdd(tx.DB, h, key, z, m, score, member)
		return score, ZNew
	}
	if mode&ZAddNX != 0 {
		return 0, ZRefused
	}
	if mode&ZAddIncr != 0 {
		if score += m.score; math.IsNaN(score) {
			return 0, ZNotANumber
		}
	}
	switch {
	case mode&ZAddGT != 0 && score <= m.score, mode&ZAddLT != 0 && score >= m.score:
		return 0, ZRefused
	case score == m.score:
		return score, ZSame
	}
	p.emitZAdd(tx.DB, h, key, z, m, score, member)
	return score, ZChanged
}

// zsetPlace is where a member is, or may be put.
type zsetPlace struct {
	found bool
	score float64
	h     uint64         // of a large set
	at    entry          // of a large set
	item  packedZsetItem // of a packed set
}

func (z Zset) find(member []byte) (m zsetPlace) {
	if z.large == nil {
		m.item, m.found = packedZsetFind(z.blob, member)
		m.score = m.item.score
		return m
	}
	d := z.large.d
	m.h = d.hash(member)
	if m.at = d.find(m.h, member); m.at.off != 0 {
		m.found, m.score = true, recordScore(d.record(m.at.off))
	}
	return m
}

// emitZAdd emits the effect of one member's score and applies it.
func (p *Partition) emitZAdd(db int, h uint64, key []byte, z Zset, m zsetPlace, score float64, member []byte) {
	large := z.large != nil || !m.found && !p.zsetFits(z.Len()+1, len(member))
	p.emit(opZAdd, db, key)
	p.effects = append(p.effects, zsetForm(large))
	p.effects = binary.AppendUvarint(p.effects, 1)
	p.effects = appendScored(p.effects, score, member)
	if large && z.large == nil {
		z = p.enlargeZset(db, h, key, z)
		m = z.find(member)
	}
	p.putScore(db, h, key, z, m, score, member)
}

// zsetFits tells whether a packed set may have so many members, one of them so long.
func (p *Partition) zsetFits(count, memberLen int) bool {
	l := p.store.Limits
	return int64(count) <= l.ZsetMaxEntries.Load() && int64(memberLen) <= l.ZsetMaxValue.Load()
}

// zsetForm says in an effect whether the set is large from now on, so that a copy with other limits chooses the same
// encoding.
func zsetForm(large bool) byte {
	if large {
		return 1
	}
	return 0
}

func appendScored(dst []byte, score float64, member []byte) []byte {
	return appendBytes(binary.LittleEndian.AppendUint64(dst, math.Float64bits(score)), member)
}

// scored is a member with its score, as an effect has it.
type scored struct {
	score  float64
	member []byte
}

// scored reads a count and that many members with their scores.
func (r *effectReader) scored() []scored {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	r.pairs = r.pairs[:0]
	for range n {
		s := scored{math.Float64frombits(r.fixed64()), r.bytes()}
		r.bad = r.bad || math.IsNaN(s.score)
		r.pairs = append(r.pairs, s)
	}
	return r.pairs
}

func (p *Partition) applyZAdd(db int, h uint64, key []byte, large bool, pairs []scored) bool {
	for i, s := range pairs {
		z, ok := p.zsetAt(db, h, key)
		if !ok {
			return false
		}
		if i == 0 && large && z.large == nil {
			z = p.enlargeZset(db, h, key, z)
		}
		p.putScore(db, h, key, z, z.find(s.member), s.score, s.member)
	}
	return len(pairs) > 0
}

// zsetAt is the sorted set at key, empty where there is none; false where the key holds something else.
func (p *Partition) zsetAt(db int, h uint64, key []byte) (z Zset, ok bool) {
	at := p.find(db, h, key)
	if at.off == 0 {
		return z, true
	}
	z, err := Value{rec: p.dbs[db].record(at.off), p: p}.Zset()
	return z, err == nil
}

// enlargeZset makes a packed set large.
func (p *Partition) enlargeZset(db int, h uint64, key []byte, z Zset) Zset {
	l := newLargeZset(p)
	for it := z.From(0, false); it.Next(); {
		l.add(it.Score(), it.Member())
	}
	p.setLarge(db, h, key, l)
	return Zset{large: l}
}

// putScore gives a member that was looked up its score.
func (p *Partition) putScore(db int, h uint64, key []byte, z Zset, m zsetPlace, score float64, member []byte) {
	if z.large != nil {
		p.touch(z.large.d)
		z.large.put(m.at, m.h, score, member)
		return
	}
	if score == 0 {
		score = 0 // a packed set knows no -0, as in Redis
	}
	if m.found {
		packedZsetUpdate(z.blob, m.item, score, member)
		return
	}
	e := packedZsetInsert(z.blob, score, member)
	p.edit(db, h, key, kindZset, &e)
}

// ZRem removes members and returns how many there were; without any left the key is gone. The key must hold a sorted set
// or nothing.
func (tx *Tx) ZRem(key []byte, members ...[]byte) (removed int) {
	p, h := tx.locate(key)
	if _, ok := tx.live(p, h, key); !ok {
		return 0
	}
	if z, ok := p.zsetAt(tx.DB, h, key); !ok || !z.hasAny(members) {
		return 0
	}
	p.emit(opZRem, tx.DB, key)
	p.effects = appendMany(p.effects, 1, members)
	removed, _ = p.applyZRem(tx.DB, h, key, members)
	return removed
}

func (z Zset) hasAny(members [][]byte) bool {
	for _, m := range members {
		if _, ok := z.Score(m); ok {
			return true
		}
	}
	return false
}

func (p *Partition) applyZRem(db int, h uint64, key []byte, members [][]byte) (removed int, ok bool) {
	for _, member := range members {
		at := p.find(db, h, key)
		if at.off == 0 {
			break // none are left
		}
		z, ok := p.zsetAt(db, h, key)
		if !ok {
			return 0, false
		}
		if z.large != nil {
			p.touch(z.large.d)
			if !z.large.remove(member) {
				continue
			}
			if z.large.count() == 0 {
				p.remove(db, at)
			}
		} else {
			item, ok := packedZsetFind(z.blob, member)
			if !ok {
				continue
			}
			p.cutPackedZset(db, h, key, at, packedCut(z.blob, item.start, item.end, 1))
		}
		removed++
	}
	return removed, removed > 0
}

// cutPackedZset removes members of a packed set; without any left the key is gone.
func (p *Partition) cutPackedZset(db int, h uint64, key []byte, at entry, e packedEdit) {
	if e.count == 0 {
		p.remove(db, at)
		return
	}
	p.edit(db, h, key, kindZset, &e)
}

// ZCut removes n members from a rank on; 0 <= rank, 1 <= n, and the key must hold a sorted set with so many.
func (tx *Tx) ZCut(key []byte, rank, n int) {
	p, h := tx.locate(key)
	p.emit(opZCut, tx.DB, key)
	p.effects = binary.AppendUvarint(p.effects, uint64(rank))
	p.effects = binary.AppendUvarint(p.effects, uint64(n))
	p.applyZCut(tx.DB, h, key, rank, n)
}

func (p *Partition) applyZCut(db int, h uint64, key []byte, rank, n int) bool {
	at := p.find(db, h, key)
	z, ok := p.zsetAt(db, h, key)
	if !ok || n < 1 || rank < 0 || rank > z.Len()-n {
		return false
	}
	switch {
	case n == z.Len():
		p.remove(db, at)
	case z.large != nil:
		p.touch(z.large.d)
		z.large.cut(rank, n)
	default:
		p.cutPackedZset(db, h, key, at, packedZsetCut(z.blob, rank, n))
	}
	return true
}

// ZsetArrival is how the members of a set that is stored come, which tells where a score of -0 keeps its sign: a packed set knows none,
// and what was packed until too many had come stays without.
type ZsetArrival struct {
	Single  bool // one after the other; otherwise the set is packed or not as a whole
	Reverse bool // the last in order first
	Counted bool // how many will come is known
}

// packedFirst is how many of n members come before the set is too large to be packed.
func (p *Partition) packedFirst(z Zset, rank, n int, a ZsetArrival) (count int) {
	if !a.Single || a.Counted && !p.zsetFits(n, 0) {
		return 0
	}
	if a.Reverse {
		rank += n - 1
	}
	for it := z.From(rank, a.Reverse); count < n && it.Next() && p.zsetFits(count+1, len(it.Member())); {
		count++
	}
	return count
}

// StoreZset makes key hold n members of z from a rank on, whatever it held; n = 0 deletes it. z may be a view of the
// key itself: what is deleted stays readable to the end of the transaction.
func (tx *Tx) StoreZset(key []byte, z Zset, rank, n int, a ZsetArrival) {
	tx.Del(key)
	if n == 0 {
		return
	}
	p, h := tx.locate(key)
	longest := 0
	for it, left := z.From(rank, false), n; left > 0 && it.Next(); left-- {
		longest = max(longest, len(it.Member()))
	}
	large := !p.zsetFits(n, longest)
	from, to := 0, p.packedFirst(z, rank, n, a)
	if a.Reverse {
		from, to = n-to, n
	}
	p.emit(opZAdd, tx.DB, key)
	p.effects = append(p.effects, zsetForm(large))
	start := len(p.effects)
	p.effects = binary.AppendUvarint(p.effects, uint64(n))
	for it, i := z.From(rank, false), 0; i < n && it.Next(); i++ {
		score := it.Score()
		if score == 0 && from <= i && i < to {
			score = 0 // without its sign
		}
		p.effects = appendScored(p.effects, score, it.Member())
	}
	r := effectReader{b: p.effects[start:]}
	p.applyZAdd(tx.DB, h, key, large, r.scored())
}

// ZsetBuilder gathers a sorted set that no key holds yet. Close frees its memory.
type ZsetBuilder struct {
	l *largeZset // its order is filled last
}

// NewZset returns an empty builder.
func (tx *Tx) NewZset() *ZsetBuilder { return &ZsetBuilder{newLargeZset(tx.store.parts[0])} }

// Set gives a member a score.
func (b *ZsetBuilder) Set(member []byte, score float64) {
	h := b.l.d.hash(member)
	b.l.record(b.l.d.find(h, member), h, score, member)
}

// Score is a member's score.
func (b *ZsetBuilder) Score(member []byte) (score float64, ok bool) {
	return Zset{large: b.l}.Score(member)
}

// Zset orders what was gathered and returns it: nothing can be added any more.
func (b *ZsetBuilder) Zset() Zset {
	l := b.l
	l.d.each(func(r record) bool {
		m := r.key()
		l.order.insert(recordScore(r), l.d.find(l.d.hash(m), m).off, m)
		return true
	})
	return Zset{large: b.l}
}

// Close ends the builder's use, and that of all views of it.
func (b *ZsetBuilder) Close() { b.l.release() }
