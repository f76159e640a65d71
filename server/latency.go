package server

import (
	"slices"
	"sync"
	"time"
)

// The events that LATENCY reports, where they take at least latency-monitor-threshold ms.
const (
	eventCommand       = "command"
	eventFastCommand   = "fast-command"
	eventExpireCycle   = "expire-cycle"
	eventEvictionCycle = "eviction-cycle"
)

// latencySamplesMax is how many samples of an event are kept, as in Redis.
const latencySamplesMax = 160

// latencyMonitor keeps the latest slow moments by event.
type latencyMonitor struct {
	sync.Mutex
	events map[string]*latencyEvent
}

type latencyEvent struct {
	samples []latencySample // oldest first, never empty
	max     int64           // ms, since the last reset
}

type latencySample struct {
	at time.Time // to the second: one sample a second, the highest
	ms int64
}

// noteLatency records an event that took long.
func (srv *Server) noteLatency(event string, took time.Duration) {
	limit := srv.config.LatencyMonitorThreshold.Load()
	if limit == 0 || took.Milliseconds() < limit {
		return
	}
	m := &srv.latency
	m.Lock()
	defer m.Unlock()
	if m.events == nil {
		m.events = map[string]*latencyEvent{}
	}
	e := m.events[event]
	if e == nil {
		e = &latencyEvent{}
		m.events[event] = e
	}
	ms, now := took.Milliseconds(), time.Now().Truncate(time.Second)
	e.max = max(e.max, ms)
	if n := len(e.samples); n > 0 && e.samples[n-1].at.Equal(now) {
		e.samples[n-1].ms = max(e.samples[n-1].ms, ms)
		return
	}
	if len(e.samples) == latencySamplesMax {
		e.samples = slices.Delete(e.samples, 0, 1)
	}
	e.samples = append(e.samples, latencySample{now, ms})
}

func (m *latencyMonitor) namesLocked() (names []string) {
	for name := range m.events {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
