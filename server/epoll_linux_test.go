package server

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	for name, loops := range map[string]int{"epoll": 1, "epoll, 3 loops": 3} {
		driverMakers[name] = func(ls *listeners, a acceptor) (driver, error) {
			return newEpollDriver(loops, ls, a, func() int { return 300 }, slog.New(slog.DiscardHandler))
		}
	}
}

// stillLoop is a loop that a test turns by hand. make makes its sessions; nil: they echo without allocating.
func stillLoop(t testing.TB, make acceptor) *epollLoop {
	t.Helper()
	if make == nil {
		make = func(loop, connInfo) sessionIO { return &echoSession{} }
	}
	d, err := newEpollDriver(1, &listeners{}, make, func() int { return 0 }, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l := d.(*epollDriver).loops[0]
	t.Cleanup(func() {
		l.cut()
		d.Shutdown(context.Background())
	})
	return l
}

// connect gives a loop a connection and returns the other end.
func connect(t testing.TB, l *epollLoop) (fd int, c *epollConn) {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(pair[0]) })
	l.open(pair[1], connInfo{})
	return pair[0], l.conns[pair[1]]
}

// echoSession is the least a session can be.
type echoSession struct {
	out  []byte
	fed  int
	done bool
}

func (s *echoSession) Feed(p []byte)                    { s.out = append(s.out, p...); s.fed += len(p) }
func (s *echoSession) EOF()                             { s.done = true }
func (s *echoSession) Out() []byte                      { return s.out }
func (s *echoSession) Sent(n int)                       { s.out = s.out[:copy(s.out, s.out[n:])] }
func (s *echoSession) Wants() (read, write, close bool) { return !s.done, len(s.out) > 0, s.done }
func (s *echoSession) Tick(time.Time)                   {}
func (s *echoSession) Closed()                          {}

// An event that was fetched before its connection was closed must not reach the next one with the same descriptor.
func TestEpollStaleEvent(t *testing.T) {
	l := stillLoop(t, nil)
	_, old := connect(t, l)
	fd, stale := old.fd, unix.EpollEvent{Events: unix.EPOLLHUP, Fd: int32(old.fd), Pad: old.generation}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	old.close()
	if err := unix.Dup3(pair[1], fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	unix.Close(pair[1])
	l.open(fd, connInfo{})
	s := l.conns[fd].session.(*echoSession)
	unix.Write(pair[0], []byte("x"))
	l.handle(&stale)
	if s.fed != 0 {
		t.Errorf("a stale event fed %d bytes to the next connection", s.fed)
	}
	l.handle(&unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd), Pad: l.conns[fd].generation})
	if s.fed != 1 {
		t.Errorf("its own event fed %d bytes, want 1", s.fed)
	}
}

// One turn reads a bounded amount from each connection, so that all have theirs.
func TestEpollFairTurn(t *testing.T) {
	l := stillLoop(t, nil)
	greedy, a := connect(t, l)
	modest, b := connect(t, l)
	l.turn()
	for range 4 {
		unix.Write(greedy, make([]byte, readSizeMax))
	}
	unix.Write(modest, []byte("ping"))
	l.turn()
	if got := [2]int{a.session.(*echoSession).fed, b.session.(*echoSession).fed}; got[0] > readSizeMax || got[1] != 4 {
		t.Errorf("one turn fed %d and %d bytes, want at most %d and 4", got[0], got[1], readSizeMax)
	}
	var p [8]byte
	if n, err := unix.Read(modest, p[:]); err != nil || string(p[:n]) != "ping" {
		t.Errorf("the other connection read %q, error %v; want its reply in the same turn", p[:max(n, 0)], err)
	}
}

func TestEpollTurnAllocatesNothing(t *testing.T) {
	l := stillLoop(t, nil)
	fd, _ := connect(t, l)
	request, reply := []byte("PING\r\n"), make([]byte, 64)
	posted := func() {}
	turn := func() {
		unix.Write(fd, request)
		l.mailbox.post(posted)
		l.turn()
		if n, err := unix.Read(fd, reply); err != nil || !bytes.Equal(reply[:n], request) {
			t.Fatalf("read %q, error %v; want %q", reply[:max(n, 0)], err, request)
		}
	}
	for range 10 {
		turn()
	}
	if n := testing.AllocsPerRun(200, turn); n != 0 {
		t.Errorf("a turn allocates %v times", n)
	}
}

// 10,000 idle connections may cost 1 KiB each here; the session and the kernel have their own.
func TestEpollIdleMemory(t *testing.T) {
	const conns, limit = 200, 1024
	sessions := make([]echoSession, conns)
	next := 0
	l := stillLoop(t, func(loop, connInfo) sessionIO { next++; return &sessions[next-1] })
	live := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := live()
	for range conns {
		connect(t, l)
	}
	l.turn()
	if each := (int64(live()) - int64(before)) / conns; each > limit {
		t.Errorf("an idle connection takes %d bytes, want at most %d", each, limit)
	}
	runtime.KeepAlive(sessions)
}

func TestEpollTicksReachEveryConnection(t *testing.T) {
	ticks := map[loop]int{}
	l := stillLoop(t, func(l loop, _ connInfo) sessionIO { return &tickSession{ticked: func() { ticks[l]++ }} })
	for range 50 {
		connect(t, l)
	}
	for range tickSlices {
		before := len(ticks)
		l.tick()
		if n := len(ticks) - before; n > 2*50/tickSlices {
			t.Errorf("one period ticked %d of 50 connections, want them spread", n)
		}
	}
	for l, n := range ticks {
		if n != 1 {
			t.Errorf("%p was ticked %d times, want once", l, n)
		}
	}
	if len(ticks) != 50 {
		t.Errorf("%d of 50 connections were ticked", len(ticks))
	}
}

type tickSession struct {
	echoSession
	ticked func()
}

func (s *tickSession) Tick(time.Time) { s.ticked() }

// Running out of descriptors refuses those connections, disturbs no other, and is over when there are some again. As
// the limit is the process's, this runs in one of its own.
func TestDriverOutOfDescriptors(t *testing.T) {
	const child = "NEARGRID_TEST_OUT_OF_DESCRIPTORS"
	if name := os.Getenv(child); name != "" {
		runOutOfDescriptors(t, name)
		return
	}
	for name := range driverMakers {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestDriverOutOfDescriptors$", "-test.v")
			cmd.Env = append(os.Environ(), child+"="+name)
			if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("PASS: Test")) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func runOutOfDescriptors(t *testing.T, name string) {
	ls, err := listen(Options{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	d := &testDoor{T: t, network: "tcp", addr: addrOf(ls.tcp), opened: newOpened()}
	if d.driver, err = driverMakers[name](ls, d.accept); err != nil {
		t.Fatal(err)
	}
	if err := d.driver.Start(); err != nil {
		t.Fatal(err)
	}
	defer d.shutdown(0)
	first := d.dial()
	d.write(first, []byte("ping"))
	d.expect(first, []byte("ping"))

	// Fill up with clients whose descriptors exist before the limit falls, so that only the server's are missing.
	const clients = 8
	var fds []int
	for range clients {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		fds = append(fds, fd)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	top := fds[clients-1] + 3 // so two more connections fit
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(top), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	to := &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: tcpPort(t, d.addr)}
	served, refused := 0, 0
	for _, fd := range fds {
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
		if err := unix.Connect(fd, to); err != nil {
			t.Fatalf("connect: %v", err)
		}
		unix.Sendto(fd, []byte("ping"), unix.MSG_NOSIGNAL, nil)
		var p [8]byte
		switch n, err := unix.Read(fd, p[:]); {
		case n == 4:
			served++
		case n == 0 || err == unix.ECONNRESET || err == unix.EPIPE:
			refused++
		default:
			t.Fatalf("read %d bytes, error %v: the connection was neither served nor refused", n, err)
		}
		d.write(first, []byte("ping")) // does not notice
		d.expect(first, []byte("ping"))
	}
	if refused == 0 {
		t.Errorf("%d served, none refused: the limit did not hold", served)
	}
	for _, fd := range fds {
		unix.Close(fd)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	again := d.dial()
	d.write(again, []byte("again"))
	d.expect(again, []byte("again"))
}

func tcpPort(t *testing.T, addr string) (port int) {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}

func TestRemoteAddr(t *testing.T) {
	for _, c := range []struct {
		sa   unix.Sockaddr
		want string
	}{
		{&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: 6379}, "127.0.0.1:6379"},
		{&unix.SockaddrInet6{Addr: [16]byte{15: 1}, Port: 6379}, "[::1]:6379"},
		{&unix.SockaddrInet6{Addr: [16]byte{10: 0xff, 11: 0xff, 12: 10, 15: 7}, Port: 1}, "10.0.0.7:1"},
		{&unix.SockaddrInet6{Addr: [16]byte{0: 0xfe, 1: 0x80, 15: 1}, ZoneId: 2, Port: 1}, "[fe80::1%2]:1"},
		{&unix.SockaddrUnix{}, ""},
	} {
		if got := remoteAddr(c.sa); got != c.want {
			t.Errorf("%+v: got %q, want %q", c.sa, got, c.want)
		}
	}
}

// BenchmarkEpollTurn is one request and its reply, through a turn.
func BenchmarkEpollTurn(b *testing.B) {
	l := stillLoop(b, nil)
	fd, _ := connect(b, l)
	request, reply := []byte("PING\r\n"), make([]byte, 64)
	for b.Loop() {
		unix.Write(fd, request)
		l.turn()
		unix.Read(fd, reply)
	}
}
