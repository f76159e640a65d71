package protocol

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
)

// Value is one decoded reply.
type Value struct {
	// Kind is the byte that introduced it:
	//
	//	+ simple string   $ string   = verbatim text   - error   ! error of any bytes
	//	: integer   , double   ( big number   # boolean   _ null
	//	* array   ~ set   % map   > push
	Kind byte

	// Null tells a RESP2 null apart, $-1 and *-1; it is set for _ as well.
	Null bool

	// Str is the text of a string, an error, a double or a big number. For verbatim text it begins with the format, as in
	// "txt:".
	Str []byte

	// Int is an integer's value, and 1 for true.
	Int int64

	// Float is a double's value.
	Float float64

	// Elems are the members of an aggregate; of a map, keys and values in turn.
	Elems []Value

	// Attr are the pairs of the attribute before the value, if there was one: names and values in turn.
	Attr []Value
}

// IsError tells whether the reply is an error.
func (v Value) IsError() bool { return v.Kind == '-' || v.Kind == '!' }

// The limits of a Decoder that sets none.
const (
	DefaultMaxReplyDepth = 32
	DefaultMaxReplyBytes = 1 << 30

	maxReplyLineBytes = 64 << 10

	// readStepBytes is how far a string's memory runs ahead of the bytes that have come.
	readStepBytes = 64 << 10

	// elemBytes is what a member of an aggregate counts towards MaxBytes beyond its text: about its memory.
	elemBytes = 128
)

var (
	errReplyDepth = errors.New("protocol: reply is nested too deep")
	errReplySize  = errors.New("protocol: reply is too large")
	errReplyLine  = errors.New("protocol: line of a reply is too long")
)

// Decoder reads replies, RESP2 and RESP3 except streamed ones. After an error, other than io.EOF before the first byte of a
// reply, its place in the stream is lost.
type Decoder struct {
	R *bufio.Reader

	MaxDepth int // of aggregates in one another; 0 means DefaultMaxReplyDepth
	MaxBytes int // of one reply, about its memory; 0 means DefaultMaxReplyBytes

	line []byte // the last line read, where it did not fit R's buffer
	left int    // of MaxBytes, for the reply under way
}

// NewDecoder returns a Decoder with the default limits.
func NewDecoder(r io.Reader) *Decoder { return &Decoder{R: bufio.NewReader(r)} }

// Decode reads the next reply, or push. The value owns its memory. The error is io.EOF at the end of the stream, and
// io.ErrUnexpectedEOF inside a reply.
func (d *Decoder) Decode() (Value, error) {
	if _, err := d.R.Peek(1); err != nil {
		return Value{}, err
	}
	d.left = d.MaxBytes
	if d.left == 0 {
		d.left = DefaultMaxReplyBytes
	}
	depth := d.MaxDepth
	if depth == 0 {
		depth = DefaultMaxReplyDepth
	}
	v, err := d.value(depth)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return v, err
}

// value reads a value with at most depth aggregates in one another.
func (d *Decoder) value(depth int) (v Value, err error) {
	line, err := d.readLine()
	if err != nil {
		return Value{}, err
	}
	if err := d.spend(elemBytes + len(line)); err != nil {
		return Value{}, err
	}
	if len(line) == 0 {
		return Value{}, errors.New("protocol: empty line where a reply should start")
	}
	v.Kind = line[0]
	rest := line[1:]
	switch v.Kind {
	case '+', '-', '(':
		v.Str = append([]byte{}, rest...)
		return v, nil
	case ':':
		return v, parseOr(&v.Int, ParseInt, rest, "integer")
	case ',':
		v.Str = append([]byte{}, rest...)
		return v, parseOr(&v.Float, parseDouble, rest, "double")
	case '#':
		return v, parseOr(&v.Int, parseBool, rest, "boolean")
	case '_':
		v.Null = true
		return v, nil
	}

	var count int64
	if err := parseOr(&count, ParseInt, rest, "length"); err != nil {
		return Value{}, err
	}
	if count == -1 && (v.Kind == '$' || v.Kind == '*') {
		v.Null = true
		return v, nil
	}
	if count < 0 || count > math.MaxInt32 {
		return Value{}, fmt.Errorf("protocol: length %d of a reply", count)
	}
	switch v.Kind {
	case '$', '=', '!':
		v.Str, err = d.readString(int(count))
		return v, err
	case '*', '~', '>':
		v.Elems, err = d.values(int(count), depth)
		return v, err
	case '%':
		v.Elems, err = d.values(2*int(count), depth)
		return v, err
	case '|':
		pairs, err := d.values(2*int(count), depth)
		if err != nil {
			return Value{}, err
		}
		// An attribute counts as a level, so that a chain of them is bounded too.
		v, err := d.value(depth - 1)
		v.Attr = append(pairs, v.Attr...)
		return v, err
	}
	return Value{}, fmt.Errorf("protocol: unknown kind of reply %q", v.Kind)
}

// values reads the n members of an aggregate. Memory is taken as they come.
func (d *Decoder) values(n, depth int) ([]Value, error) {
	if depth <= 0 {
		return nil, errReplyDepth
	}
	elems := []Value{}
	for range n {
		v, err := d.value(depth - 1)
		if err != nil {
			return nil, err
		}
		elems = append(elems, v)
	}
	return elems, nil
}

// readString reads a string of n bytes and the line end behind it.
func (d *Decoder) readString(n int) ([]byte, error) {
	if err := d.spend(n); err != nil {
		return nil, err
	}
	s := make([]byte, 0, min(n, readStepBytes))
	for len(s) < n {
		step := min(n-len(s), readStepBytes)
		start := len(s)
		s = append(s, make([]byte, step)...)
		if _, err := io.ReadFull(d.R, s[start:]); err != nil {
			return nil, err
		}
	}
	end, err := d.readLine()
	if err == nil && len(end) != 0 {
		err = fmt.Errorf("protocol: %d bytes more than a string of %d should have", len(end), n)
	}
	return s, err
}

// readLine reads a line and returns it without its end, valid until the next read.
func (d *Decoder) readLine() ([]byte, error) {
	d.line = d.line[:0]
	for {
		part, err := d.R.ReadSlice('\n')
		if err == nil && len(d.line) == 0 {
			return trimLineEnd(part)
		}
		d.line = append(d.line, part...)
		if err == nil {
			return trimLineEnd(d.line)
		}
		if err != bufio.ErrBufferFull {
			return nil, err
		}
		if len(d.line) > maxReplyLineBytes {
			return nil, errReplyLine
		}
	}
}

func trimLineEnd(line []byte) ([]byte, error) {
	n := len(line) - 2
	if n < 0 || line[n] != '\r' {
		return nil, fmt.Errorf("protocol: line of a reply ends without a carriage return: %q", line)
	}
	return line[:n], nil
}

func (d *Decoder) spend(n int) error {
	if n > d.left {
		return errReplySize
	}
	d.left -= n
	return nil
}

// parseOr sets *to to what parse makes of text, or tells that it is no such thing.
func parseOr[T any](to *T, parse func([]byte) (T, bool), text []byte, what string) error {
	n, ok := parse(text)
	if !ok {
		return fmt.Errorf("protocol: %q is no %s", text, what)
	}
	*to = n
	return nil
}

// parseDouble reads a RESP3 double, which unlike a score may be NaN.
func parseDouble(b []byte) (float64, bool) {
	if equalFold(b, "nan") || equalFold(b, "-nan") {
		return math.NaN(), true
	}
	return ParseFloat(b)
}

func parseBool(b []byte) (int64, bool) {
	switch string(b) {
	case "t":
		return 1, true
	case "f":
		return 0, true
	}
	return 0, false
}
