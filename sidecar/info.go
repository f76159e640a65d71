package sidecar

import (
	"fmt"
	"strconv"
	"strings"
	"unsafe"

	"github.com/neargrid/neargrid/client"
)

// info is INFO's section Nearcache.
func (s *Sidecar) info(c *client.Client) string {
	var b strings.Builder
	put := func(name string, value any) { fmt.Fprintf(&b, "%s:%v\r\n", name, value) }
	if c == nil {
		put("grid_state", "waiting")
		put("grid_error", s.Waiting())
		put("grid_join", list(s.options.Join))
		return b.String()
	}
	connected := c.Connected()
	state := "connected"
	if len(connected) == 0 {
		state = "away"
	}
	put("grid_state", state)
	put("grid_nodes", len(c.Nodes()))
	put("grid_nodes_connected", len(connected))
	stats, _ := c.NearStats()
	rate := 0.0
	if all := stats.Hits + stats.Misses(); all > 0 {
		rate = float64(stats.Hits) / float64(all)
	}
	put("near_hits", stats.Hits)
	put("near_misses", stats.Misses())
	put("near_hit_rate", strconv.FormatFloat(rate, 'f', 4, 64))
	put("near_misses_absent", stats.MissesAbsent)
	put("near_misses_invalidated", stats.MissesGeneration)
	put("near_misses_partition", stats.MissesPartition)
	put("near_misses_expired", stats.MissesExpired)
	put("near_misses_lease", stats.MissesLease)
	put("near_entries", stats.Items)
	put("near_bytes", stats.Bytes)
	put("near_evictions", stats.Evictions)
	put("near_invalidations", stats.Invalidations)
	put("near_age_bound_ms", s.staleness().Milliseconds())
	put("near_lease_left_ms", s.NearLeft().Milliseconds())
	_, prefixes := s.srv.NearCasts()
	put("bcast_prefixes", len(prefixes))
	put("bcast_lease_left_ms", s.CastLeft().Milliseconds())
	return b.String()
}

// words are arguments as strings, which are the bytes: they must not change.
func words(args [][]byte) []string {
	line := make([]string, len(args))
	for i, arg := range args {
		line[i] = unsafe.String(unsafe.SliceData(arg), len(arg))
	}
	return line
}

func list(addrs []string) string { return strings.Join(addrs, ",") }

func itoa(n int) string { return strconv.Itoa(n) }

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
