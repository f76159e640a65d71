package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/neargrid/neargrid/internal/testredis"
)

// Client libraries that cache what they read, as their documentation shows it.

// TestRueidisCache: DoCache, in both modes: opt-in, which sends CLIENT CACHING YES before each reading, and BCAST with prefixes.
func TestRueidisCache(t *testing.T) {
	tcp, _ := startDoors(t)
	bcast := []string{"PREFIX", "user:", "BCAST"}
	for name, test := range map[string]struct {
		addr, password string
		options        []string
	}{
		"opt-in":                 {tcp, clientsPassword, nil},
		"BCAST":                  {tcp, clientsPassword, bcast},
		"BCAST behind a sidecar": {startSidecar(t), "", bcast}, // opt-in reads within MULTI, which is not tracked there
	} {
		t.Run(name, func(t *testing.T) {
			c, err := rueidis.NewClient(rueidis.ClientOption{
				InitAddress: []string{test.addr}, Password: test.password, ForceSingleClient: true, ClientTrackingOptions: test.options,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			writer := redis.NewClient(&redis.Options{Addr: test.addr, Password: test.password})
			defer writer.Close()
			r := rueidisUser{newChecker(t), c}
			r.ok("FLUSHALL", writer.FlushAll(r.ctx).Err())
			read := func() (value string, hit bool) {
				reply := c.DoCache(r.ctx, c.B().Get().Key("user:1").Cache(), time.Hour)
				value, err := reply.ToString()
				if err != nil && !rueidis.IsRedisNil(err) {
					t.Fatalf("DoCache: %v", err)
				}
				return value, reply.IsCacheHit()
			}
			for round := range 5 {
				want := fmt.Sprint("value ", round)
				r.ok("SET", writer.Set(r.ctx, "user:1", want, 0).Err())
				waitFor(t, "the new value", func() bool { v, _ := read(); return v == want })
				waitFor(t, "a hit", func() bool { _, hit := read(); return hit })
				if v, hit := read(); v != want || !hit {
					t.Errorf("round %d: got %q, a hit: %v", round, v, hit)
				}
			}
			r.ok("PEXPIRE", writer.PExpire(r.ctx, "user:1", 50*time.Millisecond).Err())
			waitFor(t, "expiry", func() bool { v, _ := read(); return v == "" })
			r.ok("SET", writer.Set(r.ctx, "user:1", "there", 0).Err())
			waitFor(t, "the value after none", func() bool { v, _ := read(); return v == "there" })
			r.ok("FLUSHALL", writer.FlushAll(r.ctx).Err())
			waitFor(t, "flushing", func() bool { v, _ := read(); return v == "" })
		})
	}
}

// TestGoRedisCache: go-redis's client-side cache.
func TestGoRedisCache(t *testing.T) {
	tcp, _ := startDoors(t)
	cache := redis.NewLocalCache(redis.CacheConfig{MaxEntries: 128})
	c := redis.NewClient(&redis.Options{Addr: tcp, Password: clientsPassword, Protocol: 3, ClientSideCache: cache})
	defer c.Close()
	writer := redis.NewClient(&redis.Options{Addr: tcp, Password: clientsPassword})
	defer writer.Close()
	g := goRedis{newChecker(t), c}
	value := func(key string) string {
		v, err := c.Get(g.ctx, key).Result()
		if err != nil && err != redis.Nil {
			t.Fatal(err)
		}
		return v
	}
	for round := range 5 {
		want := fmt.Sprint("value ", round)
		g.ok("SET", writer.Set(g.ctx, "k", want, 0).Err())
		waitFor(t, "the new value", func() bool { return value("k") == want })
		waitFor(t, "the cache to hold it", func() bool { value("k"); return cache.Len() > 0 })
	}
	g.ok("DEL", writer.Del(g.ctx, "k").Err())
	waitFor(t, "deletion", func() bool { return value("k") == "" })
	g.ok("SET", writer.Set(g.ctx, "k", "there", 0).Err())
	waitFor(t, "the value after none", func() bool { return value("k") == "there" })
	g.ok("FLUSHALL", writer.FlushAll(g.ctx).Err())
	waitFor(t, "flushing", func() bool { return value("k") == "" })
}

// nearReader is a near cache in its shortest form: what it was told to drop it drops, everything else it keeps.
type nearReader struct {
	conn *testredis.Conn
	held map[string]int
}

// read reads a key over the connection, and keeps it; what comes before the reply is done first.
func (n *nearReader) read(key string) (int, error) {
	v, err := n.call("GET", key)
	if err != nil {
		return 0, err
	}
	value, _ := strconv.Atoi(v.Text)
	n.held[key] = value
	return value, nil
}

// call returns a command's reply, and does what it is told before.
func (n *nearReader) call(args ...string) (testredis.Value, error) {
	v, err := n.conn.Call(args...)
	for ; err == nil && v.Kind == testredis.Push; v, err = n.conn.Receive() {
		if v.Elems[1].Kind == testredis.Null {
			clear(n.held)
			continue
		}
		for _, key := range v.Elems[1].Elems {
			delete(n.held, key.Text)
		}
	}
	return v, err
}

// TestTrackingAtOnce: writers, expiry, a table that is too small and flushes, all at once. Numbers never fall, and when all is quiet,
// whatever a reader still holds is what the server has.
func TestTrackingAtOnce(t *testing.T) {
	t.Run("server", func(t *testing.T) {
		addr := startServer(t)
		trackAtOnce(t, addr, addr)
	})
	t.Run("behind a sidecar", func(t *testing.T) {
		addr := startServer(t)
		trackAtOnce(t, addr, startSidecarOf(t, addr))
	})
}

// trackAtOnce writes at one address, and reads at another.
func trackAtOnce(t *testing.T, addr, readAt string) {
	const keys, readers, writers, rounds = 20, 4, 2, 2000
	name := func(i int) string { return "k" + strconv.Itoa(i) }
	var working sync.WaitGroup
	for w := range writers {
		working.Go(func() {
			conn, err := testredis.Dial(addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			rng := rand.New(rand.NewPCG(1, uint64(w)))
			for i := range rounds {
				command := []string{"INCR", name(rng.IntN(keys))}
				switch {
				case i%100 == 50:
					command = []string{"CONFIG", "SET", "tracking-table-max-keys", strconv.Itoa(1 + rng.IntN(keys))}
				case i == rounds/2:
					command = []string{"SWAPDB", "3", "4"} // empty ones: everything is told all the same
				}
				if _, err := conn.Call(command...); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	near := make([]*nearReader, readers)
	var reading sync.WaitGroup
	quiet := make(chan struct{})
	for r := range near {
		conn, err := testredis.Dial(readAt)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		n := &nearReader{conn, map[string]int{}}
		near[r] = n
		n.call("HELLO", "3")
		options := []string{"CLIENT", "TRACKING", "ON"}
		if r == 0 {
			options = append(options, "BCAST")
		}
		n.call(options...)
		reading.Go(func() {
			rng := rand.New(rand.NewPCG(2, uint64(r)))
			last := map[string]int{}
			for done := false; !done; {
				select {
				case <-quiet:
					done = true
				default:
				}
				key := name(rng.IntN(keys))
				value, held := n.held[key]
				if !held || rng.IntN(4) == 0 {
					var err error
					if value, err = n.read(key); err != nil {
						t.Error(err)
						return
					}
				}
				if value < last[key] {
					t.Errorf("reader %d: %s was %d, and then %d", r, key, last[key], value)
					return
				}
				last[key] = value
			}
		})
	}
	working.Wait()
	close(quiet)
	reading.Wait()
	direct, err := testredis.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	for r, n := range near {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		for stale := "?"; stale != ""; { // pushes from other event loops may still be on their way
			if _, err := n.call("PING"); err != nil {
				t.Fatal(err)
			}
			stale = ""
			for key, held := range n.held {
				if v := direct.Do(t, "GET", key); v.Text != strconv.Itoa(held) && !(v.Nil && held == 0) {
					stale = fmt.Sprintf("reader %d still holds %s = %d, the server has %s", r, key, held, v.Text)
				}
			}
			if stale != "" && ctx.Err() != nil {
				t.Error(stale)
				break
			}
		}
		cancel()
	}
}
