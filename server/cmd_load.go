package server

import (
	"time"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// Commands by which one of many loads a key that is not there, and the others wait: neargrid's own. What tokens are, and what
// voids them, is told in partition/load.go.
//
//	GRID.LOAD k               load 4711 10000: it is yours to load, for 10 s
//	GRID.LOAD k  (another)    wait 9990 0: somebody loads it
//	GRID.FILL k 4711 value    OK, or nothing where the key was changed, deleted or moved meanwhile
//	GRID.PASS k 4711          in place of it, where the value cannot be had: the next one who asks is to load
//
// GRID.LOAD has no flag "readonly", though it changes no data: its reply is for one alone, and is not to be kept by near caches.
// A token ends with the connection on which it was given, or would have been: see load_given.go.
// Of those who wait, a connection that tracks is told as of any change to a key that it has read; but only where the command is
// executed at the node that the connection is with. Its reply says so, and others ask again after a while.

var loadRows = []*Row{
	{Name: "grid.fill", Arity: -4, Flags: Write | DenyOOM | Fast, Group: "grid", Since: sinceGrid, Complexity: "O(1)",
		Keys:    keys(1, 1, 1, OW|Insert),
		Summary: "Sets a string with a token of GRID.LOAD, if nothing has happened to the key since; returns null otherwise.",
		Syntax:  "key token value [PX milliseconds]", Run: cmdGridFill},
	{Name: "grid.load", Arity: -2, Flags: Fast, Group: "grid", Since: sinceGrid, Complexity: "O(1)",
		Keys: keys(1, 1, 1, RO|Access), Tips: []string{nondeterministic},
		Summary: "Returns a string as value, a token with which to load it, or for how many milliseconds to wait for who does.",
		Syntax:  "key [milliseconds]", Run: cmdGridLoad},
	{Name: "grid.pass", Arity: 3, Flags: Fast, Group: "grid", Since: sinceGrid, Complexity: "O(1)",
		Keys:    keys(1, 1, 1, RO),
		Summary: "Gives a token of GRID.LOAD back, so that another one may load the key.",
		Syntax:  "key token", Run: cmdGridPass},
}

const (
	errLoadMs = "ERR A token is asked for in milliseconds, from 1 to 3600000"

	// loadTime is for how long a token is good, unless the command says so: for that long others wait for who has it.
	loadTime    = 10 * time.Second
	loadTimeMax = time.Hour
)

// cmdGridLoad answers one of
//
//	value  the string
//	load   a token, and for how many ms it is good. 0 and 0: load it, but there is no token with which it could be put in
//	wait   for how many ms the token of somebody else is good; 1 where this connection will be told as soon as that is over
func cmdGridLoad(c *Call) {
	key, ms := c.Args[1], loadTime.Milliseconds()
	if len(c.Args) > 3 {
		c.W.Error(wrongArity(c.Row))
		return
	}
	if len(c.Args) == 3 {
		var ok bool
		if ms, ok = c.intArg(2); !ok {
			return
		}
		if ms < 1 || ms > loadTimeMax.Milliseconds() {
			c.W.Error(errLoadMs)
			return
		}
	}
	value, found, err := c.Tx.String(key)
	if err != nil {
		c.W.Error(err.Error())
		return
	}
	if found {
		c.W.Array(2)
		c.W.BulkString("value")
		c.W.Bulk(value)
		return
	}
	load := c.Tx.Load(key, ms)
	c.W.Array(3)
	if load.Token > 0 || load.LeftMs == 0 {
		c.giveLoad(key, load)
		c.W.BulkString("load")
		c.W.Int(load.Token)
		c.W.Int(load.LeftMs)
		return
	}
	c.W.BulkString("wait")
	c.W.Int(load.LeftMs)
	if c.track == nil {
		c.W.Int(0)
		return
	}
	c.track.read(c.Tx.Track(key, c.track))
	c.W.Int(1)
}

// cmdGridFill sets a string whose load nothing has come between.
func cmdGridFill(c *Call) {
	key, value := c.Args[1], c.Args[3]
	token, ok := c.intArg(2)
	if !ok {
		return
	}
	var expireAt int64
	switch {
	case len(c.Args) == 4:
	case len(c.Args) == 6 && is(c.Args[4], "px"):
		if expireAt, ok = c.expiryArg(5, c.Tx.Now, 1); !ok {
			return
		}
	default:
		c.W.Error(protocol.ErrSyntax)
		return
	}
	if !c.Tx.Loads(key, token) {
		c.W.Null()
		return
	}
	c.Tx.SetString(key, value, partition.StringAuto, expireAt)
	c.W.OK()
}

// cmdGridPass answers 1, or 0 where the token was void already.
func cmdGridPass(c *Call) {
	token, ok := c.intArg(2)
	if !ok {
		return
	}
	if !c.Tx.PassLoad(c.Args[1], token) {
		c.W.Int(0)
		return
	}
	c.W.Int(1)
}
