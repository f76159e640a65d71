package nearcache

import (
	"math"
	"unsafe"

	"github.com/cespare/xxhash/v2"
)

// Time is a moment in nanoseconds on a monotonic clock. Where it counts from is the caller's choice, the same for all calls
// of one Cache; it does not go back, and is not negative.
type Time int64

// Never is later than any moment: the expiry of what does not expire.
const Never Time = math.MaxInt64

// Key is what an entry is found by: a database, the name of a key in it, and a view, what was asked of the key. It holds
// the strings it was made of and their hash, so one Key serves look-up, Snapshot and Store of a read.
type Key struct {
	name, view string
	stripeHash uint64 // unkeyed xxhash64 of name: servers choose stripes by it
	hash       uint64 // of database, name and view
	db         uint32
}

// NewKey is the key of that name in a database, with an empty view: its whole value.
func NewKey(db int, name string) Key {
	h := xxhash.Sum64String(name)
	return Key{name: name, stripeHash: h, hash: mix(h ^ uint64(db)<<32), db: uint32(db)}
}

// NewKeyBytes is NewKey for a name in bytes. It copies nothing: they must not change as long as the Key is used.
func NewKeyBytes(db int, name []byte) Key {
	return NewKey(db, unsafe.String(unsafe.SliceData(name), len(name)))
}

// View is the key with another view: what was asked, for instance the command and its arguments but for the key. Entries of
// different views of one key are different, and are invalidated together.
func (k Key) View(view string) Key {
	k.view = view
	k.hash = mix(k.stripeHash ^ uint64(k.db)<<32)
	if view != "" {
		k.hash = mix(k.hash + xxhash.Sum64String(view))
	}
	return k
}

// mix spreads every bit of x over all bits, one to one: the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
