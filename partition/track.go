package partition

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Near caches: who holds copies of keys outside the store is told when they are out of date. A partition knows who has read
// which of its keys; it tells each of them once, of the next change, and forgets. Reading and registering are done under one
// lock, the partition's, and so are changing and telling:
//
//	reader                              writer
//	lock; read v1; Track; unlock
//	                                    lock; write v2; Invalidate(reader); unlock
//
// Whichever comes first, the reader either has v2, or is told. Changes are noted where WATCH's are, by emit: writes, deletes,
// expiry and eviction alike. Names of keys are told without their database, as Redis does.

// Tracker holds copies of what it has read. Its methods are called with partitions' locks held: they must not wait, and must
// not call the store. by is the Origin of the transaction that has made the change; nil where it was nobody's: expiry, eviction.
type Tracker interface {
	// Invalidate says that a key that was registered with Tx.Track has changed. It is not registered any more.
	Invalidate(partition int, key []byte, by Origin)
	// Broadcast says that a key has changed that begins with one of the prefixes of Tracking.Join.
	Broadcast(key []byte, by Origin)
	// InvalidateAll says that any key may have changed.
	InvalidateAll()
	// Lost says of one key that was registered, that what becomes of it will not be told here any more: another node leads its partition.
	Lost(partition int, key []byte)
	// LosePartition says the same of a partition as a whole, of which the tracker may have read keys or not. It comes behind Lost for each
	// key that is registered; of what only stripes or prefixes tell there is no other word.
	LosePartition(partition int)
}

// Origin is who makes changes, as trackers compare it with themselves: any value that == can compare.
type Origin = any

// Tracking is what a store knows of trackers. The zero value is ready.
type Tracking struct {
	keys, items atomic.Int64 // registered keys; pairs of a key and a tracker
	joined      atomic.Int64 // len(mu.trackers); for a look without the lock
	broadcast   atomic.Pointer[broadcast]
	stripes     stripes
	mu          struct {
		sync.Mutex
		trackers map[Tracker][]string // with their prefixes; none: told of what they register
	}
}

// broadcast finds the trackers that are told of a key by its prefixes. It never changes.
type broadcast struct {
	lengths  []int // of prefixes, ascending, each once
	byPrefix map[string][]Tracker
}

// Tracking is who is told of changes to the store's keys.
func (s *Store) Tracking() *Tracking { return &s.tracking }

// Join makes t one of the store's trackers; without it, it is told nothing but what is registered for it. With prefixes it is
// told of every change to a key that begins with one of them; the prefixes of an earlier call are replaced. It takes
// partitions' locks, one at a time.
func (s *Store) Join(t Tracker, prefixes []string) {
	if s.tracking.change(t, slices.Clone(prefixes), true) || len(prefixes) > 0 {
		s.renotice()
	}
}

// Leave undoes Join. Keys stay registered: t is told of their next change nevertheless.
func (s *Store) Leave(t Tracker) {
	if s.tracking.change(t, nil, false) {
		s.renotice()
	}
}

// renotice has every partition look anew whether anybody has prefixes. None is missed where two do this at a time: each looks at what
// there is when it has the partition's lock.
func (s *Store) renotice() {
	for _, p := range s.parts {
		p.mu.Lock()
		p.renotice()
		p.mu.Unlock()
	}
}

// change adds or takes away a tracker, and reports whether nobody has prefixes any more. The lock is not held over those of
// partitions, which are taken before it: see invalidateAll.
func (k *Tracking) change(t Tracker, prefixes []string, joins bool) (nobody bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	had := k.mu.trackers[t]
	if joins {
		if k.mu.trackers == nil {
			k.mu.trackers = map[Tracker][]string{}
		}
		k.mu.trackers[t] = prefixes
	} else {
		delete(k.mu.trackers, t)
		k.leaveStripesLocked(t)
	}
	k.joined.Store(int64(len(k.mu.trackers)))
	if len(had) == 0 && len(prefixes) == 0 {
		return false
	}
	b := newBroadcast(k.mu.trackers)
	k.broadcast.Store(b)
	return b == nil
}

// newBroadcast returns nil where nobody has prefixes.
func newBroadcast(trackers map[Tracker][]string) *broadcast {
	b := &broadcast{byPrefix: map[string][]Tracker{}}
	for t, prefixes := range trackers {
		for _, prefix := range prefixes {
			b.byPrefix[prefix] = append(b.byPrefix[prefix], t)
			if i, found := slices.BinarySearch(b.lengths, len(prefix)); !found {
				b.lengths = slices.Insert(b.lengths, i, len(prefix))
			}
		}
	}
	if len(b.lengths) == 0 {
		return nil
	}
	return b
}

// TrackingStats counts what is tracked.
type TrackingStats struct {
	Trackers int // that have joined
	Prefixes int // different ones
	Keys     int // registered
	Items    int // pairs of a key and a tracker
}

// Keys is how many keys are registered.
func (k *Tracking) Keys() int64 { return k.keys.Load() }

// Stats counts what is tracked.
func (k *Tracking) Stats() TrackingStats {
	s := TrackingStats{Trackers: int(k.joined.Load()), Keys: int(k.keys.Load()), Items: int(k.items.Load())}
	if b := k.broadcast.Load(); b != nil {
		s.Prefixes = len(b.byPrefix)
	}
	return s
}

// trackers are those who have read one key.
type trackers struct {
	few  []Tracker
	many map[Tracker]struct{} // in place of few, beyond trackersFew
}

// trackersFew is up to where looking through a list is as good as a map.
const trackersFew = 16

// add reports whether t is new.
func (ts *trackers) add(t Tracker) bool {
	if ts.many != nil {
		n := len(ts.many)
		ts.many[t] = struct{}{}
		return len(ts.many) > n
	}
	if slices.Contains(ts.few, t) {
		return false
	}
	ts.few = append(ts.few, t)
	if len(ts.few) > trackersFew {
		ts.many = make(map[Tracker]struct{}, len(ts.few))
		for _, t := range ts.few {
			ts.many[t] = struct{}{}
		}
		ts.few = nil
	}
	return true
}

func (ts *trackers) len() int { return len(ts.few) + len(ts.many) }

func (ts *trackers) each(f func(t Tracker)) {
	for _, t := range ts.few {
		f(t)
	}
	for t := range ts.many {
		f(t)
	}
}

// Track registers that t has read a key, whether it is there or not: t is told of its next change. The transaction must hold the
// key's partition from the reading on; its index is returned.
func (tx *Tx) Track(key []byte, t Tracker) (partition int) {
	p, _ := tx.locate(key)
	ts := p.tracked[string(key)]
	if ts == nil {
		if p.tracked == nil {
			p.tracked = map[string]*trackers{}
		}
		ts = &trackers{}
		p.tracked[string(key)] = ts
		p.noticed = true
		p.store.tracking.keys.Add(1)
	}
	if ts.add(t) {
		p.store.tracking.items.Add(1)
	}
	return p.ID
}

// renotice notes whether anybody wants to know what changes.
func (p *Partition) renotice() {
	k := &p.store.tracking
	p.striped = p.striped && k.stripes.sets.Load() != nil
	p.noticed = len(p.watched) > 0 || len(p.tracked) > 0 || len(p.loads) > 0 || p.striped || k.broadcast.Load() != nil
}

// note tells of a change to a key whoever wants to know.
func (p *Partition) note(db int, key []byte) {
	if len(p.watched) > 0 {
		p.noteWatched(db, key)
	}
	p.voidLoad(db, key)
	p.noteTracked(key)
}

// noteTracked tells of a key those who hold a copy.
func (p *Partition) noteTracked(key []byte) {
	if b := p.store.tracking.broadcast.Load(); b != nil {
		b.tell(key, p.origin)
	}
	if ts := p.untrack(key); ts != nil {
		ts.each(func(t Tracker) { t.Invalidate(p.ID, key, p.origin) })
	}
	if p.striped {
		p.store.tracking.tellStriped(p.ID, key, p.origin)
	}
}

func (b *broadcast) tell(key []byte, by Origin) {
	for _, n := range b.lengths {
		if n > len(key) {
			return
		}
		for _, t := range b.byPrefix[string(key[:n])] {
			t.Broadcast(key, by)
		}
	}
}

// untrack forgets who has read a key, and returns them; nil where nobody has.
func (p *Partition) untrack(key []byte) *trackers {
	ts := p.tracked[string(key)]
	if ts == nil {
		return nil
	}
	delete(p.tracked, string(key))
	p.store.tracking.keys.Add(-1)
	p.store.tracking.items.Add(-int64(ts.len()))
	if len(p.tracked) == 0 {
		p.tracked = nil
		p.renotice()
	}
	return ts
}

// invalidateAll tells every tracker that any key may have changed, and forgets what the transaction's partitions have registered: a
// database of theirs is emptied or replaced.
func (tx *Tx) invalidateAll() {
	k := &tx.store.tracking
	for _, p := range tx.parts {
		p.voidLoads()
		p.untrackAll(nil)
	}
	k.InvalidateAll()
}

// InvalidateAll tells every tracker that any key may have changed. What is registered stays so.
func (k *Tracking) InvalidateAll() {
	if k.joined.Load() == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.eachStriped(k.clearStripes)
	for t := range k.mu.trackers {
		t.InvalidateAll()
	}
}

// untrackAll forgets who has read which keys, and tells f of each, where there is one.
func (p *Partition) untrackAll(f func(t Tracker, key string)) {
	if len(p.tracked) == 0 {
		return
	}
	items := 0
	for key, ts := range p.tracked {
		items += ts.len()
		if f != nil {
			ts.each(func(t Tracker) { f(t, key) })
		}
	}
	p.store.tracking.keys.Add(-int64(len(p.tracked)))
	p.store.tracking.items.Add(-int64(items))
	p.tracked = nil
	p.renotice()
}

// LoseTracked tells those who hold copies of a partition's keys that they will not be told of further changes, since this node does
// not execute them any more. Tokens to load keys are void. The transaction must hold the partition.
func (tx *Tx) LoseTracked(partition int) {
	for _, p := range tx.parts {
		if p.ID == partition {
			p.loseTracked()
		}
	}
}

func (p *Partition) loseTracked() {
	p.voidLoads()
	p.untrackAll(func(t Tracker, key string) { t.Lost(p.ID, []byte(key)) })
	p.store.tracking.losePartition(p.ID)
}

// losePartition tells every tracker. Also who has no key registered there at present: it may count on the partition for what it once read.
func (k *Tracking) losePartition(p int) {
	if k.joined.Load() == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for t := range k.mu.trackers {
		t.LosePartition(p)
	}
}

// ShrinkTracked forgets registered keys, no matter which, as long as there are more than keysMax, at most effort of them; whoever has
// read them is told as if they had changed, or of their stripes from then on. It reports whether there are still too many. It takes
// locks one at a time; the caller must hold none.
func (s *Store) ShrinkTracked(keysMax int64, effort int, random func(n int) int) (over bool) {
	i, empty := random(len(s.parts)), 0
	for effort > 0 && empty < len(s.parts) && s.tracking.keys.Load() > keysMax {
		if s.parts[i].shrinkTracked() {
			effort--
			empty = 0
		} else {
			empty++
		}
		i = (i + 1) % len(s.parts)
	}
	return s.tracking.keys.Load() > keysMax
}

// shrinkTracked forgets one key; false where there is none.
func (p *Partition) shrinkTracked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key := range p.tracked { // begins somewhere else each time
		k := []byte(key)
		p.untrack(k).each(func(t Tracker) {
			if !p.addStripe(t, k) {
				t.Invalidate(p.ID, k, nil)
			}
		})
		return true
	}
	return false
}
