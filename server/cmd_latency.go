package server

import (
	"fmt"
	"slices"
	"strings"

	"github.com/neargrid/neargrid/protocol"
)

var latencyRows = []*Row{
	{Name: "latency", Arity: -2, Group: "server",
		Since:   "2.8.13",
		Summary: "Commands about latency.",
		Subs: []*Row{
			{Name: "doctor", Arity: 2, Flags: Admin | NoScript | Loading | Stale, Group: "server",
				Tips: []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"}, Since: "2.8.13", Complexity: "O(1)",
				Summary: "Explains the latency events seen.", Run: cmdLatencyDoctor},
			{Name: "graph", Arity: 3, Flags: Admin | NoScript | Loading | Stale, Group: "server",
				Tips: []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"}, Since: "2.8.13", Complexity: "O(1)",
				Summary: "Draws an event's latencies.",
				Syntax:  "event", Run: cmdLatencyGraph},
			{Name: "help", Arity: 2, Flags: Loading | Stale, Group: "server",
				Since: "2.8.13", Complexity: "O(1)",
				Summary: "Lists the subcommands of LATENCY.", Run: cmdLatencyHelp},
			{Name: "histogram", Arity: -2, Flags: Admin | NoScript | Loading | Stale, Group: "server",
				Tips: []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"}, Since: "7.0.0", Complexity: "O(N)",
				Summary: "Returns how long commands took, in buckets.",
				Syntax:  "[command [command ...]]", Run: cmdLatencyHistogram},
			{Name: "history", Arity: 3, Flags: Admin | NoScript | Loading | Stale, Group: "server",
				Tips: []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"}, Since: "2.8.13", Complexity: "O(1)",
				Summary: "Returns an event's latest latencies.",
				Syntax:  "event", Run: cmdLatencyHistory},
			{Name: "latest", Arity: 2, Flags: Admin | NoScript | Loading | Stale, Group: "server",
				Tips: []string{"nondeterministic_output", "request_policy:all_nodes", "response_policy:special"}, Since: "2.8.13", Complexity: "O(1)",
				Summary: "Returns the latest latency of every event.", Run: cmdLatencyLatest},
			{Name: "reset", Arity: -2, Flags: Admin | NoScript | Loading | Stale, Group: "server",
				Tips: []string{"request_policy:all_nodes", "response_policy:all_succeeded"}, Since: "2.8.13", Complexity: "O(1)",
				Summary: "Forgets latency events.",
				Syntax:  "[event [event ...]]", Run: cmdLatencyReset},
		}},
}

func cmdLatencyHelp(c *Call) { c.help() }

func cmdLatencyLatest(c *Call) {
	m := &c.srv.latency
	m.Lock()
	defer m.Unlock()
	names := m.namesLocked()
	c.W.Array(len(names))
	for _, name := range names {
		e := m.events[name]
		last := e.samples[len(e.samples)-1]
		c.W.Array(4)
		c.W.BulkString(name)
		c.W.Int(last.at.Unix())
		c.W.Int(last.ms)
		c.W.Int(e.max)
	}
}

func cmdLatencyHistory(c *Call) {
	m := &c.srv.latency
	m.Lock()
	defer m.Unlock()
	e := m.events[string(c.Args[2])]
	if e == nil {
		c.W.Array(0)
		return
	}
	c.W.Array(len(e.samples))
	for _, s := range e.samples {
		c.W.Array(2)
		c.W.Int(s.at.Unix())
		c.W.Int(s.ms)
	}
}

func cmdLatencyReset(c *Call) {
	m := &c.srv.latency
	m.Lock()
	defer m.Unlock()
	n := 0
	names := m.namesLocked()
	if len(c.Args) > 2 {
		names = nil
		for _, arg := range c.Args[2:] {
			names = append(names, string(arg))
		}
	}
	for _, name := range names {
		if m.events[name] != nil {
			delete(m.events, name)
			n++
		}
	}
	c.W.Int(int64(n))
}

// cmdLatencyGraph draws one column a sample, scaled between the event's lowest and highest.
func cmdLatencyGraph(c *Call) {
	m := &c.srv.latency
	m.Lock()
	defer m.Unlock()
	name := string(c.Args[2])
	e := m.events[name]
	if e == nil {
		c.W.Error("ERR No samples available for event '" + untilNUL(c.Args[2]) + "'")
		return
	}
	low, high := e.samples[0].ms, e.samples[0].ms
	for _, s := range e.samples {
		low, high = min(low, s.ms), max(high, s.ms)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s - high %d ms, low %d ms (all time high %d ms)\n", name, high, low, e.max)
	b.WriteString(strings.Repeat("-", 80) + "\n")
	const rows = 4
	for row := rows - 1; row >= 0; row-- {
		for _, s := range e.samples {
			level := 0
			if high > low {
				level = int((s.ms - low) * rows / (high - low + 1))
			}
			switch {
			case level == row:
				b.WriteByte('#')
			case level > row:
				b.WriteByte('|')
			default:
				b.WriteByte(' ')
			}
		}
		b.WriteByte('\n')
	}
	c.W.Verbatim([]byte(b.String()), "txt")
}

func cmdLatencyDoctor(c *Call) {
	m := &c.srv.latency
	m.Lock()
	defer m.Unlock()
	var b strings.Builder
	switch names := m.namesLocked(); {
	case len(names) == 0 && c.srv.config.LatencyMonitorThreshold.Load() == 0:
		b.WriteString("Latency monitoring is off. Turn it on with CONFIG SET latency-monitor-threshold <milliseconds>.\n")
	case len(names) == 0:
		b.WriteString("No latency event was seen since the last LATENCY RESET.\n")
	default:
		for _, name := range names {
			e := m.events[name]
			sum := int64(0)
			for _, s := range e.samples {
				sum += s.ms
			}
			fmt.Fprintf(&b, "%s: %d events kept, %d ms on average, %d ms at worst. %s\n",
				name, len(e.samples), sum/int64(len(e.samples)), e.max, latencyAdvice[name])
		}
	}
	c.W.Verbatim([]byte(b.String()), "txt")
}

// latencyAdvice says of each event what to look at.
var latencyAdvice = map[string]string{
	eventCommand:       "See SLOWLOG GET for the commands that took long.",
	eventFastCommand:   "Commands that do little took long: look for other load on the machine.",
	eventExpireCycle:   "Many keys expired at once: spread their times to live.",
	eventEvictionCycle: "Many keys were evicted at once: raise maxmemory or write less.",
}

// cmdLatencyHistogram answers, for each command that was called, how many calls took at most so many microseconds.
func cmdLatencyHistogram(c *Call) {
	var rows []*Row
	if len(c.Args) == 2 {
		rows = calledRows()
	}
	for _, arg := range c.Args[2:] {
		row := lookupName(string(arg))
		if row == nil {
			continue
		}
		for _, r := range append([]*Row{row}, row.Subs...) {
			if r.stats.latency.buckets.Load() != nil && !slices.Contains(rows, r) {
				rows = append(rows, r)
			}
		}
	}
	rows = slices.DeleteFunc(rows, func(r *Row) bool { return r.stats.latency.buckets.Load() == nil })
	c.W.Map(len(rows))
	for _, r := range rows {
		c.W.BulkString(r.fullName())
		r.stats.latency.reply(c.W)
	}
}

// reply writes the histogram as LATENCY HISTOGRAM does: cumulated, by powers of two of microseconds.
func (h *histogram) reply(w *protocol.Writer) {
	type bucket struct {
		us    uint64
		count int64
	}
	var buckets []bucket
	total := int64(0)
	h.each(func(us uint64, n int64) {
		total += n
		top := uint64(1)
		for top < us {
			top *= 2
		}
		if len(buckets) > 0 && buckets[len(buckets)-1].us == top {
			buckets[len(buckets)-1].count = total
			return
		}
		buckets = append(buckets, bucket{top, total})
	})
	w.Map(2)
	w.BulkString("calls")
	w.Int(total)
	w.BulkString("histogram_usec")
	w.Map(len(buckets))
	for _, b := range buckets {
		w.Int(int64(b.us))
		w.Int(b.count)
	}
}

// calledRows are the commands that were called, by name.
func calledRows() (rows []*Row) {
	each := func(r *Row) {
		if r.stats.calls.Load()+r.stats.rejected.Load() > 0 {
			rows = append(rows, r)
		}
	}
	for _, r := range table {
		each(r)
		for _, sub := range r.Subs {
			each(sub)
		}
	}
	slices.SortFunc(rows, func(a, b *Row) int { return strings.Compare(a.fullName(), b.fullName()) })
	return rows
}
