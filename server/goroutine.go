package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// goroutineDriver serves any net.Conn: TLS, and systems without epoll. Each connection has a goroutine that owns its
// session, one that reads, and one that writes while there is output. It costs more CPU and memory than epollDriver.
type goroutineDriver struct {
	accept    acceptor
	keepAlive func() int // seconds; 0 = off
	log       *slog.Logger
	doors     *listeners
	flush     func()        // see OnTurnEnd; nil: there is none
	sleeps    func() uint64 // the same
	traffic   traffic
	running   sync.WaitGroup
	stop      chan struct{} // closed by CloseListeners
	closeOnce sync.Once
	mu        struct {
		sync.Mutex
		conns    map[*goroutineConn]struct{}
		draining bool
	}
}

// newGoroutineDriver makes a driver. It owns ls from here on.
func newGoroutineDriver(ls *listeners, accept acceptor, keepAliveSeconds func() int, log *slog.Logger) driver {
	d := &goroutineDriver{accept: accept, keepAlive: keepAliveSeconds, log: log, doors: ls, stop: make(chan struct{})}
	d.mu.conns = map[*goroutineConn]struct{}{}
	return d
}

func (d *goroutineDriver) OnTurnEnd(flush func(), sleeps func() uint64) {
	d.flush, d.sleeps = flush, sleeps
}

func (d *goroutineDriver) Traffic() (reads, writes int64) {
	return d.traffic.reads.Load(), d.traffic.writes.Load()
}

func (d *goroutineDriver) Start() error {
	for _, l := range d.doors.all() {
		d.running.Go(func() { d.acceptFrom(l, d.doors.doorOf(l)) })
	}
	return nil
}

// acceptFrom accepts until the listener is closed.
//
// Without descriptors a connection would stay in the kernel's queue. So there is a spare one, which is given up to
// accept it. Unless there are others by then, so that a spare one can be had again, the connection is closed: its client
// learns, and nobody else is held up.
func (d *goroutineDriver) acceptFrom(l net.Listener, from door) {
	spare := openSpareFile()
	defer func() { spare.Close() }()
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil && spare != nil && (errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)) {
			spare.Close()
			spare = nil
			continue
		}
		if err != nil {
			d.log.Warn("accept", "error", err)
			d.pauseAccept()
			continue
		}
		if spare == nil {
			if spare = openSpareFile(); spare == nil {
				c.Close()
				spare = openSpareFile()
				d.log.Warn("refused a connection: out of file descriptors; raise the limit (ulimit -n)")
				continue
			}
		}
		d.open(c, from)
	}
}

// openSpareFile holds a descriptor in reserve; nil where there is none to be had.
func openSpareFile() *os.File {
	f, err := os.Open(os.DevNull)
	if err != nil {
		return nil
	}
	return f
}

// pauseAccept waits after an error that would come again at once.
func (d *goroutineDriver) pauseAccept() {
	select {
	case <-time.After(acceptPause):
	case <-d.stop:
	}
}

// open starts the goroutines of a connection.
func (d *goroutineDriver) open(c net.Conn, from door) {
	g := newGoroutineConn(d, c)
	d.mu.Lock()
	d.mu.conns[g] = struct{}{}
	g.ended = d.mu.draining
	d.mu.Unlock()
	d.running.Go(func() {
		g.run(d.prepare(c, from))
		d.mu.Lock()
		delete(d.mu.conns, g)
		d.mu.Unlock()
	})
}

// prepare sets a connection's options. One that cannot be set is no reason to refuse.
func (d *goroutineDriver) prepare(c net.Conn, from door) connInfo {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok { // TLS
		c = t.NetConn()
	}
	info := connInfo{Cluster: from.cluster, FD: descriptor(c)}
	if from.path != "" {
		info.Remote, info.Local, info.Unix = unixAddr(from.path), unixAddr(from.path), true
		return info
	}
	info.Remote, info.Local = c.RemoteAddr().String(), c.LocalAddr().String()
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetNoDelay(true)
		seconds := time.Duration(d.keepAlive()) * time.Second
		_ = t.SetKeepAliveConfig(net.KeepAliveConfig{
			Enable: seconds > 0, Idle: seconds, Interval: max(time.Second, seconds/keepAliveProbes), Count: keepAliveProbes,
		})
	}
	return info
}

// descriptor is a connection's, for display; -1 where it has none.
func descriptor(c net.Conn) int {
	fd := -1
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			_ = raw.Control(func(n uintptr) { fd = int(n) })
		}
	}
	return fd
}

func (d *goroutineDriver) CloseListeners() {
	d.closeOnce.Do(func() {
		close(d.stop)
		d.doors.close()
	})
}

func (d *goroutineDriver) Shutdown(ctx context.Context) error {
	d.CloseListeners()
	d.mu.Lock()
	d.mu.draining = true
	d.mu.Unlock()
	d.each(func(c *goroutineConn) { c.mailbox.post(c.end) })
	stopped := make(chan struct{})
	go func() { d.running.Wait(); close(stopped) }()
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
	}
	d.each((*goroutineConn).cut)
	<-stopped
	return ctx.Err()
}

// each calls f for every connection.
func (d *goroutineDriver) each(f func(*goroutineConn)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.mu.conns {
		f(c)
	}
}
