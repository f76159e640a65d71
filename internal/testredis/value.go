package testredis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Kind is the byte that announces a reply's type on the wire.
type Kind byte

// The kinds of RESP2 and RESP3 replies.
const (
	Simple   Kind = '+'
	Error    Kind = '-'
	Integer  Kind = ':'
	Bulk     Kind = '$'
	Array    Kind = '*'
	Null     Kind = '_'
	Double   Kind = ','
	Bool     Kind = '#'
	BigInt   Kind = '('
	Verbatim Kind = '='
	Map      Kind = '%'
	Set      Kind = '~'
	Push     Kind = '>'
)

// Value is one reply, with the exact type it had on the wire.
type Value struct {
	Kind  Kind
	Nil   bool    // the null forms of RESP2: $-1 and *-1
	Text  string  // of a scalar: what followed the kind; of a Bulk or Verbatim: its bytes
	Elems []Value // of an aggregate; a Map's keys and values alternate
}

// Int returns an Integer's number, and 0 for anything else.
func (v Value) Int() int64 {
	n, _ := strconv.ParseInt(v.Text, 10, 64)
	return n
}

// IsError reports whether the reply is an error.
func (v Value) IsError() bool { return v.Kind == Error }

// IsNull reports whether the reply is one of the three nulls.
func (v Value) IsNull() bool { return v.Kind == Null || v.Nil }

// IsAggregate reports whether the reply holds others.
func (v Value) IsAggregate() bool {
	return !v.Nil && (v.Kind == Array || v.Kind == Map || v.Kind == Set || v.Kind == Push)
}

// Strings returns the texts of an aggregate's elements.
func (v Value) Strings() []string {
	texts := make([]string, len(v.Elems))
	for i, e := range v.Elems {
		texts[i] = e.Text
	}
	return texts
}

// Equal reports whether two replies are the same on the wire.
func Equal(a, b Value) bool {
	if a.Kind != b.Kind || a.Nil != b.Nil || a.Text != b.Text || len(a.Elems) != len(b.Elems) {
		return false
	}
	for i := range a.Elems {
		if !Equal(a.Elems[i], b.Elems[i]) {
			return false
		}
	}
	return true
}

// Bounds on what is read, so that a broken server fails the test and does not exhaust its memory.
const (
	depthMax = 32
	countMax = 16 << 20
	bulkMax  = 1 << 30
)

// Read reads one reply, strictly: anything that is not exactly RESP is an error.
func Read(r *bufio.Reader) (Value, error) { return read(r, 0) }

func read(r *bufio.Reader, depth int) (Value, error) {
	if depth > depthMax {
		return Value{}, errors.New("reply is nested too deep")
	}
	line, err := readLine(r)
	if err != nil {
		return Value{}, err
	}
	if line == "" {
		return Value{}, errors.New("empty line where a reply should start")
	}
	v := Value{Kind: Kind(line[0]), Text: line[1:]}
	switch v.Kind {
	case Simple, Error, BigInt, Double:
		return v, nil
	case Integer:
		if _, err := strconv.ParseInt(v.Text, 10, 64); err != nil {
			return v, fmt.Errorf("bad integer in reply %q", line)
		}
		return v, nil
	case Null:
		if v.Text != "" {
			return v, fmt.Errorf("bad null in reply %q", line)
		}
		return v, nil
	case Bool:
		if v.Text != "t" && v.Text != "f" {
			return v, fmt.Errorf("bad boolean in reply %q", line)
		}
		return v, nil
	case Bulk, Verbatim:
		return readBulk(r, v)
	case Array, Map, Set, Push:
		return readElems(r, v, depth)
	}
	return v, fmt.Errorf("unknown type in reply %q", line)
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		if err == io.EOF && line != "" {
			err = io.ErrUnexpectedEOF
		}
		return "", err
	}
	if len(line) < 2 || line[len(line)-2] != '\r' {
		return "", fmt.Errorf("line of a reply does not end in CR LF: %q", line)
	}
	return line[:len(line)-2], nil
}

func readBulk(r *bufio.Reader, v Value) (Value, error) {
	size, err := strconv.Atoi(v.Text)
	if v.Kind == Bulk && v.Text == "-1" {
		return Value{Kind: Bulk, Nil: true}, nil
	}
	if err != nil || size < 0 || size > bulkMax {
		return v, fmt.Errorf("bad length in reply %c%s", v.Kind, v.Text)
	}
	data := make([]byte, size+2)
	if _, err := io.ReadFull(r, data); err != nil {
		return v, err
	}
	if string(data[size:]) != "\r\n" {
		return v, fmt.Errorf("bulk of %d bytes is followed by %q, not CR LF", size, data[size:])
	}
	v.Text = string(data[:size])
	return v, nil
}

func readElems(r *bufio.Reader, v Value, depth int) (Value, error) {
	count, err := strconv.Atoi(v.Text)
	if v.Kind == Array && v.Text == "-1" {
		return Value{Kind: Array, Nil: true}, nil
	}
	if err != nil || count < 0 || count > countMax {
		return v, fmt.Errorf("bad count in reply %c%s", v.Kind, v.Text)
	}
	if v.Kind == Map {
		count *= 2
	}
	v.Text = ""
	for range count {
		elem, err := read(r, depth+1)
		if err != nil {
			return v, err
		}
		v.Elems = append(v.Elems, elem)
	}
	return v, nil
}
