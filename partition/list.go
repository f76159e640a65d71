package partition

import (
	"bytes"
	"encoding/binary"
)

// packedListMaxBytes is the longest list that is kept as one blob: an insertion at its head moves all of it.
const packedListMaxBytes = 2 << 10

// List is a view of a list, stale after any change to its key.
type List struct {
	blob  []byte
	large *largeList // nil = packed
}

// List looks up a list; ok is false where there is no such key.
func (tx *Tx) List(key []byte) (l List, ok bool, err error) {
	v, ok := tx.Find(key)
	if !ok {
		return l, false, nil
	}
	l, err = v.List()
	return l, err == nil, err
}

// List is the value as a list.
func (v Value) List() (List, error) {
	switch v.rec.kind() {
	case kindList:
		return List{blob: v.rec.value()}, nil
	case kindObject:
		if l, ok := v.p.object(v.rec).(*largeList); ok {
			return List{large: l}, nil
		}
	}
	return List{}, ErrWrongType
}

// Len is the number of elements.
func (l List) Len() int {
	if l.large != nil {
		return l.large.len
	}
	return packedListLen(l.blob)
}

// At is the element of an index, 0 <= index < Len: a view.
func (l List) At(index int) []byte {
	it := l.From(index)
	it.Next()
	return it.Value()
}

// ListIterator walks a list in both directions. It stands between two elements.
type ListIterator struct {
	cursor packedListCursor
	large  *largeList
	node   int // the cursor is in
}

// From returns an iterator before the element of an index, 0 <= index <= Len. It comes from the nearer end.
func (l List) From(index int) ListIterator {
	if l.large == nil {
		return ListIterator{cursor: packedListSeek(l.blob, index)}
	}
	node, within := l.large.seek(index)
	it := ListIterator{large: l.large, node: node}
	if node < l.large.nodes() {
		it.cursor = l.large.cursor(node, within)
	}
	return it
}

// Value is the element that was stepped over last: a view.
func (it *ListIterator) Value() []byte { return it.cursor.value }

// Next steps over the next element; false at the end.
func (it *ListIterator) Next() bool {
	for !it.cursor.next() {
		if it.large == nil || it.node+1 >= it.large.nodes() {
			return false
		}
		it.node++
		it.cursor = it.large.cursor(it.node, 0)
	}
	return true
}

// Prev steps back over the element before; false at the beginning.
func (it *ListIterator) Prev() bool {
	for !it.cursor.prev() {
		if it.large == nil || it.node == 0 {
			return false
		}
		it.node--
		it.cursor = it.large.cursor(it.node, int(it.large.node(it.node).count))
	}
	return true
}

// ListSplice drops some elements from an index on and puts items in their place, 0 <= index <= index+drop <= length.
// Without any element left the key is gone; a key that is not there is made. The key must hold a list or nothing.
func (tx *Tx) ListSplice(key []byte, index, drop int, items ...[]byte) {
	if drop == 0 && len(items) == 0 {
		return
	}
	p, h := tx.locate(key)
	at, _, _ := tx.liveAt(p, h, key)
	p.emit(opListSplice, tx.DB, key)
	p.effects = binary.AppendUvarint(p.effects, uint64(index))
	p.effects = binary.AppendUvarint(p.effects, uint64(drop))
	p.effects = appendMany(p.effects, 1, items)
	p.applyListSplice(tx.DB, h, key, at, index, drop, items)
}

// applyListSplice changes the list of a key that is at an entry, or nowhere.
func (p *Partition) applyListSplice(db int, h uint64, key []byte, at entry, index, drop int, items [][]byte) bool {
	var l List
	if at.off != 0 {
		var err error
		if l, err = (Value{rec: p.dict(db).record(at.off), p: p}).List(); err != nil {
			return false
		}
	}
	if n := l.Len(); index < 0 || drop < 0 || index > n || drop > n-index || drop == n && len(items) == 0 && n == 0 {
		return false
	}
	if l.Len()-drop+len(items) == 0 {
		p.remove(db, at)
		return true
	}
	if l.large == nil {
		e := packedListSplice(l.blob, index, drop, items...)
		if e.size() <= packedListMaxBytes {
			p.edit(db, h, key, kindList, &e)
			return true
		}
		l.large = p.enlargeList(l.blob)
		p.setLarge(db, h, key, l.large)
	}
	l.large.limit = p.store.Limits.ListMaxSize.Load()
	l.large.splice(index, drop, items)
	return true
}

func (p *Partition) enlargeList(blob []byte) *largeList {
	l := &largeList{space: p.store.Space, limit: p.store.Limits.ListMaxSize.Load()}
	for c := packedListSeek(blob, 0); c.next(); {
		l.pushBack(c.value)
	}
	return l
}

// largeList is a list in nodes of a few KiB, each with room at both ends, so that pushing and popping at either end moves
// nothing. nodes are a window into slots, which has room at both ends too.
type largeList struct {
	space *Space
	limit int64 // list-max-listpack-size: what a new node may hold
	slots []listNode
	begin int // slots[begin:] are the nodes; none of them is empty
	len   int // elements
}

// listNode is a stretch of packed entries, mem[head:tail] of a run of its own.
type listNode struct {
	off        uint64
	size       uint32 // of the run, in bytes
	count      uint32 // entries
	head, tail uint32
}

const (
	listNodeBytes    = 8 << 10
	listNodeMinBytes = 4 << 10
)

// nodeBytes is how large nodes are made, by list-max-listpack-size: -1 to -5 stand for 4 to 64 KiB, a positive number for
// that many entries, which here only bounds the count.
func (l *largeList) nodeBytes() int {
	if l.limit >= 0 {
		return listNodeBytes
	}
	return listNodeMinBytes << (min(-l.limit, 5) - 1)
}

func (l *largeList) nodeEntries() int {
	if l.limit > 0 {
		return int(l.limit)
	}
	return 1 << 30
}

func (l *largeList) nodes() int             { return len(l.slots) - l.begin }
func (l *largeList) node(i int) *listNode   { return &l.slots[l.begin+i] }
func (l *largeList) mem(n *listNode) []byte { return l.space.Bytes(n.off, int(n.size)) }
func (n *listNode) used() int               { return int(n.tail - n.head) }
func listEntryBytes(item []byte) int        { return packedListed.entrySize(len(item)) }

// cursor stands in a node before its entry of an index.
func (l *largeList) cursor(node, index int) packedListCursor {
	n := l.node(node)
	c := packedListCursor{blob: l.mem(n)[:n.tail], at: int(n.head), first: int(n.head), count: int(n.count)}
	if index > int(n.count)/2 {
		c.at, c.index = int(n.tail), int(n.count)
		for c.index > index && c.prev() {
		}
		return c
	}
	for c.index < index && c.next() {
	}
	return c
}

// seek finds the node of an element and its index therein; for index == len the place behind the last.
func (l *largeList) seek(index int) (node, within int) {
	if index <= l.len/2 {
		for node < l.nodes() && index >= int(l.node(node).count) {
			index -= int(l.node(node).count)
			node++
		}
		return node, index
	}
	behind := l.len - index // elements from index to the end
	for node = l.nodes() - 1; node >= 0; node-- {
		count := int(l.node(node).count)
		if behind <= count {
			return node, count - behind
		}
		behind -= count
	}
	return 0, 0
}

func (l *largeList) splice(index, drop int, items [][]byte) {
	l.drop(index, drop)
	switch {
	case index == l.len:
		for _, item := range items {
			l.pushBack(item)
		}
	case index == 0:
		for i := len(items) - 1; i >= 0; i-- {
			l.pushFront(items[i])
		}
	default:
		for i, item := range items {
			l.insert(index+i, item)
		}
	}
}

// newNode makes an empty node for at least n bytes before node i, its gap at the end, or at the beginning.
func (l *largeList) newNode(i, n int, gapFirst bool) *listNode {
	size := pagesFor(max(n, l.nodeBytes())) << pageBits
	node := listNode{off: l.space.Alloc(size), size: uint32(size)}
	if gapFirst {
		node.head, node.tail = node.size, node.size
	}
	switch {
	case i == 0 && l.begin > 0:
		l.begin--
		l.slots[l.begin] = node
	case i == 0:
		// No room in front: make as much as there are nodes.
		n := len(l.slots)
		room := make([]listNode, 2*n+1, 3*n+1)
		copy(room[n+1:], l.slots)
		l.slots, l.begin = room, n
		l.slots[l.begin] = node
	default:
		l.slots = append(l.slots, listNode{})
		copy(l.slots[l.begin+i+1:], l.slots[l.begin+i:])
		l.slots[l.begin+i] = node
	}
	return l.node(i)
}

func (l *largeList) removeNode(i int) {
	n := l.node(i)
	l.space.Free(n.off, int(n.size))
	if i == 0 {
		*n = listNode{}
		l.begin++
		return
	}
	copy(l.slots[l.begin+i:], l.slots[l.begin+i+1:])
	l.slots = l.slots[:len(l.slots)-1]
}

// putEntry writes an entry and returns its size.
func putEntry(out, item []byte) int {
	at := binary.PutUvarint(out, uint64(len(item)))
	at += copy(out[at:], item)
	return at + putBackLength(out[at:], at)
}

func (l *largeList) full(n *listNode, bytes int) bool {
	return n.used()+bytes > int(n.size) || int(n.count) >= l.nodeEntries()
}

func (l *largeList) pushBack(item []byte) {
	size := listEntryBytes(item)
	last := l.nodes() - 1
	if last < 0 || l.full(l.node(last), size) {
		last++
		l.newNode(last, size, false)
	}
	n := l.node(last)
	if int(n.size-n.tail) < size {
		l.slide(n, 0)
	}
	n.tail += uint32(putEntry(l.mem(n)[n.tail:], item))
	n.count++
	l.len++
}

func (l *largeList) pushFront(item []byte) {
	size := listEntryBytes(item)
	if l.nodes() == 0 || l.full(l.node(0), size) {
		l.newNode(0, size, true)
	}
	n := l.node(0)
	if int(n.head) < size {
		l.slide(n, n.size-uint32(n.used()))
	}
	n.head -= uint32(size)
	putEntry(l.mem(n)[n.head:], item)
	n.count++
	l.len++
}

// slide moves a node's entries so that they begin at head.
func (l *largeList) slide(n *listNode, head uint32) {
	mem := l.mem(n)
	copy(mem[head:], mem[n.head:n.tail])
	n.head, n.tail = head, head+uint32(n.used())
}

// insert puts an item before the element of an index, 0 < index < len.
func (l *largeList) insert(index int, item []byte) {
	size := listEntryBytes(item)
	node, within := l.seek(index)
	if within == 0 && l.full(l.node(node), size) && node > 0 && !l.full(l.node(node-1), size) {
		node--
		within = int(l.node(node).count)
	}
	n := l.node(node)
	if l.full(n, size) {
		if within == 0 {
			l.newNode(node, size, false)
		} else {
			l.splitNode(node, within)
			if l.full(l.node(node), size) {
				node++
				l.newNode(node, size, false)
				within = 0
			}
		}
		n = l.node(node)
	}
	if int(n.size-n.tail) < size {
		l.slide(n, 0)
	}
	at := uint32(l.cursor(node, within).at)
	if n.count == 0 {
		at = n.head
	}
	mem := l.mem(n)
	copy(mem[at+uint32(size):], mem[at:n.tail])
	putEntry(mem[at:], item)
	n.tail += uint32(size)
	n.count++
	l.len++
}

// splitNode moves a node's entries from an index on to a new node behind it.
func (l *largeList) splitNode(node, index int) {
	at := uint32(l.cursor(node, index).at)
	moved := int(l.node(node).tail - at)
	right := l.newNode(node+1, moved, false)
	n := l.node(node)
	right.tail = uint32(copy(l.mem(right), l.mem(n)[at:n.tail]))
	right.count = n.count - uint32(index)
	n.tail, n.count = at, uint32(index)
}

// drop removes elements from an index on.
func (l *largeList) drop(index, count int) {
	for count > 0 {
		node, within := l.seek(index)
		n := l.node(node)
		part := min(count, int(n.count)-within)
		count -= part
		l.len -= part
		if part == int(n.count) {
			l.removeNode(node)
			continue
		}
		from := uint32(l.cursor(node, within).at)
		to := uint32(l.cursor(node, within+part).at)
		mem := l.mem(n)
		if within == 0 {
			n.head = to
		} else {
			n.tail = from + uint32(copy(mem[from:], mem[to:n.tail]))
		}
		n.count -= uint32(part)
		l.join(node)
	}
}

// join moves a node's entries into the one before or behind it where both together fill at most half a node.
func (l *largeList) join(node int) {
	for _, left := range []int{node - 1, node} {
		if left < 0 || left+1 >= l.nodes() {
			continue
		}
		a, b := l.node(left), l.node(left+1)
		if a.used()+b.used() > int(a.size)/2 || int(a.count+b.count) > l.nodeEntries() {
			continue
		}
		l.slide(a, 0)
		a.tail += uint32(copy(l.mem(a)[a.tail:], l.mem(b)[b.head:b.tail]))
		a.count += b.count
		l.removeNode(left + 1)
		return
	}
}

func (l *largeList) typ() Type        { return TypeList }
func (l *largeList) encoding() string { return "quicklist" }
func (l *largeList) count() int       { return l.len }
func (l *largeList) index() *dict     { return nil }

func (l *largeList) bytes() (sum int) {
	for i := range l.nodes() {
		sum += int(l.node(i).size)
	}
	return sum
}

func (l *largeList) release() {
	for i := range l.nodes() {
		l.space.Free(l.node(i).off, int(l.node(i).size))
	}
	l.slots, l.begin, l.len = nil, 0, 0
}

// each passes all elements to f.
func (l *largeList) each(f func(b []byte)) {
	for it := (List{large: l}).From(0); it.Next(); {
		f(it.Value())
	}
}

func (l *largeList) dump(dst []byte) []byte {
	l.each(func(b []byte) { dst = appendBytes(dst, b) })
	return dst
}

func (l *largeList) digest(seed Seed) (sum uint64) {
	l.each(func(b []byte) { sum = sum*31 + seed.hash(b) })
	return sum
}

func init() {
	restorers[TypeList] = func(p *Partition, dump []byte) (object, bool) {
		l := &largeList{space: p.store.Space, limit: p.store.Limits.ListMaxSize.Load()}
		for r := (effectReader{b: dump}); len(r.b) > 0; {
			b := r.bytes()
			if r.bad {
				return l, false
			}
			l.pushBack(b)
		}
		return l, l.len > 0
	}
}

// Index returns the first index from `from` on where the element equals b, or -1.
func (l List) Index(b []byte, from int) int {
	it := l.From(from)
	for i := from; it.Next(); i++ {
		if bytes.Equal(it.Value(), b) {
			return i
		}
	}
	return -1
}
