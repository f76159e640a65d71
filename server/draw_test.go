package server

import (
	"testing"

	"github.com/neargrid/neargrid/protocol"
)

// A reply whose length the client chooses is bounded: a few bytes of input must not take the server's memory.
func TestDrawsAreBounded(t *testing.T) {
	s := loneSession(t)
	for _, step := range []struct {
		command []string
		want    string
	}{
		{[]string{"HSET", "h", "f", "v"}, ":1\r\n"},
		{[]string{"SADD", "s", "m"}, ":1\r\n"},
		{[]string{"ZADD", "z", "1", "m"}, ":1\r\n"},
		{[]string{"HRANDFIELD", "h", "-2", "WITHVALUES"}, "*4\r\n$1\r\nf\r\n$1\r\nv\r\n$1\r\nf\r\n$1\r\nv\r\n"},
		{[]string{"HRANDFIELD", "h", "-90000000"}, "-ERR value is out of range\r\n"},
		{[]string{"SRANDMEMBER", "s", "-90000000"}, "-ERR value is out of range\r\n"},
		{[]string{"ZRANDMEMBER", "z", "-90000000"}, "-ERR value is out of range\r\n"},
	} {
		s.Feed(protocol.AppendCommand(nil, step.command...))
		got := s.Out()
		if string(got[:min(len(got), 100)]) != step.want {
			t.Errorf("%q answers %d bytes, %.100q, want %q", step.command, len(got), got, step.want)
		}
		s.Sent(len(got))
	}
}

// loneSession is a session of a server without doors.
func loneSession(t *testing.T) *Session {
	t.Helper()
	srv, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.store.Close)
	s := srv.newSession(noLoop{t}, connInfo{}).(*Session)
	t.Cleanup(s.Closed)
	return s
}
