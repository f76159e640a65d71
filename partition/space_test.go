package partition

import (
	"math/rand/v2"
	"testing"
)

func TestSpaceRunsNeverOverlap(t *testing.T) {
	type run struct {
		off uint64
		n   int
		tag byte
	}
	s := NewSpace()
	rnd := rand.New(rand.NewPCG(1, 2))
	var live []run
	for step := range 20000 {
		if rnd.IntN(5) < 3 || len(live) == 0 {
			n := 1 + rnd.IntN(40)*rnd.IntN(pageBytes)
			r := run{s.Alloc(n), n, byte(step)}
			b := s.Bytes(r.off, n)
			for i := 0; i < n; i += 512 {
				b[i] = r.tag
			}
			live = append(live, r)
			continue
		}
		i := rnd.IntN(len(live))
		r := live[i]
		for j, b := 0, s.Bytes(r.off, r.n); j < r.n; j += 512 {
			if b[j] != r.tag {
				t.Fatalf("step %d: run at %#x, byte %d: got %d, want %d", step, r.off, j, b[j], r.tag)
			}
		}
		s.Free(r.off, r.n)
		live[i] = live[len(live)-1]
		live = live[:len(live)-1]
		if step%1000 == 0 {
			s.Purge()
		}
	}
	for _, r := range live {
		s.Free(r.off, r.n)
	}
	if s.Used() != 0 {
		t.Errorf("used after everything was freed: got %d, want 0", s.Used())
	}
	s.Purge()
	if s.mu.dirty<<pageBits >= 4<<20 && len(s.mu.pages) > 0 {
		t.Errorf("resident free pages after Purge: %d", s.mu.dirty)
	}
}

func TestSpaceReusesFreedPages(t *testing.T) {
	s := NewSpace()
	for range 10 {
		var offs []uint64
		for range 1000 {
			offs = append(offs, s.Alloc(64<<10))
		}
		for _, off := range offs {
			s.Free(off, 64<<10)
		}
	}
	if got := len(s.mu.pages); got != 1 {
		t.Errorf("mappings after ten rounds of 1000 x 64 KiB: got %d, want 1", got)
	}
}

func TestSpaceRunsLongerThanAMapping(t *testing.T) {
	s := NewSpace()
	for range 3 {
		const n = 150 << 20
		off := s.Alloc(n)
		b := s.Bytes(off, n)
		b[0], b[70<<20], b[n-1] = 1, 2, 3
		small := s.Alloc(100)
		if s.tail(off)[70<<20] != 2 {
			t.Fatal("tail does not reach over the border of a mapping")
		}
		s.Free(off, n)
		s.Free(small, 100)
	}
	if got := len(s.mu.pages); got > 5 {
		t.Errorf("places for mappings: got %d, want the freed ones used again", got)
	}
	if s.Used() != 0 {
		t.Errorf("used: got %d, want 0", s.Used())
	}
}
