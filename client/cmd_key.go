package client

import (
	"context"
	"iter"
	"time"
)

// Del deletes keys, on any nodes, and returns how many there were. See Do about atomicity.
func (c *Client) Del(ctx context.Context, keys ...string) (int64, error) {
	return c.integer(ctx, with(keys, "DEL")...)
}

// Unlink is Del; servers that can give the memory back later.
func (c *Client) Unlink(ctx context.Context, keys ...string) (int64, error) {
	return c.integer(ctx, with(keys, "UNLINK")...)
}

// Exists returns how many of the keys there are, on any nodes; one that is named twice counts twice.
func (c *Client) Exists(ctx context.Context, keys ...string) (int64, error) {
	return c.integer(ctx, with(keys, "EXISTS")...)
}

// Touch marks keys as used now, for eviction, and returns how many there were.
func (c *Client) Touch(ctx context.Context, keys ...string) (int64, error) {
	return c.integer(ctx, with(keys, "TOUCH")...)
}

// Expire has a key expire after ttl, and tells whether there is one.
func (c *Client) Expire(ctx context.Context, key string, ttl time.Duration) (bool, error) {
	return c.truth(ctx, "PEXPIRE", key, milliseconds(ttl))
}

// ExpireAt has a key expire at a time of the server's clock, and tells whether there is one.
func (c *Client) ExpireAt(ctx context.Context, key string, at time.Time) (bool, error) {
	return c.truth(ctx, "PEXPIREAT", key, itoa64(at.UnixMilli()))
}

// Persist takes a key's expiry away, and tells whether it had one.
func (c *Client) Persist(ctx context.Context, key string) (bool, error) {
	return c.truth(ctx, "PERSIST", key)
}

// NoExpiry is what TTL returns of a key that does not expire.
const NoExpiry time.Duration = -1

// TTL returns how long a key will still live, or NoExpiry; ErrNil where there is none.
func (c *Client) TTL(ctx context.Context, key string) (time.Duration, error) {
	ms, err := c.integer(ctx, "PTTL", key)
	switch {
	case err != nil:
		return 0, err
	case ms == -2:
		return 0, ErrNil
	case ms == -1:
		return NoExpiry, nil
	}
	return time.Duration(ms) * time.Millisecond, nil
}

// Type returns "string", "list", "set", "zset", "hash", "stream", or "none" where there is no such key.
func (c *Client) Type(ctx context.Context, key string) (string, error) {
	return c.text(ctx, "TYPE", key)
}

// Rename gives a key another name, in place of what has it. Both must be in one slot, where there are several nodes.
func (c *Client) Rename(ctx context.Context, key, name string) error {
	return c.okay(ctx, "RENAME", key, name)
}

// Copy copies a key, and tells whether it did: not where there is no such key, or, without replace, where there is one of the
// other name. Both must be in one slot, where there are several nodes.
func (c *Client) Copy(ctx context.Context, from, to string, replace bool) (bool, error) {
	if replace {
		return c.truth(ctx, "COPY", from, to, "REPLACE")
	}
	return c.truth(ctx, "COPY", from, to)
}

// DBSize returns how many keys there are, on all nodes.
func (c *Client) DBSize(ctx context.Context) (int64, error) {
	return c.integer(ctx, "DBSIZE")
}

// FlushAll deletes all keys, on all nodes, of all databases.
func (c *Client) FlushAll(ctx context.Context) error { return c.okay(ctx, "FLUSHALL") }

// Ping asks any node for a sign of life.
func (c *Client) Ping(ctx context.Context) error { return c.okay(ctx, "PING") }

// Scan walks over the keys of all nodes that match a pattern ("" = all). A key that is there from beginning to end is seen, perhaps
// more than once; others may be. count says how much to look at for one answer; 0 leaves it to the server. The walk ends with the first
// error.
func (c *Client) Scan(ctx context.Context, pattern string, count int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		t := c.table.Load()
		nodes := t.nodes
		if !t.perNode {
			nodes = []*node{c.anyNode(t, nil)} // which speaks for all
		}
		for _, n := range nodes {
			if !c.scanNode(ctx, n, pattern, count, yield) {
				return
			}
		}
	}
}

// scanNode walks over one node's keys, and tells whether the walk goes on.
func (c *Client) scanNode(ctx context.Context, n *node, pattern string, count int, yield func(string, error) bool) bool {
	for cursor := "0"; ; {
		line := []string{"SCAN", cursor}
		if pattern != "" {
			line = append(line, "MATCH", pattern)
		}
		if count > 0 {
			line = append(line, "COUNT", itoa(count))
		}
		v, err := c.one(ctx, specOf("SCAN"), line, -1, n)
		if err == nil && len(v.Elems) != 2 {
			err = Reply{v}.mismatch("a cursor and keys")
		}
		var keys []string
		if err == nil {
			keys, err = Reply{v.Elems[1]}.Strings()
		}
		if err != nil {
			yield("", err)
			return false
		}
		for _, key := range keys {
			if !yield(key, nil) {
				return false
			}
		}
		if cursor = string(v.Elems[0].Str); cursor == "0" {
			return true
		}
	}
}
