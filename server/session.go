package server

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

const (
	// inputPauseBytes: a session that cannot execute keeps so much unread input before it stops reading.
	inputPauseBytes = 64 << 10
	// outputPauseBytes: a session with more unsent output executes nothing until the client has read.
	outputPauseBytes = 1 << 20
	// pendingMax is how many replies may wait at once; past it nothing more is executed.
	pendingMax = 1024
	// bufferKeepBytes: buffers that grew beyond are not kept. What is kept goes when the session has been idle for a second.
	bufferKeepBytes = 64 << 10
	// outputKeepBytes is the same for the output: a client that pipelines large replies would have it grow anew each time.
	outputKeepBytes = 512 << 10
)

// Session is one connection without its I/O: bytes in, bytes out, completions between. Everything in it belongs to its
// loop; other goroutines reach it by loop.Post only.
//
// Replies leave in the order of their commands. As long as no reply is pending they go straight to out; behind a
// pending one they gather in segments, and move to out when all before them are there.
type Session struct {
	srv  *Server
	loop loop
	info connInfo
	id   int64

	reader   protocol.Reader
	in       []byte // input that is not executed yet: an incomplete command, or what waits behind a barrier
	out      []byte // replies ready to be sent; sent of it are gone
	sent     int
	queue    []segment // from the first pending reply on; queue[0] is never ready
	segments *segments // what queue begins in; nil where it is empty

	unread  int  // while a command is being executed: bytes of input from its first one on
	current int  // the same: bytes of the command itself
	held    held // by a command that runs off the loop

	barrier    int       // > 0: something must end before the next command is executed
	paused     bool      // the next command waits for the end of CLIENT PAUSE
	closing    bool      // no further input is executed; close when out is sent
	killed     bool      // close at once
	ended      bool      // the peer has finished sending
	replies    replyMode // CLIENT REPLY
	nextTicket uint64

	db       int
	resp     int // 2 or 3
	authed   bool
	unknown  time.Duration // while not authed: since when
	name     string
	multi    *transaction
	watching []watched
	noEvict  bool
	travels  travels
	landings landings
	tracker  *tracker // nil: CLIENT TRACKING was never on
	as       origin   // GRID.ORIGIN: whose changes the next command makes
	inbox    inbox    // pushes that it is to get
	// subscribed: invalidations are sent to it as messages.
	subscribed atomic.Bool
	written    written    // for WAIT
	loads      loadTokens // that it was given

	created  time.Duration // by the server's clock
	active   time.Duration // when something was last read from the client, or a large reply went on being written
	overSoft time.Duration // since when the output is over its soft limit; 0 = it is not
	last     *Row          // the last command
}

// held is what a command takes that runs off the loop: bytes of its input, which stands in no buffer any more, and of its arguments.
type held struct{ input, args int }

// segment is a stretch of the reply queue: one pending reply, or ready bytes behind one.
type segment struct {
	ticket uint64 // of a pending reply; 0 = ready
	buf    []byte
}

func (srv *Server) newSession(l loop, info connInfo) sessionIO {
	s := &Session{srv: srv, loop: l, info: info, resp: 2, created: srv.clock(), id: srv.nextSessionID.Add(1)}
	s.active, s.unknown = s.created, s.created
	s.authed = srv.config.RequirePass() == ""
	s.reader.Unauthenticated = !s.authed
	srv.stats.connections.Add(1)
	if !srv.register(s) {
		s.out = append(s.out, "-ERR max number of clients reached\r\n"...)
		s.closing = true
		srv.stats.rejected.Add(1)
	}
	return s
}

// Feed executes what p completes. Bytes that cannot be executed yet are kept.
func (s *Session) Feed(p []byte) {
	s.srv.stats.bytesIn.Add(int64(len(p)))
	if s.closing {
		return
	}
	if len(s.in) > 0 {
		s.keep(p)
		s.resume()
		return
	}
	if n := s.execute(p); n < len(p) && !s.closing {
		s.keep(p[n:])
	}
}

// keep appends to the unexecuted input. The buffer doubles with what has arrived; never with what was only announced.
func (s *Session) keep(p []byte) {
	if need := len(s.in) + len(p); need > cap(s.in) {
		size := 2 * need
		if want := len(s.in) + len(p) + s.reader.Need(); want < size && want > need {
			size = want
		}
		grown := make([]byte, len(s.in), size)
		copy(grown, s.in)
		s.in = grown
	}
	s.in = append(s.in, p...)
	if int64(len(s.in)) > s.srv.config.ClientQueryBufferLimit.Load() {
		s.srv.log.Warn("closing client: query buffer limit reached", "client", s.id, "addr", s.info.Remote, "bytes", len(s.in))
		s.kill()
	}
}

// resume executes kept input.
func (s *Session) resume() {
	if len(s.in) == 0 || s.closing {
		return
	}
	n := s.execute(s.in)
	switch {
	case n == len(s.in) || s.closing:
		s.in = s.in[:0]
		if cap(s.in) > bufferKeepBytes || !s.blocked() {
			s.srv.dropped(cap(s.in))
			s.in = nil
		}
	case n > 0:
		s.in = s.in[:copy(s.in, s.in[n:])]
	}
}

// blocked tells whether the next command has to wait.
func (s *Session) blocked() bool {
	return s.barrier > 0 || s.paused || s.closing || s.pendingBytes() > outputPauseBytes || len(s.queue) >= pendingMax
}

// execute runs the complete commands at the start of buf and returns how many bytes they took.
func (s *Session) execute(buf []byte) (consumed int) {
	c := s.srv.calls.Get().(*Call)
	c.begin(s)
	s.active = c.now
	s.reader.MaxBulk = int(s.srv.config.ProtoMaxBulkLen.Load())
	hard := s.hardOutputLimit()
	for consumed < len(buf) && !s.blocked() {
		args, n, ok := c.ahead.take()
		if !ok {
			var err error
			n, ok, err = s.reader.Parse(buf[consumed:])
			if err != nil {
				s.refuseInput(c, err)
				break
			}
			if !ok {
				break
			}
			args = s.reader.Args
			if consumed+n < len(buf) {
				c.lookAhead(buf[consumed+n:])
			}
		}
		if len(args) > 0 {
			if s.srv.pauses.mode.Load() != pauseNone && s.mustPause(args) {
				s.pause()
				break
			}
			s.unread, s.current = len(buf)-consumed, n
			s.command(c, args)
		}
		consumed += n
		s.putBuffer(c.W.Buf) // so that blocked and limitOutput see it
		s.limitOutput(hard)
	}
	s.unread, s.current = 0, 0
	s.closeGate(c)
	c.finish()
	s.srv.calls.Put(c)
	return consumed
}

// refuseInput answers input that is no command, and ends the session.
func (s *Session) refuseInput(c *Call, err error) {
	s.srv.stats.protocolErrors.Add(1)
	if s.replies == replyOn {
		c.W.Error(err.Error())
	}
	s.closing = true
}

// command dispatches one command line and puts its reply in its place in the queue.
func (s *Session) command(c *Call, args [][]byte) {
	c.Args = args
	if s.tracker == nil && s.as == (origin{}) {
		s.answer(c)
	} else {
		c.asReader(s.tracker)
		s.answer(c)
		s.endOrigin(c)
	}
	if s.tracker != nil { // it may have got one
		s.afterCommand(c)
	}
}

// answer dispatches a command, and takes the reply back where none is wanted.
func (s *Session) answer(c *Call) {
	mode, before, segments := s.replies, len(c.W.Buf), len(s.queue)
	c.pushed = 0
	s.dispatch(c)
	if s.replies == replySkipNext {
		s.replies = replySkip
		return
	}
	s.giveNow(c, mode == replyOn)
	if mode == replyOn || s.replies == replyOn { // CLIENT REPLY ON answers also where it would have been skipped
		return
	}
	if len(s.queue) != segments {
		before, c.pushed = 0, 0
	}
	c.W.Buf = c.W.Buf[:max(before, c.pushed)]
	if mode == replySkip {
		s.replies = replyOn
	}
}

// replyMode is what CLIENT REPLY has set.
type replyMode uint8

const (
	replyOn       replyMode = iota
	replyOff                // no replies until CLIENT REPLY ON
	replySkip               // none to this command
	replySkipNext           // none to the next one: set by CLIENT REPLY SKIP itself
)

// out and the queue, as seen by a Call: replies are written into the buffer where the next ready bytes belong.
func (s *Session) takeBuffer() []byte {
	if len(s.queue) == 0 {
		return s.out
	}
	if last := &s.queue[len(s.queue)-1]; last.ticket == 0 {
		return last.buf
	}
	s.queue = append(s.queue, segment{})
	return nil
}

func (s *Session) putBuffer(buf []byte) {
	if len(s.queue) == 0 {
		s.out = buf
		return
	}
	s.queue[len(s.queue)-1].buf = buf
}

// segments are a session's reply queue while it is short: most pipelines' are, and a session without pending replies has none.
type segments [segmentsShared]segment

const segmentsShared = 32

var segmentsPool = sync.Pool{New: func() any { return new(segments) }}

// pend ends the ready bytes with a reply that comes later, by Complete with the ticket returned.
func (s *Session) pend(c *Call) (ticket uint64) {
	s.closeGate(c)
	s.putBuffer(c.W.Buf)
	s.nextTicket++
	if s.queue == nil {
		s.segments = segmentsPool.Get().(*segments)
		s.queue = s.segments[:0]
	}
	s.queue = append(s.queue, segment{ticket: s.nextTicket})
	c.W.Buf = s.takeBuffer()
	return s.nextTicket
}

// Complete delivers a pending reply. It runs on the session's loop, outside Feed.
func (s *Session) Complete(ticket uint64, reply []byte) {
	for i := range s.queue {
		if s.queue[i].ticket == ticket {
			s.queue[i] = segment{buf: reply}
			break
		}
	}
	ready := 0
	for ready < len(s.queue) && s.queue[ready].ticket == 0 {
		s.out = append(s.out, s.queue[ready].buf...)
		ready++
	}
	clear(s.queue[:ready])
	s.queue = s.queue[ready:]
	if len(s.queue) == 0 {
		s.dropQueue()
	}
	s.limitOutput(s.hardOutputLimit())
	s.resume()
	s.loop.Touch(s)
}

// dropQueue forgets the reply queue.
func (s *Session) dropQueue() {
	if s.segments != nil {
		clear(s.segments[:])
		segmentsPool.Put(s.segments)
	}
	s.queue, s.segments = nil, nil
}

// EOF is the peer's end of sending: what is complete is still answered.
func (s *Session) EOF() {
	s.ended = true // the rest is up to Wants: input may be kept that waits for output to be sent
}

// Out is what can be written now.
func (s *Session) Out() []byte {
	if s.killed {
		return nil
	}
	return s.out[s.sent:]
}

// Sent notes that n bytes of Out are written.
func (s *Session) Sent(n int) {
	s.srv.stats.bytesOut.Add(int64(n))
	s.sent += n
	if s.sent < len(s.out) {
		s.active = s.srv.clock()
		s.deliverPosted()
		return
	}
	s.out, s.sent = s.out[:0], 0
	if cap(s.out) > outputKeepBytes {
		s.srv.dropped(cap(s.out))
		s.out = nil
	}
	s.deliverPosted()
	s.resume()
}

// Wants tells the driver what to do next.
func (s *Session) Wants() (read, write, close bool) {
	if s.ended && s.barrier == 0 && len(s.queue) == 0 && (len(s.in) == 0 || s.paused || !s.blocked()) {
		s.closing = true
	}
	if s.killed {
		return false, false, true
	}
	read = !s.closing && !s.ended && (!s.blocked() || len(s.in) < inputPauseBytes)
	return read, len(s.out) > s.sent, s.closing && len(s.queue) == 0
}

// kill closes the connection at once.
func (s *Session) kill() { s.killed, s.closing = true, true }

// Closed releases what the session holds.
func (s *Session) Closed() {
	s.kill()
	s.unwatch()
	s.untrack()
	s.dropParked()
	s.goOn()
	s.srv.unregister(s)
	if s.srv.upstream != nil {
		s.srv.upstream.Closed(uint64(s.id))
	}
	s.in, s.out, s.multi = nil, nil, nil
	s.dropQueue()
	s.endLoads()
}

// pendingBytes is the size of the output that waits to be sent or for its turn.
func (s *Session) pendingBytes() int {
	n := len(s.out) - s.sent
	for i := range s.queue {
		n += len(s.queue[i].buf)
	}
	return n
}
