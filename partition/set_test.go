package partition

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// modelSet is what a set should be.
type modelSet struct {
	members  map[string]bool
	encoding string
	expireAt int64
}

// add does to the model what SADD does, with Redis's rules for the encoding.
func (m *modelSet) add(limit int, members []string) (added int) {
	for _, s := range members {
		_, isInt := modelInt(s)
		if m.members == nil {
			m.members, m.encoding = map[string]bool{}, "hashtable"
			if isInt {
				m.encoding = "intset"
			}
		}
		if m.members[s] {
			continue
		}
		m.members[s] = true
		added++
		if !isInt || len(m.members) > limit {
			m.encoding = "hashtable"
		}
	}
	return added
}

func modelInt(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && strconv.FormatInt(n, 10) == s
}

// check compares a set that was looked up with the model, through every way of reading it.
func (m *modelSet) check(s *Set, rng *rand.Rand) error {
	if s.Len() != len(m.members) {
		return fmt.Errorf("Len is %d, want %d", s.Len(), len(m.members))
	}
	var read []string
	for it := s.Iter(); it.Next(); {
		read = append(read, string(it.Member()))
	}
	if m.encoding == "intset" && !slices.IsSortedFunc(read, func(a, b string) int {
		x, _ := modelInt(a)
		y, _ := modelInt(b)
		return cmp.Compare(x, y)
	}) {
		return fmt.Errorf("Iter reads the intset as %q", read)
	}
	if err := m.same("Iter", read); err != nil {
		return err
	}
	for _, member := range read {
		if !s.Has([]byte(member)) {
			return fmt.Errorf("Has(%q) is false", member)
		}
	}
	for _, other := range []string{"", "no member", "0123", "-", "12345678901234567890", strings.Repeat("n", 65)} {
		if s.Has([]byte(other)) != m.members[other] {
			return fmt.Errorf("Has(%q) is %v", other, s.Has([]byte(other)))
		}
	}
	if r := string(s.Random(rng)); !m.members[r] {
		return fmt.Errorf("Random gives %q", r)
	}
	count, sample := rng.IntN(len(read)+1), map[string]bool{}
	s.Sample(rng, count, func(member []byte) { sample[string(member)] = m.members[string(member)] })
	if len(sample) != count || slices.Contains(slices.Collect(maps.Values(sample)), false) {
		return fmt.Errorf("Sample of %d gives %v", count, sample)
	}
	read = read[:0]
	for cursor := uint64(0); ; {
		cursor = s.Scan(cursor, 1+rng.IntN(50), func(member []byte) { read = append(read, string(member)) })
		if cursor == 0 {
			return m.same("Scan", read)
		}
	}
}

func (m *modelSet) same(how string, read []string) error {
	slices.Sort(read)
	if want := slices.Sorted(maps.Keys(m.members)); !slices.Equal(read, want) {
		return fmt.Errorf("%s reads %d members %.200q, want %d %.200q", how, len(read), read, len(want), want)
	}
	return nil
}

// setMembers are values of all kinds: few enough to be met again, many enough to outgrow every form.
func setMembers(rng *rand.Rand) []string {
	members := make([]string, 1+rng.IntN(4))
	if rng.IntN(30) == 0 {
		members = make([]string, 100+rng.IntN(200))
	}
	kind := rng.IntN(8)
	for i := range members {
		switch n := rng.IntN(400); kind {
		case 0:
			members[i] = fmt.Sprintf("member:%d", n)
		case 1:
			members[i] = strings.Repeat("long", 15+n%3) + strconv.Itoa(n) // to either side of packedSetMemberMax
		case 2:
			members[i] = strconv.Itoa((n - 200) * 1_000_000)
		case 3:
			members[i] = strconv.FormatInt(math.MinInt64+int64(n), 10)
		case 4:
			members[i] = []string{"", "0", "-0", "007", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "-9223372036854775809"}[n%8]
		default:
			members[i] = strconv.Itoa(n)
		}
	}
	return members
}

func byteSlices(members []string) [][]byte {
	b := make([][]byte, len(members))
	for i := range members {
		b[i] = []byte(members[i])
	}
	return b
}

// TestSetModel changes sets of all forms at random and compares them with Go maps, and with a replica that has other
// settings.
func TestSetModel(t *testing.T) {
	const keys, steps, now = 16, 12_000, 1_000_000
	c := newPair(t, 4)
	c.replica.Limits.SetMaxIntset.Store(3)
	rng := rand.New(rand.NewPCG(5, 6))
	model := map[string]*modelSet{}
	for i := range keys {
		model[fmt.Sprintf("key:%d", i)] = &modelSet{}
	}
	for step := range steps {
		limit := []int{0, 1, 100, 512}[rng.IntN(1+step%4)]
		c.primary.Limits.SetMaxIntset.Store(int64(limit))
		name := fmt.Sprintf("key:%d", rng.IntN(keys))
		key, m := []byte(name), model[name]
		c.tx.Begin(now, c.primary.PartitionOf(key))
		members := setMembers(rng)
		var did string
		var got, want int
		var err error
		switch op := rng.IntN(12); {
		case op < 5:
			did = fmt.Sprintf("SAdd of %.100q at most %d", members, limit)
			want = m.add(limit, members)
			got, err = c.tx.SAdd(key, byteSlices(members)...)
		case op < 8:
			did = fmt.Sprintf("SRem of %.100q", members)
			for _, s := range members {
				if m.members[s] {
					delete(m.members, s)
					want++
				}
			}
			got, err = c.tx.SRem(key, byteSlices(members)...)
		case op == 8 && len(m.members) > 0:
			want = 1 + rng.IntN(len(m.members))
			did = fmt.Sprintf("SPop of %d", want)
			s, _, _ := c.tx.Set(key)
			popped := c.tx.SPop(key, &s, want)
			for _, b := range popped {
				if !m.members[string(b)] {
					t.Fatalf("step %d: SPop gives %q, which is not there", step, b)
				}
				delete(m.members, string(b))
			}
			got = len(popped)
		case op == 9:
			did = fmt.Sprintf("StoreSet of %.100q at most %d", members, limit)
			b := c.tx.NewSet()
			first := "0" // an empty builder is an intset
			*m = modelSet{expireAt: int64(rng.IntN(2)) * (now + 1000)}
			m.add(limit, append([]string{first}, members...))
			for _, s := range append([]string{first}, members...) {
				b.Add([]byte(s))
			}
			if b.Remove([]byte(first)); m.members[first] {
				delete(m.members, first)
			}
			c.tx.StoreSet(key, b, m.expireAt)
			got, want = b.Len(), len(m.members)
			b.Close()
		case op == 10 && len(m.members) > 0:
			did = "Restore of its Dump"
			v, _ := c.tx.Peek(key)
			dump := v.Dump(nil)
			c.tx.Del(key)
			c.tx.Restore(key, dump, m.expireAt)
		case op == 11 && rng.IntN(3) == 0:
			did = "Del"
			c.tx.Del(key)
			*m = modelSet{}
		}
		if err != nil || got != want {
			t.Fatalf("step %d: %s of %s gives %d %v, want %d", step, did, name, got, err, want)
		}
		if len(m.members) == 0 {
			*m = modelSet{}
		}
		s, found, err := c.tx.Set(key)
		if err != nil || found != (len(m.members) > 0) {
			t.Fatalf("step %d: after %s the key is there: %v %v, want %v", step, did, found, err, !found)
		}
		if found {
			v, _ := c.tx.Peek(key)
			if v.Encoding() != m.encoding || v.ExpireAt() != m.expireAt {
				t.Fatalf("step %d: after %s %s is encoded as %s and expires at %d, want %s and %d",
					step, did, name, v.Encoding(), v.ExpireAt(), m.encoding, m.expireAt)
			}
			if err := m.check(&s, rng); err != nil {
				t.Fatalf("step %d: after %s of %s: %v", step, did, name, err)
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

// TestSetForms takes a set through its forms, by one member more or less.
func TestSetForms(t *testing.T) {
	c := newPair(t, 1)
	key := []byte("k")
	form := func() string {
		v, ok := c.tx.Peek(key)
		if !ok {
			return "none"
		}
		return [...]string{kindSet: "packed", kindIntset: "intset", kindObject: "large"}[v.rec.kind()]
	}
	many := func(n int, format string) (members []string) {
		for i := range n {
			members = append(members, fmt.Sprintf(format, i))
		}
		return members
	}
	for _, step := range []struct {
		add, remove []string
		want        string
	}{
		{add: many(packedSetEntriesMax, "%d"), want: "intset"},
		{add: []string{"x"}, want: "large"},
		{remove: many(packedSetEntriesMax, "%d"), want: "packed"},
		{remove: []string{"x"}, want: "none"},
		{add: many(packedSetEntriesMax-1, "%d"), want: "intset"},
		{add: []string{"x"}, want: "packed"},
		{add: []string{"y"}, want: "large"},
		{remove: many(packedSetEntriesMax-repackCount, "%d"), want: "large"},
		{remove: []string{"y"}, want: "packed"},
		{add: many(packedSetEntriesMax, "m%d"), want: "large"},
		{remove: many(packedSetEntriesMax+1, "m%d"), want: "packed"},
		{add: []string{strings.Repeat("x", packedSetMemberMax)}, want: "packed"},
		{add: []string{strings.Repeat("x", packedSetMemberMax+1)}, want: "large"},
		{remove: many(packedSetEntriesMax, "%d"), want: "large"},
		{remove: []string{"x", strings.Repeat("x", packedSetMemberMax), strings.Repeat("x", packedSetMemberMax+1)}, want: "none"},
	} {
		c.tx.Begin(1, 0)
		if len(step.add) > 0 {
			c.tx.SAdd(key, byteSlices(step.add)...)
		}
		if len(step.remove) > 0 {
			c.tx.SRem(key, byteSlices(step.remove)...)
		}
		got := form()
		c.tx.End()
		if got != step.want {
			t.Fatalf("after adding %.60q and removing %.60q: %s, want %s", step.add, step.remove, got, step.want)
		}
		c.compare(t, step.want)
	}
}

// TestSetWrongType: what does not fit a key changes nothing.
func TestSetWrongType(t *testing.T) {
	c := newPair(t, 1)
	key := []byte("k")
	c.tx.Begin(1, 0)
	defer c.tx.End()
	c.tx.SetString(key, key, StringAuto, 0)
	before := c.tx.Changed()
	if _, err := c.tx.SAdd(key, key); err != ErrWrongType {
		t.Errorf("SAdd to a string: %v", err)
	}
	if _, err := c.tx.SRem(key, key); err != ErrWrongType {
		t.Errorf("SRem from a string: %v", err)
	}
	if _, _, err := c.tx.Set(key); err != ErrWrongType {
		t.Errorf("Set of a string: %v", err)
	}
	if n := c.tx.Changed() - before; n != 0 {
		t.Errorf("%d effects", n)
	}
}

// TestSetRandomIsFair draws from sets of each form and expects each member about equally often.
func TestSetRandomIsFair(t *testing.T) {
	const members, draws = 40, 40_000
	for _, format := range []string{"%d", "m%d", strings.Repeat("m", packedSetMemberMax) + "%d"} {
		c := newPair(t, 1)
		c.tx.Begin(1, 0)
		key := []byte("k")
		for i := range members {
			c.tx.SAdd(key, fmt.Appendf(nil, format, i))
		}
		s, _, _ := c.tx.Set(key)
		for _, count := range []int{1, 10, 20} {
			drawn := map[string]int{}
			rng := rand.New(rand.NewPCG(7, 8))
			for range draws / count {
				s.Sample(rng, count, func(member []byte) { drawn[string(member)]++ })
				if count == 1 {
					drawn[string(s.Random(rng))]++
				}
			}
			mean, chi := float64(draws)/members, 0.0
			if count == 1 {
				mean *= 2
			}
			for _, n := range drawn {
				chi += (float64(n) - mean) * (float64(n) - mean) / mean
			}
			// 39 degrees of freedom: above 90 one time in 100,000; and the seed is fixed.
			if len(drawn) != members || chi > 90 {
				t.Errorf("members like %.8q, %d at a time: chi square %.1f over %d members %v", format, count, chi, len(drawn), drawn)
			}
		}
		c.tx.End()
	}
}

func TestExactInt(t *testing.T) {
	for _, s := range []string{
		"0", "1", "-1", "9", "10", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "-9223372036854775809",
		"9223372036854775817", "18446744073709551615", "18446744073709551616", "99999999999999999999", "-99999999999999999999",
		"", "-", "-0", "00", "01", "-01", "+1", " 1", "1 ", "1a", "a1", "1.0", "1e3", "/1", ":1", "1:", "\x00", "1\x00", "١",
	} {
		want, wantOK := modelInt(s)
		if !wantOK {
			want = 0
		}
		if got, ok := exactInt([]byte(s)); got != want || ok != wantOK {
			t.Errorf("exactInt(%q) = %d, %v, want %d, %v", s, got, ok, want, wantOK)
		}
	}
}

// TestSetMemory: a million members of 16 bytes cost at most 40 bytes each, and adding to a large set allocates nothing.
func TestSetMemory(t *testing.T) {
	const members, most = 1_000_000, 40
	store, err := NewStore(Options{Partitions: 1, Seed: Seed{1, 2}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	tx, key, member := NewTx(store), []byte("k"), []byte("member:000000000")
	one := [][]byte{member}
	before := store.Space.Used()
	for i := range members {
		n := i
		for at := len(member) - 1; n > 0; at-- {
			member[at] = byte('0' + n%10)
			n /= 10
		}
		tx.Begin(1, 0)
		tx.SAdd(key, one...)
		tx.End()
	}
	if each := float64(store.Space.Used()-before) / members; each > most {
		t.Errorf("%d members of %d bytes take %.1f bytes each, want at most %d", members, len(member), each, most)
	} else {
		t.Logf("%.1f bytes a member", each)
	}
	for what, letter := range map[string]byte{"a new member": 'a', "a known member": 0} {
		allocs := testing.AllocsPerRun(100, func() {
			if letter > 0 {
				member[0], member[1] = letter, member[1]+1
			}
			tx.Begin(1, 0)
			tx.SAdd(key, one...)
			tx.End()
		})
		if allocs != 0 {
			t.Errorf("SAdd of %s to a large set allocates %v times", what, allocs)
		}
	}
}

// BenchmarkSAdd adds members of 16 bytes to one set, each time in a transaction of its own: known is of 100,000 members
// that are all in, new of a set that grows.
func BenchmarkSAdd(b *testing.B) {
	const known = 100_000
	for _, name := range []string{"known", "new"} {
		b.Run(name, func(b *testing.B) {
			store, err := NewStore(Options{Partitions: 1, Seed: Seed{1, 2}})
			if err != nil {
				b.Fatal(err)
			}
			defer store.Close()
			tx, key := NewTx(store), []byte("k")
			member := [][]byte{[]byte("member:000000000")}
			add := func(n uint64) {
				binary.BigEndian.PutUint64(member[0][8:], n*0x9E3779B97F4A7C15)
				tx.Begin(1, 0)
				tx.SAdd(key, member...)
				tx.End()
			}
			for n := range uint64(known) {
				add(n)
			}
			n := uint64(known)
			b.ReportAllocs()
			for b.Loop() {
				if n++; name == "known" {
					n %= known
				}
				add(n)
			}
		})
	}
}
