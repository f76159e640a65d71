package partition

// A packed list can be read from both ends: behind each entry is how long the entry is (its own length and its bytes), as
// a varint written backwards.

// packedListCursor stands between two entries; next and prev read the one it steps over.
type packedListCursor struct {
	value []byte // of the entry stepped over
	index int    // of the entry behind the cursor, 0..count

	blob  []byte
	at    int // where that entry is
	first int // where entry 0 is
	count int
}

// packedListSeek returns a cursor before the entry of an index, 0 <= index <= count. It comes from the nearer end.
func packedListSeek(blob []byte, index int) packedListCursor {
	count, first := packedCount(blob)
	c := packedListCursor{blob: blob, at: first, first: first, count: count}
	if index <= count/2 {
		for c.index < index && c.next() {
		}
		return c
	}
	c.at, c.index = len(blob), count
	for c.index > index && c.prev() {
	}
	return c
}

func (c *packedListCursor) next() bool {
	n, at := packedUvarint(c.blob, c.at)
	if at < 0 || c.index >= c.count || n > len(c.blob)-at {
		return false
	}
	end := at + n
	behind := end + uvarintLen(end-c.at)
	if behind > len(c.blob) {
		return false
	}
	c.value = c.blob[at:end:end]
	c.at = behind
	c.index++
	return true
}

func (c *packedListCursor) prev() bool {
	length, size := backLength(c.blob, c.at)
	start := c.at - size - length
	if size == 0 || c.index == 0 || start < c.first {
		return false
	}
	n, at := packedUvarint(c.blob, start)
	if at < 0 || at+n != start+length {
		return false
	}
	c.value = c.blob[at : at+n : at+n]
	c.at = start
	c.index--
	return true
}

func packedListLen(blob []byte) int {
	count, _ := packedCount(blob)
	return count
}

// packedListAt is the entry of an index, 0 <= index < count.
func packedListAt(blob []byte, index int) (value []byte, ok bool) {
	c := packedListSeek(blob, index)
	ok = c.index == index && c.next()
	return c.value, ok
}

// packedListSplice drops some entries from an index on and puts items in their place, 0 <= index <= index + drop <=
// count.
func packedListSplice(blob []byte, index, drop int, items ...[]byte) packedEdit {
	from := packedListSeek(blob, index)
	to := from
	if drop > 0 {
		to = packedListSeek(blob, index+drop)
	}
	return packedEdit{
		blob: blob, from: from.at, to: to.at, count: from.count - drop + len(items),
		form: packedListed, items: items,
	}
}

func packedListValid(blob []byte) bool {
	if len(blob) == 0 {
		return true
	}
	count, first := packedCount(blob)
	if first == 0 {
		return false
	}
	c := packedListSeek(blob, 0)
	for start := c.at; c.next(); start = c.at {
		back := c // the entry must read the same from behind
		if !back.prev() || back.at != start {
			return false
		}
	}
	return c.index == count && c.at == len(blob)
}

// putBackLength writes n so that it is read from its last byte on, and returns its size.
func putBackLength(out []byte, n int) (size int) {
	size = uvarintLen(n)
	for i := size - 1; i > 0; i-- {
		out[i] = byte(n) | 0x80
		n >>= 7
	}
	out[0] = byte(n)
	return size
}

// backLength reads the number that ends before blob[end]. A malformed one gives size 0.
func backLength(blob []byte, end int) (n, size int) {
	for shift := 0; size < end && shift <= 28; shift += 7 {
		size++
		b := blob[end-size]
		n |= int(b&0x7f) << shift
		if b < 0x80 {
			return n, size
		}
	}
	return 0, 0
}
