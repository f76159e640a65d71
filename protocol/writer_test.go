package protocol

import (
	"math"
	"math/big"
	"strings"
	"testing"
)

func TestWriter(t *testing.T) {
	pi := new(big.Float).SetPrec(64).SetFloat64(3.25)
	for _, c := range []struct {
		name         string
		write        func(*Writer)
		resp2, resp3 string
	}{
		{"raw", func(w *Writer) { w.Raw([]byte("+X\r\n")) }, "+X\r\n", "+X\r\n"},
		{"ok", (*Writer).OK, "+OK\r\n", "+OK\r\n"},
		{"simple", func(w *Writer) { w.Simple("QUEUED") }, "+QUEUED\r\n", "+QUEUED\r\n"},
		{"error", func(w *Writer) { w.Error(ErrSyntax) }, "-ERR syntax error\r\n", "-ERR syntax error\r\n"},
		{"error that quotes a line end", func(w *Writer) { w.Error("ERR 'a\r\n+b'") }, "-ERR 'a  +b'\r\n", "-ERR 'a  +b'\r\n"},
		{"int", func(w *Writer) { w.Int(-12) }, ":-12\r\n", ":-12\r\n"},
		{"small int", func(w *Writer) { w.Int(1) }, ":1\r\n", ":1\r\n"},
		{"least int", func(w *Writer) { w.Int(math.MinInt64) }, ":-9223372036854775808\r\n", ":-9223372036854775808\r\n"},
		{"bulk", func(w *Writer) { w.Bulk([]byte("a\r\n")) }, "$3\r\na\r\n\r\n", "$3\r\na\r\n\r\n"},
		{"empty bulk", func(w *Writer) { w.Bulk(nil) }, "$0\r\n\r\n", "$0\r\n\r\n"},
		{"long bulk", func(w *Writer) { w.BulkString(strings.Repeat("x", 100)) }, "$100\r\n" + strings.Repeat("x", 100) + "\r\n", "$100\r\n" + strings.Repeat("x", 100) + "\r\n"},
		{"null", (*Writer).Null, "$-1\r\n", "_\r\n"},
		{"null array", (*Writer).NullArray, "*-1\r\n", "_\r\n"},
		{"array", func(w *Writer) { w.Array(12) }, "*12\r\n", "*12\r\n"},
		{"map", func(w *Writer) { w.Map(6) }, "*12\r\n", "%6\r\n"},
		{"set", func(w *Writer) { w.Set(3) }, "*3\r\n", "~3\r\n"},
		{"push", func(w *Writer) { w.Push(2) }, "*2\r\n", ">2\r\n"},
		{"attribute", func(w *Writer) { w.Attribute(1) }, "|1\r\n", "|1\r\n"},
		{"true", func(w *Writer) { w.Bool(true) }, ":1\r\n", "#t\r\n"},
		{"false", func(w *Writer) { w.Bool(false) }, ":0\r\n", "#f\r\n"},
		{"double", func(w *Writer) { w.Double(3.1) }, "$18\r\n3.1000000000000001\r\n", ",3.1000000000000001\r\n"},
		{"integral double", func(w *Writer) { w.Double(-5) }, "$2\r\n-5\r\n", ",-5\r\n"},
		{"infinity", func(w *Writer) { w.Double(math.Inf(1)) }, "$3\r\ninf\r\n", ",inf\r\n"},
		{"minus infinity", func(w *Writer) { w.Double(math.Inf(-1)) }, "$4\r\n-inf\r\n", ",-inf\r\n"},
		{"not a number", func(w *Writer) { w.Double(math.NaN()) }, "$3\r\nnan\r\n", ",nan\r\n"},
		{"long double", func(w *Writer) { w.LongDouble(pi) }, "$4\r\n3.25\r\n", ",3.25\r\n"},
		{"big number", func(w *Writer) { w.BigNumber([]byte("123")) }, "$3\r\n123\r\n", "(123\r\n"},
		{"verbatim", func(w *Writer) { w.Verbatim([]byte("hi"), "txt") }, "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"},
	} {
		for resp, want := range map[int]string{0: c.resp2, 2: c.resp2, 3: c.resp3} {
			w := Writer{Resp: resp, Buf: []byte("before")}
			c.write(&w)
			if got := string(w.Buf); got != "before"+want {
				t.Errorf("%s, RESP%d: got %q, want %q", c.name, resp, got, "before"+want)
			}
		}
	}
}

func TestAppendCommand(t *testing.T) {
	want := "*2\r\n$3\r\nGET\r\n$0\r\n\r\n"
	if got := string(AppendCommand(nil, "GET", "")); got != want {
		t.Errorf("strings: got %q, want %q", got, want)
	}
	if got := string(AppendCommandBytes(nil, [][]byte{[]byte("GET"), nil})); got != want {
		t.Errorf("bytes: got %q, want %q", got, want)
	}
}

func TestWriterAllocatesNothing(t *testing.T) {
	w := Writer{Buf: make([]byte, 0, 4096), Resp: 2}
	value := []byte("value")
	allocs := testing.AllocsPerRun(100, func() {
		w.Buf = w.Buf[:0]
		w.Array(4)
		w.Bulk(value)
		w.Int(1234567)
		w.Double(0.1)
		w.Null()
	})
	if allocs != 0 {
		t.Errorf("%v allocations a reply, want 0", allocs)
	}
}

func BenchmarkWriter(b *testing.B) {
	value := []byte(strings.Repeat("x", 64))
	for _, c := range []struct {
		name  string
		write func(*Writer)
	}{
		{"OK", (*Writer).OK},
		{"Int", func(w *Writer) { w.Int(1) }},
		{"Bulk of 64", func(w *Writer) { w.Bulk(value) }},
		{"Double", func(w *Writer) { w.Double(0.1) }},
		{"Double, integral", func(w *Writer) { w.Double(12345) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			w := Writer{Buf: make([]byte, 0, 4096), Resp: 2}
			b.ReportAllocs()
			for b.Loop() {
				w.Buf = w.Buf[:0]
				c.write(&w)
			}
		})
	}
}
