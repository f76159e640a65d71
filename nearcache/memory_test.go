package nearcache

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
)

// TestMemory fills caches several times over and measures the heap: the budget is kept, and what statistics say is in use
// is in use, both within a tenth. And the budget is made use of. What ristretto's maps take jumps when they grow; it is
// counted from above, so it may be a fifth less.
func TestMemory(t *testing.T) {
	const budgetBytes = 8 << 20
	times := 5
	if invariants { // and the race detector, most likely, with which a store takes 15 us
		times = 2
	}
	for _, policy := range Policies {
		for _, c := range []struct {
			what      string
			valueSize func(*rand.Rand) int
		}{
			{"empty values", func(*rand.Rand) int { return 0 }},
			{"100 B", func(*rand.Rand) int { return 100 }},
			{"1 to 300 B", func(r *rand.Rand) int { return 1 + r.IntN(300) }},
			{"4000 B", func(*rand.Rand) int { return 4000 }},
			{"up to 100 kB", func(r *rand.Rand) int { return 1 << r.IntN(17) }},
		} {
			t.Run(fmt.Sprintf("%s/%s", policy, c.what), func(t *testing.T) {
				before := heapBytes()
				r := newRig(t, func(o *Options) { o.MemoryBytes, o.Policy = budgetBytes, policy })
				fill(r, times*budgetBytes, c.valueSize)
				r.Settle()
				used := heapBytes() - before
				said := r.Stats().Bytes
				t.Logf("%d items: %.2f of the budget is in use, statistics say %.2f", r.Stats().Items,
					float64(used)/budgetBytes, float64(said)/budgetBytes)
				if used > budgetBytes*110/100 {
					t.Errorf("%d bytes are in use, the budget is %d", used, budgetBytes)
				}
				least := said * 90 / 100
				if policy == PolicyRistretto {
					least = said * 80 / 100
				}
				if used > said*110/100 || used < least {
					t.Errorf("%d bytes are in use, statistics say %d", used, said)
				}
				if said > budgetBytes || said < budgetBytes*3/4 {
					t.Errorf("statistics say that %d bytes are in use, of %d", said, budgetBytes)
				}
				runtime.KeepAlive(r)
			})
		}
	}
}

// fill stores values until that many bytes were stored in all.
func fill(r *rig, bytes int, valueSize func(*rand.Rand) int) {
	random := rand.New(rand.NewPCG(1, 2))
	value := make([]byte, 1<<17)
	for i := 0; bytes > 0; i++ {
		k := NewKey(0, "key:"+strconv.Itoa(i))
		size := valueSize(random)
		r.Store(k, r.Snapshot(k, i%rigPartitions), value[:size], Never, 0)
		bytes -= entrySize(k, size)
		if random.IntN(2) == 0 {
			r.Get(k, 0)
		}
	}
}

func heapBytes() int64 {
	runtime.GC()
	runtime.GC() // what sync.Pools keep goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestGrowing: values that grow in place are within the budget too, and what cannot be used any more goes first.
func TestGrowing(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MemoryBytes = 2 << 20 })
	for size := 1; size < 64<<10; size *= 2 {
		for i := range 100 {
			r.read(NewKey(0, strconv.Itoa(i)), i%rigPartitions, string(make([]byte, size)))
			if s := r.Stats(); s.Bytes > 2<<20 {
				t.Fatalf("%d bytes are in use, of %d", s.Bytes, 2<<20)
			}
		}
		checkAccounts(t, r.store.(*windowLFU))
	}
}

func TestStaleGoFirst(t *testing.T) {
	r := newRig(t, func(o *Options) { o.ItemsMax = 1000 })
	name := func(i int) Key { return NewKey(0, "key:"+strconv.Itoa(i)) }
	for i := range 1000 {
		r.read(name(i), i%rigPartitions, "v")
		r.Get(name(i), 0)
	}
	r.InvalidateNode(1)
	for i := 1000; i < 1500; i++ { // as many as have become stale
		r.read(name(i), 0, "v")
	}
	lost := 0
	for i := range 1000 {
		if got := r.find(name(i), 0); i%2 == 0 && got != "v" {
			lost++
		}
	}
	if lost > 50 {
		t.Errorf("%d entries of 500 that could be used went, and there were 500 that could not", lost)
	}
}

// checkAccounts compares a shard's sums with what it holds, one by one.
func checkAccounts(t *testing.T, w *windowLFU) {
	t.Helper()
	for i := range w.shards {
		s := &w.shards[i]
		s.mu.Lock()
		indexed := map[*entry]bool{}
		for j := range s.index.table.Load().buckets {
			b := &s.index.table.Load().buckets[j]
			for slot := range b.entries {
				e := b.entries[slot].Load()
				if tagged := b.tags.Load()>>(8*slot)&0xff != 0; tagged != (e != nil) {
					t.Errorf("bucket %d, slot %d: tagged %v, entry %v", j, slot, tagged, e)
				}
				if e == nil {
					continue
				}
				k := Key{name: string(e.name()), view: string(e.bytes(int(e.nameBytes), int(e.viewBytes))), hash: e.hash, db: e.db}
				if s.index.find(&k) != e {
					t.Errorf("entry %s is in the index and is not found", k)
				}
				indexed[e] = true
			}
		}
		if len(indexed) != s.index.count {
			t.Errorf("the index counts %d entries and has %d", s.index.count, len(indexed))
		}
		for _, q := range []*queue{&s.mu.window, &s.mu.main} {
			bytes := int64(0)
			queued := map[*entry]bool{}
			for place := q.head; place != q.tail; place++ {
				e := *q.at(place)
				if e.place != place || e.inMain != (q == &s.mu.main) {
					t.Errorf("entry %s at place %d believes it is at %d, in main: %v", e.name(), place, e.place, e.inMain)
				}
				if !indexed[e] {
					t.Errorf("entry %s is queued and not in the index", e.name())
				}
				delete(indexed, e)
				queued[e] = true
				bytes += int64(e.blockBytes)
			}
			if bytes != q.bytes || len(queued) != q.len() {
				t.Errorf("a queue says %d entries of %d bytes, it has %d of %d", q.len(), q.bytes, len(queued), bytes)
			}
			for _, e := range q.ring {
				if e != nil && !queued[e] {
					t.Errorf("a queue keeps %s alive, and does not count it", e.name())
				}
			}
		}
		if len(indexed) > 0 {
			t.Errorf("%d entries are in the index and in no queue", len(indexed))
		}
		if s.overLocked() {
			t.Errorf("a shard uses %d bytes for %d entries; it may use %+v", s.bytesLocked(), s.entriesLocked(), s.budget)
		}
		s.mu.Unlock()
	}
}

// FuzzAccounts plays any sequence of stores, look-ups and invalidations on a small cache, and checks all sums as it goes.
func FuzzAccounts(f *testing.F) {
	random := rand.New(rand.NewPCG(6, 6))
	for range 8 {
		seed := make([]byte, 600)
		for i := range seed {
			seed[i] = byte(random.Uint32())
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, moves []byte) {
		r := newRig(t, func(o *Options) { o.MemoryBytes = MemoryBytesMin; o.ItemsMax = 200 })
		w := r.store.(*windowLFU)
		for now := Time(0); len(moves) >= 3; now++ {
			do, which, size := moves[0], moves[1], int(moves[2])
			moves = moves[3:]
			k := NewKey(int(do>>6), strconv.Itoa(int(which)))
			switch do % 8 {
			case 0, 1, 2, 3:
				value := make([]byte, size<<(do>>3&7))
				r.Store(k, r.Snapshot(k, int(which)%rigPartitions), value, now+Time(size), now)
			case 4, 5:
				r.Get(k, now)
			case 6:
				r.InvalidateKey(k)
			case 7:
				r.InvalidatePartition(int(which) % rigPartitions)
			}
			if now%16 == 0 {
				checkAccounts(t, w)
			}
		}
		checkAccounts(t, w)
		if s := r.Stats(); s.Bytes > MemoryBytesMin {
			t.Errorf("%d bytes are in use, of %d", s.Bytes, MemoryBytesMin)
		}
	})
}
