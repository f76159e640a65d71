package partition

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// modelZset is what a sorted set should be.
type modelZset struct {
	scores   map[string]float64
	large    bool
	expireAt int64
}

// add does to the model what ZADD does, with Redis's rules for the encoding.
func (m *modelZset) add(l *Limits, mode ZAddMode, score float64, member string) (float64, ZAdded) {
	old, there := m.scores[member]
	switch {
	case !there && mode&ZAddXX != 0, there && mode&ZAddNX != 0:
		return 0, ZRefused
	case !there:
		if m.scores == nil {
			m.scores = map[string]float64{}
		}
		m.scores[member] = score
		m.large = m.large || int64(len(m.scores)) > l.ZsetMaxEntries.Load() || int64(len(member)) > l.ZsetMaxValue.Load()
		return score, ZNew
	}
	if mode&ZAddIncr != 0 {
		score += old
	}
	switch {
	case math.IsNaN(score):
		return 0, ZNotANumber
	case mode&ZAddGT != 0 && score <= old, mode&ZAddLT != 0 && score >= old:
		return 0, ZRefused
	case score == old:
		return score, ZSame
	}
	m.scores[member] = score
	return score, ZChanged
}

// sorted is the members in order.
func (m *modelZset) sorted() (all []scored) {
	for member, score := range m.scores {
		all = append(all, scored{score, []byte(member)})
	}
	slices.SortFunc(all, func(a, b scored) int {
		return cmp.Or(cmp.Compare(a.score, b.score), bytes.Compare(a.member, b.member))
	})
	return all
}

// cut removes members by rank.
func (m *modelZset) cut(rank, n int) {
	for _, s := range m.sorted()[rank : rank+n] {
		delete(m.scores, string(s.member))
	}
}

// check compares a sorted set that was looked up with the model, through every way of reading it.
func (m *modelZset) check(z Zset, rng *rand.Rand) error {
	want := m.sorted()
	if z.Len() != len(want) {
		return fmt.Errorf("Len is %d, want %d", z.Len(), len(want))
	}
	from := rng.IntN(len(want))
	for _, reverse := range []bool{false, true} {
		rank, step := from, 1
		if reverse {
			step = -1
		}
		for it := z.From(from, reverse); it.Next(); rank += step {
			if rank < 0 || rank >= len(want) || !want[rank].is(it.Member(), it.Score()) {
				return fmt.Errorf("From(%d, %v) reads %.40q at %v with rank %d", from, reverse, it.Member(), it.Score(), rank)
			}
		}
		if rank != -1 && rank != len(want) {
			return fmt.Errorf("From(%d, %v) ends with rank %d of %d", from, reverse, rank, len(want))
		}
	}
	s := want[from]
	if score, ok := z.Score(s.member); !ok || score != s.score {
		return fmt.Errorf("Score(%.40q) is %v %v, want %v", s.member, score, ok, s.score)
	}
	if rank, ok := z.Rank(s.member); !ok || rank != from {
		return fmt.Errorf("Rank(%.40q) is %d %v, want %d", s.member, rank, ok, from)
	}
	if _, ok := z.Score([]byte("no member")); ok {
		return fmt.Errorf("there is a score of no member")
	}
	if _, ok := z.Rank([]byte("no member")); ok {
		return fmt.Errorf("there is a rank of no member")
	}
	for _, x := range []float64{s.score, s.score + 0.25, math.Inf(1), math.Inf(-1)} {
		for _, inclusive := range []bool{false, true} {
			n := 0
			for _, s := range want {
				if s.score < x || inclusive && s.score == x {
					n++
				}
			}
			if got := z.CountBelow(x, inclusive); got != n {
				return fmt.Errorf("CountBelow(%v, %v) is %d, want %d", x, inclusive, got, n)
			}
		}
	}
	if want[0].score == want[len(want)-1].score {
		for _, inclusive := range []bool{false, true} {
			n := from
			if inclusive {
				n++
			}
			if got := z.CountBelowMember(s.member, inclusive); got != n {
				return fmt.Errorf("CountBelowMember(%.40q, %v) is %d, want %d", s.member, inclusive, got, n)
			}
		}
	}
	if member, score := z.Random(rng); m.scores[string(member)] != score {
		return fmt.Errorf("Random gives %.40q at %v", member, score)
	}
	count, sample := rng.IntN(len(want)+1), map[string]float64{}
	z.Sample(rng, count, func(member []byte, score float64) { sample[string(member)] = score })
	if err := m.part("Sample", sample, count); err != nil {
		return err
	}
	clear(sample)
	for cursor := uint64(0); ; {
		cursor = z.Scan(cursor, 1+rng.IntN(50), func(member []byte, score float64) { sample[string(member)] = score })
		if cursor == 0 {
			return m.part("Scan", sample, len(want))
		}
	}
}

func (s scored) is(member []byte, score float64) bool {
	return s.score == score && bytes.Equal(s.member, member)
}

// part holds what was read against the model.
func (m *modelZset) part(how string, read map[string]float64, count int) error {
	if len(read) != count {
		return fmt.Errorf("%s reads %d members, want %d", how, len(read), count)
	}
	for member, score := range read {
		if want, ok := m.scores[member]; !ok || want != score {
			return fmt.Errorf("%s reads %.40q at %v, want %v %v", how, member, score, want, ok)
		}
	}
	return nil
}

// zsetPairs are members and scores of all kinds: few enough to be met again.
func zsetPairs(rng *rand.Rand) []scored {
	pairs := make([]scored, 1+rng.IntN(4))
	if rng.IntN(20) == 0 {
		pairs = make([]scored, 50+rng.IntN(400))
	}
	even := rng.IntN(3) == 0 // all have one score
	for i := range pairs {
		n := rng.IntN(600)
		member := fmt.Sprintf("member:%d", n)
		if rng.IntN(40) == 0 {
			member = strings.Repeat("long", 15+n%3) + member[7:] // to either side of the limit
		}
		score := []float64{0, 1, -1, 0.5, float64(n), float64(-n) / 3, math.Inf(1), math.Inf(-1), math.Copysign(0, -1)}[rng.IntN(9)]
		if even {
			score = 7
		}
		pairs[i] = scored{score, []byte(member)}
	}
	return pairs
}

// TestZsetModel changes sorted sets of both forms at random and compares them with Go maps, and with a replica that has
// other settings.
func TestZsetModel(t *testing.T) {
	const keys, steps, now = 12, 10_000, 1_000_000
	c := newPair(t, 4)
	c.replica.Limits.ZsetMaxEntries.Store(3)
	c.replica.Limits.ZsetMaxValue.Store(3)
	limits := c.primary.Limits
	rng := rand.New(rand.NewPCG(9, 10))
	model := map[string]*modelZset{}
	for i := range keys {
		model[fmt.Sprintf("key:%d", i)] = &modelZset{}
	}
	for step := range steps {
		limits.ZsetMaxEntries.Store([]int64{128, 0, 10, 300}[rng.IntN(1+step%4)])
		name := fmt.Sprintf("key:%d", rng.IntN(keys))
		key, m := []byte(name), model[name]
		c.tx.Begin(now, c.primary.PartitionOf(key))
		pairs, did := zsetPairs(rng), ""
		switch op := rng.IntN(12); {
		case op < 5:
			mode := []ZAddMode{0, 0, ZAddNX, ZAddXX, ZAddGT, ZAddLT, ZAddIncr, ZAddIncr | ZAddGT}[rng.IntN(8)]
			did = fmt.Sprintf("ZAdd in mode %d of %d members", mode, len(pairs))
			for _, s := range pairs {
				wantScore, want := m.add(limits, mode, s.score, string(s.member))
				score, got := c.tx.ZAdd(key, mode, s.score, s.member)
				if got != want || score != wantScore {
					t.Fatalf("step %d: ZAdd in mode %d of %q at %v gives %v %d, want %v %d", step, mode, s.member, s.score, score, got, wantScore, want)
				}
			}
		case op < 7:
			did = fmt.Sprintf("ZRem of %d members", len(pairs))
			want, members := len(m.scores), [][]byte(nil)
			for _, s := range pairs {
				delete(m.scores, string(s.member))
				members = append(members, s.member)
			}
			want -= len(m.scores)
			if got := c.tx.ZRem(key, members...); got != want {
				t.Fatalf("step %d: %s gives %d, want %d", step, did, got, want)
			}
		case op == 7 && len(m.scores) > 0:
			rank := rng.IntN(len(m.scores))
			n := 1 + rng.IntN(len(m.scores)-rank)
			did = fmt.Sprintf("ZCut of %d from %d", n, rank)
			m.cut(rank, n)
			c.tx.ZCut(key, rank, n)
		case op == 8 && len(m.scores) > 0:
			rank := rng.IntN(len(m.scores))
			n := rng.IntN(len(m.scores) - rank + 1)
			did = fmt.Sprintf("StoreZset of %d of its own from %d", n, rank)
			kept := m.sorted()[rank : rank+n]
			*m = modelZset{}
			for _, s := range kept {
				m.add(limits, 0, s.score, string(s.member))
			}
			z, _, _ := c.tx.Zset(key)
			c.tx.StoreZset(key, z, rank, n, ZsetArrival{})
		case op == 9:
			did = fmt.Sprintf("StoreZset of %d members", len(pairs))
			b := c.tx.NewZset()
			*m = modelZset{}
			for _, s := range pairs {
				b.Set(s.member, s.score)
				if score, ok := b.Score(s.member); !ok || score != s.score {
					t.Fatalf("step %d: the builder has %q at %v %v, want %v", step, s.member, score, ok, s.score)
				}
				m.add(limits, 0, s.score, string(s.member))
			}
			z := b.Zset()
			c.tx.StoreZset(key, z, 0, z.Len(), ZsetArrival{})
			b.Close()
		case op == 10 && len(m.scores) > 0:
			did = "Restore of its Dump"
			m.expireAt = int64(rng.IntN(2)) * (now + 1000)
			v, _ := c.tx.Peek(key)
			dump := v.Dump(nil)
			c.tx.Del(key)
			c.tx.Restore(key, dump, m.expireAt)
		case op == 11 && rng.IntN(3) == 0:
			did = "Del"
			c.tx.Del(key)
			*m = modelZset{}
		}
		if len(m.scores) == 0 {
			*m = modelZset{}
		}
		z, found, err := c.tx.Zset(key)
		if err != nil || found != (len(m.scores) > 0) {
			t.Fatalf("step %d: after %s the key is there: %v %v, want %v", step, did, found, err, !found)
		}
		if found {
			v, _ := c.tx.Peek(key)
			encoding := "listpack"
			if m.large {
				encoding = "skiplist"
			}
			if v.Encoding() != encoding || z.Packed() == m.large || v.ExpireAt() != m.expireAt {
				t.Fatalf("step %d: after %s %s is encoded as %s and expires at %d, want %s and %d",
					step, did, name, v.Encoding(), v.ExpireAt(), encoding, m.expireAt)
			}
			if err := m.check(z, rng); err != nil {
				t.Fatalf("step %d: after %s of %s: %v", step, did, name, err)
			}
			if z.Packed() && !packedZsetValid(z.blob) {
				t.Fatalf("step %d: after %s of %s the packed set is malformed: %x", step, did, name, z.blob)
			}
		}
		c.tx.End()
		if step%2000 == 1999 {
			c.compare(t, fmt.Sprint("step ", step))
			c.compactAll(c.replica)
			c.compare(t, fmt.Sprint("step ", step, ", replica compacted"))
		}
	}
	c.compactAll(c.primary)
	c.compare(t, "both compacted")
}

// TestZsetCompaction: while three of four members of a large set go, compaction moves records, and the ordered index
// follows them.
func TestZsetCompaction(t *testing.T) {
	const members = 20_000
	c := newPair(t, 1)
	key, rng, m := []byte("k"), rand.New(rand.NewPCG(11, 12)), &modelZset{}
	order := rng.Perm(members)
	for _, i := range order {
		member, score := fmt.Sprintf("member:%d", i), float64(i%50) // many of one score: members decide the order
		c.tx.Begin(1, 0)
		m.add(c.primary.Limits, 0, score, member)
		c.tx.ZAdd(key, 0, score, []byte(member))
		c.tx.End()
	}
	before := c.primary.Space.Used()
	for _, i := range order[:members*3/4] {
		member := fmt.Sprintf("member:%d", i)
		c.tx.Begin(1, 0)
		delete(m.scores, member)
		if n := c.tx.ZRem(key, []byte(member)); n != 1 {
			t.Fatalf("ZRem of %s gives %d", member, n)
		}
		c.tx.End()
	}
	check := func(when string) {
		t.Helper()
		for name, s := range map[string]*Store{"primary": c.primary, "replica": c.replica} {
			tx := NewTx(s)
			tx.Begin(1, 0)
			z, _, _ := tx.Zset(key)
			for rank := range members / 4 {
				it := z.From(rank, false)
				it.Next()
				if r, ok := z.Rank(it.Member()); !ok || r != rank || m.scores[string(it.Member())] != it.Score() {
					t.Fatalf("%s: %s: rank %d is %q at %v, whose rank is %d %v", when, name, rank, it.Member(), it.Score(), r, ok)
				}
			}
			if err := m.check(z, rng); err != nil {
				t.Fatalf("%s: %s: %v", when, name, err)
			}
			tx.End()
		}
		c.compare(t, when)
	}
	check("after removing")
	if after := c.primary.Space.Used(); after > before*3/5 {
		t.Errorf("%d of %d bytes are still used by a quarter of the members: removing pays for no compaction", after, before)
	}
	c.compactAll(c.primary)
	c.compactAll(c.replica)
	check("compacted")
}

// TestZsetWrongType: what does not fit a key changes nothing.
func TestZsetWrongType(t *testing.T) {
	c := newPair(t, 1)
	key := []byte("k")
	c.tx.Begin(1, 0)
	defer c.tx.End()
	c.tx.SetString(key, key, StringAuto, 0)
	before := c.tx.Changed()
	if _, _, err := c.tx.Zset(key); err != ErrWrongType {
		t.Errorf("Zset of a string: %v", err)
	}
	if n := c.tx.ZRem(key, key); n != 0 {
		t.Errorf("ZRem from a string gives %d", n)
	}
	if n := c.tx.Changed() - before; n != 0 {
		t.Errorf("%d effects", n)
	}
}

// TestZsetBadEffects: effects that do not fit are refused.
func TestZsetBadEffects(t *testing.T) {
	nan := binary.LittleEndian.AppendUint64(nil, math.Float64bits(math.NaN()))
	for what, arguments := range map[string][]byte{
		"no members":        {opZAdd, 0, 1, 'k', 0, 0},
		"a member cut off":  {opZAdd, 0, 1, 'k', 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 5, 'm'},
		"a score cut off":   {opZAdd, 0, 1, 'k', 0, 1, 0, 0},
		"too many members":  {opZAdd, 0, 1, 'k', 0, 200, 0},
		"no number":         slices.Concat([]byte{opZAdd, 0, 1, 'k', 0, 1}, nan, []byte{1, 'm'}),
		"no such member":    {opZRem, 0, 1, 'k', 1, 1, 'm'},
		"no set":            {opZCut, 0, 1, 'x', 0, 1},
		"a cut too long":    {opZCut, 0, 1, 'k', 0, 3},
		"a cut behind":      {opZCut, 0, 1, 'k', 2, 1},
		"a cut of nothing":  {opZCut, 0, 1, 'k', 0, 0},
		"a string's key":    {opZAdd, 0, 1, 's', 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'm'},
		"a cut of a string": {opZCut, 0, 1, 's', 0, 1},
	} {
		c := newPair(t, 1)
		c.tx.Begin(1, 0)
		c.tx.ZAdd([]byte("k"), 0, 1, []byte("a"))
		c.tx.ZAdd([]byte("k"), 0, 2, []byte("b"))
		c.tx.SetString([]byte("s"), []byte("v"), StringAuto, 0)
		c.tx.End()
		if err := c.replica.Partition(0).Apply(Batch{Seq: 2, Count: 1, TimeMs: 1, Effects: arguments}); err == nil {
			t.Errorf("an effect with %s is applied", what)
		}
	}
}

// TestZsetMemory: a million members of 16 bytes, in random order, cost at most 65 bytes each, and changing a large set
// allocates nothing.
func TestZsetMemory(t *testing.T) {
	const members, most = 1_000_000, 65
	store, err := NewStore(Options{Partitions: 1, Seed: Seed{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	tx, key, member := NewTx(store), []byte("k"), []byte("member:000000000")
	before := store.Space.Used()
	for i := range uint64(members) {
		binary.BigEndian.PutUint64(member[8:], i)
		tx.Begin(1, 0)
		tx.ZAdd(key, 0, float64(i*0x9E3779B97F4A7C15>>40), member)
		tx.End()
	}
	tx.Begin(1, 0)
	v, _ := tx.Peek(key)
	used := max(store.Space.Used()-before, int64(v.Bytes())) // the latter has what is on the Go heap too
	tx.End()
	if each := float64(used) / members; each > most {
		t.Errorf("%d members of %d bytes take %.1f bytes each, want at most %d", members, len(member), each, most)
	} else {
		t.Logf("%.1f bytes a member", each)
	}
	n := uint64(members)
	for what, change := range map[string]func(){
		"a new member": func() {
			n++
			binary.BigEndian.PutUint64(member[8:], n)
			tx.ZAdd(key, 0, 5, member)
		},
		"a new score": func() { tx.ZAdd(key, ZAddIncr, 1, member) },
		"a removal": func() {
			n--
			binary.BigEndian.PutUint64(member[8:], n)
			tx.ZRem(key, member)
		},
	} {
		allocs := testing.AllocsPerRun(100, func() {
			tx.Begin(1, 0)
			change()
			tx.End()
		})
		if allocs != 0 {
			t.Errorf("%s of a large sorted set allocates %v times", what, allocs)
		}
	}
}

// BenchmarkZAdd gives members of 16 bytes new scores, each time in a transaction of its own: known of 100,000 members
// that are all in, new of a set that grows.
func BenchmarkZAdd(b *testing.B) {
	const known = 100_000
	for _, name := range []string{"known", "new"} {
		b.Run(name, func(b *testing.B) {
			store, err := NewStore(Options{Partitions: 1, Seed: Seed{1, 2}})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			tx, key, member := NewTx(store), []byte("k"), []byte("member:000000000")
			add := func(n uint64, score float64) {
				binary.BigEndian.PutUint64(member[8:], n*0x9E3779B97F4A7C15)
				tx.Begin(1, 0)
				tx.ZAdd(key, 0, score, member)
				tx.End()
			}
			for n := range uint64(known) {
				add(n, float64(n*0xC2B2AE3D27D4EB4F>>40))
			}
			n, score := uint64(known), uint64(1)
			b.ReportAllocs()
			for b.Loop() {
				score *= 0x9E3779B97F4A7C15
				if n++; name == "known" {
					n %= known
				}
				add(n, float64(score>>40))
			}
		})
	}
}

// BenchmarkZsetRange reads 100 members with their scores.
func BenchmarkZsetRange(b *testing.B) {
	for _, members := range []int{120, 100_000} {
		b.Run(fmt.Sprint(members), func(b *testing.B) {
			store, err := NewStore(Options{Partitions: 1, Seed: Seed{1, 2}})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			tx, key := NewTx(store), []byte("k")
			tx.Begin(1, 0)
			defer tx.End()
			for n := range uint64(members) {
				tx.ZAdd(key, 0, float64(n*0xC2B2AE3D27D4EB4F>>40), fmt.Appendf(nil, "member:%d", n))
			}
			z, _, _ := tx.Zset(key)
			sum := 0.0
			for b.Loop() {
				it := z.From(10, false)
				for range 100 {
					it.Next()
					sum += it.Score() + float64(len(it.Member()))
				}
			}
		})
	}
}
