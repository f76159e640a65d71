package core

import (
	"slices"
	"time"
)

// handoverBytesMax: with more that is not committed, a handover does not begin, since commands would wait for long.
const handoverBytesMax = 256 << 10

// asleepMin: a node whose own ticks are further apart was asleep; what it missed says nothing about others (R3).
const asleepMin = 300 * time.Millisecond

func (r *Replica) progressOf(m Member) *progress {
	for _, p := range r.peers {
		if p.Member == m {
			return p
		}
	}
	return nil
}

// Pull returns the next message for a copy; false where there is nothing to say, or too much of it is unanswered. The entries
// are a copy of the log's slice; their payloads are the log's.
func (r *Replica) Pull(to Member, now time.Duration) (Append, bool) {
	p := r.progressOf(to)
	if r.role != primary || p == nil {
		return Append{}, false
	}
	switch {
	case p.state == probing && p.sentAt == 0:
		if !p.asking {
			p.asking, p.asked = true, p.ticket+1
		}
		return r.message(p, r.log.last, nil, now), true
	case p.state == probing, p.state == walking && p.bound == 0:
		return Append{}, false
	case p.next <= r.log.last:
		if p.next > p.match+1 && r.log.bytesAfter(p.match)-r.log.bytesAfter(p.next-1) > r.opt.WindowBytes {
			return Append{}, false
		}
		entries := slices.Clone(r.log.from(p.next-1, r.opt.MessageBytes))
		prev := p.next - 1
		p.next += uint64(len(entries))
		return r.message(p, prev, entries, now), true
	case p.news && p.commitSent < r.commit && p.state == replicating:
		return r.message(p, p.next-1, nil, now), true
	}
	return Append{}, false
}

func (r *Replica) message(p *progress, prev uint64, entries []Entry, now time.Duration) Append {
	if p.sentAt == 0 {
		p.sentAt = now
	}
	p.commitSent, p.news = r.commit, false
	p.ticket++
	return Append{
		From: r.self, To: p.Member, Partition: r.Partition, Reign: r.row.Reign, Stint: p.stint,
		Prev: prev, PrevEpoch: r.log.epochOf(prev), Entries: entries, Commit: r.commit, Ticket: p.ticket,
	}
}

// WantsChunk tells whether a copy is to get the next stretch of its walk, and from where. The caller then holds the
// partition's lock, so that nothing is proposed meanwhile, and calls Chunk with the keys. One chunk at a time is on its way.
func (r *Replica) WantsChunk(to Member) (start Bound, ok bool) {
	p := r.progressOf(to)
	if r.role != primary || p == nil || p.state != walking || p.bound == WalkDone || p.bound != p.walked {
		return 0, false
	}
	if p.bound == 0 {
		return 0, p.sentAt == 0
	}
	return p.bound, p.next > r.log.last // entries go first: the keys are of now
}

// Chunk is the message with the keys from WantsChunk's start to end, as they are now.
func (r *Replica) Chunk(to Member, data []byte, end Bound, now time.Duration) Chunk {
	p := r.progressOf(to)
	start := p.bound
	if start == 0 {
		p.next = r.log.last + 1 // the learner begins its log here
	}
	p.bound = end
	p.end = r.log.last
	if p.sentAt == 0 {
		p.sentAt = now
	}
	p.ticket++
	return Chunk{
		From: r.self, To: to, Partition: r.Partition, Reign: r.row.Reign, Stint: p.stint, Walk: p.walk,
		Seq: r.log.last, Reigns: slices.Clone(r.log.reigns), TimeMs: r.timeMs, Start: start, End: end, Data: data, Ticket: p.ticket,
	}
}

// OnAck learns how far a copy is.
func (r *Replica) OnAck(a Ack, now time.Duration) (s Step) {
	p := r.progressOf(a.From)
	if r.role != primary || p == nil || a.To != r.self || a.Reign != r.row.Reign || a.Stint != p.stint {
		r.opt.Marks.hit(AckIgnored)
		return s
	}
	switch {
	case a.Rejected && a.Ticket <= p.settled:
		r.opt.Marks.hit(RejectedTwice)
		return s
	case !a.Rejected && p.state == probing && (!p.asking || a.Ticket < p.asked):
		return s // what was said before the question
	case a.Rejected, p.state == probing && (a.Position.Applied > a.Position.Match || p.lostStart(a.Position)):
		if !a.Rejected && !p.lostStart(a.Position) {
			r.opt.Marks.hit(AheadOfUs) // it shows entries that we did not have
		}
		p.settled = p.ticket
		r.rejected(p, a.Position, &s)
	case p.walk != a.Position.Walk && p.walk != 0: // said before it got the start of the present one
		r.opt.Marks.hit(AckOfOldWalk)
		return s
	default:
		p.settled = max(p.settled, a.Ticket) // what it rejected before that is settled too
		r.accepted(p, a, now)
	}
	p.broken = false
	r.advance(&s, now)
	r.join(p, &s, now)
	if target := r.progressOf(r.row.Target); r.held && !r.offered && target != nil {
		r.offer(target, &s, now) // perhaps this was the last ack that it waited for
	}
	if p.state != replicating || p.next <= r.log.last || p.news { // otherwise Pull has nothing
		s.Ready = append(r.ready[:0], p.Member)
		r.ready = s.Ready
	}
	return s
}

// accepted notes what a copy has taken.
func (r *Replica) accepted(p *progress, a Ack, now time.Duration) {
	pos := a.Position
	moved := pos.Match > p.match || pos.Bound > p.walked
	p.match = max(p.match, min(pos.Match, r.log.last))
	switch p.state {
	case probing:
		p.asking, p.sentAt = false, 0
		if p.match < r.log.base {
			r.opt.Marks.hit(TrimmedMeanwhile)
			return // what it lacks is gone: it is asked again, and will have to say so
		}
		p.state, p.next = replicating, p.match+1
		p.end = max(p.end, pos.Applied)
		if pos.Bound != WalkDone {
			p.state, p.bound, p.walked = walking, pos.Bound, pos.Bound
		}
		return
	case walking:
		p.walked = max(p.walked, min(pos.Bound, p.bound))
		if p.walked == WalkDone {
			p.state = replicating
		}
	}
	switch {
	case p.match == p.next-1 && p.walked == p.bound && a.Ticket == p.ticket:
		p.sentAt = 0
	case moved && p.walked == p.bound: // a chunk that is lost must be missed, whatever else arrives
		p.sentAt = now
	}
}

// rejected finds where to go on with a copy that could not use what it got: from the log where it still has what the copy
// lacks, else with a walk.
func (r *Replica) rejected(p *progress, pos Position, s *Step) {
	p.sentAt, p.asking = 0, false
	common, known := r.log.commonPoint(pos.Reigns, pos.Match)
	full := pos.Bound == WalkDone
	known = known && common >= r.log.base && pos.Applied <= common
	switch {
	case p.lostStart(pos):
		// Another walk begins: an answer to the first sending of a start must not be taken for one to the second, which shows more.
		r.opt.Marks.hit(WalkStartLost)
		r.beginWalk(p)
	case known && full:
		r.opt.Marks.hit(CaughtUpFromLog)
		p.state, p.match, p.next = replicating, common, common+1
		p.end = max(p.end, pos.Applied)
	case known && pos.Bound > 0 && common == pos.Match && p.learner:
		r.opt.Marks.hit(WalkGoesOn)
		p.state, p.match, p.next = walking, common, common+1
		p.bound, p.walked = pos.Bound, pos.Bound
	case p.counts():
		// It has data that are not ours and cannot be cut. While the rules hold that cannot be: a member shows what is
		// committed. It must leave before it is filled anew.
		r.propose(Change{Kind: Shrink, Partition: r.Partition, Epoch: r.row.Epoch, Member: p.Member}, s, r.tickedAt)
		p.sentAt = max(r.tickedAt, 1) // it is not asked again at once
	default:
		r.opt.Marks.hit(WalkStarts)
		r.beginWalk(p)
	}
}

// lostStart tells whether a copy that says where it is lacks the start of its walk, which was lost or is late. What it has may be of an
// earlier walk, whose start came late, and may suit what it is asked.
func (p *progress) lostStart(pos Position) bool {
	return p.walk != pos.Walk && p.walk != 0 && !p.counts()
}

// beginWalk has a copy filled from nothing. What it holds counts only once it says so.
func (r *Replica) beginWalk(p *progress) {
	r.walks++
	p.state, p.walk, p.bound, p.walked, p.match = walking, r.walks, 0, 0, 0
}

// join proposes that a learner which has everything becomes a member of the ISR; from here on it counts as one (R4). Everything is more
// than what is known here to be committed:
//
//  1. P commits entry 10 with N, which does not hear of that; N's commit is 9. The learner M has 9.
//  2. P dies, and N leads. With too few copies, or others that have not answered yet, its commit stays at 9.
//  3. M has all up to 9, and joins. N dies, and M leads without entry 10.
func (r *Replica) join(p *progress, s *Step, now time.Duration) {
	if !p.learner || p.state != replicating || p.match < max(r.commit, r.inherited) || r.leases.Until(p.Member) <= now {
		return
	}
	// Who joins may be the next to lead, and then waits for nobody but those whom it made promises itself (R8):
	//
	//  1. Q leads with a lease that P grants, is cut off, and P takes over; it does not serve until Q's lease is over.
	//  2. M joins. It has promised Q nothing.
	//  3. P dies, M leads, and serves at once. Q still does.
	if now < r.serveFrom() {
		return
	}
	// Its data must not show what may yet be cut; with too few copies to commit, only it can help.
	if p.end > r.commit && (r.enoughCopies() || p.match < r.log.last) {
		return
	}
	p.joining = true
	r.propose(Change{Kind: Grow, Partition: r.Partition, Epoch: r.row.Epoch, Member: p.Member}, s, now)
}

// propose asks for a change of the row, and again after a while.
func (r *Replica) propose(c Change, s *Step, now time.Duration) {
	if at, done := r.proposed[c]; done && now < at+r.opt.RetryAfter {
		return
	}
	r.proposed[c] = now
	s.Propose = append(s.Propose, c)
}

// PeerReset tells that the connection to a copy broke: what was sent may be lost. A backup leaves the ISR at once; whether it
// has to, the control plane decides (R5). Until it is heard again that is proposed anew, for a leader that ends as well may take the
// first proposal with it.
func (r *Replica) PeerReset(m Member, now time.Duration) (s Step) {
	p := r.progressOf(m)
	if r.role != primary || p == nil {
		return s
	}
	p.state, p.sentAt, p.asking, p.broken = probing, 0, false, true
	if p.counts() {
		r.opt.Marks.hit(ShrinkOnReset)
		r.propose(Change{Kind: Shrink, Partition: r.Partition, Epoch: r.row.Epoch, Member: m}, &s, now)
	}
	s.Ready = append(s.Ready, m)
	return s
}

// Tick does what time asks for. It is called at least every asleepMin.
func (r *Replica) Tick(now time.Duration) (s Step) {
	if now > r.tickedAt+asleepMin {
		r.awokeAt = now
	}
	r.tickedAt = now
	if r.role != primary {
		return s
	}
	if r.opt.Settings.ResetLost {
		r.advance(&s, now) // the controller may vouch again
	}
	for _, p := range r.peers {
		r.tickPeer(p, &s, now)
	}
	r.tickHandover(&s, now)
	return s
}

func (r *Replica) tickPeer(p *progress, s *Step, now time.Duration) {
	if p.broken && p.counts() {
		r.propose(Change{Kind: Shrink, Partition: r.Partition, Epoch: r.row.Epoch, Member: p.Member}, s, now)
	}
	lag := 0
	if p.state != probing {
		lag = r.log.bytesAfter(p.match + 1) // a batch of any size that is on its way is no reason (R18)
	}
	switch {
	case p.counts() && (r.silent(p, now) || lag > r.opt.LagBytesMax):
		if lag > r.opt.LagBytesMax {
			r.opt.Marks.hit(ShrinkOnLag)
		} else {
			r.opt.Marks.hit(ShrinkOnSilence)
		}
		r.propose(Change{Kind: Shrink, Partition: r.Partition, Epoch: r.row.Epoch, Member: p.Member}, s, now)
	case lag > r.opt.LagBytesMax:
		r.opt.Marks.hit(LearnerLags)
		p.state, p.sentAt = probing, 0 // and no longer keeps the log from being trimmed (R18)
	case p.sentAt != 0 && now > p.sentAt+r.opt.RetryAfter:
		r.opt.Marks.hit(Retried)
		p.state, p.sentAt = probing, 0
	}
	p.news = p.state == replicating && p.commitSent < r.commit
	if p.sentAt == 0 {
		s.Ready = append(s.Ready, p.Member)
	}
	r.join(p, s, now)
}

// deafMin: by how much the controller was heard later than a silent member, so that it is not this node that hears nothing. It is more
// than the time between two beacons.
const deafMin = 300 * time.Millisecond

// silent tells whether a member has granted no lease for too long. Time in which this node was asleep does not count, nor does silence in
// which it did not hear the controller either:
//
//  1. What is sent to P is lost, what P sends arrives. B answers P's beacons, and P does not hear it.
//  2. P takes B out of the ISR as silent.
//  3. The controller fences P, as it shows no newer table: the last copy is gone, until P is back, though B has everything.
func (r *Replica) silent(p *progress, now time.Duration) bool {
	heard := max(r.leases.Until(p.Member)-r.leases.Length, p.since, r.awokeAt)
	return now > heard+r.opt.SilenceMax && r.opt.ControllerLease()-r.leases.Length > heard+deafMin
}

// tickHandover hands the partition to its target: it stops taking commands, waits until everything is committed, and proposes
// (R20). From the proposal on this epoch is over for it, whatever becomes of the proposal.
func (r *Replica) tickHandover(s *Step, now time.Duration) {
	target := r.progressOf(r.row.Target)
	switch {
	case r.row.Target.IsZero() || target == nil:
		r.held = r.offered
	case r.offered:
		r.reoffer(s, now)
	case !r.held:
		// Only who may serve can release others from waiting.
		if r.Serving(now) && now >= r.nextTry && target.state == replicating && r.log.bytesAfter(r.commit) <= handoverBytesMax {
			r.held, r.heldAt = true, now
			r.offer(target, s, now)
		}
	case now > r.heldAt+r.opt.HandoverMax || !r.aliveAs(now):
		r.opt.Marks.hit(HandoverGivenUp)
		r.held, r.nextTry = false, now+r.opt.HandoverPauses
	default:
		r.offer(target, s, now)
	}
}

// aliveAs tells whether the lease holds, be commands held or not.
func (r *Replica) aliveAs(now time.Duration) bool {
	return now >= r.serveFrom() && now < r.LeaseUntil()
}

func (r *Replica) offer(target *progress, s *Step, now time.Duration) {
	if r.commit < r.log.last || target.match < r.log.last || !r.aliveAs(now) {
		return
	}
	r.opt.Marks.hit(HandoverOffered)
	r.offered = true
	r.propose(Change{Kind: Handover, Partition: r.Partition, Epoch: r.row.Epoch, Member: target.Member}, s, now)
}

// reoffer asks again, and after a while asks to go on itself: one of the two wins the epoch.
func (r *Replica) reoffer(s *Step, now time.Duration) {
	c := Change{Kind: Handover, Partition: r.Partition, Epoch: r.row.Epoch, Member: r.row.Target}
	if now > r.heldAt+2*r.opt.HandoverMax {
		r.opt.Marks.hit(Reclaimed)
		c.Kind, c.Member = Reclaim, r.self
	}
	r.propose(c, s, now)
}
