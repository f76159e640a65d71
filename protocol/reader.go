package protocol

import "math"

const (
	// DefaultMaxBulk is the longest argument a Reader takes unless told otherwise (proto-max-bulk-len).
	DefaultMaxBulk = 512 << 20

	// maxLineBytes bounds an inline request and the line of a declared length: an end of line later than this is refused.
	// (Redis looks at the bound between two reads, so what it does a little above depends on how the bytes arrive.)
	maxLineBytes = 64 << 10

	// maxArgs bounds the arguments of one request. They are stored as they arrive, so the number declared costs nothing.
	maxArgs = math.MaxInt32

	// What a client may send before it has authenticated.
	maxArgsUnauthenticated = 10
	maxBulkUnauthenticated = 16 << 10

	// keepArgs is the number of arguments whose storage a Reader keeps from one request to the next.
	keepArgs = 1024

	noBulk = -1
)

// Reader parses the requests of one client, one at a time: arrays of bulk strings, and inline ones.
//
// The caller keeps the bytes. It calls Parse with all it has from the first byte of the request; where that is not yet the
// whole request, Parse remembers how far it came and the caller calls again with the same bytes and more behind them. The
// bytes may have moved in memory meanwhile. No byte is examined twice, so a request that trickles in costs no more.
//
// The zero Reader is ready for use.
type Reader struct {
	// Args are the arguments of the last complete request: slices of the buffer given to Parse, valid as long as that is.
	// The slice itself is reused by the next call.
	Args [][]byte

	// MaxBulk is the longest argument accepted, in bytes; 0 means DefaultMaxBulk.
	MaxBulk int

	// Unauthenticated lowers the limits to what an unknown client may send: 10 arguments of 16 KB.
	Unauthenticated bool

	// Progress in the request under way, in offsets from its first byte.
	pos   int    // all before it is parsed; a line or an argument starts here
	seen  int    // pos <= seen; pos to seen has been searched for the end of the line and has none
	spans []span // the arguments so far
	left  int    // arguments still to come; 0 while the first line is awaited
	bulk  int    // length of the argument that starts at pos, or noBulk while its length line is awaited
	open  bool   // something of a request has been seen: the fields above are in use
	stuck bool   // the line at pos holds a NUL byte, behind which its end is never found
	have  int    // how much the last call was given
}

// span is an argument's place: its offsets in the request.
type span struct{ start, end int }

// Parse reads the request at the start of buf.
//
//	ok       the request is complete: it took n bytes, and its arguments are in r.Args. None are there for an empty
//	         request (a blank line, *0, *-1), which has no reply.
//	!ok      buf ends before the request does. Call again with more.
//	err      not a request: an *Error, whose text is the reply before the connection is closed. Only Reset may follow.
//
// The quotes of an inline request are resolved in place, so Parse may write to buf[:n].
func (r *Reader) Parse(buf []byte) (n int, ok bool, err error) {
	if len(buf) == 0 {
		return 0, false, nil
	}
	if !r.open {
		r.begin()
	}
	r.have = len(buf)
	if buf[0] == '*' {
		return r.parseArray(buf)
	}
	return r.parseInline(buf)
}

// Need returns how many bytes beyond those last given to Parse will certainly come, if the client keeps its word: the rest
// of the argument under way. 0 where that is not known.
func (r *Reader) Need() int {
	if !r.open || r.left == 0 || r.bulk == noBulk {
		return 0
	}
	// Written so that it cannot overflow: a length may be anything up to MaxBulk.
	missing := r.bulk - (r.have - r.pos)
	if missing > math.MaxInt-2 {
		return math.MaxInt
	}
	return missing + 2
}

// Reset forgets the request under way and lets go of the buffer that Args point into.
func (r *Reader) Reset() {
	r.open = false
	r.have = 0
	clear(r.Args[:cap(r.Args)])
	r.Args = r.Args[:0]
}

// begin prepares for a new request.
func (r *Reader) begin() {
	if cap(r.Args) > keepArgs {
		r.Args = nil
	}
	if cap(r.spans) > keepArgs {
		r.spans = nil
	}
	r.spans = r.spans[:0]
	r.pos, r.seen, r.left, r.bulk = 0, 0, 0, noBulk
	r.open, r.stuck = true, false
}

// parseArray reads "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n". Like Redis it looks for the '\r' of a line and takes the byte behind
// it on trust, and the two bytes behind an argument.
func (r *Reader) parseArray(buf []byte) (int, bool, error) {
	if r.left == 0 {
		count, ok, err := r.arrayHeader(buf)
		if !ok {
			return 0, false, err
		}
		if count <= 0 {
			return r.finish(buf)
		}
		r.left = count
	}
	for {
		if r.bulk == noBulk {
			length, ok, err := r.bulkHeader(buf)
			if !ok {
				return 0, false, err
			}
			r.bulk = length
		}
		if len(buf)-r.pos-2 < r.bulk {
			return 0, false, nil
		}
		end := r.pos + r.bulk
		r.spans = append(r.spans, span{r.pos, end})
		r.pos, r.seen, r.bulk = end+2, end+2, noBulk
		if r.left--; r.left == 0 {
			return r.finish(buf)
		}
	}
}

// finish hands out the arguments, as slices that an append cannot extend into what follows them.
func (r *Reader) finish(buf []byte) (int, bool, error) {
	args := r.Args[:0]
	for _, s := range r.spans {
		args = append(args, buf[s.start:s.end:s.end])
	}
	r.Args = args
	r.open = false
	return r.pos, true, nil
}

// arrayHeader reads the line "*count" at pos.
func (r *Reader) arrayHeader(buf []byte) (count int, ok bool, err error) {
	n, ok := r.shortCount(buf)
	if !ok {
		line, found, tooLong := r.countLine(buf)
		if tooLong {
			return 0, false, errMultibulkLine
		}
		if !found {
			return 0, false, nil
		}
		n64, valid := ParseInt(line[1:])
		if !valid || n64 > maxArgs {
			return 0, false, errMultibulkLength
		}
		n = int(max(n64, -1))
	}
	if n > maxArgsUnauthenticated && r.Unauthenticated {
		return 0, false, errMultibulkLengthAuth
	}
	return n, true, nil
}

// bulkHeader reads the line "$length" at pos.
func (r *Reader) bulkHeader(buf []byte) (length int, ok bool, err error) {
	if r.pos < len(buf) && buf[r.pos] == '$' {
		length, ok = r.shortCount(buf)
	}
	if !ok {
		line, found, tooLong := r.countLine(buf)
		if tooLong {
			return 0, false, errBulkLine
		}
		if !found {
			return 0, false, nil
		}
		if len(line) == 0 || line[0] != '$' {
			return 0, false, errExpectedBulk(buf[r.pos-len(line)-2])
		}
		n64, valid := ParseInt(line[1:])
		if !valid || n64 < 0 || n64 > math.MaxInt {
			return 0, false, errBulkLength
		}
		length = int(n64)
	}
	if length > r.maxBulk() {
		return 0, false, errBulkLength
	}
	if length > maxBulkUnauthenticated && r.Unauthenticated {
		return 0, false, errBulkLengthAuth
	}
	return length, true, nil
}

// errExpectedBulk names the byte found where an argument should start. A line end would break the reply's own line.
func errExpectedBulk(got byte) *Error {
	if got == '\r' || got == '\n' {
		got = ' '
	}
	return &Error{"ERR Protocol error: expected '$', got '" + string([]byte{got}) + "'"}
}

func (r *Reader) maxBulk() int {
	if r.MaxBulk == 0 {
		return DefaultMaxBulk
	}
	return r.MaxBulk
}

// shortCount reads a count of one to three digits, with its line end, where all of it is there: nearly every line there
// is. It leaves anything else, valid or not, to countLine.
func (r *Reader) shortCount(buf []byte) (n int, ok bool) {
	if r.seen != r.pos || len(buf)-r.pos < 6 {
		return 0, false
	}
	b := buf[r.pos : r.pos+6]
	d := int(b[1]) - '0'
	if b[2] == '\r' && uint(d) <= 9 {
		r.pos += 4
		r.seen = r.pos
		return d, true
	}
	e := int(b[2]) - '0'
	if uint(d-1) > 8 || uint(e) > 9 {
		return 0, false
	}
	if b[3] == '\r' {
		r.pos += 5
		r.seen = r.pos
		return d*10 + e, true
	}
	f := int(b[3]) - '0'
	if uint(f) > 9 || b[4] != '\r' {
		return 0, false
	}
	r.pos += 6
	r.seen = r.pos
	return d*100 + e*10 + f, true
}

// countLine finds the line at pos, without its end, and moves pos behind it. It is complete once one byte has followed its
// '\r'. tooLong: it has no '\r' within maxLineBytes.
func (r *Reader) countLine(buf []byte) (line []byte, found, tooLong bool) {
	limit := r.pos + maxLineBytes
	if !r.stuck {
		for i := r.seen; i < len(buf) && i <= limit; i++ {
			switch buf[i] {
			case '\r':
				if i+1 == len(buf) {
					r.seen = i
					return nil, false, false
				}
				line = buf[r.pos:i]
				r.pos, r.seen = i+2, i+2
				return line, true, false
			case 0:
				r.stuck = true
			}
			if r.stuck {
				break
			}
		}
		r.seen = len(buf)
	}
	return nil, false, len(buf) > limit
}
