package partition

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// A chunk that is given back twice has its number given out twice, and then one of two chunks is lost. Transactions of
// many removals leave an open chunk without live records, which compaction closes when it needs another one.
func TestChunksAreFreedOnce(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 1))
		d := newDict(NewSpace(), Seed{1, 2})
		var keys [][]byte
		for step := range 20_000 {
			if len(keys) == 0 || rng.IntN(10) < 5 {
				key := fmt.Append(nil, step)
				h := d.hash(key)
				d.put(d.find(h, key), h, key, kindString, 0, rng.IntN(700), 0)
				keys = append(keys, key)
			} else {
				key := keys[len(keys)-1]
				keys = keys[:len(keys)-1]
				d.remove(d.find(d.hash(key), key))
			}
			if rng.IntN(100) > 0 {
				continue
			}
			d.compact(rng.IntN(1 << 16))
			spare := map[uint32]bool{}
			for _, id := range d.arena.spare {
				if spare[id] {
					t.Fatalf("seed %d, step %d: chunk %d is spare twice", seed, step, id)
				}
				spare[id] = true
			}
		}
		for _, key := range keys {
			if _, ok := d.get(key); !ok {
				t.Fatalf("seed %d: key %s is lost", seed, key)
			}
		}
	}
}
