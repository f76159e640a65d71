package nearcache

// sketch remembers about how often keys were asked for that are not held: a count-min sketch of 4-bit counters. What it
// answers is never less than what it was told, but for halving, and seldom more. It is used under the lock of its shard.
//
// A word has 16 counters, four for each of four rows. A key has one counter in each row, in different words.
type sketch struct {
	words []uint64 // a power of two of them
}

const (
	sketchMin  = 16
	sketchRows = 4
	countMax   = 15
	halvedMask = 0x7777_7777_7777_7777
)

func (s *sketch) init() { s.words = make([]uint64, sketchMin) }

func (s *sketch) bytes() int64 { return int64(len(s.words)) * 8 }

// counter answers a row's word for a hash, and by how much its counter is shifted there.
func (s *sketch) counter(hash uint64, row int) (word *uint64, shift uint64) {
	h := mix(hash + uint64(row)*0x9e3779b97f4a7c15)
	return &s.words[h&uint64(len(s.words)-1)], 16*uint64(row) + 4*(h>>62)
}

// count answers about how often the key of that hash was asked for.
func (s *sketch) count(hash uint64) int {
	least := uint64(countMax)
	for row := range sketchRows {
		w, shift := s.counter(hash, row)
		least = min(least, *w>>shift&countMax)
	}
	return int(least)
}

// raise makes the count of a hash at least that.
func (s *sketch) raise(hash uint64, count int) {
	for row := range sketchRows {
		w, shift := s.counter(hash, row)
		if *w>>shift&countMax < uint64(count) {
			*w = *w&^(countMax<<shift) | uint64(count)<<shift
		}
	}
}

// halve halves all counts: what was long ago counts less.
func (s *sketch) halve() {
	for i, w := range s.words {
		s.words[i] = w >> 1 & halvedMask
	}
}

// fit doubles the sketch until it has a word for each of that many entries. Counts stay: a key's word is one of two that
// are copies of the one before.
func (s *sketch) fit(entries int) {
	for len(s.words) < entries {
		s.words = append(s.words, s.words...)
	}
}
