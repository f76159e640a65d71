package sidecar

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/server"
)

// grid is three nodes that all tests of the package use, one after the other.
var grid = sync.OnceValues(func() (*testredis.Server, error) { return testredis.LaunchDev(3) })

func TestMain(m *testing.M) {
	code := m.Run()
	if s, err := grid(); err == nil {
		s.Stop()
	}
	testredis.Exit(code)
}

func nodeAddr(t *testing.T) string {
	t.Helper()
	s, err := grid()
	if err != nil {
		t.Fatal(err)
	}
	return s.Addr
}

// wire is the network between a sidecar and its grid.
type wire struct {
	mu struct {
		sync.Mutex
		cut   bool // nothing connects
		mute  bool // those that track by prefixes fail
		conns []*wireConn
	}
}

// wireConn is a connection whose bytes a wire may hold back.
type wireConn struct {
	net.Conn
	gate sync.RWMutex // held for writing: nothing arrives
	out  sync.RWMutex // the same: nothing is sent
	near atomic.Bool  // it has turned tracking on
	cast atomic.Bool  // by prefixes
	mute bool         // then it fails
}

func (c *wireConn) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("TRACKING")) {
		c.near.Store(true)
		c.cast.Store(bytes.Contains(p, []byte("BCAST")))
		if c.mute && c.cast.Load() {
			return 0, errors.New("it must not")
		}
	}
	c.out.RLock()
	defer c.out.RUnlock()
	return c.Conn.Write(p)
}

func (c *wireConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.gate.RLock()
	defer c.gate.RUnlock()
	return n, err
}

func (w *wire) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	w.mu.Lock()
	cut := w.mu.cut
	w.mu.Unlock()
	if cut {
		return nil, errors.New("the wire is cut")
	}
	nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &wireConn{Conn: nc, mute: w.mu.mute}
	w.mu.conns = append(w.mu.conns, c)
	return c, nil
}

// castsNever has connections that track by prefixes fail from now on.
func (w *wire) castsNever() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.mute = true
}

// set cuts the wire, or mends it.
func (w *wire) set(cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.cut = cut
	if cut {
		for _, c := range w.mu.conns {
			c.Close()
		}
		w.mu.conns = nil
	}
}

// freeze has nothing arrive any more on the connections that there are, until the function it returns is called.
func (w *wire) freeze() (thaw func()) {
	return w.hold(func(c *wireConn) *sync.RWMutex { return &c.gate })
}

// freezeNear is freeze for near connections alone; holdOthers has nothing sent any more on those that are none.
func (w *wire) freezeNear() (thaw func()) {
	return w.hold(func(c *wireConn) *sync.RWMutex {
		if c.near.Load() && !c.cast.Load() {
			return &c.gate
		}
		return nil
	})
}

// freezeCasts is freeze for the connections by which changes are told by prefixes.
func (w *wire) freezeCasts() (thaw func()) {
	return w.hold(func(c *wireConn) *sync.RWMutex {
		if c.cast.Load() {
			return &c.gate
		}
		return nil
	})
}

func (w *wire) holdOthers() (release func()) {
	return w.hold(func(c *wireConn) *sync.RWMutex {
		if !c.near.Load() {
			return &c.out
		}
		return nil
	})
}

// hold locks one of each connection's locks, or none, until the function it returns is called.
func (w *wire) hold(which func(*wireConn) *sync.RWMutex) (release func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var held []*sync.RWMutex
	for _, c := range w.mu.conns {
		if lock := which(c); lock != nil {
			lock.Lock()
			held = append(held, lock)
		}
	}
	return sync.OnceFunc(func() {
		for _, lock := range held {
			lock.Unlock()
		}
	})
}

type rig struct {
	*testing.T
	*Sidecar
	wire   *wire
	socket string
}

// start starts a sidecar of an empty grid; it need not have found it yet.
func start(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	want(t, dial(t, nodeAddr(t)), "+OK", "FLUSHALL")
	w := &wire{}
	socket := filepath.Join(t.TempDir(), "s")
	o := Options{
		Server: server.Options{Listen: "127.0.0.1:0", Unixsocket: socket, Logger: slog.New(slog.DiscardHandler)},
		Client: client.Options{Dial: w.dial},
	}
	if change != nil {
		change(&o)
	}
	if len(o.Join) == 0 {
		o.Join = []string{nodeAddr(t)}
	}
	s, err := New(o)
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return &rig{t, s, w, socket}
}

// started is a sidecar that has found the grid.
func started(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	r := start(t, change)
	eventually(t, "the grid is found", func() bool { return r.Waiting() == "" })
	return r
}

func dial(t *testing.T, addr string) *testredis.Conn {
	t.Helper()
	c, err := testredis.Dial(addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func (r *rig) conn() *testredis.Conn { r.Helper(); return dial(r.T, r.socket) }

const patience = 20 * time.Second

// eventually waits for what another process brings about.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

func want(t *testing.T, c *testredis.Conn, reply string, line string) {
	t.Helper()
	if got := c.Do(t, strings.Fields(line)...); short(got) != reply {
		t.Fatalf("%s: %s, want %s", line, short(got), reply)
	}
}

// short is a reply on one line, its kinds included.
func short(v testredis.Value) string {
	switch {
	case v.Nil:
		return string(v.Kind) + "nil"
	case v.Kind == testredis.Null:
		return "_"
	case v.Elems == nil && !v.IsAggregate():
		return string(v.Kind) + v.Text
	}
	parts := make([]string, len(v.Elems))
	for i, e := range v.Elems {
		parts[i] = short(e)
	}
	return string(v.Kind) + "[" + strings.Join(parts, " ") + "]"
}

// startedQuiet is a sidecar of a grid in which nothing moves any more: moves have clients that track drop everything.
func startedQuiet(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	quiet.Do(func() { untilQuiet(t, dial(t, nodeAddr(t)), 3) })
	return started(t, change)
}

var quiet sync.Once // it stays so

// untilQuiet waits until nothing moves in a grid of so many nodes.
func untilQuiet(t *testing.T, node *testredis.Conn, nodes int) {
	t.Helper()
	const quietFor = 300 * time.Millisecond
	version, since := "", time.Now()
	eventually(t, "the grid is quiet", func() bool {
		info := node.Do(t, "INFO", "grid").Text
		_, now, _ := strings.Cut(info, "grid_table_version:")
		now, _, _ = strings.Cut(now, "\r\n")
		if now != version {
			version, since = now, time.Now()
		}
		for _, line := range []string{fmt.Sprint("grid_nodes_alive:", nodes), "promise_kept:1", "moves_under_way:0", "moves_left:0"} {
			if !strings.Contains(info, line+"\r\n") {
				since = time.Now()
			}
		}
		return time.Since(since) >= quietFor
	})
}

// tracksByPrefix is a connection that tracks by prefixes.
func (r *rig) tracksByPrefix(options string) *testredis.Conn {
	r.Helper()
	c := r.conn()
	c.Do(r.T, "HELLO", "3")
	want(r.T, c, "+OK", "CLIENT TRACKING ON BCAST "+options)
	return c
}

// beginsByPrefix is one with prefixes that nobody has named before, once the grid tells of them.
func (r *rig) beginsByPrefix(options string) *testredis.Conn {
	r.Helper()
	c := r.tracksByPrefix(options)
	for short(pushed(r.T, c)) != everything { // single keys may be told of before
	}
	return c
}

// hits is the number of reads answered from memory so far.
func (r *rig) hits() int64 {
	stats, _ := r.grid.Load().NearStats()
	return stats.Hits
}

// holds reads a key until the answer comes from memory.
func (r *rig) holds(c *testredis.Conn, key, value string) {
	r.Helper()
	eventually(r.T, key+" is held", func() bool {
		before := r.hits()
		if got := c.Do(r.T, "GET", key); got.Text != value {
			r.Fatalf("GET %s: %s, want %s", key, short(got), value)
		}
		return r.hits() > before
	})
}
