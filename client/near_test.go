package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// nearPlay runs a test of the near cache in virtual time, against one played node. All keys are kept.
func nearPlay(t *testing.T, o NearCache, f func(t *testing.T, c *Client, n *fakeNode)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet(t, "a:1")
		if o.Prefixes == nil {
			o.Prefixes = []string{""}
		}
		c := net.connect(t, Options{NearCache: &o})
		f(t, c, net.nodes["a:1"])
	})
}

// wantGet reads a key and checks value and by how many reads the node was asked.
func wantGet(t *testing.T, c *Client, n *fakeNode, key, want string, asked int) {
	t.Helper()
	before := n.count("GRID.READ") + n.count("GET")
	got, err := c.Get(context.Background(), key)
	if errors.Is(err, ErrNil) {
		got, err = "(nil)", nil
	}
	if got != want || err != nil {
		t.Errorf("Get %s: %q, %v; want %q", key, got, err, want)
	}
	if n := n.count("GRID.READ") + n.count("GET") - before; n != asked {
		t.Errorf("Get %s: the node was asked %d times, want %d", key, n, asked)
	}
}

// TestNearHit: what was read is found, until somebody changes it; missing keys too.
func TestNearHit(t *testing.T) {
	nearPlay(t, NearCache{}, func(t *testing.T, c *Client, n *fakeNode) {
		n.set("k", "v1")
		wantGet(t, c, n, "k", "v1", 1)
		wantGet(t, c, n, "k", "v1", 0)
		n.set("k", "v2")
		synctest.Wait()
		wantGet(t, c, n, "k", "v2", 1)
		wantGet(t, c, n, "k", "v2", 0)
		wantGet(t, c, n, "missing", "(nil)", 1)
		wantGet(t, c, n, "missing", "(nil)", 0)
		n.set("missing", "no more")
		synctest.Wait()
		wantGet(t, c, n, "missing", "no more", 1)
	})
}

// TestNearPrefixes: keys of other prefixes are not kept, nor what depends on more than the key.
func TestNearPrefixes(t *testing.T) {
	nearPlay(t, NearCache{Prefixes: []string{"page:", "user:"}}, func(t *testing.T, c *Client, n *fakeNode) {
		for key, near := range map[string]bool{"page:1": true, "user:1": true, "other": false, "pag": false, "": false} {
			n.set(key, "v")
			wantGet(t, c, n, key, "v", 1)
			wantGet(t, c, n, key, "v", b2i(!near))
		}
		for range 2 {
			c.Do(context.Background(), "PTTL", "page:1")
		}
		if got := n.count("PTTL"); got != 2 {
			t.Errorf("PTTL was sent %d times, want 2: it depends on the time", got)
		}
	})
}

// TestNearPing: a server without GRID commands is read with the time to live behind the value, and PING carries the lease. A write
// between the two is told between the two replies, and the value is not kept.
func TestNearPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet(t, "a:1")
		n := net.nodes["a:1"]
		n.plain = true
		n.set("k", "v1")
		c := net.connect(t, Options{NearCache: &NearCache{Prefixes: []string{""}}})
		n.change(func() {
			n.ttl["k"] = 10
			n.script = func(conn *fakeConn, args []string) bool {
				if args[0] == "PTTL" {
					n.change(func() { n.ttl["k"] = 1000_000; n.script = nil })
					n.set("k", "v2")
				}
				return false
			}
		})
		wantGet(t, c, n, "k", "v1", 1)
		wantGet(t, c, n, "k", "v2", 1)
		wantGet(t, c, n, "k", "v2", 0)
		pings := n.count("PING")
		for range 10 {
			time.Sleep(200 * time.Millisecond)
			wantGet(t, c, n, "k", "v2", 0)
		}
		if got := n.count("PING") - pings; got < 4 || got > 7 {
			t.Errorf("%d PINGs in 2 s of use", got)
		}
	})
}

// TestNearRefused: where there is no tracking, Connect says so.
func TestNearRefused(t *testing.T) {
	f := newFakeNet(t, "a:1")
	f.nodes["a:1"].script = func(conn *fakeConn, args []string) bool {
		if args[0] == "CLIENT" {
			conn.send("-ERR unknown subcommand 'TRACKING'. Try CLIENT HELP.|")
		}
		return args[0] == "CLIENT"
	}
	_, err := Connect(within(t, 10*time.Second), []string{"a:1"}, Options{Dial: f.dial, NearCache: &NearCache{Prefixes: []string{""}}})
	if err == nil || !strings.Contains(err.Error(), "NearCache needs CLIENT TRACKING") {
		t.Errorf("%v", err)
	}
}

// TestNearViews: replies of other commands and types are kept, each by what was asked.
func TestNearViews(t *testing.T) {
	nearPlay(t, NearCache{}, func(t *testing.T, c *Client, n *fakeNode) {
		ctx := context.Background()
		replies := map[string]string{
			"HGETALL h":      "%2|" + bulk("a") + bulk("1") + bulk("b") + bulk("2"),
			"HGET h a":       bulk("1"),
			"HGET h none":    "_|",
			"LLEN l":         ":7|",
			"ZSCORE z m":     ",1.5|",
			"SMEMBERS s":     "~2|" + bulk("x") + bulk("y"),
			"LRANGE l 0 -1":  "*3|" + bulk("1") + "_|" + bulk(""),
			"LRANGE l 0 -10": "*0|",
			"TYPE h":         "+hash|",
			"SISMEMBER s x":  "#t|",
			"SISMEMBER s z":  "#f|",
		}
		n.change(func() {
			n.script = func(conn *fakeConn, args []string) bool {
				if args[0] != "GRID.READ" {
					return false
				}
				args[1] = strings.ToUpper(args[1])
				conn.send("*2|%s:-1|", replies[strings.Join(args[1:], " ")])
				return true
			}
		})
		for line := range replies {
			words := strings.Fields(line)
			words[0] = strings.ToLower(words[0])
			first, err := c.Do(ctx, words...)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			second, err := c.Do(ctx, strings.Fields(line)...)
			if err != nil || first.Value().String() != second.Value().String() || first.Kind() != second.Kind() {
				t.Errorf("%s: %q at first, then %q, %v", line, first.Value(), second.Value(), err)
			}
		}
		if got := n.count("GRID.READ"); got != len(replies) {
			t.Errorf("%d requests for %d replies", got, len(replies))
		}
	})
}

// TestNearMGet: MGET takes what is held, and reads the rest.
func TestNearMGet(t *testing.T) {
	nearPlay(t, NearCache{Prefixes: []string{"k"}}, func(t *testing.T, c *Client, n *fakeNode) {
		for _, key := range []string{"k1", "k2", "other"} {
			n.set(key, "v-"+key)
		}
		wantGet(t, c, n, "k1", "v-k1", 1)
		for _, asked := range []int{3, 1} { // k2, k3, other; then other alone
			before := n.count("GRID.READ") + n.count("GET")
			got, err := c.MGet(context.Background(), "k1", "k2", "k3", "other")
			want := []Optional{{"v-k1", true}, {"v-k2", true}, {}, {"v-other", true}}
			if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%v, %v; want %v", got, err, want)
			}
			if n := n.count("GRID.READ") + n.count("GET") - before; n != asked {
				t.Errorf("the node was asked %d times, want %d", n, asked)
			}
		}
	})
}

// TestNearTurmoil: readers and writers at once, with connections that break; nobody reads behind what it has written.
func TestNearTurmoil(t *testing.T) {
	f, _ := playGrid(t, false)
	c := f.connect(t, Options{NearCache: &NearCache{Prefixes: []string{""}}})
	ctx := within(t, 60*time.Second)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			key := keyOf(g%4, 4, g)
			for i := range 300 {
				value := itoa(i)
				if err := c.Set(ctx, key, value, 0); err != nil && !IsIndeterminate(err) {
					t.Error(err)
					return
				} else if err != nil {
					continue
				}
				for range 3 {
					if got, err := c.Get(ctx, key); got != value || err != nil {
						t.Errorf("%s: %q, %v after %q was written", key, got, err, value)
						return
					}
				}
				if i%100 == 50 {
					for _, n := range f.nodes {
						for _, conn := range n.trackers() {
							conn.close()
						}
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestNearHitAllocates nothing.
func TestNearHitAllocates(t *testing.T) {
	f := newFakeNet(t, "a:1")
	n := f.nodes["a:1"]
	n.grant = time.Hour.Milliseconds()
	n.set("k", "v")
	c := f.connect(t, Options{NearCache: &NearCache{Prefixes: []string{""}, Staleness: time.Hour}})
	ctx := context.Background()
	wantGet(t, c, n, "k", "v", 1)
	if got := testing.AllocsPerRun(100, func() { c.Get(ctx, "k") }); got != 0 {
		t.Errorf("a hit allocates %v times", got)
	}
	wantGet(t, c, n, "k", "v", 0)
}
