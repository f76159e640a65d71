package nearcache

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// routes says, for each partition, its epoch and the node that serves it, and for each node until when its word holds.
// Look-ups read it without a lock; what changes it holds mu.
type routes struct {
	words []atomic.Uint64 // by partition; see word
	nodes []node          // by number; the last one stands for none and never has a lease

	mu struct {
		sync.Mutex
		links []*Link // by node: the link whose lease counts, or nil
	}
}

// word is a partition's epoch PE, and in its low nodeBits the number of the node that serves it. They are one word, so that
// an entry that keeps it names both, and a look-up that finds it current knows whose lease to look at.
type word = uint64

const (
	nodeBits = 16
	// NodesMax is the most that Options.Nodes may be: node numbers have 16 bits, and one stands for none.
	NodesMax = 1<<nodeBits - 1
	// PartitionsMax is the most that Options.Partitions may be: there are no more slots.
	PartitionsMax = 1 << 14

	// NoNode stands for the node of a partition that nobody serves. Nothing is stored or found of it.
	NoNode = -1
)

// node is a node's lease, on a cache line of its own: all look-ups read it, and it changes a few times a second.
type node struct {
	lease atomic.Int64  // Time up to which the node's word holds; 0: no lease
	used  atomic.Uint32 // 1 where an entry was looked up whose validity rests on the lease, since TakeUsed
	_     [52]byte
}

const nodeBytes = 64

func newRoutes(partitions, nodes int) *routes {
	r := &routes{words: make([]atomic.Uint64, partitions), nodes: make([]node, nodes+1)}
	r.mu.links = make([]*Link, nodes)
	for p := range r.words {
		r.words[p].Store(word(nodes))
	}
	return r
}

func (r *routes) bytes() int64 { return int64(len(r.words))*8 + int64(len(r.nodes))*(nodeBytes+8) }

func nodeOf(w word) int { return int(w & (1<<nodeBits - 1)) }

// served reports whether some node serves the word's partition.
func (r *routes) served(w word) bool { return nodeOf(w) < len(r.nodes)-1 }

// bumpLocked is PE++, with the same node.
func (r *routes) bumpLocked(p int) { r.words[p].Add(1 << nodeBits) }

// bumpNodeLocked is PE++ for all partitions that a node serves.
func (r *routes) bumpNodeLocked(n int) {
	for p := range r.words {
		if nodeOf(r.words[p].Load()) == n {
			r.bumpLocked(p)
		}
	}
}

func (r *routes) bumpAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := range r.words {
		r.bumpLocked(p)
	}
}

// AssignPartition says that a node, by its number below Options.Nodes, serves a partition from now on; NoNode says that
// none does. Where that is another than before it is PE++ too: what the one said does not hold by the other's lease.
// Where it is the same nothing changes, so a table may be given again and again.
func (c *Cache) AssignPartition(partition, node int) {
	r := c.routes
	if partition < 0 || partition >= len(r.words) {
		panic(fmt.Sprintf("nearcache: AssignPartition of partition %d, of %d", partition, len(r.words)))
	}
	if node == NoNode {
		node = len(r.nodes) - 1
	} else if node < 0 || node >= len(r.nodes)-1 {
		panic(fmt.Sprintf("nearcache: AssignPartition to node %d, of %d", node, len(r.nodes)-1))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.words[partition].Load()
	if nodeOf(w) == node {
		return
	}
	// Epoch and node in one store: a look-up sees both or neither.
	r.words[partition].Store((w>>nodeBits+1)<<nodeBits | word(node))
}

// InvalidatePartition makes everything held of a partition stale: it moves, or its node says so. A number that no partition
// has makes everything stale, as whoever named it counts otherwise.
func (c *Cache) InvalidatePartition(partition int) {
	if partition < 0 || partition >= len(c.routes.words) {
		c.InvalidateAll()
		return
	}
	c.routes.mu.Lock()
	defer c.routes.mu.Unlock()
	c.routes.bumpLocked(partition)
}

// InvalidateNode makes everything stale that is held of the partitions a node serves: it has flushed, or it has more to
// invalidate than it can name. Its lease stays.
func (c *Cache) InvalidateNode(node int) {
	c.routes.mu.Lock()
	defer c.routes.mu.Unlock()
	c.routes.bumpNodeLocked(node)
}

// InvalidateAll makes everything stale.
func (c *Cache) InvalidateAll() { c.routes.bumpAll() }

// Link is one connection's hold on the cache, from OpenLink to Close. A node has one link at a time, the one opened last;
// calls of those before it change nothing, so a connection that ends late cannot vouch for what a newer one brings.
type Link struct {
	cache *Cache
	node  int
}

// OpenLink begins a link: a connection to a node stands, nothing has been sent on it. Everything held of the node's partitions
// becomes stale, as invalidations may have been missed, and there is no lease until SetLease.
func (c *Cache) OpenLink(node int) *Link {
	r := c.routes
	if node < 0 || node >= len(r.nodes)-1 {
		panic(fmt.Sprintf("nearcache: OpenLink to node %d, of %d", node, len(r.nodes)-1))
	}
	l := &Link{c, node}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.links[node] = l
	r.endLocked(node)
	return l
}

// endLocked makes void what rested on the node's connection.
//
//	1 a look-up has found the entry's word current        1 a look-up has read the old lease, long over
//	2 the connection ends, endLocked, OpenLink            2 endLocked, OpenLink, SetLease
//	3 SetLease by the new link                            3 the look-up finds the word changed: a miss
//	4 the look-up reads the lease: valid, though it
//	  never heard what was invalidated in between
//
// On the left is what would be if look-ups read the word before the lease; they read the lease first (Cache.Get).
func (r *routes) endLocked(node int) {
	r.nodes[node].lease.Store(0)
	r.bumpNodeLocked(node)
}

// Close ends the link: the connection is broken, or is about to be closed. Everything held of the node's partitions becomes
// stale and the lease ends, unless another link of the node has been opened since.
func (l *Link) Close() {
	r := l.cache.routes
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.links[l.node] != l {
		return
	}
	r.mu.links[l.node] = nil
	r.endLocked(l.node)
}

// SetLease says up to when what the node has said holds: the time the request for the lease was sent, plus the lesser of the
// wanted and the granted time. It is called in order with the invalidations that the connection delivers. It may be earlier
// than before; 0 ends the lease. It reports whether this is the node's link still.
func (l *Link) SetLease(until Time) bool {
	r := l.cache.routes
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.links[l.node] != l {
		return false
	}
	r.nodes[l.node].lease.Store(int64(until))
	return true
}

// Grant is SetLease by the rule: a lease that was asked for at some time and granted for so long has come at now. It counts from the
// asking:
//
//	1 the client asks; the node grants 1 s, and from then on may let a successor write after 1 s
//	2 the answer takes 0.8 s: counted from its arrival the lease would end 0.8 s after that
//
// It returns the lease's end, and whether that is still to come.
func (l *Link) Grant(asked, granted, now Time) (until Time, holds bool) {
	until = asked + granted
	return until, l.SetLease(until) && now < until
}

// Lease answers up to when what the node has said holds, 0 where there is no lease.
func (l *Link) Lease() Time {
	r := l.cache.routes
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.links[l.node] != l {
		return 0
	}
	return Time(r.nodes[l.node].lease.Load())
}

// TakeUsed reports whether, since it was asked last, an entry was looked up that rests on this lease: that was a hit, or
// would have been one had the lease not lapsed. Leases of which that is not so need no renewal.
func (l *Link) TakeUsed() bool { return l.cache.routes.nodes[l.node].used.Swap(0) == 1 }
