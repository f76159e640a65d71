package loadtest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// valueSizeMax bounds a value, in bytes.
const valueSizeMax = 64 << 20

// Sizes are how large values are: ranges, each with a weight. A fixed size is a range of one.
type Sizes []SizeRange

// SizeRange is low to high bytes, both included, each size as often as any other.
type SizeRange struct {
	Low, High int
	Weight    float64 // against the other ranges
}

// FixedSize is one size for all values.
func FixedSize(bytes int) Sizes { return Sizes{{bytes, bytes, 1}} }

// ParseSizes reads "100", "10-1000", or several of these with weights: "100:9,1000-2000:1".
func ParseSizes(text string) (Sizes, error) {
	var sizes Sizes
	for part := range strings.SplitSeq(text, ",") {
		r := SizeRange{Weight: 1}
		span, weight, weighted := strings.Cut(part, ":")
		if weighted {
			var err error
			if r.Weight, err = strconv.ParseFloat(weight, 64); err != nil || !(r.Weight > 0) || r.Weight > weightMax {
				return nil, fmt.Errorf("the weight %q is not a number above 0", weight)
			}
		}
		low, high, ranged := strings.Cut(span, "-")
		if !ranged {
			high = low
		}
		var errLow, errHigh error
		r.Low, errLow = strconv.Atoi(low)
		r.High, errHigh = strconv.Atoi(high)
		if errLow != nil || errHigh != nil || r.Low < 0 || r.High < r.Low || r.High > valueSizeMax {
			return nil, fmt.Errorf("%q is not a size in bytes, or a range of sizes, up to %d", span, valueSizeMax)
		}
		sizes = append(sizes, r)
	}
	return sizes, nil
}

// weightMax bounds a weight, so that sums stay numbers.
const weightMax = 1e9

// String is what ParseSizes reads.
func (s Sizes) String() string {
	var parts []string
	for _, r := range s {
		part := strconv.Itoa(r.Low)
		if r.High != r.Low {
			part += "-" + strconv.Itoa(r.High)
		}
		if len(s) > 1 {
			part += ":" + strconv.FormatFloat(r.Weight, 'g', -1, 64)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ",")
}

// draw answers the size of one value.
func (s Sizes) draw(random *rand.Rand) int {
	r := s[0]
	if len(s) > 1 {
		weights := 0.0
		for _, each := range s {
			weights += each.Weight
		}
		at := random.Float64() * weights
		for _, each := range s {
			r = each
			if at -= each.Weight; at < 0 {
				break
			}
		}
	}
	if r.Low == r.High {
		return r.Low
	}
	return r.Low + random.IntN(r.High-r.Low+1)
}

// bounds are the smallest and the largest size.
func (s Sizes) bounds() (low, high int) {
	low, high = s[0].Low, s[0].High
	for _, r := range s[1:] {
		low, high = min(low, r.Low), max(high, r.High)
	}
	return low, high
}
