package main

import (
	"bufio"
	"strings"
	"testing"
)

func TestReadReply(t *testing.T) {
	long := strings.Repeat("x", 10*replyBufBytes)
	for _, c := range []struct {
		wire, want string
		fails      bool
	}{
		{wire: "+OK\r\n", want: "OK"},
		{wire: ":-7\r\n", want: "-7"},
		{wire: "$5\r\nhello\r\n", want: "hello"},
		{wire: "$0\r\n\r\n", want: ""},
		{wire: "$-1\r\n", want: ""},
		{wire: "$40960\r\n" + long + "\r\n", want: long},
		{wire: "-OOM no memory\r\n", fails: true},
		{wire: "*1\r\n", fails: true},
		{wire: "$5\r\nhel", fails: true},
		{wire: "\r\n", fails: true},
		{wire: "+O", fails: true},
	} {
		// The reply after it shows that exactly one was consumed.
		r := bufio.NewReaderSize(strings.NewReader(c.wire+"+next\r\n"), replyBufBytes)
		if c.fails {
			r = bufio.NewReaderSize(strings.NewReader(c.wire), replyBufBytes)
		}
		got, err := readReply(r)
		if string(got) != c.want || (err != nil) != c.fails {
			t.Errorf("readReply(%.40q) = %.40q, %v, want %.40q, error %v", c.wire, got, err, c.want, c.fails)
		}
		if c.fails {
			continue
		}
		if next, err := readReply(r); string(next) != "next" {
			t.Errorf("after %.40q: %q, %v, want the next reply", c.wire, next, err)
		}
	}
}

func TestAppendCommand(t *testing.T) {
	got := string(appendCommand([]byte("before"), "SET", "k", ""))
	if want := "before*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n"; got != want {
		t.Errorf("appendCommand = %q, want %q", got, want)
	}
}

func TestParseInfo(t *testing.T) {
	const text = "# Memory\r\nused_memory:1017016\r\nused_memory_human:993.18K\r\n"
	if got, err := parseInfo(text, "used_memory"); got != 1017016 || err != nil {
		t.Errorf("used_memory = %d, %v, want 1017016", got, err)
	}
	if got, err := parseInfo(text, "maxmemory"); err == nil {
		t.Errorf("maxmemory = %d, want an error", got)
	}
}
