package server

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// Config holds what CONFIG GET and CONFIG SET name. Code that serves commands reads its fields without a lock; they
// change by Set alone.
//
// A name is one of four things: a live setting, which takes effect at once; one that is set at the start and never again; a
// constant, which is true of every neargrid node and cannot be set to anything else; or unknown. None is stored and
// ignored: testdata/config_absent.txt says of each of Redis's remaining names why it is unknown.
type Config struct {
	MaxMemory               atomic.Int64 // bytes; 0 = no limit
	MaxMemoryPolicy         atomic.Int64 // a partition.Policy
	MaxMemorySamples        atomic.Int64 // keys looked at before one is evicted
	MaxClients              atomic.Int64
	Timeout                 atomic.Int64 // seconds a client may be idle; 0 = forever
	TCPKeepAlive            atomic.Int64 // seconds; 0 = off
	ClientQueryBufferLimit  atomic.Int64 // bytes of a client's unexecuted input
	ProtoMaxBulkLen         atomic.Int64 // bytes of one argument, and of one string value
	SlowlogLogSlowerThan    atomic.Int64 // microseconds; negative = log nothing
	SlowlogMaxLen           atomic.Int64 // entries
	LatencyMonitorThreshold atomic.Int64 // milliseconds; 0 = off
	LatencyTracking         atomic.Bool
	Hz                      atomic.Int64 // background turns a second, 1..500
	TrackingTableMaxKeys    atomic.Int64 // keys of which it is known who has read them; 0 = no limit
	TrackingPushMaxKeys     atomic.Int64 // keys that may wait to be told to one client; beyond, it is told to drop everything
	ActiveExpireEffort      atomic.Int64 // 1..10: how much of its time the server looks for expired keys

	limits       *partition.Limits // what the store reads by itself
	logLevel     *slog.LevelVar
	requirePass  atomic.Pointer[string]
	percentiles  atomic.Pointer[[]float64] // of latencies in INFO, in percent
	outputLimits [outputClasses]atomic.Pointer[outputLimit]
	addr         atomic.Pointer[string] // of the TCP door
	exposed      bool                   // other machines reach the TCP door: a password must be set, and stay set
	debug        string                 // who may use DEBUG: one of debugWords; never changes once sealed
	sealed       bool                   // the server is made: settings that belong to its start are constants from here on

	settings map[string]*setting // by name, aliases too; never changes
	names    []string            // its keys, sorted
	setMu    sync.Mutex          // one Set at a time
}

// newConfig returns the defaults, which are Redis 7.0's, with what the options say.
func newConfig(o Options) *Config {
	c := &Config{limits: partition.NewLimits(), logLevel: o.LogLevel, exposed: !o.Insecure && !(IsLoopback(o.Listen) && IsLoopback(o.ClusterListen))}
	if c.logLevel == nil {
		c.logLevel = new(slog.LevelVar)
	}
	c.MaxMemory.Store(o.MaxMemory)
	c.MaxMemorySamples.Store(5)
	c.MaxClients.Store(10000)
	c.TCPKeepAlive.Store(300)
	c.ClientQueryBufferLimit.Store(1 << 30)
	c.ProtoMaxBulkLen.Store(512 << 20)
	c.SlowlogLogSlowerThan.Store(10_000)
	c.SlowlogMaxLen.Store(128)
	c.LatencyTracking.Store(true)
	c.Hz.Store(10)
	c.ActiveExpireEffort.Store(1)
	c.TrackingTableMaxKeys.Store(1_000_000)
	c.TrackingPushMaxKeys.Store(pushKeysMax)
	c.requirePass.Store(&o.RequirePass)
	c.percentiles.Store(&[]float64{50, 99, 99.9})
	c.outputLimits[outputNormal].Store(&outputLimit{})
	c.outputLimits[outputReplica].Store(&outputLimit{hard: 256 << 20, soft: 64 << 20, seconds: 60})
	c.outputLimits[outputPubSub].Store(&outputLimit{hard: 32 << 20, soft: 8 << 20, seconds: 60})
	c.setAddr(o.Listen)
	c.settings = map[string]*setting{}
	for _, s := range slices.Concat(c.liveSettings(), c.startSettings(), c.constants(o)) {
		for _, name := range s.names {
			c.settings[name] = s
			c.names = append(c.names, name)
		}
	}
	slices.Sort(c.names)
	return c
}

// RequirePass is the password; empty = none.
func (c *Config) RequirePass() string { return *c.requirePass.Load() }

// Percentiles are those of latency-tracking-info-percentiles, in percent. The slice is not to be changed.
func (c *Config) Percentiles() []float64 { return *c.percentiles.Load() }

// OutputLimit bounds what waits to be sent to a client of a class: never more than hard bytes, nor more than soft bytes for
// as many seconds; 0 = no bound.
func (c *Config) OutputLimit(class int) (hard, soft, seconds int64) {
	l := c.outputLimits[class].Load()
	return l.hard, l.soft, l.seconds
}

// ErrExposed refuses a door that other machines reach and no password protects.
var ErrExposed error = refusal("a door that other machines reach needs a password")

// IsLoopback tells whether only this machine reaches a listen address. An empty address is no door at all.
func IsLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	return addr == "" || host == "localhost" || net.ParseIP(host).IsLoopback()
}

// setAddr notes where the TCP door is, for "bind" and "port".
func (c *Config) setAddr(addr string) { c.addr.Store(&addr) }

// setting is one name of CONFIG, with its aliases.
type setting struct {
	names []string
	get   func() string
	// parse checks a value and returns what puts it in force. So that a SET of several names is all or nothing, parse
	// changes nothing. nil: a constant.
	parse func(value string) (commit func(), err error)
	// atStart: it is set before the server starts, or not at all.
	atStart bool
	// same tells whether a value is another way to write a constant's own; nil: it must be equal.
	same func(value string) bool
}

// Get returns the names that match any of the patterns, each once, with their values. A name without wildcards stands in
// the answer as the client wrote it.
func (c *Config) Get(patterns ...string) [][2]string {
	var found [][2]string
	seen := map[string]bool{}
	add := func(as, name string) {
		if s := c.settings[name]; s != nil && !seen[name] {
			seen[name] = true
			found = append(found, [2]string{as, s.get()})
		}
	}
	for _, pattern := range patterns {
		if !strings.ContainsAny(pattern, "[*?") {
			add(pattern, strings.ToLower(pattern))
			continue
		}
		for _, name := range c.names {
			if protocol.Match([]byte(pattern), []byte(name), true) {
				add(name, name)
			}
		}
	}
	return found
}

// refusal is why a setting is refused, in the words of CONFIG SET's reply.
type refusal string

func (r refusal) Error() string { return string(r) }

const (
	errUnknown   = refusal("unknown setting")
	errImmutable = refusal("can't set immutable config")
	errDuplicate = refusal("duplicate parameter")
)

// ConfigError says why a setting was refused. Its text is CONFIG SET's reply, as Redis words it.
type ConfigError struct {
	Name string
	Err  error // the reason alone
}

func (e *ConfigError) Error() string {
	if e.Err == errUnknown {
		return fmt.Sprintf("ERR Unknown option or number of arguments for CONFIG SET - '%s'", untilNUL([]byte(e.Name)))
	}
	return fmt.Sprintf("ERR CONFIG SET failed (possibly related to argument '%s') - %v", e.Name, e.Err)
}

func (e *ConfigError) Unwrap() error { return e.Err }

// Set changes settings, all of them or none. An error is a *ConfigError.
func (c *Config) Set(pairs [][2]string) error {
	c.setMu.Lock()
	defer c.setMu.Unlock()
	if err := c.check(pairs); err != nil {
		return err
	}
	var commits []func()
	for _, pair := range pairs {
		name := strings.ToLower(pair[0])
		s := c.settings[name]
		if s.parse == nil {
			continue
		}
		commit, err := s.parse(pair[1])
		if err != nil {
			return &ConfigError{name, err}
		}
		commits = append(commits, commit)
	}
	for _, commit := range commits {
		commit()
	}
	return nil
}

// check looks at the names, before any value.
func (c *Config) check(pairs [][2]string) error {
	seen := map[string]bool{}
	for _, pair := range pairs {
		name := strings.ToLower(pair[0])
		s := c.settings[name]
		switch {
		case s == nil:
			return &ConfigError{pair[0], errUnknown}
		case s.parse == nil && !s.isOwn(pair[1]), s.atStart && c.sealed:
			return &ConfigError{pair[0], errImmutable}
		case seen[name]:
			return &ConfigError{pair[0], errDuplicate}
		}
		seen[name] = true
	}
	return nil
}

// isOwn tells whether value is the one that a constant has.
func (s *setting) isOwn(value string) bool {
	return value == s.get() || s.same != nil && s.same(value)
}

// Classes of clients that client-output-buffer-limit tells apart. There are no replicas of the Redis kind: their limits bind nobody.
const (
	outputNormal = iota
	outputReplica
	outputPubSub
	outputClasses
)

// outputClassNames are the classes as Redis prints them.
var outputClassNames = [outputClasses]string{"normal", "slave", "pubsub"}

// outputLimit bounds the output that waits for one client.
type outputLimit struct{ hard, soft, seconds int64 }

// parseOutputLimits reads "class hard soft seconds" groups; classes that are not named keep their limits.
func (c *Config) parseOutputLimits(value string) (commit func(), err error) {
	words := splitWords(value)
	if len(words)%4 != 0 {
		return nil, refusal("Wrong number of arguments in buffer limit configuration.")
	}
	var limits [outputClasses]*outputLimit
	for w := range slices.Chunk(words, 4) {
		class := strings.ToLower(w[0])
		if class == "replica" {
			class = outputClassNames[outputReplica]
		}
		i := slices.Index(outputClassNames[:], class)
		if i < 0 {
			return nil, refusal("Invalid client class specified in buffer limit configuration.")
		}
		hard, hardErr := parseMemory(w[1])
		soft, softErr := parseMemory(w[2])
		seconds, secondsErr := parseSeconds(w[3])
		if cmp.Or(hardErr, softErr, secondsErr) != nil {
			return nil, refusal("Error in hard, soft or soft_seconds setting in buffer limit configuration.")
		}
		limits[i] = &outputLimit{hard, soft, seconds}
	}
	return func() {
		for i, l := range limits {
			if l != nil {
				c.outputLimits[i].Store(l)
			}
		}
	}, nil
}

func (c *Config) formatOutputLimits() string {
	var classes []string
	for i := range c.outputLimits {
		l := c.outputLimits[i].Load()
		classes = append(classes, fmt.Sprintf("%s %d %d %d", outputClassNames[i], l.hard, l.soft, l.seconds))
	}
	return strings.Join(classes, " ")
}

// isSecret tells whether a name's value must not show in logs.
func isSecret(name string) bool { return strings.EqualFold(name, "requirepass") }
