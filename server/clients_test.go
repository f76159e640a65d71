package server_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/rueidis"

	"github.com/neargrid/neargrid/server"
)

// These tests use the clients that programs use, the way their documentation shows it.

const clientsPassword = "a password"

// startDoors starts a server with a TCP door, a Unix socket and a password, and returns their addresses.
func startDoors(t *testing.T) (tcp, unix string) {
	t.Helper()
	unix = filepath.Join(t.TempDir(), "s")
	srv, err := server.New(server.Options{
		Listen: "127.0.0.1:0", Unixsocket: unix, RequirePass: clientsPassword, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return srv.Addr(), unix
}

// checker compares what clients return.
type checker struct {
	*testing.T
	ctx context.Context
}

func newChecker(t *testing.T) checker {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return checker{t, ctx}
}

func (c checker) same(what string, got any, err error, want any) {
	c.Helper()
	if err != nil {
		c.Fatalf("%s: %v, want %v", what, err, want)
	}
	if !reflect.DeepEqual(got, want) {
		c.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func (c checker) ok(what string, err error) {
	c.Helper()
	if err != nil {
		c.Fatalf("%s: %v", what, err)
	}
}

func TestGoRedis(t *testing.T) {
	tcp, unix := startDoors(t)
	for _, resp := range []int{2, 3} {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(fmt.Sprintf("%s/RESP%d", network, resp), func(t *testing.T) {
				o := &redis.Options{Network: network, Addr: tcp, Password: clientsPassword, Protocol: resp, DB: resp}
				if network == "unix" {
					o.Addr = unix
				}
				c := redis.NewClient(o)
				defer c.Close()
				g := goRedis{newChecker(t), c}
				g.ok("FLUSHDB", c.FlushDB(g.ctx).Err())
				g.strings()
				g.hashes()
				g.lists()
				g.sets()
				g.sortedSets()
				g.pipelines()
				g.transactions()
				g.scans()
				g.expiry()
				g.errors()
			})
		}
	}
	t.Run("reconnect", func(t *testing.T) {
		c := redis.NewClient(&redis.Options{Addr: tcp, Password: clientsPassword, PoolSize: 1, ClientName: "victim"})
		defer c.Close()
		g := goRedis{newChecker(t), c}
		g.reconnect(tcp)
	})
	t.Run("wrong password", func(t *testing.T) {
		c := redis.NewClient(&redis.Options{Addr: tcp, Password: "wrong", MaxRetries: -1})
		defer c.Close()
		if err := c.Ping(t.Context()).Err(); err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("PING with a wrong password: error %v, want WRONGPASS", err)
		}
	})
}

type goRedis struct {
	checker
	c *redis.Client
}

func (g goRedis) strings() {
	c, ctx := g.c, g.ctx
	g.ok("SET", c.Set(ctx, "user:1:name", "Ada", 0).Err())
	got, err := c.Get(ctx, "user:1:name").Result()
	g.same("GET", got, err, "Ada")
	if _, err := c.Get(ctx, "nobody").Result(); err != redis.Nil {
		g.Errorf("GET of a missing key: error %v, want redis.Nil", err)
	}
	set, err := c.SetNX(ctx, "user:1:name", "Eve", time.Minute).Result()
	g.same("SETNX", set, err, false)
	n, err := c.IncrBy(ctx, "visits", 41).Result()
	g.same("INCRBY", n, err, int64(41))
	n, err = c.Incr(ctx, "visits").Result()
	g.same("INCR", n, err, int64(42))
	f, err := c.IncrByFloat(ctx, "balance", 10.25).Result()
	g.same("INCRBYFLOAT", f, err, 10.25)
	g.ok("MSET", c.MSet(ctx, "a", "1", "b", "2").Err())
	values, err := c.MGet(ctx, "a", "missing", "b").Result()
	g.same("MGET", values, err, []any{"1", nil, "2"})
	n, err = c.Append(ctx, "a", "23").Result()
	g.same("APPEND", n, err, int64(3))
	got, err = c.GetDel(ctx, "a").Result()
	g.same("GETDEL", got, err, "123")
	n, err = c.Del(ctx, "b", "visits", "missing").Result()
	g.same("DEL", n, err, int64(2))
	g.ok("SET of bytes", c.Set(ctx, "bytes", []byte{0, '\r', '\n', 255}, 0).Err())
	p, err := c.Get(ctx, "bytes").Bytes()
	g.same("GET of bytes", p, err, []byte{0, '\r', '\n', 255})
}

func (g goRedis) hashes() {
	c, ctx := g.c, g.ctx
	type user struct {
		Name string `redis:"name"`
		Age  int    `redis:"age"`
	}
	g.ok("HSET of a struct", c.HSet(ctx, "user:2", user{"Grace", 85}).Err())
	var u user
	g.ok("HGETALL into a struct", c.HGetAll(ctx, "user:2").Scan(&u))
	g.same("HGETALL into a struct", u, nil, user{"Grace", 85})
	n, err := c.HIncrBy(ctx, "user:2", "age", 1).Result()
	g.same("HINCRBY", n, err, int64(86))
	all, err := c.HGetAll(ctx, "user:2").Result()
	g.same("HGETALL", all, err, map[string]string{"name": "Grace", "age": "86"})
	values, err := c.HMGet(ctx, "user:2", "name", "none").Result()
	g.same("HMGET", values, err, []any{"Grace", nil})
	found, err := c.HExists(ctx, "user:2", "none").Result()
	g.same("HEXISTS", found, err, false)
	fields, err := c.HRandFieldWithValues(ctx, "user:2", 1).Result()
	g.same("HRANDFIELD", len(fields), err, 1)
	n, err = c.HDel(ctx, "user:2", "age", "none").Result()
	g.same("HDEL", n, err, int64(1))
}

func (g goRedis) lists() {
	c, ctx := g.c, g.ctx
	n, err := c.RPush(ctx, "jobs", "a", "b", "c").Result()
	g.same("RPUSH", n, err, int64(3))
	items, err := c.LRange(ctx, "jobs", 0, -1).Result()
	g.same("LRANGE", items, err, []string{"a", "b", "c"})
	item, err := c.LMove(ctx, "jobs", "working", "LEFT", "RIGHT").Result()
	g.same("LMOVE", item, err, "a")
	items, err = c.LPopCount(ctx, "jobs", 5).Result()
	g.same("LPOP", items, err, []string{"b", "c"})
	if err := c.LPop(ctx, "jobs").Err(); err != redis.Nil {
		g.Errorf("LPOP of nothing: error %v, want redis.Nil", err)
	}
	n, err = c.LLen(ctx, "working").Result()
	g.same("LLEN", n, err, int64(1))
}

func (g goRedis) sets() {
	c, ctx := g.c, g.ctx
	n, err := c.SAdd(ctx, "tags:1", "go", "redis", "go").Result()
	g.same("SADD", n, err, int64(2))
	g.ok("SADD", c.SAdd(ctx, "tags:2", "go", "cache").Err())
	members, err := c.SInter(ctx, "tags:1", "tags:2").Result()
	g.same("SINTER", members, err, []string{"go"})
	members, err = c.SUnion(ctx, "tags:1", "tags:2").Result()
	slices.Sort(members)
	g.same("SUNION", members, err, []string{"cache", "go", "redis"})
	set, err := c.SMembersMap(ctx, "tags:2").Result()
	g.same("SMEMBERS", set, err, map[string]struct{}{"go": {}, "cache": {}})
	in, err := c.SMIsMember(ctx, "tags:1", "go", "cache").Result()
	g.same("SMISMEMBER", in, err, []bool{true, false})
	popped, err := c.SPopN(ctx, "tags:1", 10).Result()
	slices.Sort(popped)
	g.same("SPOP", popped, err, []string{"go", "redis"})
}

func (g goRedis) sortedSets() {
	c, ctx := g.c, g.ctx
	scores := []redis.Z{{Score: 10, Member: "ada"}, {Score: 30.5, Member: "eve"}, {Score: 20, Member: "bob"}}
	n, err := c.ZAdd(ctx, "scores", scores...).Result()
	g.same("ZADD", n, err, int64(3))
	top, err := c.ZRevRangeWithScores(ctx, "scores", 0, 1).Result()
	g.same("ZREVRANGE", top, err, []redis.Z{{Score: 30.5, Member: "eve"}, {Score: 20, Member: "bob"}})
	rank, err := c.ZRank(ctx, "scores", "bob").Result()
	g.same("ZRANK", rank, err, int64(1))
	f, err := c.ZIncrBy(ctx, "scores", 15, "ada").Result()
	g.same("ZINCRBY", f, err, 25.0)
	members, err := c.ZRangeArgs(ctx, redis.ZRangeArgs{Key: "scores", ByScore: true, Start: "(20", Stop: "+inf"}).Result()
	g.same("ZRANGE BYSCORE", members, err, []string{"ada", "eve"})
	members, err = c.ZRangeArgs(ctx, redis.ZRangeArgs{Key: "scores", Start: 0, Stop: -1, Rev: true}).Result()
	g.same("ZRANGE REV", members, err, []string{"eve", "ada", "bob"})
	f, err = c.ZScore(ctx, "scores", "eve").Result()
	g.same("ZSCORE", f, err, 30.5)
	least, err := c.ZPopMin(ctx, "scores", 1).Result()
	g.same("ZPOPMIN", least, err, []redis.Z{{Score: 20, Member: "bob"}})
}

func (g goRedis) pipelines() {
	c, ctx := g.c, g.ctx
	cmds, err := c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range 1000 {
			p.Set(ctx, fmt.Sprintf("pipe:%d", i), i, 0)
		}
		p.Get(ctx, "pipe:999")
		return nil
	})
	g.ok("a pipeline", err)
	g.same("a pipeline's replies", len(cmds), nil, 1001)
	g.same("its last reply", cmds[1000].(*redis.StringCmd).Val(), nil, "999")
	cmds, err = c.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Incr(ctx, "tx")
		p.Incr(ctx, "tx")
		p.Expire(ctx, "tx", time.Hour)
		return nil
	})
	g.ok("MULTI", err)
	g.same("its second reply", cmds[1].(*redis.IntCmd).Val(), nil, int64(2))
}

// transactions is the counter of go-redis's documentation: many clients, each with WATCH and retries.
func (g goRedis) transactions() {
	const clients, each = 8, 20
	increment := func() error {
		for {
			err := g.c.Watch(g.ctx, func(tx *redis.Tx) error {
				n, err := tx.Get(g.ctx, "watched").Int()
				if err != nil && err != redis.Nil {
					return err
				}
				_, err = tx.TxPipelined(g.ctx, func(p redis.Pipeliner) error {
					p.Set(g.ctx, "watched", n+1, 0)
					return nil
				})
				return err
			}, "watched")
			if err != redis.TxFailedErr {
				return err
			}
		}
	}
	var running sync.WaitGroup
	for range clients {
		running.Go(func() {
			for range each {
				if err := increment(); err != nil {
					g.Errorf("WATCH: %v", err)
					return
				}
			}
		})
	}
	running.Wait()
	n, err := g.c.Get(g.ctx, "watched").Int()
	g.same("a counter incremented under WATCH", n, err, clients*each)
}

func (g goRedis) scans() {
	c, ctx := g.c, g.ctx
	count := func(what string, it *redis.ScanIterator, step, want int) {
		g.Helper()
		seen, elements := map[string]bool{}, 0
		for it.Next(ctx) {
			if elements%step == 0 {
				seen[it.Val()] = true
			}
			elements++
		}
		g.same(what, len(seen), it.Err(), want)
	}
	count("SCAN", c.Scan(ctx, 0, "pipe:*", 100).Iterator(), 1, 1000)
	count("SCAN TYPE", c.ScanType(ctx, 0, "*", 100, "hash").Iterator(), 1, 1)
	for i := range 1000 {
		c.HSet(ctx, "large", fmt.Sprintf("field:%d", i), i)
		c.SAdd(ctx, "large:set", i)
	}
	count("HSCAN", c.HScan(ctx, "large", 0, "", 50).Iterator(), 2, 1000)
	count("SSCAN", c.SScan(ctx, "large:set", 0, "*9", 50).Iterator(), 1, 100)
}

func (g goRedis) expiry() {
	c, ctx := g.c, g.ctx
	g.ok("SET EX", c.Set(ctx, "session", "x", time.Hour).Err())
	d, err := c.TTL(ctx, "session").Result()
	g.same("TTL", d, err, time.Hour)
	g.ok("SET PX", c.Set(ctx, "brief", "x", 20*time.Millisecond).Err())
	waitFor(g.T, "a key to expire", func() bool { return c.Get(ctx, "brief").Err() == redis.Nil })
	done, err := c.Persist(ctx, "session").Result()
	g.same("PERSIST", done, err, true)
	d, err = c.TTL(ctx, "session").Result()
	g.same("TTL of a key that stays", d, err, time.Duration(-1))
}

func (g goRedis) errors() {
	err := g.c.LPush(g.ctx, "session", "x").Err()
	if err == nil || !strings.HasPrefix(err.Error(), "WRONGTYPE ") {
		g.Errorf("LPUSH to a string: error %v, want WRONGTYPE", err)
	}
	if err := g.c.Do(g.ctx, "NOSUCH").Err(); err == nil || !strings.HasPrefix(err.Error(), "ERR unknown command 'NOSUCH'") {
		g.Errorf("NOSUCH: error %v, want an unknown command", err)
	}
}

// reconnect has another client kill the connection: the next command gets a new one by itself.
func (g goRedis) reconnect(addr string) {
	admin := redis.NewClient(&redis.Options{Addr: addr, Password: clientsPassword})
	defer admin.Close()
	for round := range 3 {
		id, err := g.c.ClientID(g.ctx).Result()
		g.ok("CLIENT ID", err)
		n, err := admin.ClientKillByFilter(g.ctx, "ID", fmt.Sprint(id)).Result()
		g.same("CLIENT KILL", n, err, int64(1))
		g.ok("SET after CLIENT KILL", g.c.Set(g.ctx, "reconnect", round, 0).Err())
		next, err := g.c.ClientID(g.ctx).Result()
		g.ok("CLIENT ID", err)
		if next == id {
			g.Errorf("the connection is still number %d after CLIENT KILL", id)
		}
		name, err := g.c.ClientGetName(g.ctx).Result()
		g.same("CLIENT GETNAME on the new connection", name, err, "victim")
	}
}

func TestRueidis(t *testing.T) {
	tcp, unix := startDoors(t)
	for _, network := range []string{"tcp", "unix"} {
		for _, resp := range []int{2, 3} {
			t.Run(fmt.Sprintf("%s/RESP%d", network, resp), func(t *testing.T) {
				o := rueidis.ClientOption{
					InitAddress: []string{tcp}, Password: clientsPassword, DisableCache: true, AlwaysRESP2: resp == 2,
					SelectDB: resp, ForceSingleClient: true,
				}
				if network == "unix" {
					o.InitAddress = []string{unix}
					o.DialCtxFn = func(ctx context.Context, addr string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
						return d.DialContext(ctx, "unix", addr)
					}
				}
				c, err := rueidis.NewClient(o)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				r := rueidisUser{newChecker(t), c}
				r.ok("FLUSHDB", c.Do(r.ctx, c.B().Flushdb().Build()).Error())
				r.values()
				r.collections()
				r.manyAtOnce()
				r.transaction()
				r.scan()
				r.reconnect()
			})
		}
	}
}

type rueidisUser struct {
	checker
	c rueidis.Client
}

func (r rueidisUser) values() {
	c, ctx := r.c, r.ctx
	r.ok("SET", c.Do(ctx, c.B().Set().Key("k").Value("v").Ex(time.Hour).Build()).Error())
	s, err := c.Do(ctx, c.B().Get().Key("k").Build()).ToString()
	r.same("GET", s, err, "v")
	if err := c.Do(ctx, c.B().Get().Key("none").Build()).Error(); !rueidis.IsRedisNil(err) {
		r.Errorf("GET of a missing key: error %v, want nil's", err)
	}
	n, err := c.Do(ctx, c.B().Ttl().Key("k").Build()).AsInt64()
	r.same("TTL", n, err, int64(3600))
	n, err = c.Do(ctx, c.B().Incr().Key("n").Build()).AsInt64()
	r.same("INCR", n, err, int64(1))
	f, err := c.Do(ctx, c.B().Incrbyfloat().Key("f").Increment(0.5).Build()).AsFloat64()
	r.same("INCRBYFLOAT", f, err, 0.5)
	r.ok("SET PX", c.Do(ctx, c.B().Set().Key("brief").Value("v").PxMilliseconds(20).Build()).Error())
	waitFor(r.T, "a key to expire", func() bool {
		return rueidis.IsRedisNil(c.Do(ctx, c.B().Get().Key("brief").Build()).Error())
	})
	err = c.Do(ctx, c.B().Lpush().Key("k").Element("x").Build()).Error()
	if reply, ok := rueidis.IsRedisErr(err); !ok || !strings.HasPrefix(reply.Error(), "WRONGTYPE ") {
		r.Errorf("LPUSH to a string: error %v, want WRONGTYPE", err)
	}
}

func (r rueidisUser) collections() {
	c, ctx := r.c, r.ctx
	r.ok("HSET", c.Do(ctx, c.B().Hset().Key("h").FieldValue().FieldValue("f", "1").FieldValue("g", "2").Build()).Error())
	m, err := c.Do(ctx, c.B().Hgetall().Key("h").Build()).AsStrMap()
	r.same("HGETALL", m, err, map[string]string{"f": "1", "g": "2"})
	r.ok("RPUSH", c.Do(ctx, c.B().Rpush().Key("l").Element("a", "b").Build()).Error())
	list, err := c.Do(ctx, c.B().Lrange().Key("l").Start(0).Stop(-1).Build()).AsStrSlice()
	r.same("LRANGE", list, err, []string{"a", "b"})
	r.ok("SADD", c.Do(ctx, c.B().Sadd().Key("s").Member("a", "b").Build()).Error())
	set, err := c.Do(ctx, c.B().Smembers().Key("s").Build()).AsStrSlice()
	slices.Sort(set)
	r.same("SMEMBERS", set, err, []string{"a", "b"})
	r.ok("ZADD", c.Do(ctx, c.B().Zadd().Key("z").ScoreMember().ScoreMember(2, "b").ScoreMember(1.5, "a").Build()).Error())
	scores, err := c.Do(ctx, c.B().Zrange().Key("z").Min("0").Max("-1").Withscores().Build()).AsZScores()
	r.same("ZRANGE WITHSCORES", scores, err, []rueidis.ZScore{{Member: "a", Score: 1.5}, {Member: "b", Score: 2}})
}

// manyAtOnce uses the client's automatic pipelining: many goroutines share one connection.
func (r rueidisUser) manyAtOnce() {
	c, ctx := r.c, r.ctx
	var running sync.WaitGroup
	for worker := range 16 {
		running.Go(func() {
			for i := range 100 {
				key := fmt.Sprintf("auto:%d:%d", worker, i)
				replies := c.DoMulti(ctx,
					c.B().Set().Key(key).Value(key).Build(),
					c.B().Get().Key(key).Build(),
				)
				if s, err := replies[1].ToString(); err != nil || s != key {
					r.Errorf("GET %s: got %q, error %v", key, s, err)
					return
				}
			}
		})
	}
	running.Wait()
	values, err := rueidis.MGet(c, ctx, []string{"auto:0:0", "auto:15:99"})
	r.ok("MGET", err)
	value := values["auto:15:99"]
	s, err := value.ToString()
	r.same("MGET", s, err, "auto:15:99")
}

// transaction uses a dedicated connection, as WATCH asks for. Another connection gets in its way once.
func (r rueidisUser) transaction() {
	c, ctx := r.c, r.ctx
	tries := 0
	err := c.Dedicated(func(d rueidis.DedicatedClient) error {
		for {
			tries++
			if err := d.Do(ctx, d.B().Watch().Key("n").Build()).Error(); err != nil {
				return err
			}
			n, err := d.Do(ctx, d.B().Get().Key("n").Build()).AsInt64()
			if err != nil {
				return err
			}
			if tries == 1 {
				r.ok("INCR", c.Do(ctx, c.B().Incr().Key("n").Build()).Error())
			}
			replies := d.DoMulti(ctx,
				d.B().Multi().Build(),
				d.B().Set().Key("n").Value(fmt.Sprint(n*10)).Build(),
				d.B().Exec().Build(),
			)
			if err := replies[2].Error(); !rueidis.IsRedisNil(err) {
				return err
			}
		}
	})
	r.same("tries of a transaction that was disturbed once", tries, err, 2)
	n, err := c.Do(ctx, c.B().Get().Key("n").Build()).AsInt64()
	r.same("its result", n, err, int64(20))
}

func (r rueidisUser) scan() {
	c, ctx := r.c, r.ctx
	seen := map[string]bool{}
	scanner := rueidis.NewScanner(func(cursor uint64) (rueidis.ScanEntry, error) {
		return c.Do(ctx, c.B().Scan().Cursor(cursor).Match("auto:*").Count(100).Build()).AsScanEntry()
	})
	for key := range scanner.Iter() {
		seen[key] = true
	}
	r.same("SCAN", len(seen), scanner.Err(), 1600)
}

// reconnect kills the client's own connection; it finds a new one by itself.
func (r rueidisUser) reconnect() {
	c, ctx := r.c, r.ctx
	id, err := c.Do(ctx, c.B().ClientId().Build()).AsInt64()
	r.ok("CLIENT ID", err)
	r.ok("CLIENT KILL", c.Do(ctx, c.B().Arbitrary("CLIENT", "KILL", "ID").Args(fmt.Sprint(id), "SKIPME", "no").Build()).Error())
	waitFor(r.T, "a new connection", func() bool {
		next, err := c.Do(ctx, c.B().ClientId().Build()).AsInt64()
		return err == nil && next != id
	})
	s, err := c.Do(ctx, c.B().Get().Key("auto:0:0").Build()).ToString()
	r.same("GET after CLIENT KILL", s, err, "auto:0:0")
}

// command runs one of Redis's own programs; the test is skipped where it is not installed, and fails in CI.
func command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if errors.Is(err, exec.ErrNotFound) && os.Getenv("CI") != "true" {
		t.Skipf("left out: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), path, args...)
}

func TestRedisCLI(t *testing.T) {
	tcp, unix := startDoors(t)
	_, port, err := net.SplitHostPort(tcp)
	if err != nil {
		t.Fatal(err)
	}
	overTCP, overUnix := []string{"-p", port}, []string{"-s", unix}
	for _, c := range []struct {
		door []string
		args string // split at spaces
		in   string
		want string
	}{
		{overTCP, "PING", "", "PONG\n"},
		{overUnix, "PING", "", "PONG\n"},
		{overTCP, "SET greeting hello EX 100", "", "OK\n"},
		{overTCP, "GET greeting", "", "hello\n"},
		{overTCP, "--no-raw TTL greeting", "", "(integer) 100\n"},
		{overTCP, "-3 --no-raw HSET h f v", "", "(integer) 1\n"},
		{overTCP, "-3 --no-raw HGETALL h", "", "1# \"f\" => \"v\"\n"},
		{overTCP, "-n 5 DBSIZE", "", "0\n"},
		{overTCP, "-x SET fromstdin", "line 1\nline 2", "OK\n"},
		{overTCP, "--no-raw GET fromstdin", "", "\"line 1\\nline 2\"\n"},
		{overTCP, "-r 3 INCR counter", "", "1\n2\n3\n"},
		{overTCP, "", "MULTI\nINCR counter\nINCR counter\nEXEC\n", "OK\nQUEUED\nQUEUED\n4\n5\n"},
		{overTCP, "--scan --pattern count*", "", "counter\n"},
		{overTCP, "--json HGETALL h", "", "{\"f\":\"v\"}\n"},
		{overTCP, "NOSUCH a", "", "ERR unknown command 'NOSUCH', with args beginning with: 'a' \n\n"},
		{overTCP, "--pipe", "*1\r\n$4\r\nPING\r\nSET piped 1\r\n", "All data transferred. Waiting for the last reply...\n" +
			"Last reply received from server.\nerrors: 0, replies: 2\n"},
	} {
		args := append(slices.Clone(c.door), strings.Fields(c.args)...)
		cmd := command(t, "redis-cli", args...)
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+clientsPassword)
		cmd.Stdin = strings.NewReader(c.in)
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != c.want {
			t.Errorf("redis-cli %s, input %q: got %q, error %v; want %q", c.args, c.in, out, err, c.want)
		}
	}
	for _, args := range []string{"--bigkeys", "--memkeys"} {
		cmd := command(t, "redis-cli", append(slices.Clone(overTCP), strings.Fields(args)...)...)
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+clientsPassword)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "Sampled 5 keys in the keyspace!") {
			t.Errorf("redis-cli %s: error %v\n%s", args, err, out)
		}
	}
}

// TestRedisBenchmark runs every test that redis-benchmark has, unpipelined and pipelined. It ends at the first error reply.
func TestRedisBenchmark(t *testing.T) {
	tcp, unix := startDoors(t)
	_, port, err := net.SplitHostPort(tcp)
	if err != nil {
		t.Fatal(err)
	}
	tests := []string{
		"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "LPUSH", "RPUSH", "LPOP", "RPOP", "SADD", "HSET", "SPOP", "ZADD",
		"ZPOPMIN", "LPUSH (needed to benchmark LRANGE)", "LRANGE_100 (first 100 elements)", "LRANGE_300 (first 300 elements)",
		"LRANGE_500 (first 500 elements)", "LRANGE_600 (first 600 elements)", "MSET (10 keys)",
	}
	for _, args := range [][]string{{"-p", port}, {"-p", port, "-P", "16", "-r", "1000", "-d", "100"}, {"-s", unix, "-P", "4"}} {
		args = append(args, "-n", "1000", "-q", "-a", clientsPassword)
		out, err := command(t, "redis-benchmark", args...).CombinedOutput()
		if err != nil || strings.Contains(string(out), "rror") {
			t.Errorf("redis-benchmark %v: error %v\n%s", args, err, out)
		}
		for _, name := range tests {
			if !strings.Contains(string(out), name+": ") {
				t.Errorf("redis-benchmark %v did not finish %s\n%s", args, name, out)
			}
		}
	}
}
