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

// makeEdit makes an edit in both ways, behind other bytes and in place, and expects the same blob of the promised size.
func makeEdit(t *testing.T, edit packedEdit) []byte {
	t.Helper()
	before := slices.Clone(edit.blob)
	got := edit.appendTo([]byte("before"))
	if !bytes.HasPrefix(got, []byte("before")) {
		t.Fatalf("appendTo changed what was in dst: %q", got)
	}
	got = got[len("before"):]
	if !bytes.Equal(edit.blob, before) {
		t.Fatalf("appendTo changed the old blob: got %q, want %q", edit.blob, before)
	}
	if len(got) != edit.size() {
		t.Fatalf("edit of %q: got %d bytes, size said %d", before, len(got), edit.size())
	}
	room := make([]byte, len(before), len(before)+len(got))
	copy(room, before)
	edit.blob = room
	if in := edit.appendTo(room[:0]); !bytes.Equal(in, got) {
		t.Fatalf("edit of %q in place: got %q, want %q", before, in, got)
	}
	return got
}

func packedEntries(blob []byte) (entries []string) {
	for it := packedIter(blob); it.next(); {
		entries = append(entries, string(it.value))
	}
	return entries
}

// packedString is a random string; some are empty, some need a length of two or three bytes, few values for collisions.
func packedString(rnd *rand.Rand) string {
	n := [...]int{0, 1, 3, 3, 3, 120, 127, 128, 130, 17_000}[min(rnd.IntN(40), 9)]
	if n == 17_000 && rnd.IntN(50) > 0 {
		n = 5
	}
	return strings.Repeat("x", max(0, n-1)) + string(rune('a' + rnd.IntN(20)))[:min(n, 1)]
}

func TestPackedHash(t *testing.T) {
	type step struct{ field, value, want string }
	var blob []byte
	for _, s := range []step{ // "-" removes
		{"a", "1", "a=1"},
		{"b", "", "a=1 b="},
		{"a", "22", "a=22 b="},
		{"", "empty", "a=22 b= =empty"},
		{"b", "3", "a=22 b=3 =empty"},
		{"a", "-", "b=3 =empty"},
		{"a", "4", "b=3 =empty a=4"},
		{"3", "x", "b=3 =empty a=4 3=x"}, // a field equal to a value
		{"", "-", "b=3 a=4 3=x"},
		{"3", "-", "b=3 a=4"},
		{"a", "-", "b=3"},
		{"b", "-", ""},
	} {
		if s.value == "-" {
			edit, ok := packedHashRemove(blob, []byte(s.field))
			if !ok {
				t.Fatalf("remove %q: not found", s.field)
			}
			blob = makeEdit(t, edit)
		} else {
			edit, _ := packedHashSet(blob, []byte(s.field), []byte(s.value))
			blob = makeEdit(t, edit)
		}
		var got []string
		for it := packedIter(blob); it.next(); {
			field := string(it.value)
			it.next()
			got = append(got, field+"="+string(it.value))
		}
		if strings.Join(got, " ") != s.want {
			t.Fatalf("after %q %q: got %q, want %q", s.field, s.value, got, s.want)
		}
	}
}

func TestPackedHashAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var blob []byte
	var fields []string
	values := map[string]string{}
	for step := range 9_000 {
		field, value := packedString(rnd)+fmt.Sprint(rnd.IntN(150)), packedString(rnd)
		_, in := values[field]
		if rnd.IntN(2) == 0 || step/1500%2 == 0 {
			edit, added := packedHashSet(blob, []byte(field), []byte(value))
			if added == in {
				t.Fatalf("step %d: set %.20q: added %v, want %v", step, field, added, !in)
			}
			if added {
				fields = append(fields, field)
			}
			values[field] = value
			blob = makeEdit(t, edit)
		} else {
			if len(fields) > 0 && rnd.IntN(2) == 0 {
				field = fields[rnd.IntN(len(fields))]
				in = true
			}
			edit, ok := packedHashRemove(blob, []byte(field))
			if ok != in {
				t.Fatalf("step %d: remove %.20q: got %v, want %v", step, field, ok, in)
			}
			if ok {
				blob = makeEdit(t, edit)
				delete(values, field)
				i := slices.Index(fields, field)
				fields = slices.Delete(fields, i, i+1)
			}
		}
		if len(fields) > 200 { // a packed hash never gets large
			blob, fields, values = nil, nil, map[string]string{}
		}
		if packedHashLen(blob) != len(fields) || !packedHashValid(blob) {
			t.Fatalf("step %d: len %d, want %d; valid %v", step, packedHashLen(blob), len(fields), packedHashValid(blob))
		}
		if v, ok := packedHashFind(blob, []byte(field)); ok != (slices.Index(fields, field) >= 0) || ok && string(v.value) != values[field] {
			t.Fatalf("step %d: find %.20q: got %.20q %v, want %.20q", step, field, v.value, ok, values[field])
		}
		if step%500 == 0 {
			var want []string
			for _, f := range fields {
				want = append(want, f, values[f])
			}
			if got := packedEntries(blob); !slices.Equal(got, want) {
				t.Fatalf("step %d: got %.200q, want %.200q", step, got, want)
			}
		}
	}
}

func TestPackedHashOverwritesInPlace(t *testing.T) {
	edit, _ := packedHashSet(nil, []byte("field"), []byte("old"))
	blob := makeEdit(t, edit)
	edit, added := packedHashSet(blob, []byte("field"), []byte("new"))
	if added || edit.size() != len(blob) {
		t.Fatalf("a value of the same length: added %v, size %d, want %d", added, edit.size(), len(blob))
	}
	if after := edit.appendTo(blob[:0]); &after[0] != &blob[0] || !bytes.HasSuffix(blob, []byte("new")) {
		t.Errorf("in place: got %q", blob)
	}
}

func TestPackedSet(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	var blob []byte
	var want []string
	for step := range 10_000 {
		member := packedString(rnd) + fmt.Sprint(rnd.IntN(200))
		i := slices.Index(want, member)
		if got := packedSetHas(blob, []byte(member)); got != (i >= 0) {
			t.Fatalf("step %d: has %.20q: got %v, want %v", step, member, got, i >= 0)
		}
		edit, ok := packedSetRemove(blob, []byte(member))
		if ok != (i >= 0) {
			t.Fatalf("step %d: remove %.20q: got %v, want %v", step, member, ok, i >= 0)
		}
		if ok {
			want = slices.Delete(want, i, i+1)
		} else {
			edit = packedSetAdd(blob, []byte(member))
			want = append(want, member)
		}
		blob = makeEdit(t, edit)
		if len(want) > 300 {
			blob, want = nil, nil
		}
		if count, _ := packedCount(blob); count != len(want) || !packedSetValid(blob) {
			t.Fatalf("step %d: count %d, want %d; valid %v", step, count, len(want), packedSetValid(blob))
		}
		if len(want) > 0 {
			i := rnd.IntN(len(want))
			if e, ok := packedAt(blob, i); !ok || string(e.value) != want[i] {
				t.Fatalf("step %d: entry %d: got %.20q %v, want %.20q", step, i, e.value, ok, want[i])
			}
		}
		if _, ok := packedAt(blob, len(want)); ok {
			t.Fatalf("step %d: entry %d of as many: got ok", step, len(want))
		}
	}
}

// Each way in which the count's own size can change while entries come and go.
func TestPackedEditAcrossCountSizes(t *testing.T) {
	for _, count := range []int{0, 1, 126, 127, 128, 129, 16383, 16384} {
		var items [][]byte
		for i := range count {
			items = append(items, fmt.Append(nil, i))
		}
		blob := makeEdit(t, packedAppend(nil, items...))
		list := makeEdit(t, packedListSplice(nil, 0, 0, items...))
		for _, change := range []struct{ index, drop, add int }{
			{0, 0, 1}, {0, 0, 2}, {0, 1, 0}, {0, 2, 0}, {count, 0, 1}, {count, 0, 3}, {count - 1, 1, 0}, {count - 1, 1, 2},
			{count / 2, 0, 1}, {count / 2, 1, 0}, {count / 2, 1, 3}, {count / 2, 3, 1}, {0, count, 0}, {0, count, 1}, {1, count - 2, 0},
		} {
			if change.index < 0 || change.drop < 0 || change.index+change.drop > count {
				continue
			}
			added := [][]byte{[]byte("new"), []byte(""), []byte("another new one")}[:change.add]
			var want []string
			for _, b := range slices.Concat(items[:change.index], added, items[change.index+change.drop:]) {
				want = append(want, string(b))
			}
			got := makeEdit(t, packedListSplice(list, change.index, change.drop, added...))
			if !packedListValid(got) || !slices.Equal(listEntries(got), want) {
				t.Fatalf("%d entries, %+v: valid %v, got %.100q, want %.100q", count, change, packedListValid(got), listEntries(got), want)
			}
			from := packedIter(blob)
			for range change.index {
				from.next()
			}
			to := from
			for range change.drop {
				to.next()
			}
			got = makeEdit(t, packedCut(blob, from.end, to.end, change.drop))
			want = slices.Delete(want, change.index, change.index+change.add)
			if !packedValid(got, 0) || !slices.Equal(packedEntries(got), want) {
				t.Fatalf("%d entries, %+v cut: valid %v, got %.100q, want %.100q", count, change, packedValid(got, 0), packedEntries(got), want)
			}
		}
	}
}

func listEntries(blob []byte) (entries []string) {
	for c := packedListSeek(blob, 0); c.next(); {
		entries = append(entries, string(c.value))
	}
	return entries
}

func TestPackedListAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	var blob []byte
	var want []string
	for step := range 10_000 {
		index := rnd.IntN(len(want) + 1)
		drop := rnd.IntN(min(4, len(want)-index+1))
		var items [][]byte
		var added []string
		for range rnd.IntN(5) {
			added = append(added, packedString(rnd))
			items = append(items, []byte(added[len(added)-1]))
		}
		blob = makeEdit(t, packedListSplice(blob, index, drop, items...))
		want = slices.Replace(want, index, index+drop, added...)
		if packedListLen(blob) != len(want) || !packedListValid(blob) {
			t.Fatalf("step %d: len %d, want %d; valid %v", step, packedListLen(blob), len(want), packedListValid(blob))
		}
		if got := listEntries(blob); !slices.Equal(got, want) {
			t.Fatalf("step %d: splice(%d, %d, %.20q): got %.100q, want %.100q", step, index, drop, added, got, want)
		}
		c := packedListSeek(blob, len(want))
		for i := len(want) - 1; i >= 0; i-- {
			if !c.prev() || string(c.value) != want[i] || c.index != i {
				t.Fatalf("step %d: entry %d backward: got %.20q at %d, want %.20q", step, i, c.value, c.index, want[i])
			}
		}
		if c.prev() {
			t.Fatalf("step %d: backward goes on past the start: %.20q", step, c.value)
		}
		for i := range want {
			if got, ok := packedListAt(blob, i); !ok || string(got) != want[i] {
				t.Fatalf("step %d: entry %d: got %.20q %v, want %.20q", step, i, got, ok, want[i])
			}
		}
		if len(want) > 60 {
			cut := rnd.IntN(len(want))
			blob = makeEdit(t, packedListSplice(blob, 0, cut))
			want = want[cut:]
		}
	}
}

func TestPackedListTurnsRound(t *testing.T) {
	blob := makeEdit(t, packedListSplice(nil, 0, 0, []byte("a"), []byte("b"), []byte("c")))
	c := packedListSeek(blob, 1)
	var got []string
	for _, forward := range []bool{true, false, false, true, true} {
		if forward {
			c.next()
		} else {
			c.prev()
		}
		got = append(got, string(c.value))
	}
	if want := []string{"b", "b", "a", "a", "b"}; !slices.Equal(got, want) {
		t.Errorf("next, prev, prev, next, next from between a and b: got %q, want %q", got, want)
	}
}

type zsetEntry struct {
	score  float64
	member string
}

func zsetEntries(blob []byte, rank int, reverse bool) (entries []zsetEntry) {
	for it := packedZsetIter(blob, rank, reverse); it.next(); {
		entries = append(entries, zsetEntry{it.score, string(it.member)})
	}
	return entries
}

func compareZsetEntries(a, b zsetEntry) int {
	return cmp.Or(cmp.Compare(a.score, b.score), cmp.Compare(a.member, b.member))
}

func TestPackedZsetAgainstModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	inf := math.Inf(1)
	scores := []float64{-inf, -1.5, math.Copysign(0, -1), 0, 1, 1, 2, 3, 1e300, inf}
	for _, most := range []int{5, 128, 300} {
		var blob []byte
		var want []zsetEntry
		for step := range 2500 {
			score, member := scores[rnd.IntN(len(scores))], fmt.Sprint(packedString(rnd), rnd.IntN(2*most))
			rank := slices.IndexFunc(want, func(e zsetEntry) bool { return e.member == member })
			item, ok := packedZsetFind(blob, []byte(member))
			if ok != (rank >= 0) || ok && (item.rank != rank || item.score != want[rank].score || string(item.member) != member) {
				t.Fatalf("step %d: find %.20q: got %v %d %v, want rank %d", step, member, ok, item.rank, item.score, rank)
			}
			switch {
			case !ok && len(want) == most:
				n := rnd.IntN(most)
				from := rnd.IntN(most)
				blob = makeEdit(t, packedZsetCut(blob, from, n))
				want = slices.Delete(want, from, min(from+n, most))
			case !ok:
				blob = makeEdit(t, packedZsetInsert(blob, score, []byte(member)))
				want = append(want, zsetEntry{score, member})
			case rnd.IntN(3) == 0:
				blob = makeEdit(t, packedCut(blob, item.start, item.end, 1))
				want = slices.Delete(want, rank, rank+1)
			default:
				packedZsetUpdate(blob, item, score, []byte(member))
				want[rank].score = score
			}
			slices.SortFunc(want, compareZsetEntries)
			if count, _ := packedCount(blob); count != len(want) || !packedZsetValid(blob) {
				t.Fatalf("step %d: count %d, want %d; valid %v", step, count, len(want), packedZsetValid(blob))
			}
			if got := zsetEntries(blob, 0, false); !slices.Equal(got, want) {
				t.Fatalf("step %d: got %.200v, want %.200v", step, got, want)
			}
			if len(want) == 0 {
				continue
			}
			from := rnd.IntN(len(want))
			if got := zsetEntries(blob, from, false); !slices.Equal(got, want[from:]) {
				t.Fatalf("step %d: from rank %d: got %.200v, want %.200v", step, from, got, want[from:])
			}
			back := slices.Clone(want[:from+1])
			slices.Reverse(back)
			if got := zsetEntries(blob, from, true); !slices.Equal(got, back) {
				t.Fatalf("step %d: backward from rank %d: got %.200v, want %.200v", step, from, got, back)
			}
		}
	}
	for _, rank := range []int{-1, 0, 1} {
		for _, reverse := range []bool{false, true} {
			if got := zsetEntries(nil, rank, reverse); got != nil {
				t.Errorf("items of nothing from rank %d, reverse %v: got %v", rank, reverse, got)
			}
		}
	}
}

func TestPackedIntset(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	edges := []int64{0, -1, math.MinInt16, math.MaxInt16, math.MaxInt16 + 1, math.MinInt32, math.MaxInt32, math.MinInt32 - 1, math.MinInt64, math.MaxInt64}
	for round := range 60 {
		var blob []byte
		var want []int64
		width := 2
		for step := range 300 {
			v := int64(rnd.IntN(400) - 200)
			if step > 50 && round%3 > 0 && rnd.IntN(10) == 0 {
				v = edges[rnd.IntN(3*round%len(edges)+1)]
			}
			place, in := slices.BinarySearch(want, v)
			i, ok := packedIntsetFind(blob, v)
			if i != place || ok != in {
				t.Fatalf("find %d in %v: got %d %v, want %d %v", v, want, i, ok, place, in)
			}
			before := slices.Clone(blob)
			room := append(make([]byte, 0, 2000+8*len(blob)), blob...)
			var inPlace []byte
			if in {
				blob = packedIntsetRemove([]byte("before"), blob, i)
				inPlace = packedIntsetRemove(room[:0], room, i)
				want = slices.Delete(want, place, place+1)
			} else {
				width = max(width, intWidth(v))
				size := packedIntsetAddSize(blob, v)
				blob = packedIntsetAdd([]byte("before"), blob, v)
				inPlace = packedIntsetAdd(room[:0], room, v)
				want = slices.Insert(want, place, v)
				if got := len(blob) - len("before"); got != size {
					t.Fatalf("add %d to %v: got %d bytes, size said %d", v, before, got, size)
				}
			}
			if !bytes.HasPrefix(blob, []byte("before")) || !bytes.Equal(blob[len("before"):], inPlace) {
				t.Fatalf("%d in %v, in place: got %v, want %v", v, before, inPlace, blob[len("before"):])
			}
			blob = blob[len("before"):]
			var got []int64
			for i := range packedIntsetLen(blob) {
				got = append(got, packedIntsetAt(blob, i))
			}
			if !slices.Equal(got, want) || !packedIntsetValid(blob) {
				t.Fatalf("after %d: got %v, want %v; valid %v", v, got, want, packedIntsetValid(blob))
			}
			if blob[0] != byte(width) {
				t.Fatalf("after %d: got a width of %d, want %d", v, blob[0], width)
			}
		}
	}
}

func TestPackedRefusesMalformed(t *testing.T) {
	score := func(f float64) string {
		return string(binary.LittleEndian.AppendUint64(nil, math.Float64bits(f)))
	}
	for _, test := range []struct {
		name  string
		valid func([]byte) bool
		blob  string
		want  bool
	}{
		{"hash: nothing", packedHashValid, "", true},
		{"hash: no fields", packedHashValid, "\x00", true},
		{"hash: one field", packedHashValid, "\x02\x01a\x01b", true},
		{"hash: a field equal to a value", packedHashValid, "\x04\x01a\x01b\x01b\x01b", true},
		{"hash: odd", packedHashValid, "\x01\x01a", false},
		{"hash: a field twice", packedHashValid, "\x04\x01a\x01b\x01a\x01c", false},
		{"hash: counts too many", packedHashValid, "\x04\x01a\x01b", false},
		{"hash: counts too few", packedHashValid, "\x02\x01a\x01b\x01c\x01d", false},
		{"hash: cut within an entry", packedHashValid, "\x02\x01a\x02b", false},
		{"hash: bytes behind", packedHashValid, "\x02\x01a\x01b\x05", false},
		{"hash: count in a long form", packedHashValid, "\x82\x00\x01a\x01b", false},
		{"hash: length in a long form", packedHashValid, "\x02\x81\x00a\x01b", false},
		{"hash: cut within a length", packedHashValid, "\x02\x01a\x81", false},
		{"hash: huge length", packedHashValid, "\x02\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", false},
		{"hash: length over 64 bits", packedHashValid, "\x02\x01a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", false},
		{"set: a member twice", packedSetValid, "\x02\x01a\x01a", false},
		{"set: two members", packedSetValid, "\x02\x01a\x00", true},
		{"zset: in order", packedZsetValid, "\x03\x09" + score(-1) + "b\x08" + score(0) + "\x09" + score(0) + "a", true},
		{"zset: -inf", packedZsetValid, "\x01\x08" + score(math.Inf(-1)), true},
		{"zset: shorter than a score", packedZsetValid, "\x01\x07abcdefg", false},
		{"zset: NaN", packedZsetValid, "\x01\x09" + score(math.NaN()) + "a", false},
		{"zset: scores fall", packedZsetValid, "\x02\x09" + score(2) + "a\x09" + score(1) + "b", false},
		{"zset: members fall", packedZsetValid, "\x02\x09" + score(1) + "b\x09" + score(1) + "a", false},
		{"zset: a member twice", packedZsetValid, "\x02\x09" + score(1) + "a\x09" + score(2) + "a", false},
		{"zset: an item twice", packedZsetValid, "\x02\x09" + score(1) + "a\x09" + score(1) + "a", false},
		{"list: two entries", packedListValid, "\x02\x01a\x02\x00\x01", true},
		{"list: no length behind", packedListValid, "\x01\x01a", false},
		{"list: wrong length behind", packedListValid, "\x01\x01a\x01", false},
		{"list: length behind in a long form", packedListValid, "\x01\x01a\x00\x82", false},
		{"list: counts too few", packedListValid, "\x01\x01a\x02\x01a\x02", false},
		{"list: counts too many", packedListValid, "\x02\x01a\x02", false},
		{"intset: nothing", packedIntsetValid, "", true},
		{"intset: only a width", packedIntsetValid, "\x04", true},
		{"intset: ascending", packedIntsetValid, "\x02\xff\xff\x01\x00", true},
		{"intset: descending", packedIntsetValid, "\x02\x01\x00\xff\xff", false},
		{"intset: equal", packedIntsetValid, "\x02\x01\x00\x01\x00", false},
		{"intset: half an integer", packedIntsetValid, "\x02\x01\x00\x02", false},
		{"intset: unknown width", packedIntsetValid, "\x03\x01\x00", false},
	} {
		if got := test.valid([]byte(test.blob)); got != test.want {
			t.Errorf("%s: valid(%q): got %v, want %v", test.name, test.blob, got, test.want)
		}
	}
}

// FuzzPacked reads any bytes as each kind of blob. Nothing may leave the blob or run on; what is valid must stay valid
// through a change, and back through its opposite to the same bytes.
func FuzzPacked(f *testing.F) {
	for _, seed := range []string{"", "\x00", "\x02\x01a\x01b", "\x02\x01a\x02\x00\x01", "\x02\xff\xff\x01\x00", "\x01\x0912345678a", "\xff\xff\xff"} {
		f.Add([]byte(seed), []byte("a"))
	}
	f.Fuzz(func(t *testing.T, blob, value []byte) {
		entries := packedEntries(blob)
		listed := listEntries(blob)
		if len(entries) > len(blob) || len(listed) > len(blob) {
			t.Fatalf("%q: %d and %d entries", blob, len(entries), len(listed))
		}
		for c := packedListSeek(blob, packedListLen(blob)); c.prev(); {
		}
		zsetEntries(blob, 0, false)
		zsetEntries(blob, len(entries)-1, true)
		if _, ok := packedHashFind(blob, value); packedHashValid(blob) {
			edit, added := packedHashSet(blob, value, value)
			after := makeEdit(t, edit)
			if added == ok || !packedHashValid(after) {
				t.Fatalf("%q: set %q: added %v, valid %v: %q", blob, value, added, packedHashValid(after), after)
			}
			if edit, _ := packedHashRemove(after, value); added && len(blob) > 0 && !bytes.Equal(makeEdit(t, edit), blob) {
				t.Fatalf("%q: set and remove %q: got %q", blob, value, makeEdit(t, edit))
			}
		}
		if packedSetValid(blob) && !packedSetHas(blob, value) {
			if after := makeEdit(t, packedSetAdd(blob, value)); !packedSetValid(after) || !packedSetHas(after, value) {
				t.Fatalf("%q: add %q: got %q", blob, value, after)
			}
		}
		if _, ok := packedZsetFind(blob, value); packedZsetValid(blob) && !ok {
			after := makeEdit(t, packedZsetInsert(blob, float64(len(value)), value))
			item, ok := packedZsetFind(after, value)
			if !ok || !packedZsetValid(after) {
				t.Fatalf("%q: insert %q: found %v: %q", blob, value, ok, after)
			}
			if got := makeEdit(t, packedZsetCut(after, item.rank, 1)); len(blob) > 0 && !bytes.Equal(got, blob) {
				t.Fatalf("%q: insert and cut %q: got %q", blob, value, got)
			}
			packedZsetUpdate(after, item, -item.score-1, value)
			if !packedZsetValid(after) {
				t.Fatalf("%q: update %q: got %q", blob, value, after)
			}
		}
		if packedListValid(blob) {
			for _, index := range []int{0, len(listed) / 2, len(listed)} {
				after := makeEdit(t, packedListSplice(blob, index, 0, value, value))
				if got, ok := packedListAt(after, index); !ok || !bytes.Equal(got, value) || !packedListValid(after) {
					t.Fatalf("%q: insert %q at %d: got %q", blob, value, index, after)
				}
				if got := makeEdit(t, packedListSplice(after, index, 2)); len(blob) > 0 && !bytes.Equal(got, blob) {
					t.Fatalf("%q: insert and drop at %d: got %q", blob, index, got)
				}
			}
		}
		v, _ := binary.Varint(value)
		if i, ok := packedIntsetFind(blob, v); packedIntsetValid(blob) && !ok {
			after := packedIntsetAdd(nil, blob, v)
			if j, ok := packedIntsetFind(after, v); !ok || j != i || !packedIntsetValid(after) {
				t.Fatalf("%q: add %d: got %q", blob, v, after)
			}
		}
	})
}

func TestPackedDoesNotAllocate(t *testing.T) {
	blob := benchmarkHash(20)
	room := make([]byte, 0, 2*len(blob))
	list := makeEdit(t, packedListSplice(nil, 0, 0, []byte("a"), []byte("b")))
	field, value := []byte("field:000007"), []byte("another value")
	if n := testing.AllocsPerRun(100, func() {
		packedHashFind(blob, field)
		edit, _ := packedHashSet(blob, field, value)
		edit.appendTo(room)
		splice := packedListSplice(list, 1, 0, field, value)
		splice.appendTo(room)
		for it := packedZsetIter(blob, 10, true); it.next(); {
		}
	}); n != 0 {
		t.Errorf("allocations of find, set, splice and iteration: got %v, want 0", n)
	}
}

func benchmarkHash(fields int) (blob []byte) {
	for i := range fields {
		edit, _ := packedHashSet(blob, fmt.Appendf(nil, "field:%06d", i), fmt.Appendf(nil, "value:%06d", i))
		blob = edit.appendTo(nil)
	}
	return blob
}

func BenchmarkPackedHash(b *testing.B) {
	for _, fields := range []int{5, 128} {
		blob := benchmarkHash(fields)
		last := fmt.Appendf(nil, "field:%06d", fields-1)
		b.Run(fmt.Sprintf("find/last of %d", fields), func(b *testing.B) {
			for range b.N {
				if _, ok := packedHashFind(blob, last); !ok {
					b.Fatal("missing")
				}
			}
		})
		b.Run(fmt.Sprintf("set/last of %d", fields), func(b *testing.B) {
			room := make([]byte, 0, len(blob)+100)
			for range b.N {
				edit, _ := packedHashSet(blob, last, last)
				edit.appendTo(room)
			}
		})
	}
}

func BenchmarkPackedList(b *testing.B) {
	value := []byte("0123456789abcdef")
	for name, front := range map[string]bool{"push front": true, "push back": false} {
		b.Run(name, func(b *testing.B) {
			room := make([]byte, 0, 8<<10)
			blob := room
			for range b.N {
				if cap(room)-len(blob) < 32 {
					blob = room
				}
				index := packedListLen(blob)
				if front {
					index = 0
				}
				edit := packedListSplice(blob, index, 0, value)
				blob = edit.appendTo(blob[:0])
			}
		})
	}
}
