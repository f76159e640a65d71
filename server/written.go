package server

import (
	"math"
	"math/bits"

	"github.com/neargrid/neargrid/partition"
)

// written is what a session has written, as WAIT asks about it.
type written struct {
	parts []uint64 // a bit for each partition; nil: none
	// doubts are the writes that are not known to be committed though nobody waits for it any more, or ever did; by partition.
	doubts map[int]doubt
	asking bool // the router is being asked about doubts
}

// doubt is the last write to a partition that may be held by no copy. It ends once that is known to be committed. What the client has been
// told of ends also with a later change of the partition that is acknowledged: that is what the client asks about then.
type doubt struct {
	rest  Rest // reign 0: another node has executed it, or a task; what it rests on is not known
	told  bool // the client got INDETERMINATE
	asked bool // the router could not say in time: it is not asked to wait once more
}

// noteWrote notes the partitions of a command that has been executed here.
func (s *Session) noteWrote(c *Call) {
	if !c.wrote {
		return
	}
	s.noteParts(c.parts)
	s.settle(c.parts)
}

func (s *Session) noteParts(parts []int) {
	if s.written.parts == nil {
		s.written.parts = make([]uint64, (s.srv.store.Partitions()+63)/64)
	}
	for _, p := range parts {
		s.written.parts[p/64] |= 1 << (p % 64)
	}
}

// noteAnswer notes what has become of a write that was not simply executed here.
func (s *Session) noteAnswer(t *task, reply []byte) {
	switch {
	case isIndeterminate(reply):
		if !t.writes() {
			return
		}
		for _, p := range t.parts {
			s.doubt(Rest{Seen: partition.Seen{Partition: p}}, !t.silent)
		}
	case len(s.written.doubts) > 0 && t.writes() && saysChanged(reply):
		s.settle(t.parts)
	}
}

// saysChanged tells whether a reply to a write leaves no doubt that something was changed: errors, nulls and zeros do.
func saysChanged(reply []byte) bool {
	switch line := string(firstLine(reply)); line {
	case "", "_", "$-1", "*-1", "*0", ":0":
		return false
	default:
		return line[0] != '-'
	}
}

// noteUncommitted notes what the client was told may be lost.
func (s *Session) noteUncommitted(rests []Rest) {
	for _, r := range rests {
		s.doubt(r, true)
	}
}

// noteSilent notes a write executed here whose reply nobody wants, and which is not held back therefore: WAIT is to know.
func (s *Session) noteSilent(rests []Rest) {
	if len(rests) == 0 || s.srv.router.Committed(rests) {
		return
	}
	for _, r := range rests {
		s.doubt(r, false)
	}
	s.askDoubts()
}

// doubt notes a write. Where there is one already of the same reign, the later one stands for both; of two reigns, nothing does.
func (s *Session) doubt(r Rest, told bool) {
	w := &s.written
	if w.doubts == nil {
		w.doubts = map[int]doubt{}
	}
	d := doubt{rest: r, told: told}
	if old, there := w.doubts[r.Partition]; there {
		d.told = d.told && old.told
		switch {
		case old.rest.Reign != r.Reign:
			d.rest.Reign, d.rest.Seq = 0, 0
		case old.rest.Seq >= r.Seq:
			d.rest, d.asked = old.rest, old.asked
		}
	}
	w.doubts[r.Partition] = d
}

// settle ends doubts that the client has been told of, once the session has changed their partitions again.
func (s *Session) settle(parts []int) {
	if len(s.written.doubts) == 0 {
		return
	}
	for _, p := range parts {
		if s.written.doubts[p].told {
			delete(s.written.doubts, p)
		}
	}
}

// askDoubts has the router say when what was written silently is committed: later, when the partition has another primary, it could not.
// One question at a time is enough, however much is written meanwhile.
func (s *Session) askDoubts() {
	w := &s.written
	if w.asking {
		return
	}
	var rests []Rest
	for _, d := range w.doubts {
		if !d.told && !d.asked && d.rest.Reign != 0 {
			rests = append(rests, d.rest)
		}
	}
	if len(rests) == 0 {
		return
	}
	w.asking = true
	if s.srv.router.Await(rests, func(err error) { s.loop.Post(func() { s.doubtsAnswered(rests, err) }) }) {
		s.doubtsAnswered(rests, nil)
	}
}

func (s *Session) doubtsAnswered(rests []Rest, err error) {
	w := &s.written
	w.asking = false
	for _, r := range rests {
		d, there := w.doubts[r.Partition]
		switch {
		case !there || d.rest != r: // more was written meanwhile
		case err == nil:
			delete(w.doubts, r.Partition)
		default:
			d.asked = true
			w.doubts[r.Partition] = d
		}
	}
	if !s.killed {
		s.askDoubts()
	}
}

// leastBackups is the smallest number of backups in sync over the partitions that the session has written to; over all where it has written
// nothing. Where a write is in doubt it is 0.
func (s *Session) leastBackups(top *Topology) int64 {
	least := int64(math.MaxInt64)
	take := func(p int) {
		a := &top.Parts[p]
		count := int64(len(a.Backups))
		if a.Primary == "" || s.isInDoubt(p) {
			count = 0
		}
		least = min(least, count)
	}
	empty := true
	for i, word := range s.written.parts {
		for ; word != 0; word &= word - 1 {
			empty = false
			take(64*i + bits.TrailingZeros64(word))
		}
	}
	for p := range top.Parts {
		if empty {
			take(p)
		}
	}
	return least
}

// isInDoubt tells whether a write of the session's to a partition is not known to be committed.
func (s *Session) isInDoubt(p int) bool {
	d, there := s.written.doubts[p]
	if there && d.rest.Reign != 0 && s.srv.router.Committed([]Rest{d.rest}) {
		delete(s.written.doubts, p)
		return false
	}
	return there
}
