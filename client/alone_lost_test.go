package client

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"
)

// The end of connections on which callers write and read by themselves.

// TestAloneLostBetween: a connection that ends, or on which something comes that nobody has asked for, while nobody reads is noticed
// before the next command is sent on it.
func TestAloneLostBetween(t *testing.T) {
	for name, harm := range map[string]func(*fakeConn){
		"closed":  (*fakeConn).close,
		"unasked": func(fake *fakeConn) { fake.send("+stray|") },
	} {
		t.Run(name, func(t *testing.T) {
			c, n, conn := single(t, laneMain, Options{})
			n.mu.Lock()
			fakes := n.connsLocked()
			n.mu.Unlock()
			for _, fake := range fakes {
				harm(fake)
			}
			for conn.socket.lookNow() == sightNothing { // it is on its way
				runtime.Gosched()
			}
			if err := c.Set(within(t, 10*time.Second), "k", "v", 0); err != nil {
				t.Errorf("a write behind it: %v", err)
			}
			if !conn.dead() || n.count("SET k") != 1 {
				t.Errorf("failed: %v; SET arrived %d times, want once, on another connection", conn.dead(), n.count("SET k"))
			}
		})
	}
}

// TestAloneLost: a connection that is lost while a caller reads: reads are sent again, writes are indeterminate.
func TestAloneLost(t *testing.T) {
	c, n, _ := single(t, laneMain, Options{})
	drop := func(name string) {
		dropped := false
		n.change(func() {
			n.script = func(fake *fakeConn, args []string) bool {
				if args[0] != name || dropped {
					return false
				}
				dropped = true
				fake.close()
				return true
			}
		})
	}
	drop("GET")
	if v, err := c.Get(within(t, 10*time.Second), "settle"); err != nil || v != "v" {
		t.Errorf("a read whose connection was lost: %q, %v", v, err)
	}
	n.change(func() { n.script = nil })
	settle(t, c, laneMain)
	drop("SET")
	err := c.Set(within(t, 10*time.Second), "k", "v", 0)
	var lost *ConnError
	if !IsIndeterminate(err) || !errors.As(err, &lost) || !lost.Sent || n.count("SET k") != 1 {
		t.Errorf("a write whose connection was lost: %v, sent %d times", err, n.count("SET k"))
	}
}

// TestAloneQuiet: where no calls come the goroutine reads again, and so learns that the connection has ended.
func TestAloneQuiet(t *testing.T) {
	_, n, conn := single(t, laneMain, Options{})
	n.setDown(true)
	select {
	case <-conn.failed:
	case <-time.After(10 * time.Second):
		t.Error("nobody has noticed that the connection is lost")
	}
}

// TestAloneClose: Close ends a call that reads, and a connection that nobody reads.
func TestAloneClose(t *testing.T) {
	c, _, _ := single(t, laneMain, Options{})
	c.Close() // nobody reads; TestMain looks for what is left

	c, n, _ := single(t, laneMain, Options{})
	held := make(chan struct{})
	n.change(func() {
		n.script = func(*fakeConn, []string) bool { close(held); return true }
	})
	failed := make(chan error)
	go func() {
		_, err := c.Get(context.Background(), "k")
		failed <- err
	}()
	<-held
	c.Close()
	if err := <-failed; !errors.Is(err, ErrClosed) {
		t.Errorf("a read under way: %v, want ErrClosed", err)
	}
}
