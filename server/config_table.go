package server

import (
	"cmp"
	"log/slog"
	"math"
	"net"
	"slices"
	"strconv"

	"github.com/neargrid/neargrid/partition"
)

const (
	megabyte = 1 << 20
	hzMax    = 500
)

// liveSettings are the names that CONFIG SET changes. Bounds, spellings and the order of enumerations are Redis's.
func (c *Config) liveSettings() []*setting {
	l := c.limits
	return []*setting{
		// Memory.
		memorySetting(&c.MaxMemory, 0, math.MaxInt64, "maxmemory"),
		enumSetting(policyWords, c.policy, c.setPolicy, "maxmemory-policy"),
		intSetting(&c.MaxMemorySamples, 1, math.MaxInt32, "maxmemory-samples"),
		intSetting(&l.LFULogFactor, 0, math.MaxInt32, "lfu-log-factor"),
		intSetting(&l.LFUDecayMin, 0, math.MaxInt32, "lfu-decay-time"),

		// Encodings: how large a collection stays packed.
		intSetting(&l.HashMaxEntries, 0, math.MaxInt64, "hash-max-listpack-entries", "hash-max-ziplist-entries"),
		memorySetting(&l.HashMaxValue, 0, math.MaxInt64, "hash-max-listpack-value", "hash-max-ziplist-value"),
		intSetting(&l.ListMaxSize, math.MinInt32, math.MaxInt32, "list-max-listpack-size", "list-max-ziplist-size"),
		intSetting(&l.SetMaxIntset, 0, math.MaxInt64, "set-max-intset-entries"),
		intSetting(&l.ZsetMaxEntries, 0, math.MaxInt64, "zset-max-listpack-entries", "zset-max-ziplist-entries"),
		memorySetting(&l.ZsetMaxValue, 0, math.MaxInt64, "zset-max-listpack-value", "zset-max-ziplist-value"),

		// Clients.
		{names: []string{"requirepass"}, get: c.RequirePass, parse: c.parsePassword},
		intSetting(&c.MaxClients, 1, math.MaxUint32, "maxclients"),
		intSetting(&c.Timeout, 0, math.MaxInt32, "timeout"),
		intSetting(&c.TCPKeepAlive, 0, math.MaxInt32, "tcp-keepalive"),
		memorySetting(&c.ClientQueryBufferLimit, megabyte, math.MaxInt64, "client-query-buffer-limit"),
		memorySetting(&c.ProtoMaxBulkLen, megabyte, math.MaxInt64, "proto-max-bulk-len"),
		intSetting(&c.TrackingTableMaxKeys, 0, math.MaxInt64, "tracking-table-max-keys"),
		intSetting(&c.TrackingPushMaxKeys, 1, pushKeysMax, "grid-push-max-keys"), // ours: Redis has no such bound
		{names: []string{"client-output-buffer-limit"}, get: c.formatOutputLimits, parse: c.parseOutputLimits},

		// Watching.
		intSetting(&c.SlowlogLogSlowerThan, -1, math.MaxInt64, "slowlog-log-slower-than"),
		intSetting(&c.SlowlogMaxLen, 0, math.MaxInt64, "slowlog-max-len"),
		intSetting(&c.LatencyMonitorThreshold, 0, math.MaxInt64, "latency-monitor-threshold"),
		boolSetting(&c.LatencyTracking, "latency-tracking"),
		{
			names: []string{"latency-tracking-info-percentiles"},
			get:   func() string { return formatPercentiles(c.Percentiles()) },
			parse: func(value string) (func(), error) {
				list, err := parsePercentiles(value)
				return func() { c.percentiles.Store(&list) }, err
			},
		},
		enumSetting(levelWords, c.level, c.setLevel, "loglevel"),

		// Background work.
		c.hzSetting(),
		intSetting(&c.ActiveExpireEffort, 1, 10, "active-expire-effort"),
	}
}

// startSettings are the names that are set before the server starts: in the file of --config, as flags, in Options.Config.
func (c *Config) startSettings() []*setting {
	c.debug = debugOff
	debug := enumSetting(debugWords, func() string { return c.debug }, func(word string) { c.debug = word }, "enable-debug-command")
	debug.atStart = true
	return []*setting{debug}
}

// Who may use DEBUG: nobody, everybody, or clients of this machine.
const (
	debugOff   = "no"
	debugOn    = "yes"
	debugLocal = "local"
)

var debugWords = []string{debugOff, debugOn, debugLocal}

// constants are names with the one value that is true of this node. Tools read many of them before they do anything.
func (c *Config) constants(o Options) []*setting {
	return []*setting{
		// Nothing is kept on disk.
		constant("no", "appendonly"),
		constant("", "save"),
		// One node, no replicas of the Redis kind.
		constant("no", "cluster-enabled"),               // of the grid door; the cluster door's CONFIG GET says yes
		constant("no", "cluster-require-full-coverage"), // a partition that is lost does not stop the others
		constant("", "replicaof", "slaveof"),
		// Doors.
		{names: []string{"bind"}, get: c.host},
		{names: []string{"port"}, get: c.port},
		constant("0", "tls-port"),
		constant(o.Unixsocket, "unixsocket"),
		constant(unixMode(o), "unixsocketperm"),
		constant(strconv.Itoa(partition.Databases), "databases"),
		constant("no", "enable-module-command"),
		constant("no", "enable-protected-configs"),
		constant(yesNo(!o.Insecure), "protected-mode"),
		constant("", "notify-keyspace-events"), // no events are published
		// Memory.
		constant("0", "list-compress-depth"),
		constant("0", "maxmemory-clients"),            // clients are not evicted
		constant("10", "maxmemory-eviction-tenacity"), // a command evicts for at most evictTimeMax
		constant("yes", "lazyfree-lazy-eviction"),     // large values are always released off the event loop
		constant("yes", "lazyfree-lazy-expire"),
		constant("yes", "lazyfree-lazy-server-del"),
		constant("yes", "lazyfree-lazy-user-del"),
		constant("yes", "lazyfree-lazy-user-flush"),
		// The process.
		constant("no", "dynamic-hz"), // hz holds whatever the number of clients
		constant("no", "daemonize"),
		constant("no", "supervised"),
		constant("no", "syslog-enabled"),
		constant("no", "set-proc-title"),
		constant("no", "oom-score-adj"),
		constant("", "pidfile"),
	}
}

// policyWords are the values of maxmemory-policy in the order of Redis's error message.
var policyWords = []string{
	"volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
	"allkeys-lru", "allkeys-lfu", "allkeys-random", "noeviction",
}

func (c *Config) policy() string { return partition.PolicyNames[c.MaxMemoryPolicy.Load()] }

func (c *Config) setPolicy(word string) {
	policy := partition.Policy(slices.Index(partition.PolicyNames[:], word))
	c.MaxMemoryPolicy.Store(int64(policy))
	c.limits.LFU.Store(policy.LFU())
}

// levels are Redis's words for the levels of log/slog, from the most talkative on; verbose lies between two of its own.
var levels = [...]slog.Level{slog.LevelDebug, slog.LevelDebug + 2, slog.LevelInfo, slog.LevelWarn}

var levelWords = []string{"debug", "verbose", "notice", "warning"}

func (c *Config) level() string {
	for i, l := range levels {
		if c.logLevel.Level() <= l {
			return levelWords[i]
		}
	}
	return levelWords[len(levelWords)-1]
}

func (c *Config) setLevel(word string) { c.logLevel.Set(levels[slices.Index(levelWords, word)]) }

// parsePassword refuses to take the password off a node that others reach.
func (c *Config) parsePassword(value string) (commit func(), err error) {
	if value == "" && c.exposed {
		return nil, ErrExposed
	}
	return func() { c.requirePass.Store(&value) }, nil
}

// hzSetting takes any number that is not negative, and keeps it from 1 to hzMax.
func (c *Config) hzSetting() *setting {
	s := intSetting(&c.Hz, 0, math.MaxInt32, "hz")
	parse := s.parse
	s.parse = func(value string) (func(), error) {
		commit, err := parse(value)
		return func() {
			commit()
			c.Hz.Store(max(1, min(c.Hz.Load(), hzMax)))
		}, err
	}
	return s
}

// host is where the TCP door listens, as "bind" says it: * for every address, empty where there is none.
func (c *Config) host() string {
	host, _, err := net.SplitHostPort(*c.addr.Load())
	if err == nil && (host == "" || net.ParseIP(host).IsUnspecified()) {
		return "*"
	}
	return host
}

// port is the TCP door's; 0 = there is none.
func (c *Config) port() string {
	_, port, err := net.SplitHostPort(*c.addr.Load())
	if err != nil {
		return "0"
	}
	return port
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// unixMode is the Unix socket's mode, octal; 0 where there is no such socket.
func unixMode(o Options) string {
	if o.Unixsocket == "" {
		return "0"
	}
	return strconv.FormatUint(uint64(cmp.Or(o.UnixsocketPerm, 0o700)), 8)
}
