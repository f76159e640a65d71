package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// driverMakers are the drivers of this system; all tests here run over each.
var driverMakers = map[string]func(*listeners, acceptor) (driver, error){
	"goroutine": func(ls *listeners, a acceptor) (driver, error) {
		return newGoroutineDriver(ls, a, func() int { return 300 }, slog.New(slog.DiscardHandler)), nil
	},
}

// testPatience is how long a test waits for what must happen.
const testPatience = 20 * time.Second

// testDoor is a running driver with one door, and the sessions it has made.
type testDoor struct {
	*testing.T
	driver  driver
	network string
	addr    string
	opened  chan *testSession
	open    atomic.Int64 // sessions not yet closed
	setUp   func(*testSession)
}

// eachDriver runs f over every driver and kind of socket. setUp prepares each session; nil: they echo.
func eachDriver(t *testing.T, setUp func(*testSession), f func(*testDoor)) {
	for name, make := range driverMakers {
		for _, network := range []string{"tcp", "unix"} {
			t.Run(name+"/"+network, func(t *testing.T) {
				t.Parallel()
				d := &testDoor{T: t, network: network, opened: newOpened(), setUp: setUp}
				o := Options{Listen: "127.0.0.1:0"}
				if network == "unix" {
					o = Options{Unixsocket: filepath.Join(t.TempDir(), "s")}
				}
				ls, err := listen(o)
				if err != nil {
					t.Fatal(err)
				}
				if d.addr = ls.addr(); network == "unix" {
					d.addr = o.Unixsocket
				}
				if d.driver, err = make(ls, d.accept); err != nil {
					t.Fatal(err)
				}
				if err := d.driver.Start(); err != nil {
					t.Fatal(err)
				}
				f(d)
				d.shutdown(0)
				if n := d.open.Load(); n != 0 {
					t.Errorf("after Shutdown %d sessions are not closed", n)
				}
			})
		}
	}
}

func newOpened() chan *testSession { return make(chan *testSession, 10_000) }

func (d *testDoor) accept(l loop, info connInfo) sessionIO {
	s := &testSession{t: d.T, door: d, loop: l, info: info, closed: make(chan struct{}), ticked: make(chan struct{}, 1), paused: make(chan struct{}, 1)}
	s.onFeed = func(p []byte) { s.out = append(s.out, p...) }
	s.onEOF = func() { s.closing = true }
	if d.setUp != nil {
		d.setUp(s)
	}
	d.open.Add(1)
	d.opened <- s
	return s
}

// dial connects; reads and writes that take longer than testPatience fail.
func (d *testDoor) dial() net.Conn {
	d.Helper()
	c, err := net.Dial(d.network, d.addr)
	if err != nil {
		d.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(testPatience))
	d.Cleanup(func() { c.Close() })
	return c
}

// shutdown ends the driver, with that much time; 0 = none left.
func (d *testDoor) shutdown(patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return d.driver.Shutdown(ctx)
}

func (d *testDoor) write(c net.Conn, p []byte) {
	d.Helper()
	if _, err := c.Write(p); err != nil {
		d.Fatalf("write of %d bytes: %v", len(p), err)
	}
}

// expect reads as many bytes as want has.
func (d *testDoor) expect(c net.Conn, want []byte) {
	d.Helper()
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		d.Fatalf("read %d bytes, %.40q, error %v; want %d bytes, %.40q", n, got[:n], err, len(want), want)
	}
}

// expectEnd reads the peer's end of sending.
func (d *testDoor) expectEnd(c net.Conn) {
	d.Helper()
	if n, err := c.Read(make([]byte, 1)); err != io.EOF {
		d.Fatalf("read %d bytes, error %v; want the end of input", n, err)
	}
}

// wait waits for an event.
func wait[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(testPatience):
		t.Fatalf("waited %v for %s", testPatience, what)
	}
	return v
}

// testSession is a session to try drivers with. It checks that calls come one at a time, and none after Closed.
type testSession struct {
	t      *testing.T
	door   *testDoor
	loop   loop
	info   connInfo
	onFeed func(p []byte)
	onEOF  func()

	out     []byte
	outMax  int // reading pauses with more output than that; 0 = never
	outPeak int
	closing bool
	killed  bool

	busy   atomic.Bool
	gone   bool
	fed    atomic.Int64 // bytes
	closed chan struct{}
	ticked chan struct{}
	paused chan struct{} // reading has been
}

// enter begins a call; the function it returns ends it.
func (s *testSession) enter(name string) func() {
	if !s.busy.CompareAndSwap(false, true) {
		s.t.Errorf("%s was called during another call", name)
	}
	if s.gone {
		s.t.Errorf("%s was called after Closed", name)
	}
	return func() { s.busy.Store(false) }
}

func (s *testSession) Feed(p []byte) {
	defer s.enter("Feed")()
	s.fed.Add(int64(len(p)))
	s.onFeed(p)
	s.outPeak = max(s.outPeak, len(s.out))
}

func (s *testSession) EOF() {
	defer s.enter("EOF")()
	s.onEOF()
}

func (s *testSession) Out() []byte {
	defer s.enter("Out")()
	if s.killed {
		return nil
	}
	return s.out
}

func (s *testSession) Sent(n int) {
	defer s.enter("Sent")()
	if n > len(s.out) {
		s.t.Errorf("Sent(%d) of %d bytes of output", n, len(s.out))
	}
	s.out = s.out[n:]
}

func (s *testSession) Wants() (read, write, close bool) {
	defer s.enter("Wants")()
	if s.killed {
		return false, false, true
	}
	read = !s.closing && (s.outMax == 0 || len(s.out) <= s.outMax)
	if !read {
		signal(s.paused)
	}
	return read, len(s.out) > 0, s.closing
}

func (s *testSession) Tick(time.Time) {
	defer s.enter("Tick")()
	signal(s.ticked)
}

func (s *testSession) Closed() {
	defer s.enter("Closed")()
	s.gone = true
	s.door.open.Add(-1)
	close(s.closed)
}

// signal notes an event that may be waited for.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// noise is n bytes that differ from place to place.
func noise(n int) []byte {
	p := make([]byte, n)
	r := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

func TestDriverEcho(t *testing.T) {
	eachDriver(t, nil, func(d *testDoor) {
		var conns []net.Conn
		for range 20 {
			conns = append(conns, d.dial())
		}
		for round := range 50 {
			for i, c := range conns {
				d.write(c, fmt.Appendf(nil, "conn %d round %d\n", i, round))
			}
			for i, c := range conns {
				d.expect(c, fmt.Appendf(nil, "conn %d round %d\n", i, round))
			}
		}
	})
}

func TestDriverConnInfo(t *testing.T) {
	eachDriver(t, nil, func(d *testDoor) {
		c := d.dial()
		got := wait(t, "the session", d.opened).info
		want := connInfo{Remote: c.LocalAddr().String(), Local: d.addr, FD: got.FD}
		if d.network == "unix" {
			want = connInfo{Remote: d.addr + ":0", Local: d.addr + ":0", Unix: true, FD: got.FD}
		}
		if got != want || got.FD <= 2 {
			d.Errorf("got %+v, want %+v and a descriptor", got, want)
		}
	})
}

func TestDriverPipeline(t *testing.T) {
	eachDriver(t, nil, func(d *testDoor) {
		c, sent := d.dial(), noise(4<<20)
		go func() {
			for p := sent; len(p) > 0; {
				n, err := c.Write(p[:min(len(p), 1+rand.IntN(200_000))])
				if err != nil {
					d.Error(err)
					return
				}
				p = p[n:]
			}
		}()
		d.expect(c, sent)
	})
}

func TestDriverOneByteWrites(t *testing.T) {
	eachDriver(t, nil, func(d *testDoor) {
		c, sent := d.dial(), noise(2000)
		go func() {
			for i := range sent {
				c.Write(sent[i : i+1])
			}
		}()
		d.expect(c, sent)
	})
}

func TestDriverBackPressure(t *testing.T) {
	const outMax = 100_000
	eachDriver(t, func(s *testSession) { s.outMax = outMax }, func(d *testDoor) {
		c, sent := d.dial(), noise(32<<20)
		s := wait(t, "the session", d.opened)
		written := make(chan error, 1)
		go func() {
			_, err := c.Write(sent)
			written <- err
		}()
		wait(t, "reading to pause", s.paused)
		other := d.dial() // others go on
		d.write(other, []byte("other"))
		d.expect(other, []byte("other"))
		select {
		case err := <-written:
			d.Fatalf("32 MiB were taken from a client that reads nothing (error %v)", err)
		default:
		}
		d.expect(c, sent)
		c.Close()
		wait(t, "Closed", s.closed)
		if limit := outMax + readSizeMax; s.outPeak > limit {
			d.Errorf("output reached %d bytes, want at most %d", s.outPeak, limit)
		}
	})
}

func TestDriverHalfClose(t *testing.T) {
	eachDriver(t, func(s *testSession) {
		s.onEOF = func() { // the reply is ready later, and large
			go s.loop.Post(func() {
				s.out, s.closing = append(s.out, noise(3<<20)...), true
				s.loop.Touch(s)
			})
		}
	}, func(d *testDoor) {
		c := d.dial()
		d.write(c, []byte("request"))
		c.(interface{ CloseWrite() error }).CloseWrite()
		d.expect(c, []byte("request"))
		d.expect(c, noise(3<<20))
		d.expectEnd(c)
		wait(t, "Closed", wait(t, "the session", d.opened).closed)
	})
}

func TestDriverReset(t *testing.T) {
	for name, outMax := range map[string]int{"while reading": 0, "while reading pauses": 1000} {
		t.Run(name, func(t *testing.T) {
			eachDriver(t, func(s *testSession) { s.outMax = outMax }, func(d *testDoor) {
				c := d.dial()
				s := wait(t, "the session", d.opened)
				if outMax > 0 {
					go c.Write(noise(32 << 20))
					wait(t, "reading to pause", s.paused)
				}
				if tcp, ok := c.(*net.TCPConn); ok {
					tcp.SetLinger(0)
				}
				c.Close()
				wait(t, "Closed", s.closed)
			})
		})
	}
}

func TestDriverSessionCloses(t *testing.T) {
	eachDriver(t, func(s *testSession) {
		s.onFeed = func([]byte) {
			if !s.closing {
				s.out, s.closing = append(s.out, "-ERR bye\r\n"...), true
			}
		}
	}, func(d *testDoor) {
		c := d.dial()
		written := make(chan struct{})
		go func() {
			c.Write(noise(700_000)) // more than the session reads; its end may fail
			close(written)
		}()
		wait(t, "Closed", wait(t, "the session", d.opened).closed)
		<-written
		d.expect(c, []byte("-ERR bye\r\n"))
		d.expectEnd(c)
	})
}

func TestDriverSessionCloseBoundsDiscard(t *testing.T) {
	eachDriver(t, func(s *testSession) { s.closing = true }, func(d *testDoor) {
		c := d.dial()
		p := noise(lingerBytesMax)
		for total := 0; ; total += len(p) {
			if total > 64<<20 {
				d.Fatalf("%d bytes were taken after the session had closed", total)
			}
			if _, err := c.Write(p); errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
				return
			} else if err != nil {
				d.Fatal(err)
			}
		}
	})
}

func TestDriverRefusal(t *testing.T) {
	eachDriver(t, func(s *testSession) { s.out, s.closing = []byte("-ERR max\r\n"), true }, func(d *testDoor) {
		c := d.dial()
		c.Write([]byte("PING\r\n"))
		d.expect(c, []byte("-ERR max\r\n"))
		d.expectEnd(c)
	})
}

// A session that is killed does not wait for a peer that reads nothing.
func TestDriverKill(t *testing.T) {
	eachDriver(t, func(s *testSession) { s.outMax = 1000 }, func(d *testDoor) {
		c := d.dial()
		s := wait(t, "the session", d.opened)
		go c.Write(noise(32 << 20))
		wait(t, "reading to pause", s.paused)
		begin := time.Now()
		s.loop.Post(func() { s.killed = true; s.loop.Touch(s) })
		wait(t, "Closed", s.closed)
		if took := time.Since(begin); took > closeStallMax/2 {
			d.Errorf("took %v", took)
		}
	})
}

func TestDriverTicks(t *testing.T) {
	eachDriver(t, nil, func(d *testDoor) {
		d.dial()
		s := wait(t, "the session", d.opened)
		for range 2 {
			wait(t, "a tick", s.ticked)
		}
	})
}

func TestDriverTickKills(t *testing.T) {
	eachDriver(t, nil, func(d *testDoor) {
		c := d.dial()
		s := wait(t, "the session", d.opened)
		s.loop.Post(func() { s.killed = true }) // and no Touch: the next tick finds out
		d.expectEnd(c)
		c.Close()
		wait(t, "Closed", s.closed)
	})
}

func TestDriverPostsAllRun(t *testing.T) {
	const posters, each = 8, 5000
	eachDriver(t, nil, func(d *testDoor) {
		d.dial()
		s := wait(t, "the session", d.opened)
		var ran int // on the loop only
		var posting sync.WaitGroup
		for i := range posters {
			posting.Go(func() {
				done := make(chan struct{}, 1)
				for n := range each {
					if n%2 == i%2 { // half of the time one by one, so that the loop sleeps in between
						s.loop.Post(func() { ran++; done <- struct{}{} })
						wait(t, "a post to run", done)
						continue
					}
					s.loop.Post(func() { ran++ })
				}
			})
		}
		posting.Wait()
		total := make(chan int, 1)
		s.loop.Post(func() { total <- ran })
		if got := wait(t, "the last post", total); got != posters*each {
			d.Errorf("%d posts ran, want %d", got, posters*each)
		}
	})
}

func TestDriverPostFromLoop(t *testing.T) {
	eachDriver(t, func(s *testSession) {
		s.onFeed = func(p []byte) {
			reply := bytes.Clone(p)
			s.loop.Post(func() {
				s.loop.Post(func() { s.out = append(s.out, reply...); s.loop.Touch(s) })
			})
		}
	}, func(d *testDoor) {
		c := d.dial()
		for range 100 {
			d.write(c, []byte("ping"))
			d.expect(c, []byte("ping"))
		}
	})
}

func TestDriverShutdownDrains(t *testing.T) {
	reply := noise(8 << 20)
	eachDriver(t, func(s *testSession) { s.onFeed = func([]byte) { s.out = append(s.out, reply...) } }, func(d *testDoor) {
		var busy []net.Conn
		for range 3 {
			c := d.dial()
			d.write(c, []byte("go"))
			d.expect(c, reply[:1]) // it is executed
			busy = append(busy, c)
		}
		idle := d.dial()
		for range 4 {
			wait(t, "the session", d.opened)
		}
		stopped := make(chan error, 1)
		go func() { stopped <- d.shutdown(testPatience) }()
		d.expectEnd(idle)
		if c, err := net.Dial(d.network, d.addr); err == nil {
			d.Error("a connection was accepted after the shutdown began")
			c.Close()
		}
		for _, c := range busy {
			d.expect(c, reply[1:])
			d.expectEnd(c)
			c.Close()
		}
		idle.Close()
		if err := wait(t, "Shutdown", stopped); err != nil {
			d.Errorf("Shutdown: %v", err)
		}
	})
}

func TestDriverShutdownIsBounded(t *testing.T) {
	eachDriver(t, func(s *testSession) { s.onFeed = func([]byte) { s.out = append(s.out, noise(16<<20)...) } }, func(d *testDoor) {
		c := d.dial()
		d.write(c, []byte("go"))
		d.expect(c, noise(16 << 20)[:1]) // and reads no more
		if err := d.shutdown(10 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			d.Errorf("Shutdown: %v, want %v", err, context.DeadlineExceeded)
		}
		s := wait(t, "the session", d.opened)
		wait(t, "Closed", s.closed)
		s.loop.Post(func() {}) // harmless by now
	})
}

func TestDriverHooksRunBeforeReplies(t *testing.T) {
	for name, make := range driverMakers {
		t.Run(name, func(t *testing.T) {
			ls, err := listen(Options{Listen: "127.0.0.1:0"})
			if err != nil {
				t.Fatal(err)
			}
			d := &testDoor{T: t, network: "tcp", addr: ls.addr(), opened: newOpened()}
			if d.driver, err = make(ls, d.accept); err != nil {
				t.Fatal(err)
			}
			var shipped atomic.Int64
			d.driver.OnTurnEnd(func() {
				for len(d.opened) > 0 {
					s := <-d.opened
					d.opened <- s
					shipped.Store(s.fed.Load())
					return
				}
			})
			if err := d.driver.Start(); err != nil {
				t.Fatal(err)
			}
			defer d.shutdown(0)
			c := d.dial()
			for i := range int64(100) {
				d.write(c, []byte("x"))
				d.expect(c, []byte("x"))
				if got := shipped.Load(); got != i+1 {
					t.Fatalf("reply %d arrived when the hook had seen %d", i+1, got)
				}
			}
		})
	}
}

// Connections come and go in every way while others post to them.
func TestDriverChurn(t *testing.T) {
	eachDriver(t, func(s *testSession) {
		s.onFeed = func(p []byte) {
			if bytes.Contains(p, []byte("quit")) {
				s.closing = true
			}
			reply := bytes.Clone(p)
			go s.loop.Post(func() {
				if !s.gone {
					s.out = append(s.out, reply...)
					s.loop.Touch(s)
				}
			})
		}
	}, func(d *testDoor) {
		var clients sync.WaitGroup
		for i := range 6 {
			clients.Go(func() {
				for n := range 60 {
					c, err := net.Dial(d.network, d.addr)
					if err != nil {
						d.Error(err)
						return
					}
					c.SetDeadline(time.Now().Add(testPatience))
					switch (i + n) % 4 {
					case 0:
						io.WriteString(c, "ping")
						if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
							d.Error(err)
						}
					case 1:
						io.WriteString(c, "quit")
						io.Copy(io.Discard, c)
					case 2:
						io.WriteString(c, "ping")
					}
					if tcp, ok := c.(*net.TCPConn); ok && n%3 == 0 {
						tcp.SetLinger(0)
					}
					c.Close()
				}
			})
		}
		clients.Wait()
		for range 6 * 60 {
			wait(t, "Closed", wait(t, "the session", d.opened).closed)
		}
	})
}
