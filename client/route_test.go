package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// grid plays a grid of three nodes with four partitions: grid doors, or cluster doors.
func playGrid(t testing.TB, cluster bool) (*fakeNet, []string) {
	addrs := []string{"a:1", "b:1", "c:1"}
	f := newFakeNet(t, addrs...)
	f.setTable(1, cluster, 0, 1, 2, 0)
	return f, addrs
}

func (f *fakeNet) setTable(version int, cluster bool, owners ...int) {
	addrs := []string{"a:1", "b:1", "c:1"}
	table := gridTable(version, addrs, owners...)
	if cluster { // the ports change places: 1 is the cluster door's
		table = []byte(strings.ReplaceAll(string(table), ":1|:0|", ":0|:1|"))
	}
	for _, addr := range addrs {
		n := f.nodes[addr]
		n.change(func() { n.table = table })
	}
}

// TestRouting: a command goes to the node of its first key, over one connection to each.
func TestRouting(t *testing.T) {
	f, addrs := playGrid(t, false)
	c := f.connect(t, Options{})
	ctx := within(t, 10*time.Second)
	for p, owner := range []int{0, 1, 2, 0} {
		key := keyOf(p, 4, 0)
		if err := c.Set(ctx, key, "v", 0); err != nil {
			t.Fatal(err)
		}
		for i, addr := range addrs {
			if got := f.nodes[addr].count("SET " + key); got != b2i(i == owner) {
				t.Errorf("partition %d: SET was sent %d times to %s", p, got, addr)
			}
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// TestMoved: a redirection is followed at once, and the table asked for anew.
func TestMoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := playGrid(t, true)
		c := f.connect(t, Options{})
		ctx := context.Background()
		key := keyOf(0, 4, 0)
		if err := c.Set(ctx, key, "v", 0); err != nil {
			t.Fatal(err)
		}
		f.setTable(2, true, 2, 1, 2, 0) // partition 0 moves from a to c
		f.nodes["a:1"].change(func() {
			f.nodes["a:1"].script = func(conn *fakeConn, args []string) bool {
				if args[0] == "SET" {
					conn.send("-MOVED %d c:1|", Slot(args[1]))
				}
				return args[0] == "SET"
			}
		})
		began := time.Now()
		if err := c.Set(ctx, key, "w", 0); err != nil || time.Since(began) > 0 {
			t.Errorf("%v after %v, want success at once", err, time.Since(began))
		}
		time.Sleep(time.Second)
		if err := c.Set(ctx, key, "w", 0); err != nil {
			t.Error(err)
		}
		if a, c := f.nodes["a:1"].count("SET"), f.nodes["c:1"].count("SET"); a != 2 || c != 2 {
			t.Errorf("SET went %d times to a and %d times to c, want 2 and 2: the third by the new table", a, c)
		}
	})
}

// TestMovedForEver: nodes that point at each other do not keep a client busy without pause, or beyond its time.
func TestMovedForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := playGrid(t, true)
		c := f.connect(t, Options{RetryTime: 2 * time.Second})
		for addr, other := range map[string]string{"a:1": "b:1", "b:1": "a:1"} {
			f.nodes[addr].change(func() {
				f.nodes[addr].script = func(conn *fakeConn, args []string) bool {
					if args[0] == "SET" {
						conn.send("-MOVED 1 %s|", other)
					}
					return args[0] == "SET"
				}
			})
		}
		err := c.Set(context.Background(), keyOf(0, 4, 0), "v", 0)
		if sets := f.nodes["a:1"].count("SET") + f.nodes["b:1"].count("SET"); !IsCode(err, "MOVED") || sets > 60 {
			t.Errorf("%v after %d attempts", err, sets)
		}
	})
}

// TestAsk: ASK is followed with ASKING, for this one command.
func TestAsk(t *testing.T) {
	f, _ := playGrid(t, true)
	c := f.connect(t, Options{})
	key := keyOf(0, 4, 0)
	f.nodes["a:1"].change(func() {
		f.nodes["a:1"].script = func(conn *fakeConn, args []string) bool {
			if args[0] == "SET" {
				conn.send("-ASK 1 b:1|")
			}
			return args[0] == "SET"
		}
	})
	if err := c.Set(within(t, 10*time.Second), key, "v", 0); err != nil {
		t.Fatal(err)
	}
	n := f.nodes["b:1"]
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := slices.Index(n.log, "ASKING"); i < 0 || i+1 >= len(n.log) || n.log[i+1] != "SET "+key+" v" {
		t.Errorf("b received %q, want ASKING right before SET", n.log)
	}
}

// TestTableAge: at grid doors, which never say that a table is wrong, a client in use asks for a newer one; an idle one does not.
func TestTableAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := playGrid(t, false)
		c := f.connect(t, Options{})
		ctx := context.Background()
		key := keyOf(0, 4, 0)
		asked := func() (n int) {
			for _, node := range f.nodes {
				n += node.count("GRID.TABLE")
			}
			return n
		}
		time.Sleep(time.Minute)
		if n := asked(); n != 1 {
			t.Errorf("an idle client asked %d times for the table", n)
		}
		f.setTable(2, false, 1, 1, 2, 0)
		for range 5 {
			if err := c.Set(ctx, key, "v", 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		before := f.nodes["b:1"].count("SET " + key)
		if err := c.Set(ctx, key, "v", 0); err != nil {
			t.Fatal(err)
		}
		if got := f.nodes["b:1"].count("SET " + key); got != before+1 || before == 0 {
			t.Errorf("after 5 s the command does not go to the new owner: %d, then %d", before, got)
		}
		// An older table, of a node that lags behind, does not win over one that was confirmed just now.
		c.askAnywhere()
		f.setTable(1, false, 0, 1, 2, 0)
		n := asked()
		c.askAnywhere()
		if v := c.table.Load().version; v != 2 || asked() == n {
			t.Errorf("version %d is used after 2, with the nodes asked %d times", v, asked()-n)
		}
	})
}

// TestAnotherNode: a node that forwards does for one that is down; at cluster doors nothing does.
func TestAnotherNode(t *testing.T) {
	for _, cluster := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			f, _ := playGrid(t, cluster)
			c := f.connect(t, Options{RetryTime: time.Second})
			f.nodes["b:1"].setDown(true)
			err := c.Set(context.Background(), keyOf(1, 4, 0), "v", 0)
			if (err != nil) != cluster {
				t.Errorf("cluster doors %v: %v", cluster, err)
			}
		})
	}
}

// TestSplit: commands over many keys go to the nodes that have them, and replies are joined in the order of the keys.
func TestSplit(t *testing.T) {
	for _, cluster := range []bool{false, true} {
		t.Run(fmt.Sprintf("cluster=%v", cluster), func(t *testing.T) {
			f, _ := playGrid(t, cluster)
			c := f.connect(t, Options{})
			ctx := within(t, 10*time.Second)
			values := map[string]string{}
			var keys []string
			for i := range 40 {
				key := keyOf(i%4, 4, i)
				keys = append(keys, key)
				if i%5 != 0 {
					values[key] = "v" + key
				}
			}
			if err := c.MSet(ctx, values); err != nil {
				t.Fatal(err)
			}
			got, err := c.MGet(ctx, keys...)
			if err != nil {
				t.Fatal(err)
			}
			for i, key := range keys {
				want, ok := values[key]
				if got[i] != (Optional{want, ok}) {
					t.Errorf("key %d: %v, want %q %v", i, got[i], want, ok)
				}
			}
			if n, err := c.Exists(ctx, keys...); n != int64(len(values)) || err != nil {
				t.Errorf("Exists: %d, %v; want %d", n, err, len(values))
			}
			if n, err := c.DBSize(ctx); cluster && n != int64(len(values)) || err != nil {
				t.Errorf("DBSize: %d, %v", n, err)
			}
			if n, err := c.Del(ctx, keys...); n != int64(len(values)) || err != nil {
				t.Errorf("Del: %d, %v; want %d", n, err, len(values))
			}
			for _, n := range f.nodes {
				if most := 4; !cluster && n.count("MGET")+n.count("DEL")+n.count("EXISTS")+n.count("MSET") > most {
					t.Errorf("%s got more than one piece of each command", n.addr)
				}
			}
		})
	}
}

// TestSplitPartly: where one piece fails and another was executed, the error does not say that nothing was.
func TestSplitPartly(t *testing.T) {
	f, _ := playGrid(t, false)
	c := f.connect(t, Options{RetryTime: -1})
	f.nodes["b:1"].change(func() {
		f.nodes["b:1"].script = func(conn *fakeConn, args []string) bool {
			if args[0] == "MSET" {
				conn.send("-NOREPLICAS Not enough copies are in sync to take writes|")
			}
			return args[0] == "MSET"
		}
	})
	err := c.MSet(within(t, 10*time.Second), map[string]string{keyOf(0, 4, 0): "v", keyOf(1, 4, 0): "v"})
	if !IsIndeterminate(err) || NotExecuted(err) {
		t.Errorf("%v, want an IndeterminateError that does not say that nothing was executed", err)
	}
	err = c.MSet(within(t, 10*time.Second), map[string]string{keyOf(1, 4, 0): "v", keyOf(1, 4, 1): "v"})
	if !NotExecuted(err) {
		t.Errorf("with one piece: %v, want NOREPLICAS", err)
	}
}

// TestPipeline: replies come in the order of the commands, from whatever nodes; what was not executed is sent again.
func TestPipeline(t *testing.T) {
	f, _ := playGrid(t, false)
	c := f.connect(t, Options{})
	refused := false
	f.nodes["b:1"].change(func() {
		f.nodes["b:1"].script = func(conn *fakeConn, args []string) bool {
			if args[0] != "SET" || refused {
				return false
			}
			refused = true
			conn.send("-TRYAGAIN later|")
			return true
		}
	})
	p := c.Pipeline()
	const many = 3 * pipelineMax
	for i := range many {
		p.Do("SET", keyOf(i%4, 4, i%100), itoa(i))
		p.Do("GET", keyOf(i%4, 4, i%100))
	}
	p.Do("NOSUCH", "k")
	results, err := p.Exec(within(t, 30*time.Second))
	if !IsCode(err, "ERR") || len(results) != 2*many+1 {
		t.Fatalf("%d results, %v; want the last one's error", len(results), err)
	}
	late := 0
	for i := range many {
		if results[2*i].Err != nil {
			t.Fatalf("SET %d: %v", i, results[2*i].Err)
		}
		if got, _ := results[2*i+1].Text(); got != itoa(i) {
			late++ // the one GET behind the SET that was refused at first
		}
	}
	if late > 1 {
		t.Errorf("%d reads do not see the write before them", late)
	}
}

// TestMulti: a transaction goes in one piece; several slots are refused before anything is sent; what is not executed is
// tried again as a whole.
func TestMulti(t *testing.T) {
	f, _ := playGrid(t, true)
	c := f.connect(t, Options{})
	ctx := within(t, 10*time.Second)
	tx := c.Multi()
	tx.Do("SET", "{x}1", "v")
	tx.Do("GET", "{x}1")
	results, err := tx.Exec(ctx)
	if err != nil || len(results) != 2 {
		t.Fatalf("%v, %v", results, err)
	}
	if got, _ := results[1].Text(); got != "v" {
		t.Errorf("GET in the transaction: %q", got)
	}
	tx = c.Multi()
	tx.Do("SET", keyOf(0, 4, 0), "v")
	tx.Do("SET", keyOf(1, 4, 0), "v")
	if _, err := tx.Exec(ctx); !errors.Is(err, ErrCrossSlot) {
		t.Errorf("two slots: %v, want ErrCrossSlot", err)
	}

	owner := c.table.Load().owner(Slot("{x}1")).addr
	times := 0
	f.nodes[owner].change(func() {
		f.nodes[owner].script = func(conn *fakeConn, args []string) bool {
			switch {
			case args[0] == "SET" && times == 0:
				times++
				conn.send("-CLUSTERDOWN nobody|")
			case args[0] == "EXEC" && times == 1:
				times++
				conn.queueing = false
				conn.send("-EXECABORT Transaction discarded because of previous errors.|")
			default:
				return false
			}
			return true
		}
	})
	tx = c.Multi()
	tx.Do("SET", "{x}2", "w")
	if _, err := tx.Exec(ctx); err != nil || times != 2 {
		t.Errorf("%v, want the second attempt to succeed", err)
	}
}

// TestDirect: whatever the address says of other nodes, commands go to it.
func TestDirect(t *testing.T) {
	f, _ := playGrid(t, false)
	c := f.connect(t, Options{Direct: true}, "b:1")
	if err := c.Set(within(t, 10*time.Second), keyOf(0, 4, 0), "v", 0); err != nil {
		t.Fatal(err)
	}
	if n := f.nodes["b:1"].count("SET"); n != 1 {
		t.Errorf("SET was sent %d times to the only node", n)
	}
}
