package core

import (
	"testing"
	"time"
)

// ms is a moment of a node's clock.
func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

// Members of the unit tests. memB2 is the next start of memB's node.
var (
	memA  = Member{"a", Incarnation{1}}
	memB  = Member{"b", Incarnation{1}}
	memB2 = Member{"b", Incarnation{2}}
	memC  = Member{"c", Incarnation{1}}
	memD  = Member{"d", Incarnation{1}}
)

func newTestLeases(self Member) *Leases { return NewLeases(self, time.Second, nil) }

// R1: a beacon for an earlier start of this node gets no answer, and promises nothing.
func TestR1BeaconForAnotherIncarnation(t *testing.T) {
	b := newTestLeases(memB2)
	if ack, ok := b.OnBeacon(Beacon{From: memA, To: memB, Sent: ms(10)}, ms(500)); ok {
		t.Errorf("a beacon for %s was answered by %s: %+v", memB, memB2, ack)
	}
	if got := b.Promise(memA); got != 0 {
		t.Errorf("and promised something until %s", got)
	}
}

// R1: nor does the answer to an earlier start of the sender count, nor one to a beacon that was not sent yet.
func TestR1AckForAnotherIncarnation(t *testing.T) {
	for _, ack := range []BeaconAck{
		{From: memA, To: memB, Sent: ms(10)},
		{From: memA, To: memB2, Sent: ms(101)},
	} {
		b := newTestLeases(memB2)
		if b.OnAck(ack, ms(100)); b.Until(memA) != 0 {
			t.Errorf("%+v at %s gave a lease until %s", ack, ms(100), b.Until(memA))
		}
	}
}

// R7: a lease is counted from when its beacon was sent, by the sender's clock; the newest beacon counts, whatever the order.
func TestR7LeaseFromTheSending(t *testing.T) {
	a := newTestLeases(memA)
	steps := []struct{ sent, now, until int }{
		{100, 900, 1100}, // 800 ms on the way
		{50, 950, 1100},  // an older one, late
		{300, 960, 1300},
		{100, 970, 1100 + 200}, // the first once more
	}
	for _, s := range steps {
		a.OnAck(BeaconAck{From: memB, To: memA, Sent: ms(s.sent)}, ms(s.now))
		if got := a.Until(memB); got != ms(s.until) {
			t.Errorf("after the ack of %d at %d: until %s, want %s", s.sent, s.now, got, ms(s.until))
		}
	}
	if got := a.Until(memC); got != 0 {
		t.Errorf("who never answered grants until %s", got)
	}
}

// R7: an ack of a newer table counts when that table is applied here, no sooner.
func TestR7AckOfANewerTable(t *testing.T) {
	a := newTestLeases(memA)
	a.TableApplied(4)
	a.OnAck(BeaconAck{From: memB, To: memA, Sent: ms(100), Version: 4}, ms(110))
	a.OnAck(BeaconAck{From: memB, To: memA, Sent: ms(300), Version: 5}, ms(310))
	a.OnAck(BeaconAck{From: memB, To: memA, Sent: ms(500), Version: 7}, ms(510))
	for _, s := range []struct {
		version uint64
		until   int
	}{{4, 1100}, {5, 1300}, {6, 1300}, {7, 1500}} {
		if a.TableApplied(s.version); a.Until(memB) != ms(s.until) {
			t.Errorf("with table %d: until %s, want %s", s.version, a.Until(memB), ms(s.until))
		}
	}
}

// R7: acks that wait for a table are bounded, and the newest are kept: they are worth the most.
func TestR7HeldAcksAreBounded(t *testing.T) {
	a := newTestLeases(memA)
	for i := range 10 * acksHeldMax {
		a.OnAck(BeaconAck{From: memB, To: memA, Sent: ms(i), Version: 1}, ms(1000))
	}
	if held := len(a.peers[memB].held); held > acksHeldMax {
		t.Errorf("%d acks are held, want %d at most", held, acksHeldMax)
	}
	a.TableApplied(1)
	if got, want := a.Until(memB), ms(10*acksHeldMax-1)+time.Second; got != want {
		t.Errorf("until %s, want %s", got, want)
	}
}

// R8: a promise runs 1.02 L from the last ack, so that it outlasts the lease by clocks whose rates differ by up to 2 %.
func TestR8PromiseOutlastsTheLease(t *testing.T) {
	b := newTestLeases(memB)
	b.TableApplied(3)
	ack, ok := b.OnBeacon(Beacon{From: memA, To: memB, Sent: ms(77)}, ms(5000))
	if want := (BeaconAck{From: memB, To: memA, Sent: ms(77), Version: 3}); !ok || ack != want {
		t.Fatalf("answer %+v, want %+v", ack, want)
	}
	if got, want := b.Promise(memA), ms(5000+1020); got != want {
		t.Errorf("promise until %s, want %s", got, want)
	}
	if got := b.Promise(memC); got != 0 {
		t.Errorf("a promise to one that was never answered, until %s", got)
	}
	b.OnBeacon(Beacon{From: memC, To: memB, Sent: ms(1)}, ms(4000))
	if got, want := b.Promises(), ms(5000+1020); got != want {
		t.Errorf("all promises until %s, want the latest, %s", got, want)
	}
}

// R8: a promise at the clock's zero is one, too.
func TestR8PromiseAtZero(t *testing.T) {
	b := newTestLeases(memB)
	b.OnBeacon(Beacon{From: memA, To: memB}, 0)
	if got := b.Promise(memA); got != ms(1020) {
		t.Errorf("promise until %s, want %s", got, ms(1020))
	}
}

// R8: a peer is forgotten no sooner than what was promised to it is over.
func TestR8PruneKeepsPromises(t *testing.T) {
	b := newTestLeases(memB)
	b.OnBeacon(Beacon{From: memA, To: memB}, ms(100))
	gone := func(m Member) bool { return m == memA }
	if b.Prune(gone, ms(1119)); b.Promise(memA) != ms(1120) {
		t.Errorf("a promise was forgotten before its end")
	}
	if b.Prune(gone, ms(1120)); len(b.peers) != 0 {
		t.Errorf("a peer is kept after its end")
	}
}
