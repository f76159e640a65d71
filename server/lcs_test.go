package server

import (
	"math/rand/v2"
	"testing"
)

// TestLCS holds the table of bits against the whole table, and the matches against the strings.
func TestLCS(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	random := func() []byte {
		b := make([]byte, rng.IntN(30))
		for i := range b {
			b[i] = "abc"[rng.IntN(3)]
		}
		return b
	}
	for range 3_000 {
		a, b := random(), random()
		var full [31][31]int
		for i := range a {
			for j := range b {
				full[i+1][j+1] = max(full[i][j+1], full[i+1][j])
				if a[i] == b[j] {
					full[i+1][j+1] = full[i][j] + 1
				}
			}
		}
		want := full[len(a)][len(b)]
		length, up := lcsTable(a, b)
		if length != want {
			t.Fatalf("%q and %q: length %d, want %d", a, b, length, want)
		}
		sum, endA, endB := 0, len(a), len(b)
		for _, m := range lcsMatches(a, b, up) {
			if m.n < 1 || m.a+m.n > endA || m.b+m.n > endB || string(a[m.a:m.a+m.n]) != string(b[m.b:m.b+m.n]) {
				t.Fatalf("%q and %q: match %+v is none, or not before %d and %d", a, b, m, endA, endB)
			}
			sum, endA, endB = sum+m.n, m.a, m.b
		}
		if sum != want {
			t.Fatalf("%q and %q: the matches have %d bytes, want %d", a, b, sum, want)
		}
	}
}
