package server

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/neargrid/neargrid/protocol"
)

// What a session is told without having asked: that copies which it holds, or those of one that redirects to it, are out of date. A push
// goes to the end of the session's output, behind all replies that are pending; so it overtakes no reply to an earlier read. A
// session whose output waits to be read gets no pushes until it has read: they wait in their trackers, which have bounds.
//
// Other goroutines add to inbox; all else here runs on the session's loop.

// inbox is the trackers that have something for a session.
type inbox struct {
	waiting atomic.Bool // there are any; for a look without the lock
	mu      struct {
		sync.Mutex
		due    []*tracker
		closed bool
	}
}

// notify has the session take what a tracker has for it; false where it has gone. Any goroutine may call it.
func (s *Session) notify(t *tracker) bool {
	in := &s.inbox
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.mu.closed {
		return false
	}
	in.mu.due = append(in.mu.due, t)
	if len(in.mu.due) == 1 {
		in.waiting.Store(true)
		s.loop.Post(s.deliverPosted)
	}
	return true
}

// takeDue takes the first tracker that has something; nil where none has.
func (in *inbox) takeDue() (t *tracker) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.mu.due) == 0 {
		return nil
	}
	t, in.mu.due[0] = in.mu.due[0], nil
	in.mu.due = in.mu.due[1:]
	if len(in.mu.due) == 0 {
		in.mu.due = nil
		in.waiting.Store(false)
	}
	return t
}

// takeAll takes all trackers that have something.
func (in *inbox) takeAll() (due []*tracker) {
	in.mu.Lock()
	defer in.mu.Unlock()
	due, in.mu.due = in.mu.due, nil
	in.waiting.Store(false)
	return due
}

// close ends the session as one that can be told anything.
func (in *inbox) close() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.mu.due, in.mu.closed = nil, true
	in.waiting.Store(false)
}

// deliver writes what waits, between two commands of the session.
func (s *Session) deliver(w *protocol.Writer) {
	if !s.inbox.waiting.Load() {
		return
	}
	for _, t := range s.inbox.takeAll() {
		t.push(s, w)
	}
}

// deliver writes what waits before the reply to the command, which must not have begun. These pushes stay also where the reply does not.
func (c *Call) deliver() {
	c.s.deliver(c.W)
	c.pushed = len(c.W.Buf)
}

// deliverPosted writes what waits, outside of the session's commands, as long as its output does not wait to be read.
func (s *Session) deliverPosted() {
	if !s.inbox.waiting.Load() || s.closing {
		return
	}
	for s.inbox.waiting.Load() && s.pendingBytes() <= outputPauseBytes {
		if t := s.inbox.takeDue(); t != nil {
			w := protocol.Writer{Buf: s.takeBuffer(), Resp: s.resp}
			t.push(s, &w)
			s.putBuffer(w.Buf)
		}
	}
	s.limitOutput(s.hardOutputLimit())
	s.loop.Touch(s)
}

// push writes what the tracker has for a session, which it was queued at.
func (t *tracker) push(s *Session, w *protocol.Writer) {
	t.mu.Lock()
	var due pending
	var mode trackingMode
	broken := t.s == s && t.mu.brokenDue
	if broken {
		t.mu.brokenDue = false
	}
	redirect := t.mu.redirect
	if t.mu.to == s {
		mode = t.mu.trackingMode
		due, t.mu.pending = t.mu.pending, pending{}
		t.mu.queued = false
	}
	t.mu.Unlock()
	if broken && w.Resp == 3 {
		w.Push(2)
		w.BulkString("tracking-redir-broken")
		w.Int(redirect)
	}
	if due.empty() || w.Resp != 3 && (mode.redirect == 0 || !s.subscribed.Load()) {
		return // RESP2 has no form for it, but a message to who has subscribed, about another's reads
	}
	due.keys = pushOwn(w, &due)
	if mode.bcast {
		mode.pushByPrefix(w, due.keys)
	} else {
		for i := range due.keys {
			pushKeys(w, due.keys[i:i+1])
		}
	}
	if lost := due.lost.list(); len(lost) > 0 {
		pushLost(w, lost, mode.native && w.Resp == 3, &due)
	}
	if due.all {
		pushHead(w)
		w.Null()
	}
}

// pushLost tells of partitions; who does not know of them is told of everything.
func pushLost(w *protocol.Writer, lost []int, native bool, due *pending) {
	if !native {
		due.all = true
		return
	}
	w.Push(2)
	w.BulkString("grid-invalidate")
	w.Array(len(lost))
	for _, p := range lost {
		w.Int(int64(p))
	}
}

// pushOwn tells of keys that members of the tracker's family have changed, and returns the others.
func pushOwn(w *protocol.Writer, due *pending) (others []string) {
	if len(due.by) == 0 {
		return due.keys
	}
	for _, key := range due.keys {
		by, own := due.by[key]
		if !own {
			others = append(others, key)
			continue
		}
		w.Push(3)
		w.BulkString("grid-invalidate-by")
		w.Int(int64(by.number))
		w.Array(1)
		w.BulkString(key)
	}
	return others
}

// pushByPrefix tells of keys, those of each prefix together, in order, as Redis does.
func (m *trackingMode) pushByPrefix(w *protocol.Writer, keys []string) {
	slices.Sort(keys)
	for _, prefix := range m.prefixes {
		from, _ := slices.BinarySearch(keys, prefix) // those that begin with it stand together
		to := from
		for to < len(keys) && strings.HasPrefix(keys[to], prefix) {
			to++
		}
		if from < to {
			pushKeys(w, keys[from:to])
		}
	}
}

func pushKeys(w *protocol.Writer, keys []string) {
	pushHead(w)
	w.Array(len(keys))
	for _, key := range keys {
		w.BulkString(key)
	}
}

// invalidateChannel is where RESP2 clients hear of what has changed.
const invalidateChannel = "__redis__:invalidate"

// pushHead begins an invalidation; what is out of date follows.
func pushHead(w *protocol.Writer) {
	if w.Resp == 3 {
		w.Push(2)
		w.BulkString("invalidate")
		return
	}
	w.Array(3)
	w.BulkString("message")
	w.BulkString(invalidateChannel)
}

// untrack ends what the session has to do with tracking: it is closed.
func (s *Session) untrack() {
	s.inbox.close()
	s.unsubscribe()
	if t := s.tracker; t != nil && t.mu.on {
		t.change(trackingMode{}, s)
		t.join()
	}
}
