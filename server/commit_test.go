package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// slowGate is the Router of a grid of one node, whose batches are committed when the test says so, partition by partition.
type slowGate struct {
	*fakeRouter
	mu                sync.Mutex     // Await is called off the loop too
	sealed, committed map[int]uint64 // by partition: the last batch
	waiting           []waiter
}

type waiter struct {
	need map[int]uint64
	done func(error)
}

func newSlowGate(t *testing.T) *slowGate {
	return &slowGate{fakeRouter: newFakeRouter(t, alone(gatePartitions)), sealed: map[int]uint64{}, committed: map[int]uint64{}}
}

// alone is the topology of one node.
func alone(partitions int) *Topology {
	return gridOf(1, "a", []NodeID{"a"}, slices.Repeat([]string{"a"}, partitions)...)
}

func (g *slowGate) sink(p *partition.Partition, b partition.Batch) (settled bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sealed[p.ID] = b.Seq
	return false
}

func (g *slowGate) Committed(rests []Rest) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !slices.ContainsFunc(rests, func(r Rest) bool { return g.committed[r.Partition] < r.Seq })
}

func (g *slowGate) Await(rests []Rest, done func(error)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	need := map[int]uint64{}
	for _, r := range rests {
		need[r.Partition] = r.Seq
	}
	if g.reached(need) {
		return true
	}
	g.waiting = append(g.waiting, waiter{need, done})
	return false
}

func (g *slowGate) reached(need map[int]uint64) bool {
	for p, seq := range need {
		if g.committed[p] < seq {
			return false
		}
	}
	return true
}

// commit commits what a partition has sealed, and tells those who waited for it, each on a goroutine of its own.
func (g *slowGate) commit(p int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.committed[p] = g.sealed[p]
	g.waiting = slices.DeleteFunc(g.waiting, func(w waiter) bool {
		if !g.reached(w.need) {
			return false
		}
		go w.done(nil)
		return true
	})
}

// The keys a, b, c and d stand in different ones of gatePartitions partitions.
const gatePartitions = 16

// TestGate: what a client sees while commits are slow. A script's lines:
//
//	> SET a 1         a command of the first client, [b] > ... of another
//	commit a          the batches of the partition of key a are committed
//	pass 10ms         time passes
//	eof               the first client sends no more
//	+OK               what came of it, line by line; [b] +OK of another client; nothing where no line follows
//	(closed)          the connection is to be closed
func TestGate(t *testing.T) {
	for _, script := range []struct{ name, lines string }{
		{"a reply waits for its commit", `
			> SET a 1
			commit b
			commit a
			+OK
			> GET a
			$1
			1
		`},
		{"replies keep the order of commands whatever the order of commits", `
			> SET a 1
			> SET b 2
			> SET c 3
			commit c
			commit a
			+OK
			commit b
			+OK
			+OK
		`},
		{"replies that need no commit wait for their turn", `
			> SET a 1
			> PING
			> SET b 2
			> PING again
			commit a
			+OK
			+PONG
			commit b
			+OK
			$5
			again
		`},
		{"a read of uncommitted data waits, of other data it does not", `
			> SET a 1
			[b] > GET b
			[b] $-1
			[b] > GET a
			[c] > MGET b c
			[c] *2
			[c] $-1
			[c] $-1
			[c] > MGET a b
			commit a
			+OK
			[b] $1
			[b] 1
			[c] *2
			[c] $1
			[c] 1
			[c] $-1
		`},
		{"an error that tells of uncommitted data waits", `
			> SET a 1
			[b] > LPUSH a x
			commit a
			+OK
			[b] -WRONGTYPE Operation against a key holding the wrong kind of value
		`},
		{"a write that changes nothing waits for what it has seen", `
			> SET a 1
			[b] > SETNX a 2
			commit a
			+OK
			[b] :0
		`},
		{"pipelined commands are executed behind a pending reply", `
			> SET a 1
			> INCR b
			[b] > INCR b
			commit b
			[b] :2
			commit a
			+OK
			:1
		`},
		{"a later batch of the partition does not hold back an earlier reply, nor the other way round", `
			> SET a 1
			commit a
			+OK
			> SET a 2
			[b] > SET a 3
			commit a
			+OK
			[b] +OK
		`},
		{"EXEC waits for all its partitions", `
			> MULTI
			+OK
			> SET a 1
			+QUEUED
			> INCR b
			+QUEUED
			> EXEC
			commit b
			commit a
			*2
			+OK
			:1
		`},
		{"EXEC with a command over everything waits for everything", `
			> SET a 1
			[b] > MULTI
			[b] +OK
			[b] > DBSIZE
			[b] +QUEUED
			[b] > EXEC
			commit a
			+OK
			[b] *1
			[b] :1
		`},
		{"a command over several partitions waits for each", `
			> MSET a 1 b 2 c 3
			commit a
			commit b
			commit c
			+OK
		`},
		{"what walks everything waits for everything", `
			> SET a 1
			[b] > DBSIZE
			[c] > RANDOMKEY
			commit a
			+OK
			[b] :1
			[c] $1
			[c] a
		`},
		{"what changes everything waits for everything", `
			> SET a 1
			> SET b 1
			[b] > FLUSHALL
			commit a
			+OK
			commit b
			+OK
			[b] +OK
		`},
		{"what says nothing of the data waits for nothing", `
			> FLUSHALL
			+OK
			> SET a 1
			[b] > CONFIG RESETSTAT
			[b] +OK
			[b] > ECHO x
			[b] $1
			[b] x
		`},
		{"a command off the loop is a barrier: nothing behind it is executed", `
			> SET a 1
			> KEYS *
			> SET b 2
			[b] > EXISTS b
			[b] :0
			commit a
			+OK
			*1
			$1
			a
			[b] > EXISTS b
			commit b
			+OK
			[b] :1
		`},
		{"a key whose expiry is noticed by a read is deleted before the read is answered", `
			> SET a 1 PX 10
			commit a
			+OK
			pass 10ms
			[b] > GET a
			commit a
			[b] $-1
		`},
		{"QUIT closes when all is answered", `
			> SET a 1
			> QUIT
			> SET b 1
			commit a
			+OK
			+OK
			(closed)
		`},
		{"after the end of input pending replies still come", `
			> SET a 1
			> KEYS *
			> SET b 2
			eof
			commit a
			+OK
			*1
			$1
			a
			commit b
			+OK
			(closed)
		`},
		{"a change of protocol concerns the replies of later commands alone", `
			> SET a 1
			> GET b
			> HELLO 9
			> SET a 1 GET
			commit a
			+OK
			$-1
			-NOPROTO unsupported protocol version
			$1
			1
		`},
		{"CLIENT REPLY OFF and SKIP leave no reply to come later", `
			> CLIENT REPLY SKIP
			> SET a 1
			> SET b 1
			> CLIENT REPLY OFF
			> SET c 1
			> KEYS *
			> CLIENT REPLY ON
			commit b
			+OK
			commit c
			commit a
			+OK
		`},
	} {
		t.Run(script.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playGateScript(t, script.lines) })
		})
	}
}

func playGateScript(t *testing.T, script string) {
	gate := newSlowGate(t)
	srv := newInProcess(t, Options{Partitions: gatePartitions, Router: gate, Sink: gate.sink})
	clients := map[string]*client{}
	get := func(name string) *client {
		if clients[name] == nil {
			clients[name] = srv.connect()
		}
		return clients[name]
	}
	get("")
	var lines []string
	for line := range strings.Lines(script) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	for at := 0; at < len(lines); {
		step := lines[at]
		name, rest := splitName(step)
		switch word, arg, _ := strings.Cut(rest, " "); {
		case word == ">":
			get(name).feed([]byte(arg + "\r\n"))
		case step == "eof":
			get("").session.EOF()
		case word == "commit":
			gate.commit(srv.store.PartitionOf([]byte(arg)))
		case word == "pass":
			d, err := time.ParseDuration(arg)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(d)
		default:
			t.Fatalf("%q is no step", step)
		}
		srv.settle()
		at++
		want := at
		for at < len(lines) && !isGateStep(lines[at]) {
			at++
		}
		if got := gateOutput(clients); !slices.Equal(got, lines[want:at]) {
			t.Fatalf("after %q:\ngot\n\t%s\nwant\n\t%s", step, strings.Join(got, "\n\t"), strings.Join(lines[want:at], "\n\t"))
		}
	}
}

func splitName(line string) (name, rest string) {
	if strings.HasPrefix(line, "[") {
		name, rest, _ = strings.Cut(line[1:], "] ")
		return name, rest
	}
	return "", line
}

func isGateStep(line string) bool {
	_, rest := splitName(line)
	return rest == "eof" || strings.HasPrefix(rest, "> ") || strings.HasPrefix(rest, "commit ") || strings.HasPrefix(rest, "pass ")
}

// gateOutput takes what the clients have been sent, those with names after the first one.
func gateOutput(clients map[string]*client) (lines []string) {
	for _, name := range []string{"", "b", "c"} {
		c := clients[name]
		if c == nil {
			continue
		}
		prefix := ""
		if name != "" {
			prefix = "[" + name + "] "
		}
		for line := range strings.Lines(string(c.out)) {
			lines = append(lines, prefix+strings.TrimSpace(line))
		}
		c.out = nil
		if _, _, closing := c.session.Wants(); closing {
			lines = append(lines, prefix+"(closed)")
		}
	}
	return lines
}

// TestGateRandom pipelines random commands in pieces of any size while commits come in any order: the replies are those
// of a server without a gate, byte for byte.
func TestGateRandom(t *testing.T) {
	const runs, commands = 30, 300
	for seed := range uint64(runs) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 0))
			var input []byte
			for range commands {
				for _, args := range gateCommand(rng) {
					input = protocol.AppendCommand(input, args...)
				}
			}
			gridSeed := partition.Seed{K0: 1, K1: 2}
			plain := newInProcess(t, Options{Partitions: gatePartitions, Seed: gridSeed})
			want := plain.connect()
			want.feed(input)
			plain.settle()

			gate := newSlowGate(t)
			gated := newInProcess(t, Options{Partitions: gatePartitions, Seed: gridSeed, Router: gate, Sink: gate.sink})
			got := gated.connect()
			for len(input) > 0 {
				n := 1 + rng.IntN(min(60, len(input)))
				got.feed(input[:n])
				input = input[n:]
				for rng.IntN(3) == 0 {
					gate.commit(rng.IntN(gatePartitions))
					gated.settle()
				}
			}
			for len(gate.waiting) > 0 || got.session.barrier > 0 {
				for p := range gatePartitions {
					gate.commit(p)
				}
				gated.settle()
			}
			if !bytes.Equal(got.out, want.out) {
				at := 0
				for at < min(len(got.out), len(want.out)) && got.out[at] == want.out[at] {
					at++
				}
				t.Fatalf("seed %d: %d bytes of replies, want %d; from byte %d on\ngot  %.80q\nwant %.80q",
					seed, len(got.out), len(want.out), at, got.out[at:], want.out[at:])
			}
		})
	}
}

// gateCommand is a command, or a transaction, whose replies tell what it has seen.
func gateCommand(rng *rand.Rand) [][]string {
	key := func() string { return string(rune('a' + rng.IntN(6))) }
	switch rng.IntN(9) {
	case 0:
		return [][]string{{"SET", key(), fmt.Sprint(rng.IntN(1000))}}
	case 1:
		return [][]string{{"MGET", key(), key()}}
	case 2:
		return [][]string{{"MSET", key(), "1", key(), "2"}}
	case 3:
		return [][]string{{"PING", fmt.Sprint(rng.IntN(1000))}}
	case 4:
		return [][]string{{"MULTI"}, {"INCR", key()}, {"GET", key()}, {"EXEC"}}
	case 5:
		return [][]string{{"DEL", key()}}
	case 6:
		return [][]string{{"KEYS", "*"}}
	default:
		return [][]string{{"INCR", key()}}
	}
}

// TestPendingRepliesAreBounded: a session whose replies do not become ready stops executing, and then reading.
func TestPendingRepliesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := newSlowGate(t)
		srv := newInProcess(t, Options{Partitions: gatePartitions, Router: gate, Sink: gate.sink})
		c := srv.connect()
		input := bytes.Repeat(protocol.AppendCommand(nil, "INCR", "a"), 100_000)
		c.feed(input)
		if got := len(c.session.queue); got != pendingMax {
			t.Errorf("%d replies are pending, want %d", got, pendingMax)
		}
		if read, _, _ := c.session.Wants(); read {
			t.Errorf("the session reads on with %d bytes of input that wait", len(c.session.in))
		}
		for len(gate.waiting) > 0 {
			gate.commit(srv.store.PartitionOf([]byte("a")))
			srv.settle()
		}
		if got := bytes.Count(c.out, []byte(":")); got != 100_000 {
			t.Errorf("%d replies, want 100000", got)
		}
		if read, _, _ := c.session.Wants(); !read {
			t.Error("the session does not read again")
		}
	})
}
