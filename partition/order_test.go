package partition

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

type orderItem struct {
	score  float64
	member string
	ref    uint64
}

func compareOrderItems(a, b orderItem) int {
	return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.member, b.member))
}

// orderModel is an order beside a sorted slice that must say the same.
type orderModel struct {
	t       *testing.T
	space   *Space
	o       *order
	items   []orderItem
	members map[uint64][]byte
	nextRef uint64
	rnd     *rand.Rand // chooses what is looked at
}

func newOrderModel(t *testing.T) *orderModel {
	m := &orderModel{t: t, space: NewSpace(), members: map[uint64][]byte{}, nextRef: refMax - 1, rnd: rand.New(rand.NewPCG(1, 2))}
	m.o = newOrder(m.space, func(ref uint64) []byte {
		b, ok := m.members[ref]
		if !ok {
			t.Fatalf("read the member of ref %d, which is nobody's", ref)
		}
		return b
	})
	return m
}

func (m *orderModel) newRef(member string) uint64 {
	m.nextRef -= 4
	m.members[m.nextRef] = []byte(member)
	return m.nextRef
}

// search returns where the item is in the slice, or would be.
func (m *orderModel) search(score float64, member string) (int, bool) {
	return slices.BinarySearchFunc(m.items, orderItem{score: score, member: member}, compareOrderItems)
}

// toggle inserts the item, or removes it when it is in.
func (m *orderModel) toggle(score float64, member string) {
	m.t.Helper()
	i, in := m.search(score, member)
	if in {
		m.remove(i)
		return
	}
	if rank, ok := m.o.rank(score, []byte(member)); ok {
		m.t.Fatalf("rank(%v, %q) of an absent item: got %d", score, member, rank)
	}
	if _, ok := m.o.remove(score, []byte(member)); ok {
		m.t.Fatalf("remove(%v, %q) of an absent item: got ok", score, member)
	}
	ref := m.newRef(member)
	m.o.insert(score, ref, []byte(member))
	m.items = slices.Insert(m.items, i, orderItem{score, member, ref})
}

func (m *orderModel) remove(i int) {
	m.t.Helper()
	it := m.items[i]
	ref, ok := m.o.remove(it.score, []byte(it.member))
	if !ok || ref != it.ref {
		m.t.Fatalf("remove(%v, %q): got %d %v, want %d", it.score, it.member, ref, ok, it.ref)
	}
	delete(m.members, ref)
	m.items = slices.Delete(m.items, i, i+1)
}

// move gives an item another ref; the old one may not be read any more.
func (m *orderModel) move(i int) {
	m.t.Helper()
	it := &m.items[i]
	ref := m.newRef(it.member)
	delete(m.members, it.ref)
	if !m.o.replaceRef(it.score, []byte(it.member), it.ref, ref) {
		m.t.Fatalf("replaceRef(%v, %q, %d): not found", it.score, it.member, it.ref)
	}
	it.ref = ref
}

// check compares everything, and holds the order against its invariants.
func (m *orderModel) check() {
	m.t.Helper()
	t, o := m.t, m.o
	if o.len() != len(m.items) {
		t.Fatalf("len: got %d, want %d", o.len(), len(m.items))
	}
	for _, rank := range []int{-1, len(m.items)} {
		it := o.iter(rank, false)
		if score, ref, ok := it.next(); ok {
			t.Fatalf("iter(%d) of %d items: got %v %d", rank, len(m.items), score, ref)
		}
	}
	forward, backward := o.iter(0, false), o.iter(len(m.items)-1, true)
	for i, want := range m.items {
		if score, ref, ok := forward.next(); !ok || score != want.score || ref != want.ref {
			t.Fatalf("item %d forward: got %v %d %v, want %v %d", i, score, ref, ok, want.score, want.ref)
		}
		want := m.items[len(m.items)-1-i]
		if score, ref, ok := backward.next(); !ok || score != want.score || ref != want.ref {
			t.Fatalf("item %d backward: got %v %d %v, want %v %d", i, score, ref, ok, want.score, want.ref)
		}
	}
	if _, _, ok := forward.next(); ok {
		t.Fatal("forward: goes on past the end")
	}
	if _, _, ok := backward.next(); ok {
		t.Fatal("backward: goes on past the start")
	}
	m.checkShape()
	for range min(len(m.items), 200) {
		m.checkItem(m.rnd.IntN(len(m.items)))
	}
}

// checkItem compares what can be asked about item i.
func (m *orderModel) checkItem(i int) {
	m.t.Helper()
	t, o, it := m.t, m.o, m.items[i]
	if rank, ok := o.rank(it.score, []byte(it.member)); !ok || rank != i {
		t.Fatalf("rank(%v, %q): got %d %v, want %d", it.score, it.member, rank, ok, i)
	}
	if score, ref := o.at(i); score != it.score || ref != it.ref {
		t.Fatalf("at(%d): got %v %d, want %v %d", i, score, ref, it.score, it.ref)
	}
	for _, reverse := range []bool{false, true} {
		iter := o.iter(i, reverse)
		if _, ref, ok := iter.next(); !ok || ref != it.ref {
			t.Fatalf("iter(%d, %v): got %d %v, want %d", i, reverse, ref, ok, it.ref)
		}
	}
	for _, x := range []float64{it.score, math.Nextafter(it.score, math.Inf(1)), math.Nextafter(it.score, math.Inf(-1))} {
		below, _ := slices.BinarySearchFunc(m.items, x, func(e orderItem, x float64) int { return cmp.Compare(e.score, x) })
		most := below
		for most < len(m.items) && m.items[most].score == x {
			most++
		}
		if got := o.countLess(x, false); got != below {
			t.Fatalf("countLess(%v, false): got %d, want %d", x, got, below)
		}
		if got := o.countLess(x, true); got != most {
			t.Fatalf("countLess(%v, true): got %d, want %d", x, got, most)
		}
	}
}

func (m *orderModel) checkShape() {
	m.t.Helper()
	t, o := m.t, m.o
	leaves, count := 0, 0
	for bi := range o.blocks {
		b := &o.blocks[bi]
		if len(b.leaves) == 0 || len(b.leaves) > blockLeaves {
			t.Fatalf("block %d has %d leaves", bi, len(b.leaves))
		}
		sum := 0
		for li := range b.leaves {
			l := &b.leaves[li]
			if l.count == 0 || l.count > pageItems {
				t.Fatalf("leaf %d of block %d has %d items", li, bi, l.count)
			}
			if got := o.page(l).score(0); got != l.first {
				t.Fatalf("leaf %d of block %d: first is %v, its page has %v", li, bi, l.first, got)
			}
			sum += int(l.count)
			leaves++
		}
		if sum != b.count {
			t.Fatalf("block %d: count %d, its leaves have %d", bi, b.count, sum)
		}
		count += sum
	}
	if count != o.count || leaves != o.leaves {
		t.Fatalf("count %d, found %d; leaves %d, found %d", o.count, count, o.leaves, leaves)
	}
	if want := int64(leaves) * pageBytes; m.space.Used() != want {
		t.Fatalf("space used: got %d, want %d for %d leaves", m.space.Used(), want, leaves)
	}
}

// finish empties the order in random order and then expects that every page is back.
func (m *orderModel) finish() {
	m.t.Helper()
	for n := len(m.items); n > 0; n-- {
		m.remove(m.rnd.IntN(n))
		if n%1000 == 0 {
			m.checkShape()
		}
	}
	m.check()
	if used := m.space.Used(); used != 0 {
		m.t.Errorf("space used by an empty order: got %d, want 0", used)
	}
}

func TestOrderAgainstSortedSlice(t *testing.T) {
	inf := math.Inf(1)
	for _, test := range []struct {
		name    string
		members int
		score   func(rnd *rand.Rand) float64
	}{
		{"any scores", 3000, func(rnd *rand.Rand) float64 { return rnd.NormFloat64() }},
		{"one score", 5000, func(*rand.Rand) float64 { return 7 }},
		{"few scores", 2000, func(rnd *rand.Rand) float64 { return float64(rnd.IntN(4)) }},
		{"infinities and zeroes", 1000, func(rnd *rand.Rand) float64 {
			return [...]float64{-inf, -1, math.Copysign(0, -1), 0, math.SmallestNonzeroFloat64, math.MaxFloat64, inf}[rnd.IntN(7)]
		}},
		{"few items", 3, func(rnd *rand.Rand) float64 { return float64(rnd.IntN(3)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(3, 4))
			m := newOrderModel(t)
			for step := range 40_000 {
				switch n := len(m.items); {
				case n > 0 && rnd.IntN(8) == 0:
					m.move(rnd.IntN(n))
				case n > 0 && step%10_000 > 7000: // shrinks at times
					m.remove(rnd.IntN(n))
				default:
					m.toggle(test.score(rnd), fmt.Sprint("member:", rnd.IntN(test.members)))
				}
				if step%5000 == 0 {
					m.check()
				}
			}
			m.check()
			m.finish()
		})
	}
}

func TestOrderZeroesAreEqual(t *testing.T) {
	m := newOrderModel(t)
	m.o.insert(math.Copysign(0, -1), m.newRef("b"), []byte("b"))
	m.o.insert(0, m.newRef("a"), []byte("a"))
	for _, test := range []struct {
		member string
		score  float64
		want   int
	}{{"a", math.Copysign(0, -1), 0}, {"b", 0, 1}} {
		if rank, ok := m.o.rank(test.score, []byte(test.member)); !ok || rank != test.want {
			t.Errorf("rank(%v, %q): got %d %v, want %d", test.score, test.member, rank, ok, test.want)
		}
	}
	if score, _ := m.o.at(1); !math.Signbit(score) {
		t.Errorf("the score of b: got %v, want -0 as it was inserted", score)
	}
}

func TestOrderLex(t *testing.T) {
	m := newOrderModel(t)
	if got := m.o.countLexLess([]byte("a"), true); got != 0 {
		t.Errorf("countLexLess of nothing: got %d, want 0", got)
	}
	for i := range 5000 {
		m.toggle(-2, fmt.Sprintf("%04d", i*2))
	}
	for _, test := range []struct {
		member    string
		inclusive bool
		want      int
	}{
		{"", false, 0}, {"", true, 0}, {"0000", false, 0}, {"0000", true, 1}, {"0001", false, 1}, {"0001", true, 1},
		{"5000", false, 2500}, {"5000", true, 2501}, {"50", true, 2500}, {"5000\x00", false, 2501},
		{"9998", false, 4999}, {"9998", true, 5000}, {"z", false, 5000},
	} {
		if got := m.o.countLexLess([]byte(test.member), test.inclusive); got != test.want {
			t.Errorf("countLexLess(%q, %v): got %d, want %d", test.member, test.inclusive, got, test.want)
		}
	}
	m.finish()
}

func TestOrderBytesPerItem(t *testing.T) {
	const n = 300_000
	rnd := rand.New(rand.NewPCG(5, 6))
	for _, test := range []struct {
		name  string
		score func(i int) float64
		most  float64
	}{
		{"ascending", func(i int) float64 { return float64(i) }, 13.6},
		{"descending", func(i int) float64 { return float64(-i) }, 13.6},
		{"random", func(int) float64 { return rnd.Float64() }, 22},
	} {
		space := NewSpace()
		o := newOrder(space, func(uint64) []byte { return nil })
		for i := range n {
			o.insert(test.score(i), uint64(i+1), nil)
			// While there are few, half a page more or less counts.
			if per := float64(o.bytes()) / float64(i+1); i > 10_000 && per > test.most {
				t.Fatalf("%s, %d items: %.1f B an item, want at most %.1f", test.name, i+1, per, test.most)
			}
		}
		if off := float64(space.Used()); float64(o.bytes()) < off {
			t.Errorf("%s: bytes is %d, the pages alone are %.0f", test.name, o.bytes(), off)
		}
		o.release()
		if space.Used() != 0 || o.len() != 0 || o.bytes() >= 1000 {
			t.Errorf("%s: after release: space used %d, len %d, bytes %d", test.name, space.Used(), o.len(), o.bytes())
		}
	}
}

// An order of many blocks. The scores are 0, 1, 2 ... inserted at random, so a score is also its item's rank.
func TestOrderOfManyBlocks(t *testing.T) {
	const n = 300_000
	rnd := rand.New(rand.NewPCG(8, 9))
	m := newOrderModel(t)
	m.o.member = func(uint64) []byte { return []byte("x") }
	for _, i := range rnd.Perm(n) {
		m.o.insert(float64(i), uint64(i+1), []byte("x"))
	}
	if len(m.o.blocks) < 4 {
		t.Fatalf("blocks: got %d, want several", len(m.o.blocks))
	}
	// checkRanks wants the scores 0, step, 2 * step ... and nothing else.
	checkRanks := func(step int) {
		t.Helper()
		m.checkShape()
		forward, backward := m.o.iter(0, false), m.o.iter(n/step-1, true)
		for rank := range n / step {
			want, wantBack := rank*step, (n/step-1-rank)*step
			if got, ok := m.o.rank(float64(want), []byte("x")); !ok || got != rank {
				t.Fatalf("rank(%d): got %d %v, want %d", want, got, ok, rank)
			}
			if score, ref := m.o.at(rank); score != float64(want) || ref != uint64(want+1) {
				t.Fatalf("at(%d): got %v %d, want %d %d", rank, score, ref, want, want+1)
			}
			if got := m.o.countLess(float64(want), true); got != rank+1 {
				t.Fatalf("countLess(%d, true): got %d, want %d", want, got, rank+1)
			}
			if _, ref, _ := forward.next(); ref != uint64(want+1) {
				t.Fatalf("item %d forward: got %d, want %d", rank, ref, want+1)
			}
			if _, ref, _ := backward.next(); ref != uint64(wantBack+1) {
				t.Fatalf("item %d backward: got %d, want %d", rank, ref, wantBack+1)
			}
		}
		if _, _, ok := forward.next(); ok || m.o.len() != n/step {
			t.Fatalf("len: got %d, want %d; more items: %v", m.o.len(), n/step, ok)
		}
	}
	// keep removes, in random order, the scores that are multiples of one step and not of the next.
	keep := func(step, next int) {
		for _, i := range rnd.Perm(n / step) {
			if i *= step; i%next != 0 {
				if ref, ok := m.o.remove(float64(i), []byte("x")); !ok || ref != uint64(i+1) {
					t.Fatalf("remove(%d): got %d %v, want %d", i, ref, ok, i+1)
				}
			}
		}
		checkRanks(next)
	}
	checkRanks(1)
	keep(1, 2)
	keep(2, 10)
	keep(10, 1000)
	for i := 0; i < n; i += 1000 {
		m.o.remove(float64(i), []byte("x"))
	}
	m.check()
}

// Whatever is removed, what is left is in few leaves: no sparse leaf stays beside one with room for it.
func TestOrderRemovalJoinsLeaves(t *testing.T) {
	const n = 300_000
	for _, test := range []struct {
		name   string
		remove func(i int) bool
		down   bool // from the highest to the lowest
	}{
		{"all but each twentieth", func(i int) bool { return i%20 != 0 }, false},
		{"all but each twentieth, from above", func(i int) bool { return i%20 != 0 }, true},
		{"the lower half", func(i int) bool { return i < n/2 }, false},
		{"the upper half", func(i int) bool { return i >= n/2 }, false},
		{"the upper part, from above", func(i int) bool { return i >= 130_000 }, true},
		{"all but the ends", func(i int) bool { return i > 10 && i < n-10 }, false},
	} {
		m := newOrderModel(t)
		m.o.member = func(uint64) []byte { return []byte("x") }
		for i := range n {
			m.o.insert(float64(i), uint64(i+1), []byte("x"))
		}
		for i := range n {
			if test.down {
				i = n - 1 - i
			}
			if test.remove(i) {
				if _, ok := m.o.remove(float64(i), []byte("x")); !ok {
					t.Fatalf("%s: remove(%d): not found", test.name, i)
				}
			}
		}
		m.checkShape()
		var counts []int
		for _, b := range m.o.blocks {
			for _, l := range b.leaves {
				counts = append(counts, int(l.count))
			}
		}
		for i := 1; i < len(counts); i++ {
			if a, b := counts[i-1], counts[i]; a+b <= pageItems && (a < sparseItems || b < sparseItems) {
				t.Errorf("%s: leaves %d and %d have %d and %d items", test.name, i-1, i, a, b)
			}
		}
		for i := 1; i < len(m.o.blocks); i++ {
			a, b := len(m.o.blocks[i-1].leaves), len(m.o.blocks[i].leaves)
			if a+b <= blockLeaves && (a < sparseLeaves || b < sparseLeaves) {
				t.Errorf("%s: blocks %d and %d have %d and %d leaves", test.name, i-1, i, a, b)
			}
		}
		m.o.release()
		if used := m.space.Used(); used != 0 {
			t.Errorf("%s: space used after release: got %d, want 0", test.name, used)
		}
	}
}

func TestOrderReadsDoNotAllocate(t *testing.T) {
	m := newOrderModel(t)
	for i := range 2000 {
		m.toggle(float64(i%10), fmt.Sprint(i))
	}
	member := []byte("1234")
	if n := testing.AllocsPerRun(100, func() {
		rank, _ := m.o.rank(4, member)
		it := m.o.iter(rank, true)
		for range 1000 {
			it.next()
		}
		m.o.at(rank)
		m.o.countLess(5, true)
	}); n != 0 {
		t.Errorf("allocations of rank, iter, at and countLess: got %v, want 0", n)
	}
}

// benchmarkOrder is of n items with random scores and members of 12 bytes.
func benchmarkOrder(n int) (o *order, scores []float64, members []byte) {
	rnd := rand.New(rand.NewPCG(1, 1))
	scores, members = make([]float64, n), make([]byte, 12*n)
	o = newOrder(NewSpace(), func(ref uint64) []byte { return members[(ref-1)*12 : ref*12] })
	for i := range scores {
		scores[i] = rnd.Float64()
		binary.BigEndian.PutUint64(members[i*12:], rnd.Uint64())
		o.insert(scores[i], uint64(i+1), members[i*12:i*12+12])
	}
	return o, scores, members
}

func BenchmarkOrder(b *testing.B) {
	const n = 1_000_000
	o, scores, members := benchmarkOrder(n)
	member := func(i int) []byte { return members[i*12 : i*12+12] }
	b.Run("rank", func(b *testing.B) {
		for i := range b.N {
			i = i * 7919 % n
			if _, ok := o.rank(scores[i], member(i)); !ok {
				b.Fatal("missing")
			}
		}
	})
	b.Run("at", func(b *testing.B) {
		for i := range b.N {
			o.at(i * 7919 % n)
		}
	})
	b.Run("iter100", func(b *testing.B) {
		for i := range b.N {
			it := o.iter(i*7919%(n-100), false)
			for range 100 {
				if _, ref, _ := it.next(); ref == 0 {
					b.Fatal("ref 0")
				}
			}
		}
	})
	b.Run("move", func(b *testing.B) {
		rnd := rand.New(rand.NewPCG(2, 2))
		for i := range b.N {
			i = i * 7919 % n
			ref, _ := o.remove(scores[i], member(i))
			scores[i] = rnd.Float64()
			o.insert(scores[i], ref, member(i))
		}
	})
	for name, score := range map[string]func(i int) float64{
		"random":    func(i int) float64 { return scores[i%n] },
		"ascending": func(i int) float64 { return float64(i) },
	} {
		b.Run("insert/"+name, func(b *testing.B) {
			var o *order
			for i := range b.N {
				if i%n == 0 {
					o = newOrder(NewSpace(), func(ref uint64) []byte { return member(int(ref - 1)) })
				}
				o.insert(score(i), uint64(i%n+1), member(i%n))
			}
			b.ReportMetric(float64(o.bytes())/float64(o.len()), "B/item")
		})
	}
}
