package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// reader is who takes replies off a connection. One at a time does, and it alone uses dec and in.
//
// A goroutine that calls alone, one command after the other, reads its reply itself: were it woken by another goroutine, that would
// cost a thread's wake-up each time, as much as all else. Between its calls nobody reads:
//
//	own     the connection's goroutine. It steps back behind a reply where calls have come singly, aloneMin in a row
//	nobody  the next call that finds nothing under way reads (caller). Any other, the sweeper where there are no calls, and the end of
//	        the connection give it back to the goroutine
//	caller  until its replies are there; then nobody reads, or the goroutine where others have sent commands meanwhile, where its
//	        context ends first, or where a reply is too large to be looked at before it is read
//
// Connections on which something comes unasked, or that are used by who does not wait, are always read by their goroutine.
type reader uint8

const (
	readerOwn reader = iota
	readerNobody
	readerCaller
)

// sight is what there is to read.
type sight uint8

const (
	sightNothing sight = iota
	sightBytes
	sightEnd // the peer has closed the connection, or it is broken
)

// inbox is where the reader is among the calls.
type inbox struct {
	batch    []*call // of the queue, taken at once; those before next are answered
	next     int
	answered int  // replies since the batch was taken
	alone    bool // behind the last one answered nothing was owed, calls have come singly, and its caller has waited for it

	pause, skips int // 0 <= skips <= pause <= lingerPauseMax: calls for which linger does nothing, after a failure and still
}

// read takes replies and pushes until the connection fails, and then ends what is still waiting.
func (c *conn) read() {
	for {
		v, err := c.dec.Decode()
		if err != nil {
			c.fail(err)
			break
		}
		if !c.deliver(v) {
			break
		}
		if c.leads && c.in.alone && !c.unread() && c.stepBack() && !c.resumed() {
			break
		}
	}
	<-c.failed // another goroutine may have failed it, and be about to tell onFail
	c.endAll(c.in.batch[c.in.next:])
}

// deliver hands a reply to its call, or takes a push. It returns false, and has the connection fail, where nobody has asked.
func (c *conn) deliver(v protocol.Value) bool {
	if v.Kind == '>' {
		if c.onPush != nil {
			c.onPush(v)
		}
		return true
	}
	in := &c.in
	if in.next == len(in.batch) {
		c.take()
		if len(in.batch) == 0 {
			c.fail(fmt.Errorf("%w: %s", errUnasked, v))
			return false
		}
	}
	c.replies.Add(1)
	k := in.batch[in.next]
	if k.hook != nil {
		k.hook(len(k.replies), v)
	}
	k.replies = append(k.replies, v)
	in.answered++
	if len(k.replies) < k.want {
		return true
	}
	in.batch[in.next] = nil
	in.next++
	in.alone = in.next == len(in.batch) && c.take() && k.waits
	k.end(nil)
	return true
}

// take takes the calls that have gathered, for a batch that is through. It is called as soon as one is through: what is owed must be known,
// however long nothing comes. It tells whether nothing is, and calls have come singly.
func (c *conn) take() (alone bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.pending -= c.in.answered
	c.in.batch, c.mu.queue = c.mu.queue, c.in.batch[:0]
	c.in.next, c.in.answered = 0, 0
	c.freeLocked()
	return c.mu.pending == 0 && c.mu.alone == aloneMin
}

// stepBack leaves reading to who calls, where calls come singly. Its goroutine then waits for resume.
func (c *conn) stepBack() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.err != nil || c.mu.pending > 0 || c.mu.alone < aloneMin {
		return false
	}
	c.mu.reader = readerNobody
	return true
}

// resumed waits for that, and tells whether the connection goes on: what has been read of one that has failed is looked at no more.
func (c *conn) resumed() bool {
	<-c.resume
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.err == nil
}

// resumeLocked has the connection's goroutine read again.
func (c *conn) resumeLocked() {
	c.mu.reader = readerOwn
	c.resume <- struct{}{} // there is room: the goroutine has stepped back, and nobody else resumes it
}

// leadLocked finds a reader for a call that is about to be enqueued, where there is none: its caller, where it will wait for it. An
// error says that the connection has ended while nobody looked, or must: nothing is sent on it any more. The caller has it fail.
func (c *conn) leadLocked(k *call) error {
	if c.mu.reader != readerNobody {
		return nil
	}
	switch seen := c.socket.lookNow(); {
	case seen == sightEnd:
		return io.EOF
	case seen == sightBytes && c.socket.early[0] != '>':
		return errUnasked // it would be taken for the reply to this call
	case seen == sightNothing && k.waits:
		c.mu.reader, k.leads = readerCaller, true
	default:
		c.resumeLocked()
	}
	return nil
}

// lead reads for a call of one's own until it is answered, its context ends, or the goroutine must go on.
func (c *conn) lead(ctx context.Context, k *call) {
	c.linger()
	for k.state.Load() == callWaiting && c.readOne(false) {
	}
	if k.state.Load() == callWaiting {
		stop := c.interruptible(ctx)
		for k.state.Load() == callWaiting && c.readOne(true) {
		}
		stop()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.err != nil || c.mu.pending > 0 || c.unread() {
		c.resumeLocked()
		return
	}
	c.mu.reader = readerNobody
}

// linger looks for a reply for a moment before who reads goes to sleep: to put a processor to sleep and wake it again takes longer than a
// server nearby does to answer, and about as much of the processor. One goroutine of the client does so at a time, others get their turn
// meanwhile, and behind a server that takes longer it is tried ever more rarely.
func (c *conn) linger() {
	if c.in.skips > 0 {
		c.in.skips--
		return
	}
	lingering := &c.node.client.lingering
	if !lingering.TryLock() {
		return
	}
	defer lingering.Unlock()
	for began := time.Now(); c.socket.lookNow() == sightNothing; runtime.Gosched() {
		if time.Since(began) > lingerMax {
			c.in.pause = min(2*c.in.pause+1, lingerPauseMax)
			c.in.skips = c.in.pause
			return
		}
	}
	c.in.pause = 0
}

// unread tells whether something has been read and not been looked at.
func (c *conn) unread() bool {
	return c.dec.R.Buffered() > 0 || c.socket != nil && len(c.socket.early) > 0
}

// readOne takes one reply or push. It does not begin before all of it is there, so that it can be left in between: then, and where only
// the goroutine can go on, it returns false; and where it would have to wait and must not.
func (c *conn) readOne(wait bool) bool {
	for {
		have := c.dec.R.Buffered()
		b, _ := c.dec.R.Peek(have)
		switch size := protocol.ReplySize(b); {
		case size > 0:
			v, err := c.dec.Decode()
			if err != nil {
				c.fail(err)
				return false
			}
			return c.deliver(v)
		case size < 0 || have == c.dec.R.Size() || !wait && len(c.socket.early) == 0:
			return false
		}
		if _, err := c.dec.R.Peek(have + 1); err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				c.fail(err)
			}
			return false
		}
	}
}

// interruptible has a read return when a context ends, until stop, behind which reads wait again.
func (c *conn) interruptible(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	ended := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		c.nc.SetReadDeadline(time.Unix(1, 0))
		close(ended)
	})
	return func() {
		if !forget() {
			<-ended
			c.nc.SetReadDeadline(time.Time{})
		}
	}
}

// readAgain has the goroutine read where nobody does, and none has since the last time. The sweeper calls it.
func (c *conn) readAgain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.replies.Load()
	if n == c.quiet.swept && c.mu.reader == readerNobody {
		c.resumeLocked()
	}
	c.quiet.swept = n
}
