package server

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/protocol"
)

// TestGather: commands over several slots at the grid door.
func TestGather(t *testing.T) {
	playGridScripts(t, []gridScript{
		{"keys of several nodes, some of them twice", `
			[a] > MSET a 1 b 2 c 3 d 4 a 5 b 6 | MGET c a b a none d
			[a] OK
			[a] ["3" "5" "6" "5" nil "4"]
			[b] > EXISTS a b a none | TOUCH a b c none | DEL a b a | UNLINK c d c none | EXISTS a b c d
			[b] :3
			[b] :3
			[b] :2
			[b] :2
			[b] :0
			executed a>b
			MSET b 2 b 6
			MGET b
		`},
		{"half a pair", `
			[a] > MSET a 1 b | GET a | MSET b 1 a | MSET a 1 d | MSET b 1 x{b}
			[a] -ERR wrong number of arguments for 'mset' command
			[a] nil
			[a] -ERR wrong number of arguments for 'mset' command
			[a] -ERR wrong number of arguments for 'mset' command
			[a] -ERR wrong number of arguments for 'mset' command
			[a] > MGET a b d x{b}
			[a] [nil nil nil nil]
		`},
		{"the order of a session", `
			hold a>b
			[a] > INCR b | MGET a b | INCR b | SET a 9 | MGET b a | GET a
			release a>b
			[a] :1
			[a] [nil "1"]
			[a] :2
			[a] OK
			[a] ["2" "9"]
			[a] "9"
			hold-answers a>b
			[a] > MSET a 1 b 1 | GET a | INCR b
			[a2] > GET a
			[a2] "1"
			answers a>b
			[a] OK
			[a] "1"
			[a] :2
		`},
		{"a piece that is refused is tried again, alone", `
			blip b b 1
			[a] > MSET a 1 b 1 c 1 | DEL a b c
			pass 20ms
			[a] OK
			[a] :3
			executed a>c
			MSET c 1
			DEL c
			blip a a 1
			[a] > MSET a 1 b 1
			pass 20ms
			[a] OK
			executed a>b
			MSET b 1
			DEL b
			MSET b 1
		`},
		{"one of this node's partitions goes to another node", `
			[a] > MSET a 1 d 2
			[a] OK
			move d b
			[a] > MGET a d | MSET a 3 d 4 | DEL a d
			pass 10ms
			see
			pass 50ms
			[a] ["1" "2"]
			[a] OK
			[a] :2
			[b] > EXISTS a d
			[b] :0
		`},
		{"what was not executed at all", `
			readonly a
			readonly b
			[c] > MSET a 1 b 1 | MGET a b
			[c] -NOREPLICAS...
			[c] [nil nil]
			lapse a a 0
			[c] > MGET a b c
			pass 5s
			[c] -CLUSTERDOWN...
		`},
		{"what was executed in part", `
			readonly b
			[a] > MSET a 1 b 1 c 1 | MGET a b c
			[a] -INDETERMINATE Executed for some of the keys only; for others the answer was: NOREPLICAS...
			[a] ["1" nil "1"]
			writable b
			lose b
			see
			[a] > MSET a 2 b 2 | DEL b c | MGET a c | MGET a b | DEL b
			[a] -INDETERMINATE Executed for some of the keys only; for others the answer was: CLUSTERDOWN...
			[a] -INDETERMINATE Executed for some of the keys only; for others the answer was: CLUSTERDOWN...
			[a] ["2" nil]
			[a] -CLUSTERDOWN...
			[a] -CLUSTERDOWN...
		`},
		{"what may have been executed in part", `
			lose-answer a>b
			[a] > MSET a 1 b 1
			[a] -INDETERMINATE...
			readonly b
			lose-answer a>c
			[a] > MSET b 2 c 2 | MGET b c
			[a] -INDETERMINATE...
			[a] ["1" "2"]
			writable b
			readonly c
			lose-answer a>b
			[a] > MSET b 3 c 3 | MGET b c
			[a] -INDETERMINATE...
			[a] ["3" "2"]
		`},
		{"a read that got lost", `
			lose a>b
			[a] > MGET a b | EXISTS a b
			pass 20ms
			[a] [nil nil]
			[a] :0
		`},
		{"what cannot be divided, whoever has the keys", `
			[a] > MSETNX a 1 b 2
			[a] -CROSSSLOT Keys in request don't hash to the same slot; what is in {braces}...
			[a] > RENAME a e | SUNION a b | SDIFFSTORE a d e | COPY b f | LMOVE a b LEFT LEFT | PFCOUNTX a b
			[a] -CROSSSLOT...
			[a] -CROSSSLOT...
			[a] -CROSSSLOT...
			[a] -CROSSSLOT...
			[a] -CROSSSLOT...
			[a] -ERR unknown command...
			[a] > MSETNX 1{b} 1 2{b} 2 | RENAME 1{b} 3{b} | MGET 1{b} 2{b} 3{b}
			[a] :1
			[a] OK
			[a] [nil "2" "1"]
		`},
	})
}

// TestGatherAlone: with one data node a command may take any keys.
func TestGatherAlone(t *testing.T) {
	withGrid(t, alone(gridPartitions), func(srv *inProcess, r *fakeRouter) {
		c := srv.connect()
		for _, tt := range [][2]string{
			{"MSETNX a 1 b 2", "(integer) 1"},
			{"RENAME a c", "OK"},
			{"MGET a b c", "1) (nil)\n2) \"2\"\n3) \"1\""},
			{"SADD x 1", "(integer) 1"},
			{"SUNION x y z", "1) \"1\""},
			{"MULTI", "OK"},
			{"SET a 1", "QUEUED"},
			{"INCR b", "QUEUED"},
			{"DBSIZE", "QUEUED"},
			{"EXEC", "1) OK\n2) (integer) 3\n3) (integer) 4"},
			{"SWAPDB 0 1", "OK"},
			{"DBSIZE", "(integer) 0"},
			{"SWAPDB 0 1", "OK"},
			{"RPUSH l 2 1", "(integer) 2"},
			{"MSET w1 one w2 two", "OK"},
			{"SORT l GET w*", "1) \"one\"\n2) \"two\""},
		} {
			if got := c.ask(strings.Fields(tt[0])...); got != tt[1] {
				t.Errorf("%s: got %s, want %s", tt[0], got, tt[1])
			}
		}
		if sent := len(r.sent()); sent > 0 {
			t.Errorf("%d commands were forwarded", sent)
		}
	})
}

// TestWalk: commands about all keys speak for the grid at the grid door, for the node at the cluster door.
func TestWalk(t *testing.T) {
	playGridScripts(t, []gridScript{
		{"KEYS and DBSIZE", `
			[a] > MSET a 1 b 2 c 3 d 4 | DBSIZE | KEYS [bcx]
			[a] OK
			[a] :4
			[a] ["b" "c"]
			[c] > DBSIZE | KEYS *
			[c] :4
			[c] ["b" "c" "d" "a"]
			[a!] > DBSIZE | KEYS *
			[a!] :2
			[a!] ["d" "a"]
			[b!] > DBSIZE | KEYS * | KEYS a
			[b!] :1
			[b!] ["b"]
			[b!] []
		`},
		{"flushing", `
			[a] > MSET a 1 b 2 c 3 d 4 | SELECT 1 | MSET a 1 b 2 | DBSIZE | FLUSHDB ASYNC | DBSIZE | SELECT 0 | DBSIZE
			[a] OK
			[a] OK
			[a] OK
			[a] :2
			[a] OK
			[a] :0
			[a] OK
			[a] :4
			[b!] > FLUSHALL
			[b!] OK
			[a] > DBSIZE | GET b
			[a] :3
			[a] nil
			[c!] > FLUSHDB SYNC
			[c!] OK
			[a] > DBSIZE | FLUSHALL ASYNC | DBSIZE
			[a] :2
			[a] OK
			[a] :0
			[a] > FLUSHALL NOW | FLUSHALL ASYNC SYNC
			[a] -ERR syntax error
			[a] -ERR syntax error
		`},
		{"flushing where too few copies are in sync", `
			[a] > MSET a 1 b 2 c 3
			[a] OK
			readonly b
			[a] > FLUSHALL | DBSIZE
			[a] -INDETERMINATE Executed for some of the keys only; for others the answer was: NOREPLICAS...
			[a] :1
		`},
		{"flushing while a partition changes hands", `
			[a] > MSET a 1 b 2 c 3
			[a] OK
			move b c
			[a] > FLUSHALL | DBSIZE
			pass 20ms
			see
			pass 50ms
			[a] OK
			[a] :0
		`},
		{"counting while a partition changes hands", `
			[a] > MSET a 1 b 2 c 3 f 4
			[a] OK
			hold a>b
			[a] > DBSIZE | KEYS *
			move! b c
			release a>b
			pass 50ms
			[a] :4
			[a] ["f" "b" "c" "a"]
			[b] > DBSIZE
			[b] :4
		`},
		{"a node that has lost a partition does not count it", `
			[a] > MSET a 1 d 1
			[a] OK
			move! a b
			[a!] > DBSIZE | KEYS *
			[a!] :1
			[a!] ["d"]
			[b!] > DBSIZE | KEYS *
			[b!] :1
			[b!] ["a"]
			move! d b
			[a!] > DBSIZE | KEYS * | RANDOMKEY | SCAN 0 | FLUSHALL
			[a!] :0
			[a!] []
			[a!] nil
			[a!] ["0" []]
			[a!] OK
			[a] > DBSIZE
			[a] :2
		`},
		{"the order of a session", `
			hold a>b
			[a] > SET b 1 | DBSIZE | DEL b | DBSIZE | RANDOMKEY
			release a>b
			[a] OK
			[a] :1
			[a] :1
			[a] :0
			[a] nil
		`},
		{"one lost partition", `
			[a] > SET a 1
			[a] OK
			lose b
			see
			[a] > DBSIZE | KEYS * | RANDOMKEY | SCAN 0 | FLUSHALL
			[a] -CLUSTERDOWN The partition is lost...
			[a] -CLUSTERDOWN The partition is lost...
			[a] -CLUSTERDOWN The partition is lost...
			[a] -CLUSTERDOWN The partition is lost...
			[a] -INDETERMINATE...
			[a!] > DBSIZE
			[a!] :0
		`},
		{"SWAPDB", `
			[a] > SWAPDB 0 1
			[a] -ERR SWAPDB is not possible in a grid of several data nodes
			[a!] > SWAPDB 0 1
			[a!] -ERR SWAPDB is not allowed in cluster mode
		`},
		{"SCAN refuses what no SCAN takes", `
			[a] > SCAN x | SCAN 0 COUNT | SCAN 0 COUNT 0 | SCAN 0 COUNT x | SCAN 0 FOO 1 | SCAN 18446744073709551615
			[a] -ERR invalid cursor
			[a] -ERR syntax error
			[a] -ERR syntax error
			[a] -ERR value is not an integer or out of range
			[a] -ERR syntax error
			[a] ["0" []]
		`},
	})
}

// scanned are the keys that a whole walk returns. between is called between two calls.
func scanned(t *testing.T, c *client, settle func(), between func(call int), options ...string) (keys []string) {
	t.Helper()
	cursor := "0"
	for call := 0; ; call++ {
		c.out = c.out[:0]
		c.feed(protocol.AppendCommand(nil, append([]string{"SCAN", cursor}, options...)...))
		settle()
		v, err := readReply(c)
		if err != nil || v.IsError() {
			t.Fatalf("SCAN %s %v: %v, %v", cursor, options, v, err)
		}
		keys = append(keys, v.Elems[1].Strings()...)
		if cursor = v.Elems[0].Text; cursor == "0" {
			return keys
		}
		if call > 2000 {
			t.Fatalf("SCAN %v does not end: it is at %s, with %d keys", options, cursor, len(keys))
		}
		if between != nil {
			between(call)
		}
	}
}

func readReply(c *client) (testredis.Value, error) { return testredis.Read(newReader(c.out)) }

// TestScan: a whole walk returns every key, at any door of the grid.
func TestScan(t *testing.T) {
	const count = 300
	fill := func(g *testGrid) (all []string) {
		c := g.nodes["a"].server.connect()
		for i := range count {
			key := fmt.Sprintf("key:%d", i)
			all = append(all, key)
			command := []string{"SET", key, "1"}
			if i%3 == 0 {
				command = []string{"RPUSH", key, "1"}
			}
			c.feed(protocol.AppendCommand(nil, command...))
			g.settle()
		}
		slices.Sort(all)
		return all
	}
	ofType := func(all []string, list bool) (keys []string) {
		for _, key := range all {
			var i int
			fmt.Sscanf(key, "key:%d", &i)
			if (i%3 == 0) == list {
				keys = append(keys, key)
			}
		}
		return keys
	}
	uniq := func(keys []string) []string {
		slices.Sort(keys)
		return slices.Compact(keys)
	}
	test := func(name string, f func(t *testing.T, g *testGrid, all []string)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newTestGrid(t, nil)
				f(t, g, fill(g))
			})
		})
	}
	test("grid doors", func(t *testing.T, g *testGrid, all []string) {
		for _, id := range g.ids {
			c := g.nodes[id].server.connect()
			for _, n := range []string{"1", "7", "10", "1000000"} {
				if keys := scanned(t, c, g.settle, nil, "COUNT", n); !slices.Equal(uniq(slices.Clone(keys)), all) || len(keys) != len(all) {
					t.Errorf("door of %s: COUNT %s returns %d keys, of them %d different; want %d", id, n, len(keys), len(uniq(keys)), len(all))
				}
			}
			if keys := uniq(scanned(t, c, g.settle, nil, "TYPE", "list")); !slices.Equal(keys, ofType(all, true)) {
				t.Errorf("door of %s: TYPE list returns %d keys", id, len(keys))
			}
			if keys := uniq(scanned(t, c, g.settle, nil, "MATCH", "key:*7", "COUNT", "5", "TYPE", "STRING")); len(keys) == 0 ||
				slices.ContainsFunc(keys, func(k string) bool { return !strings.HasSuffix(k, "7") || !slices.Contains(ofType(all, false), k) }) {
				t.Errorf("door of %s: MATCH returns %v", id, keys)
			}
		}
	})
	test("cluster doors", func(t *testing.T, g *testGrid, all []string) {
		var union []string
		for _, id := range g.ids {
			n := g.nodes[id]
			keys := uniq(scanned(t, n.server.connectCluster(), g.settle, nil))
			for _, key := range keys {
				if owner := g.mu.parts[n.server.store.PartitionOf([]byte(key))].owner; owner != id {
					t.Fatalf("the cluster door of %s returns %s, which is %s's", id, key, owner)
				}
			}
			union = append(union, keys...)
		}
		if !slices.Equal(uniq(union), all) {
			t.Errorf("the cluster doors return %d keys, want %d", len(union), len(all))
		}
	})
	// The partition's lease is away for a moment, at every call, so that each is tried again.
	test("cluster door, leases that blink", func(t *testing.T, g *testGrid, all []string) {
		for _, id := range g.ids {
			n := g.nodes[id]
			want := uniq(scanned(t, n.server.connectCluster(), g.settle, nil))
			blink := func(int) {
				for p := range gridPartitions {
					n.lapse(p, &gridLapse{times: 1})
				}
			}
			blink(0)
			settle := func() { g.settle(); g.pass(retryPauseMax * 4) }
			if keys := uniq(scanned(t, n.server.connectCluster(), settle, blink)); !slices.Equal(keys, want) {
				t.Errorf("the cluster door of %s returns %d keys, want %d", id, len(keys), len(want))
			}
			for p := range gridPartitions {
				n.lapse(p, nil)
			}
		}
	})
	test("partitions that change hands", func(t *testing.T, g *testGrid, all []string) {
		for _, id := range g.ids {
			between := func(call int) {
				p, to := call%gridPartitions, g.ids[(call/2)%len(g.ids)]
				g.move(p, to)
				if call%3 > 0 {
					g.see()
				}
			}
			settle := func() {
				g.settle()
				g.see()
				g.pass(retryPauseMax * 4)
			}
			c := g.nodes[id].server.connect()
			if keys := uniq(scanned(t, c, settle, between)); !slices.Equal(keys, all) {
				t.Errorf("door of %s: %d keys, want %d", id, len(keys), len(all))
			}
		}
	})
	// The cursor stands in a partition that this node has no more, behind all that it has.
	test("cluster door, partitions that leave", func(t *testing.T, g *testGrid, all []string) {
		c := g.nodes["a"].server.connectCluster()
		scanned(t, c, g.settle, func(call int) {
			if call == 3 {
				g.move(2, "b")
				g.move(3, "b")
				g.see()
			}
		})
		g.move(0, "a")
		g.see()
		n := 0
		scanned(t, c, g.settle, func(int) {
			if n++; n == 2 {
				g.move(0, "c")
				g.move(1, "a")
				g.nodes["a"].lapse(1, &gridLapse{times: 1})
				g.see()
				g.pass(retryPauseMax)
			}
		})
	})
}

// TestRandomKey: every node's keys are drawn.
func TestRandomKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGrid(t, nil)
		c := g.nodes["a"].server.connect()
		ask := func(args ...string) string {
			c.out = c.out[:0]
			c.feed(protocol.AppendCommand(nil, args...))
			g.settle()
			v, err := readReply(c)
			if err != nil {
				t.Fatal(err)
			}
			return shortReply(v)
		}
		if got := ask("RANDOMKEY"); got != "nil" {
			t.Errorf("of an empty grid: %s", got)
		}
		ask("MSET", "a", "1", "b", "2", "c", "3", "d", "4")
		drawn := map[string]int{}
		for range 200 {
			drawn[ask("RANDOMKEY")]++
		}
		if len(drawn) != 4 || drawn["nil"] > 0 {
			t.Errorf("drawn were %v", drawn)
		}
	})
}

func TestPartsOnTheWire(t *testing.T) {
	for _, parts := range [][]int{{0}, {3}, {0, 1, 2, 3}, {1, 3}, {0, 200, 16383}} {
		if got, ok := decodeParts(encodeParts(parts), 16384); !ok || !slices.Equal(got, parts) {
			t.Errorf("%v come back as %v, %v", parts, got, ok)
		}
	}
	huge := binary.AppendUvarint(nil, math.MaxUint64)
	for _, b := range [][]byte{nil, {4}, {3, 0}, {0x80}, huge, append([]byte{0}, huge...), binary.AppendUvarint([]byte{0}, math.MaxInt64)} {
		if got, ok := decodeParts(b, 4); ok {
			t.Errorf("% x is taken for the partitions %v of four", b, got)
		}
	}
}
