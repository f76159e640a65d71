package server

import (
	"sync/atomic"

	"github.com/neargrid/neargrid/partition"
)

// Config is a stand-in until config.go is here.
type Config struct {
	limits                                                                  *partition.Limits
	MaxMemory, MaxMemoryPolicy, MaxMemorySamples, Timeout, TCPKeepAlive     atomic.Int64
	MaxClients, ClientQueryBufferLimit, SlowlogLogSlowerThan, SlowlogMaxLen atomic.Int64
	LatencyTracking                                                         atomic.Bool
	pass                                                                    string
}

func newConfig(o Options) *Config {
	c := &Config{limits: partition.NewLimits(), pass: o.RequirePass}
	c.MaxMemory.Store(o.MaxMemory)
	c.MaxMemorySamples.Store(5)
	c.MaxClients.Store(10000)
	c.ClientQueryBufferLimit.Store(1 << 30)
	c.SlowlogLogSlowerThan.Store(10000)
	c.SlowlogMaxLen.Store(128)
	c.LatencyTracking.Store(true)
	return c
}
func (c *Config) RequirePass() string                            { return c.pass }
func (c *Config) OutputLimit() (hard, soft int64, seconds int64) { return 0, 0, 0 }
