package partition

import (
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"
	"unsafe"
)

const (
	mappingBits  = 26
	mappingBytes = 1 << mappingBits // 64 MiB, the unit asked of the operating system
	pageBits     = 12
	pageBytes    = 1 << pageBits // 4 KiB, the unit handed out
	mappingPages = mappingBytes / pageBytes
	mappingsMax  = 1 << 14 // 1 TiB

	// purgeRunPages is the shortest free run whose memory goes back to the operating system.
	purgeRunPages = 16
)

// Space is a node's memory outside the Go heap: 64 MiB mappings, handed out as runs of 4 KiB pages. Addresses are
// offsets that stay small (40 bits), so an index can hold them beside a hash tag; the collector neither scans nor paces
// on what lives here.
//
// Alloc and Free may be called from any goroutine. A run belongs to whoever allocated it; Bytes does not lock.
type Space struct {
	maps [mappingsMax]mapping // entries are written before an address in them is handed out
	used atomic.Int64         // bytes of all allocated runs and regions
	dead atomic.Int64         // bytes of used that are dead records
	// releasing: bytes of used that are deleted values which wait to be released. Those of one value count until all of it is.
	releasing atomic.Int64

	slabs slabs
	ahead chan uint64 // see ahead.go

	mu struct {
		sync.Mutex
		pages []pageMap // one for each mapping, in order
		first int       // no mapping below has a free page
		dirty int64     // free pages that were used before, and so are still resident
		grown growth
	}
}

// mapping is 64 MiB of memory. A run longer than that has as many consecutive mappings as it needs, which are one stretch
// of memory and belong to it alone.
type mapping struct {
	base   *byte
	limit  uint64                // bytes from base to the end of the stretch
	owners *[mappingPages]uint32 // what a run's owner noted on its pages
}

// view is the n bytes at offset i.
func (m *mapping) view(i, n uint64) []byte {
	if i+n > m.limit {
		panic("partition: view beyond the end of a mapping")
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(m.base), i)), n)
}

// pageMap is a mapping's allocation state: a set bit is a page in use.
type pageMap struct {
	used  [mappingPages / 64]uint64
	dirty [mappingPages / 64]uint64 // free, but resident
	free  int                       // pages not in use
	// No free run longer than this; an upper bound, made exact when a search fails.
	longest int
	// The mapping belongs to one run of so many pages; 0 = it does not. Nothing of it is free then.
	run int
}

// NewSpace returns an empty space; mappings are made when first needed.
func NewSpace() *Space {
	s := &Space{ahead: make(chan uint64, 1)}
	s.Alloc(1) // address 0 is nobody's, so that a slot of 0 can mean empty
	s.used.Store(0)
	return s
}

// Used is the number of bytes allocated, in whole pages.
func (s *Space) Used() int64 { return s.used.Load() }

// Live is Used without the records that are dead and wait for compaction, and without what was deleted and waits to be
// released: what maxmemory is about. Compaction keeps the dead below about an eighth. Were they counted, a full store would
// have to delete that eighth before the first page came free; and of large values all, before the first one is released.
func (s *Space) Live() int64 { return max(0, s.used.Load()-s.dead.Load()-s.releasing.Load()) }

// Bytes is a view of n bytes at off. It stays valid until the run is freed.
func (s *Space) Bytes(off uint64, n int) []byte {
	return s.maps[off>>mappingBits&(mappingsMax-1)].view(off&(mappingBytes-1), uint64(n))
}

// tail is a view from off to the end of its mapping, for readers that learn the length from the first bytes.
func (s *Space) tail(off uint64) []byte {
	m := &s.maps[off>>mappingBits&(mappingsMax-1)]
	i := off & (mappingBytes - 1)
	return m.view(i, m.limit-i)
}

// own notes id on the pages of the run at off: all of them, since an address inside must lead back to the owner.
func (s *Space) own(off uint64, n int, id uint32) {
	owners := s.maps[off>>mappingBits].owners
	first := int(off&(mappingBytes-1)) >> pageBits
	for p := first; p < min(first+pagesFor(n), mappingPages); p++ {
		owners[p] = id
	}
}

// owner is what own noted for the page of off.
func (s *Space) owner(off uint64) uint32 {
	return s.maps[off>>mappingBits&(mappingsMax-1)].owners[off&(mappingBytes-1)>>pageBits]
}

func pagesFor(n int) int { return (n + pageBytes - 1) >> pageBits }

// Alloc returns a run of whole pages of at least n bytes, n >= 1. Its contents are undefined.
func (s *Space) Alloc(n int) uint64 {
	pages := pagesFor(n)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used.Add(int64(pages) << pageBits)
	if pages > mappingPages {
		return s.mapLocked((pages+mappingPages-1)/mappingPages, pageMap{run: pages})
	}
	for i := s.mu.first; i < len(s.mu.pages); i++ {
		m := &s.mu.pages[i]
		if m.free == 0 {
			if i == s.mu.first {
				s.mu.first++
			}
			continue
		}
		if m.longest < pages {
			continue
		}
		if at := m.find(pages); at >= 0 {
			s.mu.dirty -= int64(m.take(at, pages))
			off := uint64(i)<<mappingBits | uint64(at)<<pageBits
			s.growLocked(off, pages)
			return off
		}
	}
	off := s.mapLocked(1, pageMap{free: mappingPages, longest: mappingPages})
	s.mu.pages[off>>mappingBits].take(0, pages)
	s.growLocked(off, pages)
	return off
}

// mapLocked asks the operating system for consecutive mappings, all in the given state, at the first free place.
func (s *Space) mapLocked(count int, state pageMap) uint64 {
	at, holes := len(s.mu.pages), 0
	for i := range s.mu.pages {
		if holes++; s.maps[i].base != nil {
			holes = 0
		}
		if holes == count {
			at = i + 1 - count
			break
		}
	}
	if at+count > mappingsMax {
		panic("partition: space of 1 TiB is full")
	}
	mem, err := mapMemory(count << mappingBits)
	if err != nil {
		panic(fmt.Sprintf("partition: out of memory: %v", err))
	}
	for len(s.mu.pages) < at+count {
		s.mu.pages = append(s.mu.pages, pageMap{})
	}
	for i := at; i < at+count; i++ {
		begin := (i - at) << mappingBits
		s.maps[i] = mapping{base: &mem[begin], limit: uint64(len(mem) - begin), owners: new([mappingPages]uint32)}
		s.mu.pages[i] = state
	}
	s.mu.first = min(s.mu.first, at) // where a hole was filled
	return uint64(at) << mappingBits
}

// Free gives back the run that Alloc(n) returned at off.
func (s *Space) Free(off uint64, n int) {
	pages := pagesFor(n)
	s.used.Add(-int64(pages) << pageBits)
	i, at := int(off>>mappingBits), int(off&(mappingBytes-1))>>pageBits
	if invariants {
		freed := s.Bytes(off, n)
		for i := range freed {
			freed[i] = freedByte
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.mu.pages[i]
	if m.run > 0 {
		count := (m.run + mappingPages - 1) / mappingPages
		if err := unmapMemory(s.maps[i].view(0, s.maps[i].limit)); err != nil {
			panic(fmt.Sprintf("partition: unmap: %v", err))
		}
		clear(s.maps[i : i+count])
		clear(s.mu.pages[i : i+count])
		return
	}
	for p := at; p < at+pages; p++ {
		if m.used[p/64]&(1<<(p%64)) == 0 {
			panic(fmt.Sprintf("partition: page %#x freed twice", p))
		}
		m.used[p/64] &^= 1 << (p % 64)
		m.dirty[p/64] |= 1 << (p % 64)
	}
	m.free += pages
	m.longest = mappingPages
	s.mu.dirty += int64(pages)
	s.mu.first = min(s.mu.first, i)
}

// find returns the first run of that many free pages, or -1 after making longest exact.
func (m *pageMap) find(pages int) int {
	run, longest := 0, 0
	for w, word := range m.used {
		if word == ^uint64(0) {
			run = 0
			continue
		}
		if word == 0 {
			run += 64
			if run >= pages {
				return w*64 + 64 - run
			}
			longest = max(longest, run)
			continue
		}
		for b := 0; b < 64; {
			if word&(1<<b) != 0 {
				run = 0
				b += bits.TrailingZeros64(^(word >> b))
				continue
			}
			n := min(bits.TrailingZeros64(word>>b), 64-b)
			if run+n >= pages {
				return w*64 + b - run
			}
			run, b = run+n, b+n
			longest = max(longest, run)
		}
	}
	m.longest = longest
	return -1
}

// take marks a run as in use and returns how many of its pages were resident.
func (m *pageMap) take(at, pages int) (dirty int) {
	for p := at; p < at+pages; p++ {
		bit := uint64(1) << (p % 64)
		m.used[p/64] |= bit
		if m.dirty[p/64]&bit != 0 {
			m.dirty[p/64] &^= bit
			dirty++
		}
	}
	m.free -= pages
	return dirty
}

// region returns a mapping of its own of at least n bytes, beside the 64 MiB ones: mem grown to n, or a new one where
// mem is nil. What is added is zero. n = 0 unmaps mem.
func (s *Space) region(mem []byte, n int) []byte {
	n = pagesFor(n) << pageBits
	var err error
	s.used.Add(int64(n - len(mem)))
	switch {
	case n == 0:
		err, mem = unmapMemory(mem), nil
	case mem == nil:
		mem, err = mapMemory(n)
	default:
		mem, err = remapMemory(mem, n)
	}
	if err != nil {
		panic(fmt.Sprintf("partition: out of memory: %v", err))
	}
	return mem
}

// Purge returns resident free pages to the operating system when they are more than a sixteenth of what is used. It is
// called about once a second.
func (s *Space) Purge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.dirty<<pageBits >= max(s.used.Load()/16, 4<<20) {
		s.purgeLocked(purgeRunPages)
	}
	s.dropAheadLocked()
}

// PurgeAll returns every resident free page.
func (s *Space) PurgeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.purgeLocked(1)
}

// purgeLocked returns free runs of at least so many pages.
func (s *Space) purgeLocked(runPages int) {
	for i := range s.mu.pages {
		m := &s.mu.pages[i]
		for p := 0; p < mappingPages; {
			if m.dirty[p/64]>>(p%64) == 0 {
				p = (p/64 + 1) * 64
				continue
			}
			start := p
			for p < mappingPages && m.dirty[p/64]&(1<<(p%64)) != 0 {
				p++
			}
			if p-start < runPages {
				p++
				continue
			}
			releaseMemory(s.maps[i].view(uint64(start)<<pageBits, uint64(p-start)<<pageBits))
			for q := start; q < p; q++ {
				m.dirty[q/64] &^= 1 << (q % 64)
			}
			s.mu.dirty -= int64(p - start)
		}
	}
}
