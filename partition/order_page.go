package partition

import (
	"encoding/binary"
	"math"
)

// page is the memory of a leaf of an order: all scores, then all refs, so that a search stays within the scores. How many
// there are its leaf knows.
//
// A ref takes 5 bytes, which holds any address of a Space. With 8 bytes, a million items inserted at random took 23 B
// each instead of 18, and no operation was faster.
type page [pageBytes]byte

const (
	scoreBytes = 8
	refBytes   = 5
	refMax     = 1 << (8 * refBytes)
	pageItems  = pageBytes / (scoreBytes + refBytes)
	refsAt     = pageItems * scoreBytes
)

func (p *page) score(i int) float64 {
	return math.Float64frombits(binary.LittleEndian.Uint64(p[i*scoreBytes:]))
}

func (p *page) ref(i int) uint64 {
	b := p[refsAt+i*refBytes:]
	return uint64(binary.LittleEndian.Uint32(b)) | uint64(b[4])<<32
}

func (p *page) setRef(i int, ref uint64) {
	b := p[refsAt+i*refBytes:]
	binary.LittleEndian.PutUint32(b, uint32(ref))
	b[4] = byte(ref >> 32)
}

func (p *page) set(i int, score float64, ref uint64) {
	binary.LittleEndian.PutUint64(p[i*scoreBytes:], math.Float64bits(score))
	p.setRef(i, ref)
}

// insert puts an item before the one at i of count.
func (p *page) insert(i, count int, score float64, ref uint64) {
	copy(p[(i+1)*scoreBytes:], p[i*scoreBytes:count*scoreBytes])
	copy(p[refsAt+(i+1)*refBytes:], p[refsAt+i*refBytes:refsAt+count*refBytes])
	p.set(i, score, ref)
}

// remove takes out the item at i of count.
func (p *page) remove(i, count int) {
	copy(p[i*scoreBytes:], p[(i+1)*scoreBytes:count*scoreBytes])
	copy(p[refsAt+i*refBytes:], p[refsAt+(i+1)*refBytes:refsAt+count*refBytes])
}

// append copies the items i..j of another page behind the count that are here.
func (p *page) append(count int, from *page, i, j int) {
	copy(p[count*scoreBytes:], from[i*scoreBytes:j*scoreBytes])
	copy(p[refsAt+count*refBytes:], from[refsAt+i*refBytes:refsAt+j*refBytes])
}
