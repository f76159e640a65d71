package partition

import (
	"math/rand/v2"
	"strconv"
)

const (
	// packedSetEntriesMax and packedSetMemberMax bound what is packed. Redis 7.0 knows no packed set of strings, so the
	// bounds are ours, and OBJECT ENCODING says hashtable on both sides of them.
	packedSetEntriesMax = 128
	packedSetMemberMax  = 64
	// intsetEntriesMax bounds set-max-intset-entries: an intset is one array, and adding moves half of it.
	intsetEntriesMax = 1 << 16
)

// largeSet is a set of too many or too long members to be packed: a dict of members without values.
type largeSet struct{ members }

func (*largeSet) typ() Type        { return TypeSet }
func (*largeSet) encoding() string { return "hashtable" }

func init() {
	restorers[TypeSet] = func(p *Partition, dump []byte) (object, bool) {
		l := &largeSet{newMembers(p)}
		return l, l.restore(dump) && l.count() > 0
	}
}

// Set is a view of a set, stale after any change to its key. The zero Set is empty.
type Set struct {
	blob  []byte
	ints  bool      // blob is an intset, and not packed members
	large *largeSet // nil = blob
	text  [maxIntText]byte
}

// maxIntText is the length of the longest 64-bit integer, its sign included.
const maxIntText = 20

// Set looks up a set; ok is false where there is no such key.
func (tx *Tx) Set(key []byte) (set Set, ok bool, err error) {
	v, ok := tx.Find(key)
	if !ok {
		return set, false, nil
	}
	set, err = v.Set()
	return set, err == nil, err
}

// Set is the value as a set.
func (v Value) Set() (Set, error) {
	switch v.rec.kind() {
	case kindSet:
		return Set{blob: v.rec.value()}, nil
	case kindIntset:
		return Set{blob: v.rec.value(), ints: true}, nil
	case kindObject:
		if l, ok := v.p.object(v.rec).(*largeSet); ok {
			return Set{large: l}, nil
		}
	}
	return Set{}, ErrWrongType
}

// Len is the number of members.
func (s *Set) Len() int {
	switch {
	case s.large != nil:
		return s.large.count()
	case s.ints:
		return packedIntsetLen(s.blob)
	default:
		n, _ := packedCount(s.blob)
		return n
	}
}

// Has tells whether member is one.
func (s *Set) Has(member []byte) bool {
	switch {
	case s.large != nil:
		return s.large.has(member)
	case s.ints:
		n, ok := exactInt(member)
		if ok {
			_, ok = packedIntsetFind(s.blob, n)
		}
		return ok
	default:
		return packedSetHas(s.blob, member)
	}
}

// Random returns one member, each as likely as any other: a view, good until the next call. The set must not be empty.
func (s *Set) Random(rng *rand.Rand) []byte {
	switch {
	case s.large != nil:
		r := s.large.random(rng)
		return r.key()
	case s.ints:
		return strconv.AppendInt(s.text[:0], packedIntsetAt(s.blob, rng.IntN(s.Len())), 10)
	default:
		e, _ := packedAt(s.blob, rng.IntN(s.Len()))
		return e.value
	}
}

// sparseSample: a sample of less than one in so many of a large set draws members until enough of them differ; a larger
// one walks the set.
const sparseSample = 3

// Sample passes count different members, 0 <= count <= Len, to f: every choice of that many is as likely as any other.
// member is a view, good during the call.
func (s *Set) Sample(rng *rand.Rand, count int, f func(member []byte)) {
	if s.large != nil && count < s.Len()/sparseSample {
		drawn := make(map[uint64]struct{}, count)
		for len(drawn) < count {
			off := s.large.d.random(rng.Uint64)
			if _, again := drawn[off]; !again {
				drawn[off] = struct{}{}
				r := s.large.d.record(off)
				f(r.key())
			}
		}
		return
	}
	// Each member is taken with the chance that it is among those still wanted of those still to come.
	left := s.Len()
	for it := s.Iter(); count > 0 && it.Next(); left-- {
		if rng.IntN(left) < count {
			f(it.Member())
			count--
		}
	}
}

// Scan passes about count members from a cursor on to f, and returns the next cursor, 0 at the end. A set that is not
// large is passed whole.
func (s *Set) Scan(cursor uint64, count int, f func(member []byte)) (next uint64) {
	if s.large != nil {
		return s.large.scan(cursor, count, func(r record) { f(r.key()) })
	}
	for it := s.Iter(); it.Next(); {
		f(it.Member())
	}
	return 0
}

// SetIter reads one member after the other, of an intset in ascending order:
//
//	for it := set.Iter(); it.Next(); {
//		use(it.Member())
//	}
type SetIter struct {
	set    Set
	packed packedIterator
	index  int // of the next integer, or slot of the segment
	seg    int // the segment being read
	rec    record
}

// Iter begins to read the members. The set must not change meanwhile.
func (s *Set) Iter() SetIter {
	it := SetIter{set: *s}
	if s.large == nil && !s.ints {
		it.packed = packedIter(s.blob)
	}
	return it
}

// Next goes to the next member and reports whether there is one.
func (it *SetIter) Next() bool {
	switch {
	case it.set.large != nil:
		return it.nextSlot()
	case it.set.ints:
		it.index++
		return it.index <= packedIntsetLen(it.set.blob)
	default:
		return it.packed.next()
	}
}

func (it *SetIter) nextSlot() bool {
	d := it.set.large.d
	for ; it.seg < len(d.segments); it.seg++ {
		s := &d.segments[it.seg]
		for slots := d.slots(s); it.index < s.size(); {
			w := slotAt(slots, it.index)
			it.index++
			if w != 0 {
				it.rec = d.record(slotOff(w))
				return true
			}
		}
		it.index = 0
	}
	return false
}

// Member is the member that Next has gone to: a view, good until Next is called again.
func (it *SetIter) Member() []byte {
	switch {
	case it.set.large != nil:
		return it.rec.key()
	case it.set.ints:
		return strconv.AppendInt(it.set.text[:0], packedIntsetAt(it.set.blob, it.index-1), 10)
	default:
		return it.packed.value
	}
}

// exactInt reads an integer in the one form that printing it gives back: such members may stand in an intset.
func exactInt(b []byte) (int64, bool) {
	if len(b) == 0 || len(b) > maxIntText || b[0] > '9' {
		return 0, false
	}
	digits, negative := b, b[0] == '-'
	if negative {
		digits = b[1:]
	}
	if len(digits) == 0 || digits[0] == '0' && len(b) > 1 {
		return 0, false
	}
	const limit = 1 << 63 // of the magnitude, reached by negative numbers alone
	var n uint64
	for _, c := range digits {
		d := uint64(c - '0')
		if d > 9 || n > (limit-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	if n == limit && !negative {
		return 0, false
	}
	if negative {
		n = -n
	}
	return int64(n), true
}
