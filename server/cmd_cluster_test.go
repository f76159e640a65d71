package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/partition"
)

// connectCluster is connect by the cluster door.
func (p *inProcess) connectCluster() *client {
	c := p.connect()
	c.session.info.Cluster = true
	return c
}

// ask sends a command and returns its reply in the notation of testredis.
func (c *client) ask(args ...string) string {
	c.server.t.Helper()
	return testredis.Format(c.read(args...))
}

// read sends a command and returns its reply.
func (c *client) read(args ...string) testredis.Value {
	c.server.t.Helper()
	v, err := testredis.Read(bufio.NewReader(bytes.NewReader(c.do(args...))))
	if err != nil {
		c.server.t.Fatalf("%s: %v", quoted(args), err)
	}
	return v
}

// withGrid runs f in a bubble, with a server of the topology's partitions.
func withGrid(t *testing.T, top *Topology, f func(srv *inProcess, r *fakeRouter)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newFakeRouter(t, top)
		f(newInProcess(t, Options{Partitions: len(top.Parts), Router: r}), r)
	})
}

// gridTest is a topology for tests of replies: what the replies are to say of it stands beside it. Each node is named by its last
// digits: ids are 1, 2, 3 ... in the order of the names.
type gridTest struct {
	name          string
	top           *Topology
	slots, shards string // first-last:master,replica;...   slots:master,replica;...
	roles         string // as in CLUSTER NODES
}

func gridTests() []gridTest {
	abc := []NodeID{"a", "b", "c"}
	noDoor := gridOf(1, "a", abc, "a b", "b a", "c a", "a c")
	noDoor.Nodes[1].Cluster = ""
	fenced := gridOf(1, "a", abc, "a b", "a b", "b a", "b a")
	fenced.Nodes[2].Fenced = true
	witness := gridOf(1, "a", []NodeID{"a", "w"}, "a", "a", "a", "a")
	witness.Nodes[1].Cluster, witness.Nodes[1].Witness = "", true
	return []gridTest{
		{"one node", gridOf(1, "a", []NodeID{"a"}, "a", "a", "a", "a"),
			"0-16383:1", "0-16383:1", "1 master - 103 0-16383"},
		// All lead something: nobody is a replica, and who backs what does not divide ranges.
		{"three nodes", gridOf(1, "b", abc, "a b", "a c", "b a", "c b"),
			"0-8191:1;8192-12287:2;12288-16383:3", "0-8191:1;8192-12287:2;12288-16383:3",
			"1 master - 101 0-8191;2 myself,master - 102 8192-12287;3 master - 103 12288-16383"},
		{"ranges that do not touch", gridOf(1, "a", abc, "a", "b", "a", "c"),
			"0-4095:1;4096-8191:2;8192-12287:1;12288-16383:3", "0-4095,8192-12287:1;4096-8191:2;12288-16383:3",
			"1 master - 102 0-4095 8192-12287;2 master - 101 4096-8191;3 master - 103 12288-16383"},
		// c leads nothing. It is a replica of b, of which it backs most; in the ranges it stands where it truly is.
		{"a node without primaries", gridOf(1, "c", abc, "a c", "a b", "b c", "b c"),
			"0-4095:1,3;4096-8191:1;8192-16383:2,3", "0-8191:1;8192-16383:2,3",
			"1 master - 101 0-8191;2 master - 103 8192-16383;3 myself,slave 2 103"},
		{"a node that backs two", gridOf(1, "c", abc, "a c", "a c", "b c", "b a"),
			"0-8191:1,3;8192-12287:2,3;12288-16383:2", "0-8191:1,3;8192-16383:2",
			"1 master - 101 0-8191;2 master - 103 8192-16383;3 myself,slave 1 101"},
		{"a node without anything", gridOf(1, "a", abc, "a b", "a b", "b a", "b a"),
			"0-8191:1;8192-16383:2", "0-8191:1;8192-16383:2;:3",
			"1 master - 101 0-8191;2 master - 103 8192-16383;3 master - 0"},
		{"a lost partition", gridOf(1, "a", abc, "a b", "", "a b", "b a"),
			"0-4095:1;8192-12287:1;12288-16383:2", "0-4095,8192-12287:1;12288-16383:2;:3",
			"1 master - 102 0-4095 8192-12287;2 master - 103 12288-16383;3 master - 0"},
		{"a node without a cluster door", noDoor,
			"0-4095:1;8192-12287:3;12288-16383:1", "0-4095,12288-16383:1;8192-12287:3",
			"1 master - 103 0-4095 12288-16383;3 master - 102 8192-12287"},
		{"a fenced node", fenced,
			"0-8191:1;8192-16383:2", "0-8191:1;8192-16383:2;:3!",
			"1 master - 101 0-8191;2 master - 103 8192-16383;3 master,fail - 0"},
		{"a witness", witness,
			"0-16383:1", "0-16383:1", "1 master - 103 0-16383"},
	}
}

func TestClusterTopologies(t *testing.T) {
	for _, tt := range gridTests() {
		for _, resp := range []string{"2", "3"} {
			t.Run(tt.name+"/RESP"+resp, func(t *testing.T) {
				withGrid(t, tt.top, func(srv *inProcess, _ *fakeRouter) {
					c := srv.connectCluster()
					c.do("HELLO", resp)
					if got := shortSlots(c.read("CLUSTER", "SLOTS")); got != tt.slots {
						t.Errorf("CLUSTER SLOTS\ngot  %s\nwant %s", got, tt.slots)
					}
					if got := shortShards(c.read("CLUSTER", "SHARDS")); got != tt.shards {
						t.Errorf("CLUSTER SHARDS\ngot  %s\nwant %s", got, tt.shards)
					}
					if got := shortNodes(strings.TrimPrefix(c.read("CLUSTER", "NODES").Text, "txt:")); got != withMyself(tt) {
						t.Errorf("CLUSTER NODES\ngot  %s\nwant %s", got, withMyself(tt))
					}
				})
			})
		}
	}
}

// withMyself marks the first node where the test is written without it.
func withMyself(tt gridTest) string {
	if strings.Contains(tt.roles, "myself,") {
		return tt.roles
	}
	return strings.Replace(tt.roles, "1 master", "1 myself,master", 1)
}

func shortID(run string) string { return strings.TrimLeft(run, "0") }

func shortSlots(v testredis.Value) string {
	var ranges []string
	for _, r := range v.Elems {
		var nodes []string
		for _, n := range r.Elems[2:] {
			nodes = append(nodes, shortID(n.Elems[2].Text))
		}
		ranges = append(ranges, r.Elems[0].Text+"-"+r.Elems[1].Text+":"+strings.Join(nodes, ","))
	}
	return strings.Join(ranges, ";")
}

// shortShards marks nodes that are not online with an exclamation mark.
func shortShards(v testredis.Value) string {
	var shards []string
	for _, s := range v.Elems {
		slots, _ := field(s, "slots")
		list, _ := field(s, "nodes")
		var ranges, nodes []string
		for i := 0; i < len(slots.Elems); i += 2 {
			ranges = append(ranges, slots.Elems[i].Text+"-"+slots.Elems[i+1].Text)
		}
		for i, n := range list.Elems {
			id, _ := field(n, "id")
			role, _ := field(n, "role")
			health, _ := field(n, "health")
			text := shortID(id.Text)
			if (role.Text == "master") != (i == 0) {
				text += "?"
			}
			if health.Text != "online" {
				text += "!"
			}
			nodes = append(nodes, text)
		}
		shards = append(shards, strings.Join(ranges, ",")+":"+strings.Join(nodes, ","))
	}
	return strings.Join(shards, ";")
}

// shortNodes leaves out of CLUSTER NODES what is the same in every line.
func shortNodes(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		short := []string{shortID(w[0]), w[2], shortID(w[3]), w[6]}
		lines = append(lines, strings.Join(append(short, w[8:]...), " "))
	}
	return strings.Join(lines, ";")
}

func TestClusterReplicas(t *testing.T) {
	top := gridOf(1, "a", []NodeID{"a", "b", "c"}, "a c", "a b", "b c", "b c")
	withGrid(t, top, func(srv *inProcess, _ *fakeRouter) {
		c := srv.connectCluster()
		line := `"` + top.Nodes[2].Run + ` 10.0.0.3:7379@16379 slave ` + top.Nodes[1].Run + ` 0 0 103 connected"`
		for _, tt := range []struct{ words, want string }{
			{"REPLICAS " + top.Nodes[1].Run, "1) " + line},
			{"SLAVES " + top.Nodes[1].Run, "1) " + line},
			{"REPLICAS " + top.Nodes[0].Run, "(empty array)"},
			{"REPLICAS " + top.Nodes[2].Run, "(error) ERR The specified node is not a master"},
			{"REPLICAS nobody", "(error) ERR Unknown node nobody"},
			{"COUNT-FAILURE-REPORTS " + top.Nodes[2].Run, "(integer) 0"},
			{"COUNT-FAILURE-REPORTS nobody", "(error) ERR Unknown node nobody"},
			{"MYID", `"` + top.Nodes[0].Run + `"`},
		} {
			if got := c.ask(append([]string{"CLUSTER"}, strings.Fields(tt.words)...)...); got != tt.want {
				t.Errorf("CLUSTER %s\ngot  %s\nwant %s", tt.words, got, tt.want)
			}
		}
	})
}

// A node that the table does not name yet says so.
func TestClusterNotInTable(t *testing.T) {
	top := gridOf(1, "z", []NodeID{"a"}, "a")
	withGrid(t, top, func(srv *inProcess, _ *fakeRouter) {
		if got, want := srv.connectCluster().ask("CLUSTER", "MYID"), "(error) "+errNotInTable; got != want {
			t.Errorf("CLUSTER MYID: got %s, want %s", got, want)
		}
	})
}

// A door on a name rather than an address is announced by it, as with Redis's cluster-preferred-endpoint-type hostname.
func TestClusterHostnames(t *testing.T) {
	top := gridOf(1, "a", []NodeID{"a"}, "a")
	top.Nodes[0].Cluster = "grid.example:7379"
	withGrid(t, top, func(srv *inProcess, _ *fakeRouter) {
		c := srv.connectCluster()
		if got := c.read("CLUSTER", "SLOTS").Elems[0].Elems[2].Elems[0].Text; got != "grid.example" {
			t.Errorf("CLUSTER SLOTS announces %q", got)
		}
		c.do("HELLO", "3")
		nodes, _ := field(c.read("CLUSTER", "SHARDS").Elems[0], "nodes")
		want := `1# "id" => "` + top.Nodes[0].Run + `"
2# "port" => (integer) 7379
3# "ip" => ""
4# "endpoint" => "grid.example"
5# "hostname" => "grid.example"
6# "role" => "master"
7# "replication-offset" => (integer) 0
8# "health" => "online"`
		if got := testredis.Format(nodes.Elems[0]); got != want {
			t.Errorf("CLUSTER SHARDS announces\n%s\nwant\n%s", got, want)
		}
	})
}

func TestClusterInfo(t *testing.T) {
	abc := []NodeID{"a", "b", "c"}
	fenced := gridOf(1, "a", abc, "a", "b", "c", "a")
	fenced.Nodes[2].Fenced = true
	noDoor := gridOf(1, "a", abc, "a", "b", "c", "a")
	noDoor.Nodes[2].Cluster = ""
	for _, tt := range []struct {
		name   string
		top    *Topology
		serves map[int]uint64
		// state, slots assigned, ok, pfail, fail; nodes, size, current epoch, my epoch
		want string
	}{
		{"all is well", gridOf(1, "a", abc, "a", "b", "c", "a"), nil, "ok 16384 16384 0 0 3 3 103 103"},
		{"a replica", gridOf(1, "c", abc, "a b", "b c", "b c", "a b"), nil, "ok 16384 16384 0 0 3 2 103 102"},
		{"lost", gridOf(1, "a", abc, "a", "", "c", "a"), nil, "fail 12288 12288 0 0 3 2 103 103"},
		{"not served by this node", gridOf(1, "a", abc, "a", "b", "c", "a"), map[int]uint64{0: 1}, "fail 16384 12288 4096 0 3 3 103 103"},
		{"led by a fenced node", fenced, nil, "fail 16384 12288 0 4096 3 3 103 103"},
		{"led by a node without a door", noDoor, nil, "fail 16384 12288 0 4096 2 2 103 103"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withGrid(t, tt.top, func(srv *inProcess, r *fakeRouter) {
				r.setServes(tt.serves)
				var values []string
				for line := range strings.Lines(srv.connectCluster().read("CLUSTER", "INFO").Text) {
					_, value, _ := strings.Cut(strings.TrimSpace(line), ":")
					values = append(values, value)
				}
				if got := strings.Join(values, " "); got != tt.want {
					t.Errorf("CLUSTER INFO\ngot  %s\nwant %s", got, tt.want)
				}
			})
		})
	}
}

// rowWords is the shortest command line of a row.
func rowWords(r *Row) []string {
	words := strings.Split(r.fullName(), "|")
	for n := max(r.Arity, -r.Arity); len(words) < n; {
		words = append(words, "1")
	}
	return words
}

func clusterDoorRows() (rows []*Row) {
	for _, r := range clusterRows {
		if len(r.Subs) == 0 {
			rows = append(rows, r)
		}
		rows = append(rows, r.Subs...)
	}
	return rows
}

// At the grid door, of a grid and of a node that is alone, there is no Redis Cluster.
func TestClusterIsDisabledAtTheGridDoor(t *testing.T) {
	check := func(t *testing.T, c *client) {
		for _, r := range clusterDoorRows() {
			if got, want := c.ask(rowWords(r)...), "(error) "+errNoCluster; got != want {
				t.Errorf("%s: got %s, want %s", quoted(rowWords(r)), got, want)
			}
		}
	}
	t.Run("grid", func(t *testing.T) {
		withGrid(t, gridOf(1, "a", []NodeID{"a", "b"}, "a", "b"), func(srv *inProcess, _ *fakeRouter) { check(t, srv.connect()) })
	})
	t.Run("alone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { check(t, newInProcess(t, Options{Partitions: 4}).connect()) })
	})
}

// What would change a cluster is refused, one and all, and nothing else is.
func TestClusterChangesAreRefused(t *testing.T) {
	changes := strings.Fields("addslots addslotsrange bumpepoch delslots delslotsrange failover flushslots forget meet replicate reset " +
		"saveconfig set-config-epoch setslot")
	withGrid(t, gridOf(1, "a", []NodeID{"a", "b"}, "a", "b"), func(srv *inProcess, _ *fakeRouter) {
		c := srv.connectCluster()
		for _, r := range clusterDoorRows() {
			got := c.ask(rowWords(r)...)
			if refused := got == "(error) "+errSelfManaged; refused != slices.Contains(changes, r.Name) {
				t.Errorf("%s: got %s", quoted(rowWords(r)), got)
			}
		}
	})
}

func TestKeysInSlot(t *testing.T) {
	const slot = 12182 // of foo
	text := strconv.Itoa(slot)
	withGrid(t, gridOf(1, "a", []NodeID{"a"}, "a", "a", "a", "a"), func(srv *inProcess, _ *fakeRouter) {
		c := srv.connectCluster()
		if got := c.ask("CLUSTER", "COUNTKEYSINSLOT", text); got != "(integer) 0" {
			t.Errorf("an empty slot has %s keys", got)
		}
		for _, key := range []string{"foo", "{foo}1", "{foo}2", "{foo}old", "bar", "{bar}1"} {
			c.do("SET", key, "v")
		}
		same := 0 // keys of other slots in the same partition
		for i := 0; same < 3; i++ {
			key := "other" + strconv.Itoa(i)
			if s := partition.Slot([]byte(key)); s != slot && srv.partitionOfSlot(s) == srv.partitionOfSlot(slot) {
				c.do("SET", key, "v")
				same++
			}
		}
		other := srv.connect() // at the grid door, where there are more databases: they do not count
		other.do("SELECT", "1")
		other.do("SET", "{foo}elsewhere", "v")
		c.do("PEXPIRE", "{foo}old", "5")
		time.Sleep(10 * time.Millisecond)

		if got := c.ask("CLUSTER", "COUNTKEYSINSLOT", text); got != "(integer) 3" {
			t.Errorf("COUNTKEYSINSLOT: got %s, want 3", got)
		}
		keys := c.read("CLUSTER", "GETKEYSINSLOT", text, "100").Strings()
		slices.Sort(keys)
		if got := strings.Join(keys, " "); got != "foo {foo}1 {foo}2" {
			t.Errorf("GETKEYSINSLOT: got %s", got)
		}
		for count, want := range map[string]int{"0": 0, "2": 2, "3": 3} {
			if got := len(c.read("CLUSTER", "GETKEYSINSLOT", text, count).Elems); got != want {
				t.Errorf("GETKEYSINSLOT with count %s: %d keys, want %d", count, got, want)
			}
		}
		c.do("MULTI")
		c.do("CLUSTER", "COUNTKEYSINSLOT", text)
		c.do("CLUSTER", "GETKEYSINSLOT", text, "0")
		if got, want := c.ask("EXEC"), "1) (integer) 3\n2) (empty array)"; got != want {
			t.Errorf("in a transaction: got %s, want %s", got, want)
		}
	})
}

// A backup's own keys are counted too: what is asked for is the node's.
func TestKeysInSlotOfABackup(t *testing.T) {
	withGrid(t, gridOf(1, "a", []NodeID{"a", "b"}, "a", "a"), func(srv *inProcess, r *fakeRouter) {
		c := srv.connectCluster()
		c.do("SET", "foo", "v")
		r.setTopology(gridOf(2, "a", []NodeID{"a", "b"}, "b a", "b a"))
		if got := c.ask("CLUSTER", "COUNTKEYSINSLOT", "12182"); got != "(integer) 1" {
			t.Errorf("got %s, want 1", got)
		}
	})
}

// INFO, HELLO and CONFIG tell what the door is.
func TestDoorsTellTheirMode(t *testing.T) {
	top := gridOf(1, "c", []NodeID{"a", "b", "c"}, "a c", "b c", "b c", "a b")
	withGrid(t, top, func(srv *inProcess, r *fakeRouter) {
		r.onAdmin = func(words []string) (string, error) { return "grid_id:g\r\n", nil }
		tell := func(c *client) string {
			hello := c.read("HELLO", "3")
			mode, _ := field(hello, "mode")
			role, _ := field(hello, "role")
			enabled := c.read("CONFIG", "GET", "cluster-enabled").Elems[1].Text
			info := c.read("INFO").Text
			told := []string{mode.Text, role.Text, enabled}
			for _, name := range []string{"redis_mode", "cluster_enabled", "role", "master_host", "master_port", "grid_id", "promise_kept"} {
				match := regexp.MustCompile(`(?m)^` + name + `:(.*)\r$`).FindStringSubmatch(info)
				if match == nil {
					match = []string{"", "(none)"}
				}
				told = append(told, match[1])
			}
			return strings.Join(told, " ")
		}
		if got, want := tell(srv.connect()), "standalone master no standalone 0 master (none) (none) g (none)"; got != want {
			t.Errorf("grid door\ngot  %s\nwant %s", got, want)
		}
		if got, want := tell(srv.connectCluster()), "cluster replica yes cluster 1 slave 10.0.0.2 7379 g (none)"; got != want {
			t.Errorf("cluster door\ngot  %s\nwant %s", got, want)
		}
		r.setTopology(gridOf(2, "a", []NodeID{"a", "b", "c"}, "a c", "b c", "b c", "a b"))
		if got, want := tell(srv.connectCluster()), "cluster master yes cluster 1 master (none) (none) g (none)"; got != want {
			t.Errorf("cluster door of a node that leads\ngot  %s\nwant %s", got, want)
		}
	})
}

// busMessages are the lines of CLUSTER INFO that count the messages of Redis's cluster bus, which is not there.
var busMessages = regexp.MustCompile(`(cluster_stats_messages|total_cluster_links)_\w+:\d+\r\n`)

// TestClusterRepliesAgreeWithRedis compares a grid of one node with a Redis Cluster of one node, byte by byte but for the node's id.
func TestClusterRepliesAgreeWithRedis(t *testing.T) {
	bus, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, busPort := splitAddr(bus.Addr().String())
	bus.Close()
	redisServer := testredis.Start(t, "--cluster-enabled", "yes", "--cluster-port", strconv.Itoa(busPort),
		"--cluster-announce-ip", "10.0.0.1", "--cluster-announce-port", "7379", "--cluster-announce-bus-port", "16379")
	setUp := redisServer.Dial(t)
	if v := setUp.Do(t, "CLUSTER", "ADDSLOTSRANGE", "0", "16383"); v.Text != "OK" {
		t.Fatalf("CLUSTER ADDSLOTSRANGE: %s", testredis.Format(v))
	}
	for deadline := time.Now().Add(testPatience); !strings.Contains(setUp.Do(t, "CLUSTER", "INFO").Text, "cluster_state:ok"); {
		if time.Now().After(deadline) {
			t.Fatalf("the Redis Cluster is not ready: %s", setUp.Do(t, "CLUSTER", "INFO").Text)
		}
		setUp.Do(t, "WAIT", "1", "20") // nobody replicates: 20 ms
	}
	setUp.Do(t, "SET", "foo", "v")
	id := setUp.Do(t, "CLUSTER", "MYID").Text

	commands := []string{
		"CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER NODES", "CLUSTER INFO", "CLUSTER MYID", "CLUSTER LINKS",
		"CLUSTER KEYSLOT foo", "CLUSTER KEYSLOT a{foo}b", "CLUSTER KEYSLOT {}foo",
		"CLUSTER COUNTKEYSINSLOT 12182", "CLUSTER COUNTKEYSINSLOT 0", "CLUSTER COUNTKEYSINSLOT 16384", "CLUSTER COUNTKEYSINSLOT -1",
		"CLUSTER COUNTKEYSINSLOT x", "CLUSTER GETKEYSINSLOT 12182 10", "CLUSTER GETKEYSINSLOT 12182 0",
		"CLUSTER GETKEYSINSLOT 12182 -1", "CLUSTER GETKEYSINSLOT 12182 x", "CLUSTER GETKEYSINSLOT x 1", "CLUSTER GETKEYSINSLOT 16384 1",
		"CLUSTER REPLICAS ID", "CLUSTER SLAVES ID", "CLUSTER REPLICAS x", "CLUSTER COUNT-FAILURE-REPORTS ID",
		"CLUSTER COUNT-FAILURE-REPORTS x", "READONLY", "READWRITE", "ASKING", "CLUSTER", "CLUSTER NOSUCH", "INFO cluster",
		"CONFIG GET cluster-enabled",
	}
	for _, resp := range []string{"2", "3"} {
		conn := redisServer.Dial(t)
		conn.Do(t, "HELLO", resp)
		withGrid(t, gridOf(0, "a", []NodeID{"a"}, "a"), func(srv *inProcess, r *fakeRouter) {
			run := r.Topology().Nodes[0].Run
			c := srv.connectCluster()
			c.do("HELLO", resp)
			c.do("SET", "foo", "v")
			for _, line := range commands {
				ask := func(id string) []string { return strings.Fields(strings.ReplaceAll(line, "ID", id)) }
				reply, err := conn.Call(ask(id)...)
				if err != nil {
					t.Fatal(err)
				}
				want := testredis.Format(reply)
				if line == "CLUSTER INFO" {
					reply.Text = busMessages.ReplaceAllString(reply.Text, "")
					want = testredis.Format(reply)
				}
				want = strings.ReplaceAll(want, id, run)
				if got := c.ask(ask(run)...); got != want {
					t.Errorf("RESP%s %s\ngot\n%s\nwant\n%s", resp, line, got, want)
				}
			}
		})
	}
}

// clusterDoors opens the cluster doors of a grid of some nodes, which lead the partitions in turn, each backed by the next node, and
// returns the servers and their doors' addresses.
func clusterDoors(t *testing.T, nodes, partitions int) (servers []*Server, addrs []string) {
	t.Helper()
	ids, rows := []NodeID{}, []string{}
	for n := range nodes {
		ids = append(ids, NodeID(fmt.Sprintf("node%d", n)))
	}
	for p := range partitions {
		rows = append(rows, string(ids[p%nodes])+" "+string(ids[(p+1)%nodes]))
	}
	discard := slog.New(slog.DiscardHandler)
	var doors []*listeners
	for range ids {
		ls, err := listen(Options{Listen: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		doors, addrs = append(doors, ls), append(addrs, addrOf(ls.tcp))
	}
	for n, self := range ids {
		top := gridOf(1, self, ids, rows...)
		for i := range top.Nodes {
			top.Nodes[i].Cluster = addrs[i]
		}
		srv, err := New(Options{Listen: "127.0.0.1:0", Partitions: partitions, Router: newFakeRouter(t, top), Logger: discard})
		if err != nil {
			t.Fatal(err)
		}
		if err := srv.Start(); err != nil {
			t.Fatal(err)
		}
		door := newGoroutineDriver(doors[n], func(l loop, info connInfo) sessionIO {
			info.Cluster = true
			return srv.newSession(l, info)
		}, srv.keepAliveSeconds, discard)
		if err := door.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), testPatience)
			defer cancel()
			if err := door.Shutdown(ctx); err != nil {
				t.Errorf("cluster door: %v", err)
			}
			if err := srv.Shutdown(ctx); err != nil {
				t.Errorf("server: %v", err)
			}
		})
		servers = append(servers, srv)
	}
	return servers, addrs
}

// keysAt counts the keys of database 0 in a server's own store, and checks that each is of a partition that the server leads.
func keysAt(t *testing.T, srv *Server) (n int) {
	t.Helper()
	top := srv.router.Topology()
	tx := partition.NewTx(srv.store)
	tx.Begin(srv.wallMs(srv.clock()))
	defer tx.End()
	tx.EachKey(func(key []byte, _ partition.Value) bool {
		if p := srv.store.PartitionOf(key); top.Parts[p].Primary != top.Self {
			t.Errorf("%s has %q, which is of partition %d, led by %s", top.Self, key, p, top.Parts[p].Primary)
		}
		n++
		return true
	})
	return n
}

const clusterKeys = 300

// Cluster-aware clients find each key's node, and every node where they ask all.
func TestClusterClients(t *testing.T) {
	t.Run("go-redis", func(t *testing.T) {
		for _, resp := range []int{2, 3} {
			servers, addrs := clusterDoors(t, 3, 16)
			c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs[:1], Protocol: resp})
			defer c.Close()
			for i := range clusterKeys {
				if err := c.Set(t.Context(), fmt.Sprint("key:", i), i, 0).Err(); err != nil {
					t.Fatal(err)
				}
			}
			for i := range clusterKeys {
				if got, err := c.Get(t.Context(), fmt.Sprint("key:", i)).Int(); err != nil || got != i {
					t.Fatalf("GET: %d, %v, want %d", got, err, i)
				}
			}
			if n, err := c.DBSize(t.Context()).Result(); err != nil || n != clusterKeys {
				t.Errorf("DBSIZE of all masters: %d, %v, want %d", n, err, clusterKeys)
			}
			checkSpread(t, servers)
			if shards, err := c.ClusterShards(t.Context()).Result(); err != nil || len(shards) != 3 {
				t.Errorf("CLUSTER SHARDS: %v, %v, want 3 shards", shards, err)
			}
		}
	})
	t.Run("go-redis that reads from replicas", func(t *testing.T) {
		_, addrs := clusterDoors(t, 3, 16)
		c := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs, ReadOnly: true})
		defer c.Close()
		for i := range clusterKeys {
			key := fmt.Sprint("key:", i)
			if err := c.Set(t.Context(), key, i, 0).Err(); err != nil {
				t.Fatal(err)
			}
			if got, err := c.Get(t.Context(), key).Int(); err != nil || got != i {
				t.Fatalf("GET: %d, %v, want %d", got, err, i)
			}
		}
	})
	t.Run("rueidis", func(t *testing.T) {
		for _, replicas := range []bool{false, true} {
			servers, addrs := clusterDoors(t, 3, 16)
			o := rueidis.ClientOption{InitAddress: addrs[:1], DisableCache: true, ShuffleInit: true}
			if replicas {
				o.SendToReplicas = func(cmd rueidis.Completed) bool { return cmd.IsReadOnly() }
			}
			c, err := rueidis.NewClient(o)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			for i := range clusterKeys {
				key, value := fmt.Sprint("key:", i), fmt.Sprint(i)
				if err := c.Do(t.Context(), c.B().Set().Key(key).Value(value).Build()).Error(); err != nil {
					t.Fatal(err)
				}
				if got, err := c.Do(t.Context(), c.B().Get().Key(key).Build()).ToString(); err != nil || got != value {
					t.Fatalf("GET: %q, %v, want %q", got, err, value)
				}
			}
			if got := len(c.Nodes()); got != 3 {
				t.Errorf("the client knows %d nodes, want 3", got)
			}
			checkSpread(t, servers)
		}
	})
	t.Run("redis-benchmark", func(t *testing.T) {
		path, err := exec.LookPath("redis-benchmark")
		if err != nil {
			t.Skip("no redis-benchmark is installed")
		}
		servers, addrs := clusterDoors(t, 3, 16)
		host, port, _ := net.SplitHostPort(addrs[0])
		out, err := exec.CommandContext(t.Context(), path, "--cluster", "-h", host, "-p", port, "-t", "set,get", "-n", "3000", "-r", "500",
			"-c", "6", "-q").CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("GET: ")) || bytes.Contains(out, []byte("rror")) {
			t.Fatalf("redis-benchmark --cluster: %v\n%s", err, out)
		}
		for _, srv := range servers {
			if keysAt(t, srv) == 0 {
				t.Errorf("%s has no keys", srv.router.Topology().Self)
			}
		}
	})
	t.Run("redis-cli", func(t *testing.T) {
		path, err := exec.LookPath("redis-cli")
		if err != nil {
			t.Skip("no redis-cli is installed")
		}
		_, addrs := clusterDoors(t, 3, 16)
		out, err := exec.CommandContext(t.Context(), path, "--cluster", "check", addrs[1]).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("[OK] All 16384 slots covered.")) {
			t.Fatalf("redis-cli --cluster check: %v\n%s", err, out)
		}
	})
}

// checkSpread: all keys are there once, each where it belongs, and every node has some.
func checkSpread(t *testing.T, servers []*Server) {
	t.Helper()
	total := 0
	for _, srv := range servers {
		n := keysAt(t, srv)
		if n == 0 {
			t.Errorf("%s has no keys", srv.router.Topology().Self)
		}
		total += n
	}
	if total != clusterKeys {
		t.Errorf("the nodes have %d keys, want %d", total, clusterKeys)
	}
}
