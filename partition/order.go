package partition

import (
	"bytes"
	"slices"
	"unsafe"
)

// order is the ordered index of a large sorted set: (score, ref) items, ascending by score and then by the member's
// bytes, with ranks. The member itself is in an arena record that ref names; order reads it only to decide between equal
// scores.
//
//	order    a slice of blocks
//	block    a slice of up to 256 leaves                                  Go heap, no pointers in a leaf
//	leaf     where its page is, how many items it has, its first score
//	page     up to 315 scores, then as many refs (order_page.go)          outside the Go heap
//
// Two levels of slices above the pages are enough: a million items inserted at random are in about 4,400 leaves and 25
// blocks, so a rank is the sum of some hundred counts, and adding a leaf moves at most four kilobytes. Deeper nodes would
// save sums only beyond some ten million items.
//
// No item is in twice. Scores are never NaN; -0 equals +0.
type order struct {
	space  *Space
	member func(ref uint64) []byte
	blocks []block // none is empty
	count  int     // items
	leaves int
}

type block struct {
	leaves []leaf // 1..blockLeaves
	count  int    // items of all its leaves
}

type leaf struct {
	first float64 // the first item's score
	page  uint32  // the page's offset / pageBytes
	count uint32  // 1..pageItems
}

const (
	blockLeaves = 256
	// A leaf or block that a removal leaves with fewer is joined to a neighbour that has room for it. The other half of a
	// split has twice as many, so joining and splitting cannot take turns.
	sparseItems  = pageItems / 4
	sparseLeaves = blockLeaves / 4
)

// newOrder makes an empty order. member returns the bytes of the record at ref, valid until the next call.
func newOrder(space *Space, member func(ref uint64) []byte) *order {
	return &order{space: space, member: member}
}

func (o *order) len() int { return o.count }

// bytes is what the index occupies, on either heap.
func (o *order) bytes() int {
	n := int(unsafe.Sizeof(order{})) + cap(o.blocks)*int(unsafe.Sizeof(block{})) + o.leaves*pageBytes
	for i := range o.blocks {
		n += cap(o.blocks[i].leaves) * int(unsafe.Sizeof(leaf{}))
	}
	return n
}

// release frees all pages; the order is empty then.
func (o *order) release() {
	for _, b := range o.blocks {
		for i := range b.leaves {
			o.freePage(&b.leaves[i])
		}
	}
	o.blocks, o.count = nil, 0
}

// insert adds an item that is not in yet. 0 < ref < refMax.
func (o *order) insert(score float64, ref uint64, member []byte) {
	if len(o.blocks) == 0 {
		o.blocks = append(o.blocks, block{leaves: []leaf{o.newLeaf()}})
	}
	at := o.seek(&bound{score: score, member: member, byMember: true})
	if o.leaf(at).count == pageItems {
		at = o.makeRoom(at)
	}
	b := &o.blocks[at.block]
	l := &b.leaves[at.leaf]
	o.page(l).insert(at.index, int(l.count), score, ref)
	if at.index == 0 {
		l.first = score
	}
	l.count++
	b.count++
	o.count++
}

// remove takes an item out and returns its ref.
func (o *order) remove(score float64, member []byte) (ref uint64, ok bool) {
	at, ok := o.find(&bound{score: score, member: member, byMember: true})
	if !ok {
		return 0, false
	}
	b := &o.blocks[at.block]
	l := &b.leaves[at.leaf]
	p := o.page(l)
	ref = p.ref(at.index)
	p.remove(at.index, int(l.count))
	l.count--
	b.count--
	o.count--
	if at.index == 0 && l.count > 0 {
		l.first = p.score(0)
	}
	if l.count < sparseItems {
		o.shrink(at)
	}
	return ref, true
}

// replaceRef is told that a member's record has moved. What is at oldRef is not read.
func (o *order) replaceRef(score float64, member []byte, oldRef, newRef uint64) bool {
	at, ok := o.find(&bound{score: score, member: member, byMember: true, known: oldRef})
	if !ok {
		return false
	}
	o.page(o.leaf(at)).setRef(at.index, newRef)
	return true
}

// rank is how many items come before this one.
func (o *order) rank(score float64, member []byte) (int, bool) {
	at, ok := o.find(&bound{score: score, member: member, byMember: true})
	if !ok {
		return 0, false
	}
	return o.rankOf(at), true
}

// at returns the item of a rank, 0 <= rank < len.
func (o *order) at(rank int) (score float64, ref uint64) {
	at := o.spotOf(rank)
	p := o.page(o.leaf(at))
	return p.score(at.index), p.ref(at.index)
}

// countLess is how many items have a score below x, or where inclusive, of at most x. So it is also the rank of the
// first item with a score of at least x, or where inclusive, above x.
func (o *order) countLess(x float64, inclusive bool) int {
	if o.count == 0 {
		return 0
	}
	return o.rankOf(o.seek(&bound{score: x, inclusive: inclusive}))
}

// countLexLess is how many items have a member below this one, or where inclusive, not above it. It means something only
// when all scores are equal.
func (o *order) countLexLess(member []byte, inclusive bool) int {
	if o.count == 0 {
		return 0
	}
	score := o.blocks[0].leaves[0].first
	return o.rankOf(o.seek(&bound{score: score, member: member, byMember: true, inclusive: inclusive}))
}

// bound is a place between two items: those before it are smaller.
type bound struct {
	score     float64
	byMember  bool // of the items with this score, those with a smaller member are before the bound
	member    []byte
	inclusive bool   // what is equal to the bound (without byMember: every item of the score) is before it
	known     uint64 // this ref's member is member; 0 = not known
}

// tied tells whether an item that has the bound's score is before it.
func (o *order) tied(ref uint64, k *bound) bool {
	if !k.byMember || ref == k.known {
		return k.inclusive
	}
	c := bytes.Compare(o.member(ref), k.member)
	return c < 0 || c == 0 && k.inclusive
}

// leads tells whether a leaf's first item is before the bound. The page is read only for a tie.
func (o *order) leads(l *leaf, k *bound) bool {
	if l.first != k.score {
		return l.first < k.score
	}
	if !k.byMember {
		return k.inclusive
	}
	return o.tied(o.page(l).ref(0), k)
}

// spot is the place of an item, or of one that might be: 0 <= index <= the leaf's count.
type spot struct{ block, leaf, index int }

// seek returns the place before which all items are before the bound, in the last leaf that has one such, or else in
// the first leaf. The order is not empty of leaves.
func (o *order) seek(k *bound) (at spot) {
	lo, hi := 1, len(o.blocks)
	for lo < hi {
		if mid := (lo + hi) / 2; o.leads(&o.blocks[mid].leaves[0], k) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	at.block = lo - 1
	leaves := o.blocks[at.block].leaves
	lo, hi = 1, len(leaves)
	for lo < hi {
		if mid := (lo + hi) / 2; o.leads(&leaves[mid], k) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	at.leaf = lo - 1
	p := o.page(&leaves[at.leaf])
	lo, hi = 0, int(leaves[at.leaf].count)
	for lo < hi {
		mid := (lo + hi) / 2
		score := p.score(mid)
		if score < k.score || score == k.score && o.tied(p.ref(mid), k) {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	at.index = lo
	return at
}

// find returns the place of the item that is equal to the bound. It seeks past the item, not to it, because that ends in
// the item's own leaf.
func (o *order) find(k *bound) (at spot, ok bool) {
	if o.count == 0 {
		return at, false
	}
	k.inclusive = true
	at = o.seek(k)
	if at.index == 0 {
		return at, false
	}
	at.index--
	p := o.page(o.leaf(at))
	if p.score(at.index) != k.score {
		return at, false
	}
	ref := p.ref(at.index)
	return at, ref == k.known || bytes.Equal(o.member(ref), k.member)
}

func (o *order) rankOf(at spot) int {
	rank := at.index
	for i := range o.blocks[:at.block] {
		rank += o.blocks[i].count
	}
	leaves := o.blocks[at.block].leaves[:at.leaf]
	for i := range leaves {
		rank += int(leaves[i].count)
	}
	return rank
}

// spotOf is the place of the item with this rank, 0 <= rank < len.
func (o *order) spotOf(rank int) (at spot) {
	for rank >= o.blocks[at.block].count {
		rank -= o.blocks[at.block].count
		at.block++
	}
	leaves := o.blocks[at.block].leaves
	for rank >= int(leaves[at.leaf].count) {
		rank -= int(leaves[at.leaf].count)
		at.leaf++
	}
	at.index = rank
	return at
}

func (o *order) leaf(at spot) *leaf { return &o.blocks[at.block].leaves[at.leaf] }

func (o *order) page(l *leaf) *page {
	return (*page)(o.space.Bytes(uint64(l.page)<<pageBits, pageBytes))
}

func (o *order) newLeaf() leaf {
	o.leaves++
	return leaf{page: uint32(o.space.Alloc(pageBytes) >> pageBits)}
}

func (o *order) freePage(l *leaf) {
	o.leaves--
	o.space.Free(uint64(l.page)<<pageBits, pageBytes)
}

// before returns the leaf before that of at, after the one behind it.
func (o *order) before(at spot) (_ spot, ok bool) {
	if at.leaf > 0 {
		return spot{at.block, at.leaf - 1, 0}, true
	}
	if at.block > 0 {
		return spot{at.block - 1, len(o.blocks[at.block-1].leaves) - 1, 0}, true
	}
	return at, false
}

func (o *order) after(at spot) (_ spot, ok bool) {
	if at.leaf+1 < len(o.blocks[at.block].leaves) {
		return spot{at.block, at.leaf + 1, 0}, true
	}
	if at.block+1 < len(o.blocks) {
		return spot{at.block + 1, 0, 0}, true
	}
	return at, false
}

// makeRoom makes room in the full leaf of at and returns where the place has gone. At either end of the order it adds an
// empty leaf, so that items inserted in order fill every leaf; elsewhere it splits the leaf in half.
func (o *order) makeRoom(at spot) spot {
	if _, ok := o.after(at); !ok && at.index == pageItems {
		at.leaf, at.index = at.leaf+1, 0
		return o.addLeaf(at, o.newLeaf())
	}
	if _, ok := o.before(at); !ok && at.index == 0 {
		return o.addLeaf(at, o.newLeaf())
	}
	const keep = pageItems / 2
	l := o.leaf(at)
	right := o.newLeaf()
	from, to := o.page(l), o.page(&right)
	to.append(0, from, keep, pageItems)
	right.first, right.count = to.score(0), pageItems-keep
	l.count = keep
	o.blocks[at.block].count -= pageItems - keep
	next := o.addLeaf(spot{at.block, at.leaf + 1, 0}, right)
	if at.index > keep {
		next.index = at.index - keep
		return next
	}
	prev, _ := o.before(next)
	prev.index = at.index
	return prev
}

// addLeaf puts l with its items at the place of at, and returns where that is now: a full block splits.
func (o *order) addLeaf(at spot, l leaf) spot {
	b := &o.blocks[at.block]
	if len(b.leaves) == blockLeaves {
		const keep = blockLeaves / 2
		right := block{leaves: slices.Clone(b.leaves[keep:])}
		for i := range right.leaves {
			right.count += int(right.leaves[i].count)
		}
		b.leaves = b.leaves[:keep]
		b.count -= right.count
		o.blocks = slices.Insert(o.blocks, at.block+1, right)
		if at.leaf > keep {
			at.block, at.leaf = at.block+1, at.leaf-keep
		}
		b = &o.blocks[at.block]
	}
	b.leaves = slices.Insert(b.leaves, at.leaf, l)
	b.count += int(l.count)
	return at
}

// shrink joins the sparse leaf of at to a neighbour that has room for its items, and drops it when it has none.
func (o *order) shrink(at spot) {
	n := o.leaf(at).count
	if n == 0 {
		o.dropLeaf(at)
		return
	}
	if prev, ok := o.before(at); ok && o.leaf(prev).count+n <= pageItems {
		o.join(prev, at)
	} else if next, ok := o.after(at); ok && o.leaf(next).count+n <= pageItems {
		o.join(at, next)
	}
}

// join moves the items of right to the end of left, the leaf before it.
func (o *order) join(left, right spot) {
	l, r := o.leaf(left), o.leaf(right)
	o.page(l).append(int(l.count), o.page(r), 0, int(r.count))
	o.blocks[left.block].count += int(r.count)
	o.blocks[right.block].count -= int(r.count)
	l.count, r.count = l.count+r.count, 0
	o.dropLeaf(right)
}

// dropLeaf removes an empty leaf; a block that has become sparse is joined to a neighbour that has room.
func (o *order) dropLeaf(at spot) {
	b := &o.blocks[at.block]
	o.freePage(&b.leaves[at.leaf])
	b.leaves = slices.Delete(b.leaves, at.leaf, at.leaf+1)
	n := len(b.leaves)
	if n >= sparseLeaves {
		return
	}
	fits := func(i int) bool { return i >= 0 && i < len(o.blocks) && len(o.blocks[i].leaves)+n <= blockLeaves }
	switch {
	case n == 0:
		o.blocks = slices.Delete(o.blocks, at.block, at.block+1)
	case fits(at.block - 1):
		o.joinBlocks(at.block - 1)
	case fits(at.block + 1):
		o.joinBlocks(at.block)
	}
}

// joinBlocks moves the leaves of block i+1 to block i.
func (o *order) joinBlocks(i int) {
	l, r := &o.blocks[i], &o.blocks[i+1]
	l.leaves = append(l.leaves, r.leaves...)
	l.count += r.count
	o.blocks = slices.Delete(o.blocks, i+1, i+2)
}

// orderIter walks over items in either direction; any change to the order ends its use.
type orderIter struct {
	o       *order
	page    *page // of the leaf of at; nil = at the end
	at      spot
	count   int // of that leaf
	reverse bool
}

// iter starts at the item of a rank; outside 0 <= rank < len there is nothing.
func (o *order) iter(rank int, reverse bool) orderIter {
	if rank < 0 || rank >= o.count {
		return orderIter{}
	}
	it := orderIter{o: o, reverse: reverse}
	it.enter(o.spotOf(rank))
	return it
}

func (it *orderIter) enter(at spot) {
	l := it.o.leaf(at)
	it.at, it.page, it.count = at, it.o.page(l), int(l.count)
}

// next returns the item and steps on; at the end ok is false.
func (it *orderIter) next() (score float64, ref uint64, ok bool) {
	p := it.page
	if p == nil {
		return 0, 0, false
	}
	score, ref = p.score(it.at.index), p.ref(it.at.index)
	if it.reverse {
		it.at.index--
	} else {
		it.at.index++
	}
	if it.at.index < 0 || it.at.index == it.count {
		it.turn()
	}
	return score, ref, true
}

// turn enters the next leaf.
func (it *orderIter) turn() {
	at, ok := it.o.after(it.at)
	if it.reverse {
		if at, ok = it.o.before(it.at); ok {
			at.index = int(it.o.leaf(at).count) - 1
		}
	}
	if !ok {
		it.page = nil
		return
	}
	it.enter(at)
}
