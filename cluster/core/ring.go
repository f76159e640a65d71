package core

import (
	"cmp"
	"slices"

	"github.com/buraksezer/consistent"
	"github.com/cespare/xxhash/v2"
)

// candidates says in which order the nodes are tried for a partition, where nothing else tells them apart. The ring moves
// little when nodes come and go, and so does the order. It is built when it is first asked: a table that is as it should be
// never does.
type candidates struct {
	nodes      []*Node
	partitions int
	ring       *consistent.Consistent
	ranks      [][]int // of each partition that was asked for, by node
}

const (
	// The library can tell a partition's owner; the others it lists in one and the same order for all partitions of that
	// owner, which would make one node the backup of all of another's. So each partition has several places on the ring, and
	// their owners come first, the rest in order of ID after the first.
	ringPlaces = 8
	ringPoints = 20   // of a node
	ringLoad   = 1.25 // a node owns no more than this much of its fair share
)

// ringNode ends in what is no digit: the ring's points are hashes of the name and a number, and point 11 of "n1" must not be
// point 1 of "n11".
type ringNode NodeID

func (n ringNode) String() string { return string(n) + "/" }

type ringHash struct{}

func (ringHash) Sum64(b []byte) uint64 { return xxhash.Sum64(b) }

// rank returns node's place in the order of partition.
func (c *candidates) rank(partition, node int) int {
	if c.ring == nil {
		c.build()
	}
	if c.ranks[partition] == nil {
		c.ranks[partition] = c.place(partition)
	}
	return c.ranks[partition][node]
}

// build makes the ring. The library panics when the places do not fit the bounded loads: its bound rounds down to nothing where
// there are more nodes than places. With no fewer places than nodes, and two points or more of each, they always fit.
func (c *candidates) build() {
	members := make([]consistent.Member, len(c.nodes))
	for i, n := range c.nodes {
		members[i] = ringNode(n.ID)
	}
	c.ring = consistent.New(members, consistent.Config{
		Hasher:            ringHash{},
		PartitionCount:    max(c.partitions*ringPlaces, len(c.nodes)),
		ReplicationFactor: ringPoints,
		Load:              ringLoad,
	})
	c.ranks = make([][]int, c.partitions)
}

func (c *candidates) place(partition int) []int {
	ranks := make([]int, len(c.nodes))
	next := 1 // 0: has none yet
	give := func(node int) {
		if ranks[node] == 0 {
			ranks[node] = next
			next++
		}
	}
	first := -1
	for place := range ringPlaces {
		owner := NodeID(c.ring.GetPartitionOwner(partition*ringPlaces + place).(ringNode))
		i, _ := slices.BinarySearchFunc(c.nodes, owner, func(n *Node, id NodeID) int { return cmp.Compare(n.ID, id) })
		if first < 0 {
			first = i
		}
		give(i)
	}
	for i := range c.nodes {
		give((first + i) % len(c.nodes))
	}
	return ranks
}
