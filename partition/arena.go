package partition

const (
	chunkMinBytes = 4 << 10
	chunkMaxBytes = 64 << 10
	// ownChunkBytes: a record at least this long has a chunk to itself, of just the pages it needs.
	ownChunkBytes = 16 << 10
	// deadShare: compaction runs while at least one in so many bytes of the chunks is of a dead record. What is left at
	// the ends of chunks does not count: moving records of 3 KiB from one chunk of 4 KiB to another would never end.
	deadShare = 8
)

// arena holds a dict's records: a bump allocator over chunks, each knowing how many of its bytes are live.
//
// A freed record's bytes stay as they are until its chunk goes, and chunks go only in compact, which runs when a
// transaction is sealed. So what a command has read stays readable until its end.
type arena struct {
	space  *Space
	chunks []chunk
	spare  []uint32 // ids of chunks that are free
	empty  []uint32 // chunks without a live record, to be freed at the next compact
	open   int      // the chunk being filled; -1 = none
	total  int      // bytes of all chunks
	live   int      // bytes of all live records
	dead   int      // bytes of all dead records
	idle   int      // bytes of the open chunk not yet handed out
	victim int      // the chunk being emptied; -1 = none
	at     int      // where the emptying has come to
}

type chunk struct {
	off  uint64
	size int // 0 = not in use
	fill int // 0 <= live <= fill <= size
	live int
}

func newArena(space *Space) arena { return arena{space: space, open: -1, victim: -1} }

// alloc returns room for n bytes, a multiple of recordAlign.
func (a *arena) alloc(n int) uint64 {
	a.live += n
	if n >= ownChunkBytes {
		c := &a.chunks[a.addChunk(n)]
		c.fill, c.live = n, n
		return c.off
	}
	if a.open < 0 || a.chunks[a.open].size-a.chunks[a.open].fill < n {
		if a.open >= 0 && a.chunks[a.open].live == 0 {
			a.empty = append(a.empty, uint32(a.open))
		}
		size := chunkMinBytes
		for size < chunkMaxBytes && (size*8 <= a.total || size < n) {
			size *= 2
		}
		a.open = a.addChunk(size)
		a.idle = size
	}
	c := &a.chunks[a.open]
	off := c.off + uint64(c.fill)
	c.fill += n
	c.live += n
	a.idle -= n
	return off
}

func (a *arena) addChunk(n int) int {
	size := pagesFor(n) << pageBits
	off := a.space.Alloc(size)
	c := chunk{off: off, size: size}
	a.total += size
	id := len(a.chunks)
	if k := len(a.spare); k > 0 {
		id = int(a.spare[k-1])
		a.spare = a.spare[:k-1]
		a.chunks[id] = c
	} else {
		a.chunks = append(a.chunks, c)
	}
	a.space.own(off, size, uint32(id))
	return id
}

// free marks the record of n bytes at off dead.
func (a *arena) free(off uint64, n int) {
	a.space.tail(off)[0] |= deadRecord
	id := int(a.space.owner(off))
	c := &a.chunks[id]
	c.live -= n
	a.live -= n
	a.noteDead(n)
	if c.live == 0 && id != a.open && id != a.victim {
		a.empty = append(a.empty, uint32(id))
	}
}

// compact frees empty chunks and, while too much is dead, moves up to budget bytes out of the emptiest chunk. move must
// make whoever refers to the record at off refer to its copy. It reports whether there is more to do.
func (a *arena) compact(budget int, move func(off uint64, r record)) bool {
	for budget > 0 {
		a.dropEmpty() // each time, since a move may have closed an open chunk that is empty: it is no victim
		if a.victim < 0 && !a.chooseVictim() {
			return false
		}
		v := &a.chunks[a.victim]
		for v.live > 0 && budget > 0 {
			off := v.off + uint64(a.at)
			r := decodeRecord(a.space.tail(off))
			n := r.size()
			a.at += n
			budget -= 16
			if r.mem[0]&deadRecord != 0 {
				continue
			}
			move(off, r)
			v = &a.chunks[a.victim] // move allocates, the slice may have grown
			v.live -= n
			a.live -= n
			a.noteDead(n)
			budget -= n
		}
		if v.live == 0 {
			id := a.victim
			a.victim = -1
			a.drop(id)
		}
	}
	return true
}

// compactAll moves every record out of its chunk, however little is dead there; but not those with a chunk to themselves.
func (a *arena) compactAll(move func(off uint64, r record)) {
	const budget = 1 << 20
	for a.compact(budget, move) {
	}
	if a.open >= 0 && a.chunks[a.open].live == 0 {
		a.empty = append(a.empty, uint32(a.open))
	}
	a.open, a.idle = -1, 0
	for id := range len(a.chunks) { // not those that are made meanwhile
		c := &a.chunks[id]
		if c.live == 0 || id == a.open || c.fill >= ownChunkBytes && c.live == c.fill {
			continue
		}
		a.victim, a.at = id, 0
		for a.compact(budget, move) {
		}
	}
}

func (a *arena) chooseVictim() bool {
	if a.dead <= chunkMinBytes || a.dead*deadShare < a.total {
		return false
	}
	best, bestDead := -1, 0
	for i := range a.chunks {
		c := &a.chunks[i]
		if c.size == 0 || i == a.open {
			continue
		}
		if d := (c.fill - c.live) * 1024 / c.size; d > bestDead { // the share that is dead, in 1/1024
			best, bestDead = i, d
		}
	}
	if best < 0 {
		return false
	}
	a.victim, a.at = best, 0
	return true
}

func (a *arena) dropEmpty() {
	for _, id := range a.empty {
		a.drop(int(id))
	}
	a.empty = a.empty[:0]
}

func (a *arena) drop(id int) {
	c := &a.chunks[id]
	a.space.Free(c.off, c.size)
	a.noteDead(c.live - c.fill)
	a.total -= c.size
	*c = chunk{}
	a.spare = append(a.spare, uint32(id))
}

// noteDead counts n more bytes of dead records; n < 0: less.
func (a *arena) noteDead(n int) {
	a.dead += n
	a.space.dead.Add(int64(n))
}

// release frees everything.
func (a *arena) release() {
	for i := range a.chunks {
		if a.chunks[i].size > 0 {
			a.drop(i)
		}
	}
	*a = newArena(a.space)
}
