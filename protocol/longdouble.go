package protocol

import "math/big"

// The arithmetic of INCRBYFLOAT and HINCRBYFLOAT is that of x86's long double: a 64-bit mantissa and a 15-bit exponent.
// A big.Float of precision 64 rounds alike; the exponent's range is checked here.
const (
	longDoublePrecision = 64

	// In big.Float's terms, where the mantissa is in [0.5, 1).
	longDoubleMaxExponent = 16384
	longDoubleMinExponent = -16445 // below it, and at 0.5 exactly, a number rounds to zero

	// maxLongDoubleBytes bounds the text of one.
	maxLongDoubleBytes = 5 * 1024

	// longDoubleDigits is the number of decimals shown.
	longDoubleDigits = 17
)

// ParseLongDouble reads a long double. It accepts what ParseFloat does, infinities included, within the greater range,
// and no more than 5119 bytes. (Redis: string2ld.)
func ParseLongDouble(b []byte) (x *big.Float, ok bool) {
	if len(b) >= maxLongDoubleBytes {
		return nil, false
	}
	form, ok := scanFloat(b)
	if !ok {
		return nil, false
	}
	x = new(big.Float).SetPrec(longDoublePrecision)
	if form.infinite {
		return x.SetInf(form.negative), true
	}
	// Far out of range is told from the text: "1e1000000000" would take big.Float minutes.
	const farOut = 4 * longDoubleMaxExponent
	if form.nonzero && (form.lead > farOut || form.lead < -farOut) {
		return nil, false
	}
	text := string(b)
	if !form.nonzero {
		text = "0"
		if form.negative {
			text = "-0"
		}
	}
	if _, _, err := x.Parse(text, 0); err != nil {
		return nil, false
	}
	if x.IsInf() || longDoubleOverflows(x) || form.nonzero && longDoubleVanishes(x) {
		return nil, false
	}
	return x, true
}

// AddLongDouble returns x + y, both as ParseLongDouble gives them. ok is false where the sum is infinite or not a number.
func AddLongDouble(x, y *big.Float) (sum *big.Float, ok bool) {
	if x.IsInf() || y.IsInf() {
		return nil, false
	}
	sum = new(big.Float).SetPrec(longDoublePrecision).Add(x, y)
	return sum, !longDoubleOverflows(sum)
}

// AppendLongDouble appends x with up to 17 decimals, trailing zeros dropped: 3.1, 5100.10000000000000009, 10. (Redis:
// ld2string for humans, C's %.17Lf.)
func AppendLongDouble(dst []byte, x *big.Float) []byte {
	if x.IsInf() {
		if x.Signbit() {
			dst = append(dst, '-')
		}
		return append(dst, "inf"...)
	}
	start := len(dst)
	dst = x.Append(dst, 'f', longDoubleDigits)
	end := len(dst)
	for dst[end-1] == '0' {
		end--
	}
	if dst[end-1] == '.' {
		end--
	}
	dst = dst[:end]
	if string(dst[start:]) == "-0" {
		return append(dst[:start], '0')
	}
	return dst
}

// longDoubleOverflows tells whether a finite x is too large.
func longDoubleOverflows(x *big.Float) bool {
	return x.MantExp(nil) > longDoubleMaxExponent
}

// longDoubleVanishes tells whether a finite x would be rounded to zero.
func longDoubleVanishes(x *big.Float) bool {
	exponent := x.MantExp(nil)
	return x.Sign() == 0 || exponent < longDoubleMinExponent || exponent == longDoubleMinExponent && x.MinPrec() == 1
}
