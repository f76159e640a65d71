package server

import (
	"io"
	"net"
	"sync"
	"time"
)

// goroutineConn is one connection of a goroutineDriver, and the loop as its session sees it. Its fields belong to the
// goroutine in run, except where they say otherwise.
type goroutineConn struct {
	driver  *goroutineDriver
	conn    net.Conn
	session sessionIO
	mailbox mailbox
	woken   chan struct{} // mailbox's wake-up; holds one

	input   chan []byte   // from the reader, which waits for next before it touches the bytes again; closed at the end
	readErr error         // why input was closed; the reader's, until then
	next    chan struct{} // to the reader
	gone    chan struct{} // closed when nobody takes input any more

	wrote    chan error // from the writer, one for each that was started
	writing  int        // bytes that a writer has, the first of the session's output; 0 = none runs
	ended    bool       // no more input, or it is to be treated so
	broken   bool       // to be closed as it is
	slept    uint64     // suspensions of the machine before the connection was there
	deadline time.Time  // to have closed by; zero = none
}

// readSizeMin is the buffer of a connection that waits for input. A read that fills it is followed by one of
// readSizeMax, so that an idle connection does not hold a large buffer.
const readSizeMin = 512

// largeBuffers are of readSizeMax bytes, for reading and writing.
var largeBuffers = sync.Pool{New: func() any { return new([readSizeMax]byte) }}

func newGoroutineConn(d *goroutineDriver, conn net.Conn) *goroutineConn {
	c := &goroutineConn{
		driver: d, conn: conn,
		woken: make(chan struct{}, 1), input: make(chan []byte), next: make(chan struct{}), gone: make(chan struct{}),
		wrote: make(chan error, 1),
	}
	c.mailbox.wake = func() {
		select {
		case c.woken <- struct{}{}:
		default:
		}
	}
	return c
}

// Post runs f on the connection's goroutine.
func (c *goroutineConn) Post(f func()) { c.mailbox.post(f) }

// Touch has nothing to do: the session is settled after whatever was posted.
func (c *goroutineConn) Touch(sessionIO) {}

// run owns the session from first to last.
func (c *goroutineConn) run(info connInfo) {
	c.session = c.driver.accept(c, info)
	if c.driver.sleeps != nil {
		c.slept = c.driver.sleeps()
	}
	if c.ended {
		c.session.EOF()
	}
	c.driver.running.Go(c.read)
	timer := time.NewTimer(tickPeriod)
	defer timer.Stop()
	input := c.input
	for c.settle() {
		from := input
		if read, _, _ := c.session.Wants(); !read || c.ended {
			from = nil // the reader waits, and so does the peer
		}
		if !c.mailbox.sleep() {
			c.turn()
			continue
		}
		select {
		case p, ok := <-from:
			if ok {
				c.session.Feed(p)
				c.next <- struct{}{}
				break
			}
			input = nil
			if c.readErr == io.EOF {
				c.end()
				break
			}
			c.broken = true
		case err := <-c.wrote:
			if err != nil {
				c.broken = true
				break
			}
			c.session.Sent(c.writing)
			c.writing, c.deadline = 0, time.Time{}
		case now := <-timer.C:
			timer.Reset(c.tick(now))
		case <-c.woken:
		}
		c.mailbox.awake()
		c.turn()
	}
	c.close(input)
}

// turn ends what one event has brought, short of writing the replies.
func (c *goroutineConn) turn() {
	c.mailbox.run()
	if c.driver.flush != nil {
		c.driver.flush()
	}
	if c.driver.sleeps != nil && c.driver.sleeps() != c.slept {
		c.broken = true
	}
}

// settle starts to write what the session has to say, and reports false when the connection is to be closed.
func (c *goroutineConn) settle() bool {
	if c.broken {
		return false
	}
	if out := c.session.Out(); len(out) > 0 && c.writing == 0 {
		buf := largeBuffers.Get().(*[readSizeMax]byte)
		c.writing = copy(buf[:], out)
		go c.write(buf, c.writing)
	}
	_, write, closing := c.session.Wants()
	if !closing {
		return true
	}
	if c.deadline.IsZero() {
		c.deadline = time.Now().Add(closeStallMax)
	}
	return write
}

// tick passes time, and returns when to do it again.
func (c *goroutineConn) tick(now time.Time) time.Duration {
	c.broken = c.broken || !c.deadline.IsZero() && now.After(c.deadline)
	c.session.Tick(now)
	if c.writing > 0 {
		return tickPeriod
	}
	return tickPeriod * tickSlices
}

// end tells the session that there will be no more input.
func (c *goroutineConn) end() {
	if !c.ended {
		c.ended = true
		c.session.EOF()
	}
}

// cut closes the connection as it is. Any goroutine may call it.
func (c *goroutineConn) cut() {
	c.mailbox.post(func() { c.broken = true })
	c.conn.Close()
}

// close releases the session and closes the connection, in a way that lets the last replies arrive. input is nil where
// the peer has finished.
func (c *goroutineConn) close(input <-chan []byte) {
	c.session.Closed()
	c.mailbox.stop()
	if half, ok := c.conn.(interface{ CloseWrite() error }); ok && !c.broken && c.writing == 0 && input != nil && half.CloseWrite() == nil {
		c.conn.SetReadDeadline(time.Now().Add(lingerTime))
		for discarded := 0; discarded < lingerBytesMax; {
			p, ok := <-input
			if !ok {
				break
			}
			discarded += len(p)
			c.next <- struct{}{}
		}
	}
	close(c.gone)
	c.conn.Close()
}

// read hands over what arrives, on a goroutine of its own.
func (c *goroutineConn) read() {
	defer close(c.input)
	small := make([]byte, readSizeMin)
	var large *[readSizeMax]byte
	for p := small; ; {
		n, err := c.conn.Read(p)
		c.driver.traffic.reads.Add(1)
		if n > 0 {
			select {
			case c.input <- p[:n]:
				<-c.next
			case <-c.gone:
				return
			}
		}
		if err != nil {
			c.readErr = err
			return
		}
		switch {
		case n == len(small) && large == nil:
			large = largeBuffers.Get().(*[readSizeMax]byte)
			p = large[:]
		case n < len(small) && large != nil:
			largeBuffers.Put(large)
			large, p = nil, small
		}
	}
}

// write writes one buffer, on a goroutine of its own: posts, ticks and closing go on meanwhile.
func (c *goroutineConn) write(buf *[readSizeMax]byte, n int) {
	_, err := c.conn.Write(buf[:n])
	c.driver.traffic.writes.Add(1)
	largeBuffers.Put(buf)
	c.wrote <- err
}
