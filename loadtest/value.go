package loadtest

import (
	"math/rand/v2"
	"strconv"
)

const (
	keyDigits  = 12
	poolBytes  = 64 << 10
	markerSize = headSize // of a value's first bytes, which tell of which record it is
)

// pool is what values are cut from: letters in no order, so that no server stores a value as a number or compresses it well.
var pool = func() []byte {
	random := rand.New(rand.NewPCG(1, 1))
	letters := make([]byte, poolBytes)
	for i := range letters {
		letters[i] = 'a' + byte(random.IntN(26))
	}
	return letters
}()

// appendKey appends a record's key without its prefix: at least keyDigits digits.
func appendKey(dst []byte, key uint64) []byte {
	from := len(dst)
	dst = append(dst, "000000000000"...)
	for i := len(dst) - 1; i >= from; i-- {
		dst[i] = '0' + byte(key%10)
		key /= 10
	}
	if key > 0 {
		var number [20]byte
		digits := strconv.AppendUint(number[:0], key, 10)
		dst = append(dst, digits...)
		copy(dst[from+len(digits):], dst[from:from+keyDigits])
		copy(dst[from:], digits)
	}
	return dst
}

// appendValue appends a record's value of so many bytes. Its first ones tell the record, so that a reply that belongs to another
// one is noticed.
func appendValue(dst []byte, key uint64, size int) []byte {
	mark := marker(key)
	dst = append(dst, mark[:min(size, markerSize)]...)
	at := int(scatter(key)>>1) % poolBytes
	for left := size - markerSize; left > 0; {
		part := pool[at:min(at+left, poolBytes)]
		dst = append(dst, part...)
		left -= len(part)
		at = 0
	}
	return dst
}

// marker is what a record's values begin with. Also one cut short differs from most others.
func marker(key uint64) (mark [markerSize]byte) {
	h := scatter(key ^ 0x9e3779b97f4a7c15)
	for i := range mark {
		mark[i] = 'a' + byte(h&15)
		h >>= 4
	}
	return mark
}
