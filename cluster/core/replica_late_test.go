package core

import (
	"slices"
	"testing"
	"time"
)

// R4: The start of a walk that is sent a second time shows more than the first: an answer to the first must not vouch for it.
func TestR4WalkStartSentTwice(t *testing.T) {
	row := testRow(2, 2, []Member{memA}, memB)
	a, b := newTestReplica(memA), newTestReplica(memB)
	a.follow(row, ms(1))
	b.follow(row, ms(1))
	a.granted(0, memB)
	a.proposeN(10, ms(1))
	a.OnAck(*b.OnAppend(a.pull(t, memB, ms(1))).Answer, ms(1)) // rejected: the walk begins
	first := a.Chunk(memB, nil, WalkDone, ms(1))               // at 10; slow: old connection, say
	a.granted(ms(250), memB)
	a.Tick(ms(250))                                   // retried: probing
	r := *b.OnAppend(a.pull(t, memB, ms(250))).Answer // still at nothing
	a.proposeN(1, ms(255))                            // 11: committed by a alone
	a.OnAck(r, ms(260))
	if _, ok := a.WantsChunk(memB); ok {
		a.Chunk(memB, nil, WalkDone, ms(260)) // again, at 11; on its way
	}
	s := a.OnAck(*b.OnChunk(first).Answer, ms(270)) // the first one's answer
	if len(s.Propose) > 0 && b.Last() < a.Commit() {
		t.Errorf("R4: grow proposed with %d of %d committed entries", b.Last(), a.Commit())
	}
}

// R12: A rejection from before the walk that arrives when the copy counts neither restarts it nor vouches for anything.
func TestR12LateRejectionVouchesForNothing(t *testing.T) {
	row := testRow(2, 2, []Member{memA}, memB)
	a, b := newTestReplica(memA), newTestReplica(memB)
	a.follow(row, 0)
	b.follow(row, 0)
	a.granted(0, memB)
	a.proposeN(3, 0)
	a.OnAck(*b.OnAppend(a.pull(t, memB, 0)).Answer, 0)
	chunk := a.Chunk(memB, nil, WalkDone, 0)
	a.proposeN(1, 0)
	overtakes := a.pull(t, memB, 0)
	late := *b.OnAppend(overtakes).Answer // rejected: nothing here yet; the answer takes its time
	a.OnAck(*b.OnChunk(chunk).Answer, 0)
	a.OnAck(*b.OnAppend(overtakes).Answer, 0) // repeated on the way; taken
	a.granted(ms(10), memB)
	a.Tick(ms(10))
	grown := testRow(3, 2, []Member{memA, memB})
	a.follow(grown, ms(20))
	b.follow(grown, ms(20))
	talk(t, a, b, ms(30))
	a.proposeN(1, ms(40))   // 5
	a.pull(t, memB, ms(40)) // on its way
	a.OnAck(late, ms(50))
	if _, ok := a.WantsChunk(memB); ok {
		a.Chunk(memB, nil, WalkDone, ms(50))
	}
	a.proposeN(1, ms(60))
	if b.Last() < a.Commit() {
		t.Errorf("R12: committed %d; the member of the ISR has %d", a.Commit(), b.Last())
	}
}

// R19: What a copy lacks may be trimmed while it is asked where it is.
func TestR19TrimmedWhileAsked(t *testing.T) {
	a, b := leaderAndBackup(t, 1)
	row := testRow(3, 2, []Member{memA}, memB)
	a.follow(row, ms(10))
	b.follow(row, ms(10))
	a.opt.KeepBytes = 1000
	a.PeerReset(memB, ms(20))
	ack := *b.OnAppend(a.pull(t, memB, ms(20))).Answer
	a.proposeN(100, ms(30)) // within the round trip
	a.OnAck(ack, ms(40))
	talk(t, a, b, ms(50))
}

// R1: A copy that missed the row in which it was dropped starts its walk anew.
func TestR1WalkOfAnEarlierStint(t *testing.T) {
	a, b := walkBegins(t, memB, 3)
	a.OnAck(*b.OnChunk(a.Chunk(memB, nil, 100, 0)).Answer, 0)
	back := testRow(4, 2, []Member{memA}, memB).since(memB, 4)
	a.follow(testRow(3, 2, []Member{memA}), ms(10))
	a.follow(back, ms(20))
	b.follow(back, ms(20))
	talk(t, a, b, ms(30))
	if b.bound != WalkDone {
		t.Errorf("not filled: %s", b.describe())
	}
}

// R19: A lost chunk is sent again, though entries go on being acked.
func TestR19LostChunk(t *testing.T) {
	row := testRow(2, 2, []Member{memA}, memB)
	a, b := newTestReplica(memA), newTestReplica(memB)
	a.follow(row, 0)
	b.follow(row, 0)
	a.OnAck(*b.OnAppend(a.pull(t, memB, 0)).Answer, 0)
	a.OnAck(*b.OnChunk(a.Chunk(memB, nil, 100, 0)).Answer, 0)
	a.Chunk(memB, nil, 200, 0) // lost
	for now := ms(0); now < time.Minute; now += ms(50) {
		a.proposeN(1, now)
		for {
			m, ok := a.Pull(memB, now)
			if !ok {
				break
			}
			a.OnAck(*b.OnAppend(m).Answer, now)
		}
		a.Tick(now)
		if start, ok := a.WantsChunk(memB); ok && start == 100 {
			return
		}
	}
	t.Errorf("not sent again within a minute: %s", a.describe())
}

// R19: The start of a walk came late, the start of the one that replaced it was lost. What the copy has suits the question where it is,
// but is of the walk that was given up; a third one begins.
func TestR19LateStartThenLostStart(t *testing.T) {
	row := testRow(2, 2, []Member{memA}, memB)
	a, b := newTestReplica(memA), newTestReplica(memB)
	now := ms(1)
	a.follow(row, now)
	b.follow(row, now)
	a.proposeN(3, now)
	a.OnAck(*b.OnAppend(a.pull(t, memB, now)).Answer, now)
	late := a.Chunk(memB, nil, 100, now)
	now += a.opt.RetryAfter + ms(1)
	a.Tick(now)
	a.OnAck(*b.OnAppend(a.pull(t, memB, now)).Answer, now) // nothing here: the next walk
	a.Chunk(memB, nil, 100, now)                           // lost
	a.OnAck(*b.OnChunk(late).Answer, now)
	for end := now + 2*a.opt.RetryAfter; now < end; now += ms(50) {
		a.Tick(now)
		if m, ok := a.Pull(memB, now); ok {
			a.OnAck(*b.OnAppend(m).Answer, now)
		}
		if start, ok := a.WantsChunk(memB); ok && start == 0 {
			return
		}
	}
	t.Errorf("no walk begins: %s, %s", a.describe(), b.describe())
}

// R15: A copy that cannot go on is not asked again without a pause, and two whole logs without a common reign meet at 0.
func TestR15DivergedIsNotAskedAtOnce(t *testing.T) {
	copies := inSync(t, memA, memB, memC)
	a, b, c := copies[0], copies[1], copies[2]
	a.proposeN(1, 0)
	talk(t, a, c, 0) // c has 1 of reign 2, b nothing
	row := testRow(3, 3, []Member{memB, memC})
	b.follow(row, ms(10))
	c.follow(row, ms(10))
	b.proposeN(1, ms(20))
	messages := 0
	var proposed []Change
	for range 1000 {
		m, ok := b.Pull(memC, ms(30))
		if !ok {
			break
		}
		messages++
		proposed = append(proposed, b.OnAck(*c.OnAppend(m).Answer, ms(30)).Propose...)
	}
	if messages > 10 {
		t.Errorf("%d messages at one moment; proposed %v", messages, proposed)
	}
	if len(proposed) > 0 {
		t.Errorf("R15: both logs are whole, their common point is 0, and c has applied %d: proposed %v", c.applied, proposed)
	}
}

// R11: News of a commit that are lost are repeated.
func TestR11LostNews(t *testing.T) {
	copies := inSync(t, memA, memB, memC)
	a, b, c := copies[0], copies[1], copies[2]
	a.granted(0, memB, memC)
	a.proposeN(1, 0)
	toB, toC := a.pull(t, memB, 0), a.pull(t, memC, 0)
	ackB := *b.OnAppend(toB).Answer
	a.OnAck(*c.OnAppend(toC).Answer, 0)
	a.OnAck(ackB, 0)
	a.Tick(ms(50))
	a.pull(t, memB, ms(50)) // the news; lost
	a.OnAck(ackB, ms(60))   // repeated on the way
	for now := ms(100); now < ms(10000); now += ms(50) {
		a.granted(now, memB, memC)
		a.Tick(now)
		talk(t, a, b, now)
	}
	if b.Commit() != a.Commit() {
		t.Errorf("after 10 s of quiet: commit %d, the backup knows of %d", a.Commit(), b.Commit())
	}
}

// A round trip longer than RetryAfter does not keep a copy from being found.
func TestLongRoundTrip(t *testing.T) {
	a, b := leaderAndBackup(t, 1)
	a.PeerReset(memB, ms(10))
	type due struct {
		at  time.Duration
		ack Ack
	}
	var on []due
	for now := ms(50); now < time.Minute; now += ms(50) {
		a.granted(now, memB)
		a.Tick(now)
		for {
			m, ok := a.Pull(memB, now)
			if !ok {
				break
			}
			on = append(on, due{now + ms(300), *b.OnAppend(m).Answer})
		}
		for len(on) > 0 && on[0].at <= now {
			a.OnAck(on[0].ack, now)
			on = on[1:]
		}
		if a.progressOf(memB).state == replicating {
			return
		}
	}
	t.Errorf("still asking after a minute: %s", a.describe())
}

// R18: What is executed and not committed has a bound, also where no shrink comes.
func TestR18UncommittedIsBounded(t *testing.T) {
	a, _ := leaderAndBackup(t, 1)
	a.granted(ms(100), memB)
	for range 100 {
		if !a.Serving(ms(200)) || !a.Writable() {
			return
		}
		a.Propose(1, make([]byte, 1<<20), ms(200))
	}
	t.Errorf("%d MB executed and not committed, and still writable; LagBytesMax is %d", a.log.bytes>>20, a.opt.LagBytesMax)
}

// R18: one oversized batch drops no backup, however long it is on its way, and refuses no writes.
func TestR18OversizedBatch(t *testing.T) {
	a, _ := leaderAndBackup(t, 1)
	a.granted(ms(100), memB)
	a.Propose(1, make([]byte, 8*a.opt.LagBytesMax), ms(100))
	if s := a.Tick(ms(150)); len(s.Propose) > 0 || !a.Writable() {
		t.Errorf("proposed %v, writable %v", s.Propose, a.Writable())
	}
	for !a.Writable() || a.log.bytesAfter(a.Commit()+1) <= a.opt.LagBytesMax {
		a.Propose(1, make([]byte, 1<<20), ms(150))
	}
	if s := a.Tick(ms(200)); len(s.Propose) != 1 || s.Propose[0].Kind != Shrink || !a.Writable() {
		t.Errorf("with as much again behind it: proposed %v, writable %v", s.Propose, a.Writable())
	}
}

// R8: A partition that is reset after it was lost waits for what was promised to the one who led before.
func TestR8ResetKeepsPromises(t *testing.T) {
	_, b := leaderAndBackup(t, 1)
	b.follow(testRow(3, 2, []Member{memA, memB}), ms(100))
	b.promises(memA, ms(200)) // a serves until 1200 by it
	b.follow(testRow(4, 2, []Member{memA}), ms(210))
	b.follow(lostRow(5, 2, memA), ms(220))
	reset := testRow(6, 6, []Member{memB})
	reset.Born = 6
	if b.follow(reset, ms(230)); b.Serving(ms(240)) {
		t.Errorf("R8: serves at 240 ms, with a promise to a until %s", b.leases.Promise(memA))
	}
}

// R3: Members that never registered are forgotten.
func TestR3HeardIsBounded(t *testing.T) {
	r := newControlRoom(t, oneRow, memA)
	for i := range 200 {
		r.alive = []Member{memA, {"x", Incarnation{byte(i), 1}}}
		r.run(ms(50))
	}
	r.alive = []Member{memA}
	r.run(time.Hour / 60)
	if len(r.c.heard) > 5 {
		t.Errorf("%d remembered", len(r.c.heard))
	}
}

// R19: what the log has skipped nobody asks for: who comes is filled, whatever it says of itself.
func TestR19SkippedEntriesAreWalked(t *testing.T) {
	a, _ := leaderAndBackup(t, 1)
	a.Propose(1, []byte("kept"), ms(10))
	a.follow(testRow(3, 1, []Member{memA}), ms(20))
	if !a.Alone() {
		t.Fatal("the primary is not alone")
	}
	a.Skip(2)
	a.Skip(3)
	if a.Last() != 4 || a.Commit() != 4 || a.log.base != 4 || a.TimeMs() != 3 || len(a.log.entries) != 0 {
		t.Fatalf("after two skipped entries: last %d, commit %d, base %d, time %d, %d kept", a.Last(), a.Commit(), a.log.base, a.TimeMs(), len(a.log.entries))
	}
	a.follow(testRow(4, 1, []Member{memA}, memB), ms(30))
	if a.Alone() {
		t.Fatal("with a learner it is not alone")
	}
	m, ok := a.Pull(memB, ms(30))
	if !ok {
		t.Fatal("the learner is not asked where it is")
	}
	stint := a.row.StintOf(memB)
	reject := Ack{From: memB, To: memA, Reign: a.row.Reign, Stint: stint, Rejected: true, Ticket: m.Ticket,
		Position: Position{Match: 2, Applied: 2, Bound: WalkDone, Reigns: slices.Clone(a.log.reigns)}}
	a.OnAck(reject, ms(31))
	if _, ok := a.WantsChunk(memB); !ok {
		t.Error("a copy that lacks what was skipped is not walked")
	}
	a.Propose(4, []byte("after"), ms(40))
	if a.log.base != 4 || a.Last() != 5 || string(a.log.at(5).Payload) != "after" {
		t.Errorf("the log goes on at %d with base %d", a.Last(), a.log.base)
	}
}

// R4: What a primary inherited may be committed without its knowing, so a learner joins only once it has all of it.
func TestR4LearnerLacksWhatIsInherited(t *testing.T) {
	copies := inSync(t, memA, memB, memC)
	a, b, c := copies[0], copies[1], copies[2]
	a.proposeN(9, 0)
	talk(t, a, b, 0)
	talk(t, a, c, 0)
	out := testRow(3, 2, []Member{memA, memB}, memC).since(memC, 3) // c comes back as a learner
	for _, r := range copies {
		r.follow(out, ms(10))
	}
	a.proposeN(1, ms(10))
	a.OnAck(*b.OnAppend(a.pull(t, memB, ms(10))).Answer, ms(10))
	if a.Commit() != 10 || b.Commit() != 9 {
		t.Fatalf("a has committed %d, b knows of %d", a.Commit(), b.Commit())
	}
	b.opt.Settings.MinISR = 2
	led := testRow(4, 4, []Member{memB}, memC).since(memC, 3)
	b.follow(led, ms(20))
	c.follow(led, ms(20))
	b.granted(ms(20), memC)
	question := b.pull(t, memC, ms(20))
	s := b.OnAck(*c.OnAppend(question).Answer, ms(20))
	if len(s.Propose) > 0 {
		t.Errorf("%v is proposed with %d of %d entries", s.Propose, c.Last(), a.Commit())
	}
	if proposed, _ := talk(t, b, c, ms(20)); len(proposed) != 1 || proposed[0].Kind != Grow || c.Last() != 10 {
		t.Errorf("with all %d entries: %v is proposed", c.Last(), proposed)
	}
}

// R8: Who has promised the primary before nothing does not join until that one's lease is over: it could lead before.
func TestR8NobodyJoinsBeforeThePromiseIsOver(t *testing.T) {
	copies := inSync(t, memA, memB)
	b, c := copies[1], newTestReplica(memC)
	b.promises(memA, ms(100))
	led := testRow(3, 3, []Member{memB}, memC).since(memC, 3)
	b.follow(led, ms(110))
	c.follow(led, ms(110))
	over := ms(100) + time.Duration(promiseFactor*float64(b.leases.Length))
	for now := ms(120); now < over; now += ms(50) {
		b.granted(now, memC)
		proposed, _ := talk(t, b, c, now)
		if proposed = append(proposed, b.Tick(now).Propose...); len(proposed) > 0 {
			t.Fatalf("%s: %v is proposed, and a may serve until %s", now, proposed, over)
		}
	}
	b.granted(over, memC)
	if s := b.Tick(over); len(s.Propose) != 1 || s.Propose[0].Kind != Grow {
		t.Errorf("then %v is proposed", s.Propose)
	}
}
