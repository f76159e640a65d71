package testredis

import (
	"bufio"
	"slices"
	"strings"
	"testing"
)

func TestFormat(t *testing.T) {
	for _, c := range []struct{ wire, want string }{
		{"+OK\r\n", `OK`},
		{"-ERR x\r\n", `(error) ERR x`},
		{":-3\r\n", `(integer) -3`},
		{"$3\r\na\"\n\r\n", `"a\"\n"`},
		{"$-1\r\n", `(nil)`},
		{"*-1\r\n", `(nil array)`},
		{"_\r\n", `(null)`},
		{"*0\r\n", `(empty array)`},
		{"~0\r\n", `(empty set)`},
		{",1.5\r\n", `(double) 1.5`},
		{"#t\r\n", `(true)`},
		{"(12\r\n", `(big number) 12`},
		{"=5\r\ntxt:a\r\n", `(verbatim) "txt:a"`},
		{"*2\r\n*2\r\n:1\r\n:2\r\n$1\r\nx\r\n", "1) 1) (integer) 1\n   2) (integer) 2\n2) \"x\""},
		{"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", "1# a => (integer) 1\n2# b =>\n   1) (integer) 2"},
		{"~1\r\n$1\r\na\r\n", `1~ "a"`},
		{">1\r\n$1\r\na\r\n", `1> "a"`},
	} {
		v, err := Read(bufio.NewReader(strings.NewReader(c.wire)))
		if err != nil {
			t.Errorf("%q: %v", c.wire, err)
			continue
		}
		if got := Format(v); got != c.want {
			t.Errorf("%q\ngot\n%s\nwant\n%s", c.wire, got, c.want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for _, wire := range []string{"", "\r\n", "+OK\n", "+OK", ":x\r\n", "$x\r\n", "$-2\r\n", "$3\r\nabcd\r\n", "*-2\r\n", "*1\r\n", "?\r\n", "#x\r\n", "_x\r\n", "%1\r\n+a\r\n"} {
		if v, err := Read(bufio.NewReader(strings.NewReader(wire))); err == nil {
			t.Errorf("%q was read as %s, want an error", wire, Format(v))
		}
	}
}

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		line string
		want []string
	}{
		{`SET k v`, []string{"SET", "k", "v"}},
		{`  SET  "a b\x00\"" '' `, []string{"SET", "a b\x00\"", ""}},
		{`SET k {3*ab}`, []string{"SET", "k", "ababab"}},
		{`HSET h {1..2:f# v#}`, []string{"HSET", "h", "f1", "v1", "f2", "v2"}},
		{`RPUSH l {-1..1}`, []string{"RPUSH", "l", "-1", "0", "1"}},
		{`SET a{b}c "{x}"`, []string{"SET", "a{b}c", "{x}"}},
	} {
		got, err := Split(c.line)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s\ngot  %q (%v)\nwant %q", c.line, got, err, c.want)
		}
		again, err := Split(Line(c.want))
		if err != nil || !slices.Equal(again, c.want) {
			t.Errorf("%q written as %s\nis read back as %q (%v)", c.want, Line(c.want), again, err)
		}
	}
	for _, line := range []string{`"a`, `'a`, `"a"b`, `{x}`, `{1..`, `"\xzz"`} {
		if got, err := Split(line); err == nil {
			t.Errorf("%s is read as %q, want an error", line, got)
		}
	}
}

func TestStart(t *testing.T) {
	server := Start(t)
	c := server.Dial(t)
	if got := Format(c.Do(t, "PING")); got != "PONG" {
		t.Errorf("PING: got %s, want PONG", got)
	}
	server.Stop()
	if _, err := Dial(server.Addr); err == nil {
		t.Error("the server still accepts connections after Stop")
	}
}
