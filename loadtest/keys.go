package loadtest

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
)

// Choice is how keys are chosen.
type Choice string

const (
	Uniform    Choice = "uniform"    // each of the records as often as any other
	Zipf       Choice = "zipf"       // few of them most of the time, scattered over all as YCSB does
	Latest     Choice = "latest"     // those inserted last most of the time, by zipf
	Sequential Choice = "sequential" // one after the other, and again from the first
	Replay     Choice = "trace"      // as a recorded trace has them
)

// Choices are all ways to choose keys.
var Choices = []Choice{Uniform, Zipf, Latest, Sequential, Replay}

// chooser chooses the key of an operation on a record that should be there.
type chooser interface {
	// choose answers a key; records are those loaded, inserted how many were inserted since. ok is false where there are no more.
	choose(random *rand.Rand, records, inserted uint64) (key uint64, ok bool)
}

func newChooser(w Workload) (chooser, error) {
	switch w.Choice {
	case Uniform:
		return uniformKeys{}, nil
	case Zipf:
		return zipfKeys{newZipf(w.Theta)}, nil
	case Latest:
		return latestKeys{newZipf(w.Theta), w.lag}, nil
	case Sequential:
		return new(sequentialKeys), nil
	case Replay:
		return &replayedKeys{trace: w.Trace}, nil
	}
	return nil, fmt.Errorf("there is no way %q to choose keys", w.Choice)
}

type uniformKeys struct{}

func (uniformKeys) choose(random *rand.Rand, records, _ uint64) (uint64, bool) {
	return random.Uint64N(records), true
}

// zipfKeys are scattered by a hash, so that keys that are often asked for do not lie side by side. As in YCSB two ranks may fall
// on one key, and some keys are then never chosen.
type zipfKeys struct{ ranks zipf }

func (c zipfKeys) choose(random *rand.Rand, records, _ uint64) (uint64, bool) {
	return scatter(c.ranks.draw(random, records)) % records, true
}

// scatter is FNV-1a over the number's eight bytes, the lowest first.
func scatter(n uint64) uint64 {
	const offset, prime = 0xcbf29ce484222325, 0x100000001b3
	h := uint64(offset)
	for range 8 {
		h = (h ^ n&0xff) * prime
		n >>= 8
	}
	return h
}

// latestKeys chooses by age: the newest record most often. The newest lag insertions are left out, for they may still be under
// way.
type latestKeys struct {
	ages zipf
	lag  uint64
}

func (c latestKeys) choose(random *rand.Rand, records, inserted uint64) (uint64, bool) {
	settled := records + inserted - min(inserted, c.lag)
	return settled - 1 - c.ages.draw(random, settled), true
}

type sequentialKeys struct{ next uint64 }

func (c *sequentialKeys) choose(_ *rand.Rand, records, _ uint64) (uint64, bool) {
	key := c.next % records
	c.next++
	return key, true
}

// replayedKeys ends with the trace.
type replayedKeys struct {
	trace []uint64
	next  int
}

func (c *replayedKeys) choose(*rand.Rand, uint64, uint64) (uint64, bool) {
	if c.next == len(c.trace) {
		return 0, false
	}
	c.next++
	return c.trace[c.next-1], true
}

// hashText turns a key of a trace that is no number into one.
func hashText(text []byte) uint64 {
	h := fnv.New64a()
	h.Write(text)
	return binary.BigEndian.Uint64(h.Sum(nil))
}
