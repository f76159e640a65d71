package server

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"
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
		cast    uint64                // the version of casts of whose prefixes the owner tells; 0: of none
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
	if !told {
		r.startLocked()
	}
	if !told && now >= r.mu.until || keysMax > 0 && int64(len(keys)) > keysMax {
		return false
	}
	for key := range r.mu.readers { // begins somewhere else each time
		if keysMax == 0 || int64(len(r.mu.readers)+len(keys)) <= keysMax {
			break
		}
		r.dropLocked(key, origin{})
	}
	t.relays()
	if r.mu.readers == nil {
		r.mu.readers = map[string][]*tracker{}
	}
	for _, key := range keys {
		if list := r.mu.readers[string(key)]; !slices.Contains(list, t) {
			if len(list) == cap(list) { // before it grows
				list = slices.DeleteFunc(list, (*tracker).isOff)
			}
			r.mu.readers[string(key)] = append(list, t)
		}
	}
	return true
}

// startLocked begins to ask, where nothing is asked.
func (r *relay) startLocked() {
	if !r.mu.asking {
		r.mu.asking, r.mu.wait = true, relayWait
		r.srv.after(0, func() { r.ask(0) })
	}
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
	version, prefixes := r.srv.casts.wanted()
	for _, prefix := range prefixes {
		question = append(binary.AppendUvarint(question, uint64(len(prefix))), prefix...)
	}
	f := &Forwarded{Resp: 3, Timeout: relayLease, Kind: ForwardRelay, Args: [][]byte{question}}
	r.srv.router.Forward(r.to, f, func(a Answer) { r.answered(sent, version, a) })
	r.srv.flush()
}

// answered takes an answer to what was asked at a time, with a version of casts, and asks again.
func (r *relay) answered(sent time.Duration, version uint64, a Answer) {
	told, ok := relayAnswer{}, false
	if a.Outcome == Executed {
		told, ok = decodeRelay(a.Reply)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !ok { // the next reader asks anew
		r.mu.until, r.mu.asking = 0, false
		r.dropAllLocked()
		r.uncastLocked()
		return
	}
	if told.all || told.guest != r.mu.guest {
		r.dropAllLocked()
		r.uncastLocked()
	}
	for i, key := range told.keys {
		r.dropLocked(string(key), told.by[i])
		r.srv.casts.tell(string(key), told.by[i])
	}
	r.mu.guest, r.mu.asked, r.mu.until = told.guest, sent, sent+min(told.left, relayLease)
	now := r.srv.clock()
	if r.mu.until > now {
		r.castLocked(version)
	}
	if r.mu.lapse != nil {
		r.mu.lapse.Stop()
	}
	if len(r.mu.readers) == 0 && now-r.mu.used > relayIdle && r.srv.casts.count.Load() == 0 {
		r.mu.until, r.mu.asking, r.mu.cast = 0, false, 0
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
		r.uncastLocked()
	}
}

// dropLocked tells who has read a key that somebody has changed. Who does not want to hear of that, as the change was its own, stays among
// the readers: it may have read the key since, and the owner have registered that.
func (r *relay) dropLocked(key string, by origin) {
	kept := slices.DeleteFunc(r.mu.readers[key], func(t *tracker) bool { return t.dropOf([]byte(key), by) })
	if len(kept) == 0 {
		delete(r.mu.readers, key)
		return
	}
	r.mu.readers[key] = kept
}

func (r *relay) dropAllLocked() {
	for key := range r.mu.readers {
		r.dropLocked(key, origin{})
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
