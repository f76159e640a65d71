package server

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/neargrid/neargrid/partition"
)

// clusterView is a topology as the cluster door tells it: nodes with one role each, and ranges of slots.
//
// In Redis Cluster a node is a master or a replica. Here most nodes lead some partitions and back others. Such a node is a
// master and nothing else, in every reply: clients keep one role for each address (redis-py: the one it reads first; rueidis: one
// connection), so one that found a master among the replicas of some other range would leave it out where it asks all masters, as
// for DBSIZE or FLUSHALL. They lose nothing by not being told, since a backup answers MOVED in any case (R26). A node that leads
// nothing and backs something is a replica, of that node which leads most of what it backs.
//
// Nodes without a cluster door are not in it, nor are slots that such a node leads, or nobody.
type clusterView struct {
	top    *Topology
	nodes  []*clusterNode // by ID
	ranges []slotRange    // ascending
}

// clusterNode is a node that has a cluster door.
type clusterNode struct {
	*GridNode
	host    string
	port    int
	busPort int // of the peer port
	epoch   uint64
	master  *clusterNode // whose replica it is; nil: it is a master
	slots   [][2]int     // first and last of each range that it leads
}

// slotRange is a stretch of slots with one master and the same replicas.
type slotRange struct {
	first, last int
	owner       *clusterNode
	replicas    []*clusterNode
}

func newClusterView(top *Topology) *clusterView {
	v := &clusterView{top: top}
	for i := range top.Nodes {
		if n := newClusterNode(&top.Nodes[i]); n != nil {
			v.nodes = append(v.nodes, n)
		}
	}
	v.assignRoles()
	v.joinRanges()
	return v
}

// newClusterNode is nil where a node has no cluster door.
func newClusterNode(n *GridNode) *clusterNode {
	host, port := splitAddr(n.Cluster)
	if port == 0 {
		return nil
	}
	_, bus := splitAddr(n.Peer)
	return &clusterNode{GridNode: n, host: host, port: port, busPort: bus}
}

// splitAddr divides host:port; the port is 0 where there is none.
func splitAddr(addr string) (host string, port int) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0
	}
	port, _ = strconv.Atoi(text)
	return host, port
}

// node is nil for a node that is not announced.
func (v *clusterView) node(id NodeID) *clusterNode {
	i, found := slices.BinarySearchFunc(v.nodes, id, func(n *clusterNode, id NodeID) int { return cmp.Compare(n.ID, id) })
	if !found {
		return nil
	}
	return v.nodes[i]
}

// byRun finds a node by the id that clients know.
func (v *clusterView) byRun(run string) *clusterNode {
	run = strings.ToLower(run)
	i := slices.IndexFunc(v.nodes, func(n *clusterNode) bool { return n.Run == run })
	if i < 0 {
		return nil
	}
	return v.nodes[i]
}

// assignRoles makes replicas of the nodes that lead nothing and back something. A node's epoch is the newest of the partitions it
// leads, a replica's that of its master.
func (v *clusterView) assignRoles() {
	leads := map[NodeID]bool{}
	backed := map[NodeID]map[NodeID]int{} // by backup: how many partitions it backs of whom
	for i := range v.top.Parts {
		part := &v.top.Parts[i]
		leads[part.Primary] = true
		owner := v.node(part.Primary)
		if owner == nil {
			continue
		}
		owner.epoch = max(owner.epoch, part.Epoch)
		for _, b := range part.Backups {
			if backed[b] == nil {
				backed[b] = map[NodeID]int{}
			}
			backed[b][part.Primary]++
		}
	}
	for _, n := range v.nodes {
		if leads[n.ID] {
			continue
		}
		most := 0
		for _, m := range v.nodes { // in order, so that every node tells the same of equals
			if count := backed[n.ID][m.ID]; count > most {
				most, n.master, n.epoch = count, m, m.epoch
			}
		}
	}
}

// joinRanges joins partitions that follow each other and have the same master and replicas.
func (v *clusterView) joinRanges() {
	size := partition.Slots / max(1, len(v.top.Parts))
	for p := range v.top.Parts {
		owner := v.node(v.top.Parts[p].Primary)
		if owner == nil {
			continue
		}
		first, last := p*size, (p+1)*size-1
		if n := len(owner.slots); n > 0 && owner.slots[n-1][1] == first-1 {
			owner.slots[n-1][1] = last
		} else {
			owner.slots = append(owner.slots, [2]int{first, last})
		}
		replicas := v.replicasOf(&v.top.Parts[p])
		if n := len(v.ranges); n > 0 {
			if r := &v.ranges[n-1]; r.last == first-1 && r.owner == owner && slices.Equal(r.replicas, replicas) {
				r.last = last
				continue
			}
		}
		v.ranges = append(v.ranges, slotRange{first, last, owner, replicas})
	}
}

// replicasOf are those of a partition's backups that are replicas and nothing else, by ID.
func (v *clusterView) replicasOf(part *Assignment) (replicas []*clusterNode) {
	for _, b := range part.Backups {
		if n := v.node(b); n != nil && n.master != nil {
			replicas = append(replicas, n)
		}
	}
	slices.SortFunc(replicas, func(a, b *clusterNode) int { return cmp.Compare(a.ID, b.ID) })
	return replicas
}

// replicas are the nodes whose master n is.
func (v *clusterView) replicas(n *clusterNode) (replicas []*clusterNode) {
	for _, r := range v.nodes {
		if r.master == n {
			replicas = append(replicas, r)
		}
	}
	return replicas
}

// line is a node as CLUSTER NODES has it. There are no pings of Redis's kind: their times are 0.
func (v *clusterView) line(n *clusterNode) string {
	var b strings.Builder
	b.WriteString(n.Run + " " + n.host + ":" + strconv.Itoa(n.port) + "@" + strconv.Itoa(n.busPort) + " ")
	if n.ID == v.top.Self {
		b.WriteString("myself,")
	}
	role, master := "master", "-"
	if n.master != nil {
		role, master = "slave", n.master.Run
	}
	link := "connected"
	if n.Fenced {
		role, link = role+",fail", "disconnected"
	}
	b.WriteString(role + " " + master + " 0 0 " + strconv.FormatUint(n.epoch, 10) + " " + link)
	for _, s := range n.slots {
		b.WriteString(" " + strconv.Itoa(s[0]))
		if s[1] > s[0] {
			b.WriteString("-" + strconv.Itoa(s[1]))
		}
	}
	return b.String()
}

// slotCounts are how many slots are in which state, as CLUSTER INFO has it.
type slotCounts struct {
	assigned int // have a node that leads them
	ok       int
	pfail    int // this node leads them, and does not serve them now
	fail     int // who leads them takes no part, or cannot be reached by a cluster door
}

func (v *clusterView) count(serves func(partition int) bool) (n slotCounts) {
	size := partition.Slots / max(1, len(v.top.Parts))
	for p := range v.top.Parts {
		id := v.top.Parts[p].Primary
		if id == "" {
			continue
		}
		n.assigned += size
		switch owner := v.node(id); {
		case owner == nil || owner.Fenced:
			n.fail += size
		case id == v.top.Self && !serves(p):
			n.pfail += size
		default:
			n.ok += size
		}
	}
	return n
}

// clusterView is the grid as this command's door tells it.
func (c *Call) clusterView() *clusterView { return newClusterView(c.srv.router.Topology()) }

// replicaOf is the master of this node, where the session came in by the cluster door and the node is a replica there.
func (c *Call) replicaOf() *clusterNode {
	if !c.s.info.Cluster {
		return nil
	}
	v := c.clusterView()
	if self := v.node(v.top.Self); self != nil {
		return self.master
	}
	return nil
}

// served tells of each partition that this node leads whether it serves it now. The command's row must have ScopeEach.
func (c *Call) served(top *Topology) map[int]bool {
	served := map[int]bool{}
	c.eachPartition(func(p int) bool { return top.Parts[p].Primary == top.Self }, func(p int, at time.Duration) {
		_, served[p] = c.srv.router.Serves(p, at)
	})
	return served
}
