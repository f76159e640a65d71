package partition

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

func dictPut(d *dict, key, value string, expireAt int64) {
	h := d.hash([]byte(key))
	r, _ := d.put(d.find(h, []byte(key)), h, []byte(key), kindString, 0, len(value), expireAt)
	copy(r.value(), value)
}

// checkDict holds the dict against its invariants: sorted segments, homes, counts, live bytes.
func checkDict(t *testing.T, d *dict) {
	t.Helper()
	count, expiring, live := 0, 0, 0
	for id := range d.segments {
		s := &d.segments[id]
		slots, last, n := d.slots(s), uint64(0), 0
		for i := range s.size() {
			w := slotAt(slots, i)
			if w == 0 {
				continue
			}
			n++
			tag := w >> tagShift
			if tag < last {
				t.Fatalf("segment %d slot %d: tag %d after %d", id, i, tag, last)
			}
			last = tag
			hm := home(tag, s.size())
			for j := hm; j < i; j++ {
				if slotAt(slots, j) == 0 {
					t.Fatalf("segment %d slot %d: a gap at %d, after its home %d", id, i, j, hm)
				}
			}
			r := d.record(slotOff(w))
			live += r.size()
			if r.mem[0]&deadRecord != 0 {
				t.Fatalf("segment %d slot %d: dead record %q", id, i, r.key())
			}
			at := r.expireAt()
			if (at != 0) != (w&expirySlot != 0) {
				t.Fatalf("key %q: expiry %d, slot's expiry bit %v", r.key(), at, w&expirySlot != 0)
			}
			if at != 0 {
				expiring++
				if s.minExpire == 0 || s.minExpire > at {
					t.Fatalf("key %q expires at %d, its segment claims none before %d", r.key(), at, s.minExpire)
				}
			}
		}
		if n != int(s.count) {
			t.Fatalf("segment %d: count %d, found %d", id, s.count, n)
		}
		count += n
	}
	if count != d.count || expiring != d.expiring || live != d.arena.live {
		t.Fatalf("count %d, found %d; expiring %d, found %d; live %d, found %d", d.count, count, d.expiring, expiring, d.arena.live, live)
	}
}

func TestDictAgainstMap(t *testing.T) {
	type value struct {
		s  string
		at int64
	}
	rnd := rand.New(rand.NewPCG(1, 7))
	space := NewSpace()
	d := newDict(space, Seed{1, 2})
	want := map[string]value{}
	for step := range 300_000 {
		// The number of keys swells and shrinks.
		keys := 1 + 20_000*((step/50_000)%3)
		key := fmt.Sprint("key:", rnd.IntN(keys))
		if rnd.IntN(3) > 0 {
			v := value{s: string(make([]byte, rnd.IntN(200)))}
			if rnd.IntN(200) == 0 {
				v.s = string(make([]byte, rnd.IntN(70_000)))
			}
			v.s = fmt.Sprint(step, v.s)
			if rnd.IntN(4) == 0 {
				v.at = int64(1 + rnd.IntN(1e12))
			}
			dictPut(d, key, v.s, v.at)
			want[key] = v
		} else {
			e := d.find(d.hash([]byte(key)), []byte(key))
			if _, ok := want[key]; ok != (e.off != 0) {
				t.Fatalf("step %d: key %q: found %v, want %v", step, key, e.off != 0, ok)
			}
			if e.off != 0 {
				d.remove(e)
				delete(want, key)
			}
		}
		d.compact(256)
		if step%30_000 == 0 {
			checkDict(t, d)
		}
	}
	checkDict(t, d)
	for d.compact(1 << 20) {
	}
	checkDict(t, d)
	for key, v := range want {
		r, ok := d.get([]byte(key))
		if !ok || string(r.value()) != v.s || r.expireAt() != v.at {
			t.Fatalf("key %q: got %v %.20q %d, want %.20q %d", key, ok, r.value(), r.expireAt(), v.s, v.at)
		}
	}
	if len(want) != d.count {
		t.Errorf("count: got %d, want %d", d.count, len(want))
	}
	if dead := d.arena.total - d.arena.live; dead > d.arena.total/4+2*chunkMaxBytes {
		t.Errorf("after compaction %d of %d bytes are dead", dead, d.arena.total)
	}
	d.release()
	if space.Used() != 0 {
		t.Errorf("used after release: got %d, want 0", space.Used())
	}
}

func TestDictBytesPerKey(t *testing.T) {
	space := NewSpace()
	d := newDict(space, Seed{1, 2})
	var key [16]byte
	value := string(make([]byte, 32))
	for n := 1; n <= 100_000; n++ {
		binary.LittleEndian.PutUint64(key[:], uint64(n))
		dictPut(d, string(key[:]), value, 0)
		d.compact(512)
		if n >= 4000 && n%7000 == 0 {
			if per := float64(space.Used()) / float64(n); per > 85 {
				t.Errorf("%d keys of 16 + 32 B: %.1f B a key, want at most 85", n, per)
			}
		}
	}
}

func BenchmarkDictFind(b *testing.B) {
	for _, n := range []int{1000, 1_000_000} {
		d := newDict(NewSpace(), Seed{1, 2})
		keys := make([][]byte, n)
		for i := range keys {
			keys[i] = fmt.Appendf(nil, "key:%012d", i)
			dictPut(d, string(keys[i]), "0123456789abcdef0123456789abcdef", 0)
		}
		b.Run(fmt.Sprintf("hit/%d", n), func(b *testing.B) {
			for i := range b.N {
				k := keys[i*7919%n]
				if d.find(d.hash(k), k).off == 0 {
					b.Fatal("missing")
				}
			}
		})
		b.Run(fmt.Sprintf("miss/%d", n), func(b *testing.B) {
			for i := range b.N {
				k := binary.LittleEndian.AppendUint64(nil, uint64(i))
				if d.find(d.hash(k), k).off != 0 {
					b.Fatal("found")
				}
			}
		})
	}
}
