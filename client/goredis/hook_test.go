package goredis_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/client/goredis"
	"github.com/neargrid/neargrid/internal/testredis"
)

func TestMain(m *testing.M) {
	code := m.Run()
	testredis.RemoveBinary()
	os.Exit(code)
}

// attached is a go-redis client with a near cache of all keys, and one without, on one server.
func attached(t *testing.T, addr string, prefixes ...string) (near *goredis.Near, with, without *redis.Client) {
	t.Helper()
	with, without = redis.NewClient(&redis.Options{Addr: addr}), redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { with.Close(); without.Close() })
	near, err := goredis.Attach(context.Background(), with, client.NearCache{Prefixes: prefixes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(near.Close)
	return near, with, without
}

// servers starts one of each kind.
func servers(t *testing.T) map[string]string {
	all := map[string]string{"neargrid": testredis.StartNeargrid(t).Addr, "a grid": testredis.StartDev(t, 3).Addr}
	if s, err := testredis.LaunchRedis(); err == nil {
		t.Cleanup(s.Stop)
		all["redis-server"] = s.Addr
	}
	return all
}

// TestSameReplies: commands answer the same with a near cache and without, at first and when they are found in it.
func TestSameReplies(t *testing.T) {
	for name, addr := range servers(t) {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			near, with, without := attached(t, addr, "")
			without.FlushAll(ctx)
			without.Set(ctx, "s", "hello", 0)
			without.Set(ctx, "n", "7", 0)
			without.Set(ctx, "empty", "", 0)
			without.HSet(ctx, "h", "a", "1", "b", "2")
			without.RPush(ctx, "l", "x", "y", "z")
			without.SAdd(ctx, "set", "m")
			without.ZAdd(ctx, "z", redis.Z{Score: 1, Member: "a"}, redis.Z{Score: 2.5, Member: "b"})
			reads := map[string]func(c *redis.Client) (any, error){
				"Get":              func(c *redis.Client) (any, error) { return c.Get(ctx, "s").Result() },
				"Get empty":        func(c *redis.Client) (any, error) { return c.Get(ctx, "empty").Result() },
				"Get nothing":      func(c *redis.Client) (any, error) { return c.Get(ctx, "none").Result() },
				"Get int":          func(c *redis.Client) (any, error) { return c.Get(ctx, "n").Int() },
				"Get of a hash":    func(c *redis.Client) (any, error) { return c.Get(ctx, "h").Result() },
				"StrLen":           func(c *redis.Client) (any, error) { return c.StrLen(ctx, "s").Result() },
				"GetRange":         func(c *redis.Client) (any, error) { return c.GetRange(ctx, "s", 1, 2).Result() },
				"MGet":             func(c *redis.Client) (any, error) { return c.MGet(ctx, "s", "none", "h", "empty").Result() },
				"Type":             func(c *redis.Client) (any, error) { return c.Type(ctx, "h").Result() },
				"HGet":             func(c *redis.Client) (any, error) { return c.HGet(ctx, "h", "a").Result() },
				"HGet nothing":     func(c *redis.Client) (any, error) { return c.HGet(ctx, "h", "q").Result() },
				"HGetAll":          func(c *redis.Client) (any, error) { return c.HGetAll(ctx, "h").Result() },
				"HGetAll nothing":  func(c *redis.Client) (any, error) { return c.HGetAll(ctx, "none").Result() },
				"HMGet":            func(c *redis.Client) (any, error) { return c.HMGet(ctx, "h", "a", "q").Result() },
				"HExists":          func(c *redis.Client) (any, error) { return c.HExists(ctx, "h", "a").Result() },
				"HLen":             func(c *redis.Client) (any, error) { return c.HLen(ctx, "h").Result() },
				"LRange":           func(c *redis.Client) (any, error) { return c.LRange(ctx, "l", 0, -1).Result() },
				"LRange nothing":   func(c *redis.Client) (any, error) { return c.LRange(ctx, "none", 0, -1).Result() },
				"LIndex":           func(c *redis.Client) (any, error) { return c.LIndex(ctx, "l", 1).Result() },
				"LPos":             func(c *redis.Client) (any, error) { return c.LPos(ctx, "l", "y", redis.LPosArgs{}).Result() },
				"SMembers":         func(c *redis.Client) (any, error) { return c.SMembers(ctx, "set").Result() },
				"SMembersMap":      func(c *redis.Client) (any, error) { return c.SMembersMap(ctx, "set").Result() },
				"SIsMember":        func(c *redis.Client) (any, error) { return c.SIsMember(ctx, "set", "q").Result() },
				"SMIsMember":       func(c *redis.Client) (any, error) { return c.SMIsMember(ctx, "set", "m", "q").Result() },
				"ZScore":           func(c *redis.Client) (any, error) { return c.ZScore(ctx, "z", "b").Result() },
				"ZScore nothing":   func(c *redis.Client) (any, error) { return c.ZScore(ctx, "z", "q").Result() },
				"ZRange":           func(c *redis.Client) (any, error) { return c.ZRange(ctx, "z", 0, -1).Result() },
				"ZRangeWithScores": func(c *redis.Client) (any, error) { return c.ZRangeWithScores(ctx, "z", 0, -1).Result() },
				"ZCount":           func(c *redis.Client) (any, error) { return c.ZCount(ctx, "z", "1", "2").Result() },
				"Do":               func(c *redis.Client) (any, error) { return c.Do(ctx, "GET", "s").Result() },
				"Do nothing":       func(c *redis.Client) (any, error) { return c.Do(ctx, "GET", []byte("none")).Result() },
				"Do a map":         func(c *redis.Client) (any, error) { return c.Do(ctx, "HGETALL", "h").Result() },
				"pipeline": func(c *redis.Client) (any, error) {
					p := c.Pipeline()
					get, nothing, all := p.Get(ctx, "s"), p.Get(ctx, "none"), p.HGetAll(ctx, "h")
					_, err := p.Exec(ctx)
					return []any{get.Val(), nothing.Err(), all.Val()}, err
				},
				"TTL": func(c *redis.Client) (any, error) { return c.TTL(ctx, "s").Result() },
			}
			for what, read := range reads {
				want, wantErr := read(without)
				for i := range 2 {
					got, err := read(with)
					if !reflect.DeepEqual(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) || errors.Is(err, redis.Nil) != errors.Is(wantErr, redis.Nil) {
						t.Errorf("%s, time %d: %#v, %v; without a near cache %#v, %v", what, i+1, got, err, want, wantErr)
					}
				}
			}
			if stats, _ := near.Client().NearStats(); stats.Hits < 25 {
				t.Errorf("%d hits: what was read once is not found again (%+v)", stats.Hits, stats)
			}
		})
	}
}

// TestOwnWrites: what go-redis has written, by whatever command, is what it reads next.
func TestOwnWrites(t *testing.T) {
	for name, addr := range servers(t) {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			_, rdb, _ := attached(t, addr, "k")
			writes := []func(value string) error{
				func(v string) error { return rdb.Set(ctx, "k", v, 0).Err() },
				func(v string) error { p := rdb.Pipeline(); p.Set(ctx, "k", v, 0); _, err := p.Exec(ctx); return err },
				func(v string) error {
					_, err := rdb.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, "k", v, 0).Err() })
					return err
				},
				func(v string) error { return rdb.Do(ctx, "SET", "k", []byte(v)).Err() },
			}
			for i := range 200 {
				value := strconv.Itoa(i)
				if err := writes[i%len(writes)](value); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if got, err := rdb.Get(ctx, "k").Result(); got != value || err != nil {
						t.Fatalf("write %d: %q, %v", i, got, err)
					}
				}
				p := rdb.Pipeline()
				p.Set(ctx, "k", value+"!", 0)
				get := p.Get(ctx, "k")
				if _, err := p.Exec(ctx); err != nil || get.Val() != value+"!" {
					t.Fatalf("a read behind a write in one pipeline: %q, %v", get.Val(), err)
				}
			}
		})
	}
}

// TestWatch: counting by Watch loses nothing, though the keys are kept near.
func TestWatch(t *testing.T) {
	for name, addr := range servers(t) {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			const goroutines, steps = 4, 25
			var wg sync.WaitGroup
			for range goroutines {
				_, rdb, _ := attached(t, addr, "count") // each is another program
				wg.Go(func() {
					for i := 0; i < steps; {
						err := rdb.Watch(ctx, func(tx *redis.Tx) error {
							n, err := tx.Get(ctx, "count").Int()
							if err != nil && !errors.Is(err, redis.Nil) {
								return err
							}
							_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error { return p.Set(ctx, "count", n+1, 0).Err() })
							return err
						}, "count")
						switch {
						case err == nil:
							i++
						case !errors.Is(err, redis.TxFailedErr):
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			_, _, plain := attached(t, addr, "count")
			if got, err := plain.Get(ctx, "count").Int(); got != goroutines*steps || err != nil {
				t.Errorf("%d, %v; want %d", got, err, goroutines*steps)
			}
		})
	}
}

// TestOthersWrites: what another client writes is read soon, and never something older after that.
func TestOthersWrites(t *testing.T) {
	for name, addr := range servers(t) {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			_, with, without := attached(t, addr, "k")
			newest := 0
			for i := 1; i <= 200; i++ {
				if err := without.Set(ctx, "k", i, 0).Err(); err != nil {
					t.Fatal(err)
				}
				for newest != i {
					got, err := with.Get(ctx, "k").Int()
					if err != nil && !errors.Is(err, redis.Nil) {
						t.Fatal(err)
					}
					if got < newest {
						t.Fatalf("%d was read after %d", got, newest)
					}
					newest = got
				}
			}
		})
	}
}

// TestAttachRefuses what it cannot do.
func TestAttachRefuses(t *testing.T) {
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	if _, err := goredis.Attach(context.Background(), ring, client.NearCache{Prefixes: []string{""}}); err == nil || !strings.Contains(err.Error(), "*redis.Ring") {
		t.Errorf("%v", err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer rdb.Close()
	if _, err := goredis.Attach(context.Background(), rdb, client.NearCache{Prefixes: []string{""}}); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("%v", err)
	}
}

func ExampleAttach() {
	server, err := testredis.LaunchRedis() // or neargrid
	if err != nil {
		log.Fatal(err)
	}
	defer server.Stop()
	ctx := context.Background()
	rdb := redis.NewClient(&redis.Options{Addr: server.Addr})
	defer rdb.Close()

	near, err := goredis.Attach(ctx, rdb, client.NearCache{Prefixes: []string{"page:"}}) // the one line
	if err != nil {
		log.Fatal(err)
	}
	defer near.Close()

	rdb.Set(ctx, "page:1", "<html>", 0)
	for range 1000 {
		rdb.Get(ctx, "page:1")
	}
	stats, _ := near.Client().NearStats()
	fmt.Println(rdb.Get(ctx, "page:1").Val(), stats.Hits > 900)
	// Output: <html> true
}
