package core

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// testOptions are those of a grid that takes writes with one copy; a copy is granted leases by hand.
func testOptions() *Options {
	o := DefaultOptions(Settings{Partitions: 1, Copies: 2, MinISR: 1})
	o.ControllerLease = func() time.Duration { return 0 }
	return &o
}

func newTestReplica(self Member) *Replica { return NewReplica(0, newTestLeases(self), testOptions()) }

// testRow is a row whose copies all have been there since epoch 1, and whose primary, the first, leads since reign.
func testRow(epoch, reign uint64, isr []Member, learners ...Member) *Row {
	r := &Row{Epoch: epoch, Version: epoch, Born: 1, Reign: reign, Primary: isr[0], ISR: isr, Learners: learners}
	for _, m := range append(slices.Clone(isr), learners...) {
		r.Stints = append(r.Stints, Stint{m, 1})
	}
	return r
}

// lostRow is one that has no copy left.
func lostRow(epoch, reign uint64, last Member) *Row {
	return &Row{Epoch: epoch, Version: epoch, Born: 1, Reign: reign, State: Lost, LastDropped: last}
}

// since gives a copy another stint.
func (r *Row) since(m Member, epoch uint64) *Row {
	for i := range r.Stints {
		if r.Stints[i].Member == m {
			r.Stints[i].Since = epoch
		}
	}
	return r
}

// follow applies a row and its table.
func (r *Replica) follow(row *Row, now time.Duration) Step {
	s := r.ApplyRow(row, now)
	r.leases.TableApplied(row.Version)
	return s
}

// granted lets members answer a beacon of now.
func (r *Replica) granted(now time.Duration, by ...Member) {
	for _, m := range by {
		r.leases.OnAck(BeaconAck{From: m, To: r.self, Sent: now, Version: r.leases.version}, now)
	}
}

// promises makes r answer a beacon.
func (r *Replica) promises(to Member, now time.Duration) {
	r.leases.OnBeacon(Beacon{From: to, To: r.self}, now)
}

// propose executes n entries.
func (r *Replica) proposeN(n int, now time.Duration) {
	for range n {
		r.Propose(int64(r.Last()+1), fmt.Appendf(nil, "%d of reign %d", r.Last()+1, r.row.Reign), now)
	}
}

// talk exchanges messages between a primary and a copy until they have no more to say, and returns what was proposed and what
// the copy applied. A walk takes one chunk.
func talk(t *testing.T, p, c *Replica, now time.Duration) (proposed []Change, applied []Entry) {
	t.Helper()
	const talkMax = 1000
	for range talkMax {
		var s Step
		if a, ok := p.Pull(c.self, now); ok {
			s = c.OnAppend(a)
		} else if _, ok := p.WantsChunk(c.self); ok {
			s = c.OnChunk(p.Chunk(c.self, nil, WalkDone, now))
		} else {
			return proposed, applied
		}
		applied = append(applied, s.Apply...)
		if s.Answer != nil {
			proposed = append(proposed, p.OnAck(*s.Answer, now).Propose...)
		}
	}
	t.Fatalf("they talk without end: %s\n%s", p.describe(), c.describe())
	return nil, nil
}

// pull is the next message for a copy, which there must be.
func (r *Replica) pull(t *testing.T, to Member, now time.Duration) Append {
	t.Helper()
	a, ok := r.Pull(to, now)
	if !ok {
		t.Fatalf("no message for %s: %s", to, r.describe())
	}
	return a
}

// entryNames are sequence numbers and reigns, for comparison.
func entryNames(entries []Entry) (s string) {
	for _, e := range entries {
		s += fmt.Sprintf("%d:%d ", e.Seq, e.Epoch)
	}
	return s
}

func (r *Replica) logNames() string { return entryNames(r.log.from(r.log.base, 1<<30)) }

// inSync are copies that all have the same, nothing, in epoch 2. The first leads; whether others are still learners or are in the
// ISR makes no difference to what they hold: they were filled in epoch 1.
func inSync(t *testing.T, members ...Member) (copies []*Replica) {
	t.Helper()
	for i, m := range members {
		copies = append(copies, newTestReplica(m))
		copies[i].follow(testRow(1, 1, members[:1], members[1:]...), 0)
	}
	for _, c := range copies[1:] {
		talk(t, copies[0], c, 0)
	}
	for _, c := range copies {
		c.follow(testRow(2, 2, members), 0)
	}
	for _, c := range copies[1:] {
		talk(t, copies[0], c, 0)
	}
	return copies
}

// leaderAndBackup are a, which leads b since epoch 2, with n entries that both have.
func leaderAndBackup(t *testing.T, n int) (a, b *Replica) {
	t.Helper()
	copies := inSync(t, memA, memB)
	a, b = copies[0], copies[1]
	a.granted(0, memB)
	a.proposeN(n, 0)
	talk(t, a, b, 0)
	if a.Commit() != uint64(n) || b.Last() != uint64(n) {
		t.Fatalf("commit %d, the copy has %d, of %d", a.Commit(), b.Last(), n)
	}
	return a, b
}

// R1: what a copy said in an earlier reign of the same primary is passed over: it may have lost it since.
func TestR1Reign(t *testing.T) {
	a, b := leaderAndBackup(t, 0)
	a.proposeN(1, 0)
	append1 := a.pull(t, memB, 0)
	ack := *b.OnAppend(append1).Answer
	// b led in epoch 3, and a leads again.
	again := testRow(4, 4, []Member{memA, memB})
	a.follow(again, ms(10))
	a.OnAck(ack, ms(20))
	if a.Commit() != 0 {
		t.Errorf("an ack of reign %d was counted in reign %d: commit %d", ack.Reign, a.Row().Reign, a.Commit())
	}
	b.follow(again, ms(30))
	if s := b.OnAppend(append1); s.Answer != nil || len(s.Apply) > 0 {
		t.Errorf("an append of reign %d was taken in reign %d: %+v", append1.Reign, b.Row().Reign, s)
	}
	talk(t, a, b, ms(40))
	if a.Commit() != 1 {
		t.Errorf("and in its own reign it does not commit: %d of 1", a.Commit())
	}
}

// R1: chunks, too.
func TestR1ReignOfChunks(t *testing.T) {
	c := newTestReplica(memC)
	c.follow(testRow(4, 4, []Member{memA}, memC), 0)
	for _, stale := range []Chunk{
		{From: memA, To: memC, Reign: 2, Stint: 1, Walk: 1, Seq: 9, End: WalkDone},
		{From: memA, To: memC, Reign: 4, Stint: 3, Walk: 1, Seq: 9, End: WalkDone},
		{From: memB, To: memC, Reign: 4, Stint: 1, Walk: 1, Seq: 9, End: WalkDone},
		{From: memA, To: Member{"c", Incarnation{9}}, Reign: 4, Stint: 1, Walk: 1, Seq: 9, End: WalkDone},
	} {
		if s := c.OnChunk(stale); s.Load != nil || s.Answer != nil || c.Last() != 0 {
			t.Errorf("taken: %+v", stale)
		}
	}
}

// R1: a copy that leaves is wiped. What it said in an earlier stint, within one reign, is not what it has now.
func TestR1Stint(t *testing.T) {
	a, b := leaderAndBackup(t, 0)
	a.proposeN(1, 0)
	append1 := a.pull(t, memB, 0)
	ack := *b.OnAppend(append1).Answer

	alone := testRow(3, 2, []Member{memA})
	back := testRow(5, 2, []Member{memA, memB}).since(memB, 4)
	if s := b.follow(alone, ms(10)); !s.Wipe {
		t.Fatalf("a copy that left is not wiped: %+v", s)
	}
	b.follow(back, ms(20))
	if s := b.OnAppend(append1); s.Answer != nil || b.Last() != 0 {
		t.Errorf("an append of the stint since %d was taken in that since 4", append1.Stint)
	}

	a.follow(alone, ms(10)) // commits alone
	a.follow(back, ms(20))
	a.proposeN(1, ms(30))
	before := a.progressOf(memB).match
	a.OnAck(ack, ms(40))
	if got := a.progressOf(memB).match; got != before || got != 0 {
		t.Errorf("an ack of the stint since %d was counted in that since 4: match %d", ack.Stint, got)
	}
}

// R1: a message for another start of this node, or from one that does not lead, is passed over.
func TestR1Incarnation(t *testing.T) {
	b := inSync(t, memA, memB)[1]
	entry := []Entry{{Seq: 1, Epoch: 2}}
	for _, a := range []Append{
		{From: memA, To: memB2, Reign: 2, Stint: 1, Entries: entry},
		{From: memC, To: memB, Reign: 2, Stint: 1, Entries: entry},
		{From: Member{"a", Incarnation{2}}, To: memB, Reign: 2, Stint: 1, Entries: entry},
	} {
		if s := b.OnAppend(a); s.Answer != nil || b.Last() != 0 {
			t.Errorf("taken: %+v", a)
		}
	}
}

// R7, R9: a primary serves while every member of its ISR has granted it a lease; learners need not.
func TestR7Serving(t *testing.T) {
	a := newTestReplica(memA)
	a.follow(testRow(2, 2, []Member{memA, memB, memC}, memD), ms(100))
	if a.Serving(ms(100)) {
		t.Error("serves without a lease")
	}
	a.granted(ms(100), memB)
	if a.Serving(ms(110)) {
		t.Error("serves with the lease of one of two")
	}
	a.granted(ms(300), memC)
	for _, tt := range []struct {
		at   int
		want bool
	}{{300, true}, {1099, true}, {1100, false}, {1299, false}} {
		if got := a.Serving(ms(tt.at)); got != tt.want {
			t.Errorf("at %s: serving %v, want %v", ms(tt.at), got, tt.want)
		}
	}
}

// R8: whoever takes over waits for what it has promised to the one before.
func TestR8SuccessorWaits(t *testing.T) {
	b := newTestReplica(memB)
	b.follow(testRow(2, 2, []Member{memA, memB}), 0)
	b.promises(memA, ms(500))
	b.follow(testRow(3, 3, []Member{memB}), ms(600))
	for _, tt := range []struct {
		at   int
		want bool
	}{{600, false}, {1519, false}, {1520, true}} {
		if got := b.Serving(ms(tt.at)); got != tt.want {
			t.Errorf("at %s: serving %v, want %v; the promise of 500 ms runs 1.02 L", ms(tt.at), got, tt.want)
		}
	}
}

// R8: where a row skipped epochs, anybody may have led meanwhile, and been granted leases unknowingly: the successor waits for
// its promises to everybody.
func TestR8SkippedEpochs(t *testing.T) {
	three := []Member{memA, memB, memC}
	tests := []struct {
		name  string
		known *Row // before anything is promised
		rows  []*Row
		from  int // ms: serves from then on
	}{
		// Promises: to a, who led in epoch 2, of 100; to c, who may have led since, of 900.
		{"no epoch skipped: a led", testRow(2, 2, three), []*Row{testRow(3, 3, []Member{memB})}, 1120},
		{"c may have led in epoch 3", testRow(2, 2, three), []*Row{testRow(4, 4, []Member{memB})}, 1920},
		{"the first row that is known", nil, []*Row{testRow(7, 7, []Member{memB})}, 1920},
		{"and its later epochs", nil, []*Row{testRow(7, 7, []Member{memB}), testRow(8, 7, []Member{memB})}, 1920},
		{"a promise is kept over later reigns", testRow(2, 2, three),
			[]*Row{testRow(4, 4, []Member{memD, memB}), testRow(5, 5, []Member{memB})}, 1920},
		{"c led, and more was missed", testRow(2, 2, three),
			[]*Row{testRow(3, 3, []Member{memC, memB}), testRow(6, 6, []Member{memB})}, 1920},
		{"epochs skipped within a reign: nobody else led", testRow(2, 2, []Member{memB}), []*Row{testRow(5, 2, []Member{memB})}, 0},
		{"the grid's first row: nobody led before", nil, []*Row{testRow(1, 1, []Member{memB})}, 0},
	}
	for _, tt := range tests {
		b := newTestReplica(memB)
		if tt.known != nil {
			b.follow(tt.known, 0)
		}
		b.promises(memA, ms(100))
		b.promises(memC, ms(900))
		for _, row := range tt.rows {
			b.follow(row, ms(950))
		}
		// Alone, it needs no lease: only promises hold it back.
		from := 0
		for from < 3000 && !b.Serving(ms(from)) {
			from += 10
		}
		if from != tt.from {
			t.Errorf("%s: serves from %d ms on, want %d", tt.name, from, tt.from)
		}
	}
}

// R20: only by a handover is a successor released from waiting.
func TestR20ReleasedDoesNotWait(t *testing.T) {
	b := newTestReplica(memB)
	b.follow(testRow(2, 2, []Member{memA, memB}), 0)
	b.promises(memA, ms(500))
	row := testRow(3, 3, []Member{memB, memA})
	row.Released = true
	b.follow(row, ms(510))
	b.granted(ms(510), memA)
	if !b.Serving(ms(511)) {
		t.Error("waits although it was handed the partition")
	}
	// a is fenced and comes to lead again, through a fence of b: not released.
	if b.follow(testRow(4, 3, []Member{memB}), ms(520)); b.Serving(ms(530)) {
		t.Error("a row that is not released: the promise of 500 ms counts again")
	}
}

// R4: a learner joins when it is full, has what is committed and grants a lease. From the proposal on it counts, for commits and
// for leases, until a row says otherwise.
func TestR4LearnerJoins(t *testing.T) {
	row := testRow(2, 2, []Member{memA}, memB)
	a, b := newTestReplica(memA), newTestReplica(memB)
	a.follow(row, 0)
	b.follow(row, 0)
	a.proposeN(3, 0)
	if proposed, _ := talk(t, a, b, 0); len(proposed) > 0 || b.Last() != 3 {
		t.Fatalf("without a lease: proposed %v, the learner has %d of 3", proposed, b.Last())
	}
	if a.proposeN(1, 0); a.Commit() != 4 {
		t.Fatalf("a learner counts before it is to join: commit %d", a.Commit())
	}
	talk(t, a, b, 0)
	a.granted(ms(50), memB)
	grow := Change{Kind: Grow, Epoch: 2, Member: memB}
	if s := a.Tick(ms(50)); !slices.Equal(s.Propose, []Change{grow}) {
		t.Fatalf("full, with a lease: proposed %v", s.Propose)
	}
	if a.proposeN(1, ms(60)); a.Commit() != 4 {
		t.Errorf("commit %d without the learner that is to join", a.Commit())
	}
	if got := a.LeaseUntil(); got != ms(1050) {
		t.Errorf("lease until %s, want that of the learner, %s", got, ms(1050))
	}
	talk(t, a, b, ms(70))
	if a.Commit() != 5 {
		t.Errorf("commit %d with it", a.Commit())
	}
	// Another change won the epoch: the proposal is void.
	a.follow(testRow(3, 2, []Member{memA}, memB, memC), ms(80))
	if a.proposeN(1, ms(90)); a.Commit() != 6 {
		t.Errorf("a learner whose growth is void counts: commit %d", a.Commit())
	}
}

// R4: what holds back a learner: keys that it lacks, entries that it lacks.
func TestR4LearnerMustBeFull(t *testing.T) {
	row := testRow(2, 2, []Member{memA}, memB)
	a, b := newTestReplica(memA), newTestReplica(memB)
	a.follow(row, 0)
	b.follow(row, 0)
	a.granted(0, memB)
	a.proposeN(3, 0)
	acked := func(what string, answer *Ack, full bool) {
		t.Helper()
		if s := a.OnAck(*answer, 0); len(s.Propose) > 0 != full || a.progressOf(memB).joining != full {
			t.Errorf("%s: proposed %v, want to %v\n%s", what, s.Propose, full, a.describe())
		}
	}
	acked("nothing", b.OnAppend(a.pull(t, memB, 0)).Answer, false)
	acked("half of the keys", b.OnChunk(a.Chunk(memB, nil, 1000, 0)).Answer, false)
	a.proposeN(1, 0)
	last := b.OnAppend(a.pull(t, memB, 0)).Answer
	acked("all entries, half of the keys", last, false)
	acked("everything", b.OnChunk(a.Chunk(memB, nil, WalkDone, 0)).Answer, true)
}

// R4, R5: a member counts until the table says that it left, whatever was proposed; a broken connection is reason to propose.
func TestR5ShrinkOnReset(t *testing.T) {
	a, b := leaderAndBackup(t, 1)
	a.proposeN(1, ms(10))
	shrink := Change{Kind: Shrink, Epoch: 2, Member: memB}
	if s := a.PeerReset(memB, ms(20)); !slices.Equal(s.Propose, []Change{shrink}) {
		t.Fatalf("proposed %v, want %v", s.Propose, shrink)
	}
	if a.Tick(ms(30)); a.Commit() != 1 || a.LeaseUntil() != time.Second {
		t.Errorf("commit %d, lease until %s: the member that is to leave no longer counts", a.Commit(), a.LeaseUntil())
	}
	if s := a.follow(testRow(3, 2, []Member{memA}), ms(40)); !s.Committed || a.Commit() != 2 {
		t.Errorf("when it has left: commit %d, want 2", a.Commit())
	}
	if s := b.follow(testRow(3, 2, []Member{memA}), ms(40)); !s.Wipe {
		t.Errorf("who left keeps its copy")
	}
}

// R5: what was proposed of a broken connection may be lost; it is proposed again until the backup is heard.
func TestR5ShrinkAgain(t *testing.T) {
	shrink := []Change{{Kind: Shrink, Epoch: 2, Member: memB}}
	for now, want := range map[time.Duration][]Change{ms(100): nil, ms(250): shrink, ms(300): nil, ms(450): shrink} {
		a, _ := leaderAndBackup(t, 1)
		a.PeerReset(memB, ms(20))
		var got []Change
		for at := ms(50); at <= now; at += ms(50) {
			got = a.Tick(at).Propose
		}
		if !slices.Equal(got, want) {
			t.Errorf("after %s: proposed %v, want %v", now, got, want)
		}
	}
	a, b := leaderAndBackup(t, 1)
	a.PeerReset(memB, ms(20))
	a.OnAck(*b.OnAppend(a.pull(t, memB, ms(50))).Answer, ms(60))
	for at := ms(100); at < ms(600); at += ms(50) {
		if s := a.Tick(at); len(s.Propose) > 0 {
			t.Errorf("heard again, and after %s proposed %v", at, s.Propose)
		}
	}
}

// A question of a primary whose row is not here yet can be kept, and is answered once the row is here.
func TestEarlyQuestion(t *testing.T) {
	a, b := leaderAndBackup(t, 1)
	row := testRow(3, 3, []Member{memB, memA})
	b.follow(row, ms(10))
	question := b.pull(t, memA, ms(10))
	if s := a.OnAppend(question); !a.Early(&question) || s.Answer != nil {
		t.Errorf("early: %v, answer %v", a.Early(&question), s.Answer)
	}
	a.follow(row, ms(20))
	if s := a.OnAppend(question); a.Early(&question) || s.Answer == nil {
		t.Errorf("with the row: early: %v, answer %v", a.Early(&question), s.Answer)
	}
	filled := testRow(4, 3, []Member{memB}, memA).since(memA, 4)
	for _, other := range []Append{
		{To: memC, Reign: 9}, {To: memA, Reign: 3, Stint: 1}, {To: memA, Reign: 2}, {To: memA, Reign: 9, Entries: make([]Entry, 1)},
	} {
		if a.Early(&other) {
			t.Errorf("early: %+v", other)
		}
	}
	if next := (Append{To: memA, Reign: 3, Stint: 4}); !a.Early(&next) {
		t.Error("a later stint is not early")
	} else if a.follow(filled, ms(30)); a.Early(&next) {
		t.Error("a stint that has begun is early")
	}
}

// R3, R18: a backup that grants nothing for too long is to leave; the primary's own sleep is not held against it, nor its deafness.
func TestR3SilentBackup(t *testing.T) {
	deafFrom := time.Hour
	run := func(sleep time.Duration) (at time.Duration) {
		a, _ := leaderAndBackup(t, 1)
		now := time.Duration(0)
		a.opt.ControllerLease = func() time.Duration { return min(now, deafFrom) + a.leases.Length }
		for now < 5*time.Second {
			if now += ms(50); now == ms(600) {
				now += sleep
			}
			if s := a.Tick(now); len(s.Propose) > 0 {
				return now
			}
		}
		return now
	}
	if got, want := run(0), ms(750); got != want {
		t.Errorf("silent from 0 on: proposed at %s, want %s", got, want)
	}
	if got, want := run(3*time.Second), ms(600+3000+750); got != want {
		t.Errorf("and the primary slept from 600 ms to 3.6 s: proposed at %s, want %s", got, want)
	}
	if deafFrom = deafMin; run(0) < 5*time.Second {
		t.Errorf("proposed at %s, though it did not hear the controller either", run(0))
	}
}

// R10: alone, a primary needs no lease; where losses are reset it needs the controller's, alone or not.
func TestR10ControllerLease(t *testing.T) {
	for _, isr := range [][]Member{{memA}, {memA, memB}} {
		for _, reset := range []bool{false, true} {
			a := newTestReplica(memA)
			a.opt.Settings.ResetLost = reset
			vouched := ms(400)
			a.opt.ControllerLease = func() time.Duration { return vouched }
			a.follow(testRow(2, 2, isr), 0)
			a.granted(0, memB)
			if !a.Serving(ms(399)) || a.Serving(ms(400)) == reset {
				t.Errorf("ISR %v, reset %v: serving %v at 399 ms, %v at 400 ms", isr, reset, a.Serving(ms(399)), a.Serving(ms(400)))
			}
		}
	}
}

// R10: what all hold by a time at which the controller no longer vouches for the primary is not committed, however it came to be held by
// all, until the controller vouches again; elsewhere nothing asks for that.
func TestR10CommitUnvouched(t *testing.T) {
	events := map[string]func(a, b *Replica) Step{
		"an ack": func(a, b *Replica) Step { return a.OnAck(*b.OnAppend(a.pull(t, memB, 0)).Answer, ms(400)) },
		"a row":  func(a, _ *Replica) Step { return a.follow(testRow(3, 2, []Member{memA}), ms(400)) },
		"its own execution": func(a, _ *Replica) Step {
			a.follow(testRow(3, 2, []Member{memA}), ms(400))
			return a.Propose(5, nil, ms(400))
		},
	}
	for name, event := range events {
		for _, reset := range []bool{false, true} {
			a, b := leaderAndBackup(t, 3)
			vouched := ms(400)
			a.opt.Settings.ResetLost = reset
			a.opt.ControllerLease = func() time.Duration { return vouched }
			a.proposeN(1, ms(399)) // executed while it was vouched for
			s := event(a, b)
			if !reset {
				if !s.Committed || a.Commit() != a.Last() || a.Tick(ms(450)).Committed {
					t.Errorf("%s, losses are not reset: %+v, commit %d of %d", name, s, a.Commit(), a.Last())
				}
				continue
			}
			if s.Committed || a.Tick(ms(450)).Committed || a.Commit() != 3 || a.Alone() {
				t.Errorf("%s, not vouched for: %+v, commit %d, alone %v", name, s, a.Commit(), a.Alone())
			}
			vouched = ms(501)
			if s := a.Tick(ms(500)); !s.Committed || a.Commit() != a.Last() {
				t.Errorf("%s, vouched for again: %+v, commit %d of %d", name, s, a.Commit(), a.Last())
			}
		}
	}
}

// R10: the last copy is kept when the partition is lost, served by nobody, and goes on when its start resumes; all others go.
func TestR10LastCopy(t *testing.T) {
	a, b := leaderAndBackup(t, 3)
	a.proposeN(2, 0)
	b.OnAppend(a.pull(t, memB, 0)) // not committed
	lost := lostRow(4, 3, memB)    // b led in epoch 3, which it missed
	if s := a.follow(lost, ms(10)); !s.Wipe || a.Serving(ms(10)) {
		t.Errorf("a lost partition is kept by who was not the last: %+v", s)
	}
	if s := b.follow(lost, ms(10)); s.Wipe || b.Serving(ms(5000)) || b.Last() != 5 {
		t.Errorf("the last copy: %+v, %s", s, b.describe())
	}
	s := b.follow(testRow(5, 5, []Member{memB}), ms(20))
	if got := entryNames(s.Apply); got != "4:2 5:2 " || b.Commit() != 5 || s.Wipe {
		t.Errorf("resumed: applies %q, commit %d, wipe %v", got, b.Commit(), s.Wipe)
	}
}

// R10: when the loss was accepted instead, the data are of another birth: the last copy goes, even where the row of the new
// birth names its node again.
func TestR10BornAnew(t *testing.T) {
	reset := testRow(5, 5, []Member{memC})
	reset.Born = 5
	onItself := testRow(5, 5, []Member{memB})
	onItself.Born = 5
	later := lostRow(7, 5, memB) // missed: born anew on b, and lost again
	later.Born = 5
	for name, row := range map[string]*Row{"on another": reset, "on the same": onItself, "and lost again": later} {
		_, b := leaderAndBackup(t, 3)
		b.follow(lostRow(4, 3, memB), ms(10))
		if s := b.follow(row, ms(20)); !s.Wipe || b.Last() != 0 || len(s.Apply) > 0 {
			t.Errorf("reset %s: wipe %v, %s", name, s.Wipe, b.describe())
		}
	}
}

// R11: a backup holds what it gets and applies what is committed, no more than it has.
func TestR11AppliesWhatIsCommitted(t *testing.T) {
	b := inSync(t, memA, memB)[1]
	entries := []Entry{{Seq: 1, Epoch: 2}, {Seq: 2, Epoch: 2}, {Seq: 3, Epoch: 2}}
	steps := []struct {
		a     Append
		apply string
	}{
		{Append{Entries: entries[:2]}, ""},
		{Append{Prev: 2, PrevEpoch: 2, Commit: 1}, "1:2 "},
		{Append{Prev: 2, PrevEpoch: 2, Entries: entries[2:], Commit: 9}, "2:2 3:2 "}, // as far as this message vouches
		{Append{Entries: entries[:2], Commit: 1}, ""},                                // late, once more
	}
	for i, s := range steps {
		s.a.From, s.a.To, s.a.Reign, s.a.Stint = memA, memB, 2, 1
		if got := entryNames(b.OnAppend(s.a).Apply); got != s.apply {
			t.Errorf("message %d: applied %q, want %q", i, got, s.apply)
		}
	}
}

// R11: a commit beyond what a message vouches for says nothing of a buffer that the primary may not have.
func TestR11CommitVouchesForPrefix(t *testing.T) {
	b := inSync(t, memA, memB)[1]
	b.OnAppend(Append{From: memA, To: memB, Reign: 2, Stint: 1, Entries: []Entry{{Seq: 1, Epoch: 2}, {Seq: 2, Epoch: 2}, {Seq: 3, Epoch: 2}}})
	b.follow(testRow(3, 3, []Member{memC, memB}), ms(10)) // c has entry 1 only
	s := b.OnAppend(Append{From: memC, To: memB, Reign: 3, Stint: 1, Prev: 1, PrevEpoch: 2, Commit: 2})
	if got := entryNames(s.Apply); got != "1:2 " || b.Commit() != 1 {
		t.Errorf("applied %q, commit %d; c vouches for entry 1 alone", got, b.Commit())
	}
}

// R12: committed is what every member of the ISR holds.
func TestR12CommitNeedsAll(t *testing.T) {
	copies := inSync(t, memA, memB, memC)
	a, b, c := copies[0], copies[1], copies[2]
	a.proposeN(2, 0)
	if talk(t, a, b, 0); a.Commit() != 0 {
		t.Errorf("commit %d with one of two backups", a.Commit())
	}
	if talk(t, a, c, 0); a.Commit() != 2 {
		t.Errorf("commit %d with both", a.Commit())
	}
}

// R13: with fewer copies than the settings demand the commit stays, whoever is left; with enough again it goes on. What was
// executed before is not lost meanwhile.
func TestR13TooFewCopies(t *testing.T) {
	copies := inSync(t, memA, memB, memC)
	a, b, c := copies[0], copies[1], copies[2]
	a.opt.Settings.MinISR = 2
	a.proposeN(2, 0)
	talk(t, a, b, 0)
	talk(t, a, c, 0)
	a.proposeN(1, ms(10)) // reaches nobody: b and c are dead
	a.follow(testRow(3, 2, []Member{memA, memC}), ms(20))
	a.follow(testRow(4, 2, []Member{memA}), ms(30))
	if a.Writable() || a.Commit() != 2 || !a.Serving(ms(40)) {
		t.Errorf("alone: writable %v, commit %d, serving %v; reads of what is committed go on", a.Writable(), a.Commit(), a.Serving(ms(40)))
	}
	d := newTestReplica(memD)
	withLearner := testRow(5, 2, []Member{memA}, memD)
	a.follow(withLearner, ms(50))
	d.follow(withLearner, ms(50))
	a.granted(ms(60), memD)
	proposed, _ := talk(t, a, d, ms(60))
	if want := []Change{{Kind: Grow, Epoch: 5, Member: memD}}; !slices.Equal(proposed, want) {
		t.Fatalf("the learner that alone can help: proposed %v, want %v", proposed, want)
	}
	if a.Commit() != 2 {
		t.Errorf("commit %d before the table says that there are enough", a.Commit())
	}
	if a.follow(testRow(6, 2, []Member{memA, memD}), ms(70)); a.Commit() != 3 || !a.Writable() {
		t.Errorf("with enough: commit %d, writable %v", a.Commit(), a.Writable())
	}
}

// R15: a successor executes its buffer, sends what others lack, and commits it in its own reign.
func TestR15SuccessorCommitsItsBuffer(t *testing.T) {
	copies := inSync(t, memA, memB, memC)
	a, b, c := copies[0], copies[1], copies[2]
	a.proposeN(3, 0)
	talk(t, a, b, 0) // and c gets nothing
	second := testRow(3, 3, []Member{memB, memC})
	s := b.follow(second, ms(10))
	if got := entryNames(s.Apply); got != "1:2 2:2 3:2 " || s.Bound != WalkDone || b.Commit() != 0 {
		t.Fatalf("applies %q up to %x, commit %d", got, uint64(s.Bound), b.Commit())
	}
	c.follow(second, ms(10))
	if talk(t, b, c, ms(20)); b.Commit() != 3 || c.Last() != 3 {
		t.Errorf("commit %d, the backup has %d; want 3", b.Commit(), c.Last())
	}
}

// R15: a backup that diverges goes back to the common point: its buffer is cut, what is applied stays, nothing is copied anew.
func TestR15BufferCut(t *testing.T) {
	copies := inSync(t, memA, memB, memC)
	a, b, c := copies[0], copies[1], copies[2]
	a.proposeN(2, 0)
	talk(t, a, b, 0)
	talk(t, a, c, 0)
	a.proposeN(3, 0)
	talk(t, a, c, 0) // c alone has 3 to 5
	second := testRow(3, 3, []Member{memB, memC})
	b.follow(second, ms(10))
	c.follow(second, ms(10))
	b.proposeN(1, ms(20))
	proposed, _ := talk(t, b, c, ms(20))
	if got, want := c.logNames(), "1:2 2:2 3:3 "; got != want || len(proposed) > 0 {
		t.Errorf("the backup's log %q, want %q; proposed %v", got, want, proposed)
	}
	if b.Commit() != 3 || c.Last() != 3 {
		t.Errorf("commit %d, the backup has %d", b.Commit(), c.Last())
	}
	b.Tick(ms(70))
	if _, applied := talk(t, b, c, ms(70)); entryNames(applied) != "3:3 " && c.applied != 3 {
		t.Errorf("applied %q, up to %d", entryNames(applied), c.applied)
	}
}

// R15: entries beyond the common point that a message does not contradict are neither vouched for nor committed.
func TestR15UncutBufferIsNotAcked(t *testing.T) {
	b := inSync(t, memA, memB)[1]
	b.OnAppend(Append{From: memA, To: memB, Reign: 2, Stint: 1, Entries: []Entry{{Seq: 1, Epoch: 2}, {Seq: 2, Epoch: 2}}})
	b.follow(testRow(3, 3, []Member{memC, memB}), ms(10))
	s := b.OnAppend(Append{From: memC, To: memB, Reign: 3, Stint: 1, Prev: 1, PrevEpoch: 2})
	if s.Answer.Rejected || s.Answer.Position.Match != 1 {
		t.Errorf("answer %+v, want a match of 1", *s.Answer)
	}
}

// R15: a deposed primary that executed more than its successor has is copied whole, as a learner.
func TestR15DeposedPrimaryIsCopiedWhole(t *testing.T) {
	a, b := leaderAndBackup(t, 2)
	a.proposeN(2, 0) // executed, never sent
	b.follow(testRow(3, 3, []Member{memB}), ms(10))
	b.proposeN(1, ms(20))
	// a was fenced, and is back as a learner without having seen it.
	row := testRow(5, 3, []Member{memB}, memA).since(memA, 5)
	a.follow(row, ms(30))
	b.follow(row, ms(30))
	wiped := false
	for range 10 {
		if m, ok := b.Pull(memA, ms(40)); ok {
			b.OnAck(*a.OnAppend(m).Answer, ms(40))
		} else if _, ok := b.WantsChunk(memA); ok {
			s := a.OnChunk(b.Chunk(memA, nil, WalkDone, ms(40)))
			wiped = wiped || s.Wipe
			b.OnAck(*s.Answer, ms(40))
		}
	}
	if !wiped || a.Last() != 3 || a.applied != 3 {
		t.Errorf("wiped %v, %s", wiped, a.describe())
	}
}

// R19: a chunk is of one sequence number and one stretch: the learner must be there.
func TestR19ChunkMustFit(t *testing.T) {
	c := newTestReplica(memC)
	c.follow(testRow(4, 4, []Member{memA}, memC), 0)
	chunk := func(walk uint32, seq uint64, start, end Bound) Chunk {
		return Chunk{From: memA, To: memC, Reign: 4, Stint: 1, Walk: walk, Seq: seq, Reigns: []Reign{{4, 1}}, Start: start, End: end}
	}
	entry := func(seq uint64) Append {
		return Append{From: memA, To: memC, Reign: 4, Stint: 1, Prev: seq - 1, PrevEpoch: 4, Entries: []Entry{{Seq: seq, Epoch: 4}}}
	}
	if s := c.OnAppend(entry(5)); !s.Answer.Rejected {
		t.Error("entries before the walk began were taken")
	}
	steps := []struct {
		name  string
		c     Chunk
		taken bool
	}{
		{"the start", chunk(1, 4, 0, 100), true},
		{"the start, late once more", chunk(1, 4, 0, 100), false},
		{"a stretch further on", chunk(1, 4, 200, 300), false},
		{"keys of later than the entries here", chunk(1, 5, 100, 200), false},
		{"the next", chunk(1, 4, 100, 200), true},
		{"the next, late once more", chunk(1, 4, 100, 200), false},
		{"a new walk", chunk(3, 4, 0, 100), true},
		{"the start of an earlier walk, late", chunk(2, 4, 0, 100), false},
		{"the next of an earlier walk, late", chunk(1, 4, 100, 200), false},
		{"the end", chunk(3, 4, 100, WalkDone), true},
		{"the start, late, when it is full", chunk(3, 4, 0, 100), false},
	}
	for _, s := range steps {
		bound := c.bound
		step := c.OnChunk(s.c)
		if taken := step.Load != nil; taken != s.taken || step.Answer.Rejected == s.taken {
			t.Errorf("%s: taken %v, want %v", s.name, taken, s.taken)
		}
		if !s.taken && (step.Wipe || c.bound != bound || step.Answer.Position.Bound != bound) {
			t.Errorf("%s: it is refused, and changed the copy: wipe %v, bound %x, was %x", s.name, step.Wipe, uint64(c.bound), uint64(bound))
		}
	}
}

// R19: entries between the chunks of a walk are applied as far as it has come; those of a full copy when they are committed.
func TestR19EntriesDuringAWalk(t *testing.T) {
	c := newTestReplica(memC)
	c.follow(testRow(4, 4, []Member{memA}, memC), 0)
	c.OnChunk(Chunk{From: memA, To: memC, Reign: 4, Stint: 1, Walk: 1, Seq: 4, Reigns: []Reign{{4, 1}}, End: 100})
	send := func(prev uint64) Step {
		return c.OnAppend(Append{From: memA, To: memC, Reign: 4, Stint: 1, Prev: prev, PrevEpoch: 4, Entries: []Entry{{Seq: prev + 1, Epoch: 4}}})
	}
	if s := send(4); entryNames(s.Apply) != "5:4 " || s.Bound != 100 {
		t.Errorf("applied %q up to %x; want entry 5 up to 100, committed or not", entryNames(s.Apply), uint64(s.Bound))
	}
	if s := send(4); !s.Answer.Rejected || len(s.Apply) > 0 {
		t.Errorf("the same entry was applied twice: %+v", s)
	}
	c.OnChunk(Chunk{From: memA, To: memC, Reign: 4, Stint: 1, Walk: 1, Seq: 5, Reigns: []Reign{{4, 1}}, Start: 100, End: WalkDone})
	if s := send(5); len(s.Apply) > 0 || s.Answer.Rejected {
		t.Errorf("full: applied %q before its commit", entryNames(s.Apply))
	}
}

// walkBegins has a primary, A, that has executed n entries, and a learner whose walk is about to begin.
func walkBegins(t *testing.T, learner Member, n int) (a, c *Replica) {
	t.Helper()
	row := testRow(2, 2, []Member{memA}, learner)
	a, c = newTestReplica(memA), newTestReplica(learner)
	a.follow(row, 0)
	c.follow(row, 0)
	a.proposeN(n, 0)
	a.OnAck(*c.OnAppend(a.pull(t, learner, 0)).Answer, 0)
	return a, c
}

// R19: a flush ends the walk: the copy is empty, and the primary begins another.
func TestR19FlushRestartsTheWalk(t *testing.T) {
	a, c := walkBegins(t, memC, 2)
	first := a.Chunk(memC, nil, 100, 0)
	a.OnAck(*c.OnChunk(first).Answer, 0)
	a.proposeN(1, 0) // the flush
	s := c.RestartWalk(c.OnAppend(a.pull(t, memC, 0)).Answer)
	if !s.Wipe || !s.Answer.Rejected || c.Last() != 0 || c.bound != 0 {
		t.Fatalf("%+v, %s", s, c.describe())
	}
	a.OnAck(*s.Answer, 0)
	if start, ok := a.WantsChunk(memC); !ok || start != 0 {
		t.Fatalf("the primary does not begin anew: %s", a.describe())
	}
	second := a.Chunk(memC, nil, WalkDone, 0)
	if second.Walk <= first.Walk {
		t.Errorf("walk %d after walk %d", second.Walk, first.Walk)
	}
	if s := c.OnChunk(first); s.Load != nil {
		t.Error("the first walk's start was taken after the flush")
	}
	if s := c.OnChunk(second); s.Load == nil || c.Last() != 3 {
		t.Errorf("the second walk was not taken: %s", c.describe())
	}
}

// R19: a walk goes on under the next primary where it was broken off, if all that the learner has is shared.
func TestR19WalkGoesOnInTheNextReign(t *testing.T) {
	a, b := leaderAndBackup(t, 2)
	c := newTestReplica(memC)
	first := testRow(3, 2, []Member{memA, memB}, memC)
	for _, r := range []*Replica{a, b, c} {
		r.follow(first, 0)
	}
	a.OnAck(*c.OnAppend(a.pull(t, memC, 0)).Answer, 0)
	a.OnAck(*c.OnChunk(a.Chunk(memC, nil, 100, 0)).Answer, 0)
	second := testRow(4, 4, []Member{memB}, memC)
	b.follow(second, ms(10))
	c.follow(second, ms(10))
	b.OnAck(*c.OnAppend(b.pull(t, memC, ms(20))).Answer, ms(20))
	start, ok := b.WantsChunk(memC)
	if !ok || start != 100 {
		t.Fatalf("goes on at %x, %v; want 100", uint64(start), ok)
	}
	if s := c.OnChunk(b.Chunk(memC, nil, WalkDone, ms(20))); s.Load == nil || s.Wipe {
		t.Errorf("not taken: %+v", s)
	}
}

// handingOver is a, about to hand over to b, with all committed.
func handingOver(t *testing.T) (a, b *Replica, row *Row) {
	a, b = leaderAndBackup(t, 1)
	row = testRow(3, 2, []Member{memA, memB})
	row.Target = memB
	a.follow(row, ms(100))
	b.follow(row, ms(100))
	a.granted(ms(100), memB)
	return a, b, row
}

// R20: the primary stops taking commands, commits everything, and only then proposes; it never serves the epoch again. While the
// outcome is unknown it proposes once more, and in the end to go on itself.
func TestR20Handover(t *testing.T) {
	a, b, row := handingOver(t)
	a.proposeN(1, ms(110))
	if s := a.Tick(ms(120)); len(s.Propose) > 0 || a.Serving(ms(120)) {
		t.Fatalf("not drained: proposed %v, serving %v", s.Propose, a.Serving(ms(120)))
	}
	handover := Change{Kind: Handover, Epoch: 3, Member: memB}
	reclaim := Change{Kind: Reclaim, Epoch: 3, Member: memA}
	all, _ := talk(t, a, b, ms(130)) // drained: it may propose now, and must with the next tick
	for now := ms(150); now < ms(4000); now += ms(50) {
		a.granted(now, memB)
		if a.Serving(now) {
			t.Fatalf("serves at %s, in the epoch that it gave away", now)
		}
		s := a.Tick(now)
		if now > ms(200) && now < ms(2100) && slices.Contains(s.Propose, reclaim) {
			t.Errorf("asks for it back at %s already", now)
		}
		all = append(all, s.Propose...)
		if !slices.Contains(all, handover) {
			t.Fatalf("drained, and not proposed by %s: %v", now, all)
		}
	}
	handovers, reclaims := 0, 0
	for i, c := range all {
		switch c {
		case handover:
			handovers++
			if reclaims > 0 {
				t.Errorf("proposal %d: a handover after it was asked back", i)
			}
		case reclaim:
			reclaims++
		default:
			t.Errorf("proposed %+v", c)
		}
	}
	if handovers < 2 || handovers > 12 || reclaims < 2 || reclaims > 12 {
		t.Errorf("%d handovers and %d reclaims in 4 s; want each now and then", handovers, reclaims)
	}
	reclaimed := testRow(4, 2, row.ISR)
	if a.follow(reclaimed, ms(4000)); !a.Serving(ms(4000)) {
		t.Error("reclaimed, and does not serve")
	}
}

// R20: what is not drained in time is given up: commands go on, and the next try comes later.
func TestR20GivenUp(t *testing.T) {
	a, _, _ := handingOver(t)
	a.proposeN(1, ms(110)) // never acked
	served := map[time.Duration]bool{}
	for now := ms(150); now <= ms(2300); now += ms(50) {
		a.granted(now, memB)
		if s := a.Tick(now); slices.ContainsFunc(s.Propose, func(c Change) bool { return c.Kind == Handover }) {
			t.Fatalf("offered at %s, with %d of %d committed", now, a.Commit(), a.Last())
		}
		served[now] = a.Serving(now)
	}
	for at, want := range map[int]bool{150: false, 1150: false, 1200: true, 2150: true} {
		if served[ms(at)] != want {
			t.Errorf("at %s: serving %v, want %v", ms(at), served[ms(at)], want)
		}
	}
}

// R20, R8: who must not serve releases nobody, and another change of the row ends the handover.
func TestR20OnlyWhoServesReleases(t *testing.T) {
	a, _, _ := handingOver(t)
	for now := ms(2000); now < ms(4000); now += ms(50) { // the lease ran out at 1.1 s
		if s := a.Tick(now); slices.ContainsFunc(s.Propose, func(c Change) bool { return c.Kind == Handover }) {
			t.Fatalf("offered without a lease, at %s", now)
		}
	}
	a, _, row := handingOver(t)
	if a.Tick(ms(150)); a.Serving(ms(160)) {
		t.Fatal("serves, with a handover proposed")
	}
	other := testRow(4, 2, row.ISR, memC) // c was added: the handover of epoch 3 is void
	if a.follow(other, ms(200)); !a.Serving(ms(210)) {
		t.Error("a new epoch, of the same primary, and it does not serve")
	}
}

// R14, R18: how far a copy may be behind what was sent is bounded, and a message is.
func TestR18MessagesAndWindow(t *testing.T) {
	a, b := leaderAndBackup(t, 1)
	a.opt.MessageBytes, a.opt.WindowBytes = 1000, 5000
	for range 40 {
		a.Propose(1, make([]byte, 400), ms(10))
	}
	sent, messages := 0, 0
	for {
		m, ok := a.Pull(memB, ms(10))
		if !ok {
			break
		}
		size := 0
		for i := range m.Entries {
			size += m.Entries[i].size()
		}
		if size > 1000 {
			t.Errorf("a message of %d bytes", size)
		}
		sent += size
		messages++
		b.OnAppend(m)
	}
	if sent < 5000 || sent > 6000 || messages == 1 {
		t.Errorf("%d bytes in %d messages on their way, want about 5000", sent, messages)
	}
}

// R18: who is too far behind leaves; a learner no longer keeps the log.
func TestR18LagIsBounded(t *testing.T) {
	a, _ := leaderAndBackup(t, 1)
	a.opt.LagBytesMax = 5000
	a.granted(ms(10), memB)
	for range 20 {
		a.Propose(1, make([]byte, 400), ms(10))
	}
	if s := a.Tick(ms(20)); !slices.Equal(s.Propose, []Change{{Kind: Shrink, Epoch: 2, Member: memB}}) {
		t.Errorf("a member behind by 20 entries of 448: proposed %v", s.Propose)
	}
	a.follow(testRow(3, 2, []Member{memA}, memC), ms(30))
	a.opt.KeepBytes = 2000
	for range 20 {
		a.Propose(1, make([]byte, 400), ms(40))
	}
	if a.log.bytes > 2500 {
		t.Errorf("the log keeps %d bytes for a learner that is being asked where it is", a.log.bytes)
	}
}
