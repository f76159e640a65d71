package client

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestBulkLane: a large request has a connection of its own, made when it is needed, and small ones pass it.
func TestBulkLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, "a:1")
		c := f.connect(t, Options{})
		ctx := context.Background()
		if err := c.Set(ctx, "small", strings.Repeat("x", bulkBytes-100), 0); err != nil {
			t.Fatal(err)
		}
		if n := len(c.connections()); n != 1 {
			t.Errorf("%d connections after requests of less than bulkBytes", n)
		}
		hold := make(chan struct{})
		f.nodes["a:1"].change(func() {
			f.nodes["a:1"].script = func(conn *fakeConn, args []string) bool {
				if args[0] == "SET" && len(args[2]) >= bulkBytes {
					<-hold
				}
				return false
			}
		})
		done := make(chan error)
		go func() { done <- c.Set(ctx, "large", strings.Repeat("x", bulkBytes), 0) }()
		synctest.Wait()
		if got, err := c.Do(ctx, "ECHO", "x"); err != nil {
			t.Errorf("a small command behind a large one: %v, %v", got, err)
		}
		close(hold)
		if err := <-done; err != nil {
			t.Error(err)
		}
		p := c.Pipeline()
		for range 3 {
			p.Do("SET", "k", strings.Repeat("x", bulkBytes/2))
		}
		if _, err := p.Exec(ctx); err != nil {
			t.Error(err)
		}
		if n := len(c.connections()); n != 2 {
			t.Errorf("%d connections, want one for small requests and one for large ones", n)
		}
	})
}

// TestDialShared: many goroutines that need a connection make one attempt, and who stops waiting does not end it.
func TestDialShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, "a:1")
		c := f.connect(t, Options{})
		n := f.nodes["a:1"]
		n.setDown(true)
		synctest.Wait()
		n.setDown(false)
		slow := true // until the first command has been answered: it is no reason to give the connection up
		n.change(func() {
			n.script = func(conn *fakeConn, args []string) bool {
				if slow {
					time.Sleep(time.Second + 300*time.Millisecond)
					slow = args[0] == "HELLO"
				}
				return false
			}
		})
		before := n.count("HELLO")
		short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := c.Set(short, "k", "v", 0); !errors.Is(err, context.DeadlineExceeded) || IsIndeterminate(err) {
				t.Errorf("who cannot wait: %v", err)
			}
		})
		for range 20 {
			wg.Go(func() {
				if err := c.Set(context.Background(), "k", "v", 0); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := n.count("HELLO") - before; got != 1 {
			t.Errorf("%d connections were begun, want 1: %q", got, n.log)
		}
	})
}

// TestReconnectPauses: a node that refuses connections is not asked without pause, and is asked again before reconnectMax is over.
func TestReconnectPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, "a:1")
		c := f.connect(t, Options{RetryTime: time.Minute})
		n := f.nodes["a:1"]
		n.setDown(true)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if _, err := c.Get(ctx, "k"); err == nil {
					t.Error("a node that is down answered")
				}
			})
		}
		wg.Wait()
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.refused < 15 || n.refused > 60 {
			t.Errorf("%d attempts to connect in 20 s", n.refused)
		}
	})
}
