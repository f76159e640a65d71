package protocol

// maxGlobStars bounds the stars of a pattern, as far as matching gets to them. A run of stars is one, and one at the end
// of the pattern is free. Beyond the bound nothing matches.
const maxGlobStars = 1000

// Match tells whether all of s matches the glob pattern: * any bytes, ? one byte, [abc] [a-z] [^a] one of a class, \ the
// byte behind it. nocase folds ASCII letters. The answers are those of Redis's stringmatchlen, whose oddities are kept:
//
//   - the empty string matches the empty pattern alone, not "*"
//   - a class without its ']' ends with the pattern; "[^" matches any byte
//   - [a-] is a range up to ']', in a class without end
//   - bytes of a range are signed, so that [\x7f-\x80] holds every byte
//   - an escaped byte of a class is not folded
//
// It takes at most len(pattern) * len(s) steps: on a mismatch only the last star can help by taking more, for what is
// before it matched as early as possible. So one place to go back to is enough.
func Match(pattern, s []byte, nocase bool) bool {
	if len(s) == 0 {
		return len(pattern) == 0
	}
	p, i := 0, 0
	retryP, retryI := -1, 0 // the pattern behind the last star, and where in s it was tried
	stars := 0
	for {
		if p < len(pattern) && pattern[p] == '*' {
			for p < len(pattern) && pattern[p] == '*' {
				p++
			}
			if p == len(pattern) {
				return true
			}
			if stars++; stars > maxGlobStars {
				return false
			}
			retryP, retryI = p, i
		}
		if p < len(pattern) {
			next, ok := matchByte(pattern, p, s[i], nocase)
			if ok {
				p, i = next, i+1
				if i == len(s) {
					// Trying the last star further on would leave even fewer bytes for the rest of the pattern.
					return onlyStars(pattern[p:])
				}
				continue
			}
		}
		if retryP < 0 {
			return false
		}
		if retryI++; retryI == len(s) {
			return false
		}
		p, i = retryP, retryI
	}
}

func onlyStars(pattern []byte) bool {
	for _, c := range pattern {
		if c != '*' {
			return false
		}
	}
	return true
}

// matchByte matches c with the element of pattern at p, which is no star, and returns where the next one starts.
func matchByte(pattern []byte, p int, c byte, nocase bool) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return matchClass(pattern, p+1, c, nocase)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, sameByte(pattern[p], c, nocase)
}

// matchClass matches c with the class whose '[' is before p.
func matchClass(pattern []byte, p int, c byte, nocase bool) (next int, ok bool) {
	negated := p < len(pattern) && pattern[p] == '^'
	if negated {
		p++
	}
	found := false
	for ; p < len(pattern) && pattern[p] != ']'; p++ {
		rest := pattern[p:]
		switch {
		case rest[0] == '\\' && len(rest) >= 2:
			p++
			found = found || rest[1] == c
		case len(rest) >= 3 && rest[1] == '-':
			p += 2
			found = found || inRange(rest[0], rest[2], c, nocase)
		default:
			found = found || sameByte(rest[0], c, nocase)
		}
	}
	if p < len(pattern) {
		p++ // the ']'
	}
	return p, found != negated
}

// inRange tells whether c is between two bytes, given in either order. They are put in order before they are folded: [Z-a]
// without case is z to a, and empty.
func inRange(from, to, c byte, nocase bool) bool {
	low, high, x := int(int8(from)), int(int8(to)), int(int8(c))
	if low > high {
		low, high = high, low
	}
	if nocase {
		low, high, x = foldSigned(low), foldSigned(high), foldSigned(x)
	}
	return low <= x && x <= high
}

// foldSigned is glibc's tolower of a signed char: it makes bytes from 0x80 on positive, all but 0xff, which is EOF.
func foldSigned(c int) int {
	if c == -1 {
		return c
	}
	return int(lower(byte(c)))
}

func sameByte(a, b byte, nocase bool) bool {
	return a == b || nocase && lower(a) == lower(b)
}
