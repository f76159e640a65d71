package client

import (
	"context"
	"errors"
)

// HGet returns a field of a hash, or ErrNil.
func (c *Client) HGet(ctx context.Context, key, field string) (string, error) {
	return c.text(ctx, "HGET", key, field)
}

// HSet sets fields of a hash and returns how many of them are new.
func (c *Client) HSet(ctx context.Context, key string, fields map[string]string) (int64, error) {
	if len(fields) == 0 {
		return 0, errors.New("neargrid: HSet got no fields")
	}
	return c.integer(ctx, appendPairs(append(make([]string, 0, 2+2*len(fields)), "HSET", key), fields)...)
}

// HSetNX sets a field that is not there, and tells whether it did.
func (c *Client) HSetNX(ctx context.Context, key, field, value string) (bool, error) {
	return c.truth(ctx, "HSETNX", key, field, value)
}

// HGetAll returns a hash, an empty map where there is none.
func (c *Client) HGetAll(ctx context.Context, key string) (map[string]string, error) {
	r, err := c.Do(ctx, "HGETALL", key)
	if err != nil {
		return nil, err
	}
	return r.Map()
}

// HMGet returns fields of a hash, in the order they are named.
func (c *Client) HMGet(ctx context.Context, key string, fields ...string) ([]Optional, error) {
	return c.optionals(ctx, with(fields, "HMGET", key)...)
}

// HDel deletes fields and returns how many there were.
func (c *Client) HDel(ctx context.Context, key string, fields ...string) (int64, error) {
	return c.integer(ctx, with(fields, "HDEL", key)...)
}

// HExists tells whether a hash has a field.
func (c *Client) HExists(ctx context.Context, key, field string) (bool, error) {
	return c.truth(ctx, "HEXISTS", key, field)
}

// HLen returns how many fields a hash has.
func (c *Client) HLen(ctx context.Context, key string) (int64, error) {
	return c.integer(ctx, "HLEN", key)
}

// HKeys returns the fields' names.
func (c *Client) HKeys(ctx context.Context, key string) ([]string, error) {
	return c.texts(ctx, "HKEYS", key)
}

// HIncrBy adds n to a field, which begins as 0, and returns the sum.
func (c *Client) HIncrBy(ctx context.Context, key, field string, n int64) (int64, error) {
	return c.integer(ctx, "HINCRBY", key, field, itoa64(n))
}
