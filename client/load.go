package client

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// loads are the loaders of GetOrLoad that run, by key, and those that wait for others of the grid.
type loads struct {
	mu struct {
		sync.Mutex
		running map[string]*load
		waiting map[string][]chan struct{}
	}
}

// load is one load under way, and those who wait for it. It goes through stages; what comes of it is as new as its last look at
// the grid, or as its loader's beginning, so it is good for those who have come before that:
//
//	1 a load begins, and its loader reads "old" from the database
//	2 somebody writes "new" there, deletes the key, and then calls GetOrLoad here
//	3 the loader ends: its value is not put in, as its token is void; and for who has come in 2 it is too old
type load struct {
	done   chan struct{}
	value  string
	err    error
	good   int // value is good for who has come before this stage
	cancel context.CancelFunc

	waiting int // guarded by loads.mu
	stage   int // guarded by loads.mu: of now, from 0
}

const (
	// loadRoundsMax is how many loads one call of GetOrLoad may join that turn out to be too old for it; then it has one of its
	// own.
	loadRoundsMax = 8
	// passTimeout bounds giving back a token.
	passTimeout = time.Second
)

// GetOrLoad returns the string of a key. Where there is none, loader is called for it, and its value is set with the ttl (0 = it
// does not expire) and returned. Of all who miss the same key at the same time, in this program and others, one loader runs, and
// all get its value.
//
// A value is set only if nothing has happened to the key since before its loader began: no write, no delete (also of a key that
// is not there), no expiry, no movement of the key to another node. So who changes what values are made of, and then deletes the
// key, leaves nothing old behind; and no call returns what was loaded before it was made, unless nothing has happened to the key
// since.
//
// A loader that fails does so for its own program; another one may load then. One that takes longer than Options.LoadTime is
// waited for no longer by other programs, and its value is returned and not set. loader's context has the values of the caller's
// that came first, and ends when nobody waits any more.
//
// With servers other than neargrid's each program runs a loader of its own, and a value is set where there is none at that time:
// a key that is deleted while its loader runs may still get the older value, for as long as the ttl says.
//
// A value and an error: the value was loaded, and it is not known whether it was set.
func (c *Client) GetOrLoad(ctx context.Context, key string, ttl time.Duration, loader func(context.Context) (string, error)) (string, error) {
	for round := 1; ; round++ {
		value, err := c.Get(ctx, key)
		if !errors.Is(err, ErrNil) {
			return value, err
		}
		l, joined, err := c.joinLoad(ctx, loading{key, ttl, loader}, round < loadRoundsMax)
		if err != nil {
			return "", err
		}
		select {
		case <-l.done:
			if l.err != nil || joined < l.good {
				return l.value, l.err
			}
		case <-ctx.Done():
			c.loads.leave(key, l)
			return "", ctx.Err()
		}
	}
}

// loading is what GetOrLoad was called with.
type loading struct {
	key    string
	ttl    time.Duration
	loader func(context.Context) (string, error)
}

// joinLoad returns the load of a key that is under way, and its stage, or begins one.
func (c *Client) joinLoad(ctx context.Context, what loading, mayJoin bool) (l *load, stage int, err error) {
	c.loads.mu.Lock()
	defer c.loads.mu.Unlock()
	if l := c.loads.mu.running[what.key]; l != nil && mayJoin {
		l.waiting++
		return l, l.stage, nil
	}
	l = &load{done: make(chan struct{}), waiting: 1}
	var run context.Context
	run, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(c.ctx, l.cancel)
	if !c.spawn(func() {
		defer stop()
		defer l.cancel()
		l.value, l.err = c.load(run, l, what)
		c.loads.end(what.key, l)
		close(l.done)
	}) {
		l.cancel()
		stop()
		return nil, 0, ErrClosed
	}
	if c.loads.mu.running == nil {
		c.loads.mu.running = map[string]*load{}
	}
	c.loads.mu.running[what.key] = l
	return l, 0, nil
}

// load waits for its turn, runs a loader and has its value put in.
func (c *Client) load(ctx context.Context, l *load, what loading) (string, error) {
	t, err := c.awaitTurn(ctx, l, what.key)
	if err != nil || t.there {
		return t.value, err
	}
	c.loads.step(l)
	value, err := runLoader(ctx, what.loader)
	if err != nil {
		c.passTurn(what.key, t)
		return "", err
	}
	loaded := l.good
	c.loads.step(l)
	set, err := c.putIn(ctx, t, what, value)
	if err != nil || set {
		return value, err
	}
	c.loads.step(l)
	newer, err := c.Get(ctx, what.key)
	if errors.Is(err, ErrNil) { // there is none, and this one is too old to be one
		l.good = loaded
		return value, nil
	}
	return newer, err
}

// putIn sets what was loaded, and tells whether that could be done.
func (c *Client) putIn(ctx context.Context, t turn, what loading, value string) (set bool, err error) {
	switch {
	case t.plain:
		return c.SetIf(ctx, what.key, value, SetArgs{IfAbsent: true, TTL: what.ttl})
	case t.token == 0:
		return false, nil
	}
	line := []string{"GRID.FILL", what.key, itoa64(t.token), value}
	if what.ttl > 0 {
		line = append(line, "PX", milliseconds(what.ttl))
	}
	r, err := c.Do(ctx, line...)
	if err != nil {
		c.passTurn(what.key, t)
	}
	return err == nil && !r.IsNil(), err
}

// runLoader has a panic of the loader told to all who wait, rather than end the program on a goroutine that none of them knows.
func runLoader(ctx context.Context, loader func(context.Context) (string, error)) (value string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("neargrid: the loader has panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return loader(ctx)
}

// step begins a load's next stage: what is seen from now on is good for all who have joined.
func (l *loads) step(of *load) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of.stage++
	of.good = of.stage
}

func (l *loads) end(key string, ended *load) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.running[key] == ended {
		delete(l.mu.running, key)
	}
}

// leave is told when one who waited does so no more. The last one ends the loader, and nobody joins it from then on.
func (l *loads) leave(key string, left *load) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if left.waiting--; left.waiting > 0 {
		return
	}
	left.cancel()
	if l.mu.running[key] == left {
		delete(l.mu.running, key)
	}
}
