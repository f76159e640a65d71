package sidecar

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neargrid/neargrid/server"
)

// TestReplies: in both protocols every command that may be answered from memory answers as a node does, when it is not held and when it is.
func TestReplies(t *testing.T) {
	r := started(t, nil)
	node := dial(t, nodeAddr(t))
	for _, line := range []string{
		"SET rep:s value", "SET rep:n 12", "SETBIT rep:b 7 1", "HSET rep:h a 1 b 2.5 c x", "RPUSH rep:l a b c b",
		"SADD rep:set one", "ZADD rep:z 1 one 2.5 two inf three", "SET {rep}1 x", "SET {rep}2 y", "SADD {rep}s1 a b", "SADD {rep}s2 b",
	} {
		if v := node.Do(t, strings.Fields(line)...); v.IsError() {
			t.Fatalf("%s: %s", line, v.Text)
		}
	}
	lines := `GET rep:s|GET rep:none|GET rep:h|STRLEN rep:s|STRLEN rep:none|GETRANGE rep:s 1 2|GETBIT rep:b 7|BITCOUNT rep:b|BITPOS rep:b 1
		HGET rep:h a|HGET rep:h none|HGET rep:none a|HMGET rep:h a none|HGETALL rep:h|HGETALL rep:none|HKEYS rep:h|HVALS rep:h|HLEN rep:h|HEXISTS rep:h a|HSTRLEN rep:h c
		LRANGE rep:l 0 -1|LINDEX rep:l 0|LINDEX rep:l 9|LLEN rep:l|LPOS rep:l b|LPOS rep:l none|LPOS rep:l b COUNT 0
		SMEMBERS rep:set|SISMEMBER rep:set one|SMISMEMBER rep:set one two|SCARD rep:set
		ZSCORE rep:z one|ZSCORE rep:z two|ZSCORE rep:z three|ZSCORE rep:z none|ZMSCORE rep:z one none|ZRANGE rep:z 0 -1|ZRANGE rep:z 0 -1 WITHSCORES|ZRANGEBYSCORE rep:z 0 5 WITHSCORES
		ZRANK rep:z two|ZRANK rep:z none|ZREVRANK rep:z one|ZCARD rep:z|ZCOUNT rep:z 0 5|ZREVRANGE rep:z 0 0|TYPE rep:s|TYPE rep:none|TYPE rep:z
		MGET rep:s rep:none rep:h rep:n|MGET rep:s|MGET {rep}1 {rep}2|SINTER {rep}s1 {rep}s2|SINTER rep:set {rep}s1|TTL rep:s|EXISTS rep:s rep:n rep:none
		GET|GET a b|HGET rep:h|ZRANGE rep:z a b|LRANGE rep:l x y|GETRANGE rep:s a b|OBJECT ENCODING rep:n|SORT rep:l ALPHA|GRID.READ GET rep:s|GRID.READ GET|GRID.READ SET rep:s 1`
	for _, resp := range []string{"2", "3"} {
		near, node := r.conn(), dial(t, nodeAddr(t))
		near.Do(t, "HELLO", resp)
		node.Do(t, "HELLO", resp)
		for _, line := range strings.FieldsFunc(lines, func(c rune) bool { return c == '|' || c == '\n' }) {
			args := strings.Fields(line)
			right := short(node.Do(t, args...))
			for range 3 {
				if got := short(near.Do(t, args...)); got != right {
					t.Errorf("RESP%s %s: %s, a node says %s", resp, line, got, right)
				}
			}
		}
	}
}

// TestHit: what was read once is answered from memory, in the order of the pipeline, and dropped when anybody writes it.
func TestHit(t *testing.T) {
	r := started(t, nil)
	c, node := r.conn(), dial(t, nodeAddr(t))
	want(t, node, "+OK", "SET hit:k 1")
	r.holds(c, "hit:k", "1")
	want(t, node, "+OK", "SET hit:k 2")
	eventually(t, "the new value", func() bool { return c.Do(t, "GET", "hit:k").Text == "2" })
	r.holds(c, "hit:k", "2")
	want(t, c, "+OK", "SELECT 1") // another key of that name
	want(t, c, "$nil", "GET hit:k")
	want(t, c, "+OK", "SET hit:k one")
	want(t, c, "$one", "GET hit:k")
	want(t, c, "+OK", "SELECT 0")
	want(t, c, "$2", "GET hit:k")
}

// TestPrefixes: keys without one of the prefixes are read from the grid each time.
func TestPrefixes(t *testing.T) {
	r := started(t, func(o *Options) { o.Near.Prefixes = []string{"pre:in"} })
	c := r.conn()
	want(t, c, "+OK", "MSET pre:in 1 pre:out 2")
	r.holds(c, "pre:in", "1")
	for range 3 {
		before := r.hits()
		want(t, c, "$2", "GET pre:out")
		if r.hits() != before {
			t.Fatal("a key without a prefix was answered from memory")
		}
	}
	want(t, c, "*[$1 $2]", "MGET pre:in pre:out")
}

// TestOwnWrites: whoever is behind the sidecar reads what was acknowledged to anybody behind it.
func TestOwnWrites(t *testing.T) {
	r := started(t, nil)
	a, b := r.conn(), r.conn()
	for i := range 300 {
		key, value := "own:"+strconv.Itoa(i%5), strconv.Itoa(i)
		writer, reader := a, b
		if i%2 == 0 {
			writer, reader = b, a
		}
		switch i % 4 {
		case 0:
			want(t, writer, "+OK", "SET "+key+" "+value)
		case 1:
			want(t, writer, "+OK", "MSET "+key+" "+value+" own:x 1")
		case 2:
			want(t, writer, "+OK", "MULTI")
			want(t, writer, "+QUEUED", "SET "+key+" "+value)
			want(t, writer, "*[+OK]", "EXEC")
		case 3:
			writer.Do(t, "DEL", key)
			want(t, writer, ":"+strconv.Itoa(len(value)), "APPEND "+key+" "+value)
		}
		want(t, reader, "$"+value, "GET "+key)
		want(t, reader, "$"+value, "GET "+key)
	}
}

// TestOrder: a pipeline's commands on one key see each other in their order, whatever way they go.
func TestOrder(t *testing.T) {
	r := started(t, nil)
	c := r.conn()
	for round := range 20 {
		key := "order:" + strconv.Itoa(round)
		var wants []string
		say := func(reply string, args ...string) {
			c.Queue(args...)
			wants = append(wants, reply)
		}
		say("$nil", "GET", key) // read near
		for i := range 20 {
			value := strconv.Itoa(i)
			say("+OK", "SET", key, value)
			say("$"+value, "GET", key)
			say("*[$"+value+" $nil]", "MGET", key, "order:none")
			say(":"+strconv.Itoa(i+1), "INCR", key)
			say("$"+strconv.Itoa(i+1), "GET", key)
			say(":1", "EXISTS", key)
		}
		say(":1", "DEL", key, "order:none")
		say("$nil", "GET", key)
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
		for i, want := range wants {
			got, err := c.Receive()
			if err != nil || short(got) != want {
				t.Fatalf("round %d, reply %d: %s, %v, want %s", round, i, short(got), err, want)
			}
		}
	}
}

// TestOwnWritesRace: a write is under way while another client's read fills the cache with what was before. Neither the writer reads that behind
// its write, nor anybody once the write was acknowledged, though the grid's word of it is late.
func TestOwnWritesRace(t *testing.T) {
	r := started(t, func(o *Options) { o.Near.Staleness = 10 * time.Second })
	writer, reader := r.conn(), r.conn()
	want(t, writer, "+OK", "SET race:k old")
	release := r.wire.holdOthers()
	defer release()
	writer.Queue("SET", "race:k", "new")
	if err := writer.Flush(); err != nil {
		t.Fatal(err)
	}
	r.holds(reader, "race:k", "old")
	writer.Queue("GET", "race:k") // behind the write
	if err := writer.Flush(); err != nil {
		t.Fatal(err)
	}
	r.holds(reader, "race:k", "old") // the command before has been taken
	thaw := r.wire.freezeNear()
	defer thaw()
	release()
	for _, want := range []string{"+OK", "$new"} {
		if v, err := writer.Receive(); err != nil || short(v) != want {
			t.Fatalf("the writer: %s, %v, want %s", short(v), err, want)
		}
	}
	reader.Timeout = 200 * time.Millisecond
	if v, err := reader.Call("GET", "race:k"); err == nil && v.Text == "old" {
		t.Error("a reader behind the sidecar gets the old value after the write was acknowledged")
	}
}

// TestTransactions: MULTI, WATCH and DISCARD are those of a node.
func TestTransactions(t *testing.T) {
	node := dial(t, nodeAddr(t))
	eventually(t, "several nodes have data", func() bool { // else a transaction may be over any slots
		return strings.Contains(short(node.Do(t, "SORT", "a", "BY", "w_*")), "denied in cluster mode")
	})
	r := started(t, nil)
	c, other := r.conn(), r.conn()
	want(t, c, "+OK", "SET tx:a 1")
	exec := func(reply string) {
		t.Helper()
		want(t, c, "+OK", "MULTI")
		want(t, c, "+QUEUED", "INCR tx:a")
		want(t, c, "+QUEUED", "GET tx:a")
		want(t, c, reply, "EXEC")
	}
	exec("*[:2 $2]")
	want(t, c, "+OK", "WATCH tx:a")
	exec("*[:3 $3]")
	want(t, c, "+OK", "WATCH tx:a")
	want(t, other, "+OK", "SET tx:a 10")
	exec("*nil")
	exec("*[:11 $11]") // nothing is watched any more
	want(t, c, "+OK", "WATCH tx:a")
	want(t, other, "+OK", "SET tx:a 20")
	want(t, c, "+OK", "UNWATCH")
	exec("*[:21 $21]")
	want(t, c, "+OK", "WATCH tx:a")
	r.wire.set(true) // nobody knows whether it changes meanwhile
	r.wire.set(false)
	exec("*nil")
	eventually(t, "a transaction is executed again", func() bool {
		return !c.Do(t, "SET", "tx:a", "1").IsError()
	})
	exec("*[:2 $2]")
	want(t, c, "+OK", "MULTI")
	want(t, c, "+QUEUED", "SET tx:a 5")
	want(t, c, "+QUEUED", "SET tx:b 5")
	if v := c.Do(t, "EXEC"); !strings.HasPrefix(v.Text, "CROSSSLOT ") {
		t.Fatalf("EXEC over two slots: %s", short(v))
	}
	want(t, c, "$2", "GET tx:a")
}

// nextDial has the next connection that a sidecar makes made by f.
type nextDial struct {
	armed atomic.Bool
	f     func(dial func() (net.Conn, error)) (net.Conn, error)
}

func (n *nextDial) options(o *Options) {
	dial := o.Client.Dial
	o.Client.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		now := func() (net.Conn, error) { return dial(ctx, network, addr) }
		if n.armed.CompareAndSwap(true, false) {
			return n.f(now)
		}
		return now()
	}
}

// toldConn is a connection that tells of its end.
type toldConn struct {
	net.Conn
	close func()
}

func (c *toldConn) Close() error {
	c.close()
	return c.Conn.Close()
}

// TestWatchGone: a client that goes while the connection for its watches is being made leaves none behind.
func TestWatchGone(t *testing.T) {
	dialing, goOn, closed := make(chan struct{}), make(chan struct{}), make(chan struct{})
	next := &nextDial{f: func(dial func() (net.Conn, error)) (net.Conn, error) {
		close(dialing)
		<-goOn
		nc, err := dial()
		return &toldConn{nc, sync.OnceFunc(func() { close(closed) })}, err
	}}
	r := started(t, next.options)
	c := r.conn()
	id := uint64(c.Do(t, "CLIENT", "ID").Int())
	want(t, c, "$nil", "GET watched:k")
	next.armed.Store(true)
	c.Queue("WATCH", "watched:k")
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	<-dialing
	c.Close()
	eventually(t, "the client is forgotten", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.mu.sessions[id] == nil
	})
	close(goOn)
	select {
	case <-closed:
	case <-time.After(patience):
		t.Error("the connection stays open")
	}
}

// deafConn is a connection to a node that WATCH does not get to.
type deafConn struct{ net.Conn }

func (c deafConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("WATCH")) {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// TestWatchTime: the time of WATCH is that of its connection, too.
func TestWatchTime(t *testing.T) {
	const timeout = 2 * time.Second
	next := &nextDial{f: func(dial func() (net.Conn, error)) (net.Conn, error) {
		nc, err := dial()
		time.Sleep(timeout - 200*time.Millisecond) // the network is slow
		return deafConn{nc}, err
	}}
	r := started(t, next.options)
	c := r.conn()
	f := &server.Forwarded{
		Session: uint64(c.Do(t, "CLIENT", "ID").Int()), Resp: 2, Kind: server.ForwardWatch, Timeout: timeout, Args: [][]byte{[]byte("WATCH"), []byte("k")},
	}
	next.armed.Store(true)
	began, answered := time.Now(), make(chan server.Answer, 1)
	r.Forward(r.Any(), f, func(a server.Answer) { answered <- a })
	a := <-answered
	if d := time.Since(began); a.Outcome != server.Executed || d > timeout+answerSlack+400*time.Millisecond {
		t.Errorf("WATCH that is not answered ends after %v with %v", d, a.Outcome)
	}
}

// TestTransactionsOfSession: SELECT and CLIENT in a transaction concern the client's own connection, and not the one that it shares.
func TestTransactionsOfSession(t *testing.T) {
	r := started(t, nil)
	c, other := r.conn(), r.conn()
	want(t, c, "+OK", "MSET {sess}a 1 {sess}b 1")
	want(t, c, ":1", "HSET {sess}g f 1")
	exec := func(reply string, lines ...string) {
		t.Helper()
		want(t, c, "+OK", "MULTI")
		for _, line := range lines {
			want(t, c, "+QUEUED", line)
		}
		want(t, c, reply, "EXEC")
	}
	lines := []string{"SET {sess}a 2", "SELECT 3", "SET {sess}a three", "CLIENT SETNAME me", "CLIENT GETNAME", "HSET {sess}h f 1", "GET {sess}a"}
	exec("*[+OK +OK +OK +OK $me :1 $three]", lines...)
	want(t, c, "$three", "GET {sess}a")
	want(t, other, "$2", "GET {sess}a")
	want(t, other, "+OK", "SET {sess}b 2")
	want(t, other, "$2", "GET {sess}b")
	node := dial(t, nodeAddr(t))
	for i := range 40 { // on the same connections to nodes, that by which the transaction went among them
		want(t, other, "+OK", fmt.Sprintf("SET sess:%d 1", i))
		want(t, node, "$1", fmt.Sprintf("GET sess:%d", i))
	}
	want(t, c, "+OK", "SELECT 0")
	want(t, c, "$2", "GET {sess}b")
	want(t, c, "+OK", "WATCH {sess}b")
	exec("*[+OK +OK $me]", "SELECT 3", "SET {sess}a four", "CLIENT GETNAME") // on the connection by which it watches
	want(t, c, "$four", "GET {sess}a")
	want(t, c, "+OK", "SELECT 0")
	want(t, c, "+OK", "WATCH {sess}b")
	want(t, other, "+OK", "SET {sess}b 3")
	exec("*nil", "SELECT 3", "SET {sess}a five", "CLIENT SETNAME you")
	want(t, c, "$2", "GET {sess}a")
	want(t, c, "$me", "CLIENT GETNAME")
	c.Do(t, "HELLO", "3")
	exec("*[%[$f $1] +OK $2]", "HGETALL {sess}g", "CLIENT TRACKING ON", "GET {sess}a")
	if v := pushed(t, c); short(v) != ">[$invalidate *[${sess}g]]" { // nobody would tell of it
		t.Errorf("told %s", short(v))
	}
}

// TestWait: WAIT says how many backups hold what was written, and others do not wait behind it.
func TestWait(t *testing.T) {
	r := started(t, nil)
	c, other := r.conn(), r.conn()
	want(t, c, "+OK", "SET wait:k 1")
	var node int64
	eventually(t, "backups are there", func() bool {
		node = dial(t, nodeAddr(t)).Do(t, "WAIT", "1", "1000").Int()
		return node > 0
	})
	for _, test := range []struct{ line, reply string }{
		{"WAIT 0 0", ":" + strconv.FormatInt(node, 10)}, {"WAIT 1 0", ":" + strconv.FormatInt(node, 10)},
		{"WAIT x 0", "-ERR value is not an integer or out of range"}, {"WAIT 1 -1", "-ERR timeout is negative"},
		{"WAIT 1 x", "-ERR timeout is not an integer or out of range"},
	} {
		want(t, c, test.reply, test.line)
	}
	const wait = 1500 * time.Millisecond // longer than one piece
	began := time.Now()
	c.Queue("SET", "wait:k", "2")
	c.Queue("WAIT", "9", strconv.FormatInt(wait.Milliseconds(), 10))
	c.Queue("GET", "wait:k")
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		want(t, other, "+OK", "SET wait:other 1")
		want(t, other, "$1", "GET wait:other")
	}
	if took := time.Since(began); took > wait {
		t.Errorf("another client's commands took %v", took)
	}
	for _, want := range []string{"+OK", ":" + strconv.FormatInt(node, 10), "$2"} {
		if v, err := c.Receive(); err != nil || short(v) != want {
			t.Fatalf("%s, %v, want %s", short(v), err, want)
		}
	}
	if took := time.Since(began); took < wait {
		t.Errorf("WAIT for more backups than there are took %v", took)
	}
}

// TestWalks: commands about all keys speak for the grid.
func TestWalks(t *testing.T) {
	r := started(t, nil)
	c := r.conn()
	const count = 50
	for i := range count {
		want(t, c, "+OK", fmt.Sprintf("SET walk:%d 1", i))
	}
	seen, cursor := map[string]bool{}, "0"
	for {
		v := c.Do(t, "SCAN", cursor, "MATCH", "walk:*", "COUNT", "100")
		for _, key := range v.Elems[1].Elems {
			seen[key.Text] = true
		}
		if cursor = v.Elems[0].Text; cursor == "0" {
			break
		}
	}
	if len(seen) != count {
		t.Errorf("SCAN finds %d keys, want %d", len(seen), count)
	}
	if v := c.Do(t, "DBSIZE"); v.Int() < count {
		t.Errorf("DBSIZE: %s", short(v))
	}
	if v := c.Do(t, "KEYS", "walk:*"); len(v.Elems) != count {
		t.Errorf("KEYS finds %d", len(v.Elems))
	}
	want(t, c, "+OK", "SELECT 9")
	want(t, c, "+OK", "SET walk:9 1")
	want(t, c, "+OK", "FLUSHDB")
	want(t, c, ":0", "DBSIZE")
}

// TestInfo: INFO tells what the near cache does.
func TestInfo(t *testing.T) {
	r := started(t, func(o *Options) { o.Near.Staleness = 700 * time.Millisecond })
	c := r.conn()
	want(t, c, "+OK", "SET info:k 1")
	r.holds(c, "info:k", "1")
	text := c.Do(t, "INFO", "nearcache").Text
	for _, line := range []string{"# Nearcache", "grid_state:connected", "grid_nodes:3", "near_hits:", "near_hit_rate:0.", "near_age_bound_ms:700", "near_entries:1", "near_bytes:", "near_lease_left_ms:"} {
		if !strings.Contains(text, line) {
			t.Errorf("INFO has no %q:\n%s", line, text)
		}
	}
	if text := c.Do(t, "INFO").Text; !strings.Contains(text, "\r\nloading:0\r\n") || strings.Contains(text, "# Grid") {
		t.Errorf("INFO:\n%s", text)
	}
	if v := c.Do(t, "GRID.STATUS"); v.IsError() {
		t.Errorf("GRID.STATUS: %s", short(v))
	}
}
