package client

import (
	"strconv"
	"strings"
)

// spec is what a client must know of a command: where its keys stand, and what may be done with it.
type spec struct {
	// first, last and step tell where keys stand, as in COMMAND's reply; a negative last counts from the end. first = 0: no such keys.
	first, last, step int8
	// count is where the number of further keys stands, which follow it. 0 = there is none.
	count int8
	flags flags
}

type flags uint16

const (
	flagRead     flags = 1 << iota // changes no data: may be tried again whatever happened to it
	flagPure                       // its reply depends on the key's value and on nothing else: a near cache may keep it
	flagBlocks                     // may wait on the server
	flagSession                    // changes its connection, which is shared
	flagNodes                      // is about the keys of the node asked
	flagVague                      // touches keys that its command line does not tell
	flagScript                     // runs other commands
	flagSplit                      // may be split by keys, and its replies joined
	flagStreams                    // keys are the first half of what follows STREAMS
	flagUnlisted                   // not in the table: taken for a write whose key comes first
)

func (s *spec) is(f flags) bool { return s.flags&f != 0 }

// specs has every command by its name in capitals.
var specs = makeSpecs()

var unlisted = spec{first: 1, last: 1, step: 1, flags: flagUnlisted}

// specOf returns what is known of a command by its name, in any case.
func specOf(name string) *spec {
	if s := specs[name]; s != nil {
		return s
	}
	if s := specs[strings.ToUpper(name)]; s != nil {
		return s
	}
	return &unlisted
}

// The commands by where their keys stand. A test compares this with what servers answer to COMMAND.
const (
	namesPure = `BITCOUNT BITFIELD_RO BITPOS GEODIST GEOHASH GEOPOS GEORADIUS_RO GEORADIUSBYMEMBER_RO GEOSEARCH GET GETBIT GETRANGE HEXISTS
		HGET HGETALL HKEYS HLEN HMGET HSTRLEN HVALS LINDEX LLEN LPOS LRANGE SCARD SISMEMBER SMEMBERS SMISMEMBER STRLEN SUBSTR
		TYPE XLEN XRANGE XREVRANGE ZCARD ZCOUNT ZLEXCOUNT ZMSCORE ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREVRANGE ZREVRANGEBYLEX
		ZREVRANGEBYSCORE ZREVRANK ZSCORE`
	namesRead = `DUMP EXPIRETIME HRANDFIELD HSCAN PEXPIRETIME PTTL SRANDMEMBER SSCAN TTL XPENDING ZRANDMEMBER ZSCAN`
	// namesRange read keys from the first word to the last.
	namesRange = `SDIFF SINTER SUNION PFCOUNT`
	namesWrite = `APPEND BITFIELD DECR DECRBY EXPIRE EXPIREAT GEOADD GETDEL GETEX GETSET GRID.FILL GRID.LOAD GRID.PASS HDEL HINCRBY HINCRBYFLOAT HMSET HSET HSETNX INCR
		INCRBY INCRBYFLOAT LINSERT LPOP LPUSH LPUSHX LREM LSET LTRIM MOVE PERSIST PEXPIRE PEXPIREAT PFADD PSETEX RESTORE RPOP
		RPUSH RPUSHX SADD SET SETBIT SETEX SETNX SETRANGE SPOP SPUBLISH SREM XACK XADD XAUTOCLAIM XCLAIM XDEL XSETID XTRIM ZADD
		ZINCRBY ZPOPMAX ZPOPMIN ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE`
	namesWritePair  = `COPY GEOSEARCHSTORE LMOVE RENAME RENAMENX RPOPLPUSH SMOVE ZRANGESTORE`
	namesWriteRange = `MSETNX PFMERGE SDIFFSTORE SINTERSTORE SUNIONSTORE`
	namesBlockPair  = `BLMOVE BRPOPLPUSH`
	namesBlockRange = `BLPOP BRPOP BZPOPMAX BZPOPMIN`
	namesSession    = `ASKING AUTH DISCARD EXEC HELLO MONITOR MULTI PSUBSCRIBE PSYNC PUNSUBSCRIBE QUIT READONLY READWRITE REPLCONF RESET SELECT
		GRID.LEASE GRID.ORIGIN SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE SYNC UNSUBSCRIBE UNWATCH WAIT`
	// namesServer have no keys and ask only; namesAdmin have none and may change something.
	namesServer = `COMMAND ECHO INFO LASTSAVE LOLWUT PING PUBSUB ROLE TIME GRID.STATUS GRID.TABLE`
	namesAdmin  = `ACL BGREWRITEAOF BGSAVE CLIENT CLUSTER CONFIG DEBUG FAILOVER LATENCY MODULE PFSELFTEST PUBLISH REPLICAOF SAVE SHUTDOWN SLAVEOF
		SLOWLOG SWAPDB GRID.DRAIN GRID.RECOVER GRID.UNDRAIN`
	namesNodes = `DBSIZE FLUSHALL FLUSHDB FUNCTION KEYS RANDOMKEY SCAN SCRIPT`
)

func makeSpecs() map[string]*spec {
	all := map[string]*spec{
		"BITOP":  {first: 2, last: -1, step: 1},
		"DEL":    {first: 1, last: -1, step: 1, flags: flagSplit},
		"UNLINK": {first: 1, last: -1, step: 1, flags: flagSplit},
		"TOUCH":  {first: 1, last: -1, step: 1, flags: flagSplit | flagRead},
		"EXISTS": {first: 1, last: -1, step: 1, flags: flagSplit | flagRead},
		"MGET":   {first: 1, last: -1, step: 1, flags: flagSplit | flagRead},
		"MSET":   {first: 1, last: -1, step: 2, flags: flagSplit},
		"LCS":    {first: 1, last: 2, step: 1, flags: flagRead},
		"WATCH":  {first: 1, last: -1, step: 1, flags: flagSession},

		"SINTERCARD":  {count: 1, flags: flagRead},
		"ZDIFF":       {count: 1, flags: flagRead},
		"ZINTER":      {count: 1, flags: flagRead},
		"ZINTERCARD":  {count: 1, flags: flagRead},
		"ZUNION":      {count: 1, flags: flagRead},
		"LMPOP":       {count: 1},
		"ZMPOP":       {count: 1},
		"BLMPOP":      {count: 2, flags: flagBlocks},
		"BZMPOP":      {count: 2, flags: flagBlocks},
		"ZDIFFSTORE":  {first: 1, last: 1, step: 1, count: 2},
		"ZINTERSTORE": {first: 1, last: 1, step: 1, count: 2},
		"ZUNIONSTORE": {first: 1, last: 1, step: 1, count: 2},

		"EVAL":       {count: 2, flags: flagVague | flagScript},
		"EVALSHA":    {count: 2, flags: flagVague | flagScript},
		"FCALL":      {count: 2, flags: flagVague | flagScript},
		"EVAL_RO":    {count: 2, flags: flagVague | flagScript | flagRead},
		"EVALSHA_RO": {count: 2, flags: flagVague | flagScript | flagRead},
		"FCALL_RO":   {count: 2, flags: flagVague | flagScript | flagRead},

		"SORT":              {first: 1, last: 1, step: 1, flags: flagVague},
		"SORT_RO":           {first: 1, last: 1, step: 1, flags: flagVague | flagRead},
		"GEORADIUS":         {first: 1, last: 1, step: 1, flags: flagVague},
		"GEORADIUSBYMEMBER": {first: 1, last: 1, step: 1, flags: flagVague},
		"MIGRATE":           {first: 3, last: 3, step: 1, flags: flagVague},

		"GRID.READ":  {first: 2, last: 2, step: 1, flags: flagRead},
		"OBJECT":     {first: 2, last: 2, step: 1, flags: flagRead},
		"MEMORY":     {first: 2, last: 2, step: 1, flags: flagRead},
		"XINFO":      {first: 2, last: 2, step: 1, flags: flagRead},
		"XGROUP":     {first: 2, last: 2, step: 1},
		"PFDEBUG":    {first: 2, last: 2, step: 1},
		"XREAD":      {flags: flagStreams | flagRead | flagBlocks},
		"XREADGROUP": {flags: flagStreams | flagBlocks},
	}
	add := func(names string, s spec) {
		for _, name := range strings.Fields(names) {
			all[name] = &s
		}
	}
	add(namesPure, spec{first: 1, last: 1, step: 1, flags: flagRead | flagPure})
	add(namesRead, spec{first: 1, last: 1, step: 1, flags: flagRead})
	add(namesRange, spec{first: 1, last: -1, step: 1, flags: flagRead})
	add(namesWrite, spec{first: 1, last: 1, step: 1})
	add(namesWritePair, spec{first: 1, last: 2, step: 1})
	add(namesWriteRange, spec{first: 1, last: -1, step: 1})
	add(namesBlockPair, spec{first: 1, last: 2, step: 1, flags: flagBlocks})
	add(namesBlockRange, spec{first: 1, last: -2, step: 1, flags: flagBlocks})
	add(namesSession, spec{flags: flagSession})
	add(namesServer, spec{flags: flagRead})
	add(namesAdmin, spec{})
	add(namesNodes, spec{flags: flagNodes})
	all["MSETNX"] = &spec{first: 1, last: -1, step: 2}
	for _, name := range []string{"DBSIZE", "KEYS", "RANDOMKEY", "SCAN"} {
		all[name] = &spec{flags: flagNodes | flagRead}
	}
	return all
}

// wipes tells whether a command changes keys without naming any.
func wipes(args []string) bool {
	switch strings.ToUpper(args[0]) {
	case "FLUSHALL", "FLUSHDB", "SWAPDB":
		return true
	}
	return false
}

// firstKey returns the place of the first key in a command line, or 0 where it has none.
func (s *spec) firstKey(args []string) int {
	switch {
	case s.first > 0:
		if int(s.first) < len(args) {
			return int(s.first)
		}
	case s.count > 0:
		if n := s.counted(args); n > 0 {
			return int(s.count) + 1
		}
	case s.is(flagStreams):
		first, n := streams(args)
		if n > 0 {
			return first
		}
	}
	return 0
}

// eachKey calls f with the place of each key that the command line tells.
func (s *spec) eachKey(args []string, f func(i int)) {
	if s.first > 0 {
		last := int(s.last)
		if last < 0 {
			last += len(args)
		}
		for i := int(s.first); i <= min(last, len(args)-1); i += int(s.step) {
			f(i)
		}
	}
	for i := range s.counted(args) {
		f(int(s.count) + 1 + i)
	}
	if s.is(flagStreams) {
		first, n := streams(args)
		for i := range n {
			f(first + i)
		}
	}
}

// counted returns how many keys follow their number.
func (s *spec) counted(args []string) int {
	if s.count == 0 || int(s.count) >= len(args) {
		return 0
	}
	n, err := strconv.Atoi(args[s.count])
	if err != nil || n < 0 || n > len(args)-1-int(s.count) {
		return 0
	}
	return n
}

// streams returns where the keys behind STREAMS begin, and how many there are.
func streams(args []string) (first, n int) {
	for i, arg := range args {
		if strings.EqualFold(arg, "STREAMS") {
			return i + 1, (len(args) - i - 1) / 2
		}
	}
	return 0, 0
}

// slotOf returns the slot of a command line's first key, or -1 where it has none.
func (s *spec) slotOf(args []string) int {
	if i := s.firstKey(args); i > 0 {
		return Slot(args[i])
	}
	return -1
}

// shared tells whether a command may go over a connection that others use, and why not.
func (s *spec) shared(args []string) error {
	name := strings.ToUpper(args[0])
	if s.is(flagSession) {
		return &RefusedError{Command: name, Advice: sessionAdvice(name)}
	}
	if name == "CLIENT" && len(args) > 1 {
		switch strings.ToUpper(args[1]) {
		case "REPLY", "TRACKING", "CACHING", "SETNAME", "SETINFO":
			return &RefusedError{Command: name + " " + strings.ToUpper(args[1]), Advice: "it would change a connection that all goroutines share; see Options"}
		}
	}
	return nil
}

func sessionAdvice(name string) string {
	switch name {
	case "MULTI", "EXEC", "DISCARD":
		return "use Client.Multi"
	case "WATCH", "UNWATCH":
		return "use Client.Watch"
	case "AUTH", "HELLO", "SELECT":
		return "set Username, Password or DB in Options"
	case "WAIT":
		return "it counts the writes of one connection; use Session.Do in Client.Watch"
	}
	return "it would change a connection that all goroutines share"
}

// RefusedError is a command that this client does not send. Nothing was sent.
type RefusedError struct {
	Command string
	Advice  string // what to do instead
}

func (e *RefusedError) Error() string { return "neargrid: " + e.Command + " is not sent: " + e.Advice }
