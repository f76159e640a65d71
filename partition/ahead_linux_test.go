package partition

import (
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestSpaceAhead: while a space grows fast, the next stretch is resident before it is handed out; where growth ends, it is given back, and
// what is in use stays.
func TestSpaceAhead(t *testing.T) {
	const run = 64 << 10
	s := NewSpace()
	grow := func(n int) (last uint64) {
		for range n / run {
			last = s.Alloc(run)
			s.Bytes(last, run)[0] = 1
		}
		return last
	}
	grow(aheadBytes - run) // one page is nobody's
	select {
	case off := <-s.ahead:
		t.Fatalf("asked for %#x when the first stretch was full", off)
	default:
	}
	last := grow(aheadBytes)
	var next uint64
	select {
	case next = <-s.ahead:
	default:
		t.Fatal("the stretch behind the second is not asked for")
	}
	if next%aheadBytes != 0 || next <= last || next > last+aheadBytes {
		t.Fatalf("asked for %#x with %#x handed out last", next, last)
	}
	if n := residentPages(t, s.Bytes(next, aheadBytes)); n != 0 {
		t.Errorf("%d pages are resident before anything was done", n)
	}
	s.touch(next)
	if n := residentPages(t, s.Bytes(next, aheadBytes)); n != aheadBytes/pageBytes && n != 0 { // 0: an old kernel
		t.Errorf("%d pages of %d are resident", n, aheadBytes/pageBytes)
	} else if n == 0 && unix.Madvise(s.Bytes(next, pageBytes), unix.MADV_POPULATE_WRITE) == nil {
		t.Error("nothing is resident")
	}
	s.Purge() // of a second in which it grew
	if n := residentPages(t, s.Bytes(next, aheadBytes)); n == 0 {
		t.Error("given back while the space grows")
	}
	s.Purge()
	if n := residentPages(t, s.Bytes(next, aheadBytes)); n != 0 {
		t.Errorf("%d pages stay resident that nobody needs", n)
	}

	s.touch(next)
	last = grow(aheadBytes)
	s.Purge()
	s.Purge()
	if s.Bytes(last, run)[0] != 1 {
		t.Error("memory in use was given back")
	}
}

// BenchmarkSpaceGrow takes 100 MB/s of memory that nobody had before, in runs of 64 KiB, and reports how long they took to touch, for each
// 64 MiB: with what is needed next made resident beforehand, and without. The first stretch of a mapping is never beforehand.
func BenchmarkSpaceGrow(b *testing.B) {
	const run, mapping, rate = 64 << 10, mappingBytes, 100e6
	for name, ahead := range map[string]bool{"ahead": true, "alone": false} {
		b.Run(name, func(b *testing.B) {
			s, stop := NewSpace(), make(chan struct{})
			defer close(stop)
			if ahead {
				go s.keepAhead(stop)
			}
			var waited time.Duration
			for b.Loop() {
				for began, n := time.Now(), 0; n < mapping; n += run {
					for time.Since(began) < time.Duration(float64(n)/rate*1e9) {
						runtime.Gosched()
					}
					start := time.Now()
					mem := s.Bytes(s.Alloc(run), run)
					for i := 0; i < run; i += pageBytes {
						mem[i] = 1
					}
					waited += time.Since(start)
				}
			}
			b.ReportMetric(float64(waited.Microseconds())/float64(b.N), "waited-µs/op")
		})
	}
}

func residentPages(t *testing.T, mem []byte) (n int) {
	t.Helper()
	pages := make([]byte, len(mem)/pageBytes)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&mem[0])), uintptr(len(mem)), uintptr(unsafe.Pointer(&pages[0])))
	if errno != 0 {
		t.Fatal(errno)
	}
	for _, p := range pages {
		n += int(p & 1)
	}
	return n
}
