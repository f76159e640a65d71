package protocol

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

// TestReplySize: a reply is told from what begins like one, at every byte.
func TestReplySize(t *testing.T) {
	for _, reply := range []string{
		"+OK@", "-ERR no@", ":-12@", ",1.5@", "#t@", "_@", "(123456789012345678901@",
		"$0@@", "$4@a@b@", "$-1@", "*-1@", "=7@txt:abc@", "!3@ERR@",
		"*0@", "*2@$1@a@:1@", "~1@+a@", "%2@+a@:1@+b@*1@_@", ">2@$10@invalidate@*1@$1@k@",
		"|1@+ttl@:3@$1@v@", "*1@*1@*1@*1@+deep@",
	} {
		b := []byte(strings.ReplaceAll(reply, "@", "\r\n"))
		for n := range b {
			if got := ReplySize(b[:n]); got != 0 {
				t.Errorf("%q: %d, want 0: it is not all of %q", b[:n], got, b)
			}
		}
		if got := ReplySize(append(b, "+next\r\n"...)); got != len(b) {
			t.Errorf("%q: %d, want %d", b, got, len(b))
		}
	}
	for _, bad := range []string{"x\r\n", "\r\n", "+OK\n", "$x\r\n", "$3\r\nabcde", "$-2\r\n", "*99999999999\r\n", strings.Repeat("*1\r\n", DefaultMaxReplyDepth+1),
		"+" + strings.Repeat("x", maxReplyLineBytes+1)} {
		if got := ReplySize([]byte(bad)); got != -1 {
			t.Errorf("%.40q: %d, want -1", bad, got)
		}
	}
}

// FuzzReplySize: what ReplySize calls whole, a Decoder reads without asking for more.
func FuzzReplySize(f *testing.F) {
	for _, seed := range []string{"*2\r\n$1\r\na\r\n:1\r\n", "|1\r\n+a\r\n:1\r\n_\r\n", "%1\r\n+a\r\n>1\r\n!1\r\nx\r\n", "$3\r\nabc\r\n+OK\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		size := ReplySize(b)
		if size > len(b) || size < -1 {
			t.Fatalf("%q: size %d of %d bytes", b, size, len(b))
		}
		if size <= 0 {
			if size == 0 {
				if _, err := NewDecoder(bytes.NewReader(b)).Decode(); err == nil {
					t.Fatalf("%q: not whole, and it was read", b)
				}
			}
			return
		}
		d := NewDecoder(bytes.NewReader(b[:size]))
		switch _, err := d.Decode(); err {
		case io.EOF, io.ErrUnexpectedEOF:
			t.Fatalf("%q: the first %d bytes are not whole", b, size)
		case nil:
			if rest := d.R.Buffered(); rest > 0 {
				t.Fatalf("%q: %d bytes of %d were not read", b, rest, size)
			}
		}
	})
}
