package sidecar

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/protocol"
	"github.com/neargrid/neargrid/server"
)

// What is answered from memory, what fills it, and what local clients that track are told.

func (s *Sidecar) NearTakes(name string) bool { return client.NearTakes(name) }

func (s *Sidecar) NearFits(resp int, args [][]byte) bool {
	c := s.grid.Load()
	return c != nil && c.NearFits(resp, args)
}

func (s *Sidecar) NearAnswer(w *protocol.Writer, args [][]byte) bool {
	c := s.grid.Load()
	return c != nil && c.NearAnswer(w, args)
}

// NearLeft is for how long what was read near counts: as long as the shortest lease.
func (s *Sidecar) NearLeft() time.Duration {
	c := s.grid.Load()
	if c == nil {
		return 0
	}
	leases := c.NearLeases()
	if len(leases) == 0 {
		return 0
	}
	shortest := slices.MinFunc(leases, func(a, b client.NearLease) int { return cmp.Compare(a.Left, b.Left) })
	return max(0, shortest.Left)
}

// readNear reads for the near cache. A read that is to be tracked and is none of what is held there, such as TTL, goes on the same connection.
func (s *Sidecar) readNear(c *client.Client, f *server.Forwarded, done func(server.Answer)) {
	s.answerSoon(done, func() {
		ctx, cancel := context.WithTimeout(s.ctx, f.Timeout)
		defer cancel()
		v, tracked, err := c.NearRead(ctx, f.Args)
		if f.Kind == server.ForwardTracked {
			if !tracked {
				s.forgetKeys(f.Args)
			}
		}
		done(nearAnswer(v, err, f.Resp))
	})
}

// nearAnswer makes an answer of what a near read has ended with.
func nearAnswer(v protocol.Value, err error, resp int) server.Answer {
	var refused *client.ServerError
	switch {
	case errors.As(err, &refused) && !v.IsError():
		return server.Answer{Outcome: server.Executed, Reply: errorReply(refused.Text)}
	case err != nil && !v.IsError():
		return server.Answer{Outcome: server.NotExecuted}
	case resp == 2:
		return server.Answer{Outcome: server.Executed, Reply: protocol.AppendValue2(nil, v)}
	}
	return server.Answer{Outcome: server.Executed, Reply: protocol.AppendValue(nil, v)}
}

// forgetKeys has clients told to drop what was read past the near connections.
func (s *Sidecar) forgetKeys(args [][]byte) {
	switch name := strings.ToLower(string(args[0])); {
	case name == "mget":
		for _, key := range args[1:] {
			s.srv.NearChanged(key, 0)
		}
	case client.NearTakes(name):
		s.srv.NearChanged(args[1], 0)
	default:
		s.srv.NearLost()
	}
}

// changed, lost and rests are for package client: see client.NearWatch.
func (s *Sidecar) changed(key []byte, by uint64) { s.srv.NearChanged(key, by) }
func (s *Sidecar) lost()                         { s.srv.NearLost() }
func (s *Sidecar) rests() bool                   { return s.srv.NearRests() }

// lapsePeriodShare is the part of the age bound that passes at most between two looks at the leases.
const lapsePeriodShare = 4

// watchLapses has clients that track told to drop everything when a lease has lapsed. One that had lapsed before anybody rested on it is
// asked for again before anything is read under it.
func (s *Sidecar) watchLapses() {
	looked := map[client.Sent]client.NearLease{}
	for {
		pause := s.staleness() / lapsePeriodShare
		var leases []client.NearLease
		if c := s.grid.Load(); c != nil {
			leases = c.NearLeases()
		}
		if lapsed(looked, leases) && s.rests() {
			s.lost()
		}
		clear(looked)
		for _, l := range leases {
			looked[l.Conn] = l
			if l.Left > 0 {
				pause = min(pause, l.Left)
			}
		}
		select {
		case <-time.After(pause):
		case <-s.ctx.Done():
			return
		}
	}
}

// lapsed tells whether a lease has run out that had not, or that was another, at the last look. Connections that have ended have told so.
func lapsed(looked map[client.Sent]client.NearLease, leases []client.NearLease) bool {
	return slices.ContainsFunc(leases, func(l client.NearLease) bool {
		before := looked[l.Conn]
		return l.Left <= 0 && (before.Left > 0 || before.Until != l.Until)
	})
}
