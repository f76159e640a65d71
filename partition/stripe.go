package partition

import (
	"math/bits"
	"slices"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// What the table of keys has no room for. Where it lets a key go, those who have read it are told to drop it; but a Striper keeps it,
// and from then on its stripe counts as read as a whole: the tracker is told of every change to any key of that stripe. That is more
// than it holds, never less. A bit is cleared only when the tracker is told to drop everything, or leaves.

// Striper is a tracker that may be told of keys that it does not hold.
type Striper interface {
	Tracker
	// Stripes tells whether it wants to be.
	Stripes() bool
}

const (
	// stripeCount is how many stripes keys fall into, by their hash. A tracker has a bit for each: 2 KiB.
	stripeCount = 1 << 14
	// stripesMax: a tracker with more is told to drop everything: it would hear of nearly every change.
	stripesMax = stripeCount / 2
)

// stripeOf is unkeyed, so that it means the same everywhere.
func stripeOf(key []byte) int { return int(xxhash.Sum64(key) % stripeCount) }

// stripeSet is the stripes of one tracker.
type stripeSet struct {
	t    Striper
	bits [stripeCount / 64]atomic.Uint64
	n    atomic.Int64 // bits that are set
}

// stripes are those of a store's trackers.
type stripes struct {
	sets atomic.Pointer[[]*stripeSet] // nil: nobody has any. Replaced, never changed; under Tracking.mu
	refs [stripeCount]atomic.Int32    // how many sets have each
}

// addStripe has a tracker told of a key's stripe; false where it does not want that. The partition's lock is held.
func (p *Partition) addStripe(t Tracker, key []byte) bool {
	s, ok := t.(Striper)
	if !ok || !s.Stripes() {
		return false
	}
	k := &p.store.tracking
	set := k.stripesOf(s)
	if set == nil {
		return false
	}
	stripe := stripeOf(key)
	bit := uint64(1) << (stripe % 64)
	if set.bits[stripe/64].Or(bit)&bit == 0 {
		k.stripes.refs[stripe].Add(1)
		set.n.Add(1)
	}
	p.striped, p.noticed = true, true
	if set.n.Load() > stripesMax {
		k.clearStripes(set)
		s.InvalidateAll()
	}
	return true
}

// stripesOf is a tracker's set, made where it has none; nil where it has not joined.
func (k *Tracking) stripesOf(s Striper) *stripeSet {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, joined := k.mu.trackers[s]; !joined {
		return nil
	}
	var sets []*stripeSet
	if list := k.stripes.sets.Load(); list != nil {
		sets = *list
	}
	if i := slices.IndexFunc(sets, func(set *stripeSet) bool { return set.t == s }); i >= 0 {
		return sets[i]
	}
	set := &stripeSet{t: s}
	sets = append(slices.Clone(sets), set)
	k.stripes.sets.Store(&sets)
	return set
}

// clearStripes forgets what a tracker has read. Whoever calls it tells the tracker to drop everything, afterwards: a change that is made
// in between is covered by that.
func (k *Tracking) clearStripes(set *stripeSet) {
	for i := range set.bits {
		old := set.bits[i].Swap(0)
		for b := old; b != 0; b &= b - 1 {
			k.stripes.refs[64*i+bits.TrailingZeros64(b)].Add(-1)
		}
		set.n.Add(-int64(bits.OnesCount64(old)))
	}
}

// eachStriped calls f with all sets.
func (k *Tracking) eachStriped(f func(set *stripeSet)) {
	if list := k.stripes.sets.Load(); list != nil {
		for _, set := range *list {
			f(set)
		}
	}
}

// leaveStripesLocked forgets the set of a tracker that leaves. k.mu is held.
func (k *Tracking) leaveStripesLocked(t Tracker) {
	list := k.stripes.sets.Load()
	if list == nil {
		return
	}
	left := slices.Clone(*list)
	left = slices.DeleteFunc(left, func(set *stripeSet) bool {
		gone := Tracker(set.t) == t
		if gone {
			k.clearStripes(set)
		}
		return gone
	})
	if len(left) == 0 {
		k.stripes.sets.Store(nil)
		return
	}
	k.stripes.sets.Store(&left)
}

// tellStriped tells of a change those who may have read the key's stripe.
func (k *Tracking) tellStriped(partition int, key []byte, by Origin) {
	stripe := stripeOf(key)
	if k.stripes.refs[stripe].Load() == 0 {
		return
	}
	k.eachStriped(func(set *stripeSet) {
		if set.bits[stripe/64].Load()&(1<<(stripe%64)) != 0 {
			set.t.Invalidate(partition, key, by)
		}
	})
}
