package protocol

import (
	"bytes"
	"errors"
	"math"
	"strconv"
)

// maxIntDigits is the length of the longest 64-bit integer, its sign included.
const maxIntDigits = 20

// ParseInt reads a 64-bit integer in the one form Redis takes for it: no plus sign, no leading zero, no "-0", no space.
// What ParseInt accepts, printing gives back byte for byte. (Redis: string2ll.)
func ParseInt(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > maxIntDigits {
		return 0, false
	}
	if b[0] == '0' {
		return 0, len(b) == 1
	}
	negative := b[0] == '-'
	digits := b
	if negative {
		digits = b[1:]
	}
	if len(digits) == 0 || digits[0] == '0' {
		return 0, false
	}
	const limit = 1 << 63 // of the magnitude, reached by negative numbers alone
	var v uint64
	for _, c := range digits {
		if !isDigit(c) || v > limit/10 {
			return 0, false
		}
		v = v*10 + uint64(c-'0')
	}
	switch {
	case negative && v <= limit:
		return -int64(v), true
	case !negative && v < limit:
		return int64(v), true
	}
	return 0, false
}

// ParseUint reads an unsigned 64-bit integer as Redis does where it wants one (string2ull): like ParseInt, and failing
// that with the leniency of C's strtoull, which takes leading white space, zeros and a sign.
func ParseUint(b []byte) (n uint64, ok bool) {
	if n, ok := ParseInt(b); ok {
		return uint64(max(n, 0)), n >= 0
	}
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	negative := len(b) > 0 && b[0] == '-'
	if negative || len(b) > 0 && b[0] == '+' {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		d := uint64(c - '0')
		if n > (math.MaxUint64-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	if negative {
		n = -n // as strtoull has it: modulo 2^64
	}
	return n, true
}

// ParseFloat reads a double as Redis reads scores and increments: decimal or hexadecimal, "inf" and "infinity" in any
// case. It refuses NaN, white space, anything left over, and what is too large or too small for a double. (Redis:
// string2d, which is C's strtod with conditions.)
func ParseFloat(b []byte) (f float64, ok bool) {
	const exact = 1 << 53 // integers up to here are doubles
	if n, ok := ParseInt(b); ok && n > -exact && n < exact {
		return float64(n), true
	}
	f, form, ok := strtod(b)
	if !ok || !form.infinite && math.IsInf(f, 0) || f == 0 && form.nonzero {
		return 0, false
	}
	return f, true
}

// ParseBound reads a bound of a range of scores. It takes what ParseFloat does and, with C's strtod, no bytes at all for
// 0, white space in front, a zero byte for the end, and what is too large or too small for infinity or zero. (Redis:
// zslParseRange.)
func ParseBound(b []byte) (f float64, ok bool) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	if len(b) == 0 {
		return 0, true
	}
	for len(b) > 0 && isSpace(b[0]) {
		b = b[1:]
	}
	f, _, ok = strtod(b)
	return f, ok
}

// strtod reads all of b as a double: too large a number as infinity, too small a one as zero.
func strtod(b []byte) (f float64, form floatForm, ok bool) {
	form, ok = scanFloat(b)
	if !ok {
		return 0, form, false
	}
	if form.infinite {
		return math.Inf(form.sign()), form, true
	}
	text := string(b)
	if form.hex && !form.hasExponent {
		text += "p0" // required by strconv, optional in C
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, form, err == nil || errors.Is(err, strconv.ErrRange)
}

// floatForm is what scanFloat learns about a number from its text.
type floatForm struct {
	negative    bool
	infinite    bool
	hex         bool
	hasExponent bool
	nonzero     bool

	// lead is the place of the first digit other than zero: its power of ten, or in hexadecimal the power of two of its
	// lowest bit. It saturates at maxExponent either way.
	lead int
}

func (f floatForm) sign() int {
	if f.negative {
		return -1
	}
	return 1
}

// maxExponent is beyond what any float has, and small enough to add to the length of a text.
const maxExponent = 1 << 30

// scanFloat tells whether all of b is a floating-point number in C's syntax, NaN excepted.
func scanFloat(b []byte) (form floatForm, ok bool) {
	if len(b) > 0 && (b[0] == '-' || b[0] == '+') {
		form.negative = b[0] == '-'
		b = b[1:]
	}
	if equalFold(b, "inf") || equalFold(b, "infinity") {
		form.infinite = true
		return form, true
	}
	digitOK, digitPlaces, exponentMark := isDigit, 1, byte('e')
	if len(b) > 2 && b[0] == '0' && lower(b[1]) == 'x' {
		form.hex = true
		b = b[2:]
		digitOK, digitPlaces, exponentMark = isHex, 4, 'p'
	}

	// The mantissa. place is that of the digit last seen, counted from the first: its sign turned, the power.
	i, digits, point, first := 0, 0, -1, 0
	for ; i < len(b); i++ {
		if b[i] == '.' && point < 0 {
			point = digits
			continue
		}
		if !digitOK(b[i]) {
			break
		}
		if b[i] != '0' && !form.nonzero {
			form.nonzero = true
			first = digits
		}
		digits++
	}
	if digits == 0 {
		return form, false
	}
	if point < 0 {
		point = digits
	}
	form.lead = (point - 1 - first) * digitPlaces
	if i == len(b) {
		return form, true
	}

	if lower(b[i]) != exponentMark {
		return form, false
	}
	form.hasExponent = true
	exponent, ok := scanExponent(b[i+1:])
	form.lead = min(max(form.lead+exponent, -maxExponent), maxExponent)
	return form, ok
}

// scanExponent reads a signed decimal integer, saturating at maxExponent.
func scanExponent(b []byte) (n int, ok bool) {
	negative := len(b) > 0 && b[0] == '-'
	if negative || len(b) > 0 && b[0] == '+' {
		b = b[1:]
	}
	if len(b) == 0 {
		return 0, false
	}
	for _, c := range b {
		if !isDigit(c) {
			return 0, false
		}
		n = min(n*10+int(c-'0'), maxExponent/10)
	}
	if negative {
		n = -n
	}
	return n, true
}

func equalFold(b []byte, lowerCase string) bool {
	if len(b) != len(lowerCase) {
		return false
	}
	for i, c := range b {
		if lower(c) != lowerCase[i] {
			return false
		}
	}
	return true
}

// AppendFloat appends f as C's printf prints it with %.17g: every double reads back as itself, and 0.1 as
// 0.10000000000000001. Scores are shown so.
func AppendFloat(dst []byte, f float64) []byte {
	const exact = 1 << 53
	switch {
	case f > -exact && f < exact && f == math.Trunc(f) && !(f == 0 && math.Signbit(f)):
		return strconv.AppendInt(dst, int64(f), 10)
	case math.IsInf(f, 0) || math.IsNaN(f):
		if math.Signbit(f) {
			dst = append(dst, '-')
		}
		if math.IsNaN(f) {
			return append(dst, "nan"...)
		}
		return append(dst, "inf"...)
	}
	return strconv.AppendFloat(dst, f, 'g', 17, 64)
}

// AppendFloatOrInt appends f as an integer where it is one of at most 2^62, and as AppendFloat does otherwise: from 10^17
// on the two differ, as in 100000000000000000 and 1e+17. NaN has no sign. (Redis: d2string.)
func AppendFloatOrInt(dst []byte, f float64) []byte {
	const limit = 1 << 62
	if math.IsNaN(f) {
		return append(dst, "nan"...)
	}
	if f >= -limit && f <= limit && f == math.Trunc(f) && f != 0 {
		return strconv.AppendInt(dst, int64(f), 10)
	}
	return AppendFloat(dst, f)
}
