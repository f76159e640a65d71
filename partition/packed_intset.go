package partition

import (
	"encoding/binary"
	"math"
	"slices"
)

// A packed intset is a byte that says how wide its integers are, 2, 4 or 8 bytes, then the integers, ascending, little
// endian. Its order is what SMEMBERS shows. It widens for an integer that does not fit, and as in Redis never narrows.

const intsetHead = 1

func intsetWidth(blob []byte) int {
	if len(blob) > 0 && (blob[0] == 4 || blob[0] == 8) {
		return int(blob[0])
	}
	return 2
}

// intWidth is how many bytes v needs.
func intWidth(v int64) int {
	switch {
	case v == int64(int16(v)):
		return 2
	case v == int64(int32(v)):
		return 4
	}
	return 8
}

func packedIntsetLen(blob []byte) int { return max(0, len(blob)-intsetHead) / intsetWidth(blob) }

// packedIntsetAt is integer i of 0 <= i < len, in ascending order.
func packedIntsetAt(blob []byte, i int) int64 { return getInt(blob, intsetWidth(blob), i) }

func getInt(blob []byte, width, i int) int64 {
	b := blob[intsetHead+i*width:]
	switch width {
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	}
	return int64(binary.LittleEndian.Uint64(b))
}

func putInt(blob []byte, width, i int, v int64) {
	b := blob[intsetHead+i*width:]
	switch width {
	case 2:
		binary.LittleEndian.PutUint16(b, uint16(v))
	case 4:
		binary.LittleEndian.PutUint32(b, uint32(v))
	default:
		binary.LittleEndian.PutUint64(b, uint64(v))
	}
}

// packedIntsetFind returns where v is, or would be.
func packedIntsetFind(blob []byte, v int64) (i int, ok bool) {
	width := intsetWidth(blob)
	lo, hi := 0, packedIntsetLen(blob)
	for lo < hi {
		mid := (lo + hi) / 2
		x := getInt(blob, width, mid)
		if x == v {
			return mid, true
		}
		if x < v {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, false
}

// packedIntsetAddSize is how long the blob will be with v, which is not in yet.
func packedIntsetAddSize(blob []byte, v int64) int {
	return intsetHead + (packedIntsetLen(blob)+1)*max(intsetWidth(blob), intWidth(v))
}

// packedIntsetAdd appends the blob with v, which is not in yet, to dst. Where dst is blob[:0] and has the capacity, the
// change is made in place; otherwise they must not overlap.
func packedIntsetAdd(dst, blob []byte, v int64) []byte {
	i, _ := packedIntsetFind(blob, v)
	n, old := packedIntsetLen(blob), intsetWidth(blob)
	width := max(old, intWidth(v))
	size := packedIntsetAddSize(blob, v)
	base := len(dst)
	dst = slices.Grow(dst, size)[:base+size]
	out := dst[base:]
	if width == old {
		end := intsetHead + n*width
		at := min(intsetHead+i*width, len(blob)) // no blob has no head either
		copy(out[intsetHead+(i+1)*width:], blob[at:min(end, len(blob))])
		copy(out[:at], blob)
	} else {
		for j := n - 1; j >= 0; j-- { // from the end, so that in place nothing is overwritten unread
			to := j
			if j >= i {
				to++
			}
			putInt(out, width, to, getInt(blob, old, j))
		}
	}
	out[0] = byte(width)
	putInt(out, width, i, v)
	return dst
}

// packedIntsetRemove appends the blob without integer i to dst; dst may be blob[:0].
func packedIntsetRemove(dst, blob []byte, i int) []byte {
	width := intsetWidth(blob)
	at := intsetHead + i*width
	dst = append(dst, blob[:at]...)
	return append(dst, blob[at+width:]...)
}

func packedIntsetValid(blob []byte) bool {
	if len(blob) == 0 {
		return true
	}
	width := intsetWidth(blob)
	if int(blob[0]) != width || (len(blob)-intsetHead)%width != 0 {
		return false
	}
	last := int64(math.MinInt64)
	for i := range packedIntsetLen(blob) {
		v := packedIntsetAt(blob, i)
		if v <= last && i > 0 {
			return false
		}
		last = v
	}
	return true
}
