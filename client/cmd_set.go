package client

import "context"

// SAdd adds members to a set and returns how many are new.
func (c *Client) SAdd(ctx context.Context, key string, members ...string) (int64, error) {
	return c.integer(ctx, with(members, "SADD", key)...)
}

// SRem removes members and returns how many there were.
func (c *Client) SRem(ctx context.Context, key string, members ...string) (int64, error) {
	return c.integer(ctx, with(members, "SREM", key)...)
}

// SMembers returns the members, in no order.
func (c *Client) SMembers(ctx context.Context, key string) ([]string, error) {
	return c.texts(ctx, "SMEMBERS", key)
}

// SIsMember tells whether a set has a member.
func (c *Client) SIsMember(ctx context.Context, key, member string) (bool, error) {
	return c.truth(ctx, "SISMEMBER", key, member)
}

// SCard returns how many members a set has.
func (c *Client) SCard(ctx context.Context, key string) (int64, error) {
	return c.integer(ctx, "SCARD", key)
}

// SPop takes a member at random, or returns ErrNil.
func (c *Client) SPop(ctx context.Context, key string) (string, error) {
	return c.text(ctx, "SPOP", key)
}

// SInter returns the members that all sets have. The keys must be in one slot, where there are several nodes.
func (c *Client) SInter(ctx context.Context, keys ...string) ([]string, error) {
	return c.texts(ctx, with(keys, "SINTER")...)
}

// SUnion returns the members that any set has. The keys must be in one slot, where there are several nodes.
func (c *Client) SUnion(ctx context.Context, keys ...string) ([]string, error) {
	return c.texts(ctx, with(keys, "SUNION")...)
}

// SDiff returns the members of the first set that no other has. The keys must be in one slot, where there are several nodes.
func (c *Client) SDiff(ctx context.Context, keys ...string) ([]string, error) {
	return c.texts(ctx, with(keys, "SDIFF")...)
}
