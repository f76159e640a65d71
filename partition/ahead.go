package partition

// A command that is the first to touch a page waits until the system has found and cleared it: of a huge page for 0.2 ms, and on virtual
// machines that give free memory back to their host for 6 ms. While a space grows fast, a goroutine of its own does that for the next
// huge page before anybody needs it.

// aheadBytes is how much is made resident at a time: a huge page.
const aheadBytes = 2 << 20

// growth is how far a space has come in memory that nobody had before.
type growth struct {
	end   uint64 // of what was ever handed out, but for holes that were filled later
	steps int    // stretches begun since the last Purge
	ready uint64 // the last stretch made resident beforehand; 0 = none, or it was given back
}

// growLocked follows a run of pages that is handed out. The second stretch begun within about a second has the one behind it made
// resident, within the mapping.
func (s *Space) growLocked(off uint64, pages int) {
	g, end := &s.mu.grown, off+uint64(pages)<<pageBits
	if end <= g.end {
		return
	}
	before := g.end
	g.end = end
	if (end-1)/aheadBytes == (before-1)/aheadBytes && before > 0 {
		return
	}
	g.steps++
	next := ((end-1)/aheadBytes + 1) * aheadBytes
	if g.steps < 2 || next>>mappingBits != off>>mappingBits {
		return
	}
	select {
	case s.ahead <- next:
	default: // busy with the one before
	}
}

// keepAhead makes stretches resident until stop.
func (s *Space) keepAhead(stop <-chan struct{}) {
	for {
		select {
		case off := <-s.ahead:
			s.touch(off)
		case <-stop:
			return
		}
	}
}

// touch makes a stretch resident. Mappings of 64 MiB stay, so it is there.
func (s *Space) touch(off uint64) {
	populateMemory(s.Bytes(off, aheadBytes))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.grown.ready = off
}

// dropAheadLocked gives back what was made resident and is not needed after all.
func (s *Space) dropAheadLocked() {
	g := &s.mu.grown
	if g.steps == 0 && g.ready != 0 && g.end <= g.ready {
		releaseMemory(s.Bytes(g.ready, aheadBytes))
		g.ready = 0
	}
	g.steps = 0
}
