package server

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/neargrid/neargrid/partition"
)

// A reading that a door has another node execute stays tracked. The door notes who reads what, and only then forwards; the other node
// registers the door, as one reader for all of its clients; the door asks it what has changed, all the time, and tells its clients.
//
//	client     door                                       owner
//	GET k ...  relay: k is read by the client
//	           ForwardTracked GET k ....................  reads k, registers the door: guestReader
//	<......... the reply
//	           ForwardRelay: anything new? .............  waits
//	                                                      k changes: guestReader.Invalidate
//	           relay.answered <.........................  k
//	<......... tracker.drop: a push
//
// As the client is noted before its command is sent, its reply has a place in its session's queue before any word about the key can
// come: a push about what it reads is behind the reply, whatever overtakes what between the nodes. An answer says for how long, from when
// the door has asked, what was read there counts: relayLease at most, and not beyond the owner's own leases. When that is over without
// another answer, or the owner has forgotten the door, the door tells its clients to drop all that they have read there.

const (
	relayLease = time.Second            // granted to a door at most, from when it has asked
	relayWait  = 250 * time.Millisecond // how long a question waits at most where there is nothing to tell
	relayShare = 4                      // it waits no longer than this part of the shortest lease that a client asks for
	relayShort = 5 * time.Millisecond   // nor, for those of very short leases, less than this
	relayPause = time.Millisecond       // between an answer and the next question: what comes meanwhile goes together
	relayIdle  = 10 * time.Second       // without readers for so long a door asks no more
)

// relay is what a door's clients have read at another node.
type relay struct {
	srv *Server
	to  NodeID
	mu  struct {
		sync.Mutex
		readers map[string][]*tracker // by key
		until   time.Duration         // of the server's clock: so long what was read counts; 0 = not at all
		asked   time.Duration         // when the newest question was asked that is answered: what changed before then the clients are told of
		wait    time.Duration         // how long questions wait
		guest   uint64                // the number of the owner's record of this door; another record knows nothing of what stands here
		asking  bool                  // a question is under way, or about to be
		used    time.Duration         // when somebody was noted last
		lapse   Timer                 // ends until
	}
}

// relays are a server's, by node.
type relays struct {
	sync.Mutex
	byNode map[NodeID]*relay
}

func (srv *Server) relayTo(to NodeID) *relay {
	srv.relays.Lock()
	defer srv.relays.Unlock()
	r := srv.relays.byNode[to]
	if r == nil {
		if srv.relays.byNode == nil {
			srv.relays.byNode = map[NodeID]*relay{}
		}
		r = &relay{srv: srv, to: to}
		srv.relays.byNode[to] = r
	}
	return r
}

// relayReads notes what the task is about to read at another node, and returns the kind of command by which that node registers this one.
// It returns false where what is read cannot be tracked: no answer has come lately, or it is too much.
func (t *task) relayReads(to NodeID) (kind ForwardKind, ok bool) {
	if t.srv.upstream != nil && to != NearNode { // it reads on connections that are told of nothing
		return kind, false
	}
	kind = ForwardTracked
	if t.multi != nil {
		kind = ForwardTrackedExec
	}
	var keys [][]byte
	t.eachRead(func(key []byte) { keys = append(keys, key) })
	return kind, len(keys) > 0 && t.srv.relayTo(to).note(t.by, keys)
}

// note notes that a session is about to read keys.
func (r *relay) note(t *tracker, keys [][]byte) bool {
	now, keysMax := r.srv.clock(), r.srv.config.TrackingTableMaxKeys.Load()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.used = now
	told := r.to == NearNode // by whom it has read: NearChanged
	if !told && !r.mu.asking {
		r.mu.asking, r.mu.wait = true, relayWait
		r.srv.after(0, func() { r.ask(0) })
	}
	if !told && now >= r.mu.until || keysMax > 0 && int64(len(keys)) > keysMax {
		return false
	}
	for key := range r.mu.readers { // begins somewhere else each time
		if keysMax == 0 || int64(len(r.mu.readers)+len(keys)) <= keysMax {
			break
		}
		r.dropLocked(key)
	}
	t.relays()
	if r.mu.readers == nil {
		r.mu.readers = map[string][]*tracker{}
	}
	for _, key := range keys {
		if list := r.mu.readers[string(key)]; !slices.Contains(list, t) {
			r.mu.readers[string(key)] = append(list, t)
		}
	}
	return true
}

// ask asks the other node what has changed.
func (r *relay) ask(wait time.Duration) {
	select {
	case <-r.srv.stop:
		return
	default:
	}
	r.mu.Lock()
	guest := r.mu.guest
	r.mu.Unlock()
	sent := r.srv.clock()
	question := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(wait/time.Millisecond)), guest)
	f := &Forwarded{Resp: 3, Timeout: relayLease, Kind: ForwardRelay, Args: [][]byte{question}}
	r.srv.router.Forward(r.to, f, func(a Answer) { r.answered(sent, a) })
	r.srv.flush()
}

// answered takes an answer to what was asked at a time, and asks again.
func (r *relay) answered(sent time.Duration, a Answer) {
	told, ok := relayAnswer{}, false
	if a.Outcome == Executed {
		told, ok = decodeRelay(a.Reply)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ok { // the next reader asks anew
		r.mu.until, r.mu.asking = 0, false
		r.dropAllLocked()
		return
	}
	if told.all || told.guest != r.mu.guest {
		r.dropAllLocked()
	}
	for _, key := range told.keys {
		r.dropLocked(string(key))
	}
	r.mu.guest, r.mu.asked, r.mu.until = told.guest, sent, sent+min(told.left, relayLease)
	now := r.srv.clock()
	if r.mu.lapse != nil {
		r.mu.lapse.Stop()
	}
	if len(r.mu.readers) == 0 && now-r.mu.used > relayIdle {
		r.mu.until, r.mu.asking = 0, false
		return
	}
	r.mu.lapse = r.srv.after(r.mu.until-now, r.lapsed)
	wait := r.mu.wait
	r.srv.after(relayPause, func() { r.ask(wait) })
}

// lapsed ends what no answer has prolonged.
func (r *relay) lapsed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.srv.clock() >= r.mu.until {
		r.mu.until = 0
		r.dropAllLocked()
	}
}

func (r *relay) dropLocked(key string) {
	for _, t := range r.mu.readers[key] {
		t.drop([]byte(key))
	}
	delete(r.mu.readers, key)
}

func (r *relay) dropAllLocked() {
	for key := range r.mu.readers {
		r.dropLocked(key)
	}
}

// relaysLeft is for how long all that this node's clients have read at others counts, for one who wants it no older than some age. What is
// not told yet may be as old as the question that was answered last:
//
//	1 the door asks the owner, and has an answer, which counts for a second
//	2 a key changes; the word of it waits, as the door stands still
//	3 the door goes on, and before it reads that word a client asks for a lease of 0.3 s
//
// Did the door grant 0.3 s, as its own lease holds, the client would use what was over for longer than that.
func (srv *Server) relaysLeft(now, age time.Duration) time.Duration {
	left := time.Duration(1<<63 - 1)
	srv.relays.Lock()
	defer srv.relays.Unlock()
	for _, r := range srv.relays.byNode {
		r.mu.Lock()
		r.mu.wait = min(r.mu.wait, max(age/relayShare, relayShort))
		if r.to == NearNode {
			left = min(left, srv.upstream.NearLeft())
		} else if len(r.mu.readers) > 0 {
			left = min(left, max(0, min(r.mu.until, r.mu.asked+age)-now))
		}
		r.mu.Unlock()
	}
	return left
}

// guestReader is another node's door, whose clients have read keys here: what it is to be told, and its question, which waits for that.
type guestReader struct {
	srv    *Server
	number uint64 // of this record: drawn, so that no other has it, of an earlier start of this node neither
	mu     struct {
		sync.Mutex
		pending
		parts  partitions
		answer func(Answer) // to the question that waits; nil: none does
		asked  uint64       // questions
		timer  Timer        // ends the waiting
		gone   bool
		soon   bool // the question is about to be answered
	}
}

// reader is the guest as one who reads.
func (g *guest) reader(srv *Server) *guestReader {
	g.Lock()
	defer g.Unlock()
	if g.reads == nil {
		g.reads = &guestReader{srv: srv, number: rand.Uint64()}
		g.reads.mu.gone = g.gone
		if !g.gone {
			srv.store.Join(g.reads, nil)
			srv.readingGuests.Add(1)
		}
	}
	return g.reads
}

// Invalidate says that a key has changed that clients of the door have read.
func (r *guestReader) Invalidate(_ int, key []byte, _ partition.Tracker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.add(key, r.srv.pushKeysMax())
	r.tellLocked()
}

// Broadcast is not called: the door has no prefixes here.
func (r *guestReader) Broadcast([]byte, partition.Tracker) {}

// InvalidateAll says that any key may have changed.
func (r *guestReader) InvalidateAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.all = true
	r.tellLocked()
}

// Lost says that this node does not lead a partition any more.
func (r *guestReader) Lost(p int, key []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.parts.remove(p)
	if key == nil {
		return
	}
	r.mu.add(key, r.srv.pushKeysMax())
	if !r.mu.soon { // the partition's other keys follow, and go in the same answer
		r.mu.soon = true
		r.srv.after(0, r.tell)
	}
}

// tell answers the question that waits, where there is something to tell.
func (r *guestReader) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.soon = false
	r.tellLocked()
}

// read notes that a key of a partition is registered.
func (r *guestReader) read(p int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.parts.add(p)
}

// ask has a question answered once there is something to tell, or its time is over; at once, where it is to another record than this. An
// earlier question is answered first.
func (r *guestReader) ask(f *Forwarded, answer func(Answer)) {
	in := execReader{b: f.Args[0]}
	wait := time.Duration(min(in.uint(), uint64(relayWait/time.Millisecond))) * time.Millisecond
	if in.uint() != r.number {
		wait = 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.gone {
		answer(Answer{Outcome: NotExecuted})
		return
	}
	r.answerLocked()
	r.mu.answer = answer
	r.mu.asked++
	if wait == 0 || !r.mu.empty() {
		r.answerLocked()
		return
	}
	asked := r.mu.asked
	r.mu.timer = r.srv.after(wait, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.mu.asked == asked {
			r.answerLocked()
		}
	})
}

// tellLocked answers the question that waits, where there is something to tell.
func (r *guestReader) tellLocked() {
	if r.mu.gone {
		r.mu.pending = pending{}
	} else if !r.mu.empty() {
		r.answerLocked()
	}
}

// answerLocked answers the question that waits, if one does.
func (r *guestReader) answerLocked() {
	if r.mu.answer == nil {
		return
	}
	answer, due := r.mu.answer, r.mu.pending
	r.mu.answer, r.mu.pending = nil, pending{}
	if r.mu.timer != nil {
		r.mu.timer.Stop()
		r.mu.timer = nil
	}
	left := min(relayLease, servesFor(r.srv.router, r.mu.parts.list(), r.srv.clock()))
	answer(Answer{Reply: appendRelay(nil, r.number, left, &due)})
}

// leave ends the door as one who reads.
func (r *guestReader) leave() {
	r.srv.store.Leave(r)
	r.srv.readingGuests.Add(-1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.gone = true
	if r.mu.answer != nil {
		r.mu.answer(Answer{Outcome: NotExecuted})
		r.mu.answer = nil
	}
	r.mu.pending = pending{}
}

// relayAnswer is what a door is told.
type relayAnswer struct {
	guest uint64 // the number of the record that it comes from
	left  time.Duration
	all   bool
	keys  [][]byte
}

func appendRelay(b []byte, guest uint64, left time.Duration, due *pending) []byte {
	b = binary.AppendUvarint(b, guest)
	b = binary.AppendUvarint(b, uint64(left/time.Millisecond))
	if due.all {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(due.keys)))
	for _, key := range due.keys {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
	}
	return b
}

// decodeRelay reads what appendRelay has made; false where it is none. Its keys are parts of b.
func decodeRelay(b []byte) (a relayAnswer, ok bool) {
	r := execReader{b: b}
	a.guest = r.uint()
	a.left = time.Duration(min(r.uint(), uint64(relayLease/time.Millisecond))) * time.Millisecond
	a.all = r.uint() == 1
	for n := r.uint(); n > 0 && !r.bad; n-- {
		a.keys = append(a.keys, r.bytes())
	}
	return a, !r.bad && len(r.b) == 0
}
