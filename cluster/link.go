package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// link is the Data stream to one peer: what this node's primaries have for it, and its answers. One goroutine writes what has
// gathered since it last wrote; what gathers is the set of partitions that have something, so it is bounded by their number.
type link struct {
	r  *Replicator
	to core.Member

	mu struct {
		sync.Mutex
		queue  []int  // partitions, each once from first on
		first  int    // 0 <= first < len(queue), or both are 0
		queued []bool // by partition
	}
	out       streamOutput
	unflushed atomic.Bool   // something was noted, and the writer is not told yet
	wake      chan struct{} // holds one
	stop      context.CancelFunc
	done      context.Context
}

// Bounds of a link.
const (
	linkWriteBytes  = 1 << 20 // gathered for one write, and of one partition's before the next one's turn
	linkWriteMax    = 5 * time.Second
	linkPauseFirst  = 20 * time.Millisecond // before another attempt to connect, doubled each time
	linkPauseLonger = time.Second
)

// link returns the link to a member, and begins one where there is none.
func (r *Replicator) link(to core.Member) *link {
	for _, l := range *r.links.all.Load() {
		if l.to.Inc == to.Inc && l.to == to {
			return l
		}
	}
	r.links.Lock()
	defer r.links.Unlock()
	all := *r.links.all.Load()
	if i := slices.IndexFunc(all, func(l *link) bool { return l.to == to }); i >= 0 {
		return all[i]
	}
	l := &link{r: r, to: to, wake: make(chan struct{}, 1)}
	l.mu.queued = make([]bool, len(r.replicas))
	l.done, l.stop = context.WithCancel(r.closing)
	if !r.links.closed {
		all = append(slices.Clone(all), l)
		r.links.all.Store(&all)
		r.running.Go(l.run)
	}
	return l
}

// endLinks ends those to incarnations that the table knows no more.
func (r *Replicator) endLinks(table *core.Table) {
	r.links.Lock()
	defer r.links.Unlock()
	var left []*link
	for _, l := range *r.links.all.Load() {
		if n := table.Node(l.to.Node); n == nil || n.Inc != l.to.Inc {
			l.stop()
			continue
		}
		left = append(left, l)
	}
	r.links.all.Store(&left)
}

// note notes that a partition has something for the peer; mark has it sent, too, by the writer.
func (l *link) note(p int) {
	l.mu.Lock()
	if !l.mu.queued[p] {
		l.mu.queued[p] = true
		if l.mu.first > len(l.mu.queued) { // always some in it, never emptied
			l.mu.queue, l.mu.first = append(l.mu.queue[:0], l.mu.queue[l.mu.first:]...), 0
		}
		l.mu.queue = append(l.mu.queue, p)
	}
	l.mu.Unlock()
	l.unflushed.Store(true)
}

func (l *link) mark(p int) {
	l.note(p)
	l.unflushed.Store(false)
	signal(l.wake)
}

// take returns the next partition that has something; false where none has.
func (l *link) take() (p int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.first == len(l.mu.queue) {
		return 0, false
	}
	p = l.mu.queue[l.mu.first]
	l.mu.queued[p] = false
	if l.mu.first++; l.mu.first == len(l.mu.queue) {
		l.mu.queue, l.mu.first = l.mu.queue[:0], 0
	}
	return p, true
}

// run keeps the link connected until it is stopped.
func (l *link) run() {
	pause := linkPauseFirst
	for l.done.Err() == nil {
		began := time.Now()
		err := l.connect()
		if l.done.Err() != nil {
			return
		}
		l.r.log.Debug("data stream ended", "to", l.to.String(), "error", err)
		if time.Since(began) > linkPauseLonger {
			pause = linkPauseFirst
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-l.done.Done():
			timer.Stop()
			return
		}
		pause = min(2*pause, linkPauseLonger)
	}
}

// connect opens the stream and serves it until it breaks. What was on its way then may be lost (R5).
func (l *link) connect() error {
	n := l.r.table.Load().Node(l.to.Node)
	if n == nil || n.Inc != l.to.Inc {
		return fmt.Errorf("%s is not in the table", l.to)
	}
	conn, err := l.r.config.Transport.Dial(l.done, n.Peer, Data)
	if err != nil {
		return err
	}
	defer conn.Close()
	if conn.Peer.Member != l.to {
		return fmt.Errorf("%s is there, not %s", conn.Peer.Member, l.to)
	}
	defer context.AfterFunc(l.done, func() { conn.Close() })()
	for _, a := range l.r.replicas {
		if a.leads.Load() {
			l.mark(a.id)
		}
	}
	ended := make(chan error, 1)
	l.r.running.Go(func() {
		ended <- l.readAcks(conn)
		conn.Close()
		signal(l.wake)
	})
	writeErr := l.write(conn, ended)
	conn.Close()
	readErr := <-ended
	for _, a := range l.r.replicas {
		if a.leads.Load() && l.done.Err() == nil {
			a.event(func(rep *core.Replica) core.Step { return rep.PeerReset(l.to, l.r.config.Now()) })
		}
	}
	if writeErr == nil {
		return readErr
	}
	return writeErr
}

// readAcks takes the peer's answers. Who waited for what they commit is told once all that came together is read: the loop that is
// woken then has more than one reply to send.
func (l *link) readAcks(conn *Conn) error {
	in := newStreamReader(conn)
	var over []*waiter
	for {
		if len(over) > 0 && (len(over) >= ackBatchMax || !in.ready()) {
			over = l.r.tellCommitted(over)
		}
		kind, message, err := in.next()
		if err == nil {
			over, err = l.takeAnswer(kind, message, over)
		}
		if err != nil {
			l.r.tellCommitted(over)
			return err
		}
	}
}

func (r *Replicator) tellCommitted(over []*waiter) []*waiter {
	r.config.Together(func() {
		for i, w := range over {
			w.committed()
			over[i] = nil
		}
	})
	return over[:0]
}

// takeAnswer takes one answer, and appends who is to be told of what it commits.
func (l *link) takeAnswer(kind messageKind, message []byte, over []*waiter) ([]*waiter, error) {
	switch kind {
	case digestAnswer:
		d, err := decodeDigest(message)
		if err != nil || d.Partition >= len(l.r.replicas) {
			return over, fmt.Errorf("digest: %w", errMessage)
		}
		l.r.replicas[d.Partition].takeDigest(l.to, d)
		return over, nil
	case ackMessage:
		ack, err := decodeAck(message)
		if err == nil && ack.Partition >= len(l.r.replicas) {
			err = fmt.Errorf("%w: there is no partition %d", errMessage, ack.Partition)
		}
		if err != nil {
			return over, err
		}
		ack.From, ack.To = l.to, l.r.self
		return l.r.replicas[ack.Partition].onAck(&ack, over), nil
	}
	return over, fmt.Errorf("%w: kind %d where an ack is expected", errMessage, kind)
}

// ackBatchMax bounds the replies that wait for the acks behind theirs to be read: those of acks that came together are told together.
const ackBatchMax = 1024

// dataStream is a stream that a primary has opened.
type dataStream struct {
	conn    *Conn
	writing sync.Mutex

	// Of the goroutine that reads it.
	append core.Append // the one that is being taken
	out    frameWriter // answers to what has come together
}

func (s *dataStream) send(out []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(linkWriteMax)); err != nil {
		return err
	}
	_, err := s.conn.Write(out)
	return err
}

// serve takes what a primary sends on a stream that it opened, and answers. Answers to messages that came together leave
// together.
func (r *Replicator) serve(conn *Conn) {
	defer conn.Close()
	s := &dataStream{conn: conn}
	in := newStreamReader(conn)
	for {
		kind, message, err := in.next()
		if err == nil {
			err = r.take(s, kind, message)
		}
		if err != nil {
			if r.closing.Err() == nil {
				r.log.Debug("data stream ended", "from", conn.Peer.Member.String(), "error", err)
			}
			return
		}
		if len(s.out.buf) == 0 || in.ready() {
			continue
		}
		s.out.flush()
		if err := s.send(s.out.buf); err != nil {
			return
		}
		s.out.buf = s.out.buf[:0]
	}
}

// take has replicas take one message, and gathers what they answer.
func (r *Replicator) take(s *dataStream, kind messageKind, message []byte) error {
	from := s.conn.Peer.Member
	switch kind {
	case appendMessage:
		m := &s.append
		if err := decodeAppend(message, m); err != nil || m.Partition >= len(r.replicas) {
			return fmt.Errorf("append: %w", errMessage)
		}
		m.From, m.To = from, r.self
		r.replicas[m.Partition].takeAppend(m, s, &s.out)
		if clear(m.Entries); cap(m.Entries) > entriesKeep { // the log has their payloads
			m.Entries = nil
		}
		return nil
	case chunkMessage:
		m, err := decodeChunk(message)
		if err != nil || m.Partition >= len(r.replicas) {
			return fmt.Errorf("chunk: %w", errMessage)
		}
		m.From, m.To = from, r.self
		r.replicas[m.Partition].takeChunk(&m, &s.out)
		return nil
	case digestMessage:
		d, err := decodeDigest(message)
		if err != nil || d.Partition >= len(r.replicas) {
			return fmt.Errorf("digest: %w", errMessage)
		}
		r.replicas[d.Partition].takeQuestion(from, d, &s.out)
		return nil
	}
	return fmt.Errorf("%w: kind %d", errMessage, kind)
}

// entriesKeep: a larger array of entries is not kept from one message to the next.
const entriesKeep = 256

// earlyAppend is what a new primary has asked before its row was applied here, and where the answer goes.
type earlyAppend struct {
	message core.Append
	stream  *dataStream
}

// takeAppend has the replica take what a primary sends. A primary that was told of its row before this node asks too early; unanswered
// it would ask again after a while only, and until then nothing that it executes is committed. So the newest such question waits.
//
// It comes with every command of a client, so it does what event does and no more: when commands may be executed here does not change by it.
func (a *replica) takeAppend(m *core.Append, s *dataStream, out *frameWriter) {
	a.order.Lock()
	defer a.order.Unlock()
	a.mu.Lock()
	if a.mu.Early(m) {
		a.early = &earlyAppend{*m, s}
		a.early.message.Entries = nil // it has none
		a.mu.Unlock()
		return
	}
	for i := range m.Entries {
		m.Entries[i].Payload = a.keepLocked(m.Entries[i].Payload)
	}
	step := a.mu.OnAppend(*m)
	a.mu.Unlock()
	a.answer(out, m.From, a.carryOut(step))
}

// takeChunk has the replica take a stretch of a walk.
func (a *replica) takeChunk(c *core.Chunk, out *frameWriter) {
	a.order.Lock()
	defer a.order.Unlock()
	a.answer(out, c.From, a.eventOrdered(func(rep *core.Replica) core.Step { return rep.OnChunk(*c) }))
}

// answerEarly answers what was asked too early, once the row is applied. order is held.
func (a *replica) answerEarly() {
	early := a.early
	if early == nil {
		return
	}
	a.early = nil
	a.r.running.Go(func() {
		var out frameWriter
		a.takeAppend(&early.message, early.stream, &out)
		if out.flush(); len(out.buf) > 0 {
			_ = early.stream.send(out.buf) // the primary asks again on another stream
		}
	})
}
