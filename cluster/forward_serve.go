package cluster

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/neargrid/neargrid/cluster/core"
)

// forwardStream is a Forward stream that a peer has opened. The goroutine that reads it calls Execute; answers gather in mu.out,
// from whatever goroutine. Who has given many that came together writes them, as far as that goes without waiting: the goroutine that
// reads, and who tells of commits (see Together). The rest, and answers that come alone, another goroutine writes. So nobody who
// answers waits for the network, and who executes neither.
type forwardStream struct {
	f         *Forwarder
	conn      *Conn
	from      core.Member
	held      atomic.Int64  // bytes of commands that are not answered; <= forwardHeldMax, but for a larger one that is alone
	wake      chan struct{} // holds one
	gone      chan struct{} // closed when Execute is not called for the stream any more
	executing atomic.Bool   // commands that came together: the goroutine that reads will flush
	output    streamOutput
	slept     uint64 // suspensions of the machine that are known of; who holds output has it

	mu struct {
		sync.Mutex
		out   frameWriter // of answers; its bytes are <= forwardOutMax, but for a larger one that is alone
		idle  bool        // the next answer is to be flushed by somebody: the writer sleeps
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
		kind, message, whole, err := in.frame()
		if err == nil && whole {
			s.executing.Store(true)
			err = s.take(forwardMessage(kind), message)
		}
		if err != nil {
			f.log.Debug("forward stream ended", "from", s.from.String(), "error", err)
			return
		}
		if in.ready() {
			continue
		}
		if f.config.Idle != nil {
			f.config.Idle()
		}
		s.executing.Store(false)
		s.flush()
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
	first := s.mu.idle && !s.executing.Load()
	s.mu.idle = false
	s.mu.Unlock()
	if first && !s.f.holds(s) {
		signal(s.wake)
	}
}

// Together calls tell, which gives answers that belong together, as to commands that were committed together: they are written after
// it, by this goroutine as far as that goes without waiting.
func (f *Forwarder) Together(tell func()) {
	f.together.Lock()
	f.together.tellers++
	f.together.Unlock()
	tell()
	f.together.Lock()
	f.together.tellers--
	streams := f.together.streams
	f.together.streams = nil
	f.together.Unlock()
	for _, s := range streams {
		s.flush()
	}
}

// holds has a stream flushed by a goroutine that is in Together; false where none is.
func (f *Forwarder) holds(s *forwardStream) bool {
	f.together.Lock()
	defer f.together.Unlock()
	if f.together.tellers == 0 {
		return false
	}
	f.together.streams = append(f.together.streams, s)
	return true
}

// flush writes what has gathered, as far as that goes without waiting, or wakes the writer.
func (s *forwardStream) flush() {
	if !s.writeNow() {
		signal(s.wake)
	}
}

// writeNow returns false where something is left to the writer.
func (s *forwardStream) writeNow() bool {
	if !s.output.tryLock() {
		return false
	}
	defer s.output.Unlock()
	out := s.gathered(s.output.buf)
	if len(out) == 0 {
		return true
	}
	if !s.output.writeNow(out) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.idle = len(s.mu.out.buf) == 0
	return s.mu.idle
}

// gathered takes the answers that have gathered, and leaves buf for those to come. Where there are none, the next one is to be flushed; nor are
// there any where the stream ends. Who calls it holds output.
func (s *forwardStream) gathered(buf []byte) []byte {
	s.mu.Lock()
	s.mu.out.flush()
	out, ended := s.mu.out.buf, s.mu.ended
	if s.mu.idle = len(out) == 0; !s.mu.idle {
		s.mu.out.buf = keepBuffer(buf)
	}
	s.mu.Unlock()
	switch {
	case ended || len(out) == 0:
		return buf[:0]
	case s.f.sleeps() != s.slept: // after the answers were given
		s.f.log.Warn("the machine was suspended: what was answered meanwhile is not sent", "peer", s.from.String())
		s.end()
		return nil
	}
	return out
}

// write writes the answers that gather and that nobody else has written, each time all of them, until the stream ends.
func (s *forwardStream) write() {
	s.output.attach(s.conn)
	defer s.output.detach()
	for !s.conn.closed.Load() {
		wrote, err := s.output.write(s.conn, s.gathered)
		switch {
		case err != nil:
			s.end()
			return
		case !wrote:
			<-s.wake
			runtime.Gosched() // as forwardLink.write does
		}
	}
}

func (f *Forwarder) sleeps() uint64 {
	if f.config.Sleeps == nil {
		return 0
	}
	return f.config.Sleeps()
}
