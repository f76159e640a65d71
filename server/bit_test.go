package server

import (
	"math/rand/v2"
	"testing"
)

// bitAt is the plain definition that the functions working on words are held against.
func bitAt(b []byte, i int64) uint64 { return uint64(b[i>>3] >> (7 - i&7) & 1) }

// randomBits is bytes that are often all zeros or all ones, so that words are passed over.
func randomBits(rng *rand.Rand) []byte {
	b := make([]byte, rng.IntN(40))
	fill := byte(-rng.IntN(2))
	for i := range b {
		b[i] = fill
	}
	for range rng.IntN(3) {
		if len(b) > 0 {
			b[rng.IntN(len(b))] = byte(rng.Uint32())
		}
	}
	return b
}

func TestCountAndFindBits(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		b := randomBits(rng)
		from, to := rng.Int64N(int64(len(b))*8+1), rng.Int64N(int64(len(b))*8+1)
		count, first := int64(0), [2]int64{-1, -1}
		for i := from; i < to; i++ {
			bit := bitAt(b, i)
			count += int64(bit)
			if first[bit] < 0 {
				first[bit] = i
			}
		}
		if got := countBits(b, from, to); got != count {
			t.Fatalf("countBits(%x, %d, %d) = %d, want %d", b, from, to, got, count)
		}
		for bit, want := range first {
			if got := findBit(b, bit == 1, from, to); got != want {
				t.Fatalf("findBit(%x, %d, %d, %d) = %d, want %d", b, bit, from, to, got, want)
			}
		}
	}
}

func TestBitOpCombine(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 5_000 {
		op := bitOp(rng.IntN(int(bitNot) + 1))
		sources := [][]byte{randomBits(rng)}
		for op != bitNot && rng.IntN(3) > 0 {
			sources = append(sources, randomBits(rng))
		}
		size := 0
		for _, src := range sources {
			size = max(size, len(src))
		}
		got := make([]byte, size)
		op.combine(got, sources)
		for i := range got {
			at := func(src []byte) byte {
				if i < len(src) {
					return src[i]
				}
				return 0
			}
			want := at(sources[0])
			for _, src := range sources[1:] {
				switch op {
				case bitAnd:
					want &= at(src)
				case bitOr:
					want |= at(src)
				case bitXor:
					want ^= at(src)
				}
			}
			if op == bitNot {
				want = ^want
			}
			if got[i] != want {
				t.Fatalf("operation %d on %x: byte %d is %#x, want %#x", op, sources, i, got[i], want)
			}
		}
	}
}

func TestFieldWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for width := uint(1); width <= 64; width++ {
		for shift := range uint(8) {
			var w fieldWindow
			for i := range w {
				w[i] = byte(rng.Uint32())
			}
			before, v := w, rng.Uint64()>>(64-width)
			w.put(shift, width, v)
			if got := w.get(shift, width); got != v {
				t.Fatalf("width %d shift %d: got %#x, want %#x", width, shift, got, v)
			}
			for i := range int64(len(w) * 8) {
				inside := i >= int64(shift) && i < int64(shift+width)
				if !inside && bitAt(w[:], i) != bitAt(before[:], i) {
					t.Fatalf("width %d shift %d: put changed bit %d of %x to %x", width, shift, i, before, w)
				}
				if inside && bitAt(w[:], i) != v>>(int64(shift+width)-1-i)&1 {
					t.Fatalf("width %d shift %d: bit %d of %x is not that of %#x", width, shift, i, w, v)
				}
			}
		}
	}
}
