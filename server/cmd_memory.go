package server

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

var memoryRows = []*Row{
	{Name: "memory", Arity: -2, Group: "server",
		Since:   "4.0.0",
		Summary: "Commands about memory.",
		Subs: []*Row{
			{Name: "doctor", Scope: ScopeEach, Arity: 2, Group: "server",
				Tips: []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}, Since: "4.0.0", Complexity: "O(1)",
				Summary: "Explains how memory is used.", Run: cmdMemoryDoctor},
			{Name: "help", Arity: 2, Flags: Loading | Stale, Group: "server",
				Since: "4.0.0", Complexity: "O(1)",
				Summary: "Lists the subcommands of MEMORY.", Run: cmdMemoryHelp},
			{Name: "malloc-stats", Arity: 2, Group: "server",
				Tips: []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}, Since: "4.0.0",
				Summary: "Describes the allocator's state.", Run: cmdMemoryMallocStats},
			{Name: "purge", OffLoop: true, Arity: 2, Group: "server",
				Tips: []string{"request_policy:all_shards", "response_policy:all_succeeded"}, Since: "4.0.0",
				Summary: "Returns free memory to the operating system.", Run: cmdMemoryPurge},
			{Name: "stats", Scope: ScopeEach, Arity: 2, Group: "server",
				Tips: []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}, Since: "4.0.0", Complexity: "O(1)",
				Summary: "Returns figures on how memory is used.", Run: cmdMemoryStats},
			{Name: "usage", Arity: -3, Flags: ReadOnly, Group: "server",
				Keys: keys(2, 2, 1, RO), Since: "4.0.0", Complexity: "O(N)",
				Summary: "Returns the bytes a key takes.",
				Syntax:  "key [SAMPLES count]", Run: cmdMemoryUsage},
		}},
}

func cmdMemoryHelp(c *Call) { c.help() }

// cmdMemoryUsage answers a key's exact size: SAMPLES is checked, there is nothing to estimate.
func cmdMemoryUsage(c *Call) {
	for i := 3; i < len(c.Args); i += 2 {
		if !is(c.Args[i], "samples") || i+1 == len(c.Args) {
			c.W.Error(protocol.ErrSyntax)
			return
		}
		n, ok := c.intArg(i + 1)
		if !ok {
			return
		}
		if n < 0 {
			c.W.Error(protocol.ErrSyntax)
			return
		}
	}
	v, ok := c.Tx.Peek(c.Args[2])
	if !ok {
		c.W.Null()
		return
	}
	c.W.Int(int64(v.Bytes()))
}

// memoryFigures are what INFO and MEMORY STATS tell, in bytes.
type memoryFigures struct {
	used, startup, peak int64 // what maxmemory counts: live data, index, Go heap
	space, dead         int64 // outside the Go heap: allocated, and dead records in it
	goHeap, rss, total  int64
	clients             int64
	keys                int64
}

func (c *Call) memoryFigures() (m memoryFigures) {
	srv := c.srv
	m.used, m.startup, m.peak = srv.usedMemory(), srv.startupMemory.Load(), srv.peakMemory.Load()
	m.peak = max(m.peak, m.used)
	m.space, m.dead = srv.store.Space.Used(), srv.store.Space.Used()-srv.store.Space.Live()
	m.goHeap = goHeapLive.Load()
	m.rss, m.total = processRSS(), systemMemory()
	srv.sessions.Lock()
	m.clients = int64(len(srv.sessions.byID)) * sessionBytes
	srv.sessions.Unlock()
	for db := range partition.Databases {
		m.keys += int64(c.Tx.Len(db))
	}
	return m
}

func (m memoryFigures) dataset() int64 { return max(0, m.used-m.startup-m.clients) }

func ratio(a, b int64) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func cmdMemoryStats(c *Call) {
	m := c.memoryFigures()
	type figure struct {
		name  string
		value any
	}
	figures := []figure{
		{"peak.allocated", m.peak}, {"total.allocated", m.used}, {"startup.allocated", m.startup},
		{"replication.backlog", int64(0)}, {"clients.slaves", int64(0)}, {"clients.normal", m.clients},
		{"cluster.links", int64(0)}, {"aof.buffer", int64(0)}, {"lua.caches", int64(0)}, {"functions.caches", int64(0)},
		{"overhead.total", m.startup + m.clients}, {"keys.count", m.keys},
		{"keys.bytes-per-key", int64(ratio(m.used-m.startup, m.keys))}, {"dataset.bytes", m.dataset()},
		{"dataset.percentage", 100 * ratio(m.dataset(), m.used-m.startup)}, {"peak.percentage", 100 * ratio(m.used, m.peak)},
		{"allocator.allocated", m.space - m.dead}, {"allocator.active", m.space}, {"allocator.resident", m.space},
		{"allocator-fragmentation.ratio", ratio(m.space, m.space-m.dead)}, {"allocator-fragmentation.bytes", m.dead},
		{"allocator-rss.ratio", 1.0}, {"allocator-rss.bytes", int64(0)},
		{"rss-overhead.ratio", ratio(m.rss, m.space)}, {"rss-overhead.bytes", m.rss - m.space},
		{"fragmentation", ratio(m.rss, m.used)}, {"fragmentation.bytes", m.rss - m.used},
	}
	c.W.Map(len(figures))
	for _, f := range figures {
		c.W.BulkString(f.name)
		switch v := f.value.(type) {
		case int64:
			c.W.Int(v)
		case float64:
			c.W.Double(v)
		}
	}
}

func cmdMemoryDoctor(c *Call) {
	m := c.memoryFigures()
	var b strings.Builder
	if m.used < doctorMinBytes {
		b.WriteString("There is too little data to say anything of use.\n")
	} else {
		if ratio(m.peak, m.used) > 1.5 {
			fmt.Fprintf(&b, "The peak was %.1f times what is used now: the system may still count the difference as ours.\n", ratio(m.peak, m.used))
		}
		if ratio(m.space, m.space-m.dead) > 1.25 {
			fmt.Fprintf(&b, "%d bytes of deleted records wait for compaction, which runs with every write.\n", m.dead)
		}
		if ratio(m.goHeap, m.used) > 0.5 {
			b.WriteString("More than half is the Go heap: connections and their buffers, not data.\n")
		}
		if b.Len() == 0 {
			b.WriteString("Nothing unusual was found.\n")
		}
	}
	c.W.Verbatim([]byte(b.String()), "txt")
}

// doctorMinBytes: below it ratios say nothing.
const doctorMinBytes = 5 << 20

func cmdMemoryMallocStats(c *Call) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s := c.srv.store.Space
	c.W.Verbatim(fmt.Appendf(nil, "space: %d bytes allocated, %d live\ngo heap: %d in use, %d idle, %d released, %d collections\n",
		s.Used(), s.Live(), m.HeapInuse, m.HeapIdle, m.HeapReleased, m.NumGC), "txt")
}

func cmdMemoryPurge(c *Call) {
	c.srv.store.Space.PurgeAll()
	debug.FreeOSMemory()
	c.W.OK()
}
