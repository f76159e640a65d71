package server

import (
	"strconv"
	"strings"

	"github.com/neargrid/neargrid/protocol"
)

// gridRows are the commands that no Redis has. They answer at every door.
//
// Those of a person are passed on to Router.Admin, whose words are: "status", for what 'neargrid status' shows, in JSON; "drain" and
// "undrain", each with a node or without, for this one; "recover" and what is to be recovered; and, from INFO, "info".
var gridRows = []*Row{
	{Name: "grid.drain", OffLoop: true, Arity: -1, Flags: adminOfGrid, Group: "grid", Since: sinceGrid, Complexity: "O(1)",
		Summary: "Moves everything off a node, this one if none is named.",
		Syntax:  "[node]", Run: func(c *Call) { c.gridAdmin("drain", 2) }},
	{Name: "grid.recover", OffLoop: true, Arity: -2, Flags: adminOfGrid, Group: "grid", Since: sinceGrid, Complexity: "O(N)",
		Summary: "Decides what only a person may: which losses are accepted.",
		Syntax:  "word [word ...]", Run: func(c *Call) { c.gridAdmin("recover", gridWordsMax) }},
	{Name: "grid.status", OffLoop: true, Arity: 1, Flags: Loading | Stale | NoMulti, ACL: CatDangerous, Group: "grid", Since: sinceGrid,
		Tips: []string{nondeterministic}, Complexity: "O(N)",
		Summary: "Describes the grid: members, partitions, moves under way, whether its promise is kept. JSON.",
		Run:     func(c *Call) { c.gridAdmin("status", 1) }},
	{Name: "grid.table", Arity: -1, Flags: Loading | Stale, Group: "grid", Since: sinceGrid,
		Tips: []string{nondeterministic}, Complexity: "O(N)",
		Summary: "Returns nodes and partitions for a client that routes by itself; to one that has this version, the version alone.",
		Syntax:  "[version:integer]", Run: cmdGridTable},
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

// cmdGridTable answers
//
//  1. version
//  2. for each node: id, grid door, cluster door, peer port; empty where it has none
//  3. for each partition: epoch, primary (empty: the partition is lost), array of backups
//
// and to a client that names this version the first of them alone. Clients must take longer arrays: more may be told.
func cmdGridTable(c *Call) {
	switch {
	case len(c.Args) > 2:
		c.W.Error(wrongArity(c.Row))
		return
	case c.srv.router == nil:
		c.W.Error(errAlone)
		return
	}
	top := c.srv.router.Topology()
	if len(c.Args) == 2 {
		known, err := strconv.ParseUint(string(c.Args[1]), 10, 64)
		if err != nil {
			c.W.Error(protocol.ErrNotInteger)
			return
		}
		if known == top.Version {
			c.W.Array(1)
			c.W.Int(int64(top.Version))
			return
		}
	}
	c.W.Array(3)
	c.W.Int(int64(top.Version))
	c.W.Array(len(top.Nodes))
	for i := range top.Nodes {
		n := &top.Nodes[i]
		c.W.Array(4)
		for _, text := range []string{string(n.ID), n.Client, n.Cluster, n.Peer} {
			c.W.BulkString(text)
		}
	}
	c.W.Array(len(top.Parts))
	for i := range top.Parts {
		part := &top.Parts[i]
		c.W.Array(3)
		c.W.Int(int64(part.Epoch))
		c.W.BulkString(string(part.Primary))
		c.W.Array(len(part.Backups))
		for _, b := range part.Backups {
			c.W.BulkString(string(b))
		}
	}
}
