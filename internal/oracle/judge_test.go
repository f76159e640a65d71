package main

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// story is a key's history, told in milliseconds.
type story struct{ *history }

func newStory() story { return story{newHistory("k", nil)} }

const ms = time.Millisecond

func (s story) event(e event) story {
	if e.kind == written {
		s.seq++
		e.seq = s.seq
	}
	if e.outcome != done {
		e.acked = never
	}
	s.addLocked(e)
	return s
}

func (s story) write(from, to int, o outcome) story {
	return s.event(event{kind: written, outcome: o, sent: instant(from) * ms, acked: instant(to) * ms})
}

func (s story) writeFor(from, to, ttl int) story {
	return s.event(event{kind: written, outcome: done, sent: instant(from) * ms, acked: instant(to) * ms, ttl: time.Duration(ttl) * ms})
}

func (s story) gone(kind eventKind, from, to int, o outcome) story {
	return s.event(event{kind: kind, outcome: o, sent: instant(from) * ms, acked: instant(to) * ms})
}

// TestJudge: what near caches without one of their rules would return is found, and what may be is not held against them. L is 300 ms.
func TestJudge(t *testing.T) {
	twice := func() story { return newStory().write(1000, 1010, done).write(2000, 2010, done) }
	for _, test := range []struct {
		name       string
		story      story
		seen       int64 // place
		began, end int
		text       string // "" = it is not there
		want       string // "" = all is well
	}{
		{"the newest", twice(), 0, 3000, 3001, "2 x", ""},
		{"old, within L", twice(), 0, 2300, 2301, "1 x", ""},
		{"too old", twice(), 0, 2311, 2312, "1 x", "which was over"},
		{"too old, but asked in time", twice(), 0, 2300, 9000, "1 x", ""},
		{"back behind what was seen", twice(), 4, 2100, 2101, "1 x", "had seen write 2"},
		{"back behind what was seen, which is not acknowledged", newStory().write(1000, 1010, done).write(2000, 0, pending), 4, 2100, 2101, "1 x", "had seen write 2"},
		{"not acknowledged yet", newStory().write(1000, 1010, done).write(2000, 0, pending), 0, 9000, 9001, "1 x", ""},
		{"ahead of the acknowledgement", newStory().write(1000, 1010, done).write(2000, 0, pending), 0, 2001, 2002, "2 x", ""},
		{"nobody wrote it", twice(), 0, 3000, 3001, "3 x", "nobody wrote"},
		{"nonsense", twice(), 0, 3000, 3001, "x", "nobody wrote"},
		{"refused", newStory().write(1000, 0, refused), 0, 1100, 1101, "1 x", "refused"},
		{"unknown, and executed late", newStory().write(1000, 0, unknown).write(2000, 2010, done), 4, 9000, 9001, "1 x", ""},
		{"unknown, so the one before may be current", newStory().write(1000, 1010, done).write(2000, 0, unknown), 0, 9000, 9001, "1 x", ""},
		{"back behind one of unknown outcome", newStory().write(1000, 1010, done).write(2000, 0, unknown), 4, 9000, 9001, "1 x", "had seen write 2"},

		{"not there, before all", newStory().write(1000, 1010, done), 0, 500, 501, "", ""},
		{"not there, within L", newStory().write(1000, 1010, done), 0, 1309, 1310, "", ""},
		{"not there, too long", newStory().write(1000, 1010, done), 0, 1311, 1312, "", "is not there"},
		{"not there, and was written by the reader", newStory().write(1000, 1010, done), 2, 1020, 1021, "", "is not there"},
		{"flushed", twice().gone(removed, 3000, 3010, done), 4, 3100, 3101, "", ""},
		{"flushed, and still read", twice().gone(removed, 3000, 3010, done), 4, 3311, 3312, "2 x", "which was over"},
		{"flushed, and still read within L", twice().gone(removed, 3000, 3010, done), 4, 3310, 3311, "2 x", ""},
		{"flushed, and back behind that", twice().gone(removed, 3000, 3010, done), 5, 3100, 3101, "2 x", "gone after write 2"},
		{"flushed, perhaps", twice().gone(removed, 3000, 0, unknown), 4, 9000, 9001, "2 x", ""},
		{"flushed perhaps, and gone", twice().gone(removed, 3000, 0, unknown), 4, 9000, 9001, "", ""},
		{"flushed, and written", twice().gone(removed, 3000, 3010, done).write(3020, 3030, done), 4, 3331, 3332, "", "is not there"},
		{"flushed while it was written", twice().gone(removed, 3000, 3030, done).write(3010, 3020, done), 4, 9000, 9001, "", ""},
		{"flushed before it was sent", newStory().gone(removed, 500, 510, done).write(1000, 1010, done), 0, 9000, 9001, "1 x", ""},
		{"evicted", twice().gone(evicted, 3000, 0, pending), 4, 9000, 9001, "", ""},
		{"not evicted", twice().gone(evicted, 3000, 0, pending), 4, 9000, 9001, "2 x", ""},
		{"evicted, and written", twice().gone(evicted, 3000, 3500, done).write(4000, 4010, done), 0, 4311, 4312, "", "is not there"},
		{"expired", newStory().writeFor(1000, 1010, 100), 2, 1200, 1201, "", ""},
		{"gone before it expires", newStory().writeFor(1000, 1010, 100), 2, 1020, 1030, "", "is not there"},
		{"expired, and still read", newStory().writeFor(1000, 1010, 100), 2, 1421, 1422, "1 x", "which was over"},
		{"expired, and still read within L", newStory().writeFor(1000, 1010, 100), 2, 1420, 1421, "1 x", ""},
		{"written again in time", newStory().writeFor(1000, 1010, 100).writeFor(1050, 1060, 9000), 4, 1300, 1301, "", "is not there"},
	} {
		j := newJudge(t.Logf)
		v := &viewer{name: "v", limit: L, seen: map[string]*atomic.Int64{"k": new(atomic.Int64)}, judge: j}
		v.seen["k"].Store(test.seen)
		l := look{v, test.story.history, test.seen, instant(test.began) * ms}
		l.endAt(instant(test.end)*ms, test.text, test.text != "")
		violations, _ := j.found()
		got := strings.Join(violations, "\n")
		if test.want == "" && got != "" || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// TestSeen: what a reader sees becomes what it must not fall behind.
func TestSeen(t *testing.T) {
	s := newStory().write(1000, 1010, done).gone(removed, 2000, 2010, done).write(3000, 3010, done)
	v := &viewer{limit: L, seen: map[string]*atomic.Int64{"k": new(atomic.Int64)}, judge: newJudge(t.Logf)}
	for _, step := range []struct {
		at   int
		text string
		want int64
	}{{1020, "1 x", 2}, {2020, "", 3}, {3001, "2 x", 4}, {3020, "2 x", 4}} {
		look{v, s.history, v.seen["k"].Load(), instant(step.at) * ms}.endAt(instant(step.at+1)*ms, step.text, step.text != "")
		if got := v.seen["k"].Load(); got != step.want {
			t.Errorf("after %q at %d: place %d, want %d", step.text, step.at, got, step.want)
		}
	}
	if _, count := v.judge.found(); count > 0 {
		t.Error("there were violations")
	}
}

// TestForgets: a history is bounded, and what was read from before all that is remembered is too old.
func TestForgets(t *testing.T) {
	s := newStory()
	for i := range 2 * eventsMax {
		s.write(10*i, 10*i+5, done)
	}
	if len(s.events) > eventsMax {
		t.Errorf("%d events are remembered", len(s.events))
	}
	v := &viewer{limit: L, seen: map[string]*atomic.Int64{"k": new(atomic.Int64)}, judge: newJudge(t.Logf)}
	look{v, s.history, 0, 20 * eventsMax * ms}.endAt(30*eventsMax*ms, "1 x", true)
	if _, count := v.judge.found(); count != 1 {
		t.Errorf("%d violations, want 1", count)
	}
}

// TestReport: what was missed is said, and the exit code follows.
func TestReport(t *testing.T) {
	o := newOutcomes()
	o.counts["flush"] = 3
	o.addLocked(cell{"flush", "client"}, sums{reads: 20, hits: 15, near: 10})
	r := &report{options: options{plan: plan{chosen: faults, faults: 3}, near: 10}, found: o}
	if r.missed() != 0 {
		t.Errorf("%d targets are missed of %+v", r.missed(), r.targets())
	}
	r.count, r.violations, r.options.near, r.options.plan.faults = 1, []string{"it was old"}, 11, 4
	o.addLocked(cell{"flush", "sidecar"}, sums{reads: 20})
	if r.missed() != 4 {
		t.Errorf("%d targets are missed, want 4, of %+v", r.missed(), r.targets())
	}
	text := r.text()
	for _, want := range []string{"| violations | 0 | 1 | MISSED |", "it was old", "| faults | at least 4 | 3 | MISSED |", "| flush | 10 | 0 |"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}
