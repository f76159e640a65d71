package partition

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
)

// largeZset is a sorted set of too many or too long members to be packed: a dict of members, each with its score as the
// value, and an ordered index of the dict's records.
type largeZset struct {
	members
	order *order
}

func newLargeZset(p *Partition) *largeZset {
	l := &largeZset{members: newMembers(p)}
	l.order = newOrder(l.d.space, l.member)
	l.d.moved = l.moved
	return l
}

func (*largeZset) typ() Type        { return TypeZset }
func (*largeZset) encoding() string { return "skiplist" }
func (l *largeZset) bytes() int     { return l.d.bytes() + l.order.bytes() }

func (l *largeZset) release() {
	l.order.release()
	l.d.release()
}

// dump appends the members in order, so that restoring them fills the ordered index from one end.
func (l *largeZset) dump(dst []byte) []byte {
	for it := l.order.iter(0, false); ; {
		_, ref, ok := it.next()
		if !ok {
			return dst
		}
		r := l.d.record(ref)
		dst = appendBytes(append(dst, r.value()...), r.key())
	}
}

func init() {
	restorers[TypeZset] = func(p *Partition, dump []byte) (object, bool) {
		l := newLargeZset(p)
		r := effectReader{b: dump}
		for len(r.b) > 0 {
			score, member := math.Float64frombits(r.fixed64()), r.bytes()
			if r.bad || math.IsNaN(score) {
				return l, false
			}
			l.add(score, member)
		}
		return l, l.count() > 0
	}
}

// member is what the ordered index reads of a record.
func (l *largeZset) member(ref uint64) []byte { return memberKey(l.d.space.tail(ref)) }

// moved tells the ordered index where compaction has moved a record.
func (l *largeZset) moved(from, to uint64) {
	r := l.d.record(to)
	l.order.replaceRef(recordScore(r), r.key(), from, to)
}

func recordScore(r record) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(r.value()))
}

func setRecordScore(r record, score float64) {
	binary.LittleEndian.PutUint64(r.value(), math.Float64bits(score))
}

// add adds a member, or gives it another score.
func (l *largeZset) add(score float64, member []byte) {
	h := l.d.hash(member)
	l.put(l.d.find(h, member), h, score, member)
}

// put is add for a member that was looked up.
func (l *largeZset) put(at entry, h uint64, score float64, member []byte) {
	if at.off != 0 {
		l.order.remove(recordScore(l.d.record(at.off)), member)
	}
	l.order.insert(score, l.record(at, h, score, member), member)
}

// record writes a member's record and returns where it is. It stays there when the score changes.
func (l *largeZset) record(at entry, h uint64, score float64, member []byte) (off uint64) {
	if at.off != 0 {
		setRecordScore(l.d.record(at.off), score)
		return at.off
	}
	r, at := l.d.put(at, h, member, kindMember, 0, scoreBytes, 0)
	setRecordScore(r, score)
	return at.off
}

func (l *largeZset) remove(member []byte) bool {
	at := l.d.find(l.d.hash(member), member)
	if at.off == 0 {
		return false
	}
	l.order.remove(recordScore(l.d.record(at.off)), member)
	l.d.remove(at)
	return true
}

// cut removes n members from a rank on.
func (l *largeZset) cut(rank, n int) {
	for range n {
		_, ref := l.order.at(rank)
		l.remove(l.member(ref))
	}
}

// Zset is a view of a sorted set, stale after any change to its key. The zero Zset is empty.
type Zset struct {
	blob  []byte
	large *largeZset // nil = packed
}

// Zset looks up a sorted set; ok is false where there is no such key.
func (tx *Tx) Zset(key []byte) (z Zset, ok bool, err error) {
	v, ok := tx.Find(key)
	if !ok {
		return z, false, nil
	}
	z, err = v.Zset()
	return z, err == nil, err
}

// Zset is the value as a sorted set.
func (v Value) Zset() (Zset, error) {
	switch v.rec.kind() {
	case kindZset:
		return Zset{blob: v.rec.value()}, nil
	case kindObject:
		if l, ok := v.p.object(v.rec).(*largeZset); ok {
			return Zset{large: l}, nil
		}
	}
	return Zset{}, ErrWrongType
}

// Packed tells whether the set is small and in one piece: OBJECT ENCODING's listpack.
func (z Zset) Packed() bool { return z.large == nil }

// Len is the number of members.
func (z Zset) Len() int {
	if z.large != nil {
		return z.large.count()
	}
	n, _ := packedCount(z.blob)
	return n
}

// Score is a member's score.
func (z Zset) Score(member []byte) (score float64, ok bool) {
	if z.large != nil {
		r, ok := z.large.d.get(member)
		if !ok {
			return 0, false
		}
		return recordScore(r), true
	}
	item, ok := packedZsetFind(z.blob, member)
	return item.score, ok
}

// Rank is how many members come before this one.
func (z Zset) Rank(member []byte) (rank int, ok bool) {
	if z.large == nil {
		item, ok := packedZsetFind(z.blob, member)
		return item.rank, ok
	}
	score, ok := z.Score(member)
	if !ok {
		return 0, false
	}
	return z.large.order.rank(score, member)
}

// CountBelow is how many members have a score below x or, where inclusive, of at most x: the rank of the first one
// beyond.
func (z Zset) CountBelow(x float64, inclusive bool) (n int) {
	if z.large != nil {
		return z.large.order.countLess(x, inclusive)
	}
	for it := packedIter(z.blob); it.next(); n++ {
		if score, _ := packedScore(it.value); score > x || score == x && !inclusive {
			break
		}
	}
	return n
}

// CountBelowMember is how many members come before this one in the order of their bytes or, where inclusive, not after
// it. It means something only when all scores are equal.
func (z Zset) CountBelowMember(member []byte, inclusive bool) (n int) {
	if z.large != nil {
		return z.large.order.countLexLess(member, inclusive)
	}
	for it := packedIter(z.blob); it.next(); n++ {
		if _, m := packedScore(it.value); string(m) > string(member) || !inclusive && string(m) == string(member) {
			break
		}
	}
	return n
}

// ZsetIter reads one member after the other, ascending or descending:
//
//	for it := z.From(rank, false); it.Next(); {
//		use(it.Member(), it.Score())
//	}
type ZsetIter struct {
	packed packedZsetIterator
	large  *largeZset // nil = packed
	order  orderIter
	score  float64
	member []byte
}

// From begins to read at the member of a rank, upwards or, in reverse, downwards; where there is no such rank there is
// nothing. The set must not change meanwhile.
func (z Zset) From(rank int, reverse bool) (it ZsetIter) {
	it.large = z.large
	if z.large != nil {
		it.order = z.large.order.iter(rank, reverse)
	} else {
		it.packed = packedZsetIter(z.blob, rank, reverse)
	}
	return it
}

// Next goes to the next member and reports whether there is one.
func (it *ZsetIter) Next() (ok bool) {
	if it.large == nil {
		ok = it.packed.next()
		it.score, it.member = it.packed.score, it.packed.member
		return ok
	}
	var ref uint64
	if it.score, ref, ok = it.order.next(); ok {
		it.member = it.large.member(ref)
	}
	return ok
}

// Member is the member that Next has gone to: a view.
func (it *ZsetIter) Member() []byte { return it.member }

// Score is that member's score.
func (it *ZsetIter) Score() float64 { return it.score }

// Random returns one member, each as likely as any other. The set must not be empty.
func (z Zset) Random(rng *rand.Rand) (member []byte, score float64) {
	it := z.From(rng.IntN(z.Len()), false)
	it.Next()
	return it.Member(), it.Score()
}

// Sample passes count different members, 0 <= count <= Len, to f: every choice of that many is as likely as any other.
func (z Zset) Sample(rng *rand.Rand, count int, f func(member []byte, score float64)) {
	if z.large != nil && count < z.Len()/sparseSample {
		drawn := make(map[int]struct{}, count)
		for len(drawn) < count {
			rank := rng.IntN(z.Len())
			if _, again := drawn[rank]; !again {
				drawn[rank] = struct{}{}
				it := z.From(rank, false)
				it.Next()
				f(it.Member(), it.Score())
			}
		}
		return
	}
	// Each member is taken with the chance that it is among those still wanted of those still to come.
	left := z.Len()
	for it := z.From(0, false); count > 0 && it.Next(); left-- {
		if rng.IntN(left) < count {
			f(it.Member(), it.Score())
			count--
		}
	}
}

// Scan passes about count members from a cursor on to f, and returns the next cursor, 0 at the end. A packed set is
// passed whole.
func (z Zset) Scan(cursor uint64, count int, f func(member []byte, score float64)) (next uint64) {
	if z.large != nil {
		return z.large.scan(cursor, count, func(r record) { f(r.key(), recordScore(r)) })
	}
	for it := z.From(0, false); it.Next(); {
		f(it.Member(), it.Score())
	}
	return 0
}
