package client

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
)

// TestCommandTable compares what the client knows of commands with what servers say: where keys stand, and what only reads.
func TestCommandTable(t *testing.T) {
	servers := map[string]*testredis.Server{"neargrid": testredis.StartNeargrid(t)}
	if s, err := testredis.LaunchRedis(); err == nil {
		t.Cleanup(s.Stop)
		servers["redis-server"] = s
	}
	for name, server := range servers {
		c, err := Connect(within(t, 20*time.Second), []string{server.Addr}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r, err := c.Do(within(t, 20*time.Second), "COMMAND")
		if err != nil {
			t.Fatal(err)
		}
		rows, _ := r.Elems()
		if len(rows) < 100 {
			t.Fatalf("%s: %d commands", name, len(rows))
		}
		for _, row := range rows {
			compareRow(t, name, row)
		}
	}
}

// internalCommands are of replication, and not for clients.
var internalCommands = []string{"RESTORE-ASKING"}

func compareRow(t *testing.T, server string, row Reply) {
	fields, _ := row.Elems()
	name, _ := fields[0].Text()
	name = strings.ToUpper(name)
	s := specs[name]
	if s == nil {
		if !slices.Contains(internalCommands, name) {
			t.Errorf("%s: %s is not in the client's table", server, name)
		}
		return
	}
	flags, _ := fields[2].Strings()
	first, _ := fields[3].Int()
	last, _ := fields[4].Int()
	step, _ := fields[5].Int()
	reads, movable := slices.Contains(flags, "readonly"), slices.Contains(flags, "movablekeys")
	switch {
	case s.is(flagSession): // never sent, but for WATCH and its like, by Session
	case s.count > 0 || s.is(flagStreams):
		if !movable {
			t.Errorf("%s: %s: the client counts keys, and the server names their places: %d %d %d", server, name, first, last, step)
		}
	case first == 0: // none, or those of a subcommand
		if s.first == 1 {
			t.Errorf("%s: %s: the server names no key, the client the first word", server, name)
		}
	case int64(s.first) != first || int64(s.last) != last || int64(s.step) != step:
		t.Errorf("%s: %s: keys at %d %d %d, the client's table says %d %d %d", server, name, first, last, step, s.first, s.last, s.step)
	case movable && !s.is(flagVague):
		t.Errorf("%s: %s has keys that move, and the client believes to know them", server, name)
	}
	if first > 0 && s.is(flagRead) != reads && !s.is(flagSession) {
		t.Errorf("%s: %s: readonly is %v, the client's table says %v", server, name, reads, s.is(flagRead))
	}
	if s.is(flagPure) && !reads {
		t.Errorf("%s: %s writes, and the client would keep its reply", server, name)
	}
	if slices.Contains(flags, "blocking") && !s.is(flagBlocks) {
		t.Errorf("%s: %s blocks, and the client would send it on a connection that others use", server, name)
	}
}

// TestKeys finds the keys of command lines.
func TestKeys(t *testing.T) {
	for _, c := range []struct{ line, keys string }{
		{"GET a", "a"},
		{"get a", "a"},
		{"MSET a 1 b 2", "a b"},
		{"DEL a b c", "a b c"},
		{"BLPOP a b 0", "a b"},
		{"BITOP AND d a b", "d a b"},
		{"ZUNIONSTORE d 2 a b WEIGHTS 1 2", "d a b"},
		{"EVAL script 2 a b arg", "a b"},
		{"EVAL script 0 arg", ""},
		{"EVAL script x arg", ""},
		{"EVAL script 9 arg", ""},
		{"XREAD COUNT 1 STREAMS a b 0 0", "a b"},
		{"XREAD COUNT 1", ""},
		{"LMPOP 2 a b LEFT", "a b"},
		{"BLMPOP 0 1 a LEFT", "a"},
		{"OBJECT ENCODING a", "a"},
		{"OBJECT HELP", ""},
		{"PING", ""},
		{"GET", ""},
		{"DEL", ""},
		{"RENAME a b", "a b"},
		{"UNKNOWN a b", "a"},
	} {
		args := strings.Fields(c.line)
		var keys []string
		s := specOf(args[0])
		s.eachKey(args, func(i int) { keys = append(keys, args[i]) })
		if got := strings.Join(keys, " "); got != c.keys {
			t.Errorf("%s: keys %q, want %q", c.line, got, c.keys)
		}
		first := ""
		if i := s.firstKey(args); i > 0 {
			first = args[i]
		}
		if want, _, _ := strings.Cut(c.keys, " "); first != want {
			t.Errorf("%s: first key %q, want %q", c.line, first, want)
		}
	}
}

// TestSlot compares with slots that Redis's documentation and its tests name.
func TestSlot(t *testing.T) {
	for key, want := range map[string]int{"": 0, "123456789": 12739, "foo": 12182, "bar": 5061, "{foo}bar": 12182, "a{foo}b{bar}": 12182, "{}foo": Slot("{}foo")} {
		if got := Slot(key); got != want {
			t.Errorf("Slot(%q) = %d, want %d", key, got, want)
		}
	}
	if Slot("{user1000}.following") != Slot("{user1000}.followers") || Slot("foo{}{bar}") == Slot("bar") || Slot("foo{{bar}}zap") != Slot("{bar") {
		t.Error("hash tags are not taken as Redis Cluster's specification says")
	}
}
