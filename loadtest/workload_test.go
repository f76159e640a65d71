package loadtest

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

func workload(t testing.TB, name string, records uint64) Workload {
	t.Helper()
	w, err := NewWorkload(name, records)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func drawAll(t testing.TB, w Workload, count int) []Op {
	t.Helper()
	s, err := newSource(w)
	if err != nil {
		t.Fatal(err)
	}
	var ops []Op
	for range count {
		op, ok := s.next()
		if !ok {
			break
		}
		ops = append(ops, op)
	}
	return ops
}

// Every mix has its kinds in the shares that YCSB gives them, and chooses keys as it does.
func TestMixes(t *testing.T) {
	const draws = 200_000
	for name, want := range map[string]map[Kind]float64{
		"a":                        {Read: 0.5, Update: 0.5},
		"b":                        {Read: 0.95, Update: 0.05},
		"c":                        {Read: 1},
		"d":                        {Read: 0.95, Insert: 0.05},
		"e":                        {Scan: 0.95, Insert: 0.05},
		"f":                        {Read: 0.5, ReadModifyWrite: 0.5},
		"A":                        {Read: 0.5, Update: 0.5},
		"read=80,update=20":        {Read: 0.8, Update: 0.2},
		"scan=1,rmw=2,insert=0.25": {Scan: 1 / 3.25, ReadModifyWrite: 2 / 3.25, Insert: 0.25 / 3.25},
	} {
		w := workload(t, name, 1000)
		counts := map[Kind]float64{}
		inserted := w.Records
		for _, op := range drawAll(t, w, draws) {
			counts[op.Kind]++
			switch op.Kind {
			case Insert:
				if op.Key != inserted {
					t.Fatalf("%s: inserts %d, want the next record, %d", name, op.Key, inserted)
				}
				inserted++
			case Scan:
				if op.Count < 1 || op.Count > scanMax || op.Key+uint64(op.Count) > inserted {
					t.Fatalf("%s: scans %d records from %d of %d", name, op.Count, op.Key, inserted)
				}
			default:
				if op.Key >= inserted || op.Size != 100 {
					t.Fatalf("%s: %v of record %d of %d with %d bytes, want 100", name, op.Kind, op.Key, inserted, op.Size)
				}
			}
		}
		if len(counts) != len(want) {
			t.Errorf("%s: kinds %v, want %v", name, counts, want)
		}
		for kind, share := range want {
			if got := counts[kind] / draws; math.Abs(got-share) > 0.005 {
				t.Errorf("%s: share of %v is %.4f, want %.4f", name, kind, got, share)
			}
		}
		if choice := w.Choice; (choice == Latest) != (w.Name == "d") {
			t.Errorf("%s: keys by %s", name, choice)
		}
	}
}

func TestMixMistakes(t *testing.T) {
	for _, name := range []string{"", "g", "read", "read=", "read=0", "read=-1", "read=NaN", "read=1,", "write=1", "read=1e10", "fill=1"} {
		if w, err := NewWorkload(name, 10); err == nil {
			t.Errorf("NewWorkload(%q) = %v, want an error", name, w.Mix)
		}
	}
}

// The same seed makes the same sequence, whoever draws from it; another seed makes another.
func TestSameSeedSameSequence(t *testing.T) {
	const draws = 10_000
	for _, name := range []string{"a", "d", "e", "f"} {
		w := workload(t, name, 5000)
		w.Sizes = Sizes{{10, 20, 1}, {100, 1000, 3}}
		w.Seed = 7
		first := drawAll(t, w, draws)
		if again := drawAll(t, w, draws); !slices.Equal(first, again) {
			t.Errorf("%s: two sequences of one seed differ", name)
		}
		w.Seed = 8
		if other := drawAll(t, w, draws); slices.Equal(first, other) {
			t.Errorf("%s: two seeds make one sequence", name)
		}

		w.Seed = 7
		s, err := newSource(w)
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var drawn []Op
		var clients sync.WaitGroup
		for range 4 {
			clients.Go(func() {
				for range draws / 4 {
					mu.Lock() // so that the order in which they were drawn is known
					op, _ := s.next()
					drawn = append(drawn, op)
					mu.Unlock()
				}
			})
		}
		clients.Wait()
		if !slices.Equal(drawn, first) {
			t.Errorf("%s: four clients draw another sequence than one", name)
		}
	}
}

func TestLimit(t *testing.T) {
	w := workload(t, "a", 10)
	w.Limit = 17
	if got := len(drawAll(t, w, 100)); got != 17 {
		t.Errorf("%d operations, want 17", got)
	}
	load := drawAll(t, workload(t, "a", 25).LoadPhase(), 100)
	if len(load) != 25 {
		t.Fatalf("the load phase has %d operations, want one for each of 25 records", len(load))
	}
	for i, op := range load {
		if op.Kind != Insert || op.Key != uint64(i) {
			t.Errorf("operation %d of the load phase: %v of %d", i, op.Kind, op.Key)
		}
	}
}

func TestWorkloadMistakes(t *testing.T) {
	for name, spoil := range map[string]func(*Workload){
		"no records":       func(w *Workload) { w.Records = 0 },
		"many records":     func(w *Workload) { w.Records = recordsMax + 1 },
		"many operations":  func(w *Workload) { w.Limit = recordsMax + 1 },
		"theta 0":          func(w *Workload) { w.Theta = 0 },
		"theta below 0":    func(w *Workload) { w.Theta = -1 },
		"theta large":      func(w *Workload) { w.Theta = 11 },
		"theta no number":  func(w *Workload) { w.Theta = math.NaN() },
		"no sizes":         func(w *Workload) { w.Sizes = nil },
		"no scan":          func(w *Workload) { w.ScanMax = 0 },
		"no trace":         func(w *Workload) { w.Choice = Replay },
		"unknown choice":   func(w *Workload) { w.Choice = "gauss" },
		"no mix":           func(w *Workload) { w.Mix = Mix{} },
		"fill in the mix":  func(w *Workload) { w.Mix[Fill] = 1 },
		"theta of latest":  func(w *Workload) { w.Choice, w.Theta = Latest, 0 },
		"scans of 100 000": func(w *Workload) { w.ScanMax = 100_000 },
	} {
		w := workload(t, "a", 10)
		spoil(&w)
		if _, err := newSource(w); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The newest records are read most, by zipf over their age, and those that may be under way are not.
func TestLatest(t *testing.T) {
	const records, inserted, lag, draws = 500, 300, 20, 500_000
	random := rand.New(rand.NewPCG(1, 2))
	keys := latestKeys{newZipf(0.99), lag}
	newest := records + inserted - lag
	counts := make([]int, newest)
	for range draws {
		key, _ := keys.choose(random, records, inserted)
		if key >= uint64(newest) {
			t.Fatalf("record %d of %d was chosen, with %d that may be under way", key, records+inserted, lag)
		}
		counts[newest-1-int(key)]++
	}
	checkZipf(t, counts, 0.99, draws)

	for range 1000 { // fewer insertions than may be under way
		if key, _ := keys.choose(random, records, lag/2); key >= records {
			t.Fatalf("record %d was chosen, which may be under way", key)
		}
	}
}

func TestUniform(t *testing.T) {
	const records, draws = 100, 1_000_000
	random := rand.New(rand.NewPCG(1, 2))
	counts := make([]int, records)
	for range draws {
		key, _ := uniformKeys{}.choose(random, records, 50)
		counts[key]++
	}
	for key, got := range counts {
		if math.Abs(float64(got)-draws/records) > 5*math.Sqrt(draws/records) {
			t.Errorf("record %d came %d times, want about %d", key, got, draws/records)
		}
	}
}

// Zipf's keys are spread by YCSB's hash: each has the shares of the ranks that fall on it.
func TestZipfIsScattered(t *testing.T) {
	const records, draws = 100, 1_000_000
	random := rand.New(rand.NewPCG(1, 2))
	keys := zipfKeys{newZipf(0.99)}
	counts := make([]float64, records)
	for range draws {
		key, _ := keys.choose(random, records, 0)
		counts[key]++
	}
	want := make([]float64, records)
	sum := 0.0
	for r := range uint64(records) {
		sum += math.Pow(float64(r+1), -0.99)
		want[scatter(r)%records] += math.Pow(float64(r+1), -0.99)
	}
	for key := range counts {
		p := want[key] / sum
		if math.Abs(counts[key]-p*draws) > 5*math.Sqrt(draws*p*(1-p)) {
			t.Errorf("record %d came %.0f times, want %.0f", key, counts[key], p*draws)
		}
	}
}

// scatter is FNV-1a of the eight bytes.
func TestScatter(t *testing.T) {
	for _, n := range []uint64{0, 1, 0x0102030405060708, math.MaxUint64} {
		h := uint64(14695981039346656037)
		for i := range 8 {
			h = (h ^ n>>(8*i)&0xff) * 1099511628211
		}
		if got := scatter(n); got != h {
			t.Errorf("scatter(%d) = %x, want %x", n, got, h)
		}
	}
}

func TestSequentialAndReplay(t *testing.T) {
	w := workload(t, "c", 3)
	w.Choice = Sequential
	var got []uint64
	for _, op := range drawAll(t, w, 7) {
		got = append(got, op.Key)
	}
	if want := []uint64{0, 1, 2, 0, 1, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("sequential: %v, want %v", got, want)
	}
	w.Choice, w.Trace = Replay, []uint64{9, 4, 9, 1 << 63}
	got = nil
	for _, op := range drawAll(t, w, 100) {
		got = append(got, op.Key)
	}
	if !slices.Equal(got, w.Trace) {
		t.Errorf("replay: %v, want %v once", got, w.Trace)
	}
}

func TestSizes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		text string
		want Sizes
	}{
		{"100", Sizes{{100, 100, 1}}},
		{"0", Sizes{{0, 0, 1}}},
		{"10-1000", Sizes{{10, 1000, 1}}},
		{"100:9,1000-2000:1", Sizes{{100, 100, 9}, {1000, 2000, 1}}},
		{"1:0.5,2:0.5", Sizes{{1, 1, 0.5}, {2, 2, 0.5}}},
	} {
		got, err := ParseSizes(c.text)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("ParseSizes(%q) = %v, %v, want %v", c.text, got, err, c.want)
			continue
		}
		if again := got.String(); again != c.text {
			t.Errorf("%v is written %q, was %q", got, again, c.text)
		}
		const draws = 100_000
		counts := make([]float64, len(got))
		weights := 0.0
		for _, r := range got {
			weights += r.Weight
		}
		for range draws {
			size := got.draw(random)
			i := slices.IndexFunc(got, func(r SizeRange) bool { return r.Low <= size && size <= r.High })
			if i < 0 {
				t.Fatalf("%s: drew %d", c.text, size)
			}
			counts[i]++
		}
		for i, r := range got {
			if share := counts[i] / draws; math.Abs(share-r.Weight/weights) > 0.01 {
				t.Errorf("%s: share of %v is %.3f, want %.3f", c.text, r, share, r.Weight/weights)
			}
		}
	}
	for _, text := range []string{"", "x", "-1", "10-", "-10", "10-5", "10:0", "10:x", "10:-1", "1,,2", "99999999999", "1:NaN", "1:Inf"} {
		if got, err := ParseSizes(text); err == nil {
			t.Errorf("ParseSizes(%q) = %v, want an error", text, got)
		}
	}
}

func BenchmarkSource(b *testing.B) {
	for _, name := range []string{"a", "c", "d"} {
		b.Run(name, func(b *testing.B) {
			s, err := newSource(workload(b, name, 1_000_000))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				s.next()
			}
		})
	}
}

func TestProgressLine(t *testing.T) {
	for want, p := range map[string]Progress{
		"a:1  warming up, 2 s left": {Target: "a:1", Elapsed: -2e9},
		"a:1    3 s of 10  12,345/s  p50 9.50 µs  p99 250 µs  max 1.25 ms":         {"a:1", 3e9, 10e9, Second{Length: 2, Operations: 24690, P50: 9.5, P99: 250, Max: 1250}},
		"a:1    3 s  0/s  p50 0.00 µs  p99 0.00 µs  max 0.00 µs  1,000,000 errors": {"a:1", 3e9, 0, Second{Length: 1, Errors: 1e6}},
	} {
		if got := p.Line(); got != want {
			t.Errorf("line %q\nwant %q", got, want)
		}
		if strings.Contains(p.Line(), "\n") {
			t.Errorf("%q is not one line", p.Line())
		}
	}
}
