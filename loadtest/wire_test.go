package loadtest

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/neargrid/neargrid/partition"
)

func TestReplies(t *testing.T) {
	long := strings.Repeat("x", 3*replyBufferBytes)
	for _, c := range []struct {
		wire string
		want reply
	}{
		{"+OK\r\n", reply{kind: '+', text: []byte("OK")}},
		{":-7\r\n", reply{kind: ':', text: []byte("-7")}},
		{"-OOM no memory\r\n", reply{kind: '-', text: []byte("OOM no memory")}},
		{"$5\r\nhello\r\n", reply{kind: '$', text: []byte("hello"), size: 5}},
		{"$0\r\n\r\n", reply{kind: '$', text: []byte{}, size: 0}},
		{"$-1\r\n", reply{kind: '$', null: true}},
		{"$20\r\n0123456789abcdefghij\r\n", reply{kind: '$', text: []byte("0123456789abcdef"), size: 20}},
		{fmt.Sprintf("$%d\r\n%s\r\n", len(long), long), reply{kind: '$', text: []byte(long[:headSize]), size: len(long)}},
		{"*-1\r\n", reply{kind: '*', null: true}},
		{"*0\r\n", reply{kind: '*'}},
		{"*3\r\n$1\r\na\r\n$-1\r\n*2\r\n:1\r\n$-1\r\n", reply{kind: '*', size: 3, nulls: 1}},
	} {
		// The reply after it shows that exactly one was read.
		in := newReplies(strings.NewReader(c.wire + "+next\r\n"))
		got, err := in.read()
		text := string(got.text)
		if err != nil || got.kind != c.want.kind || text != string(c.want.text) || got.size != c.want.size || got.null != c.want.null || got.nulls != c.want.nulls {
			t.Errorf("%.40q: %+v %q, %v, want %+v", c.wire, got, text, err, c.want)
		}
		if next, err := in.read(); string(next.text) != "next" {
			t.Errorf("after %.40q: %+v, %v, want the next reply", c.wire, next, err)
		}
	}
	for _, wire := range []string{
		"", "+O", "\r\n", "$5\r\nhel", "$x\r\n", "$-2\r\n", "$999999999999\r\n", "*2\r\n:1\r\n", "=3\r\nabc\r\n", strings.Repeat("*1\r\n", replyDepthMax+2) + ":1\r\n",
		"+" + strings.Repeat("x", replyBufferBytes+1) + "\r\n",
	} {
		if got, err := newReplies(strings.NewReader(wire)).read(); err == nil {
			t.Errorf("%.40q: %+v, want an error", wire, got)
		}
	}
}

func TestAppendKey(t *testing.T) {
	for _, key := range []uint64{0, 7, 123_456_789_012, 999_999_999_999, 1_000_000_000_000, 123_456_789_012_345, 1<<64 - 1} {
		got, want := string(appendKey([]byte("load:"), key)), fmt.Sprintf("load:%012d", key)
		if got != want {
			t.Errorf("key %d is %q, want %q", key, got, want)
		}
	}
}

// A value has its size, and begins with what tells its record.
func TestAppendValue(t *testing.T) {
	for _, size := range []int{0, 1, 15, 16, 17, 100, poolBytes + 1000, 3 * poolBytes} {
		for _, key := range []uint64{0, 1, 1 << 40} {
			value := appendValue([]byte("before"), key, size)[len("before"):]
			mark := marker(key)
			if len(value) != size || !bytes.HasPrefix(value, mark[:min(size, markerSize)]) {
				t.Errorf("value of record %d with %d bytes: %d bytes, %.30q", key, size, len(value), value)
			}
		}
	}
	seen := map[[markerSize]byte]uint64{}
	for key := range uint64(100_000) {
		if other, ok := seen[marker(key)]; ok {
			t.Fatalf("records %d and %d have one mark", key, other)
		}
		seen[marker(key)] = key
	}
}

func TestCommands(t *testing.T) {
	value := func(key uint64, size int) string { return string(appendValue(nil, key, size)) }
	plain, expiring := &RESP{Prefix: "k:"}, &RESP{Prefix: "k:", TTL: 1500 * time.Millisecond}
	for _, c := range []struct {
		target *RESP
		entry  entry
		want   string
	}{
		{plain, entry{op: Op{Kind: Read, Key: 7, Size: 3}}, "GET k:000000000007"},
		{plain, entry{op: Op{Kind: Update, Key: 7, Size: 3}}, "SET k:000000000007 " + value(7, 3)},
		{plain, entry{op: Op{Kind: Insert, Key: 8, Size: 20}}, "SET k:000000000008 " + value(8, 20)},
		{expiring, entry{op: Op{Kind: Update, Key: 7, Size: 3}}, "SET k:000000000007 " + value(7, 3) + " PX 1500"},
		{plain, entry{op: Op{Kind: ReadModifyWrite, Key: 7, Size: 3}}, "GET k:000000000007"},
		{plain, entry{op: Op{Kind: ReadModifyWrite, Key: 7, Size: 3}, step: stepSecond}, "SET k:000000000007 " + value(7, 3)},
		{plain, entry{op: Op{Kind: Read, Key: 7, Size: 3}, step: stepFill}, "SET k:000000000007 " + value(7, 3)},
		{plain, entry{op: Op{Kind: Scan, Key: 9, Count: 3}}, "MGET k:000000000009 k:000000000010 k:000000000011"},
	} {
		words, err := readCommand(bufio.NewReader(bytes.NewReader(c.target.appendCommand(nil, c.entry))))
		if got := strings.Join(words, " "); got != c.want || err != nil {
			t.Errorf("%v, step %d: %q, %v, want %q", c.entry.op.Kind, c.entry.step, got, err, c.want)
		}
	}
}

// A key's slot is that which the grid gives it.
func TestSlot(t *testing.T) {
	for _, prefix := range []string{"", "a", "load:", "{tag}", "x{tag}y", "{}x", "{x", "}{x}", strings.Repeat("long", keyBufferBytes)} {
		target := &RESP{Prefix: prefix}
		if got, want := target.slot(7), partition.Slot(target.appendName(nil, 7)); got != want {
			t.Errorf("slot of record 7 with prefix %q: %d, want %d", prefix, got, want)
		}
	}
}

func TestParseTarget(t *testing.T) {
	for text, want := range map[string]string{
		"127.0.0.1:6379":         "127.0.0.1:6379 {false false false}",
		"[::1]:6379":             "[::1]:6379 {false false false}",
		"cluster:127.0.0.1:7379": "127.0.0.1:7379 {true false false}",
		"tls:host:6379":          "host:6379 {false true false}",
		"/run/x.sock":            "/run/x.sock {false false false}",
		"unix:/run/x.sock":       "/run/x.sock {false false false}",
		"unix:x.sock":            "the path of a Unix socket begins with /",
		"host":                   TargetForms,
		"":                       TargetForms,
		"host:0":                 "the port is a number from 1 to 65535",
		"host:65536":             "the port is a number from 1 to 65535",
		"host:redis":             "the port is a number from 1 to 65535",
		"cluster:host":           TargetForms,
		"near:host:1":            "host:1 {false false true}",
		"near:tls:host:1":        "host:1 {false true true}",
		"near:/run/x.sock":       "/run/x.sock {false false true}",
		"near:cluster:host:1":    "behind near: write an address, of any node and any of its doors",
		"near:near:host:1":       "behind near: write an address, of any node and any of its doors",
		"near:host":              TargetForms,
	} {
		addr, form, err := ParseTarget(text)
		got := fmt.Sprint(addr, " ", form)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestQueue(t *testing.T) {
	var q queue[int]
	next, first := 0, 0
	for round := range 200 {
		for range round % 37 {
			q.push(next)
			next++
		}
		for range round % 31 {
			if v, ok := q.pop(); ok {
				if v != first {
					t.Fatalf("popped %d, want %d", v, first)
				}
				first++
			}
		}
	}
	for v, ok := q.pop(); ok; v, ok = q.pop() {
		if v != first {
			t.Fatalf("popped %d, want %d", v, first)
		}
		first++
	}
	if first != next {
		t.Errorf("popped %d of %d", first, next)
	}
}
