package server

import (
	"testing"
	"testing/synctest"
)

// TestWait: how many backups hold what the session has written (R26). Each partition has one to begin with.
func TestWait(t *testing.T) {
	playGridScripts(t, []gridScript{
		{"the smallest count over what was written", `
			[a] > WAIT 1 0 | WAIT 0 0
			[a] :1
			[a] :1
			backups b 2
			backups c 0
			see
			[a] > WAIT 0 0 | SET b 1 | WAIT 0 0 | SET a 1 | WAIT 0 0 | GET c | WAIT 0 0 | SET c 1 | WAIT 0 0
			[a] :0
			[a] OK
			pass 50ms
			[a] :2
			[a] OK
			[a] :1
			[a] nil
			[a] :1
			[a] OK
			[a] :0
			[a2] > MSET b 1 a 1 | WAIT 0 0
			[a2] OK
			[a2] :1
			[a3] > MULTI | SET b 1 | EXEC | WAIT 0 0 | MULTI | SET c 1 | EXEC | WAIT 0 0
			[a3] OK
			[a3] QUEUED
			[a3] [OK]
			[a3] :2
			[a3] OK
			[a3] QUEUED
			[a3] [OK]
			[a3] :0
			[c] > FLUSHALL | WAIT 0 0
			[c] OK
			[c] :0
			lose b
			see
			[a] > WAIT 0 0
			[a] :0
		`},
		{"a command that wrote nothing does not count", `
			backups a 0
			see
			[a] > DEL a | SET b 1 | WAIT 0 0 | WAIT 0 0
			[a] :0
			[a] OK
			pass 10ms
			[a] :1
			[a] :1
		`},
		{"waiting", `
			[a] > SET b 1 | WAIT 2 100 | PING
			[a] OK
			pass 99ms
			pass 2ms
			[a] :1
			[a] PONG
			[a] > WAIT 2 1000
			pass 50ms
			backups b 2
			see
			pass 20ms
			[a] :2
			[a] > WAIT 3 0
			pass 4400ms
			pass 200ms
			[a] :2
		`},
		{"without a reply", `
			[a] > CLIENT REPLY SKIP | WAIT 2 100 | PING
			pass 200ms
			[a] PONG
		`},
		{"a write whose reply nobody wants", `
			gate a
			[a] > CLIENT REPLY SKIP | SET a 1 | WAIT 1 100 | PING
			pass 150ms
			[a] :0
			[a] PONG
			[a] > WAIT 1 0
			pass 50ms
			commit a
			pass 30ms
			[a] :1
			gate a
			[a] > CLIENT REPLY OFF | SET a 2 | SET a 3 | CLIENT REPLY ON | WAIT 1 0
			[a] OK
			pass 50ms
			commit a
			pass 30ms
			[a] :1
		`},
		{"and of which it was known in time that it is committed, whoever has its partition now", `
			gate a
			[a] > CLIENT REPLY SKIP | SET a 1
			commit a
			gate a
			[a] > WAIT 1 100
			[a] :1
			commit a
		`},
		{"and which is not known to be committed: told is nobody, so that no later one stands for it", `
			lose-answer a>b
			[a] > CLIENT REPLY SKIP | SET b 1
			[a] > SET b 2 | WAIT 1 50
			[a] OK
			pass 100ms
			[a] :0
			[a2] > SET b 2 | WAIT 1 50
			[a2] OK
			pass 10ms
			[a2] :1
		`},
		{"a write in doubt, until it is known to be committed", `
			gate a
			[a] > SET a 1 | WAIT 1 50 | PING
			uncommit a
			[a] -INDETERMINATE...
			pass 100ms
			[a] :0
			[a] PONG
			[a] > WAIT 1 0
			pass 50ms
			commit a
			pass 30ms
			[a] :1
		`},
		{"or the partition is written to anew", `
			lose-answer a>b
			[a] > SET b 1
			[a] -INDETERMINATE...
			[a] > DEL no{b} | WAIT 1 50
			[a] :0
			pass 100ms
			[a] :0
			[a] > SET b 2 | WAIT 1 50
			[a] OK
			pass 10ms
			[a] :1
		`},
		{"a transaction counts nothing while a write before it is not answered", `
			gate a
			[a] > SET a 1 | MULTI | WAIT 1 0 | EXEC
			commit a
			[a] OK
			[a] OK
			[a] QUEUED
			[a] [:0]
		`},
		{"a transaction does not wait", `
			[a] > MULTI | SET a 1 | WAIT 9 0 | EXEC
			[a] OK
			[a] QUEUED
			[a] QUEUED
			[a] [OK :1]
		`},
		{"behind a write that is under way", `
			hold a>b
			[a] > SET b 1 | WAIT 1 0
			backups b 2
			see
			release a>b
			[a] OK
			pass 30ms
			[a] :2
		`},
		{"wrong arguments", `
			[a] > WAIT x 0 | WAIT 1 x | WAIT 1 -1 | WAIT -1 0 | WAIT 1
			[a] -ERR value is not an integer or out of range
			[a] -ERR timeout is not an integer or out of range
			[a] -ERR timeout is negative
			[a] :1
			[a] -ERR wrong number...
		`},
	})
}

func TestWaitAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newInProcess(t, Options{Partitions: gridPartitions}).connect()
		c.do("SET", "a", "1")
		if got := c.ask("WAIT", "1", "0"); got != "(integer) 0" {
			t.Errorf("WAIT of a node that is alone: %s", got)
		}
	})
}
