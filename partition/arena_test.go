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

// Compaction ends where nothing is gained by it: records that fill a chunk badly fill the next one no better.
func TestCompactionEnds(t *testing.T) {
	for _, valueBytes := range []int{100, 3000, 6000, 9000, 11_000, 13_300, 16_500, 40_000} {
		for _, count := range []int{1, 3, 10, 300} {
			d := newDict(NewSpace(), Seed{1, 2})
			for i := range 2 * count {
				key := fmt.Append(nil, i)
				h := d.hash(key)
				d.put(d.find(h, key), h, key, kindString, 0, valueBytes, 0)
			}
			for i := range count { // every second one goes
				key := fmt.Append(nil, 2*i)
				d.remove(d.find(d.hash(key), key))
			}
			turns := 0
			for d.compact(compactFloorBytes) && turns < 10_000 {
				turns++
			}
			if turns == 10_000 {
				t.Errorf("%d of %d records of %d bytes removed: compaction goes on after %d turns (%d bytes in chunks, %d live)",
					count, 2*count, valueBytes, turns, d.arena.total, d.arena.live)
			}
			d.release()
			if dead := d.space.dead.Load(); dead != 0 {
				t.Errorf("%d bytes are dead in a space without records", dead)
			}
		}
	}
}
