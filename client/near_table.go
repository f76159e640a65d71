package client

import "github.com/neargrid/neargrid/nearcache"

// A partition is assigned to its node in two steps, so that a read which finds the same table before and after its snapshot has
// one that fits: tableChanging takes partitions that change hands from everybody, then the table is put in place, then tableChanged
// assigns them. The client's lock is held through all of it.

// tableChanging is told before a table is put in place.
func (n *near) tableChanging(t *table) {
	n.mu.Lock()
	defer n.mu.Unlock()
	st := n.state.Load()
	if st == nil || st.partitions != t.partitions() {
		n.state.Store(nil) // reads go past it until there is one for this table
		n.mu.numbers = map[*node]int{}
		return
	}
	have := n.client.table.Load()
	for p, owner := range t.owners {
		if have.owners[p] != owner {
			st.cache.AssignPartition(p, nearcache.NoNode)
		}
	}
}

// tableChanged is told when it is in place.
func (n *near) tableChanged(t *table) {
	n.mu.Lock()
	defer n.mu.Unlock()
	st := n.state.Load()
	fresh := st == nil
	if fresh {
		if st = n.newStateLocked(t); st == nil {
			return
		}
	}
	n.renumberLocked(t)
	for p, owner := range t.owners {
		number, ok := n.mu.numbers[owner]
		if !ok {
			number = nearcache.NoNode
		}
		st.cache.AssignPartition(p, number)
	}
	if fresh {
		n.state.Store(st)
	}
}

func (n *near) newStateLocked(t *table) *nearState {
	cache, err := nearcache.New(nearcache.Options{MemoryBytes: n.options.MemoryMax, Partitions: t.partitions(), Nodes: nearNodesMax})
	n.mu.err = err
	if err != nil {
		return nil
	}
	n.mu.caches = append(n.mu.caches, cache)
	return &nearState{cache: cache, partitions: t.partitions(), shift: t.shift}
}

// renumberLocked gives each node of the table a number, the one it has if it has one.
func (n *near) renumberLocked(t *table) {
	numbers := make(map[*node]int, len(t.nodes))
	taken := make([]bool, nearNodesMax)
	for _, node := range t.nodes {
		if number, ok := n.mu.numbers[node]; ok {
			numbers[node], taken[number] = number, true
		}
	}
	next := 0
	for _, node := range t.nodes {
		if _, ok := numbers[node]; ok {
			continue
		}
		for next < len(taken) && taken[next] {
			next++
		}
		if next == len(taken) {
			break
		}
		numbers[node], taken[next] = next, true
	}
	n.mu.numbers = numbers
}

// number returns a node's number in the cache.
func (n *near) number(of *node) (int, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	number, ok := n.mu.numbers[of]
	return number, ok
}
