package cluster

import (
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// Streams that peers open.

// acceptStreams accepts until the transport is closed. Another error, such as a lack of descriptors, passes.
func (t *Transport) acceptStreams() {
	pause := retryPause
	for {
		raw, err := t.listener.Accept()
		if t.closing.Err() != nil {
			if err == nil {
				raw.Close()
			}
			return
		}
		if err != nil {
			t.log.Warn("accept peer", "error", err)
			pause = t.wait(pause)
			continue
		}
		pause = retryPause
		t.running.Go(func() { t.serve(raw) })
	}
}

// wait pauses after an error that may come again at once, and returns the next pause.
func (t *Transport) wait(pause time.Duration) time.Duration {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.closing.Done():
	}
	return min(2*pause, retryLongest)
}

// serve authenticates a stream and hands it to its kind's handler.
func (t *Transport) serve(raw net.Conn) {
	c, err := t.accept(raw)
	if err != nil {
		t.refused.log(t.log, time.Now(), raw.RemoteAddr(), err)
		return
	}
	t.mu.Lock()
	handler := t.mu.streams[c.Kind]
	t.mu.Unlock()
	if handler == nil { // stopped since
		c.Close()
		return
	}
	handler(c)
}

// accept does the handshake, and closes the stream where it fails.
func (t *Transport) accept(raw net.Conn) (*Conn, error) {
	t.addPending(raw)
	defer t.removePending(raw)
	_ = raw.SetDeadline(time.Now().Add(openTimeout))
	var c *Conn
	err := acceptHandshake(raw, t.Identity(), t.keys, newNonce(), func(peer Identity, kind StreamKind) error {
		if err := t.sameGeneration(peer, kind); err != nil {
			return err
		}
		admitted := &Conn{Conn: raw, Kind: kind, Peer: peer, transport: t, accepted: true}
		if err := t.admit(admitted); err != nil {
			return err
		}
		c = admitted
		return nil
	})
	switch {
	case err == nil:
		_ = raw.SetDeadline(time.Time{})
		return c, nil
	case c != nil:
		c.Close()
	default:
		raw.Close()
	}
	return nil, err
}

// addPending makes room for a handshake by ending the oldest, where there are too many: honest ones last for
// milliseconds, so whoever opens connections and says nothing keeps out nobody but himself.
func (t *Transport) addPending(raw net.Conn) {
	t.mu.Lock()
	var oldest net.Conn
	if len(t.mu.pending) == pendingMax {
		oldest = t.mu.pending[0]
		t.mu.pending = t.mu.pending[1:]
	}
	t.mu.pending = append(t.mu.pending, raw)
	closed := t.mu.closed
	t.mu.Unlock()
	if oldest != nil {
		oldest.Close()
	}
	if closed {
		raw.Close()
	}
}

func (t *Transport) removePending(raw net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, c := range t.mu.pending {
		if c == raw {
			t.mu.pending = append(t.mu.pending[:i:i], t.mu.pending[i+1:]...)
			return
		}
	}
}

func newNonce() (n nonce) {
	rand.Read(n[:])
	return n
}

// refusals keeps those who are refused from filling the log: one line a second says how many there were.
type refusals struct {
	sync.Mutex
	last   time.Time
	silent int
}

const refusalPause = time.Second

func (r *refusals) log(log *slog.Logger, now time.Time, from net.Addr, err error) {
	if errors.Is(err, ErrSelf) || errors.Is(err, ErrNotServed) || errors.Is(err, io.EOF) { // nobody's fault: a node starts, ends, or looks for itself
		log.Debug("refused a peer", "from", from, "reason", err)
		return
	}
	r.Lock()
	defer r.Unlock()
	if now.Sub(r.last) < refusalPause {
		r.silent++
		return
	}
	log.Warn("refused a peer", "from", from, "reason", err, "others", r.silent)
	r.last, r.silent = now, 0
}
