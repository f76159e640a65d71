package server

import (
	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

var stringRows = []*Row{
	{Name: "append", Arity: 3, Flags: Write | DenyOOM | Fast, Group: "string",
		Keys: keys(1, 1, 1, RW|Insert), Since: "2.0.0", Complexity: "O(1)",
		Summary: "Appends to a string.",
		Syntax:  "key value", Run: cmdAppend},
	{Name: "get", Arity: 2, Flags: ReadOnly | Fast, Group: "string",
		Keys: keys(1, 1, 1, RO|Access), Since: "1.0.0", Complexity: "O(1)",
		Summary: "Returns a string.",
		Syntax:  "key", Run: cmdGet},
	{Name: "getdel", Arity: 2, Flags: Write | Fast, Group: "string",
		Keys: keys(1, 1, 1, RW|Access|Delete), Since: "6.2.0", Complexity: "O(1)",
		Summary: "Returns a string and deletes the key.",
		Syntax:  "key", Run: cmdGetDel},
	{Name: "getex", Arity: -2, Flags: Write | Fast, Group: "string",
		Keys: keys(1, 1, 1, RW|Access|Update), Since: "6.2.0", Complexity: "O(1)",
		Summary: "Returns a string and changes its expiry.",
		Syntax:  "key expiration:[EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]", Run: cmdGetEx},
	{Name: "getrange", Arity: 4, Flags: ReadOnly, Group: "string",
		Keys: keys(1, 1, 1, RO|Access), Since: "2.4.0", Complexity: "O(N)",
		Summary: "Returns a part of a string.",
		Syntax:  "key start end", Run: cmdGetRange},
	{Name: "getset", Arity: 3, Flags: Write | DenyOOM | Fast, Group: "string",
		Keys: keys(1, 1, 1, RW|Access|Update), Since: "1.0.0", Deprecated: "6.2.0", ReplacedBy: "SET GET", Complexity: "O(1)",
		Summary: "Replaces a string and returns the old one.",
		Syntax:  "key value", Run: cmdGetSet},
	{Name: "mget", Arity: -2, Flags: ReadOnly | Fast, Group: "string",
		Keys: keys(1, -1, 1, RO|Access), Tips: []string{"request_policy:multi_shard"}, Since: "1.0.0", Complexity: "O(N)",
		Summary: "Returns the strings of several keys.",
		Syntax:  "key [key ...]", Gather: &Gather{1, joinByKey}, Run: cmdMGet},
	{Name: "mset", Arity: -3, Flags: Write | DenyOOM, Group: "string",
		Keys: keys(1, -1, 2, OW|Update), Tips: []string{"request_policy:multi_shard", "response_policy:all_succeeded"}, Since: "1.0.1", Complexity: "O(N)",
		Summary: "Sets several strings.",
		Syntax:  "key value [key value ...]", Gather: &Gather{2, joinOK}, Run: cmdMSet},
	{Name: "msetnx", Arity: -3, Flags: Write | DenyOOM, Group: "string",
		Keys: keys(1, -1, 2, OW|Insert), Tips: []string{"request_policy:multi_shard", "response_policy:agg_min"}, Since: "1.0.1", Complexity: "O(N)",
		Summary: "Sets several strings if none of the keys exists.",
		Syntax:  "key value [key value ...]", Run: cmdMSetNX},
	{Name: "psetex", Arity: 4, Flags: Write | DenyOOM, Group: "string",
		Keys: keys(1, 1, 1, OW|Update), Since: "2.6.0", Complexity: "O(1)",
		Summary: "Sets a string with a time to live in milliseconds.",
		Syntax:  "key milliseconds value", Run: cmdPSetEx},
	{Name: "set", Arity: -3, Flags: Write | DenyOOM, Group: "string",
		FindKeys: findSetKeys, Keys: keys(1, 1, 1, RW|Access|Update|VariableFlags), Since: "1.0.0", Complexity: "O(1)",
		Summary: "Sets a string, on conditions and with an expiry if wanted.",
		Syntax:  "key value condition:[NX | XX] [GET] expiration:[EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]", Run: cmdSet},
	{Name: "setex", Arity: 4, Flags: Write | DenyOOM, Group: "string",
		Keys: keys(1, 1, 1, OW|Update), Since: "2.0.0", Complexity: "O(1)",
		Summary: "Sets a string with a time to live in seconds.",
		Syntax:  "key seconds value", Run: cmdSetEx},
	{Name: "setnx", Arity: 3, Flags: Write | DenyOOM | Fast, Group: "string",
		Keys: keys(1, 1, 1, OW|Insert), Since: "1.0.0", Complexity: "O(1)",
		Summary: "Sets a string if the key does not exist.",
		Syntax:  "key value", Run: cmdSetNX},
	{Name: "setrange", Arity: 4, Flags: Write | DenyOOM, Group: "string",
		Keys: keys(1, 1, 1, RW|Update), Since: "2.2.0", Complexity: "O(1)",
		Summary: "Overwrites a part of a string.",
		Syntax:  "key offset value", Run: cmdSetRange},
	{Name: "strlen", Arity: 2, Flags: ReadOnly | Fast, Group: "string",
		Keys: keys(1, 1, 1, RO), Since: "2.2.0", Complexity: "O(1)",
		Summary: "Returns the length of a string.",
		Syntax:  "key", Run: cmdStrLen},
	{Name: "substr", Arity: 4, Flags: ReadOnly, Group: "string",
		Keys: keys(1, 1, 1, RO|Access), Since: "1.0.0", Deprecated: "2.0.0", ReplacedBy: "GETRANGE", Complexity: "O(N)",
		Summary: "Returns a part of a string; the old name of GETRANGE.",
		Syntax:  "key start end", Run: cmdGetRange},
}

func cmdGet(c *Call) { c.replyString(c.Args[1]) }

// replyString answers with the string at key, or null; an error where key holds something else, and then it is false.
func (c *Call) replyString(key []byte) bool {
	c.Tx.CountHits = true
	b, ok, err := c.Tx.String(key)
	switch {
	case err != nil:
		c.W.Error(err.Error())
		return false
	case !ok:
		c.W.Null()
	default:
		c.W.Bulk(b)
	}
	return true
}

// stringArg looks up a string to be read or changed. It answers where there is none to work on because key holds
// something else, and then it is false; a key that is not there is an empty view.
func (c *Call) stringArg(key []byte) (b []byte, found, ok bool) {
	b, found, err := c.Tx.String(key)
	if err != nil {
		c.W.Error(err.Error())
		return nil, false, false
	}
	return b, found, true
}

func cmdSet(c *Call) {
	key, value := c.Args[1], c.Args[2]
	if len(c.Args) == 3 {
		c.Tx.SetString(key, value, partition.StringAuto, 0)
		c.W.OK()
		return
	}
	o, ok := c.setOptions(3, false)
	if !ok {
		return
	}
	expireAt, ok := o.expireAt(c)
	if !ok {
		return
	}
	if o.get && !c.replyString(key) {
		return
	}
	old, found := c.Tx.Peek(key)
	if o.nx && found || o.xx && !found {
		if !o.get {
			c.W.Null()
		}
		return
	}
	if o.expiry == expiryKeep && found {
		expireAt = old.ExpireAt()
	}
	c.Tx.SetString(key, value, partition.StringAuto, expireAt)
	if !o.get {
		c.W.OK()
	}
}

// setOptions are the options of SET and GETEX.
type setOptions struct {
	nx, xx, get bool
	expiry      expiryOption
	at          int // the argument of EX, PX, EXAT and PXAT
}

// expiryOption is what SET and GETEX shall do to the expiry. There is one at most, though it may be given twice.
type expiryOption uint8

const (
	expiryUnset expiryOption = iota
	expiryEX
	expiryPX
	expiryEXAT
	expiryPXAT
	expiryKeep
	expiryPersist
)

// expiryOptionOf reads the word of an option; getex tells GETEX's from SET's.
func expiryOptionOf(arg []byte, getex bool) expiryOption {
	switch {
	case is(arg, "ex"):
		return expiryEX
	case is(arg, "px"):
		return expiryPX
	case is(arg, "exat"):
		return expiryEXAT
	case is(arg, "pxat"):
		return expiryPXAT
	case !getex && is(arg, "keepttl"):
		return expiryKeep
	case getex && is(arg, "persist"):
		return expiryPersist
	}
	return expiryUnset
}

// setOptions reads SET's or GETEX's options from argument i on.
func (c *Call) setOptions(i int, getex bool) (o setOptions, ok bool) {
	for ; i < len(c.Args); i++ {
		arg := c.Args[i]
		option := expiryOptionOf(arg, getex)
		switch {
		case option != expiryUnset && (o.expiry == expiryUnset || o.expiry == option):
			o.expiry = option
			if option < expiryKeep {
				i++
				o.at = i
			}
		case !getex && !o.xx && is(arg, "nx"):
			o.nx = true
		case !getex && !o.nx && is(arg, "xx"):
			o.xx = true
		case !getex && is(arg, "get"):
			o.get = true
		default:
			c.W.Error(protocol.ErrSyntax)
			return o, false
		}
	}
	if o.at >= len(c.Args) {
		c.W.Error(protocol.ErrSyntax)
		return o, false
	}
	return o, true
}

// expireAt is when the value shall expire, in ms since 1970: 0 where there is no such option.
func (o *setOptions) expireAt(c *Call) (ms int64, ok bool) {
	switch o.expiry {
	case expiryEX:
		return c.expiryArg(o.at, c.Tx.Now, 1000)
	case expiryPX:
		return c.expiryArg(o.at, c.Tx.Now, 1)
	case expiryEXAT:
		return c.expiryArg(o.at, 0, 1000)
	case expiryPXAT:
		return c.expiryArg(o.at, 0, 1)
	}
	return 0, true
}

// expiryArg reads an expiry of so many units after base, which must be positive.
func (c *Call) expiryArg(i int, base, unit int64) (ms int64, ok bool) {
	n, ok := c.intArg(i)
	if !ok {
		return 0, false
	}
	if ms, ok = expiryOf(n, base, unit); !ok || n <= 0 {
		c.W.Error("ERR invalid expire time in '" + c.Row.fullName() + "' command")
		return 0, false
	}
	return ms, true
}

func cmdSetNX(c *Call) {
	if _, found := c.Tx.Peek(c.Args[1]); found {
		c.W.Int(0)
		return
	}
	c.Tx.SetString(c.Args[1], c.Args[2], partition.StringAuto, 0)
	c.W.Int(1)
}

func cmdSetEx(c *Call)  { setExpiring(c, 1000) }
func cmdPSetEx(c *Call) { setExpiring(c, 1) }

func setExpiring(c *Call, unit int64) {
	expireAt, ok := c.expiryArg(2, c.Tx.Now, unit)
	if !ok {
		return
	}
	c.Tx.SetString(c.Args[1], c.Args[3], partition.StringAuto, expireAt)
	c.W.OK()
}

func cmdGetSet(c *Call) {
	if c.replyString(c.Args[1]) {
		c.Tx.SetString(c.Args[1], c.Args[2], partition.StringAuto, 0)
	}
}

func cmdGetDel(c *Call) {
	if c.replyString(c.Args[1]) {
		c.Tx.Del(c.Args[1])
	}
}

func cmdGetEx(c *Call) {
	key := c.Args[1]
	o, ok := c.setOptions(2, true)
	if !ok {
		return
	}
	c.Tx.CountHits = true
	b, found, ok := c.stringArg(key)
	switch {
	case !ok:
		return
	case !found:
		c.W.Null()
		return
	}
	expireAt, ok := o.expireAt(c)
	if !ok {
		return
	}
	c.W.Bulk(b)
	switch o.expiry {
	case expiryUnset:
	case expiryPersist:
		if v, _ := c.Tx.Peek(key); v.ExpireAt() != 0 {
			c.Tx.ExpireAt(key, 0)
		}
	case expiryEXAT, expiryPXAT:
		if expireAt <= c.Tx.Now {
			c.Tx.Del(key)
			return
		}
		c.Tx.ExpireAt(key, expireAt)
	default:
		c.Tx.ExpireAt(key, expireAt)
	}
}

func cmdMGet(c *Call) {
	c.W.Array(len(c.Args) - 1)
	for _, key := range c.Args[1:] {
		if b, ok, _ := c.Tx.String(key); ok {
			c.W.Bulk(b)
		} else {
			c.W.Null()
		}
	}
}

func cmdMSet(c *Call) {
	if c.pairsFit() {
		c.setPairs()
		c.W.OK()
	}
}

func cmdMSetNX(c *Call) {
	if !c.pairsFit() {
		return
	}
	for i := 1; i < len(c.Args); i += 2 {
		if _, found := c.Tx.Peek(c.Args[i]); found {
			c.W.Int(0)
			return
		}
	}
	c.setPairs()
	c.W.Int(1)
}

// pairsFit tells whether every key of MSET has its value, and answers where not.
func (c *Call) pairsFit() bool {
	if len(c.Args)%2 == 0 {
		c.W.Error("ERR wrong number of arguments for '" + c.Row.fullName() + "' command")
		return false
	}
	return true
}

func (c *Call) setPairs() {
	for i := 1; i < len(c.Args); i += 2 {
		c.Tx.SetString(c.Args[i], c.Args[i+1], partition.StringAuto, 0)
	}
}

func cmdAppend(c *Call) {
	key, tail := c.Args[1], c.Args[2]
	old, found, ok := c.stringArg(key)
	if !ok {
		return
	}
	size := len(old)
	if !found {
		c.Tx.SetString(key, tail, partition.StringAuto, 0)
		c.W.Int(int64(len(tail)))
		return
	}
	if !c.lengthFits(int64(size), len(tail)) {
		return
	}
	c.Tx.Patch(key, size, tail)
	c.W.Int(int64(size + len(tail)))
}

// lengthFits tells whether a string may become offset+n bytes long, and answers where not.
func (c *Call) lengthFits(offset int64, n int) bool {
	if offset > c.stringMax()-int64(n) {
		c.W.Error(protocol.ErrStringTooLong)
		return false
	}
	return true
}

// stringMax is the longest string that a command may make, in bytes.
func (c *Call) stringMax() int64 {
	return min(c.srv.config.ProtoMaxBulkLen.Load(), partition.StringMaxBytes)
}

func cmdSetRange(c *Call) {
	key, data := c.Args[1], c.Args[3]
	offset, ok := c.intArg(2)
	if !ok {
		return
	}
	if offset < 0 {
		c.W.Error(protocol.ErrOffsetRange)
		return
	}
	old, _, ok := c.stringArg(key)
	if !ok {
		return
	}
	size := len(old)
	if len(data) == 0 {
		c.W.Int(int64(size))
		return
	}
	if !c.lengthFits(offset, len(data)) {
		return
	}
	c.Tx.Patch(key, int(offset), data)
	c.W.Int(max(int64(size), offset+int64(len(data))))
}

// cmdGetRange serves SUBSTR too.
func cmdGetRange(c *Call) {
	start, ok := c.intArg(2)
	if !ok {
		return
	}
	end, ok := c.intArg(3)
	if !ok {
		return
	}
	b, _, ok := c.stringArg(c.Args[1])
	if !ok {
		return
	}
	start, end = clampRange(start, end, int64(len(b)))
	c.W.Bulk(b[start:max(start, end)])
}

// clampRange turns Redis's inclusive range, where negative places count from the end, into one of size elements that
// ends before end; an empty one has start >= end.
func clampRange(start, end, size int64) (from, to int64) {
	if start < 0 && end < 0 && start > end {
		return 0, 0
	}
	if start < 0 {
		start = max(0, size+start)
	}
	if end < 0 {
		end = max(0, size+end)
	}
	end = min(end, size-1)
	if start > end {
		return 0, 0
	}
	return start, end + 1
}

func cmdStrLen(c *Call) {
	if b, _, ok := c.stringArg(c.Args[1]); ok {
		c.W.Int(int64(len(b)))
	}
}
