package client

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

// realServers starts one server of each kind that a client may meet.
func realServers(t *testing.T) map[string]*testredis.Server {
	servers := map[string]*testredis.Server{
		"neargrid alone":   testredis.StartNeargrid(t),
		"neargrid, a grid": testredis.StartDev(t, 3),
	}
	if s, err := testredis.LaunchRedis(); err == nil {
		t.Cleanup(s.Stop)
		servers["redis-server"] = s
	}
	if s, err := testredis.LaunchRedis("--cluster-enabled", "yes"); err == nil {
		t.Cleanup(s.Stop)
		s.Dial(t).Do(t, "CLUSTER", "ADDSLOTSRANGE", "0", "16383")
		servers["redis cluster"] = s
	}
	return servers
}

// TestRealServers runs the typed methods against each kind of server.
func TestRealServers(t *testing.T) {
	for name, server := range realServers(t) {
		t.Run(name, func(t *testing.T) {
			ctx := within(t, 60*time.Second)
			c, err := Connect(ctx, []string{server.Addr}, Options{RetryTime: 30 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			nodes := 1
			if strings.Contains(name, "a grid") {
				nodes = 3
			}
			waitFor(t, ctx, func() bool { c.refreshSoon(); return len(c.Nodes()) == nodes })
			if c.table.Load().perNode != (strings.Contains(name, "a grid") || strings.Contains(name, "cluster")) {
				t.Errorf("the doors talked to are not cluster doors where there are some: %v", c.Nodes())
			}
			// While partitions move to nodes that have just come, what is for all of them may miss one, and says so.
			waitFor(t, ctx, func() bool { return c.FlushAll(ctx) == nil })
			exercise(t, ctx, c)
		})
	}
}

// exercise uses every typed method and compares with what Redis documents.
func exercise(t *testing.T, ctx context.Context, c *Client) {
	check := func(what string, want any) func(got any, err error) {
		return func(got any, err error) {
			t.Helper()
			if wantErr, ok := want.(error); ok {
				if !errors.Is(err, wantErr) {
					t.Errorf("%s: %v, %v; want the error %v", what, got, err, wantErr)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %#v, %v; want %#v", what, got, err, want)
			}
		}
	}
	done := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}

	done("FlushAll", c.FlushAll(ctx))
	done("Set", c.Set(ctx, "s", "hello", 0))
	done("Set with ttl", c.Set(ctx, "e", "x", time.Hour))
	check("Get", "hello")(c.Get(ctx, "s"))
	check("Get nothing", ErrNil)(c.Get(ctx, "none"))
	check("SetIf absent", false)(c.SetIf(ctx, "s", "y", SetArgs{IfAbsent: true}))
	check("SetIf present", true)(c.SetIf(ctx, "s", "world", SetArgs{IfPresent: true, TTL: time.Hour}))
	check("SetIf keepttl", true)(c.SetIf(ctx, "s", "world", SetArgs{KeepTTL: true}))
	ttl, err := c.TTL(ctx, "s")
	if err != nil || ttl < 59*time.Minute || ttl > time.Hour {
		t.Errorf("TTL: %v, %v", ttl, err)
	}
	check("Persist", true)(c.Persist(ctx, "s"))
	check("TTL of what stays", NoExpiry)(c.TTL(ctx, "s"))
	check("TTL of nothing", ErrNil)(c.TTL(ctx, "none"))
	check("Expire", true)(c.Expire(ctx, "s", time.Hour))
	check("ExpireAt", true)(c.ExpireAt(ctx, "s", time.Now().Add(time.Hour)))
	check("GetSet", "world")(c.GetSet(ctx, "s", "a"))
	check("Append", int64(3))(c.Append(ctx, "s", "bc"))
	check("Strlen", int64(3))(c.Strlen(ctx, "s"))
	check("GetRange", "bc")(c.GetRange(ctx, "s", 1, -1))
	check("GetDel", "abc")(c.GetDel(ctx, "s"))
	check("Incr", int64(1))(c.Incr(ctx, "n"))
	check("IncrBy", int64(11))(c.IncrBy(ctx, "n", 10))
	check("IncrByFloat", 11.5)(c.IncrByFloat(ctx, "n", 0.5))
	done("MSet", c.MSet(ctx, map[string]string{"m1": "1", "m2": "2", "m3": ""}))
	check("MGet", []Optional{{"1", true}, {"2", true}, {"", true}, {}})(c.MGet(ctx, "m1", "m2", "m3", "none"))
	check("Exists", int64(3))(c.Exists(ctx, "m1", "m2", "m2", "none"))
	check("Touch", int64(2))(c.Touch(ctx, "m1", "m2", "none"))
	check("Unlink", int64(1))(c.Unlink(ctx, "m3", "none"))
	check("Del", int64(2))(c.Del(ctx, "m1", "m2"))
	check("Type", "string")(c.Type(ctx, "n"))
	check("Type of nothing", "none")(c.Type(ctx, "none"))
	done("Rename", c.Rename(ctx, "n", "{n}2"))
	check("Copy", true)(c.Copy(ctx, "{n}2", "{n}3", false))
	check("Copy onto", false)(c.Copy(ctx, "{n}2", "{n}3", false))
	check("Copy in place of", true)(c.Copy(ctx, "{n}2", "{n}3", true))
	done("Ping", c.Ping(ctx))

	check("HSet", int64(2))(c.HSet(ctx, "h", map[string]string{"a": "1", "b": "2"}))
	check("HGet", "1")(c.HGet(ctx, "h", "a"))
	check("HGet nothing", ErrNil)(c.HGet(ctx, "h", "z"))
	check("HSetNX", false)(c.HSetNX(ctx, "h", "a", "9"))
	check("HGetAll", map[string]string{"a": "1", "b": "2"})(c.HGetAll(ctx, "h"))
	check("HGetAll nothing", map[string]string{})(c.HGetAll(ctx, "none"))
	check("HMGet", []Optional{{"2", true}, {}})(c.HMGet(ctx, "h", "b", "z"))
	check("HExists", true)(c.HExists(ctx, "h", "a"))
	check("HLen", int64(2))(c.HLen(ctx, "h"))
	check("HIncrBy", int64(5))(c.HIncrBy(ctx, "h", "b", 3))
	check("HDel", int64(1))(c.HDel(ctx, "h", "a", "z"))
	check("HKeys", []string{"b"})(c.HKeys(ctx, "h"))

	check("RPush", int64(3))(c.RPush(ctx, "l", "a", "b", "c"))
	check("LPush", int64(4))(c.LPush(ctx, "l", "z"))
	check("LRange", []string{"z", "a", "b", "c"})(c.LRange(ctx, "l", 0, -1))
	check("LLen", int64(4))(c.LLen(ctx, "l"))
	check("LIndex", "c")(c.LIndex(ctx, "l", -1))
	check("LIndex nothing", ErrNil)(c.LIndex(ctx, "l", 9))
	done("LSet", c.LSet(ctx, "l", 0, "y"))
	check("LPop", "y")(c.LPop(ctx, "l"))
	check("RPop", "c")(c.RPop(ctx, "l"))
	check("LRem", int64(1))(c.LRem(ctx, "l", 0, "a"))
	done("LTrim", c.LTrim(ctx, "l", 1, 0))
	check("LPop nothing", ErrNil)(c.LPop(ctx, "l"))

	check("SAdd", int64(3))(c.SAdd(ctx, "{x}s", "a", "b", "c"))
	check("SAdd 2", int64(1))(c.SAdd(ctx, "{x}t", "b"))
	check("SIsMember", true)(c.SIsMember(ctx, "{x}s", "a"))
	check("SCard", int64(3))(c.SCard(ctx, "{x}s"))
	check("SInter", []string{"b"})(c.SInter(ctx, "{x}s", "{x}t"))
	diff, err := c.SDiff(ctx, "{x}s", "{x}t")
	slices.Sort(diff)
	check("SDiff", []string{"a", "c"})(diff, err)
	union, err := c.SUnion(ctx, "{x}s", "{x}t")
	slices.Sort(union)
	check("SUnion", []string{"a", "b", "c"})(union, err)
	members, err := c.SMembers(ctx, "{x}s")
	slices.Sort(members)
	check("SMembers", []string{"a", "b", "c"})(members, err)
	check("SRem", int64(2))(c.SRem(ctx, "{x}s", "a", "b", "z"))
	check("SPop", "c")(c.SPop(ctx, "{x}s"))
	check("SPop nothing", ErrNil)(c.SPop(ctx, "{x}s"))

	check("ZAdd", int64(3))(c.ZAdd(ctx, "z", Scored{"a", 1}, Scored{"b", 2.5}, Scored{"c", 3}))
	check("ZScore", 2.5)(c.ZScore(ctx, "z", "b"))
	check("ZScore nothing", ErrNil)(c.ZScore(ctx, "z", "q"))
	check("ZIncrBy", 4.5)(c.ZIncrBy(ctx, "z", 2, "b"))
	check("ZRank", int64(2))(c.ZRank(ctx, "z", "b"))
	check("ZCard", int64(3))(c.ZCard(ctx, "z"))
	check("ZRange", []Scored{{"a", 1}, {"c", 3}})(c.ZRange(ctx, "z", 0, 1))
	check("ZRevRange", []Scored{{"b", 4.5}})(c.ZRevRange(ctx, "z", 0, 0))
	check("ZRangeByScore", []Scored{{"c", 3}})(c.ZRangeByScore(ctx, "z", "(1", "+inf", 0, 1))
	check("ZCount", int64(2))(c.ZCount(ctx, "z", "2", "+inf"))
	check("ZPopMin", []Scored{{"a", 1}})(c.ZPopMin(ctx, "z", 1))
	check("ZRem", int64(1))(c.ZRem(ctx, "z", "b"))

	_, err = c.LPush(ctx, "{n}2", "x")
	if !IsCode(err, "WRONGTYPE") {
		t.Errorf("LPush onto a string: %v", err)
	}
	scanAll(t, ctx, c)
	optimistic(t, ctx, c)
}

// scanAll walks over many keys of all nodes.
func scanAll(t *testing.T, ctx context.Context, c *Client) {
	p := c.Pipeline()
	want := map[string]bool{}
	for i := range 500 {
		key := fmt.Sprintf("scan:%d", i)
		want[key] = true
		p.Do("SET", key, "v")
	}
	if _, err := p.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	for key, err := range c.Scan(ctx, "scan:*", 100) {
		if err != nil {
			t.Fatal(err)
		}
		delete(want, key)
	}
	if len(want) > 0 {
		t.Errorf("Scan did not show %d of 500 keys", len(want))
	}
	n, err := c.DBSize(ctx)
	if r, keysErr := c.Do(ctx, "KEYS", "*"); err != nil || keysErr != nil || int64(len(r.Value().Elems)) != n || n < 500 {
		t.Errorf("DBSize: %d, %v; KEYS: %d, %v", n, err, len(r.Value().Elems), keysErr)
	}
}

// optimistic has goroutines count by Watch: none of the steps is lost.
func optimistic(t *testing.T, ctx context.Context, c *Client) {
	const goroutines, steps = 4, 10
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := 0; i < steps; {
				err := c.Watch(ctx, []string{"count"}, func(s *Session) error {
					r, err := s.Do(ctx, "GET", "count")
					if err != nil {
						return err
					}
					n := int64(0)
					if !r.IsNil() {
						n, _ = r.Int()
					}
					tx := s.Multi()
					tx.Do("SET", "count", itoa64(n+1))
					_, err = tx.Exec(ctx)
					return err
				})
				switch {
				case err == nil:
					i++
				case !errors.Is(err, ErrAborted):
					t.Errorf("Watch: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if got, err := c.Get(ctx, "count"); got != itoa(goroutines*steps) || err != nil {
		t.Errorf("%s steps were counted, %v; want %d", got, err, goroutines*steps)
	}
}

// TestBlocking: a command that waits has a connection of its own; when its context ends the server stops waiting.
func TestBlocking(t *testing.T) {
	server := testredis.Start(t)
	ctx := within(t, 20*time.Second)
	c, err := Connect(ctx, []string{server.Addr}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	type popped struct {
		key, value string
		err        error
	}
	got := make(chan popped, 1)
	go func() {
		key, value, err := c.BLPop(ctx, 0, "l1", "l2")
		got <- popped{key, value, err}
	}()
	waitFor(t, ctx, func() bool { return blocked(t, ctx, c) == 1 })
	if err := c.Ping(ctx); err != nil { // others are not held up
		t.Fatal(err)
	}
	c.RPush(ctx, "l2", "v")
	if p := <-got; p != (popped{"l2", "v", nil}) {
		t.Errorf("BLPop: %+v", p)
	}
	if _, _, err := c.BLPop(ctx, 10*time.Millisecond, "l1"); !errors.Is(err, ErrNil) {
		t.Errorf("BLPop of nothing: %v, want ErrNil", err)
	}
	short, cancel := context.WithCancel(ctx)
	go func() {
		key, value, err := c.BLPop(short, 0, "l1")
		got <- popped{key, value, err}
	}()
	waitFor(t, ctx, func() bool { return blocked(t, ctx, c) == 1 })
	cancel()
	if p := <-got; !errors.Is(p.err, context.Canceled) {
		t.Errorf("BLPop whose context ended: %+v", p)
	}
	waitFor(t, ctx, func() bool { return blocked(t, ctx, c) == 0 })
	c.RPush(ctx, "l1", "kept")
	if v, err := c.LPop(ctx, "l1"); v != "kept" {
		t.Errorf("a value was taken for a client that was gone: %q, %v", v, err)
	}
}

// blocked asks the server how many clients wait.
func blocked(t *testing.T, ctx context.Context, c *Client) int {
	r, err := c.Do(ctx, "INFO", "clients")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := r.Text()
	n := -1
	for line := range strings.Lines(text) {
		fmt.Sscanf(line, "blocked_clients:%d", &n)
	}
	return n
}

// waitFor asks again until it is so.
func waitFor(t *testing.T, ctx context.Context, so func() bool) {
	t.Helper()
	for !so() {
		if !sleep(ctx, time.Millisecond) {
			t.Fatal("it did not come to be")
		}
	}
}
