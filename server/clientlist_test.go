package server_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/neargrid/neargrid/internal/testredis"
)

var buffersOf = regexp.MustCompile(`(qbuf|argv-mem|multi-mem|obl|oll|omem|events|cmd)=(\S*)`)

// buffers are the fields of a line of CLIENT LIST about input, arguments and output.
func buffers(line string) string { return strings.Join(buffersOf.FindAllString(line, -1), " ") }

// A client that asks about itself sees its own command as input and arguments, as with Redis, on the loop and off it.
func TestClientListOwnBuffers(t *testing.T) {
	ours, err := testredis.Dial(startServer(t))
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	redis := testredis.Start(t).Dial(t)
	argv := regexp.MustCompile(`argv-mem=\d+`)
	for _, args := range [][]string{{"CLIENT", "INFO"}, {"CLIENT", "LIST"}, {"client", "list", "type", "normal"}} {
		got, want := buffers(ownLine(t, ours, args)), buffers(ownLine(t, redis, args))
		if got != want {
			t.Errorf("%v:\n got %s\nRedis %s", args, got, want)
		}
		if !argv.MatchString(got) || strings.Contains(got, "argv-mem=0") {
			t.Errorf("%v: %s, want the size of the arguments", args, got)
		}
	}
	// In a transaction the queue counts beside the command.
	for _, conn := range []*testredis.Conn{ours, redis} {
		conn.Do(t, "MULTI")
		conn.Do(t, "CLIENT", "INFO")
		if got := buffers(conn.Do(t, "EXEC").Elems[0].Text); !strings.Contains(got, "qbuf=14 ") {
			t.Errorf("CLIENT INFO in EXEC: %s, want qbuf=14", got)
		}
	}
}

// ownLine is the line of the client itself in a list of clients.
func ownLine(t *testing.T, conn *testredis.Conn, args []string) string {
	t.Helper()
	own := "id=" + conn.Do(t, "CLIENT", "ID").Text + " "
	for line := range strings.Lines(conn.Do(t, args...).Text) {
		if strings.HasPrefix(line, own) {
			return line
		}
	}
	t.Fatalf("%v: no line begins with %s", args, own)
	return ""
}

// What others have sent and not finished, and what a slow command holds, shows in their lines.
func TestClientListOfOthers(t *testing.T) {
	conn, other := debugServer(t, "yes")
	id := other.Do(t, "CLIENT", "ID").Text
	line := func() string { return buffers(conn.Do(t, "CLIENT", "LIST", "ID", id).Text) }

	other.Queue("DEBUG", "SLEEP", "1.0")
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a command under way", func() bool { return strings.HasPrefix(line(), "qbuf=35 argv-mem=13 ") })
	if _, err := other.Receive(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no command under way", func() bool { return strings.HasPrefix(line(), "qbuf=0 argv-mem=0 ") })
	if _, err := other.Write([]byte("*2\r\n$3\r\nGET\r\n$9\r\nabc")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "half of a command", func() bool { return strings.HasPrefix(line(), "qbuf=20 argv-mem=0 ") })
}
