package client

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// loads are the loaders of GetOrLoad that run, by key.
type loads struct {
	mu struct {
		sync.Mutex
		running map[string]*load
	}
}

// load is one loader under way, and those who wait for it.
type load struct {
	done    chan struct{}
	value   string
	err     error
	cancel  context.CancelFunc
	waiting int // guarded by loads.mu
}

// GetOrLoad returns the string of a key. Where there is none, loader is called for it, and its value is set with the ttl (0 = it does not
// expire) and returned. Of many goroutines that miss the same key at the same time one loader is run, and all get its value; several
// programs may run one each. loader's context has the values of the caller's that came first, and ends when nobody waits any more.
//
// A loaded value is set only where there still is none: what somebody has set meanwhile is newer, and is returned. A key that is deleted
// while its loader runs, because what it is made of has changed, can still get the older value: give a ttl that bounds how long that may be.
func (c *Client) GetOrLoad(ctx context.Context, key string, ttl time.Duration, loader func(context.Context) (string, error)) (string, error) {
	value, err := c.Get(ctx, key)
	if !errors.Is(err, ErrNil) {
		return value, err
	}
	l, err := c.joinLoad(ctx, key, ttl, loader)
	if err != nil {
		return "", err
	}
	select {
	case <-l.done:
		return l.value, l.err
	case <-ctx.Done():
		c.loads.leave(key, l)
		return "", ctx.Err()
	}
}

// joinLoad returns the load of a key that is under way, or begins one.
func (c *Client) joinLoad(ctx context.Context, key string, ttl time.Duration, loader func(context.Context) (string, error)) (*load, error) {
	c.loads.mu.Lock()
	defer c.loads.mu.Unlock()
	if l := c.loads.mu.running[key]; l != nil {
		l.waiting++
		return l, nil
	}
	l := &load{done: make(chan struct{}), waiting: 1}
	var run context.Context
	run, l.cancel = context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(c.ctx, l.cancel)
	if !c.spawn(func() {
		defer stop()
		defer l.cancel()
		l.value, l.err = c.load(run, key, ttl, loader)
		c.loads.end(key, l)
		close(l.done)
	}) {
		l.cancel()
		stop()
		return nil, ErrClosed
	}
	if c.loads.mu.running == nil {
		c.loads.mu.running = map[string]*load{}
	}
	c.loads.mu.running[key] = l
	return l, nil
}

// load runs a loader and sets its value.
func (c *Client) load(ctx context.Context, key string, ttl time.Duration, loader func(context.Context) (string, error)) (string, error) {
	value, err := runLoader(ctx, loader)
	if err != nil {
		return "", err
	}
	set, err := c.SetIf(ctx, key, value, SetArgs{IfAbsent: true, TTL: ttl})
	if err != nil || set {
		return value, err
	}
	newer, err := c.Get(ctx, key)
	if errors.Is(err, ErrNil) { // and it is gone again
		return value, nil
	}
	return newer, err
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
