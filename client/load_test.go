package client

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// playLoad runs a test with a loader that takes a second.
func playLoad(t *testing.T, f func(t *testing.T, c *Client, n *fakeNode)) {
	synctest.Test(t, func(t *testing.T) {
		net := newFakeNet(t, "a:1")
		f(t, net.connect(t, Options{}), net.nodes["a:1"])
	})
}

// TestGetOrLoad: of many that miss one loads, and all get its value; then it is there.
func TestGetOrLoad(t *testing.T) {
	playLoad(t, func(t *testing.T, c *Client, n *fakeNode) {
		var runs atomic.Int32
		loader := func(context.Context) (string, error) {
			time.Sleep(time.Second)
			runs.Add(1)
			return "loaded", nil
		}
		n.change(func() { n.script = takeNX(n) })
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if got, err := c.GetOrLoad(context.Background(), "k", time.Minute, loader); got != "loaded" || err != nil {
					t.Errorf("%q, %v", got, err)
				}
			})
		}
		wg.Wait()
		if got, err := c.GetOrLoad(context.Background(), "k", time.Minute, loader); got != "loaded" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if runs.Load() != 1 || n.count("SET k loaded NX PX 60000") != 1 {
			t.Errorf("the loader ran %d times, its value was set %d times", runs.Load(), n.count("SET"))
		}
	})
}

// takeNX plays SET with NX.
func takeNX(n *fakeNode) func(*fakeConn, []string) bool {
	return func(conn *fakeConn, args []string) bool {
		if args[0] != "SET" || len(args) < 4 || args[3] != "NX" {
			return false
		}
		n.mu.Lock()
		_, there := n.data[args[1]]
		n.mu.Unlock()
		if there {
			conn.send("_|")
		}
		return there
	}
}

// TestGetOrLoadNewer: what somebody has set while the loader ran is kept, and returned.
func TestGetOrLoadNewer(t *testing.T) {
	playLoad(t, func(t *testing.T, c *Client, n *fakeNode) {
		n.change(func() { n.script = takeNX(n) })
		got, err := c.GetOrLoad(context.Background(), "k", 0, func(context.Context) (string, error) {
			n.set("k", "newer")
			return "older", nil
		})
		if got != "newer" || err != nil {
			t.Errorf("%q, %v; want what was set meanwhile", got, err)
		}
	})
}

// TestGetOrLoadErrors: errors and panics of a loader go to all who wait, and nothing is set.
func TestGetOrLoadErrors(t *testing.T) {
	playLoad(t, func(t *testing.T, c *Client, n *fakeNode) {
		broken := errors.New("the database is down")
		if _, err := c.GetOrLoad(context.Background(), "k", 0, func(context.Context) (string, error) { return "", broken }); !errors.Is(err, broken) {
			t.Errorf("%v", err)
		}
		_, err := c.GetOrLoad(context.Background(), "k", 0, func(context.Context) (string, error) { panic("oops") })
		if err == nil || !strings.Contains(err.Error(), "the loader has panicked: oops") {
			t.Errorf("%v", err)
		}
		if n.count("SET") != 0 {
			t.Error("something was set")
		}
	})
}

// TestGetOrLoadContext: who stops waiting does not stop the loader for others; when nobody waits it ends.
func TestGetOrLoadContext(t *testing.T) {
	playLoad(t, func(t *testing.T, c *Client, n *fakeNode) {
		ended := make(chan error, 1)
		loader := func(ctx context.Context) (string, error) {
			select {
			case <-ctx.Done():
				ended <- ctx.Err()
				return "", ctx.Err()
			case <-time.After(10 * time.Second):
				ended <- nil
				return "v", nil
			}
		}
		get := func(d time.Duration, got chan error) {
			ctx, cancel := context.WithTimeout(context.Background(), d)
			defer cancel()
			_, err := c.GetOrLoad(ctx, "k", 0, loader)
			got <- err
		}
		first, second := make(chan error, 1), make(chan error, 1)
		go get(time.Second, first)
		go get(time.Minute, second)
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the first: %v", err)
		}
		if err := <-second; err != nil {
			t.Errorf("the second: %v", err)
		}
		<-ended
		n.change(func() { delete(n.data, "k") })
		go get(time.Second, first)
		<-first
		synctest.Wait()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the loader that nobody waits for ended with %v", err)
		}
	})
}
