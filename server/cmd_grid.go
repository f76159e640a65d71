package server

import (
	"cmp"
	"net"
	"strconv"
	"strings"

	"github.com/neargrid/neargrid/protocol"
)

// gridRows are the commands about the grid that no Redis has. They answer at every door.
//
// Those of a person are passed on to Router.Admin, whose words are: "status", for what 'neargrid status' shows, in JSON; "drain" and
// "undrain", each with a node or without, for this one; "recover" and what is to be recovered; and, from INFO, "info".
var gridRows = []*Row{
	{Name: "grid.drain", OffLoop: true, Arity: -1, Flags: adminOfGrid, Group: "grid", Since: sinceGrid, Complexity: "O(1)",
		Summary: "Moves everything off a node, this one if none is named.",
		Syntax:  "[node]", Run: func(c *Call) { c.gridAdmin("drain", 2) }},
	{Name: "grid.recover", OffLoop: true, Arity: -2, Flags: adminOfGrid, Group: "grid", Since: sinceGrid, Complexity: "O(N)",
		Summary: "Decides what only a person may: which losses are accepted, and that another control plane begins.",
		Syntax:  "word [word ...]", Run: func(c *Call) { c.gridAdmin("recover", gridWordsMax) }},
	{Name: "grid.status", OffLoop: true, Arity: 1, Flags: Loading | Stale | NoMulti, ACL: CatDangerous, Group: "grid", Since: sinceGrid,
		Tips: []string{nondeterministic}, Complexity: "O(N)",
		Summary: "Describes the grid: members, partitions, moves under way, whether its promise is kept. JSON.",
		Run:     func(c *Call) { c.gridAdmin("status", 1) }},
	{Name: "grid.table", Arity: -1, Flags: Loading | Stale, Group: "grid", Since: sinceGrid,
		Tips: []string{nondeterministic}, Complexity: "O(N)",
		Summary: "Returns nodes and who leads which partition, for a client that routes by itself; null to one that has this version.",
		Syntax:  "[version:integer] [BACKUPS]", Run: cmdGridTable},
	{Name: "grid.undrain", OffLoop: true, Arity: -1, Flags: adminOfGrid, Group: "grid", Since: sinceGrid, Complexity: "O(1)",
		Summary: "Lets a node that was drained, this one if none is named, hold data again.",
		Syntax:  "[node]", Run: func(c *Call) { c.gridAdmin("undrain", 2) }},
}

const (
	// A transaction holds locks, so what may take long must not stand in one.
	adminOfGrid = Admin | NoScript | Loading | Stale | NoMulti
	sinceGrid   = "7.4.0" // of what we say we are: the first that has them

	// gridWordsMax bounds the words of an administrative command.
	gridWordsMax = 1 << 15

	errAlone = "ERR This node is alone: it is not part of a grid"
)

// gridAdmin has the router run a command of at most so many words, the command's own name counted.
func (c *Call) gridAdmin(name string, wordsMax int) {
	switch {
	case len(c.Args) > wordsMax:
		c.W.Error(wrongArity(c.Row))
		return
	case c.srv.router == nil:
		c.W.Error(errAlone)
		return
	}
	words := []string{name}
	for _, arg := range c.Args[1:] {
		words = append(words, string(arg))
	}
	text, err := c.srv.router.Admin(words)
	if err != nil {
		c.W.Error(gridError(err))
		return
	}
	c.W.BulkString(text)
}

// gridError is an error of the router as a reply. One that begins with a code, in capitals, keeps it.
func gridError(err error) string {
	text := sanitize(err.Error())
	if code, _, _ := strings.Cut(text, " "); code != "" && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
		return text
	}
	return "ERR " + text
}

// cmdGridTable answers a map, in RESP2 an array of its keys and values:
//
//	version     of the table
//	partitions  how many there are; slots are divided evenly among them, in order
//	nodes       array of [id, host, port of the grid door, port of the cluster door]; port 0 = there is no such door
//	owners      for each partition, which of nodes leads it, from 0; -1 = none does at the moment
//	backups     for each partition, an array of which of nodes have copies in sync; with the word BACKUPS only
//
// and null to a client that names the version that is the newest here. Clients must take more keys, and longer arrays of nodes.
func cmdGridTable(c *Call) {
	words := c.Args[1:]
	withBackups := len(words) > 0 && is(words[len(words)-1], "backups")
	if withBackups {
		words = words[:len(words)-1]
	}
	if len(words) > 1 {
		c.W.Error(wrongArity(c.Row))
		return
	}
	version, known := uint64(tableOfOne), uint64(0)
	if c.srv.router != nil && c.srv.upstream == nil {
		version = c.srv.router.Topology().Version
	}
	if len(words) == 1 {
		var err error
		if known, err = strconv.ParseUint(string(words[0]), 10, 64); err != nil {
			c.W.Error(protocol.ErrNotInteger)
			return
		}
		if known == version {
			c.W.Null()
			return
		}
	}
	nodes, owners, backups := c.gridOwners()
	if withBackups {
		c.W.Map(5)
	} else {
		c.W.Map(4)
	}
	c.W.BulkString("version")
	c.W.Int(int64(version))
	c.W.BulkString("partitions")
	c.W.Int(int64(len(owners)))
	c.W.BulkString("nodes")
	c.W.Array(len(nodes))
	for _, n := range nodes {
		c.W.Array(4)
		c.W.BulkString(n.id)
		c.W.BulkString(n.host)
		c.W.Int(n.grid)
		c.W.Int(n.cluster)
	}
	c.W.BulkString("owners")
	c.W.Array(len(owners))
	for _, owner := range owners {
		c.W.Int(int64(owner))
	}
	if !withBackups {
		return
	}
	c.W.BulkString("backups")
	c.W.Array(len(backups))
	for _, list := range backups {
		c.W.Array(len(list))
		for _, b := range list {
			c.W.Int(int64(b))
		}
	}
}

// tableOfOne is the version of the table of a node that is alone, which never changes.
const tableOfOne = 1

// tableNode is a node as GRID.TABLE tells it.
type tableNode struct {
	id, host      string
	grid, cluster int64
}

// gridOwners are the nodes that lead partitions or could, and for each partition which of them does, and which have copies.
func (c *Call) gridOwners() (nodes []tableNode, owners []int, backups [][]int) {
	if c.srv.router == nil || c.srv.upstream != nil { // clients are to stay with a sidecar
		return []tableNode{c.ownDoors()}, make([]int, c.srv.store.Partitions()), make([][]int, c.srv.store.Partitions())
	}
	top := c.srv.router.Topology()
	index := map[NodeID]int{}
	for i := range top.Nodes {
		n := &top.Nodes[i]
		if n.Witness {
			continue
		}
		index[n.ID] = len(nodes)
		host, grid := hostPort(n.Client)
		other, cluster := hostPort(n.Cluster)
		nodes = append(nodes, tableNode{string(n.ID), cmp.Or(host, other), grid, cluster})
	}
	for i := range top.Parts {
		owner, known := index[top.Parts[i].Primary]
		if !known {
			owner = -1
		}
		owners = append(owners, owner)
		var list []int
		for _, b := range top.Parts[i].Backups {
			list = append(list, index[b])
		}
		backups = append(backups, list)
	}
	return nodes, owners, backups
}

// ownDoors is a node that is alone, as the client has reached it.
func (c *Call) ownDoors() tableNode {
	host, grid := hostPort(c.srv.addr)
	if reached, _ := hostPort(c.s.info.Local); !c.s.info.Unix && reached != "" {
		host = reached
	}
	_, cluster := hostPort(c.srv.cluster)
	return tableNode{cmp.Or(c.srv.options.NodeID, c.srv.runID), host, grid, cluster}
}

// hostPort takes an address apart; port 0 where there is none.
func hostPort(addr string) (host string, port int64) {
	host, text, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0
	}
	port, _ = strconv.ParseInt(text, 10, 64)
	return host, port
}
