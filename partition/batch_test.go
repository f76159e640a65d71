package partition

import (
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// everyEffect runs a transaction for each effect there is, over every type in its small and its large form, and passes
// the encoded batches to f.
func everyEffect(tb testing.TB, f func(encoded []byte)) {
	limits := NewLimits()
	limits.HashMaxEntries.Store(4)
	limits.ZsetMaxEntries.Store(4)
	s := mustStore(tb, Options{Partitions: 1, Seed: Seed{1, 2}, Limits: limits, Sink: func(_ *Partition, b Batch) bool {
		f(AppendBatch(nil, b))
		return false
	}})
	b := func(words ...string) (out [][]byte) {
		for _, w := range words {
			out = append(out, []byte(w))
		}
		return out
	}
	many := b(strings.Fields("a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8")...)
	tx := NewTx(s)
	for i, change := range []func(){
		func() { tx.SetString([]byte("s"), []byte("value"), StringAuto, 0) },
		func() { tx.SetString([]byte("x"), []byte("17"), StringEmbedded, 5000) },
		func() { tx.SetString([]byte("big"), make([]byte, largeStringBytes+1), StringAuto, 0) },
		func() { tx.Patch([]byte("s"), 3, []byte("patched")) },
		func() { tx.Patch([]byte("big"), 9, []byte("patched")) },
		func() { tx.ExpireAt([]byte("s"), 9000) },
		func() { tx.HSet([]byte("h"), many[:4]...) },
		func() { tx.HSet([]byte("H"), many...) },
		func() { tx.HDel([]byte("h"), many[0]) },
		func() { tx.HDel([]byte("H"), many[0], many[2]) },
		func() { tx.SAdd([]byte("i"), b("3", "1", "70000")...) },
		func() { tx.SAdd([]byte("t"), many[:6]...) },
		func() { tx.SAdd([]byte("T"), b(strings.Repeat("long", 50), "m")...) },
		func() { tx.SRem([]byte("t"), many[0]) },
		func() { tx.SRem([]byte("i"), []byte("1")) },
		func() { tx.SRem([]byte("T"), []byte("m")) },
		func() { tx.ListSplice([]byte("l"), 0, 0, many...) },
		func() { tx.ListSplice([]byte("l"), 2, 3, []byte("between")) },
		func() { tx.ListSplice([]byte("L"), 0, 0, make([]byte, 3000), []byte("end")) },
		func() { tx.ListSplice([]byte("L"), 1, 0, make([]byte, 9000)) },
		func() { tx.ZAdd([]byte("z"), 0, 1.5, []byte("m")) },
		func() {
			for i, m := range many {
				tx.ZAdd([]byte("Z"), 0, float64(i), m)
			}
		},
		func() { tx.ZRem([]byte("Z"), many[1], many[3]) },
		func() { tx.ZCut([]byte("Z"), 1, 2) },
		func() {
			for _, key := range []string{"s", "big", "h", "H", "i", "t", "T", "l", "L", "z", "Z"} {
				if v, ok := tx.Peek([]byte(key)); ok {
					tx.Restore([]byte("copy:"+key), v.Dump(nil), int64(len(key)))
				}
			}
		},
		func() { tx.Del([]byte("big")) },
		func() { tx.SwapDB(0, 1) },
		func() { tx.FlushDB(1) },
	} {
		tx.Begin(int64(1+i), 0)
		change()
		tx.End()
	}
}

func TestBatchRoundTrip(t *testing.T) {
	seen := map[byte]bool{}
	everyEffect(t, func(encoded []byte) {
		b, rest, err := DecodeBatch(append(slices.Clone(encoded), "next"...))
		if err != nil || string(rest) != "next" {
			t.Fatalf("% x: %v, %q left over", encoded, err, rest)
		}
		seen[b.Effects[0]] = true
		if again := AppendBatch(nil, b); string(again) != string(encoded) {
			t.Errorf("encoded again\n% x, was\n% x", again, encoded)
		}
		for cut := range min(len(encoded), 200) {
			if _, _, err := DecodeBatch(encoded[:cut]); !errors.Is(err, ErrBatch) {
				t.Errorf("%d of %d bytes: error %v", cut, len(encoded), err)
			}
			wrong := slices.Clone(encoded)
			wrong[cut] ^= 4
			if _, _, err := DecodeBatch(wrong); !errors.Is(err, ErrBatch) {
				t.Errorf("byte %d of %d changed: error %v", cut, len(encoded), err)
			}
		}
	})
	for op := byte(opSet); op <= opFlushDB; op++ {
		if !seen[op] && op != opSwapDB {
			t.Errorf("no batch began with effect %d", op)
		}
	}
}

// TestBatchHeaderR28: origin and fields travel, also fields of types that are not known; a kind that is not known is refused.
func TestBatchHeaderR28(t *testing.T) {
	b := Batch{
		Partition: 3, Seq: 7, TimeMs: 99, Origin: 1 << 40, Group: 5, GroupSize: 2, Count: 1, Effects: []byte("effects"),
		Fields: append([]byte{77, 2}, "id"...),
	}
	if got, _, err := DecodeBatch(AppendBatch(nil, b)); err != nil || !reflect.DeepEqual(got, b) {
		t.Errorf("%+v became %+v, error %v", b, got, err)
	}
	for kind := BatchKind(1); kind < 10; kind++ {
		unknown := b
		unknown.Kind = kind
		if _, _, err := DecodeBatch(AppendBatch(nil, unknown)); !errors.Is(err, ErrBatch) || !strings.Contains(err.Error(), "kind") {
			t.Errorf("kind %d: error %v", kind, err)
		}
	}
	for _, fields := range [][]byte{{1}, {1, 2, 'x'}, {0x80}, {1, 0x80}, {1, 0, 2}} {
		wrong := b
		wrong.Fields = fields
		if _, _, err := DecodeBatch(AppendBatch(nil, wrong)); !errors.Is(err, ErrBatch) {
			t.Errorf("fields % x: error %v", fields, err)
		}
	}
}

// TestApplyRefuses: a batch that does not fit is an error, and not a panic.
func TestApplyRefuses(t *testing.T) {
	key := func(op byte, key string, arguments ...byte) []byte {
		return append(appendBytes([]byte{op, 0}, []byte(key)), arguments...)
	}
	score := binary.LittleEndian.AppendUint64([]byte{0, 1}, math.Float64bits(math.NaN()))
	for _, c := range []struct {
		name  string
		batch Batch
	}{
		{"a gap in the sequence", Batch{Seq: 9}},
		{"another partition's", Batch{Seq: 2, Partition: 1}},
		{"fewer effects than counted", Batch{Seq: 2, Count: 2, Effects: key(opDel, "s")}},
		{"more effects than counted", Batch{Seq: 2, Effects: key(opDel, "s")}},
		{"no such effect", Batch{Seq: 2, Count: 1, Effects: key(99, "s")}},
		{"no such database", Batch{Seq: 2, Count: 1, Effects: []byte{opDel, Databases, 1, 's'}}},
		{"a key longer than the batch", Batch{Seq: 2, Count: 1, Effects: []byte{opDel, 0, 9, 's'}}},
		{"a deletion of nothing", Batch{Seq: 2, Count: 1, Effects: key(opDel, "missing")}},
		{"an expiry of nothing", Batch{Seq: 2, Count: 1, Effects: key(opExpireAt, "missing", 1)}},
		{"a field of a string", Batch{Seq: 2, Count: 1, Effects: key(opHSet, "s", 1, 1, 'f', 1, 'v')}},
		{"a member of a string", Batch{Seq: 2, Count: 1, Effects: key(opSAdd, "s", 9, 1, 1, 'm')}},
		{"an element of a string", Batch{Seq: 2, Count: 1, Effects: key(opListSplice, "s", 0, 0, 1, 1, 'e')}},
		{"a splice behind the end", Batch{Seq: 2, Count: 1, Effects: key(opListSplice, "new", 1, 0, 1, 1, 'e')}},
		{"a splice of more than there is", Batch{Seq: 2, Count: 1, Effects: key(opListSplice, "new", 0, 1, 1, 1, 'e')}},
		{"a patch beyond the longest string", Batch{Seq: 2, Count: 1, Effects: key(opPatch, "s", 0x80, 0x80, 0x80, 0x80, 0x20, 1, 'x')}},
		{"a string of no such kind", Batch{Seq: 2, Count: 1, Effects: key(opSet, "s", kindObject, 0, 1, 'x')}},
		{"a hash without fields", Batch{Seq: 2, Count: 1, Effects: key(opHSet, "new", 0)}},
		{"a sorted set without members", Batch{Seq: 2, Count: 1, Effects: key(opZAdd, "new", 0, 0)}},
		{"a score that is no number", Batch{Seq: 2, Count: 1, Effects: append(key(opZAdd, "new", score...), 1, 'm')}},
		{"a cut of what is not there", Batch{Seq: 2, Count: 1, Effects: key(opZCut, "missing", 0, 1)}},
		{"databases that are not there", Batch{Seq: 2, Count: 1, Effects: []byte{opSwapDB, 0, 0, Databases}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := mustStore(t, Options{Partitions: 1}).Partition(0)
			if err := p.Apply(Batch{Seq: 1, Count: 1, Effects: key(opSet, "s", kindString, 0, 1, 'v')}); err != nil {
				t.Fatal(err)
			}
			if err := p.Apply(c.batch); !errors.Is(err, ErrBatch) {
				t.Errorf("Apply: error %v, want one that is ErrBatch", err)
			}
			checkPartition(t, p)
		})
	}
}

// checkPartition holds a partition against its invariants: its dicts', values that are well-formed and not empty, and
// contents that compaction leaves as they are.
func checkPartition(t *testing.T, p *Partition) {
	t.Helper()
	owned := 0
	for _, d := range p.dbs {
		if d == nil {
			continue
		}
		checkDict(t, d)
		d.each(func(r record) bool {
			v := Value{rec: r, p: p}
			dump := v.Dump(nil)
			if v.Type() != TypeString && !validDump(dump) {
				t.Fatalf("key %q: malformed or empty: % x", r.key(), dump)
			}
			if r.kind() == kindObject {
				owned++
				o := p.object(r)
				if d := o.index(); d != nil {
					checkDict(t, d)
				}
				if z, ok := o.(*largeZset); ok {
					checkScores(t, z)
				}
				if o.count() == 0 {
					t.Fatalf("key %q: a large %v of nothing", r.key(), o.typ())
				}
			}
			return true
		})
	}
	if n := len(p.objects) - len(p.spare); n != owned {
		t.Fatalf("%d large values, and keys refer to %d", n, owned)
	}
	before := p.Digest()
	p.CompactAll()
	if after := p.Digest(); after != before {
		t.Fatalf("digest %x became %x by compaction", before, after)
	}
}

// checkScores holds the two halves of a large sorted set against each other.
func checkScores(t *testing.T, l *largeZset) {
	t.Helper()
	z, n := Zset{large: l}, 0
	last := math.Inf(-1)
	for it := z.From(0, false); it.Next(); n++ {
		score, ok := z.Score(it.Member())
		if !ok || score != it.Score() || score < last {
			t.Fatalf("rank %d, member %q: score %v after %v; by the index %v, %v", n, it.Member(), it.Score(), last, score, ok)
		}
		last = score
	}
	if n != l.count() {
		t.Fatalf("%d members in order, %d in the index", n, l.count())
	}
}

// FuzzBatch decodes arbitrary bytes as a batch, and plays them as effects on a partition that holds something of every
// type: nothing panics, what does not fit is an ErrBatch, and the partition stays sound.
func FuzzBatch(f *testing.F) {
	var filling [][]byte
	everyEffect(f, func(encoded []byte) {
		b, _, _ := DecodeBatch(encoded)
		if len(encoded) < 4<<10 {
			f.Add(encoded)
			f.Add(b.Effects)
		}
		if op := b.Effects[0]; len(encoded) < 64<<10 && op != opPatch && op != opDel && op != opSwapDB && op != opFlushDB {
			filling = append(filling, encoded)
		}
	})
	p := mustStore(f, Options{Partitions: 1, Seed: Seed{1, 2}}).Partition(0)
	f.Fuzz(func(t *testing.T, data []byte) {
		if b, rest, err := DecodeBatch(data); err == nil {
			again, _, err := DecodeBatch(AppendBatch(nil, b))
			if err != nil || !reflect.DeepEqual(again, b) || len(rest) > len(data) {
				t.Fatalf("%+v became %+v, error %v", b, again, err)
			}
		} else if !errors.Is(err, ErrBatch) {
			t.Fatal(err)
		}

		refill(t, p, filling)
		p.mu.Lock()
		p.now = 1
		r := &effectReader{b: data}
		for len(r.b) > 0 && !patchesFar(r.b) {
			if err := p.applyEffect(r, BoundEnd); err != nil {
				if !errors.Is(err, ErrBatch) {
					t.Fatal(err)
				}
				break
			}
		}
		p.tidy(compactFloorBytes)
		p.mu.Unlock()
		checkPartition(t, p)
	})
}

// refill makes a partition hold what everyEffect leaves before it swaps and flushes, and nothing else. Large strings are
// left out: a fuzzer is to make many attempts.
func refill(t *testing.T, p *Partition, batches [][]byte) {
	p.mu.Lock()
	for db := range p.dbs {
		p.applyFlushDB(db)
	}
	p.tidy(0)
	p.mu.Unlock()
	for _, encoded := range batches {
		b, _, err := DecodeBatch(encoded)
		if err != nil {
			t.Fatal(err)
		}
		b.Seq = p.seq + 1
		if err := p.Apply(b); err != nil {
			t.Fatal(err)
		}
	}
}

// patchesFar tells whether the next effect is an opPatch that makes a string longer than a fuzzer should.
func patchesFar(effects []byte) bool {
	r := effectReader{b: effects}
	op, _, _ := r.byte(), r.byte(), r.bytes()
	return op == opPatch && r.uint() > 1<<20
}
