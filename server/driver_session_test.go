package server

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"sync/atomic"
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
	for name, makeDriver := range driverMakers {
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
				if d.addr = addrOf(ls.tcp); network == "unix" {
					d.addr = o.Unixsocket
				}
				if d.driver, err = makeDriver(ls, d.accept); err != nil {
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

// newOpened holds more sessions than any test makes.
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
	d.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- d.driver.Shutdown(ctx) }()
	select {
	case err := <-stopped:
		return err
	case <-time.After(patience + testPatience):
		d.Errorf("Shutdown has not returned %v after its time was over", testPatience)
		return nil
	}
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
