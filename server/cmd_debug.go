package server

import (
	"fmt"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

var debugRows = []*Row{
	{Name: "debug", OffLoop: true, Scope: ScopeEach, Arity: -2, Flags: Admin | NoScript | Loading | Stale, Group: "server",
		Since:   "1.0.0",
		Summary: "Helpers for tests and for looking inside.", Run: cmdDebug},
}

const errDebugOff = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server."

// debugSleepMax bounds DEBUG SLEEP.
const debugSleepMax = time.Hour

// cmdDebug has the helpers that tests use. They are for whom enable-debug-command lets in.
func cmdDebug(c *Call) {
	if !c.mayDebug() {
		c.W.Error(errDebugOff)
		return
	}
	switch {
	case len(c.Args) == 2 && is(c.Args[1], "help"):
		c.debugHelp()
	case len(c.Args) == 3 && is(c.Args[1], "sleep"):
		s, ok := c.floatArg(2)
		if !ok {
			return
		}
		time.Sleep(time.Duration(min(s, debugSleepMax.Seconds()) * float64(time.Second)))
		c.W.OK()
	case len(c.Args) == 3 && is(c.Args[1], "object"):
		c.debugObject()
	case len(c.Args) == 2 && is(c.Args[1], "jmap"):
		c.debugMap()
	case len(c.Args) == 2 && is(c.Args[1], "compact"):
		c.Tx.CompactAll()
		c.W.OK()
	default:
		c.W.Error("ERR unknown subcommand or wrong number of arguments for '" + string(clip(c.Args[1], 128)) + "'. Try DEBUG HELP.")
	}
}

// mayDebug tells whether the client is one that enable-debug-command lets in. What comes from another node, inside of a
// transaction, has no address here and is not local.
func (c *Call) mayDebug() bool {
	switch c.srv.config.debug {
	case debugOn:
		return true
	case debugLocal:
		return c.s.info.Unix || c.s.info.Remote != "" && IsLoopback(c.s.info.Remote)
	}
	return false
}

func (c *Call) debugHelp() {
	lines := []string{
		"DEBUG <subcommand> [<arg> ...]. Subcommands are:",
		"COMPACT", "    Moves the live records of all partitions together, as compaction does bit by bit.",
		"JMAP", "    Describes how the memory of each partition is used.",
		"OBJECT key", "    Describes the value of a key.",
		"SLEEP seconds", "    Answers after so many seconds. Other clients are served meanwhile.",
		"HELP", "    Prints this.",
	}
	c.W.Array(len(lines))
	for _, line := range lines {
		c.W.Simple(line)
	}
}

func (c *Call) debugObject() {
	key := c.Args[2]
	found := false
	c.Tx.With(key, func() {
		v, ok := c.Tx.Peek(key)
		if found = ok; ok {
			idle := v.IdleSeconds(c.Tx.Now)
			c.W.Simple(fmt.Sprintf("Value at:%#x refcount:1 encoding:%s serializedlength:%d lru:%d lru_seconds_idle:%d",
				c.srv.store.PartitionOf(key), v.Encoding(), v.Bytes(), lruClock(c.Tx.Now-1000*idle), idle))
		}
	})
	if !found {
		c.W.Error(protocol.ErrNoSuchKey)
	}
}

// lruClock is the time in ms since 1970 as Redis's 24 bits of seconds.
func lruClock(ms int64) int64 { return ms / 1000 & (1<<24 - 1) }

// debugMap describes how the memory of each partition is used.
func (c *Call) debugMap() {
	lines := c.Tx.Describe()
	c.W.Array(len(lines))
	for _, line := range lines {
		c.W.BulkString(line)
	}
}
