package client

import (
	"context"
	"runtime"

	"github.com/neargrid/neargrid/protocol"
)

// enqueue encodes command lines and has them written. It waits while too much is under way; an error means that nothing was or will be
// sent. The lines are not kept.
func (c *conn) enqueue(ctx context.Context, k *call, lines [][]string) error {
	for {
		c.mu.Lock()
		if err := c.mu.err; err != nil {
			c.mu.Unlock()
			return &ConnError{Node: c.node.addr, Op: "send", Err: err}
		}
		if !c.fullLocked(k.want) {
			if err := c.leadLocked(k); err != nil {
				c.mu.Unlock()
				c.fail(err)
				continue
			}
			c.putLocked(k, lines)
			return nil
		}
		if c.mu.room == nil {
			c.mu.room = make(chan struct{})
		}
		room := c.mu.room
		c.mu.Unlock()
		select {
		case <-room:
		case <-c.failed:
		case <-ctx.Done():
			return &ConnError{Node: c.node.addr, Op: "send", Err: ctx.Err()}
		}
	}
}

// putLocked encodes a call's lines, behind those that wait already, and gives back the lock. The bytes are written by the connection's
// goroutine, so that those of others who are about to send leave in the same write; where nobody else has been sending, at once, by
// who sends them: to wake the goroutine takes longer than the write.
func (c *conn) putLocked(k *call, lines [][]string) {
	if c.mu.pending > 0 {
		c.mu.alone = 0
	} else if c.mu.alone < aloneMin {
		c.mu.alone++
	}
	idle := len(c.mu.out) == 0
	for _, line := range lines {
		c.mu.out = protocol.AppendCommand(c.mu.out, line...)
	}
	c.mu.seq++
	k.seq = c.mu.seq
	c.mu.pending += k.want
	c.mu.queue = append(c.mu.queue, k)
	switch {
	case idle && !c.mu.writing && c.mu.alone == aloneMin && c.socket != nil:
		c.writeLocked()
	case idle:
		c.mu.Unlock()
		c.wakeWriter()
	default:
		c.mu.Unlock()
	}
}

func (c *conn) wakeWriter() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// fullLocked tells whether so many more commands must wait. One request alone never does, however large.
func (c *conn) fullLocked(more int) bool {
	return c.mu.pending > 0 && c.mu.pending+more > pendingMax || len(c.mu.out) >= unsentMaxBytes
}

// freeLocked wakes who waits for room where there is some again.
func (c *conn) freeLocked() {
	if c.mu.room != nil && !c.fullLocked(1) {
		close(c.mu.room)
		c.mu.room = nil
	}
}

// takeLocked takes what has gathered, for who writes it, who calls wroteLocked behind the write.
func (c *conn) takeLocked() []byte {
	buf := c.mu.out
	c.mu.out, c.mu.spare = c.mu.spare[:0], nil
	c.mu.writing, c.mu.handed = true, c.mu.seq
	return buf
}

func (c *conn) wroteLocked(buf []byte) {
	c.mu.writing = false
	if cap(buf) <= keepBytes {
		c.mu.spare = buf
	}
}

// writeLocked writes what has gathered, as far as that goes without waiting, and gives back the lock. The rest is the goroutine's.
func (c *conn) writeLocked() {
	buf := c.takeLocked()
	c.mu.Unlock()
	n, err := c.socket.writeNow(buf)
	c.mu.Lock()
	if n < len(buf) && err == nil {
		c.mu.out = append(append([]byte(nil), buf[n:]...), c.mu.out...)
	}
	c.wroteLocked(buf)
	more := len(c.mu.out) > 0
	c.mu.Unlock()
	switch {
	case err != nil:
		c.fail(err)
	case more:
		c.wakeWriter()
	}
}

// write hands what has gathered to the socket, until the connection fails.
func (c *conn) write() {
	for {
		select {
		case <-c.wake:
		case <-c.failed:
			return
		}
		// Goroutines that are about to send get their turn first, so that their commands leave in the same write.
		runtime.Gosched()
		c.mu.Lock()
		for c.mu.err == nil && len(c.mu.out) > 0 && !c.mu.writing { // who is writing wakes this goroutine
			buf := c.takeLocked()
			c.freeLocked()
			c.mu.Unlock()
			if _, err := c.nc.Write(buf); err != nil {
				c.fail(err)
				return
			}
			c.mu.Lock()
			c.wroteLocked(buf)
		}
		c.mu.Unlock()
	}
}
