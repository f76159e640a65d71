package nearcache

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// index finds entries by key. Look-ups take no lock; changes are made under the lock of the shard that the index is part of.
//
// It is a table of buckets that doubles when it is nearly full. A bucket is one cache line: seven entries, and a byte of each
// one's hash, so that a look-up seldom touches another entry than the one it wants. An entry for which its bucket has no
// room goes into one of the next; each bucket that it passes counts it, and a look-up goes on only where something has passed.
//
// A look-up may run while an entry is replaced, removed, or copied into a table twice as large, and then finds the one of
// before, or nothing. Neither harms: whether an entry may be used is not the index's to say.
type index struct {
	table atomic.Pointer[table]
	count int // entries; under the shard's lock
}

type table struct {
	buckets []bucket // a power of two
}

type bucket struct {
	// tags has a byte for each entry, the lowest for the first: 0 where there is none, else 0x80 and 7 bits of the hash.
	// The highest byte counts entries that have passed; once it is full it stays so.
	tags    atomic.Uint64
	entries [bucketEntries]atomic.Pointer[entry]
}

const (
	bucketEntries = 7
	bucketBytes   = int64(unsafe.Sizeof(bucket{}))
	bucketsMin    = 4

	// probesMax bounds how many buckets a look-up visits, and so what keys chosen to have equal hashes can cost.
	probesMax = 8

	passedShift = 8 * bucketEntries
	passedFull  = 0xff
	tagOnes     = 0x00_01_01_01_01_01_01_01
	tagHighs    = 0x00_80_80_80_80_80_80_80
)

func (x *index) init() { x.table.Store(&table{make([]bucket, bucketsMin)}) }

func (x *index) bytes() int64 { return int64(len(x.table.Load().buckets)) * bucketBytes }

// find answers the key's entry or nil. It takes no lock.
func (x *index) find(k *Key) *entry {
	t := x.table.Load()
	mask := uint64(len(t.buckets) - 1)
	for n := uint64(0); n < probesMax; n++ {
		b := &t.buckets[(k.hash+n)&mask]
		tags := b.tags.Load()
		for alike := matching(tags, k.hash); alike != 0; alike &= alike - 1 {
			if e := b.entries[slotOf(alike)].Load(); e != nil && e.is(k) {
				return e
			}
		}
		if tags>>passedShift == 0 {
			return nil
		}
	}
	return nil
}

func tagOf(hash uint64) uint64 { return hash>>57 | 0x80 }

// matching has the highest bit of each byte set whose tag is that of the hash, and now and then one too many.
func matching(tags, hash uint64) uint64 {
	differs := tags ^ tagOnes*tagOf(hash)
	return (differs - tagOnes) &^ differs & tagHighs
}

func slotOf(matches uint64) int { return bits.TrailingZeros64(matches) / 8 }

// spot is where an entry is: in a slot of the bucket that comes passes behind the one its hash names.
type spot struct {
	table  *table
	hash   uint64
	passes uint64
	slot   int
}

func (s spot) bucket() *bucket { return s.table.bucket(s.hash + s.passes) }

func (t *table) bucket(n uint64) *bucket { return &t.buckets[n&uint64(len(t.buckets)-1)] }

// locate answers the key's entry, or nil, and where it is.
func (x *index) locate(k *Key) (*entry, spot) {
	return x.table.Load().locate(k.hash, func(e *entry) bool { return e.is(k) })
}

func (t *table) locate(hash uint64, wanted func(*entry) bool) (*entry, spot) {
	for n := uint64(0); n < probesMax; n++ {
		b := t.bucket(hash + n)
		tags := b.tags.Load()
		for alike := matching(tags, hash); alike != 0; alike &= alike - 1 {
			if e := b.entries[slotOf(alike)].Load(); e != nil && wanted(e) {
				return e, spot{t, hash, n, slotOf(alike)}
			}
		}
		if tags>>passedShift == 0 {
			break
		}
	}
	return nil, spot{}
}

// replace puts an entry in the place of another of the same key.
func (x *index) replace(at spot, e *entry) { at.bucket().entries[at.slot].Store(e) }

// insert puts in an entry whose key has none, and doubles the table where it is nearly full. It reports whether it did: not
// where the buckets that look-ups would visit are full though the table is not, as with keys chosen to collide.
func (x *index) insert(e *entry) bool {
	if (x.count+1)*8 > x.room()*7 {
		x.grow()
	}
	if !x.table.Load().insert(e) {
		if 2*x.count < x.room() {
			return false
		}
		x.grow()
		if !x.table.Load().insert(e) {
			return false
		}
	}
	x.count++
	return true
}

// room is how many entries the table could hold at most.
func (x *index) room() int { return len(x.table.Load().buckets) * bucketEntries }

func (t *table) insert(e *entry) bool {
	for n := uint64(0); n < probesMax; n++ {
		b := t.bucket(e.hash + n)
		free := ^b.tags.Load() & tagHighs
		if free == 0 {
			continue
		}
		for passed := range n {
			t.bucket(e.hash + passed).pass(1)
		}
		// The entry before its tag, so that who sees the tag finds it.
		slot := slotOf(free)
		b.entries[slot].Store(e)
		b.tags.Store(b.tags.Load() | tagOf(e.hash)<<(8*slot))
		return true
	}
	return false
}

// pass counts one more or one less of the entries that have passed a bucket.
func (b *bucket) pass(by int) {
	tags := b.tags.Load()
	if tags>>passedShift != passedFull { // else how many they are is not known any more
		b.tags.Store(tags + uint64(by)<<passedShift)
	}
}

// remove takes an entry out. It may be gone already: growing leaves out what finds no bucket.
func (x *index) remove(e *entry) {
	_, at := x.table.Load().locate(e.hash, func(other *entry) bool { return other == e })
	if at.table == nil {
		return
	}
	b := at.bucket()
	b.tags.Store(b.tags.Load() &^ (0xff << (8 * at.slot)))
	b.entries[at.slot].Store(nil)
	for passed := range at.passes {
		at.table.bucket(at.hash + passed).pass(-1)
	}
	x.count--
}

// grow doubles the table. Look-ups under way go on in the old one.
func (x *index) grow() {
	old := x.table.Load()
	larger := &table{make([]bucket, 2*len(old.buckets))}
	x.count = 0
	for i := range old.buckets {
		for j := range old.buckets[i].entries {
			if e := old.buckets[i].entries[j].Load(); e != nil && larger.insert(e) {
				x.count++
			}
		}
	}
	x.table.Store(larger)
}
