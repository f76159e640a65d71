package server_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/internal/testredis"
	"github.com/neargrid/neargrid/server"
)

func debugServer(t *testing.T, who string) (tcp, unix *testredis.Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	addr := startWith(t, server.Options{
		Listen: "127.0.0.1:0", Unixsocket: path, Partitions: 4, Config: [][2]string{{"enable-debug-command", who}},
	})
	return dialOurs(t, addr), dialOurs(t, path)
}

// Who may use DEBUG is said at the start, and never changes.
func TestDebugIsForWhomTheSettingSays(t *testing.T) {
	for who, want := range map[string]string{"no": "ERR DEBUG command not allowed.", "yes": "OK", "local": "OK", "LOCAL": "OK"} {
		tcp, unix := debugServer(t, who)
		for name, conn := range map[string]*testredis.Conn{"TCP": tcp, "Unix socket": unix} {
			if got := conn.Do(t, "DEBUG", "COMPACT").Text; !strings.HasPrefix(got, want) {
				t.Errorf("enable-debug-command %s, %s: DEBUG COMPACT answers %q, want %q", who, name, got, want)
			}
		}
		got := tcp.Do(t, "CONFIG", "SET", "enable-debug-command", "yes").Text
		if !strings.HasSuffix(got, "- can't set immutable config") {
			t.Errorf("enable-debug-command %s: CONFIG SET answers %q, want that it is immutable", who, got)
		}
		if got := tcp.Do(t, "CONFIG", "GET", "enable-debug-command").Elems[1].Text; got != strings.ToLower(who) {
			t.Errorf("enable-debug-command %s: CONFIG GET answers %q", who, got)
		}
	}
	if _, err := server.New(server.Options{Config: [][2]string{{"enable-debug-command", "maybe"}}}); err == nil {
		t.Error("enable-debug-command maybe is accepted, want an error")
	}
}

// Where DEBUG is off, redis-server answers as we do.
func TestDebugOffIsRedis(t *testing.T) {
	tcp, _ := debugServer(t, "no")
	redis := testredis.Start(t).Dial(t)
	for _, args := range [][]string{{"DEBUG", "SLEEP", "0"}, {"DEBUG", "nonsense"}, {"DEBUG"}} {
		if got, want := testredis.Format(tcp.Do(t, args...)), testredis.Format(redis.Do(t, args...)); got != want {
			t.Errorf("%v:\n got %s\nwant %s", args, got, want)
		}
	}
}

func TestDebugHelpers(t *testing.T) {
	conn, other := debugServer(t, "yes")

	t.Run("SLEEP", func(t *testing.T) {
		begin := time.Now()
		conn.Queue("DEBUG", "SLEEP", "0.05")
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		if got := other.Do(t, "PING").Text; got != "PONG" {
			t.Errorf("PING of another client meanwhile: %q", got)
		}
		if got, err := conn.Receive(); err != nil || got.Text != "OK" || time.Since(begin) < 50*time.Millisecond {
			t.Errorf("DEBUG SLEEP 0.05: %v, %v after %v, want OK after 50 ms or more", got, err, time.Since(begin))
		}
		for seconds, want := range map[string]string{"0": "OK", "-1": "OK", "x": "ERR value is not a valid float", "nan": "ERR value is not a valid float"} {
			if got := conn.Do(t, "DEBUG", "SLEEP", seconds).Text; got != want {
				t.Errorf("DEBUG SLEEP %s: %q, want %q", seconds, got, want)
			}
		}
	})

	t.Run("OBJECT", func(t *testing.T) {
		conn.Do(t, "SET", "n", "12")
		conn.Do(t, "RPUSH", "list", "a", "b")
		for key, encoding := range map[string]string{"n": "int", "list": "quicklist"} {
			want := regexp.MustCompile(`^Value at:0x[0-9a-f]+ refcount:1 encoding:` + encoding + ` serializedlength:[1-9]\d* lru:[1-9]\d* lru_seconds_idle:\d$`)
			if got := conn.Do(t, "DEBUG", "OBJECT", key).Text; !want.MatchString(got) {
				t.Errorf("DEBUG OBJECT %s: %q, want %v", key, got, want)
			}
		}
		if got := conn.Do(t, "DEBUG", "OBJECT", "none").Text; got != "ERR no such key" {
			t.Errorf("DEBUG OBJECT of no key: %q", got)
		}
	})

	// COMPACT moves what is left where most keys were deleted; all of it is as it was.
	t.Run("COMPACT and JMAP", func(t *testing.T) {
		used := func() (live, total int) {
			lines := conn.Do(t, "DEBUG", "JMAP").Elems
			if len(lines) != 4 {
				t.Fatalf("DEBUG JMAP: %d lines, want one for each of 4 partitions", len(lines))
			}
			for i, line := range lines {
				var id, seq, large, keys, segments, chunks, l, n int
				if _, err := fmt.Sscanf(line.Text, "partition %d: seq %d, %d large values; db0: %d keys, %d segments, %d chunks, %d of %d bytes live",
					&id, &seq, &large, &keys, &segments, &chunks, &l, &n); err != nil || id != i || keys == 0 {
					t.Fatalf("DEBUG JMAP: %q: %v", line.Text, err)
				}
				live, total = live+l, total+n
			}
			return live, total
		}
		key := func(i int) string { return fmt.Sprintf("key:%d", i) }
		for i := range 2000 {
			conn.Do(t, "SET", key(i), strings.Repeat("v", 200))
		}
		for i := range 2000 {
			if i%8 != 0 {
				conn.Do(t, "DEL", key(i))
			}
		}
		live, total := used()
		if got := conn.Do(t, "DEBUG", "COMPACT").Text; got != "OK" {
			t.Fatalf("DEBUG COMPACT: %q", got)
		}
		if l, n := used(); l != live || n > total || l < 250*200 {
			t.Errorf("COMPACT: %d of %d bytes were live, %d of %d are", live, total, l, n)
		}
		for i := range 2000 {
			if got := conn.Do(t, "STRLEN", key(i)).Text; got != map[bool]string{true: "200", false: "0"}[i%8 == 0] {
				t.Fatalf("after COMPACT %s has %s bytes", key(i), got)
			}
		}
	})

	t.Run("HELP and mistakes", func(t *testing.T) {
		if got := conn.Do(t, "DEBUG", "HELP").Strings(); !strings.Contains(strings.Join(got, "\n"), "\nSLEEP seconds\n") {
			t.Errorf("DEBUG HELP: %q", got)
		}
		want := "ERR unknown subcommand or wrong number of arguments for 'nonsense'. Try DEBUG HELP."
		if got := conn.Do(t, "DEBUG", "nonsense").Text; got != want {
			t.Errorf("DEBUG nonsense: %q, want %q", got, want)
		}
	})
}
