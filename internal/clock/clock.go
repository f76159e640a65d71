// Package clock is the time by which leases are counted (R9 of docs/REPLICATION.md): it never goes back, and it counts the time in which
// the machine was suspended.
//
// Go's monotonic clock costs some 30 ns and stands still while the machine does; the clock that does not (CLOCK_BOOTTIME) costs ten times
// as much. So Now reads the first, and Look, which is called once for all that was done since, finds out with the second whether the machine
// was suspended: then Now was wrong, and what was answered by it must not leave.
//
//	Now ... Now      is the lease still good?      Look      sleeps as before: what was read may leave
//	                                               Look      more sleeps than before: it may not; Now is right again
package clock

import (
	"sync/atomic"
	"time"
)

// Clock is safe for use by several goroutines.
type Clock struct {
	started time.Time
	running func() time.Duration // since started, while the machine runs
	boot    func() time.Duration // since whenever, suspended time included; nil: the system has no such clock
	base    time.Duration        // boot - running at the start, at most
	slept   atomic.Int64         // ns that Look has seen
	sleeps  atomic.Uint64        // how often
}

// sleepMin is the shortest suspension that counts: it is less than what a lease is cut short by.
const sleepMin = time.Millisecond

// New begins at 0.
func New() *Clock {
	started := time.Now()
	return newClock(started, func() time.Duration { return time.Since(started) }, sinceBoot())
}

// sinceBoot is Boot; nil where the system has none.
func sinceBoot() func() time.Duration {
	if _, ok := Boot(); !ok {
		return nil
	}
	return func() time.Duration {
		at, _ := Boot() // it did not fail before
		return at
	}
}

// startTries are made to read both clocks at the same time.
const startTries = 5

func newClock(started time.Time, running, boot func() time.Duration) *Clock {
	c := &Clock{started: started, running: running, boot: boot}
	for i := range startTries {
		if boot == nil {
			break
		}
		before := running()
		if base := boot() - before; i == 0 || base < c.base {
			c.base = base
		}
	}
	return c
}

// Started is when the clock was 0.
func (c *Clock) Started() time.Time { return c.started }

// Now is the time since then, less what the machine was suspended for since the last Look.
func (c *Clock) Now() time.Duration { return c.running() + time.Duration(c.slept.Load()) }

// Sleeps counts the suspensions that Look has seen.
func (c *Clock) Sleeps() uint64 { return c.sleeps.Load() }

// Look looks whether the machine was suspended, and returns how often it was since the start. Where that is not what it was before some
// readings of Now, these were wrong.
func (c *Clock) Look() (sleeps uint64) {
	if c.boot == nil {
		return 0
	}
	// The other clock is read last, so that a thread that has to wait in between takes no suspension for granted.
	slept := int64(c.boot() - c.running() - c.base)
	for {
		known := c.slept.Load()
		if slept-known < int64(sleepMin) {
			return c.sleeps.Load()
		}
		sleeps = c.sleeps.Add(1) // first, or who reads the new time could miss that the old one was wrong
		if c.slept.CompareAndSwap(known, slept) {
			return sleeps
		}
	}
}
