package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/partition"
)

// replica is one partition of a node: the state machine and the data it decides about. Its locks are Replicator's.
type replica struct {
	r    *Replicator
	id   int
	data *partition.Partition

	order sync.Mutex
	mu    struct {
		sync.Mutex
		*core.Replica
		ready    bool // the last row's step is carried out
		waiting  []wait
		payloads []byte        // of the log's newest batches
		verify   *verification // of a primary; of its row's epoch, or of no more use
	}
	question question     // of a backup; guarded by order
	early    *earlyAppend // the same; nil: nothing waits

	// What doors ask on every command.
	from, until atomic.Int64 // of the window in which commands may be executed; until 0 = not now
	reign       atomic.Uint64
	commit      atomic.Uint64 // of that reign: batches up to here may be shown. 0 where this node does not lead
	writable    atomic.Bool
	leads       atomic.Bool
}

// wait is a reply that waits for a batch.
type wait struct {
	seq uint64
	w   *waiter
}

func newReplica(r *Replicator, id int) *replica {
	a := &replica{r: r, id: id, data: r.store.Partition(id)}
	a.mu.Replica = core.NewReplica(id, r.leases.Leases, &r.opt)
	return a
}

// propose appends what was executed. The partition's lock is held. settled: there are no other copies, so it is committed.
func (a *replica) propose(b partition.Batch) (settled bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.mu.Primary() || b.Seq != a.mu.Last()+1 {
		panic(fmt.Sprintf("cluster: partition %d executed batch %d, primary: %v, log ends at %d", a.id, b.Seq, a.mu.Primary(), a.mu.Last()))
	}
	if a.r.alone.Load() && a.mu.Alone() {
		a.mu.Skip(b.TimeMs)
		a.commit.Store(b.Seq)
		return true
	}
	s := a.mu.Propose(b.TimeMs, a.payloadLocked(b), a.r.config.Now())
	for _, m := range s.Ready {
		a.r.link(m).note(a.id) // until Flush
	}
	s.Ready = nil
	a.lightLocked(s)
	return false
}

// payloadBytes is the size of the pieces of memory that batches of the log share: the collector has less to look at than with one piece
// for each batch, and a piece goes with the last of its batches.
const payloadBytes = 8 << 10

// payloadLocked is a batch as the log keeps it.
func (a *replica) payloadLocked(b partition.Batch) []byte {
	need := len(b.Effects) + batchHeadBytes
	if need > payloadBytes/4 {
		return partition.AppendBatch(make([]byte, 0, need), b)
	}
	free := a.payloadRoomLocked(need)
	payload := partition.AppendBatch(free, b)
	a.mu.payloads = a.mu.payloads[:len(a.mu.payloads)+len(payload)]
	return payload[:len(payload):len(payload)]
}

// keepLocked is a copy of a payload, as the log keeps it.
func (a *replica) keepLocked(payload []byte) []byte {
	if len(payload) > payloadBytes/4 {
		return bytes.Clone(payload)
	}
	kept := append(a.payloadRoomLocked(len(payload)), payload...)
	a.mu.payloads = a.mu.payloads[:len(a.mu.payloads)+len(kept)]
	return kept[:len(kept):len(kept)]
}

// payloadRoomLocked is where the log's next payload of at most need bytes goes.
func (a *replica) payloadRoomLocked(need int) []byte {
	if need > cap(a.mu.payloads)-len(a.mu.payloads) {
		a.mu.payloads = make([]byte, 0, payloadBytes)
	}
	return a.mu.payloads[len(a.mu.payloads):]
}

// batchHeadBytes is at least what a batch takes beside its effects.
const batchHeadBytes = 80

// lightLocked does what a step of a primary asks for that needs no store.
func (a *replica) lightLocked(s core.Step) {
	for _, m := range s.Ready {
		a.r.link(m).mark(a.id)
	}
	if s.Committed {
		for _, w := range a.takeCommittedLocked(nil) {
			w.committed()
		}
	}
	if len(s.Propose) > 0 {
		a.r.config.Propose(s.Propose)
	}
}

// takeCommittedLocked moves the commit that doors see, and appends who has waited for it.
func (a *replica) takeCommittedLocked(over []*waiter) []*waiter {
	commit := a.mu.Commit()
	a.commit.Store(commit)
	still := a.mu.waiting[:0]
	for _, w := range a.mu.waiting {
		if w.seq <= commit {
			over = append(over, w.w)
			continue
		}
		still = append(still, w)
	}
	clear(a.mu.waiting[len(still):])
	a.mu.waiting = still
	return over
}

// onAck takes an ack, and appends who waited for what it commits: they are to be told.
func (a *replica) onAck(ack *core.Ack, over []*waiter) []*waiter {
	a.order.Lock()
	defer a.order.Unlock()
	a.r.leases.RLock()
	a.mu.Lock()
	s := a.mu.OnAck(*ack, a.r.config.Now())
	a.refreshLocked()
	a.r.leases.RUnlock()
	if s.Committed {
		over = a.takeCommittedLocked(over)
		s.Committed = false
	}
	a.lightLocked(s) // an ack asks for nothing else of a primary
	a.mu.Unlock()
	return over
}

// applyRow follows the table. The partition's lock is held, through tx, and the leases'.
func (a *replica) applyRow(row *core.Row, now time.Duration, tx *partition.Tx) core.Step {
	a.mu.Lock()
	defer a.mu.Unlock()
	led, reign := a.mu.Primary(), a.mu.Row().Reign
	s := a.mu.ApplyRow(row, now)
	goesOn := led && a.mu.Primary() && a.mu.Row().Reign == reign
	if !goesOn {
		a.mu.ready = false
		a.until.Store(0)
	}
	a.reign.Store(a.mu.Row().Reign) // before commit: see committed
	a.leads.Store(a.mu.Primary())
	a.takeWritesLocked(tx)
	if !a.mu.Primary() {
		a.commit.Store(0)
	}
	if led && !goesOn {
		a.failWaitersLocked(ErrIndeterminate)
		tx.LoseTracked(a.id)
	}
	if a.mu.Primary() && !led {
		a.commit.Store(a.mu.Commit())
	}
	return s
}

// open lets a primary serve, once its row's step is carried out.
func (a *replica) open(tx *partition.Tx) {
	tx.Begin(0, a.id)
	defer tx.End()
	a.r.leases.RLock()
	defer a.r.leases.RUnlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.ready = true
	a.takeWritesLocked(tx)
	if a.mu.Primary() {
		a.commit.Store(a.mu.Commit())
	}
	a.refreshLocked()
}

// takeWritesLocked decides whether writes are executed. The partition's lock is held, through tx, since both go together: where writes are
// not taken, nothing expires either, as a delete could not be logged (R17); and a command that is let through to a copy which lets its
// expired keys stay would find them in its way.
func (a *replica) takeWritesLocked(tx *partition.Tx) {
	takes := a.mu.ready && a.mu.Primary() && !a.mu.Held() && a.mu.Writable()
	a.writable.Store(takes)
	tx.SetActive(a.id, takes)
}

// refresh notes when commands may be executed, after leases have changed.
func (a *replica) refresh() {
	if !a.leads.Load() {
		return
	}
	a.r.leases.RLock()
	defer a.r.leases.RUnlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refreshLocked()
}

func (a *replica) refreshLocked() {
	if !a.mu.ready {
		return
	}
	from, until := a.mu.Window()
	a.from.Store(int64(from))
	a.until.Store(int64(until))
}

func (a *replica) serves(at time.Duration) bool {
	return int64(at) < a.until.Load() && int64(at) >= a.from.Load()
}

// tick passes time. What may forbid executing, a handover, is decided under the partition's lock.
func (a *replica) tick(tx *partition.Tx) {
	a.order.Lock()
	defer a.order.Unlock()
	tx.Begin(0, a.id)
	a.r.leases.RLock()
	a.mu.Lock()
	now := a.r.config.Now() // not before the locks, which may take their time: it is held against leases
	held := a.mu.Held()
	s := a.mu.Tick(now)
	a.refreshLocked()
	if a.mu.Held() && !held { // from here on nothing is executed, and a successor may begin as soon as it is asked to
		tx.LoseTracked(a.id)
	}
	a.takeWritesLocked(tx)
	a.lightLocked(s)
	a.expireWaitersLocked(now)
	a.mu.Unlock()
	a.r.leases.RUnlock()
	tx.End()
}

// event has the state machine take an event, and carries out what it decides. It returns the answer for the primary.
func (a *replica) event(f func(rep *core.Replica) core.Step) *core.Ack {
	a.order.Lock()
	defer a.order.Unlock()
	return a.eventOrdered(f)
}

// eventOrdered is event where order is held.
func (a *replica) eventOrdered(f func(rep *core.Replica) core.Step) *core.Ack {
	a.r.leases.RLock()
	a.mu.Lock()
	s := f(a.mu.Replica)
	a.refreshLocked()
	a.mu.Unlock()
	a.r.leases.RUnlock()
	return a.carryOut(s)
}

// carryOut does what a step asks for, and returns the answer for the primary. order is held.
func (a *replica) carryOut(s core.Step) *core.Ack {
	if err := a.change(s); errors.Is(err, partition.ErrRestartWalk) {
		a.mu.Lock()
		s = a.mu.RestartWalk(s.Answer)
		a.mu.Unlock()
		err = a.change(s)
		if err != nil {
			a.r.config.OnFailure(err)
		}
	} else if err != nil {
		a.r.config.OnFailure(fmt.Errorf("partition %d: %w", a.id, err))
		return nil
	}
	clear(s.Apply) // they hold what the log may let go of
	if s.Committed || len(s.Ready) > 0 || len(s.Propose) > 0 {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.lightLocked(s)
	}
	return s.Answer
}

// change brings the data to where a step says.
func (a *replica) change(s core.Step) error {
	if s.Wipe {
		a.data.ResetTo(0)
	}
	if s.Load != nil {
		if err := a.data.LoadChunk(s.Load.Data); err != nil {
			return err
		}
	}
	for _, e := range s.Apply {
		a.reached(e.Seq - 1)
		b, rest, err := partition.DecodeBatch(e.Payload)
		if err == nil && len(rest) > 0 {
			err = fmt.Errorf("%w: %d bytes behind it", partition.ErrBatch, len(rest))
		}
		if err == nil {
			err = a.data.ApplyBehind(b, partition.Bound(s.Bound))
		}
		if err != nil {
			return err
		}
	}
	if n := len(s.Apply); n > 0 {
		a.reached(s.Apply[n-1].Seq)
	}
	return nil
}

// pull gathers what there is to send to a copy, up to about maxBytes; more tells whether there may be more. Without tx it leaves chunks
// alone.
func (a *replica) pull(to core.Member, out *frameWriter, maxBytes int, now time.Duration, tx *partition.Tx) (more bool) {
	for len(out.buf) < maxBytes {
		a.mu.Lock()
		if d, ask := a.mu.verify.next(to); ask {
			a.mu.Unlock()
			out.add(digestMessage, appendDigest(nil, &d))
			continue
		}
		m, ok := a.mu.Pull(to, now)
		_, chunk := a.mu.WantsChunk(to)
		a.mu.Unlock()
		switch {
		case ok:
			if size := appendSizeMax(&m); out.begin(appendMessage, size) {
				out.buf = appendAppend(out.buf, &m)
				out.end()
			} else {
				out.add(appendMessage, appendAppend(make([]byte, 0, size), &m))
			}
		case chunk && tx == nil:
			return true
		case chunk:
			if !a.pullChunk(to, out, tx) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// chunkBytes is the size of a walk's chunks, about: how long the partition's lock is held for one.
const chunkBytes = 64 << 10

// pullChunk cuts a chunk under the partition's lock, so that nothing is executed between it and its place in the log.
func (a *replica) pullChunk(to core.Member, out *frameWriter, tx *partition.Tx) bool {
	tx.Begin(0, a.id)
	defer tx.End()
	a.mu.Lock()
	start, ok := a.mu.WantsChunk(to)
	a.mu.Unlock()
	if !ok {
		return false
	}
	data, end, _ := tx.AppendChunk(nil, partition.Bound(start), chunkBytes)
	a.mu.Lock()
	defer a.mu.Unlock()
	if again, ok := a.mu.WantsChunk(to); !ok || again != start {
		return false
	}
	c := a.mu.Chunk(to, data, core.Bound(end), a.r.config.Now())
	out.add(chunkMessage, appendChunk(nil, &c))
	return true
}

// committed tells whether a batch is. What is read of commit is of the reign that is read after it, or of an earlier one that
// this is no more.
func (a *replica) committed(s Rest) bool {
	return a.commit.Load() >= s.Seq && a.reign.Load() == s.Reign
}

// await registers a wait. What is committed meanwhile is answered at once.
func (a *replica) await(s Rest, w *waiter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !a.mu.Primary() || a.mu.Row().Reign != s.Reign:
		w.failed(ErrIndeterminate)
	case a.mu.Commit() >= s.Seq:
		w.committed()
	default:
		a.mu.waiting = append(a.mu.waiting, wait{s.Seq, w})
	}
}

func (a *replica) failWaiters(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.failWaitersLocked(err)
}

func (a *replica) failWaitersLocked(err error) {
	for _, w := range a.mu.waiting {
		w.w.failed(err)
	}
	a.mu.waiting = nil
}

// expireWaitersLocked ends waits that have lasted too long (R14).
func (a *replica) expireWaitersLocked(now time.Duration) {
	still := a.mu.waiting[:0]
	for _, w := range a.mu.waiting {
		if now >= w.w.deadline {
			w.w.failed(ErrIndeterminate)
			continue
		}
		still = append(still, w)
	}
	clear(a.mu.waiting[len(still):])
	a.mu.waiting = still
}
