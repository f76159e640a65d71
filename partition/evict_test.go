package partition

import (
	"fmt"
	"math"
	"testing"
	"testing/synctest"
)

// evictStore is a store of one partition with n keys, that expire at 1000 and more where so wanted.
func evictStore(t *testing.T, n int, volatile bool) (*Store, *Tx) {
	t.Helper()
	s := mustStore(t, Options{Partitions: 1, Seed: Seed{1, 2}})
	tx := NewTx(s)
	tx.Begin(10, 0)
	defer tx.End()
	for i := range n {
		expireAt := int64(0)
		if volatile {
			expireAt = int64(1000 + i)
		}
		tx.SetString(fmt.Append(nil, "k", i), []byte("v"), StringAuto, expireAt)
	}
	return s, tx
}

// TestSampleVolatile: a sample of few keys with an expiry has at least one, and segments that say without reason that they
// have some are read for nothing once only.
func TestSampleVolatile(t *testing.T) {
	const keys = 20_000
	s, tx := evictStore(t, keys, true)
	one := []byte("k77")
	tx.Begin(20, 0)
	for i := range keys {
		if key := fmt.Append(nil, "k", i); string(key) != string(one) {
			tx.ExpireAt(key, 0)
		}
	}
	tx.End()
	d := s.Partition(0).dbs[0]
	if d.expiring != 1 || len(d.segments) < 2*volatileMissesMax {
		t.Fatalf("%d keys expire, in %d segments", d.expiring, len(d.segments))
	}
	for range 100 {
		found := 0
		d.sample(true, 5, func(r record) {
			found++
			if string(r.key()) != string(one) {
				t.Errorf("the sample has %q", r.key())
			}
		})
		if found == 0 {
			t.Fatal("a sample of no key, where one expires")
		}
	}
	marked := 0
	for i := range d.segments {
		if d.segments[i].minExpire != 0 {
			marked++
		}
	}
	if marked != 1 {
		t.Errorf("%d segments say that they have keys that expire, want 1", marked)
	}
	checkPartition(t, s.Partition(0))
}

// TestEvictFarExpiry: the farthest expiry there can be is not taken for the nearest.
func TestEvictFarExpiry(t *testing.T) {
	s, tx := evictStore(t, 1, true)
	tx.Begin(20, 0)
	tx.SetString([]byte("far"), []byte("v"), StringAuto, math.MaxInt64)
	tx.End()
	s.Evict(VolatileTTL, 100, 20)
	tx.Begin(20, 0)
	defer tx.End()
	if _, ok := tx.Find([]byte("far")); !ok {
		t.Error("the key that expires last was evicted")
	}
}

// TestEvictChosenMeanwhile: between the choice of a key and its deletion others may have the partition. A key that has become
// persistent stays, if only such with an expiry are to go, and so does one of a partition that is not active any more (R17).
func TestEvictChosenMeanwhile(t *testing.T) {
	key := []byte("k0")
	for _, tt := range []struct {
		name      string
		policy    Policy
		meanwhile func(tx *Tx, p *Partition)
		stays     bool
	}{
		{"nothing", VolatileRandom, func(tx *Tx, p *Partition) {}, false},
		{"PERSIST", VolatileRandom, func(tx *Tx, p *Partition) { tx.ExpireAt(key, 0) }, true},
		{"SET", VolatileRandom, func(tx *Tx, p *Partition) { tx.SetString(key, []byte("w"), StringAuto, 0) }, true},
		{"EXPIRE", VolatileRandom, func(tx *Tx, p *Partition) { tx.ExpireAt(key, 5000) }, false},
		{"PERSIST, with allkeys", AllKeysRandom, func(tx *Tx, p *Partition) { tx.ExpireAt(key, 0) }, false},
		{"not active", AllKeysRandom, func(tx *Tx, p *Partition) { tx.SetActive(0, false) }, true},
	} {
		s, tx := evictStore(t, 1, true)
		p := s.Partition(0)
		v := s.chooseVictim(tt.policy, 5, 20)
		if v.p != p {
			t.Fatalf("%s: no key was chosen", tt.name)
		}
		tx.Begin(20, 0)
		tt.meanwhile(tx, p)
		tx.End()
		p.evict(tt.policy, v, 20)
		tx.Begin(20, 0)
		if _, ok := tx.Find(key); ok != tt.stays {
			t.Errorf("%s: the key is there: %v, want %v", tt.name, ok, tt.stays)
		}
		tx.End()
	}
}

// TestAccessAhead: an access that is a little later than the clock it is compared with was not long ago.
func TestAccessAhead(t *testing.T) {
	const early, late = 7_199_999, 7_200_001 // the second and the minute change in between
	key := []byte("k")
	for _, lfu := range []bool{false, true} {
		s, tx := evictStore(t, 0, false)
		s.Limits.LFU.Store(lfu)
		s.Limits.LFULogFactor.Store(0) // every use counts
		tx.Begin(late, 0)
		tx.SetString(key, []byte("v"), StringAuto, 0)
		for range 10 {
			tx.Find(key)
		}
		tx.End()
		p := s.Partition(0)
		r, _ := p.dbs[0].get(key)
		v := Value{rec: r, p: p}
		if lfu {
			p.noteAccess(r, early)
			if got := v.Frequency(early); got != lfuInitValue+11 {
				t.Errorf("used 11 times, its counter is %d, want %d", got, lfuInitValue+11)
			}
			if got := v.Frequency(late + 5*60_000); got != lfuInitValue+11-5 && got != lfuInitValue+11-6 {
				t.Errorf("five minutes later it is %d", got)
			}
			continue
		}
		if got := v.IdleSeconds(early); got != 0 {
			t.Errorf("used just now, it is idle for %d s", got)
		}
		if got := v.IdleSeconds(late + 100_000); got != 100 {
			t.Errorf("100 s later it is idle for %d s", got)
		}
	}
}

// TestReleasingIsFree: what is deleted does not count as live while it waits to be released, and counts once when it is.
func TestReleasingIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := NewStore(Options{Partitions: 1, Seed: Seed{1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		synctest.Wait() // nobody releases by himself any more
		tx := NewTx(s)
		in := func(f func()) {
			tx.Begin(10, 0)
			defer tx.End()
			f()
		}
		key := []byte("large")
		in(func() { tx.SetString([]byte("k"), []byte("v"), StringAuto, 0) })
		for name, fill := range map[string]func(){
			"a set": func() {
				for i := range 2000 {
					if _, err := tx.SAdd(key, fmt.Appendf(nil, "member %50d", i)); err != nil {
						t.Fatal(err)
					}
				}
			},
			"a string": func() { tx.Patch(key, 1<<20, []byte("x")) },
		} {
			before := s.Space.Live()
			in(fill)
			if got := s.Space.Live() - before; got < 100_000 {
				t.Fatalf("%s: %d bytes", name, got)
			}
			in(func() { tx.Del(key) })
			const slack = slabBytes // index segments come by slabs
			if got := s.Space.Live() - before; s.Releasing() != 1 || got > slack || got < -slack {
				t.Errorf("%s: %d values wait to be released, and %d bytes are live", name, s.Releasing(), got)
			}
			s.release(<-s.reaper)
			if got := s.Space.Live() - before; got > slack || got < -slack || s.Space.releasing.Load() != 0 {
				t.Errorf("%s: %d bytes are live when it is released, %d count as to be released", name, got, s.Space.releasing.Load())
			}
		}
	})
}

// TestEvictDatabases: of keys that are equally good to evict those of no database go first.
func TestEvictDatabases(t *testing.T) {
	for _, policy := range []Policy{AllKeysLRU, AllKeysLFU, AllKeysRandom, VolatileLRU, VolatileLFU, VolatileRandom} {
		s := mustStore(t, Options{Partitions: 4, Seed: Seed{1, 2}})
		tx := NewTx(s)
		const keys, evicted = 300, 200
		tx.BeginAll(10)
		for tx.DB = range 2 {
			for i := range keys {
				tx.SetString(fmt.Append(nil, i), []byte("v"), StringAuto, 1_000_000)
			}
		}
		tx.End()
		for range evicted {
			if !s.Evict(policy, 5, 10) {
				t.Fatalf("%s finds nothing to evict", PolicyNames[policy])
			}
		}
		tx.BeginAll(10)
		first, second := keys-tx.Len(0), keys-tx.Len(1)
		tx.End()
		if first+second != evicted || min(first, second) < evicted/4 {
			t.Errorf("%s evicts %d keys of one database and %d of the other, want about %d each", PolicyNames[policy], first, second, evicted/2)
		}
	}
}
