package client

import (
	"context"
	"errors"
)

// Scored is a member of a sorted set with its score.
type Scored struct {
	Member string
	Score  float64
}

// ZAdd adds members to a sorted set, or changes their scores, and returns how many are new.
func (c *Client) ZAdd(ctx context.Context, key string, members ...Scored) (int64, error) {
	if len(members) == 0 {
		return 0, errors.New("neargrid: ZAdd got no members")
	}
	line := append(make([]string, 0, 2+2*len(members)), "ZADD", key)
	for _, m := range members {
		line = append(line, ftoa(m.Score), m.Member)
	}
	return c.integer(ctx, line...)
}

// ZIncrBy adds x to a member's score, which begins as 0, and returns the sum.
func (c *Client) ZIncrBy(ctx context.Context, key string, x float64, member string) (float64, error) {
	return c.float(ctx, "ZINCRBY", key, ftoa(x), member)
}

// ZScore returns a member's score, or ErrNil.
func (c *Client) ZScore(ctx context.Context, key, member string) (float64, error) {
	return c.float(ctx, "ZSCORE", key, member)
}

// ZRank returns a member's place, the lowest score first, from 0; or ErrNil.
func (c *Client) ZRank(ctx context.Context, key, member string) (int64, error) {
	return c.integer(ctx, "ZRANK", key, member)
}

// ZRem removes members and returns how many there were.
func (c *Client) ZRem(ctx context.Context, key string, members ...string) (int64, error) {
	return c.integer(ctx, with(members, "ZREM", key)...)
}

// ZCard returns how many members a sorted set has.
func (c *Client) ZCard(ctx context.Context, key string) (int64, error) {
	return c.integer(ctx, "ZCARD", key)
}

// ZRange returns the members at the places first to last, the lowest score first; negative places count from the end.
func (c *Client) ZRange(ctx context.Context, key string, first, last int64) ([]Scored, error) {
	return c.scored(ctx, "ZRANGE", key, itoa64(first), itoa64(last), "WITHSCORES")
}

// ZRevRange is ZRange, the highest score first.
func (c *Client) ZRevRange(ctx context.Context, key string, first, last int64) ([]Scored, error) {
	return c.scored(ctx, "ZREVRANGE", key, itoa64(first), itoa64(last), "WITHSCORES")
}

// ZRangeByScore returns the members with scores from low to high, as Redis writes bounds: "1", "(1", "-inf". limit is at most
// how many, from the offset on; a limit of 0 means all.
func (c *Client) ZRangeByScore(ctx context.Context, key, low, high string, offset, limit int64) ([]Scored, error) {
	line := []string{"ZRANGEBYSCORE", key, low, high, "WITHSCORES"}
	if limit > 0 {
		line = append(line, "LIMIT", itoa64(offset), itoa64(limit))
	}
	return c.scored(ctx, line...)
}

// ZCount returns how many members have scores from low to high.
func (c *Client) ZCount(ctx context.Context, key, low, high string) (int64, error) {
	return c.integer(ctx, "ZCOUNT", key, low, high)
}

// ZPopMin takes up to count members with the lowest scores.
func (c *Client) ZPopMin(ctx context.Context, key string, count int64) ([]Scored, error) {
	return c.scored(ctx, "ZPOPMIN", key, itoa64(count))
}

// scored reads members with scores: in RESP3 pairs, or members and scores in turn.
func (c *Client) scored(ctx context.Context, args ...string) ([]Scored, error) {
	r, err := c.Do(ctx, args...)
	if err != nil {
		return nil, err
	}
	elems, err := r.Elems()
	if err != nil {
		return nil, err
	}
	flat := make([]Reply, 0, 2*len(elems))
	for _, e := range elems {
		if !e.aggregate() {
			flat = append(flat, e)
			continue
		}
		pair, err := e.Elems()
		if err != nil {
			return nil, err
		}
		flat = append(flat, pair...)
	}
	if len(flat)%2 != 0 {
		return nil, r.mismatch("members with scores")
	}
	members := make([]Scored, len(flat)/2)
	for i := range members {
		if members[i].Member, err = flat[2*i].Text(); err != nil {
			return nil, err
		}
		if members[i].Score, err = flat[2*i+1].Float(); err != nil {
			return nil, err
		}
	}
	return members, nil
}
