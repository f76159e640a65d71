package server

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/partition"
)

// ofGuest is a command of a session of another node.
func ofGuest(session uint64, first bool, line string) *Forwarded {
	f := &Forwarded{Session: session, First: first, Resp: 2, Timeout: time.Second}
	for word := range strings.FieldsSeq(line) {
		f.Args = append(f.Args, []byte(word))
	}
	return f
}

// TestGuestOrder: behind a command that was refused, all of its session is, until that begins anew (R24).
func TestGuestOrder(t *testing.T) {
	withGrid(t, gridOf(1, "a", []NodeID{"a", "b", "c"}, "a", "a", "a", "a"), func(srv *inProcess, r *fakeRouter) {
		execute := func(from NodeID, f *Forwarded) string {
			var got []Answer
			srv.Execute(from, f, func(a Answer) { got = append(got, a) })
			if len(got) != 1 {
				t.Fatalf("%s: %d answers", joinedArgs(f.Args), len(got))
			}
			if got[0].Outcome == NotExecuted {
				if got[0].Version != 1 {
					t.Errorf("it is refused by version %d", got[0].Version)
				}
				return "refused"
			}
			return strings.TrimSpace(string(got[0].Reply))
		}
		all := map[int]uint64{0: 1, 1: 1, 2: 1, 3: 1}
		withoutA := map[int]uint64{0: 1, 1: 1, 2: 1}
		for _, step := range []struct {
			serves map[int]uint64
			from   NodeID
			f      *Forwarded
			want   string
		}{
			{all, "b", ofGuest(1, true, "RPUSH a 1"), ":1"},
			{all, "b", ofGuest(1, false, "RPUSH a 2"), ":2"},
			{withoutA, "b", ofGuest(1, false, "RPUSH a 3"), "refused"},
			{all, "b", ofGuest(1, false, "RPUSH a 4"), "refused"},
			{all, "b", ofGuest(1, false, "RPUSH b 1"), "refused"}, // on any partition
			{all, "b", ofGuest(2, false, "RPUSH a 5"), ":3"},      // another session
			{all, "c", ofGuest(1, false, "RPUSH a 6"), ":4"},      // another node's
			{all, "b", ofGuest(0, false, "RPUSH a 7"), ":5"},      // of none
			{withoutA, "b", ofGuest(1, true, "RPUSH a 8"), "refused"},
			{all, "b", ofGuest(1, false, "RPUSH a 9"), "refused"},
			{all, "b", ofGuest(1, true, "RPUSH a 10"), ":6"},
			{all, "b", ofGuest(1, false, "RPUSH a 11"), ":7"},
			{withoutA, "b", ofGuest(0, false, "RPUSH a 12"), "refused"},
			{all, "b", ofGuest(0, false, "RPUSH a 13"), ":8"}, // no order was asked for
			{withoutA, "b", ofGuest(1, true, "RPUSH a 14"), "refused"},
		} {
			r.setServes(step.serves)
			if got := execute(step.from, step.f); got != step.want {
				t.Errorf("session %d of %s, first %v, %s: got %s, want %s",
					step.f.Session, step.from, step.f.First, joinedArgs(step.f.Args), got, step.want)
			}
		}
		r.setServes(all)
		srv.Gone("b")
		if got := execute("b", ofGuest(1, false, "RPUSH a 15")); got != ":9" {
			t.Errorf("after the node has gone: got %s", got)
		}
		for from, g := range srv.guests.byNode {
			if len(g.refusing) > 0 {
				t.Errorf("of %s %d sessions are refused at the end", from, len(g.refusing))
			}
		}
	})
}

// TestGuestMalformed: whatever another node sends, it gets an error.
func TestGuestMalformed(t *testing.T) {
	exec := func(head []byte, line string) [][]byte {
		return append([][]byte{head}, ofGuest(0, false, line).Args...)
	}
	uvarints := func(v ...uint64) (b []byte) {
		for _, v := range v {
			b = binary.AppendUvarint(b, v)
		}
		return b
	}
	watch := append(uvarints(1, 0, 1, 1), 0, 1, 'k')      // one, of database 0, in reign 1
	foreignDB := append(uvarints(1, 16, 1, 1), 0, 1, 'k') // of a database that is none
	for _, tt := range []struct {
		name string
		f    Forwarded
		want string
	}{
		{"nothing", Forwarded{Resp: 2}, "no command"},
		{"an empty name", Forwarded{Resp: 2, Args: [][]byte{{}}}, "an unknown command"},
		{"no protocol", Forwarded{Resp: 4, Args: ofGuest(0, false, "GET a").Args}, "no command"},
		{"a negative database", Forwarded{Resp: 2, DB: -1, Args: ofGuest(0, false, "GET a").Args}, "no command"},
		{"a database that is none", Forwarded{Resp: 2, DB: partition.Databases, Args: ofGuest(0, false, "GET a").Args}, "no command"},
		{"an unknown kind", Forwarded{Resp: 2, Kind: 9, Args: ofGuest(0, false, "GET a").Args}, "a kind that is not known"},
		{"an unknown command", *ofGuest(0, false, "NOSUCH a"), "an unknown command"},
		{"an unknown subcommand", *ofGuest(0, false, "OBJECT nosuch a"), "an unknown command"},
		{"too few arguments", *ofGuest(0, false, "GET"), "an unknown command"},
		{"a command without keys", *ofGuest(0, false, "PING"), "'ping'"},
		{"one about the node", *ofGuest(0, false, "SHUTDOWN"), "'shutdown'"},
		{"one about the node, with a subcommand", *ofGuest(0, false, "CONFIG GET *"), "'config|get'"},
		{"one about all keys", *ofGuest(0, false, "FLUSHALL"), "'flushall'"},
		{"WATCH as a command", *ofGuest(0, false, "WATCH a"), "'watch'"},
		{"EXEC as a command", *ofGuest(0, false, "EXEC"), "'exec'"},
		{"a command to be watched", Forwarded{Resp: 2, Kind: ForwardWatch, Args: ofGuest(0, false, "GET a").Args}, "'get'"},
		{"WATCH without keys", Forwarded{Resp: 2, Kind: ForwardWatch, Args: ofGuest(0, false, "WATCH").Args}, "an unknown command"},
		{"a walk over nothing", Forwarded{Resp: 2, Kind: ForwardWalk, Args: exec(nil, "DBSIZE")}, "no list of partitions"},
		{"a walk over what is not there", Forwarded{Resp: 2, Kind: ForwardWalk, Args: exec(uvarints(4), "DBSIZE")}, "no list of partitions"},
		{"a walk without a command", Forwarded{Resp: 2, Kind: ForwardWalk, Args: [][]byte{uvarints(0)}}, "no list of partitions"},
		{"a command that does not walk", Forwarded{Resp: 2, Kind: ForwardWalk, Args: exec(uvarints(0), "GET a")}, "'get'"},
		{"a walk that tells about the node", Forwarded{Resp: 2, Kind: ForwardWalk, Args: exec(uvarints(0), "INFO")}, "'info'"},
		{"a transaction without a head", Forwarded{Resp: 2, Kind: ForwardExec, Args: [][]byte{{}}}, "no transaction"},
		{"more watches than there are", Forwarded{Resp: 2, Kind: ForwardExec, Args: exec(uvarints(1<<62), "GET a")}, "no transaction"},
		{"a watch that is cut off", Forwarded{Resp: 2, Kind: ForwardExec, Args: exec(watch[:5], "GET a")}, "no transaction"},
		{"a watched database that is none", Forwarded{Resp: 2, Kind: ForwardExec, Args: exec(append(foreignDB, 2), "GET a")}, "no transaction"},
		{"a command of nothing", Forwarded{Resp: 2, Kind: ForwardExec, Args: exec(uvarints(0, 0), "")}, "no transaction"},
		{"arguments that are not there", Forwarded{Resp: 2, Kind: ForwardExec, Args: exec(uvarints(0, 3), "GET a")}, "no transaction"},
		{"arguments that are left over", Forwarded{Resp: 2, Kind: ForwardExec, Args: exec(uvarints(0, 2), "GET a b")}, "no transaction"},
		{"an unknown command in it", Forwarded{Resp: 2, Kind: ForwardExec, Args: exec(uvarints(0, 2), "NOSUCH a")}, "no transaction"},
		{"a wrong number of arguments in it", Forwarded{Resp: 2, Kind: ForwardExec, Args: exec(uvarints(0, 1), "GET")}, "no transaction"},
		{"EXEC in it", Forwarded{Resp: 2, Kind: ForwardExec, Args: exec(uvarints(0, 1), "EXEC")}, "no transaction"},
		{"CLIENT in it", Forwarded{Resp: 2, Kind: ForwardExec, Args: exec(uvarints(0, 2), "CLIENT ID")}, "no transaction"},
		{"DBSIZE in it", Forwarded{Resp: 2, Kind: ForwardExec, Args: exec(uvarints(0, 1), "DBSIZE")}, "no transaction"},
		{"SHUTDOWN in it", Forwarded{Resp: 2, Kind: ForwardExec, Args: exec(uvarints(0, 1), "SHUTDOWN")}, "no transaction"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			withGrid(t, alone(gridPartitions), func(srv *inProcess, _ *fakeRouter) {
				answered := 0
				srv.Execute("b", &tt.f, func(a Answer) {
					answered++
					if want := "-" + errForwarded + tt.want; a.Outcome != Executed || !strings.HasPrefix(string(a.Reply), want) {
						t.Errorf("got outcome %d, %q; want %q ...", a.Outcome, a.Reply, want)
					}
				})
				if srv.settle(); answered != 1 {
					t.Errorf("%d answers", answered)
				}
			})
		})
	}
}

// TestExecOnTheWire: a transaction and its watches arrive as they were.
func TestExecOnTheWire(t *testing.T) {
	multi := &transaction{}
	for _, line := range []string{"SET a 1", "GET a", "SORT a", "PING"} {
		args := ofGuest(0, false, line).Args
		multi.add(&Call{Row: lookup(args), Args: args})
	}
	watching := []watched{
		{key: "", db: 15, reign: 1 << 63, far: true, mark: partition.Mark{Seq: 1 << 40, ExpiresMs: -1}},
		{key: "b", far: true, mark: partition.Mark{ExpiresMs: 1 << 60}},
	}
	args, ok := encodeExec(multi, watching)
	if !ok {
		t.Fatal("it cannot be encoded")
	}
	got, marks, ok := decodeExec(args, func([]byte) int { return 3 })
	if !ok || len(got.queue) != 4 || !got.slow || len(marks) != 2 {
		t.Fatalf("%v, %d watches, %v", got, len(marks), ok)
	}
	for i, q := range got.queue {
		if q.row != multi.queue[i].row || joinedArgs(q.args) != joinedArgs(multi.queue[i].args) {
			t.Errorf("command %d comes as %s", i, joinedArgs(q.args))
		}
	}
	for i, w := range marks {
		want := watching[i]
		want.partition = 3
		if w != want {
			t.Errorf("watch %d comes as %+v, want %+v", i, w, want)
		}
	}
	watching[1].far = false
	if _, ok := encodeExec(multi, watching); ok {
		t.Error("a hold on a key travels")
	}
}

// FuzzForwarded: whatever another node sends is answered once, with a reply that can be read.
func FuzzForwarded(f *testing.F) {
	for _, line := range []string{
		"GET a", "SET a 1", "MSET a 1 b", "SORT l BY x GET y", "BITFIELD a GET u8 0", "ZUNIONSTORE z 2 a b", "SCAN 0", "DBSIZE", "KEYS *",
		"FLUSHALL", "WATCH a b", "RANDOMKEY", "SWAPDB 0 1", "OBJECT ENCODING a", "MEMORY USAGE a", "COPY a b DB 3", "MOVE a 3", "PING",
	} {
		for kind := range ForwardRelay + 2 {
			f.Add(uint8(kind), 0, 2, []byte{0, 2}, line)
		}
	}
	f.Add(uint8(ForwardExec), 0, 3, []byte{1, 0, 1, 1, 0, 1, 'k', 2, 3}, "GET a SET a 1")
	f.Add(uint8(ForwardExec), 15, 2, []byte{0, 2, 2}, "SORT a INCR b")
	f.Add(uint8(ForwardWalk), 15, 3, []byte{0, 0, 0, 0}, "SCAN 0 COUNT 5 TYPE list")
	f.Add(uint8(ForwardCommand), 16, 3, []byte{}, "GET a")

	router := newFakeRouter(nil, alone(gridPartitions))
	srv, err := New(Options{
		Listen: "127.0.0.1:0", Partitions: gridPartitions, Router: router, Logger: slog.New(slog.DiscardHandler),
		MaxMemory: 64 << 20, Config: [][2]string{{"proto-max-bulk-len", "1mb"}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(srv.store.Close)
	f.Fuzz(func(t *testing.T, kind uint8, db, resp int, head []byte, line string) {
		c := ofGuest(uint64(len(line)%3), len(head)%2 == 0, line)
		c.Kind, c.DB, c.Resp = ForwardKind(kind), db, resp
		if c.Kind == ForwardExec || c.Kind == ForwardTrackedExec || c.Kind == ForwardWalk {
			c.Args = append([][]byte{head}, c.Args...)
		}
		answers := make(chan Answer, 2)
		srv.Execute("b", c, func(a Answer) { answers <- a })
		a := <-answers
		if a.Outcome != Executed {
			return
		}
		if c.Kind == ForwardWatch && !isError(a.Reply) {
			return
		}
		if c.Kind == ForwardRelay && !isError(a.Reply) {
			if _, ok := decodeRelay(a.Reply); !ok {
				t.Fatalf("the answer %q is none", a.Reply)
			}
			return
		}
		r := newReader(a.Reply)
		if _, err := testredis.Read(r); err != nil {
			t.Fatalf("the reply %q: %v", a.Reply, err)
		}
		if rest, _ := r.Peek(1); len(rest) > 0 {
			t.Fatalf("the reply %q is more than one", a.Reply)
		}
		if bytes.HasPrefix(a.Reply, []byte("-"+errForwarded)) != taskRefused(srv, c) {
			t.Fatalf("the reply %q does not fit", a.Reply)
		}
	})
}

func taskRefused(srv *Server, f *Forwarded) bool {
	_, text := srv.guestTask(f)
	return text != ""
}

// TestGuestForgetsRefused: sessions that ended with a refused command are not remembered for good, and none is forgotten while something
// of it may be on its way.
func TestGuestForgetsRefused(t *testing.T) {
	g := &guest{refusing: map[uint64]time.Duration{}}
	session, now := uint64(0), time.Duration(0)
	for range 100 { // failovers
		now += refusingMax / 4
		before := session
		for range refusingSweep {
			session++
			g.refused(&Forwarded{Session: session}, now)
		}
		for id := before + 1; id <= session; id++ {
			if !g.refuses(&Forwarded{Session: id}) {
				t.Fatalf("session %d is forgotten at once", id)
			}
		}
		if last := before - min(before, refusingSweep); last > 0 && !g.refuses(&Forwarded{Session: last + 1}) {
			t.Fatalf("session %d is forgotten after %v", last+1, refusingMax/4)
		}
		if len(g.refusing) > 12*refusingSweep {
			t.Fatalf("%d sessions are remembered after %d", len(g.refusing), session)
		}
	}
}
