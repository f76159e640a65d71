package loadtest

import (
	"strconv"
	"time"

	"github.com/neargrid/neargrid/client"
	"github.com/tidwall/redcon"
)

// appendCommand appends the command that a step of an operation sends.
func (t *RESP) appendCommand(dst []byte, e entry) []byte {
	switch {
	case e.op.Kind == Scan:
		return t.appendScan(dst, e.op)
	case e.step == stepFirst && (e.op.Kind == Read || e.op.Kind == ReadModifyWrite):
		dst = append(dst, "*2\r\n$3\r\nGET\r\n"...)
		return t.appendKey(dst, e.op.Key)
	}
	return t.appendSet(dst, e.op)
}

func (t *RESP) appendSet(dst []byte, op Op) []byte {
	if t.TTL > 0 {
		dst = append(dst, "*5\r\n$3\r\nSET\r\n"...)
	} else {
		dst = append(dst, "*3\r\n$3\r\nSET\r\n"...)
	}
	dst = t.appendKey(dst, op.Key)
	dst = append(dst, '$')
	dst = strconv.AppendUint(dst, uint64(op.Size), 10)
	dst = append(dst, "\r\n"...)
	dst = appendValue(dst, op.Key, int(op.Size))
	dst = append(dst, "\r\n"...)
	if t.TTL > 0 {
		dst = append(dst, "$2\r\nPX\r\n"...)
		dst = redcon.AppendBulkInt(dst, int64(t.TTL/time.Millisecond))
	}
	return dst
}

// appendScan is MGET of consecutive records: what a page of them costs where keys have no order of their own.
func (t *RESP) appendScan(dst []byte, op Op) []byte {
	dst = redcon.AppendArray(dst, 1+int(op.Count))
	dst = append(dst, "$4\r\nMGET\r\n"...)
	for i := range uint64(op.Count) {
		dst = t.appendKey(dst, op.Key+i)
	}
	return dst
}

// appendKey appends a record's key as a bulk string.
func (t *RESP) appendKey(dst []byte, key uint64) []byte {
	var name [keyBufferBytes]byte
	return redcon.AppendBulk(dst, t.appendName(name[:0], key))
}

const keyBufferBytes = 64

func (t *RESP) appendName(dst []byte, key uint64) []byte {
	return appendKey(append(dst, t.Prefix...), key)
}

// slot is the key's slot in a cluster.
func (t *RESP) slot(key uint64) int {
	var name [keyBufferBytes]byte
	return client.Slot(string(t.appendName(name[:0], key)))
}

// describe is an operation in an error's text.
func (t *RESP) describe(op Op) string {
	name := string(t.appendName(nil, op.Key))
	if op.Kind == Scan {
		return "MGET of " + strconv.Itoa(int(op.Count)) + " keys from " + name
	}
	return op.Kind.String() + " of " + name
}
