package server

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// withCasts runs f with a client of node a that tracks by the prefix b, once node b tells of it.
func withCasts(t *testing.T, options string, f func(r *relayTest, cast *client)) {
	t.Helper()
	withRelay(t, func(r *relayTest) {
		cast := r.nodes["a"].server.tracking(strings.Fields("BCAST PREFIX b PREFIX {b}" + options)...)
		r.pass(2 * relayWait)
		r.hearsOf(cast, "when the others begin to tell", "push:[invalidate,(null)]")
		f(r, cast)
	})
}

// hearsOf compares what a client hears without asking. What it is told twice in a row counts once.
func (r *relayTest) hearsOf(c *client, what, expected string) {
	r.T.Helper()
	r.pass(5 * time.Millisecond)
	want(r.T, what, strings.Join(slices.Compact(strings.Fields(c.heard())), " "), expected)
}

// BCAST at a grid door is about the keys of all nodes, whoever changes them, read or not.
func TestCast(t *testing.T) {
	withCasts(t, "", func(r *relayTest, cast *client) {
		for range 2 {
			r.says("a change", r.w, "SET b 1", "OK")
			r.hearsOf(cast, "is told each time", "push:[invalidate,[b]]")
		}
		r.says("a key without the prefix", r.w, "SET f 1", "OK")
		r.hearsOf(cast, "is not told", "")
		r.says("a reading is not dropped", cast, "GET b", `"1"`)
		r.says("one of a key without the prefix neither", cast, "GET f", `"1"`)
		r.says("its own change is told", cast, "SET b 2", "OK push:[invalidate,[b]]")
		r.pass(5 * time.Millisecond)
		r.says("one by another door", r.nodes["c"].server.connect(), "SET {b}x 2", "OK")
		r.hearsOf(cast, "is told", "push:[invalidate,[{b}x]]")
		r.says("the end", cast, "CLIENT TRACKING OFF", "OK")
		r.pass(2 * relayWait)
		if s := r.nodes["b"].server.store.Tracking().Stats(); s.Prefixes != 0 {
			r.T.Errorf("%d prefixes are left at the owner", s.Prefixes)
		}
	})
}

// Who wants to hear of no changes of its own does not.
func TestCastNoloop(t *testing.T) {
	withCasts(t, " NOLOOP", func(r *relayTest, cast *client) {
		r.says("its own change", cast, "SET b 2", "OK")
		r.hearsOf(cast, "is not told", "")
		r.says("another's", r.w, "SET b 3", "OK")
		r.hearsOf(cast, "is told", "push:[invalidate,[b]]")
	})
}

// Whatever ends another node's word ends what clients keep.
func TestCastLost(t *testing.T) {
	lost := func(r *relayTest, cast *client, what string) {
		r.T.Helper()
		r.pass(5 * time.Millisecond)
		if got := cast.heard(); !strings.HasSuffix(got, "push:[invalidate,(null)]") { // single keys may be told of before
			r.T.Errorf("%s: it hears %q", what, got)
		}
	}
	withCasts(t, "", func(r *relayTest, cast *client) {
		b := r.nodes["b"].server
		b.lose(b.store.PartitionOf([]byte("b")))
		lost(r, cast, "it has lost a partition")
	})
	withCasts(t, "", func(r *relayTest, cast *client) {
		r.says("a flush", r.w, "FLUSHALL", "OK")
		lost(r, cast, "of everything")
	})
	withCasts(t, "", func(r *relayTest, cast *client) {
		b := r.nodes["b"].server
		b.Gone("a")
		lost(r, cast, "it has forgotten the door")
		r.nodes["a"].server.askCasts()
		lost(r, cast, "it begins again")
		r.says("a change", r.w, "SET b 1", "OK")
		r.hearsOf(cast, "is told", "push:[invalidate,[b]]")
	})
	withCasts(t, "", func(r *relayTest, cast *client) {
		r.link().hold()
		r.pass(relayLease / 2)
		want(r.T, "while the lease holds", cast.heard(), "")
		r.pass(relayLease / 2) // the question that waits ends later
		want(r.T, "when it is over", cast.heard(), "push:[invalidate,(null)]")
		r.link().release()
		r.pass(2 * relayWait)
		cast.heard()
		r.nodes["a"].server.askCasts()
		r.pass(2 * relayWait)
		cast.heard()
		r.says("a change, once it answers again", r.w, "SET b 1", "OK")
		r.hearsOf(cast, "is told", "push:[invalidate,[b]]")
	})
}

// Before a node tells of a client's prefixes, what it reads for it is to be dropped at once.
func TestCastBefore(t *testing.T) {
	withCasts(t, "", func(r *relayTest, cast *client) {
		second := r.nodes["a"].server.tracking("BCAST", "PREFIX", "f")
		r.says("a reading at once", second, "GET f", "(null) push:[invalidate,[f]]")
		r.pass(2 * relayWait)
		r.hearsOf(second, "then the node begins", "push:[invalidate,(null)]")
		r.says("a reading", second, "GET f", "(null)")
		want(r.T, "who was there before", cast.heard(), "")
	})
}

// A lease of who tracks by prefixes rests on all nodes.
func TestCastLease(t *testing.T) {
	withCasts(t, "", func(r *relayTest, cast *client) {
		lease := func() int {
			words := strings.Fields(cast.tell("GRID.LEASE", "800")) // pushes may stand before
			ms, err := strconv.Atoi(strings.TrimPrefix(words[len(words)-1], "(integer)_"))
			if err != nil {
				r.T.Error(err)
			}
			return ms
		}
		lease()
		r.pass(2 * relayWait)
		if ms := lease(); ms < 350 {
			r.T.Errorf("it grants %d ms of 800", ms)
		}
		r.links[[2]NodeID{"a", "c"}].hold() // though nothing was read there
		r.pass(600 * time.Millisecond)
		if ms := lease(); ms > 200 {
			r.T.Errorf("600 ms after the last answer of one node it grants %d ms of 800", ms)
		}
		r.pass(time.Second)
		if ms := lease(); ms > 0 {
			r.T.Errorf("cut off from one node it grants %d ms", ms)
		}
		r.links[[2]NodeID{"a", "c"}].release()
	})
}

// However many prefixes there are, questions stay short: then all keys are told of.
func TestCastBound(t *testing.T) {
	withCasts(t, "", func(r *relayTest, cast *client) {
		options := []string{"BCAST"}
		for i := range castPrefixesMax {
			options = append(options, "PREFIX", "p"+strconv.Itoa(1000+i))
		}
		many := r.nodes["a"].server.tracking(options...)
		if _, prefixes := r.nodes["a"].server.casts.wanted(); len(prefixes) != 1 || prefixes[0] != "" {
			r.T.Errorf("%d prefixes are asked for", len(prefixes))
		}
		r.pass(2 * relayWait)
		r.hearsOf(many, "when the others begin", "push:[invalidate,(null)]")
		r.says("a change", r.w, "SET b 1", "OK")
		r.hearsOf(cast, "is told to whom it concerns", "push:[invalidate,[b]]")
		r.hearsOf(many, "and to nobody else", "")
	})
}
