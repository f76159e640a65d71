package partition

import "math/rand/v2"

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
	p     *Partition
	db    int
	key   []byte
	score uint64 // the higher, the better to evict
}

// evictPartitions is how many partitions lend samples to one eviction.
const evictPartitions = 2

// Evict deletes one key by policy, the worst of a sample, and reports whether it found one. samples is how many keys it
// looks at in each of two partitions. It takes locks one at a time; the caller must hold none.
func (s *Store) Evict(policy Policy, samples int, now int64) bool {
	if policy == NoEviction {
		return false
	}
	var best victim
	found := 0
	start := rand.IntN(len(s.parts))
	for i := 0; i < len(s.parts) && found < evictPartitions; i++ {
		// A stride that is odd visits all of a power of two, and does not favour neighbours of empty partitions.
		p := s.parts[(start+i*0x9E3779B1)&(len(s.parts)-1)]
		if p.sample(policy, samples, now, &best) {
			found++
		}
	}
	if found == 0 {
		return false
	}
	p := best.p
	p.mu.Lock()
	defer p.mu.Unlock()
	now = max(now, p.logMs)
	p.now = now
	h := s.seed.hash(best.key)
	at := p.find(best.db, h, best.key)
	if at.off == 0 || p.passive {
		return true // somebody else has deleted it, or is to from now on: that is as good
	}
	p.looked |= bucketBit(h)
	p.emit(opDel, best.db, best.key)
	p.remove(best.db, at)
	p.stats.Evicted++
	p.seal(now, 0, 0)
	return true
}

// sample looks at some keys of a partition and keeps the worst so far in best. A partition that is not active has none to
// evict (R17).
func (p *Partition) sample(policy Policy, samples int, now int64, best *victim) (found bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.passive {
		return false
	}
	for db, d := range p.dbs {
		if d == nil || d.count == 0 || policy.volatile() && d.expiring == 0 {
			continue
		}
		for range samples {
			off, ok := d.sampleOne(policy.volatile())
			if !ok {
				continue
			}
			r := d.record(off)
			score := p.evictScore(policy, r, now)
			if !found && best.p == nil || score > best.score {
				*best = victim{p: p, db: db, key: append(best.key[:0], r.key()...), score: score}
			}
			found = true
		}
	}
	return found
}

// sampleOne returns a random record, of those with an expiry if so wanted.
func (d *dict) sampleOne(volatile bool) (off uint64, ok bool) {
	if !volatile {
		return d.random(rand.Uint64), true
	}
	for range 64 {
		s := &d.segments[d.segmentOf(rand.Uint64())]
		if s.minExpire == 0 {
			continue
		}
		slots, size := d.slots(s), s.size()
		start := rand.IntN(size)
		for i := range size {
			if w := slotAt(slots, (start+i)%size); w&expirySlot != 0 {
				return slotOff(w), true
			}
		}
	}
	return 0, false
}

func (p *Partition) evictScore(policy Policy, r record, now int64) uint64 {
	switch policy {
	case AllKeysLRU, VolatileLRU:
		return uint64((lruSecond(now) - r.access()) & accessMask)
	case AllKeysLFU, VolatileLFU:
		return uint64(255 - lfuDecayed(r.access(), now, p.store.Limits.LFUDecayMin.Load()))
	case VolatileTTL:
		return uint64(1<<62 - r.expireAt())
	default:
		return 0
	}
}
