package protocol

import (
	"math/big"
	"strconv"

	"github.com/tidwall/redcon"
)

// Writer builds replies in the protocol version its client asked for. Methods append one value each; those that take a
// count append only the header, and that many values must follow.
//
// Arguments are copied: nothing of them is kept.
type Writer struct {
	// Buf is what has been written. The owner takes it away, or truncates it, between replies.
	Buf []byte

	// Resp is the client's protocol version: 3, or anything else for 2.
	Resp int
}

// Raw appends bytes that are protocol already.
func (w *Writer) Raw(p []byte) { w.Buf = append(w.Buf, p...) }

// OK appends +OK.
func (w *Writer) OK() { w.Buf = redcon.AppendOK(w.Buf) }

// Simple appends a simple string. Line ends in it become spaces.
func (w *Writer) Simple(s string) { w.Buf = redcon.AppendString(w.Buf, s) }

// Error appends an error. The text begins with its code, as in "ERR syntax error". Line ends in it become spaces, for it
// may quote what a client sent.
func (w *Writer) Error(text string) { w.Buf = redcon.AppendError(w.Buf, text) }

// Int appends an integer.
func (w *Writer) Int(n int64) { w.Buf = appendLine(w.Buf, ':', n) }

// Bulk appends a string of any bytes.
func (w *Writer) Bulk(p []byte) { w.Buf = appendBulk(w.Buf, p) }

// BulkString appends a string of any bytes.
func (w *Writer) BulkString(s string) { w.Buf = appendBulk(w.Buf, s) }

// Null appends the absence of a value: a null string in RESP2.
func (w *Writer) Null() {
	if w.Resp == 3 {
		w.Buf = append(w.Buf, "_\r\n"...)
		return
	}
	w.Buf = redcon.AppendNull(w.Buf)
}

// NullArray appends the absence of an array: a null array in RESP2.
func (w *Writer) NullArray() {
	if w.Resp == 3 {
		w.Buf = append(w.Buf, "_\r\n"...)
		return
	}
	w.Buf = append(w.Buf, "*-1\r\n"...)
}

// Array starts an array of n values.
func (w *Writer) Array(n int) { w.header('*', n) }

// Map starts a map of n pairs, key and value in turn: an array of 2n values in RESP2.
func (w *Writer) Map(n int) {
	if w.Resp == 3 {
		w.header('%', n)
		return
	}
	w.Array(2 * n)
}

// Set starts a set of n values: an array in RESP2.
func (w *Writer) Set(n int) {
	if w.Resp == 3 {
		w.header('~', n)
		return
	}
	w.Array(n)
}

// Push starts an out-of-band message of n values: an array in RESP2.
func (w *Writer) Push(n int) {
	if w.Resp == 3 {
		w.header('>', n)
		return
	}
	w.Array(n)
}

// Attribute starts n pairs about the value that follows them. RESP2 has no form for it: call it for RESP3 clients only.
func (w *Writer) Attribute(n int) { w.header('|', n) }

// Bool appends a truth value: 1 or 0 in RESP2.
func (w *Writer) Bool(b bool) {
	switch {
	case w.Resp == 3 && b:
		w.Buf = append(w.Buf, "#t\r\n"...)
	case w.Resp == 3:
		w.Buf = append(w.Buf, "#f\r\n"...)
	case b:
		w.Int(1)
	default:
		w.Int(0)
	}
}

// Double appends a floating-point number as AppendFloat prints it: a string in RESP2.
func (w *Writer) Double(f float64) {
	if w.Resp == 3 {
		w.Buf = append(w.Buf, ',')
		w.Buf = AppendFloat(w.Buf, f)
		w.lineEnd()
		return
	}
	var text [32]byte // the longest is -2.2250738585072014e-308
	w.Bulk(AppendFloat(text[:0], f))
}

// LongDouble appends a floating-point number as AppendLongDouble prints it: a string in RESP2.
func (w *Writer) LongDouble(x *big.Float) {
	var text [64]byte
	w.number(',', AppendLongDouble(text[:0], x))
}

// BigNumber appends an integer of any size, in decimal digits: a string in RESP2.
func (w *Writer) BigNumber(digits []byte) { w.number('(', digits) }

// Verbatim appends text with its format, three bytes as in "txt" or "mkd": a plain string in RESP2.
func (w *Writer) Verbatim(text []byte, format string) {
	if w.Resp != 3 {
		w.Bulk(text)
		return
	}
	w.header('=', len(text)+len("txt:"))
	w.Buf = append(w.Buf, format...)
	w.Buf = append(w.Buf, ':')
	w.Buf = append(w.Buf, text...)
	w.lineEnd()
}

// number appends a number that RESP3 gives on a line of its own kind and RESP2 as a string.
func (w *Writer) number(kind byte, text []byte) {
	if w.Resp != 3 {
		w.Bulk(text)
		return
	}
	w.Buf = append(w.Buf, kind)
	w.Buf = append(w.Buf, text...)
	w.lineEnd()
}

func (w *Writer) header(kind byte, n int) { w.Buf = appendLine(w.Buf, kind, int64(n)) }

func (w *Writer) lineEnd() { w.Buf = append(w.Buf, '\r', '\n') }

// appendLine appends kind, n and a line end. Two digits without strconv save a 64-byte string about 4 of its 10 ns; a
// table of headers was no faster.
func appendLine(dst []byte, kind byte, n int64) []byte {
	switch {
	case n >= 0 && n < 10:
		return append(dst, kind, byte('0'+n), '\r', '\n')
	case n >= 10 && n < 100:
		return append(dst, kind, byte('0'+n/10), byte('0'+n%10), '\r', '\n')
	}
	dst = append(dst, kind)
	dst = strconv.AppendInt(dst, n, 10)
	return append(dst, '\r', '\n')
}

func appendBulk[T string | []byte](dst []byte, s T) []byte {
	dst = appendLine(dst, '$', int64(len(s)))
	dst = append(dst, s...)
	return append(dst, '\r', '\n')
}

// AppendCommand appends a request, as clients send it.
func AppendCommand(dst []byte, args ...string) []byte { return appendCommand(dst, args) }

// AppendCommandBytes is AppendCommand for arguments held as bytes.
func AppendCommandBytes(dst []byte, args [][]byte) []byte { return appendCommand(dst, args) }

func appendCommand[T string | []byte](dst []byte, args []T) []byte {
	dst = appendLine(dst, '*', int64(len(args)))
	for _, arg := range args {
		dst = appendBulk(dst, arg)
	}
	return dst
}
