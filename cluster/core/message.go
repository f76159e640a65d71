package core

// Bound is how far a walk over a partition has come: keys whose hash is below it are copied (R19).
type Bound uint64

// WalkDone is the bound of a copy that has all keys.
const WalkDone Bound = 1<<64 - 1

// Append carries entries, or just news of the commit, from a primary to one copy.
type Append struct {
	From, To  Member
	Partition int
	Reign     uint64 // of the sender
	Stint     uint64 // of the copy, as the sender knows it
	Prev      uint64 // Entries follow this sequence number,
	PrevEpoch uint64 // which was written in this reign
	Entries   []Entry
	Commit    uint64
	Ticket    uint64 // counts the primary's messages to this copy; the answer repeats it
}

// Chunk carries a stretch of a walk to a learner. The keys are as they were at sequence number Seq; the learner must be
// exactly there, and its walk at Start.
type Chunk struct {
	From, To   Member
	Partition  int
	Reign      uint64
	Stint      uint64
	Walk       uint32 // which walk this is, counted by the primary: what is left of an earlier one must not be mistaken for it
	Seq        uint64
	Reigns     []Reign // of the log up to Seq
	TimeMs     int64   // log time at Seq
	Start, End Bound
	Data       []byte
	Ticket     uint64
}

// Ack answers both, and says how far the copy is.
type Ack struct {
	From, To  Member
	Partition int
	Reign     uint64
	Stint     uint64
	// Rejected: what came did not fit; Position says where to go on.
	Rejected bool
	Ticket   uint64 // of what is answered
	Position Position
}

// Position is how far a copy is.
type Position struct {
	Match   uint64  // it has all entries up to here, as the primary has them; in a rejection: as far as it can tell by itself
	Applied uint64  // these are in its data, and cannot be cut
	Bound   Bound   // of its walk
	Walk    uint32  // the walk of this reign that Bound belongs to; 0 = none of this reign
	Reigns  []Reign // in rejections only
}
