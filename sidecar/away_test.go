package sidecar

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

// TestStartedFirst: before the grid is there, clients are told to wait and for whom; then they are served.
func TestStartedFirst(t *testing.T) {
	addr := nodeAddr(t)
	var w *wire
	r := start(t, func(o *Options) {
		w = &wire{}
		w.set(true)
		o.Client.Dial = w.dial
	})
	c := r.conn()
	eventually(t, "it has tried", func() bool { return strings.Contains(r.Waiting(), "the wire is cut") })
	for _, line := range []string{"GET k", "SET k 1", "PING", "DBSIZE"} {
		v := c.Do(t, strings.Fields(line)...)
		if !strings.HasPrefix(v.Text, "LOADING ") || !strings.Contains(v.Text, addr) {
			t.Errorf("%s: %s; want LOADING and %s", line, short(v), addr)
		}
	}
	want(t, c, "+OK", "MULTI")
	c.Do(t, "GET", "k")
	if v := c.Do(t, "EXEC"); !strings.HasPrefix(v.Text, "EXECABORT") {
		t.Errorf("EXEC: %s", short(v))
	}
	if text := c.Do(t, "INFO").Text; !strings.Contains(text, "\r\nloading:1\r\n") || !strings.Contains(text, "grid_state:waiting") {
		t.Errorf("INFO does not say that it waits:\n%s", text)
	}
	w.set(false)
	eventually(t, "the grid is found", func() bool { return c.Do(t, "PING").Text == "PONG" })
	want(t, c, "+OK", "SET away:first 1")
	want(t, c, "$1", "GET away:first")
}

// TestJoinTLS: with TLS the addresses are those of doors, whatever their ports: nothing is said to them in plain text, and no other is tried.
func TestJoinTLS(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	said := make(chan byte, 100)
	var served sync.WaitGroup
	served.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			first := make([]byte, 1)
			if _, err := nc.Read(first); err == nil {
				said <- first[0]
			}
			nc.Close()
		}
	})
	t.Cleanup(func() { l.Close(); served.Wait() })
	dialed := make(chan string, 100)
	start(t, func(o *Options) {
		o.Join = []string{l.Addr().String()}
		o.Client.TLS = &tls.Config{}
		dial := o.Client.Dial
		o.Client.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			select {
			case dialed <- addr:
			default:
			}
			return dial(ctx, network, addr)
		}
	})
	const handshake = 22 // the first byte of a TLS connection
	if first, addr := <-said, <-dialed; first != handshake || addr != l.Addr().String() {
		t.Errorf("%s is connected to, and the first byte at %s is %d, want %d", addr, l.Addr(), first, handshake)
	}
}

// TestAway: without the grid nothing is answered from memory once the connections have ended; commands are told why within a bounded time;
// when it is back they are executed again.
func TestAway(t *testing.T) {
	r := started(t, nil)
	c := r.conn()
	want(t, c, "+OK", "SET away:k 1")
	r.holds(c, "away:k", "1")
	r.wire.set(true)
	begin := time.Now()
	v := c.Do(t, "GET", "away:k")
	if took := time.Since(begin); !strings.HasPrefix(v.Text, "CLUSTERDOWN ") || !strings.Contains(v.Text, "127.0.0.1:") || took > 7*time.Second {
		t.Fatalf("GET: %s, after %v", short(v), took)
	}
	if text := c.Do(t, "INFO", "nearcache").Text; !strings.Contains(text, "grid_state:away") {
		t.Errorf("INFO does not say that the grid is away:\n%s", text)
	}
	r.wire.set(false)
	eventually(t, "commands are executed again", func() bool { return !c.Do(t, "SET", "away:k", "2").IsError() })
	r.holds(c, "away:k", "2")
}

// TestFrozen: where nothing arrives from the grid any more, and no connection ends, what is held is answered no longer than the lease lasts.
func TestFrozen(t *testing.T) {
	const staleness = 300 * time.Millisecond
	r := started(t, func(o *Options) { o.Near.Staleness = staleness })
	c, node := r.conn(), dial(t, nodeAddr(t))
	tracker := r.tracker()
	want(t, c, "+OK", "SET frozen:k old")
	r.holds(c, "frozen:k", "old")
	want(t, tracker, "$old", "GET frozen:k")
	thaw := r.wire.freeze()
	want(t, node, "+OK", "SET frozen:k new")
	end := time.Now().Add(staleness + 50*time.Millisecond) // a lease that was asked for before the freeze may be longer than what is left
	for {
		c.Timeout = time.Until(end) + 100*time.Millisecond
		asked := time.Now()
		v, err := c.Call("GET", "frozen:k")
		if err != nil {
			break // not answered
		}
		if v.Text == "old" && asked.After(end) {
			t.Fatalf("what is held is answered %v after the lease", asked.Sub(end))
		}
	}
	tracker.SetDeadline(time.Now().Add(5 * time.Second)) // long before the connections are given up
	if v, err := tracker.Receive(); err != nil || short(v) != ">[$invalidate *[$frozen:k]]" {
		t.Errorf("a client that tracks is told %s, %v, want that the key is out of date", short(v), err)
	}
	thaw()
	fresh := r.conn()
	eventually(t, "the new value", func() bool { return fresh.Do(t, "GET", "frozen:k").Text == "new" })
}

// tracker is a connection with CLIENT TRACKING.
func (r *rig) tracker() *testredis.Conn {
	r.Helper()
	c := r.conn()
	c.Do(r.T, "HELLO", "3")
	want(r.T, c, "+OK", "CLIENT TRACKING ON")
	return c
}

// pushed is what a client is told next without having asked.
func pushed(t *testing.T, c *testredis.Conn) testredis.Value {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	v, err := c.Receive()
	if err != nil {
		t.Fatalf("nothing was pushed: %v", err)
	}
	return v
}

// TestTracking: clients that track are told of what others change, wherever they have read it from.
func TestTracking(t *testing.T) {
	r := started(t, nil)
	node, plain := dial(t, nodeAddr(t)), r.conn()
	told := func(c *testredis.Conn, key string) {
		t.Helper()
		if v := pushed(t, c); short(v) != ">[$invalidate *[$"+key+"]]" {
			t.Fatalf("told %s, want %s", short(v), key)
		}
	}
	want(t, node, "+OK", "MSET track:a 1 track:b 1 track:c 1")
	want(t, node, ":1", "HSET track:h f 1")
	miss, hit := r.tracker(), r.tracker()
	want(t, miss, "$1", "GET track:a")
	r.holds(plain, "track:a", "1")
	want(t, hit, "$1", "GET track:a") // from memory
	want(t, node, "+OK", "SET track:a 2")
	told(miss, "track:a")
	told(hit, "track:a")
	want(t, miss, "$2", "GET track:a")
	want(t, plain, "+OK", "SET track:a 3") // of another client of the sidecar
	told(miss, "track:a")
	for _, line := range []string{"TTL track:b", "MGET track:b track:b", "GETRANGE track:b 0 0", "GRID.READ GET track:b"} { // all ways of reading
		miss.Do(t, strings.Fields(line)...)
		want(t, node, "+OK", "SET track:b 2")
		told(miss, "track:b")
	}
	want(t, miss, "%[$f $1]", "HGETALL track:h")
	want(t, node, ":0", "HSET track:h f 2")
	told(miss, "track:h")
	want(t, miss, "_", "GET track:none") // keys that are not there as well
	want(t, node, "+OK", "SET track:none 1")
	told(miss, "track:none")
	want(t, miss, "+OK", "MULTI") // what a transaction reads is not tracked: it is told of at once
	want(t, miss, "+QUEUED", "GET track:c")
	want(t, miss, "*[$1]", "EXEC")
	told(miss, "track:c")
	want(t, miss, "$1", "GET track:c")
	r.wire.set(true) // who could tell is gone
	told(miss, "track:c")
	r.wire.set(false)
}

// TestTrackingRests: what a client has read stays tracked, though nobody reads anything for longer than a lease.
func TestTrackingRests(t *testing.T) {
	const staleness = 100 * time.Millisecond
	r := started(t, func(o *Options) { o.Near.Staleness = staleness })
	node, c := dial(t, nodeAddr(t)), r.tracker()
	want(t, node, "+OK", "SET rests:k 1")
	want(t, c, "$1", "GET rests:k")
	c.SetDeadline(time.Now().Add(8 * staleness))
	if v, err := c.Receive(); err == nil {
		t.Fatalf("told %s, though nothing has changed", short(v))
	}
	want(t, node, "+OK", "SET rests:k 2")
	if v := pushed(t, c); short(v) != ">[$invalidate *[$rests:k]]" {
		t.Fatalf("told %s", short(v))
	}
}

// TestRedirect: RESP2 clients hear of changes on another connection.
func TestRedirect(t *testing.T) {
	r := started(t, nil)
	node, listener, c := dial(t, nodeAddr(t)), r.conn(), r.conn()
	id := listener.Do(t, "CLIENT", "ID").Text
	want(t, listener, "*[$subscribe $__redis__:invalidate :1]", "SUBSCRIBE __redis__:invalidate")
	want(t, c, "+OK", "CLIENT TRACKING ON REDIRECT "+id)
	want(t, node, "+OK", "SET redirect:k 1")
	want(t, c, "$1", "GET redirect:k")
	want(t, node, "+OK", "SET redirect:k 2")
	if v := pushed(t, listener); short(v) != "*[$message $__redis__:invalidate *[$redirect:k]]" {
		t.Fatalf("told %s", short(v))
	}
}

// TestNoloop: of its own changes a client that wants so is told nothing, by whatever way they go; others are, and it is of theirs.
func TestNoloop(t *testing.T) {
	r := started(t, nil)
	node, other, quiet := dial(t, nodeAddr(t)), r.tracker(), r.conn()
	quiet.Do(t, "HELLO", "3")
	want(t, quiet, "+OK", "CLIENT TRACKING ON NOLOOP")
	told := func(c *testredis.Conn, keys ...string) {
		t.Helper()
		var got []string
		for range keys {
			got = append(got, short(pushed(t, c)))
		}
		slices.Sort(got)
		for i, key := range keys {
			if got[i] != ">[$invalidate *[$"+key+"]]" {
				t.Fatalf("told %s, want %s", got, keys)
			}
		}
	}
	for _, test := range []struct{ keys, lines string }{
		{"loop:a", "SET loop:a 1"},
		{"loop:a", "APPEND loop:a 1|APPEND loop:a 2"},
		{"loop:a loop:b loop:c", "MSET loop:a 1 loop:b 2 loop:c 3"},
		{"loop:a", "MULTI|SET loop:a 1|INCR loop:a|EXEC"},
		{"loop:a", "WATCH loop:a|MULTI|SET loop:a 5|EXEC"},
	} {
		for _, key := range strings.Fields("loop:a loop:b loop:c") {
			other.Do(t, "GET", key)
			quiet.Do(t, "GET", key)
		}
		for _, line := range strings.Split(test.lines, "|") {
			if v := quiet.Do(t, strings.Fields(line)...); v.IsError() {
				t.Fatalf("%s: %s", line, short(v))
			}
		}
		told(other, strings.Fields(test.keys)...)
	}
	// What it was not told of before is behind this by now, or will not come.
	quiet.Do(t, "GET", "loop:a")
	want(t, node, "+OK", "SET loop:a 7")
	told(quiet, "loop:a")
	want(t, quiet, "$7", "GET loop:a")
	want(t, quiet, "+OK", "SET loop:a 8") // and reads it again, whether word of that is there or not
	want(t, quiet, "$8", "GET loop:a")
	want(t, node, "+OK", "SET loop:a 9")
	told(quiet, "loop:a")
}
