package server

import (
	"strings"
	"testing"
)

// TestRouteExec: a transaction is executed by the node that has its keys, as a whole (R25).
func TestRouteExec(t *testing.T) {
	playGridScripts(t, []gridScript{
		{"here and elsewhere", `
			[a] > MULTI | SET a 1 | INCR a | EXEC | MULTI | SET b 1 | INCR b | GET x{b} | PING | ECHO hi | EXEC
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] [OK :2]
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] QUEUED
			[a] QUEUED
			[a] QUEUED
			[a] [OK :2 nil PONG "hi"]
			[a] > MULTI | EXEC | MULTI | PING | EXEC
			[a] OK
			[a] []
			[a] OK
			[a] QUEUED
			[a] [PONG]
			[a] > SELECT 2 | MULTI | SET b two | EXEC | GET b | SELECT 0 | GET b
			[a] OK
			[a] OK
			[a] QUEUED
			[a] [OK]
			[a] "two"
			[a] OK
			[a] "2"
		`},
		{"an error in the middle", `
			[a] > MULTI | SET b x | INCR b | GET b | EXEC
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] QUEUED
			[a] [OK -ERR value is not an integer or out of range "x"]
		`},
		{"the order of a session", `
			hold a>b
			[a] > INCR b | MULTI | INCR b | EXEC | INCR b | MULTI | INCR a | EXEC
			release a>b
			[a] :1
			[a] OK
			[a] QUEUED
			[a] [:2]
			[a] :3
			[a] OK
			[a] QUEUED
			[a] [:1]
		`},
		{"one that is refused is tried again", `
			blip b b 1
			[a] > MULTI | INCR b | EXEC
			[a] OK
			[a] QUEUED
			pass 20ms
			[a] [:1]
			blip a a 2
			[a] > MULTI | INCR a | EXEC
			[a] OK
			[a] QUEUED
			pass 20ms
			[a] [:1]
			move b c
			[a] > MULTI | INCR b | EXEC
			[a] OK
			[a] QUEUED
			pass 20ms
			see
			pass 30ms
			[a] [:2]
			[a] > GET b
			[a] "2"
		`},
		{"one that got lost", `
			lose-answer a>b
			[a] > MULTI | INCR b | EXEC | GET b
			[a] OK
			[a] QUEUED
			[a] -INDETERMINATE...
			[a] "1"
			lose a>b
			[a] > MULTI | GET b | EXEC
			[a] OK
			[a] QUEUED
			pass 20ms
			[a] ["1"]
		`},
		{"keys of several slots", `
			[a] > MULTI | INCR a | INCR b | EXEC
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] -CROSSSLOT...
			[a] > MULTI | INCR a | INCR e | EXEC | MGET a b e
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] -CROSSSLOT...
			[a] [nil nil nil]
			[a] > WATCH a | MULTI | INCR b | EXEC
			[a] OK
			[a] OK
			[a] QUEUED
			[a] -CROSSSLOT...
			watched a
			0
			[a] > WATCH b | MULTI | INCR a | EXEC | MULTI | INCR a | EXEC
			[a] OK
			[a] OK
			[a] QUEUED
			[a] -CROSSSLOT...
			[a] OK
			[a] QUEUED
			[a] [:1]
			[a] > WATCH a b
			[a] -CROSSSLOT...
		`},
		{"what of a transaction concerns the session stays at its door", `
			[a] > MULTI | SET b 0 | SELECT 1 | SET b 1 | CLIENT SETNAME me | CLIENT GETNAME | GET b | EXEC | GET b | SELECT 0 | GET b
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] QUEUED
			[a] QUEUED
			[a] QUEUED
			[a] QUEUED
			[a] [OK OK OK OK "me" "1"]
			[a] "1"
			[a] OK
			[a] "0"
			[a] > WATCH b | SET b 5 | MULTI | SELECT 2 | CLIENT SETNAME other | SET b 2 | EXEC | GET b | CLIENT GETNAME
			[a] OK
			[a] OK
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] QUEUED
			[a] nil
			[a] "5"
			[a] "me"
			[a] > MULTI | SELECT 99 | GET b | EXEC | GET b
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] [-ERR DB index...
			[a] "5"
		`},
		{"what another node cannot do for a session", `
			[a] > MULTI | SET b 1 | CONFIG GET maxmemory | EXEC | GET b
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] -CROSSSLOT Commands about the node...
			[a] nil
			[a] > WATCH b | MULTI | SET b 1 | WAIT 0 0 | EXEC | MULTI | SET b 2 | EXEC
			[a] OK
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] -CROSSSLOT Commands about the node...
			[a] OK
			[a] QUEUED
			[a] [OK]
			[a] > MULTI | SELECT 1 | SET a 1 | EXEC | GET a | SELECT 0 | GET a
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] [OK OK]
			[a] "1"
			[a] OK
			[a] nil
		`},
		{"commands about all keys", `
			[a] > MULTI | SET a 1 | DBSIZE | EXEC
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] -CROSSSLOT Commands about all keys...
			[a] > WATCH a | MULTI | FLUSHALL | EXEC | GET a
			[a] OK
			[a] OK
			[a] QUEUED
			[a] -CROSSSLOT Commands about all keys...
			[a] nil
			watched a
			0
		`},
		{"errors while it is queued", `
			[a] > WATCH a | MULTI | SET b 1 | NOSUCH | SET a | EXEC | GET b
			[a] OK
			[a] OK
			[a] QUEUED
			[a] -ERR unknown command...
			[a] -ERR wrong number...
			[a] -EXECABORT Transaction discarded because of previous errors.
			[a] nil
			watched a
			0
			[a] > WATCH b | MULTI | NOSUCH | EXEC | SET b 1 | MULTI | GET b | EXEC
			[a] OK
			[a] OK
			[a] -ERR unknown command...
			[a] -EXECABORT...
			[a] OK
			[a] OK
			[a] QUEUED
			[a] ["1"]
			[a] > EXEC | DISCARD | MULTI | MULTI | DISCARD
			[a] -ERR EXEC without MULTI
			[a] -ERR DISCARD without MULTI
			[a] OK
			[a] -ERR MULTI calls can not be nested
			[a] OK
		`},
		{"WATCH while it is queued", `
			[a] > MULTI | WATCH a | WATCH b | WATCH a b | INCR b | EXEC
			[a] OK
			[a] -ERR WATCH inside MULTI is not allowed
			[a] -ERR WATCH inside MULTI is not allowed
			[a] -ERR WATCH inside MULTI is not allowed
			[a] QUEUED
			[a] [:1]
		`},
	})
}

// TestRouteWatch: a transaction is executed only if what was watched is sure to be as it was (R25).
func TestRouteWatch(t *testing.T) {
	playGridScripts(t, []gridScript{
		{"nothing has changed", `
			[a] > WATCH b | GET b | MULTI | INCR b | EXEC
			[a] OK
			[a] nil
			[a] OK
			[a] QUEUED
			[a] [:1]
			[a] > WATCH b x{b} | SET a 1 | MULTI | INCR b | EXEC
			[a] OK
			[a] OK
			[a] OK
			[a] QUEUED
			[a] [:2]
			[a] > SELECT 1 | WATCH b | SELECT 0 | MULTI | INCR b | EXEC
			[a] OK
			[a] OK
			[a] OK
			[a] OK
			[a] QUEUED
			[a] [:3]
		`},
		{"a write of one's own", `
			[a] > WATCH b | SET b 1 | MULTI | INCR b | EXEC | GET b
			[a] OK
			[a] OK
			[a] OK
			[a] QUEUED
			[a] nil
			[a] "1"
			[a] > WATCH b | SET b 2 | WATCH b | MULTI | INCR b | EXEC
			[a] OK
			[a] OK
			[a] OK
			[a] OK
			[a] QUEUED
			[a] nil
			[a] > MULTI | INCR b | EXEC
			[a] OK
			[a] QUEUED
			[a] [:3]
		`},
		{"another's", `
			[a] > WATCH b
			[a] OK
			[c] > WATCH b
			[c] OK
			[b] > SET b 1
			[b] OK
			[a] > MULTI | INCR b | EXEC
			[a] OK
			[a] QUEUED
			[a] nil
			[c] > MULTI | PING | EXEC
			[c] OK
			[c] QUEUED
			[c] nil
		`},
		{"in the other database", `
			[a] > SELECT 1 | WATCH b | SET b 1 | SELECT 0 | MULTI | INCR b | EXEC
			[a] OK
			[a] OK
			[a] OK
			[a] OK
			[a] OK
			[a] QUEUED
			[a] nil
		`},
		{"a flush", `
			[b] > SET b 1
			[b] OK
			[a] > WATCH b
			[a] OK
			[c] > FLUSHALL
			[c] OK
			[a] > MULTI | GET b | EXEC
			[a] OK
			[a] QUEUED
			[a] nil
		`},
		{"a key that expires", `
			[a] > SET b 1 PX 10 | WATCH b
			[a] OK
			[a] OK
			pass 20ms
			[a] > MULTI | GET b | EXEC
			[a] OK
			[a] QUEUED
			[a] nil
			[a] > SET b 1 PX 10
			[a] OK
			pass 20ms
			[a] > WATCH b | MULTI | GET b | EXEC
			[a] OK
			[a] OK
			[a] QUEUED
			[a] [nil]
		`},
		{"a change of reign", `
			[a] > WATCH b
			[a] OK
			[b] > WATCH b
			[b] OK
			move! b c
			move! b b
			[a] > MULTI | GET b | EXEC | MULTI | GET b | EXEC
			[a] OK
			[a] QUEUED
			[a] nil
			[a] OK
			[a] QUEUED
			[a] [nil]
			[b] > MULTI | GET b | EXEC | MULTI | GET b | EXEC
			[b] OK
			[b] QUEUED
			[b] nil
			[b] OK
			[b] QUEUED
			[b] [nil]
		`},
		{"a partition that comes here", `
			[a] > WATCH b
			[a] OK
			move! b a
			[a] > MULTI | SET b 1 | EXEC | MULTI | SET b 2 | EXEC
			[a] OK
			[a] QUEUED
			[a] nil
			[a] OK
			[a] QUEUED
			[a] [OK]
		`},
		{"a partition that goes", `
			[a] > WATCH a
			[a] OK
			move! a b
			[a] > MULTI | SET a 1 | EXEC | GET a
			[a] OK
			[a] QUEUED
			[a] nil
			[a] nil
			watched a
			0
		`},
		{"a partition that goes from one node to another", `
			[a] > WATCH b
			[a] OK
			move b c
			[a] > MULTI | SET b 1 | EXEC
			[a] OK
			[a] QUEUED
			see
			pass 50ms
			[a] nil
			[a] > GET b
			[a] nil
		`},
		{"a transaction that is tried again watches on", `
			[a] > WATCH a
			[a] OK
			lapse a a 0
			[a] > MULTI | SET a 1 | EXEC
			[a] OK
			[a] QUEUED
			pass 10ms
			lapse a a no
			pass 50ms
			[a] [OK]
			[a] > WATCH a
			[a] OK
			lapse a a 0
			[a] > MULTI | SET a 2 | EXEC
			[a] OK
			[a] QUEUED
			lapse a a no
			[a2] > SET a 3
			[a2] OK
			pass 50ms
			[a] nil
			watched a
			0
		`},
		{"WATCH is refused, and tried again", `
			blip b b 1
			[a] > WATCH b | MULTI | INCR b | EXEC
			pass 50ms
			[a] OK
			[a] OK
			[a] QUEUED
			[a] [:1]
			blip a a 1
			[a] > WATCH a | MULTI | INCR a | EXEC
			[a] OK
			[a] OK
			[a] QUEUED
			[a] [:1]
		`},
		{"WATCH finds no node", `
			lapse b b 0
			[a] > WATCH b
			pass 5s
			[a] -CLUSTERDOWN...
			lapse b b no
			[a] > MULTI | INCR b | EXEC
			[a] OK
			[a] QUEUED
			[a] [:1]
		`},
		{"WATCH waits for the commit of what it saw", `
			gate b
			[b] > SET b 1
			[a] > WATCH b
			commit b
			[a] OK
			[b] OK
			[a] > MULTI | GET b | EXEC
			[a] OK
			[a] QUEUED
			[a] ["1"]
		`},
		{"WATCH stays in the session's order", `
			hold a>b
			[a] > SET b 1 | WATCH b | SET b 2 | MULTI | GET b | EXEC
			release a>b
			[a] OK
			[a] OK
			[a] OK
			[a] OK
			[a] QUEUED
			[a] nil
		`},
		{"watches that end", `
			[a] > WATCH a | WATCH b | UNWATCH | SET a 1 | SET b 1 | MULTI | GET b | EXEC
			[a] OK
			[a] OK
			[a] OK
			[a] OK
			[a] OK
			[a] OK
			[a] QUEUED
			[a] ["1"]
			watched a
			0
			[a] > WATCH a | WATCH b | MULTI | GET b | DISCARD | SET b 1 | MULTI | GET b | EXEC
			[a] OK
			[a] OK
			[a] OK
			[a] QUEUED
			[a] OK
			[a] OK
			[a] OK
			[a] QUEUED
			[a] ["1"]
			watched a
			0
			[a] > WATCH a b | RESET | WATCH a | RESET
			[a] -CROSSSLOT...
			[a] RESET
			[a] OK
			[a] RESET
			watched a
			0
		`},
	})
}

// TestRouteCluster: what the cluster door says of keys that are not this node's (R26).
func TestRouteCluster(t *testing.T) {
	playGridScripts(t, []gridScript{
		{"one key", `
			[a!] > SET a 1 | GET b | SET c 1 | GET a | WATCH b | MGET b x{b}
			[a!] OK
			[a!] -MOVED 3300 10.0.0.2:7379
			[a!] -MOVED 7365 10.0.0.3:7379
			[a!] "1"
			[a!] -MOVED 3300 10.0.0.2:7379
			[a!] -MOVED 3300 10.0.0.2:7379
			[a!] > MGET a e | MGET a b | DEL a d | MSET a 1 x{a} 2
			[a!] -CROSSSLOT...
			[a!] -CROSSSLOT...
			[a!] -CROSSSLOT...
			[a!] OK
			lose b
			see
			[a!] > GET b
			[a!] -CLUSTERDOWN...
		`},
		{"a transaction, while it is queued", `
			[a!] > MULTI | SET a 1 | SET b 1 | EXEC | GET a
			[a!] OK
			[a!] QUEUED
			[a!] -MOVED 3300 10.0.0.2:7379
			[a!] -EXECABORT...
			[a!] nil
			[a!] > MULTI | MGET a e | EXEC
			[a!] OK
			[a!] -CROSSSLOT...
			[a!] -EXECABORT...
			[a!] > MULTI | SET a 1 | SET e 1 | EXEC | GET a
			[a!] OK
			[a!] QUEUED
			[a!] QUEUED
			[a!] -CROSSSLOT...
			[a!] nil
			[a!] > MULTI | SET a 1 | GET x{a} | EXEC
			[a!] OK
			[a!] QUEUED
			[a!] QUEUED
			[a!] [OK nil]
		`},
		{"a transaction whose keys have gone", `
			[a!] > WATCH a | MULTI | SET a 1
			[a!] OK
			[a!] OK
			[a!] QUEUED
			move! a b
			[a!] > EXEC | PING
			[a!] -MOVED 15495 10.0.0.2:7379
			[a!] PONG
			watched a
			0
			[b] > GET a
			[b] nil
		`},
		{"a transaction whose keys go while it is tried again", `
			lapse a a 0
			[a!] > MULTI | SET a 1 | EXEC
			[a!] OK
			[a!] QUEUED
			[a!2!] > GET a
			move! a b
			pass 50ms
			[a!] -MOVED 15495 10.0.0.2:7379
			[a!2!] -MOVED 15495 10.0.0.2:7379
			[b] > GET a
			[b] nil
		`},
		{"a transaction with commands about all keys", `
			[a] > MSET b 1 d 1
			[a] OK
			[a!] > MULTI | SET a 1 | DBSIZE | EXEC
			[a!] OK
			[a!] QUEUED
			[a!] QUEUED
			[a!] [OK :2]
			[a!] > WATCH a | MULTI | DBSIZE | EXEC
			[a!] OK
			[a!] OK
			[a!] QUEUED
			[a!] [:2]
			[a!] > WATCH a | MULTI | DBSIZE | GET a
			[a!] OK
			[a!] OK
			[a!] QUEUED
			[a!] QUEUED
			move! a b
			[a!] > EXEC | MULTI | DBSIZE | EXEC
			[a!] -MOVED 15495 10.0.0.2:7379
			[a!] OK
			[a!] QUEUED
			[a!] [:1]
			watched a
			0
			move! d b
			[a!] > MULTI | DBSIZE | FLUSHALL | EXEC
			[a!] OK
			[a!] QUEUED
			[a!] QUEUED
			[a!] [:0 OK]
		`},
		{"a watched key that has gone", `
			[a!] > WATCH a | MULTI | DBSIZE
			[a!] OK
			[a!] OK
			[a!] QUEUED
			move! a b
			[a!] > EXEC
			[a!] nil
			watched a
			0
		`},
		{"databases", `
			[a!] > SELECT 0 | SELECT 1 | SET a 1 | MOVE a 1 | SWAPDB 0 1 | COPY a x{a} DB 1 | COPY a x{a} DB 0 | GET x{a}
			[a!] OK
			[a!] -ERR SELECT is not allowed in cluster mode
			[a!] OK
			[a!] -ERR MOVE is not allowed in cluster mode
			[a!] -ERR SWAPDB is not allowed in cluster mode
			[a!] -ERR Copying to another database is not allowed in cluster mode
			[a!] :1
			[a!] "1"
			[a] > MOVE b 1 | COPY a y{a} DB 1 | SELECT 1 | GET y{a}
			[a] :0
			[a] :1
			[a] OK
			[a] "1"
		`},
	})
}

// TestJoinExecCounts: who executed a transaction and answers too much or too little for it makes it an error, whatever else is in it.
func TestJoinExecCounts(t *testing.T) {
	s := loneSession(t)
	multi := &transaction{}
	for _, words := range []string{"get a", "client getname", "set a b"} {
		var args [][]byte
		for _, w := range strings.Fields(words) {
			args = append(args, []byte(w))
		}
		multi.queue = append(multi.queue, queued{row: lookup(args), args: args})
	}
	for reply, want := range map[string]string{
		"*2\r\n$1\r\nx\r\n+OK\r\n":        "*3\r\n$1\r\nx\r\n$-1\r\n+OK\r\n",
		"*1\r\n$1\r\nx\r\n":               "-" + errExecReply + "\r\n",
		"*0\r\n":                          "-" + errExecReply + "\r\n",
		"*3\r\n$1\r\nx\r\n+OK\r\n+OK\r\n": "-" + errExecReply + "\r\n",
		"*-1\r\n":                         "*-1\r\n",
		"-ERR no\r\n":                     "-ERR no\r\n",
	} {
		if got := string(s.joinExec(&task{resp: 2}, multi, []byte(reply))); got != want {
			t.Errorf("%q becomes %q, want %q", reply, got, want)
		}
	}
}
