package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// viewer is a client as one who has seen things: what it has read or written of a key, it must not fall behind. Its goroutines share it.
type viewer struct {
	name  string
	kind  string
	arena string
	limit time.Duration            // the age that what it reads may have: L, or 0 for one without a near cache
	seen  map[string]*atomic.Int64 // place of what was seen of each key; the map does not change
	judge *judge
	tally tally
}

// A place is a position in the order of a key's states: 2 s is write s, 2 s + 1 is that the key is gone after write s and before the next.

// look is one read on its way.
type look struct {
	v     *viewer
	h     *history
	floor int64 // place of what was seen before the read began
	began instant
}

// begin is called before a read is sent, or the near cache is asked.
func (v *viewer) begin(h *history) look {
	return look{v, h, v.seen[h.key].Load(), now()}
}

// sees raises what the viewer has seen.
func (v *viewer) sees(key string, place int64) {
	seen := v.seen[key]
	for {
		have := seen.Load()
		if have >= place || seen.CompareAndSwap(have, place) {
			return
		}
	}
}

// value is what a write with a sequence has written. The rest of it tells people when that was.
func value(seq int64, at instant) string {
	return strconv.FormatInt(seq, 10) + " " + seconds(at) + " " + padding
}

var padding = strings.Repeat("x", 64)

func seqOf(text string) int64 {
	word, _, _ := strings.Cut(text, " ")
	seq, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		return -1
	}
	return seq
}

// end judges what was read.
func (l look) end(text string, there bool) { l.endAt(now(), text, there) }

func (l look) endAt(ended instant, text string, there bool) {
	h, t := l.h, &l.v.tally
	t.reads.Add(1)
	if l.began-instant(h.recent.Load()) > recently*L {
		t.old.Add(1)
	}
	if !there {
		l.endNothing(ended)
		return
	}
	seq := seqOf(text)
	if seq > 0 && seq == h.latest.Load() && 2*seq >= l.floor { // nothing has happened since: most reads
		l.v.sees(h.key, 2*seq)
		return
	}
	h.mu.RLock()
	e, index, found := h.writeLocked(seq)
	over, by := never, event{}
	if found {
		over, by = h.overLocked(e, index)
	} else if seq > 0 && seq <= h.seq {
		over, by = 0, h.events[0]
	}
	h.mu.RUnlock()
	what := "read write " + strconv.FormatInt(seq, 10)
	switch {
	case seq <= 0 || !found && over == never:
		l.violation(ended, fmt.Sprintf("read %q, which nobody wrote", text))
	case e.outcome == refused:
		l.violation(ended, what+", which was refused")
	case over < l.began-l.v.limit:
		l.violation(ended, fmt.Sprintf("%s, which was over %s before the read began, by [%s]; it may be %v", what, l.began-over, by, l.v.limit))
	case 2*seq < l.floor && e.outcome != unknown:
		l.violation(ended, fmt.Sprintf("%s, and had seen %s before", what, placeText(l.floor)))
	default:
		if over < l.began {
			t.aged(l.began - over)
		}
		l.v.sees(h.key, 2*seq)
	}
}

// endNothing judges that the key was not there.
func (l look) endNothing(ended instant) {
	h := l.h
	l.v.tally.nothing.Add(1)
	h.mu.RLock()
	gone := h.absencesLocked(l.began-l.v.limit, ended)
	earliest := never
	for _, a := range gone {
		if a.until == math.MaxInt64 || 2*a.until-1 >= l.floor {
			earliest = min(earliest, a.from)
		}
	}
	before := int64(0) // the newest write that was before all of them for certain
	for _, e := range h.events {
		if e.kind == written && e.outcome == done && e.acked < earliest {
			before = e.seq
		}
	}
	h.mu.RUnlock()
	if earliest == never {
		l.violation(ended, fmt.Sprintf("read that the key is not there, and had seen %s before", placeText(l.floor)))
		return
	}
	l.v.sees(h.key, 2*before+1)
	if l.v.limit == 0 {
		h.sawNothing(l.began, ended)
	}
}

func placeText(place int64) string {
	if place%2 == 1 {
		return fmt.Sprintf("that it was gone after write %d", place/2)
	}
	return fmt.Sprintf("write %d", place/2)
}

func (l look) violation(ended instant, what string) {
	l.v.judge.violation(l.v.arena, fmt.Sprintf("%s, from %s to %s: %s %s\n%s", l.h.key, seconds(l.began), seconds(ended), l.v.name, what, l.h.text()))
}
