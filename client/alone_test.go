package client

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// Calls that write and read by themselves. They need the system's sockets, so the time here is real, and events are waited for.

// single connects to one node and calls until callers read. The connection is that of lane.
func single(t *testing.T, lane int, o Options) (*Client, *fakeNode, *conn) {
	t.Helper()
	f := newFakeNet(t, "a:1")
	f.sockets = true
	c := f.connect(t, o)
	n := c.nodeAt("a:1")
	settle(t, c, lane)
	return c, f.nodes["a:1"], n.lanes[lane].conn.Load()
}

// settle calls until callers read.
func settle(t *testing.T, c *Client, lane int) {
	t.Helper()
	value := "v"
	if lane == laneBulk {
		value = strings.Repeat("v", bulkBytes)
	}
	for range 1000 {
		if err := c.Set(within(t, 10*time.Second), "settle", value, 0); err != nil {
			t.Fatal(err)
		}
		if conn := c.nodeAt("a:1").lanes[lane].conn.Load(); conn.readBy() == readerNobody {
			return
		}
	}
	t.Skip("no call reads its own reply here: there are no sockets that are known")
}

func (c *conn) readBy() reader {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.reader
}

// TestAloneOthers: callers that read, and callers that join and leave, get their own replies each.
func TestAloneOthers(t *testing.T) {
	c, _, conn := single(t, laneMain, Options{})
	ctx := within(t, 30*time.Second)
	for round := range 20 {
		var wg sync.WaitGroup
		for g := range 1 + round%5 {
			wg.Go(func() {
				for i := range 50 {
					want := fmt.Sprintf("%d-%d-%d", round, g, i)
					r, err := c.Do(ctx, "ECHO", want)
					if got, _ := r.Text(); err != nil || got != want {
						t.Errorf("ECHO %s: %q, %v", want, got, err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	if c.nodeAt("a:1").lanes[laneMain].conn.Load() != conn {
		t.Error("the connection was lost")
	}
}

// TestAloneBehind: commands that are sent behind one whose caller reads are answered when that one is through.
func TestAloneBehind(t *testing.T) {
	c, n, conn := single(t, laneMain, Options{})
	ctx := within(t, 10*time.Second)
	hold, held := make(chan struct{}), make(chan struct{}, 1)
	n.change(func() {
		n.script = func(_ *fakeConn, args []string) bool {
			if args[1] == "first" {
				held <- struct{}{}
				<-hold
			}
			return false
		}
	})
	echo := func(text string) {
		r, err := c.Do(ctx, "ECHO", text)
		if got, _ := r.Text(); err != nil || got != text {
			t.Errorf("ECHO %s: %q, %v", text, got, err)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		echo("first")
		if by := conn.readBy(); by != readerOwn {
			t.Errorf("read by %d, want the goroutine (%d): replies are owed to others", by, readerOwn)
		}
	})
	<-held
	if by := conn.readBy(); by != readerCaller {
		t.Errorf("read by %d, want the caller (%d)", by, readerCaller)
	}
	for i := range 20 {
		wg.Go(func() { echo(fmt.Sprint(i)) })
	}
	for enqueued := 0; enqueued < 21; {
		conn.mu.Lock()
		enqueued = conn.mu.pending
		conn.mu.Unlock()
		runtime.Gosched()
	}
	close(hold)
	wg.Wait()
}

// TestAloneAbandon: a caller that reads goes when its context ends, also in the middle of a reply, and the next one's reply is its own.
func TestAloneAbandon(t *testing.T) {
	for _, c := range []struct {
		name, first, rest string
		come              uint64 // replies that have come when the context ends
	}{
		{"nothing has come", "", "$5|begin|$4|slow|", 0},
		{"half of a reply has come", "$5|begin|$4|sl", "ow|", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, n, conn := single(t, laneMain, Options{})
			on := make(chan *fakeConn, 1)
			n.change(func() {
				n.script = func(fake *fakeConn, args []string) bool {
					if args[1] == "begin" {
						return true
					}
					if args[1] != "slow" {
						return false
					}
					fake.send("%s", c.first)
					on <- fake
					return true
				}
			})
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			ended, before := make(chan error), conn.replies.Load()
			go func() {
				p := client.Pipeline()
				p.Do("ECHO", "begin")
				p.Do("ECHO", "slow")
				_, err := p.Exec(ctx)
				ended <- err
			}()
			fake := <-on
			for conn.replies.Load() < before+c.come {
				runtime.Gosched()
			}
			if by := conn.readBy(); by != readerCaller {
				t.Fatalf("read by %d, want the caller (%d)", by, readerCaller)
			}
			cancel()
			select {
			case err := <-ended:
				if !errors.Is(err, context.Canceled) || IsIndeterminate(err) {
					t.Errorf("a read whose context ends: %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("a caller outlives its context by 10 s")
			}
			fake.send("%s", c.rest)
			for _, text := range []string{"a", "b", "c"} {
				r, err := client.Do(within(t, 10*time.Second), "ECHO", text)
				if got, _ := r.Text(); got != text || err != nil {
					t.Errorf("the command behind an abandoned one got %q, %v; want %q", got, err, text)
				}
			}
			if client.nodeAt("a:1").lanes[laneMain].conn.Load() != conn {
				t.Error("the connection was lost")
			}
		})
	}
}

// TestAloneDeadline: a context that has ended by the time of the reply does not end the reads of others.
func TestAloneDeadline(t *testing.T) {
	c, _, conn := single(t, laneMain, Options{})
	for i := range 2000 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%100)*time.Microsecond)
		if _, err := c.Do(ctx, "ECHO", "x"); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("call %d: %v", i, err)
		}
		cancel()
		if i%10 == 0 {
			want := fmt.Sprint(i)
			r, err := c.Do(within(t, 10*time.Second), "ECHO", want)
			if got, _ := r.Text(); got != want || err != nil {
				t.Fatalf("call %d: %q, %v", i, got, err)
			}
		}
	}
	if c.nodeAt("a:1").lanes[laneMain].conn.Load() != conn {
		t.Error("the connection was lost")
	}
}

// TestAloneStuck: where the other end does not read, who writes by itself does not wait beyond its context, and what the system did not
// take at once follows in its place.
func TestAloneStuck(t *testing.T) {
	c, n, conn := single(t, laneBulk, Options{})
	hold, stuck := make(chan struct{}), make(chan struct{})
	var once sync.Once
	n.change(func() {
		n.script = func(fake *fakeConn, args []string) bool {
			if args[0] != "SET" || args[1] != "last" {
				return false
			}
			fake.answer(args)
			once.Do(func() { close(stuck) })
			<-hold
			return true
		}
	})
	if err := c.Set(within(t, 10*time.Second), "last", strings.Repeat("v", bulkBytes), 0); err != nil {
		t.Fatal(err)
	}
	<-stuck // and nothing is under way
	if by := conn.readBy(); by != readerNobody {
		t.Fatalf("read by %d, want nobody (%d)", by, readerNobody)
	}
	value := strings.Repeat("0123456789abcdef", 1<<20) // more than sockets hold
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	ended := make(chan error)
	go func() { ended <- c.Set(ctx, "big", value, 0) }()
	select {
	case err := <-ended:
		if !IsIndeterminate(err) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a write that cannot be sent: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a caller outlives its context by 10 s")
	}
	close(hold)
	n.change(func() { n.script = nil })
	if got, err := c.Do(within(t, 10*time.Second), "SET", "small", strings.Repeat("v", bulkBytes)); err != nil {
		t.Errorf("a write behind it: %v, %v", got, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.data["big"] != value {
		t.Errorf("%d bytes arrived of %d, or others", len(n.data["big"]), len(value))
	}
}

// TestAloneLarge: a reply that is larger than the buffer, and one in pieces.
func TestAloneLarge(t *testing.T) {
	c, n, _ := single(t, laneMain, Options{})
	want := strings.Repeat("0123456789", readBytes/5)
	n.set("large", want)
	for range 3 {
		if got, err := c.Get(within(t, 10*time.Second), "large"); got != want || err != nil {
			t.Fatalf("%d bytes, %v; want %d", len(got), err, len(want))
		}
	}
	settle(t, c, laneMain)
	p := c.Pipeline()
	for i := range 100 {
		p.Do("ECHO", strings.Repeat(fmt.Sprint(i), 200))
	}
	results, err := p.Exec(within(t, 10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if got, _ := r.Text(); got != strings.Repeat(fmt.Sprint(i), 200) {
			t.Fatalf("reply %d of a pipeline: %.20q", i, got)
		}
	}
}

// TestAloneAsync: who begins commands without waiting is answered, whoever read before.
func TestAloneAsync(t *testing.T) {
	c, n, _ := single(t, laneMain, Options{})
	line, err := c.Dial(within(t, 10*time.Second), "a:1", Side{Resp: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer line.Close()
	over := time.After(4 * time.Second) // well before the sweeper has helped as often
	for i := range 3 * aloneMin {
		answered := make(chan error, 1)
		if err := line.Begin([][]string{{"ECHO", fmt.Sprint(i)}}, func(_ []protocol.Value, err error) { answered <- err }); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-answered:
			if err != nil {
				t.Fatal(err)
			}
		case <-over:
			t.Fatalf("command %d is not answered", i)
		}
	}
	if n.count("ECHO") != 3*aloneMin {
		t.Errorf("%d commands arrived", n.count("ECHO"))
	}
}

// TestAloneNear: a connection for near reads is always read, however singly calls come: what is changed by others is known at once.
func TestAloneNear(t *testing.T) {
	changed := make(chan string, 100)
	watch := &NearWatch{Changed: func(key []byte, _ uint64) { changed <- string(key) }, Lost: func() {}, Rests: func() bool { return false }}
	f := newFakeNet(t, "a:1")
	f.sockets = true
	c := f.connect(t, Options{NearCache: &NearCache{Prefixes: []string{"near:"}, Staleness: time.Hour, Watch: watch}})
	conn := c.nodeAt("a:1").lanes[laneNear].conn.Load()
	for i := range 3 * aloneMin { // reads that are tracked, and not held: the caller waits for the connection itself
		if _, tracked, err := c.NearRead(within(t, 10*time.Second), [][]byte{[]byte("GET"), fmt.Append(nil, i)}); err != nil || !tracked {
			t.Fatalf("tracked: %v, %v", tracked, err)
		}
		if by := conn.readBy(); by != readerOwn {
			t.Fatalf("read by %d, want the goroutine (%d)", by, readerOwn)
		}
	}
	f.nodes["a:1"].set("1", "v")
	select {
	case key := <-changed:
		if key != "1" {
			t.Errorf("%q has changed, want 1", key)
		}
	case <-time.After(10 * time.Second):
		t.Error("a change by others is not told while nobody calls")
	}
}

// TestAloneLoad: so is one for loads, on which who waits for another one's load is told that it is over.
func TestAloneLoad(t *testing.T) {
	f := newFakeNet(t, "a:1")
	f.sockets = true
	f.nodes["a:1"].change(func() {
		f.nodes["a:1"].script = func(conn *fakeConn, args []string) bool {
			if args[0] == "GRID.LOAD" {
				conn.send("*3|$4|wait|:9000|:1|")
			}
			return args[0] == "GRID.LOAD"
		}
	})
	c := f.connect(t, Options{})
	for range 3 * aloneMin { // keys that are missed singly
		if turn, err := c.askTurn(within(t, 10*time.Second), "k"); err != nil || !turn.told {
			t.Fatalf("GRID.LOAD: %+v, %v", turn, err)
		}
		if by := c.nodeAt("a:1").lanes[laneLoad].conn.Load().readBy(); by != readerOwn {
			t.Fatalf("read by %d, want the goroutine (%d)", by, readerOwn)
		}
	}
}

// TestAloneLinger: behind a server that takes longer than that, looking for a reply without sleeping is tried ever more rarely.
func TestAloneLinger(t *testing.T) {
	c, n, conn := single(t, laneMain, Options{})
	n.change(func() {
		n.script = func(*fakeConn, []string) bool { time.Sleep(5 * lingerMax); return false }
	})
	tries, skips := 0, 0
	for range 300 {
		before := conn.in.skips
		if _, err := c.Do(within(t, 10*time.Second), "ECHO", "x"); err != nil {
			t.Fatal(err)
		}
		if conn.readBy() != readerNobody {
			settle(t, c, laneMain)
		}
		if conn.in.skips >= before {
			tries++
		} else {
			skips++
		}
	}
	if conn.in.pause != lingerPauseMax || tries > 20 {
		t.Errorf("%d of 300 calls looked for replies without sleeping, %d did not, and the next %d do not; want %d", tries, skips, conn.in.pause, lingerPauseMax)
	}
}
