package nearcache

import (
	"math"
	"sync/atomic"
	"unsafe"
)

// entry heads a block of memory that holds one value with what it is found and judged by; name, view and value follow it.
// The block holds no pointer, so the collector does not look into it, and nobody writes to it once it is stored, but for
// what a policy notes in it. A caller who has got the value keeps the block alive with it.
type entry struct {
	hash       uint64 // Key.hash
	word       word   // the partition's, from the snapshot
	expiry     Time
	valueBytes uint32
	nameBytes  uint32
	viewBytes  uint32
	db         uint32
	generation uint32 // from the snapshot
	blockBytes uint32 // what the allocator gave
	partition  uint16

	// The policy's. Look-ups set mark without a lock; the others belong to the lock of the entry's shard.
	inMain bool          // which queue it is in: main or window
	count  uint8         // about how often it was asked for, as of period; 0 <= count <= countMax
	period uint32        // how often the shard had halved its counts
	place  uint32        // where in its queue it is
	mark   atomic.Uint32 // 1 where it was looked up since the policy looked at it
}

const entryBytes = int(unsafe.Sizeof(entry{}))

// entrySizeMax bounds a block; sizes in its head have 32 bits.
const entrySizeMax = math.MaxInt32

// newEntry copies name, view and value into a new block.
func newEntry(k Key, s Snapshot, value []byte, expiry Time) *entry {
	// Words make the block aligned as its head needs it. append says how much the allocator gives for that many.
	size := entrySize(k, len(value))
	block := append([]uint64(nil), make([]uint64, (size+7)/8)...)
	e := (*entry)(unsafe.Pointer(unsafe.SliceData(block)))
	e.hash, e.word, e.expiry = k.hash, s.word, expiry
	e.nameBytes, e.viewBytes, e.valueBytes = uint32(len(k.name)), uint32(len(k.view)), uint32(len(value))
	e.db, e.generation, e.partition = k.db, s.generation, s.partition
	e.blockBytes = uint32(8 * cap(block))
	n := copy(e.bytes(0, len(k.name)), k.name)
	n += copy(e.bytes(n, len(k.view)), k.view)
	copy(e.bytes(n, len(value)), value)
	return e
}

// entrySize is the size of a block before the allocator rounds it.
func entrySize(k Key, valueBytes int) int { return entryBytes + len(k.name) + len(k.view) + valueBytes }

// bytes is a part of what follows the head.
func (e *entry) bytes(from, count int) []byte {
	if count == 0 {
		return []byte{} // there may be nothing of the block left to point at
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(e), entryBytes+from)), count)
}

func (e *entry) name() []byte { return e.bytes(0, int(e.nameBytes)) }

// value is the entry's value; appending to it copies it.
func (e *entry) value() []byte {
	return e.bytes(int(e.nameBytes+e.viewBytes), int(e.valueBytes))
}

// is reports whether the entry is of that key: hashes may be the same for others, bytes are not.
func (e *entry) is(k *Key) bool {
	return e.hash == k.hash && e.db == k.db && int(e.nameBytes) == len(k.name) && int(e.viewBytes) == len(k.view) &&
		string(e.bytes(0, len(k.name))) == k.name && string(e.bytes(len(k.name), len(k.view))) == k.view
}
