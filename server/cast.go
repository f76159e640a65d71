package server

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// BCAST at a grid door is about the keys of the whole grid. Of its own keys a node tells by the store (Tracking.Join); the other nodes are asked, by
// the questions that the door asks them anyway (relay), which name the prefixes of all its clients:
//
//	client                        door                                other node
//	CLIENT TRACKING ON BCAST ...  cast: a new version of prefixes
//	                              relay.ask: the prefixes ..........  guestReader.join
//	<.. everything .............  relay.answered: casts.covered <...  from now on
//	                                                                  any k changes: guestReader.Broadcast
//	<.. k ......................  casts.tell <......................  k
//
// A client is told to drop everything when a node begins to tell of its prefixes, and when a node's word does not hold any more: its answer is
// late, its record of the door is another one, or it has lost a partition. In between, what a node reads for the client is to be dropped at once.
//
// A server that has an Upstream asks nobody: that tells by itself, from when it says so (NearCast) until it says that it does not (NearUncast).

const (
	// castPrefixesMax and castPrefixesBytesMax bound what a door's questions name; for more, all keys are asked for.
	castPrefixesMax      = 256
	castPrefixesBytesMax = 16 << 10
)

// casts are the clients of a server's grid door that track by prefixes, in a grid.
type casts struct {
	count atomic.Int64 // len(mu.since); for a look without the lock
	mu    struct {
		sync.Mutex
		since    map[*tracker]uint64 // the version that was the first with its prefixes
		version  uint64              // of prefixes; raised by each change
		prefixes []string
	}
}

// cast notes a change of a tracker's mode.
func (srv *Server) cast(t *tracker) {
	if srv.router == nil || t.s.info.Cluster || !srv.casts.change(t, t.mu.on && t.mu.bcast) {
		return
	}
	if srv.upstream != nil {
		srv.upstream.Casts()
		return
	}
	srv.askCasts()
}

// change takes a tracker up, or its new prefixes, or forgets it. It reports whether there was anything to change.
func (k *casts) change(t *tracker, casts bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, known := k.mu.since[t]; !known && !casts {
		return false
	}
	k.mu.version++
	delete(k.mu.since, t)
	if casts {
		if k.mu.since == nil {
			k.mu.since = map[*tracker]uint64{}
		}
		k.mu.since[t] = k.mu.version
	}
	k.count.Store(int64(len(k.mu.since)))
	all := map[string]bool{}
	for t := range k.mu.since {
		t.mu.Lock()
		for _, prefix := range t.mu.prefixes {
			all[prefix] = true
		}
		t.mu.Unlock()
	}
	k.mu.prefixes = shortest(slices.Sorted(maps.Keys(all)))
	size := 0
	for _, prefix := range k.mu.prefixes {
		size += len(prefix)
	}
	if len(k.mu.prefixes) > castPrefixesMax || size > castPrefixesBytesMax {
		k.mu.prefixes = []string{""}
	}
	return true
}

// shortest returns those of sorted prefixes that begin with no other: all keys that begin with any begin with one of them.
func shortest(prefixes []string) (kept []string) {
	for _, prefix := range prefixes {
		if last := len(kept) - 1; last < 0 || !strings.HasPrefix(prefix, kept[last]) {
			kept = append(kept, prefix)
		}
	}
	return kept
}

// wanted is what other nodes are to tell of. The prefixes are never changed.
func (k *casts) wanted() (version uint64, prefixes []string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.mu.version, k.mu.prefixes
}

// tell tells of a key that somebody has changed.
func (k *casts) tell(key string, by origin) {
	if k.count.Load() == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for t := range k.mu.since {
		t.dropOf([]byte(key), by)
	}
}

// dropAll tells those to drop everything who were taken up behind one version, and no later than another.
func (k *casts) dropAll(behind, upTo uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for t, since := range k.mu.since {
		if since > behind && since <= upTo {
			t.InvalidateAll()
		}
	}
}

// askCasts has all nodes asked whose keys the clients want to hear of.
func (srv *Server) askCasts() {
	if srv.casts.count.Load() == 0 || srv.upstream != nil {
		return
	}
	for _, r := range srv.castRelays() {
		r.mu.Lock()
		r.startLocked()
		r.mu.Unlock()
	}
}

// castRelays are those to all nodes that hold data, or may.
func (srv *Server) castRelays() (relays []*relay) {
	top := srv.router.Topology()
	for i := range top.Nodes {
		if n := &top.Nodes[i]; n.ID != top.Self && !n.Witness && !n.Fenced {
			relays = append(relays, srv.relayTo(n.ID))
		}
	}
	return relays
}

// castsLeft is for how long all other nodes tell a session of its prefixes, for one who wants that no older than some age; without end where
// they are not asked.
func (srv *Server) castsLeft(t *tracker, now, age time.Duration) time.Duration {
	left := time.Duration(1<<63 - 1)
	srv.casts.mu.Lock()
	since, casts := srv.casts.mu.since[t]
	srv.casts.mu.Unlock()
	switch {
	case !casts:
		return left
	case srv.upstream != nil && !srv.casting(NearNode, t):
		return 0
	case srv.upstream != nil:
		return srv.upstream.CastLeft()
	}
	for _, r := range srv.castRelays() {
		r.mu.Lock()
		r.mu.wait = min(r.mu.wait, max(age/relayShare, relayShort))
		if r.mu.cast < since {
			left = 0
		}
		left = min(left, max(0, min(r.mu.until, r.mu.asked+age)-now))
		r.mu.Unlock()
	}
	return left
}

// casting tells whether a session hears of all changes to keys with its prefixes that the node, or whoever has its data, executes now.
func (srv *Server) casting(to NodeID, t *tracker) bool {
	if srv.upstream != nil {
		to = NearNode
	}
	return srv.relayTo(to).casts(t)
}

// casts tells whether the node tells a session of all changes to keys with its prefixes, now.
func (r *relay) casts(t *tracker) bool {
	k := &r.srv.casts
	k.mu.Lock()
	since, casts := k.mu.since[t]
	k.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !casts || r.mu.cast < since {
		return false
	}
	if r.to == NearNode {
		return r.srv.upstream.CastLeft() > 0
	}
	return r.srv.clock() < r.mu.until
}

// uncastLocked ends what the node's word is good for: those who rested on it drop everything.
func (r *relay) uncastLocked() {
	if r.mu.cast > 0 {
		r.srv.casts.dropAll(0, r.mu.cast)
		r.mu.cast = 0
	}
}

// castLocked takes the node's word that it tells of a version's prefixes.
func (r *relay) castLocked(version uint64) {
	r.srv.casts.dropAll(r.mu.cast, version)
	r.mu.cast = version
}

// join has the door told of keys with these prefixes, in place of those before. It takes partitions' locks. Questions of one door come one after
// the other. It reports whether something has changed.
func (r *guestReader) join(prefixes []string) bool {
	r.mu.Lock()
	same := slices.Equal(prefixes, r.mu.prefixes)
	r.mu.prefixes = prefixes
	r.mu.Unlock()
	if same {
		return false
	}
	r.srv.store.Join(r, prefixes)
	r.mu.Lock()
	gone := r.mu.gone
	r.mu.Unlock()
	if gone { // it has left meanwhile
		r.srv.store.Leave(r)
	}
	return true
}
