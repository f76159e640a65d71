package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/client/goredis"
)

// reader is a kind of client with a near cache. Its methods are called by several goroutines.
type reader interface {
	// pass reads keys, in any order, and judges each that was read: look.end. Those that cannot be read by the context's end are left out.
	pass(ctx context.Context, v *viewer, keys []*history)
	// set writes, and tells what has become of it.
	set(ctx context.Context, key, value string, ttl time.Duration) outcome
	// hits counts the reads that the near cache has answered, since it began.
	hits() int64
	// flushes counts what was found to be of a partition or node that had been invalidated as a whole.
	flushes() int64
	close()
}

// clientReader is package client.
type clientReader struct{ c *client.Client }

func newClient(ctx context.Context, addrs []string, o client.Options) (*clientReader, error) {
	ctx, cancel := context.WithTimeout(ctx, connectMax)
	defer cancel()
	c, err := client.Connect(ctx, addrs, o)
	if err != nil {
		return nil, err
	}
	return &clientReader{c}, nil
}

func (r *clientReader) pass(ctx context.Context, v *viewer, keys []*history) {
	for _, h := range keys {
		l := v.begin(h)
		text, err := r.c.Get(ctx, h.key)
		switch {
		case err == nil:
			l.end(text, true)
		case errors.Is(err, client.ErrNil):
			l.end("", false)
		default:
			v.tally.failed.Add(1)
		}
	}
}

func (r *clientReader) set(ctx context.Context, key, value string, ttl time.Duration) outcome {
	return outcomeOf(r.c.Set(ctx, key, value, ttl))
}

func outcomeOf(err error) outcome {
	switch {
	case err == nil:
		return done
	case client.NotExecuted(err) || client.IsCode(err, "OOM"):
		return refused
	}
	return unknown
}

func (r *clientReader) hits() int64 {
	stats, _ := r.c.NearStats()
	return stats.Hits
}

func (r *clientReader) flushes() int64 {
	stats, _ := r.c.NearStats()
	return stats.MissesPartition
}

func (r *clientReader) close() { r.c.Close() }

// hookReader is go-redis with the hook.
type hookReader struct {
	rdb  *redis.Client
	near *goredis.Near
}

// quiet has go-redis write nothing of its own accord: that nodes cannot be reached is what is tried here.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

func newHook(ctx context.Context, addr string, h *holes, near client.NearCache) (*hookReader, error) {
	redis.SetLogger(quiet{})
	// Commands are not sent twice: what came of the first time is not told.
	rdb := redis.NewClient(&redis.Options{Addr: addr, Dialer: h.Dial, MaxRetries: -1, ContextTimeoutEnabled: true})
	ctx, cancel := context.WithTimeout(ctx, connectMax)
	defer cancel()
	n, err := goredis.Attach(ctx, rdb, near)
	if err != nil {
		return nil, errors.Join(err, rdb.Close())
	}
	return &hookReader{rdb, n}, nil
}

func (r *hookReader) pass(ctx context.Context, v *viewer, keys []*history) {
	for _, h := range keys {
		l := v.begin(h)
		text, err := r.rdb.Get(ctx, h.key).Result()
		switch {
		case err == nil:
			l.end(text, true)
		case errors.Is(err, redis.Nil):
			l.end("", false)
		default:
			v.tally.failed.Add(1)
		}
	}
}

func (r *hookReader) set(ctx context.Context, key, value string, ttl time.Duration) outcome {
	err := r.rdb.Set(ctx, key, value, ttl).Err()
	if err == nil {
		return done
	}
	return outcomeOfText(err.Error())
}

// outcomeOfText is that of a write with an error reply.
func outcomeOfText(text string) outcome {
	switch word, _, _ := strings.Cut(text, " "); word {
	case "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS", "LOADING", "OOM":
		return refused
	}
	return unknown
}

func (r *hookReader) hits() int64    { return (&clientReader{r.near.Client()}).hits() }
func (r *hookReader) flushes() int64 { return (&clientReader{r.near.Client()}).flushes() }

func (r *hookReader) close() {
	r.near.Close()
	r.rdb.Close()
}
