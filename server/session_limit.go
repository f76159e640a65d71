package server

import (
	"math"
	"time"
)

// outputUnlimited stands for no hard limit: more than there can be, and small enough to add to.
const outputUnlimited = math.MaxInt / 2

// hardOutputLimit is how many bytes may wait to be sent to the client.
func (s *Session) hardOutputLimit() int {
	hard, _, _ := s.outputLimits()
	if hard <= 0 || hard > outputUnlimited {
		return outputUnlimited
	}
	return int(hard)
}

// outputLimits are those of the class of clients that the session is of now.
func (s *Session) outputLimits() (hard, soft, seconds int64) {
	if s.subscribed.Load() {
		return s.srv.config.OutputLimit(outputPubSub)
	}
	return s.srv.config.OutputLimit(outputNormal)
}

// limitOutput closes the connection when more output waits than the hard limit allows.
func (s *Session) limitOutput(hard int) {
	if hard == outputUnlimited || s.killed {
		return
	}
	if size := s.pendingBytes(); size > hard {
		s.srv.log.Warn("closing client: output buffer limit reached", "client", s.id, "addr", s.info.Remote, "bytes", size)
		s.kill()
	}
}

// authTimeout is how long a connection may stay without AUTH where a password is set.
const authTimeout = 10 * time.Second

// Tick enforces what depends on time: idle clients, slow readers, connections that do not authenticate.
func (s *Session) Tick(time.Time) {
	now := s.srv.clock()
	config := s.srv.config
	switch timeout := time.Duration(config.Timeout.Load()) * time.Second; {
	case timeout > 0 && now-s.active > timeout && s.barrier == 0:
		s.kill()
	case !s.authed && now-s.unknown > authTimeout:
		s.kill()
	}
	_, soft, seconds := s.outputLimits()
	size := int64(s.pendingBytes())
	s.srv.recent.note(now, cap(s.in)+s.held.args, int(size))
	switch {
	case soft <= 0 || size <= soft:
		s.overSoft = 0
	case s.overSoft == 0:
		s.overSoft = now
	case now-s.overSoft > time.Duration(seconds)*time.Second:
		s.kill()
	}
	s.limitOutput(s.hardOutputLimit())
	if cap(s.out) > 0 && len(s.out) == 0 && now-s.active > time.Second {
		s.out = nil
	}
}
