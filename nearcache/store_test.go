package nearcache

import (
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestShards(t *testing.T) {
	for _, c := range []struct {
		budget budget
		want   int
	}{
		{budget{1 << 20, 0, 1 << 12}, 1},
		{budget{64 << 20, 0, 1 << 18}, 16},
		{budget{64 << 20, 1000, 1000}, 1},
		{budget{1 << 30, 25_000, 25_000}, 2},
		{budget{1 << 30, 100_000, 100_000}, 8},
		{budget{1 << 40, 0, 1 << 32}, 256},
	} {
		got := c.budget.shards()
		if got != c.want {
			t.Errorf("%+v is divided into %d shards, want %d", c.budget, got, c.want)
		}
		bytes, items := int64(0), 0
		for i := range got {
			part := c.budget.of(i, got)
			bytes += part.bytes
			items += part.itemsMax
		}
		if items != c.budget.itemsMax || bytes > c.budget.bytes || bytes < c.budget.bytes-int64(got) {
			t.Errorf("%+v: the shards have %d bytes and %d items together", c.budget, bytes, items)
		}
	}
}

// TestItemsMax: no more entries than allowed, and not much fewer.
func TestItemsMax(t *testing.T) {
	for _, policy := range Policies {
		for _, most := range []int{2, 10, 1000, 20_001} {
			r := newRig(t, func(o *Options) { o.MemoryBytes = 64 << 20; o.ItemsMax = most; o.Policy = policy })
			for i := range 2 * most {
				r.read(NewKey(0, strconv.Itoa(i)), 0, "v")
				r.Settle()
			}
			if got := r.Stats().Items; got > int64(most) || got < int64(most)*9/10 {
				t.Errorf("%s: %d items are held, %d are allowed", policy, got, most)
			}
		}
	}
}

// TestHot: what is asked for again and again stays, whatever comes by once.
func TestHot(t *testing.T) {
	r := newRig(t, func(o *Options) { o.ItemsMax = 1000 })
	hits := 0
	for i := range 20_000 {
		r.read(NewKey(0, "once:"+strconv.Itoa(i)), 0, "v")
		hot := NewKey(0, "hot:"+strconv.Itoa(i%500))
		if _, ok := r.Get(hot, 0); ok {
			hits++
		} else {
			r.read(hot, 0, "v")
		}
	}
	if hits < 19_000 {
		t.Errorf("%d hits of 20000 look-ups of 500 keys, with room for 1000", hits)
	}
}

// TestIndex compares the index with a map, through growth and removals, with hashes that collide now and then.
func TestIndex(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	var x index
	x.init()
	held := map[uint64]*entry{}
	for i := range 200_000 {
		name := random.Uint64N(3000)
		k := Key{name: strconv.FormatUint(name, 10), hash: mix(name) &^ 0x8} // half of the buckets
		e, at := x.locate(&k)
		if e != held[name] || x.find(&k) != e {
			t.Fatalf("step %d: key %s is found as %p and %p, want %p", i, k.name, e, x.find(&k), held[name])
		}
		newer := newEntry(k, Snapshot{}, nil, Never)
		switch {
		case e == nil && x.insert(newer):
			held[name] = newer
		case e != nil && random.IntN(2) == 0:
			x.replace(at, newer)
			held[name] = newer
		case e != nil:
			x.remove(e)
			delete(held, name)
		}
		if x.count != len(held) {
			t.Fatalf("step %d: the index counts %d entries, want %d", i, x.count, len(held))
		}
	}
	if len(held) < 1000 {
		t.Errorf("%d entries at the end: the run was too tame", len(held))
	}
}

// TestIndexFlood: keys chosen to have equal hashes cost neither time nor memory.
func TestIndexFlood(t *testing.T) {
	var x index
	x.init()
	taken := 0
	for i := range 1000 {
		if x.insert(newEntry(Key{name: strconv.Itoa(i), hash: 42}, Snapshot{}, nil, Never)) {
			taken++
		}
	}
	if most := probesMax * bucketEntries; taken > most || x.count != taken {
		t.Errorf("%d entries of one hash were taken, want at most %d; the index counts %d", taken, most, x.count)
	}
	if x.bytes() > 64*bucketBytes {
		t.Errorf("the index has grown to %d bytes for %d entries", x.bytes(), taken)
	}
}

// TestIndexConcurrent: look-ups beside changes and growth find their own key or nothing.
func TestIndexConcurrent(t *testing.T) {
	var x index
	x.init()
	keys := make([]Key, 5000)
	for i := range keys {
		keys[i] = NewKey(0, strconv.Itoa(i))
	}
	done := make(chan struct{})
	var readers sync.WaitGroup
	for n := range uint64(2) {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(8, n))
			for {
				select {
				case <-done:
					return
				default:
				}
				k := keys[random.IntN(len(keys))]
				if e := x.find(&k); e != nil && string(e.name()) != k.name {
					t.Errorf("a look-up of %s finds %s", k.name, e.name())
				}
			}
		})
	}
	random := rand.New(rand.NewPCG(9, 9))
	for range 100_000 {
		k := keys[random.IntN(len(keys))]
		if e, at := x.locate(&k); e == nil {
			x.insert(newEntry(k, Snapshot{}, nil, Never))
		} else if random.IntN(3) == 0 {
			x.remove(e)
		} else {
			x.replace(at, newEntry(k, Snapshot{}, nil, Never))
		}
	}
	close(done)
	readers.Wait()
}

func TestQueue(t *testing.T) {
	random := rand.New(rand.NewPCG(10, 10))
	q := queue{head: 1<<32 - 5, tail: 1<<32 - 5} // places come round
	var want []*entry
	for i := range 10_000 {
		switch e := newEntry(NewKey(0, "k"), Snapshot{}, make([]byte, random.IntN(100)), Never); random.IntN(5) {
		case 0, 1, 2:
			q.push(e)
			want = append(want, e)
		case 3:
			if len(want) > 0 {
				j := random.IntN(len(want))
				q.replace(want[j], e)
				want[j] = e
			}
		default:
			var first *entry
			if len(want) > 0 {
				first, want = want[0], want[1:]
			}
			if oldest, got := q.oldest(), q.pop(); got != first || oldest != first {
				t.Fatalf("step %d: pop answers %p, oldest %p, want %p", i, got, oldest, first)
			}
		}
		bytes := int64(0)
		for _, e := range want {
			bytes += int64(e.blockBytes)
		}
		if q.len() != len(want) || q.bytes != bytes {
			t.Fatalf("step %d: the queue has %d entries of %d bytes, want %d of %d", i, q.len(), q.bytes, len(want), bytes)
		}
	}
}

// TestSketch: counts are not below what was told, seldom above, and survive growth.
func TestSketch(t *testing.T) {
	var s sketch
	s.init()
	const keys = 4000
	told := func(i int) int { return i % (countMax + 1) }
	for i := range keys {
		s.fit(i)
		s.raise(mix(uint64(i)), told(i))
	}
	above := 0
	for i := range keys {
		got := s.count(mix(uint64(i)))
		if got < told(i) {
			t.Fatalf("key %d counts %d, was told %d", i, got, told(i))
		}
		if got > told(i) {
			above++
		}
	}
	if above > keys/5 {
		t.Errorf("%d of %d counts are too high", above, keys)
	}
	before := s.count(mix(15))
	s.halve()
	if got := s.count(mix(15)); got != before/2 {
		t.Errorf("a count of %d is %d after halving", before, got)
	}
}

// TestCount: an entry's count follows the halvings it has not seen.
func TestCount(t *testing.T) {
	var s shard
	for _, c := range []struct{ count, halvings, want int }{{15, 0, 15}, {15, 1, 7}, {15, 3, 1}, {15, 4, 0}, {15, 1 << 30, 0}} {
		e := &entry{count: uint8(c.count), period: 1<<32 - 2}
		s.mu.period = e.period + uint32(c.halvings)
		if got := s.countLocked(e); got != c.want || s.countLocked(e) != c.want {
			t.Errorf("%d after %d halvings is %d, want %d", c.count, c.halvings, got, c.want)
		}
	}
}

// TestClose: nothing runs on.
func TestClose(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, policy := range Policies {
		c, err := New(Options{MemoryBytes: 8 << 20, Partitions: 1, Policy: policy})
		if err != nil {
			t.Fatal(err)
		}
		c.AssignPartition(0, 0)
		c.OpenLink(0).SetLease(Never)
		for i := range 100 {
			k := NewKey(0, strconv.Itoa(i))
			c.Store(k, c.Snapshot(k, 0), make([]byte, 100_000), Never, 0)
		}
		c.Close()
	}
}

// TestAllocations: look-ups allocate nothing, nor does an invalidation.
func TestAllocations(t *testing.T) {
	r := newRig(t, nil)
	name := []byte("page:1")
	k := NewKeyBytes(0, name)
	r.read(k, 0, "value")
	for what, do := range map[string]func(){
		"a hit":           func() { r.Get(NewKeyBytes(0, name), 0) },
		"a hit of a view": func() { r.Get(k.View("GETRANGE 0 3"), 0) },
		"a miss":          func() { r.Get(NewKey(0, "page:2"), 0) },
		"a snapshot":      func() { r.Current(r.Snapshot(k, 0)) },
		"an invalidation": func() { r.InvalidateBytes([]byte("page:3")) },
	} {
		if got := testing.AllocsPerRun(1000, do); got != 0 {
			t.Errorf("%s allocates %v times", what, got)
		}
	}
	// Under the race detector the compiler makes two of the one.
	if got := testing.AllocsPerRun(1000, func() { r.read(k, 0, "value") }); got > 2 {
		t.Errorf("a store of a key that is held allocates %v times, want 1", got)
	}
}
