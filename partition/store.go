package partition

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
)

// Databases is the number of databases SELECT can choose from.
const Databases = 16

// Limits are the settings the store reads while it runs; each may change at any time. Names follow Redis's.
type Limits struct {
	HashMaxEntries atomic.Int64 // fields of a packed hash
	HashMaxValue   atomic.Int64 // bytes of a packed hash's longest field or value
	ListMaxSize    atomic.Int64 // list-max-listpack-size: entries, or -1..-5 for 4..64 KiB
	SetMaxIntset   atomic.Int64
	ZsetMaxEntries atomic.Int64
	ZsetMaxValue   atomic.Int64
	LFU            atomic.Bool // access is counted (LFU), not timed (LRU)
	LFULogFactor   atomic.Int64
	LFUDecayMin    atomic.Int64 // minutes after which a counter loses one
}

// NewLimits returns Redis 7.0's defaults.
func NewLimits() *Limits {
	l := &Limits{}
	l.HashMaxEntries.Store(512)
	l.HashMaxValue.Store(64)
	l.ListMaxSize.Store(-2)
	l.SetMaxIntset.Store(512)
	l.ZsetMaxEntries.Store(128)
	l.ZsetMaxValue.Store(64)
	l.LFULogFactor.Store(10)
	l.LFUDecayMin.Store(1)
	return l
}

// Sink receives every sealed batch, under its partition's lock. The batch's bytes are the partition's: a sink copies
// what it keeps, and does no I/O. settled: the batch is committed already, so that no reply rests on it (Tx.Seen).
type Sink func(p *Partition, b Batch) (settled bool)

// Options make a Store.
type Options struct {
	Partitions int // a power of two, 1..Slots
	Seed       Seed
	Limits     *Limits // nil: NewLimits
	Sink       Sink    // nil: batches are sealed and dropped
	Track      bool    // Tx.Seen answers; for those who let replies wait for commits
	Space      *Space  // where the data lies; nil: a space of its own
}

// Store is all partitions of a node, and the memory they share.
type Store struct {
	Space    *Space
	Limits   *Limits
	seed     Seed
	sink     Sink
	parts    []*Partition
	shift    uint
	group    atomic.Uint64 // the last group id given to a transaction over several partitions
	tracking Tracking
	loading  atomic.Int64  // keys that are loaded with a token: see load.go
	reaper   chan doomed   // large values to be released off the loop
	released atomic.Int64  // by way of reaper
	stop     chan struct{} // closed by Close
}

// reaperQueueMax bounds the values waiting to be released; beyond it they are released at once.
const reaperQueueMax = 1024

// NewStore makes an empty store.
func NewStore(o Options) (*Store, error) {
	if o.Partitions < 1 || o.Partitions > Slots || o.Partitions&(o.Partitions-1) != 0 {
		return nil, fmt.Errorf("partitions must be a power of two from 1 to %d, not %d", Slots, o.Partitions)
	}
	if o.Limits == nil {
		o.Limits = NewLimits()
	}
	s := &Store{
		Space: o.Space, Limits: o.Limits, seed: o.Seed, sink: o.Sink,
		shift: slotShift(o.Partitions), reaper: make(chan doomed, reaperQueueMax),
		stop: make(chan struct{}),
	}
	if s.Space == nil {
		s.Space = NewSpace()
	}
	for id := range o.Partitions {
		p := &Partition{ID: id, store: s}
		if o.Track {
			p.buckets = &buckets{}
		}
		s.parts = append(s.parts, p)
	}
	go s.reap()
	go s.Space.keepAhead(s.stop)
	return s, nil
}

// RandomSeed is for a new grid.
func RandomSeed() Seed { return Seed{rand.Uint64(), rand.Uint64()} }

// Partitions is how many there are.
func (s *Store) Partitions() int { return len(s.parts) }

// PartitionOf is the index of the partition that holds key.
func (s *Store) PartitionOf(key []byte) int { return Slot(key) >> s.shift }

// Partition returns one by its index.
func (s *Store) Partition(i int) *Partition { return s.parts[i] }

// Close stops the store's goroutine. The memory stays mapped: transactions that are still under way may end.
func (s *Store) Close() { close(s.stop) }

// reap releases large values that were deleted, off the event loops.
func (s *Store) reap() {
	for {
		select {
		case o := <-s.reaper:
			s.release(o)
			s.released.Add(1)
		case <-s.stop:
			return
		}
	}
}

// doomed is a value in the reaper's queue, with the bytes that it counts for in Space.
type doomed struct {
	releaser releaser
	bytes    int64
}

// doom hands over a value to be released; where the queue is full it is released at once.
func (s *Store) doom(r releaser) {
	o := doomed{r, int64(r.bytes())}
	if d := r.index(); d != nil {
		o.bytes -= int64(d.arena.dead) // that counts as dead already
	}
	s.Space.releasing.Add(o.bytes)
	select {
	case s.reaper <- o:
	default:
		s.release(o)
	}
}

func (s *Store) release(o doomed) {
	o.releaser.release()
	s.Space.releasing.Add(-o.bytes)
}

// Releasing is how many deleted values wait for their memory to be released.
func (s *Store) Releasing() int { return len(s.reaper) }

// Released is how many deleted values had their memory released off the event loops, since the store was made.
func (s *Store) Released() int64 { return s.released.Load() }

// Stats are counters summed over a store's partitions.
type Stats struct {
	Hits, Misses     int64 // keys found and not found by reading commands
	Expired, Evicted int64 // keys removed because of their expiry, and to make room
	Effects          int64 // changes made
}

// Stats sums the partitions' counters.
func (tx *Tx) Stats() (sum Stats) {
	tx.Each(func(p *Partition) bool {
		sum.Hits += p.stats.Hits
		sum.Misses += p.stats.Misses
		sum.Expired += p.stats.Expired
		sum.Evicted += p.stats.Evicted
		sum.Effects += p.stats.Effects
		return true
	})
	return sum
}

// ResetStats sets all counters but Effects to zero.
func (tx *Tx) ResetStats() {
	tx.Each(func(p *Partition) bool {
		p.stats = Stats{Effects: p.stats.Effects}
		return true
	})
}
