package core

import "time"

// promiseFactor: a promise outlasts the lease it stands for by this much, for clocks that run at different rates (R8, R17).
const promiseFactor = 1.02

// acksHeldMax bounds the acks of one peer that wait for a table; with more, the oldest go. They only ever shorten a lease.
const acksHeldMax = 8

// Beacon asks a peer, whom the sender shares partitions with, to go on accepting it (R6). Times are the sender's clock.
type Beacon struct {
	From, To Member
	Sent     time.Duration
	Version  uint64 // of the sender's table
}

// BeaconAck answers a beacon: the acker will not serve in the sender's place for a while.
type BeaconAck struct {
	From, To Member
	Sent     time.Duration // of the beacon, by the clock of who sent it
	Version  uint64        // of the table that the acker had applied (R7)
}

// Leases are one node's side of R6 to R9, towards each of its peers: the leases it was granted, and the promises it gave.
// One pair of nodes shares one lease for all their partitions.
type Leases struct {
	Self   Member
	Length time.Duration // L

	version uint64 // of the table that is applied here
	peers   map[Member]*peerLease
	marks   *Marks
}

type peerLease struct {
	until    time.Duration // the newest counted beacon was sent then, plus L
	held     []BeaconAck   // acks from beyond our table
	promised time.Duration // when the last ack was sent to it
	acked    bool          // an ack was ever sent
}

// NewLeases returns those of a node that has just started. marks may be nil.
func NewLeases(self Member, length time.Duration, marks *Marks) *Leases {
	return &Leases{Self: self, Length: length, peers: map[Member]*peerLease{}, marks: marks}
}

func (l *Leases) peer(m Member) *peerLease {
	p := l.peers[m]
	if p == nil {
		p = &peerLease{}
		l.peers[m] = p
	}
	return p
}

// Beacon is what to send to a peer now.
func (l *Leases) Beacon(to Member, now time.Duration) Beacon {
	return Beacon{From: l.Self, To: to, Sent: now, Version: l.version}
}

// OnBeacon answers a beacon; false: it is not for this incarnation, and gets no answer (R1).
func (l *Leases) OnBeacon(b Beacon, now time.Duration) (BeaconAck, bool) {
	if b.To != l.Self {
		l.marks.hit(BeaconForAnother)
		return BeaconAck{}, false
	}
	p := l.peer(b.From)
	p.promised, p.acked = now, true
	return BeaconAck{From: l.Self, To: b.From, Sent: b.Sent, Version: l.version}, true
}

// OnAck counts an ack towards the lease, once the table that the acker had applied is applied here too: its row may name
// another primary (R7). The lease runs from when the beacon was sent: the ack may have been on its way for any time.
func (l *Leases) OnAck(a BeaconAck, now time.Duration) {
	if a.To != l.Self || a.Sent > now {
		return // not an answer to anything that this incarnation has sent
	}
	p := l.peer(a.From)
	if a.Version > l.version {
		l.marks.hit(AckHeld)
		if len(p.held) == acksHeldMax {
			p.held = p.held[1:]
		}
		p.held = append(p.held, a)
		return
	}
	p.until = max(p.until, a.Sent+l.Length)
}

// TableApplied tells which table is applied now, after every row of it has been.
func (l *Leases) TableApplied(version uint64) {
	l.version = version
	for _, p := range l.peers {
		kept := p.held[:0]
		for _, a := range p.held {
			if a.Version > version {
				kept = append(kept, a)
				continue
			}
			p.until = max(p.until, a.Sent+l.Length)
		}
		p.held = kept
	}
}

// Until is when the lease that a peer granted runs out; 0 where it never did.
func (l *Leases) Until(peer Member) time.Duration {
	if p := l.peers[peer]; p != nil {
		return p.until
	}
	return 0
}

// Promise is until when this node has promised a peer not to take its place (R8).
func (l *Leases) Promise(peer Member) time.Duration {
	p := l.peers[peer]
	if p == nil || !p.acked {
		return 0
	}
	return p.promised + time.Duration(promiseFactor*float64(l.Length))
}

// Promises is until when any promise runs: for a row that skipped epochs, in which anybody may have been the primary.
func (l *Leases) Promises() (until time.Duration) {
	for m := range l.peers {
		until = max(until, l.Promise(m))
	}
	return until
}

// Prune drops peers that are gone for good, once what was promised to them has run out.
func (l *Leases) Prune(gone func(Member) bool, now time.Duration) {
	for m := range l.peers {
		if gone(m) && l.Promise(m) <= now {
			delete(l.peers, m)
		}
	}
}
