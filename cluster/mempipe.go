package cluster

import (
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// gate is a lock with a way to wait under it for a change, a time or a signal. A sync.Cond knows no deadline, and a
// goroutine that is blocked on a plain mutex stops the clock of testing/synctest: so nobody keeps the lock over a wait.
type gate struct {
	sync.Mutex
	changed chan struct{} // closed by the next change; nil while nobody waits
}

// wakeLocked lets everybody who waits look again.
func (g *gate) wakeLocked() {
	if g.changed != nil {
		close(g.changed)
		g.changed = nil
	}
}

// waitLocked gives the lock up until something has changed, the time has come (zero: never) or done is closed (nil: never).
func (g *gate) waitLocked(until time.Time, done <-chan struct{}) {
	if g.changed == nil {
		g.changed = make(chan struct{})
	}
	changed := g.changed
	g.Unlock()
	defer g.Lock()
	var timeout <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case <-changed:
	case <-timeout:
	case <-done:
	}
}

// memBufferMax is how many bytes one direction of a connection in memory holds before a writer waits: what the buffers of
// two systems do for TCP.
const memBufferMax = 256 << 10

// memPair is a connection in memory: two ends under one lock.
type memPair struct {
	gate
	network *MemNetwork
	ends    [2]memEnd
}

// memEnd is one end of a connection, a net.Conn: what is on its way to it, and what has arrived.
type memEnd struct {
	pair          *memPair
	other         *memEnd
	local, remote net.Addr

	// Guarded by the pair's lock.
	link    memLink    // from the other end to this one
	flight  []memChunk // sent by the other end, not here yet; in order, whatever their times
	inbox   []byte     // here, not read yet
	held    int        // bytes of flight and inbox; <= memBufferMax
	ended   bool       // the other end's Close has arrived
	closed  bool       // by its owner
	broken  error      // the connection was reset
	readBy  time.Time
	writeBy time.Time
}

// memChunk is sent bytes, or with none the sender's Close, and when they are there unless the link is cut.
type memChunk struct {
	at   time.Time
	data []byte
}

func newMemPair(n *MemNetwork, dialer, listener net.Addr, out, back memLink) *memPair {
	p := &memPair{network: n}
	p.ends[0] = memEnd{pair: p, other: &p.ends[1], local: dialer, remote: listener, link: back}
	p.ends[1] = memEnd{pair: p, other: &p.ends[0], local: listener, remote: dialer, link: out}
	return p
}

// Read waits for bytes, the end, the deadline or a reset.
func (e *memEnd) Read(p []byte) (int, error) {
	e.pair.Lock()
	defer e.pair.Unlock()
	for {
		now := time.Now()
		next := e.settleLocked(now)
		switch err := e.brokenLocked(e.readBy, now); {
		case err != nil:
			return 0, e.failed("read", err)
		case len(p) == 0:
			return 0, nil
		case len(e.inbox) > 0:
			n := copy(p, e.inbox)
			e.inbox = e.inbox[n:]
			e.held -= n
			e.pair.wakeLocked()
			return n, nil
		case e.ended:
			return 0, io.EOF
		}
		e.pair.waitLocked(earlier(next, e.readBy), nil)
	}
}

// Write waits for room, unless the other end is known to be closed.
func (e *memEnd) Write(p []byte) (int, error) {
	e.pair.Lock()
	defer e.pair.Unlock()
	for written := 0; ; {
		now := time.Now()
		next := e.settleLocked(now)
		switch err := e.brokenLocked(e.writeBy, now); {
		case err != nil:
			return written, e.failed("write", err)
		case e.ended:
			return written, e.failed("write", syscall.EPIPE)
		}
		if n := min(len(p)-written, memBufferMax-e.other.held); n > 0 {
			e.sendLocked(now, slices.Clone(p[written:written+n]))
			written += n
		}
		if written == len(p) {
			return written, nil
		}
		e.pair.waitLocked(earlier(next, e.writeBy), nil)
	}
}

// Close ends both directions. What was written before still arrives.
func (e *memEnd) Close() error {
	e.pair.Lock()
	if e.closed {
		e.pair.Unlock()
		return e.failed("close", net.ErrClosed)
	}
	e.closed, e.inbox, e.flight = true, nil, nil
	e.sendLocked(time.Now(), nil)
	over := e.other.closed
	e.pair.Unlock()
	if over {
		e.pair.network.forget(e.pair)
	}
	return nil
}

// sendLocked puts bytes, or with none the end, on their way to the other end.
func (e *memEnd) sendLocked(now time.Time, data []byte) {
	o := e.other
	o.flight = append(o.flight, memChunk{now.Add(o.link.latency), data})
	o.held += len(data)
	e.pair.wakeLocked()
}

// settleLocked takes in what has arrived by now, and returns when there will be more; zero where that is not known.
func (e *memEnd) settleLocked(now time.Time) (next time.Time) {
	for len(e.flight) > 0 && !e.link.cut {
		chunk := e.flight[0]
		if chunk.at.After(now) {
			return chunk.at
		}
		e.flight = e.flight[1:]
		e.inbox = append(e.inbox, chunk.data...)
		e.ended = chunk.data == nil
	}
	return time.Time{}
}

// brokenLocked tells why nothing can be read or written any more, whatever has arrived.
func (e *memEnd) brokenLocked(deadline, now time.Time) error {
	switch {
	case e.closed:
		return net.ErrClosed
	case e.broken != nil:
		return e.broken
	case !deadline.IsZero() && !now.Before(deadline):
		return os.ErrDeadlineExceeded
	}
	return nil
}

// failed is an error as a TCP connection returns it.
func (e *memEnd) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: e.local, Addr: e.remote, Err: err}
}

// relink gives the end another link; what had arrived by now has.
func (e *memEnd) relink(link memLink) {
	e.pair.Lock()
	defer e.pair.Unlock()
	e.settleLocked(time.Now())
	e.link = link
	e.pair.wakeLocked()
}

// reset breaks the connection for both ends.
func (p *memPair) reset() {
	p.Lock()
	defer p.Unlock()
	for i := range p.ends {
		p.ends[i].broken = syscall.ECONNRESET
	}
	p.wakeLocked()
}

// LocalAddr is a *net.TCPAddr.
func (e *memEnd) LocalAddr() net.Addr { return e.local }

// RemoteAddr is a *net.TCPAddr.
func (e *memEnd) RemoteAddr() net.Addr { return e.remote }

// SetDeadline sets both deadlines; zero is none.
func (e *memEnd) SetDeadline(t time.Time) error { return e.setDeadlines(t, &e.readBy, &e.writeBy) }

// SetReadDeadline also ends a Read that waits already.
func (e *memEnd) SetReadDeadline(t time.Time) error { return e.setDeadlines(t, &e.readBy) }

// SetWriteDeadline also ends a Write that waits already.
func (e *memEnd) SetWriteDeadline(t time.Time) error { return e.setDeadlines(t, &e.writeBy) }

func (e *memEnd) setDeadlines(t time.Time, deadlines ...*time.Time) error {
	e.pair.Lock()
	defer e.pair.Unlock()
	if e.closed {
		return e.failed("set", net.ErrClosed)
	}
	for _, d := range deadlines {
		*d = t
	}
	e.pair.wakeLocked()
	return nil
}

// earlier returns the earlier of two times, of which a zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
