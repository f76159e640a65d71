package server

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func testConfig() *Config {
	c := newConfig(Options{Listen: "127.0.0.1:6379", RequirePass: "start"})
	c.sealed = true
	return c
}

// setLine is CONFIG SET with the words of a line; ” is an empty value, and 'a b' holds a blank.
func setLine(c *Config, words []string) string {
	var pairs [][2]string
	for w := range slices.Chunk(words, 2) {
		pairs = append(pairs, [2]string{w[0], w[1]})
	}
	if err := c.Set(pairs); err != nil {
		return err.Error()
	}
	return "OK"
}

const failed = "ERR CONFIG SET failed (possibly related to argument '%s') - %s"

func related(name, why string) string { return fmt.Sprintf(failed, name, why) }

// configSets are what CONFIG SET answers, and the value afterwards. Those that are not ours alone are checked against a
// real server too.
var configSets = []struct {
	set  []string
	want string
	get  string // a name
	then string // its value afterwards
	ours bool   // Redis answers otherwise
}{
	{[]string{"maxmemory", "100mb"}, "OK", "maxmemory", "104857600", false},
	{[]string{"maxmemory", "2Gb"}, "OK", "maxmemory", "2147483648", false},
	{[]string{"maxmemory", "3k"}, "OK", "maxmemory", "3000", false},
	{[]string{"maxmemory", "3KB"}, "OK", "maxmemory", "3072", false},
	{[]string{"maxmemory", "007b"}, "OK", "maxmemory", "7", false},
	{[]string{"maxmemory", ""}, "OK", "maxmemory", "0", false},
	{[]string{"maxmemory", "-1"}, related("maxmemory", "argument must be a memory value"), "maxmemory", "0", false},
	{[]string{"maxmemory", "1tb"}, related("maxmemory", "argument must be a memory value"), "maxmemory", "0", false},
	{[]string{"maxmemory", "99999999999gb"}, related("maxmemory", "argument must be between 0 and 9223372036854775807 inclusive"), "maxmemory", "0", true},
	{[]string{"MaxMemory", "x"}, related("maxmemory", "argument must be a memory value"), "maxmemory", "0", false},
	{[]string{"maxmemory-policy", "ALLKEYS-LFU"}, "OK", "maxmemory-policy", "allkeys-lfu", false},
	{[]string{"maxmemory-policy", "lru"}, related("maxmemory-policy", "argument(s) must be one of the following: volatile-lru, volatile-lfu, volatile-random, volatile-ttl, allkeys-lru, allkeys-lfu, allkeys-random, noeviction"), "maxmemory-policy", "noeviction", false},
	{[]string{"maxmemory-samples", "0"}, related("maxmemory-samples", "argument must be between 1 and 2147483647 inclusive"), "maxmemory-samples", "5", false},
	{[]string{"maxmemory-samples", "+7"}, related("maxmemory-samples", "argument couldn't be parsed into an integer"), "maxmemory-samples", "5", false},
	{[]string{"maxmemory-samples", "07"}, related("maxmemory-samples", "argument couldn't be parsed into an integer"), "maxmemory-samples", "5", false},
	{[]string{"lfu-log-factor", "3", "lfu-decay-time", "0"}, "OK", "lfu-decay-time", "0", false},
	{[]string{"hash-max-ziplist-entries", "9"}, "OK", "hash-max-listpack-entries", "9", false},
	{[]string{"hash-max-listpack-value", "1kb"}, "OK", "hash-max-ziplist-value", "1024", false},
	{[]string{"hash-max-listpack-value", "-1"}, related("hash-max-listpack-value", "argument must be a memory value"), "hash-max-listpack-value", "64", false},
	{[]string{"hash-max-listpack-entries", "-1"}, related("hash-max-listpack-entries", "argument must be between 0 and 9223372036854775807 inclusive"), "hash-max-listpack-entries", "512", false},
	{[]string{"list-max-ziplist-size", "-5"}, "OK", "list-max-listpack-size", "-5", false},
	{[]string{"set-max-intset-entries", "0"}, "OK", "set-max-intset-entries", "0", false},
	{[]string{"zset-max-ziplist-entries", "7"}, "OK", "zset-max-listpack-entries", "7", false},
	{[]string{"proto-max-bulk-len", "1000"}, related("proto-max-bulk-len", "argument must be between 1048576 and 9223372036854775807 inclusive"), "proto-max-bulk-len", "536870912", false},
	{[]string{"client-query-buffer-limit", "2mb"}, "OK", "client-query-buffer-limit", "2097152", false},
	{[]string{"timeout", "-1"}, related("timeout", "argument must be between 0 and 2147483647 inclusive"), "timeout", "0", false},
	{[]string{"maxclients", "0"}, related("maxclients", "argument must be between 1 and 4294967295 inclusive"), "maxclients", "10000", false},
	{[]string{"slowlog-log-slower-than", "-1"}, "OK", "slowlog-log-slower-than", "-1", false},
	{[]string{"slowlog-log-slower-than", "-2"}, related("slowlog-log-slower-than", "argument must be between -1 and 9223372036854775807 inclusive"), "slowlog-log-slower-than", "10000", false},
	{[]string{"latency-tracking", "No"}, "OK", "latency-tracking", "no", false},
	{[]string{"latency-tracking", "1"}, related("latency-tracking", "argument must be 'yes' or 'no'"), "latency-tracking", "yes", false},
	{[]string{"latency-tracking-info-percentiles", "0 99.99 100.0 12.3456789"}, "OK", "latency-tracking-info-percentiles", "0 99.99 100 12.345679", false},
	{[]string{"latency-tracking-info-percentiles", ""}, "OK", "latency-tracking-info-percentiles", "", false},
	{[]string{"latency-tracking-info-percentiles", "50 x"}, related("latency-tracking-info-percentiles", "Invalid latency-tracking-info-percentiles parameters"), "latency-tracking-info-percentiles", "50 99 99.9", false},
	{[]string{"latency-tracking-info-percentiles", "101"}, related("latency-tracking-info-percentiles", "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]"), "latency-tracking-info-percentiles", "50 99 99.9", false},
	{[]string{"loglevel", "warning"}, "OK", "loglevel", "warning", false},
	{[]string{"loglevel", "info"}, related("loglevel", "argument(s) must be one of the following: debug, verbose, notice, warning"), "loglevel", "notice", false},
	{[]string{"hz", "0"}, "OK", "hz", "1", false},
	{[]string{"hz", "100000"}, "OK", "hz", "500", false},
	{[]string{"active-expire-effort", "11"}, related("active-expire-effort", "argument must be between 1 and 10 inclusive"), "active-expire-effort", "1", false},
	{[]string{"client-output-buffer-limit", "normal 1mb 2k 3 Replica 4 5 6"}, "OK", "client-output-buffer-limit", "normal 1048576 2000 3 slave 4 5 6 pubsub 33554432 8388608 60", false},
	{[]string{"client-output-buffer-limit", ""}, "OK", "client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", false},
	{[]string{"client-output-buffer-limit", "normal 1 2"}, related("client-output-buffer-limit", "Wrong number of arguments in buffer limit configuration."), "maxmemory", "0", false},
	{[]string{"client-output-buffer-limit", "master 1 2 3"}, related("client-output-buffer-limit", "Invalid client class specified in buffer limit configuration."), "maxmemory", "0", false},
	{[]string{"client-output-buffer-limit", "normal 1 2 3 pubsub 1 x 3"}, related("client-output-buffer-limit", "Error in hard, soft or soft_seconds setting in buffer limit configuration."), "client-output-buffer-limit", "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", false},
	{[]string{"client-output-buffer-limit", "normal 1 2 -3"}, related("client-output-buffer-limit", "Error in hard, soft or soft_seconds setting in buffer limit configuration."), "maxmemory", "0", false},

	// All or nothing, and which error comes first.
	{[]string{"maxmemory", "1mb", "timeout", "x"}, related("timeout", "argument couldn't be parsed into an integer"), "maxmemory", "0", false},
	{[]string{"maxmemory", "1mb", "no-such-name", "1"}, "ERR Unknown option or number of arguments for CONFIG SET - 'no-such-name'", "maxmemory", "0", false},
	{[]string{"timeout", "x", "NO-such", "1"}, "ERR Unknown option or number of arguments for CONFIG SET - 'NO-such'", "timeout", "0", false},
	{[]string{"maxmemory", "1mb", "MAXmemory", "2mb"}, related("MAXmemory", "duplicate parameter"), "maxmemory", "0", false},
	{[]string{"hash-max-ziplist-entries", "1", "hash-max-listpack-entries", "2"}, "OK", "hash-max-ziplist-entries", "2", false},
	{[]string{"Daemonize", "yes"}, related("Daemonize", "can't set immutable config"), "daemonize", "no", false},
	{[]string{"nope", "1", "daemonize", "yes"}, "ERR Unknown option or number of arguments for CONFIG SET - 'nope'", "maxmemory", "0", false},

	// Constants that Redis lets one change, and what it lets nobody touch.
	{[]string{"save", ""}, "OK", "save", "", false},
	{[]string{"appendonly", "NO"}, "OK", "appendonly", "no", false},
	{[]string{"appendonly", "yes"}, related("appendonly", "can't set immutable config"), "appendonly", "no", true},
	{[]string{"save", "60 1"}, related("save", "can't set immutable config"), "save", "", true},
	{[]string{"databases", "16"}, "OK", "databases", "16", true},
	{[]string{"enable-debug-command", "yes"}, related("enable-debug-command", "can't set immutable config"), "enable-debug-command", "no", false},
	{[]string{"enable-debug-command", "no"}, related("enable-debug-command", "can't set immutable config"), "enable-debug-command", "no", false},
	{[]string{"databases", "32"}, related("databases", "can't set immutable config"), "databases", "16", false},
	{[]string{"notify-keyspace-events", ""}, "OK", "notify-keyspace-events", "", false},
	{[]string{"notify-keyspace-events", "KEA"}, related("notify-keyspace-events", "can't set immutable config"), "notify-keyspace-events", "", true},
}

func TestConfigSet(t *testing.T) {
	for _, test := range configSets {
		c := testConfig()
		if got := setLine(c, test.set); got != test.want {
			t.Errorf("CONFIG SET %q:\n got %s\nwant %s", test.set, got, test.want)
		}
		if got := c.Get(test.get); len(got) != 1 || got[0][1] != test.then {
			t.Errorf("CONFIG SET %q, then GET %s: got %q, want %q", test.set, test.get, got, test.then)
		}
	}
}

func TestConfigGet(t *testing.T) {
	c := testConfig()
	for _, test := range []struct {
		patterns []string
		want     string // the names, in order
	}{
		{[]string{"maxmemory"}, "maxmemory"},
		{[]string{"MaxMemory"}, "MaxMemory"},
		{[]string{"MaxMemory", "maxmemory", "maxmemor[y]"}, "MaxMemory"},
		{[]string{"HASH-max-*"}, "hash-max-listpack-entries hash-max-listpack-value hash-max-ziplist-entries hash-max-ziplist-value"},
		{[]string{"timeout", "?z", "lfu*"}, "timeout hz lfu-decay-time lfu-log-factor"},
		{[]string{"no-such-name", "nope*"}, ""},
	} {
		var names []string
		for _, pair := range c.Get(test.patterns...) {
			names = append(names, pair[0])
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("CONFIG GET %q: got %q, want %q", test.patterns, got, test.want)
		}
	}
}

// What every name reads as can be set again: tools save and restore settings this way. What is set at the start alone is refused,
// as in Redis.
func TestConfigRestores(t *testing.T) {
	c := testConfig()
	for _, pair := range c.Get("*") {
		if c.settings[pair[0]].atStart {
			continue
		}
		if err := c.Set([][2]string{pair}); err != nil {
			t.Errorf("CONFIG SET %q: %v", pair, err)
		}
	}
	for _, pair := range testConfig().Get("*") {
		if got := c.Get(pair[0])[0]; got != pair {
			t.Errorf("after setting all names to what they read: got %q, want %q", got, pair)
		}
	}
}

// A SET of several names that fails changes none of them, wherever the bad one stands.
func TestConfigSetIsAllOrNothing(t *testing.T) {
	good := [][2]string{{"maxmemory", "1gb"}, {"maxmemory-policy", "allkeys-lfu"}, {"hz", "99"}, {"requirepass", "new"},
		{"loglevel", "debug"}, {"latency-tracking", "no"}, {"latency-tracking-info-percentiles", "1"},
		{"client-output-buffer-limit", "normal 1 1 1"}, {"hash-max-listpack-entries", "3"}}
	bad := [][2]string{{"timeout", "x"}, {"unknown", "1"}, {"appendonly", "yes"}, {"maxmemory", "1"}}
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		pairs := slices.Clone(good)
		r.Shuffle(len(pairs), func(i, j int) { pairs[i], pairs[j] = pairs[j], pairs[i] })
		pairs = slices.Insert(pairs, r.IntN(len(pairs)+1), bad[r.IntN(len(bad))])
		c := testConfig()
		before := fmt.Sprint(c.Get("*"))
		if err := c.Set(pairs); err == nil {
			t.Fatalf("CONFIG SET %q: no error", pairs)
		}
		if after := fmt.Sprint(c.Get("*")); after != before {
			t.Fatalf("CONFIG SET %q failed, but changed something:\nbefore %s\n after %s", pairs, before, after)
		}
	}
}

// Settings reach the places where running code reads them.
func TestConfigReaches(t *testing.T) {
	level := new(slog.LevelVar)
	c := newConfig(Options{Listen: "127.0.0.1:6379", LogLevel: level})
	err := c.Set([][2]string{{"maxmemory-policy", "volatile-lfu"}, {"loglevel", "warning"}, {"requirepass", "p"},
		{"client-output-buffer-limit", "normal 3 2 1"}, {"zset-max-ziplist-value", "5"}, {"latency-tracking-info-percentiles", "75"}})
	if err != nil {
		t.Fatal(err)
	}
	hard, soft, seconds := c.OutputLimit(outputNormal)
	got := fmt.Sprintln(c.limits.LFU.Load(), level.Level(), c.RequirePass(), hard, soft, seconds, c.limits.ZsetMaxValue.Load(), c.Percentiles())
	if want := "true WARN p 3 2 1 5 [75]\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if setLine(c, []string{"maxmemory-policy", "volatile-lru"}); c.limits.LFU.Load() {
		t.Error("accesses are still counted under volatile-lru")
	}
}

// A node that other machines reach does not lose its password.
func TestConfigKeepsPassword(t *testing.T) {
	for _, test := range []struct {
		options Options
		want    string
	}{
		{Options{Listen: "0.0.0.0:6379", RequirePass: "p"}, related("requirepass", ErrExposed.Error())},
		{Options{Listen: ":6379", RequirePass: "p"}, related("requirepass", ErrExposed.Error())},
		{Options{Listen: "[::]:6379", RequirePass: "p"}, related("requirepass", ErrExposed.Error())},
		{Options{Listen: "example.org:6379", RequirePass: "p"}, related("requirepass", ErrExposed.Error())},
		{Options{Listen: "0.0.0.0:6379", RequirePass: "p", Insecure: true}, "OK"},
		{Options{Listen: "[::1]:6379", RequirePass: "p"}, "OK"},
		{Options{Listen: "localhost:6379", RequirePass: "p"}, "OK"},
		{Options{Unixsocket: "/run/grid.sock", RequirePass: "p"}, "OK"},
	} {
		if got := setLine(newConfig(test.options), []string{"requirepass", ""}); got != test.want {
			t.Errorf("at %q, insecure %t, CONFIG SET requirepass '': got %s, want %s", test.options.Listen, test.options.Insecure, got, test.want)
		}
	}
	if _, err := New(Options{Listen: "0.0.0.0:0"}); err != ErrExposed {
		t.Errorf("New at every address without a password: got %v, want %v", err, ErrExposed)
	}
}

func TestConfigDoors(t *testing.T) {
	for _, test := range []struct {
		options Options
		want    string
	}{
		{Options{Listen: "127.0.0.1:6379"}, "[[bind 127.0.0.1] [port 6379] [unixsocket ] [unixsocketperm 0]]"},
		{Options{Listen: ":7000", Insecure: true}, "[[bind *] [port 7000] [unixsocket ] [unixsocketperm 0]]"},
		{Options{Unixsocket: "/run/g.sock"}, "[[bind ] [port 0] [unixsocket /run/g.sock] [unixsocketperm 700]]"},
		{Options{Unixsocket: "/run/g.sock", UnixsocketPerm: 0o770}, "[[bind ] [port 0] [unixsocket /run/g.sock] [unixsocketperm 770]]"},
	} {
		if got := fmt.Sprint(newConfig(test.options).Get("bind", "port", "unixsocket*")); got != test.want {
			t.Errorf("doors of %+v:\n got %s\nwant %s", test.options, got, test.want)
		}
	}
}
