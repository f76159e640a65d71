package partition

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func prefetchStore(t testing.TB, partitions int) *Store {
	store, err := NewStore(Options{Partitions: partitions, Seed: Seed{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Close)
	return store
}

func setString(tx *Tx, key, value string) {
	tx.Begin(1, tx.store.PartitionOf([]byte(key)))
	tx.SetString([]byte(key), []byte(value), StringAuto, 0)
	tx.End()
}

// What Prefetch says it knows about a key must be what locate finds out by itself, whatever was asked for in between.
func TestPrefetchKnowsKeys(t *testing.T) {
	store := prefetchStore(t, 16)
	tx, plain := NewTx(store), NewTx(store)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		setString(tx, fmt.Sprintf("key:%d", i), "value")
	}
	key := func() []byte { return fmt.Appendf(nil, "key:%d", random.IntN(400)) } // a quarter is not there
	for round := range 500 {
		keys := make([][]byte, 1+random.IntN(PrefetchMax))
		members := make([][]byte, len(keys))
		for i := range keys {
			keys[i] = key()
			if i > 0 && random.IntN(3) == 0 {
				keys[i] = append([]byte(nil), keys[i-1]...)
			}
			if random.IntN(2) == 0 {
				members[i] = key()
			}
		}
		tx.Prefetch(0, keys, members)
		for _, k := range keys {
			if random.IntN(4) == 0 {
				k = key() // one that was not foreseen
			}
			wantAt := store.PartitionOf(k)
			if got := tx.PartitionOf(k); got != wantAt {
				t.Fatalf("round %d: PartitionOf(%q) = %d, want %d", round, k, got, wantAt)
			}
			tx.Begin(1, wantAt)
			p, h := tx.locate(k)
			tx.End()
			plain.Begin(1, wantAt)
			wantP, wantH := plain.locate(k)
			plain.End()
			if p != wantP || h != wantH {
				t.Fatalf("round %d: locate(%q) = partition %d, hash %x, want %d, %x", round, k, p.ID, h, wantP.ID, wantH)
			}
		}
	}
}

// A partition that somebody holds is left out; Prefetch does not wait for it.
func TestPrefetchDoesNotWait(t *testing.T) {
	store := prefetchStore(t, 1)
	tx, other := NewTx(store), NewTx(store)
	setString(tx, "k", "v")
	other.Begin(1, 0)
	tx.Prefetch(0, [][]byte{[]byte("k")}, [][]byte{[]byte("m")}) // would hang
	other.End()
}

// BenchmarkPrefetch reads a million keys in random order, 16 at a time, with and without Prefetch.
func BenchmarkPrefetch(b *testing.B) {
	const keyCount = 1_000_000
	store := prefetchStore(b, 256)
	tx := NewTx(store)
	for i := range keyCount {
		setString(tx, fmt.Sprintf("key:%012d", i), "0123456789012345678901234567890123456789012345678901234567890123")
	}
	for _, foreseen := range []bool{false, true} {
		b.Run(fmt.Sprintf("foreseen=%v", foreseen), func(b *testing.B) {
			random := rand.New(rand.NewPCG(1, 2))
			var batch, members [PrefetchMax][]byte
			for i := 0; i < b.N; i += PrefetchMax {
				for j := range batch {
					batch[j] = fmt.Appendf(batch[j][:0], "key:%012d", random.IntN(keyCount))
				}
				if foreseen {
					tx.Prefetch(0, batch[:], members[:])
				}
				for _, key := range batch {
					tx.Begin(1, tx.PartitionOf(key))
					if _, ok, err := tx.String(key); !ok || err != nil {
						b.Fatalf("%q is not there: %v", key, err)
					}
					tx.End()
				}
				tx.Prefetch(0, nil, nil)
			}
		})
	}
}
