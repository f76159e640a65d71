package client

import (
	"context"
	"errors"
	"time"
)

// Get returns a string, or ErrNil where there is no such key.
func (c *Client) Get(ctx context.Context, key string) (string, error) {
	if c.near != nil && c.near.matches(key) && c.near.state.Load() != nil {
		return c.near.get(ctx, key)
	}
	return c.text(ctx, "GET", key)
}

// Set sets a string. With a ttl above 0 the key expires after it, to the millisecond; with 0 it does not.
func (c *Client) Set(ctx context.Context, key, value string, ttl time.Duration) error {
	if ttl > 0 {
		return c.okay(ctx, "SET", key, value, "PX", milliseconds(ttl))
	}
	return c.okay(ctx, "SET", key, value)
}

// SetArgs are the further words of SET.
type SetArgs struct {
	IfAbsent, IfPresent bool          // NX, XX
	TTL                 time.Duration // PX; 0 = the key does not expire, unless KeepTTL
	KeepTTL             bool
}

// SetIf sets a string under conditions, and tells whether it did.
func (c *Client) SetIf(ctx context.Context, key, value string, a SetArgs) (bool, error) {
	line := []string{"SET", key, value}
	if a.IfAbsent {
		line = append(line, "NX")
	}
	if a.IfPresent {
		line = append(line, "XX")
	}
	if a.TTL > 0 {
		line = append(line, "PX", milliseconds(a.TTL))
	}
	if a.KeepTTL {
		line = append(line, "KEEPTTL")
	}
	r, err := c.Do(ctx, line...)
	return err == nil && !r.IsNil(), err
}

// GetSet sets a string and returns the one before; ErrNil, where there was none.
func (c *Client) GetSet(ctx context.Context, key, value string) (string, error) {
	return c.text(ctx, "GETSET", key, value)
}

// GetDel deletes a string and returns it, or ErrNil.
func (c *Client) GetDel(ctx context.Context, key string) (string, error) {
	return c.text(ctx, "GETDEL", key)
}

// Append appends to a string and returns its new length in bytes.
func (c *Client) Append(ctx context.Context, key, value string) (int64, error) {
	return c.integer(ctx, "APPEND", key, value)
}

// Strlen returns a string's length in bytes, 0 where there is none.
func (c *Client) Strlen(ctx context.Context, key string) (int64, error) {
	return c.integer(ctx, "STRLEN", key)
}

// GetRange returns the bytes first to last of a string; negative places count from its end.
func (c *Client) GetRange(ctx context.Context, key string, first, last int64) (string, error) {
	return c.text(ctx, "GETRANGE", key, itoa64(first), itoa64(last))
}

// Incr adds 1 to an integer, which begins as 0, and returns the sum.
func (c *Client) Incr(ctx context.Context, key string) (int64, error) {
	return c.integer(ctx, "INCR", key)
}

// IncrBy adds n to an integer, which begins as 0, and returns the sum.
func (c *Client) IncrBy(ctx context.Context, key string, n int64) (int64, error) {
	return c.integer(ctx, "INCRBY", key, itoa64(n))
}

// IncrByFloat adds x to a number, which begins as 0, and returns the sum.
func (c *Client) IncrByFloat(ctx context.Context, key string, x float64) (float64, error) {
	return c.float(ctx, "INCRBYFLOAT", key, ftoa(x))
}

// MGet returns the strings of many keys, in their order. The keys may be on any nodes; each node's are read together, so others may see, and
// cause, changes between the reads of two nodes.
func (c *Client) MGet(ctx context.Context, keys ...string) ([]Optional, error) {
	return c.optionals(ctx, with(keys, "MGET")...)
}

// MSet sets many strings. The keys may be on any nodes; others may see some set and others not yet. Where it fails some may have been set: the
// error is an IndeterminateError, unless none was.
func (c *Client) MSet(ctx context.Context, values map[string]string) error {
	if len(values) == 0 {
		return errors.New("neargrid: MSet got no values")
	}
	return c.okay(ctx, appendPairs(append(make([]string, 0, 1+2*len(values)), "MSET"), values)...)
}
