package partition

import (
	"math"
	"math/rand/v2"
)

// Policy says what maxmemory-policy does when memory is full. Names as in Redis.
type Policy int32

const (
	NoEviction Policy = iota
	AllKeysLRU
	AllKeysLFU
	AllKeysRandom
	VolatileLRU
	VolatileLFU
	VolatileRandom
	VolatileTTL
)

// PolicyNames are the values of maxmemory-policy.
var PolicyNames = [...]string{
	NoEviction: "noeviction", AllKeysLRU: "allkeys-lru", AllKeysLFU: "allkeys-lfu", AllKeysRandom: "allkeys-random",
	VolatileLRU: "volatile-lru", VolatileLFU: "volatile-lfu", VolatileRandom: "volatile-random", VolatileTTL: "volatile-ttl",
}

func (p Policy) volatile() bool { return p >= VolatileLRU }

// LFU tells whether the policy needs accesses counted.
func (p Policy) LFU() bool { return p == AllKeysLFU || p == VolatileLFU }

// victim is a key that might be evicted.
type victim struct {
	p     *Partition // nil: none was found
	db    int
	key   []byte
	score uint64 // the higher, the better to evict
}

// evictPartitions is how many partitions lend samples to one eviction.
const evictPartitions = 2

// Evict deletes one key by policy, the worst of a sample, and reports whether it found one: it does wherever there is one.
// samples is how many keys it looks at in each of two partitions. It takes locks one at a time; the caller must hold none.
func (s *Store) Evict(policy Policy, samples int, now int64) bool {
	if policy == NoEviction {
		return false
	}
	v := s.chooseVictim(policy, samples, now)
	if v.p == nil {
		return false
	}
	v.p.evict(policy, v, now)
	return true
}

// chooseVictim looks at partitions from a random one on, until it has samples of enough of them or has seen all.
func (s *Store) chooseVictim(policy Policy, samples int, now int64) (best victim) {
	found := 0
	start := rand.IntN(len(s.parts))
	for i := 0; i < len(s.parts) && found < evictPartitions; i++ {
		// A stride that is odd visits all of a power of two, and does not favour neighbours of empty partitions.
		p := s.parts[(start+i*0x9E3779B1)&(len(s.parts)-1)]
		if p.sample(policy, samples, now, &best) {
			found++
		}
	}
	return best
}

// evict deletes a key that was chosen when the partition's lock was not held yet. What has happened to the key since may be
// that it must stay; then whoever wants room tries again.
func (p *Partition) evict(policy Policy, v victim, now int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now = max(now, p.logMs)
	p.now = now
	h := p.store.seed.hash(v.key)
	at := p.find(v.db, h, v.key)
	if at.off == 0 || p.passive {
		return // somebody else has deleted it, or is to from now on: that is as good
	}
	if policy.volatile() && p.dbs[v.db].record(at.off).expireAt() == 0 {
		return // it was made persistent
	}
	p.looked |= bucketBit(h)
	p.emit(opDel, v.db, v.key)
	p.remove(v.db, at)
	p.stats.Evicted++
	p.seal(now, 0, 0)
}

// sample looks at some keys of a partition and keeps the worst so far in best. A partition that is not active has none to
// evict (R17).
func (p *Partition) sample(policy Policy, samples int, now int64, best *victim) (found bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.passive {
		return false
	}
	now = max(now, p.logMs)
	for db, d := range p.dbs {
		if d == nil || d.count == 0 || policy.volatile() && d.expiring == 0 {
			continue
		}
		d.sample(policy.volatile(), samples, func(r record) {
			found = true
			if score := p.evictScore(policy, r, now); best.p == nil || score > best.score {
				*best = victim{p: p, db: db, key: append(best.key[:0], r.key()...), score: score}
			}
		})
	}
	return found
}

// sample passes n random records to f, some of them perhaps more than once; of those with an expiry if so wanted, and then it
// may be fewer than n, but never none where the dict has one.
func (d *dict) sample(volatile bool, n int, f func(r record)) {
	if volatile {
		d.sampleVolatile(n, f)
		return
	}
	for range n {
		f(d.record(d.random(rand.Uint64)))
	}
}

// volatileMissesMax is how many segments without an expiry are met at random before the segments are walked: a walk passes
// over one in about a nanosecond, so that where few keys have an expiry it is the cheaper way to them.
const volatileMissesMax = 16

func (d *dict) sampleVolatile(n int, f func(r record)) {
	for misses := 0; n > 0 && misses < volatileMissesMax; {
		if off := d.volatileOf(&d.segments[d.segmentOf(rand.Uint64())]); off != 0 {
			f(d.record(off))
			n--
		} else {
			misses++
		}
	}
	start := rand.IntN(len(d.segments))
	for i := 0; n > 0 && i < len(d.segments); i++ {
		if off := d.volatileOf(&d.segments[(start+i)%len(d.segments)]); off != 0 {
			f(d.record(off))
			n--
		}
	}
}

// volatileOf returns the address of a random record of a segment that has an expiry; 0 = there is none. That is noted, so
// that the segment's slots are not read for nothing again.
func (d *dict) volatileOf(s *segment) (off uint64) {
	if s.minExpire == 0 {
		return 0
	}
	slots, size := d.slots(s), s.size()
	start := rand.IntN(size)
	for i := range size {
		if w := slotAt(slots, (start+i)%size); w&expirySlot != 0 {
			return slotOff(w)
		}
	}
	s.minExpire = 0
	return 0
}

// evictScore is how good a key is to evict. Among equals chance decides, or those of the first database would go first.
func (p *Partition) evictScore(policy Policy, r record, now int64) uint64 {
	switch policy {
	case AllKeysLRU, VolatileLRU:
		return uint64(idleSeconds(r.access(), now))<<32 | uint64(rand.Uint32())
	case AllKeysLFU, VolatileLFU:
		return uint64(255-lfuDecayed(r.access(), now, p.store.Limits.LFUDecayMin.Load()))<<32 | uint64(rand.Uint32())
	case VolatileTTL:
		return math.MaxUint64 - uint64(r.expireAt())
	default:
		return rand.Uint64()
	}
}
