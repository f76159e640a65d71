//go:build !race

// The race detector makes sync.Pool forget at random, so allocations are counted without it.

package server

import (
	"bytes"
	"strings"
	"testing"

	"github.com/neargrid/neargrid/protocol"
)

// hotCommands are the command lines whose way from the socket's bytes to the reply's must not allocate, once the keys
// are there and buffers have grown.
var hotCommands = [][]string{
	{"GET", "string"},
	{"SET", "string", "another value"},
	{"SET", "string", "another value", "EX", "100"},
	{"MSET", "a", "1", "b", "2", "c", "3", "d", "4", "e", "5", "f", "6", "g", "7", "h", "8", "i", "9", "j", "10"},
	{"MGET", "a", "b", "missing", "d"},
	{"INCR", "number"},
	{"INCRBY", "number", "-17"},
	{"SETRANGE", "patched", "3", "xyz"},
	{"GETRANGE", "patched", "1", "-1"},
	{"SETBIT", "patched", "77", "1"},
	{"GETBIT", "patched", "77"},
	{"BITCOUNT", "patched"},
	{"BITFIELD", "patched", "INCRBY", "u8", "0", "1", "GET", "i16", "#2"},
	{"ZADD", "small zset", "1.5", "member", "2", "another member"},
	{"ZINCRBY", "small zset", "1", "member"},
	{"ZSCORE", "small zset", "member"},
	{"ZRANGE", "small zset", "0", "-1", "WITHSCORES"},
	{"ZADD", "large zset", "1.5", strings.Repeat("m", 65), "2", "another member"},
	{"ZADD", "large zset", "3", "another member"},
	{"ZINCRBY", "large zset", "1", "another member"},
	{"ZSCORE", "large zset", "another member"},
	{"ZRANK", "large zset", "another member"},
	{"ZRANGE", "large zset", "0", "-1", "WITHSCORES"},
	{"ZRANGE", "large zset", "(1", "inf", "BYSCORE", "LIMIT", "0", "10"},
	{"ZCOUNT", "large zset", "-inf", "2"},
}

func TestHotCommandsDoNotAllocate(t *testing.T) {
	srv, err := New(Options{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.store.Close)
	s := srv.newSession(noLoop{t}, connInfo{})
	defer s.Closed()
	const pipeline = 16
	for _, args := range hotCommands {
		input := bytes.Repeat(protocol.AppendCommand(nil, args...), pipeline)
		run := func() {
			s.Feed(input)
			if out := s.Out(); len(out) == 0 || out[0] == '-' {
				t.Fatalf("%q answers %q", args, out)
			}
			s.Sent(len(s.Out()))
		}
		for range 10 {
			run() // the keys and buffers are there from now on
		}
		if n := testing.AllocsPerRun(100, run); n > 0 {
			t.Errorf("%d times %q allocate %v times, want 0", pipeline, args, n)
		}
	}
}
