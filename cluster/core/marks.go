package core

// Mark names a branch of a rule, so that a simulation can tell which it has reached.
type Mark int

const (
	BeaconForAnother Mark = iota // R1: a beacon for an earlier incarnation
	AckHeld                      // R7: an ack from beyond our table
	EpochsSkipped                // R8: the promise to everybody is kept
	LostKept                     // R10: the last copy is kept in case its incarnation comes back
	CommitUnvouched              // R10: all hold a batch, and the controller does not vouch for the primary
	Wiped                        // a copy that is no longer wanted, or of earlier data
	DeposedAhead                 // R15: a primary was replaced with entries that were not committed
	TookOverBuffer               // R15: a successor executed its buffer
	AckIgnored                   // R1: an ack of another reign, or from nobody we know
	AckOfOldWalk                 // R19
	RejectedTwice                // a rejection that was answered already
	CaughtUpFromLog              // R15, R19: a copy goes on from the log
	WalkGoesOn                   // R19: a walk goes on where it was broken off
	WalkStarts                   // R19
	WalkStartLost                // R19: the start of a walk was lost or late, and another begins
	TrimmedMeanwhile             // R19: the log was trimmed while a copy was asked where it is
	ShrinkOnReset                // R5
	ShrinkOnSilence              // R3
	ShrinkOnLag                  // R18: too much that it has not answered
	LearnerLags                  // R18: the log is kept for it no longer
	Retried                      // an unanswered message
	HandoverGivenUp              // R20: not drained in time
	HandoverOffered              // R20
	Reclaimed                    // R20: a handover whose outcome stayed unknown
	AppendIgnored                // R1
	AheadOfUs                    // R15: a copy shows entries that its primary never had
	BufferCut                    // R15
	ChunkIgnored                 // R1
	ChunkRejected                // R19
	WalkBroken                   // R19: a whole-database effect
	ControllerAwoke              // R3: the controller itself was asleep, or has just started
	FencedSilent                 // R3
	FencedBehind                 // R3
	ResetProposed                // R10
	Released                     // R8, R20: a successor that need not wait, for whoever led has stopped
	ChangeStale                  // R4: a change of a row for an epoch that is over
	ChangeRefused                // R4: a change that does not fit its row
	EarlierFenced                // R2: a registration fences the start before it
	RegisteredLate               // R2: a registration in place of a start that is no longer there
	LastCopyDropped              // R2: a partition is lost
	Resumed                      // R10: a start that comes back has what was lost with it
	marksEnd
)

// Marks counts how often each branch was reached. A nil one counts nothing.
type Marks [marksEnd]int

func (m *Marks) hit(k Mark) {
	if m != nil {
		m[k]++
	}
}

var markNames = [marksEnd]string{
	BeaconForAnother: "BeaconForAnother (R1: a beacon for an earlier incarnation)",
	AckHeld:          "AckHeld (R7: an ack from beyond our table)",
	EpochsSkipped:    "EpochsSkipped (R8: the promise to everybody is kept)",
	LostKept:         "LostKept (R10: the last copy is kept in case its incarnation comes back)",
	CommitUnvouched:  "CommitUnvouched (R10: all hold a batch, and the controller does not vouch for the primary)",
	Wiped:            "Wiped (a copy that is no longer wanted, or of earlier data)",
	DeposedAhead:     "DeposedAhead (R15: a primary was replaced with entries that were not committed)",
	TookOverBuffer:   "TookOverBuffer (R15: a successor executed its buffer)",
	AckIgnored:       "AckIgnored (R1: an ack of another reign, or from nobody we know)",
	AckOfOldWalk:     "AckOfOldWalk (R19)",
	RejectedTwice:    "RejectedTwice (a rejection that was answered already)",
	CaughtUpFromLog:  "CaughtUpFromLog (R15, R19: a copy goes on from the log)",
	WalkGoesOn:       "WalkGoesOn (R19: a walk goes on where it was broken off)",
	WalkStarts:       "WalkStarts (R19)",
	WalkStartLost:    "WalkStartLost (R19: the start of a walk was lost or late, and another begins)",
	TrimmedMeanwhile: "TrimmedMeanwhile (R19: the log was trimmed while a copy was asked where it is)",
	ShrinkOnReset:    "ShrinkOnReset (R5)",
	ShrinkOnSilence:  "ShrinkOnSilence (R3)",
	ShrinkOnLag:      "ShrinkOnLag (R18: too much that it has not answered)",
	LearnerLags:      "LearnerLags (R18: the log is kept for it no longer)",
	Retried:          "Retried (an unanswered message)",
	HandoverGivenUp:  "HandoverGivenUp (R20: not drained in time)",
	HandoverOffered:  "HandoverOffered (R20)",
	Reclaimed:        "Reclaimed (R20: a handover whose outcome stayed unknown)",
	AppendIgnored:    "AppendIgnored (R1)",
	AheadOfUs:        "AheadOfUs (R15: a copy shows entries that its primary never had)",
	BufferCut:        "BufferCut (R15)",
	ChunkIgnored:     "ChunkIgnored (R1)",
	ChunkRejected:    "ChunkRejected (R19)",
	WalkBroken:       "WalkBroken (R19: a whole-database effect)",
	ControllerAwoke:  "ControllerAwoke (R3: the controller itself was asleep, or has just started)",
	FencedSilent:     "FencedSilent (R3)",
	FencedBehind:     "FencedBehind (R3)",
	ResetProposed:    "ResetProposed (R10)",
	Released:         "Released (R8, R20: a successor that need not wait, for whoever led has stopped)",
	ChangeStale:      "ChangeStale (R4: a change of a row for an epoch that is over)",
	ChangeRefused:    "ChangeRefused (R4: a change that does not fit its row)",
	EarlierFenced:    "EarlierFenced (R2: a registration fences the start before it)",
	RegisteredLate:   "RegisteredLate (R2: a registration in place of a start that is no longer there)",
	LastCopyDropped:  "LastCopyDropped (R2: a partition is lost)",
	Resumed:          "Resumed (R10: a start that comes back has what was lost with it)",
}

func (k Mark) String() string { return markNames[k] }
