package loadtest

import (
	"math"
	"math/rand/v2"
)

// zipf draws ranks: rank r, counted from 0, with a probability in proportion to 1/(r+1)^theta. It is exact for every theta above
// 0, also below 1 where math/rand's generator does not work, and the number of ranks may change from one draw to the next at no
// cost.
//
// Source: W. Hörmann and G. Derflinger, Rejection-inversion to generate variates from monotone discrete distributions, ACM TOMACS
// 6 (1996). YCSB's generator (Gray et al., SIGMOD 1994) needs the sum over all ranks first and only comes near the frequencies of
// ranks from 2 on.
type zipf struct {
	theta float64
	low   float64 // the area's lower end
	least float64 // a candidate this close to where it was drawn is taken without a look at its weight
}

func newZipf(theta float64) zipf {
	z := zipf{theta: theta}
	z.low = z.area(1.5) - 1
	z.least = 2 - z.inverse(z.area(2.5)-z.weight(2))
	return z
}

// draw answers a rank from 0 to n-1; n is at least 1.
func (z *zipf) draw(random *rand.Rand, n uint64) uint64 {
	high := z.area(float64(n) + 0.5)
	for {
		u := high + random.Float64()*(z.low-high)
		x := z.inverse(u)
		k := math.Floor(x + 0.5)
		k = min(max(k, 1), float64(n))
		if k-x <= z.least || u >= z.area(k+0.5)-z.weight(k) {
			return uint64(k) - 1
		}
	}
}

// weight is the hat function, x^-theta.
func (z *zipf) weight(x float64) float64 { return math.Exp(-z.theta * math.Log(x)) }

// area is an integral of weight: (x^(1-theta) - 1) / (1-theta), or log x where theta is 1.
func (z *zipf) area(x float64) float64 {
	l := math.Log(x)
	return overX(math.Expm1, (1-z.theta)*l) * l
}

func (z *zipf) inverse(y float64) float64 {
	t := max(y*(1-z.theta), -1) // below only by rounding
	return math.Exp(overX(math.Log1p, t) * y)
}

// overX is f(x)/x of expm1 and log1p, both of which are nearly x close to 0.
func overX(f func(float64) float64, x float64) float64 {
	if math.Abs(x) < 1e-12 {
		return 1
	}
	return f(x) / x
}
