package core

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// modelLog is a log without any cleverness: it keeps everything.
type modelLog struct {
	epochs []uint64 // of sequence number i+1
	base   int
}

func (m *modelLog) last() uint64 { return uint64(len(m.epochs)) }

func (m *modelLog) bytesAfter(seq uint64) (size int) {
	for s := max(seq, uint64(m.base)) + 1; s <= m.last(); s++ {
		size += testEntry(s, m.epochs[s-1]).size()
	}
	return size
}

// testEntry is the entry of a sequence number and reign; its size differs from those around it.
func testEntry(seq, epoch uint64) *Entry {
	return &Entry{Seq: seq, Epoch: epoch, TimeMs: int64(seq), Payload: fmt.Appendf(nil, "%d:%d:%0*d", epoch, seq, int(seq%7), 0)}
}

// commonWith is the length of the common beginning.
func (m *modelLog) commonWith(o *modelLog) (n uint64) {
	for n < min(m.last(), o.last()) && m.epochs[n] == o.epochs[n] {
		n++
	}
	return n
}

// R15: append, cut and trim against a model, and what can be read after each.
func TestR15LogAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 1))
		var l entryLog
		var m modelLog
		epoch := uint64(1)
		for range 200 {
			var did string
			switch random.IntN(6) {
			case 0: // a new reign
				epoch += 1 + random.Uint64N(3)
			case 1:
				seq := uint64(m.base) + random.Uint64N(m.last()-uint64(m.base)+1)
				did = fmt.Sprintf("cut(%d)", seq)
				l.cut(seq)
				m.epochs = m.epochs[:seq]
			case 2:
				seq, keep := random.Uint64N(m.last()+1), random.IntN(600)
				did = fmt.Sprintf("trim(%d, %d)", seq, keep)
				l.trim(seq, keep)
				for m.base < int(seq) && m.bytesAfter(0) > keep {
					m.base++
				}
			default:
				e := testEntry(l.last+1, epoch)
				did = fmt.Sprintf("append(%d of reign %d)", e.Seq, e.Epoch)
				l.append(*e)
				m.epochs = append(m.epochs, epoch)
			}
			if wrong := compareLog(&l, &m, random); wrong != "" {
				t.Fatalf("seed %d, after %s: %s", seed, did, wrong)
			}
		}
	}
}

func compareLog(l *entryLog, m *modelLog, random *rand.Rand) string {
	if l.last != m.last() || l.base != uint64(m.base) || l.bytes != m.bytesAfter(0) {
		return fmt.Sprintf("%d..%d with %d bytes, want %d..%d with %d", l.base, l.last, l.bytes, m.base, m.last(), m.bytesAfter(0))
	}
	if len(l.reigns) > reignsMax {
		return fmt.Sprintf("%d reigns", len(l.reigns))
	}
	for seq := uint64(1); seq <= l.last; seq++ {
		got := l.epochOf(seq)
		if got != m.epochs[seq-1] && (got != 0 || len(l.reigns) > 0 && seq >= l.reigns[0].First) {
			return fmt.Sprintf("epoch of %d: %d, want %d; reigns %v", seq, got, m.epochs[seq-1], l.reigns)
		}
		if seq > l.base && l.at(seq).Seq != seq {
			return fmt.Sprintf("at(%d) is %d", seq, l.at(seq).Seq)
		}
	}
	seq := l.base + random.Uint64N(l.last-l.base+1)
	if got, want := l.bytesAfter(seq), m.bytesAfter(seq); got != want {
		return fmt.Sprintf("bytesAfter(%d) = %d, want %d", seq, got, want)
	}
	limit := random.IntN(300)
	entries := l.from(seq, limit)
	if len(entries) == 0 && seq < l.last {
		return fmt.Sprintf("from(%d) is empty; at least one is wanted", seq)
	}
	size := 0
	for i, e := range entries {
		want := testEntry(seq+1+uint64(i), m.epochs[seq+uint64(i)])
		if e.Seq != want.Seq || e.Epoch != want.Epoch || string(e.Payload) != string(want.Payload) {
			return fmt.Sprintf("from(%d)[%d] is %+v, want %+v", seq, i, e, want)
		}
		size += e.size()
	}
	if size > limit && len(entries) > 1 {
		return fmt.Sprintf("from(%d, %d) gave %d bytes", seq, limit, size)
	}
	if end := seq + uint64(len(entries)); end < l.last && size+l.at(end+1).size() <= limit {
		return fmt.Sprintf("from(%d, %d) left out entry %d, which fits", seq, limit, end+1)
	}
	return ""
}

// R15: what from returns stays as it was when the log goes on.
func TestR15FromIsNotOverwritten(t *testing.T) {
	var l entryLog
	for seq := uint64(1); seq <= 4; seq++ {
		l.append(*testEntry(seq, 1))
	}
	got := l.from(0, 1<<20)
	_ = append(got, *testEntry(99, 9)) // must not reach the log
	l.append(*testEntry(5, 1))
	if e := l.at(5); e.Seq != 5 {
		t.Errorf("entry 5 is %d: somebody who appended to what from gave wrote into the log", e.Seq)
	}
}

// R15: two logs that began as one and went apart: the common point is where they did, or not known; never beyond.
func TestR15CommonPointAgainstModel(t *testing.T) {
	known := 0
	for seed := range uint64(2000) {
		random := rand.New(rand.NewPCG(seed, 2))
		var logs [2]entryLog
		var models [2]modelLog
		add := func(i int, epoch uint64) {
			logs[i].append(*testEntry(logs[i].last+1, epoch))
			models[i].epochs = append(models[i].epochs, epoch)
		}
		epoch := uint64(1)
		for range random.IntN(30) {
			if random.IntN(4) == 0 {
				epoch++
			}
			add(0, epoch)
			add(1, epoch)
		}
		// One goes on within the reign; reigns are never shared from there on.
		for range random.IntN(10) {
			add(0, epoch)
		}
		for i := range logs {
			for range random.IntN(20) {
				if random.IntN(3) == 0 || logs[i].last > 0 && logs[i].epochOf(logs[i].last) == epoch {
					epoch++
				}
				add(i, epoch)
			}
			epoch++
		}
		want := models[0].commonWith(&models[1])
		for i := range logs {
			got, ok := logs[i].commonPoint(logs[1-i].reigns, logs[1-i].last)
			if !ok {
				continue
			}
			known++
			if got != want {
				t.Fatalf("seed %d: common point %d, want %d\n%v up to %d\n%v up to %d", seed, got, want,
					logs[i].reigns, logs[i].last, logs[1-i].reigns, logs[1-i].last)
			}
		}
	}
	if known < 2000 {
		t.Errorf("the common point was known %d times in 4000", known)
	}
}

// R15: some of them by hand.
func TestR15CommonPoint(t *testing.T) {
	tests := []struct {
		name         string
		ours, theirs []Reign
		last, end    uint64
		want         uint64
		known        bool
	}{
		{"the copy is behind", []Reign{{1, 1}}, []Reign{{1, 1}}, 20, 15, 15, true},
		{"the copy is ahead in the same reign", []Reign{{1, 1}}, []Reign{{1, 1}}, 15, 20, 15, true},
		{"the copy has the end of a reign that we do not have", []Reign{{1, 1}, {2, 16}}, []Reign{{1, 1}}, 18, 20, 15, true},
		{"we have the end of a reign that the copy does not have", []Reign{{1, 1}}, []Reign{{1, 1}, {2, 11}}, 18, 20, 10, true},
		{"both went on alone", []Reign{{1, 1}, {3, 16}}, []Reign{{1, 1}, {2, 11}}, 20, 20, 10, true},
		{"an empty copy", []Reign{{1, 1}}, nil, 20, 0, 0, true},
		{"nothing shared that both remember", []Reign{{7, 100}}, []Reign{{5, 80}}, 120, 90, 0, false},
	}
	for _, tt := range tests {
		l := entryLog{last: tt.last, base: tt.last, reigns: tt.ours}
		if got, known := l.commonPoint(tt.theirs, tt.end); got != tt.want || known != tt.known {
			t.Errorf("%s: %d, %v; want %d, %v", tt.name, got, known, tt.want, tt.known)
		}
	}
}

// R15: the reigns remembered are the newest; a log that is begun anew by a walk takes those of its source.
func TestR15ReignsAreBounded(t *testing.T) {
	var l entryLog
	for e := uint64(1); e <= 3*reignsMax; e++ {
		l.append(*testEntry(e, e))
	}
	if len(l.reigns) != reignsMax || l.reigns[0].Epoch != 2*reignsMax+1 {
		t.Errorf("reigns %v", l.reigns)
	}
	if got := l.epochOf(5); got != 0 {
		t.Errorf("the epoch of what is too old to know: %d", got)
	}
	var walk entryLog
	walk.resetTo(l.last, l.reigns)
	if walk.last != l.last || walk.base != l.last || len(walk.entries) != 0 || !slices.Equal(walk.reigns, l.reigns) {
		t.Errorf("after a walk's start: %+v", walk)
	}
	walk.append(*testEntry(walk.last+1, 99))
	if slices.Equal(walk.reigns, l.reigns) || len(l.reigns) != reignsMax {
		t.Errorf("the log and its source share their reigns")
	}
}
