package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// forwardLink is the Forward stream to one start of a node, and the commands for it. A command goes through
//
//	add    its message is appended to mu.out, where it waits: it is unsent, and may still be taken out again (R24)
//	take   the writer takes all that waits, as frames, for one Write: from here on it counts as sent, whatever comes of the Write
//	done   by its answer, or its time is over, or the stream or the link ends: whichever is first empties its slot
//
// What is unsent outlives a stream, for the next one. What was sent does not: nobody knows what has become of it.
type forwardLink struct {
	f         *Forwarder
	to        core.Member
	wake      chan struct{}              // holds one
	unflushed atomic.Bool                // something waits for flush
	known     atomic.Pointer[core.Table] // the newest by which commands may be sent here, as far as was asked
	output    streamOutput
	spare     struct { // of the last take, used again; who holds output has it
		out    []byte
		unsent []unsentForward
	}
	stop context.CancelFunc
	done context.Context

	mu struct {
		sync.Mutex
		slots  []forwardSlot // len <= forwardPendingMax
		free   []uint32      // indexes of empty slots
		bytes  int           // of commands in slots; <= forwardBytesMax, but for a larger one that is alone
		due    time.Duration // no command is over before
		last   uint64        // number of the newest command
		sent   uint64        // number of the newest that was taken: all up to here count as sent
		out    []byte        // the unsent ones' messages; of large ones the frames
		unsent []unsentForward
		idle   bool // the writer waits to be woken
		ended  bool // nothing is added any more

		conn  *Conn         // the stream; nil: there is none
		heard time.Duration // when the peer last said something
		quiet time.Duration // since when a command is sent that got no answer in time, nor any other since; 0: there is none
	}
}

// forwardSlot is a command that is not done. A request's id is its number and, in the low bits, its slot.
type forwardSlot struct {
	number   uint64 // from 1 in the order of sending
	done     func(Answer)
	began    time.Duration
	deadline time.Duration
	size     int // bytes of its message, or of its frames
}

// unsentForward is a command in mu.out; they are there in this order, without gaps.
type unsentForward struct {
	slot   uint32
	size   int
	framed bool // it is too large to share a frame
}

// Bounds of a link.
const (
	forwardSlotBits    = 16
	forwardPendingMax  = 1 << forwardSlotBits // commands, unsent and sent
	forwardBytesMax    = 64 << 20             // of them
	forwardBufferKeep  = 1 << 20              // bytes; a larger buffer is not used again
	forwardBatchMax    = 256                  // answers taken together
	forwardConnectMax  = time.Second          // for one attempt
	forwardPauseFirst  = 20 * time.Millisecond
	forwardPauseLonger = 200 * time.Millisecond
	// forwardQuietMax: a stream on which a command gets no answer in time, nor anything else comes for so long, is given up.
	// The system may take minutes to find that its packets go nowhere, and after a cut as long to try again.
	forwardQuietMax = time.Second
)

func newForwardLink(f *Forwarder, to core.Member) *forwardLink {
	l := &forwardLink{f: f, to: to, wake: make(chan struct{}, 1)}
	l.mu.due = math.MaxInt64
	l.done, l.stop = context.WithCancel(f.closing)
	return l
}

// add takes a command, unless the link is full or has ended.
func (l *forwardLink) add(c *Forwarded, done func(Answer), now time.Duration) bool {
	size := forwardSizeMax(c)
	var large []byte
	if size+2 > frameSharedBytes {
		large = appendForwarded(make([]byte, 0, size), 0, c)
	}
	deadline := now + c.Timeout

	l.mu.Lock()
	full := len(l.mu.free) == 0 && len(l.mu.slots) == forwardPendingMax || l.mu.bytes > 0 && l.mu.bytes+size > forwardBytesMax
	if full || l.mu.ended {
		l.mu.Unlock()
		return false
	}
	var slot uint32
	if free := l.mu.free; len(free) > 0 {
		slot, l.mu.free = free[len(free)-1], free[:len(free)-1]
	} else {
		slot = uint32(len(l.mu.slots))
		l.mu.slots = append(l.mu.slots, forwardSlot{})
	}
	l.mu.last++
	id := l.mu.last<<forwardSlotBits | uint64(slot)
	start := len(l.mu.out)
	if large == nil {
		l.mu.out = appendForwarded(l.mu.out, id, c)
	} else {
		binary.LittleEndian.PutUint64(large, id)
		l.mu.out = appendFrames(l.mu.out, messageKind(forwardCommand), large)
	}
	size = len(l.mu.out) - start
	l.mu.unsent = append(l.mu.unsent, unsentForward{slot, size, large != nil})
	l.mu.slots[slot] = forwardSlot{number: l.mu.last, done: done, began: now, deadline: deadline, size: size}
	l.mu.bytes += size
	l.mu.due = min(l.mu.due, deadline)
	if l.mu.idle {
		l.mu.idle = false
		l.unflushed.Store(true)
	}
	l.mu.Unlock()
	return true
}

// flush sends what was added while the writer slept, as far as that goes without waiting, or wakes the writer.
func (l *forwardLink) flush() {
	if l.unflushed.Load() && l.unflushed.Swap(false) && !l.writeNow() {
		signal(l.wake)
	}
}

// writeNow sends what has gathered. It returns false where something is left to the writer.
func (l *forwardLink) writeNow() bool {
	if !l.output.tryLock() {
		return false
	}
	defer l.output.Unlock()
	out, ok := l.take(l.output.buf)
	if !ok {
		return true
	}
	if !l.output.writeNow(out) {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.idle = len(l.mu.out) == 0
	return l.mu.idle
}

// releaseLocked empties a slot, and returns whom to tell of its command.
func (l *forwardLink) releaseLocked(slot uint32) func(Answer) {
	s := &l.mu.slots[slot]
	done := s.done
	l.mu.bytes -= s.size
	*s = forwardSlot{}
	l.mu.free = append(l.mu.free, slot)
	return done
}

// take puts all that is unsent, which from now on counts as sent, into frames, in buf. Where there is nothing it returns false, and the next
// add wakes the link. Who calls it holds output.
func (l *forwardLink) take(buf []byte) (out []byte, ok bool) {
	l.mu.Lock()
	if len(l.mu.out) == 0 {
		l.mu.idle = true
		l.mu.Unlock()
		return nil, false
	}
	messages, unsent := l.mu.out, l.mu.unsent
	l.mu.out, l.mu.unsent = l.spare.out, l.spare.unsent
	l.mu.sent = l.mu.last
	l.mu.Unlock()
	w := frameWriter{buf: keepBuffer(buf)}
	rest := messages
	for _, u := range unsent {
		if message := rest[:u.size]; u.framed {
			w.flush()
			w.buf = append(w.buf, message...)
		} else {
			w.begin(messageKind(forwardCommand), u.size)
			w.buf = append(w.buf, message...)
			w.end()
		}
		rest = rest[u.size:]
	}
	w.flush()
	l.spare.out, l.spare.unsent = keepBuffer(messages), unsent[:0]
	return w.buf, true
}

// keepBuffer empties a buffer to be used again, unless it has grown too large for that.
func keepBuffer(buf []byte) []byte {
	if cap(buf) > forwardBufferKeep {
		return nil
	}
	return buf[:0]
}

// forwardOver is a command that ends without an answer.
type forwardOver struct {
	done    func(Answer)
	outcome Outcome
}

// endLocked ends the commands that f picks, and takes those out that are unsent.
func (l *forwardLink) endLocked(pick func(s *forwardSlot, sent bool) bool) (over []forwardOver) {
	unsent := false
	for i := range l.mu.slots {
		s := &l.mu.slots[i]
		if s.done == nil {
			continue
		}
		sent := s.number <= l.mu.sent
		if !pick(s, sent) {
			continue
		}
		outcome := Unknown
		if !sent {
			outcome, unsent = NotExecuted, true
		}
		over = append(over, forwardOver{l.releaseLocked(uint32(i)), outcome})
	}
	if unsent {
		l.cutLocked()
	}
	return over
}

// cutLocked removes the messages of unsent commands whose slots are empty: from here on nothing can send them.
func (l *forwardLink) cutLocked() {
	from := l.mu.out
	out, unsent := l.mu.out[:0], l.mu.unsent[:0]
	for _, u := range l.mu.unsent {
		if l.mu.slots[u.slot].done != nil {
			out, unsent = append(out, from[:u.size]...), append(unsent, u)
		}
		from = from[u.size:]
	}
	l.mu.out, l.mu.unsent = out, unsent
}

// tell ends commands, without the lock: done may well send the next one here.
func (l *forwardLink) tell(over []forwardOver) {
	version := l.f.config.Table().Version
	for _, o := range over {
		a := Answer{Outcome: o.outcome}
		if o.outcome == NotExecuted {
			a.Version = version
		}
		o.done(a)
	}
}

// sweep ends the commands whose time is over, and a stream on which nothing comes any more.
func (l *forwardLink) sweep(now time.Duration) {
	l.mu.Lock()
	if now < l.mu.due {
		l.mu.Unlock()
		return
	}
	l.mu.due = math.MaxInt64
	over := l.endLocked(func(s *forwardSlot, sent bool) bool {
		if s.deadline > now {
			l.mu.due = min(l.mu.due, s.deadline)
			return false
		}
		if sent && s.began > l.mu.heard && l.mu.quiet == 0 {
			l.mu.quiet = s.began
		}
		return true
	})
	var dead *Conn
	if l.mu.quiet > 0 && now-l.mu.quiet >= forwardQuietMax {
		dead = l.mu.conn
	}
	l.mu.Unlock()
	if dead != nil {
		dead.Close()
	}
	l.tell(over)
}

// end ends the link with all its commands.
func (l *forwardLink) end() {
	l.stop()
	l.mu.Lock()
	l.mu.ended = true
	over := l.endLocked(func(*forwardSlot, bool) bool { return true })
	l.mu.Unlock()
	l.tell(over)
}

// run connects the link when there is something to send, until it ends.
func (l *forwardLink) run() {
	pause := forwardPauseFirst
	for l.awaitUnsent() {
		conn, err := l.connect()
		if err == nil {
			began := time.Now()
			err = l.serve(conn)
			if time.Since(began) > forwardPauseLonger {
				pause = forwardPauseFirst
			}
		}
		if l.done.Err() != nil {
			return
		}
		l.f.log.Debug("forward stream ended", "to", l.to.String(), "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-l.done.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, forwardPauseLonger)
	}
}

// awaitUnsent waits until there is something to send; false once the link has ended.
func (l *forwardLink) awaitUnsent() bool {
	for l.done.Err() == nil {
		l.mu.Lock()
		l.mu.idle = len(l.mu.out) == 0
		idle := l.mu.idle
		l.mu.Unlock()
		if !idle {
			return true
		}
		select {
		case <-l.wake:
		case <-l.done.Done():
		}
	}
	return false
}

func (l *forwardLink) connect() (*Conn, error) {
	n := l.f.config.Table().Node(l.to.Node)
	if n == nil || n.Member() != l.to {
		return nil, fmt.Errorf("%s is not in the table", l.to)
	}
	ctx, cancel := context.WithTimeout(l.done, forwardConnectMax)
	defer cancel()
	conn, err := l.f.config.Transport.Dial(ctx, n.Peer, Forward)
	if err != nil {
		return nil, err
	}
	if conn.Peer.Member != l.to {
		conn.Close()
		return nil, fmt.Errorf("%s is there, not %s", conn.Peer.Member, l.to)
	}
	return conn, nil
}

// serve sends and takes answers until the stream breaks. Of what was sent then and is not answered nobody knows.
func (l *forwardLink) serve(conn *Conn) error {
	defer context.AfterFunc(l.done, func() { conn.Close() })()
	l.mu.Lock()
	l.mu.conn, l.mu.heard, l.mu.quiet = conn, l.f.config.Now(), 0
	l.mu.Unlock()
	ended := make(chan error, 1)
	l.f.running.Go(func() {
		err := l.readAnswers(conn)
		conn.Close()
		ended <- err
	})
	writeErr, readErr := l.write(conn, ended)
	conn.Close()
	if readErr == nil {
		readErr = <-ended
	}
	l.mu.Lock()
	l.mu.conn = nil
	over := l.endLocked(func(_ *forwardSlot, sent bool) bool { return sent })
	l.mu.Unlock()
	l.tell(over)
	if writeErr != nil {
		return writeErr
	}
	return readErr
}

// write sends what gathers, each time all of it, until the stream breaks.
func (l *forwardLink) write(conn *Conn, ended chan error) (writeErr, readErr error) {
	l.output.attach(conn)
	defer l.output.detach()
	next := func(buf []byte) []byte {
		if out, ok := l.take(buf); ok {
			return out
		}
		return buf
	}
	for {
		select {
		case err := <-ended: // what comes now waits for the next stream
			return nil, err
		default:
		}
		wrote, err := l.output.write(conn, next)
		if err != nil {
			return err, nil
		}
		if wrote {
			continue
		}
		select {
		case err := <-ended:
			return nil, err
		case <-l.wake:
			runtime.Gosched() // others who are about to add share the Write; BenchmarkForward takes half as long again without
		}
	}
}

// forwardReply is an answer, and whom to tell of it.
type forwardReply struct {
	id     uint64
	answer Answer
	done   func(Answer)
}

// readAnswers takes answers; those that have come together, together.
func (l *forwardLink) readAnswers(conn *Conn) error {
	in := newStreamReader(conn)
	var answers []forwardReply
	var replies replyMemory
	for {
		kind, message, whole, err := in.frame()
		var r forwardReply
		switch {
		case err != nil || !whole:
		case forwardMessage(kind) != forwardAnswer:
			err = fmt.Errorf("%w: kind %d where an answer is expected", errMessage, kind)
		default:
			if r.id, r.answer, err = decodeAnswer(message); err == nil {
				r.answer.Reply = replies.keep(r.answer.Reply)
				answers = append(answers, r)
			}
		}
		if err == nil && whole && len(answers) < forwardBatchMax && in.ready() {
			continue
		}
		if takeErr := l.takeAnswers(answers); err == nil {
			err = takeErr
		}
		if err != nil {
			return err
		}
		clear(answers)
		answers = answers[:0]
	}
}

// replyMemory is where replies are copied to: small ones share a piece of memory, which goes with the last of them.
type replyMemory []byte

// Bounds of the memory of replies.
const (
	replyMemoryBytes = 4 << 10 // of a piece
	replySharedBytes = 256     // a larger reply has a piece of its own
)

func (m *replyMemory) keep(reply []byte) []byte {
	if len(reply) > replySharedBytes {
		return bytes.Clone(reply)
	}
	if len(reply) > cap(*m)-len(*m) {
		*m = make([]byte, 0, replyMemoryBytes)
	}
	start := len(*m)
	*m = append(*m, reply...)
	return (*m)[start:len(*m):len(*m)]
}

// takeAnswers ends the commands that were answered. One that comes too late says nothing any more.
func (l *forwardLink) takeAnswers(answers []forwardReply) (err error) {
	now := l.f.config.Now()
	l.mu.Lock()
	l.mu.heard, l.mu.quiet = now, 0
	for i := range answers {
		r := &answers[i]
		slot, number := uint32(r.id%forwardPendingMax), r.id>>forwardSlotBits
		if int(slot) >= len(l.mu.slots) || number > l.mu.sent {
			err = fmt.Errorf("%w: an answer to what was not sent", errMessage)
			break
		}
		if s := &l.mu.slots[slot]; s.done != nil && s.number == number {
			r.done = l.releaseLocked(slot)
		}
	}
	l.mu.Unlock()
	for i := range answers {
		if r := &answers[i]; r.done != nil {
			r.done(r.answer)
		}
	}
	return err
}
