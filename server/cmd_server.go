package server

import (
	"fmt"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

var serverRows = []*Row{
	{Name: "time", Arity: 1, Flags: Loading | Stale | Fast, Group: "server",
		Tips: []string{"nondeterministic_output"}, Since: "2.6.0", Complexity: "O(1)",
		Summary: "Returns the server's time.", Run: cmdTime},
	{Name: "lastsave", Arity: 1, Flags: Loading | Stale | Fast, ACL: CatAdmin | CatDangerous, Group: "server",
		Tips: []string{"nondeterministic_output"}, Since: "1.0.0", Complexity: "O(1)",
		Summary: "Returns when the data were last saved.", Run: cmdLastSave},
	{Name: "shutdown", Arity: -1, Flags: Admin | NoScript | Loading | Stale | NoMulti | AllowBusy, Group: "server",
		Since: "1.0.0", Complexity: "O(N)",
		Summary: "Stops the server.",
		Syntax:  "[NOSAVE | SAVE] [NOW] [FORCE] [ABORT]", Run: cmdShutdown},
	{Name: "debug", OffLoop: true, Scope: ScopeEach, Arity: -2, Flags: Admin | NoScript | Loading | Stale, Group: "server",
		Since:   "1.0.0",
		Summary: "Helpers for tests and for looking inside.", Run: cmdDebug},
}

func cmdTime(c *Call) {
	us := time.Now().UnixMicro()
	c.W.Array(2)
	c.W.BulkString(fmt.Sprint(us / 1e6))
	c.W.BulkString(fmt.Sprint(us % 1e6))
}

// cmdLastSave answers when the server started: nothing has been saved since, as there is nothing that saves.
func cmdLastSave(c *Call) { c.W.Int(c.srv.started.Unix()) }

// cmdShutdown stops the server. There is nothing to save to: SAVE is refused, NOSAVE is what happens anyway.
func cmdShutdown(c *Call) {
	var save, noSave, now, force, abort bool
	for _, arg := range c.Args[1:] {
		switch {
		case is(arg, "save"):
			save = true
		case is(arg, "nosave"):
			noSave = true
		case is(arg, "now"):
			now = true
		case is(arg, "force"):
			force = true
		case is(arg, "abort"):
			abort = true
		default:
			c.W.Error(protocol.ErrSyntax)
			return
		}
	}
	switch {
	case abort && (save || noSave || now || force) || save && noSave:
		c.W.Error(protocol.ErrSyntax)
	case abort:
		c.W.Error("ERR No shutdown in progress.")
	case save && !force:
		c.W.Error("ERR Errors trying to SHUTDOWN. Check logs.")
		c.srv.log.Warn("SHUTDOWN SAVE refused: this node does not write data to disk; use SHUTDOWN NOSAVE")
	default:
		c.srv.log.Info("SHUTDOWN called", "client", c.s.info.Remote)
		c.s.closing = true
		c.srv.requestStop()
	}
}

const errDebugOff = "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server."

// debugSleepMax bounds DEBUG SLEEP.
const debugSleepMax = time.Hour

// cmdDebug has the helpers that tests use; it is off unless the server is started with them.
func cmdDebug(c *Call) {
	if !c.srv.options.DebugCommand {
		c.W.Error(errDebugOff)
		return
	}
	switch {
	case len(c.Args) == 3 && is(c.Args[1], "sleep"):
		s, ok := c.floatArg(2)
		if !ok {
			return
		}
		time.Sleep(min(time.Duration(s*float64(time.Second)), debugSleepMax))
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

func (c *Call) debugObject() {
	key := c.Args[2]
	found := false
	c.Tx.With(key, func() {
		v, ok := c.Tx.Peek(key)
		if found = ok; ok {
			c.W.Simple(fmt.Sprintf("Value at:%#x refcount:1 encoding:%s serializedlength:%d lru:0 lru_seconds_idle:%d",
				c.srv.store.PartitionOf(key), v.Encoding(), v.Bytes(), v.IdleSeconds(c.Tx.Now)))
		}
	})
	if !found {
		c.W.Error(protocol.ErrNoSuchKey)
	}
}

// debugMap describes how the memory of each partition is used.
func (c *Call) debugMap() {
	lines := c.Tx.Describe()
	c.W.Array(len(lines))
	for _, line := range lines {
		c.W.BulkString(line)
	}
}
