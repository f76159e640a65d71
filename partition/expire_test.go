package partition

import (
	"bytes"
	"testing"
)

// expiringStore has a key that expired at 1000 and one that stays, and counts batches.
func expiringStore(t *testing.T) (tx *Tx, p *Partition, batches *[]Batch) {
	batches = new([]Batch)
	s := mustStore(t, Options{Partitions: 1, Seed: Seed{1, 2}, Track: true, Sink: func(_ *Partition, b Batch) bool {
		b.Effects = bytes.Clone(b.Effects)
		*batches = append(*batches, b)
		return false
	}})
	tx = NewTx(s)
	tx.Begin(10, 0)
	tx.SetString([]byte("expired"), []byte("v"), StringAuto, 1000)
	tx.SetString([]byte("stays"), []byte("v"), StringAuto, 0)
	tx.End()
	*batches = nil
	return tx, s.Partition(0), batches
}

// Only an active copy, the primary's, deletes what has expired, and evicts (R17). For the others an expired key is absent,
// whichever way they look, and still in their data.
func TestOnlyActiveExpiresR17(t *testing.T) {
	const now = 2000
	expired := []byte("expired")
	for name, c := range map[string]struct {
		look    func(tx *Tx, p *Partition) (there bool)
		looksUp bool // the key itself
		keeps   bool // an active one deletes nothing either
		evicts  bool
	}{
		"Find":   {looksUp: true, look: func(tx *Tx, p *Partition) bool { _, ok := tx.Find(expired); return ok }},
		"Peek":   {looksUp: true, look: func(tx *Tx, p *Partition) bool { _, ok := tx.Peek(expired); return ok }},
		"String": {looksUp: true, look: func(tx *Tx, p *Partition) bool { _, ok, _ := tx.String(expired); return ok }},
		"Watch":  {looksUp: true, look: func(tx *Tx, p *Partition) bool { tx.Watch(expired); return false }},
		"Scan": {keeps: true, look: func(tx *Tx, p *Partition) (there bool) {
			tx.Scan(0, 100, func(key []byte, _ Value) { there = there || bytes.Equal(key, expired) })
			return there
		}},
		"EachKey": {keeps: true, look: func(tx *Tx, p *Partition) (there bool) {
			tx.EachKey(func(key []byte, _ Value) bool { there = there || bytes.Equal(key, expired); return true })
			return there
		}},
		"RandomKey": {look: func(tx *Tx, p *Partition) (there bool) {
			for range 100 {
				key, ok := tx.RandomKey()
				there = there || ok && bytes.Equal(key, expired)
			}
			return there
		}},
		"Digest": {keeps: true, look: func(tx *Tx, p *Partition) bool {
			tx.End()
			p.Digest()
			p.ContentDigest()
			p.AppendChunk(nil, 0, 1000)
			tx.Begin(now, 0)
			return false
		}},
		"ExpireDue": {look: func(tx *Tx, p *Partition) bool {
			tx.End()
			p.ExpireDue(now)
			tx.Begin(now, 0)
			return false
		}},
		"Evict": {evicts: true, look: func(tx *Tx, p *Partition) bool {
			tx.End()
			if tx.store.Evict(AllKeysRandom, 5, now) == p.passive {
				t.Errorf("of a copy with passive = %v eviction says the opposite", p.passive)
			}
			tx.Begin(now, 0)
			return false
		}},
	} {
		for _, active := range []bool{true, false} {
			tx, p, batches := expiringStore(t)
			p.SetActive(active)
			before := p.Digest()
			tx.Begin(now, 0)
			if c.look(tx, p) {
				t.Errorf("%s, active %v: the expired key is there", name, active)
			}
			tx.End()
			if got := tx.Overdue(); got != (c.looksUp && !active) {
				t.Errorf("%s, active %v: overdue is %v", name, active, got)
			}
			deletes := active && !c.keeps
			if got := len(*batches); got == 1 != deletes {
				t.Errorf("%s, active %v: %d batches", name, active, got)
			}
			if p.Digest() == before == deletes {
				t.Errorf("%s, active %v: the data have changed: %v", name, active, !deletes)
			}
			if deletes && !c.evicts {
				if b := (*batches)[0]; b.Count != 1 || b.Effects[0] != opDel || b.TimeMs != now {
					t.Errorf("%s: the batch is %+v", name, b)
				}
			}
			checkPartition(t, p)
		}
	}
}

// A copy that is not active may hold nothing but expired keys: RandomKey ends, and finds none (R17).
func TestRandomKeyEndsR17(t *testing.T) {
	tx, p, _ := expiringStore(t)
	tx.Begin(10, 0)
	tx.Del([]byte("stays"))
	tx.End()
	p.SetActive(false)
	tx.Begin(2000, 0)
	if key, ok := tx.RandomKey(); ok || key != nil {
		t.Errorf("got %q, %v", key, ok)
	}
	tx.End()
}

// What has become active expires from then on (R17): a copy that was not has not forgotten what is due.
func TestActiveAgainExpiresR17(t *testing.T) {
	_, p, batches := expiringStore(t)
	p.SetActive(false)
	p.ExpireDue(2000)
	p.SetActive(true)
	p.ExpireDue(2000)
	if len(*batches) != 1 {
		t.Errorf("%d batches, want the expired key's deletion", len(*batches))
	}
}

// Log time never goes back, whoever's clock is behind: a transaction has the latest time of its partitions' logs at least,
// also where those came as batches or in a chunk (R17).
func TestLogTimeR17(t *testing.T) {
	const logged, behind = 5000, 3000
	key := []byte("a") // of partition 1 of 2
	for name, c := range map[string]struct {
		advance func(t *testing.T, s *Store) // brings log time to logged
		act     func(s *Store, tx *Tx)
	}{
		"batches of its own": {
			func(t *testing.T, s *Store) {
				tx := NewTx(s)
				tx.Begin(logged, 1)
				tx.SetString(key, nil, StringAuto, 0)
				tx.End()
			},
			func(s *Store, tx *Tx) { tx.Begin(behind, 0, 1); tx.Del(key); tx.End() },
		},
		"batches applied": {
			func(t *testing.T, s *Store) {
				err := s.Partition(1).Apply(Batch{Partition: 1, Seq: 1, TimeMs: logged, Count: 1, Effects: append([]byte{opSet, 0, 1, 'a'}, kindString, 0, 0)})
				if err != nil {
					t.Fatal(err)
				}
			},
			func(s *Store, tx *Tx) { tx.BeginAll(behind); tx.Del(key); tx.End() },
		},
		"an older batch applied": {
			func(t *testing.T, s *Store) {
				for i, ms := range []int64{logged, behind} {
					effects := append([]byte{opSet, 0, 1, 'a'}, kindString, 0, 0)
					if err := s.Partition(1).Apply(Batch{Partition: 1, Seq: uint64(i + 1), TimeMs: ms, Count: 1, Effects: effects}); err != nil {
						t.Fatal(err)
					}
				}
			},
			func(s *Store, tx *Tx) { tx.Begin(behind, 1); tx.Del(key); tx.End() },
		},
		"a chunk": {
			func(t *testing.T, s *Store) {
				from := mustStore(t, Options{Partitions: 2})
				tx := NewTx(from)
				tx.Begin(logged, 1)
				tx.SetString(key, nil, StringAuto, 0)
				tx.End()
				chunk, _, _ := from.Partition(1).AppendChunk(nil, 0, 1000)
				if err := s.Partition(1).LoadChunk(chunk); err != nil {
					t.Fatal(err)
				}
			},
			func(s *Store, tx *Tx) { tx.Begin(behind); tx.With(key, func() { tx.Del(key) }); tx.End() },
		},
		"active expiry": {
			func(t *testing.T, s *Store) {
				tx := NewTx(s)
				tx.Begin(logged, 1)
				tx.SetString(key, nil, StringAuto, 4000)
				tx.End()
			},
			func(s *Store, tx *Tx) { s.Partition(1).ExpireDue(behind) },
		},
		"eviction": {
			func(t *testing.T, s *Store) {
				tx := NewTx(s)
				tx.Begin(logged, 1)
				tx.SetString(key, nil, StringAuto, 0)
				tx.End()
			},
			func(s *Store, tx *Tx) { s.Evict(AllKeysRandom, 3, behind) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			var times []int64
			s := mustStore(t, Options{Partitions: 2, Sink: func(_ *Partition, b Batch) bool {
				times = append(times, b.TimeMs)
				return false
			}})
			c.advance(t, s)
			if got := s.Partition(1).LastTimeMs(); got != logged {
				t.Fatalf("log time is %d, want %d", got, logged)
			}
			times = nil
			c.act(s, NewTx(s))
			if len(times) != 1 || times[0] != logged {
				t.Errorf("batches at %d, want one at %d", times, logged)
			}
		})
	}
}

// A new primary whose clock is behind does not show a key again that its predecessor has seen expire (R17).
func TestNewPrimaryDoesNotUnexpireR17(t *testing.T) {
	tx, p, batches := expiringStore(t)
	copy := mustStore(t, Options{Partitions: 1, Seed: Seed{1, 2}})
	chunk, _, _ := p.AppendChunk(nil, 0, 1000)
	if err := copy.Partition(0).LoadChunk(chunk); err != nil {
		t.Fatal(err)
	}
	tx.Begin(2000, 0) // later than the expiry; the change of another key is logged at this time
	tx.SetString([]byte("stays"), []byte("w"), StringAuto, 0)
	tx.End()
	if err := copy.Partition(0).Apply((*batches)[0]); err != nil {
		t.Fatal(err)
	}
	successor := NewTx(copy)
	successor.Begin(500, 0) // earlier than the expiry
	if _, ok := successor.Find([]byte("expired")); ok {
		t.Error("the key is there again")
	}
	successor.End()
}

// TestBareExpires: a partition that had nothing to expire is looked into again once it has, however that came to be there.
func TestBareExpires(t *testing.T) {
	key := []byte("k")
	set := func(s *Store) {
		tx := NewTx(s)
		tx.Begin(10, 0)
		tx.SetString(key, []byte("v"), StringAuto, 1000)
		tx.End()
	}
	var batch Batch
	other := mustStore(t, Options{Partitions: 1, Seed: Seed{1, 2}, Sink: func(_ *Partition, b Batch) bool {
		batch = b
		batch.Effects = bytes.Clone(b.Effects)
		return false
	}})
	set(other)
	chunk, _, _ := other.Partition(0).AppendChunk(nil, 0, 1000)
	for how, fill := range map[string]func(s *Store){
		"a command": set,
		"a batch": func(s *Store) {
			if err := s.Partition(0).Apply(batch); err != nil {
				t.Error(err)
			}
		},
		"a chunk": func(s *Store) {
			if err := s.Partition(0).LoadChunk(chunk); err != nil {
				t.Error(err)
			}
		},
		"a token": func(s *Store) {
			tx := NewTx(s)
			tx.Begin(10, 0)
			if l := tx.Load(key, 990); l.Token == 0 {
				t.Error("no token is given")
			}
			tx.End()
		},
	} {
		s := mustStore(t, Options{Partitions: 1, Seed: Seed{1, 2}})
		p := s.Partition(0)
		left := func() int64 {
			tx := NewTx(s)
			tx.Begin(0, 0)
			defer tx.End()
			return int64(tx.Len(0)) + s.Loading()
		}
		p.ExpireDue(5)
		fill(s)
		p.ExpireDue(999)
		if n := left(); n != 1 {
			t.Errorf("%s: %d keys and tokens after 999 ms, want 1", how, n)
		}
		p.ExpireDue(1000)
		if n := left(); n != 0 {
			t.Errorf("%s: %d keys and tokens after 1000 ms, want none", how, n)
		}
	}
}

// BenchmarkExpireDueBare is what the partitions cost that a node has nothing of.
func BenchmarkExpireDueBare(b *testing.B) {
	s := mustStore(b, Options{Partitions: 16384, Seed: Seed{1, 2}})
	for b.Loop() {
		for i := range s.Partitions() {
			s.Partition(i).ExpireDue(1)
		}
	}
}
