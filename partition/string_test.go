package partition

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// pair is a store and a replica that plays the store's batches, as a backup does.
type pair struct {
	primary, replica *Store
	tx               *Tx
}

func newPair(t *testing.T, partitions int) *pair {
	t.Helper()
	seed := Seed{1, 2}
	replica, err := NewStore(Options{Partitions: partitions, Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	primary, err := NewStore(Options{Partitions: partitions, Seed: seed, Sink: func(p *Partition, b Batch) bool {
		if err := replica.Partition(p.ID).Apply(b); err != nil {
			t.Errorf("batch %d of partition %d: %v", b.Seq, p.ID, err)
		}
		return false
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		primary.Close()
		replica.Close()
	})
	return &pair{primary, replica, NewTx(primary)}
}

// compare holds the replica against the primary.
func (c *pair) compare(t *testing.T, when string) {
	t.Helper()
	for i := range c.primary.Partitions() {
		if got, want := c.replica.Partition(i).Digest(), c.primary.Partition(i).Digest(); got != want {
			t.Fatalf("%s: partition %d: the replica's digest is %x, the primary's %x", when, i, got, want)
		}
	}
}

// compactAll compacts one of the two, so that their memory differs.
func (c *pair) compactAll(s *Store) {
	for i := range s.Partitions() {
		s.Partition(i).CompactAll()
	}
}

// modelString is what a string should be.
type modelString struct {
	value    []byte
	raw      bool
	expireAt int64
}

// TestStringModel changes strings of all sizes at random and compares them with plain Go slices, and a replica with both.
func TestStringModel(t *testing.T) {
	const keys, steps, now = 24, 12_000, 1_000_000
	c := newPair(t, 4)
	rng := rand.New(rand.NewPCG(3, 4))
	model := map[string]modelString{}
	random := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	size := func() int {
		switch rng.IntN(40) {
		case 0:
			return largeStringBytes - 8 + rng.IntN(16) // to either side of the threshold
		case 1, 2, 3:
			return rng.IntN(5000)
		}
		return rng.IntN(100)
	}
	for step := range steps {
		key := fmt.Sprintf("key:%d", rng.IntN(keys))
		k := []byte(key)
		m, there := model[key]
		c.tx.Begin(now, c.primary.PartitionOf(k))
		var did string
		switch rng.IntN(8) {
		case 0, 1:
			m = modelString{value: random(size()), expireAt: int64(rng.IntN(2)) * (now + 1 + rng.Int64N(1000))}
			did = fmt.Sprintf("SetString of %d bytes", len(m.value))
			c.tx.SetString(k, m.value, StringAuto, m.expireAt)
		case 2:
			m = modelString{value: random(size()), raw: true}
			did = fmt.Sprintf("SetStringOf of %d bytes", len(m.value))
			c.tx.SetStringOf(k, len(m.value), func(b []byte) {
				if i := bytes.IndexFunc(b, func(r rune) bool { return r != 0 }); i >= 0 {
					t.Fatalf("step %d: SetStringOf gives memory that is not zero at %d", step, i)
				}
				copy(b, m.value)
			}, StringRaw, 0)
		case 3, 4, 5:
			offset, data := rng.IntN(len(m.value)+20), random(size()%300)
			if rng.IntN(2) == 0 {
				offset = len(m.value)
			}
			did = fmt.Sprintf("Patch of %d bytes at %d of %d", len(data), offset, len(m.value))
			c.tx.Patch(k, offset, data)
			grown := make([]byte, max(len(m.value), offset+len(data)))
			copy(grown, m.value)
			copy(grown[offset:], data)
			m.value, m.raw = grown, true
		case 6:
			did = "MakeRaw"
			if !there {
				c.tx.End()
				continue
			}
			c.tx.MakeRaw(k)
			m.raw = true
		case 7:
			did = "Del"
			if got := c.tx.Del(k); got != there {
				t.Fatalf("step %d: Del of %s says %v, want %v", step, key, got, there)
			}
			delete(model, key)
			c.tx.End()
			continue
		}
		model[key] = m
		b, ok, err := c.tx.String(k)
		if !ok || err != nil || !bytes.Equal(b, m.value) {
			t.Fatalf("step %d: after %s %s holds %d bytes %.40q, %v %v, want %d bytes %.40q", step, did, key, len(b), b, ok, err, len(m.value), m.value)
		}
		v, _ := c.tx.Peek(k)
		if v.ExpireAt() != m.expireAt {
			t.Fatalf("step %d: after %s %s expires at %d, want %d", step, did, key, v.ExpireAt(), m.expireAt)
		}
		if want := stringEncoding(m.value); m.raw && v.Encoding() != "raw" || !m.raw && v.Encoding() != want {
			t.Fatalf("step %d: after %s the encoding of %s is %s, raw %v, by content %s", step, did, key, v.Encoding(), m.raw, want)
		}
		c.tx.End()
		if step%1000 == 0 {
			c.compare(t, fmt.Sprintf("step %d", step))
			c.compactAll(c.primary)
			c.compare(t, fmt.Sprintf("step %d, primary compacted", step))
			c.compactAll(c.replica)
		}
	}
	c.compare(t, "at the end")
	c.tx.BeginAll(now)
	for key, m := range model {
		if b, ok, _ := c.tx.String([]byte(key)); !ok || !bytes.Equal(b, m.value) {
			t.Errorf("at the end %s holds %d bytes, %v, want %d", key, len(b), ok, len(m.value))
		}
	}
	if got := c.tx.Len(0); got != len(model) {
		t.Errorf("at the end there are %d keys, want %d", got, len(model))
	}
	c.tx.End()
}

// TestSetStringOfOwnValue reads the key's old value while its new one is written.
func TestSetStringOfOwnValue(t *testing.T) {
	for _, size := range []int{1, 100, largeStringBytes + 1} {
		c := newPair(t, 1)
		key, value := []byte("k"), bytes.Repeat([]byte("x"), size)
		c.tx.Begin(1, 0)
		c.tx.SetString(key, value, StringAuto, 0)
		old, _, _ := c.tx.String(key)
		c.tx.SetStringOf(key, size+1, func(b []byte) { copy(b[1:], old) }, StringRaw, 0)
		got, _, _ := c.tx.String(key)
		if want := "\x00" + string(value); string(got) != want {
			t.Errorf("%d bytes: got %d bytes %.20q, want %.20q", size, len(got), got, want)
		}
		c.tx.End()
		c.compare(t, fmt.Sprint(size, " bytes"))
	}
}

// TestMakeRawUnwatched: a change of the encoding alone reaches the replica, and no WATCH.
func TestMakeRawUnwatched(t *testing.T) {
	c := newPair(t, 1)
	key := []byte("k")
	c.tx.Begin(1, 0)
	c.tx.SetString(key, []byte("12"), StringAuto, 0)
	c.tx.End()

	c.tx.Begin(1, 0)
	w := c.tx.Watch(key)
	c.tx.MakeRaw(key)
	if v, _ := c.tx.Peek(key); v.Encoding() != "raw" {
		t.Errorf("encoding %s, want raw", v.Encoding())
	}
	if !c.tx.Unchanged(w) {
		t.Error("the watch has seen MakeRaw")
	}
	c.tx.Patch(key, 0, []byte("2"))
	if c.tx.Unchanged(w) {
		t.Error("the watch has not seen Patch")
	}
	c.tx.End()
	w.Unwatch()
	c.compare(t, "after MakeRaw and Patch")
}

// TestPatchRefused: a batch that would make a string longer than any is refused, not applied.
func TestPatchRefused(t *testing.T) {
	c := newPair(t, 1)
	effect := append([]byte{opPatch, 0}, appendBytes(nil, []byte("k"))...)
	effect = append(effect, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f) // 2^63-1
	effect = appendBytes(effect, []byte("x"))
	p := c.replica.Partition(0)
	if err := p.Apply(Batch{Seq: 1, Count: 1, Effects: effect}); err == nil {
		t.Error("a patch at 2^63-1 was applied")
	}
}

// TestOverwriteIsUse: overwriting a key counts for eviction as reading it does.
func TestOverwriteIsUse(t *testing.T) {
	c := newPair(t, 1)
	key := []byte("k")
	for _, now := range []int64{1_000_000, 9_000_000} {
		c.tx.Begin(now, 0)
		c.tx.SetString(key, []byte("v"), StringAuto, 0)
		if v, _ := c.tx.Peek(key); v.IdleSeconds(now) != 0 {
			t.Errorf("written at %d ms, it is idle for %d s", now, v.IdleSeconds(now))
		}
		c.tx.End()
	}
	c.primary.Limits.LFU.Store(true)
	c.primary.Limits.LFULogFactor.Store(0) // every use counts
	c.tx.Begin(9_000_000, 0)
	defer c.tx.End()
	c.tx.Del(key)
	c.tx.SetString(key, []byte("v"), StringAuto, 0)
	for range 10 {
		c.tx.SetString(key, []byte("v"), StringAuto, 0)
	}
	if v, _ := c.tx.Peek(key); v.Frequency(9_000_000) != lfuInitValue+10 {
		t.Errorf("written eleven times, its counter is %d, want %d", v.Frequency(9_000_000), lfuInitValue+10)
	}
}
