package partition

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var walkSeed = flag.Uint64("walk.seed", 1, "of TestWalk's first run")

func TestBoundR19(t *testing.T) {
	for _, c := range []struct {
		bound Bound
		h     uint64
		want  bool
	}{
		{0, 0, false},
		{0, math.MaxUint64, false},
		{boundStep, 0, true},
		{boundStep, boundStep - 1, true},
		{boundStep, boundStep, false},
		{boundStep, boundStep + 1, false},
		{math.MaxUint64 - boundStep + 1, math.MaxUint64 - boundStep, true},
		{math.MaxUint64 - boundStep + 1, math.MaxUint64, false},
		{BoundEnd, 0, true},
		{BoundEnd, math.MaxUint64, true},
	} {
		if got := c.bound.passed(c.h); got != c.want {
			t.Errorf("hash %016x is behind bound %016x: got %v, want %v", c.h, c.bound, got, c.want)
		}
		if b := boundOf(c.h); !b.valid() || b.passed(c.h) || c.h-uint64(b) >= boundStep {
			t.Errorf("hash %016x begins a step at %016x", c.h, b)
		}
	}
}

const (
	walkSteps     = 12_000
	walkDatabases = 3
	walkKeys      = 60
	walkFillers   = 2000   // further keys, so that indexes have several segments
	walkGrown     = 40_000 // keys that were there before, in some of the runs
)

// TestWalkR19 fills a copy while the original changes at random: every type, packed and large, in several databases, with
// expiries, renames, flushes and swaps. Chunks are taken and batches delivered at random times. Whenever the copy
// is whole and has all batches it must hold the same, and then it starts again. The indexes of the two have been through
// different things, and are compacted meanwhile.
func TestWalkR19(t *testing.T) {
	for i, c := range []struct {
		name                   string
		senderGrown, copyGrown bool
	}{
		{"fresh", false, false},
		{"the sender had more keys", true, false},
		{"the copy had more keys", false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWalkRun(t, *walkSeed+uint64(i))
			if c.senderGrown {
				growAndEmpty(t, w.sender)
			}
			if c.copyGrown {
				growAndEmpty(t, w.copy)
			}
			w.fill()
			if a, b := w.sender.dbs[0], w.copy.dbs[0]; c.copyGrown && len(a.segments) >= len(b.segments) ||
				c.senderGrown && len(a.segments) < walkGrown/segmentSlotsMax {
				t.Fatal("the indexes are alike")
			}
			for range walkSteps {
				w.step()
			}
			if w.whole < 5 || w.restarts < 2 || w.ahead < 100 || w.behind < 100 {
				t.Errorf("the copy was whole %d times and began again %d times; %d effects were ahead of the walk, %d behind",
					w.whole, w.restarts, w.ahead, w.behind)
			}
			w.finish()
			checkPartition(t, w.copy)

			// What was filled can fill another.
			third := mustStore(t, Options{Partitions: 1, Seed: w.seed}).Partition(0)
			for from := Bound(0); from != BoundEnd; {
				var chunk []byte
				chunk, from, _ = w.copy.AppendChunk(nil, from, 5000)
				if err := third.LoadChunk(chunk); err != nil {
					t.Fatal(err)
				}
			}
			comparePartitions(t, third, w.sender)
		})
	}
}

// walkRun is an original, its log, and a copy that is being filled.
type walkRun struct {
	testing.TB
	*rand.Rand
	seed   Seed
	tx     *Tx
	sender *Partition
	now    int64 // ms since 1970

	log  [][]byte // the batch with sequence number i at i-1
	from Bound    // the next chunk begins here

	copy  *Partition
	sent  uint64 // the last batch that the copy has got
	fresh bool   // the copy was never reset

	whole, restarts, ahead, behind int
}

func newWalkRun(t testing.TB, seed uint64) *walkRun {
	w := &walkRun{TB: t, Rand: rand.New(rand.NewPCG(seed, 0)), seed: Seed{seed, 9}, now: 1_000_000, fresh: true}
	limits := NewLimits()
	limits.HashMaxEntries.Store(8)
	limits.ZsetMaxEntries.Store(8)
	store := mustStore(t, Options{Partitions: 1, Seed: w.seed, Limits: limits, Sink: func(_ *Partition, b Batch) bool {
		if b.Seq != uint64(len(w.log))+1 {
			t.Fatalf("batch %d after %d", b.Seq, len(w.log))
		}
		w.log = append(w.log, AppendBatch(nil, b))
		return false
	}})
	w.tx, w.sender = NewTx(store), store.Partition(0)
	w.tx.rng = w.Rand
	w.copy = mustStore(t, Options{Partitions: 1, Seed: w.seed, Limits: limits}).Partition(0)
	w.copy.SetActive(false)
	return w
}

// growAndEmpty gives a partition's first database the index of many keys, and none of them.
func growAndEmpty(t testing.TB, p *Partition) {
	var effects []byte
	for _, op := range []byte{opSet, opDel} {
		for i := range walkGrown {
			effects = appendBytes(append(effects, op, 0), fmt.Append(nil, "grown", i))
			if op == opSet {
				effects = append(effects, kindString, 0, 0)
			}
		}
	}
	if err := p.Apply(Batch{Seq: 1, Count: 2 * walkGrown, Effects: effects}); err != nil {
		t.Fatal(err)
	}
	p.seq = 0
}

func (w *walkRun) fill() {
	w.do(func(tx *Tx) {
		for i := range walkFillers {
			tx.SetString(fmt.Append(nil, "fill", i), fmt.Append(nil, i), StringAuto, 0)
		}
	})
}

func (w *walkRun) step() {
	w.now += int64(w.IntN(20))
	switch n := w.IntN(1000); {
	case n < 4:
		w.sender.CompactAll()
	case n < 8:
		w.copy.CompactAll()
	case n < 20:
		w.sender.ExpireDue(w.now)
	case n < 23:
		w.all(func(tx *Tx) { tx.FlushDB(1 + w.IntN(walkDatabases-1)) })
	case n < 26:
		w.all(func(tx *Tx) { tx.SwapDB(w.IntN(walkDatabases), w.IntN(walkDatabases)) })
	case n < 150:
		w.chunk([]int{0, 100, 5000, 10_000}[w.IntN(4)])
	case n < 250:
		w.deliver(w.sent + uint64(w.IntN(8)))
	default:
		w.do(w.change)
	}
	if w.IntN(500) == 0 {
		w.finish()
	}
}

// do runs one transaction on the sender.
func (w *walkRun) do(f func(tx *Tx)) {
	w.tx.Begin(w.now, 0)
	f(w.tx)
	w.tx.End()
}

func (w *walkRun) all(f func(tx *Tx)) {
	w.tx.BeginAll(w.now)
	f(w.tx)
	w.tx.End()
}

// chunk takes a chunk and delivers what comes before it, and the chunk.
func (w *walkRun) chunk(maxBytes int) {
	if w.from == BoundEnd {
		return
	}
	before := w.sender.Digest()
	chunk, next, seq := w.sender.AppendChunk([]byte("before"), w.from, maxBytes)
	if w.sender.Digest() != before || w.sender.Seq() != seq || string(chunk[:6]) != "before" {
		w.Fatal("taking a chunk changes something")
	}
	if next <= w.from {
		w.Fatalf("a chunk from %x to %x", w.from, next)
	}
	if w.from == 0 {
		if !w.fresh {
			w.copy.ResetTo(0)
		}
		w.fresh, w.sent = false, seq
	} else if !w.deliver(seq) {
		return
	}
	if err := w.copy.LoadChunk(chunk[6:]); err != nil {
		w.Fatalf("chunk from %x to %x: %v", w.from, next, err)
	}
	w.from = next
}

// deliver brings the copy up to a sequence number; false where the walk has to start again.
func (w *walkRun) deliver(to uint64) bool {
	for w.from != 0 && w.sent < min(to, uint64(len(w.log))) {
		b, _, err := DecodeBatch(w.log[w.sent])
		if err != nil {
			w.Fatal(err)
		}
		w.count(b)
		switch err := w.copy.ApplyBehind(b, w.from); {
		case err == nil:
			w.sent++
		case errors.Is(err, ErrRestartWalk) && w.from != BoundEnd:
			w.from = 0
			w.restarts++
			return false
		default:
			w.Fatalf("batch %d at bound %x: %v", b.Seq, w.from, err)
		}
	}
	return true
}

// count notes on which side of the walk a batch's first key is.
func (w *walkRun) count(b Batch) {
	r := effectReader{b: b.Effects[2:]}
	switch key := r.bytes(); {
	case w.from == BoundEnd || len(key) == 0:
	case w.from.passed(w.seed.hash(key)):
		w.behind++
	default:
		w.ahead++
	}
}

// finish ends the walk and compares; then, most often, the next one begins.
func (w *walkRun) finish() {
	for w.from != BoundEnd {
		w.chunk(1 << 20)
	}
	w.deliver(math.MaxUint64)
	comparePartitions(w, w.copy, w.sender)
	w.whole++
	if w.IntN(4) > 0 {
		w.from = 0
	}
}

func comparePartitions(t testing.TB, got, want *Partition) {
	t.Helper()
	if g, w := got.Seq(), want.Seq(); g != w {
		t.Fatalf("the copy is at %d, the original at %d", g, w)
	}
	if g, w := got.LastTimeMs(), want.LastTimeMs(); g != w {
		t.Fatalf("the copy's log time is %d, the original's %d", g, w)
	}
	gotContent, gotSeq := got.ContentDigest()
	wantContent, wantSeq := want.ContentDigest()
	if gotContent != wantContent || gotSeq != wantSeq {
		t.Fatalf("content digest %x at %d, want %x at %d\n%s", gotContent, gotSeq, wantContent, wantSeq, differences(got, want))
	}
	if g, w := got.Digest(), want.Digest(); g != w {
		t.Fatalf("digest %x, want %x\n%s", g, w, differences(got, want))
	}
}

func differences(got, want *Partition) string {
	contents := func(p *Partition) map[string]string {
		all := map[string]string{}
		for db, d := range p.dbs {
			if d == nil {
				continue
			}
			d.each(func(r record) bool {
				v := Value{rec: r, p: p}
				all[fmt.Sprintf("db %d key %q", db, r.key())] = fmt.Sprintf("%s, expires %d, %q", v.Encoding(), v.ExpireAt(), v.Dump(nil))
				return true
			})
		}
		return all
	}
	var b strings.Builder
	ours, theirs := contents(got), contents(want)
	for key, v := range theirs {
		if ours[key] != v {
			fmt.Fprintf(&b, "\t%s: got %.200s, want %.200s\n", key, ours[key], v)
		}
	}
	for key, v := range ours {
		if theirs[key] == "" {
			fmt.Fprintf(&b, "\t%s: got %.200s, want nothing\n", key, v)
		}
	}
	return b.String()
}

// change makes one random change to a random key.
func (w *walkRun) change(tx *Tx) {
	tx.DB = w.IntN(walkDatabases)
	key := fmt.Append(nil, "k", w.IntN(walkKeys))
	v, ok := tx.Peek(key)
	typ := Type(1 + w.IntN(int(TypeHash)))
	if ok {
		typ = v.Type()
	}
	switch n := w.IntN(100); {
	case n < 4:
		tx.Del(key)
	case n < 10:
		tx.ExpireAt(key, []int64{0, w.now + int64(w.IntN(5000))}[w.IntN(2)])
	case n < 16 && ok: // RENAME, MOVE, COPY
		dump, expireAt := v.Dump(nil), v.ExpireAt()
		if w.IntN(3) > 0 {
			tx.Del(key)
		}
		tx.DB = w.IntN(walkDatabases)
		tx.Restore(fmt.Append(nil, "k", w.IntN(walkKeys)), dump, expireAt)
	case n < 30:
		tx.DB = 0
		if key := fmt.Append(nil, "fill", w.IntN(walkFillers)); !tx.Del(key) {
			tx.SetString(key, key, StringAuto, 0)
		}
	default:
		w.changeValue(tx, key, typ)
	}
}

func (w *walkRun) changeValue(tx *Tx, key []byte, typ Type) {
	word := func(prefix string, n int) []byte { return fmt.Append(nil, prefix, w.IntN(n)) }
	words := func(prefix string, n, most int) (out [][]byte) {
		for range 1 + w.IntN(most) {
			out = append(out, word(prefix, n))
		}
		return out
	}
	switch typ {
	case TypeString:
		switch w.IntN(40) {
		case 0:
			tx.SetString(key, make([]byte, largeStringBytes+1+w.IntN(100)), StringAuto, 0)
		case 1, 2, 3, 4, 5, 6, 7, 8, 9, 10:
			tx.SetString(key, word("", 1000), StringAuto, w.now+int64(w.IntN(3000)))
		case 11:
			tx.SetString(key, bytes.Repeat(word("x", 9), w.IntN(5000)), StringAuto, 0)
		default:
			tx.Patch(key, w.IntN(40), word("patch", 100))
		}
	case TypeHash:
		if w.IntN(3) == 0 {
			tx.HDel(key, words("f", 12, 4)...)
			return
		}
		tx.HSet(key, word("f", 12), bytes.Repeat([]byte("v"), w.IntN(70)), word("f", 12), word("v", 9))
	case TypeSet:
		s, ok, _ := tx.Set(key)
		switch n := w.IntN(10); {
		case n == 0:
			tx.SAdd(key, words("many", 3000, 2000)...)
		case n < 3 && ok && s.Len() > 40: // almost all go, so that a large one is packed again
			tx.SPop(key, &s, s.Len()-20)
		case n < 5 && ok:
			tx.SPop(key, &s, 1)
		case n < 7:
			tx.SRem(key, words("many", 100, 4)...)
		case n < 9:
			tx.SAdd(key, words("", 40_000, 3)...)
		default:
			tx.SAdd(key, words("m", 20, 3)...)
		}
	case TypeList:
		l, _, _ := tx.List(key)
		index := w.IntN(l.Len() + 1)
		switch w.IntN(4) {
		case 0:
			tx.ListSplice(key, index, w.IntN(l.Len()-index+1))
		case 1:
			tx.ListSplice(key, index, 0, bytes.Repeat(word("element", 9), 1+w.IntN(200)))
		default:
			tx.ListSplice(key, []int{0, index, l.Len()}[w.IntN(3)], 0, words("e", 100, 5)...)
		}
	case TypeZset:
		z, _, _ := tx.Zset(key)
		switch n := w.IntN(10); {
		case n == 0 && z.Len() > 2:
			tx.ZCut(key, w.IntN(z.Len()), 1)
		case n == 1:
			tx.ZRem(key, words("m", 15, 5)...)
		case n == 2 && z.Len() > 8:
			tx.StoreZset(key, z, 1, z.Len()-2, ZsetArrival{})
		default:
			tx.ZAdd(key, 0, []float64{math.Copysign(0, -1), 0, 1.5, -7, math.Inf(1)}[w.IntN(5)], word("m", 15))
		}
	}
}

// The key at the bound itself is the next to come: changes of it are ahead, and the walk brings them. The same key in
// several databases comes at once.
func TestWalkChangesAtTheBoundR19(t *testing.T) {
	w := newWalkRun(t, 1)
	keys := make([][]byte, 20)
	w.do(func(tx *Tx) {
		for i := range keys {
			keys[i] = fmt.Append(nil, "key", i)
			for tx.DB = range 5 {
				tx.SetString(keys[i], []byte("old"), StringAuto, 0)
			}
		}
	})
	slices.SortFunc(keys, func(a, b []byte) int {
		if w.seed.hash(a) < w.seed.hash(b) {
			return -1
		}
		return 1
	})
	w.chunk(0)
	for i, key := range keys {
		w.chunk(0)
		next := BoundEnd
		if i+1 < len(keys) {
			next = boundOf(w.seed.hash(keys[i+1]))
		}
		if w.from != next {
			t.Fatalf("after key %d of %d the walk is at %x, want %x", i, len(keys), w.from, next)
		}
		if i+2 >= len(keys) {
			break
		}
		for tx, j := w.tx, i; j < i+3; j++ { // one behind, one at the bound, one ahead
			w.do(func(*Tx) {
				tx.DB = 0
				tx.Patch(keys[j], 3, fmt.Append(nil, "+", i))
				tx.DB = 7
				tx.ListSplice(keys[j], 0, 0, key)
				tx.DB = 2 + i%2
				tx.Del(keys[j])
			})
		}
	}
	w.finish()
}

// A chunk ends after chunkSlotsMax index slots, however few keys there are, and the walk gets to its end.
func TestChunkEndsInEmptyIndexR19(t *testing.T) {
	w := newWalkRun(t, 1)
	w.do(func(tx *Tx) {
		for i := range 30 * chunkSlotsMax {
			tx.SetString(fmt.Append(nil, i), nil, StringAuto, 0)
		}
	})
	w.do(func(tx *Tx) {
		for i := range 30 * chunkSlotsMax {
			if i%1000 > 0 {
				tx.Del(fmt.Append(nil, i))
			}
		}
	})
	chunks, slots := 0, 0
	for _, s := range w.sender.dbs[0].segments {
		slots += s.size()
	}
	for ; w.from != BoundEnd; chunks++ {
		w.chunk(1 << 20)
	}
	if want := slots/(chunkSlotsMax+segmentSlotsMax) + 1; slots < chunkSlotsMax || chunks < want || chunks > want+1 {
		t.Errorf("a walk over %d slots took %d chunks, want %d", slots, chunks, want)
	}
	w.finish()
}

func TestLoadChunkRefuses(t *testing.T) {
	const seq = 7
	source := mustStore(t, Options{Partitions: 2, Seed: Seed{1, 2}})
	tx := NewTx(source)
	key := []byte("key")
	p := source.PartitionOf(key)
	for i := range seq { // always the same keys: with some, a chunk of one key suits another seed as well
		tx.Begin(1, p)
		tx.ListSplice(key, 0, 0, []byte("element"))
		tx.SetString(fmt.Append([]byte("{key}"), i), nil, StringAuto, 0)
		tx.End()
	}
	good, _, _ := source.Partition(p).AppendChunk(nil, 0, 1<<20)
	second, _, _ := source.Partition(p).AppendChunk(nil, boundOf(Seed{1, 2}.hash(key)), 1<<20)
	none, _, _ := source.Partition(p).AppendChunk(nil, 0, 0)
	first, bound, _ := source.Partition(p).AppendChunk(nil, 0, chunkHeadBytes+1) // one key

	signed := func(change func(chunk []byte) []byte) []byte {
		chunk := change(slices.Clone(good[:len(good)-chunkSumBytes]))
		return binary.LittleEndian.AppendUint32(chunk, crc32.Checksum(chunk, castagnoli))
	}
	set := func(at int, v byte) []byte {
		return signed(func(chunk []byte) []byte { chunk[at] = v; return chunk })
	}
	with := func(entry ...byte) []byte {
		return signed(func(chunk []byte) []byte { return append(chunk, entry...) })
	}
	for _, c := range []struct {
		name   string
		seed   Seed
		at     uint64 // sequence number of the copy
		chunks [][]byte
		ok     bool
	}{
		{"nothing is wrong", Seed{1, 2}, 99, [][]byte{good}, true},
		{"nothing is wrong with two", Seed{1, 2}, 99, [][]byte{first, restOf(t, source.Partition(p), bound)}, true},
		{"no bytes", Seed{1, 2}, 0, [][]byte{nil}, false},
		{"another version", Seed{1, 2}, 0, [][]byte{set(0, 2)}, false},
		{"another partition", Seed{1, 2}, 0, [][]byte{set(1, byte(1-p))}, false},
		{"no such bound", Seed{1, 2}, 0, [][]byte{set(5, 1)}, false},
		{"an end that is no bound", Seed{1, 2}, 0, [][]byte{set(13, 1)}, false},
		{"an end before the start", Seed{1, 2}, seq, [][]byte{signed(func(chunk []byte) []byte {
			copy(chunk[5:], chunk[13:21])
			return chunk
		})}, false},
		{"a later stretch at another sequence number", Seed{1, 2}, seq + 1, [][]byte{second}, false},
		{"a walk that begins twice", Seed{1, 2}, 0, [][]byte{first, good}, false},
		{"a walk that begins with something there", Seed{1, 2}, seq, [][]byte{second, none}, false},
		{"a stretch that comes twice", Seed{1, 2}, seq, [][]byte{second, second}, false},
		{"another seed", Seed{1, 3}, seq, [][]byte{first}, false},
		{"no such database", Seed{1, 2}, 0, [][]byte{with(Databases, 1, 'a', 0, 1, kindString)}, false},
		{"a key of another partition", Seed{1, 2}, 0, [][]byte{with(0, 1, foreignKey(source, p), 0, 1, kindString)}, false},
		{"a key longer than the chunk", Seed{1, 2}, 0, [][]byte{with(0, 9, 'a')}, false},
		{"a value longer than the chunk", Seed{1, 2}, 0, [][]byte{with(0, 3, '{', '}', '1', 0, 9, kindString)}, false},
		{"no value", Seed{1, 2}, 0, [][]byte{with(0, 5, 'k', 'e', 'y', 'k', 'e', 0, 0)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			copy := mustStore(t, Options{Partitions: 2, Seed: c.seed}).Partition(p)
			copy.ResetTo(c.at)
			var err error
			for _, chunk := range c.chunks {
				if err = copy.LoadChunk(chunk); err != nil {
					break
				}
			}
			switch {
			case c.ok && err != nil:
				t.Errorf("error %v", err)
			case c.ok:
				comparePartitions(t, copy, source.Partition(p))
			case !errors.Is(err, ErrBatch):
				t.Errorf("error %v, want one that is ErrBatch", err)
			}
			checkPartition(t, copy)
		})
	}
	for i := range good {
		wrong := slices.Clone(good)
		wrong[i] ^= 4
		for what, chunk := range map[string][]byte{"changed": wrong, "cut off": good[:i]} {
			if err := mustStore(t, Options{Partitions: 2, Seed: Seed{1, 2}}).Partition(p).LoadChunk(chunk); !errors.Is(err, ErrBatch) {
				t.Errorf("byte %d of %d %s: error %v", i, len(good), what, err)
			}
		}
	}
}

// A large set that shrinks is packed again: in the same order on a copy whose index has been through less (R19).
func TestPackedAgainAlikeR19(t *testing.T) {
	w := newWalkRun(t, 1)
	key := []byte("set")
	members := make([][]byte, 20_000)
	for i := range members {
		members[i] = fmt.Append(nil, "m", i)
	}
	w.do(func(tx *Tx) { tx.SAdd(key, members...) })
	w.do(func(tx *Tx) { tx.SRem(key, members[2*repackCount:]...) })
	w.chunk(1 << 20)
	w.do(func(tx *Tx) { tx.SRem(key, members[:repackCount]...) })
	w.do(func(tx *Tx) {
		if s, _, _ := tx.Set(key); s.large != nil || s.Len() != repackCount {
			t.Fatalf("the set has %d members, large: %v", s.Len(), s.large != nil)
		}
	})
	w.finish()
}

// restOf is the rest of a walk in one chunk.
func restOf(t *testing.T, p *Partition, from Bound) []byte {
	chunk, next, _ := p.AppendChunk(nil, from, 1<<20)
	if next != BoundEnd {
		t.Fatalf("the walk is at %x", next)
	}
	return chunk
}

// foreignKey is a key of one letter that is not of the partition.
func foreignKey(s *Store, partition int) byte {
	for c := byte('a'); ; c++ {
		if s.PartitionOf([]byte{c}) != partition {
			return c
		}
	}
}

// A whole database that changes under a walk breaks it off, whichever side its keys are on (R19). The whole copy takes it.
func TestWholeDatabaseUnderWalkR19(t *testing.T) {
	for name, effect := range map[string][]byte{"flush": {opFlushDB, 3, 0}, "swap": {opSwapDB, 3, 0, 4}} {
		for _, c := range []struct {
			bound Bound
			want  error
		}{{boundStep, ErrRestartWalk}, {BoundEnd, nil}} {
			p := mustStore(t, Options{Partitions: 1}).Partition(0)
			if err := p.ApplyBehind(Batch{Seq: 1, Count: 1, Effects: effect}, c.bound); !errors.Is(err, c.want) {
				t.Errorf("%s at bound %x: error %v, want %v", name, c.bound, err, c.want)
			}
		}
	}
}

// A partition that is reset is empty, counts from where it is told to, and the keys that were watched have changed (R10).
func TestResetToR10(t *testing.T) {
	s := mustStore(t, Options{Partitions: 1, Track: true})
	tx := NewTx(s)
	tx.Begin(5000, 0)
	tx.SetString([]byte("watched"), nil, StringAuto, 0)
	tx.DB = 4
	tx.SetString([]byte("large"), make([]byte, largeStringBytes+1), StringAuto, 0)
	many := make([][]byte, 1000)
	for i := range many {
		many[i] = fmt.Append(nil, "m", i)
	}
	tx.SAdd([]byte("set"), many...)
	tx.DB = 0
	watched := tx.Watch([]byte("watched"))
	tx.End()

	p := s.Partition(0)
	p.ResetTo(41)
	if empty := mustStore(t, Options{Partitions: 1}).Partition(0); p.Digest() != empty.Digest() || p.Seq() != 41 {
		t.Errorf("after ResetTo(41): digest %x, sequence number %d", p.Digest(), p.Seq())
	}
	checkPartition(t, p)
	tx.Begin(1, 0)
	if tx.Now != 5000 {
		t.Errorf("log time went back to %d", tx.Now)
	}
	if tx.Unchanged(watched) {
		t.Error("a watched key is gone and counts as unchanged")
	}
	tx.End()
	if seen := tx.Seen(); len(seen) > 0 {
		t.Errorf("a reply waits for %v, which was before the reset", seen)
	}
	tx.Begin(1, 0)
	tx.SetString([]byte("watched"), nil, StringAuto, 0)
	tx.End()
	if p.Seq() != 42 {
		t.Errorf("the batch after is %d", p.Seq())
	}
}

// A transaction that holds a partition takes the same chunk.
func TestTxAppendChunk(t *testing.T) {
	s := mustStore(t, Options{Partitions: 4})
	tx := NewTx(s)
	tx.Begin(1, 2)
	tx.End()
	a, _, _ := s.Partition(2).AppendChunk(nil, 0, 1000)
	tx.Begin(1, 2)
	b, next, seq := tx.AppendChunk(nil, 0, 1000)
	tx.End()
	if !bytes.Equal(a, b) || next != BoundEnd || seq != 0 {
		t.Errorf("got % x to %x at %d, want % x", b, next, seq, a)
	}
}

// FuzzChunk loads arbitrary bytes as a chunk, and as the keys of one: nothing panics, what does not fit is an ErrBatch, and
// what fits makes a sound partition that fills another one with the same.
func FuzzChunk(f *testing.F) {
	seed := Seed{1, 2}
	source := mustStore(f, Options{Partitions: 1, Seed: seed}).Partition(0)
	everyEffect(f, func(encoded []byte) {
		b, _, err := DecodeBatch(encoded)
		if err == nil {
			err = source.Apply(b)
		}
		if err != nil {
			f.Fatal(err)
		}
		for from := Bound(0); from != BoundEnd; {
			var chunk []byte
			if chunk, from, _ = source.AppendChunk(nil, from, 500); len(chunk) < 8<<10 {
				f.Add(chunk)
				f.Add(chunk[chunkHeadBytes : len(chunk)-chunkSumBytes])
			}
		}
	})
	f.Add([]byte{0, 1, 's', 0, 2, kindObject, byte(TypeString)})
	p := mustStore(f, Options{Partitions: 1, Seed: seed}).Partition(0)
	q := mustStore(f, Options{Partitions: 1, Seed: seed}).Partition(0)
	f.Fuzz(func(t *testing.T, data []byte) {
		head, _, _ := q.AppendChunk(nil, 0, 0)
		keys := append(append(head[:0], head[:chunkHeadBytes]...), data...)
		keys = binary.LittleEndian.AppendUint32(keys, crc32.Checksum(keys, castagnoli))
		for _, chunk := range [][]byte{data, keys} {
			p.ResetTo(0)
			err := p.LoadChunk(chunk)
			if err != nil && !errors.Is(err, ErrBatch) {
				t.Fatal(err)
			}
			checkPartition(t, p)
			if err != nil {
				continue
			}
			for from := Bound(0); from != BoundEnd; {
				if chunk, from, _ = p.AppendChunk(nil, from, 50); q.LoadChunk(chunk) != nil {
					t.Fatalf("does not load again: % x", chunk)
				}
			}
			comparePartitions(t, q, p)
			q.ResetTo(0)
		}
	})
}

// Copies whose limits differ hold the same in other encodings: their digests differ, and their content digests do not. What
// is different in content differs in both (R21).
func TestContentDigestR21(t *testing.T) {
	fill := func(limit int64, change func(tx *Tx)) *Partition {
		limits := NewLimits()
		limits.HashMaxEntries.Store(limit)
		limits.SetMaxIntset.Store(limit)
		limits.ZsetMaxEntries.Store(limit)
		tx := NewTx(mustStore(t, Options{Partitions: 1, Seed: Seed{1, 2}, Limits: limits}))
		tx.Begin(1, 0)
		defer tx.End()
		for i := range 20 {
			n := fmt.Append(nil, i)
			tx.HSet([]byte("hash"), n, []byte("value"))
			tx.SAdd([]byte("set"), n)
			tx.ZAdd([]byte("zset"), 0, math.Copysign(float64((19-i)/2), -1), n)
			tx.ListSplice([]byte("list"), i, 0, n)
		}
		tx.SetString([]byte("string"), []byte("17"), StringKind(kindString+byte(limit%2)), 0)
		if limit > 20 {
			tx.ListSplice([]byte("list"), 0, 0, make([]byte, packedListMaxBytes))
			tx.ListSplice([]byte("list"), 0, 1)
		}
		tx.SetString([]byte("expires"), nil, StringAuto, 99)
		if change != nil {
			change(tx)
		}
		return tx.parts[0]
	}
	base := fill(5, nil)
	want, _ := base.ContentDigest()
	for name, c := range map[string]struct {
		limit  int64
		change func(tx *Tx)
		same   bool
	}{
		"the same":              {5, nil, true},
		"other encodings":       {100, nil, true},
		"another string":        {5, func(tx *Tx) { tx.Patch([]byte("string"), 1, []byte("8")) }, false},
		"another expiry":        {5, func(tx *Tx) { tx.ExpireAt([]byte("expires"), 98) }, false},
		"no expiry":             {5, func(tx *Tx) { tx.ExpireAt([]byte("expires"), 0) }, false},
		"another field":         {100, func(tx *Tx) { tx.HDel([]byte("hash"), []byte("3")) }, false},
		"another field's value": {5, func(tx *Tx) { tx.HSet([]byte("hash"), []byte("3"), []byte("values")) }, false},
		"another member":        {100, func(tx *Tx) { tx.SAdd([]byte("set"), []byte("x")) }, false},
		"another score":         {5, func(tx *Tx) { tx.ZAdd([]byte("zset"), 0, -7, []byte("2")) }, false},
		"another order":         {100, func(tx *Tx) { tx.ListSplice([]byte("list"), 0, 2, []byte("1"), []byte("0")) }, false},
		"another database": {5, func(tx *Tx) {
			tx.Del([]byte("string"))
			tx.DB = 1
			tx.SetString([]byte("string"), []byte("17"), StringAuto, 0)
		}, false},
		"one key more": {100, func(tx *Tx) { tx.SetString(nil, nil, StringAuto, 0) }, false},
	} {
		p := fill(c.limit, c.change)
		if got, _ := p.ContentDigest(); got == want != c.same {
			t.Errorf("%s: content digest %x, the base's is %x", name, got, want)
		}
		if got := p.Digest(); got == base.Digest() != (c.same && c.limit == 5) {
			t.Errorf("%s: digest %x, the base's is %x", name, got, base.Digest())
		}
	}
}

// BenchmarkWalk walks a million small strings in chunks of 64 KiB, and reports how long a chunk holds the lock.
func BenchmarkWalk(b *testing.B) {
	const keys = 1_000_000
	w := newWalkRun(b, 1)
	w.do(func(tx *Tx) {
		for i := range keys {
			tx.SetString(fmt.Append(nil, "key:", i), []byte("a value of some bytes"), StringAuto, 0)
		}
	})
	w.log = nil
	var chunk []byte
	var longest, loading time.Duration
	bytes, chunks := 0, 0
	for b.Loop() {
		w.copy.ResetTo(0)
		for from := Bound(0); from != BoundEnd; chunks++ {
			start := time.Now()
			chunk, from, _ = w.sender.AppendChunk(chunk[:0], from, 64<<10)
			taken := time.Now()
			longest = max(longest, taken.Sub(start))
			if err := w.copy.LoadChunk(chunk); err != nil {
				b.Fatal(err)
			}
			loading += time.Since(taken)
			bytes += len(chunk)
		}
	}
	walks := float64(b.N)
	b.ReportMetric(float64(b.Elapsed()-loading)/walks/keys, "ns/key")
	b.ReportMetric(float64(loading)/walks/keys, "load-ns/key")
	b.ReportMetric(float64(bytes)/walks/keys, "B/key")
	b.ReportMetric(float64(b.Elapsed()-loading)/float64(chunks)/1000, "µs/chunk")
	b.ReportMetric(float64(longest)/1000, "longest-µs")
}

// BenchmarkDumpLarge takes and loads the chunk of one sorted set of a million members: as long is the partition locked.
func BenchmarkDumpLarge(b *testing.B) {
	w := newWalkRun(b, 1)
	w.do(func(tx *Tx) {
		for i := range 1_000_000 {
			tx.ZAdd([]byte("zset"), 0, float64(i*7919%1_000_000), fmt.Append(nil, "member:", i))
		}
	})
	w.log = nil
	var chunk []byte
	var loading time.Duration
	for b.Loop() {
		chunk, _, _ = w.sender.AppendChunk(nil, 0, 64<<10)
		start := time.Now()
		w.copy.ResetTo(0)
		if err := w.copy.LoadChunk(chunk); err != nil {
			b.Fatal(err)
		}
		loading += time.Since(start)
	}
	b.ReportMetric(float64(b.Elapsed()-loading)/float64(b.N)/1e6, "locked-ms")
	b.ReportMetric(float64(loading)/float64(b.N)/1e6, "load-ms")
	b.ReportMetric(float64(len(chunk))/1e6, "MB")
}

// BenchmarkContentDigest sums up a million small strings: as long is the partition locked.
func BenchmarkContentDigest(b *testing.B) {
	w := newWalkRun(b, 1)
	w.do(func(tx *Tx) {
		for i := range 1_000_000 {
			tx.SetString(fmt.Append(nil, "key:", i), []byte("a value of some bytes"), StringAuto, 0)
		}
	})
	for b.Loop() {
		w.sender.ContentDigest()
	}
}
