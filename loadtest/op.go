package loadtest

import "time"

// Kind is what an operation does.
type Kind uint8

const (
	Read            Kind = iota // GET
	Update                      // SET of a record that is there
	Insert                      // SET of a new record
	Scan                        // MGET of several records, one after the other
	ReadModifyWrite             // GET, and when it is answered SET of the same record
	Fill                        // a Read that missed, waited for the source and stored what came: how a read-through Read may end
	kindCount
)

var kindNames = [kindCount]string{"read", "update", "insert", "scan", "read-modify-write", "read-through fill"}

func (k Kind) String() string { return kindNames[k] }

// Op is one operation: all that is needed to carry it out, and again.
type Op struct {
	Kind   Kind
	Size   uint32        // of the value it writes, in bytes
	Count  uint32        // of the records it scans
	Key    uint64        // the record, or the first of several
	Due    time.Duration // when it was to begin, since the start of the run; latency counts from here
	charge bool          // it is measured: due after the warm-up
}

// Result is how an operation ended.
type Result struct {
	Failure Failure
	Detail  string // of a failure: what was sent and what came; built for the first of each kind alone
	Hits    uint32 // records that were asked for and there
	Misses  uint32 // and not there
	Filled  bool   // a Read missed and has stored what the source gave
}

// Failure is the kind of an error: the first word of an error reply, or one of those below. Empty is success.
type Failure string

const (
	WrongReply Failure = "wrong reply"  // not the kind of reply, or not the value, that the command asks for
	Connection Failure = "connection"   // the connection broke, or was not there
	Redirected Failure = "redirected"   // sent on from node to node without an end
	unanswered Failure = "not answered" // at the end of the run
	notSent    Failure = "not sent"     // its turn did not come before the end of the run
	otherKinds Failure = "other"        // kinds beyond failureKindsMax
)
