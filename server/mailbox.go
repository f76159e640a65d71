package server

import (
	"sync"
	"sync/atomic"
)

// mailbox carries functions from any goroutine to the one that owns the mailbox, and wakes the owner only where it has
// to: for the first function that arrives while the owner sleeps. It has no bound of its own; what is posted is bounded
// by pendingMax for each session.
//
// No wake-up is lost, since "is there mail" and "the owner sleeps" change under one lock:
//
//	poster                              owner
//	post: append; not asleep: no wake
//	                                    sleep: mail: refused, goes on to take
//
//	                                    sleep: no mail: asleep
//	post: append; asleep: wake
//	                                    is woken, or never blocks as the wake-up is kept for it
type mailbox struct {
	// wake makes the owner return from its sleep, or from the next one where it has not quite begun. It is called with
	// the lock held: stop thereby also waits for a wake-up under way, and what wake uses can be closed after it.
	wake func()
	mail atomic.Bool // len(mu.posted) > 0, for a look without the lock
	mu   struct {
		sync.Mutex
		posted  []func()
		asleep  bool
		stopped bool
	}
	spare []func() // the owner's: the slice that was taken last, to be filled next
}

// mailboxKeep is the capacity past which a mailbox's slice is not kept.
const mailboxKeep = 1024

// post adds f. It reports false, and f will not run, once the mailbox has stopped.
func (m *mailbox) post(f func()) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.stopped {
		return false
	}
	m.mu.posted = append(m.mu.posted, f)
	m.mail.Store(true)
	if m.mu.asleep {
		m.mu.asleep = false
		m.wake()
	}
	return true
}

// run takes what has been posted and runs it. What is posted meanwhile waits for the next run.
func (m *mailbox) run() {
	if !m.mail.Load() {
		return
	}
	m.mu.Lock()
	posted := m.mu.posted
	m.mu.posted = m.spare
	m.mail.Store(false)
	m.mu.Unlock()
	for _, f := range posted {
		f()
	}
	m.spare = nil
	if cap(posted) <= mailboxKeep {
		clear(posted)
		m.spare = posted[:0]
	}
}

// sleep announces that the owner is about to sleep. It reports false where there is mail: then it must not.
func (m *mailbox) sleep() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.asleep = len(m.mu.posted) == 0
	return m.mu.asleep
}

// awake announces that the owner is up, whatever has woken it.
func (m *mailbox) awake() {
	m.mu.Lock()
	m.mu.asleep = false
	m.mu.Unlock()
}

// stop refuses further posts and runs the last ones.
func (m *mailbox) stop() {
	m.mu.Lock()
	m.mu.stopped = true
	m.mu.Unlock()
	m.run()
}
