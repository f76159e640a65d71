package partition

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestListAgainstSlice plays random splices on a store, a replica fed by its batches, and a slice of strings.
func TestListAgainstSlice(t *testing.T) {
	for _, limit := range []int64{-2, -1, 5} {
		t.Run(fmt.Sprint("list-max-listpack-size ", limit), func(t *testing.T) {
			limits := NewLimits()
			limits.ListMaxSize.Store(limit)
			replica := mustStore(t, Options{Partitions: 1, Limits: limits})
			store := mustStore(t, Options{Partitions: 1, Limits: limits, Sink: func(_ *Partition, b Batch) bool {
				if err := replica.Partition(0).Apply(b); err != nil {
					t.Fatal(err)
				}
				return false
			}})
			rnd := rand.New(rand.NewPCG(uint64(limit), 3))
			tx, key := NewTx(store), []byte("list")
			var want []string
			for step := range 20_000 {
				index := rnd.IntN(len(want) + 1)
				switch rnd.IntN(6) {
				case 0, 1:
					index = 0
				case 2, 3:
					index = len(want)
				}
				drop := min(rnd.IntN(4)*rnd.IntN(2), len(want)-index)
				if step%3000 == 2999 {
					index, drop = 0, len(want)/2
				}
				var items []string
				for range rnd.IntN(3) {
					items = append(items, strings.Repeat("x", rnd.IntN(30)*rnd.IntN(10))+fmt.Sprint(step))
				}
				if rnd.IntN(500) == 0 {
					items = append(items, strings.Repeat("y", 20_000))
				}
				tx.Begin(1, 0)
				views := [][]byte{}
				for _, s := range items {
					views = append(views, []byte(s))
				}
				tx.ListSplice(key, index, drop, views...)
				tx.End()
				want = slices.Replace(want, index, index+drop, items...)
				if step%100 == 0 || len(want) < 4 {
					checkList(t, step, tx, key, want, rnd)
				}
			}
			if got, want := replica.Partition(0).Digest(), store.Partition(0).Digest(); got != want {
				t.Errorf("digest of the replica: got %x, want %x", got, want)
			}
			tx.Begin(1, 0)
			tx.Del(key)
			tx.End()
		})
	}
}

func checkList(t *testing.T, step int, tx *Tx, key []byte, want []string, rnd *rand.Rand) {
	t.Helper()
	tx.Begin(1, 0)
	defer tx.End()
	l, ok, err := tx.List(key)
	if err != nil || ok != (len(want) > 0) || ok && l.Len() != len(want) {
		t.Fatalf("step %d: got %v %v of %d, want %d elements", step, ok, err, l.Len(), len(want))
	}
	if !ok {
		return
	}
	from := rnd.IntN(len(want) + 1)
	it := l.From(from)
	for i := from; i < len(want); i++ {
		if !it.Next() || string(it.Value()) != want[i] {
			t.Fatalf("step %d: forward from %d, element %d: got %.30q, want %.30q", step, from, i, it.Value(), want[i])
		}
	}
	if it.Next() {
		t.Fatalf("step %d: an element behind the last", step)
	}
	it = l.From(from)
	for i := from - 1; i >= 0; i-- {
		if !it.Prev() || string(it.Value()) != want[i] {
			t.Fatalf("step %d: backward from %d, element %d: got %.30q, want %.30q", step, from, i, it.Value(), want[i])
		}
	}
	if it.Prev() {
		t.Fatalf("step %d: an element before the first", step)
	}
}

func mustStore(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := NewStore(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
