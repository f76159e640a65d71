package nearcache

import (
	"sync"
	"unsafe"
)

// windowLFU is the default Store: W-TinyLFU with two clocks instead of LRU lists, so that a hit moves nothing.
//
// New entries come into the window, a queue of a tenth of the room, which gives each a time to be asked for again. The oldest
// of the window must then be worth more than the one that main, a larger queue, would part with first: it was asked for
// more often, as far as is known. An entry counts that for itself; what is not held is remembered by a sketch. Counts are
// halved every now and then.
//
//	put -> window --oldest--> asked for more often than main's oldest? --yes--> main, and its oldest goes out
//	                                                                   --no---> out
//
// A look-up writes one bit, mark, and that only if it is not set. An entry found marked when its turn comes goes back to
// the young end of its queue with the mark taken off. In main that counts as being asked for once more. In the window it
// does not: what is asked for again at once is mostly one use of it, in pieces.
//
// Tried on the traces of make bench-hits: LRU lists in place of clocks (P3 and scarab-recs@25000 worse by two points or more,
// scarab-recs@1000 better by one); marks that count up to 3 or 7 (within two points); ghost queues, as in 2Q and S3-FIFO,
// in place of the sketch (P3 better by two points; loops such as gli, where the newest must be refused, worse by twelve).
// Not tried: a buffer of look-ups that counts them all, as Caffeine and ristretto have; each hit would write to it.
type windowLFU struct {
	shards []shard
	usable func(*entry, Time) bool // whether an entry might still be used; others go first
}

type shard struct {
	index  index
	budget budget

	mu struct {
		sync.Mutex
		window, main queue  // every entry of the index is in one of them
		outside      sketch // counts of keys that are not held
		asked        int    // since counts were halved, and half of those before; < sampleShare * entries
		period       uint32 // how often counts were halved
		evictions    int64
	}
}

const (
	shardBytes = int64(unsafe.Sizeof(shard{}))

	// sampleShare: counts are halved when there were that many requests for each entry held, Caffeine's choice.
	sampleShare   = 10
	sampleEntries = 64 // fewer entries are taken for so many

	// No put looks at more marked entries than that, or it would go round a whole queue when all are in use.
	windowChancesMax = 8
	mainChancesMax   = 16
)

func newWindowLFU(b budget, usable func(*entry, Time) bool) *windowLFU {
	w := &windowLFU{make([]shard, b.shards()), usable}
	for i := range w.shards {
		s := &w.shards[i]
		s.budget = b.of(i, len(w.shards))
		s.index.init()
		s.mu.outside.init()
	}
	return w
}

// shard is the shard of a hash. It goes by other bits than the index within.
func (w *windowLFU) shard(hash uint64) *shard { return &w.shards[hash>>32&uint64(len(w.shards)-1)] }

func (w *windowLFU) find(k Key) *entry {
	e := w.shard(k.hash).index.find(&k)
	if e != nil && e.mark.Load() == 0 {
		e.mark.Store(1)
	}
	return e
}

func (w *windowLFU) put(k Key, e *entry, now Time) bool {
	s := w.shard(e.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, at := s.index.locate(&k); old != nil {
		s.replaceLocked(old, at, e)
	} else if !s.addLocked(e) {
		return false
	}
	for s.overLocked() {
		if !s.evictLocked(w.usable, now) {
			break
		}
	}
	return true
}

func (s *shard) addLocked(e *entry) bool {
	if !s.index.insert(e) {
		return false
	}
	e.period = s.mu.period
	e.count = uint8(min(s.mu.outside.count(e.hash)+1, countMax))
	s.mu.window.push(e)
	s.mu.outside.fit(s.entriesLocked())
	s.askedLocked()
	if !s.overLocked() && s.windowOverLocked() { // main fills up as the window does
		s.toMainLocked(s.mu.window.pop())
	}
	return true
}

// replaceLocked puts a newer entry of the same key where the old one is. It was asked for, so it is marked.
func (s *shard) replaceLocked(old *entry, at spot, e *entry) {
	e.inMain, e.count, e.period = old.inMain, old.count, old.period
	e.mark.Store(1)
	s.queueLocked(old).replace(old, e)
	s.index.replace(at, e)
}

func (s *shard) queueLocked(e *entry) *queue {
	if e.inMain {
		return &s.mu.main
	}
	return &s.mu.window
}

func (s *shard) entriesLocked() int { return s.mu.window.len() + s.mu.main.len() }

func (s *shard) bytesLocked() int64 {
	m := &s.mu
	entries := m.window.bytes + m.main.bytes
	return entries + m.window.ringBytes() + m.main.ringBytes() + s.index.bytes() + m.outside.bytes() + shardBytes
}

func (s *shard) overLocked() bool {
	return s.bytesLocked() > s.budget.bytes || s.budget.itemsMax > 0 && s.entriesLocked() > s.budget.itemsMax
}

// windowOverLocked reports whether the window has more than its share.
func (s *shard) windowOverLocked() bool {
	return s.mu.window.bytes*windowShare > s.mu.window.bytes+s.mu.main.bytes
}

// evictLocked brings the shard nearer to its budget: an entry is dropped, or the window, if it is far too large, gives one
// to main. It reports false where there is nothing to drop.
func (s *shard) evictLocked(usable func(*entry, Time) bool, now Time) bool {
	if !s.windowOverLocked() {
		if victim := s.victimLocked(usable, now); victim != nil {
			s.dropLocked(s.mu.main.pop())
			return true
		}
	}
	candidate := s.candidateLocked(usable, now)
	if candidate == nil {
		return false
	}
	if !usable(candidate, now) {
		s.dropLocked(candidate)
		return true
	}
	victim := s.victimLocked(usable, now)
	switch {
	case victim == nil || s.windowOverLocked(): // over its share even without the candidate
		s.toMainLocked(candidate)
	case !usable(victim, now) || s.countLocked(candidate) > s.countLocked(victim):
		s.dropLocked(s.mu.main.pop())
		s.toMainLocked(candidate)
	default:
		s.dropLocked(candidate)
	}
	return true
}

// candidateLocked takes out the entry that the window parts with: the oldest that was not asked for again, if one of
// the oldest few is that; or one that cannot be used any more. It answers nil where the window is empty.
func (s *shard) candidateLocked(usable func(*entry, Time) bool, now Time) *entry {
	window := &s.mu.window
	for range windowChancesMax {
		e := window.pop()
		if e == nil || e.mark.Load() == 0 || !usable(e, now) {
			return e
		}
		e.mark.Store(0)
		window.push(e)
	}
	e := window.pop()
	e.mark.Store(0)
	return e
}

// victimLocked makes the entry that main would part with its oldest, and answers it; nil where main is empty.
func (s *shard) victimLocked(usable func(*entry, Time) bool, now Time) *entry {
	main := &s.mu.main
	for range mainChancesMax {
		e := main.oldest()
		if e == nil || e.mark.Load() == 0 || !usable(e, now) {
			return e
		}
		e.mark.Store(0)
		e.count = uint8(min(s.countLocked(e)+1, countMax))
		main.push(main.pop())
		s.askedLocked()
	}
	return main.oldest()
}

func (s *shard) toMainLocked(e *entry) {
	e.inMain = true
	s.mu.main.push(e)
}

// dropLocked lets go of an entry that no queue has any more, and remembers how often it was asked for.
func (s *shard) dropLocked(e *entry) {
	s.index.remove(e)
	s.mu.outside.raise(e.hash, s.countLocked(e))
	s.mu.evictions++
}

// countLocked is how often an entry was asked for, halved as often as counts were since it was noted.
func (s *shard) countLocked(e *entry) int {
	if halvings := s.mu.period - e.period; halvings > 0 {
		e.count >>= min(halvings, 8)
		e.period = s.mu.period
	}
	return int(e.count)
}

// askedLocked counts a request, and halves all counts when there were enough.
func (s *shard) askedLocked() {
	s.mu.asked++
	if s.mu.asked < sampleShare*max(s.entriesLocked(), sampleEntries) {
		return
	}
	s.mu.asked /= 2
	s.mu.period++
	s.mu.outside.halve()
}

func (w *windowLFU) itemBytesMax() int { return w.shards[0].budget.itemBytesMax() }

func (w *windowLFU) usage() (items, bytes, evictions int64) {
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		items += int64(s.entriesLocked())
		bytes += s.bytesLocked()
		evictions += s.mu.evictions
		s.mu.Unlock()
	}
	return items, bytes, evictions
}

func (w *windowLFU) settle() {}
func (w *windowLFU) close()  {}
