package server

import (
	"net"
	"strings"
	"time"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

const (
	nondeterministic = "nondeterministic_output"
	adminOfCluster   = Admin | Stale | NoAsyncLoading
)

// clusterRows are what cluster-aware clients ask. At the grid door, which looks like one server, they answer as a Redis without
// cluster support does.
var clusterRows = []*Row{
	{Name: "cluster", Arity: -2, Group: "cluster", Since: "3.0.0", Complexity: "Depends on subcommand.",
		Summary: "Commands about the nodes and slots of the grid.",
		Subs: []*Row{
			{Name: "count-failure-reports", Arity: 3, Flags: Admin | Stale, Group: "cluster", Tips: []string{nondeterministic},
				Since: "3.0.0", Complexity: "O(N)",
				Summary: "Checks a node id and answers 0: nodes do not report each other.",
				Syntax:  "node-id", Run: clusterDoor(cmdClusterCountFailureReports)},
			{Name: "countkeysinslot", Scope: ScopeEach, OffLoop: true, Arity: 3, Flags: Stale, Group: "cluster",
				Since: "3.0.0", Complexity: "O(1) in Redis, here O(N) where N is the keys of the slot's partition",
				Summary: "Counts this node's keys of a slot, in database 0.",
				Syntax:  "slot:integer", Run: clusterDoor(cmdClusterCountKeysInSlot)},
			{Name: "getkeysinslot", Scope: ScopeEach, OffLoop: true, Arity: 4, Flags: Stale, Group: "cluster", Tips: []string{nondeterministic},
				Since: "3.0.0", Complexity: "O(log(N)) in Redis, here O(N) where N is the keys of the slot's partition",
				Summary: "Returns some of this node's keys of a slot, in database 0.",
				Syntax:  "slot:integer count", Run: clusterDoor(cmdClusterGetKeysInSlot)},
			{Name: "help", Arity: 2, Flags: Loading | Stale, Group: "cluster",
				Since: "5.0.0", Complexity: "O(1)",
				Summary: "Lists the subcommands of CLUSTER.", Run: clusterDoor(func(c *Call) { c.help() })},
			{Name: "info", Scope: ScopeEach, Arity: 2, Flags: Stale, Group: "cluster", Tips: []string{nondeterministic},
				Since: "3.0.0", Complexity: "O(1) in Redis, here O(N) where N is the number of partitions",
				Summary: "Tells whether all slots are served, and counts nodes and slots.", Run: clusterDoor(cmdClusterInfo)},
			{Name: "keyslot", Arity: 3, Flags: Stale, Group: "cluster",
				Since: "3.0.0", Complexity: "O(N)",
				Summary: "Returns the slot of a key.",
				Syntax:  "key:string", Run: clusterDoor(cmdClusterKeySlot)},
			{Name: "links", Arity: 2, Flags: Stale, Group: "cluster", Tips: []string{nondeterministic},
				Since: "7.0.0", Complexity: "O(N)",
				Summary: "Lists the links of Redis's cluster bus: there are none.", Run: clusterDoor(cmdClusterLinks)},
			{Name: "myid", Arity: 2, Flags: Stale, Group: "cluster",
				Since: "3.0.0", Complexity: "O(1)",
				Summary: "Returns this node's id.", Run: clusterDoor(cmdClusterMyID)},
			{Name: "nodes", Arity: 2, Flags: Stale, Group: "cluster", Tips: []string{nondeterministic},
				Since: "3.0.0", Complexity: "O(N)",
				Summary: "Lists the nodes with their roles and slots, a line for each.", Run: clusterDoor(cmdClusterNodes)},
			{Name: "replicas", Arity: 3, Flags: Admin | Stale, Group: "cluster", Tips: []string{nondeterministic},
				Since: "5.0.0", Complexity: "O(1)",
				Summary: "Lists the replicas of a master.",
				Syntax:  "node-id", Run: clusterDoor(cmdClusterReplicas)},
			{Name: "shards", Arity: 2, Flags: Stale, Group: "cluster", Tips: []string{nondeterministic},
				Since: "7.0.0", Complexity: "O(N)",
				Summary: "Returns the masters with their slots and replicas.", Run: clusterDoor(cmdClusterShards)},
			{Name: "slaves", Arity: 3, Flags: Admin | Stale, Group: "cluster", Tips: []string{nondeterministic},
				Since: "3.0.0", Deprecated: "5.0.0", ReplacedBy: "CLUSTER REPLICAS", Complexity: "O(1)",
				Summary: "Lists the replicas of a master.",
				Syntax:  "node-id", Run: clusterDoor(cmdClusterReplicas)},
			{Name: "slots", Arity: 2, Flags: Stale, Group: "cluster", Tips: []string{nondeterministic},
				Since: "3.0.0", Deprecated: "7.0.0", ReplacedBy: "CLUSTER SHARDS", Complexity: "O(N)",
				Summary: "Returns ranges of slots with the nodes that have them.", Run: clusterDoor(cmdClusterSlots)},

			// What would change a cluster.
			{Name: "addslots", Arity: -3, Flags: adminOfCluster, Group: "cluster", Since: "3.0.0", Complexity: "O(N)",
				Summary: selfManaged, Syntax: "slot:integer [slot:integer ...]", Run: clusterDoor(refuseClusterChange)},
			{Name: "addslotsrange", Arity: -4, Flags: adminOfCluster, Group: "cluster", Since: "7.0.0", Complexity: "O(N)",
				Summary: selfManaged, Syntax: slotPairs, Run: clusterDoor(refuseClusterChange)},
			{Name: "bumpepoch", Arity: 2, Flags: adminOfCluster, Group: "cluster", Tips: []string{nondeterministic}, Since: "3.0.0", Complexity: "O(1)",
				Summary: selfManaged, Run: clusterDoor(refuseClusterChange)},
			{Name: "delslots", Arity: -3, Flags: adminOfCluster, Group: "cluster", Since: "3.0.0", Complexity: "O(N)",
				Summary: selfManaged, Syntax: "slot:integer [slot:integer ...]", Run: clusterDoor(refuseClusterChange)},
			{Name: "delslotsrange", Arity: -4, Flags: adminOfCluster, Group: "cluster", Since: "7.0.0", Complexity: "O(N)",
				Summary: selfManaged, Syntax: slotPairs, Run: clusterDoor(refuseClusterChange)},
			{Name: "failover", Arity: -2, Flags: adminOfCluster, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
				Summary: selfManaged, Syntax: "options:[FORCE | TAKEOVER]", Run: clusterDoor(refuseClusterChange)},
			{Name: "flushslots", Arity: 2, Flags: adminOfCluster, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
				Summary: selfManaged, Run: clusterDoor(refuseClusterChange)},
			{Name: "forget", Arity: 3, Flags: adminOfCluster, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
				Summary: selfManaged, Syntax: "node-id", Run: clusterDoor(refuseClusterChange)},
			{Name: "meet", Arity: -4, Flags: adminOfCluster, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
				Summary: selfManaged, Syntax: "ip port:integer [cluster_bus_port:integer]", Run: clusterDoor(refuseClusterChange)},
			{Name: "replicate", Arity: 3, Flags: adminOfCluster, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
				Summary: selfManaged, Syntax: "node-id", Run: clusterDoor(refuseClusterChange)},
			{Name: "reset", Arity: -2, Flags: Admin | NoScript | Stale, Group: "cluster", Since: "3.0.0", Complexity: "O(N)",
				Summary: selfManaged, Syntax: "[HARD | SOFT]", Run: clusterDoor(refuseClusterChange)},
			{Name: "saveconfig", Arity: 2, Flags: adminOfCluster, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
				Summary: selfManaged, Run: clusterDoor(refuseClusterChange)},
			{Name: "set-config-epoch", Arity: 3, Flags: adminOfCluster, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
				Summary: selfManaged, Syntax: "config-epoch:integer", Run: clusterDoor(refuseClusterChange)},
			{Name: "setslot", Arity: -4, Flags: adminOfCluster, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
				Summary: selfManaged, Syntax: "slot:integer subcommand:<IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE>",
				Run: clusterDoor(refuseClusterChange)},
		}},

	// A backup never answers reads, and slots never move key by key: there is nothing to remember of these.
	{Name: "asking", Arity: 1, Flags: Fast, ACL: CatConnection, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
		Summary: "Is accepted: no reply ever asks for it.", Run: clusterDoor(func(c *Call) { c.W.OK() })},
	{Name: "readonly", Arity: 1, Flags: Loading | Stale | Fast, ACL: CatConnection, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
		Summary: "Is accepted: a backup answers MOVED all the same.", Run: clusterDoor(func(c *Call) { c.W.OK() })},
	{Name: "readwrite", Arity: 1, Flags: Loading | Stale | Fast, ACL: CatConnection, Group: "cluster", Since: "3.0.0", Complexity: "O(1)",
		Summary: "Is accepted, as READONLY is.", Run: clusterDoor(func(c *Call) { c.W.OK() })},
}

const (
	selfManaged = "Is refused: a grid assigns slots and roles by itself."
	slotPairs   = "{start-slot:integer end-slot:integer} [...]"

	errNoCluster   = "ERR This instance has cluster support disabled"
	errSelfManaged = "ERR A grid assigns slots, roles and epochs by itself; nodes join with --join and leave with 'neargrid drain'"
	errNotInTable  = "CLUSTERDOWN This node is not in the grid's table, or has no cluster door there"
	errSlot        = "ERR Invalid slot"
	errSlotOrCount = "ERR Invalid slot or number of keys"
)

// clusterDoor has a command answer at the cluster door only.
func clusterDoor(run func(*Call)) func(*Call) {
	return func(c *Call) {
		if !c.s.info.Cluster {
			c.W.Error(errNoCluster)
			return
		}
		run(c)
	}
}

func refuseClusterChange(c *Call) { c.W.Error(errSelfManaged) }

func cmdClusterKeySlot(c *Call) { c.W.Int(int64(partition.Slot(c.Args[2]))) }

// cmdClusterLinks answers as a Redis that is connected to nobody: what peers say to each other goes by other links.
func cmdClusterLinks(c *Call) { c.W.Array(0) }

func cmdClusterMyID(c *Call) {
	top := c.srv.router.Topology()
	self := top.Node(top.Self)
	if self == nil {
		c.W.Error(errNotInTable)
		return
	}
	c.W.BulkString(self.Run)
}

// cmdClusterSlots answers ranges: first, last, the master, the replicas. A node is its host, port and id, and a map of further names
// for it, of which there are none.
func cmdClusterSlots(c *Call) {
	v := c.clusterView()
	c.W.Array(len(v.ranges))
	for _, r := range v.ranges {
		c.W.Array(3 + len(r.replicas))
		c.W.Int(int64(r.first))
		c.W.Int(int64(r.last))
		writeSlotsNode(c.W, r.owner)
		for _, n := range r.replicas {
			writeSlotsNode(c.W, n)
		}
	}
}

func writeSlotsNode(w *protocol.Writer, n *clusterNode) {
	w.Array(4)
	w.BulkString(n.host)
	w.Int(int64(n.port))
	w.BulkString(n.Run)
	w.Map(0)
}

// cmdClusterShards answers the masters: each with its slots, as first, last, first, last ..., and the nodes.
func cmdClusterShards(c *Call) {
	v := c.clusterView()
	masters := 0
	for _, n := range v.nodes {
		if n.master == nil {
			masters++
		}
	}
	c.W.Array(masters)
	for _, n := range v.nodes {
		if n.master != nil {
			continue
		}
		c.W.Map(2)
		c.W.BulkString("slots")
		c.W.Array(2 * len(n.slots))
		for _, s := range n.slots {
			c.W.Int(int64(s[0]))
			c.W.Int(int64(s[1]))
		}
		replicas := v.replicas(n)
		c.W.BulkString("nodes")
		c.W.Array(1 + len(replicas))
		writeShardsNode(c.W, n)
		for _, r := range replicas {
			writeShardsNode(c.W, r)
		}
	}
}

// writeShardsNode is a node in CLUSTER SHARDS. Copies have an offset for each partition, none of the node: it is 0.
func writeShardsNode(w *protocol.Writer, n *clusterNode) {
	ip, fields := n.host, 7
	if net.ParseIP(n.host) == nil {
		ip, fields = "", 8
	}
	text := func(name, value string) {
		w.BulkString(name)
		w.BulkString(value)
	}
	number := func(name string, value int64) {
		w.BulkString(name)
		w.Int(value)
	}
	w.Map(fields)
	text("id", n.Run)
	number("port", int64(n.port))
	text("ip", ip)
	text("endpoint", n.host)
	if ip == "" {
		text("hostname", n.host)
	}
	role, health := "master", "online"
	if n.master != nil {
		role = "replica"
	}
	if n.Fenced {
		health = "fail"
	}
	text("role", role)
	number("replication-offset", 0)
	text("health", health)
}

func cmdClusterNodes(c *Call) {
	v := c.clusterView()
	var b strings.Builder
	for _, n := range v.nodes {
		b.WriteString(v.line(n) + "\n")
	}
	c.W.Verbatim([]byte(b.String()), "txt")
}

// clusterNodeArg finds the node whose id is the third word.
func (c *Call) clusterNodeArg(v *clusterView) *clusterNode {
	n := v.byRun(string(c.Args[2]))
	if n == nil {
		c.W.Error(sanitize("ERR Unknown node " + untilNUL(c.Args[2])))
	}
	return n
}

func cmdClusterReplicas(c *Call) {
	v := c.clusterView()
	n := c.clusterNodeArg(v)
	if n == nil {
		return
	}
	if n.master != nil {
		c.W.Error("ERR The specified node is not a master")
		return
	}
	replicas := v.replicas(n)
	c.W.Array(len(replicas))
	for _, r := range replicas {
		c.W.BulkString(v.line(r))
	}
}

// cmdClusterCountFailureReports answers 0 of every node: the control plane judges by what it hears itself (R3).
func cmdClusterCountFailureReports(c *Call) {
	if c.clusterNodeArg(c.clusterView()) != nil {
		c.W.Int(0)
	}
}

// cmdClusterInfo leaves out what counts the messages of Redis's cluster bus.
func cmdClusterInfo(c *Call) {
	v := c.clusterView()
	served := c.served(v.top)
	slots := v.count(func(p int) bool { return served[p] })
	size, epoch, mine := 0, uint64(0), uint64(0)
	for _, n := range v.nodes {
		if len(n.slots) > 0 {
			size++
		}
		if n.ID == v.top.Self {
			mine = n.epoch
		}
	}
	for i := range v.top.Parts {
		epoch = max(epoch, v.top.Parts[i].Epoch)
	}
	state := "fail"
	if slots.ok == partition.Slots {
		state = "ok"
	}
	var w infoWriter
	w.put("cluster_state", state)
	w.put("cluster_slots_assigned", slots.assigned)
	w.put("cluster_slots_ok", slots.ok)
	w.put("cluster_slots_pfail", slots.pfail)
	w.put("cluster_slots_fail", slots.fail)
	w.put("cluster_known_nodes", len(v.nodes))
	w.put("cluster_size", size)
	w.put("cluster_current_epoch", epoch)
	w.put("cluster_my_epoch", mine)
	c.W.Verbatim([]byte(w.String()), "txt")
}

func cmdClusterCountKeysInSlot(c *Call) {
	slot, ok := c.intArg(2)
	if !ok {
		return
	}
	if slot < 0 || slot >= partition.Slots {
		c.W.Error(errSlot)
		return
	}
	n := int64(0)
	c.eachKeyOfSlot(int(slot), func([]byte) bool {
		n++
		return true
	})
	c.W.Int(n)
}

func cmdClusterGetKeysInSlot(c *Call) {
	slot, ok := c.intArg(2)
	if !ok {
		return
	}
	most, ok := c.intArg(3)
	if !ok {
		return
	}
	if slot < 0 || slot >= partition.Slots || most < 0 {
		c.W.Error(errSlotOrCount)
		return
	}
	n := int64(0)
	var keys protocol.Writer
	c.eachKeyOfSlot(int(slot), func(key []byte) bool {
		if n == most {
			return false
		}
		keys.Bulk(key)
		n++
		return true
	})
	c.W.Array(int(n))
	c.W.Raw(keys.Buf)
}

// eachKeyOfSlot passes the keys that this node has of a slot in database 0 to f, until f says no: whatever copy it has of the slot's
// partition, whole or being filled. It looks at every key of the partition. The command's row must have ScopeEach.
func (c *Call) eachKeyOfSlot(slot int, f func(key []byte) bool) {
	db, guard := c.Tx.DB, c.Tx.Guard
	c.Tx.DB, c.Tx.Guard = 0, visit{wants: func(p int) bool { return p == c.srv.partitionOfSlot(slot) }}
	defer func() { c.Tx.DB, c.Tx.Guard = db, guard }()
	c.Tx.EachKey(func(key []byte, _ partition.Value) bool { return partition.Slot(key) != slot || f(key) })
}

// eachPartition calls f for the partitions that are wanted, with their lock held, and the time when it was taken.
func (c *Call) eachPartition(wants func(partition int) bool, f func(partition int, at time.Duration)) {
	guard := c.Tx.Guard
	c.Tx.Guard = visit{wants: wants}
	defer func() { c.Tx.Guard = guard }()
	c.Tx.Each(func(p *partition.Partition) bool {
		if wants(p.ID) { // where the transaction holds all of them, as in a MULTI, no guard is asked
			f(p.ID, c.srv.clock())
		}
		return true
	})
}

// visit is a guard for looking at the node itself rather than at the grid's data: at any copy, served or not.
type visit struct{ wants func(partition int) bool }

func (v visit) Wants(partition int) bool { return v.wants(partition) }
func (v visit) Enter(int) bool           { return true }
func (v visit) Leave(int)                {}

// partitionOfSlot is the partition of a slot.
func (srv *Server) partitionOfSlot(slot int) int {
	return slot / (partition.Slots / srv.store.Partitions())
}
