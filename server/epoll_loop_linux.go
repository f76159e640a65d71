package server

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// epollEventsMax is how many events one turn takes.
const epollEventsMax = 256

// epollLoop is one event loop. Everything in it but the mailbox belongs to the goroutine that runs it.
//
// A turn: wait; read and execute what has arrived; run what was posted; tick who is due; flush; write the
// replies. Replies are written at the end, so that all of a pipeline's leave in one piece and what must come before them does.
type epollLoop struct {
	driver  *epollDriver
	epfd    int
	wakeFD  int // an eventfd, edge-triggered: it is written to, and never read
	mailbox mailbox
	read    []byte // what was read last; only one session at a time looks at it
	events  [epollEventsMax]unix.EpollEvent

	conns      []*epollConn // by descriptor; nil where it isn't ours
	count      int          // of conns
	generation int32        // of the newest connection
	dirty      []*epollConn // to be settled at the end of this turn
	settling   []*epollConn // the slice that was dirty the last time, to be filled next
	stuck      []*epollConn // each with output that the kernel does not take, or with a deadline
	lingering  int          // how many of conns linger

	reads, writes int64   // of this turn
	traffic       traffic // of the turns before; one addition a turn, not one for each connection

	sleeps   uint64 // when it last looked
	started  time.Time
	now      time.Duration // since started, when this turn's wait ended
	nextTick time.Duration
	slice    int  // of conns, ticked last
	paused   bool // listeners are, until the next tick
	draining bool // Shutdown has been called
}

func newEpollLoop(d *epollDriver) (*epollLoop, error) {
	l := &epollLoop{driver: d, started: time.Now(), read: make([]byte, readSizeMax), wakeFD: -1}
	var err error
	if l.epfd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	if l.wakeFD, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err == nil {
		err = unix.EpollCtl(l.epfd, unix.EPOLL_CTL_ADD, l.wakeFD, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(l.wakeFD)})
	}
	if err != nil {
		l.release()
		return nil, err
	}
	l.mailbox.wake = func() { rawWrite(l.wakeFD, eventfdOne[:]) }
	return l, nil
}

// release closes the loop's descriptors. It does not run, and its mailbox is stopped or was never used.
func (l *epollLoop) release() {
	unix.Close(l.epfd)
	if l.wakeFD >= 0 {
		unix.Close(l.wakeFD)
	}
}

// run turns the loop until it has drained.
//
// The thread is the loop's own. Otherwise it may be another one after every wait, as blocking for more than about 20 us
// makes the Go runtime give the loop's processor away. What was tried, in us of server CPU per command, medians over
// rounds that alternated with redis-server 7.0.15 on two busy cores (50 clients, redis-benchmark; repeats differ by up
// to 1.0 without a pipeline, 0.1 with):
//
//	                          redis  look, block  block only  look, yield, block  own thread  own thread, block only
//	PING, one loop              6.4          6.9         7.6                 8.3         6.5                     6.7
//	SET, one loop               7.7          7.9         7.6                   -         7.6                     7.8
//	SET pipeline 16, 2 loops    1.3          1.4         1.3                   -         1.2                       -
//	GET pipeline 16, 2 loops    1.3          1.3         1.2                   -         1.1                       -
//
// With two loops and pipeline 16 an own thread also brings a fifth of throughput. recvfrom instead of read and write
// instead of sendto made no difference that could be told from the noise.
func (l *epollLoop) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer l.mailbox.stop()
	for !l.draining || l.count > 0 {
		l.turn()
	}
}

func (l *epollLoop) turn() {
	n := l.wait()
	l.now = time.Since(l.started)
	for i := range l.events[:n] {
		l.handle(&l.events[i])
	}
	l.mailbox.run()
	if l.now >= l.nextTick {
		l.nextTick = l.now + tickPeriod
		l.tick()
	}
	if l.driver.flush != nil {
		l.driver.flush()
	}
	suspect := l.driver.sleeps != nil && len(l.dirty) > 0 && l.slept(l.driver.sleeps())
	l.dirty, l.settling = l.settling[:0], l.dirty
	for i, c := range l.settling {
		l.settling[i] = nil
		c.dirty = false
		if suspect {
			c.close()
			continue
		}
		c.settle()
	}
	l.countTraffic()
}

// countTraffic adds up what the turn has read and written.
func (l *epollLoop) countTraffic() {
	if l.reads > 0 {
		l.traffic.reads.Add(l.reads)
	}
	if l.writes > 0 {
		l.traffic.writes.Add(l.writes)
	}
	l.reads, l.writes = 0, 0
}

// slept tells whether the machine was suspended since the last look.
func (l *epollLoop) slept(sleeps uint64) bool {
	slept := sleeps != l.sleeps
	l.sleeps = sleeps
	return slept
}

// wait returns the number of events there are, and blocks until there is one if there is nothing else to do.
//
// It looks before it blocks, as a look needs no word with the Go scheduler; blocking does, or every garbage collection
// would wait for the next request.
func (l *epollLoop) wait() int {
	if n := rawEpollWait(l.epfd, l.events[:]); n > 0 {
		return n
	}
	if len(l.dirty) > 0 || !l.mailbox.sleep() {
		return 0
	}
	n, _ := unix.EpollWait(l.epfd, l.events[:], l.timeoutMS()) // -1 when a signal has come: a turn without events
	l.mailbox.awake()
	return max(n, 0)
}

// timeoutMS is how long the loop may block: until the next tick, or for good where nobody needs ticks.
func (l *epollLoop) timeoutMS() int {
	if l.count == 0 && !l.paused {
		return -1
	}
	left := l.nextTick - time.Since(l.started)
	return int(max(0, (left+time.Millisecond-1)/time.Millisecond))
}

// handle looks at one event. Descriptors that are no connections have generation 0.
func (l *epollLoop) handle(e *unix.EpollEvent) {
	if e.Pad != 0 {
		// An event of a connection that was closed earlier in this turn must not reach the next one with its descriptor.
		if c := l.conns[e.Fd]; c != nil && c.generation == e.Pad {
			c.ready(e.Events)
		}
		return
	}
	if int(e.Fd) == l.wakeFD {
		return
	}
	l.acceptFrom(int(e.Fd))
}

// tick passes time to sessions: to stuck ones each time, to the others in slices, so that 10,000 idle ones cost little.
func (l *epollLoop) tick() {
	now := time.Now()
	l.slice = (l.slice + 1) % tickSlices
	for fd := l.slice; fd < len(l.conns); fd += tickSlices {
		if c := l.conns[fd]; c != nil && !c.listed {
			c.tick(now)
		}
	}
	still := l.stuck[:0]
	for _, c := range l.stuck {
		c.tick(now)
		if c.fd >= 0 && (c.blocked || c.deadline != 0) {
			still = append(still, c)
			continue
		}
		c.listed = false
	}
	clear(l.stuck[len(still):])
	l.stuck = still
	if l == l.driver.loops[0] {
		l.acceptTick()
	}
}

// drain lets every session finish, and the loop with the last of them.
func (l *epollLoop) drain() {
	l.draining = true
	for _, c := range l.conns {
		if c != nil && c.session != nil {
			c.end()
		}
	}
}

// cut closes every connection as it is.
func (l *epollLoop) cut() {
	for _, c := range l.conns {
		if c != nil {
			c.close()
		}
	}
}
