package partition

import (
	"encoding/binary"

	"github.com/dchest/siphash"
)

// Seed keys the hash of a grid. It is secret, so that nobody can choose keys that collide, and the same on every node, so
// that walks, SCAN cursors and digests mean the same everywhere.
type Seed struct{ K0, K1 uint64 }

func (s Seed) hash(key []byte) uint64 { return siphash.Hash(s.K0, s.K1, key) }

const (
	slotBytes  = 8
	tagBits    = 23
	tagShift   = 64 - tagBits
	tagMask    = 1<<tagBits - 1
	expirySlot = 1 << 40 // the record has an expiry
	offMask    = 1<<40 - 1

	// A full segment splits; so the directory is the only thing that ever doubles, at 4 B for about 400 entries.
	segmentClassMax = len(segmentSizes) - 1
)

// dict is an index of 8 B a slot over an arena: the type behind each database of a partition, and behind each large hash,
// set and sorted set.
//
// The hash's top bits choose a segment through the directory; its low 23 bits are the tag. A segment is an array of
// slots sorted by tag, with gaps: the entry with tag t stands at home(t) or as little right of it as the entries before
// allow. So a look-up starts at home(t), skips smaller tags, and a miss ends at the first larger tag or gap, which at a
// load of 7/8 takes a few slots where plain linear probing takes thirty. Nothing wraps: the last slots of a segment are
// nobody's home. A segment that is too full is copied into the next size (tags suffice for that), the largest one is
// split by one more bit of the hash, read from the keys.
//
// A slot: 40 bits of record address / 4, 1 expiry bit, 23 bits of tag; 0 = empty.
type dict struct {
	space    *Space
	seed     Seed
	arena    arena
	dir      []uint32 // by the top dirBits of the hash: index into segments
	dirBits  uint
	segments []segment
	count    int
	expiring int // entries with an expiry
	// moved is told when compaction has moved a record, after the index was set right.
	moved func(from, to uint64)
	// dirty: noted for compaction at the end of the transaction.
	dirty bool
	// dropped: deleted, about to be released, perhaps on another goroutine.
	dropped bool
}

type segment struct {
	off       uint64
	minExpire int64 // no entry expires earlier; 0 = none expires
	count     uint16
	class     uint8
	bits      uint8 // how many top bits of the hash its entries share
}

func newDict(space *Space, seed Seed) *dict {
	d := &dict{space: space, seed: seed, arena: newArena(space)}
	d.dir = []uint32{0}
	d.segments = []segment{{off: space.allocSlots(0)}}
	return d
}

// entry is a place in the index: valid until the dict next changes.
type entry struct {
	seg  uint32
	slot int
	off  uint64 // 0 = there is no such key
}

func (s *segment) size() int { return segmentSizes[s.class] }

// homes is how many slots of a segment are somebody's home; the rest catch what is pushed right.
func homes(size int) int { return size - min(16, size/8+2) }

func home(tag uint64, size int) int { return int(tag * uint64(homes(size)) >> tagBits) }

// maxCount is how many entries a segment takes before it grows.
func maxCount(size int) int { return homes(size) * 9 / 10 }

func slotAt(slots []byte, i int) uint64     { return binary.LittleEndian.Uint64(slots[i*slotBytes:]) }
func setSlot(slots []byte, i int, w uint64) { binary.LittleEndian.PutUint64(slots[i*slotBytes:], w) }
func slotOff(w uint64) uint64               { return w & offMask * recordAlign }
func makeSlot(tag, off uint64, exp bool) uint64 {
	w := tag<<tagShift | off/recordAlign
	if exp {
		w |= expirySlot
	}
	return w
}

func (d *dict) segmentOf(h uint64) uint32 { return d.dir[h>>(64-d.dirBits)] }
func (d *dict) slots(s *segment) []byte   { return d.space.Bytes(s.off, s.size()*slotBytes) }
func (d *dict) record(off uint64) record  { return decodeRecord(d.space.tail(off)) }
func (d *dict) hash(key []byte) uint64    { return d.seed.hash(key) }

// find looks a key up by its hash.
func (d *dict) find(h uint64, key []byte) entry {
	id := d.segmentOf(h)
	s := &d.segments[id]
	slots := d.slots(s)
	tag := h & tagMask
	for i := home(tag, s.size()); i < s.size(); i++ {
		w := slotAt(slots, i)
		t := w >> tagShift
		if t < tag && w != 0 {
			continue
		}
		if t > tag || w == 0 {
			break
		}
		if off := slotOff(w); recordHasKey(d.space.tail(off), key) {
			return entry{id, i, off}
		}
	}
	return entry{}
}

// get is find for those who only read.
func (d *dict) get(key []byte) (record, bool) {
	e := d.find(d.hash(key), key)
	if e.off == 0 {
		return record{}, false
	}
	return d.record(e.off), true
}

// put makes or overwrites a key's record, all but its value, which the caller writes next. head is kind and flags;
// hasExpiry follows from expireAt. at is what find answered for the key. The record is returned with its entry.
func (d *dict) put(at entry, h uint64, key []byte, head byte, access uint32, valueLen int, expireAt int64) (record, entry) {
	head &^= hasExpiry
	if expireAt != 0 {
		head |= hasExpiry
	}
	size := capacity(recordLen(head, len(key), valueLen), head)
	if at.off == 0 {
		off := d.arena.alloc(size)
		r := writeHeader(d.space.tail(off), head, access, key, valueLen, expireAt)
		return r, d.insert(h, off, expireAt)
	}
	old := d.record(at.off)
	off := at.off
	if old.size() != size {
		d.arena.free(off, old.size())
		off = d.arena.alloc(size)
	}
	d.setExpiring(at, old.mem[0]&hasExpiry != 0, expireAt)
	s := &d.segments[at.seg]
	setSlot(d.slots(s), at.slot, makeSlot(h&tagMask, off, expireAt != 0))
	at.off = off
	return writeHeader(d.space.tail(off), head, access, key, valueLen, expireAt), at
}

// setExpiring keeps the counts and the segment's earliest expiry when an entry's expiry changes.
func (d *dict) setExpiring(at entry, had bool, expireAt int64) {
	if had {
		d.expiring--
	}
	if expireAt == 0 {
		return
	}
	d.expiring++
	s := &d.segments[at.seg]
	if s.minExpire == 0 || expireAt < s.minExpire {
		s.minExpire = expireAt
	}
}

// insert adds a slot for the new record at off.
func (d *dict) insert(h, off uint64, expireAt int64) entry {
	tag := h & tagMask
	for {
		id := d.segmentOf(h)
		s := &d.segments[id]
		if int(s.count) < maxCount(s.size()) {
			if i, ok := insertSlot(d.slots(s), s.size(), makeSlot(tag, off, expireAt != 0)); ok {
				s.count++
				d.count++
				at := entry{id, i, off}
				d.setExpiring(at, false, expireAt)
				return at
			}
		}
		d.makeRoom(id)
	}
}

// insertSlot puts w in its place by tag, moving what is right of it as far as the next gap. It fails where there is no
// gap before the end.
func insertSlot(slots []byte, size int, w uint64) (int, bool) {
	tag := w >> tagShift
	i := home(tag, size)
	for i < size {
		if v := slotAt(slots, i); v == 0 || v>>tagShift > tag {
			break
		}
		i++
	}
	gap := i
	for gap < size && slotAt(slots, gap) != 0 {
		gap++
	}
	if gap >= size {
		return 0, false
	}
	copy(slots[(i+1)*slotBytes:(gap+1)*slotBytes], slots[i*slotBytes:gap*slotBytes])
	setSlot(slots, i, w)
	return i, true
}

// makeRoom copies a segment into the next size, or splits the largest.
func (d *dict) makeRoom(id uint32) {
	s := d.segments[id]
	if int(s.class) == segmentClassMax {
		d.split(id)
		return
	}
	for class := int(s.class) + 1; class <= segmentClassMax; class++ {
		if d.refill(id, class, d.slots(&s), s.size()) {
			d.space.freeSlots(s.off)
			return
		}
	}
	d.split(id)
}

// refill gives the segment new slots of a class, with the entries of old; false where they do not fit.
func (d *dict) refill(id uint32, class int, old []byte, oldSize int) bool {
	size := segmentSizes[class]
	off := d.space.allocSlots(class)
	slots := d.space.Bytes(off, size*slotBytes)
	next := 0
	for i := range oldSize {
		w := slotAt(old, i)
		if w == 0 {
			continue
		}
		next = max(next, home(w>>tagShift, size))
		if next >= size {
			d.space.freeSlots(off)
			return false
		}
		setSlot(slots, next, w)
		next++
	}
	d.segments[id].off, d.segments[id].class = off, uint8(class)
	return true
}

// split divides a segment in two by the next bit of its entries' hashes.
func (d *dict) split(id uint32) {
	s := d.segments[id]
	if uint(s.bits) == d.dirBits {
		d.dir = append(d.dir, d.dir...)
		for i := len(d.dir)/2 - 1; i >= 0; i-- {
			d.dir[2*i], d.dir[2*i+1] = d.dir[i], d.dir[i]
		}
		d.dirBits++
	}
	var halves [2][segmentSlotsMax * slotBytes]byte
	var counts [2]int
	var minExpire [2]int64
	var prefix uint64
	old := d.slots(&s)
	for i := range s.size() {
		w := slotAt(old, i)
		if w == 0 {
			continue
		}
		r := d.record(slotOff(w))
		h := d.hash(r.key())
		prefix = h >> (64 - s.bits)
		half := h >> (63 - s.bits) & 1
		setSlot(halves[half][:], counts[half], w)
		counts[half]++
		if at := r.expireAt(); at != 0 && (minExpire[half] == 0 || at < minExpire[half]) {
			minExpire[half] = at
		}
	}
	other := uint32(len(d.segments))
	d.segments = append(d.segments, segment{})
	for half, id := range []uint32{id, other} {
		class := 0
		for class < segmentClassMax && maxCount(segmentSizes[class]) <= counts[half] {
			class++
		}
		d.segments[id] = segment{bits: s.bits + 1, count: uint16(counts[half]), minExpire: minExpire[half]}
		for !d.refill(id, class, halves[half][:], counts[half]) {
			class++
		}
	}
	// The directory's entries of the old segment are one aligned run; its upper half is now the other's.
	run := 1 << (d.dirBits - uint(s.bits))
	first := int(prefix) * run
	for i := first + run/2; i < first+run; i++ {
		d.dir[i] = other
	}
	d.space.freeSlots(s.off)
}

const segmentSlotsMax = 512

// remove takes the key at e out. Its bytes stay readable until the transaction is sealed.
func (d *dict) remove(e entry) {
	r := d.record(e.off)
	if r.mem[0]&hasExpiry != 0 {
		d.expiring--
	}
	d.arena.free(e.off, r.size())
	s := &d.segments[e.seg]
	slots := d.slots(s)
	// What was pushed right by this entry moves back, as far as its home allows.
	i := e.slot
	for ; i+1 < s.size(); i++ {
		w := slotAt(slots, i+1)
		if w == 0 || home(w>>tagShift, s.size()) == i+1 {
			break
		}
		setSlot(slots, i, w)
	}
	setSlot(slots, i, 0)
	s.count--
	d.count--
	if s.count == 0 {
		s.minExpire = 0
	}
	if s.class > 0 && int(s.count) < maxCount(segmentSizes[s.class-1])/2 {
		d.shrink(e.seg)
	}
}

// shrink copies a segment that has become half empty into a smaller size.
func (d *dict) shrink(id uint32) {
	s := d.segments[id]
	class := 0
	for class < int(s.class) && maxCount(segmentSizes[class])*3/4 < int(s.count) {
		class++
	}
	for ; class < int(s.class); class++ {
		if d.refill(id, class, d.slots(&s), s.size()) {
			d.space.freeSlots(s.off)
			return
		}
	}
}

// compact pays for a bounded share of compaction; see arena.compact.
func (d *dict) compact(budget int) bool {
	return d.arena.compact(budget, d.move)
}

// move copies a live record to the open chunk and turns its slot to the copy.
func (d *dict) move(off uint64, r record) {
	h := d.hash(r.key())
	id := d.segmentOf(h)
	s := &d.segments[id]
	slots := d.slots(s)
	tag := h & tagMask
	for i := home(tag, s.size()); ; i++ {
		w := slotAt(slots, i)
		if w>>tagShift != tag || slotOff(w) != off {
			continue
		}
		n := r.size()
		to := d.arena.alloc(n)
		copy(d.space.Bytes(to, n), r.mem[:n])
		setSlot(slots, i, makeSlot(tag, to, w&expirySlot != 0))
		if d.moved != nil {
			d.moved(off, to)
		}
		return
	}
}

func (d *dict) index() *dict { return d }

// bytes is what the dict occupies outside the Go heap.
func (d *dict) bytes() int {
	n := d.arena.total
	for i := range d.segments {
		n += d.segments[i].size() * slotBytes
	}
	return n
}

// release frees everything; the dict must not be used after.
func (d *dict) release() {
	d.arena.release()
	for i := range d.segments {
		d.space.freeSlots(d.segments[i].off)
	}
	d.segments, d.dir, d.count, d.expiring = nil, nil, 0, 0
}
