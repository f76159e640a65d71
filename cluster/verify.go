package cluster

import (
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// Before a copy on a node that drains is dropped, all copies in sync are compared at one sequence number (R21):
//
//	primary: sums up its data, which are at seq; asks every backup for the same, on the Data stream
//	backup:  sums up its data when they are at seq, and answers
//	primary: all sums are equal: proposes to drop the copy. One is not: says so, and keeps it
//
// The question is on its way before anything that was executed after seq can be committed, nearly always, so that backups have
// not passed seq when it comes; where one has, the primary begins anew. Entries of the row's epoch alone are compared: a change
// of the row begins it anew, too.

// Times of comparing.
const (
	retirePause = 100 * time.Millisecond // between looks for copies to drop
	verifyMax   = 2 * time.Second        // for all answers, before it begins anew
	differPause = 10 * time.Second       // before copies that differ are compared again
)

// verification is a primary's comparison of a row's copies.
type verification struct {
	partition int
	epoch     uint64
	seq, sum  uint64
	again     time.Duration // it begins anew then
	unasked   map[core.Member]bool
	open      map[core.Member]bool // that have not given the right answer
}

// next returns the question for a copy that was not asked yet. v may be nil.
func (v *verification) next(to core.Member) (d digest, ask bool) {
	if v == nil || !v.unasked[to] {
		return digest{}, false
	}
	delete(v.unasked, to)
	return digest{Epoch: v.epoch, Seq: v.seq, Partition: v.partition}, true
}

// question is what a backup was asked, and its answer.
type question struct {
	from     core.Member // nobody: there is none
	asked    digest
	answered bool
}

// retireCopies looks for copies to drop, one partition after the other: summing up holds the partition's lock.
func (r *Replicator) retireCopies() {
	ticker := time.NewTicker(retirePause)
	defer ticker.Stop()
	for {
		select {
		case <-r.closing.Done():
			return
		case <-ticker.C:
		}
		table := r.table.Load()
		if !drains(table) {
			continue
		}
		for i := range table.Rows {
			row := &table.Rows[i]
			if row.Primary != r.self || r.closing.Err() != nil {
				continue
			}
			if drop := table.Retirable(row); !drop.IsZero() {
				r.replicas[i].retire(row, drop)
			}
		}
	}
}

func drains(t *core.Table) bool {
	for i := range t.Nodes {
		if t.Nodes[i].Drains {
			return true
		}
	}
	return false
}

// retire begins to compare the row's copies, or proposes to drop the one, where they are found equal.
func (a *replica) retire(row *core.Row, drop core.Member) {
	now := a.r.config.Now()
	a.mu.Lock()
	v := a.mu.verify
	current := a.mu.Primary() && a.mu.Row().Epoch == row.Epoch
	known := v != nil && v.epoch == row.Epoch
	equal := known && len(v.open) == 0
	a.mu.Unlock()
	switch {
	case !current || known && !equal && now < v.again:
		return
	case equal:
		a.r.config.Propose([]core.Change{{Kind: core.Shrink, Partition: a.id, Epoch: row.Epoch, Member: drop}})
		return
	}
	sum, seq := a.data.ContentDigest()
	v = &verification{
		partition: a.id, epoch: row.Epoch, seq: seq, sum: sum, again: now + verifyMax,
		unasked: map[core.Member]bool{}, open: map[core.Member]bool{},
	}
	for _, m := range row.ISR[1:] {
		v.unasked[m], v.open[m] = true, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.mu.Primary() || a.mu.Row().Epoch != row.Epoch {
		return
	}
	a.mu.verify = v
	for _, m := range row.ISR[1:] {
		a.r.link(m).mark(a.id)
	}
}

// takeDigest takes a backup's answer.
func (a *replica) takeDigest(from core.Member, d digest) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.mu.verify
	switch {
	case v == nil || v.epoch != d.Epoch || v.seq != d.Seq || !v.open[from]:
	case d.Passed:
		v.again = 0
	case d.Sum != v.sum:
		v.again = a.r.config.Now() + differPause
		a.r.log.Error("copies differ; none is dropped", "partition", a.id, "seq", d.Seq, "primary", a.r.self.String(), "backup", from.String())
	default:
		delete(v.open, from)
	}
}

// takeQuestion has a backup answer when its data are where the primary's were, at once where they are there already.
func (a *replica) takeQuestion(from core.Member, d digest, out *frameWriter) {
	a.order.Lock()
	defer a.order.Unlock()
	a.mu.Lock()
	row, at := a.mu.Row(), a.mu.Applied()
	fits := row.Primary == from && row.Epoch == d.Epoch && row.InSync(a.r.self)
	a.mu.Unlock()
	if !fits {
		a.answer(out, from, nil)
		return // a table that one of the two has and the other not: it is asked again
	}
	a.question = question{from: from, asked: d}
	a.reached(at)
	a.answer(out, from, nil)
}

// reached answers the question once the data are at its sequence number. order is held.
func (a *replica) reached(seq uint64) {
	q := &a.question
	if q.from.IsZero() || q.answered || seq < q.asked.Seq {
		return
	}
	q.answered = true
	if q.asked.Passed = seq > q.asked.Seq; !q.asked.Passed {
		q.asked.Sum, _ = a.data.ContentDigest()
	}
}

// answer gathers an ack, which may be nil, and the answer to a question where there is one. order is held.
func (a *replica) answer(out *frameWriter, to core.Member, ack *core.Ack) {
	if ack != nil && out.begin(ackMessage, ackSizeMax(ack)) { // there is room for reignsMax reigns, and more
		out.buf = appendAck(out.buf, ack)
		out.end()
	}
	if q := &a.question; q.answered && q.from == to {
		out.add(digestAnswer, appendDigest(nil, &q.asked))
		*q = question{}
	}
}
