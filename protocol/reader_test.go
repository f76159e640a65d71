package protocol

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"github.com/tidwall/redcon"
)

const incomplete = "incomplete"

// readerCases are requests and what becomes of them: the arguments and the bytes taken, an error's text, or incomplete.
var readerCases = []struct {
	name  string
	setup func(*Reader)
	in    string
	want  string
}{
	{"get", nil, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", `["GET" "k"] 20`},
	{"next request stays", nil, "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI", `["PING"] 14`},
	{"empty argument", nil, "*2\r\n$4\r\nECHO\r\n$0\r\n\r\n", `["ECHO" ""] 20`},
	{"binary argument", nil, "*1\r\n$4\r\n\r\n\x00$\r\n", `["\r\n\x00$"] 14`},
	{"two-digit lengths", nil, "*1\r\n$12\r\nabcdefghijkl\r\n", `["abcdefghijkl"] 23`},
	{"three-digit length", nil, "*1\r\n$100\r\n" + strings.Repeat("x", 100) + "\r\n", fmt.Sprintf("[%q] 112", strings.Repeat("x", 100))},
	{"no arguments", nil, "*0\r\nPING\r\n", `[] 4`},
	{"null array", nil, "*-1\r\n", `[] 5`},
	{"very negative count", nil, "*-9223372036854775808\r\n", `[] 23`},
	{"second byte of a line end is any", nil, "*1\rx$1\ryk??", `["k"] 11`},

	{"nothing", nil, "", incomplete},
	{"count without line end", nil, "*1", incomplete},
	{"count with half a line end", nil, "*1\r", incomplete},
	{"no argument yet", nil, "*1\r\n", incomplete},
	{"not an argument, no line end yet", nil, "*1\r\nfoo", incomplete},
	{"argument lacks its line end", nil, "*1\r\n$1\r\nk\r", incomplete},
	{"NUL hides the line end", nil, "*1\x00\r\n", incomplete},
	{"most arguments", nil, "*2147483647\r\n", incomplete},

	{"count not a number", nil, "*abc\r\n", "ERR Protocol error: invalid multibulk length"},
	{"count missing", nil, "*\r\n", "ERR Protocol error: invalid multibulk length"},
	{"count with leading zero", nil, "*01\r\n", "ERR Protocol error: invalid multibulk length"},
	{"count with plus", nil, "*+1\r\n", "ERR Protocol error: invalid multibulk length"},
	{"count with space", nil, "* 1\r\n", "ERR Protocol error: invalid multibulk length"},
	{"count over 31 bits", nil, "*2147483648\r\n", "ERR Protocol error: invalid multibulk length"},
	{"count over 64 bits", nil, "*9223372036854775808\r\n", "ERR Protocol error: invalid multibulk length"},
	{"count that wraps to one", nil, "*18446744073709551617\r\n", "ERR Protocol error: invalid multibulk length"},
	{"count of 64 KB", nil, "*" + strings.Repeat("1", 64<<10), "ERR Protocol error: too big mbulk count string"},
	{"count just under 64 KB", nil, "*" + strings.Repeat("1", 64<<10-1), incomplete},
	{"count of 64 KB after NUL", nil, "*\x00\r\n" + strings.Repeat("1", 64<<10), "ERR Protocol error: too big mbulk count string"},

	{"argument without $", nil, "*1\r\nfoo\r\n", "ERR Protocol error: expected '$', got 'f'"},
	{"argument missing", nil, "*1\r\n\r\n", "ERR Protocol error: expected '$', got ' '"},
	{"array in array", nil, "*1\r\n*1\r\n", "ERR Protocol error: expected '$', got '*'"},
	{"length not a number", nil, "*1\r\n$x\r\n", "ERR Protocol error: invalid bulk length"},
	{"length missing", nil, "*1\r\n$\r\n", "ERR Protocol error: invalid bulk length"},
	{"length negative", nil, "*1\r\n$-1\r\n", "ERR Protocol error: invalid bulk length"},
	{"length -2", nil, "*1\r\n$-2\r\n", "ERR Protocol error: invalid bulk length"},
	{"length with leading zeros", nil, "*1\r\n$007\r\n1234567\r\n", "ERR Protocol error: invalid bulk length"},
	{"length of Tile38", nil, "*1\r\n$4 PING\r\n", "ERR Protocol error: invalid bulk length"},
	{"length over 64 bits", nil, "*1\r\n$9223372036854775808\r\n", "ERR Protocol error: invalid bulk length"},
	{"length of 63 bits", nil, "*1\r\n$9223372036854775807\r\n", "ERR Protocol error: invalid bulk length"},
	{"length 512 MB", nil, "*1\r\n$536870912\r\n", incomplete},
	{"length over 512 MB", nil, "*1\r\n$536870913\r\n", "ERR Protocol error: invalid bulk length"},
	{"length of all there is", func(r *Reader) { r.MaxBulk = 1<<63 - 1 }, "*1\r\n$9223372036854775807\r\n", incomplete},
	{"length at the limit set", func(r *Reader) { r.MaxBulk = 3 }, "*1\r\n$3\r\nabc\r\n", `["abc"] 13`},
	{"length over the limit set", func(r *Reader) { r.MaxBulk = 3 }, "*1\r\n$4\r\nabcd\r\n", "ERR Protocol error: invalid bulk length"},
	{"length of 64 KB", nil, "*1\r\n$" + strings.Repeat("1", 64<<10), "ERR Protocol error: too big bulk count string"},
	{"64 KB of no argument", nil, "*1\r\n" + strings.Repeat("x", 64<<10+1), "ERR Protocol error: too big bulk count string"},
	{"second argument broken", nil, "*2\r\n$1\r\na\r\n:1\r\n", "ERR Protocol error: expected '$', got ':'"},

	{"unknown client, 10 arguments", unauthenticated, "*10\r\n", incomplete},
	{"unknown client, 11 arguments", unauthenticated, "*11\r\n", "ERR Protocol error: unauthenticated multibulk length"},
	{"unknown client, too many for anyone", unauthenticated, "*2147483648\r\n", "ERR Protocol error: invalid multibulk length"},
	{"unknown client, 16 KB", unauthenticated, "*1\r\n$16384\r\n", incomplete},
	{"unknown client, over 16 KB", unauthenticated, "*1\r\n$16385\r\n", "ERR Protocol error: unauthenticated bulk length"},
	{"unknown client, too long for anyone", unauthenticated, "*1\r\n$536870913\r\n", "ERR Protocol error: invalid bulk length"},

	{"inline", nil, "PING\r\n", `["PING"] 6`},
	{"inline, bare newline", nil, "PING\nPING\n", `["PING"] 5`},
	{"inline, two carriage returns", nil, "PING\r\r\n", `["PING"] 7`},
	{"blank line", nil, "\r\n", `[] 2`},
	{"blank newline", nil, "\n", `[] 1`},
	{"blanks", nil, " \t \r\n", `[] 5`},
	{"inline, no end yet", nil, "PING\r", incomplete},
	{"inline dollar", nil, "$4\r\nPING\r\n", `["$4"] 4`},
	{"inline, spaces and tabs", nil, "  SET\tk  v \r\n", `["SET" "k" "v"] 13`},
	{"inline, vertical tab", nil, "a \vb\vc\n", `["a" "b\vc"] 7`},
	{"inline, double quotes", nil, `SET "a b" ""` + "\n", `["SET" "a b" ""] 13`},
	{"inline, escapes", nil, `"\x41\x0a\n\r\t\b\a\"\\\q\xzz"` + "\n", `["A\n\n\r\t\b\a\"\\qxzz"] 31`},
	{"inline, single quotes", nil, `'a b' 'it\'s' '\n'` + "\n", `["a b" "it's" "\\n"] 19`},
	{"inline, quotes inside a word", nil, `a"b c" d` + "\n", `["ab c" "d"] 9`},
	{"inline, backslash outside quotes", nil, `a\nb` + "\n", `["a\\nb"] 5`},
	{"inline, unclosed double quote", nil, `SET "a` + "\n", "ERR Protocol error: unbalanced quotes in request"},
	{"inline, unclosed single quote", nil, `'a` + "\n", "ERR Protocol error: unbalanced quotes in request"},
	{"inline, quote closed inside a word", nil, `"a"b` + "\n", "ERR Protocol error: unbalanced quotes in request"},
	{"inline, single quote closed inside a word", nil, `'a'"b"` + "\n", "ERR Protocol error: unbalanced quotes in request"},
	{"inline, backslash last", nil, `"a\` + "\n", "ERR Protocol error: unbalanced quotes in request"},
	{"inline, NUL hides the end", nil, "PING\x00\r\n", incomplete},
	{"inline of 64 KB", nil, strings.Repeat("x", 64<<10) + "\n", fmt.Sprintf("[%q] 65537", strings.Repeat("x", 64<<10))},
	{"inline of 64 KB, no end yet", nil, strings.Repeat("x", 64<<10), incomplete},
	{"inline over 64 KB", nil, strings.Repeat("x", 64<<10+1), "ERR Protocol error: too big inline request"},
	{"inline over 64 KB, ended", nil, strings.Repeat("x", 64<<10+1) + "\n", "ERR Protocol error: too big inline request"},
	{"inline over 64 KB after NUL", nil, "\x00\n" + strings.Repeat("x", 64<<10), "ERR Protocol error: too big inline request"},
}

func unauthenticated(r *Reader) { r.Unauthenticated = true }

// parse gives the reader in, cut at the offsets of cuts, each time in memory of its own, and tells the outcome.
func parse(r *Reader, in []byte, cuts ...int) string {
	for _, end := range append(cuts, len(in)) {
		buf := bytes.Clone(in[:end])
		n, ok, err := r.Parse(buf)
		if err != nil {
			return err.Error()
		}
		if ok {
			return fmt.Sprintf("%q %d", r.Args, n)
		}
	}
	return incomplete
}

func shorten(s string) string {
	if len(s) > 200 {
		return fmt.Sprintf("%s... (%d bytes)", s[:200], len(s))
	}
	return s
}

func TestReader(t *testing.T) {
	for _, c := range readerCases {
		var r Reader
		if c.setup != nil {
			c.setup(&r)
		}
		if got := parse(&r, []byte(c.in)); got != c.want {
			t.Errorf("%s\n in   %s\n got  %s\n want %s", c.name, shorten(fmt.Sprintf("%q", c.in)), shorten(got), shorten(c.want))
		}
	}
}

// Wherever a request is cut, the outcome is that of the whole. Long ones are cut near their ends and where it matters.
func TestReaderCutAnywhere(t *testing.T) {
	for _, c := range readerCases {
		for cut := range len(c.in) {
			if cut > 100 && cut < len(c.in)-10 && cut != 16<<10 {
				continue
			}
			var r Reader
			if c.setup != nil {
				c.setup(&r)
			}
			if got := parse(&r, []byte(c.in), cut); got != c.want {
				t.Errorf("%s, cut at %d\n in   %s\n got  %s\n want %s", c.name, cut, shorten(fmt.Sprintf("%q", c.in)), shorten(got), shorten(c.want))
			}
		}
	}
}

func TestReaderByteByByte(t *testing.T) {
	for _, c := range readerCases {
		if len(c.in) > 1000 {
			continue
		}
		var r Reader
		if c.setup != nil {
			c.setup(&r)
		}
		cuts := make([]int, len(c.in))
		for i := range cuts {
			cuts[i] = i
		}
		if got := parse(&r, []byte(c.in), cuts...); got != c.want {
			t.Errorf("%s, byte by byte\n in   %q\n got  %s\n want %s", c.name, c.in, got, c.want)
		}
	}
}

// One reader serves request after request, also after one that came in pieces.
func TestReaderPipeline(t *testing.T) {
	in := []byte("*1\r\n$4\r\nPING\r\n\r\nECHO \"a b\"\r\n*0\r\n*2\r\n$4\r\nECHO\r\n$12\r\nabcdefghijkl\r\nQUIT\n")
	want := `["PING"]; []; ["ECHO" "a b"]; []; ["ECHO" "abcdefghijkl"]; ["QUIT"]`
	for step := 1; step <= len(in); step++ {
		var r Reader
		var got []string
		start := 0
		for end := min(step, len(in)); ; end = min(end+step, len(in)) {
			for {
				n, ok, err := r.Parse(bytes.Clone(in[start:end]))
				if err != nil {
					t.Fatalf("%d bytes at a time: %v", step, err)
				}
				if !ok {
					break
				}
				got = append(got, fmt.Sprintf("%q", r.Args))
				start += n
			}
			if end == len(in) {
				break
			}
		}
		if s := strings.Join(got, "; "); s != want || start != len(in) {
			t.Errorf("%d bytes at a time\n got  %s, %d bytes\n want %s, %d bytes", step, s, start, want, len(in))
		}
	}
}

func TestReaderNeed(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int
	}{
		{"", 0},
		{"*2\r\n", 0},
		{"*2\r\n$3", 0},
		{"*2\r\n$3\r\n", 5},
		{"*2\r\n$3\r\nGET\r", 1},
		{"*2\r\n$3\r\nGET\r\n", 0},
		{"*2\r\n$3\r\nGET\r\n$1000000\r\nab", 1000000},
		{"*1\r\n$1\r\na\r\n", 0},
		{"GET", 0},
	} {
		var r Reader
		if _, _, err := r.Parse([]byte(c.in)); err != nil {
			t.Errorf("%q: %v", c.in, err)
		}
		if got := r.Need(); got != c.want {
			t.Errorf("%q: needs %d, want %d", c.in, got, c.want)
		}
	}
	r := Reader{MaxBulk: 1<<63 - 1}
	r.Parse([]byte("*1\r\n$9223372036854775807\r\n"))
	if got := r.Need(); got != 1<<63-1 {
		t.Errorf("longest argument: needs %d", got)
	}
}

func TestReaderReset(t *testing.T) {
	var r Reader
	r.Parse([]byte("*2\r\n$3\r\nGET\r\n$10\r\nabc"))
	r.Reset()
	if got, want := parse(&r, []byte("PING\n")), `["PING"] 5`; got != want {
		t.Errorf("after Reset: got %s, want %s", got, want)
	}
	r.Reset()
	if len(r.Args) != 0 || r.Args[:1][0] != nil {
		t.Errorf("Reset left arguments: %q", r.Args[:1])
	}
}

// What a client declares costs nothing; what it sends is all that counts.
func TestReaderAllocatesForBytesReceivedOnly(t *testing.T) {
	in := []byte("*2000000000\r\n$1\r\na\r\n$500000000\r\nabc")
	allocated := allocatedBytes(func() {
		var r Reader
		r.Parse(in)
	})
	if allocated > 1024 {
		t.Errorf("%q: %d bytes allocated", in, allocated)
	}
}

// allocatedBytes returns what one call of f allocates, on average.
func allocatedBytes(f func()) uint64 {
	const runs = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return (after.TotalAlloc - before.TotalAlloc) / runs
}

func TestReaderLetsGoOfManyArguments(t *testing.T) {
	var r Reader
	many := AppendCommand(nil, strings.Split(strings.Repeat("a ", 5000), " ")...)
	if n, ok, err := r.Parse(many); n != len(many) || !ok || err != nil {
		t.Fatalf("5001 arguments: %d, %v, %v", n, ok, err)
	}
	r.Parse([]byte("PING\n"))
	if cap(r.Args) > keepArgs || cap(r.spans) > keepArgs {
		t.Errorf("kept room for %d arguments and %d spans", cap(r.Args), cap(r.spans))
	}
}

// Slices handed out do not reach into each other.
func TestReaderArgsAreBounded(t *testing.T) {
	for _, in := range []string{"*2\r\n$1\r\na\r\n$1\r\nb\r\n", "a b\r\n"} {
		var r Reader
		r.Parse([]byte(in))
		_ = append(r.Args[0], "xxxxxxxxxx"...)
		if got := string(r.Args[1]); got != "b" {
			t.Errorf("%q: appending to the first argument made the second %q", in, got)
		}
	}
}

// FuzzReader checks that cuts change nothing, and that requests in the plain form mean to redcon's parser what they mean
// to ours. Redcon's is asked for no others: it panics on some and reads past limits on more.
func FuzzReader(f *testing.F) {
	for _, c := range readerCases {
		if len(c.in) < 1000 {
			f.Add([]byte(c.in), uint64(1), c.setup != nil)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, unauthenticated bool) {
		whole := Reader{Unauthenticated: unauthenticated}
		buf := bytes.Clone(in)
		n, ok, err := whole.Parse(buf)
		want := incomplete
		switch {
		case err != nil:
			want = err.Error()
		case ok:
			want = fmt.Sprintf("%q %d", whole.Args, n)
		}

		random := rand.New(rand.NewPCG(seed, 0))
		var cuts []int
		for cut := 0; cut < len(in); cut += 1 + random.IntN(8) {
			cuts = append(cuts, cut)
		}
		pieces := Reader{Unauthenticated: unauthenticated}
		if got := parse(&pieces, in, cuts...); got != want {
			t.Fatalf("in %q\n cut at %v: %s\n whole: %s", in, cuts, got, want)
		}

		if !ok || n > len(in) {
			return
		}
		plain := AppendCommandBytes(nil, whole.Args)
		if len(whole.Args) == 0 || !bytes.Equal(in[:n], plain) {
			return
		}
		complete, args, _, leftover, err := redcon.ReadNextCommand(plain, nil)
		if got, want := fmt.Sprintf("%q", args), fmt.Sprintf("%q", whole.Args); !complete || err != nil || len(leftover) != 0 || got != want {
			t.Fatalf("in %q\n redcon: %s (%v)\n ours: %s", plain, got, err, want)
		}
	})
}

// FuzzInline checks that words, however quoted, come back, and that no line can bring the splitter out of its bounds.
func FuzzInline(f *testing.F) {
	for _, c := range readerCases {
		if len(c.in) < 1000 && !strings.HasPrefix(c.in, "*") {
			f.Add([]byte(c.in))
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var quoted []byte
		for _, c := range line {
			quoted = fmt.Appendf(quoted, `\x%02x`, c)
		}
		quoted = []byte(`x "` + string(quoted) + `" 'y'`)
		words, ok := SplitLine(quoted, nil)
		if got, want := fmt.Sprintf("%q", words), fmt.Sprintf("%q", []string{"x", string(line), "y"}); !ok || got != want {
			t.Fatalf("quoted %q: got %s, want %s", line, got, want)
		}

		buf := bytes.Clone(line)
		words, ok = SplitLine(buf, nil)
		total := 0
		for _, w := range words {
			total += len(w)
		}
		if total > len(line) || !ok && words != nil {
			t.Fatalf("line %q: words %q, %v", line, words, ok)
		}
	})
}

func BenchmarkReader(b *testing.B) {
	value := strings.Repeat("x", 64)
	for _, c := range []struct {
		name string
		in   []byte
	}{
		{"GET", AppendCommand(nil, "GET", "key:000000012345")},
		{"SET", AppendCommand(nil, "SET", "key:000000012345", value)},
		{"MSET of 10", AppendCommand(nil, strings.Fields("MSET"+strings.Repeat(" key:000000012345 "+value, 10))...)},
		{"inline", []byte("SET key:000000012345 value\r\n")},
	} {
		b.Run(c.name, func(b *testing.B) {
			var r Reader
			b.SetBytes(int64(len(c.in)))
			b.ReportAllocs()
			for b.Loop() {
				if _, ok, _ := r.Parse(c.in); !ok {
					b.Fatal("incomplete")
				}
			}
		})
	}
}
