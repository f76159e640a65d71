package protocol

import "bytes"

// parseInline reads a request of one line: words, some of them quoted.
func (r *Reader) parseInline(buf []byte) (int, bool, error) {
	limit := maxLineBytes // the last offset at which the line may end
	if !r.stuck {
		tail := buf[r.seen:min(len(buf), limit+1)]
		newline := bytes.IndexByte(tail, '\n')
		if newline >= 0 {
			tail = tail[:newline]
		}
		r.stuck = bytes.IndexByte(tail, 0) >= 0
		if newline >= 0 && !r.stuck {
			return r.finishInline(buf, r.seen+newline)
		}
		r.seen = min(len(buf), limit+1)
	}
	if len(buf) > limit {
		return 0, false, errInlineLine
	}
	return 0, false, nil
}

// finishInline splits the line that ends with the '\n' at newline.
func (r *Reader) finishInline(buf []byte, newline int) (int, bool, error) {
	line := buf[:newline]
	if newline > 0 && line[newline-1] == '\r' {
		line = line[:newline-1]
	}
	args, ok := SplitLine(line, r.Args[:0])
	if !ok {
		return 0, false, errInlineQuotes
	}
	r.Args = args
	r.open = false
	return newline + 1, true, nil
}

// SplitLine splits a line into words and appends them to args. A word may hold quoted parts: within double quotes the
// escapes \n \r \t \b \a \xHH (two hex digits) and \ before any other byte hold, within single quotes only \'. A closing
// quote must end its word. ok is false where quotes are not balanced.
//
// Quotes and escapes are resolved in place: the words are slices of line, which is overwritten. A NUL byte ends the line.
func SplitLine(line []byte, args [][]byte) (words [][]byte, ok bool) {
	if end := bytes.IndexByte(line, 0); end >= 0 {
		line = line[:end]
	}
	s := splitter{line: line}
	for {
		for isSpace(s.peek(0)) {
			s.in++
		}
		if s.in == len(line) {
			return args, true
		}
		start := s.in
		s.out = start
		if !s.word() {
			return nil, false
		}
		args = append(args, line[start:s.out:s.out])
	}
}

// splitter walks a line, writing each word over the place it was read from. A word's resolved form is never the longer.
type splitter struct {
	line []byte
	in   int // next byte to read
	out  int // next byte to write; out <= in
}

// peek returns the byte n behind the next one, or 0 behind the end of the line.
func (s *splitter) peek(n int) byte {
	if s.in+n >= len(s.line) {
		return 0
	}
	return s.line[s.in+n]
}

func (s *splitter) put(c byte) {
	s.line[s.out] = c
	s.out++
}

// word resolves one word, and leaves in behind it.
func (s *splitter) word() bool {
	for {
		switch c := s.peek(0); c {
		// Vertical tab and form feed separate words but do not end one. That is how Redis has it.
		case 0, ' ', '\t', '\n', '\r':
			return true
		case '"':
			s.in++
			return s.doubleQuoted()
		case '\'':
			s.in++
			return s.singleQuoted()
		default:
			s.put(c)
			s.in++
		}
	}
}

// doubleQuoted resolves what follows an opening double quote, which with its closing quote ends the word.
func (s *splitter) doubleQuoted() bool {
	for {
		c := s.peek(0)
		switch {
		case c == 0:
			return false
		case c == '"':
			s.in++
			return s.atWordEnd()
		case c == '\\' && s.peek(1) == 'x' && isHex(s.peek(2)) && isHex(s.peek(3)):
			s.put(hexValue(s.peek(2))<<4 | hexValue(s.peek(3)))
			s.in += 4
		case c == '\\' && s.peek(1) != 0:
			s.put(unescape(s.peek(1)))
			s.in += 2
		default:
			s.put(c)
			s.in++
		}
	}
}

// singleQuoted resolves what follows an opening single quote.
func (s *splitter) singleQuoted() bool {
	for {
		c := s.peek(0)
		switch {
		case c == 0:
			return false
		case c == '\'':
			s.in++
			return s.atWordEnd()
		case c == '\\' && s.peek(1) == '\'':
			s.put('\'')
			s.in += 2
		default:
			s.put(c)
			s.in++
		}
	}
}

func (s *splitter) atWordEnd() bool {
	c := s.peek(0)
	return c == 0 || isSpace(c)
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'a':
		return '\a'
	}
	return c
}

// isSpace is C's isspace.
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || lower(c) >= 'a' && lower(c) <= 'f' }

func hexValue(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return lower(c) - 'a' + 10
}

// lower is C's tolower: ASCII letters only.
func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}
