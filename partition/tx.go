package partition

import (
	"errors"
	"math/rand/v2"
	"unsafe"
)

// ErrWrongType is for a key that holds another type than the command wants.
var ErrWrongType = errors.New("WRONGTYPE Operation against a key holding the wrong kind of value")

// Tx is one command's (or one MULTI's) view of the store, and the only way to change it. From Begin to End it holds the
// locks of its partitions. Each of its primitives emits one effect and applies it with the code a backup runs, so what a
// handler does is replicated without a word about it. Time and randomness come from here alone.
//
// Slices that reads return are views of the store. They stay valid to the end of the transaction, except that a change to
// the same key may overwrite them: a handler replies with the old value before it writes the new one.
//
// A Tx is reused; it belongs to one goroutine.
type Tx struct {
	DB int // the database whose keys are looked up
	// Now is in ms since 1970, and the same while the transaction holds its partitions: never before the log time of any of
	// them. Where it holds none beforehand, it may go up from one call of Each or With to the next.
	Now int64
	// CountHits makes Find count hits and misses: set for commands that read.
	CountHits bool
	// Guard, where set, decides on each partition that the transaction comes to without having held it beforehand.
	Guard Guard
	// Origin is on whose behalf the changes are made; nil: nobody's who wants to know.
	Origin Origin

	store *Store
	parts []*Partition // locked, ascending
	rng   *rand.Rand
	seen  []Seen // ascending by partition
	// overdue: an expired key was met where it cannot be deleted.
	overdue bool

	// The key located last: most commands look at one key several times.
	last located
	// Those that Prefetch has seen coming.
	ahead ahead
}

// Guard decides where a walk over a store may look.
type Guard interface {
	// Wants tells whether a walk is to look into a partition; where not, it passes over it.
	Wants(partition int) bool
	// Enter is asked before the first look, Leave told after the last one, both with the partition's lock held. Where Enter says
	// no the walk ends.
	Enter(partition int) bool
	Leave(partition int)
}

// NewTx returns a Tx for use with store.
func NewTx(store *Store) *Tx {
	return &Tx{store: store, rng: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
}

// Begin locks the partitions given by index: ascending, each once. now is in ms since 1970; where a partition's log is
// ahead of it, the transaction's time is the log's (R17).
func (tx *Tx) Begin(now int64, partitions ...int) {
	if invariants {
		checkOrder(partitions)
	}
	tx.parts = tx.parts[:0]
	for _, i := range partitions {
		p := tx.store.parts[i]
		p.mu.Lock()
		now = max(now, p.logMs)
		tx.parts = append(tx.parts, p)
	}
	tx.begun(now)
}

// BeginAll locks every partition.
func (tx *Tx) BeginAll(now int64) {
	tx.parts = append(tx.parts[:0], tx.store.parts...)
	for _, p := range tx.parts {
		p.mu.Lock()
		now = max(now, p.logMs)
	}
	tx.begun(now)
}

func (tx *Tx) begun(now int64) {
	tx.Now = now
	for _, p := range tx.parts {
		p.now = now
	}
	if tx.Origin != nil {
		tx.sign(tx.Origin)
	}
	tx.last.key = nil
	tx.seen, tx.overdue = tx.seen[:0], false
}

// sign notes on whose behalf the partitions change.
func (tx *Tx) sign(origin Origin) {
	for _, p := range tx.parts {
		p.origin = origin
	}
}

// End seals the batches, one for each partition that changed, and unlocks.
func (tx *Tx) End() {
	groupSize := 0
	for _, p := range tx.parts {
		if p.changed > 0 {
			groupSize++
		}
	}
	var group uint64
	if groupSize > 1 {
		group = tx.store.group.Add(1)
	} else {
		groupSize = 0
	}
	if tx.Origin != nil {
		tx.sign(nil)
	}
	for _, p := range tx.parts {
		tx.see(p, p.seal(tx.Now, group, groupSize))
		p.mu.Unlock()
	}
	tx.parts = tx.parts[:0]
}

// Changed is the number of effects emitted so far, deletions of expired keys not counted.
func (tx *Tx) Changed() (n int) {
	for _, p := range tx.parts {
		n += p.changed - p.lapsed
	}
	return n
}

// Overdue tells whether a key counted as absent because it has expired, without a deletion that a reply could wait for, since
// its partition is not active. Who must not answer on that says so instead (R17).
func (tx *Tx) Overdue() bool { return tx.overdue }

// Rand is the transaction's source of randomness.
func (tx *Tx) Rand() *rand.Rand { return tx.rng }

// locate finds the partition of key, which the transaction must hold, and the key's hash.
func (tx *Tx) locate(key []byte) (*Partition, uint64) {
	l := &tx.last
	if k := unsafe.SliceData(key); k == l.key && len(key) == l.len && k != nil {
		if invariants {
			tx.checkLocated(l.p, l.h, key)
		}
		return l.p, l.h
	}
	if known := tx.ahead.take(unsafe.SliceData(key), len(key)); known != nil {
		*l = *known
	} else {
		l.key, l.len = unsafe.SliceData(key), len(key)
		l.h = tx.store.seed.hash(key)
		switch len(tx.parts) {
		case 1:
			l.p = tx.parts[0]
		default:
			l.p = tx.store.parts[tx.store.PartitionOf(key)]
		}
	}
	l.p.looked |= bucketBit(l.h)
	if invariants {
		tx.checkLocated(l.p, l.h, key)
	}
	return l.p, l.h
}

// Each runs f over all partitions in order: those the transaction holds as they are, the others locked for the call
// alone. Without locks of its own a transaction may so walk a store without stopping it.
func (tx *Tx) Each(f func(p *Partition) bool) {
	for _, p := range tx.store.parts {
		if !tx.onWhole(p, f) {
			return
		}
	}
}

// With runs f with the partition of key held: for commands that hold none beforehand.
func (tx *Tx) With(key []byte, f func()) {
	tx.on(tx.store.parts[tx.store.PartitionOf(key)], func(*Partition) bool {
		f()
		return true
	})
}

// onWhole is on for an f that may look at any key.
func (tx *Tx) onWhole(p *Partition, f func(p *Partition) bool) bool {
	return tx.on(p, func(p *Partition) bool {
		p.looked = allBuckets
		return f(p)
	})
}

// on runs f on one partition, locked.
func (tx *Tx) on(p *Partition, f func(p *Partition) bool) bool {
	if len(tx.parts) == len(tx.store.parts) {
		return f(p)
	}
	for _, held := range tx.parts {
		if held == p {
			return f(p)
		}
	}
	if tx.Guard != nil && !tx.Guard.Wants(p.ID) {
		return true
	}
	if invariants {
		tx.checkAlone(p)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if tx.Guard != nil && !tx.Guard.Enter(p.ID) {
		return false
	}
	tx.Now = max(tx.Now, p.logMs)
	p.now = tx.Now
	tx.last.key = nil // whoever looks at the key once more is to be seen here too
	more := f(p)
	if tx.Guard != nil {
		tx.Guard.Leave(p.ID)
	}
	tx.see(p, p.seal(tx.Now, 0, 0))
	return more
}

// Find looks up a key to read or change its value: the access counts for eviction. An expired key is deleted, where the
// partition is active.
func (tx *Tx) Find(key []byte) (v Value, ok bool) {
	p, h := tx.locate(key)
	if v, ok = tx.live(p, h, key); ok {
		p.noteAccess(v.rec, tx.Now)
	}
	tx.countHit(p, ok)
	return v, ok
}

// Look is Find for EXISTS, TYPE, TTL and the like, which do not count for eviction.
func (tx *Tx) Look(key []byte) (v Value, ok bool) {
	p, h := tx.locate(key)
	v, ok = tx.live(p, h, key)
	tx.countHit(p, ok)
	return v, ok
}

func (tx *Tx) countHit(p *Partition, ok bool) {
	if tx.CountHits {
		if ok {
			p.stats.Hits++
		} else {
			p.stats.Misses++
		}
	}
}

// Peek is Look that does not count in the statistics either.
func (tx *Tx) Peek(key []byte) (Value, bool) {
	p, h := tx.locate(key)
	return tx.live(p, h, key)
}

// live finds a key that has not expired; one that has is deleted, where the partition is active.
func (tx *Tx) live(p *Partition, h uint64, key []byte) (v Value, ok bool) {
	_, v, ok = tx.liveAt(p, h, key)
	return v, ok
}

// liveAt is live that tells where the key's record is as well, until the next change; one that has expired and stays, too.
func (tx *Tx) liveAt(p *Partition, h uint64, key []byte) (at entry, v Value, ok bool) {
	at = p.find(tx.DB, h, key)
	if at.off == 0 {
		return at, v, false
	}
	r := p.dbs[tx.DB].record(at.off)
	if e := r.expireAt(); e != 0 && e <= tx.Now {
		tx.overdue = tx.overdue || p.passive
		p.expire(tx.DB, at, key)
		if !p.passive {
			at = entry{}
		}
		return at, v, false
	}
	return at, Value{rec: r, p: p}, true
}

// emit begins an effect on a key: its code, database and key; the caller appends its arguments.
func (p *Partition) emit(op byte, db int, key []byte) {
	p.emitUnwatched(op, db, key)
	if p.noticed {
		p.note(db, key)
	}
}

// emitUnwatched is emit for what WATCH shall not see.
func (p *Partition) emitUnwatched(op byte, db int, key []byte) {
	if invariants {
		p.checkChange(p.store.seed.hash(key))
	}
	p.changed++
	p.effects = append(p.effects, op, byte(db))
	p.effects = appendBytes(p.effects, key)
}
