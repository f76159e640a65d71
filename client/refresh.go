package client

import (
	"context"
	"errors"
	"time"
)

// tableTrust is how long after it was last confirmed a table wins over one with a lower version, which a node that lags behind may
// show. Beyond it, another grid is taken to be at these addresses.
const tableTrust = 5 * time.Second

// refreshSoon has the table asked for, soon.
func (c *Client) refreshSoon() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// refresh asks for the table when it is told to, until the client is closed.
func (c *Client) refresh() {
	for {
		select {
		case <-c.kick:
		case <-c.ctx.Done():
			return
		}
		c.askAnywhere()
		if !sleep(c.ctx, tablePause) {
			return
		}
	}
}

// askAnywhere asks nodes for the table until one has answered: a connected one first, at last the addresses that Connect was given.
func (c *Client) askAnywhere() {
	c.used.Store(false)
	t := c.table.Load()
	first := c.anyNode(t, nil)
	tried := map[string]bool{}
	ask := func(addr string) bool {
		if tried[addr] || c.ctx.Err() != nil {
			return false
		}
		tried[addr] = true
		return c.askAt(c.ctx, addr) == nil
	}
	if ask(first.addr) {
		return
	}
	for _, n := range t.nodes {
		if ask(n.addr) {
			return
		}
	}
	for _, addr := range c.seeds {
		if ask(addr) {
			return
		}
	}
}

// askAt asks the node at an address for the table, and uses it.
func (c *Client) askAt(ctx context.Context, addr string) error {
	conn, err := c.nodeAt(addr).lanes[laneMain].get(ctx)
	if err != nil {
		return err
	}
	if network, _ := network(addr); c.options.Direct || network == "unix" {
		c.apply(&description{kind: tableSingle, addrs: []string{addr}, owners: []int{0}})
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, tableTimeout)
	defer cancel()
	d, err := askTable(ctx, conn, c.table.Load())
	switch {
	case errors.Is(err, errCurrent):
		c.mu.Lock()
		c.mu.confirmed = time.Now()
		c.mu.Unlock()
		return nil
	case err != nil:
		return err
	}
	c.apply(d)
	return nil
}

// apply makes a table of its description and puts it in place, unless a newer one is.
func (c *Client) apply(d *description) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	have := c.table.Load()
	if have != nil && have.kind == tableGrid && d.kind == tableGrid && d.version < have.version && now.Sub(c.mu.confirmed) < tableTrust {
		return
	}
	c.mu.confirmed = now
	t := &table{kind: d.kind, version: d.version, perNode: d.perNode, owners: make([]*node, len(d.owners)), shift: shiftOf(len(d.owners))}
	nodes := map[string]*node{}
	byIndex := make([]*node, len(d.addrs))
	for i, addr := range d.addrs {
		if addr == "" {
			continue
		}
		n := nodes[addr]
		if n == nil {
			if n = c.mu.nodes[addr]; n == nil {
				n = newNode(c, addr)
			}
			nodes[addr] = n
			t.nodes = append(t.nodes, n)
		}
		byIndex[i] = n
	}
	for p, i := range d.owners {
		if i >= 0 {
			t.owners[p] = byIndex[i]
		}
	}
	t.view = t.owned()
	c.mu.nodes = nodes // what is not among them is let go of by the sweeper
	if c.near != nil {
		c.near.tableChanging(t)
	}
	c.table.Store(t)
	if c.near != nil {
		c.near.tableChanged(t)
	}
}

// shiftOf tells by how much a slot is shifted for its partition, of so many.
func shiftOf(partitions int) int {
	shift := 0
	for n := partitions; n < slots; n *= 2 {
		shift++
	}
	return shift
}

// sweep looks after connections and the table's age, until the client is closed.
func (c *Client) sweep() {
	asked := time.Now()
	for sleep(c.ctx, sweepPeriod) {
		now := time.Now()
		age := tableAgeGrid
		if c.table.Load().kind == tableCluster {
			age = tableAgeCluster
		}
		if c.used.Load() && now.Sub(asked) >= age && c.table.Load().kind != tableSingle {
			asked = now
			c.refreshSoon()
		}
		for _, conn := range c.connections() {
			if conn.lane != laneExclusive {
				conn.watchSilence(now)
			}
			conn.readAgain()
			if !c.current(conn.node) && conn.idle() {
				conn.fail(errRetired)
			}
		}
	}
}

func (c *Client) connections() []*conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*conn, 0, len(c.mu.conns))
	for conn := range c.mu.conns {
		all = append(all, conn)
	}
	return all
}

// current tells whether a node is known now, rather than one that the table has dropped.
func (c *Client) current(n *node) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.nodes[n.addr] == n
}

// sleep waits, and tells whether the context has not ended.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
