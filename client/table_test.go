package client

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestTables reads each form of table.
func TestTables(t *testing.T) {
	shards := "*2|" +
		"%2|" + bulk("slots") + "*2|:0|:8191|" + bulk("nodes") + "*2|" + shardNode("replica", 9) + shardNode("master", 1) +
		"%2|" + bulk("slots") + "*2|:8192|:16383|" + bulk("nodes") + "*1|" + shardNode("master", 2)
	for _, c := range []struct {
		name  string
		table string
		shard string
		want  string
	}{
		{"grid doors", string(gridTable(3, []string{"h:1", "h:2"}, 0, 1)), "", "h:1 h:2 grid=true perNode=false 2: h:1 h:2"},
		{"one has no owner", string(gridTable(3, []string{"h:1", "h:2"}, -1, 1)), "", "h:1 h:2 grid=true perNode=false 2: none h:2"},
		{"a witness", string(gridTable(3, []string{"h:1", ":0"}, 0, 0)), "", "h:1 grid=true perNode=false 2: h:1 h:1"},
		{"shards", "", shards, "h:1 h:2 grid=false perNode=true 16384: h:1 h:2"},
		{"alone", "", "", "h:1 grid=false perNode=false 1: h:1 h:1"},
		{"three partitions", string(gridTable(3, []string{"h:1", "h:2"}, 0, 0, 0)), "", "cannot be routed by"},
		{"one node, three partitions", string(gridTable(3, []string{"h:1"}, 0, 0, 0)), "", "a table of 3 partitions"},
		{"one node", string(gridTable(3, []string{"elsewhere:1"}, 0, 0)), "", "h:1 grid=true perNode=false 2: h:1 h:1"},
		{"no doors", string(gridTable(3, []string{":0"}, 0, 0)), "", "h:1 grid=true perNode=false 2: h:1 h:1"},
		{"an owner that is not there", string(gridTable(3, []string{"h:1"}, 1)), "", "cannot be routed by"},
		{"text", "+OK|", "", "cannot be routed by"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFakeNet(t, "h:1", "h:2")
			f.nodes["h:1"].script = func(conn *fakeConn, args []string) bool {
				switch {
				case args[0] == "GRID.TABLE" && c.table != "":
					conn.send("%s", c.table)
				case args[0] == "GRID.TABLE":
					conn.send("-ERR unknown command|")
				case args[0] == "CLUSTER" && c.shard != "":
					conn.send("%s", c.shard)
				default:
					return false
				}
				return true
			}
			got := ""
			client, err := Connect(within(t, 10*time.Second), []string{"h:1"}, Options{Dial: f.dial})
			if err == nil {
				defer client.Close()
				table := client.table.Load()
				name := func(n *node) string {
					if n == nil {
						return "none"
					}
					return n.addr
				}
				got = fmt.Sprintf("%s grid=%v perNode=%v %d: %s %s", strings.Join(client.Nodes(), " "), table.kind == tableGrid, table.perNode,
					table.partitions(), name(table.owner(0)), name(table.owner(slots-1)))
			} else {
				got = err.Error()
			}
			if !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func shardNode(role string, port int) string {
	return fmt.Sprintf("%%4|%s%s%s:%d|%s%s%s%s", bulk("id"), bulk("x"), bulk("port"), port, bulk("endpoint"), bulk("h"), bulk("role"), bulk(role))
}
