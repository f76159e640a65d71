package cluster

import (
	"sync"
	"syscall"
	"time"

	"github.com/neargrid/neargrid/partition"
)

// streamOutput is the writing end of a stream that commands of clients wait for. Whoever holds it takes what has gathered and writes it, in
// this order: the stream's own goroutine, or who has executed a batch of commands and calls Flush. The latter saves two switches from
// one thread to another for each batch, which cost more than the write.
type streamOutput struct {
	sync.Mutex
	raw  syscall.RawConn // of the stream, for writes that do not wait; nil: there is none, or it has no descriptor
	buf  []byte          // used again
	rest []byte          // of buf: what the system did not take at once; the stream's goroutine writes it
}

// attach makes a stream the one that is written to; detach forgets it, and what was left for it.
func (o *streamOutput) attach(conn *Conn) {
	o.Lock()
	defer o.Unlock()
	if c, ok := conn.Conn.(syscall.Conn); ok {
		o.raw, _ = c.SyscallConn()
	}
}

func (o *streamOutput) detach() {
	o.Lock()
	defer o.Unlock()
	o.raw, o.rest = nil, nil
}

// tryLock locks the output where a write that does not wait may begin.
func (o *streamOutput) tryLock() bool {
	if !o.TryLock() {
		return false
	}
	if o.raw == nil || len(o.rest) > 0 {
		o.Unlock()
		return false
	}
	return true
}

// writeNow writes buf, which is the output's from here on, as far as that goes without waiting. It returns false where something is
// left.
func (o *streamOutput) writeNow(buf []byte) bool {
	o.buf = buf
	n := 0
	err := o.raw.Write(func(fd uintptr) bool {
		n, _ = syscall.Write(int(fd), buf)
		return true
	})
	if n = max(n, 0); err != nil || n < len(buf) { // an error comes again where the goroutine tries
		o.rest = buf[n:]
		return false
	}
	return true
}

// write writes what is left, or what next gathers into a buffer, and waits for that; false where there was nothing.
func (o *streamOutput) write(conn *Conn, next func(buf []byte) []byte) (wrote bool, err error) {
	o.Lock()
	defer o.Unlock()
	buf := o.rest
	if o.rest = nil; len(buf) == 0 {
		buf = next(o.buf[:0])
		o.buf = buf
	}
	if len(buf) == 0 {
		return false, nil
	}
	for len(buf) > 0 { // every piece must get away in time
		piece := buf[:min(len(buf), linkWriteBytes)]
		if err := conn.SetWriteDeadline(time.Now().Add(linkWriteMax)); err != nil {
			return false, err
		}
		if _, err := conn.Write(piece); err != nil {
			return false, err
		}
		buf = buf[len(piece):]
	}
	return true, conn.SetWriteDeadline(time.Time{}) // or a write of Flush would be over before it begins
}

// Flush has what was executed sent to the copies. Who executes calls it after each batch of commands, and holds no lock of the
// replicator or the store. It does not wait for the network.
func (r *Replicator) Flush() {
	for _, l := range *r.links.all.Load() {
		if l.unflushed.Load() && l.unflushed.Swap(false) && !l.writeNow() {
			signal(l.wake)
		}
	}
}

// flushBytes is about how much Flush itself takes; the writer has the rest.
const flushBytes = 64 << 10

// writeNow writes what has gathered, as far as that goes without waiting. It returns false where something is left to the writer.
func (l *link) writeNow() bool {
	if !l.out.tryLock() {
		return false
	}
	defer l.out.Unlock()
	buf, all := l.gather(l.out.buf[:0], flushBytes, nil)
	if len(buf) == 0 {
		return all
	}
	return l.out.writeNow(buf) && all
}

// gather appends what partitions have for the peer, up to about maxBytes. Without tx it leaves chunks alone, which take the partition's
// lock. all tells whether nothing is left.
func (l *link) gather(buf []byte, maxBytes int, tx *partition.Tx) (out []byte, all bool) {
	w, now := frameWriter{buf: buf}, l.r.config.Now()
	all = true
	for first := -1; len(w.buf) < maxBytes; {
		p, ok := l.take()
		if !ok {
			w.flush()
			return w.buf, all
		}
		if p == first { // only what was left alone is left
			l.note(p)
			break
		}
		if l.r.replicas[p].pull(l.to, &w, len(w.buf)+linkWriteBytes, now, tx) {
			l.note(p)
			all = false
			if first < 0 {
				first = p
			}
		}
	}
	w.flush()
	return w.buf, false
}

// write sends what gathers until the stream breaks.
func (l *link) write(conn *Conn, ended chan error) error {
	tx := partition.NewTx(l.r.store)
	l.out.attach(conn)
	defer l.out.detach()
	next := func(buf []byte) []byte {
		buf, _ = l.gather(buf, linkWriteBytes, tx)
		return buf
	}
	for {
		wrote, err := l.out.write(conn, next)
		if err != nil {
			return err
		}
		if wrote {
			continue
		}
		select {
		case err := <-ended:
			ended <- err
			return nil
		case <-l.wake:
		}
	}
}
