package partition

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// A cursor is a place in the order of (partition, hash prefix, tag): what a walk has passed stays passed when segments
// split or grow, and when another node with the same seed goes on. 52 bits, so that JavaScript clients can hold it:
//
//	14 bits partition | 24 bits prefix: the top bits of the hash | 5 bits depth: how many of them named the segment
//	| 9 bits bucket: the tag's top bits
const (
	cursorBucketBits = 9
	cursorDepthBits  = 5
	cursorPrefixBits = 24
	placeBits        = cursorPrefixBits + cursorDepthBits + cursorBucketBits
)

// place is a cursor within one dict; the zero place is its start.
type place struct {
	prefix uint32
	depth  uint8
	bucket uint32
}

func (a place) pack() uint64 {
	return uint64(a.prefix)<<(cursorDepthBits+cursorBucketBits) | uint64(a.depth)<<cursorBucketBits | uint64(a.bucket)
}

func unpackPlace(cursor uint64) place {
	return place{
		prefix: uint32(cursor >> (cursorDepthBits + cursorBucketBits) & (1<<cursorPrefixBits - 1)),
		depth:  uint8(cursor >> cursorBucketBits & (1<<cursorDepthBits - 1)),
		bucket: uint32(cursor & (1<<cursorBucketBits - 1)),
	}
}

// scan passes at least count records from a place on to f, all of a bucket together, and returns where to go on; done
// when the walk is complete. f must not change the dict.
func (d *dict) scan(from place, count int, f func(r record)) (next place, done bool) {
	seen := 0
	for {
		var dirIndex uint32
		if d.dirBits > 0 {
			dirIndex = from.prefix >> (cursorPrefixBits - d.dirBits)
		}
		s := &d.segments[d.dir[dirIndex]]
		bucket := from.bucket
		if s.bits < from.depth {
			bucket = 0 // the place was in a finer segment: no bucket of this one is known to be passed
		}
		slots := d.slots(s)
		last := bucket
		for i := home(uint64(bucket)<<(tagBits-cursorBucketBits), s.size()); i < s.size(); i++ {
			w := slotAt(slots, i)
			if w == 0 {
				continue
			}
			b := uint32(w >> (64 - cursorBucketBits))
			if b < bucket {
				continue
			}
			if b != last && seen >= count {
				return place{from.prefix, s.bits, b}, false
			}
			last = b
			f(d.record(slotOff(w)))
			seen++
		}
		width := uint32(1) << (cursorPrefixBits - uint(s.bits))
		from = place{prefix: from.prefix&^(width-1) + width}
		if from.prefix >= 1<<cursorPrefixBits {
			return place{}, true
		}
		if seen >= count {
			return from, false
		}
	}
}

// each passes every record to f, until f says no. f must not change the dict.
func (d *dict) each(f func(r record) bool) {
	for id := range d.segments {
		s := &d.segments[id]
		slots := d.slots(s)
		for i := range s.size() {
			if w := slotAt(slots, i); w != 0 && !f(d.record(slotOff(w))) {
				return
			}
		}
	}
}

// CursorOf is the cursor of Scan at which a partition begins; OfCursor is the partition that a cursor is in.
func CursorOf(partition int) uint64  { return uint64(partition) << placeBits }
func OfCursor(cursor uint64) (p int) { return int(cursor >> placeBits) }

// Scan passes about count keys of the transaction's database from cursor on to f, and returns the next cursor: 0 at the
// end, and 0 starts. A key that is there all through a whole walk is passed at least once. Expired keys are passed over.
// key is a view; f must not change the store.
func (tx *Tx) Scan(cursor uint64, count int, f func(key []byte, v Value)) (next uint64) {
	at := OfCursor(cursor)
	from := unpackPlace(cursor)
	// An empty partition costs a little too: a walk over a store of few keys must not take one call each.
	for budget := count; budget > 0; {
		if at >= len(tx.store.parts) {
			return 0
		}
		done := true
		tx.onWhole(tx.store.parts[at], func(p *Partition) bool {
			d := p.dbs[tx.DB]
			if d == nil {
				return true
			}
			var to place
			to, done = d.scan(from, budget, func(r record) {
				budget--
				if e := r.expireAt(); e == 0 || e > tx.Now {
					f(r.key(), Value{rec: r, p: p})
				}
			})
			from = to
			return true
		})
		if !done {
			return CursorOf(at) | from.pack()
		}
		at, from = at+1, place{}
	}
	if at >= len(tx.store.parts) {
		return 0
	}
	return CursorOf(at)
}

// EachKey passes every live key of the transaction's database to f, until f says no. key is a view; f must not change
// the store.
func (tx *Tx) EachKey(f func(key []byte, v Value) bool) {
	tx.Each(func(p *Partition) bool {
		if p.dbs[tx.DB] == nil {
			return true
		}
		more := true
		p.dbs[tx.DB].each(func(r record) bool {
			if e := r.expireAt(); e == 0 || e > tx.Now {
				more = f(r.key(), Value{rec: r, p: p})
			}
			return more
		})
		return more
	})
}

// Digest sums up the partition's contents: keys, expiries, values with their encoding and order. Two copies that played
// the same batches have the same digest, however their memory is arranged.
func (p *Partition) Digest() (sum uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var buf []byte
	for db, d := range p.dbs {
		if d == nil {
			continue
		}
		d.each(func(r record) bool {
			v := Value{rec: r, p: p}
			buf = append(buf[:0], byte(db))
			buf = binary.LittleEndian.AppendUint64(buf, uint64(r.expireAt()))
			buf = appendBytes(buf, r.key())
			buf = append(append(buf, v.Encoding()...), 0)
			if r.kind() == kindObject {
				buf = binary.LittleEndian.AppendUint64(buf, p.object(r).digest(p.store.seed))
			} else {
				buf = append(buf, r.value()...)
			}
			sum += p.store.seed.hash(buf) // a sum: the order of keys is no part of the contents
			return true
		})
	}
	return sum
}

// ContentDigest sums up what the partition holds for its users, whatever the encodings: keys, expiries, types, and values
// with their order where that counts. Copies with other limits have the same one at the same sequence number, which is seq
// (R21). It holds the partition's lock while it reads everything: see BenchmarkContentDigest.
func (p *Partition) ContentDigest() (sum, seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var buf []byte
	for db, d := range p.dbs {
		if d == nil {
			continue
		}
		d.each(func(r record) bool {
			v := Value{rec: r, p: p}
			var content uint64
			content, buf = v.content(p.store.seed, buf)
			buf = append(buf[:0], byte(db), byte(v.Type()))
			buf = binary.LittleEndian.AppendUint64(buf, uint64(r.expireAt()))
			buf = binary.LittleEndian.AppendUint64(buf, content)
			sum += p.store.seed.hash(append(buf, r.key()...))
			return true
		})
	}
	return sum, p.seq
}

// content sums up a value. buf is room to work in, and is returned with what it has grown to.
func (v Value) content(seed Seed, buf []byte) (sum uint64, _ []byte) {
	switch v.Type() {
	case TypeString:
		b, _ := v.String()
		return seed.hash(b), buf
	case TypeList:
		l, _ := v.List()
		for it := l.From(0); it.Next(); {
			sum = sum*31 + seed.hash(it.Value())
		}
	case TypeSet:
		s, _ := v.Set()
		for it := s.Iter(); it.Next(); {
			sum += seed.hash(it.Member())
		}
	case TypeHash:
		h, _ := v.Hash()
		h.Each(func(field, value []byte) bool {
			buf = append(appendBytes(buf[:0], field), value...)
			sum += seed.hash(buf)
			return true
		})
	case TypeZset:
		z, _ := v.Zset()
		for it := z.From(0, false); it.Next(); {
			score := it.Score()
			if score == 0 {
				score = 0 // only a large set knows -0
			}
			buf = appendScored(buf[:0], score, it.Member())
			sum += seed.hash(buf)
		}
	}
	return sum, buf
}

// CompactAll moves all records together: for tests, and for memory that an operator wants back at once.
func (p *Partition) CompactAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.compactAllLocked()
}

// CompactAll does so for every partition.
func (tx *Tx) CompactAll() {
	tx.Each(func(p *Partition) bool {
		p.compactAllLocked()
		return true
	})
}

func (p *Partition) compactAllLocked() {
	for _, d := range p.dbs {
		if d != nil {
			p.touch(d)
		}
	}
	for _, o := range p.objects {
		if o.object != nil && o.index() != nil {
			p.touch(o.index())
		}
	}
	for _, d := range p.touched {
		if !d.dropped {
			d.arena.compactAll(d.move)
		}
	}
	for len(p.touched) > 0 {
		p.tidy(1 << 20)
	}
}

// Describe tells how the memory of each partition is used, a line for each.
func (tx *Tx) Describe() (lines []string) {
	tx.Each(func(p *Partition) bool {
		lines = append(lines, p.describeLocked())
		return true
	})
	return lines
}

func (p *Partition) describeLocked() string {
	var b strings.Builder
	fmt.Fprintf(&b, "partition %d: seq %d, %d large values", p.ID, p.seq, len(p.objects)-len(p.spare))
	for db, d := range p.dbs {
		if d != nil {
			fmt.Fprintf(&b, "; db%d: %d keys, %d segments, %d chunks, %d of %d bytes live",
				db, d.count, len(d.segments), len(d.arena.chunks)-len(d.arena.spare), d.arena.live, d.arena.total)
		}
	}
	return b.String()
}
