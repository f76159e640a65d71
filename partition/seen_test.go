package partition

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// What a reply rests on (R12): the newest batch that may have changed a key that the transaction has looked at, in each
// partition.
func TestSeenR12(t *testing.T) {
	const now = 1000
	s := mustStore(t, Options{Partitions: 4, Seed: Seed{1, 2}, Track: true})
	// Keys of partitions 1 and 2, all in buckets of their own.
	taken := map[uint64]bool{}
	find := func(partition int) []byte {
		for i := 0; ; i++ {
			key := fmt.Append(nil, "key", i)
			if bit := bucketBit(s.seed.hash(key)); s.PartitionOf(key) == partition && !taken[bit] {
				taken[bit] = true
				return key
			}
		}
	}
	a, b, missing, other := find(1), find(1), find(1), find(2)
	set := func(tx *Tx, key []byte, expireAt int64) { tx.SetString(key, nil, StringAuto, expireAt) }
	tx := NewTx(s)
	for i, c := range []struct {
		what  string
		parts []int // nil = all
		do    func()
		want  []Seen
	}{
		{"nothing was ever changed", []int{1}, func() { tx.Find(a) }, nil},
		{"a change", []int{1}, func() { set(tx, a, 0) }, []Seen{{1, 1}}},
		{"another key's change", []int{1}, func() { set(tx, b, 0) }, []Seen{{1, 2}}},
		{"a look at the first", []int{1}, func() { tx.Find(a) }, []Seen{{1, 1}}},
		{"a peek at it, twice", []int{1}, func() { tx.Peek(a); tx.Peek(a) }, []Seen{{1, 1}}},
		{"a look at both", []int{1}, func() { tx.Find(b); tx.Find(a) }, []Seen{{1, 2}}},
		{"a look at neither", []int{1}, func() {}, nil},
		{"a key that never was", []int{1}, func() { tx.Find(missing) }, nil},
		{"a deletion of it", []int{1}, func() { tx.Del(missing) }, nil},
		{"a deletion", []int{1}, func() { tx.Del(a) }, []Seen{{1, 3}}},
		{"a key that is gone", []int{1}, func() { tx.Find(a) }, []Seen{{1, 3}}},
		{"a change that changes nothing", []int{1}, func() { tx.Del(a) }, []Seen{{1, 3}}},
		{"two partitions", []int{1, 2}, func() { set(tx, other, 0); tx.Find(b) }, []Seen{{1, 2}, {2, 1}}},
		{"two locked, one looked at", []int{1, 2}, func() { tx.Find(b) }, []Seen{{1, 2}}},
		{"an expiry", []int{1}, func() { set(tx, a, now+1) }, []Seen{{1, 4}}},
		{"before it, others are as before", []int{1}, func() { tx.Find(b) }, []Seen{{1, 2}}},
		{"every key", []int{}, func() { tx.EachKey(func([]byte, Value) bool { return true }) }, []Seen{{1, 4}, {2, 1}}},
		{"some of a walk", []int{}, func() { tx.Scan(0, 1, func([]byte, Value) {}) }, []Seen{{1, 4}}},
		{"the number of keys", nil, func() { tx.Len(0) }, []Seen{{1, 4}, {2, 1}}},
		{"one after the other, descending", []int{}, func() {
			for _, key := range [][]byte{other, b, b, other} {
				tx.With(key, func() { tx.Find(key) })
			}
		}, []Seen{{1, 2}, {2, 1}}},
		{"one twice, changed between", []int{}, func() {
			tx.With(b, func() { tx.Find(b) })
			tx.With(b, func() { tx.Find(b); set(tx, b, 0) })
			tx.With(b, func() { tx.Find(b) })
		}, []Seen{{1, 5}}},
		{"its change is noted", []int{1}, func() { tx.Find(b) }, []Seen{{1, 5}}},
		{"a flush", nil, func() { tx.FlushDB(0) }, []Seen{{1, 6}, {2, 2}}},
		{"a flush of what is empty", nil, func() { tx.FlushDB(0) }, []Seen{{1, 6}, {2, 2}}},
		{"every key is gone by it", []int{1}, func() { tx.Find(missing) }, []Seen{{1, 6}}},
		{"a swap", nil, func() { tx.SwapDB(0, 1) }, []Seen{{0, 1}, {1, 7}, {2, 3}, {3, 1}}},
		{"every key is another by it", []int{1}, func() { tx.Find(missing) }, []Seen{{1, 7}}},
	} {
		if c.parts == nil {
			tx.BeginAll(now)
		} else {
			tx.Begin(now, c.parts...)
		}
		c.do()
		tx.End()
		if got := tx.Seen(); !slices.Equal(got, c.want) {
			t.Errorf("%d, %s: seen %v, want %v", i, c.what, got, c.want)
		}
	}
}

// What a copy executes as it becomes the primary need not be committed yet: who looks at it waits (R15).
func TestSeenBufferR15(t *testing.T) {
	var batches []Batch
	first := mustStore(t, Options{Partitions: 1, Seed: Seed{1, 2}, Track: true, Sink: func(_ *Partition, b Batch) bool {
		b.Effects = slices.Clone(b.Effects)
		batches = append(batches, b)
		return false
	}})
	second := mustStore(t, Options{Partitions: 1, Seed: Seed{1, 2}, Track: true})
	tx := NewTx(first)
	for _, key := range []string{"a", "b"} {
		tx.Begin(1000, 0)
		tx.SetString([]byte(key), nil, StringAuto, 0)
		tx.End()
	}
	p := second.Partition(0)
	if err := p.Apply(batches[0]); err != nil { // committed
		t.Fatal(err)
	}
	if err := p.Apply(batches[1]); err != nil { // executed as it takes over
		t.Fatal(err)
	}
	third := mustStore(t, Options{Partitions: 1, Seed: Seed{1, 2}, Track: true})
	chunk, _, _ := first.Partition(0).AppendChunk(nil, 0, 1<<20)
	if err := third.Partition(0).LoadChunk(chunk); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		s    *Store
		key  string
		want []Seen
	}{
		{"what was buffered", second, "b", []Seen{{0, 2}}},
		{"what was applied before", second, "a", []Seen{{0, 1}}},
		{"what came with a chunk", third, "a", []Seen{{0, 2}}},
	} {
		tx := NewTx(c.s)
		tx.Begin(1000, 0)
		tx.Find([]byte(c.key))
		tx.End()
		if got := tx.Seen(); !slices.Equal(got, c.want) {
			t.Errorf("a look at %s rests on %v, want %v", c.what, got, c.want)
		}
	}
}

// A batch that its sink settles at once is waited for by nobody, and still is a change to who has marked its key. What comes after it,
// not settled, is waited for as ever (R12).
func TestSeenSettledR12(t *testing.T) {
	settles := true
	s := mustStore(t, Options{Partitions: 1, Seed: Seed{1, 2}, Track: true, Sink: func(*Partition, Batch) bool { return settles }})
	tx, key, other := NewTx(s), []byte("key"), []byte("another")
	if bucketBit(s.seed.hash(key)) == bucketBit(s.seed.hash(other)) {
		t.Fatal("both keys are of one bucket")
	}
	run := func(want []Seen, do func()) {
		t.Helper()
		tx.Begin(1000, 0)
		do()
		tx.End()
		if !slices.Equal(tx.Seen(), want) {
			t.Errorf("seen %v, want %v", tx.Seen(), want)
		}
	}
	var mark Mark
	set := func(key []byte) func() {
		return func() { tx.SetString(key, []byte("v"), StringAuto, 0) }
	}
	run(nil, set(key))
	run(nil, func() { tx.Find(key) })
	run(nil, func() { mark = tx.Mark(key) })
	run(nil, set(key))
	settles = false
	run([]Seen{{0, 3}}, set(other))
	run([]Seen{{0, 3}}, func() { tx.Find(other) })
	run(nil, func() { tx.Find(key) })
	run(nil, func() {
		if tx.UnchangedSince(key, mark) {
			t.Error("a key that a settled batch changed counts as unchanged")
		}
	})
	s.Partition(0).ResetTo(1)
	run([]Seen{{0, 2}}, set(key))
	run([]Seen{{0, 2}}, func() { tx.Find(key) })
	settles = true
	run(nil, set(other))
	s.Partition(0).ResetTo(0)
	settles = false
	run([]Seen{{0, 1}}, set(key))
	run([]Seen{{0, 1}}, func() { tx.Find(key) })
}

// Whatever deletes a key counts as its change: who finds it absent waits for that. A nil that is answered because of expiry
// waits for the deletion that it logs itself (R12, R17).
func TestSeenDeletionsR12(t *testing.T) {
	for name, remove := range map[string]func(tx *Tx, p *Partition){
		"looked up": func(tx *Tx, p *Partition) {
			tx.Begin(2000, 0)
			tx.Find([]byte("expired"))
			tx.End()
			if got, want := tx.Seen(), []Seen{{0, 2}}; !slices.Equal(got, want) {
				t.Errorf("the look-up that finds it expired has seen %v, want %v", got, want)
			}
		},
		"active expiry": func(tx *Tx, p *Partition) { p.ExpireDue(2000) },
		"eviction":      func(tx *Tx, p *Partition) { tx.store.Evict(VolatileTTL, 1000, 500) },
		"a random key": func(tx *Tx, p *Partition) {
			tx.Begin(2000)
			for p.seq < 2 {
				tx.RandomKey()
			}
			tx.End()
			if got, want := tx.Seen(), []Seen{{0, 2}}; !slices.Equal(got, want) {
				t.Errorf("the transaction has seen %v, want %v", got, want)
			}
		},
	} {
		tx, p, _ := expiringStore(t)
		remove(tx, p)
		tx.Begin(2000, 0)
		if _, ok := tx.Find([]byte("expired")); ok || p.seq != 2 {
			t.Fatalf("%s: the key is there at %d", name, p.seq)
		}
		tx.End()
		if got, want := tx.Seen(), []Seen{{0, 2}}; !slices.Equal(got, want) {
			t.Errorf("%s: seen %v, want %v", name, got, want)
		}
	}
}

// TestSeenModelR12: random transactions never see less than the last batches of the keys they look at, and seldom more.
func TestSeenModelR12(t *testing.T) {
	const keys, transactions = 200, 20_000
	rng := rand.New(rand.NewPCG(1, 1))
	s := mustStore(t, Options{Partitions: 4, Seed: Seed{3, 4}, Track: true})
	tx := NewTx(s)
	last := map[int]Seen{} // by key
	exact, more := 0, 0
	for range transactions {
		n := 1 + rng.IntN(3)
		var looked []int
		var parts []int
		for range n {
			k := rng.IntN(keys)
			looked = append(looked, k)
			parts = append(parts, s.PartitionOf(fmt.Append(nil, k)))
		}
		slices.Sort(parts)
		tx.Begin(1, slices.Compact(parts)...)
		var written []int
		for _, k := range looked {
			if key := fmt.Append(nil, k); rng.IntN(3) == 0 {
				tx.SetString(key, nil, StringAuto, 0)
				written = append(written, k)
			} else {
				tx.Find(key)
			}
		}
		tx.End()
		for _, k := range written {
			id := s.PartitionOf(fmt.Append(nil, k))
			last[k] = Seen{id, s.Partition(id).Seq()}
		}
		want := map[int]uint64{}
		for _, k := range looked {
			if l := last[k]; l.Seq > 0 {
				want[l.Partition] = max(want[l.Partition], l.Seq)
			}
		}
		got := map[int]uint64{}
		for _, seen := range tx.Seen() {
			got[seen.Partition] = seen.Seq
		}
		for id, seq := range want {
			switch {
			case got[id] < seq:
				t.Fatalf("partition %d: seen %d, the keys were last changed by %d", id, got[id], seq)
			case got[id] == seq:
				exact++
			default:
				more++
			}
		}
	}
	// Of 50 keys a partition, less than one shares a bucket with another.
	if more > 2*exact {
		t.Errorf("%d times exactly what was needed, %d times more", exact, more)
	}
}

// Without Track nothing is kept, and a transaction allocates nothing either way.
func TestSeenCostsNothingR12(t *testing.T) {
	for _, track := range []bool{false, true} {
		tx := NewTx(mustStore(t, Options{Partitions: 1, Track: track}))
		key := []byte("key")
		run := func() {
			tx.Begin(1, 0)
			tx.SetString(key, key, StringAuto, 0)
			tx.Find(key)
			tx.End()
			if len(tx.Seen()) > 0 != track {
				t.Fatalf("Track %v: seen %v", track, tx.Seen())
			}
		}
		run()
		if n := testing.AllocsPerRun(100, run); n > 0 {
			t.Errorf("Track %v: %v allocations", track, n)
		}
	}
}

func BenchmarkTransaction(b *testing.B) {
	for _, track := range []bool{false, true} {
		for _, write := range []bool{false, true} {
			b.Run(fmt.Sprintf("track=%v/write=%v", track, write), func(b *testing.B) {
				const partitions, keys = 256, 100_000
				s := mustStore(b, Options{Partitions: partitions, Track: track})
				tx := NewTx(s)
				all := make([][]byte, keys)
				for i := range all {
					all[i] = fmt.Append(nil, "key:", i)
					tx.Begin(1, s.PartitionOf(all[i]))
					tx.SetString(all[i], []byte("value"), StringAuto, 0)
					tx.End()
				}
				i := 0
				for b.Loop() {
					key := all[i*7919%keys]
					i++
					tx.Begin(1, s.PartitionOf(key))
					if write {
						tx.SetString(key, []byte("value"), StringAuto, 0)
					} else {
						tx.Find(key)
					}
					tx.End()
				}
			})
		}
	}
}
