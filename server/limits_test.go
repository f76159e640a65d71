package server_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/neargrid/neargrid/internal/testredis"
)

// Values end at proto-max-bulk-len, whatever makes them grow: on both sides of the bound, ours answers as redis-server does.
func TestValuesEndAtTheBulkLimit(t *testing.T) {
	const limit = 1 << 20 // the lowest there is
	ours, redis := dialOurs(t, startServer(t)), testredis.Start(t).Dial(t)
	full := strings.Repeat("v", limit)
	for _, step := range []struct {
		name string
		args []string
	}{
		{"lower the limit", []string{"CONFIG", "SET", "proto-max-bulk-len", "1mb"}},
		{"SET of all that is allowed", []string{"SET", "k", full}},
		{"APPEND past it", []string{"APPEND", "k", "x"}},
		{"APPEND nothing", []string{"APPEND", "k", ""}},
		{"the value is as it was", []string{"STRLEN", "k"}},
		{"SETRANGE up to it", []string{"SETRANGE", "k", fmt.Sprint(limit - 1), "x"}},
		{"SETRANGE past it", []string{"SETRANGE", "k", fmt.Sprint(limit), "x"}},
		{"SETRANGE over it", []string{"SETRANGE", "k", fmt.Sprint(limit - 1), "xy"}},
		{"SETRANGE of no key", []string{"SETRANGE", "none", fmt.Sprint(limit), "x"}},
		{"SETBIT up to it", []string{"SETBIT", "bits", fmt.Sprint(8*limit - 1), "1"}},
		{"SETBIT past it", []string{"SETBIT", "bits", fmt.Sprint(8 * limit), "1"}},
		{"BITFIELD past it", []string{"BITFIELD", "bits", "SET", "u8", fmt.Sprint(8 * limit), "1"}},
		{"what there is", []string{"STRLEN", "bits"}},
		{"what there is not", []string{"EXISTS", "none"}},
	} {
		got, want := testredis.Format(ours.Do(t, step.args...)), testredis.Format(redis.Do(t, step.args...))
		if got != want {
			t.Errorf("%s: got %.200s, Redis answers %.200s", step.name, got, want)
		}
	}
	for name, conn := range map[string]*testredis.Conn{"neargrid": ours, "redis": redis} {
		fmt.Fprintf(conn, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", limit+1)
		if got, err := conn.Receive(); err != nil || got.Text != "ERR Protocol error: invalid bulk length" {
			t.Errorf("%s: an argument over the limit: %v, %v", name, got, err)
		}
		if _, err := conn.Call("PING"); err == nil {
			t.Errorf("%s: the connection stays open after an argument over the limit", name)
		}
	}
}

// 512 MB are the bound unless it is set: what grows past it, or declares more, is refused, and what declares as much and is cut off takes
// no more memory than has arrived.
func TestValuesOf512MB(t *testing.T) {
	const limit = 512 << 20
	addr := startServer(t)
	ours, redis := dialOurs(t, addr), testredis.Start(t).Dial(t)
	for _, args := range [][]string{
		{"SETRANGE", "k", fmt.Sprint(limit), "x"},
		{"SETRANGE", "k", fmt.Sprint(limit - 1), "xy"},
		{"SETBIT", "k", fmt.Sprint(8 * limit), "1"},
		{"EXISTS", "k"},
	} {
		if got, want := testredis.Format(ours.Do(t, args...)), testredis.Format(redis.Do(t, args...)); got != want {
			t.Errorf("%v: got %s, Redis answers %s", args, got, want)
		}
	}

	over := dialOurs(t, addr)
	fmt.Fprintf(over, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", limit+1)
	if got, err := over.Receive(); err != nil || got.Text != "ERR Protocol error: invalid bulk length" {
		t.Errorf("a declared length of 512 MB and a byte: %v, %v", got, err)
	}

	before := infoNumber(t, ours, "used_memory")
	cut := dialOurs(t, addr)
	fmt.Fprintf(cut, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", limit)
	const sent = 4 << 20
	if _, err := cut.Write(make([]byte, sent)); err != nil {
		t.Fatal(err)
	}
	arrived := sent + len("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n")
	waiting := regexp.MustCompile(fmt.Sprintf(`qbuf=%d qbuf-free=(\d+) `, arrived))
	eventually(t, "what was sent", func() bool {
		m := waiting.FindStringSubmatch(ours.Do(t, "CLIENT", "LIST").Text)
		if m == nil {
			return false
		}
		if free, _ := strconv.Atoi(m[1]); free > 2*sent {
			t.Errorf("%d bytes are held free where %d of 512 MB have arrived", free, sent)
		}
		return true
	})
	cut.Close()
	eventually(t, "the end of the connection", func() bool { return infoNumber(t, ours, "connected_clients") == 1 })
	if got := testredis.Format(ours.Do(t, "EXISTS", "k")); got != "(integer) 0" {
		t.Errorf("EXISTS of what was cut off: %s", got)
	}
	if after := infoNumber(t, ours, "used_memory"); after > before+64<<20 {
		t.Errorf("used memory grew from %d to %d", before, after)
	}
}
