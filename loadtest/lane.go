package loadtest

import (
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// directWriteMax is how many bytes of commands may be unanswered for a write to be made by whoever has something to send: so
	// much fits the socket's buffer, so that it cannot wait for a server that itself waits for its replies to be read. Beyond, a
	// goroutine of its own writes.
	directWriteMax   = 64 << 10
	socketBufferSize = 2 * directWriteMax
	bufferKeepBytes  = 256 << 10 // a lane's larger buffer is not kept

	reconnectPause = 100 * time.Millisecond // between attempts; operations that wait for a connection fail with each attempt
)

// entry is an operation on its way: one command of it.
type entry struct {
	op    Op
	step  step
	tries uint8 // how often it was sent on to another node
	size  int   // of the command, in bytes

	hits, misses uint32 // of the step before
}

// step is where an operation is.
type step uint8

const (
	stepFirst  step = iota
	stepSecond      // the SET of a ReadModifyWrite
	stepFill        // the SET after a miss
	stepAsking      // an ASKING ahead of a command; not an operation
)

// lane is one connection, which makes itself anew when it breaks. Commands are answered in the order in which they were sent.
type lane struct {
	client *respClient
	addr   string

	mu struct {
		sync.Mutex
		conn       net.Conn // nil while there is none
		closed     bool
		writing    bool // somebody is writing, and will look for more before it ends
		out, spare []byte
		sent       queue[entry] // commands awaiting their replies, in order; those still in out too
		unanswered int          // bytes of the commands in sent
		held       []entry      // awaiting a connection
	}
}

// put sends an entry, or keeps it until there is a connection. asking puts ASKING ahead of it.
func (ln *lane) put(e entry, asking bool) {
	ln.mu.Lock()
	switch {
	case ln.mu.closed:
		ln.mu.Unlock()
		ln.client.done(e, Result{Failure: unanswered, Detail: ln.client.target.describe(e.op) + ": the run was over"})
		return
	case ln.mu.conn == nil:
		ln.mu.held = append(ln.mu.held, e)
	default:
		if asking {
			from := len(ln.mu.out)
			ln.mu.out = append(ln.mu.out, "*1\r\n$6\r\nASKING\r\n"...)
			ln.pushLocked(entry{step: stepAsking}, from)
		}
		ln.encodeLocked(e)
	}
	ln.mu.Unlock()
}

func (ln *lane) encodeLocked(e entry) {
	from := len(ln.mu.out)
	ln.mu.out = ln.client.target.appendCommand(ln.mu.out, e)
	ln.pushLocked(e, from)
}

func (ln *lane) pushLocked(e entry, from int) {
	e.size = len(ln.mu.out) - from
	ln.mu.unanswered += e.size
	ln.mu.sent.push(e)
}

// flush sends what is in the buffer.
func (ln *lane) flush() {
	ln.mu.Lock()
	if ln.mu.writing || ln.mu.conn == nil || len(ln.mu.out) == 0 {
		ln.mu.Unlock()
		return
	}
	ln.mu.writing = true
	direct := ln.mu.unanswered <= directWriteMax
	ln.mu.Unlock()
	if direct {
		ln.write()
		return
	}
	ln.client.helpers.Go(ln.write)
}

// write sends until the buffer is empty. An error closes the connection, which its reader notices.
func (ln *lane) write() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	defer func() { ln.mu.writing = false }()
	for ln.mu.conn != nil && len(ln.mu.out) > 0 {
		conn, buf := ln.mu.conn, ln.mu.out
		ln.mu.out, ln.mu.spare = ln.mu.spare[:0], nil
		ln.mu.Unlock()
		_, err := conn.Write(buf)
		ln.mu.Lock()
		if err != nil {
			conn.Close()
			return
		}
		if cap(buf) <= bufferKeepBytes {
			ln.mu.spare = buf
		}
	}
}

// run reads replies, and connects again when the connection breaks, until the lane is closed. Without a connection it makes one
// first.
func (ln *lane) run(conn net.Conn) {
	for {
		var err error
		if conn == nil {
			conn, err = ln.client.target.connect(ln.client.ctx, ln.addr)
		}
		switch {
		case err != nil:
			ln.client.target.lost(ln.client.ctx)
		case ln.begin(conn):
			err = ln.read(conn)
		}
		ln.broke(err)
		conn = nil
		select {
		case <-ln.client.closing:
			ln.broke(nil) // what has come since
			return
		case <-time.After(reconnectPause):
		}
	}
}

// begin takes a connection into use, and sends what waited for it. It answers false where the lane has been closed.
func (ln *lane) begin(conn net.Conn) bool {
	ln.mu.Lock()
	if ln.mu.closed {
		ln.mu.Unlock()
		conn.Close()
		return false
	}
	ln.mu.conn = conn
	ln.mu.out, ln.mu.unanswered = ln.mu.out[:0], 0
	held := ln.mu.held
	ln.mu.held = nil
	for _, e := range held {
		ln.encodeLocked(e)
	}
	ln.mu.Unlock()
	ln.flush()
	return true
}

var errUnasked = errors.New("a reply that nothing was asked for")

func (ln *lane) read(conn net.Conn) error {
	in := newReplies(conn)
	for {
		answer, err := in.read()
		if err != nil {
			return err
		}
		ln.mu.Lock()
		e, ok := ln.mu.sent.pop()
		ln.mu.unanswered -= e.size
		ln.mu.Unlock()
		if !ok {
			return errUnasked
		}
		ln.client.answered(ln, e, answer)
		if !in.more() {
			ln.client.turn()
		}
	}
}

// broke ends the operations that were sent, or waited for a connection: what became of them is not known.
func (ln *lane) broke(err error) {
	ln.mu.Lock()
	if ln.mu.conn != nil {
		ln.mu.conn.Close()
		ln.mu.conn = nil
	}
	lost := ln.mu.held
	ln.mu.held = nil
	for e, ok := ln.mu.sent.pop(); ok; e, ok = ln.mu.sent.pop() {
		lost = append(lost, e)
	}
	ln.mu.out = ln.mu.out[:0]
	closed := ln.mu.closed
	ln.mu.Unlock()

	failure, reason := Connection, plainNetError(err)
	if closed {
		failure, reason = unanswered, errors.New("no reply before the end of the run")
	}
	for _, e := range lost {
		if e.step != stepAsking {
			ln.client.done(e, Result{Failure: failure, Detail: ln.client.target.describe(e.op) + " at " + ln.addr + ": " + reason.Error()})
		}
	}
	if !closed && len(lost) > 0 {
		ln.client.turn()
	}
}

// close ends the connection; run then ends what was under way.
func (ln *lane) close() {
	ln.mu.Lock()
	defer ln.mu.Unlock()
	ln.mu.closed = true
	if ln.mu.conn != nil {
		ln.mu.conn.Close()
	}
}

// plainNetError is what went wrong in words for a person.
func plainNetError(err error) error {
	var operation *net.OpError
	switch {
	case errors.Is(err, io.EOF):
		return errors.New("the server closed the connection")
	case errors.As(err, &operation):
		return operation.Err
	}
	return err
}

// queue is a ring that grows as it must: its users bound what they put in.
type queue[T any] struct {
	ring  []T
	first int
	count int
}

func (q *queue[T]) push(v T) {
	if q.count == len(q.ring) {
		larger := make([]T, max(16, 2*len(q.ring)))
		n := copy(larger, q.ring[q.first:])
		copy(larger[n:], q.ring[:q.first])
		q.ring, q.first = larger, 0
	}
	q.ring[(q.first+q.count)&(len(q.ring)-1)] = v
	q.count++
}

func (q *queue[T]) pop() (v T, ok bool) {
	if q.count == 0 {
		return v, false
	}
	v = q.ring[q.first]
	q.first = (q.first + 1) & (len(q.ring) - 1)
	q.count--
	return v, true
}
