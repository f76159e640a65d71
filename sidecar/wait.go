package sidecar

import (
	"context"
	"strconv"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/protocol"
	"github.com/neargrid/neargrid/server"
)

// waitPiece is how long a node is asked to wait at a time: a connection must not be silent for long, and the client may be gone.
const waitPiece = time.Second

// waitFor has a node execute WAIT, on a connection of its own: others must not wait behind it.
func (s *Sidecar) waitFor(c *client.Client, to server.NodeID, f *server.Forwarded, done func(server.Answer)) {
	s.answerSoon(done, func() {
		ctx, cancel := context.WithTimeout(s.ctx, f.Timeout+answerSlack)
		defer cancel()
		line, err := c.Dial(ctx, string(to), client.Side{Resp: f.Resp})
		if err != nil {
			done(server.Answer{Outcome: server.NotExecuted})
			return
		}
		defer line.Close()
		v, err := s.waitOn(ctx, line, f)
		if err != nil {
			done(server.Answer{Outcome: server.Unknown})
			return
		}
		done(server.Answer{Outcome: server.Executed, Reply: protocol.AppendValue(nil, v)})
	})
}

// waitOn asks until there are as many backups as are wanted, or the time is over.
func (s *Sidecar) waitOn(ctx context.Context, line *client.Line, f *server.Forwarded) (v protocol.Value, err error) {
	wanted, _ := strconv.ParseInt(string(f.Args[1]), 10, 64)
	timeout := string(f.Args[2])
	ms, _ := strconv.ParseInt(timeout, 10, 64)
	for end := time.Now().Add(min(f.Timeout, time.Duration(min(ms, f.Timeout.Milliseconds()))*time.Millisecond)); ; {
		left := time.Until(end)
		if left > waitPiece {
			timeout = strconv.FormatInt(waitPiece.Milliseconds(), 10)
		} else if ms > 0 {
			timeout = strconv.FormatInt(max(1, left.Milliseconds()), 10)
		}
		v, err = ask(ctx, line, "WAIT", string(f.Args[1]), timeout)
		enough := err != nil || v.Kind != ':' || v.Int >= wanted
		if enough || left <= waitPiece || !s.srv.Lives(f.Session) {
			return v, err
		}
	}
}

// ask sends a command line and waits for the reply.
func ask(ctx context.Context, line *client.Line, words ...string) (protocol.Value, error) {
	type outcome struct {
		v   protocol.Value
		err error
	}
	answered := make(chan outcome, 1)
	err := line.Begin([][]string{words}, func(replies []protocol.Value, err error) {
		o := outcome{err: err}
		if err == nil {
			o.v = replies[0]
		}
		answered <- o
	})
	if err != nil {
		return protocol.Value{}, err
	}
	select {
	case o := <-answered:
		return o.v, o.err
	case <-ctx.Done():
		return protocol.Value{}, ctx.Err()
	}
}
