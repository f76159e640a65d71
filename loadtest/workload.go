package loadtest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
)

// Workload is what is asked of a server. The zero value of a field is not a default: NewWorkload has those.
type Workload struct {
	Name    string // for reports
	Mix     Mix
	Choice  Choice
	Theta   float64  // of Zipf and Latest: above 0; the larger, the more often the same keys
	Trace   []uint64 // of Replay
	Records uint64   // keys that are there at the beginning, numbered from 0
	Sizes   Sizes
	ScanMax int    // records of a scan, at most; each number from 1 on as often as any other
	Seed    uint64 // the same seed makes the same sequence of operations
	Limit   uint64 // operations; 0: no limit

	lag uint64 // insertions that may still be under way
}

// Mix is each kind's share, as weights.
type Mix [kindCount]float64

const (
	// DefaultTheta is YCSB's.
	DefaultTheta = 0.99
	ThetaMax     = 10 // of Workload.Theta
	scanMax      = 100
	ScanMaxMax   = 10_000 // of Workload.ScanMax
	recordsMax   = 1 << 40
)

// mixes are YCSB's core workloads.
var mixes = map[string]struct {
	mix    Mix
	choice Choice
}{
	"a": {Mix{Read: 50, Update: 50}, Zipf},
	"b": {Mix{Read: 95, Update: 5}, Zipf},
	"c": {Mix{Read: 100}, Zipf},
	"d": {Mix{Read: 95, Insert: 5}, Latest},
	"e": {Mix{Scan: 95, Insert: 5}, Zipf},
	"f": {Mix{Read: 50, ReadModifyWrite: 50}, Zipf},
}

// mixWords are how the kinds are written in a mix of one's own.
var mixWords = map[string]Kind{"read": Read, "update": Update, "insert": Insert, "scan": Scan, "rmw": ReadModifyWrite}

// NewWorkload is one of YCSB's workloads, "a" to "f", or a mix of one's own, "read=80,update=20", over so many records, with the
// defaults of all else: zipf with theta 0.99 (for d: latest), values of 100 bytes, scans of up to 100 records, seed 1.
func NewWorkload(name string, records uint64) (Workload, error) {
	w := Workload{Name: strings.ToLower(name), Theta: DefaultTheta, Records: records, Sizes: FixedSize(100), ScanMax: scanMax, Seed: 1}
	if known, ok := mixes[w.Name]; ok {
		w.Mix, w.Choice = known.mix, known.choice
		return w, nil
	}
	mix, err := parseMix(w.Name)
	w.Mix, w.Choice = mix, Zipf
	return w, err
}

// LoadPhase is a workload that inserts the records 0 to Records-1 once, in order.
func (w Workload) LoadPhase() Workload {
	w.Name, w.Mix, w.Choice, w.Trace = "load", Mix{Insert: 1}, Sequential, nil
	w.Limit, w.Records = w.Records, 0
	return w
}

func parseMix(text string) (mix Mix, err error) {
	for part := range strings.SplitSeq(text, ",") {
		word, weight, _ := strings.Cut(part, "=")
		kind, known := mixWords[word]
		if !known {
			return mix, errors.New("write a letter from a to f, load, or weights of read, update, insert, scan and rmw " +
				"such as read=80,update=20")
		}
		n, err := strconv.ParseFloat(weight, 64)
		if err != nil || !(n > 0) || n > weightMax {
			return mix, fmt.Errorf("the weight of %s is not a number above 0", word)
		}
		mix[kind] += n
	}
	return mix, nil
}

// check answers what is wrong with a workload.
func (w Workload) check() error {
	insertsOnly := true
	for kind, weight := range w.Mix {
		insertsOnly = insertsOnly && (weight == 0 || Kind(kind) == Insert)
	}
	switch {
	case w.Mix == Mix{} || w.Mix[Fill] != 0:
		return fmt.Errorf("the workload %s has no operations, or such that only come of others", w.Name)
	case w.Records == 0 && !insertsOnly:
		return fmt.Errorf("no records to choose from")
	case w.Records > recordsMax || w.Limit > recordsMax:
		return fmt.Errorf("more than %d records or operations", uint64(recordsMax))
	case !(w.Theta > 0 && w.Theta <= ThetaMax) && (w.Choice == Zipf || w.Choice == Latest):
		return fmt.Errorf("theta is to be above 0, and %d at the most", ThetaMax)
	case len(w.Sizes) == 0:
		return fmt.Errorf("no sizes of values")
	case w.ScanMax < 1 || w.ScanMax > ScanMaxMax:
		return fmt.Errorf("scans are to be of 1 to %d records", ScanMaxMax)
	case w.Choice == Replay && len(w.Trace) == 0:
		return fmt.Errorf("no trace to replay")
	}
	return nil
}

// Keys are the keys of the first so many operations, for who carries them out in another way than Run does; fewer where the workload ends.
func (w Workload) Keys(count int) ([]uint64, error) {
	s, err := newSource(w)
	if err != nil {
		return nil, err
	}
	keys := make([]uint64, 0, count)
	for range count {
		op, ok := s.next()
		if !ok {
			break
		}
		keys = append(keys, op.Key)
	}
	return keys, nil
}

// source is the sequence of a workload's operations. It is the same each time, however many draw from it: who asks gets the next
// ones.
type source struct {
	workload Workload
	upTo     [kindCount]float64 // where each kind's share ends, of 0 to 1

	mu struct {
		sync.Mutex
		random   *rand.Rand
		keys     chooser
		drawn    uint64
		inserted uint64
		ended    bool
	}
}

func newSource(w Workload) (*source, error) {
	if err := w.check(); err != nil {
		return nil, err
	}
	keys, err := newChooser(w)
	if err != nil {
		return nil, err
	}
	s := &source{workload: w}
	s.mu.random, s.mu.keys = rand.New(rand.NewPCG(w.Seed, 0)), keys
	sum, all := 0.0, 0.0
	for _, weight := range w.Mix {
		all += weight
	}
	for kind, weight := range w.Mix {
		sum += weight
		s.upTo[kind] = sum / all
	}
	return s, nil
}

// next answers the next operation; ok is false after the last one.
func (s *source) next() (op Op, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.workload
	if s.mu.ended || w.Limit > 0 && s.mu.drawn == w.Limit {
		return Op{}, false
	}
	op.Kind = s.kind(s.mu.random)
	if op.Kind == Insert {
		op.Key = w.Records + s.mu.inserted
		s.mu.inserted++
	} else if op.Key, ok = s.mu.keys.choose(s.mu.random, w.Records, s.mu.inserted); !ok {
		s.mu.ended = true
		return Op{}, false
	}
	switch op.Kind {
	case Scan:
		op.Count = uint32(1 + s.mu.random.IntN(w.ScanMax))
		if last := w.Records + s.mu.inserted; w.Choice != Replay && op.Key+uint64(op.Count) > last {
			op.Count = uint32(last - op.Key)
		}
	default:
		op.Size = uint32(w.Sizes.draw(s.mu.random)) // of a read too: what a fill would store
	}
	s.mu.drawn++
	return op, true
}

func (s *source) kind(random *rand.Rand) Kind {
	at := random.Float64()
	for kind, upTo := range s.upTo {
		if at < upTo {
			return Kind(kind)
		}
	}
	return s.last()
}

// last is the last kind that has a share: rounding may leave the sum of shares a little below 1.
func (s *source) last() (last Kind) {
	for kind, weight := range s.workload.Mix {
		if weight > 0 {
			last = Kind(kind)
		}
	}
	return last
}

// end makes the sequence end here.
func (s *source) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.ended = true
}
