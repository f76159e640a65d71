package server

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// loadToken sends GRID.LOAD and returns the token that is answered.
func (c *client) loadToken(key string, ms string) string {
	c.server.t.Helper()
	got := c.tell("GRID.LOAD", key, ms)
	token, ok := strings.CutPrefix(got, "[load,")
	token, rest, found := strings.Cut(token, ",")
	if !ok || !found || rest != ms+"]" || token == "0" {
		c.server.t.Fatalf("GRID.LOAD %s %s: %s, want a token", key, ms, got)
	}
	return token
}

// GRID.LOAD, GRID.FILL and GRID.PASS: one loads, others wait, and are told.
func TestGridLoad(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a, b, w := srv.connect(), srv.tracking(), srv.connect()
		token := a.loadToken("k", "5000")
		time.Sleep(time.Second)
		want(t, "another one", w.tell("GRID.LOAD", "k"), "[wait,4000,0]")
		want(t, "one who tracks", b.tell("GRID.LOAD", "k"), "[wait,4000,1]")
		w.tell("SELECT", "1")
		want(t, "the token in another database", w.tell("GRID.FILL", "k", token, "x"), "(nil)")
		want(t, "which is loaded by another one", w.tell("GRID.PASS", "k", w.loadToken("k", "1")), "(integer)_1")
		want(t, "names are told without their database", b.heard(), "push:[invalidate,[k]]")
		w.tell("SELECT", "0")
		want(t, "one who tracks, again", b.tell("GRID.LOAD", "k"), "[wait,4000,1]")
		want(t, "a wrong token", w.tell("GRID.FILL", "k", "1", "x"), "(nil)")
		want(t, "a good one, of another key", w.tell("GRID.FILL", "k2", token, "x"), "(nil)")
		want(t, "and nobody is told", b.heard(), "")
		want(t, "the token", a.tell("GRID.FILL", "k", token, "v", "PX", "1500"), "OK")
		want(t, "who waits is told", b.heard(), "push:[invalidate,[k]]")
		want(t, "and has it", b.tell("GRID.LOAD", "k"), "[value,v]")
		want(t, "with its time", b.tell("PTTL", "k"), "(integer)_1500")
		want(t, "a token is good once", a.tell("GRID.FILL", "k", token, "v2"), "(nil)")

		token = a.loadToken("p", "5000")
		want(t, "one who waits", b.tell("GRID.LOAD", "p"), "[wait,5000,1]")
		want(t, "to pass a wrong one", a.tell("GRID.PASS", "p", "1"), "(integer)_0")
		want(t, "is not told", b.heard(), "")
		want(t, "to pass", a.tell("GRID.PASS", "p", token), "(integer)_1")
		want(t, "who waits", b.heard(), "push:[invalidate,[p]]")
		b.loadToken("p", "7")
		want(t, "a token that was passed", a.tell("GRID.FILL", "p", token, "v"), "(nil)")
		if n := srv.store.Loading(); n != 1 {
			t.Errorf("%d keys are being loaded, want 1", n)
		}
	})
}

// What is not in its form.
func TestGridLoadBadArguments(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a := srv.connect()
		a.tell("HSET", "h", "f", "1")
		spaced := func(text string) string { return "(error)_" + strings.ReplaceAll(text, " ", "_") }
		for _, tt := range []struct{ words, want string }{
			{"GRID.LOAD", spaced("ERR wrong number of arguments for 'grid.load' command")},
			{"GRID.LOAD k 1 2", spaced("ERR wrong number of arguments for 'grid.load' command")},
			{"GRID.LOAD k x", spaced(protocol.ErrNotInteger)},
			{"GRID.LOAD k 0", spaced(errLoadMs)},
			{"GRID.LOAD k -1", spaced(errLoadMs)},
			{"GRID.LOAD k 3600001", spaced(errLoadMs)},
			{"GRID.LOAD k 99999999999999999999", spaced(protocol.ErrNotInteger)},
			{"GRID.LOAD h", spaced("WRONGTYPE Operation against a key holding the wrong kind of value")},
			{"GRID.FILL k 1", spaced("ERR wrong number of arguments for 'grid.fill' command")},
			{"GRID.FILL k x v", spaced(protocol.ErrNotInteger)},
			{"GRID.FILL k 1 v PX", spaced(protocol.ErrSyntax)},
			{"GRID.FILL k 1 v EX 1", spaced(protocol.ErrSyntax)},
			{"GRID.FILL k 1 v PX 1 NX", spaced(protocol.ErrSyntax)},
			{"GRID.FILL k 1 v PX x", spaced(protocol.ErrNotInteger)},
			{"GRID.FILL k 1 v PX 0", spaced("ERR invalid expire time in 'grid.fill' command")},
			{"GRID.FILL k 1 v PX 9223372036854775807", spaced("ERR invalid expire time in 'grid.fill' command")},
			{"GRID.FILL k -5 v", "(nil)"},
			{"GRID.FILL h 1 v", "(nil)"},
			{"GRID.PASS k", spaced("ERR wrong number of arguments for 'grid.pass' command")},
			{"GRID.PASS k x", spaced(protocol.ErrNotInteger)},
			{"GRID.PASS k 1", "(integer)_0"},
			{"GRID.READ GRID.LOAD k", spaced(errGridRead)},
			{"COMMAND GETKEYS GRID.FILL k 1 v", "[k]"},
		} {
			want(t, tt.words, a.tell(strings.Fields(tt.words)...), tt.want)
		}
		want(t, "nothing was set", a.tell("DBSIZE"), "(integer)_1")
		want(t, "too long a key for a token", a.tell("GRID.LOAD", strings.Repeat("k", 1025)), "[load,0,0]")
		a.loadToken(strings.Repeat("k", 1024), "1")
	})
}

// voids are what voids a token for the key k, which is not there. Those who wait are told, but where the key has to expire.
var voids = []struct {
	name  string
	lines string
}{
	{"a write", "SET k w"},
	{"a write of another type", "HSET k f w"},
	{"a write and a delete", "SET k w|DEL k"},
	{"a delete of nothing", "DEL k"},
	{"UNLINK of nothing", "UNLINK k other"},
	{"GETDEL of nothing", "GETDEL k"},
	{"a store of nothing", "SDIFFSTORE k {k}none {k}none2"},
	{"a rename", "SET {k}2 w|RENAME {k}2 k"},
	{"a copy", "SET {k}2 w|COPY {k}2 k"},
	{"FLUSHALL", "FLUSHALL"},
	{"FLUSHDB", "FLUSHDB"},
	{"SWAPDB", "SWAPDB 0 1"},
	{"a transaction", "MULTI|DEL k|EXEC"},
	{"a transaction that writes", "MULTI|INCR k|DEL k|EXEC"},
}

// A token is void once anything has happened to its key, or it has been deleted: what was loaded before is not put in.
func TestGridLoadVoid(t *testing.T) {
	for _, tt := range voids {
		t.Run(tt.name, func(t *testing.T) {
			withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
				a, b, w := srv.connect(), srv.tracking(), srv.connect()
				token := a.loadToken("k", "5000")
				want(t, "one who waits", b.tell("GRID.LOAD", "k"), "[wait,5000,1]")
				for line := range strings.SplitSeq(tt.lines, "|") {
					if got := w.tell(strings.Fields(line)...); strings.Contains(got, "error") {
						t.Fatalf("%s: %s", line, got)
					}
				}
				if got := b.heard(); !strings.HasPrefix(got, "push:[invalidate,") {
					t.Errorf("who waits hears %q, want to be told", got)
				}
				before := w.tell("DUMP", "k") + w.tell("TYPE", "k")
				want(t, "GRID.FILL", a.tell("GRID.FILL", "k", token, "old"), "(nil)")
				want(t, "what is there", w.tell("DUMP", "k")+w.tell("TYPE", "k"), before)
				if n := srv.store.Loading(); n != 0 {
					t.Errorf("%d keys are being loaded, want none", n)
				}
			})
		})
	}
}

// What is there and expires, or is evicted, between a token and its use.
func TestGridLoadVoidByEnd(t *testing.T) {
	withServer(t, Options{Partitions: 1}, func(srv *inProcess) {
		a, w := srv.connect(), srv.connect()
		for _, end := range []string{"expires", "is evicted"} {
			token := a.loadToken("k", "60000")
			w.tell("SET", "k", "w", "PX", "100")
			if end == "expires" {
				time.Sleep(time.Second)
				want(t, "it has expired", w.tell("GET", "k"), "(nil)")
			} else {
				w.tell("CONFIG", "SET", "maxmemory-policy", "allkeys-random")
				srv.store.Evict(2, 5, srv.wallMs(srv.clock()))
				want(t, "it is evicted", w.tell("EXISTS", "k"), "(integer)_0")
			}
			want(t, "GRID.FILL of a key that "+end, a.tell("GRID.FILL", "k", token, "old"), "(nil)")
			want(t, "what is there", w.tell("EXISTS", "k"), "(integer)_0")
		}
	})
}

// What does not void a token: other keys, other databases, and reading.
func TestGridLoadStays(t *testing.T) {
	withServer(t, Options{Partitions: 1}, func(srv *inProcess) {
		a, w := srv.connect(), srv.connect()
		token := a.loadToken("k", "5000")
		for line := range strings.SplitSeq("SET k2 1|DEL k2|DEL none|GET k|EXISTS k|TTL k|PERSIST k|SET k 1 XX|SELECT 1|SET k 1|DEL k", "|") {
			w.tell(strings.Fields(line)...)
		}
		want(t, "GRID.FILL", a.tell("GRID.FILL", "k", token, "v"), "OK")
	})
}

// A token's time: others wait no longer, and then it is void, also where nobody else has asked.
func TestGridLoadExpires(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a, b := srv.connect(), srv.connect()
		token, second := a.loadToken("k", "300"), a.loadToken("k2", "300")
		time.Sleep(299 * time.Millisecond)
		want(t, "just before", b.tell("GRID.LOAD", "k"), "[wait,1,0]")
		time.Sleep(time.Millisecond)
		next := b.loadToken("k", "300")
		want(t, "late", a.tell("GRID.FILL", "k", token, "late"), "(nil)")
		want(t, "late, and nobody has asked", a.tell("GRID.FILL", "k2", second, "late"), "(nil)")
		want(t, "the next one", b.tell("GRID.FILL", "k", next, "v"), "OK")
		srv.expireDue(time.Second)
		if n := srv.store.Loading(); n != 0 {
			t.Errorf("%d keys are being loaded, want none: their time is over", n)
		}
	})
}

// A partition that goes elsewhere takes no token along, and who waits is told.
func TestGridLoadMoved(t *testing.T) {
	withGrid(t, alone(4), func(srv *inProcess, r *fakeRouter) {
		a, b := srv.connect(), srv.tracking()
		p := srv.store.PartitionOf([]byte("k"))
		token := a.loadToken("k", "5000")
		want(t, "one who waits", b.tell("GRID.LOAD", "k"), "[wait,5000,1]")
		r.setServes(map[int]uint64{})
		srv.lose(p)
		want(t, "who waits is told", b.heard(), "push:[invalidate,[k]]")
		r.setServes(nil) // it comes back, and meanwhile somebody else may have changed it
		want(t, "GRID.FILL", a.tell("GRID.FILL", "k", token, "old"), "(nil)")
		want(t, "what is there", a.tell("EXISTS", "k"), "(integer)_0")
	})
}

// There is a bound to how many keys are loaded with tokens; then one may load, and not fill. Whose time is over makes room.
func TestGridLoadBound(t *testing.T) {
	withServer(t, Options{Partitions: 1}, func(srv *inProcess) {
		a := srv.connect()
		const bound = 1 << 16
		for i := range bound {
			a.feed(protocol.AppendCommand(nil, "GRID.LOAD", strconv.Itoa(i), "1000"))
			a.out = a.out[:0]
		}
		want(t, "one more", a.tell("GRID.LOAD", "more"), "[load,0,0]")
		want(t, "its value", a.tell("GRID.FILL", "more", "0", "v"), "(nil)")
		want(t, "one that is loaded already", a.tell("GRID.LOAD", "7"), "[wait,1000,0]")
		a.tell("DEL", "8")
		a.loadToken("more", "1000")
		want(t, "and again", a.tell("GRID.LOAD", "8"), "[load,0,0]")
		time.Sleep(time.Second)
		a.loadToken("8", "1000")
		if n := srv.store.Loading(); n != 1 {
			t.Errorf("%d keys are being loaded, want 1", n)
		}
	})
}

// In a grid: at the node itself, forwarded by another one, at cluster doors, and in a transaction.
func TestGridLoadInGrid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, key := newTestGrid(t, nil), "b"
		here, there, door := g.nodes["b"].server.tracking(), g.nodes["a"].server.tracking(), g.nodes["a"].server.connect()
		say := func(c *client, args ...string) string {
			c.feed(protocol.AppendCommand(nil, args...))
			g.settle()
			return c.heard()
		}
		got := say(there, "GRID.LOAD", key, "5000")
		token, _, _ := strings.Cut(strings.TrimPrefix(got, "[load,"), ",")
		if !strings.HasPrefix(got, "[load,") || token == "0" {
			t.Fatalf("forwarded: %s", got)
		}
		want(t, "at its node", say(here, "GRID.LOAD", key), "[wait,5000,1]")
		want(t, "forwarded: nobody would tell", say(there, "GRID.LOAD", key), "[wait,5000,0]")
		door.session.info.Cluster = true
		if got := say(door, "GRID.LOAD", key); !strings.HasPrefix(got, "(error)_MOVED") {
			t.Errorf("at the cluster door of another node: %s", got)
		}
		if got := say(door, "GRID.FILL", key, token, "v"); !strings.HasPrefix(got, "(error)_MOVED") {
			t.Errorf("at the cluster door of another node: %s", got)
		}
		want(t, "GRID.FILL, forwarded", say(there, "GRID.FILL", key, token, "v"), "OK")
		want(t, "who waits is told", here.heard(), "push:[invalidate,["+key+"]]")
		want(t, "GRID.PASS, forwarded", say(there, "GRID.PASS", key, token), "(integer)_0")
		for _, line := range [][]string{{"MULTI"}, {"GRID.LOAD", key}} {
			say(there, line...)
		}
		want(t, "in a transaction", say(there, "EXEC"), "[[value,v]]")
	})
}

// loadModel is what must be of one key.
type loadModel struct {
	value  string // "" = it is not there
	token  string // "" = nobody has one
	until  time.Time
	voided map[string]bool // tokens that were good once
}

// TestGridLoadRandom: random commands of many, against a model of what they are to do.
func TestGridLoadRandom(t *testing.T) {
	for seed := range uint64(20) {
		withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
			rng := rand.New(rand.NewPCG(seed, 9))
			c := srv.connect()
			keys := map[string]*loadModel{}
			for i := range 5 {
				keys[fmt.Sprintf("k%d", i)] = &loadModel{voided: map[string]bool{}}
			}
			for range 2000 {
				key := fmt.Sprintf("k%d", rng.IntN(len(keys)))
				m := keys[key]
				if m.token != "" && !time.Now().Before(m.until) {
					m.void()
				}
				value := strconv.Itoa(rng.Int())
				switch rng.IntN(8) {
				case 0:
					want(t, "SET", c.tell("SET", key, value), "OK")
					m.value = value
					m.void()
				case 1, 2:
					c.tell("DEL", key)
					m.value = ""
					m.void()
				case 3:
					time.Sleep(time.Duration(rng.IntN(40)) * time.Millisecond)
				case 4, 5:
					m.load(t, c.tell("GRID.LOAD", key, "100"))
				case 6:
					token, good := m.pick(rng)
					if good {
						want(t, "GRID.FILL", c.tell("GRID.FILL", key, token, value), "OK")
						m.value = value
						m.void()
						break
					}
					want(t, "GRID.FILL of "+token, c.tell("GRID.FILL", key, token, value), "(nil)")
				case 7:
					token, good := m.pick(rng)
					if good {
						want(t, "GRID.PASS", c.tell("GRID.PASS", key, token), "(integer)_1")
						m.void()
						break
					}
					want(t, "GRID.PASS of "+token, c.tell("GRID.PASS", key, token), "(integer)_0")
				}
				got := c.tell("GET", key)
				if m.value == "" {
					want(t, "GET", got, "(nil)")
				} else {
					want(t, "GET", got, strconv.Quote(m.value))
				}
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}

func (m *loadModel) void() {
	if m.token != "" {
		m.voided[m.token] = true
	}
	m.token = ""
}

// load takes a reply to GRID.LOAD, and holds it against what it must be.
func (m *loadModel) load(t *testing.T, got string) {
	t.Helper()
	switch {
	case m.value != "":
		want(t, "GRID.LOAD of what is there", got, "[value,"+m.value+"]")
	case m.token != "":
		want(t, "GRID.LOAD of what somebody loads", got, fmt.Sprintf("[wait,%d,0]", time.Until(m.until).Milliseconds()))
	default:
		token, _, _ := strings.Cut(strings.TrimPrefix(got, "[load,"), ",")
		if !strings.HasPrefix(got, "[load,") || token == "0" || m.voided[token] {
			t.Errorf("GRID.LOAD: %s, want a token of its own", got)
		}
		m.token, m.until = token, time.Now().Add(100*time.Millisecond)
	}
}

// pick is a token, and whether it is good: the good one, one that was, or none.
func (m *loadModel) pick(rng *rand.Rand) (token string, good bool) {
	if m.token != "" && rng.IntN(3) > 0 {
		return m.token, true
	}
	for token := range m.voided {
		if rng.IntN(2) == 0 {
			return token, false
		}
	}
	return "123", false
}
