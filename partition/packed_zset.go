package partition

import (
	"bytes"
	"encoding/binary"
	"math"
)

// A packed sorted set has its entries ascending by score, then by member. Each is 8 bytes of score, then the member.
// Scores are never NaN; -0 equals +0.

// packedScore splits an entry's value. A malformed one has score 0 and no member.
func packedScore(value []byte) (score float64, member []byte) {
	if len(value) < scoreBytes {
		return 0, nil
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(value)), value[scoreBytes:]
}

// packedZsetItem is a member as it was found.
type packedZsetItem struct {
	packedEntry
	rank   int
	score  float64
	member []byte
}

func packedZsetFind(blob, member []byte) (item packedZsetItem, ok bool) {
	it := packedIter(blob)
	for rank := 0; it.next(); rank++ {
		if len(it.value) != len(member)+scoreBytes || !bytes.Equal(it.value[scoreBytes:], member) {
			continue
		}
		score, found := packedScore(it.value)
		return packedZsetItem{it.packedEntry, rank, score, found}, true
	}
	return item, false
}

// packedZsetPlace is where the first item is that is not below (score, member), and its rank.
func packedZsetPlace(blob []byte, score float64, member []byte) (at, rank int) {
	it := packedIter(blob)
	at = it.end
	for it.next() {
		s, m := packedScore(it.value)
		if s > score || s == score && bytes.Compare(m, member) >= 0 {
			return at, rank
		}
		at = it.end
		rank++
	}
	return at, rank
}

// packedZsetInsert adds a member that is not in yet.
func packedZsetInsert(blob []byte, score float64, member []byte) packedEdit {
	count, _ := packedCount(blob)
	at, _ := packedZsetPlace(blob, score, member)
	return packedEdit{
		blob: blob, from: at, to: at, count: count + 1,
		form: packedScored, score: score, pair: [2][]byte{member}, pairs: 1,
	}
}

// packedZsetUpdate gives a member that was found another score. The size stays, so it is done in place. member is the
// same as the item's, but not a view of the blob.
func packedZsetUpdate(blob []byte, item packedZsetItem, score float64, member []byte) {
	at, _ := packedZsetPlace(blob, score, member)
	size := item.end - item.start
	switch {
	case at > item.end:
		copy(blob[item.start:], blob[item.end:at])
		at -= size
	case at < item.start:
		copy(blob[at+size:], blob[at:item.start])
	default:
		at = item.start // between the same neighbours
	}
	e := packedEdit{form: packedScored, score: score}
	e.put(blob[at:], member)
}

// packedZsetCut removes n items from a rank on, as far as there are so many.
func packedZsetCut(blob []byte, rank, n int) packedEdit {
	it := packedIter(blob)
	for range rank {
		if !it.next() {
			break
		}
	}
	from, cut := it.end, 0
	for cut < n && it.next() {
		cut++
	}
	return packedCut(blob, from, it.end, cut)
}

// packedZsetIterator reads items in the order of their ranks, or in reverse.
type packedZsetIterator struct {
	score  float64
	member []byte

	it      packedIterator
	reverse bool
	left    int // reverse: items below those in window
	held    int // reverse: items in window still to come
	window  [packedWindow]int32
}

// packedWindow is how many places a reverse iteration remembers; a larger set is read from its start once for each so
// many items.
const packedWindow = 128

// packedZsetIter starts at a rank; where no item has it, there is nothing.
func packedZsetIter(blob []byte, rank int, reverse bool) (z packedZsetIterator) {
	if count, _ := packedCount(blob); rank < 0 || rank >= count {
		return z
	}
	z.it, z.reverse = packedIter(blob), reverse
	if reverse {
		z.left = rank + 1
		return z
	}
	for range rank {
		if !z.it.next() {
			break
		}
	}
	return z
}

func (z *packedZsetIterator) next() bool {
	if z.reverse && !z.back() {
		return false
	}
	if !z.it.next() {
		return false
	}
	z.score, z.member = packedScore(z.it.value)
	return true
}

// back goes to before the item that comes next in reverse.
func (z *packedZsetIterator) back() bool {
	if z.held == 0 {
		z.fill()
	}
	if z.held == 0 {
		return false
	}
	z.held--
	z.it.end = int(z.window[z.held])
	return true
}

// fill remembers where the last of the items are that are left.
func (z *packedZsetIterator) fill() {
	it := packedIter(z.it.blob)
	first := max(0, z.left-packedWindow)
	for rank := range z.left {
		if at := it.end; rank >= first {
			z.window[rank-first] = int32(at)
		}
		if !it.next() {
			z.left = 0
			return
		}
	}
	z.held, z.left = z.left-first, first
}

func packedZsetValid(blob []byte) bool {
	if !packedValid(blob, 0) {
		return false
	}
	count, _ := packedCount(blob)
	seen := make(map[string]struct{}, count)
	lastScore, lastMember := math.Inf(-1), []byte(nil)
	for it := packedIter(blob); it.next(); {
		if len(it.value) < scoreBytes {
			return false
		}
		score, member := packedScore(it.value)
		ascends := score > lastScore || score == lastScore && (len(seen) == 0 || bytes.Compare(member, lastMember) > 0)
		if _, ok := seen[string(member)]; ok || !ascends {
			return false
		}
		seen[string(member)] = struct{}{}
		lastScore, lastMember = score, member
	}
	return true
}
