package loadtest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

const (
	replyBufferBytes = 64 << 10
	replyDepthMax    = 8         // of arrays in one another
	replySizeMax     = 512 << 20 // of a string; nothing is allocated for it
	headSize         = 16        // of a string's first bytes that are kept
)

// reply is what is kept of one reply: not the data it brings, only what it takes to judge them.
type reply struct {
	kind  byte   // '+', '-', ':', '$' or '*'
	text  []byte // the line of the first three, a string's first headSize bytes. Valid until the next reply is read
	size  int    // of a string, in bytes; of an array, in elements
	null  bool
	nulls int // elements of an array that are null
}

// replies reads RESP2 replies and forgets them.
type replies struct {
	in   *bufio.Reader
	head [headSize]byte
}

func newReplies(r io.Reader) *replies { return &replies{in: bufio.NewReaderSize(r, replyBufferBytes)} }

// more tells whether bytes of a further reply are there already.
func (r *replies) more() bool { return r.in.Buffered() > 0 }

func (r *replies) read() (reply, error) { return r.readNested(replyDepthMax) }

func (r *replies) readNested(depth int) (reply, error) {
	line, err := r.in.ReadSlice('\n')
	if err != nil {
		return reply{}, err
	}
	line = bytes.TrimSuffix(line, []byte("\r\n"))
	if len(line) == 0 {
		return reply{}, errors.New("an empty line where a reply should begin")
	}
	answer := reply{kind: line[0], text: line[1:]}
	switch answer.kind {
	case '+', '-', ':':
		return answer, nil
	case '$', '*':
	default:
		return reply{}, fmt.Errorf("not a reply: %.40q", line)
	}
	size, err := strconv.Atoi(string(line[1:]))
	if err != nil || size < -1 || size > replySizeMax {
		return reply{}, fmt.Errorf("not the length of a reply: %.40q", line)
	}
	answer.text = nil
	if size < 0 {
		answer.null = true
		return answer, nil
	}
	answer.size = size
	if answer.kind == '$' {
		answer.text, err = r.skipString(size)
		return answer, err
	}
	if depth == 0 {
		return reply{}, errors.New("arrays nested too deep")
	}
	for range size {
		element, err := r.readNested(depth - 1)
		if err != nil {
			return reply{}, err
		}
		if element.null {
			answer.nulls++
		}
	}
	return answer, nil
}

// skipString answers a string's first bytes.
func (r *replies) skipString(size int) ([]byte, error) {
	head, err := r.in.Peek(min(size, headSize))
	if err != nil {
		return nil, err
	}
	kept := r.head[:copy(r.head[:], head)]
	_, err = r.in.Discard(size + len("\r\n"))
	return kept, err
}
