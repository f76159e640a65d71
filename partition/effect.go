package partition

import (
	"encoding/binary"
	"fmt"
)

// The effects: what a batch is made of. Each touches one key and needs only that key (RENAME is opDel and opRestore),
// except opSwapDB and opFlushDB, which concern the partition. Encoding stands in the Tx primitive, decoding in Apply
// below; both call the same apply function, which stands in the type's file.
//
//	1 B code, 1 B database, key (varint length, bytes), arguments
const (
	opSet        = 1 + iota // kind byte, expiry varint, value
	opPatch                 // offset, bytes
	opDel                   // -
	opExpireAt              // ms since 1970, 0 = never
	opHSet                  // count of pairs, field, value ...
	opHDel                  // count, field ...
	opSAdd                  // largest intset, count, member ...
	opSRem                  // count, member ...
	opListSplice            // index, drop, count, element ...
	opZAdd                  // 1 B: 1 = large from now on; count, score 8 B, member ...
	opZRem                  // count, member ...
	opZCut                  // rank, count
	opRestore               // expiry, value as dumped
	opSwapDB                // other database; no key
	opFlushDB               // no key
)

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}

// appendMany appends a count and that many byte strings, per of which count as one.
func appendMany(dst []byte, per int, items [][]byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(items)/per))
	for _, b := range items {
		dst = appendBytes(dst, b)
	}
	return dst
}

// effectReader decodes effects. After a failure it returns zero values, and bad stays true.
type effectReader struct {
	b     []byte
	bad   bool
	items [][]byte // reused by many
	pairs []scored // reused by scored
}

func (r *effectReader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *effectReader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *effectReader) int() int64 { return int64(r.uint()) }

// bytes is a view of the batch.
func (r *effectReader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	b := r.b[:n:n]
	r.b = r.b[n:]
	return b
}

func (r *effectReader) fixed64() uint64 {
	if len(r.b) < 8 {
		r.bad, r.b = true, nil
		return 0
	}
	v := binary.LittleEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// many reads what appendMany wrote; per says how many byte strings count as one.
func (r *effectReader) many(per int) [][]byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	r.items = r.items[:0]
	for range int(n) * per {
		r.items = append(r.items, r.bytes())
	}
	return r.items
}

// Apply plays a batch from another copy of this partition. After an error, which is an ErrBatch, the effects before the
// one that failed have been played: such a copy is of no more use.
func (p *Partition) Apply(b Batch) error { return p.ApplyBehind(b, BoundEnd) }

// ApplyBehind is Apply for a copy that is being filled (R19): effects on keys that the walk has not passed, those at bound
// or ahead of it, are passed over, since the walk will bring these keys as they are by then. An effect on a whole database
// is an ErrRestartWalk.
func (p *Partition) ApplyBehind(b Batch, bound Bound) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.Partition != p.ID {
		return fmt.Errorf("%w: of partition %d, for partition %d", ErrBatch, b.Partition, p.ID)
	}
	if b.Seq != p.seq+1 {
		return fmt.Errorf("%w: sequence %d after %d", ErrBatch, b.Seq, p.seq)
	}
	p.now = b.TimeMs
	r := &effectReader{b: b.Effects}
	for range b.Count {
		if err := p.applyEffect(r, bound); err != nil {
			return err
		}
	}
	if len(r.b) > 0 {
		return fmt.Errorf("%w: %d bytes after the last effect", ErrBatch, len(r.b))
	}
	if p.buckets != nil {
		p.buckets.seal(p.looked, b.Seq, true)
	}
	p.looked = 0
	p.seq, p.logMs = b.Seq, max(p.logMs, b.TimeMs)
	p.tidy(compactFloorBytes + 2*len(b.Effects))
	return nil
}

func (p *Partition) applyEffect(r *effectReader, bound Bound) error {
	op, db, key := r.byte(), int(r.byte()), r.bytes()
	if r.bad || db >= Databases {
		return fmt.Errorf("%w: effect without code, database or key", ErrBatch)
	}
	h := p.store.seed.hash(key)
	if p.looked |= bucketBit(h); op == opSwapDB || op == opFlushDB {
		p.looked = allBuckets
	}
	var apply func() bool // false: impossible on this key
	switch op {
	case opSet:
		kind, expireAt, value := r.byte(), r.int(), r.bytes()
		apply = func() bool { return p.applySet(db, h, key, kind, value, expireAt) }
	case opPatch:
		offset, data := r.uint(), r.bytes()
		apply = func() bool { return p.applyPatch(db, h, key, int(offset), data) }
	case opDel:
		apply = func() bool { return p.applyDel(db, h, key) }
	case opExpireAt:
		at := r.int()
		apply = func() bool { return p.applyExpireAt(db, h, key, at) }
	case opSAdd:
		intsetMax := int(min(r.uint(), intsetEntriesMax))
		members := r.many(1)
		apply = func() bool { _, ok := p.applySAdd(db, h, key, intsetMax, members); return ok }
	case opSRem:
		members := r.many(1)
		apply = func() bool { _, ok := p.applySRem(db, h, key, members); return ok }
	case opHSet:
		pairs := r.many(2)
		apply = func() bool {
			if len(pairs) == 0 {
				return false
			}
			_, ok := p.applyHSet(db, h, key, pairs)
			return ok
		}
	case opHDel:
		fields := r.many(1)
		apply = func() bool { _, ok := p.applyHDel(db, h, key, fields); return ok }
	case opListSplice:
		index, drop, items := r.uint(), r.uint(), r.many(1)
		apply = func() bool { return p.applyListSplice(db, h, key, p.find(db, h, key), int(index), int(drop), items) }
	case opZAdd:
		large, pairs := r.byte(), r.scored()
		apply = func() bool { return p.applyZAdd(db, h, key, large == 1, pairs) }
	case opZRem:
		members := r.many(1)
		apply = func() bool { _, ok := p.applyZRem(db, h, key, members); return ok }
	case opZCut:
		rank, n := r.uint(), r.uint()
		apply = func() bool { return p.applyZCut(db, h, key, int(rank), int(n)) }
	case opRestore:
		expireAt, dump := r.int(), r.bytes()
		apply = func() bool { return validDump(dump) && p.applyRestore(db, h, key, dump, expireAt) }
	case opSwapDB:
		other := int(r.uint())
		apply = func() bool { return p.applySwapDB(db, other) }
	case opFlushDB:
		apply = func() bool { return p.applyFlushDB(db) }
	default:
		return fmt.Errorf("%w: unknown effect %d", ErrBatch, op)
	}
	if r.bad {
		return fmt.Errorf("%w: effect %d on %q is cut short", ErrBatch, op, key)
	}
	switch {
	case bound == BoundEnd: // the copy is whole
	case op == opSwapDB, op == opFlushDB:
		return ErrRestartWalk
	case !bound.passed(h):
		return nil
	}
	if !apply() {
		return fmt.Errorf("%w: effect %d does not fit the key %q", ErrBatch, op, key)
	}
	return nil
}
