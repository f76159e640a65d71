package server

import (
	"strings"
	"testing"
	"testing/synctest"
)

// gridScript is a test of the grid's doors; gridPlayer says what its lines mean.
type gridScript struct{ name, lines string }

func playGridScripts(t *testing.T, scripts []gridScript) {
	for _, s := range scripts {
		t.Run(s.name, func(t *testing.T) { playGrid(t, s.lines) })
	}
}

// TestRoute: commands go where their data are, and are answered in the order in which they came.
func TestRoute(t *testing.T) {
	playGridScripts(t, []gridScript{
		{"keys of all nodes at any door", `
			[a] > SET a 1 | SET b 2 | SET c 3 | GET a | GET b | GET c
			[a] OK
			[a] OK
			[a] OK
			[a] "1"
			[a] "2"
			[a] "3"
			[b] > GET a | GET b | GET c
			[b] "1"
			[b] "2"
			[b] "3"
			executed a>b
			SET b 2
			GET b
			executed b>a
			GET a
			executed b>c
			GET c
		`},
		{"the session's database and protocol go along", `
			[a] > SELECT 3 | SET b three | SELECT 0 | GET b | SELECT 3 | GET b
			[a] OK
			[a] OK
			[a] OK
			[a] nil
			[a] OK
			[a] "three"
			[a] > HSET b x y | HSET f x y | HGETALL f
			[a] -WRONGTYPE...
			[a] :1
			[a] ["x" "y"]
		`},
		{"replies keep the order of commands whatever is slow", `
			hold a>b
			[a] > SET b 1 | SET a 2 | PING | SET c 3 | GET b
			[a2] > GET a | GET c
			[a2] "2"
			[a2] "3"
			release a>b
			[a] OK
			[a] OK
			[a] PONG
			[a] OK
			[a] "1"
		`},
		{"answers may come in any order", `
			hold-answers a>b
			[a] > SET b 1 | GET b | GET f | PING
			answers a>b 2 1
			answers a>b 0
			[a] OK
			[a] "1"
			[a] nil
			[a] PONG
		`},
		{"what takes long at the other node is waited for", `
			[a] > RPUSH b 3 1 2 | SORT b | RPUSH b 0 | SORT b
			[a] :3
			[a] ["1" "2" "3"]
			[a] :4
			[a] ["0" "1" "2" "3"]
		`},
		{"CLIENT REPLY holds for what travels", `
			[a] > CLIENT REPLY SKIP | SET b 1 | GET b
			[a] "1"
			[a] > CLIENT REPLY OFF | INCR b | INCR a | CLIENT REPLY ON | GET b
			[a] OK
			[a] "2"
			lapse a a 0
			[a] > CLIENT REPLY SKIP | INCR a | GET b
			lapse a a no
			pass 50ms
			[a] "2"
			[a] > GET a
			[a] "2"
		`},
	})
}

// TestRouteOrder: nothing of a session overtakes what it has sent before on the same partition (R24).
func TestRouteOrder(t *testing.T) {
	playGridScripts(t, []gridScript{
		{"what stands behind a refused command is refused", `
			hold a>b
			[a] > RPUSH b 1 | RPUSH b 2 | RPUSH b 3 | PING
			blip b b 1
			release a>b
			[a] :1
			[a] :2
			[a] :3
			[a] PONG
			[b] > LRANGE b 0 -1
			[b] ["1" "2" "3"]
			executed a>b
			RPUSH b 1
			RPUSH b 2
			RPUSH b 3
		`},
		{"one in the middle", `
			hold a>b
			[a] > RPUSH b 1 | RPUSH b 2 | RPUSH b 3
			renew b b 2
			release a>b
			[a] :1
			[a] :2
			[a] :3
			[b] > LRANGE b 0 -1
			[b] ["1" "2" "3"]
		`},
		{"what comes in while a command is tried again waits", `
			lapse b b 0
			[a] > RPUSH b 1
			[a] > RPUSH b 2 | RPUSH a 1 | PING
			[a2] > RPUSH c 1
			[a2] :1
			lapse b b no
			pass 50ms
			[a] :1
			[a] :2
			[a] :1
			[a] PONG
			[b] > LRANGE b 0 -1
			[b] ["1" "2"]
		`},
		{"of other sessions nothing waits", `
			blip b b 1
			hold a>b
			[a] > RPUSH b 1 | RPUSH b 2
			[a2] > RPUSH f 1
			release a>b
			[a] :1
			[a] :2
			[a2] :1
			executed a>b
			RPUSH f 1
			RPUSH b 1
			RPUSH b 2
		`},
		{"a partition goes to a third node", `
			move b c
			[a] > RPUSH b 1 | RPUSH b 2 | RPUSH f 3 | PING
			pass 100ms
			see
			pass 50ms
			[a] :1
			[a] :2
			[a] :1
			[a] PONG
			executed a>b
			executed a>c
			RPUSH b 1
			RPUSH b 2
			RPUSH f 3
			[b] > LRANGE b 0 -1
			[b] ["1" "2"]
		`},
		{"behind what is under way to the old owner nothing goes to the new one", `
			hold a>b
			[a] > SET b 1
			move! b c
			[a] > GET b | SET b 2
			executed a>c
			release a>b
			[a] OK
			[a] "1"
			[a] OK
			executed a>b
			executed a>c
			SET b 1
			GET b
			SET b 2
		`},
		{"nor is executed here", `
			hold-answers a>b
			[a] > SET b 1
			move! b a
			[a] > GET b | INCR b
			[a2] > GET b
			[a2] "1"
			answers a>b
			[a] OK
			[a] "1"
			[a] :2
		`},
		{"nor here, where the partition has come meanwhile", `
			lapse b b 0
			[a] > RPUSH b 1
			move! b a
			[a] > RPUSH b 2 | LRANGE b 0 -1
			[a2] > RPUSH b 0
			[a2] :1
			pass 50ms
			[a] :2
			[a] :3
			[a] ["0" "1" "2"]
		`},
		{"a command that was not even sent is not overtaken", `
			full a>b
			[a] > RPUSH b 1 | RPUSH b 2 | PING
			[a] :1
			[a] :2
			[a] PONG
			[b] > LRANGE b 0 -1
			[b] ["1" "2"]
		`},
		{"a partition that comes here", `
			move b a
			[a] > INCR b
			see b
			[b] > INCR b
			[b] :1
			see a
			pass 50ms
			[a] :2
		`},
	})
}

// TestRouteFailures: what is refused is tried again, what may have been executed is not (R14, R24).
func TestRouteFailures(t *testing.T) {
	playGridScripts(t, []gridScript{
		{"a refused command is tried until its time is over", `
			lapse b b 0
			[a] > SET b 1 | GET b
			[b] > SET b 2
			pass 4400ms
			pass 200ms
			[a] -CLUSTERDOWN The partition has no node that serves it at present
			[a] -CLUSTERDOWN The partition has no node that serves it at present
			[b] -CLUSTERDOWN The partition has no node that serves it at present
			lapse b b no
			pass 1s
			[a] > GET b
			[a] nil
		`},
		{"what does not arrive in time is not executed", `
			hold a>b
			[a] > SET b 1
			pass 4600ms
			[a] -CLUSTERDOWN...
			release a>b
			[a] > GET b
			[a] nil
		`},
		{"a command whose time is over is not executed behind a later one", `
			hold a>b
			[a] > RPUSH b 1
			pass 4400ms
			[a] > RPUSH b 2
			move! b a
			pass 200ms
			[a] -CLUSTERDOWN...
			release a>b
			[a] :1
			[a] > LRANGE b 0 -1
			[a] ["2"]
		`},
		{"nobody knows whether a write was executed", `
			lose-answer a>b
			[a] > INCR b | GET b
			[a] -INDETERMINATE...
			[a] "1"
			lose a>b
			[a] > INCR b | GET b
			[a] -INDETERMINATE...
			[a] "1"
			executed a>b
			INCR b
			GET b
			GET b
		`},
		{"nor in time", `
			hold-answers a>b
			[a] > INCR b
			pass 4600ms
			[a] -INDETERMINATE...
			answers a>b
			[a] > GET b
			[a] "1"
		`},
		{"a write that was tried again and got lost then", `
			blip b b 1
			hold a>b
			[a] > INCR b | INCR f
			lose a>b
			release a>b
			[a] -INDETERMINATE...
			[a] :1
			[a] > GET b
			[a] nil
		`},
		{"a read is tried again", `
			[a] > SET b 1
			[a] OK
			lose a>b
			[a] > GET b
			[a] "1"
			lose-answer a>b
			lose-answer a>b
			[a] > GET b
			pass 50ms
			[a] "1"
		`},
		{"a read is not tried again behind a write that is under way", `
			[a] > SET b 1
			[a] OK
			hold-answers a>b
			lose-answer a>b
			[a] > GET b | SET b 2
			answers a>b 0
			[a] -TRYAGAIN...
			answers a>b
			[a] OK
		`},
		{"nor behind one that has been executed", `
			[a] > SET b 1
			[a] OK
			hold-answers a>b
			lose-answer a>b
			[a] > GET b | SET b 2
			answers a>b 1
			answers a>b 0
			[a] -TRYAGAIN...
			[a] OK
		`},
		{"a write before a read does not keep that from being tried again", `
			hold-answers a>b
			lose-answer a>b
			[a] > GET b
			answers a>b 0
			answers a>b
			[a] nil
		`},
		{"a lost partition", `
			[a] > SET b 1 | SET a 1
			[a] OK
			[a] OK
			lose b
			see
			[a] > GET b | SET f 1 | GET a
			[a] -CLUSTERDOWN The partition is lost...
			[a] -CLUSTERDOWN The partition is lost...
			[a] "1"
			[b] > GET b
			[b] -CLUSTERDOWN The partition is lost...
			[a] > MULTI | SET b 1 | EXEC
			[a] OK
			[a] QUEUED
			[a] -CLUSTERDOWN The partition is lost...
		`},
	})
}

// TestRouteLease: a node executes and answers only while it has the lease (R9).
func TestRouteLease(t *testing.T) {
	playGridScripts(t, []gridScript{
		{"a lease that has ended before", `
			[a] > SET a 1
			[a] OK
			lapse a a 0
			[a] > INCR a
			move! a b
			[b] > GET a
			[b] "1"
			pass 50ms
			[a] :2
			executed a>b
			INCR a
		`},
		{"a lease that ends meanwhile: what was read is not answered", `
			[a] > SET a old
			[a] OK
			lapse a a 1
			[a] > GET a
			move! a b
			[b] > SET a new
			[b] OK
			pass 50ms
			[a] "new"
		`},
		{"in a new reign neither", `
			renew a a 1
			[a] > SET a 1
			[a] -INDETERMINATE...
			[a] > GET a
			[a] "1"
			renew a a 1
			[a] > GET a
			[a] "1"
		`},
		{"what was written nobody knows to last", `
			lapse a a 1
			[a] > SET a 1 | PING
			[a] -INDETERMINATE...
			[a] PONG
			lapse a a no
			[a] > GET a
			[a] "1"
		`},
		{"a write that wrote nothing is tried again", `
			[a] > SET a 1
			[a] OK
			lapse a a 1
			[a] > SETNX a 2
			move! a b
			[b] > DEL a
			[b] :1
			pass 50ms
			[a] :1
			[b] > GET a
			[b] "2"
		`},
		{"a command of another node's session", `
			[a] > SET b 1
			[a] OK
			lapse b b 1
			[a] > GET b
			lapse b b no
			pass 50ms
			[a] "1"
			lapse b b 1
			[a] > INCR b
			[a] -INDETERMINATE...
			lapse b b no
			pass 50ms
			[a] > GET b
			[a] "2"
			executed a>b
			SET b 1
			GET b
			INCR b
			GET b
		`},
		{"a transaction", `
			lapse b b 1
			[a] > MULTI | INCR b | GET f | EXEC
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] -CROSSSLOT...
			lapse b b 1
			[a] > MULTI | INCR b | GET b | EXEC
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] -INDETERMINATE...
			lapse b b no
			lapse b b 1
			[b] > MULTI | GET b | EXEC
			[b] OK
			[b] QUEUED
			lapse b b no
			pass 50ms
			[b] ["1"]
		`},
	})
}

// TestRouteCommits: writes need enough copies (R13), and replies wait for them (R12, R14).
func TestRouteCommits(t *testing.T) {
	playGridScripts(t, []gridScript{
		{"too few copies", `
			readonly b
			[a] > SET b 1 | GET b | SET a 1
			[a] -NOREPLICAS...
			[a] nil
			[a] OK
			[b] > SET b 1 | GET b
			[b] -NOREPLICAS...
			[b] nil
			[a] > MULTI | SET b 1 | GET b | EXEC
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] -NOREPLICAS...
			[b] > MULTI | SET b 1 | GET b | EXEC
			[b] OK
			[b] QUEUED
			[b] QUEUED
			[b] -NOREPLICAS...
			[a] > MULTI | GET b | EXEC
			[a] OK
			[a] QUEUED
			[a] [nil]
			writable b
			[a] > SET b 1
			[a] OK
		`},
		{"a key that has expired and cannot be deleted (R17)", `
			[a] > SET b 1 PX 10 | SET f 1
			[a] OK
			[a] OK
			pass 20ms
			readonly b
			[a] > GET b | GET f | EXISTS b | MULTI | GET b | EXEC | MGET a b
			[a] -NOREPLICAS...
			[a] "1"
			[a] -NOREPLICAS...
			[a] OK
			[a] QUEUED
			[a] -NOREPLICAS...
			[a] -NOREPLICAS...
			[b] > GET b
			[b] -NOREPLICAS...
			writable b
			[a] > GET b
			[a] nil
		`},
		{"replies of another node's session wait for the commit", `
			gate b
			[a] > SET b 1 | PING
			[b] > SET a 1
			[b] OK
			[a2] > GET f
			[a2] nil
			[a2] > GET b
			commit b
			[a] OK
			[a] PONG
			[a2] "1"
		`},
		{"where nobody knows whether it is committed", `
			gate b
			[a] > SET b 1
			[a2] > GET b
			[a3] > MULTI | GET b | EXEC
			[a3] OK
			[a3] QUEUED
			[a4] > MULTI | INCR b | EXEC
			[a4] OK
			[a4] QUEUED
			[b] > SET b 2
			[b2] > GET b
			uncommit b
			[a] -INDETERMINATE...
			[a2] -TRYAGAIN...
			[a3] -TRYAGAIN...
			[a4] -INDETERMINATE...
			[b] -INDETERMINATE...
			[b2] -TRYAGAIN...
			[a] > GET b
			[a] "2"
		`},
		{"what has looked for its node for long waits for its commit as much less", `
			lapse a a 0
			gate a
			[a] > INCR a
			pass 3s
			lapse a a no
			pass 1950ms
			pass 100ms
			[a] -INDETERMINATE...
			commit a
			[a] > GET a
			[a] "1"
		`},
	})
}

// TestRouteClose: a client that goes away while its commands are under way leaves nothing behind.
func TestRouteClose(t *testing.T) {
	playGridScripts(t, []gridScript{
		{"under way to another node", `
			hold a>b
			[a] > INCR b | INCR b | WATCH b | MULTI | INCR b | EXEC
			[a] close
			release a>b
			[b] > GET b
			[b] "2"
		`},
		{"while its answers are", `
			hold-answers a>b
			[a] > INCR b | GET b | MGET a b c | INCR a
			[a] close
			answers a>b
			pass 50ms
			[b] > GET b | GET a
			[b] "1"
			[b] nil
		`},
		{"watching keys here", `
			[a] > WATCH a | WATCH b
			[a] OK
			[a] OK
			watched a
			1
			watched b
			0
			[a] close
			watched a
			0
		`},
		{"while its transaction is tried again", `
			[a] > WATCH a
			[a] OK
			lapse a a 0
			[a] > MULTI | INCR a | EXEC
			[a] OK
			[a] QUEUED
			[a] close
			lapse a a no
			pass 50ms
			watched a
			0
		`},
		{"while its transaction waits for its turn", `
			[a] > WATCH a
			[a] OK
			hold a>b
			[a] > GET b | MULTI | INCR a | EXEC
			watched a
			0
			[a] close
			release a>b
			watched a
			0
			[a2] > GET a
			[a2] "1"
		`},
		{"while its transaction waits behind what is under way", `
			[a] > WATCH a
			[a] OK
			hold a>b
			[a] > GET b
			move! a b
			[a] > MULTI | INCR a | EXEC
			watched a
			1
			[a] close
			watched a
			0
			release a>b
		`},
		{"while it waits for copies", `
			[a] > WAIT 3 100
			[a] close
			pass 200ms
		`},
	})
}

// TestRouteMemory: the node that executes a command sees to its own memory, not the one that it came to.
func TestRouteMemory(t *testing.T) {
	goHeapLive.Store(1 << 20) // it counts as used; cron reads it anew
	synctest.Test(t, func(t *testing.T) {
		g := newTestGrid(t, func(id NodeID, o *Options) {
			if id == "a" {
				o.MaxMemory = 1
			}
		})
		(&gridPlayer{testGrid: g, clients: map[string]*client{}}).play(`
			[a] > SET b 1 | SET a 1 | GET a | DEL a
			[a] OK
			[a] -OOM...
			[a] nil
			[a] :0
			[a] > MULTI | SET b 2 | EXEC
			[a] OK
			[a] QUEUED
			[a] [OK]
			[a] > MULTI | SET a 2 | EXEC
			[a] OK
			[a] QUEUED
			[a] -EXECABORT Transaction discarded because of: OOM...
			[b] > SET a 1 | GET a | SET b 1
			[b] -OOM...
			[b] nil
			[b] OK
			[b] > MULTI | SET a 2 | EXEC
			[b] OK
			[b] QUEUED
			[b] -EXECABORT Transaction discarded because of: OOM...
			[b] > MULTI | GET a | EXEC
			[b] OK
			[b] QUEUED
			[b] [nil]
			[c] > MSET a 1 b 3 | GET b | MSET a 1 d 1
			[c] -INDETERMINATE Executed for some of the keys only; for others the answer was: OOM...
			[c] "3"
			[c] -OOM...
		`)
	})
}

// TestRouteNulls: the null of RESP3 comes from another node as it does from here.
func TestRouteNulls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTestGrid(t, nil)
		c := g.nodes["a"].server.connect()
		ask := func(line string) string {
			c.out = c.out[:0]
			c.feed([]byte(line + "\r\n"))
			g.settle()
			return string(c.out)
		}
		ask("HELLO 3")
		for _, commands := range []string{"GET %", "HGETALL %", "MGET % %", "ZSCORE % x", "SMEMBERS %", "XX %", "GET % x"} {
			here, there := ask(strings.ReplaceAll(commands, "%", "a")), ask(strings.ReplaceAll(commands, "%", "b"))
			if there = strings.ReplaceAll(there, "'b'", "'a'"); here != there {
				t.Errorf("%s: of a key here %q, of another node's %q", commands, here, there)
			}
		}
		if got, want := ask("MGET a b c"), "*3\r\n_\r\n_\r\n_\r\n"; got != want {
			t.Errorf("MGET of three nodes: got %q, want %q", got, want)
		}
	})
}
