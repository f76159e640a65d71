package server

import (
	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

var keyRows = []*Row{
	{Name: "copy", Arity: -3, Flags: Write | DenyOOM, Group: "generic",
		Keys: []KeySpec{{Flags: RO | Access, Index: 1, Last: 0, Step: 1}, {Flags: OW | Update, Index: 2, Last: 0, Step: 1}}, Since: "6.2.0", Complexity: "O(N)",
		Summary: "Copies a value to another key.",
		Syntax:  "source destination [DB destination-db] [REPLACE]", Run: cmdCopy},
	{Name: "del", Arity: -2, Flags: Write, Group: "generic",
		Keys: keys(1, -1, 1, RM|Delete), Tips: []string{"request_policy:multi_shard", "response_policy:agg_sum"}, Since: "1.0.0", Complexity: "O(N)",
		Summary: "Deletes keys.",
		Syntax:  "key [key ...]", Gather: &Gather{1, joinSum}, Run: cmdDel},
	{Name: "exists", Arity: -2, Flags: ReadOnly | Fast, Group: "generic",
		Keys: keys(1, -1, 1, RO), Tips: []string{"request_policy:multi_shard", "response_policy:agg_sum"}, Since: "1.0.0", Complexity: "O(N)",
		Summary: "Counts how many of the given keys exist.",
		Syntax:  "key [key ...]", Gather: &Gather{1, joinSum}, Run: cmdExists},
	{Name: "move", Arity: 3, Flags: Write | Fast, Group: "generic",
		Keys: keys(1, 1, 1, RW|Access|Update), Since: "1.0.0", Complexity: "O(1)",
		Summary: "Moves a key to another database.",
		Syntax:  "key db", Run: cmdMove},
	{Name: "rename", Arity: 3, Flags: Write, Group: "generic",
		Keys: []KeySpec{{Flags: RW | Access | Delete, Index: 1, Last: 0, Step: 1}, {Flags: OW | Update, Index: 2, Last: 0, Step: 1}}, Since: "1.0.0", Complexity: "O(1)",
		Summary: "Gives a key another name, replacing what had it.",
		Syntax:  "key newkey", Run: cmdRename},
	{Name: "renamenx", Arity: 3, Flags: Write | Fast, Group: "generic",
		Keys: []KeySpec{{Flags: RW | Access | Delete, Index: 1, Last: 0, Step: 1}, {Flags: OW | Insert, Index: 2, Last: 0, Step: 1}}, Since: "1.0.0", Complexity: "O(1)",
		Summary: "Gives a key another name that is free.",
		Syntax:  "key newkey", Run: cmdRenamenx},
	{Name: "touch", Arity: -2, Flags: ReadOnly | Fast, Group: "generic",
		Keys: keys(1, -1, 1, RO), Tips: []string{"request_policy:multi_shard", "response_policy:agg_sum"}, Since: "3.2.1", Complexity: "O(N)",
		Summary: "Marks keys as used and counts those that exist.",
		Syntax:  "key [key ...]", Gather: &Gather{1, joinSum}, Run: cmdTouch},
	{Name: "type", Arity: 2, Flags: ReadOnly | Fast, Group: "generic",
		Keys: keys(1, 1, 1, RO), Since: "1.0.0", Complexity: "O(1)",
		Summary: "Names the type of a key's value.",
		Syntax:  "key", Run: cmdType},
	{Name: "unlink", Arity: -2, Flags: Write | Fast, Group: "generic",
		Keys: keys(1, -1, 1, RM|Delete), Tips: []string{"request_policy:multi_shard", "response_policy:agg_sum"}, Since: "4.0.0", Complexity: "O(1) per key",
		Summary: "Deletes keys, freeing large values in the background.",
		Syntax:  "key [key ...]", Gather: &Gather{1, joinSum}, Run: cmdUnlink},
	{Name: "object", Arity: -2, Group: "generic",
		Since:   "2.2.3",
		Summary: "Commands about how values are kept.",
		Subs: []*Row{
			{Name: "encoding", Arity: 3, Flags: ReadOnly, Group: "generic",
				Keys: keys(2, 2, 1, RO), Tips: []string{"nondeterministic_output"}, Since: "2.2.3", Complexity: "O(1)",
				Summary: "Names the encoding of a value.",
				Syntax:  "key", Run: cmdObjectEncoding},
			{Name: "freq", Arity: 3, Flags: ReadOnly, Group: "generic",
				Keys: keys(2, 2, 1, RO), Tips: []string{"nondeterministic_output"}, Since: "4.0.0", Complexity: "O(1)",
				Summary: "Returns a key's logarithmic access count.",
				Syntax:  "key", Run: cmdObjectFreq},
			{Name: "help", Arity: 2, Flags: Loading | Stale, Group: "generic",
				Since: "6.2.0", Complexity: "O(1)",
				Summary: "Lists the subcommands of OBJECT.", Run: cmdObjectHelp},
			{Name: "idletime", Arity: 3, Flags: ReadOnly, Group: "generic",
				Keys: keys(2, 2, 1, RO), Tips: []string{"nondeterministic_output"}, Since: "2.2.3", Complexity: "O(1)",
				Summary: "Returns the seconds since a key's last access.",
				Syntax:  "key", Run: cmdObjectIdletime},
			{Name: "refcount", Arity: 3, Flags: ReadOnly, Group: "generic",
				Keys: keys(2, 2, 1, RO), Tips: []string{"nondeterministic_output"}, Since: "2.2.3", Complexity: "O(1)",
				Summary: "Returns a value's reference count.",
				Syntax:  "key", Run: cmdObjectRefcount},
		}},
}

// cmdDel serves UNLINK too: large values are always freed in the background.
func cmdDel(c *Call) {
	n := 0
	for _, key := range c.Args[1:] {
		if c.Tx.Del(key) {
			n++
		}
	}
	c.W.Int(int64(n))
}

func cmdUnlink(c *Call) { cmdDel(c) }

func cmdExists(c *Call) { countKeys(c, c.Tx.Look) }
func cmdTouch(c *Call)  { countKeys(c, c.Tx.Find) }

func countKeys(c *Call, find func(key []byte) (partition.Value, bool)) {
	n := 0
	for _, key := range c.Args[1:] {
		if _, ok := find(key); ok {
			n++
		}
	}
	c.W.Int(int64(n))
}

func cmdType(c *Call) {
	v, ok := c.Tx.Look(c.Args[1])
	if !ok {
		c.W.Simple(partition.TypeNone.String())
		return
	}
	c.W.Simple(v.Type().String())
}

func cmdRename(c *Call)   { rename(c, false) }
func cmdRenamenx(c *Call) { rename(c, true) }

func rename(c *Call, onlyNew bool) {
	from, to := c.Args[1], c.Args[2]
	v, ok := c.Tx.Find(from)
	if !ok {
		c.W.Error(protocol.ErrNoSuchKey)
		return
	}
	same := string(from) == string(to)
	if onlyNew {
		if _, taken := c.Tx.Peek(to); taken {
			c.W.Int(0)
			return
		}
	}
	if !same {
		dump, expireAt := v.Dump(nil), v.ExpireAt()
		c.Tx.Del(from)
		c.Tx.Restore(to, dump, expireAt)
	}
	if onlyNew {
		c.W.Int(1)
		return
	}
	c.W.OK()
}

func cmdCopy(c *Call) {
	from, to, db, replace := c.Args[1], c.Args[2], c.Tx.DB, false
	for i := 3; i < len(c.Args); i++ {
		switch {
		case is(c.Args[i], "replace"):
			replace = true
		case is(c.Args[i], "db") && i+1 < len(c.Args):
			i++
			var ok bool
			if db, ok = c.dbArg(i, ""); !ok {
				return
			}
		default:
			c.W.Error(protocol.ErrSyntax)
			return
		}
	}
	if db != 0 && c.s.info.Cluster {
		c.W.Error("ERR Copying to another database is not allowed in cluster mode")
		return
	}
	if db == c.Tx.DB && string(from) == string(to) {
		c.W.Error(protocol.ErrSameObject)
		return
	}
	v, ok := c.Tx.Find(from)
	if !ok {
		c.W.Int(0)
		return
	}
	c.transfer(v, to, db, replace)
}

// transfer writes a copy of v under another name or in another database, and answers whether it could.
func (c *Call) transfer(v partition.Value, to []byte, db int, replace bool) bool {
	dump, expireAt, home := v.Dump(nil), v.ExpireAt(), c.Tx.DB
	c.Tx.DB = db
	_, taken := c.Tx.Peek(to)
	if taken && replace {
		c.Tx.Del(to)
	}
	if !taken || replace {
		c.Tx.Restore(to, dump, expireAt)
	}
	c.Tx.DB = home
	if taken && !replace {
		c.W.Int(0)
		return false
	}
	c.W.Int(1)
	return true
}

func cmdMove(c *Call) {
	if c.s.info.Cluster {
		c.W.Error("ERR MOVE is not allowed in cluster mode")
		return
	}
	db, ok := c.dbArg(2, "")
	if !ok {
		return
	}
	if db == c.Tx.DB {
		c.W.Error(protocol.ErrSameObject)
		return
	}
	v, ok := c.Tx.Find(c.Args[1])
	if !ok {
		c.W.Int(0)
		return
	}
	if c.transfer(v, c.Args[1], db, false) {
		c.Tx.Del(c.Args[1])
	}
}

// object looks up the key of an OBJECT subcommand.
func (c *Call) object() (partition.Value, bool) {
	v, ok := c.Tx.Look(c.Args[2])
	if !ok {
		c.W.Null()
	}
	return v, ok
}

func cmdObjectEncoding(c *Call) {
	if v, ok := c.object(); ok {
		c.W.BulkString(v.Encoding())
	}
}

// cmdObjectRefcount answers 1, or for small integers what Redis, which shares them, answers.
func cmdObjectRefcount(c *Call) {
	v, ok := c.object()
	if !ok {
		return
	}
	if b, err := v.String(); err == nil && v.Encoding() == "int" {
		if n, _ := protocol.ParseInt(b); n >= 0 && n < sharedIntegers && c.srv.config.MaxMemory.Load() == 0 {
			c.W.Int(sharedRefcount)
			return
		}
	}
	c.W.Int(1)
}

const (
	sharedIntegers = 10000
	sharedRefcount = 1<<31 - 1
)

func cmdObjectIdletime(c *Call) {
	v, ok := c.object()
	switch {
	case !ok:
	case c.srv.config.limits.LFU.Load():
		c.W.Error("ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
	default:
		c.W.Int(v.IdleSeconds(c.Tx.Now))
	}
}

func cmdObjectFreq(c *Call) {
	v, ok := c.object()
	switch {
	case !ok:
	case !c.srv.config.limits.LFU.Load():
		c.W.Error("ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.")
	default:
		c.W.Int(v.Frequency(c.Tx.Now))
	}
}

func cmdObjectHelp(c *Call) { c.help() }
