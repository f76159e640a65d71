package server

import (
	"fmt"
	"testing"

	"github.com/neargrid/neargrid/protocol"
)

// seenGate notes what replies waited for. Everything is committed at once.
type seenGate struct {
	*fakeRouter
	last []int
}

func (g *seenGate) Committed([]Rest) bool { return false }

func (g *seenGate) Await(rests []Rest, _ func(error)) bool {
	g.last = []int{}
	for _, r := range rests {
		g.last = append(g.last, r.Partition)
	}
	return true
}

// A reply waits for the partitions that its command touched, and for no others.
func TestGateWaitsForTheCommandsPartitions(t *testing.T) {
	gate := &seenGate{fakeRouter: newFakeRouter(t, alone(4))}
	srv, err := New(Options{Partitions: 4, Router: gate})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.store.Close)
	s := srv.newSession(noLoop{t}, connInfo{}).(*Session)
	defer s.Closed()
	of := func(key string) string { return fmt.Sprint([]int{srv.store.PartitionOf([]byte(key))}) }
	both := fmt.Sprint([]int{srv.store.PartitionOf([]byte("b")), srv.store.PartitionOf([]byte("a"))})
	for _, step := range []struct {
		command []string
		want    string
	}{
		{[]string{"SET", "a", "1"}, of("a")},
		{[]string{"PING"}, ""},
		{[]string{"GET", "b"}, ""}, // nothing has ever been written there
		{[]string{"SET", "b", "1"}, of("b")},
		{[]string{"FLUSHALL"}, both},
		{[]string{"GET", "b"}, of("b")},
		{[]string{"DBSIZE"}, both},
		{[]string{"MULTI"}, ""},
		{[]string{"SET", "a", "1"}, ""}, // queued: nothing to wait for
		{[]string{"EXEC"}, of("a")},
		{[]string{"MULTI"}, ""},
		{[]string{"DBSIZE"}, ""},
		{[]string{"EXEC"}, both},
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
