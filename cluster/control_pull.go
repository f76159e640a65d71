package cluster

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/neargrid/neargrid/cluster/core"
)

// pullTables asks for the table whenever that is wanted.
func (c *ControlPlane) pullTables() {
	for {
		select {
		case <-c.pullWanted:
			c.pull()
		case <-c.closing.Done():
			return
		}
	}
}

// pull asks the leader, and where it does not answer, others.
func (c *ControlPlane) pull() {
	if c.config.Transport.Identity().Grid == [16]byte{} {
		return // to be of a grid begins with adopt
	}
	for _, addr := range c.addresses() {
		if c.closing.Err() != nil {
			return
		}
		info, err := c.links.pull(c.closing, addr, pullTimeout, c.follower.newest().Version)
		if err == nil && info.Member {
			err = c.learn(info)
		}
		if err != nil {
			c.log.Debug("pull the table", "from", addr, "error", err)
			continue
		}
		if info.Member && !c.promises.frozen.Load() {
			return
		}
	}
}

// learn takes what a member has said of the grid.
func (c *ControlPlane) learn(info gridInfo) error {
	switch of := core.GenerationOf(info.Delta.Version); {
	case info.Generation != c.generation:
		return c.follow(info)
	case of != c.generation.Number: // the peer has gone over since the handshake
		return fmt.Errorf("%w: a table of generation %d, and this node's is %s", ErrEncoding, of, c.generation)
	case c.promises.frozen.Load():
		return nil
	}
	c.learnServers(info.Servers)
	if known := c.leader.Load(); info.Leader.Term > known.Term {
		c.leader.CompareAndSwap(known, &info.Leader)
	}
	return c.follower.offerDelta(info.Delta)
}

// addressesMax bounds whom a node asks in one round.
const addressesMax = 8

// addresses are where to ask: the leader, raft's servers, those of former times; not this node itself.
func (c *ControlPlane) addresses() (list []string) {
	add := func(addr string) {
		if addr != "" && addr != c.config.Transport.Addr().String() && !slices.Contains(list, addr) && len(list) < addressesMax {
			list = append(list, addr)
		}
	}
	if founder := c.founder.Load(); founder != nil {
		add(*founder)
	}
	_, leader := c.Leader()
	add(leader)
	for _, s := range c.servers().Servers {
		add(cmp.Or(c.addressOf(s.ID), s.Addr))
	}
	for _, addr := range slices.Concat(c.config.Join, c.remembered) {
		add(addr)
	}
	return list
}
