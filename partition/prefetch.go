package partition

import (
	"slices"
	"unsafe"
)

// PrefetchMax is how many commands' keys one Prefetch takes.
const PrefetchMax = 16

const cacheLineBytes = 64

// Prefetch has the processor fetch what looking the keys up will touch, for all of them at once: first the index slots, then
// the records; and so once more for the members, in keys that are large collections. One after the other, each look-up waits
// for memory twice, and that is most of what a command in a pipeline costs. members[i] belongs to keys[i], and may be nil. It
// promises nothing: what is asked for may not be there, and a partition that somebody holds is left out. useful is false where all
// keys are one, and that is no large collection: it will be in the processor's cache anyway.
//
// What it worked out about the keys serves the transaction's own look-ups until the next Prefetch: the slices and their bytes
// must stay as they are until then. See BenchmarkPrefetch.
func (tx *Tx) Prefetch(db int, keys, members [][]byte) (useful bool) {
	a := &tx.ahead
	a.n, a.next = 0, 0
	for i, key := range keys[:min(len(keys), PrefetchMax)] {
		l := located{key: unsafe.SliceData(key), len: len(key)}
		if i > 0 && string(key) == string(keys[i-1]) {
			l.p, l.h = a.keys[i-1].p, a.keys[i-1].h
		} else {
			l.p, l.h = tx.store.parts[tx.store.PartitionOf(key)], tx.store.seed.hash(key)
		}
		a.keys[i] = l
	}
	a.n = min(len(keys), PrefetchMax)
	var hashes [PrefetchMax]uint64 // of members; 0 = there is none to be fetched
	a.eachRun(db, func(d *dict, from, _ int) { d.prefetchSlot(a.keys[from].h) })
	a.eachRun(db, func(d *dict, from, _ int) { d.prefetchRecord(a.keys[from].h) })
	useful = a.runs > 1
	if !slices.ContainsFunc(members, func(m []byte) bool { return m != nil }) {
		return useful
	}
	large := false
	a.eachRun(db, func(d *dict, from, to int) {
		in := a.keys[from].p.collection(d, a.keys[from].h)
		for i := from; in != nil && i < to; i++ {
			if members[i] != nil {
				hashes[i], large = tx.store.seed.hash(members[i]), true
				in.prefetchSlot(hashes[i])
			}
		}
	})
	if !large {
		return useful
	}
	a.eachRun(db, func(d *dict, from, to int) {
		in := a.keys[from].p.collection(d, a.keys[from].h)
		for i := from; in != nil && i < to; i++ {
			if hashes[i] != 0 {
				in.prefetchRecord(hashes[i])
			}
		}
	})
	return true
}

// eachRun calls f for each run of equal keys, with their database held; not where somebody else holds it.
func (a *ahead) eachRun(db int, f func(d *dict, from, to int)) {
	a.runs = 0
	for from, to := 0, 0; from < a.n; from = to {
		a.runs++
		l := &a.keys[from]
		for to = from + 1; to < a.n && a.keys[to].h == l.h && a.keys[to].p == l.p; to++ {
		}
		if d := l.p.tryHold(db); d != nil {
			f(d, from, to)
			l.p.mu.Unlock()
		}
	}
}

// tryHold locks the partition if nobody holds it, and returns a database's dict. Where there is none, it is not held; nor where the copy is
// a backup's, whose keys are not looked up by commands.
func (p *Partition) tryHold(db int) *dict {
	if !p.mu.TryLock() {
		return nil
	}
	if p.passive || p.dbs[db] == nil {
		p.mu.Unlock()
		return nil
	}
	return p.dbs[db]
}

// collection is the dict of the large collection that a key with this hash has; nil where it has none.
func (p *Partition) collection(d *dict, h uint64) *dict {
	off := d.guess(h)
	if off == 0 {
		return nil
	}
	r := d.record(off)
	if r.kind() != kindObject {
		return nil
	}
	return p.object(r).index()
}

// located is what locate finds out about a key.
type located struct {
	key *byte
	len int
	p   *Partition
	h   uint64
}

// ahead are the keys of the last Prefetch, in their order; those before next have been looked up.
type ahead struct {
	keys    [PrefetchMax]located
	n, next int
	runs    int // of equal keys, one behind the other
}

// PartitionOf is the index of the partition that holds key, for less where Prefetch has seen the key coming.
func (tx *Tx) PartitionOf(key []byte) int {
	a := &tx.ahead
	if a.next < a.n {
		if l := &a.keys[a.next]; l.key == unsafe.SliceData(key) && l.len == len(key) {
			return l.p.ID
		}
	}
	return tx.store.PartitionOf(key)
}

// take returns what is known about a key, if it is one of those ahead.
func (a *ahead) take(key *byte, size int) *located {
	for i := a.next; i < a.n; i++ {
		if l := &a.keys[i]; l.key == key && l.len == size {
			a.next = i + 1
			return l
		}
	}
	return nil
}

// prefetchSlot fetches where looking up a hash begins.
func (d *dict) prefetchSlot(h uint64) {
	s := &d.segments[d.segmentOf(h)]
	prefetch(unsafe.Pointer(&d.slots(s)[home(h&tagMask, s.size())*slotBytes]))
}

// prefetchRecord fetches the record that looking up a hash will find.
func (d *dict) prefetchRecord(h uint64) {
	if off := d.guess(h); off != 0 {
		mem := d.space.tail(off)
		prefetch(unsafe.Pointer(&mem[0]))
		if len(mem) > cacheLineBytes {
			prefetch(unsafe.Pointer(&mem[cacheLineBytes])) // most records with their values end in the next line
		}
	}
}

// guess is the address of the first record with the hash's tag, nearly always the key's; 0 where there is none.
func (d *dict) guess(h uint64) uint64 {
	s := &d.segments[d.segmentOf(h)]
	slots := d.slots(s)
	tag := h & tagMask
	for i := home(tag, s.size()); i < s.size(); i++ {
		switch w := slotAt(slots, i); {
		case w == 0 || w>>tagShift > tag:
			return 0
		case w>>tagShift == tag:
			return slotOff(w)
		}
	}
	return 0
}
