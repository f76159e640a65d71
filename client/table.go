package client

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"strconv"
	"strings"

	"github.com/neargrid/neargrid/protocol"
)

// table says which node has which keys. It is never changed: a newer one takes its place.
type table struct {
	kind    tableKind
	version uint64  // of GRID.TABLE
	nodes   []*node // that commands can be sent to, at least one
	owners  []*node // by partition; nil = nobody at present
	shift   int     // slot >> shift = partition
	// perNode: commands about all keys, such as DBSIZE, tell of one node. So it is at cluster doors.
	perNode bool
	view    *Owners
}

type tableKind uint8

const (
	tableSingle  tableKind = iota // one node, or what looks like one
	tableGrid                     // GRID.TABLE
	tableCluster                  // CLUSTER SHARDS
)

func (t *table) partitions() int { return len(t.owners) }

// owner returns the node that has a slot, or nil.
func (t *table) owner(slot int) *node { return t.owners[slot>>t.shift] }

// splits tells whether one command may not take keys of several slots: then it is split, or refused by the server. By slot at
// cluster doors, as Redis Cluster has it; grid doors gather, and it is enough to ask each node for its own.
func (t *table) splits() bool { return t.perNode || len(t.nodes) > 1 }

// describe is a table as it was read, before addresses become nodes.
type description struct {
	kind    tableKind
	version uint64
	addrs   []string // of nodes; "" = it has no door
	owners  []int    // by partition, an index into addrs, or -1
	perNode bool
}

// errCurrent says that the version that was asked about is the newest.
var errCurrent = errors.New("the table is current")

// askTable asks a node for the table: GRID.TABLE where it is known, else CLUSTER SHARDS; a server that knows neither is alone.
func askTable(ctx context.Context, c *conn, have *table) (*description, error) {
	line := []string{"GRID.TABLE"}
	if have != nil && have.kind == tableGrid {
		line = append(line, strconv.FormatUint(have.version, 10))
	}
	v, err := c.ask(ctx, line)
	if err != nil {
		return nil, err
	}
	if !v.IsError() {
		d, err := parseGridTable(v, c.node.addr, c.node.client.options.DB != 0 || c.node.client.options.GridDoors)
		if err == errCurrent && len(line) == 1 { // no version was named
			return nil, tableError(c.node.addr, "GRID.TABLE", v)
		}
		return d, err
	}
	v, err = c.ask(ctx, []string{"CLUSTER", "SHARDS"})
	if err != nil {
		return nil, err
	}
	if v.IsError() {
		switch e := serverError(c.node.addr, v.Str); e.Code {
		case "ERR", "NOPERM": // no cluster, or none before Redis 7
			if strings.Contains(e.Text, "cluster support disabled") || e.Code == "NOPERM" {
				return &description{kind: tableSingle, addrs: []string{c.node.addr}, owners: []int{0}}, nil
			}
			return askSlots(ctx, c)
		default:
			return nil, e
		}
	}
	return parseShards(v, c.node.addr)
}

// ask sends one command line and returns the reply, be it an error.
func (c *conn) ask(ctx context.Context, line []string) (v protocol.Value, err error) {
	err = c.roundTrip(ctx, [][]string{line}, func(replies []protocol.Value) { v = replies[0] })
	if err == errAbandoned {
		err = &ConnError{Node: c.node.addr, Op: "read", Sent: true, Err: ctx.Err()}
	}
	return v, err
}

// parseGridTable reads the reply to GRID.TABLE, of a node that was asked at an address; gridDoors is take's. It is the map
//
//	version, partitions, nodes: [id, host, grid-door port, cluster-door port] each, owners: an index into nodes for each partition
func parseGridTable(v protocol.Value, asked string, gridDoors bool) (*description, error) {
	bad := tableError(asked, "GRID.TABLE", v)
	switch {
	case v.Null:
		return nil, errCurrent
	case v.Kind != '%':
		return nil, bad
	}
	d := &description{kind: tableGrid}
	var nodes, owners []protocol.Value
	for i := 0; i+1 < len(v.Elems); i += 2 {
		value := v.Elems[i+1]
		switch string(v.Elems[i].Str) {
		case "version":
			d.version = uint64(value.Int)
		case "nodes":
			nodes = value.Elems
		case "owners":
			owners = value.Elems
		}
	}
	var doors []doorPair
	for _, n := range nodes {
		if len(n.Elems) < 4 {
			return nil, bad
		}
		host := string(n.Elems[1].Str)
		doors = append(doors, doorPair{joinPort(host, n.Elems[2].Int, asked), joinPort(host, n.Elems[3].Int, asked)})
	}
	for _, o := range owners {
		if o.Kind != ':' || o.Int < -1 || o.Int >= int64(len(doors)) {
			return nil, bad
		}
		d.owners = append(d.owners, int(o.Int))
	}
	if len(doors) == 1 || noDoors(doors) {
		return alone(d, doors, asked)
	}
	d.take(doors, gridDoors)
	return d, d.check(bad)
}

// alone is the table of a grid whose only node is the one that was asked: at an address that is known to work, whatever the node
// believes its own to be. A node that has no doors but a Unix socket tells none.
func alone(d *description, doors []doorPair, asked string) (*description, error) {
	d.addrs = []string{asked}
	for i := range d.owners {
		d.owners[i] = min(d.owners[i], 0)
	}
	if _, port, err := net.SplitHostPort(asked); err == nil && len(doors) == 1 {
		_, cluster, _ := net.SplitHostPort(doors[0].cluster)
		d.perNode = port == cluster
	}
	return d, d.check(fmt.Errorf("neargrid: node %s: a table of %d partitions", asked, len(d.owners)))
}

func noDoors(doors []doorPair) bool {
	for _, pair := range doors {
		if pair.grid != "" || pair.cluster != "" {
			return false
		}
	}
	return true
}

// doorPair holds the addresses of one node's doors; "" = it has none.
type doorPair struct{ grid, cluster string }

// take chooses the doors to talk to: cluster doors, which say so where a table is wrong, if each node with a door has one; else
// grid doors, which forward. A mixture would have commands about all keys answered in two senses. With gridDoors those are taken where
// there are some: cluster doors have database 0 alone.
func (d *description) take(doors []doorPair, gridDoors bool) {
	d.perNode = true
	for _, pair := range doors {
		if pair.grid != "" && (gridDoors || pair.cluster == "") {
			d.perNode = false
		}
	}
	for _, pair := range doors {
		if d.perNode {
			d.addrs = append(d.addrs, pair.cluster)
		} else {
			d.addrs = append(d.addrs, pair.grid)
		}
	}
}

// check refuses what could not be routed by.
func (d *description) check(bad error) error {
	n := len(d.owners)
	if n == 0 || n > slots || bits.OnesCount(uint(n)) != 1 || len(d.addrs) > nodesMax {
		return bad
	}
	for _, addr := range d.addrs {
		if addr != "" {
			return nil
		}
	}
	return bad
}

// parseShards reads the reply to CLUSTER SHARDS.
func parseShards(v protocol.Value, asked string) (*description, error) {
	d := newClusterDescription()
	for _, shard := range v.Elems {
		var ranges, nodes []protocol.Value
		for i := 0; i+1 < len(shard.Elems); i += 2 {
			switch string(shard.Elems[i].Str) {
			case "slots":
				ranges = shard.Elems[i+1].Elems
			case "nodes":
				nodes = shard.Elems[i+1].Elems
			}
		}
		for _, n := range nodes {
			fields := pairs(n)
			if string(fields["role"].Str) != "master" {
				continue
			}
			host := string(fields["endpoint"].Str)
			if host == "" || host == "?" {
				host = string(fields["ip"].Str)
			}
			port := fields["port"].Int
			if tls := fields["tls-port"].Int; port == 0 && tls != 0 {
				port = tls
			}
			for i := 0; i+1 < len(ranges); i += 2 {
				d.own(ranges[i].Int, ranges[i+1].Int, joinPort(host, port, asked))
			}
		}
	}
	return d, d.check(tableError(asked, "CLUSTER SHARDS", v))
}

// askSlots asks as Redis before 7 wants it.
func askSlots(ctx context.Context, c *conn) (*description, error) {
	asked := c.node.addr
	v, err := c.ask(ctx, []string{"CLUSTER", "SLOTS"})
	if err != nil {
		return nil, err
	}
	if v.IsError() {
		return &description{kind: tableSingle, addrs: []string{asked}, owners: []int{0}}, nil
	}
	d := newClusterDescription()
	for _, r := range v.Elems {
		if len(r.Elems) < 3 || len(r.Elems[2].Elems) < 2 {
			return nil, tableError(asked, "CLUSTER SLOTS", v)
		}
		master := r.Elems[2].Elems
		d.own(r.Elems[0].Int, r.Elems[1].Int, joinPort(string(master[0].Str), master[1].Int, asked))
	}
	return d, d.check(tableError(asked, "CLUSTER SLOTS", v))
}

func newClusterDescription() *description {
	d := &description{kind: tableCluster, perNode: true, owners: make([]int, slots)}
	for i := range d.owners {
		d.owners[i] = -1
	}
	return d
}

// own gives a range of slots to the node at an address.
func (d *description) own(first, last int64, addr string) {
	if addr == "" || first < 0 || last >= slots {
		return
	}
	index := -1
	for i, a := range d.addrs {
		if a == addr {
			index = i
		}
	}
	if index < 0 {
		index = len(d.addrs)
		d.addrs = append(d.addrs, addr)
	}
	for s := first; s <= last; s++ {
		d.owners[s] = index
	}
}

func pairs(v protocol.Value) map[string]protocol.Value {
	m := map[string]protocol.Value{}
	for i := 0; i+1 < len(v.Elems); i += 2 {
		m[string(v.Elems[i].Str)] = v.Elems[i+1]
	}
	return m
}

// joinPort is the address of a port, or "" for port 0. A node that does not know its host is at the one that was asked.
func joinPort(host string, port int64, asked string) string {
	if port <= 0 || port > 65535 {
		return ""
	}
	if host == "" || host == "?" {
		host, _, _ = net.SplitHostPort(asked)
	}
	return net.JoinHostPort(host, strconv.FormatInt(port, 10))
}

func tableError(asked, command string, v protocol.Value) error {
	return fmt.Errorf("neargrid: node %s: the reply to %s cannot be routed by: it has kind %q and %d members", asked, command, v.Kind, len(v.Elems))
}
