package client

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// The races that a near cache must close, in the order of the design's table: a test for each, which fails where its rule is taken out.
// Planted bugs show that.

// TestNearRaceSnapshot, row 1 of the race table: an invalidation that arrives while a read is in flight makes its answer stale. The
// snapshot is taken before the request is sent.
func TestNearRaceSnapshot(t *testing.T) {
	nearPlay(t, NearCache{}, func(t *testing.T, c *Client, n *fakeNode) {
		n.set("k", "v1")
		overtaken := false
		n.change(func() {
			n.script = func(conn *fakeConn, args []string) bool {
				if args[0] != "GRID.READ" || overtaken {
					return false
				}
				overtaken = true
				conn.invalidate("k") // of a write after the read below; on the wire it comes first
				conn.send("*2|%s:-1|", bulk("v1"))
				n.change(func() { n.data["k"] = "v2" })
				return true
			}
		})
		wantGet(t, c, n, "k", "v1", 1)
		wantGet(t, c, n, "k", "v2", 1)
	})
}

// TestNearRaceFlight, row 1: a flight is shared, but not with who has written meanwhile.
func TestNearRaceFlight(t *testing.T) {
	nearPlay(t, NearCache{}, func(t *testing.T, c *Client, n *fakeNode) {
		n.set("k", "v1")
		var held []string // replies that have not been sent
		var on *fakeConn
		n.change(func() {
			n.silent = true // what is checked is the client's own knowledge
			n.script = func(conn *fakeConn, args []string) bool {
				if args[0] != "GRID.READ" {
					return false
				}
				n.change(func() { // it is executed now, and answered later
					on, held = conn, append(held, fmt.Sprintf("*2|%s:-1|", bulk(n.data["k"])))
				})
				return true
			}
		})
		got := make(chan string, 3)
		get := func() {
			v, err := c.Get(context.Background(), "k")
			if err != nil {
				t.Error(err)
			}
			got <- v
		}
		go get()
		synctest.Wait()
		go get() // joins
		synctest.Wait()
		if n.count("GRID.READ") != 1 {
			t.Errorf("two readers of one key: %d requests, want 1", n.count("GRID.READ"))
		}
		if err := c.Set(context.Background(), "k", "v2", 0); err != nil {
			t.Fatal(err)
		}
		late := make(chan string, 1)
		go func() { v, _ := c.Get(context.Background(), "k"); late <- v }()
		synctest.Wait()
		n.change(func() {
			for _, text := range held {
				on.send("%s", text)
			}
		})
		if v := <-late; v != "v2" {
			t.Errorf("a read after the write was acknowledged: %q, want v2", v)
		}
		if n.count("GRID.READ") != 2 {
			t.Errorf("%d requests, want 2", n.count("GRID.READ"))
		}
		<-got
		<-got
	})
}

// TestNearRaceFlightOld, row 1: a flight is as old as its request. Its reply, and the word of what has changed since, wait at the node behind
// a reply that is pending; who reads after L must not be answered by it.
func TestNearRaceFlightOld(t *testing.T) {
	nearPlay(t, NearCache{Staleness: 300 * time.Millisecond}, func(t *testing.T, c *Client, n *fakeNode) {
		n.set("k", "v1")
		var held []string // replies that have not been sent
		var on *fakeConn
		n.change(func() {
			n.silent = true // pushes wait too
			n.script = func(conn *fakeConn, args []string) bool {
				n.change(func() {
					switch args[0] {
					case "GRID.READ":
						on, held = conn, append(held, fmt.Sprintf("*2|%s:-1|", bulk(n.data["k"])))
					case "GRID.LEASE":
						held = append(held, ":300|")
					}
				})
				return args[0] == "GRID.READ" || args[0] == "GRID.LEASE"
			}
		})
		get := func(got chan string) {
			v, err := c.Get(context.Background(), "k")
			if err != nil {
				t.Error(err)
			}
			got <- v
		}
		first, second := make(chan string, 1), make(chan string, 1)
		go get(first)
		synctest.Wait()
		n.set("k", "v2")
		time.Sleep(301 * time.Millisecond)
		go get(second)
		synctest.Wait()
		n.change(func() {
			for _, text := range held {
				on.send("%s", text)
			}
		})
		if v := <-first; v != "v1" {
			t.Errorf("the first read: %q, want v1", v)
		}
		if v := <-second; v != "v2" {
			t.Errorf("a read 301 ms after the write: %q, want v2", v)
		}
	})
}

// TestNearRaceLease, row 3: a lease counts from when it was asked for.
func TestNearRaceLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet(t, "a:1")
		n := net.nodes["a:1"]
		n.set("k", "v1")
		n.change(func() {
			n.script = func(conn *fakeConn, args []string) bool {
				if args[0] == "GRID.LEASE" {
					time.Sleep(800 * time.Millisecond) // the answer takes long
				}
				return false
			}
		})
		c := net.connect(t, Options{NearCache: &NearCache{Prefixes: []string{""}}})
		n.change(func() { n.silent = true })
		wantGet(t, c, n, "k", "v1", 1) // 0.8 s after the lease was asked for
		n.set("k", "v2")
		wantGet(t, c, n, "k", "v1", 0)
		time.Sleep(250 * time.Millisecond) // 1.05 s after
		wantGet(t, c, n, "k", "v2", 1)
	})
}

// TestNearRaceLostPush, row 3: where nothing arrives any more, nothing is used beyond the lease; and not L alone counts, but
// what the node grants.
func TestNearRaceLostPush(t *testing.T) {
	for _, c := range []struct {
		staleness time.Duration
		grant     int64
		lives     time.Duration
	}{
		{time.Second, 1000, time.Second},
		{time.Second, 300, 300 * time.Millisecond},
		{200 * time.Millisecond, 1000, 200 * time.Millisecond},
		{time.Second, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			net := newFakeNet(t, "a:1")
			n := net.nodes["a:1"]
			n.grant = c.grant
			n.set("k", "v1")
			client := net.connect(t, Options{NearCache: &NearCache{Prefixes: []string{""}, Staleness: c.staleness}})
			wantGet(t, client, n, "k", "v1", 1)
			n.change(func() {
				n.script = func(conn *fakeConn, args []string) bool { return true } // from now on the node is silent
			})
			n.change(func() { n.silent = true })
			n.set("k", "v2")
			if c.lives > 0 {
				time.Sleep(c.lives - time.Millisecond)
				wantGet(t, client, n, "k", "v1", 0)
			}
			time.Sleep(2 * time.Millisecond)
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if v, err := client.Get(ctx, "k"); err == nil {
				t.Errorf("L %v, granted %d ms: %q after the lease", c.staleness, c.grant, v)
			}
		})
	}
}

// TestNearLeaseRenewal, row 3: leases are renewed at a third of what is granted, and only where entries were used; a lease that has
// lapsed in a pause is asked for with the next read, in the same write.
func TestNearLeaseRenewal(t *testing.T) {
	nearPlay(t, NearCache{}, func(t *testing.T, c *Client, n *fakeNode) {
		n.set("k", "v")
		wantGet(t, c, n, "k", "v", 1)
		use := func() {
			first := n.count("GRID.LEASE")
			for range 100 {
				time.Sleep(100 * time.Millisecond)
				wantGet(t, c, n, "k", "v", 0)
			}
			if got := n.count("GRID.LEASE") - first; got < 25 || got > 31 {
				t.Errorf("%d renewals in 10 s of use, want about 30", got)
			}
		}
		use()
		before := n.count("GRID.LEASE")
		time.Sleep(time.Minute)
		if got := n.count("GRID.LEASE") - before; got > 1 {
			t.Errorf("%d renewals in a minute without use", got)
		}
		wantGet(t, c, n, "k", "v", 1)
		use()
	})
}

// TestNearRaceReconnect, row 4: with the connection all that rests on it is gone, at once.
func TestNearRaceReconnect(t *testing.T) {
	nearPlay(t, NearCache{}, func(t *testing.T, c *Client, n *fakeNode) {
		n.set("k", "v1")
		wantGet(t, c, n, "k", "v1", 1)
		n.change(func() { n.limit = -1 }) // no new connection
		for _, conn := range n.trackers() {
			conn.close()
		}
		synctest.Wait()
		n.set("k", "v2")
		wantGet(t, c, n, "k", "v2", 1) // past the near cache, on the connection that is left
		n.change(func() { n.limit = 0 })
		time.Sleep(2 * time.Second)
		wantGet(t, c, n, "k", "v2", 1)
		wantGet(t, c, n, "k", "v2", 0)
	})
}

// TestNearRaceMovement, rows 5 and 6: a partition that is named is dropped, and others are not; so is one that another table gives
// to another node.
func TestNearRaceMovement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := playGrid(t, false)
		c := f.connect(t, Options{NearCache: &NearCache{Prefixes: []string{""}}})
		a := f.nodes["a:1"]
		p0, p3 := keyOf(0, 4, 0), keyOf(3, 4, 0) // both at a
		for _, key := range []string{p0, p3} {
			a.set(key, "v1")
			wantGet(t, c, a, key, "v1", 1)
		}
		for _, conn := range a.trackers() {
			conn.send(">2|%s*1|:3|", bulk("grid-invalidate"))
		}
		synctest.Wait()
		wantGet(t, c, a, p0, "v1", 0)
		wantGet(t, c, a, p3, "v1", 1)
		wantGet(t, c, a, p3, "v1", 0)

		f.setTable(2, false, 1, 1, 2, 0) // partition 0 goes to b, where it is written; a does not say so
		f.nodes["b:1"].set(p0, "v2")
		c.refreshSoon()
		time.Sleep(100 * time.Millisecond)
		wantGet(t, c, f.nodes["b:1"], p0, "v2", 1)
		wantGet(t, c, f.nodes["b:1"], p0, "v2", 0)
		wantGet(t, c, a, p3, "v1", 0)
	})
}

// TestNearFlush: an invalidation of everything drops what came from that node, and nothing else.
func TestNearFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := playGrid(t, false)
		c := f.connect(t, Options{NearCache: &NearCache{Prefixes: []string{""}}})
		a, b := f.nodes["a:1"], f.nodes["b:1"]
		ka, kb := keyOf(0, 4, 0), keyOf(1, 4, 0)
		a.set(ka, "v")
		b.set(kb, "v")
		wantGet(t, c, a, ka, "v", 1)
		wantGet(t, c, b, kb, "v", 1)
		for _, conn := range a.trackers() {
			conn.send(">2|%s_|", bulk("invalidate"))
		}
		synctest.Wait()
		wantGet(t, c, b, kb, "v", 0)
		wantGet(t, c, a, ka, "v", 1)
	})
}

// TestNearOwnWrites, row 9: after a write's acknowledgement, error or timeout nothing older is read, whether the node's push has
// come or not; nor while it is on its way.
func TestNearOwnWrites(t *testing.T) {
	nearPlay(t, NearCache{}, func(t *testing.T, c *Client, n *fakeNode) {
		ctx := context.Background()
		n.set("k", "v1")
		n.change(func() { n.silent = true })
		wantGet(t, c, n, "k", "v1", 1)

		hold := make(chan struct{})
		n.change(func() {
			n.script = func(conn *fakeConn, args []string) bool {
				if args[0] == "SET" {
					<-hold
				}
				return false
			}
		})
		done := make(chan error)
		go func() { done <- c.Set(ctx, "k", "v2", 0) }()
		synctest.Wait()
		wantGet(t, c, n, "k", "v1", 1) // the write is on its way: G++ when it was sent
		wantGet(t, c, n, "k", "v1", 0) // and this is held again
		close(hold)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		wantGet(t, c, n, "k", "v2", 1) // G++ before its acknowledgement
		wantGet(t, c, n, "k", "v2", 0)

		// A write whose time is over may have been executed.
		n.change(func() {
			n.script = func(conn *fakeConn, args []string) bool {
				if args[0] == "SET" {
					n.set(args[1], args[2])
				}
				return args[0] == "SET"
			}
		})
		short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		if err := c.Set(short, "k", "v3", 0); !IsIndeterminate(err) {
			t.Errorf("%v, want an IndeterminateError", err)
		}
		wantGet(t, c, n, "k", "v3", 1)
	})
}

// TestNearOwnWritesElsewhere, row 9: the same for pipelines, transactions and commands over many keys; and what is not known
// of a command's keys costs everything.
func TestNearOwnWritesElsewhere(t *testing.T) {
	nearPlay(t, NearCache{}, func(t *testing.T, c *Client, n *fakeNode) {
		ctx := context.Background()
		n.change(func() { n.silent = true })
		write := map[string]func(value string) error{
			"pipeline": func(v string) error { p := c.Pipeline(); p.Do("SET", "k", v); _, err := p.Exec(ctx); return err },
			"multi":    func(v string) error { p := c.Multi(); p.Do("SET", "k", v); _, err := p.Exec(ctx); return err },
			"mset":     func(v string) error { return c.MSet(ctx, map[string]string{"j": v, "k": v}) },
			"watch": func(v string) error {
				return c.Watch(ctx, []string{"k"}, func(s *Session) error {
					tx := s.Multi()
					tx.Do("SET", "k", v)
					_, err := tx.Exec(ctx)
					return err
				})
			},
			"session": func(v string) error {
				return c.Watch(ctx, []string{"k"}, func(s *Session) error { _, err := s.Do(ctx, "SET", "k", v); return err })
			},
			"script": func(v string) error { n.set("k", v); _, err := c.Do(ctx, "EVAL", "...", "0"); return err },
		}
		i := 0
		for name, f := range write {
			c.Get(ctx, "k")
			value := fmt.Sprintf("%s%d", name, i)
			if err := f(value); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			wantGet(t, c, n, "k", value, 1)
			i++
		}
	})
}

// TestNearReadsPast, row 9: a reply that has read a key past the near cache is not followed by an older near read.
func TestNearReadsPast(t *testing.T) {
	nearPlay(t, NearCache{}, func(t *testing.T, c *Client, n *fakeNode) {
		ctx := context.Background()
		n.set("k", "v1")
		wantGet(t, c, n, "k", "v1", 1)
		n.change(func() { n.silent = true })
		n.set("k", "v2")
		p := c.Pipeline()
		p.Do("GET", "k")
		results, err := p.Exec(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := results[0].Text(); got != "v2" {
			t.Fatalf("the pipeline's read: %q", got)
		}
		wantGet(t, c, n, "k", "v2", 1)
	})
}

// TestNearExpiry, row 10: a time to live counts from when the read was sent.
func TestNearExpiry(t *testing.T) {
	nearPlay(t, NearCache{}, func(t *testing.T, c *Client, n *fakeNode) {
		n.set("k", "v")
		n.change(func() {
			n.ttl["k"] = 500
			n.script = func(conn *fakeConn, args []string) bool {
				if args[0] == "GRID.READ" {
					time.Sleep(300 * time.Millisecond)
				}
				return false
			}
		})
		wantGet(t, c, n, "k", "v", 1)
		n.change(func() { delete(n.data, "k"); n.script = nil })
		time.Sleep(199 * time.Millisecond)
		wantGet(t, c, n, "k", "v", 0)
		time.Sleep(2 * time.Millisecond)
		wantGet(t, c, n, "k", "(nil)", 1)
	})
}

// TestNearOutside, row 9: what another client of the program sends is known, by its keys or as anything. WATCH counts: what is read behind it
// must not be older than it.
func TestNearOutside(t *testing.T) {
	nearPlay(t, NearCache{}, func(t *testing.T, c *Client, n *fakeNode) {
		n.set("k", "0")
		n.set("j", "v")
		n.change(func() { n.silent = true })
		wantGet(t, c, n, "j", "v", 1)
		for i, line := range [][]string{{"SET", "k", "x"}, {"GET", "k"}, {"WATCH", "i", "k"}, {"MGET", "i", "k"}, {"nosuch", "k"}, {}} {
			wantGet(t, c, n, "k", itoa(i), 1)
			done := c.Outside(line...)
			n.set("k", itoa(i+1))
			done()
			wantGet(t, c, n, "j", "v", b2i(len(line) == 0 || line[0] == "nosuch"))
		}
		if !c.Nears("get", "k") || !c.Nears("HGET", "k", "f") || !c.Nears("MGET", "k", "j") || c.Nears("SET", "k", "v") || c.Nears("TTL", "k") || c.Nears("GET") || c.Nears() {
			t.Error("Nears tells of the wrong commands")
		}
	})
}
