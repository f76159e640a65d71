package partition

import (
	"encoding/binary"
	"sync"
)

// slabs hands out the index segments of every dict of a node: blocks of a few fixed sizes cut from 64 KiB runs. Segments
// change size often; taken from the dicts' own arenas they would be as much to compact as the records.
type slabs struct {
	sync.Mutex
	list    []slab
	spare   []uint32 // ids of list that are free
	partial [len(segmentSizes)][]uint32
}

// slab is one 64 KiB run of blocks of one size.
type slab struct {
	off   uint64
	class int
	live  int    // blocks in use
	fresh int    // blocks at the end that were never used
	free  uint64 // the first freed block, each leads to the next; 0 = none
	// listed: in partial of its class, exactly when a block is free.
	listed bool
}

const slabBytes = 64 << 10

// segmentSizes are the sizes of a segment in slots of 8 bytes.
var segmentSizes = [...]int{16, 32, 64, 128, 192, 256, 320, 384, 448, 512}

func (s *Space) allocSlots(class int) uint64 {
	sl := &s.slabs
	sl.Lock()
	defer sl.Unlock()
	if len(sl.partial[class]) == 0 {
		sl.partial[class] = append(sl.partial[class], s.newSlabLocked(class))
	}
	ids := sl.partial[class]
	b := &sl.list[ids[len(ids)-1]]
	size := segmentSizes[class] * slotBytes
	var off uint64
	if b.free != 0 {
		off = b.free
		b.free = binary.LittleEndian.Uint64(s.Bytes(off, 8))
	} else {
		b.fresh--
		off = b.off + uint64(b.fresh*size)
	}
	b.live++
	if b.free == 0 && b.fresh == 0 {
		b.listed = false
		sl.partial[class] = ids[:len(ids)-1]
	}
	clear(s.Bytes(off, size))
	return off
}

func (s *Space) newSlabLocked(class int) (id uint32) {
	sl := &s.slabs
	if n := len(sl.spare); n > 0 {
		id = sl.spare[n-1]
		sl.spare = sl.spare[:n-1]
	} else {
		id = uint32(len(sl.list))
		sl.list = append(sl.list, slab{})
	}
	off := s.Alloc(slabBytes)
	s.own(off, slabBytes, id)
	sl.list[id] = slab{off: off, class: class, fresh: slabBytes / (segmentSizes[class] * slotBytes), listed: true}
	return id
}

func (s *Space) freeSlots(off uint64) {
	sl := &s.slabs
	sl.Lock()
	defer sl.Unlock()
	id := s.owner(off)
	b := &sl.list[id]
	b.live--
	if b.live > 0 {
		binary.LittleEndian.PutUint64(s.Bytes(off, 8), b.free)
		b.free = off
		if !b.listed {
			b.listed = true
			sl.partial[b.class] = append(sl.partial[b.class], id)
		}
		return
	}
	if b.listed {
		ids := sl.partial[b.class]
		for i := range ids {
			if ids[i] == id {
				ids[i] = ids[len(ids)-1]
				sl.partial[b.class] = ids[:len(ids)-1]
				break
			}
		}
	}
	s.Free(b.off, slabBytes)
	*b = slab{}
	sl.spare = append(sl.spare, id)
}
