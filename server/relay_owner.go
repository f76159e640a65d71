package server

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/neargrid/neargrid/partition"
)

// The other end of a relay: the node that has the keys.

// guestReader is another node's door, whose clients have read keys here: what it is to be told, and its question, which waits for that.
type guestReader struct {
	srv    *Server
	number uint64 // of this record: drawn, so that no other has it, of an earlier start of this node neither
	mu     struct {
		sync.Mutex
		pending
		parts    partitions
		prefixes []string     // of the door's clients with BCAST
		answer   func(Answer) // to the question that waits; nil: none does
		asked    uint64       // questions
		timer    Timer        // ends the waiting
		gone     bool
		soon     bool // the question is about to be answered
	}
}

// reader is the guest as one who reads.
func (g *guest) reader(srv *Server) *guestReader {
	g.Lock()
	defer g.Unlock()
	if g.reads == nil {
		g.reads = &guestReader{srv: srv, number: rand.Uint64()}
		g.reads.mu.gone = g.gone
		if !g.gone {
			srv.store.Join(g.reads, nil)
			srv.readingGuests.Add(1)
		}
	}
	return g.reads
}

// Invalidate says that a key has changed that clients of the door have read.
func (r *guestReader) Invalidate(_ int, key []byte, by partition.Origin) {
	o, _ := by.(origin)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.add(key, o, r.srv.pushKeysMax())
	r.tellLocked()
}

// Broadcast says that a key has changed that begins with one of the door's prefixes.
func (r *guestReader) Broadcast(key []byte, by partition.Origin) { r.Invalidate(0, key, by) }

// InvalidateAll says that any key may have changed.
func (r *guestReader) InvalidateAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.all = true
	r.tellLocked()
}

// Lost says that this node does not lead a key's partition any more. What the door is granted ends with the partition until the last of
// its keys is among what is told: LosePartition.
func (r *guestReader) Lost(_ int, key []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.add(key, origin{}, r.srv.pushKeysMax())
	if !r.mu.soon { // the partition's other keys follow, and go in the same answer
		r.mu.soon = true
		r.srv.after(0, r.tell)
	}
}

// LosePartition says that this node does not lead a partition any more, and that the door knows, or is about to be told, of all keys that
// it has read there.
func (r *guestReader) LosePartition(p int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.parts.remove(p)
	if len(r.mu.prefixes) > 0 {
		r.mu.all = true
		r.tellLocked()
	}
}

// tell answers the question that waits, where there is something to tell.
func (r *guestReader) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.soon = false
	r.tellLocked()
}

// read notes that a key of a partition is registered.
func (r *guestReader) read(p int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.parts.add(p)
}

// ask has a question answered once there is something to tell, or its time is over; at once, where it is to another record than this. An
// earlier question is answered first.
func (r *guestReader) ask(f *Forwarded, answer func(Answer)) {
	in := execReader{b: f.Args[0]}
	wait := time.Duration(min(in.uint(), uint64(relayWait/time.Millisecond))) * time.Millisecond
	if in.uint() != r.number {
		wait = 0
	}
	var prefixes []string
	for len(in.b) > 0 {
		prefixes = append(prefixes, string(in.bytes()))
	}
	if r.join(prefixes) {
		wait = 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.gone {
		answer(Answer{Outcome: NotExecuted})
		return
	}
	r.answerLocked()
	r.mu.answer = answer
	r.mu.asked++
	if wait == 0 || !r.mu.empty() {
		r.answerLocked()
		return
	}
	asked := r.mu.asked
	r.mu.timer = r.srv.after(wait, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.mu.asked == asked {
			r.answerLocked()
		}
	})
}

// tellLocked answers the question that waits, where there is something to tell.
func (r *guestReader) tellLocked() {
	if r.mu.gone {
		r.mu.pending = pending{}
	} else if !r.mu.empty() {
		r.answerLocked()
	}
}

// answerLocked answers the question that waits, if one does.
func (r *guestReader) answerLocked() {
	if r.mu.answer == nil {
		return
	}
	answer, due := r.mu.answer, r.mu.pending
	r.mu.answer, r.mu.pending = nil, pending{}
	if r.mu.timer != nil {
		r.mu.timer.Stop()
		r.mu.timer = nil
	}
	parts := r.mu.parts.list()
	if len(r.mu.prefixes) > 0 {
		parts = r.srv.router.Topology().led(nil)
	}
	left := min(relayLease, servesFor(r.srv.router, parts, r.srv.clock()))
	answer(Answer{Reply: appendRelay(nil, r.number, left, &due)})
}

// leave ends the door as one who reads.
func (r *guestReader) leave() {
	r.srv.store.Leave(r)
	r.srv.readingGuests.Add(-1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.gone = true
	if r.mu.answer != nil {
		r.mu.answer(Answer{Outcome: NotExecuted})
		r.mu.answer = nil
	}
	r.mu.pending = pending{}
}

// relayAnswer is what a door is told.
type relayAnswer struct {
	guest uint64 // the number of the record that it comes from
	left  time.Duration
	all   bool
	keys  [][]byte
	by    []origin // of keys
}

func appendRelay(b []byte, guest uint64, left time.Duration, due *pending) []byte {
	b = binary.AppendUvarint(b, guest)
	b = binary.AppendUvarint(b, uint64(left/time.Millisecond))
	if due.all {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(due.keys)))
	for _, key := range due.keys {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
		b = binary.AppendUvarint(binary.AppendUvarint(b, due.by[key].family), due.by[key].number)
	}
	return b
}

// decodeRelay reads what appendRelay has made; false where it is none. Its keys are parts of b.
func decodeRelay(b []byte) (a relayAnswer, ok bool) {
	r := execReader{b: b}
	a.guest = r.uint()
	a.left = time.Duration(min(r.uint(), uint64(relayLease/time.Millisecond))) * time.Millisecond
	a.all = r.uint() == 1
	for n := r.uint(); n > 0 && !r.bad; n-- {
		a.keys = append(a.keys, r.bytes())
		a.by = append(a.by, origin{r.uint(), r.uint()})
	}
	return a, !r.bad && len(r.b) == 0
}
