package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/neargrid/neargrid/protocol"
)

// answerMax is how long an operation may take whatever is broken (R14), and what a busy machine may add to it.
const answerMax = 5*time.Second + 500*time.Millisecond

// talks are what clients send, one command after the other on a connection of their own; KEY is one of several keys, of all nodes.
var talks = []string{
	"GET KEY", "SET KEY v", "INCR n{KEY}", "EXPIRE KEY 100", "SET KEY v GET", "MSET KEY v KEYb v", "EVAL 'return 1' 0",
	"MULTI | SET KEY v | GET KEY | EXEC", "WATCH KEY | MULTI | SET KEY v | EXEC", "WATCH KEY | UNWATCH",
	"SET KEY v | WAIT 1 0", "CLIENT REPLY SKIP | SET KEY v | WAIT 1 0",
}

// wideTalks are the same for what is about no single key.
var wideTalks = []string{
	"MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8", "MGET a b c d e f g h", "DEL a b c d e f g h", "UNLINK a b c d e f g h", "EXISTS a b c d e f g h",
	"TOUCH a b c d e f g h", "KEYS *", "SCAN 0 COUNT 1000", "DBSIZE", "RANDOMKEY", "FLUSHALL", "FLUSHDB", "WAIT 1 0", "WAIT 1 100",
	"MULTI | DBSIZE | EXEC", "SWAPDB 0 1",
	"CLUSTER INFO", "CLUSTER NODES", "CLUSTER SLOTS", "CLUSTER SHARDS", "CLUSTER MYID", "CLUSTER LINKS", "CLUSTER KEYSLOT a",
	"CLUSTER COUNTKEYSINSLOT 1", "CLUSTER GETKEYSINSLOT 1 10", "CLUSTER REPLICAS 0123456789012345678901234567890123456789",
	"GRID.STATUS", "GRID.TABLE", "GRID.TABLE BACKUPS", "GRID.DRAIN", "GRID.UNDRAIN", "GRID.RECOVER lost",
	"INFO", "INFO everything", "PING", "HELLO 3", "CLIENT LIST", "COMMAND COUNT", "CONFIG GET maxmemory", "MEMORY USAGE a", "TIME",
}

// TestNothingHangs freezes two of three nodes: what is left is no majority, and holds copies that are not in sync with anybody. Whatever a
// client asks of the third, at any of its doors, is answered within 5 s (R14), with a value or an error that has a name: at once after the
// freeze, while leases run, and when the node knows.
func TestNothingHangs(t *testing.T) {
	g := newTestGrid(t, "--partitions", "8")
	a := g.start("a")
	b, c := g.start("b"), g.start("c")
	a.untilWhole(3)
	setKeys(t, a, "one")
	doors := []string{c.addr}
	for _, m := range c.status().Members {
		if m.Client == c.addr {
			doors = append(doors, m.Cluster)
		}
	}
	if len(doors) != 2 || doors[1] == "" {
		t.Fatalf("the doors of %s are %q", c.addr, doors)
	}
	for _, n := range []*process{a, b} {
		if err := n.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	var talking sync.WaitGroup
	frozen := time.Now()
	for _, at := range []time.Duration{0, 700 * time.Millisecond, 2500 * time.Millisecond} {
		time.Sleep(time.Until(frozen.Add(at))) // what is tried is how long after the freeze
		for _, door := range doors {
			for _, talk := range allTalks() {
				if at > 0 && strings.HasPrefix(talk, "WATCH") {
					continue // it takes twice as long, and has been tried
				}
				conn := &client{conn: dial(t, "tcp", door)}
				conn.replies = protocol.NewDecoder(conn.conn)
				talking.Go(func() {
					if err := conn.talk(talk); err != nil {
						t.Errorf("%v after the freeze, at %s: %s: %v", at, door, talk, err)
					}
				})
			}
		}
	}
	talking.Wait()
}

// allTalks are those about several keys, and the others.
func allTalks() (all []string) {
	for i := range 8 {
		key := fmt.Sprintf("key:%d", i)
		for _, talk := range talks {
			all = append(all, strings.ReplaceAll(talk, "KEY", key))
		}
	}
	return append(all, wideTalks...)
}

// talk sends commands one after the other. An error says what was wrong with a reply.
func (c *client) talk(talk string) error {
	silent := false
	for command := range strings.SplitSeq(talk, " | ") {
		words := strings.Fields(command)
		if silent || command == "CLIENT REPLY SKIP" {
			if _, err := c.conn.Write(requestOf(words)); err != nil {
				return err
			}
			silent = !silent
			continue
		}
		begin := time.Now()
		reply, err := c.do(words...)
		took := time.Since(begin)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w after %v", command, err, took)
		case took > answerMax:
			return fmt.Errorf("%s: answered after %v: %q", command, took, reply.Str)
		case reply.IsError() && !isNamed(words[0], string(reply.Str)):
			return fmt.Errorf("%s: %q", command, reply.Str)
		}
	}
	return nil
}

// isNamed tells whether an error is one that a client may expect of a grid in trouble, or always of the command.
func isNamed(command, text string) bool {
	word, _, _ := strings.Cut(text, " ")
	named := []string{"INDETERMINATE", "TRYAGAIN", "CLUSTERDOWN", "NOREPLICAS", "MOVED", "CROSSSLOT", "EXECABORT"}
	return slices.Contains(named, word) ||
		word == "ERR" && (strings.HasPrefix(command, "GRID.") || slices.Contains([]string{"EVAL", "SWAPDB", "EXEC", "CLUSTER"}, command))
}
