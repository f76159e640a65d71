package server

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// Tokens whose holder never got them, or is gone, are given back at once: others need not wait until their time is over.

// free tells whether a key may be loaded: it takes the token, and gives it back.
func (c *client) free(key string) bool {
	c.server.t.Helper()
	got := c.tell("GRID.LOAD", key, "60000")
	token, ok := strings.CutPrefix(got, "[load,")
	if token, _, _ = strings.Cut(token, ","); ok {
		want(c.server.t, "GRID.PASS", c.tell("GRID.PASS", key, token), "(integer)_1")
	}
	return ok
}

func (c *client) wantFree(what, key string) {
	c.server.t.Helper()
	if !c.free(key) {
		c.server.t.Errorf("%s: others have to wait", what)
	}
}

// A connection ends that has tokens, however it got them.
func TestLoadPassedByClose(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		a, b := srv.connect(), srv.tracking()
		a.loadToken("k", "5000")
		for _, line := range []string{"MULTI", "GRID.LOAD k2 5000", "SELECT 3", "GRID.LOAD k 5000"} {
			a.tell(strings.Fields(line)...)
		}
		if got := a.tell("EXEC"); strings.Count(got, "[load,") != 2 {
			t.Fatalf("EXEC: %s, want two tokens", got)
		}
		want(t, "one who waits", b.tell("GRID.LOAD", "k"), "[wait,5000,1]")
		a.session.Closed()
		want(t, "is told", b.heard(), "push:[invalidate,[k]]")
		b.wantFree("of a connection that has ended", "k")
		b.wantFree("of its transaction", "k2")
		b.tell("SELECT", "3")
		b.wantFree("of another database", "k")
		b.tell("SELECT", "0")

		used := srv.connect()
		token := used.loadToken("used", "5000")
		want(t, "GRID.FILL by another connection", b.tell("GRID.FILL", "used", token, "v"), "OK")
		b.tell("DEL", "used")
		b.loadToken("used", "5000")
		used.session.Closed()
		if n := srv.store.Loading(); n != 1 {
			t.Errorf("%d keys are being loaded, want 1: it is not the closed connection's any more", n)
		}
	})
}

// For a connection that has had very many, the newest are given back.
func TestLoadPassedBound(t *testing.T) {
	withServer(t, Options{Partitions: 1}, func(srv *inProcess) {
		a := srv.connect()
		load := func(from, n int, ms string) {
			for i := range n {
				a.feed(protocol.AppendCommand(nil, "GRID.LOAD", strconv.Itoa(from+i), ms))
				a.out = a.out[:0]
			}
		}
		load(0, 500, "1000")
		time.Sleep(time.Second)
		load(0, sessionLoadsMax, "60000")
		if n := len(a.session.loads); n != sessionLoadsMax {
			t.Errorf("%d tokens are known, want %d: those whose time is over make room", n, sessionLoadsMax)
		}
		load(sessionLoadsMax, 1, "60000")
		a.session.Closed()
		if n := srv.store.Loading(); n != sessionLoadsMax/4 {
			t.Errorf("%d are left to run out, want %d", n, sessionLoadsMax/4)
		}
		srv.connect().wantFree("the newest", strconv.Itoa(sessionLoadsMax))
	})
}

// Replies that nobody wants.
func TestLoadPassedUnwanted(t *testing.T) {
	withServer(t, Options{Partitions: 4}, func(srv *inProcess) {
		for _, mode := range []string{"OFF", "SKIP"} {
			a := srv.connect()
			a.tell("CLIENT", "REPLY", mode)
			want(t, mode, a.tell("GRID.LOAD", "k", "5000"), "")
			srv.connect().wantFree("CLIENT REPLY "+mode, "k")
		}
	})
}

// Replies that the server takes back, as it may not have been this node's to answer, or what they say may not come true.
func TestLoadPassedUnconfirmed(t *testing.T) {
	withGrid(t, alone(4), func(srv *inProcess, r *fakeRouter) {
		a, b := srv.connect(), srv.connect()
		p := srv.store.Partition(srv.store.PartitionOf([]byte("k")))
		p.SetActive(true)
		want(t, "SET", a.tell("SET", "k", "v", "PX", "10"), "OK")
		time.Sleep(time.Second)
		p.SetActive(false)
		if got := a.tell("GRID.LOAD", "k"); !strings.HasPrefix(got, "(error)_NOREPLICAS") {
			t.Errorf("GRID.LOAD of an expired key that cannot be deleted: %s", got)
		}
		p.SetActive(true)
		b.wantFree("whose reply was an error", "k")
		for _, line := range []string{"GRID.LOAD k", "MULTI|GRID.LOAD k|EXEC"} {
			a.tell("SET", "k", "v")
			a.tell("DEL", "k")
			r.hold()
			for part := range strings.SplitSeq(line, "|") {
				a.tell(strings.Fields(part)...)
			}
			r.release(errors.New("no more copies"))
			if got := a.heard(); !strings.HasPrefix(got, "(error)_") {
				t.Errorf("%s, which rests on what is not committed: %s", line, got)
			}
			r.Await(nil, nil)
			b.wantFree(line+" that is not committed", "k")
		}
	})
}

// loadGrid is a grid of three nodes, in which node a forwards to node b what concerns the key b.
func loadGrid(t *testing.T, f func(g *testGrid, say func(c *client, args ...string) string)) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGrid(t, nil)
		f(g, func(c *client, args ...string) string {
			c.feed(protocol.AppendCommand(nil, args...))
			g.settle()
			return c.heard()
		})
	})
}

// A node's lease lapses while it executes, and it has it again: what it has answered is taken back, and asked once more.
func TestLoadPassedTakenBack(t *testing.T) {
	loadGrid(t, func(g *testGrid, say func(c *client, args ...string) string) {
		b := g.nodes["b"]
		c := b.server.connect()
		b.lapse(b.server.store.PartitionOf([]byte("b")), &gridLapse{after: 1, times: 1})
		got := say(c, "GRID.LOAD", "b", "5000")
		g.pass(time.Second)
		if got += c.heard(); !strings.HasPrefix(got, "[load,") {
			t.Errorf("%s, want a token: nobody else has it", got)
		}
	})
}

// holdAfterDelete has a key of b missing by a deletion that is committed, and b commit nothing more.
func (g *testGrid) holdAfterDelete(a *client) (b *gridNode) {
	b = g.nodes["b"]
	a.feed(protocol.AppendCommand(nil, "SET", "b", "v"))
	a.feed(protocol.AppendCommand(nil, "DEL", "b"))
	g.settle()
	b.hold()
	return b
}

// What was forwarded: the client has gone, before the answer or behind it; the answer is lost with the stream, or comes too late.
func TestLoadPassedForwarded(t *testing.T) {
	for _, tt := range []struct {
		name string
		lose func(g *testGrid, a *client, l *gridLink)
	}{
		{"the client has gone", func(g *testGrid, a *client, l *gridLink) {
			a.feed(protocol.AppendCommand(nil, "GRID.LOAD", "b", "60000"))
			g.settle()
			a.session.Closed()
		}},
		{"the client has gone, who asked in a transaction", func(g *testGrid, a *client, l *gridLink) {
			for _, line := range []string{"MULTI", "GRID.LOAD b 60000", "EXEC"} {
				a.feed(protocol.AppendCommand(nil, strings.Fields(line)...))
			}
			g.settle()
			a.session.Closed()
		}},
		{"the client goes before the answer", func(g *testGrid, a *client, l *gridLink) {
			l.holdAnswers()
			a.feed(protocol.AppendCommand(nil, "GRID.LOAD", "b", "60000"))
			g.settle()
			a.session.Closed()
			l.releaseAnswers()
		}},
		{"the client goes as the answer is there", func(g *testGrid, a *client, l *gridLink) {
			a.feed(protocol.AppendCommand(nil, "GRID.LOAD", "b", "60000"))
			synctest.Wait()
			a.session.Closed()
		}},
		{"the client wants no reply", func(g *testGrid, a *client, l *gridLink) {
			a.feed(protocol.AppendCommand(nil, "CLIENT", "REPLY", "OFF"))
			a.feed(protocol.AppendCommand(nil, "GRID.LOAD", "b", "60000"))
		}},
		{"the answer is lost with its stream", func(g *testGrid, a *client, l *gridLink) {
			l.holdAnswers()
			a.feed(protocol.AppendCommand(nil, "GRID.LOAD", "b", "60000"))
			g.settle()
			a.session.Closed()
			g.nodes["b"].server.Gone("a")
		}},
		{"the stream ends before the command is executed", func(g *testGrid, a *client, l *gridLink) {
			b := g.holdAfterDelete(a)
			l.holdAnswers()
			a.feed(protocol.AppendCommand(nil, "GRID.LOAD", "b", "60000"))
			g.settle()
			a.session.Closed()
			b.server.Gone("a")
			b.release(nil)
		}},
		{"the answer comes later than the other node waits", func(g *testGrid, a *client, l *gridLink) {
			b := g.holdAfterDelete(a)
			a.feed(protocol.AppendCommand(nil, "GRID.LOAD", "b", "60000"))
			g.pass(commandTimeMax + 100*time.Millisecond)
			b.release(nil)
		}},
		{"what the answer rests on is not committed", func(g *testGrid, a *client, l *gridLink) {
			b := g.holdAfterDelete(a)
			a.feed(protocol.AppendCommand(nil, "GRID.LOAD", "b", "60000"))
			g.settle()
			b.release(errors.New("no more copies"))
			b.Await(nil, nil)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			loadGrid(t, func(g *testGrid, say func(c *client, args ...string) string) {
				a, b := g.nodes["a"].server.connect(), g.nodes["b"].server
				tt.lose(g, a, g.links[[2]NodeID{"a", "b"}])
				g.settle()
				if n := b.store.Loading(); n != 0 {
					t.Errorf("%d keys are being loaded, want none", n)
				}
				g.links[[2]NodeID{"a", "b"}].releaseAnswers()
				b.connect().wantFree("then", "b")
			})
		})
	}
}

// A node that is late in answering a client who is still there does not take the client's token.
func TestLoadKept(t *testing.T) {
	loadGrid(t, func(g *testGrid, say func(c *client, args ...string) string) {
		a, other := g.nodes["a"].server.connect(), g.nodes["a"].server.connect()
		got := say(a, "GRID.LOAD", "b", "60000")
		say(other, "GRID.LOAD", "b")
		other.session.Closed() // it has waited
		g.settle()
		token, _, _ := strings.Cut(strings.TrimPrefix(got, "[load,"), ",")
		want(t, "GRID.FILL", say(a, "GRID.FILL", "b", token, "v"), "OK")
	})
}
