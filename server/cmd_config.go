package server

import (
	"strings"

	"github.com/neargrid/neargrid/protocol"
)

// configRows is CONFIG. What the names mean stands in config.go.
var configRows = []*Row{
	{Name: "config", Arity: -2, Group: "server", Since: "2.0.0", Summary: "Reads and changes the server's settings.",
		Subs: []*Row{
			{Name: "get", Arity: -3, Flags: Admin | NoScript | Loading | Stale, Group: "server", Since: "2.0.0",
				Complexity: "O(N)",
				Summary:    "Returns settings whose names match.", Syntax: "{parameter} [...]", Run: cmdConfigGet},
			{Name: "help", Arity: 2, Flags: Loading | Stale, Group: "server", Since: "5.0.0",
				Complexity: "O(1)", Summary: "Explains the subcommands.", Run: cmdConfigHelp},
			{Name: "resetstat", Scope: ScopeEach, Arity: 2, Flags: Admin | NoScript | Loading | Stale, Group: "server", Since: "2.0.0",
				Complexity: "O(1)", Summary: "Sets the statistics of INFO to zero.", Run: cmdConfigResetStat},
			{Name: "rewrite", Arity: 2, Flags: Admin | NoScript | Loading | Stale, Group: "server", Since: "2.8.0",
				Complexity: "O(1)", Summary: "Writes the settings to the configuration file.", Run: cmdConfigRewrite},
			{Name: "set", Arity: -4, Flags: Admin | NoScript | Loading | Stale, Group: "server", Since: "2.0.0",
				Tips:       []string{"request_policy:all_nodes", "response_policy:all_succeeded"},
				Complexity: "O(N)",
				Summary:    "Changes settings, all of them or none.", Syntax: "parameter value [parameter value ...]", Run: cmdConfigSet},
		}},
}

func cmdConfigGet(c *Call) {
	patterns := make([]string, 0, len(c.Args)-2)
	for _, arg := range c.Args[2:] {
		patterns = append(patterns, string(arg))
	}
	found := c.srv.config.Get(patterns...)
	c.W.Map(len(found))
	for _, pair := range found {
		if c.s.info.Cluster && strings.EqualFold(pair[0], "cluster-enabled") {
			pair[1] = "yes" // as INFO says at this door
		}
		c.W.BulkString(pair[0])
		c.W.BulkString(pair[1])
	}
}

func cmdConfigSet(c *Call) {
	if len(c.Args)%2 != 0 {
		c.W.Error(protocol.ErrSyntax)
		return
	}
	pairs := make([][2]string, 0, len(c.Args)/2-1)
	for i := 2; i < len(c.Args); i += 2 {
		name := string(c.Args[i])
		pairs = append(pairs, [2]string{name, string(c.Args[i+1])})
		if isSecret(name) {
			c.Args[i+1] = redacted // the slow log reads the arguments afterwards
		}
	}
	if err := c.srv.config.Set(pairs); err != nil {
		c.W.Error(err.Error())
		return
	}
	c.W.OK()
}

// redacted stands in logs where a secret stood.
var redacted = []byte("(redacted)")

func cmdConfigResetStat(c *Call) {
	c.Tx.ResetStats()
	c.srv.resetStats()
	c.W.OK()
}

// resetStats sets the counters of INFO to zero that do not belong to the store.
func (srv *Server) resetStats() {
	for _, row := range table {
		row.stats.reset()
	}
	for _, row := range subTable {
		row.stats.reset()
	}
	srv.stats.connections.Store(0)
	srv.stats.rejected.Store(0)
	srv.stats.protocolErrors.Store(0)
	srv.stats.bytesIn.Store(0)
	srv.stats.bytesOut.Store(0)
	srv.stats.expireNanos.Store(0)
	srv.stats.expireCapped.Store(0)
	srv.stats.exceeded.reset(srv.clock())
	srv.stats.releasedBefore.Store(srv.store.Released())
	srv.resetTraffic()
	srv.stats.mu.Lock()
	clear(srv.stats.mu.errors)
	srv.stats.mu.Unlock()
}

// cmdConfigRewrite refuses: what is set lasts as long as the process. The file of --config is read once and belongs to whoever wrote it.
// It holds flags beside names of CONFIG, flags and the environment win over it, and several nodes may have the same one: what this
// node would write there need not be what it, or another, would start with.
func cmdConfigRewrite(c *Call) {
	if file := c.srv.options.ConfigFile; file != "" {
		c.W.Error(sanitize("ERR Rewriting config file: a node never writes to it. Put what is to stay into " + file + " by hand"))
		return
	}
	c.W.Error("ERR The server is running without a config file")
}

func cmdConfigHelp(c *Call) { c.help() }
