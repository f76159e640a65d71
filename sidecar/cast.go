package sidecar

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/client"
)

// Clients with CLIENT TRACKING BCAST are told of all changes to keys with their prefixes, whoever makes them and wherever. One connection to
// any node has all of that, as a grid door tells of the keys of all nodes: client.Cast, for the prefixes of all such clients of this sidecar.
//
//	client                          sidecar                                          a node
//	CLIENT TRACKING ON BCAST ....>  Casts: the connection does not have the prefixes
//	                                keepCasts: another one, for all of them ......>  has all nodes join in
//	                                                                <............... a lease
//	<.............. everything      install: NearCast
//	                                the one before is let go, once it has told of what changed until then
//	<........................... k  client.Cast.push: k is stale in the near cache  <............... k
//
// So who was there before misses nothing and is told nothing, when others come and go. When the connection is lost, or its lease lapses, all
// are told to drop everything, and again when there is another; in between, what they read is to be dropped at once.

const (
	// castPauseMin and castPauseMax are the shortest and longest pause between attempts to have a connection.
	castPauseMin = 10 * time.Millisecond
	castPauseMax = time.Second
	// castWidePause is for how long the connection may tell of more than anybody wants.
	castWidePause = 10 * time.Second
	// castSettleMax is how long a connection is kept at most behind the one that follows it.
	castSettleMax = 2 * time.Second
)

// casts is what a sidecar keeps of it.
type casts struct {
	wake chan struct{}            // capacity 1: something has changed
	line atomic.Pointer[castLine] // mu.line, for a look without the lock
	mu   struct {
		sync.Mutex
		line    *castLine // nil: changes are not told of at present
		leaving *castLine // the one before, for as long as it has something to tell; nil: there is none
	}
}

// castLine is one connection, or one to be.
type castLine struct {
	*client.Cast
	prefixes []string // it tells of: sorted, and none begins with another
	version  uint64   // of prefixes
}

// covers tells whether all keys that begin with one of some prefixes begin with one of the line's.
func (l *castLine) covers(prefixes []string) bool {
	for _, prefix := range prefixes {
		if !slices.ContainsFunc(l.prefixes, func(has string) bool { return strings.HasPrefix(prefix, has) }) {
			return false
		}
	}
	return true
}

// NoCast says why clients may not track by prefixes.
func (s *Sidecar) NoCast() string {
	if c := s.grid.Load(); c != nil && c.Casts() != nil {
		return "ERR CLIENT TRACKING BCAST is not possible at this sidecar: " + c.Casts().Error()
	}
	return ""
}

// NoLoop says why clients must hear of their own changes, too.
func (s *Sidecar) NoLoop() string {
	if c := s.grid.Load(); c != nil && c.Origins() != nil {
		return "ERR CLIENT TRACKING NOLOOP is not possible at this sidecar: " + c.Origins().Error() + "; leave it out, and be told of own changes, too"
	}
	return ""
}

// Casts takes up other prefixes than before: at once, where they are told of already.
func (s *Sidecar) Casts() {
	k := &s.casts
	k.mu.Lock()
	version, prefixes := s.srv.NearCasts()
	if k.mu.line != nil && k.mu.line.covers(prefixes) {
		s.srv.NearCast(version, false)
	}
	k.mu.Unlock()
	s.wakeCasts()
}

func (s *Sidecar) wakeCasts() {
	select {
	case s.casts.wake <- struct{}{}:
	default:
	}
}

// CastLeft is for how long the connection's word holds.
func (s *Sidecar) CastLeft() time.Duration {
	if line := s.casts.line.Load(); line != nil {
		return max(0, line.Left())
	}
	return 0
}

// keepCasts sees to it that there is a connection which tells of what clients want to hear of, and of not much more.
func (s *Sidecar) keepCasts() {
	pause, avoid, why := castPauseMin, "", ""
	wide := time.NewTimer(castWidePause)
	defer wide.Stop()
	for narrow := false; ; {
		line, version, prefixes := s.castsNow()
		c := s.grid.Load()
		switch fits := line != nil && line.covers(prefixes); {
		case c == nil:
		case len(prefixes) == 0:
			if line != nil {
				line.Close()
			}
		case fits && (!narrow || slices.Equal(line.prefixes, prefixes)):
			avoid = line.Node() // if it is lost
		default:
			err := s.recast(c, avoid, &castLine{prefixes: prefixes, version: version})
			s.wakeCasts() // there may be other prefixes by now
			if err == nil {
				pause, why = castPauseMin, ""
				break
			}
			if s.ctx.Err() == nil && err.Error() != why {
				why = err.Error()
				s.log.Warn("clients are not told of changes by prefix", "error", err)
			}
			select {
			case <-time.After(pause):
			case <-s.ctx.Done():
			}
			pause = min(2*pause, castPauseMax)
		}
		narrow = false
		select {
		case <-s.casts.wake:
		case <-wide.C:
			narrow = true
			wide.Reset(castWidePause)
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *Sidecar) castsNow() (line *castLine, version uint64, prefixes []string) {
	s.casts.mu.Lock()
	defer s.casts.mu.Unlock()
	version, prefixes = s.srv.NearCasts()
	return s.casts.mu.line, version, prefixes
}

// recast makes the connection, puts it in the place of the one that there is, and lets go of that.
func (s *Sidecar) recast(c *client.Client, avoid string, next *castLine) (err error) {
	next.Cast, err = c.NewCast(s.ctx, avoid, next.prefixes, client.CastWatch{
		Changed: s.srv.NearCastChanged, All: s.srv.NearCastAll, Lost: func() { s.castLost(next) }, Family: s.srv.Family(),
	})
	if err != nil {
		return err
	}
	before, installed := s.install(c, next)
	switch {
	case !installed:
		next.Close()
		return nil
	case before == nil:
		return nil
	}
	ctx, cancel := context.WithTimeout(s.ctx, castSettleMax)
	defer cancel()
	if before.Settle(ctx, next.Cast) == nil {
		s.casts.mu.Lock()
		s.casts.mu.leaving = nil
		s.casts.mu.Unlock()
	}
	before.Close()
	return nil
}

// install has clients rest on a connection from now on, and returns the one on which they have rested; nil where there is none. Those
// who have not rested on any drop everything, and nothing that was held before is answered to them:
//
//	1 k is held; it changes, and word of that is on its way on a near connection
//	2 the client is told to drop everything, and told of what changes from then on
//	3 it reads k, and is answered what is held: nobody would ever tell it
//
// A connection that has been lost meanwhile is not installed, nor one that lacks what somebody has come to rest on.
func (s *Sidecar) install(c *client.Client, next *castLine) (before *castLine, installed bool) {
	k := &s.casts
	k.mu.Lock()
	defer k.mu.Unlock()
	version, prefixes := s.srv.NearCasts()
	before = k.mu.line
	fresh := before == nil
	for _, prefix := range prefixes {
		one := []string{prefix}
		switch had, has := before != nil && before.covers(one), next.covers(one); {
		case had && !has: // somebody has come who rests on the one before
			return nil, false
		case !has: // the next connection is for them
			version = next.version
		case !had:
			fresh = true
		}
	}
	if next.Left() <= 0 { // lost meanwhile: castLost was called, or waits for the lock
		return nil, false
	}
	k.mu.line, k.mu.leaving = next, before
	k.line.Store(next)
	if fresh {
		c.Outside()()
	}
	s.srv.NearCast(version, true)
	return before, true
}

// castLost is told that a connection has ended.
func (s *Sidecar) castLost(line *castLine) {
	k := &s.casts
	k.mu.Lock()
	defer k.mu.Unlock()
	switch line {
	case k.mu.line:
		k.mu.line = nil
		k.line.Store(nil)
		s.srv.NearUncast()
		s.wakeCasts()
	case k.mu.leaving: // it had something to tell
		k.mu.leaving = nil
		s.srv.NearCastAll()
	}
}
