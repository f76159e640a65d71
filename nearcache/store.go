package nearcache

// Policy names what decides which entries stay when there is no more room.
type Policy string

// Store keeps entries within a budget. It may forget any of them at any time, and may show an older entry of a key after it
// took a newer one: whether an entry may be used is not for it to say. All methods may be called by any goroutines.
type Store interface {
	// find answers the entry held for the key, or nil.
	find(k *Key) *entry
	// put takes an entry, in place of the one of the same key if there is one, and makes room for it. It reports
	// whether it took it.
	put(e *entry, now Time) bool
	// itemBytesMax is the largest entrySize that put takes.
	itemBytesMax() int
	// usage answers the number of entries, the bytes of everything, and how many entries had to go for lack of room.
	usage() (items, bytes, evictions int64)
	close()
}

// budget is what a Store may use.
type budget struct {
	bytes         int64
	itemsMax      int // 0: as many as there is memory for
	itemsExpected int
}
