package loadtest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// Each rank comes as often as its share of the sum of 1/r^theta says, also where theta is below 1, and 1.
func TestZipfFrequencies(t *testing.T) {
	const draws = 400_000
	for _, theta := range []float64{0.2, 0.5, 0.99, 1, 1.5, 3} {
		for _, n := range []uint64{1, 2, 10, 1000} {
			t.Run(fmt.Sprintf("theta=%g n=%d", theta, n), func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, 2))
				z := newZipf(theta)
				counts := make([]int, n)
				for range draws {
					counts[z.draw(random, n)]++
				}
				checkZipf(t, counts, theta, draws)
			})
		}
	}
}

// checkZipf holds counts by rank against the formula: within 5 standard deviations each.
func checkZipf(t *testing.T, counts []int, theta float64, draws int) {
	t.Helper()
	sum := 0.0
	for r := range counts {
		sum += math.Pow(float64(r+1), -theta)
	}
	for r, got := range counts {
		p := math.Pow(float64(r+1), -theta) / sum
		want, deviation := p*float64(draws), math.Sqrt(float64(draws)*p*(1-p))
		if math.Abs(float64(got)-want) > 5*deviation+1 {
			t.Errorf("rank %d came %d times, want %.0f by the formula", r, got, want)
		}
	}
}

// The number of ranks may change between draws.
func TestZipfGrows(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	z := newZipf(0.99)
	const draws = 500_000
	small, large := make([]int, 10), make([]int, 500)
	for range draws {
		small[z.draw(random, 10)]++
		large[z.draw(random, 500)]++
	}
	checkZipf(t, small, 0.99, draws)
	checkZipf(t, large, 0.99, draws)
}

// Ranks stay in range where there are very many.
func TestZipfRange(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, theta := range []float64{0.01, 0.5, 0.99, 1, 2, 10} {
		z := newZipf(theta)
		for range 100_000 {
			if r := z.draw(random, recordsMax); r >= recordsMax {
				t.Fatalf("theta %g: rank %d of %d", theta, r, uint64(recordsMax))
			}
		}
	}
}

func BenchmarkZipf(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	z := newZipf(0.99)
	for b.Loop() {
		z.draw(random, 1_000_000)
	}
}
