package client

import "github.com/neargrid/neargrid/nearcache"

// For programs that keep another client beside this one, and for package goredis, which is one: the near cache must know what is sent
// by other ways.

// Nears tells whether Do would answer this command line by way of the near cache.
func (c *Client) Nears(args ...string) bool {
	return c.near != nil && len(args) > 0 && c.near.state.Load() != nil && c.near.takes(specOf(args[0]), args)
}

// Outside is called before a command is sent to the same servers by other ways than this client, and the function that it returns before
// the outcome of that is used, be it an error. What the command changes or has seen is then not followed by an older near read. Without
// arguments, a command whose keys are not known: everything that is held becomes stale.
func (c *Client) Outside(args ...string) (done func()) {
	if c.near == nil {
		return func() {}
	}
	if len(args) == 0 {
		args = []string{"EVAL"} // which may touch anything
	}
	s := specOf(args[0])
	c.near.sending(s, args)
	return func() { c.near.answered(s, args) }
}

// NearStats returns what the near cache has done since Connect, and what it holds; false where there is none.
func (c *Client) NearStats() (nearcache.Stats, bool) {
	if c.near == nil {
		return nearcache.Stats{}, false
	}
	st := c.near.state.Load()
	if st == nil {
		return nearcache.Stats{}, true
	}
	return st.cache.Stats(), true
}
