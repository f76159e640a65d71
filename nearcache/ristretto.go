package nearcache

import (
	"errors"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/ristretto/v2"
)

// ristrettoStore is ristretto v2 behind an exact window.
//
// ristretto alone lacks the newest: an entry is seen only once its queue has been worked off, and may be turned away at once, as
// it was never asked for. The window, a tenth of the room, keeps the newest and shows them immediately; what leaves
// it is offered to ristretto, which samples a few entries and parts with the one it counted least often.
//
// Nothing is ever deleted from ristretto, so nothing waits for it: Del may block, Set drops what its queue has no room for.
// What it holds, and what waits in its queue, is counted here, by OnExit, as ristretto's own sum leaves out the queue.
type ristrettoStore struct {
	budget     budget // what entries may use: the structures are taken off
	fixedBytes int64
	main       *ristretto.Cache[uint64, *entry]

	// held is what ristretto has, in its map or in its queue.
	held struct{ items, bytes atomic.Int64 }
	gone atomic.Int64 // evictions

	index index // of the window
	mu    struct {
		sync.Mutex
		window queue
	}
}

const (
	// ristrettoItemBytes is what ristretto uses for an entry beside the entry: a place in each of two Go maps, of 56 and 16
	// bytes, in tables that are a quarter to seven eighths full. Measured are 150 to 210.
	ristrettoItemBytes = 200

	// ristrettoCounters is how many counters it gets for each entry expected, as its documentation advises.
	ristrettoCounters = 10
	// ristrettoQueue is how many entries wait in its queue at most; the queue's memory is there from the start.
	ristrettoQueue = 32 << 10
	// ristrettoQueueShare is how much of ristretto's bytes is left for entries in its queue.
	ristrettoQueueShare  = 20
	ristrettoBufferItems = 64
)

func newRistrettoStore(b budget) (*ristrettoStore, error) {
	items := b.itemsExpected
	if b.itemsMax > 0 {
		items = min(items, b.itemsMax)
	}
	counters := int64(max(items, 1) * ristrettoCounters)
	r := &ristrettoStore{budget: b, fixedBytes: ristrettoBytes(counters)}
	if r.fixedBytes > b.bytes/2 {
		return nil, fmt.Errorf("nearcache: ristretto's structures for %d items take %d bytes, more than half of the %d there are",
			items, r.fixedBytes, b.bytes)
	}
	if b.itemsMax == 1 {
		return nil, errors.New("nearcache: ristretto needs room for 2 items at least: one is the window")
	}
	r.budget.bytes -= r.fixedBytes
	r.index.init()

	// Cost is in bytes, or one for each entry where they are counted: ristretto knows one bound only.
	maxCost := r.heldBytesMax() - r.heldBytesMax()/ristrettoQueueShare
	if b.itemsMax > 0 {
		maxCost = int64(b.itemsMax - r.windowItemsMax())
	}
	var err error
	r.main, err = ristretto.NewCache(&ristretto.Config[uint64, *entry]{
		NumCounters:        counters,
		MaxCost:            maxCost,
		BufferItems:        ristrettoBufferItems,
		IgnoreInternalCost: true, // the cost has it
		KeyToHash:          func(hash uint64) (uint64, uint64) { return hash, 0 },
		OnEvict:            func(*ristretto.Item[*entry]) { r.gone.Add(1) },
		OnReject:           func(*ristretto.Item[*entry]) { r.gone.Add(1) },
		OnExit:             func(e *entry) { r.hold(e, -1) },
	})
	return r, err
}

// ristrettoBytes is what ristretto's structures take: four rows of half a byte a counter, a Bloom filter of 9.6 bits a counter,
// both rounded up to a power of two, and the queue.
func ristrettoBytes(counters int64) int64 {
	return 2*powerOfTwo(counters) + powerOfTwo(counters*96/10)/8 + ristrettoQueue*8
}

func powerOfTwo(n int64) int64 { return 1 << bits.Len64(uint64(n-1)) }

// hold counts an entry that ristretto gets (by is 1) or has let go of (-1). Where it had none to let go of, e is nil.
func (r *ristrettoStore) hold(e *entry, by int64) {
	if e != nil {
		r.held.items.Add(by)
		r.held.bytes.Add(by * (int64(e.blockBytes) + ristrettoItemBytes))
	}
}

// find looks into the window first: what is there is newer. ristretto keeps its look-ups in buffers of 64, so one in 64 look-ups
// beyond the window allocates.
func (r *ristrettoStore) find(k Key) *entry {
	if e := r.index.find(&k); e != nil {
		if e.mark.Load() == 0 {
			e.mark.Store(1)
		}
		return e
	}
	if e, ok := r.main.Get(k.hash); ok && e != nil && e.is(&k) {
		return e
	}
	return nil
}

func (r *ristrettoStore) put(k Key, e *entry, _ Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, at := r.index.locate(&k); old != nil {
		e.mark.Store(1)
		r.mu.window.replace(old, e)
		r.index.replace(at, e)
	} else {
		if !r.index.insert(e) {
			return false
		}
		r.mu.window.push(e)
	}
	for chances := windowChancesMax; r.overLocked(); {
		oldest := r.mu.window.pop()
		if oldest == nil {
			break
		}
		if oldest.mark.Load() == 1 && chances > 0 {
			chances--
			oldest.mark.Store(0)
			r.mu.window.push(oldest)
			continue
		}
		r.index.remove(oldest)
		r.offer(oldest)
	}
	return true
}

// overLocked reports whether the window has more than its share.
func (r *ristrettoStore) overLocked() bool {
	if r.budget.itemsMax > 0 && r.mu.window.len() > r.windowItemsMax() {
		return true
	}
	return r.windowBytesLocked() > r.budget.bytes/windowShare
}

// windowItemsMax is how many entries the window may have where they are counted.
func (r *ristrettoStore) windowItemsMax() int { return max(1, r.budget.itemsMax/windowShare) }

// heldBytesMax is what ristretto may have.
func (r *ristrettoStore) heldBytesMax() int64 { return r.budget.bytes - r.budget.bytes/windowShare }

func (r *ristrettoStore) windowBytesLocked() int64 {
	return r.mu.window.bytes + r.mu.window.ringBytes() + r.index.bytes()
}

// offer gives an entry to ristretto, which may refuse it, now or later.
func (r *ristrettoStore) offer(e *entry) {
	cost := int64(e.blockBytes) + ristrettoItemBytes
	if r.held.bytes.Load()+cost > r.heldBytesMax() {
		r.gone.Add(1) // its queue is full of what it has not looked at
		return
	}
	if r.budget.itemsMax > 0 {
		cost = 1
	}
	r.hold(e, 1)
	if !r.main.Set(e.hash, e, cost) {
		r.hold(e, -1)
		r.gone.Add(1)
	}
}

func (r *ristrettoStore) itemBytesMax() int {
	return int(min(r.budget.bytes/windowShare/2, entrySizeMax))
}

func (r *ristrettoStore) usage() (items, bytes, evictions int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	items = int64(r.mu.window.len()) + r.held.items.Load()
	bytes = r.fixedBytes + r.windowBytesLocked() + r.held.bytes.Load()
	return items, bytes, r.gone.Load()
}

func (r *ristrettoStore) settle() { r.main.Wait() }
func (r *ristrettoStore) close()  { r.main.Close() }
