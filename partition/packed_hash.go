package partition

// A packed hash has its fields in the order in which they were first set, as Redis's listpacks have: a new value takes
// the place of the old one. A packed set likewise.

func packedHashLen(blob []byte) int {
	count, _ := packedCount(blob)
	return count / 2
}

// packedHashFind returns the entry that is the field's value.
func packedHashFind(blob, field []byte) (value packedEntry, ok bool) {
	e, ok := packedFind(blob, field, 2)
	if !ok {
		return value, false
	}
	it := packedIterator{blob: blob, packedEntry: e}
	ok = it.next()
	return it.packedEntry, ok
}

// packedHashSet sets a field. A value as long as the one it replaces leaves the size as it is.
func packedHashSet(blob, field, value []byte) (edit packedEdit, added bool) {
	count, _ := packedCount(blob)
	if old, ok := packedHashFind(blob, field); ok {
		return packedEdit{blob: blob, from: old.start, to: old.end, count: count, pair: [2][]byte{value}, pairs: 1}, false
	}
	n := len(blob)
	return packedEdit{blob: blob, from: n, to: n, count: count + 2, pair: [2][]byte{field, value}, pairs: 2}, true
}

// packedHashRemove removes a field with its value.
func packedHashRemove(blob, field []byte) (edit packedEdit, ok bool) {
	value, ok := packedHashFind(blob, field)
	if !ok {
		return edit, false
	}
	start := value.start - packedPlain.entrySize(len(field))
	return packedCut(blob, start, value.end, 2), true
}

func packedHashValid(blob []byte) bool {
	count, _ := packedCount(blob)
	return count%2 == 0 && packedValid(blob, 2)
}

func packedSetHas(blob, member []byte) bool {
	_, ok := packedFind(blob, member, 1)
	return ok
}

// packedSetAdd adds a member that is not in yet.
func packedSetAdd(blob, member []byte) packedEdit {
	count, _ := packedCount(blob)
	n := len(blob)
	return packedEdit{blob: blob, from: n, to: n, count: count + 1, pair: [2][]byte{member}, pairs: 1}
}

func packedSetRemove(blob, member []byte) (edit packedEdit, ok bool) {
	e, ok := packedFind(blob, member, 1)
	if !ok {
		return edit, false
	}
	return packedCut(blob, e.start, e.end, 1), true
}

func packedSetValid(blob []byte) bool { return packedValid(blob, 1) }
