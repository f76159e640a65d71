package partition

import (
	"sync"
	"sync/atomic"
)

// Partition is one partition's data: a dict for each database, the large values those refer to, and the batch being
// built. Everything but ID, store and bare is guarded by mu; a Tx holds it from Begin to End.
type Partition struct {
	ID    int
	store *Store

	// bare: there is no database and no loading key, so nothing that time could do something to. Set by ExpireDue alone, with mu held, and
	// looked at there without.
	bare atomic.Bool

	mu      sync.Mutex
	dbs     [Databases]*dict // nil until a key is written
	objects []ownedObject    // large values, by the index that their record holds
	spare   []uint32         // free indexes of objects
	doomed  []releaser       // deleted by this transaction, released when it is sealed

	seq     uint64   // of the last batch sealed or applied
	logMs   int64    // log time, ms since 1970: the latest of any batch sealed or applied; never goes back
	passive bool     // a backup's or a learner's copy: nothing expires or is evicted by itself (R17)
	looked  uint64   // buckets of the keys that the transaction under way has looked at; whoever changes a key has
	buckets *buckets // nil where nobody asks Tx.Seen
	settled uint64   // the newest batch that was settled at once; the buckets know nothing of those
	effects []byte   // of the batch being built
	changed int      // effects in the batch being built
	lapsed  int      // of these, deletions of expired keys
	touched []*dict  // may have something to compact
	noticed bool     // somebody wants to know which keys change: see note
	watched map[watchKey]*watch
	striped bool                 // of keys that were tracked here only the stripes are known: see stripe.go
	tracked map[string]*trackers // who has read which keys, whatever their database
	loads   map[watchKey]loading // keys that somebody loads: see load.go
	// loadsDue: no load ends before; ms since 1970, 0 where there are none.
	loadsDue int64
	origin   Origin // the Origin of the transaction under way
	stats    Stats
	now      int64  // of the transaction under way, ms since 1970
	scratch  []byte // reused for copies within one call
}

// Seq is the sequence number of the last batch sealed or applied. It takes the partition's lock.
func (p *Partition) Seq() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seq
}

// LastTimeMs is the log time, in ms since 1970: the latest of any batch sealed or applied. No transaction has an earlier
// one, so that a primary whose clock is behind its predecessor's lets no expired key live again (R17). It takes the
// partition's lock.
func (p *Partition) LastTimeMs() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.logMs
}

// SetActive says whether this is the primary's copy, as it is to begin with. A backup's or a learner's is not active: its
// expired keys count as absent, but it deletes nothing by itself, since only the primary expires and evicts (R17).
func (p *Partition) SetActive(active bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passive = !active
}

// SetActive is Partition.SetActive for one of the partitions that the transaction holds.
func (tx *Tx) SetActive(partition int, active bool) {
	for _, p := range tx.parts {
		if p.ID == partition {
			p.passive = !active
		}
	}
}

// keepScratch keeps a buffer for reuse, unless it has grown beyond what is worth keeping.
func (p *Partition) keepScratch(b []byte) {
	if cap(b) <= effectsKeepBytes {
		p.scratch = b[:0]
	}
}

// object is a value too large for a record: it has memory of its own.
type object interface {
	typ() Type
	encoding() string
	// count is the number of elements; the length in bytes for a string.
	count() int
	// dump appends its elements as value.go's dump describes.
	dump(dst []byte) []byte
	// digest sums up its elements; their order counts only where it is part of the value.
	digest(seed Seed) uint64
	releaser
}

// releaser is memory to be freed.
type releaser interface {
	// bytes is what it occupies.
	bytes() int
	// index is the dict it is built on; nil where it has none.
	index() *dict
	// release may be called on any goroutine, after the last use.
	release()
}

// ownedObject is a place in the table of large values.
type ownedObject struct {
	object     // nil = free
	db     int // whose it is
}

// dict returns a database's dict for writing.
func (p *Partition) dict(db int) *dict {
	d := p.dbs[db]
	if d == nil {
		d = newDict(p.store.Space, p.store.seed)
		p.dbs[db] = d
		p.bare.Store(false)
	}
	p.touch(d)
	return d
}

// touch notes that d changes, so that it pays its share of compaction when the batch is sealed.
func (p *Partition) touch(d *dict) {
	if !d.dirty {
		d.dirty = true
		p.touched = append(p.touched, d)
	}
}

// find looks a key up in a database, whether expired or not.
func (p *Partition) find(db int, h uint64, key []byte) entry {
	if p.dbs[db] == nil {
		return entry{}
	}
	return p.dbs[db].find(h, key)
}

// put makes or overwrites a key; the caller then writes the returned record's value. A large value that the key had is
// deleted, unless the new one is an object too (then the caller has dealt with it).
func (p *Partition) put(db int, h uint64, key []byte, head byte, valueLen int, expireAt int64) record {
	d := p.dict(db)
	at := d.find(h, key)
	access := p.newAccess()
	if at.off != 0 {
		old := d.record(at.off)
		if old.kind() == kindObject && head&kindMask != kindObject {
			p.dropObject(objectIndex(old))
		}
		if p.store.Limits.LFU.Load() {
			access = old.access()
		}
	}
	r, _ := d.put(at, h, key, head, access, valueLen, expireAt)
	return r
}

// remove deletes a key that is there.
func (p *Partition) remove(db int, at entry) {
	d := p.dict(db)
	if r := d.record(at.off); r.kind() == kindObject {
		p.dropObject(objectIndex(r))
	}
	d.remove(at)
}

const objectIndexBytes = 4

func objectIndex(r record) uint32 {
	v := r.value()
	return uint32(v[0]) | uint32(v[1])<<8 | uint32(v[2])<<16 | uint32(v[3])<<24
}

// object returns the large value that a record of kindObject refers to.
func (p *Partition) object(r record) object { return p.objects[objectIndex(r)].object }

// putObject makes a key's value a large one, which must be new. An earlier value is deleted.
func (p *Partition) putObject(db int, h uint64, key []byte, o object, expireAt int64) {
	if at := p.find(db, h, key); at.off != 0 {
		if r := p.dbs[db].record(at.off); r.kind() == kindObject {
			p.dropObject(objectIndex(r))
		}
	}
	var i uint32
	if n := len(p.spare); n > 0 {
		i = p.spare[n-1]
		p.spare = p.spare[:n-1]
		p.objects[i] = ownedObject{o, db}
	} else {
		i = uint32(len(p.objects))
		p.objects = append(p.objects, ownedObject{o, db})
	}
	r := p.put(db, h, key, kindObject, objectIndexBytes, expireAt)
	v := r.value()
	v[0], v[1], v[2], v[3] = byte(i), byte(i>>8), byte(i>>16), byte(i>>24)
}

// dropObject takes a large value out of the table; its memory is released when the batch is sealed, so that what was
// read of it stays readable until then.
func (p *Partition) dropObject(i uint32) {
	o := p.objects[i].object
	if d := o.index(); d != nil {
		d.dropped = true
	}
	p.doomed = append(p.doomed, o)
	p.objects[i] = ownedObject{}
	p.spare = append(p.spare, i)
}

// compactFloorBytes is what every write may move in compaction at least; it moves twice its own size beyond that.
const compactFloorBytes = 1 << 10

// seal ends the batch under construction, if there is one, and hands it to the sink. It also pays for compaction and
// lets go of what the transaction deleted. now is not before the log time. seen is the batch that a reply has to wait for,
// 0 = none, or nobody asks.
func (p *Partition) seal(now int64, group uint64, groupSize int) (seen uint64) {
	settled := false
	if p.changed > 0 {
		p.seq++
		p.logMs = now
		p.stats.Effects += int64(p.changed)
		if p.store.sink != nil {
			settled = p.store.sink(p, Batch{
				Partition: p.ID, Seq: p.seq, TimeMs: now, Group: group, GroupSize: groupSize,
				Count: p.changed, Effects: p.effects,
			})
		}
	}
	switch {
	case settled:
		p.settled = p.seq
	case p.buckets != nil && p.settled < p.seq:
		seen = p.buckets.seal(p.looked, p.seq, p.changed > 0)
	}
	p.tidy(compactFloorBytes + 2*len(p.effects))
	if cap(p.effects) > effectsKeepBytes {
		p.effects = nil
	}
	p.effects, p.changed, p.lapsed, p.looked = p.effects[:0], 0, 0, 0
	return seen
}

// effectsKeepBytes: a batch buffer that grew beyond is not kept.
const effectsKeepBytes = 64 << 10

// tidy compacts what was touched, up to budget bytes a dict, and releases what was deleted.
func (p *Partition) tidy(budget int) {
	rest := p.touched[:0]
	for _, d := range p.touched {
		if !d.dropped && d.compact(budget) {
			rest = append(rest, d) // stays dirty
		} else {
			d.dirty = false
		}
	}
	clear(p.touched[len(rest):])
	p.touched = rest
	for i, o := range p.doomed {
		p.doomed[i] = nil
		p.store.doom(o)
	}
	p.doomed = p.doomed[:0]
}
