package sidecar

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/protocol"
	"github.com/neargrid/neargrid/server"
)

// What is answered from memory, what fills it, and what local clients that track are told.

func (s *Sidecar) NearTakes(name string) bool { return client.NearTakes(name) }

func (s *Sidecar) NearFits(resp int, args [][]byte) bool { return client.NearFits(resp, args) }

func (s *Sidecar) NearAnswer(w *protocol.Writer, args [][]byte) bool {
	c := s.grid.Load()
	return c != nil && c.NearAnswer(w, args)
}

// NearLeft is for how many milliseconds what was read near counts.
func (s *Sidecar) NearLeft() int64 {
	c := s.grid.Load()
	if c == nil {
		return 0
	}
	left, ok := c.NearVouched()
	if !ok {
		return 0
	}
	return max(0, left.Milliseconds())
}

// readNear reads for the near cache. A read that is to be tracked and is none of what is held there, such as TTL, goes on the same connection.
func (s *Sidecar) readNear(c *client.Client, f *server.Forwarded, done func(server.Answer)) {
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, f.Timeout)
		defer cancel()
		v, tracked, err := c.NearRead(ctx, f.Args)
		if f.Kind == server.ForwardTracked {
			if !tracked {
				s.forgetKeys(f.Args)
			}
			s.restOn()
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
			s.srv.NearChanged(key)
		}
	case client.NearTakes(name):
		s.srv.NearChanged(args[1])
	default:
		s.srv.NearLost()
	}
}

// changed, lost and rests are for package client: see client.NearWatch.
func (s *Sidecar) changed(key []byte) { s.srv.NearChanged(key) }
func (s *Sidecar) lost()              { s.srv.NearLost() }
func (s *Sidecar) rests() bool        { return s.srv.NearRests() }

// restOn has lapses watched.
func (s *Sidecar) restOn() {
	select {
	case s.lapses <- struct{}{}:
	default:
	}
}

// watchLapses has clients that track told to drop everything when a lease has lapsed on which what they have read rests.
func (s *Sidecar) watchLapses() {
	for {
		select {
		case <-s.lapses:
		case <-s.ctx.Done():
			return
		}
		for s.rests() {
			left, ok := s.grid.Load().NearVouched()
			if !ok || left <= 0 {
				s.lost()
				break
			}
			select {
			case <-time.After(left):
			case <-s.ctx.Done():
				return
			}
		}
	}
}
