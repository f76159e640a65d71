package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// Clients that know of the grid: leases, partitions and stripes.

// Who holds copies of a partition's keys is told that it goes elsewhere: by its number who has sent GRID.LEASE, by the keys who has not.
func TestTrackingPartitionLost(t *testing.T) {
	withGrid(t, alone(4), func(srv *inProcess, r *fakeRouter) {
		native, plain, all, stranger := srv.tracking(), srv.tracking(), srv.tracking("BCAST"), srv.tracking()
		p := srv.store.PartitionOf([]byte("k"))
		native.tell("GRID.LEASE", "1000")
		for _, c := range []*client{native, plain} {
			want(t, "MGET", c.tell("MGET", "k", "{k}2"), "[(null),(null)]")
		}
		r.setLeft(p, 300*time.Millisecond)
		want(t, "a partition with keys counts", native.tell("GRID.LEASE", "1000"), "(integer)_300")
		srv.lose(p)
		want(t, "native", native.heard(), fmt.Sprintf("push:[grid-invalidate,[%d]]", p))
		got := strings.Fields(plain.heard())
		slices.Sort(got)
		want(t, "plain", strings.Join(got, " "), "push:[invalidate,[k]] push:[invalidate,[{k}2]]")
		want(t, "BCAST", all.heard(), "push:[invalidate,(null)]")
		want(t, "who has read nothing there", stranger.heard(), "")
		want(t, "it does not count any more", native.tell("GRID.LEASE", "1000"), "(integer)_1000")
		if s := srv.store.Tracking().Stats(); s.Keys != 0 || s.Items != 0 {
			t.Errorf("%d keys and %d items are left", s.Keys, s.Items)
		}
	})
}

// A lease does not end with a partition that goes elsewhere when everything that the session has read there was changed before: nobody
// tells of its keys then, and it would be refused for good.
func TestTrackingLostWithoutKeys(t *testing.T) {
	withGrid(t, alone(4), func(srv *inProcess, r *fakeRouter) {
		native, w := srv.tracking(), srv.connect()
		p := srv.store.PartitionOf([]byte("k"))
		native.tell("GRID.LEASE", "1000")
		native.tell("GET", "k")
		w.tell("SET", "k", "1")
		want(t, "a change", native.heard(), "push:[invalidate,[k]]")
		r.setLeft(p, 0)
		want(t, "where it has read, it may not be served", native.tell("GRID.LEASE", "1000"), "(integer)_0")
		srv.lose(p)
		want(t, "the loss", native.heard(), fmt.Sprintf("push:[grid-invalidate,[%d]]", p))
		want(t, "elsewhere it is served", native.tell("GRID.LEASE", "1000"), "(integer)_1000")
		srv.lose(p)
		want(t, "a second loss", native.heard(), "")
	})
}

// lose has the partition lost to trackers, as its replica does when it stops leading.
func (p *inProcess) lose(part int) {
	c := p.calls.Get().(*Call)
	defer p.calls.Put(c)
	c.Tx.Begin(p.wallMs(p.clock()), part)
	c.Tx.LoseTracked(part)
	c.Tx.End()
}

// GRID.LEASE: what it grants, to whom, and that whatever is to be dropped comes before.
func TestGridLease(t *testing.T) {
	withGrid(t, alone(4), func(srv *inProcess, r *fakeRouter) {
		a, w := srv.tracking(), srv.connect()
		for _, tt := range []struct{ ms, want string }{
			{"1000", "(integer)_1000"}, {"1", "(integer)_1"}, {"3600000", "(integer)_3600000"},
			{"0", "(error)_" + strings.ReplaceAll(errLeaseMs, " ", "_")}, {"3600001", "(error)_" + strings.ReplaceAll(errLeaseMs, " ", "_")},
			{"x", "(error)_" + strings.ReplaceAll(protocol.ErrNotInteger, " ", "_")},
		} {
			want(t, "GRID.LEASE "+tt.ms, a.tell("GRID.LEASE", tt.ms), tt.want)
		}
		noLease := "(error)_" + strings.ReplaceAll(errNoLease, " ", "_")
		want(t, "without tracking", w.tell("GRID.LEASE", "1000"), noLease)
		w.tell("CLIENT", "TRACKING", "ON")
		want(t, "in RESP2", w.tell("GRID.LEASE", "1000"), noLease)
		w.tell("CLIENT", "TRACKING", "OFF")
		b := srv.tracking("REDIRECT", fmt.Sprint(a.session.id))
		want(t, "with REDIRECT", b.tell("GRID.LEASE", "1000"), noLease)

		a.tell("GET", "k")
		w.session.Feed(protocol.AppendCommand(nil, "SET", "k", "1")) // and the loop is not turned: the push is not posted yet
		a.session.Feed(protocol.AppendCommand(nil, "GRID.LEASE", "100"))
		want(t, "a push before the lease", a.heard(), "push:[invalidate,[k]] (integer)_100")

		p := srv.store.PartitionOf([]byte("k"))
		a.tell("GET", "k")
		r.setServes(map[int]uint64{})
		want(t, "where the node's own lease is over", a.tell("GRID.LEASE", "1000"), "(integer)_0")
		r.setServes(nil)
		r.setLeft(p, 250*time.Millisecond)
		want(t, "where it ends before", a.tell("GRID.LEASE", "1000"), "(integer)_250")
		r.setLeft(p, 0)
		r.setLeft((p+1)%4, 100*time.Millisecond)
		all := srv.tracking("BCAST")
		want(t, "BCAST: all partitions count", all.tell("GRID.LEASE", "1000"), "(integer)_0")
		want(t, "MULTI", a.tell("MULTI"), "OK")
		want(t, "in a transaction", a.tell("GRID.LEASE", "1"), "(error)_ERR_Command_not_allowed_inside_a_transaction")
	})
	// With other data nodes no look at memory comes before the command, which would have the pushes delivered.
	withGrid(t, gridOf(1, "a", []NodeID{"a", "b"}, "a", "a", "a", "a"), func(srv *inProcess, _ *fakeRouter) {
		a, w := srv.tracking(), srv.connect()
		a.tell("GET", "k")
		w.session.Feed(protocol.AppendCommand(nil, "SET", "k", "1"))
		a.session.Feed(protocol.AppendCommand(nil, "GRID.LEASE", "100"))
		want(t, "a push before the lease, of two nodes", a.heard(), "push:[invalidate,[k]] (integer)_100")
	})
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a := srv.tracking()
		a.tell("GET", "k")
		want(t, "a node that is alone", a.tell("GRID.LEASE", "5000"), "(integer)_5000")
	})
}

// GRID.READ: value and time to live, tracked as one reading.
func TestGridRead(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a, w := srv.tracking(), srv.connect()
		w.tell("SET", "k", "v")
		w.tell("SET", "e", "v", "PX", "1500")
		w.tell("HSET", "h", "f", "1")
		refused := "(error)_" + strings.ReplaceAll(errGridRead, " ", "_")
		for _, tt := range []struct{ words, want string }{
			{"GRID.READ GET k", "[v,-1]"},
			{"grid.read get e", "[v,1500]"},
			{"GRID.READ GET none", "[(null),-2]"},
			{"GRID.READ HGET h f", "[1,-1]"},
			{"GRID.READ OBJECT ENCODING k", "[embstr,-1]"},
			{"GRID.READ GET h", "(error)_WRONGTYPE_Operation_against_a_key_holding_the_wrong_kind_of_value"},
			{"GRID.READ GET", "(error)_ERR_wrong_number_of_arguments_for_'grid.read'_command"},
			{"GRID.READ GET k k", "(error)_ERR_wrong_number_of_arguments_for_'get'_command"},
			{"GRID.READ NOSUCH k", "(error)_ERR_unknown_command_'NOSUCH',_with_args_beginning_with:_'k'_"},
			{"GRID.READ SET k v2", refused},
			{"GRID.READ MGET k e", refused},
			{"GRID.READ SORT_RO k", refused},
			{"GRID.READ GRID.READ GET k", refused},
			{"GRID.READ PING x", refused},
			{"COMMAND GETKEYS GRID.READ GET k", "[k]"},
		} {
			want(t, tt.words, a.tell(strings.Fields(tt.words)...), tt.want)
		}
		w.tell("SET", "k", "v2")
		w.tell("HDEL", "h", "f")
		got := strings.Fields(a.heard())
		slices.Sort(got)
		want(t, "pushes", strings.Join(slices.Compact(got), " "), "push:[invalidate,[h]] push:[invalidate,[k]]")
		for _, words := range []string{"MULTI", "GRID.READ GET k"} {
			a.tell(strings.Fields(words)...)
		}
		want(t, "in a transaction", a.tell("EXEC"), "[[v2,-1]]")
	})
}

// Where the table is full, a client that knows of partitions keeps what it has read, and is told of stripes: of every change to what
// it holds, each time; a flush ends that.
func TestTrackingStripes(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		native, plain, w := srv.tracking(), srv.tracking(), srv.connect()
		native.tell("GRID.LEASE", "1000")
		const keys = 100
		for i := range keys {
			native.tell("GET", fmt.Sprintf("k%d", i))
			plain.tell("GET", fmt.Sprintf("k%d", i))
		}
		srv.config.TrackingTableMaxKeys.Store(10)
		srv.limitTracking()
		if n := strings.Count(plain.heard(), "push:"); n != keys-10 {
			t.Errorf("a client that knows of keys alone was told of %d, want %d", n, keys-10)
		}
		want(t, "one that knows of partitions", native.heard(), "")
		twice := 0
		for round := range 2 {
			for i := range keys {
				w.tell("SET", fmt.Sprintf("k%d", i), fmt.Sprint(round))
				told := native.heard()
				if told == "" && round == 1 {
					continue // it was in the table, and is told of once
				}
				want(t, "a change", told, fmt.Sprintf("push:[invalidate,[k%d]]", i))
				twice += round
			}
		}
		if twice < keys-10 {
			t.Errorf("%d keys were told of twice, want those of stripes, %d at least", twice, keys-10)
		}
		for i := range 20 * keys {
			w.tell("SET", fmt.Sprintf("other%d", i), "1")
		}
		if n := strings.Count(native.heard(), "push:"); n > keys {
			t.Errorf("of %d keys that it has not read it was told of %d", 20*keys, n)
		}
		plain.heard()
		srv.lose(3)
		want(t, "a partition is lost", native.heard(), "push:[grid-invalidate,[3]]")
		want(t, "FLUSHALL", w.tell("FLUSHALL"), "OK")
		want(t, "is told", native.heard(), "push:[invalidate,(null)]")
		for i := range keys {
			w.tell("SET", fmt.Sprintf("k%d", i), "1")
		}
		want(t, "and ends it", native.heard(), "")
	})
}

// A client whose stripes are too many is told to drop everything, and begins anew.
func TestTrackingStripesDense(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		native, w := srv.tracking(), srv.connect()
		native.tell("GRID.LEASE", "1000")
		srv.config.TrackingTableMaxKeys.Store(1)
		flushes := 0
		for i := range 20_000 {
			flushes += strings.Count(native.tell("GET", fmt.Sprintf("k%d", i)), "push:[invalidate,(null)]")
		}
		if flushes != 1 {
			t.Errorf("it was told %d times to drop everything, want once", flushes)
		}
		want(t, "SET of what it has read before", w.tell("SET", "k0", "1"), "OK")
		want(t, "SET of what it has read last", w.tell("SET", "k19990", "1"), "OK")
		if got := native.heard(); !strings.Contains(got, "k19990") {
			t.Errorf("it hears %s", got)
		}
		native.session.Closed()
		if got := w.tell("SET", "k19991", "1"); got != "OK" {
			t.Errorf("SET: %s", got)
		}
	})
}

// GRID.ORIGIN: connections of one family are told which of its members has changed a key, others just that it has changed.
func TestGridOrigin(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a, all, plain, w, other := srv.tracking(), srv.tracking("BCAST"), srv.tracking(), srv.connect(), srv.connect()
		readers := []*client{a, all, plain}
		for _, c := range []*client{a, all} {
			want(t, "a family", c.tell("GRID.ORIGIN", "7"), "OK")
		}
		told := func(what, family, others string, write func()) {
			t.Helper()
			a.tell("GET", "k")
			plain.tell("GET", "k")
			write()
			for i, c := range readers {
				push := family
				if i == 2 {
					push = others
				}
				want(t, what, c.heard(), push)
			}
		}
		const key, byThree = "push:[invalidate,[k]]", "push:[grid-invalidate-by,3,[k]]"
		named := func(c *client, family string, lines ...string) func() {
			return func() {
				c.tell("GRID.ORIGIN", family, "3")
				for _, line := range lines {
					c.tell(strings.Fields(line)...)
				}
			}
		}
		told("a member's command", byThree, key, named(w, "7", "SET k 1"))
		told("the next one", key, key, func() { w.tell("SET", "k", "2") })
		told("one of another connection", key, key, func() { other.tell("SET", "k", "2") })
		told("a transaction", byThree, key, named(w, "7", "MULTI", "SET k 1", "SET k 2", "EXEC"))
		told("the command behind it", key, key, func() { w.tell("SET", "k", "2") })
		told("another family's", key, key, named(w, "8", "SET k 1"))
		told("one that is refused, and the next", key, key, named(w, "7", "SET k", "SET k 1"))
		bad, none := strings.ReplaceAll("(error) "+errOrigin, " ", "_"), strings.ReplaceAll("(error) "+errNoOrigin, " ", "_")
		for _, tt := range []struct{ args, want string }{
			{"0", bad}, {"x 1", bad}, {"1 0", bad}, {"1 -1", bad}, {"1", none}, {"9223372036854775808 1", bad},
			{"1 2 3", "(error)_ERR_wrong_number_of_arguments_for_'grid.origin'_command"},
		} {
			want(t, "GRID.ORIGIN "+tt.args, w.tell(strings.Fields("GRID.ORIGIN "+tt.args)...), tt.want)
		}
	})
}

// A key that waits to be told of, and that several have changed, is nobody's own change.
func TestPendingBy(t *testing.T) {
	x, y := origin{1, 1}, origin{1, 2}
	for _, tt := range []struct{ by, want []origin }{
		{[]origin{x}, []origin{x}}, {[]origin{x, x}, []origin{x}}, {[]origin{x, y}, nil}, {[]origin{x, {}}, nil}, {[]origin{{}, x}, nil}, {[]origin{x, y, x}, nil},
	} {
		p := pending{}
		for _, by := range tt.by {
			p.add([]byte("k"), by, 10)
		}
		var got []origin
		if by, one := p.by["k"]; one {
			got = append(got, by)
		}
		if !slices.Equal(got, tt.want) || len(p.keys) != 1 {
			t.Errorf("changed by %v: by %v, want %v", tt.by, got, tt.want)
		}
	}
}

// The wall clock is set ahead: keys expire at once, which active expiry may come to much later, and by the readers' clocks they have not. All are
// told, ahead of the next lease; of a clock that drifts nobody is.
func TestClockSetAhead(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		native, plain, w := srv.tracking(), srv.tracking(), srv.connect()
		read := func() {
			t.Helper()
			want(t, "SET", w.tell("SET", "k", "v", "EX", "600"), "OK")
			for _, c := range []*client{native, plain} {
				c.heard()
				if got := c.tell("GRID.READ", "GET", "k"); !strings.HasPrefix(got, "[v,") {
					t.Fatalf("GRID.READ: %s", got)
				}
			}
		}
		srv.offset.Add(-int64(time.Hour)) // as if it had been that long ago
		read()
		srv.followWallClock(time.Second)
		want(t, "a clock that is set ahead, and a lease", native.tell("GRID.LEASE", "1000"), "push:[invalidate,(null)] (integer)_1000")
		want(t, "who has no lease", plain.heard(), "push:[invalidate,(null)]")
		want(t, "the key", w.tell("GET", "k"), "(nil)")
		read()
		srv.offset.Add(-int64(clockJump / 2))
		srv.followWallClock(time.Second)
		want(t, "a clock that drifts", native.tell("GRID.LEASE", "1000"), "(integer)_1000")
		srv.offset.Add(int64(time.Hour)) // and set back: time goes on slower, and copies end sooner than keys
		before := srv.wallMs(srv.clock())
		srv.followWallClock(time.Second)
		if after := srv.wallMs(srv.clock()); after < before-1 {
			t.Errorf("time has gone back by %d ms", before-after)
		}
		want(t, "a clock that is set back", native.tell("GRID.LEASE", "1000"), "(integer)_1000")
	})
}
