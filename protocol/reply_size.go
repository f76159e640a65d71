package protocol

import "bytes"

// ReplySize returns how long the reply or push at the start of b is: 0 where b ends before it does, and -1 where that cannot be
// told, as b is no reply that a Decoder with the default limits would take. It is for who must not wait in the middle of one.
func ReplySize(b []byte) int { return replySize(b, DefaultMaxReplyDepth) }

// replySize is ReplySize with at most depth aggregates in one another.
func replySize(b []byte, depth int) int {
	end := bytes.IndexByte(b, '\n')
	switch {
	case end < 0 && len(b) <= maxReplyLineBytes:
		return 0
	case end < 2 || b[end-1] != '\r':
		return -1
	}
	n := end + 1
	var count int64
	kind := b[0]
	switch kind {
	case '+', '-', '(', ':', ',', '#', '_':
		return n
	case '$', '=', '!', '*', '~', '>', '%', '|':
		var ok bool
		if count, ok = ParseInt(b[1 : end-1]); !ok || count < -1 || count > DefaultMaxReplyBytes {
			return -1
		}
	default:
		return -1
	}
	switch kind {
	case '$', '=', '!':
		if count < 0 {
			return n
		}
		n += int(count) + len("\r\n")
		switch {
		case len(b) < n:
			return 0
		case b[n-2] != '\r' || b[n-1] != '\n':
			return -1
		}
		return n
	case '%':
		count *= 2
	case '|':
		count = 2*count + 1 // the value behind it
	}
	if depth <= 0 {
		return -1
	}
	for range count {
		size := replySize(b[n:], depth-1)
		if size <= 0 {
			return size
		}
		n += size
	}
	return n
}
