package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// instant is a moment of this machine's monotonic clock, counted from when this process began. Everybody who writes, reads and judges is
// in this process, so all have the same clock, whatever the processes of nodes and sidecars think the time is.
type instant = time.Duration

var began = time.Now()

func now() instant { return time.Since(began) }

const never instant = math.MaxInt64

// eventKind is how a key's state changes.
type eventKind uint8

const (
	written eventKind = iota
	removed           // by FLUSHALL, or a far reader saw that it is not there
	evicted           // perhaps: so long keys had to make room
)

// outcome is what has become of a write or removal, as far as who sent it knows.
type outcome uint8

const (
	pending outcome = iota
	done
	refused // it was not executed, and never will be
	unknown // it may have been executed, or may yet be, at any time
)

// event is one change of a key's state, which took effect at some moment from sent to acked, where its outcome is done.
type event struct {
	kind    eventKind
	outcome outcome
	seq     int64 // of a write: 1, 2 ...
	sent    instant
	acked   instant       // never: not yet, or nobody knows
	ttl     time.Duration // of a write; 0: it does not expire
}

const (
	// eventsMax bounds what is remembered of a key: a minute at least. What was read that is older than all of it is far too old.
	eventsMax = 4096
	// expirySlack is by how much a time to live may be off: nodes count in whole milliseconds, and look at the clock once for many commands.
	expirySlack = 10 * time.Millisecond
)

// history is one key and all that was done to it. One writer writes it, and waits for each write's outcome before the next: sequences are
// in the order in which writes take effect, but for those of unknown outcome.
type history struct {
	key    string
	owner  *viewer      // who writes it
	turn   sync.Mutex   // held by who writes
	latest atomic.Int64 // seq of the newest write that is done, while nothing was done behind it; 0: look into events
	recent atomic.Int64 // instant: when the newest write was acknowledged

	mu     sync.RWMutex
	events []event
	first  int   // number of events[0]: earlier ones are forgotten
	seq    int64 // of the newest write
}

func newHistory(key string, owner *viewer) *history {
	return &history{key: key, owner: owner, events: []event{{kind: removed, outcome: done}}} // it was not there before all
}

// begin notes that a change is about to be sent, and returns its number.
func (h *history) begin(kind eventKind, ttl time.Duration) (number int, seq int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if kind == written {
		h.seq++
		seq = h.seq
	}
	return h.addLocked(event{kind: kind, seq: seq, sent: now(), acked: never, ttl: ttl}), seq
}

func (h *history) addLocked(e event) (number int) {
	if len(h.events) == eventsMax {
		h.events = append(h.events[:0], h.events[eventsMax/2:]...)
		h.first += eventsMax / 2
	}
	h.events = append(h.events, e)
	h.latest.Store(0)
	return h.first + len(h.events) - 1
}

// end notes the outcome of a change.
func (h *history) end(number int, o outcome) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := number - h.first
	if i < 0 {
		return
	}
	e := &h.events[i]
	e.outcome = o
	if o != done {
		return
	}
	e.acked = now()
	if e.kind != written {
		return
	}
	h.recent.Store(int64(e.acked))
	if e.ttl == 0 && i == len(h.events)-1 {
		h.latest.Store(e.seq)
	}
}

// sawNothing notes that the key was not there at some moment between two, as its node said.
func (h *history) sawNothing(from, to instant) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addLocked(event{kind: removed, outcome: done, sent: from, acked: to})
}

// writeLocked finds a write.
func (h *history) writeLocked(seq int64) (e event, i int, ok bool) {
	for i := len(h.events) - 1; i >= 0; i-- {
		if h.events[i].kind == written && h.events[i].seq == seq {
			return h.events[i], i, true
		}
	}
	return e, -1, false
}

// overLocked is when at the latest the value of a write was over: whatever is read that was current at a later moment, it is not that value.
// never: it may be current still.
func (h *history) overLocked(e event, index int) (at instant, by event) {
	at = never
	if e.outcome == unknown {
		return never, by // it may take effect at any time
	}
	if e.outcome == done && e.ttl > 0 {
		at, by = e.acked+e.ttl+expirySlack, e
	}
	for _, later := range h.events[index+1:] {
		after := later.kind == written || later.kind == removed && e.outcome == done && later.sent > e.acked
		if after && later.outcome == done && later.acked < at {
			at, by = later.acked, later
		}
	}
	return at, by
}

// absence is a time in which the key may not have been there: after some moment, and until before a write is acknowledged.
type absence struct {
	from, to instant
	until    int64 // the write; math.MaxInt64: none
}

// absencesLocked are those which may have been between two moments.
func (h *history) absencesLocked(from, to instant) (list []absence) {
	for i, e := range h.events {
		var a absence
		switch {
		case e.outcome == refused:
			continue
		case e.kind != written:
			a.from = e.sent
		case e.ttl > 0:
			a.from = e.sent + e.ttl - expirySlack
		default:
			continue
		}
		a.to, a.until = h.nextLocked(i)
		if a.from <= to && a.to > from {
			list = append(list, a)
		}
	}
	return list
}

// nextLocked is the first write that is certain to be behind an event, and when it was acknowledged.
func (h *history) nextLocked(index int) (acked instant, seq int64) {
	e := h.events[index]
	if e.outcome == unknown || e.outcome == pending && e.kind != written {
		return never, math.MaxInt64
	}
	for _, w := range h.events[index+1:] {
		if w.kind == written && w.outcome == done && (e.kind == written || w.sent >= e.acked) {
			return w.acked, w.seq
		}
	}
	return never, math.MaxInt64
}

// text is the newest part of the history, for people.
func (h *history) text() string {
	h.mu.RLock()
	defer h.mu.RUnlock()
	var b strings.Builder
	for _, e := range h.events[max(0, len(h.events)-12):] {
		fmt.Fprintf(&b, "    %s\n", e)
	}
	return b.String()
}

func (e event) String() string {
	what := [...]string{"write ", "removal", "eviction"}[e.kind]
	if e.kind == written {
		what += strconv.FormatInt(e.seq, 10)
	}
	if e.ttl > 0 {
		what += " for " + e.ttl.String()
	}
	acked := seconds(e.acked)
	if e.acked == never {
		acked = "?"
	}
	return fmt.Sprintf("%s to %s: %s, %s", seconds(e.sent), acked, what, [...]string{"under way", "done", "refused", "outcome unknown"}[e.outcome])
}

func seconds(t time.Duration) string { return fmt.Sprintf("%.6f", t.Seconds()) }
