package cluster

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// forwardStream is a Forward stream that a peer has opened. The goroutine that reads it calls Execute; answers gather in mu.out,
// from whatever goroutine, and another one writes what has gathered since it last wrote. So nobody who answers waits for the
// network, and who executes neither.
type forwardStream struct {
	f     *Forwarder
	conn  *Conn
	from  core.Member
	held  atomic.Int64  // bytes of commands that are not answered; <= forwardHeldMax, but for a larger one that is alone
	slept uint64        // the writer's: suspensions of the machine that it knows of
	wake  chan struct{} // holds one
	gone  chan struct{} // closed when Execute is not called for the stream any more

	mu struct {
		sync.Mutex
		out   frameWriter // of answers; its bytes are <= forwardOutMax, but for a larger one that is alone
		idle  bool        // the writer waits to be woken
		ended bool        // answers go nowhere any more
	}
}

// Bounds of a stream that is served; beyond one of them it ends. An honest peer is bounded by its own (see forwardLink), unless
// what has long been over for it is still not answered here.
const (
	forwardOutMax      = 64 << 20  // bytes of answers that are not written
	forwardHeldMax     = 128 << 20 // bytes of commands that are not answered
	forwardHeldCost    = 256       // bytes that a command counts beside its own
	forwardServedBytes = 64 << 10  // a larger buffer of a command is not used again
	forwardServedArgs  = 256       // the same, of its arguments
)

// forwardServed is a command that is being executed. It is used again for others, so each turn has its own number.
type forwardServed struct {
	Forwarded
	buf  []byte        // what Args are parts of
	turn atomic.Uint64 // changes when the command is answered
}

var forwardServedPool = sync.Pool{New: func() any { return new(forwardServed) }}

// serve executes what comes on a stream until it ends.
func (f *Forwarder) serve(conn *Conn) {
	s := &forwardStream{f: f, conn: conn, from: conn.Peer.Member, wake: make(chan struct{}, 1), gone: make(chan struct{})}
	if !f.enter(s) {
		conn.Close()
		return
	}
	defer f.leave(s)
	s.slept = f.sleeps()
	f.running.Go(s.write)
	in := newStreamReader(conn)
	for !conn.closed.Load() {
		kind, message, err := in.next()
		if err == nil {
			err = s.take(forwardMessage(kind), message)
		}
		if err != nil {
			f.log.Debug("forward stream ended", "from", s.from.String(), "error", err)
			return
		}
		if f.config.Idle != nil && !in.ready() {
			f.config.Idle()
		}
	}
}

// enter makes the stream the newest from its peer. An older one, whose end has not been noticed here yet, ends first: what is
// left of it must not be executed among what comes on this one. It returns false once the forwarder is closed.
func (f *Forwarder) enter(s *forwardStream) bool {
	f.streams.Lock()
	if f.streams.closed {
		f.streams.Unlock()
		return false
	}
	older := f.streams.from[s.from]
	f.streams.from[s.from] = s
	f.running.Add(1)
	f.streams.Unlock()
	if older != nil {
		older.end()
		<-older.gone
	}
	return true
}

func (f *Forwarder) leave(s *forwardStream) {
	s.end()
	f.config.Executor.Gone(s.from)
	f.streams.Lock()
	if f.streams.from[s.from] == s {
		delete(f.streams.from, s.from)
	}
	f.streams.Unlock()
	close(s.gone)
	f.running.Done()
}

// end ends the stream; again is no error.
func (s *forwardStream) end() {
	s.mu.Lock()
	s.mu.ended, s.mu.out = true, frameWriter{}
	s.mu.Unlock()
	s.conn.Close()
	signal(s.wake)
}

// take has one command executed. Its bytes are copied: the executor keeps them until it answers.
func (s *forwardStream) take(kind forwardMessage, message []byte) error {
	if kind != forwardCommand {
		return fmt.Errorf("%w: kind %d where a command is expected", errMessage, kind)
	}
	c := forwardServedPool.Get().(*forwardServed)
	c.buf = append(c.buf[:0], message...)
	id, err := decodeForwarded(c.buf, &c.Forwarded)
	if err != nil {
		return err
	}
	cost := int64(len(message) + forwardHeldCost)
	if held := s.held.Add(cost); held > forwardHeldMax && held > cost {
		return fmt.Errorf("more than %d bytes of commands are not answered", forwardHeldMax)
	}
	turn := c.turn.Load()
	s.f.config.Executor.Execute(s.from, &c.Forwarded, func(a Answer) {
		if !c.turn.CompareAndSwap(turn, turn+1) {
			panic("cluster: a forwarded command was answered twice")
		}
		s.answer(id, a)
		c.release() // after that: the reply may be a part of an argument
		s.held.Add(-cost)
	})
	return nil
}

func (c *forwardServed) release() {
	if cap(c.buf) > forwardServedBytes {
		c.buf = nil
	}
	clear(c.Args)
	if cap(c.Args) > forwardServedArgs {
		c.Args = nil
	}
	forwardServedPool.Put(c)
}

// answer has an answer written, and does not wait for that.
func (s *forwardStream) answer(id uint64, a Answer) {
	size := answerHeaderMax + len(a.Reply)
	var large []byte
	if size+2 > frameSharedBytes {
		large = appendAnswer(make([]byte, 0, size), id, &a)
	}
	s.mu.Lock()
	if s.mu.ended {
		s.mu.Unlock()
		return
	}
	out := &s.mu.out
	if gathered := len(out.buf); gathered > 0 && gathered+size > forwardOutMax {
		s.mu.Unlock()
		s.f.log.Debug("a peer does not take its answers", "peer", s.from.String(), "bytes", gathered)
		s.end()
		return
	}
	if large != nil {
		out.add(messageKind(forwardAnswer), large)
	} else {
		out.begin(messageKind(forwardAnswer), size)
		out.buf = appendAnswer(out.buf, id, &a)
		out.end()
	}
	wake := s.mu.idle
	s.mu.idle = false
	s.mu.Unlock()
	if wake {
		signal(s.wake)
	}
}

// write writes the answers that gather, each time all of them, until the stream ends.
func (s *forwardStream) write() {
	var buf []byte
	for {
		s.mu.Lock()
		s.mu.out.flush()
		out, ended := s.mu.out.buf, s.mu.ended
		if s.mu.idle = len(out) == 0; !s.mu.idle {
			s.mu.out.buf = keepBuffer(buf)
		}
		s.mu.Unlock()
		switch {
		case ended:
			return
		case s.f.sleeps() != s.slept: // after the answers were given
			s.f.log.Warn("the machine was suspended: what was answered meanwhile is not sent", "peer", s.from.String())
			s.end()
			return
		case len(out) == 0:
			<-s.wake
			runtime.Gosched() // as forwardLink.write does
			continue
		}
		if err := writeForwards(s.conn, out); err != nil {
			s.end()
			return
		}
		buf = out
	}
}

func (f *Forwarder) sleeps() uint64 {
	if f.config.Sleeps == nil {
		return 0
	}
	return f.config.Sleeps()
}

// writeForwards writes frames. Every piece must get away in time.
func writeForwards(conn *Conn, frames []byte) error {
	for len(frames) > 0 {
		piece := frames[:min(len(frames), linkWriteBytes)]
		if err := conn.SetWriteDeadline(time.Now().Add(linkWriteMax)); err != nil {
			return err
		}
		if _, err := conn.Write(piece); err != nil {
			return err
		}
		frames = frames[len(piece):]
	}
	return nil
}
