package loadtest

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/internal/testredis"
)

// near is a target with a near cache of the records that are stored at a server.
func near(t *testing.T, server *testredis.Server) *Near {
	t.Helper()
	return &Near{RESP: stored(t, &RESP{Addr: server.Addr})}
}

func TestNear(t *testing.T) {
	target := near(t, testredis.StartNeargrid(t))
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		m := runFor(t, name, Options{Target: target, Workload: workload(t, name, realRecords), Clients: 3, Depth: 4, WarmUp: 50 * time.Millisecond,
			Duration: 200 * time.Millisecond})
		if share := float64(m.Misses()) / float64(m.Hits()+m.Misses()); share > 0.02 { // of d some: a worker may be late with an insertion
			t.Errorf("workload %s: %.2f %% of the records were not found", name, 100*share)
		}
		if n := m.Near(); n.Hits == 0 || n.Hits > n.Reads || n.Reads < m.Hits()/2 {
			t.Errorf("workload %s: %d of %d look-ups were hits, %d records were read", name, n.Hits, n.Reads, m.Hits())
		}
	}
	m := runFor(t, "open", Options{Target: target, Workload: workload(t, "b", realRecords), Clients: 2, Rate: 1000, Duration: 500 * time.Millisecond})
	if got := m.Operations(); got < 380 || got > 620 {
		t.Errorf("open loop: %d operations, want about 500", got)
	}
}

// What memory answers is what is counted: each key is read once from the node, and from then on not.
func TestNearCounts(t *testing.T) {
	const keys, rounds = 100, 5
	target := near(t, testredis.StartNeargrid(t))
	run := func() *Measured {
		w := workload(t, "c", keys)
		w.Choice, w.Limit = Sequential, keys*rounds
		return runFor(t, "in turn", Options{Target: target, Workload: w, Clients: 1, Depth: 1})
	}
	if n := run().Near(); n.Reads != keys*rounds || n.Hits != keys*(rounds-1) {
		t.Errorf("%d hits of %d look-ups, want %d of %d", n.Hits, n.Reads, keys*(rounds-1), keys*rounds)
	}
	target.Cache = client.NearCache{Prefixes: []string{"none:"}}
	if n := run().Near(); n.Hits != 0 {
		t.Errorf("of keys that are not to be kept %d look-ups were hits", n.Hits)
	}
}

func TestNearReadThrough(t *testing.T) {
	server := testredis.StartNeargrid(t)
	target := near(t, server)
	through := target.RESP.At(server.Addr, TargetForm{})
	through.Prefix, through.ReadThrough, through.Source, through.TTL = "through:", true, 5*time.Millisecond, time.Hour
	w := workload(t, "c", 100)
	w.Choice, w.Limit = Sequential, 300
	m := runFor(t, "read-through", Options{Target: &Near{RESP: through}, Workload: w, Clients: 1, Depth: 1})
	if fills := m.total.latency[Fill]; m.Misses() != 100 || m.Hits() != 200 || fills == nil || fills.TotalCount() != 100 || fills.Min() < int64(5*time.Millisecond) {
		t.Errorf("%d not found, %d found, want 100 and 200, each fill after the source's time", m.Misses(), m.Hits())
	}
	if ttl := server.Dial(t).Do(t, "TTL", "through:000000000000"); ttl.Int() < 3500 {
		t.Errorf("TTL %+v, want an hour", ttl)
	}
}

// Errors are told as of other targets.
func TestNearErrors(t *testing.T) {
	server := testredis.StartNeargrid(t)
	target := near(t, server)
	conn := server.Dial(t)
	conn.Do(t, "SET", "load:000000000000", "else")
	conn.Do(t, "DEL", "load:000000000001")
	conn.Do(t, "LPUSH", "load:000000000001", "x")
	w := workload(t, "c", 2)
	w.Choice, w.Limit = Sequential, 20
	m, err := Run(t.Context(), Options{Target: target, Workload: w, Clients: 1, Depth: 1})
	if err != nil {
		t.Fatal(err)
	}
	if count, first := m.failure(WrongReply); count != 10 || !strings.Contains(first, "load:000000000000") {
		t.Errorf("%d wrong replies, want 10; the first is %q", count, first)
	}
	if count, first := m.failure("WRONGTYPE"); count != 10 || !strings.Contains(first, "load:000000000001") {
		t.Errorf("%d of WRONGTYPE, want 10; the first is %q", count, first)
	}
	if m.Operations() != 0 || m.Errors() != 20 {
		t.Errorf("%d operations and %d errors, want 0 and 20", m.Operations(), m.Errors())
	}

	old := testredis.Start(t)
	old.Dial(t).Do(t, "CONFIG", "SET", "requirepass", "secret")
	_, err = Run(t.Context(), Options{Target: &Near{RESP: &RESP{Addr: old.Addr, Sizes: FixedSize(1)}}, Workload: w, Clients: 1, Depth: 1})
	if err == nil || !strings.HasPrefix(err.Error(), "cannot use "+old.Addr+": ") || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without a password: %v", err)
	}
}

// ends counts events.
type ends struct{ done, unanswered atomic.Int64 }

func (e *ends) Turn() {}
func (e *ends) Done(_ Op, r Result) {
	e.done.Add(1)
	if r.Failure == unanswered {
		e.unanswered.Add(1)
	}
}

// Close ends what is under way, each operation once, also where the server says nothing; and what is started later ends at once.
func TestNearClose(t *testing.T) {
	server := testredis.StartNeargrid(t)
	target := near(t, server)
	var e ends
	c, err := target.Dial(context.Background(), &e)
	if err != nil {
		t.Fatal(err)
	}
	server.Dial(t).Do(t, "CLIENT", "PAUSE", "60000")
	const count = 50
	for i := range count {
		c.Start(Op{Kind: Read, Key: uint64(i), Size: 100})
		if i%2 == 0 {
			c.Flush() // of the others some wait for a worker still
		}
	}
	c.Close()
	if e.done.Load() != count || e.unanswered.Load() != count {
		t.Errorf("%d operations ended, %d of them unanswered, want all %d", e.done.Load(), e.unanswered.Load(), count)
	}
	c.Start(Op{Kind: Read, Size: 100})
	c.Flush()
	if e.done.Load() != count+1 {
		t.Errorf("an operation that was started after Close has not ended")
	}
}
