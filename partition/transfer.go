package partition

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
)

// How a copy is filled (R19). The sender walks its keys in the order of their hashes, all databases at once, and sends them
// in chunks between its batches. The receiver loads the chunks, and plays what is behind the walk of the batches:
//
//	sender     batch 7   chunk of [0, a) at 7   batch 8              chunk of [a, end) at 8   batch 9
//	receiver             ResetTo, LoadChunk     ApplyBehind, to a    LoadChunk                Apply
//
// At any time the receiver holds what the sender held at the same sequence number, as far as it is behind the bound. The
// hash is the same on every node of a grid, so the bound means the same to both, however their indexes are divided.

// Bound is a place in a walk: keys whose hash is below it are behind, the others ahead. It is a multiple of boundStep, or
// BoundEnd.
type Bound uint64

// BoundEnd is the end of a walk: every key is behind it.
const BoundEnd Bound = math.MaxUint64

// boundStep is the part of the hashes that a walk passes at once. A key has the same hash in every database, so chunks do
// not end between two keys of one step.
const boundStep = 1 << 32

// boundOf is where the step begins that a hash is in.
func boundOf(h uint64) Bound { return Bound(h &^ (boundStep - 1)) }

// passed tells whether a key with this hash is behind the bound.
func (b Bound) passed(h uint64) bool { return h < uint64(b) || b == BoundEnd }

func (b Bound) valid() bool { return b%boundStep == 0 || b == BoundEnd }

// ErrRestartWalk is for an effect on a whole database that meets a copy which is being filled: the copy must be emptied, with
// ResetTo, and its walk must start again.
var ErrRestartWalk = errors.New("a whole database changes under a walk: it must start again")

// A chunk:
//
//	1 B  version
//	4 B  partition             numbers are little endian
//	8 B  from, 8 B to          bounds: which stretch of the walk it is
//	8 B  sequence number       of the state that it shows
//	8 B  log time in ms
//	     for each key: 1 B database; key (length as a varint, bytes); expiry varint; dumped value (length, bytes)
//	4 B  CRC32C of all before
const (
	chunkVersion   = 1
	chunkHeadBytes = 1 + 4 + 4*8
	chunkSumBytes  = 4
)

// chunkSlotsMax is how many index slots a chunk may look at, however few keys it finds. One segment of each database has
// less, so every chunk gets on.
const chunkSlotsMax = 2 * Databases * segmentSlotsMax

// AppendChunk appends the next stretch of a walk: whole keys of all databases with all they hold, expired ones too, and
// expiries; not when they were last accessed. It begins at from, 0 at first, and ends at next, BoundEnd at last: at the first
// key that would begin beyond maxBytes, or after chunkSlotsMax. seq is the last batch that the chunk includes. It changes
// nothing.
//
// It takes the partition's lock for the time of maxBytes (some 0.6 ms for 64 KiB of small strings that are not in the cache)
// and of one key, which is dumped whole, however large: 0.3 s and 22 MB for a sorted set of a million members. Nothing but the
// size of the largest value bounds that. See BenchmarkWalk and BenchmarkDumpLarge.
func (p *Partition) AppendChunk(dst []byte, from Bound, maxBytes int) (chunk []byte, next Bound, seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.appendChunk(dst, from, maxBytes)
}

// AppendChunk is Partition.AppendChunk for one who does more under the same lock. The transaction must hold one partition,
// and have changed nothing.
func (tx *Tx) AppendChunk(dst []byte, from Bound, maxBytes int) (chunk []byte, next Bound, seq uint64) {
	return tx.parts[0].appendChunk(dst, from, maxBytes)
}

func (p *Partition) appendChunk(dst []byte, from Bound, maxBytes int) (chunk []byte, next Bound, seq uint64) {
	start := len(dst)
	dst = append(dst, make([]byte, chunkHeadBytes)...)
	w := newHashWalk(p, from)
	at := from
	for {
		s := w.first()
		if s == nil {
			next = BoundEnd
			break
		}
		if next = s.at; !s.loaded() {
			if w.looked >= chunkSlotsMax {
				break
			}
			w.looked += s.load()
			continue
		}
		if s.at != at && len(dst)-start >= maxBytes {
			break
		}
		at = s.at
		dst = Value{rec: s.d.record(s.take()), p: p}.appendKey(dst, s.db)
	}
	head := append(dst[start:start], chunkVersion)
	head = binary.LittleEndian.AppendUint32(head, uint32(p.ID))
	for _, v := range []uint64{uint64(from), uint64(next), p.seq, uint64(p.logMs)} {
		head = binary.LittleEndian.AppendUint64(head, v)
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli)), next, p.seq
}

// appendKey appends a key with its value as a chunk has it.
func (v Value) appendKey(dst []byte, db byte) []byte {
	dst = appendBytes(append(dst, db), v.rec.key())
	dst = binary.AppendUvarint(dst, uint64(v.rec.expireAt()))
	if v.rec.kind() != kindObject {
		return v.Dump(binary.AppendUvarint(dst, uint64(1+v.rec.valueLen)))
	}
	// Only the dump itself tells how long it is; its length is put before it afterwards.
	dst = append(dst, make([]byte, wideUvarintBytes)...)
	at := len(dst)
	dst = v.Dump(dst)
	putWideUvarint(dst[at-wideUvarintBytes:at], uint64(len(dst)-at))
	return dst
}

// wideUvarintBytes is the size of a varint that has room for any length, up to 2^42.
const wideUvarintBytes = 6

// putWideUvarint fills out with a varint that is longer than it need be.
func putWideUvarint(out []byte, v uint64) {
	for i := range out {
		out[i] = byte(v) | 0x80
		v >>= 7
	}
	out[len(out)-1] &^= 0x80
}

// hashWalk passes the keys of all databases in steps of their hashes.
type hashWalk struct {
	stretches []stretch
	looked    int // index slots
}

// stretch is a walk's place in one database. A segment of the index is sorted by the low bits of the hash, and one database's
// segments are wider than another's; so a segment's keys are hashed anew and sorted when the walk comes to it.
type stretch struct {
	d    *dict
	db   byte
	at   Bound    // where the next key is, or where the next segment begins
	end  Bound    // of the loaded segment
	keys []hashed // of the loaded segment, those that are not passed yet
	room []hashed // where they are kept
}

type hashed struct{ h, off uint64 }

func newHashWalk(p *Partition, from Bound) (w hashWalk) {
	for db, d := range p.dbs {
		if d != nil {
			w.stretches = append(w.stretches, stretch{d: d, db: byte(db), at: from})
		}
	}
	return w
}

// first is the stretch that comes next; where several do, one that is not loaded, since its keys may be of the same step.
// nil: all have ended.
func (w *hashWalk) first() (first *stretch) {
	for i := range w.stretches {
		s := &w.stretches[i]
		if s.at != BoundEnd && (first == nil || s.at < first.at || s.at == first.at && !s.loaded()) {
			first = s
		}
	}
	return first
}

func (s *stretch) loaded() bool { return len(s.keys) > 0 }

// load reads the segment at the stretch's place and returns how many slots it has.
func (s *stretch) load() (slots int) {
	seg := &s.d.segments[s.d.segmentOf(uint64(s.at))]
	width := Bound(1) << (64 - seg.bits) // 0 where the segment is the only one
	if s.end = s.at&^(width-1) + width; s.end == 0 {
		s.end = BoundEnd
	}
	s.room = s.room[:0]
	mem := s.d.slots(seg)
	for i := range seg.size() {
		w := slotAt(mem, i)
		if w == 0 {
			continue
		}
		r := s.d.record(slotOff(w))
		if h := s.d.hash(r.key()); boundOf(h) >= s.at {
			s.room = append(s.room, hashed{h, slotOff(w)})
		}
	}
	slices.SortFunc(s.room, func(a, b hashed) int { return cmp.Compare(a.h, b.h) })
	s.keys = s.room
	s.settle()
	return seg.size()
}

// take passes the next key and returns where its record is.
func (s *stretch) take() (off uint64) {
	off = s.keys[0].off
	s.keys = s.keys[1:]
	s.settle()
	return off
}

func (s *stretch) settle() {
	s.at = s.end
	if s.loaded() {
		s.at = boundOf(s.keys[0].h)
	}
}

// chunkHead is what a chunk says about itself.
type chunkHead struct {
	from, to Bound
	seq      uint64
	timeMs   int64
}

// LoadChunk puts the keys of a chunk into a partition that is being filled. The first one of a walk must find it empty; the
// others must find it where the chunk was made: at its sequence number, with everything applied that is behind the walk, and
// nothing ahead. After the last one the copy is whole and goes on with Apply. After an error, which is an ErrBatch, some keys
// may have been put: such a copy is of no more use before ResetTo.
func (p *Partition) LoadChunk(chunk []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	head, keys, err := p.openChunk(chunk)
	if err != nil {
		return err
	}
	p.now = head.timeMs
	for r := (effectReader{b: keys}); len(r.b) > 0; {
		if err := p.loadKey(&r, head); err != nil {
			return err
		}
	}
	p.seq, p.settled, p.logMs = head.seq, 0, max(p.logMs, head.timeMs)
	if p.buckets != nil {
		p.buckets.restOn(head.seq) // whoever sent it need not have committed what it shows
	}
	p.tidy(compactFloorBytes)
	return nil
}

// openChunk checks that a chunk is sound and is the next for this partition.
func (p *Partition) openChunk(chunk []byte) (head chunkHead, keys []byte, err error) {
	if len(chunk) < chunkHeadBytes+chunkSumBytes || chunk[0] != chunkVersion {
		return head, nil, fmt.Errorf("%w: chunk of an unknown version, or cut short", ErrBatch)
	}
	end := len(chunk) - chunkSumBytes
	if got, want := crc32.Checksum(chunk[:end], castagnoli), binary.LittleEndian.Uint32(chunk[end:]); got != want {
		return head, nil, fmt.Errorf("%w: chunk with checksum %08x, want %08x", ErrBatch, got, want)
	}
	if id := binary.LittleEndian.Uint32(chunk[1:]); int(id) != p.ID {
		return head, nil, fmt.Errorf("%w: chunk of partition %d, for partition %d", ErrBatch, id, p.ID)
	}
	r := effectReader{b: chunk[5:end]}
	head = chunkHead{from: Bound(r.fixed64()), to: Bound(r.fixed64()), seq: r.fixed64(), timeMs: int64(r.fixed64())}
	switch {
	case !head.from.valid() || !head.to.valid() || head.from >= head.to:
		return head, nil, fmt.Errorf("%w: chunk from %x to %x", ErrBatch, head.from, head.to)
	case head.from > 0 && head.seq != p.seq:
		return head, nil, fmt.Errorf("%w: chunk of sequence %d, for a copy at %d", ErrBatch, head.seq, p.seq)
	case head.from == 0 && !p.empty():
		return head, nil, fmt.Errorf("%w: a walk begins over a copy that is not empty", ErrBatch)
	}
	return head, r.b, nil
}

func (p *Partition) empty() bool {
	for _, d := range p.dbs {
		if d != nil && d.count > 0 {
			return false
		}
	}
	return true
}

func (p *Partition) loadKey(r *effectReader, head chunkHead) error {
	db, key, expireAt, dump := int(r.byte()), r.bytes(), r.int(), r.bytes()
	if r.bad || db >= Databases {
		return fmt.Errorf("%w: a chunk's key without database, expiry or value", ErrBatch)
	}
	h := p.store.seed.hash(key)
	switch {
	case boundOf(h) < head.from || !head.to.passed(h):
		return fmt.Errorf("%w: key %q is not within its chunk; are the seeds different?", ErrBatch, key)
	case p.store.PartitionOf(key) != p.ID:
		return fmt.Errorf("%w: key %q is not of partition %d", ErrBatch, key, p.ID)
	case p.find(db, h, key).off != 0:
		return fmt.Errorf("%w: key %q is there before its chunk", ErrBatch, key)
	case !validDump(dump) || !p.applyRestore(db, h, key, dump, expireAt):
		return fmt.Errorf("%w: key %q has a malformed value", ErrBatch, key)
	}
	return nil
}

// ResetTo empties the partition, as before a walk or where its data are given up. The next batch is seq+1.
func (p *Partition) ResetTo(seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loseTracked()
	for db := range p.dbs {
		p.noteWatchedDB(db, db)
		p.applyFlushDB(db)
	}
	p.seq, p.settled = seq, 0
	if p.buckets != nil {
		*p.buckets = buckets{}
	}
	p.tidy(0)
}
