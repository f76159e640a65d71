package server

import (
	"sync"
	"sync/atomic"
	"time"
)

// pauseMax is the longest pause there is.
const pauseMax = 365 * 24 * time.Hour

// pauseState is CLIENT PAUSE: sessions stop before a command that it concerns, and take it up again when it ends.
type pauseState struct {
	mode    atomic.Int32 // pauseNone, pauseWrites, pauseAll
	waiting atomic.Int64 // sessions that wait for its end
	mu      struct {
		sync.Mutex
		until time.Duration // by the server's clock
		timer Timer
	}
}

const (
	pauseNone int32 = iota
	pauseWrites
	pauseAll
)

// pause stops commands for d. A pause under way is made stricter or longer, never weaker.
func (srv *Server) pause(d time.Duration, onlyWrites bool) {
	p := &srv.pauses
	p.mu.Lock()
	defer p.mu.Unlock()
	mode := pauseAll
	if onlyWrites {
		mode = pauseWrites
	}
	p.mode.Store(max(mode, p.mode.Load()))
	if until := srv.clock() + d; until > p.mu.until {
		p.mu.until = until
	}
	if p.mu.timer != nil {
		p.mu.timer.Stop()
	}
	p.mu.timer = srv.after(p.mu.until-srv.clock(), srv.unpause)
}

// unpause ends a pause and wakes the sessions that wait for it.
func (srv *Server) unpause() {
	p := &srv.pauses
	p.mu.Lock()
	if p.mu.timer != nil {
		p.mu.timer.Stop()
	}
	p.mu.until = 0
	p.mode.Store(pauseNone)
	p.mu.Unlock()
	for _, s := range srv.allSessions() {
		s.loop.Post(func() {
			if s.paused {
				s.goOn()
				s.resume()
				s.loop.Touch(s)
			}
		})
	}
}

// pause stops the session before its next command; goOn ends that.
func (s *Session) pause() {
	s.paused = true
	s.srv.pauses.waiting.Add(1)
}

func (s *Session) goOn() {
	if s.paused {
		s.paused = false
		s.srv.pauses.waiting.Add(-1)
	}
}

// mustPause tells whether a pause under way concerns a command. One that would be refused anyway is answered at once.
func (s *Session) mustPause(args [][]byte) bool {
	row := lookup(args)
	if row == nil || !row.arityFits(len(args)) || !s.authed && row.Flags&NoAuth == 0 {
		return false
	}
	switch s.srv.pauses.mode.Load() {
	case pauseAll:
		return true
	case pauseWrites:
		if row.Name == "exec" && s.multi != nil {
			for _, q := range s.multi.queue {
				if q.row.Flags&(Write|MayReplicate) != 0 {
					return true
				}
			}
		}
		return row.Flags&(Write|MayReplicate) != 0
	}
	return false
}
