package partition

import (
	"encoding/binary"
	"math"
	"slices"
)

// A packed blob is a small collection as one value: a count, then for each entry its length and its bytes, the numbers as
// varints in their shortest form. A search reads it from the start, which up to some hundred entries is faster than any
// index, and takes no more memory than the data and a byte or two an entry.
//
//	hash    field, value, field, value ...                    packed_hash.go
//	set     members                                           packed_hash.go
//	zset    8 B score and member in one entry, in order       packed_zset.go
//	list    each entry followed by its length once more       packed_list.go
//	intset  no entries: a sorted array of integers            packed_intset.go
//
// No bytes at all are an empty collection too. Whoever reads a blob gets views of it. Whoever changes one gets a
// packedEdit, which knows the new size before anything is written.
//
// Blobs from elsewhere are checked once, by the Valid function of their kind. Reading what is malformed yields wrong
// entries, or ends early, but never leaves the blob; an edit of a malformed blob means nothing.

// packedEntry is one entry: with its length it is blob[start:end].
type packedEntry struct {
	start, end int
	value      []byte
}

// packedUvarint reads the number at blob[at:]. A number that is malformed, or more than the blob is long, gives next < 0.
func packedUvarint(blob []byte, at int) (n, next int) {
	if at < len(blob) && blob[at] < 0x80 {
		return int(blob[at]), at + 1
	}
	return packedLongUvarint(blob, at)
}

func packedLongUvarint(blob []byte, at int) (n, next int) {
	if at >= len(blob) {
		return 0, -1
	}
	v, size := binary.Uvarint(blob[at:])
	if size <= 0 || v > uint64(len(blob)) || blob[at+size-1] == 0 {
		return 0, -1
	}
	return int(v), at + size
}

// packedCount is the number of entries, and where the first one is.
func packedCount(blob []byte) (count, at int) {
	count, at = packedUvarint(blob, 0)
	return count, max(at, 0)
}

// packedIterator reads one entry after the other:
//
//	for it := packedIter(blob); it.next(); {
//		use(it.value)
//	}
type packedIterator struct {
	packedEntry
	blob []byte
}

func packedIter(blob []byte) packedIterator {
	_, at := packedCount(blob)
	return packedIterator{blob: blob, packedEntry: packedEntry{end: at}}
}

func (it *packedIterator) next() bool {
	n, at := packedUvarint(it.blob, it.end)
	if at < 0 || n > len(it.blob)-at {
		return false
	}
	it.start, it.end = it.end, at+n
	it.value = it.blob[at : at+n : at+n]
	return true
}

// packedAt is entry i.
func packedAt(blob []byte, i int) (e packedEntry, ok bool) {
	it := packedIter(blob)
	for ; i >= 0; i-- {
		if !it.next() {
			return e, false
		}
	}
	return it.packedEntry, true
}

// packedFind looks for an entry among those at 0, step, 2 * step ..., where step is 1 or 2. It reads short lengths itself,
// since packedUvarint is too large to be inlined: that takes 350 ns instead of 435 over 128 fields.
func packedFind(blob, value []byte, step int) (e packedEntry, ok bool) {
	_, end := packedCount(blob)
	last := len(value) - 1
	for {
		start := end
		n, at := 0, start+1
		if start < len(blob) && blob[start] < 0x80 {
			n = int(blob[start])
		} else {
			n, at = packedLongUvarint(blob, start)
		}
		if at < 0 || n > len(blob)-at {
			return e, false
		}
		end = at + n
		// Entries of one collection are often equally long and start alike: the last byte tells most of them apart.
		if n == len(value) && (n == 0 || blob[end-1] == value[last]) && string(blob[at:end]) == string(value) {
			return packedEntry{start, end, blob[at:end:end]}, true
		}
		if step == 2 {
			if end < len(blob) && blob[end] < 0x80 {
				n, at = int(blob[end]), end+1
			} else {
				n, at = packedLongUvarint(blob, end)
			}
			if at < 0 || n > len(blob)-at {
				return e, false
			}
			end = at + n
		}
	}
}

// packedEdit is a change to a blob that was found out but not made yet: some bytes are replaced by new entries.
//
// The entries are those of items, or the first few of pair; both belong to whoever asked for the edit and must stay as
// they are until it is made.
type packedEdit struct {
	blob     []byte
	from, to int // blob[from:to] goes
	count    int // entries there will be
	form     packedForm
	score    float64 // of the new entry, in the scored form
	items    [][]byte
	pair     [2][]byte
	pairs    int // entries in pair; 0 with items
}

// packedForm is how an item becomes an entry.
type packedForm byte

const (
	packedPlain  packedForm = iota // length, bytes
	packedScored                   // length, score, bytes
	packedListed                   // length, bytes, length of all that
)

func (e *packedEdit) len() int { return e.pairs + len(e.items) }

func (e *packedEdit) item(i int) []byte {
	if e.pairs > 0 {
		return e.pair[i]
	}
	return e.items[i]
}

// entrySize is what an item of n bytes takes as an entry.
func (f packedForm) entrySize(n int) int {
	if f == packedScored {
		n += scoreBytes
	}
	n += uvarintLen(n)
	if f == packedListed {
		n += uvarintLen(n)
	}
	return n
}

// size is how long the changed blob will be.
func (e *packedEdit) size() int {
	_, head := packedCount(e.blob)
	n := len(e.blob) - head + uvarintLen(e.count) - (e.to - e.from)
	for i := range e.len() {
		n += e.form.entrySize(len(e.item(i)))
	}
	return n
}

// appendTo appends the changed blob to dst. dst may be blob[:0]: then the change is made in place if there is the
// capacity, and no item may be a view of the blob. Otherwise dst and the blob must not overlap.
//
// Several changes in a row cost one copy each only of what they move:
//
//	for i := 0; i < len(args); i += 2 {
//		edit, _ := packedHashSet(blob, args[i], args[i+1])
//		blob = edit.appendTo(blob[:0])
//	}
func (e *packedEdit) appendTo(dst []byte) []byte {
	blob := e.blob
	_, oldHead := packedCount(blob)
	size, head := e.size(), uvarintLen(e.count)
	base := len(dst)
	dst = slices.Grow(dst, size)[:base+size]
	out := dst[base:]

	// In place, whichever part could be overwritten by the other moves first.
	tail := size - (len(blob) - e.to)
	if head < oldHead {
		copy(out[head:], blob[oldHead:e.from])
		copy(out[tail:], blob[e.to:])
	} else {
		copy(out[tail:], blob[e.to:])
		copy(out[head:], blob[oldHead:e.from])
	}
	binary.PutUvarint(out, uint64(e.count))
	at := head + e.from - oldHead
	for i := range e.len() {
		at += e.put(out[at:], e.item(i))
	}
	return dst
}

// put writes an item's entry and returns its size.
func (e *packedEdit) put(out, item []byte) int {
	if e.form == packedScored {
		at := binary.PutUvarint(out, uint64(len(item)+scoreBytes))
		binary.LittleEndian.PutUint64(out[at:], math.Float64bits(e.score))
		return at + scoreBytes + copy(out[at+scoreBytes:], item)
	}
	at := binary.PutUvarint(out, uint64(len(item)))
	at += copy(out[at:], item)
	if e.form == packedListed {
		at += putBackLength(out[at:], at)
	}
	return at
}

// packedAppend adds entries at the end.
func packedAppend(blob []byte, items ...[]byte) packedEdit {
	count, _ := packedCount(blob)
	return packedEdit{blob: blob, from: len(blob), to: len(blob), count: count + len(items), items: items}
}

// packedCut drops count entries that are blob[from:to].
func packedCut(blob []byte, from, to, count int) packedEdit {
	n, _ := packedCount(blob)
	return packedEdit{blob: blob, from: from, to: to, count: n - count}
}

// packedValid tells whether the blob is well-formed and as many entries as it counts. Entries 0, unique, 2 * unique ...
// must all differ; 0 = any may be equal.
func packedValid(blob []byte, unique int) bool {
	if len(blob) == 0 {
		return true
	}
	count, at := packedCount(blob)
	if at == 0 || count > len(blob) {
		return false
	}
	var seen map[string]struct{}
	if unique > 0 {
		seen = make(map[string]struct{}, count/unique)
	}
	it := packedIter(blob)
	n := 0
	for ; it.next(); n++ {
		if unique == 0 || n%unique != 0 {
			continue
		}
		if _, ok := seen[string(it.value)]; ok {
			return false
		}
		seen[string(it.value)] = struct{}{}
	}
	return n == count && it.end == len(blob)
}
