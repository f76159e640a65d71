package server_test

import (
	"testing"

	"github.com/neargrid/neargrid/internal/testredis"
)

// TestClientReply: which of several commands are answered, on ours and on a real server.
func TestClientReply(t *testing.T) {
	for name, addr := range map[string]string{"redis": testredis.Start(t).Addr, "neargrid": startServer(t)} {
		for _, c := range []struct {
			commands [][]string
			want     []string
		}{
			{[][]string{{"CLIENT", "REPLY", "SKIP"}, {"ECHO", "a"}, {"ECHO", "b"}}, []string{`"b"`}},
			{[][]string{{"CLIENT", "REPLY", "SKIP"}, {"CLIENT", "REPLY", "ON"}, {"ECHO", "b"}}, []string{"OK", `"b"`}},
			{[][]string{{"CLIENT", "REPLY", "SKIP"}, {"CLIENT", "REPLY", "SKIP"}, {"ECHO", "a"}, {"ECHO", "b"}}, []string{`"b"`}},
			{[][]string{{"CLIENT", "REPLY", "OFF"}, {"ECHO", "a"}, {"CLIENT", "REPLY", "SKIP"}, {"ECHO", "b"}, {"CLIENT", "REPLY", "ON"}, {"ECHO", "c"}}, []string{"OK", `"c"`}},
		} {
			conn, err := testredis.Dial(addr)
			if err != nil {
				t.Fatal(err)
			}
			for _, command := range c.commands {
				conn.Queue(command...)
			}
			if err := conn.Flush(); err != nil {
				t.Fatal(err)
			}
			for _, want := range c.want {
				v, err := conn.Receive()
				if got := testredis.Format(v); err != nil || got != want {
					t.Errorf("%s: %q: got %s (%v), want %s", name, c.commands, got, err, want)
				}
			}
			conn.Close()
		}
	}
}
