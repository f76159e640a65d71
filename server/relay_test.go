package server

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// relayTest is a grid with a client at node a that tracks what it reads, and one at node b, who has the keys b and f.
type relayTest struct {
	*testing.T
	*testGrid
	a, w *client
}

// withRelay runs f with a relay between a and b that is up.
func withRelay(t *testing.T, f func(r *relayTest)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := newTestGrid(t, nil)
		r := &relayTest{t, g, g.nodes["a"].server.tracking(), g.nodes["b"].server.connect()}
		r.says("the first reading: nobody has been asked yet", r.a, "GET b", "(null) push:[invalidate,[b]]")
		r.pass(10 * time.Millisecond)
		r.says("a reading that is tracked", r.a, "GET b", "(null)")
		f(r)
	})
}

// says has a client send a command, and compares all that comes of it with no time passing.
func (r *relayTest) says(what string, c *client, words, expected string) {
	r.T.Helper()
	got := c.tell(strings.Fields(words)...)
	r.settle()
	want(r.T, what+": "+words, strings.TrimSpace(got+" "+c.heard()), expected)
}

// hears compares what the reader hears without asking.
func (r *relayTest) hears(what, expected string) {
	r.T.Helper()
	r.settle()
	want(r.T, what, r.a.heard(), expected)
}

func (r *relayTest) link() *gridLink { return r.links[[2]NodeID{"a", "b"}] }

// What another node reads for a client is tracked: told once, by whoever it is changed, and registered anew.
func TestRelay(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		for _, value := range []string{"1", "2", "3"} {
			r.says("a change", r.w, "SET b "+value, "OK")
			r.hears("is told", "push:[invalidate,[b]]")
			r.pass(5 * time.Millisecond)
			r.says("a second change", r.w, "SET b "+value, "OK")
			r.hears("is not", "")
			r.says("a reading", r.a, "GET b", `"`+value+`"`)
		}
		r.says("a change of its own", r.a, "SET b 4", "OK push:[invalidate,[b]]")
		r.pass(5 * time.Millisecond)
		for _, words := range []string{"MULTI", "GET b", "TTL {b}x"} {
			r.a.tell(strings.Fields(words)...)
		}
		r.a.heard()
		r.says("a transaction", r.a, "EXEC", "[4,-2]")
		r.says("GRID.READ", r.a, "GRID.READ GET f", "[(null),-2]")
		r.says("MGET", r.a, "MGET a b f", "[(null),4,(null)]")
		r.says("two changes", r.w, "MSET {b}x 1 b 5", "OK")
		r.hears("are told one after the other", "push:[invalidate,[{b}x]]")
		r.pass(5 * time.Millisecond)
		r.hears("as questions come", "push:[invalidate,[b]]")
		r.says("another one", r.w, "SET f 5", "OK")
		r.hears("is told", "push:[invalidate,[f]]")
		r.pass(5 * time.Millisecond)
		r.says("a reading", r.a, "GET b", `"5"`)
		r.says("a flush", r.w, "FLUSHALL", "OK")
		r.settle()
		if got := r.a.heard(); !strings.Contains(got, "push:[invalidate,[b]]") && !strings.Contains(got, "push:[invalidate,(null)]") {
			r.T.Errorf("of a flush it hears %s", got)
		}
	})
}

// Who wants to hear of no changes of its own hears of none that another node makes for it, and of all others.
func TestRelayNoloop(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		quiet := r.nodes["a"].server.tracking("NOLOOP")
		reads := func() {
			r.T.Helper()
			r.pass(5 * time.Millisecond)
			for _, key := range []string{"b", "f", "{b}x"} {
				r.a.tell("GET", key)
				quiet.tell("GET", key)
			}
			r.settle()
			r.a.heard()
			quiet.heard()
		}
		own := func(keys string, lines ...string) {
			r.T.Helper()
			reads()
			heard := ""
			for _, line := range lines {
				heard += quiet.tell(strings.Fields(line)...) + " "
			}
			r.pass(10 * time.Millisecond) // one question for each key
			if got := heard + quiet.heard(); strings.Contains(got, "push:") {
				r.T.Errorf("of its own %q it hears %s", lines, got)
			}
			got := strings.Fields(r.a.heard())
			slices.Sort(got)
			want(r.T, "others hear", strings.Join(got, " "), keys)
		}
		own("push:[invalidate,[b]]", "SET b 1")
		own("push:[invalidate,[b]]", "APPEND b 1", "APPEND b 2")
		own("push:[invalidate,[b]] push:[invalidate,[f]]", "MSET a 1 b 2 c 3 f 4")
		own("push:[invalidate,[b]] push:[invalidate,[{b}x]]", "MULTI", "SET b 3", "SET {b}x 3", "EXEC")

		reads()
		r.says("another's change", r.w, "SET b 4", "OK")
		want(r.T, "is told", quiet.heard(), "push:[invalidate,[b]]")
		r.pass(5 * time.Millisecond)

		// It reads, writes and reads again before word of the write is there: what it has read last stays tracked.
		reads()
		r.link().holdAnswers()
		quiet.tell("SET", "b", "5")
		quiet.tell("GET", "b")
		r.settle()
		r.link().releaseAnswers()
		r.pass(5 * time.Millisecond)
		want(r.T, "word of its own change", quiet.heard(), `OK "5"`)
		r.says("another's change", r.w, "SET b 6", "OK")
		want(r.T, "is told", quiet.heard(), "push:[invalidate,[b]]")

		// Its own change and another's are told in one answer: the other's counts.
		reads()
		r.w.tell("APPEND", "f", "x") // answers the question that waits; the next one comes later
		r.settle()
		quiet.heard()
		r.says("its own change", quiet, "APPEND b x", "(integer)_2")
		r.says("a reading", quiet, "GET b", `"6x"`)
		r.says("another's", r.w, "APPEND b y", "(integer)_3")
		want(r.T, "before the answer", quiet.heard(), "")
		r.pass(5 * time.Millisecond)
		want(r.T, "another's change, told of together with its own", quiet.heard(), "push:[invalidate,[b]]")
	})
}

// Two clients of one door: the other node knows of the door alone.
func TestRelayShared(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		second := r.nodes["a"].server.tracking()
		r.says("the second one reads", second, "GET b", "(null)")
		r.says("a change", r.w, "SET b 1", "OK")
		r.hears("the first one is told", "push:[invalidate,[b]]")
		want(r.T, "the second one too", second.heard(), "push:[invalidate,[b]]")
		if s := r.nodes["b"].server.store.Tracking().Stats(); s.Keys != 0 || s.Trackers != 1 {
			r.T.Errorf("at the owner %d keys and %d trackers are left, want 0 and 1", s.Keys, s.Trackers)
		}
	})
}

// Word of a change overtakes the reply between the nodes. To the client the push comes behind.
func TestRelayOvertaken(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		r.link().holdAnswers()
		r.says("a reading without its answer", r.a, "GET f", "")
		r.says("a change", r.w, "SET f 1", "OK")
		r.link().releaseAnswers(1)
		r.hears("before the reply", "")
		r.link().releaseAnswers(0)
		r.hears("reply and push", "(null) push:[invalidate,[f]]")
		r.link().releaseAnswers()
	})
}

// No word comes for as long as a lease: everything that was read there is dropped.
func TestRelayLapses(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		r.link().hold()
		r.pass(relayLease / 2)
		r.hears("while the lease holds", "")
		r.pass(relayLease)
		r.hears("when it is over", "push:[invalidate,[b]]")
		r.link().release()
		r.pass(10 * time.Millisecond)
		r.says("a reading that asks anew", r.a, "GET b", "(null) push:[invalidate,[b]]")
		r.pass(10 * time.Millisecond)
		r.says("one that is tracked again", r.a, "GET b", "(null)")
	})
}

// An answer counts from when it was asked for, not from when it has come.
func TestRelayFromTheQuestion(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		r.link().holdAnswers()
		r.pass(relayLease * 8 / 10) // the answer is given after relayWait, and comes now
		r.link().releaseAnswers()
		r.settle()
		r.link().hold()
		r.pass(relayLease * 3 / 10)
		r.hears("a lease after the question", "push:[invalidate,[b]]")
		r.link().release()
	})
}

// The owner forgets the door. Whether it is asked just then or not, all that was read there is dropped.
func TestRelayForgotten(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		b := r.nodes["b"].server
		b.Gone("a")
		r.hears("a question that waits ends", "push:[invalidate,[b]]")
		r.says("a reading that asks anew", r.a, "GET b", "(null) push:[invalidate,[b]]")
		r.pass(10 * time.Millisecond)
		r.says("a reading", r.a, "GET b", "(null)")
		r.says("a change", r.w, "SET b 1", "OK")
		r.hears("is told, and no question waits for a moment", "push:[invalidate,[b]]")
		r.says("another reading", r.a, "GET f", "(null)")
		b.Gone("a")
		r.says("a change that nobody is told of", r.w, "SET f 1", "OK")
		r.pass(10 * time.Millisecond)
		r.hears("the next answer comes from another record", "push:[invalidate,[f]]")
		if n := b.readingGuests.Load(); n != 1 {
			r.T.Errorf("%d guests read, want 1", n)
		}
	})
}

// A partition leaves the node that has read.
func TestRelayPartitionLost(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		b := r.nodes["b"].server
		b.lose(b.store.PartitionOf([]byte("b")))
		r.hears("the partition is lost", "push:[invalidate,[b]]")
	})
}

// losesAll has b lead the partition of the key b no more, whose last tracked key was changed before, but that of the key c.
func (r *relayTest) losesAll() (p int) {
	store := r.nodes["b"].server.store
	p = store.PartitionOf([]byte("b"))
	r.says("a change", r.w, "SET b 1", "OK")
	r.hears("is told", "push:[invalidate,[b]]")
	r.move(store.PartitionOf([]byte("c")), "b")
	r.see()
	r.change(p, func(p *gridPart) { p.owner = "" })
	return p
}

// The node that has read loses a partition without a key that anybody holds: what else it reads stays tracked.
func TestRelayLostWithoutKeys(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		p := r.losesAll()
		r.nodes["b"].server.lose(p)
		r.pass(relayWait + 5*time.Millisecond) // an answer
		r.says("another partition", r.a, "GET c", "(null)")
		r.hears("is tracked", "")
	})
}

// While a partition's keys are being told of one by one, an answer grants nothing: some of them it may not have.
func TestRelayLostHalfway(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		p := r.losesAll()
		reader := r.nodes["b"].server.guests.byNode["a"].reads
		reader.Lost(p, []byte("{b}1"))
		r.pass(5 * time.Millisecond)
		r.says("halfway", r.a, "GET c", "(null) push:[invalidate,[c]]")
		reader.Lost(p, []byte("{b}2"))
		reader.LosePartition(p)
		r.pass(relayWait + 5*time.Millisecond)
		r.says("at its end", r.a, "GET c", "(null)")
	})
}

// What a door grants ends with what it was granted.
func TestRelayLease(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		r.a.tell("GRID.LEASE", "1")
		for range 3 {
			r.pass(100 * time.Millisecond)
			got := r.a.tell("GRID.LEASE", "5000")
			ms, _ := strconv.Atoi(strings.TrimPrefix(got, "(integer)_"))
			if ms < 600 || ms > 1000 {
				r.T.Errorf("it grants %s, want at most a lease, and no less than one less a question's wait", got)
			}
		}
		r.link().hold()
		r.pass(relayLease * 7 / 10)
		ms, _ := strconv.Atoi(strings.TrimPrefix(r.a.tell("GRID.LEASE", "5000"), "(integer)_"))
		if ms > 600 {
			r.T.Errorf("cut off it grants %d ms", ms)
		}
		r.link().release()
	})
}

// What a door grants to who wants less age than its own lease has is counted from its last question: a word that waits at the owner, or at a
// door that stands still, is no older than that.
func TestRelayLeaseShort(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		lease := func() int {
			ms, err := strconv.Atoi(strings.TrimPrefix(r.a.tell("GRID.LEASE", "300"), "(integer)_"))
			if err != nil {
				r.T.Error(err)
			}
			return ms
		}
		lease()
		r.pass(2 * relayWait) // questions that waited when the lease was asked for
		for range 5 {
			r.pass(50 * time.Millisecond)
			if ms := lease(); ms < 130 || ms > 300 {
				r.T.Errorf("it grants %d ms, want at most 300, and no less than that less two questions' wait", ms)
			}
		}
		r.link().hold()
		r.pass(150 * time.Millisecond)
		if ms := lease(); ms > 150 {
			r.T.Errorf("150 ms after its last question it grants %d ms of 300", ms)
		}
		r.pass(150 * time.Millisecond)
		if ms := lease(); ms > 0 {
			r.T.Errorf("300 ms after its last question it grants %d ms of 300", ms)
		}
		r.link().release()
	})
}

// The door's table has the bound of the node's own: others go for what is new.
func TestRelayBound(t *testing.T) {
	withRelay(t, func(r *relayTest) {
		r.nodes["a"].server.config.TrackingTableMaxKeys.Store(1)
		r.says("the one that was there goes", r.a, "GET f", "(null) push:[invalidate,[b]]")
		r.says("more than there is room for", r.a, "EXISTS {f}1 {f}2", "(integer)_0 push:[invalidate,[{f}1]] push:[invalidate,[{f}2]]")
		r.says("a change", r.w, "SET f 1", "OK")
		r.hears("is told", "push:[invalidate,[f]]")
	})
}

// What comes from another node is not trusted to be what it should.
func TestRelayMalformed(t *testing.T) {
	due := pending{keys: []string{"a", ""}, all: true, by: map[string]origin{"a": {3, 1 << 40}}}
	good := appendRelay(nil, 300, 2*time.Second, &due)
	a, ok := decodeRelay(good)
	if !ok || a.guest != 300 || a.left != relayLease || !a.all || len(a.keys) != 2 || string(a.keys[0]) != "a" ||
		a.by[0] != due.by["a"] || a.by[1] != (origin{}) {
		t.Errorf("%q is read as %+v, %v", good, a, ok)
	}
	for i := range good {
		if a, ok := decodeRelay(good[:i]); ok {
			t.Errorf("%q is read as %+v", good[:i], a)
		}
	}
	if _, ok := decodeRelay(append(good, 0)); ok {
		t.Error("bytes behind it are not noticed")
	}
	if _, ok := decodeRelay([]byte{1, 1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f}); ok {
		t.Error("keys that are not there are not noticed")
	}
}
