package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testgrid"
	"github.com/neargrid/neargrid/internal/testredis"
)

// loadTest is a place where keys are loaded by many.
type loadTest struct {
	*testing.T
	ctx   context.Context
	addrs []string
}

// TestLoadAlone has several clients load the same keys, at a node that is alone.
func TestLoadAlone(t *testing.T) {
	playLoads(&loadTest{t, within(t, 30*time.Second), []string{testredis.StartNeargrid(t).Addr}})
}

// TestLoadInGrid has them do so in a grid of three, of which one node hands over, and one is killed.
func TestLoadInGrid(t *testing.T) {
	ctx := within(t, 90*time.Second)
	g := startLoadGrid(t, ctx)
	l := &loadTest{t, ctx, nil}
	for _, n := range g.Running() {
		l.addrs = append(l.addrs, n.Door)
	}
	playLoads(l)
	l.run("movement", func(l *loadTest) { l.unseat(g.All()[2], (*testgrid.Node).Stop) })
	if err := errors.Join(g.All()[2].Start(ctx), g.Voting(ctx), g.Whole(ctx)); err != nil { // two of three votes are needed
		t.Fatal(err)
	}
	l.run("failover", func(l *loadTest) {
		l.unseat(g.All()[1], func(n *testgrid.Node) error { n.Kill(); return nil })
	})
}

func startLoadGrid(t *testing.T, ctx context.Context) *testgrid.Grid {
	t.Helper()
	program, err := testredis.Program()
	if err != nil {
		t.Fatal(err)
	}
	g, err := testgrid.New(program, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	for range 3 {
		if _, err := g.Add(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(g.Voting(ctx), g.Whole(ctx)); err != nil { // without other voters no node may fail
		t.Fatal(err)
	}
	return g
}

func playLoads(l *loadTest) {
	l.run("one loads for all", (*loadTest).oneForAll)
	l.run("changes in between", (*loadTest).changesBetween)
	l.run("who comes after a change", (*loadTest).comesLate)
	l.run("a loader that fails", (*loadTest).loaderFails)
	l.run("who gives up", (*loadTest).givesUp)
	l.run("a loader that takes too long", (*loadTest).takesTooLong)
	l.run("a program that goes", (*loadTest).goes)
	l.run("at random", (*loadTest).random)
}

func (l *loadTest) run(name string, f func(l *loadTest)) {
	l.Run(name, func(t *testing.T) { f(&loadTest{t, l.ctx, l.addrs}) })
}

func (l *loadTest) connect(o Options) *Client {
	l.Helper()
	o.RetryTime = 30 * time.Second
	if o.LoadTime == 0 {
		o.LoadTime = time.Hour // nobody gets on because a token has run out
	}
	c, err := Connect(l.ctx, l.addrs, o)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(c.Close)
	return c
}

// wantGet compares what the grid has of a key; "" = nothing.
func (l *loadTest) wantGet(c *Client, key, want string) {
	l.Helper()
	got, err := c.text(l.ctx, "GET", key)
	if errors.Is(err, ErrNil) {
		err = nil
	}
	if got != want || err != nil {
		l.Errorf("GET %s: %q, %v; want %q", key, got, err, want)
	}
}

// source is where values come from. Its first loader waits to be released, the others do not.
type source struct {
	value   atomic.Value // string
	calls   atomic.Int32
	begun   chan struct{} // closed when the first loader has read the value
	release chan struct{}
	err     error // of the first one
}

func newSource(value string) *source {
	s := &source{begun: make(chan struct{}), release: make(chan struct{})}
	s.value.Store(value)
	return s
}

func (s *source) load(ctx context.Context) (string, error) {
	value := s.value.Load().(string)
	if s.calls.Add(1) > 1 {
		return value, nil
	}
	close(s.begun)
	select {
	case <-s.release:
		return value, s.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

type loaded struct {
	value string
	err   error
}

func (l *loadTest) begin(ctx context.Context, c *Client, key string, s *source) chan loaded {
	got := make(chan loaded, 1)
	go func() {
		value, err := c.GetOrLoad(ctx, key, time.Hour, s.load)
		got <- loaded{value, err}
	}()
	return got
}

func (l *loadTest) wantLoaded(what string, got loaded, want string) {
	l.Helper()
	if got.value != want || got.err != nil {
		l.Errorf("%s: %q, %v; want %q", what, got.value, got.err, want)
	}
}

// waits waits until a client waits for another one's load.
func (l *loadTest) waits(c *Client, key string) {
	l.Helper()
	waitFor(l.T, l.ctx, func() bool {
		c.loads.mu.Lock()
		defer c.loads.mu.Unlock()
		return len(c.loads.mu.waiting[key]) > 0
	})
}

// joined waits until so many calls of one client wait for the same load.
func (l *loadTest) joined(c *Client, key string, n int) {
	l.Helper()
	waitFor(l.T, l.ctx, func() bool {
		c.loads.mu.Lock()
		defer c.loads.mu.Unlock()
		r := c.loads.mu.running[key]
		return r != nil && r.waiting == n
	})
}

// oneForAll: of fifty clients that miss a key, half of them with near caches, one loads.
func (l *loadTest) oneForAll() {
	const clients = 50
	s, key := newSource("v"), "herd"
	all := make([]*Client, clients)
	for i := range all {
		var o Options
		if i%2 == 0 {
			o.NearCache = &NearCache{Prefixes: []string{"herd"}}
		}
		all[i] = l.connect(o)
	}
	first := l.begin(l.ctx, all[0], key, s)
	<-s.begun
	var got []chan loaded
	for _, c := range all {
		got = append(got, l.begin(l.ctx, c, key, s))
	}
	for _, c := range all[1:] {
		l.waits(c, key)
	}
	l.joined(all[0], key, 2)
	close(s.release)
	for _, g := range append(got, first) {
		l.wantLoaded("GetOrLoad", <-g, "v")
	}
	if n := s.calls.Load(); n != 1 {
		l.Errorf("%d loaders ran, want 1", n)
	}
	if ttl, err := all[1].TTL(l.ctx, key); err != nil || ttl < 59*time.Minute {
		l.Errorf("TTL: %v, %v", ttl, err)
	}
}

// changesBetween: what happens to a key while its loader runs survives, and what was loaded is not put in.
func (l *loadTest) changesBetween() {
	a, other := l.connect(Options{}), l.connect(Options{})
	for _, tt := range []struct {
		name, want, left string
		change           func(key string) error
	}{
		{"a write", "new", "new", func(key string) error { return other.Set(l.ctx, key, "new", 0) }},
		{"a delete", "old", "", func(key string) error { _, err := other.Del(l.ctx, key); return err }},
		{"a write and a delete", "old", "", func(key string) error {
			err := other.Set(l.ctx, key, "new", 0)
			if err == nil {
				_, err = other.Del(l.ctx, key)
			}
			return err
		}},
		{"a flush", "old", "", func(string) error { return other.FlushAll(l.ctx) }},
		{"an expiry", "old", "", func(key string) error {
			err := other.Set(l.ctx, key, "new", time.Millisecond)
			waitFor(l.T, l.ctx, func() bool {
				_, err := other.Get(l.ctx, key)
				return errors.Is(err, ErrNil)
			})
			return err
		}},
	} {
		s, key := newSource("old"), "between:"+tt.name
		got := l.begin(l.ctx, a, key, s)
		<-s.begun
		if err := tt.change(key); err != nil {
			l.Errorf("%s: %v", tt.name, err)
		}
		close(s.release)
		l.wantLoaded(tt.name, <-got, tt.want)
		l.wantGet(other, key, tt.left)
	}
}

// comesLate: who calls GetOrLoad after a key was deleted gets nothing that was loaded before, in the program of the loader, and
// in others.
func (l *loadTest) comesLate() {
	a, b := l.connect(Options{}), l.connect(Options{})
	s, key := newSource("old"), "late"
	first := l.begin(l.ctx, a, key, s)
	<-s.begun
	s.value.Store("new")
	if _, err := b.Del(l.ctx, key); err != nil {
		l.Fatal(err)
	}
	late := l.begin(l.ctx, a, key, s)
	l.joined(a, key, 2)
	close(s.release)
	l.wantLoaded("who has come before", <-first, "old")
	l.wantLoaded("who has come behind", <-late, "new")
	l.wantGet(b, key, "new")
	if n := s.calls.Load(); n != 2 {
		l.Errorf("%d loaders ran, want 2", n)
	}
}

// loaderFails: its error goes to who has called it, and another one loads.
func (l *loadTest) loaderFails() {
	a := l.connect(Options{})
	s, key := newSource("v"), "fails"
	s.err = errors.New("the database is down")
	first := l.begin(l.ctx, a, key, s)
	<-s.begun
	var others []chan loaded
	for range 5 {
		c := l.connect(Options{})
		others = append(others, l.begin(l.ctx, c, key, s))
		l.waits(c, key)
	}
	close(s.release)
	if got := <-first; !errors.Is(got.err, s.err) {
		l.Errorf("who has called: %q, %v", got.value, got.err)
	}
	for _, o := range others {
		l.wantLoaded("another one", <-o, "v")
	}
	if n := s.calls.Load(); n != 2 {
		l.Errorf("%d loaders ran, want 2", n)
	}
}

// givesUp: a context that ends ends the wait, or, where nobody else waits for it, the load; then another one loads.
func (l *loadTest) givesUp() {
	a, b, c := l.connect(Options{}), l.connect(Options{}), l.connect(Options{})
	s, key := newSource("v"), "given up"
	ctx, cancel := context.WithCancel(l.ctx)
	loading := l.begin(ctx, a, key, s)
	<-s.begun
	waiting, stop := context.WithCancel(l.ctx)
	third := l.begin(waiting, c, key, s)
	l.waits(c, key)
	stop()
	if got := <-third; !errors.Is(got.err, context.Canceled) {
		l.Errorf("who has waited: %q, %v", got.value, got.err)
	}
	second := l.begin(l.ctx, b, key, s)
	l.waits(b, key)
	cancel()
	if got := <-loading; !errors.Is(got.err, context.Canceled) {
		l.Errorf("who has loaded: %q, %v", got.value, got.err)
	}
	l.wantLoaded("the next one", <-second, "v")
}

// takesTooLong: others wait until a token's time is over, whether its loader is slow or has gone; then one of them loads.
func (l *loadTest) takesTooLong() {
	a, b := l.connect(Options{LoadTime: 50 * time.Millisecond}), l.connect(Options{LoadTime: time.Hour})
	s, key := newSource("slow"), "slow"
	slow := l.begin(l.ctx, a, key, s)
	<-s.begun
	s.value.Store("v")
	l.wantLoaded("another one", <-l.begin(l.ctx, b, key, s), "v")
	close(s.release)
	l.wantLoaded("the slow one", <-slow, "v")
	l.wantGet(b, key, "v")

	if _, err := a.Do(l.ctx, "GRID.LOAD", "forgotten", "50"); err != nil {
		l.Fatal(err)
	}
	got, err := b.GetOrLoad(l.ctx, "forgotten", 0, func(context.Context) (string, error) { return "v", nil })
	l.wantLoaded("of one that has forgotten it", loaded{got, err}, "v")
}

// random: writers change a database and delete the key, as programs do that keep their data elsewhere. No call returns what is
// older than a change that was through before it was made, and in the end nothing old is left.
func (l *loadTest) random() {
	const clients, steps, keys = 6, 150, 3
	var database, through [keys]atomic.Int64
	key := func(k int) string { return fmt.Sprintf("random:%d", k) }
	var wg sync.WaitGroup
	for i := range clients {
		c, rng := l.connect(Options{}), rand.New(rand.NewPCG(uint64(i), 3))
		wg.Go(func() {
			for range steps {
				k := rng.IntN(keys)
				if rng.IntN(4) == 0 {
					n := database[k].Add(1)
					if _, err := c.Del(l.ctx, key(k)); err != nil {
						l.Errorf("DEL: %v", err)
						return
					}
					for old := through[k].Load(); old < n && !through[k].CompareAndSwap(old, n); old = through[k].Load() {
					}
					continue
				}
				least := through[k].Load()
				got, err := c.GetOrLoad(l.ctx, key(k), 0, func(ctx context.Context) (string, error) {
					n := database[k].Load()
					return strconv.FormatInt(n, 10), c.Ping(ctx) // which takes a while
				})
				if n, _ := strconv.ParseInt(got, 10, 64); err != nil || n < least {
					l.Errorf("GetOrLoad: %q, %v; %d was through before", got, err, least)
					return
				}
			}
		})
	}
	wg.Wait()
	c := l.connect(Options{})
	for k := range keys {
		got, err := c.Get(l.ctx, key(k))
		if last := strconv.FormatInt(database[k].Load(), 10); !errors.Is(err, ErrNil) && (err != nil || got != last) {
			l.Errorf("%q, %v is left, and the database has %s", got, err, last)
		}
	}
}
