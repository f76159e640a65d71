package sidecar

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

// everything is what a client is told that is to drop everything.
const everything = ">[$invalidate _]"

// toldKeys reads pushes until they name so many keys, and returns those in order.
func toldKeys(t *testing.T, c *testredis.Conn, count int) string {
	t.Helper()
	seen := map[string]bool{}
	for len(seen) < count {
		v := pushed(t, c)
		if len(v.Elems) != 2 || v.Elems[0].Text != "invalidate" || len(v.Elems[1].Elems) == 0 {
			t.Fatalf("told %s behind %d keys of %d", short(v), len(seen), count)
		}
		for _, key := range v.Elems[1].Elems {
			seen[key.Text] = true
		}
	}
	var keys []string
	for key := range seen {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return strings.Join(keys, " ")
}

// silent fails where a client has been told anything by the time of a reply.
func silent(t *testing.T, c *testredis.Conn, what string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	c.Queue("ECHO", "silence")
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	if v, err := c.Receive(); err != nil || v.Text != "silence" {
		t.Fatalf("%s: told %s, %v", what, short(v), err)
	}
}

// TestBcast: a client is told of every change in the grid to a key with one of its prefixes, behind the reply where it is its own, and of
// no other.
func TestBcast(t *testing.T) {
	r := startedQuiet(t, nil)
	node, plain := dial(t, nodeAddr(t)), r.conn()
	all := r.beginsByPrefix("")
	c := r.tracksByPrefix("PREFIX bc:a PREFIX bc:b") // the grid tells of these already
	var keys []string
	for i := range 30 { // of all nodes
		keys = append(keys, fmt.Sprintf("bc:a%02d", i))
		want(t, node, "+OK", "SET "+keys[i]+" 1")
	}
	for range 2 { // whether it has read them or not
		if got := toldKeys(t, c, len(keys)); got != strings.Join(keys, " ") {
			t.Fatalf("told %s", got)
		}
		toldKeys(t, all, len(keys))
		for _, key := range keys {
			c.Do(t, "GET", key)
		}
		silent(t, c, "reading")
		for _, key := range keys {
			want(t, plain, "+OK", "SET "+key+" 1")
		}
	}
	toldKeys(t, c, len(keys))
	for _, line := range []string{"SET bc:c 1", "DEL bc:c", "SET bc 1"} {
		plain.Do(t, strings.Fields(line)...)
	}
	silent(t, c, "other keys")
	for _, test := range []struct{ line, reply, keys string }{
		{"SET bc:b1 1", "+OK", "bc:b1"}, {"MSET bc:a1 1 bc:b2 2 bc:c 3", "+OK", "bc:a1 bc:b2"}, {"DEL bc:a1 bc:b1", ":2", "bc:a1 bc:b1"},
		{"PEXPIRE bc:b2 1", ":1", "bc:b2"},
	} {
		want(t, c, test.reply, test.line) // the reply is ahead of what is told
		if got := toldKeys(t, c, len(strings.Fields(test.keys))); got != test.keys {
			t.Errorf("%s: told %s", test.line, got)
		}
	}
	for _, test := range []struct{ options, reply string }{
		{"BCAST PREFIX bc:ab", "-ERR Prefix 'bc:ab' overlaps with an existing prefix 'bc:a'. Prefixes for a single client must not overlap."},
		{"BCAST PREFIX x PREFIX xy", "-ERR Prefix 'x' overlaps with another provided prefix 'xy'. Prefixes for a single client must not overlap."},
		{"BCAST OPTIN", "-ERR OPTIN and OPTOUT are not compatible with BCAST"}, {"PREFIX y", "-ERR PREFIX option requires BCAST mode to be enabled"},
	} {
		want(t, c, test.reply, "CLIENT TRACKING ON "+test.options)
	}
	if got := toldKeys(t, c, 1); got != "bc:b2" { // that it has expired
		t.Errorf("told %s", got)
	}
	want(t, c, "+OK", "CLIENT TRACKING OFF")
	want(t, plain, "+OK", "SET bc:a 2")
	silent(t, c, "when it tracks no more")
}

// TestBcastNoloop: of its own changes a client that wants so is told nothing.
func TestBcastNoloop(t *testing.T) {
	r := startedQuiet(t, nil)
	quiet, other := r.beginsByPrefix("PREFIX bl: NOLOOP"), r.tracksByPrefix("PREFIX bl:")
	for _, line := range []string{"SET bl:a 1", "MSET bl:b 2 bl:c 3", "APPEND bl:d 1", "MULTI", "SET bl:e 1", "EXEC"} {
		if v := quiet.Do(t, strings.Fields(line)...); v.IsError() {
			t.Fatalf("%s: %s", line, short(v))
		}
	}
	if got := toldKeys(t, other, 5); got != "bl:a bl:b bl:c bl:d bl:e" {
		t.Errorf("another is told of %s", got)
	}
	want(t, other, "+OK", "SET bl:f 1")
	if got := toldKeys(t, quiet, 1); got != "bl:f" {
		t.Errorf("told of %s, which it has not changed alone", got)
	}
}

// TestBcastRedirect: RESP2 clients hear of changes on another connection.
func TestBcastRedirect(t *testing.T) {
	r := startedQuiet(t, nil)
	node, listener, c := dial(t, nodeAddr(t)), r.conn(), r.conn()
	id := listener.Do(t, "CLIENT", "ID").Text
	want(t, listener, "*[$subscribe $__redis__:invalidate :1]", "SUBSCRIBE __redis__:invalidate")
	want(t, c, "+OK", "CLIENT TRACKING ON BCAST PREFIX br: REDIRECT "+id)
	for _, told := range []string{"$nil", "*[$br:k]"} {
		if v := pushed(t, listener); short(v) != "*[$message $__redis__:invalidate "+told+"]" {
			t.Fatalf("told %s, want %s", short(v), told)
		}
		want(t, node, "+OK", "SET br:k 1")
	}
}

// TestBcastLost: whatever ends the grid's word ends what clients keep; they are told of what changes again when it is back, and are not left
// with what they have read in between.
func TestBcastLost(t *testing.T) {
	r := startedQuiet(t, nil)
	node, plain := dial(t, nodeAddr(t)), r.conn()
	c := r.beginsByPrefix("PREFIX bw:")
	told := func(what, told string) {
		t.Helper()
		if v := pushed(t, c); short(v) != told {
			t.Fatalf("%s: told %s, want %s", what, short(v), told)
		}
	}
	want(t, node, "+OK", "FLUSHALL")
	told("a flush", everything)
	eventually(t, "nothing more of it", func() bool { // each node tells of its own
		c.SetDeadline(time.Now().Add(100 * time.Millisecond))
		v, err := c.Receive()
		return err != nil || short(v) != everything
	})
	c = r.tracksByPrefix("PREFIX bw:")
	want(t, plain, "+OK", "SET bw:k 1")
	told("a change", ">[$invalidate *[$bw:k]]")
	r.wire.set(true)
	told("the connections have ended", everything)
	want(t, node, "+OK", "SET bw:k 2") // nobody tells of this one
	r.wire.set(false)
	told("they are back", everything)
	r.tellsAgain(plain, c, "bw:k")
}

// TestBcastFirst: who tracks before the grid is there is told when it begins to tell, and of what changes then.
func TestBcastFirst(t *testing.T) {
	var w *wire
	r := start(t, func(o *Options) {
		w = &wire{}
		w.set(true)
		o.Client.Dial = w.dial
	})
	r.wire = w
	c := r.tracksByPrefix("PREFIX bi:")
	if v := r.conn().Do(t, "GET", "bi:k"); !strings.HasPrefix(v.Text, "LOADING ") {
		t.Errorf("GET: %s", short(v))
	}
	w.set(false)
	if v := pushed(t, c); short(v) != everything {
		t.Fatalf("told %s", short(v))
	}
	r.tellsAgain(r.conn(), c, "bi:k")
}

// tellsAgain writes a key until a client is told of it, and nothing else.
func (r *rig) tellsAgain(writer, c *testredis.Conn, key string) {
	r.Helper()
	eventually(r.T, "commands are executed", func() bool { return !writer.Do(r.T, "SET", key, "3").IsError() })
	for {
		switch v := pushed(r.T, c); short(v) {
		case everything: // it took more than one attempt
		case ">[$invalidate *[$" + key + "]]":
			return
		default:
			r.Fatalf("told %s", short(v))
		}
	}
}

// TestBcastFrozen: where nothing arrives any more and no connection ends, clients are told to drop everything when the lease is over, and
// what they read behind that is to be dropped at once, whether it was held or not.
func TestBcastFrozen(t *testing.T) {
	const staleness = 300 * time.Millisecond
	r := startedQuiet(t, func(o *Options) { o.Near.Staleness = staleness })
	node, plain := dial(t, nodeAddr(t)), r.conn()
	want(t, node, "+OK", "SET bf:k 1")
	c := r.beginsByPrefix("PREFIX bf:")
	want(t, c, "$1", "GET bf:k")
	r.wire.set(true) // of all connections that follow, that by prefixes does not come to anything
	r.wire.castsNever()
	r.wire.set(false)
	if v := pushed(t, c); short(v) != everything {
		t.Fatalf("the connections have ended: told %s", short(v))
	}
	eventually(t, "commands are executed", func() bool { return !plain.Do(t, "SET", "bf:k", "2").IsError() })
	r.holds(plain, "bf:k", "2")
	for range 3 { // held, and by whatever way
		want(t, c, "$2", "GET bf:k")
		if v := pushed(t, c); short(v) != ">[$invalidate *[$bf:k]]" {
			t.Fatalf("a reading that nobody would tell of: told %s", short(v))
		}
		want(t, c, ":1", "EXISTS bf:k")
		if v := pushed(t, c); short(v) != ">[$invalidate *[$bf:k]]" {
			t.Fatalf("another reading: told %s", short(v))
		}
	}
}

// TestBcastLapse: the same of a connection that stands, and on which nothing arrives.
func TestBcastLapse(t *testing.T) {
	const staleness = 300 * time.Millisecond
	r := startedQuiet(t, func(o *Options) { o.Near.Staleness = staleness })
	node := dial(t, nodeAddr(t))
	c := r.beginsByPrefix("PREFIX bp:")
	thaw := r.wire.freezeCasts()
	defer thaw()
	want(t, node, "+OK", "SET bp:k 1")
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if v, err := c.Receive(); err != nil || short(v) != everything {
		t.Fatalf("told %s, %v", short(v), err)
	}
}

// TestBcastOthersCome: when clients with other prefixes come and go, who was there before is told of every change once at least, and never to drop
// everything.
func TestBcastOthersCome(t *testing.T) {
	r := startedQuiet(t, nil)
	node := dial(t, nodeAddr(t))
	c := r.beginsByPrefix("PREFIX bo:")
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- i
				return
			default:
				node.Do(t, "SET", fmt.Sprintf("bo:%05d", i), "1")
			}
		}
	}()
	for i := range 4 {
		other := r.beginsByPrefix(fmt.Sprintf("PREFIX other%d: PREFIX b%d", i, i))
		other.Close()
	}
	r.beginsByPrefix("").Close() // of all keys
	close(stop)
	toldKeys(t, c, <-done)
}

// TestBcastLeaves: what a connection had to say is not lost with it, when another has taken its place.
func TestBcastLeaves(t *testing.T) {
	r := startedQuiet(t, nil)
	node := dial(t, nodeAddr(t))
	c := r.beginsByPrefix("PREFIX bv:")
	thaw := r.wire.freezeCasts()
	defer thaw()
	want(t, node, "+OK", "SET bv:k 1")
	r.beginsByPrefix("PREFIX other:")
	v := pushed(t, c)
	if got := short(v); got != everything && got != ">[$invalidate *[$bv:k]]" {
		t.Fatalf("told %s", got)
	}
}

// TestBcastHeld: nothing is answered from memory that is older than what a client has been told, though the near connections' word is late.
func TestBcastHeld(t *testing.T) {
	r := startedQuiet(t, func(o *Options) { o.Near.Staleness = 10 * time.Second })
	node, plain := dial(t, nodeAddr(t)), r.conn()
	want(t, node, "+OK", "MSET bh:a old bh:b old")
	c := r.beginsByPrefix("PREFIX bh:a")
	r.holds(plain, "bh:a", "old")
	r.holds(plain, "bh:b", "old")
	thaw := r.wire.freezeNear()
	defer thaw()
	want(t, node, "+OK", "SET bh:a new")
	if got := toldKeys(t, c, 1); got != "bh:a" {
		t.Fatalf("told %s", got)
	}
	late := func(c *testredis.Conn, key string) {
		t.Helper()
		c.Timeout = 200 * time.Millisecond
		if v, err := c.Call("GET", key); err == nil && v.Text == "old" {
			t.Errorf("%s: %s, behind the word that it has changed", key, v.Text)
		}
	}
	late(c, "bh:a")
	want(t, node, "+OK", "SET bh:b new")
	late(r.beginsByPrefix("PREFIX bh:b"), "bh:b")
}
