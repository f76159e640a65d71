package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestDo sends commands of each kind and reads replies as types.
func TestDo(t *testing.T) {
	f := newFakeNet(t, "a:1")
	c := f.connect(t, Options{})
	ctx := within(t, 10*time.Second)
	if err := c.Set(ctx, "k", "v", 0); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Get(ctx, "k"); got != "v" || err != nil {
		t.Fatalf("Get: %q, %v", got, err)
	}
	if _, err := c.Get(ctx, "missing"); !errors.Is(err, ErrNil) {
		t.Fatalf("Get of a missing key: %v, want ErrNil", err)
	}
	if n, err := c.Del(ctx, "k", "missing"); n != 1 || err != nil {
		t.Fatalf("Del: %d, %v", n, err)
	}
	r, err := c.Do(ctx, "GET", "missing")
	if !r.IsNil() || err != nil {
		t.Fatalf("Do of a missing key: %v, %v", r, err)
	}
	_, err = c.Do(ctx, "NOSUCH", "k")
	var e *ServerError
	if !errors.As(err, &e) || e.Node != "a:1" || e.Code != "ERR" {
		t.Fatalf("an unknown command: %v", err)
	}
	for _, line := range [][]string{{"SELECT", "1"}, {"MULTI"}, {"CLIENT", "REPLY", "OFF"}, {"subscribe", "x"}} {
		var refused *RefusedError
		if _, err := c.Do(ctx, line...); !errors.As(err, &refused) {
			t.Errorf("%v: %v, want a RefusedError: the connection is shared", line, err)
		}
	}
}

// TestConnectErrors: what is wrong is said, with the address.
func TestConnectErrors(t *testing.T) {
	f := newFakeNet(t, "a:1", "b:1")
	f.nodes["b:1"].script = func(c *fakeConn, args []string) bool {
		if args[0] == "HELLO" {
			c.send("-WRONGPASS invalid username-password pair or user is disabled.|")
			return true
		}
		return false
	}
	for _, c := range []struct {
		addrs []string
		o     Options
		want  string
	}{
		{nil, Options{}, "0 addresses"},
		{[]string{"x:1"}, Options{}, "node x:1: connect: no route to x:1"},
		{[]string{"x:1", "b:1"}, Options{}, "Options.Password"},
		{[]string{"a:1"}, Options{Username: "u"}, "no Password"},
		{[]string{"a:1"}, Options{DB: -1}, "DB is -1"},
		{[]string{"a:1"}, Options{ClientName: "a b"}, "ClientName"},
		{[]string{"a:1"}, Options{NearCache: &NearCache{}}, "Prefixes"},
		{[]string{"a:1"}, Options{NearCache: &NearCache{Prefixes: []string{""}, Staleness: time.Nanosecond}}, "Staleness"},
	} {
		c.o.Dial = f.dial
		client, err := Connect(within(t, 10*time.Second), c.addrs, c.o)
		if err == nil {
			client.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Connect to %v with %+v: %v, want %q", c.addrs, c.o, err, c.want)
		}
	}
}

// TestHello: password, name and database are sent before anything else.
func TestHello(t *testing.T) {
	f := newFakeNet(t, "a:1")
	c := f.connect(t, Options{Password: "secret", ClientName: "worker", DB: 3})
	if err := c.Ping(within(t, 10*time.Second)); err != nil {
		t.Fatal(err)
	}
	n := f.nodes["a:1"]
	n.mu.Lock()
	defer n.mu.Unlock()
	want := []string{"HELLO 3 AUTH default secret SETNAME worker", "SELECT 3"}
	if !slices.Equal(n.log[:2], want) {
		t.Fatalf("the connection began with %q, want %q", n.log[:2], want)
	}
}

// TestPipelining: many goroutines share one connection; each gets its own reply.
func TestPipelining(t *testing.T) {
	f := newFakeNet(t, "a:1")
	c := f.connect(t, Options{})
	ctx := within(t, 30*time.Second)
	var wg sync.WaitGroup
	for g := range 50 {
		wg.Go(func() {
			for i := range 100 {
				want := fmt.Sprintf("%d-%d", g, i)
				r, err := c.Do(ctx, "ECHO", want)
				got, _ := r.Text()
				if err != nil || got != want {
					t.Errorf("ECHO %s: %q, %v", want, got, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := len(c.connections()); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// TestAbandon: a command whose context ends leaves its place in the queue behind, and its reply goes to nobody else.
func TestAbandon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, "a:1")
		c := f.connect(t, Options{})
		hold := make(chan struct{})
		f.nodes["a:1"].change(func() {
			f.nodes["a:1"].script = func(c *fakeConn, args []string) bool {
				if args[0] == "ECHO" && args[1] == "slow" {
					<-hold
				}
				return false
			}
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.Do(ctx, "ECHO", "slow")
		if !errors.Is(err, context.DeadlineExceeded) || IsIndeterminate(err) {
			t.Errorf("a read whose time is over: %v", err)
		}
		got := make(chan string)
		go func() {
			r, _ := c.Do(context.Background(), "ECHO", "next")
			text, _ := r.Text()
			got <- text
		}()
		synctest.Wait()
		close(hold)
		if text := <-got; text != "next" {
			t.Errorf("the command behind an abandoned one got %q", text)
		}
		if n := len(c.connections()); n != 1 {
			t.Errorf("%d connections: the stream was broken", n)
		}
	})
}

// TestAbandonedWrite: a write whose context ends when it has been sent may have been executed, and the error says so.
func TestAbandonedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, "a:1")
		c := f.connect(t, Options{})
		f.nodes["a:1"].change(func() {
			f.nodes["a:1"].script = func(c *fakeConn, args []string) bool { return args[0] == "SET" } // never answered
		})
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := c.Set(ctx, "k", "v", 0)
		if !IsIndeterminate(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want an IndeterminateError that wraps the context's", err)
		}
	})
}

// TestBoundedQueue: beyond pendingMax commands wait, and go on when there is room.
func TestBoundedQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, "a:1")
		c := f.connect(t, Options{})
		hold := make(chan struct{})
		f.nodes["a:1"].change(func() {
			f.nodes["a:1"].script = func(*fakeConn, []string) bool { <-hold; return false }
		})
		const extra = 100
		var wg sync.WaitGroup
		for range pendingMax + extra {
			wg.Go(func() {
				if _, err := c.Do(context.Background(), "ECHO", "x"); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		conn := c.connections()[0]
		conn.mu.Lock()
		pending := conn.mu.pending
		conn.mu.Unlock()
		if pending != pendingMax {
			t.Errorf("%d commands without a reply, want %d", pending, pendingMax)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err := c.Do(ctx, "SET", "k", "v")
		if err == nil || IsIndeterminate(err) || !NotExecuted(err) {
			t.Errorf("a write whose time was over while it waited for room: %v, want one that was not executed", err)
		}
		close(hold)
		wg.Wait()
	})
}

// TestLostConnection: a read is sent again; a write that was sent is indeterminate and not sent again; the next command
// finds a new connection.
func TestLostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, "a:1")
		c := f.connect(t, Options{})
		n := f.nodes["a:1"]
		drop := func(name string) {
			dropped := false
			n.change(func() {
				n.script = func(c *fakeConn, args []string) bool {
					if args[0] != name || dropped {
						return false
					}
					dropped = true
					c.close()
					return true
				}
			})
		}
		ctx := context.Background()
		drop("GET")
		if _, err := c.Get(ctx, "k"); !errors.Is(err, ErrNil) {
			t.Errorf("a read whose connection was lost: %v, want the answer of the next attempt", err)
		}
		drop("SET")
		err := c.Set(ctx, "k", "v", 0)
		var conn *ConnError
		if !IsIndeterminate(err) || !errors.As(err, &conn) || conn.Node != "a:1" || !conn.Sent {
			t.Errorf("a write whose connection was lost: %v, want an IndeterminateError", err)
		}
		if sets := n.count("SET"); sets != 1 {
			t.Errorf("SET was sent %d times", sets)
		}
		if err := c.Set(ctx, "k", "v", 0); err != nil {
			t.Errorf("the write after that: %v", err)
		}
	})
}

// TestUnsentWrite: a write that no byte was sent of is sent when there is a connection again, within the context's time.
func TestUnsentWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, "a:1")
		c := f.connect(t, Options{})
		n := f.nodes["a:1"]
		n.setDown(true)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		began := time.Now()
		err := c.Set(ctx, "k", "v", 0)
		var gaveUp *GaveUpError
		if !errors.As(err, &gaveUp) || IsIndeterminate(err) || !NotExecuted(err) || gaveUp.Attempts < 3 {
			t.Errorf("with the node down: %v, want a GaveUpError after some attempts", err)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("took %v of a second", took)
		}
		time.AfterFunc(500*time.Millisecond, func() { n.setDown(false) })
		if err := c.Set(context.Background(), "k", "v", 0); err != nil {
			t.Errorf("with the node back after 0.5 s: %v", err)
		}
		if sets := n.count("SET"); sets != 1 {
			t.Errorf("SET was sent %d times", sets)
		}
	})
}

// TestRetryCodes: what a server says it has not executed is tried again; anything else is not.
func TestRetryCodes(t *testing.T) {
	for _, c := range []struct {
		reply string
		again bool
	}{
		{"TRYAGAIN The partition has changed hands", true},
		{"CLUSTERDOWN The partition has no node that serves it at present", true},
		{"NOREPLICAS Not enough copies are in sync to take writes", true},
		{"LOADING Redis is loading the dataset in memory", true},
		{"INDETERMINATE Executed, and not known to be held by all copies: it may be lost", false},
		{"WRONGTYPE Operation against a key holding the wrong kind of value", false},
		{"OOM command not allowed when used memory > 'maxmemory'.", false},
		{"ERR syntax error", false},
		{"NOREPLICAS Not enough good replicas to write. script: 2bab, on @user_script:1.", false},
	} {
		t.Run(c.reply, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeNet(t, "a:1")
				client := f.connect(t, Options{})
				n := f.nodes["a:1"]
				times := 0
				n.change(func() {
					n.script = func(conn *fakeConn, args []string) bool {
						if args[0] != "SET" || times == 2 {
							return false
						}
						times++
						conn.send("-%s|", c.reply)
						return true
					}
				})
				err := client.Set(context.Background(), "k", "v", 0)
				switch sets := n.count("SET"); {
				case c.again && (err != nil || sets != 3):
					t.Errorf("%v after %d attempts, want success at the third", err, sets)
				case !c.again && (err == nil || sets != 1):
					t.Errorf("%v after %d attempts, want an error at the first", err, sets)
				case IsIndeterminate(err) != strings.HasPrefix(c.reply, "INDETERMINATE"):
					t.Errorf("%v: wrong type of error", err)
				}
			})
		})
	}
}

// TestRetryTime: attempts end with RetryTime where the context has no deadline, and the last error is kept.
func TestRetryTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, "a:1")
		n := f.nodes["a:1"]
		for _, o := range []Options{{}, {RetryTime: time.Second}, {RetryTime: -1}} {
			c := f.connect(t, o)
			n.change(func() {
				n.script = func(conn *fakeConn, args []string) bool {
					if args[0] == "SET" {
						conn.send("-CLUSTERDOWN nobody|")
					}
					return args[0] == "SET"
				}
			})
			began := time.Now()
			err := c.Set(context.Background(), "k", "v", 0)
			took, want := time.Since(began), max(c.options.RetryTime, 0)
			if !IsCode(err, "CLUSTERDOWN") || took > want || took < want/2 {
				t.Errorf("RetryTime %v: %v after %v", o.RetryTime, err, took)
			}
		}
	})
}

// TestSilence: a connection that owes replies and says nothing is given up after quietMax; one that owes none stays.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, "a:1")
		c := f.connect(t, Options{})
		time.Sleep(time.Hour)
		if n := f.nodes["a:1"].count("HELLO"); n != 1 {
			t.Fatalf("%d connections in an hour without commands, want 1", n)
		}
		f.nodes["a:1"].change(func() {
			f.nodes["a:1"].script = func(c *fakeConn, args []string) bool { return args[0] == "SET" } // never answered
		})
		began := time.Now()
		err := c.Set(context.Background(), "k", "v", 0)
		if took := time.Since(began); !IsIndeterminate(err) || took < quietMax || took > quietMax+5*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}

// TestClose: commands under way end, and no later one is sent.
func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeNet(t, "a:1")
		c := f.connect(t, Options{})
		f.nodes["a:1"].change(func() {
			f.nodes["a:1"].script = func(*fakeConn, []string) bool { return true } // nothing is answered
		})
		failed := make(chan error)
		go func() {
			_, err := c.Get(context.Background(), "k")
			failed <- err
		}()
		synctest.Wait()
		c.Close()
		if err := <-failed; !errors.Is(err, ErrClosed) {
			t.Errorf("a read under way: %v, want ErrClosed", err)
		}
		if err := c.Ping(context.Background()); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v, want ErrClosed", err)
		}
	})
}
