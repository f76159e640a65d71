package client

import (
	"context"
	"time"
)

// LPush puts values in front of a list, the last of them first, and returns its new length.
func (c *Client) LPush(ctx context.Context, key string, values ...string) (int64, error) {
	return c.integer(ctx, with(values, "LPUSH", key)...)
}

// RPush puts values behind a list and returns its new length.
func (c *Client) RPush(ctx context.Context, key string, values ...string) (int64, error) {
	return c.integer(ctx, with(values, "RPUSH", key)...)
}

// LPop takes the first value of a list; ErrNil where there is none.
func (c *Client) LPop(ctx context.Context, key string) (string, error) {
	return c.text(ctx, "LPOP", key)
}

// RPop takes the last value of a list; ErrNil where there is none.
func (c *Client) RPop(ctx context.Context, key string) (string, error) {
	return c.text(ctx, "RPOP", key)
}

// BLPop takes the first value of the first of the lists that has one, and waits for one at most so long (0 = for as long as the context
// allows); then it returns ErrNil. It has a connection for itself while it waits.
func (c *Client) BLPop(ctx context.Context, wait time.Duration, keys ...string) (key, value string, err error) {
	return c.blockingPop(ctx, "BLPOP", wait, keys)
}

// BRPop is BLPop for the last value.
func (c *Client) BRPop(ctx context.Context, wait time.Duration, keys ...string) (key, value string, err error) {
	return c.blockingPop(ctx, "BRPOP", wait, keys)
}

func (c *Client) blockingPop(ctx context.Context, name string, wait time.Duration, keys []string) (key, value string, err error) {
	found, err := c.texts(ctx, append(with(keys, name), ftoa(wait.Seconds()))...)
	if err != nil {
		return "", "", err
	}
	if len(found) != 2 {
		return "", "", &TypeError{Want: "a key and a value", Got: itoa(len(found)) + " values"}
	}
	return found[0], found[1], nil
}

// LLen returns a list's length.
func (c *Client) LLen(ctx context.Context, key string) (int64, error) {
	return c.integer(ctx, "LLEN", key)
}

// LRange returns the values first to last of a list; negative places count from its end.
func (c *Client) LRange(ctx context.Context, key string, first, last int64) ([]string, error) {
	return c.texts(ctx, "LRANGE", key, itoa64(first), itoa64(last))
}

// LIndex returns one value of a list, or ErrNil.
func (c *Client) LIndex(ctx context.Context, key string, index int64) (string, error) {
	return c.text(ctx, "LINDEX", key, itoa64(index))
}

// LSet changes one value of a list.
func (c *Client) LSet(ctx context.Context, key string, index int64, value string) error {
	return c.okay(ctx, "LSET", key, itoa64(index), value)
}

// LRem removes up to count values equal to value, from the front; from the end where count is negative; all where it is 0. It
// returns how many.
func (c *Client) LRem(ctx context.Context, key string, count int64, value string) (int64, error) {
	return c.integer(ctx, "LREM", key, itoa64(count), value)
}

// LTrim keeps the values first to last.
func (c *Client) LTrim(ctx context.Context, key string, first, last int64) error {
	return c.okay(ctx, "LTRIM", key, itoa64(first), itoa64(last))
}
