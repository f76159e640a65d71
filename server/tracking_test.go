package server

import (
	"bufio"
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/protocol"
)

// What transcripts cannot tell: the order of pushes and replies that are pending, clients that do not read, and grids. The
// transcripts tracking*.txt hold the rest.

// tell sends a command, and returns all that has come since the last call, each reply and push in one word.
func (c *client) tell(args ...string) string {
	c.server.t.Helper()
	c.feed(protocol.AppendCommand(nil, args...))
	return c.heard()
}

// heard is what has come, each reply and push in one word.
func (c *client) heard() string {
	c.server.t.Helper()
	c.server.turn()
	var words []string
	for r := bufio.NewReader(bytes.NewReader(c.out)); ; {
		v, err := testredis.Read(r)
		if err != nil {
			break
		}
		words = append(words, word(v))
	}
	c.out = c.out[:0]
	return strings.Join(words, " ")
}

// word writes a value short: a push as push:its,elements.
func word(v testredis.Value) string {
	if !v.IsAggregate() {
		return strings.ReplaceAll(testredis.Format(v), " ", "_")
	}
	var elems []string
	for _, e := range v.Elems {
		text := e.Text
		if e.IsAggregate() || e.Nil || e.Kind == testredis.Null {
			text = word(e)
		}
		elems = append(elems, text)
	}
	return map[bool]string{true: "push:"}[v.Kind == testredis.Push] + "[" + strings.Join(elems, ",") + "]"
}

// tracking connects a client of RESP3 with CLIENT TRACKING.
func (p *inProcess) tracking(options ...string) *client {
	p.t.Helper()
	c := p.connect()
	c.do("HELLO", "3")
	c.out = c.out[:0]
	if got := c.tell(append([]string{"CLIENT", "TRACKING", "ON"}, options...)...); got != "OK" {
		p.t.Fatalf("CLIENT TRACKING ON %v: %s", options, got)
	}
	return c
}

// want compares.
func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\ngot  %s\nwant %s", what, got, want)
	}
}

// withServer runs f in a bubble, with a server of its own.
func withServer(t *testing.T, o Options, f func(srv *inProcess)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(newInProcess(t, o)) })
}

// A push is not ahead of the reply to an earlier read that waits for its commit.
func TestTrackingBehindPendingReply(t *testing.T) {
	withGrid(t, alone(4), func(srv *inProcess, r *fakeRouter) {
		a, w := srv.tracking(), srv.connect()
		want(t, "SET", w.tell("SET", "k", "1"), "OK")
		r.hold()
		want(t, "GET that waits", a.tell("GET", "k"), "")
		want(t, "SET that waits", w.tell("SET", "k", "2"), "")
		want(t, "before the commit", a.heard(), "")
		want(t, "another GET", a.tell("GET", "other"), "")
		r.release(nil)
		srv.settle()
		want(t, "after the commit", a.heard(), `"1" push:[invalidate,[k]] (null)`)
	})
}

// What is read is registered before anybody can change it: a write at the moment when the reader lets go of the partition is told.
func TestTrackingUnderOneLock(t *testing.T) {
	withGrid(t, alone(4), func(srv *inProcess, r *fakeRouter) {
		a, w := srv.tracking(), srv.connect()
		calls := 0
		r.onServes = func() {
			if calls++; calls == 2 { // of GET: before its first look at data, and after it has given back its lock
				w.session.Feed(protocol.AppendCommand(nil, "SET", "k", "2"))
			}
		}
		got := a.tell("GET", "k")
		r.onServes = nil
		want(t, "GET with a SET right behind it", strings.TrimSpace(got+" "+a.heard()), "(null) push:[invalidate,[k]]")
	})
}

// Keys that make room for a command are told of before its reply, also where no reply is wanted.
func TestTrackingEviction(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a, w := srv.tracking(), srv.connect()
		want(t, "CONFIG SET", w.tell("CONFIG", "SET", "maxmemory-policy", "volatile-random"), "OK")
		for _, tt := range []struct{ command, want string }{
			{"PING", "push:[invalidate,[v]] PONG"},
			{"CLIENT REPLY OFF", "push:[invalidate,[v]]"},
		} {
			want(t, "SET", a.tell("SET", "v", "1", "EX", "1000"), "OK")
			want(t, "GET", a.tell("GET", "v"), `"1"`)
			srv.config.MaxMemory.Store(1)
			want(t, tt.command, a.tell(strings.Fields(tt.command)...), tt.want)
			srv.config.MaxMemory.Store(0)
		}
	})
}

// Pushes come where replies are switched off.
func TestTrackingWithoutReplies(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a, w := srv.tracking(), srv.connect()
		want(t, "REPLY OFF", a.tell("CLIENT", "REPLY", "OFF"), "")
		want(t, "GET", a.tell("GET", "k"), "")
		want(t, "SET of its own", a.tell("SET", "k", "1"), "push:[invalidate,[k]]")
		want(t, "GET", a.tell("GET", "k"), "")
		want(t, "SET", w.tell("SET", "k", "1"), "OK")
		want(t, "what comes of it", a.heard(), "push:[invalidate,[k]]")
		want(t, "REPLY SKIP", a.tell("CLIENT", "REPLY", "ON"), "OK")
		want(t, "REPLY SKIP", a.tell("CLIENT", "REPLY", "SKIP"), "")
		want(t, "GET", a.tell("GET", "k"), "")
		want(t, "SET", a.tell("SET", "k", "2"), "OK push:[invalidate,[k]]")
	})
}

// A transaction that runs off the loop is tracked, and pushes stand behind it.
func TestTrackingOffLoop(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a, w := srv.tracking(), srv.connect()
		want(t, "RPUSH", w.tell("RPUSH", "l", "2", "1"), "(integer)_2")
		want(t, "GET", a.tell("GET", "k"), "(null)")
		for _, words := range []string{"MULTI", "SORT_RO l", "SET k 1"} {
			a.tell(strings.Fields(words)...)
		}
		got := a.tell("EXEC")
		srv.settle()
		want(t, "EXEC", got+a.heard(), "[[1,2],OK] push:[invalidate,[k]]")
		want(t, "RPUSH", w.tell("RPUSH", "l", "3"), "(integer)_3")
		want(t, "a list that was sorted", a.heard(), "push:[invalidate,[l]]")
		got = a.tell("SORT_RO", "l")
		srv.settle()
		want(t, "SORT_RO", got+a.heard(), "[1,2,3]")
		want(t, "RPUSH", w.tell("RPUSH", "l", "4"), "(integer)_4")
		want(t, "a list that was sorted", a.heard(), "push:[invalidate,[l]]")
	})
}

// Every way in which data changes is told.
func TestTrackingChanges(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a, w := srv.tracking(), srv.connect()
		for _, tt := range []struct{ before, read, change, want string }{
			{"", "GET k", "SET k 1", "push:[invalidate,[k]]"},
			{"SET k 1", "STRLEN k", "DEL k", "push:[invalidate,[k]]"},
			{"SET k 1", "TYPE k", "UNLINK k", "push:[invalidate,[k]]"},
			{"SET k 1", "PTTL k", "PERSIST k", ""},
			{"SET k 1 EX 9", "PTTL k", "PERSIST k", "push:[invalidate,[k]]"},
			{"SADD s 1", "SMEMBERS s", "SPOP s", "push:[invalidate,[s]]"},
			{"ZADD z 1 m", "ZSCORE z m", "ZINCRBY z 1 m", "push:[invalidate,[z]]"},
			{"RPUSH l x", "LLEN l", "LMOVE l l2 LEFT LEFT", "push:[invalidate,[l]]"},
			{"SET k 1", "GET k2", "COPY k k2 REPLACE", "push:[invalidate,[k2]]"},
			{"SET k 1", "EXISTS k k k2", "GETDEL k", "push:[invalidate,[k]]"},
			{"SET k 1", "GET k", "SETBIT k 0 1", "push:[invalidate,[k]]"},
			{"SET k 1", "GET k", "SWAPDB 0 1", "push:[invalidate,(null)]"}, // which Redis 7.0 forgets to tell
			{"SET k 1", "GET k", "FLUSHDB", "push:[invalidate,(null)]"},
			{"", "PING", "FLUSHALL", "push:[invalidate,(null)]"},
			{"", "GET k", "GET k", ""},
			{"", "GET k", "DEL k", ""},
		} {
			w.tell("FLUSHALL")
			a.heard()
			if tt.before != "" {
				w.tell(strings.Fields(tt.before)...)
			}
			a.tell(strings.Fields(tt.read)...)
			w.tell(strings.Fields(tt.change)...)
			want(t, tt.read+", then "+tt.change, a.heard(), tt.want)
		}
		if s := srv.store.Tracking().Stats(); s.Trackers != 1 {
			t.Errorf("%d trackers, want 1", s.Trackers)
		}
		a.session.Closed()
		if s := srv.store.Tracking().Stats(); s.Trackers != 0 {
			t.Errorf("%d trackers after the connection is closed, want none", s.Trackers)
		}
	})
}

// Expiry, lazy or by cron, is told, also to who does not want to hear of its own changes.
func TestTrackingExpiry(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a, w := srv.tracking("NOLOOP"), srv.connect()
		for _, lazily := range []bool{true, false} {
			a.tell("SET", "k", "1", "PX", "10")
			a.tell("GET", "k")
			time.Sleep(20 * time.Millisecond)
			want(t, "before anybody has noticed", a.heard(), "")
			if lazily {
				want(t, "GET", a.tell("GET", "k"), "(null) push:[invalidate,[k]]")
				continue
			}
			for p := range srv.store.Partitions() {
				srv.store.Partition(p).ExpireDue(srv.wallMs(srv.clock()))
			}
			want(t, "active expiry", a.heard(), "push:[invalidate,[k]]")
		}
		want(t, "nothing else", w.tell("PING"), "PONG")
	})
}

// stall has a client read nothing, with more output waiting for it than a session adds to.
func (c *client) stall() (resume func()) {
	c.tell("SETRANGE", "large", fmt.Sprint(2*outputPauseBytes), "x")
	c.heard()
	p := c.server
	i := slices.Index(p.clients, c)
	p.clients = slices.Delete(p.clients, i, i+1)
	c.session.Feed(protocol.AppendCommand(nil, "GET", "large"))
	return func() {
		p.clients = append(p.clients, c)
		for len(c.session.Out()) > 0 {
			p.turn()
		}
	}
}

// heardBehind is what a client has heard behind its large value.
func (c *client) heardBehind() string {
	_, behind, _ := strings.Cut(c.heard(), `x" `)
	return behind
}

// A client that does not read: what waits for it is bounded, no key waits twice, and in the end one word stands for all.
func TestTrackingSlowReader(t *testing.T) {
	for _, tt := range []struct {
		name      string
		keys, max int
		want      string
	}{
		{"few", 3, pushKeysMax, "push:[invalidate,[k0]] push:[invalidate,[k1]] push:[invalidate,[k2]]"},
		{"as many as may wait", pushKeysMax, pushKeysMax, ""},
		{"too many", pushKeysMax + 1, pushKeysMax, "push:[invalidate,(null)]"},
		{"one may wait", 1, 1, "push:[invalidate,[k0]]"},
		{"more than one", 2, 1, "push:[invalidate,(null)]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
				srv.connect().tell("CONFIG", "SET", "grid-push-max-keys", fmt.Sprint(tt.max))
				a, w := srv.tracking("BCAST", "PREFIX", "k"), srv.connect()
				if tt.keys == 3 {
					a = srv.tracking()
					a.tell("MGET", "k0", "k1", "k2")
				}
				resume := a.stall()
				for round := range 2 { // the second time each of them waits already
					for i := range tt.keys {
						w.tell("SET", fmt.Sprintf("k%d", i), fmt.Sprint(round))
					}
				}
				p := &a.session.tracker.mu.pending
				if n := len(p.keys); n > tt.max || p.all != (tt.keys > tt.max) || !p.all && n != tt.keys {
					t.Errorf("%d keys wait, all: %v", n, p.all)
				}
				resume()
				got := a.heardBehind()
				if tt.want == "" {
					if n := strings.Count(got, "k"); n != tt.keys {
						t.Errorf("%d keys were told, want %d", n, tt.keys)
					}
					return
				}
				want(t, "what it reads in the end", got, tt.want)
				want(t, "and then", a.tell("PING"), "PONG")
			})
		})
	}
}

// A client that does not read is closed by the limits on output; they count what it was pushed.
func TestTrackingOutputLimit(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a, w := srv.tracking("BCAST"), srv.connect()
		want(t, "CONFIG SET", w.tell("CONFIG", "SET", "client-output-buffer-limit", "normal 2000 0 0"), "OK")
		srv.clients = slices.DeleteFunc(srv.clients, func(c *client) bool { return c == a })
		for i := range 100 {
			w.tell("SET", fmt.Sprintf("key:%d", i), "1")
		}
		if _, _, closing := a.session.Wants(); !closing {
			t.Error("it is not closed")
		}
		want(t, "a writer", w.tell("PING"), "PONG")
	})
}

// What another node has read is not tracked there: the client is told to drop it behind the reply.
func TestTrackingForwarded(t *testing.T) {
	top := gridOf(1, "a", []NodeID{"a", "b"}, "a", "b")
	withGrid(t, top, func(srv *inProcess, r *fakeRouter) {
		a := srv.tracking()
		here, there := "", ""
		for i := 0; here == "" || there == ""; i++ {
			key := fmt.Sprintf("k%d", i)
			if srv.store.PartitionOf([]byte(key)) == 0 {
				here = key
			} else {
				there = key
			}
		}
		r.onForward = func(_ NodeID, f *Forwarded, done func(Answer)) {
			reply := "$1\r\nx\r\n"
			switch {
			case f.Kind == ForwardExec:
				reply = "*1\r\n$1\r\nx\r\n"
			case string(f.Args[0]) == "MGET":
				reply = "*1\r\n$1\r\nx\r\n"
			case string(f.Args[0]) == "SET":
				reply = "+OK\r\n"
			}
			done(Answer{Reply: []byte(reply)})
		}
		all := func(args ...string) string {
			got := a.tell(args...)
			srv.settle()
			return strings.TrimSpace(got + " " + a.heard())
		}
		drop := " push:[invalidate,[" + there + "]]"
		want(t, "GET of a key here", all("GET", here), "(null)")
		want(t, "GET of a key there", all("GET", there), `"x"`+drop)
		want(t, "SET of a key there", all("SET", there, "1"), "OK")
		want(t, "GRID.READ of a key there", all("GRID.READ", "GET", there), `"x"`+drop)
		want(t, "MGET of both", all("MGET", here, there), "[(null),x]"+drop)
		all("MULTI")
		all("GET", there)
		want(t, "EXEC there", all("EXEC"), "[x]"+drop)
		want(t, "CLIENT TRACKING OFF", all("CLIENT", "TRACKING", "OFF"), "OK")
		want(t, "GET of a key there, not tracked", all("GET", there), `"x"`)
		want(t, "CLIENT TRACKING ON OPTIN", all("CLIENT", "TRACKING", "ON", "OPTIN"), "OK")
		want(t, "GET of a key there, not cached", all("GET", there), `"x"`)
		want(t, "CLIENT CACHING YES", all("CLIENT", "CACHING", "YES"), "OK")
		want(t, "GET of a key there, cached", all("GET", there), `"x"`+drop)
		all("CLIENT", "TRACKING", "OFF")
		all("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", there)
		want(t, "GET of a key there with a prefix", all("GET", there), `"x"`+drop)
		all("CLIENT", "TRACKING", "OFF")
		all("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "other")
		want(t, "GET of a key there without one", all("GET", there), `"x"`)
	})
}

// Prefixes: a key is told to all whose prefix it has, and to nobody else.
func TestTrackingPrefixes(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		clients := map[string]*client{}
		for _, prefix := range []string{"", "a", "ab", "b", "abc:"} {
			clients[prefix] = srv.tracking("BCAST", "PREFIX", prefix)
		}
		two := srv.tracking("BCAST", "PREFIX", "a", "PREFIX", "b")
		w := srv.connect()
		for _, key := range []string{"a", "abc:1", "b2", "c"} {
			w.tell("SET", key, "1")
			for prefix, c := range clients {
				expected := ""
				if strings.HasPrefix(key, prefix) {
					expected = "push:[invalidate,[" + key + "]]"
				}
				want(t, fmt.Sprintf("prefix %q, key %s", prefix, key), c.heard(), expected)
			}
			expected := "push:[invalidate,[" + key + "]]"
			if key == "c" {
				expected = ""
			}
			want(t, "two prefixes, key "+key, two.heard(), expected)
		}
		// An empty prefix may come on top of others: a key is told of for each.
		want(t, "BCAST once more", two.tell("CLIENT", "TRACKING", "ON", "BCAST"), "OK")
		w.tell("SET", "a", "2")
		want(t, "overlapping", two.heard(), "push:[invalidate,[a]] push:[invalidate,[a]]")
	})
}

// A subscription to a channel that nobody can publish to is refused.
func TestSubscribeElsewhere(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		c := srv.connect()
		got := c.tell("SUBSCRIBE", invalidateChannel, "news")
		if !strings.HasPrefix(got, "(error)_ERR_There_is_no_channel_'news'") {
			t.Errorf("SUBSCRIBE news: %s", got)
		}
		want(t, "and nothing is subscribed", c.tell("PING"), "PONG")
		if n := srv.subscribers.Load(); n != 0 {
			t.Errorf("%d subscribers", n)
		}
	})
}

// The table is kept within its bound, a bounded effort at a time.
func TestTrackingTableLimit(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a := srv.tracking()
		for i := range 1000 {
			a.tell("GET", fmt.Sprintf("k%d", i))
		}
		srv.config.TrackingTableMaxKeys.Store(10)
		told := 0
		for round, left := range []int{900, 700, 400, 10, 10} {
			srv.limitTracking()
			if n := srv.store.Tracking().Keys(); n != int64(left) {
				t.Errorf("round %d leaves %d keys, want %d", round, n, left)
			}
			told += strings.Count(a.heard(), "push:")
		}
		if told != 990 {
			t.Errorf("%d keys were told of, want 990", told)
		}
		srv.config.TrackingTableMaxKeys.Store(0)
		a.tell("GET", "one")
		srv.limitTracking()
		if n := srv.store.Tracking().Keys(); n != 11 {
			t.Errorf("without a limit there are %d keys, want 11", n)
		}
	})
}

// A reading is told of once. Who does not want to hear of its own changes does not, and is told of them to nobody later either.
func TestTrackingOnce(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a, own, w := srv.tracking(), srv.tracking("NOLOOP"), srv.connect()
		for _, c := range []*client{a, own} {
			want(t, "GET", c.tell("GET", "k"), "(null)")
		}
		want(t, "SET of its own", own.tell("SET", "k", "1"), "OK")
		want(t, "who has read it too", a.heard(), "push:[invalidate,[k]]")
		want(t, "a second SET", w.tell("SET", "k", "2"), "OK")
		want(t, "is not told", a.heard()+own.heard(), "")
		for _, c := range []*client{a, own} {
			want(t, "GET", c.tell("GET", "k"), `"2"`)
		}
		want(t, "SET", w.tell("SET", "k", "3"), "OK")
		want(t, "is told", a.heard()+" "+own.heard(), "push:[invalidate,[k]] push:[invalidate,[k]]")
		if s := srv.store.Tracking().Stats(); s.Keys != 0 || s.Items != 0 {
			t.Errorf("%d keys and %d items are left", s.Keys, s.Items)
		}
	})
}

// Pushes stand behind the reply of EXEC, never in it.
func TestTrackingExec(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a := srv.tracking()
		a.tell("GET", "k")
		for _, words := range []string{"MULTI", "SET k 1", "GET other", "SET other 2", "GET k"} {
			a.tell(strings.Fields(words)...)
		}
		want(t, "EXEC", a.tell("EXEC"), "[OK,(null),OK,1] push:[invalidate,[k]] push:[invalidate,[other]]")
		want(t, "what it has read", a.tell("DEL", "k"), "(integer)_1 push:[invalidate,[k]]")
	})
}
