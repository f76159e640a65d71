package nearcache

// queue is a ring of entries, the oldest first, that doubles when it is full. It is used under the lock of its shard.
// An entry's place says where in its queue it is.
type queue struct {
	ring       []*entry // a power of two of them
	head, tail uint32   // places of the oldest entry, and of the next to come; tail - head <= len(ring)
	bytes      int64    // of the entries' blocks
}

const queueMin = 16

func (q *queue) len() int { return int(q.tail - q.head) }

// ringBytes is the memory of the ring itself.
func (q *queue) ringBytes() int64 { return int64(len(q.ring)) * 8 }

// push makes e the newest.
func (q *queue) push(e *entry) {
	if q.len() == len(q.ring) {
		q.grow()
	}
	e.place = q.tail
	q.tail++
	*q.at(e.place) = e
	q.bytes += int64(e.blockBytes)
}

// pop takes out the oldest, or answers nil.
func (q *queue) pop() *entry {
	if q.len() == 0 {
		return nil
	}
	e := *q.at(q.head)
	*q.at(q.head) = nil
	q.head++
	q.bytes -= int64(e.blockBytes)
	return e
}

// oldest answers what pop would, and leaves it.
func (q *queue) oldest() *entry {
	if q.len() == 0 {
		return nil
	}
	return *q.at(q.head)
}

// replace puts e where old is.
func (q *queue) replace(old, e *entry) {
	e.place = old.place
	*q.at(e.place) = e
	q.bytes += int64(e.blockBytes) - int64(old.blockBytes)
}

func (q *queue) at(place uint32) **entry { return &q.ring[place&uint32(len(q.ring)-1)] }

// grow doubles the ring. Places stay what they are.
func (q *queue) grow() {
	old := *q
	q.ring = make([]*entry, max(queueMin, 2*len(old.ring)))
	for place := old.head; place != old.tail; place++ {
		*q.at(place) = *old.at(place)
	}
}
