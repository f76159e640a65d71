package protocol

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// Replies, and how redis-cli shows them.
func TestDecodeAndPrint(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"+OK\r\n", "OK"},
		{"-ERR no\r\n", "(error) ERR no"},
		{":-7\r\n", "(integer) -7"},
		{"$3\r\na\"\n\r\n", `"a\"\n"`},
		{"$2\r\n\x00\xff\r\n", `"\x00\xff"`},
		{"$0\r\n\r\n", `""`},
		{"$-1\r\n", "(nil)"},
		{"*-1\r\n", "(nil)"},
		{"_\r\n", "(nil)"},
		{"#t\r\n", "(true)"},
		{"#f\r\n", "(false)"},
		{",3.25\r\n", "(double) 3.25"},
		{",-inf\r\n", "(double) -inf"},
		{",nan\r\n", "(double) nan"},
		{"(12345678901234567890\r\n", "(big number) 12345678901234567890"},
		{"=8\r\ntxt:a\nb?\r\n", "a\nb?"},
		{"!5\r\nERR x\r\n", "(error) ERR x"},
		{"*0\r\n", "(empty array)"},
		{"~0\r\n", "(empty set)"},
		{"%0\r\n", "(empty hash)"},
		{">0\r\n", "(empty push)"},
		{"*2\r\n$1\r\na\r\n:1\r\n", "1) \"a\"\n2) (integer) 1"},
		{"*2\r\n*2\r\n:1\r\n:2\r\n*1\r\n:3\r\n", "1) 1) (integer) 1\n   2) (integer) 2\n2) 1) (integer) 3"},
		{"*10\r\n" + strings.Repeat(":0\r\n", 10), " 1) (integer) 0\n 2) (integer) 0\n 3) (integer) 0\n 4) (integer) 0\n 5) (integer) 0\n" +
			" 6) (integer) 0\n 7) (integer) 0\n 8) (integer) 0\n 9) (integer) 0\n10) (integer) 0"},
		{"~1\r\n+a\r\n", "1~ a"},
		{"%2\r\n+a\r\n:1\r\n+b\r\n*2\r\n:2\r\n:3\r\n", "1# a => (integer) 1\n2# b => \n   1) (integer) 2\n   2) (integer) 3"},
		{">2\r\n+invalidate\r\n*1\r\n$1\r\nk\r\n", "1) invalidate\n2) 1) \"k\""},
		{"|1\r\n+ttl\r\n:3\r\n$1\r\nv\r\n", "(attribute)\n1# ttl => (integer) 3\n\"v\""},
	} {
		d := NewDecoder(strings.NewReader(c.in))
		v, err := d.Decode()
		if err != nil || v.String() != c.want {
			t.Errorf("%q\n got  %s (%v)\n want %s", c.in, v, err, c.want)
		}
		if _, err := d.Decode(); err != io.EOF {
			t.Errorf("%q: behind it %v, want EOF", c.in, err)
		}
	}
}

func TestDecodeValues(t *testing.T) {
	v, err := NewDecoder(strings.NewReader("|1\r\n+a\r\n:1\r\n%1\r\n,0.5\r\n#t\r\n")).Decode()
	if err != nil || v.Kind != '%' || len(v.Elems) != 2 || v.Elems[0].Float != 0.5 || v.Elems[1].Int != 1 || len(v.Attr) != 2 || v.Attr[1].Int != 1 {
		t.Errorf("got %#v, %v", v, err)
	}
	for in, want := range map[string]bool{"-a\r\n": true, "!1\r\na\r\n": true, "+a\r\n": false} {
		if v, _ := NewDecoder(strings.NewReader(in)).Decode(); v.IsError() != want {
			t.Errorf("%q: error %v, want %v", in, !want, want)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     error // nil: any
	}{
		{"end inside a line", "+OK", io.ErrUnexpectedEOF},
		{"end inside a string", "$5\r\nab", io.ErrUnexpectedEOF},
		{"end inside an array", "*2\r\n:1\r\n", io.ErrUnexpectedEOF},
		{"blank line", "\r\n", nil},
		{"unknown kind", "?1\r\n", nil},
		{"bare newline", "+OK\n", nil},
		{"string longer than declared", "$1\r\nab\r\n", nil},
		{"integer that is none", ":1x\r\n", nil},
		{"boolean that is none", "#x\r\n", nil},
		{"double that is none", ",x\r\n", nil},
		{"length that is none", "$x\r\n", nil},
		{"negative length", "$-2\r\n", nil},
		{"null map", "%-1\r\n", nil},
		{"length over 31 bits", "*2147483648\r\n", nil},
		{"nested too deep", strings.Repeat("*1\r\n", 33) + ":1\r\n", errReplyDepth},
		{"attributes on attributes", strings.Repeat("|0\r\n", 33) + ":1\r\n", errReplyDepth},
		{"string too large", "$1073741824\r\n", errReplySize},
		{"line too long", "+" + strings.Repeat("x", 100<<10), errReplyLine},
	} {
		v, err := NewDecoder(strings.NewReader(c.in)).Decode()
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: got %s, %v; want error %v", c.name, v, err, c.want)
		}
	}
}

func TestDecodeLimits(t *testing.T) {
	d := NewDecoder(strings.NewReader(strings.Repeat("*1000\r\n"+strings.Repeat(":1\r\n", 1000), 2)))
	d.MaxBytes = 500 * elemBytes
	if _, err := d.Decode(); err != errReplySize {
		t.Errorf("1000 integers where 500 fit: %v", err)
	}
	d = NewDecoder(strings.NewReader("*1\r\n*0\r\n"))
	d.MaxDepth = 1
	if _, err := d.Decode(); err != errReplyDepth {
		t.Errorf("two levels where one may be: %v", err)
	}
}

// What a server declares sizes no allocation.
func TestDecodeAllocatesForBytesReceivedOnly(t *testing.T) {
	for _, in := range []string{"$1000000000\r\nabc", "*2000000000\r\n:1\r\n"} {
		allocated := allocatedBytes(func() { NewDecoder(strings.NewReader(in)).Decode() })
		if allocated > 4*readStepBytes {
			t.Errorf("%q: %d bytes allocated", in, allocated)
		}
	}
}

func TestDecodeLineLongerThanBuffer(t *testing.T) {
	long := strings.Repeat("x", 5000)
	d := Decoder{R: bufio.NewReaderSize(strings.NewReader("+"+long+"\r\n+OK\r\n"), 16)}
	v, err := d.Decode()
	next, _ := d.Decode()
	if err != nil || string(v.Str) != long || next.String() != "OK" {
		t.Errorf("got %d bytes (%v), then %s", len(v.Str), err, next)
	}
}

func TestQuoteSplitLine(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	words, ok := SplitLine([]byte(Quote(all)), nil)
	if !ok || len(words) != 1 || !bytes.Equal(words[0], all) {
		t.Errorf("got %q, %v", words, ok)
	}
}

// FuzzDecode checks that a decoder survives any server.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("*2\r\n$1\r\na\r\n%1\r\n+b\r\n,1.5\r\n"))
	f.Add([]byte("|1\r\n+a\r\n_\r\n~1\r\n#t\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		d := NewDecoder(bytes.NewReader(in))
		d.MaxBytes = 1 << 20
		for {
			v, err := d.Decode()
			if err != nil {
				return
			}
			if v.String() == "" && v.Kind != '+' && v.Kind != '=' {
				t.Fatalf("in %q: %#v prints as nothing", in, v)
			}
		}
	})
}
