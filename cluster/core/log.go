package core

import "slices"

// Entry is one batch in a partition's log. Payload is the log's from then on and must not change.
type Entry struct {
	Seq     uint64
	Epoch   uint64 // reign of the primary that executed it
	TimeMs  int64  // log time (R17)
	Payload []byte

	end uint64 // of the log's bytes, counted from its first entry on, in the log that holds it
}

// entryOverheadBytes is what an entry counts beyond its payload.
const entryOverheadBytes = 48

func (e *Entry) size() int { return len(e.Payload) + entryOverheadBytes }

// Reign says with which sequence number a primary's own entries begin.
type Reign struct {
	Epoch uint64
	First uint64
}

// reignsMax bounds the reigns a copy remembers. One that is further behind is copied whole.
const reignsMax = 16

// entryLog is the part of a partition's history that is kept in memory: entries after base, up to last. What happened
// before base is in the store's data alone.
//
//	0 <= base <= last; entries[i].Seq == base+1+i
type entryLog struct {
	entries []Entry
	base    uint64
	last    uint64
	bytes   int
	end     uint64  // of the last entry
	reigns  []Reign // ascending in both fields; says the epoch of every sequence number from reigns[0].First on
}

// resetTo forgets everything: the next entry is last+1, and reigns say what came before.
func (l *entryLog) resetTo(last uint64, reigns []Reign) {
	*l = entryLog{base: last, last: last, reigns: slices.Clone(reigns)}
}

// epochOf is the reign that wrote seq; 0 for seq 0, and for what is too old to know.
func (l *entryLog) epochOf(seq uint64) uint64 {
	if seq == 0 {
		return 0
	}
	for i := len(l.reigns) - 1; i >= 0; i-- {
		if l.reigns[i].First <= seq {
			return l.reigns[i].Epoch
		}
	}
	return 0
}

// begins notes the epoch of an entry that comes next.
func (l *entryLog) begins(seq, epoch uint64) {
	if n := len(l.reigns); n == 0 || l.reigns[n-1].Epoch < epoch {
		l.reigns = append(l.reigns, Reign{Epoch: epoch, First: seq})
		if len(l.reigns) > reignsMax {
			l.reigns = slices.Delete(l.reigns, 0, 1)
		}
	}
}

// skip counts an entry that is not kept, and keeps none before it.
func (l *entryLog) skip(seq, epoch uint64) {
	l.begins(seq, epoch)
	clear(l.entries)
	l.entries, l.bytes = l.entries[:0], 0
	l.base, l.last = seq, seq
}

func (l *entryLog) append(e Entry) {
	l.begins(e.Seq, e.Epoch)
	l.end += uint64(e.size())
	e.end = l.end
	l.entries = append(l.entries, e)
	l.last = e.Seq
	l.bytes += e.size()
}

// cut takes everything after seq away.
func (l *entryLog) cut(seq uint64) {
	for i := len(l.entries) - 1; i >= 0 && l.entries[i].Seq > seq; i-- {
		l.bytes -= l.entries[i].size()
		l.end -= uint64(l.entries[i].size())
		l.entries[i] = Entry{}
		l.entries = l.entries[:i]
	}
	l.last = seq
	for n := len(l.reigns); n > 0 && l.reigns[n-1].First > seq; n-- {
		l.reigns = l.reigns[:n-1]
	}
}

// trim lets go of entries up to seq, the oldest first, until no more than keepBytes are left.
func (l *entryLog) trim(seq uint64, keepBytes int) {
	n := 0
	for n < len(l.entries) && l.entries[n].Seq <= seq && l.bytes > keepBytes {
		l.bytes -= l.entries[n].size()
		n++
	}
	if n == 0 {
		return
	}
	l.base = l.entries[n-1].Seq
	clear(l.entries[:n])
	if l.entries = l.entries[n:]; len(l.entries) == 0 {
		l.entries = nil
	}
}

// from returns the entries after seq, as many as fit into maxBytes and at least one. seq must not be before base.
func (l *entryLog) from(seq uint64, maxBytes int) []Entry {
	rest := l.entries[seq-l.base:]
	size := 0
	for i := range rest {
		if size += rest[i].size(); size > maxBytes && i > 0 {
			return rest[:i:i]
		}
	}
	return rest[:len(rest):len(rest)]
}

// at returns the entry of a sequence number that is kept.
func (l *entryLog) at(seq uint64) *Entry { return &l.entries[seq-l.base-1] }

// bytesAfter is what the entries after seq hold. It is asked with every message, so it counts nothing.
func (l *entryLog) bytesAfter(seq uint64) int {
	switch {
	case seq >= l.last:
		return 0
	case seq <= l.base:
		return l.bytes
	}
	return int(l.end - l.at(seq).end)
}

// commonPoint is the last sequence number up to which a log with the given reigns and end has the same entries as l. One
// primary wrote all of a reign, in order; so where both know the same reign, both have the same entries as far as both have
// any (R15). known is false where the logs share no reign that both remember.
func (l *entryLog) commonPoint(reigns []Reign, last uint64) (seq uint64, known bool) {
	if last == 0 {
		return 0, true
	}
	endOf := func(rs []Reign, i int, last uint64) uint64 {
		if i+1 < len(rs) {
			return rs[i+1].First - 1
		}
		return last
	}
	for i := len(l.reigns) - 1; i >= 0; i-- {
		j := slices.IndexFunc(reigns, func(r Reign) bool { return r.Epoch == l.reigns[i].Epoch })
		if j < 0 {
			continue
		}
		return min(endOf(l.reigns, i, l.last), endOf(reigns, j, last)), true
	}
	whole := func(rs []Reign) bool { return len(rs) == 0 || rs[0].First == 1 }
	return 0, whole(l.reigns) && whole(reigns) // both know their beginning: they have nothing in common
}
