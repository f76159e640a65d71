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
