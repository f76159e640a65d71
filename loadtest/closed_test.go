package loadtest

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// slow answers each command of a connection after so long.
func slow(d time.Duration) *fake {
	f := &fake{}
	f.handle = func(c *fakeConn, words []string) string {
		time.Sleep(d)
		return f.store(c, words)
	}
	return f
}

// Every client keeps its depth of operations under way, and no more.
func TestClosedLoop(t *testing.T) {
	for _, depth := range []int{1, 8} {
		synctest.Test(t, func(t *testing.T) {
			f := slow(time.Millisecond)
			store, most := f.handle, 0
			f.handle = func(c *fakeConn, words []string) string {
				answer := store(c, words)
				most = max(most, len(c.queue)+1) // this one has been taken out
				return answer
			}
			m := measure(t, Options{
				Target: f.target(), Workload: workload(t, "a", 100), Clients: 1, Depth: depth, WarmUp: 100 * time.Millisecond, Duration: time.Second,
			})
			if err := m.Check(); err != nil {
				t.Fatal(err)
			}
			if got := m.PerSecond(); got < 970 || got > 1030 {
				t.Errorf("depth %d: %.0f operations/s, want the server's 1000", depth, got)
			}
			if most != depth {
				t.Errorf("depth %d: up to %d commands were at the server", depth, most)
			}
			if got, want := m.Quantile(50), time.Duration(depth)*time.Millisecond; got < want*99/100 || got > want*102/100 {
				t.Errorf("depth %d: p50 is %s, want %s", depth, got, want)
			}
		})
	}
}

// A workload ends a run, with each of its operations done once.
func TestLoadPhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		target := f.target()
		m := measure(t, Options{Target: target, Workload: workload(t, "a", 5000).LoadPhase(), Clients: 3, Depth: 64})
		if err := m.Check(); err != nil || m.Operations() != 5000 {
			t.Fatalf("%d operations, %v, want 5000", m.Operations(), err)
		}
		want := &fake{}
		want.fill(target, 5000, 100)
		for key, value := range want.values {
			if f.values[key] != value {
				t.Fatalf("%s holds %.30q, want %.30q", key, f.values[key], value)
			}
		}
		if len(f.values) != 5000 {
			t.Errorf("%d keys, want 5000", len(f.values))
		}
	})
}

// Errors are counted by their kind, each with its first text; they are no throughput.
func TestErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := slow(time.Millisecond)
		store := f.handle
		f.handle = func(c *fakeConn, words []string) string {
			answer := store(c, words)
			switch {
			case words[0] == "SET" && strings.HasSuffix(words[1], "1"):
				return "-OOM no memory for " + words[1] + "\r\n"
			case words[0] == "SET" && strings.HasSuffix(words[1], "2"):
				return ":1\r\n"
			}
			return answer
		}
		w := workload(t, "a", 100)
		w.Choice, w.Limit = Uniform, 2000
		m := measure(t, Options{Target: f.target(), Workload: w, Clients: 2, Depth: 1})
		oom, first := m.failure("OOM")
		wrong, firstWrong := m.failure(WrongReply)
		if oom < 60 || oom > 140 || !strings.Contains(first, `update of k:0000000000`) || !strings.Contains(first, "OOM no memory for k:") {
			t.Errorf("OOM %d times, first %q", oom, first)
		}
		if wrong < 60 || wrong > 140 || !strings.Contains(firstWrong, ":1, not OK") || !strings.Contains(firstWrong, "from fake:1") {
			t.Errorf("wrong replies %d times, first %q", wrong, firstWrong)
		}
		if m.Errors() != oom+wrong || m.Operations() != 2000-oom-wrong {
			t.Errorf("%d operations, %d errors, want them to be %d together", m.Operations(), m.Errors(), 2000)
		}
	})
}

// Values that are not what this program stores are noticed, unless nobody wants to know.
func TestWrongValues(t *testing.T) {
	for name, c := range map[string]struct {
		answer string
		verify bool
		want   string // of the first error
	}{
		"another record's": {"$100\r\n" + string(appendValue(nil, 1<<30, 100)) + "\r\n", true, "one that begins with"},
		"another size":     {"$3\r\nabc\r\n", true, "not one of 100 bytes"},
		"no string":        {"+OK\r\n", true, "+OK, not a string"},
		"not looked at":    {"$3\r\nabc\r\n", false, ""},
		"never a string":   {"*0\r\n", false, "an array of 0 elements, not a string"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{handle: func(*fakeConn, []string) string { return c.answer }}
			target := f.target()
			target.Verify = c.verify
			w := workload(t, "c", 100)
			w.Limit = 10
			m := measure(t, Options{Target: target, Workload: w, Clients: 1, Depth: 1})
			count, first := m.failure(WrongReply)
			if (count == 10) != (c.want != "") || !strings.Contains(first, c.want) {
				t.Errorf("%s: %d wrong replies, first %q, want %q", name, count, first, c.want)
			}
		})
	}
}

func TestScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		target := f.target()
		f.fill(target, 1000, 100)
		w := workload(t, "e", 1000)
		w.Limit = 500
		m := measure(t, Options{Target: target, Workload: w, Clients: 1, Depth: 1})
		if err := m.Check(); err != nil || m.Misses() > 0 || m.Hits() < 500*30 {
			t.Errorf("%d records found, %d not, %v", m.Hits(), m.Misses(), err)
		}
		f.handle = func(*fakeConn, []string) string { return "*1\r\n$-1\r\n" }
		m = measure(t, Options{Target: target, Workload: w, Clients: 1, Depth: 1})
		if count, first := m.failure(WrongReply); count < 400 || !strings.Contains(first, "an array of 1 elements, not an array of") {
			t.Errorf("%d wrong replies, first %q", count, first)
		}
	})
}

// A ReadModifyWrite is a GET and a SET of the same record, one after the other, and its latency is of both.
func TestReadModifyWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		f := slow(time.Millisecond)
		store := f.handle
		f.handle = func(c *fakeConn, words []string) string {
			log = append(log, words[0]+words[1])
			return store(c, words)
		}
		w := workload(t, "rmw=1", 100)
		w.Limit = 200
		m := measure(t, Options{Target: f.target(), Workload: w, Clients: 1, Depth: 1})
		if err := m.Check(); err != nil || len(log) != 400 || m.Hits()+m.Misses() != 200 {
			t.Fatalf("%d commands, %d and %d found and not, %v", len(log), m.Hits(), m.Misses(), err)
		}
		for i := 0; i < len(log); i += 2 {
			key := strings.TrimPrefix(log[i], "GET")
			if log[i] != "GET"+key || log[i+1] != "SET"+key {
				t.Fatalf("commands %d: %s, %s", i, log[i], log[i+1])
			}
		}
		if got := m.Quantile(50); got < 1990*time.Microsecond || got > 2010*time.Microsecond {
			t.Errorf("p50 is %s, want 2 ms", got)
		}
	})
}

// Read-through stores what is missing, once, after the source's time.
func TestReadThrough(t *testing.T) {
	for _, source := range []time.Duration{0, 30 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			f := slow(time.Millisecond)
			target := f.target()
			target.ReadThrough, target.Source, target.TTL = true, source, time.Minute
			w := workload(t, "c", 50)
			w.Choice, w.Limit = Sequential, 150
			m := measure(t, Options{Target: target, Workload: w, Clients: 1, Depth: 1})
			if err := m.Check(); err != nil || m.Misses() != 50 || m.Hits() != 100 || len(f.values) != 50 {
				t.Fatalf("%d not found, %d found, %d stored, %v, want 50, 100, 50", m.Misses(), m.Hits(), len(f.values), err)
			}
			fills := m.total.latency[Fill]
			if fills == nil || fills.TotalCount() != 50 {
				t.Fatalf("fills are not reported by themselves: %v", fills)
			}
			if got, want := time.Duration(fills.ValueAtQuantile(50)), source+2*time.Millisecond; got < want*99/100 || got > want*101/100 {
				t.Errorf("a fill takes %s, want %s", got, want)
			}
		})
	}
}

// A connection that breaks is made again, and what was under way counts as lost.
func TestReconnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.handle = func(c *fakeConn, words []string) string {
			time.Sleep(time.Millisecond)
			if c.number == 0 && len(f.values) >= 20 {
				return ""
			}
			return f.store(c, words)
		}
		m := measure(t, Options{Target: f.target(), Workload: workload(t, "update=1", 1000), Clients: 1, Depth: 4, Duration: time.Second})
		lost, first := m.failure(Connection)
		if lost != 4 || m.Errors() != 4 || !strings.Contains(first, "at fake:1: the server closed the connection") {
			t.Errorf("%d lost of %d errors, first %q, want the 4 under way", lost, m.Errors(), first)
		}
		if f.conns != 2 || m.Operations() < 700 {
			t.Errorf("%d connections, %d operations, want 2 and about 900", f.conns, m.Operations())
		}
	})
}

// While a server is away, operations fail at the pace of the attempts to connect, and the run goes on when it is back.
func TestServerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		f := slow(time.Millisecond)
		target := f.target()
		target.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if now := time.Since(start); now > 0 && now < time.Second {
				return nil, fmt.Errorf("nobody there")
			}
			return f.dial(ctx, network, addr)
		}
		store := f.handle
		f.handle = func(c *fakeConn, words []string) string {
			if c.number == 0 && time.Since(start) > 100*time.Millisecond {
				return ""
			}
			return store(c, words)
		}
		m := measure(t, Options{Target: target, Workload: workload(t, "a", 1000), Clients: 1, Depth: 2, Duration: 2 * time.Second})
		lost, first := m.failure(Connection)
		if lost < 10 || lost > 24 || m.Operations() < 900 {
			t.Errorf("%d operations lost, %d done; first %q", lost, m.Operations(), first)
		}
	})
}

func TestUnreachable(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	_, err = Run(t.Context(), Options{Target: &RESP{Addr: addr, Sizes: FixedSize(1)}, Workload: workload(t, "a", 10), Clients: 1, Depth: 1, Duration: time.Second})
	if want := "cannot use " + addr + ": connect: connection refused"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	synctest.Test(t, func(t *testing.T) {
		silent := &RESP{Addr: "silent:1", dial: func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			go func() { io.Copy(io.Discard, far); far.Close() }()
			return near, nil
		}}
		_, err := Run(t.Context(), Options{Target: silent, Workload: workload(t, "a", 10), Clients: 1, Depth: 1, Duration: time.Second})
		if want := "cannot use silent:1: no answer within 5s"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
		refusing := &fake{handle: func(*fakeConn, []string) string { return "-WRONGPASS no\r\n" }}
		target := refusing.target()
		target.Password = "x"
		_, err = Run(t.Context(), Options{Target: target, Workload: workload(t, "a", 10), Clients: 1, Depth: 1, Duration: time.Second})
		if want := "cannot use fake:1: WRONGPASS no"; err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	})
}

// A server that reads nothing while its replies are not taken, as ours does, and large values both ways: nobody waits for the
// other.
func TestLargeValuesDoNotBlock(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served atomic.Int64
	f := &fake{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if conn.SetDeadline(time.Now().Add(20*time.Second)) != nil { // both sides may wait for each other
			return
		}
		in := bufio.NewReader(conn)
		for {
			words, err := readCommand(in)
			if err != nil {
				return
			}
			answer := "+PONG\r\n"
			if words[0] != "PING" {
				answer = f.store(nil, words)
				served.Add(1)
			}
			if _, err := io.WriteString(conn, answer); err != nil {
				return
			}
		}
	}()
	const size, count = 256 << 10, 1000
	w := workload(t, "a", 10)
	w.Sizes, w.Choice, w.Limit = FixedSize(size), Uniform, count
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	m, err := Run(ctx, Options{Target: &RESP{Addr: l.Addr().String(), Verify: true, Sizes: w.Sizes}, Workload: w, Clients: 1, Depth: 100})
	l.Close()
	<-done
	if err != nil || m.Check() != nil || m.Operations() != count {
		t.Errorf("%v, %v: %d operations of %d, %d served", err, m.Check(), m.Operations(), count, served.Load())
	}
}

func TestOptionMistakes(t *testing.T) {
	for name, spoil := range map[string]func(*Options){
		"no clients":           func(o *Options) { o.Clients = 0 },
		"too many clients":     func(o *Options) { o.Clients = ClientsMax + 1 },
		"rate below 0":         func(o *Options) { o.Rate = -1 },
		"rate too high":        func(o *Options) { o.Rate = 2 * RateMax },
		"no depth":             func(o *Options) { o.Depth = 0 },
		"too deep":             func(o *Options) { o.Depth = DepthMax + 1 },
		"in flight below 0":    func(o *Options) { o.InFlight = -1 },
		"too many in flight":   func(o *Options) { o.InFlight = InFlightMax + 1 },
		"warm-up below 0":      func(o *Options) { o.WarmUp = -1 },
		"no end":               func(o *Options) { o.Duration = 0 },
		"a workload's mistake": func(o *Options) { o.Workload.Records = 0 },
	} {
		o := Options{Target: (&fake{}).target(), Workload: workload(t, "a", 10), Clients: 1, Depth: 1, Duration: time.Second}
		spoil(&o)
		if m, err := Run(t.Context(), o); err == nil {
			t.Errorf("%s: no error, %d operations", name, m.Operations())
		}
	}
}
