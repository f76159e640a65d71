package server

import (
	"math"

	"github.com/neargrid/neargrid/protocol"
)

var slowlogRows = []*Row{
	{Name: "slowlog", Arity: -2, Group: "server",
		Since:   "2.2.12",
		Summary: "Commands about slow commands.",
		Subs: []*Row{
			{Name: "get", Arity: -2, Flags: Admin | Loading | Stale, Group: "server",
				Tips: []string{"request_policy:all_nodes", "nondeterministic_output"}, Since: "2.2.12", Complexity: "O(N)",
				Summary: "Returns the latest slow commands.",
				Syntax:  "[count]", Run: cmdSlowlogGet},
			{Name: "help", Arity: 2, Flags: Loading | Stale, Group: "server",
				Since: "6.2.0", Complexity: "O(1)",
				Summary: "Lists the subcommands of SLOWLOG.", Run: cmdSlowlogHelp},
			{Name: "len", Arity: 2, Flags: Admin | Loading | Stale, Group: "server",
				Tips: []string{"request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"}, Since: "2.2.12", Complexity: "O(1)",
				Summary: "Counts the entries of the slow log.", Run: cmdSlowlogLen},
			{Name: "reset", Arity: 2, Flags: Admin | Loading | Stale, Group: "server",
				Tips: []string{"request_policy:all_nodes", "response_policy:all_succeeded"}, Since: "2.2.12", Complexity: "O(N)",
				Summary: "Empties the slow log.", Run: cmdSlowlogReset},
		}},
}

func cmdSlowlogHelp(c *Call) { c.help() }

const slowlogGetDefault = 10

func cmdSlowlogGet(c *Call) {
	count := int64(slowlogGetDefault)
	if len(c.Args) > 3 {
		c.W.Error(unknownSubcommand(c.Row))
		return
	}
	if len(c.Args) == 3 {
		var ok bool
		if count, ok = protocol.ParseInt(c.Args[2]); !ok || count < -1 {
			c.W.Error("ERR count should be greater than or equal to -1")
			return
		}
		if count == -1 {
			count = math.MaxInt64
		}
	}
	log := &c.srv.slow
	log.Lock()
	defer log.Unlock()
	n := int(min(count, int64(len(log.entries))))
	c.W.Array(n)
	for i := range n {
		e := log.entries[len(log.entries)-1-i]
		c.W.Array(6)
		c.W.Int(e.id)
		c.W.Int(e.at.Unix())
		c.W.Int(e.took.Microseconds())
		c.W.Array(len(e.args))
		for _, arg := range e.args {
			c.W.BulkString(arg)
		}
		c.W.BulkString(e.addr)
		c.W.BulkString(e.name)
	}
}

func cmdSlowlogLen(c *Call) {
	log := &c.srv.slow
	log.Lock()
	defer log.Unlock()
	c.W.Int(int64(len(log.entries)))
}

func cmdSlowlogReset(c *Call) {
	log := &c.srv.slow
	log.Lock()
	defer log.Unlock()
	log.entries = nil
	c.W.OK()
}
