package core

import (
	"math"
	"slices"
	"time"
)

// Options are what replicas of a node have in common.
type Options struct {
	Settings        Settings
	ControllerLease func() time.Duration // until when the controller vouches for this node (R10); its own beacon's send time + L
	Marks           *Marks               // may be nil

	LagBytesMax    int           // an ISR member further behind leaves (R18)
	KeepBytes      int           // what the log keeps for copies that come back
	MessageBytes   int           // of one Append or Chunk (R18)
	WindowBytes    int           // sent to a copy and not acked
	RetryAfter     time.Duration // an unanswered message or proposal is repeated
	SilenceMax     time.Duration // a backup that grants no lease for so long leaves the ISR
	HandoverMax    time.Duration // how long commands may wait for a handover to drain (R20)
	HandoverPauses time.Duration // between two tries
}

// DefaultOptions are what a node uses.
func DefaultOptions(s Settings) Options {
	return Options{
		Settings:       s,
		LagBytesMax:    16 << 20,
		KeepBytes:      64 << 10,
		MessageBytes:   256 << 10,
		WindowBytes:    1 << 20,
		RetryAfter:     200 * time.Millisecond,
		SilenceMax:     700 * time.Millisecond,
		HandoverMax:    time.Second,
		HandoverPauses: time.Second,
	}
}

// Step is what a replica wants done after an event, in this order. Apply, Answer and Ready are good until the replica's next event; all of it
// may be changed by the caller.
type Step struct {
	// Wipe: the store's copy is worth nothing: empty it, and go on as after sequence number 0.
	Wipe bool
	// Load: put the chunk's keys into the store, on the way from its Start to its End.
	Load *Chunk
	// Apply these entries to the store, in order; those of a copy that is being filled only as far as their keys are behind Bound.
	Apply []Entry
	Bound Bound
	// Answer goes to the primary.
	Answer *Ack
	// Ready: Pull has something for these copies.
	Ready []Member
	// Committed: the commit has moved, to Replica.Commit.
	Committed bool
	// Propose to the control plane.
	Propose []Change
}

type role uint8

const (
	absent  role = iota // has no copy, or one that only a resumed row would want
	learner             // is being filled, or full and waiting to join
	backup
	primary
)

// Replica is one node's part in one partition: the replication state machine of PacificA, with leases. It does no I/O,
// reads no clock and starts nothing: events go in as method calls, a Step of work to do comes out, and time is an argument,
// by the node's own clock, which is never set.
//
// Invariants:
//
//	commit <= log.last; applied <= log.last
//	backup: applied <= commit              its data is a committed prefix (R11)
//	primary: applied == log.last           it executes at once
//	a member of the ISR holds every entry that was ever committed
type Replica struct {
	Partition int

	self   Member
	leases *Leases
	opt    *Options
	row    Row
	role   role
	born   uint64 // of the data here; 0 = none
	log    entryLog
	commit uint64 // every member of the ISR holds these
	// applied is what the store has.
	applied uint64
	timeMs  int64  // the newest log time seen (R17)
	bound   Bound  // of a learner's walk
	walkID  uint32 // the newest walk of this reign and stint
	// promise: not to serve before, as earlier primaries may still (R8).
	promise time.Duration

	// Of a backup or learner, used again: Step.Apply's and Step.Answer's.
	applying []Entry
	answered Ack

	// Of a primary.
	ready []Member // Step.Ready's, used again
	// inherited is the last entry when it took over: all up to here may have been committed by those who led before.
	inherited uint64
	peers     []*progress
	walks     uint32        // begun so far, to any copy
	held      bool          // takes no commands: a handover is under way (R20)
	heldAt    time.Duration //
	offered   bool          // the handover is proposed: this epoch is never served again
	nextTry   time.Duration // of a handover
	proposed  map[Change]time.Duration
	tickedAt  time.Duration
	awokeAt   time.Duration // when the node was last found to have been asleep
}

// progress is what a primary knows of one copy.
type progress struct {
	Member
	stint   uint64
	learner bool
	joining bool // its growth is proposed: it counts already (R4)
	broken  bool // the connection to it broke, and it has said nothing since

	state peerState
	match uint64 // it has these, as we have them
	next  uint64 // to be sent
	// Of the newest walk: its number, how far it was sent, and how far acked.
	walk          uint32
	bound, walked Bound
	// end is a sequence number that the copy's data may show, committed or not: where its walk ended.
	end uint64

	// Messages are counted. Rejections of those up to settled are answered already: without that, one rejection that is
	// repeated on the way would beget several messages, and each of them another.
	ticket, settled uint64
	// While it is being asked where it is, answers to the messages from asked on count.
	asking bool
	asked  uint64

	commitSent uint64
	news       bool          // of the commit are to be sent even without entries
	sentAt     time.Duration // when the oldest message was sent that waits for an answer; 0 = none does
	since      time.Duration // when this copy became known to the present primary
}

type peerState uint8

const (
	probing     peerState = iota // where it is is being asked
	replicating                  // it has match, and gets what follows
	walking                      // it gets keys, and entries between them
)

// NewReplica returns a replica that has no copy yet.
func NewReplica(partition int, leases *Leases, opt *Options) *Replica {
	return &Replica{Partition: partition, self: leases.Self, leases: leases, opt: opt, row: Row{Partition: partition}, proposed: map[Change]time.Duration{}}
}

// Row is the row that is applied here.
func (r *Replica) Row() *Row { return &r.row }

// Last, Commit and TimeMs are the newest sequence number here, the newest committed one, and the newest log time.
func (r *Replica) Last() uint64   { return r.log.last }
func (r *Replica) Commit() uint64 { return r.commit }
func (r *Replica) TimeMs() int64  { return r.timeMs }

// Applied is the newest sequence number that the store has, once the last Step is carried out.
func (r *Replica) Applied() uint64 { return r.applied }

// Primary tells whether this node leads the partition, serving or not.
func (r *Replica) Primary() bool { return r.role == primary }

// ApplyRow follows the table. Rows of older epochs are passed over. All rows of a table, and then Leases.TableApplied, must
// be applied without a beacon being answered or counted in between: an ack of the new version must not leave before the
// promise below is reckoned, nor one of the old version after.
func (r *Replica) ApplyRow(row *Row, now time.Duration) (s Step) {
	if row.Epoch <= r.row.Epoch {
		return s
	}
	old := r.row
	r.row = row.Clone()
	r.keepPromise(&old)
	if row.Born != r.born && r.born != 0 {
		r.wipe(&s)
	}
	was := r.role
	r.role = r.roleIn(row)
	if old.Reign != row.Reign || old.StintOf(r.self) != row.StintOf(r.self) {
		r.walkID = 0
	}
	clear(r.proposed)
	switch r.role {
	case primary:
		r.leadRow(was == primary && old.Reign == row.Reign, &s, now)
	case backup, learner:
		if was == primary {
			r.stepDown(&s)
		}
		r.born = row.Born
	case absent:
		r.peers, r.held, r.offered = nil, false, false
		if row.State != Lost || row.LastDropped != r.self {
			r.wipe(&s)
		} else {
			r.opt.Marks.hit(LostKept)
		}
	}
	return s
}

func (r *Replica) roleIn(row *Row) role {
	switch {
	case row.State != Serving:
		return absent
	case row.Primary == r.self:
		return primary
	case row.InSync(r.self):
		return backup
	case slices.Contains(row.Learners, r.self):
		return learner
	}
	return absent
}

// keepPromise reckons how long whoever led before may still believe that it does (R8). A promise once made is kept, whatever
// later rows say. Where epochs were skipped, others may have led in them whom we granted leases without knowing; and behind a
// row that was lost, whoever led before.
func (r *Replica) keepPromise(old *Row) {
	switch {
	case r.row.Reign == old.Reign:
	case old.Epoch == 0 && r.row.Epoch > 1, old.Epoch != 0 && (r.row.Epoch != old.Epoch+1 || old.Primary.IsZero()):
		r.opt.Marks.hit(EpochsSkipped)
		r.promise = max(r.promise, r.leases.Promises())
	case old.Epoch != 0:
		r.promise = max(r.promise, r.leases.Promise(old.Primary))
	}
}

// wipe forgets the copy.
func (r *Replica) wipe(s *Step) {
	if r.born != 0 || r.log.last != 0 || r.applied != 0 || r.bound != 0 {
		s.Wipe = true
		r.opt.Marks.hit(Wiped)
	}
	r.log.resetTo(0, nil)
	r.born, r.commit, r.applied, r.bound = 0, 0, 0, 0
}

// stepDown: what was executed here may be more than what the successor has; after a handover it is not.
func (r *Replica) stepDown(s *Step) {
	r.peers, r.held, r.offered = nil, false, false
	if r.applied > r.commit {
		r.opt.Marks.hit(DeposedAhead)
	}
	r.bound = WalkDone
}

// leadRow takes the primary's part, or goes on with it after a change of the ISR.
func (r *Replica) leadRow(continues bool, s *Step, now time.Duration) {
	r.born = r.row.Born
	if !continues {
		if r.row.Released && r.promise > now {
			r.opt.Marks.hit(Released)
		}
		// The buffer is executed now (R15); what was committed of it is, and the rest will be, under the new reign.
		if r.applied < r.log.last {
			r.opt.Marks.hit(TookOverBuffer)
			s.Apply = slices.Clone(r.log.from(r.applied, math.MaxInt))
			s.Bound = WalkDone
			r.applied = r.log.last
		}
		r.bound = WalkDone
		r.peers, r.inherited = nil, r.log.last
	}
	r.held, r.offered = false, false
	r.nextTry = now
	peers := r.peers[:0:0]
	for _, m := range append(slices.Clone(r.row.ISR[1:]), r.row.Learners...) {
		stint := r.row.StintOf(m)
		i := slices.IndexFunc(r.peers, func(p *progress) bool { return p.Member == m && p.stint == stint })
		p := &progress{Member: m, stint: stint, since: now}
		if i >= 0 {
			p = r.peers[i]
		}
		p.learner = slices.Contains(r.row.Learners, m)
		p.joining = false // a proposal of an earlier epoch can no longer be accepted
		peers = append(peers, p)
		s.Ready = append(s.Ready, m)
	}
	r.peers = peers
	r.advance(s, now)
}

// Propose appends what the primary has executed; the sequence number is Last()+1. It must be allowed by Writable.
func (r *Replica) Propose(timeMs int64, payload []byte, now time.Duration) (s Step) {
	seq := r.log.last + 1
	r.log.append(Entry{Seq: seq, Epoch: r.row.Reign, TimeMs: timeMs, Payload: payload})
	r.applied, r.timeMs = seq, max(r.timeMs, timeMs)
	s.Ready = r.ready[:0]
	for _, p := range r.peers {
		if p.state != probing {
			s.Ready = append(s.Ready, p.Member)
		}
	}
	r.ready = s.Ready
	r.advance(&s, now)
	return s
}

// Alone tells whether nobody else has anything of the partition, and nothing waits for its commit, so that what is executed is committed.
func (r *Replica) Alone() bool {
	return r.role == primary && len(r.peers) == 0 && r.enoughCopies() && r.commit == r.log.last
}

// Skip is Propose where Alone, and where no copy is expected back that could go on from the log: nothing is kept of what was executed.
// Whoever comes gets all that there is.
func (r *Replica) Skip(timeMs int64) {
	seq := r.log.last + 1
	r.log.skip(seq, r.row.Reign)
	r.applied, r.commit, r.timeMs = seq, seq, max(r.timeMs, timeMs)
}

// Serving tells whether commands may be executed here at a time: nobody else can be serving then. For a reply that shows
// data, the time must have been read after the data (R9).
func (r *Replica) Serving(at time.Duration) bool {
	return r.role == primary && !r.held && at >= r.serveFrom() && at < r.LeaseUntil()
}

// Held tells whether a handover is under way, and commands wait (R20). Tick alone begins one or gives it up; a row ends it.
func (r *Replica) Held() bool { return r.held }

// Window is when Serving holds, as far as is known now: from a time until another. Both are 0 where it does not.
func (r *Replica) Window() (from, until time.Duration) {
	if r.role != primary || r.held {
		return 0, 0
	}
	return r.serveFrom(), r.LeaseUntil()
}

func (r *Replica) serveFrom() time.Duration {
	if r.row.Released {
		return 0
	}
	return r.promise
}

// LeaseUntil is when the lease of a primary runs out: the earliest over all who count (R7). Alone it needs none, as nobody
// else can take over.
//
// Where losses are reset, the controller must vouch for it, whether it is alone or not. R10 asks for that of a sole copy only,
// which is not enough:
//
//  1. P and its backup B are cut off from the controller together, and go on granting each other leases.
//  2. The controller fences B, and then P, as silent: the row loses its last copy.
//  3. After 2 L it resets the partition at N, which serves, empty. P still serves as well: B knows nothing of a newer table.
func (r *Replica) LeaseUntil() time.Duration {
	until := time.Duration(math.MaxInt64)
	for _, p := range r.peers {
		if p.counts() {
			until = min(until, r.leases.Until(p.Member))
		}
	}
	if r.opt.Settings.ResetLost {
		until = min(until, r.opt.ControllerLease())
	}
	return until
}

// counts tells whether a copy must have every entry, and grant leases.
func (p *progress) counts() bool { return !p.learner || p.joining }

// Writable tells whether writes may be taken: there are copies enough (R13), and not too much waits for its commit already, as
// when a copy is stuck and nobody can be reached who takes it out of the ISR (R18). A copy that is merely slow is taken out before.
func (r *Replica) Writable() bool {
	return r.enoughCopies() && r.log.bytesAfter(r.commit+1) <= uncommittedLags*r.opt.LagBytesMax
}

// uncommittedLags is how many times the lag for which a copy is to leave may wait for its commit.
const uncommittedLags = 4

func (r *Replica) enoughCopies() bool { return len(r.row.ISR) >= r.opt.Settings.MinISR }

// advance moves the commit to what every member of the ISR holds (R12). With too few of them it stays where it is (R13), and so it
// does where losses are reset and the controller does not vouch for this node (R10): what is held by all may be gone already.
//
//  1. P executes a write under its lease. Before its backup B has that, both are cut off, from each other too.
//  2. The controller fences them: the row is lost. After 2 L it is reset at N, which begins empty.
//  3. P and B reach each other before either hears of that. B takes the write, and P acknowledges it.
//
// While the word lasts nothing is reset, and who was dropped last has what is committed by then. It is not the lease that is asked
// for: a B that takes what it is sent is enough where nothing is reset. When the controller vouches again, Tick moves the commit on.
func (r *Replica) advance(s *Step, now time.Duration) {
	if r.role != primary || !r.enoughCopies() {
		return
	}
	commit := r.log.last
	for _, p := range r.peers {
		if p.counts() {
			commit = min(commit, p.match)
		}
	}
	switch {
	case commit <= r.commit:
	case r.opt.Settings.ResetLost && now >= r.opt.ControllerLease():
		r.opt.Marks.hit(CommitUnvouched)
	default:
		r.commit = commit
		s.Committed = true
	}
	r.trim()
}

// trim lets go of what nobody needs: entries that are applied here, and acked by every copy that is being brought up to date
// from the log.
func (r *Replica) trim() {
	upTo := min(r.commit, r.applied)
	for _, p := range r.peers {
		if p.state != probing {
			upTo = min(upTo, p.match)
		}
	}
	r.trimLog(upTo)
}

// trimLog has the log let go of what is not needed, once that is a share of what it keeps: the oldest entries have left the processor's
// cache, and to look at one of them with each batch takes longer than at many that lie one behind the other.
func (r *Replica) trimLog(upTo uint64) {
	if r.log.bytes > r.opt.KeepBytes+r.opt.KeepBytes/trimShare {
		r.log.trim(upTo, r.opt.KeepBytes)
	}
}

const trimShare = 8
