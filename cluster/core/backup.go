package core

// OnAppend takes what the primary sends: entries are kept, and applied once they are committed (R11). What comes from another
// primary than the row's, another reign, an earlier stint or for another incarnation is passed over (R1).
func (r *Replica) OnAppend(a Append) (s Step) {
	if !r.follows(a.From, a.To, a.Reign, a.Stint) {
		r.opt.Marks.hit(AppendIgnored)
		return s
	}
	switch {
	case r.bound == 0, a.Prev > r.log.last, r.log.epochOf(a.Prev) != a.PrevEpoch, r.bound != WalkDone && a.Prev != r.log.last:
		r.answer(&s, a.Ticket, 0, true)
		return s
	case !r.keep(a.Entries):
		r.answer(&s, a.Ticket, 0, true)
		return s
	}
	match := a.Prev + uint64(len(a.Entries))
	r.commit = max(r.commit, min(a.Commit, match))
	r.apply(&s)
	r.answer(&s, a.Ticket, match, false)
	return s
}

// Early tells whether a primary asks, in a message without entries, for a row that is not applied here yet. The table came to the
// primary first; the message may be kept, and taken once the row is here.
func (r *Replica) Early(a *Append) bool {
	if len(a.Entries) > 0 || a.To != r.self {
		return false
	}
	return a.Reign > r.row.Reign || a.Reign == r.row.Reign && a.Stint > r.row.StintOf(r.self)
}

func (r *Replica) follows(from, to Member, reign, stint uint64) bool {
	return to == r.self && (r.role == backup || r.role == learner) && from == r.row.Primary && reign == r.row.Reign &&
		stint == r.row.StintOf(r.self)
}

// keep appends what is new of entries that follow what is here. Where it has others, those are cut (R15). false: they are
// applied; that cannot be, since a primary asks how far a copy is before it sends, and nothing is cut then.
func (r *Replica) keep(entries []Entry) bool {
	for _, e := range entries {
		if e.Seq <= r.log.last {
			if r.log.epochOf(e.Seq) == e.Epoch {
				continue
			}
			if e.Seq <= r.applied {
				return false
			}
			r.opt.Marks.hit(BufferCut)
			r.log.cut(e.Seq - 1)
		}
		r.log.append(e)
		r.timeMs = max(r.timeMs, e.TimeMs)
	}
	return true
}

// apply hands the store what it may have by now: a full copy what is committed, one that is being filled everything, as it
// is of no use to anybody before it is full.
func (r *Replica) apply(s *Step) {
	upTo := r.commit
	if r.bound != WalkDone {
		upTo = r.log.last
	}
	if upTo > r.applied {
		s.Apply = append(r.applying[:0], r.log.entries[r.applied-r.log.base:upTo-r.log.base]...)
		if r.applying = s.Apply; cap(r.applying) > applyingKeep {
			r.applying = nil
		}
		s.Bound = r.bound
		r.applied = upTo
	}
	r.trimLog(min(r.applied, r.commit))
}

// applyingKeep: a larger array of entries to apply is not used again.
const applyingKeep = 64

// answer makes the ack of what came from the row's primary.
func (r *Replica) answer(s *Step, ticket, match uint64, rejected bool) {
	a := &r.answered
	*a = Ack{From: r.self, To: r.row.Primary, Partition: r.Partition, Reign: r.row.Reign, Stint: r.row.StintOf(r.self), Rejected: rejected, Ticket: ticket}
	a.Position = Position{Match: match, Applied: r.applied, Bound: r.bound, Walk: r.walkID}
	if rejected {
		a.Position.Match = r.log.last
		a.Position.Reigns = append([]Reign(nil), r.log.reigns...)
	}
	s.Answer = a
}

// OnChunk takes a stretch of a walk (R19). A walk begins from nothing, once: a learner that is full may count for others
// already, and must not be emptied by a message that was late.
func (r *Replica) OnChunk(c Chunk) (s Step) {
	if !r.follows(c.From, c.To, c.Reign, c.Stint) || r.role != learner {
		r.opt.Marks.hit(ChunkIgnored)
		return s
	}
	switch {
	case c.Start == 0 && c.Walk > r.walkID:
		s.Wipe = r.born != 0 && (r.log.last != 0 || r.bound != 0)
		r.log.resetTo(c.Seq, c.Reigns)
		r.commit, r.applied, r.walkID = 0, c.Seq, c.Walk
	case c.Walk != r.walkID || c.Start != r.bound || c.Seq != r.log.last || c.Start == 0:
		r.opt.Marks.hit(ChunkRejected)
		r.answer(&s, c.Ticket, 0, true)
		return s
	}
	r.timeMs = max(r.timeMs, c.TimeMs)
	r.bound = c.End
	s.Load = &c
	r.answer(&s, c.Ticket, r.log.last, false)
	return s
}

// RestartWalk is called instead of finishing a Step whose Apply held an effect on whole databases while the copy was being
// filled: it begins anew (R19). answered is that Step's Answer; the Step returned replaces
// it and the rest.
func (r *Replica) RestartWalk(answered *Ack) (s Step) {
	if r.role != learner {
		return s
	}
	r.opt.Marks.hit(WalkBroken)
	s.Wipe = true
	r.log.resetTo(0, nil)
	r.commit, r.applied, r.bound = 0, 0, 0
	r.answer(&s, answered.Ticket, 0, true)
	return s
}
