package server

import (
	"fmt"
	"testing"

	"github.com/neargrid/neargrid/protocol"
)

// seenGate notes what replies waited for. Everything is committed at once.
type seenGate struct{ last []int }

func (g *seenGate) Await(partitions []int, _ func()) bool {
	g.last = append([]int{}, partitions...)
	return true
}

// A reply waits for the partitions that its command touched, and for no others.
func TestGateWaitsForTheCommandsPartitions(t *testing.T) {
	gate := &seenGate{}
	srv, err := New(Options{Partitions: 4, Gate: gate})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.store.Close)
	s := srv.newSession(noLoop{t}, connInfo{}).(*Session)
	defer s.Closed()
	of := func(key string) string { return fmt.Sprint([]int{srv.store.PartitionOf([]byte(key))}) }
	for _, step := range []struct {
		command []string
		want    string
	}{
		{[]string{"SET", "a", "1"}, of("a")},
		{[]string{"PING"}, "[]"},
		{[]string{"FLUSHALL"}, "[0 1 2 3]"},
		{[]string{"GET", "b"}, of("b")},
		{[]string{"DBSIZE"}, "[0 1 2 3]"},
		{[]string{"MULTI"}, "[]"},
		{[]string{"SET", "a", "1"}, ""}, // queued: nothing to wait for
		{[]string{"EXEC"}, of("a")},
		{[]string{"MULTI"}, "[]"},
		{[]string{"DBSIZE"}, ""},
		{[]string{"EXEC"}, "[0 1 2 3]"},
	} {
		gate.last = nil
		s.Feed(protocol.AppendCommand(nil, step.command...))
		got := ""
		if gate.last != nil {
			got = fmt.Sprint(gate.last)
		}
		if got != step.want {
			t.Errorf("the reply to %q waits for partitions %q, want %q", step.command, got, step.want)
		}
		s.Sent(len(s.Out()))
	}
}
