package server

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// epollDriver serves plain TCP and Unix connections from a few event loops, each one goroutine with its own epoll
// instance. Loop 0 also accepts, and hands connections out round robin.
type epollDriver struct {
	accept    acceptor
	keepAlive func() int // seconds; 0 = off
	log       *slog.Logger
	doors     *listeners
	listeners []epollListener // written before Start, then loop 0's
	flush     func()          // see OnTurnEnd; nil: there is none
	sleeps    func() uint64   // the same
	loops     []*epollLoop
	traffic   []*traffic // of each loop; stays when the loops are gone
	next      int        // loop 0's: the loop that gets the next connection
	spare     int        // loop 0's: a descriptor to give up when there are no others; -1 = lost
	refused   int        // loop 0's: connections refused for want of a descriptor, since it was logged

	started   bool
	running   sync.WaitGroup
	closeOnce sync.Once
}

// epollListener is a door, as a descriptor of our own.
type epollListener struct {
	fd   int
	door door
}

// newDriver makes the driver of this system.
func newDriver(loops int, ls *listeners, accept acceptor, keepAliveSeconds func() int, log *slog.Logger) (driver, error) {
	return newEpollDriver(loops, ls, accept, keepAliveSeconds, log)
}

// newEpollDriver makes a driver with the given number of loops; 0 = one less than there are cores, at least one.
// It owns ls from here on.
func newEpollDriver(loops int, ls *listeners, accept acceptor, keepAliveSeconds func() int, log *slog.Logger) (driver, error) {
	if loops <= 0 {
		loops = max(1, runtime.GOMAXPROCS(0)-1)
	}
	d := &epollDriver{accept: accept, keepAlive: keepAliveSeconds, log: log, doors: ls, spare: openSpare()}
	for _, l := range ls.all() {
		fd, err := ownDescriptor(l.(syscall.Conn))
		if err != nil {
			d.release()
			return nil, fmt.Errorf("server: listener: %w", err)
		}
		d.listeners = append(d.listeners, epollListener{fd, ls.doorOf(l)})
		l.Close() // the socket lives on in fd; this takes it off the Go runtime's poller
	}
	for range loops {
		l, err := newEpollLoop(d)
		if err != nil {
			d.release()
			return nil, fmt.Errorf("server: event loop: %w", err)
		}
		d.loops = append(d.loops, l)
		d.traffic = append(d.traffic, &l.traffic)
	}
	for _, door := range d.listeners {
		if err := d.loops[0].watchListener(door); err != nil {
			d.release()
			return nil, fmt.Errorf("server: event loop: %w", err)
		}
	}
	return d, nil
}

// ownDescriptor duplicates a socket's descriptor.
func ownDescriptor(c syscall.Conn) (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	if controlErr := raw.Control(func(s uintptr) {
		fd, err = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0)
	}); controlErr != nil {
		return -1, controlErr
	}
	return fd, err
}

func (d *epollDriver) OnTurnEnd(flush func(), sleeps func() uint64) {
	d.flush, d.sleeps = flush, sleeps
}

func (d *epollDriver) Traffic() (reads, writes int64) {
	for _, t := range d.traffic {
		reads += t.reads.Load()
		writes += t.writes.Load()
	}
	return reads, writes
}

func (d *epollDriver) Start() error {
	d.started = true
	for _, l := range d.loops {
		d.running.Go(l.run)
	}
	return nil
}

func (d *epollDriver) CloseListeners() {
	d.closeOnce.Do(func() {
		if closed := make(chan struct{}); d.started && d.loops[0].mailbox.post(func() { d.closeDoors(); close(closed) }) {
			<-closed
			return
		}
		d.closeDoors()
	})
}

// closeDoors runs on loop 0, or where there is none.
func (d *epollDriver) closeDoors() {
	for _, door := range d.listeners {
		unix.Close(door.fd)
	}
	d.listeners = nil
	d.doors.close()
}

func (d *epollDriver) Shutdown(ctx context.Context) error {
	d.CloseListeners()
	if !d.started {
		d.release()
		return nil
	}
	d.started = false
	// By way of loop 0, so that connections which it has handed to other loops arrive there before this does.
	d.loops[0].mailbox.post(func() {
		for _, l := range d.loops {
			l.mailbox.post(l.drain)
		}
	})
	stopped := make(chan struct{})
	go func() { d.running.Wait(); close(stopped) }()
	var err error
	select {
	case <-stopped:
	case <-ctx.Done():
		err = ctx.Err()
		for _, l := range d.loops {
			l.mailbox.post(l.cut)
		}
		<-stopped
	}
	d.release()
	return err
}

// release closes what the driver itself holds. No loop runs.
func (d *epollDriver) release() {
	d.closeDoors()
	for _, l := range d.loops {
		l.release()
	}
	d.loops = nil
	if d.spare >= 0 {
		unix.Close(d.spare)
		d.spare = -1
	}
}
