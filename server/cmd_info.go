package server

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/neargrid/neargrid/partition"
)

var infoRows = []*Row{
	{Name: "info", Arity: -1, Flags: Loading | Stale, ACL: CatDangerous, Group: "server", Scope: ScopeEach,
		Tips: []string{"nondeterministic_output", "request_policy:all_shards", "response_policy:special"}, Since: "1.0.0",
		Complexity: "O(1)", Summary: "Describes the server and its statistics.", Syntax: "[section [section ...]]", Run: cmdInfo},
}

// infoSections are in INFO's order; those that are not standard are shown when asked for by name, or with "all".
var infoSections = []infoSection{
	{"server", true, infoServer},
	{"clients", true, infoClients},
	{"memory", true, infoMemory},
	{"persistence", true, infoPersistence},
	{"stats", true, infoStats},
	{"replication", true, infoReplication},
	{"cpu", true, infoCPU},
	{"modules", true, func(*Call, *infoWriter) {}},
	{"commandstats", false, infoCommandStats},
	{"errorstats", true, infoErrorStats},
	{"latencystats", false, infoLatencyStats},
	{"cluster", true, infoCluster},
	{"keyspace", true, infoKeyspace},
	{"neargrid", true, infoNeargrid},
	{"grid", true, infoGrid},
	{"nearcache", true, infoGrid}, // of a sidecar, in place of it
}

type infoSection struct {
	name     string
	standard bool
	write    func(c *Call, w *infoWriter)
}

func (s infoSection) title() string {
	if s.name == "cpu" {
		return "CPU"
	}
	return upper(s.name[:1]) + s.name[1:]
}

// infoWriter gathers "name:value" lines.
type infoWriter struct{ strings.Builder }

func (w *infoWriter) put(name string, value any) { fmt.Fprintf(w, "%s:%v\r\n", name, value) }

// bytes puts a size twice, as a number and for people.
func (w *infoWriter) bytes(name string, n int64) {
	w.put(name, n)
	w.put(name+"_human", humanBytes(n))
}

func humanBytes(n int64) string {
	f := float64(n)
	for _, unit := range []string{"B", "K", "M", "G"} {
		if f < 1024 || unit == "G" {
			if unit == "B" {
				return fmt.Sprintf("%dB", n)
			}
			return fmt.Sprintf("%.2f%s", f, unit)
		}
		f /= 1024
	}
	return ""
}

func cmdInfo(c *Call) {
	wanted := map[string]bool{}
	standard, all := len(c.Args) == 1, false
	for _, arg := range c.Args[1:] {
		switch name := lowerString(string(arg)); name {
		case "default":
			standard = true
		case "all", "everything":
			all = true
		default:
			wanted[name] = true
		}
	}
	var w infoWriter
	for _, s := range infoSections {
		if !all && !wanted[s.name] && !(standard && s.standard) {
			continue
		}
		if s.name == "grid" && (c.srv.router == nil || c.srv.upstream != nil) || s.name == "nearcache" && c.srv.upstream == nil {
			continue
		}
		if w.Len() > 0 {
			w.WriteString("\r\n")
		}
		w.WriteString("# " + s.title() + "\r\n")
		s.write(c, &w)
	}
	c.W.Verbatim([]byte(w.String()), "txt")
}

func infoServer(c *Call, w *infoWriter) {
	up := int64(c.srv.clock() / time.Second)
	w.put("redis_version", redisVersion)
	w.put("redis_git_sha1", "00000000")
	w.put("redis_git_dirty", 0)
	w.put("redis_build_id", "0")
	w.put("redis_mode", c.mode())
	w.put("os", osName())
	w.put("arch_bits", 64)
	w.put("monotonic_clock", "Go runtime")
	w.put("multiplexing_api", multiplexingAPI)
	w.put("atomicvar_api", "sync/atomic")
	w.put("gcc_version", "0.0.0")
	w.put("process_id", os.Getpid())
	w.put("process_supervised", "no")
	w.put("run_id", c.srv.runID)
	w.put("tcp_port", c.srv.port())
	w.put("server_time_usec", time.Now().UnixMicro())
	w.put("uptime_in_seconds", up)
	w.put("uptime_in_days", up/86400)
	w.put("hz", c.srv.config.Hz.Load())
	w.put("configured_hz", c.srv.config.Hz.Load())
	w.put("lru_clock", lruClock(c.Tx.Now))
	executable, _ := os.Executable()
	w.put("executable", executable)
	w.put("config_file", c.srv.options.ConfigFile)
	w.put("io_threads_active", 0)
}

func infoClients(c *Call, w *infoWriter) {
	srv := c.srv
	srv.sessions.Lock()
	n := len(srv.sessions.byID)
	srv.sessions.Unlock()
	w.put("connected_clients", n)
	w.put("cluster_connections", 0)
	w.put("maxclients", srv.config.MaxClients.Load())
	input, output := srv.recent.peaks(srv.clock())
	w.put("client_recent_max_input_buffer", input)
	w.put("client_recent_max_output_buffer", output)
	w.put("blocked_clients", srv.pauses.waiting.Load()) // no command blocks yet: they wait for the end of CLIENT PAUSE
	w.put("tracking_clients", max(0, int64(srv.store.Tracking().Stats().Trackers)-srv.readingGuests.Load()))
	w.put("clients_in_timeout_table", 0)
}

func infoMemory(c *Call, w *infoWriter) {
	m := c.memoryFigures()
	w.bytes("used_memory", m.used)
	w.bytes("used_memory_rss", m.rss)
	w.bytes("used_memory_peak", m.peak)
	w.put("used_memory_peak_perc", fmt.Sprintf("%.2f%%", 100*ratio(m.used, m.peak)))
	w.put("used_memory_overhead", m.startup+m.clients)
	w.put("used_memory_startup", m.startup)
	w.put("used_memory_dataset", m.dataset())
	w.put("used_memory_dataset_perc", fmt.Sprintf("%.2f%%", 100*ratio(m.dataset(), m.used-m.startup)))
	w.put("allocator_allocated", m.space-m.dead)
	w.put("allocator_active", m.space)
	w.put("allocator_resident", m.space)
	w.bytes("total_system_memory", m.total)
	w.bytes("maxmemory", c.srv.config.MaxMemory.Load())
	w.put("maxmemory_policy", partition.PolicyNames[c.srv.config.MaxMemoryPolicy.Load()])
	w.put("allocator_frag_ratio", fmt.Sprintf("%.2f", ratio(m.space, m.space-m.dead)))
	w.put("allocator_frag_bytes", m.dead)
	w.put("allocator_rss_ratio", "1.00") // what is mapped for values is in use
	w.put("allocator_rss_bytes", 0)
	w.put("rss_overhead_ratio", fmt.Sprintf("%.2f", ratio(m.rss, m.space)))
	w.put("rss_overhead_bytes", m.rss-m.space)
	w.put("mem_fragmentation_ratio", fmt.Sprintf("%.2f", ratio(m.rss, m.used)))
	w.put("mem_fragmentation_bytes", m.rss-m.used)
	w.put("mem_not_counted_for_evict", m.dead)
	w.put("mem_clients_slaves", 0)
	w.put("mem_clients_normal", m.clients)
	w.put("mem_cluster_links", 0)
	w.put("mem_aof_buffer", 0)
	w.put("mem_allocator", "neargrid-arena")
	w.put("active_defrag_running", 0)
	w.put("lazyfree_pending_objects", c.srv.store.Releasing())
	w.put("lazyfreed_objects", c.srv.store.Released()-c.srv.stats.releasedBefore.Load())
}

func infoPersistence(c *Call, w *infoWriter) {
	loading := 0
	if c.srv.upstream != nil && c.srv.upstream.Waiting() != "" {
		loading = 1 // client libraries try again
	}
	w.put("loading", loading)
	w.put("async_loading", 0)
	w.put("rdb_changes_since_last_save", c.Tx.Stats().Effects)
	w.put("rdb_bgsave_in_progress", 0)
	w.put("rdb_last_save_time", c.srv.started.Unix())
	w.put("rdb_last_bgsave_status", "ok")
	w.put("rdb_last_bgsave_time_sec", -1)
	w.put("rdb_current_bgsave_time_sec", -1)
	w.put("aof_enabled", 0)
	w.put("aof_rewrite_in_progress", 0)
	w.put("aof_rewrite_scheduled", 0)
	w.put("aof_last_rewrite_time_sec", -1)
	w.put("aof_current_rewrite_time_sec", -1)
	w.put("aof_last_bgrewrite_status", "ok")
	w.put("aof_last_write_status", "ok")
}

func infoStats(c *Call, w *infoWriter) {
	srv, sum := c.srv, c.Tx.Stats()
	calls, errors := int64(0), int64(0)
	for _, r := range calledRows() {
		calls += r.stats.calls.Load()
	}
	srv.stats.mu.Lock()
	for _, n := range srv.stats.mu.errors {
		errors += n
	}
	srv.stats.mu.Unlock()
	w.put("total_connections_received", srv.stats.connections.Load())
	w.put("total_commands_processed", calls)
	w.put("instantaneous_ops_per_sec", srv.rates.ops.Load())
	w.put("total_net_input_bytes", srv.stats.bytesIn.Load())
	w.put("total_net_output_bytes", srv.stats.bytesOut.Load())
	w.put("instantaneous_input_kbps", fmt.Sprintf("%.2f", float64(srv.rates.in.Load())/1024))
	w.put("instantaneous_output_kbps", fmt.Sprintf("%.2f", float64(srv.rates.out.Load())/1024))
	w.put("rejected_connections", srv.stats.rejected.Load())
	w.put("sync_full", 0)
	w.put("sync_partial_ok", 0)
	w.put("sync_partial_err", 0)
	w.put("expired_keys", sum.Expired)
	w.put("expired_time_cap_reached_count", srv.stats.expireCapped.Load())
	w.put("expire_cycle_cpu_milliseconds", srv.stats.expireNanos.Load()/int64(time.Millisecond))
	total, current := srv.stats.exceeded.times(srv.clock())
	w.put("evicted_keys", sum.Evicted)
	w.put("evicted_clients", 0)
	w.put("total_eviction_exceeded_time", total.Milliseconds())
	w.put("current_eviction_exceeded_time", current.Milliseconds())
	w.put("keyspace_hits", sum.Hits)
	w.put("keyspace_misses", sum.Misses)
	w.put("pubsub_channels", min(1, srv.subscribers.Load()))
	w.put("pubsub_patterns", 0)
	w.put("pubsubshard_channels", 0)
	w.put("latest_fork_usec", 0)
	w.put("total_forks", 0)
	tracking := srv.store.Tracking().Stats()
	w.put("tracking_total_keys", tracking.Keys)
	w.put("tracking_total_items", tracking.Items)
	w.put("tracking_total_prefixes", tracking.Prefixes)
	w.put("unexpected_error_replies", 0)
	w.put("total_error_replies", errors)
	reads, writes := srv.traffic()
	w.put("total_reads_processed", reads)
	w.put("total_writes_processed", writes)
	w.put("protocol_errors", srv.stats.protocolErrors.Load())
}

func infoReplication(c *Call, w *infoWriter) {
	if master := c.replicaOf(); master != nil {
		w.put("role", "slave")
		infoMaster(master, w)
	} else {
		w.put("role", "master")
	}
	w.put("connected_slaves", 0)
	w.put("master_failover_state", "no-failover")
	w.put("master_replid", c.srv.runID)
	w.put("master_replid2", strings.Repeat("0", 40))
	w.put("master_repl_offset", 0)
	w.put("second_repl_offset", -1)
	w.put("repl_backlog_active", 0)
}

func infoCPU(_ *Call, w *infoWriter) {
	user, sys := cpuTimes()
	w.put("used_cpu_sys", fmt.Sprintf("%.6f", sys.Seconds()))
	w.put("used_cpu_user", fmt.Sprintf("%.6f", user.Seconds()))
	w.put("used_cpu_sys_children", "0.000000")
	w.put("used_cpu_user_children", "0.000000")
}

func infoCommandStats(_ *Call, w *infoWriter) {
	for _, r := range calledRows() {
		calls, us := r.stats.calls.Load(), r.stats.nanos.Load()/1000
		w.put("cmdstat_"+r.fullName(), fmt.Sprintf("calls=%d,usec=%d,usec_per_call=%.2f,rejected_calls=%d,failed_calls=%d",
			calls, us, ratio(us, calls), r.stats.rejected.Load(), r.stats.failed.Load()))
	}
}

func infoErrorStats(c *Call, w *infoWriter) {
	s := &c.srv.stats
	s.mu.Lock()
	defer s.mu.Unlock()
	kinds := make([]string, 0, len(s.mu.errors))
	for kind := range s.mu.errors {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		w.put("errorstat_"+kind, fmt.Sprintf("count=%d", s.mu.errors[kind]))
	}
}

func infoLatencyStats(c *Call, w *infoWriter) {
	for _, r := range calledRows() {
		if r.stats.latency.buckets.Load() == nil {
			continue
		}
		parts := []string{}
		for _, p := range c.srv.config.Percentiles() {
			parts = append(parts, fmt.Sprintf("p%g=%.3f", p, float64(r.stats.latency.percentile(p))))
		}
		w.put("latency_percentiles_usec_"+r.fullName(), strings.Join(parts, ","))
	}
}

func infoKeyspace(c *Call, w *infoWriter) {
	for db := range partition.Databases {
		if n := c.Tx.Len(db); n > 0 {
			w.put(fmt.Sprintf("db%d", db), fmt.Sprintf("keys=%d,expires=%d,avg_ttl=0", n, c.Tx.Expiring(db)))
		}
	}
}

// infoNeargrid is what no Redis has.
func infoNeargrid(c *Call, w *infoWriter) {
	w.put("neargrid_version", Version)
	w.put("go_version", runtime.Version())
	w.put("node_id", c.srv.options.NodeID)
	if c.srv.upstream != nil {
		return
	}
	w.put("partitions", c.srv.store.Partitions())
	if c.srv.router != nil {
		return // the promise is the grid's
	}
	w.put("promise", "one copy: what is acknowledged lives as long as this process")
	w.put("promise_kept", "yes")
}
