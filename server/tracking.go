package server

import (
	"slices"
	"strings"
	"sync"

	"github.com/neargrid/neargrid/partition"
)

// tracker is a session that has turned CLIENT TRACKING on: what it wants to be told of, and what it is to be told next. What changes
// is added by those who change it, under the locks of partitions; the session that is to have it takes it on its own loop: push.go.
//
// What waits is bounded, and no key waits twice. Beyond the bound it becomes one word: all of it. So nobody who changes data ever waits
// for who reads it.
type tracker struct {
	s *Session // whose reads are tracked

	mu struct {
		sync.Mutex
		trackingMode            // changed by the session's loop alone, which may read it without the lock
		to           *Session   // who is told: s, or whom it redirects to
		broken       bool       // it redirects to a session that has gone
		brokenDue    bool       // and is to be told so
		queued       bool       // it is among those that to has to take from
		parts        partitions // where it has keys registered, or may have
		relayed      bool       // other nodes have read for it, and tell this one: see relay
		pending
	}

	// The loop's.
	caching bool // CLIENT CACHING: the next command is the exception
	rejoin  bool // the store is to learn of a change of mode, once no partition is held
}

// trackingMode is what CLIENT TRACKING has set.
type trackingMode struct {
	on                           bool
	bcast, optin, optout, noloop bool
	redirect                     int64    // 0: it redirects to nobody
	prefixes                     []string // of bcast; sorted
	native                       bool     // it has sent GRID.LEASE: it knows of partitions
	family                       uint64   // of GRID.ORIGIN: it is told which of the family's members has made a change; 0: of none
}

const (
	// What waits to be told to one client. Beyond, it is told to drop everything.
	pushKeysMax  = 8192 // unless grid-push-max-keys says otherwise
	pushBytesMax = 1 << 20
	// pushListed is up to where looking through the list finds a key that waits already.
	pushListed = 16
)

// pending is what a client is to be told.
type pending struct {
	keys  []string
	known map[string]struct{} // keys, where there are more than pushListed
	bytes int                 // of keys
	by    map[string]origin   // of keys: by whom they were changed, where that matters, and was one alone
	all   bool                // everything; it comes behind keys, and nothing is added to them
	lost  partitions
}

func (p *pending) empty() bool { return len(p.keys) == 0 && !p.all && p.lost.empty() }

// add adds a key that somebody has changed, unless it waits already, and unless there are keysMax.
func (p *pending) add(key []byte, by origin, keysMax int) {
	switch {
	case p.all:
		return
	case p.waits(key):
		if p.by[string(key)] != by {
			delete(p.by, string(key)) // several have
		}
		return
	}
	if len(p.keys) >= keysMax || p.bytes+len(key) > pushBytesMax {
		*p = pending{all: true, lost: p.lost}
		return
	}
	k := string(key)
	if by != (origin{}) {
		if p.by == nil {
			p.by = map[string]origin{}
		}
		p.by[k] = by
	}
	p.keys = append(p.keys, k)
	p.bytes += len(k)
	switch {
	case p.known != nil:
		p.known[k] = struct{}{}
	case len(p.keys) > pushListed:
		p.known = make(map[string]struct{}, 2*len(p.keys))
		for _, k := range p.keys {
			p.known[k] = struct{}{}
		}
	}
}

func (p *pending) waits(key []byte) bool {
	if p.known != nil {
		_, waits := p.known[string(key)]
		return waits
	}
	return slices.ContainsFunc(p.keys, func(k string) bool { return k == string(key) })
}

// pushKeysMax is how many keys may wait to be told to one client.
func (srv *Server) pushKeysMax() int { return int(srv.config.TrackingPushMaxKeys.Load()) }

// Invalidate says that a key has changed that the session has read.
func (t *tracker) Invalidate(_ int, key []byte, by partition.Origin) {
	t.mu.Lock()
	defer t.mu.Unlock()
	// What was read before a change to BCAST is not told of: as in Redis.
	if t.mu.on && !t.mu.bcast && !t.isOwnLocked(by) {
		t.addLocked(key, by)
	}
}

// Broadcast says that a key with one of the session's prefixes has changed.
func (t *tracker) Broadcast(key []byte, by partition.Origin) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.on && t.mu.bcast && !t.isOwnLocked(by) {
		t.addLocked(key, by)
	}
}

// isOwnLocked tells whether a change is the session's own, and it does not want to hear of those.
func (t *tracker) isOwnLocked(by partition.Origin) bool {
	return t.mu.noloop && by == partition.Origin(t)
}

// addLocked adds a key to what the session is to be told; of whom has changed it, what it asks for.
func (t *tracker) addLocked(key []byte, by partition.Origin) {
	o, _ := by.(origin)
	if o.family != t.mu.family {
		o = origin{}
	}
	t.mu.add(key, o, t.s.srv.pushKeysMax())
	t.queueLocked()
}

// InvalidateAll says that any key may have changed.
func (t *tracker) InvalidateAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.on {
		t.mu.all = true
		t.queueLocked()
	}
}

// Lost says that this node does not lead a partition any more, of which the session has read a key.
func (t *tracker) Lost(p int, key []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case !t.mu.on || t.mu.bcast:
		return
	case t.mu.native:
		t.mu.lost.add(p)
	default:
		t.mu.add(key, origin{}, t.s.srv.pushKeysMax())
	}
	t.queueLocked()
}

// Stripes tells whether the session may be told of keys that it has not read: those who know of partitions do not mind.
func (t *tracker) Stripes() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.on && t.mu.native && !t.mu.bcast
}

// LosePartition says that this node does not lead a partition any more. From here on the session's lease does not end with it: whatever
// the session has read there it is told of.
func (t *tracker) LosePartition(p int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	reads := t.mu.parts.has(p)
	t.mu.parts.remove(p)
	switch {
	case !t.mu.on || !t.mu.bcast && !(t.mu.native && reads):
		return
	case t.mu.native:
		t.mu.lost.add(p)
	default:
		t.mu.all = true
	}
	t.queueLocked()
}

// queueLocked has who is to be told take what waits.
func (t *tracker) queueLocked() {
	if t.mu.queued {
		return
	}
	if t.mu.to.notify(t) {
		t.mu.queued = true
		return
	}
	t.mu.pending = pending{}
	t.mu.broken = true
	if !t.mu.brokenDue {
		t.mu.brokenDue = t.s.notify(t)
	}
}

// isOff tells whether the session tracks no more, or is closed.
func (t *tracker) isOff() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.mu.on
}

// relays notes that another node reads for it.
func (t *tracker) relays() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.relayed = true
}

// readTracker is for whom a command reads.
type readTracker interface {
	partition.Tracker
	read(partition int) // a key of the partition is registered; its lock is held
}

// read notes that a key of a partition is registered. The partition's lock is held.
func (t *tracker) read(p int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.parts.add(p)
}

// change sets the mode.
func (t *tracker) change(mode trackingMode, to *Session) {
	t.rejoin = true
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.trackingMode, t.mu.broken, t.mu.brokenDue = mode, false, false
	if !mode.on {
		t.mu.pending, t.mu.parts = pending{}, nil
	}
	if t.mu.to != to {
		t.mu.to, t.mu.queued = to, false
		if !t.mu.empty() {
			t.queueLocked()
		}
	}
}

// isBroken tells whether the session redirects to one that has gone.
func (t *tracker) isBroken() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.broken
}

// tracks tells whether what the session reads next is tracked. It runs on its loop.
func (t *tracker) tracks() bool {
	m := &t.mu.trackingMode
	return m.on && !m.bcast && (!m.optin || t.caching) && (!m.optout || !t.caching)
}

// asReader prepares a call for a session with a tracker, or that changes in another's name.
func (c *Call) asReader(t *tracker) {
	c.by, c.track, c.origin = nil, nil, nil
	if t != nil && t.mu.on {
		c.by, c.origin = t, t
	}
	if c.s.as != (origin{}) {
		c.origin = c.s.as
	}
	if t != nil && t.tracks() {
		c.track = t
	}
}

// trackReads registers what the command has read, under the lock under which it was read.
func (c *Call) trackReads() {
	c.keys = c.Row.keyPositions(c.keys[:0], c.Args)
	for _, at := range c.keys {
		c.track.read(c.Tx.Track(c.Args[at], c.track))
	}
}

// afterCommand ends a command of a session that has a tracker: pushes stand behind its reply.
func (s *Session) afterCommand(c *Call) {
	t := s.tracker
	c.by, c.track, c.origin = nil, nil, nil
	if s.multi == nil && !(c.Row != nil && c.Row.container != nil && c.Row.container.Name == "client") {
		t.caching = false
	}
	t.rejoinNow()
	s.deliver(c.W)
}

// rejoinNow tells the store of a change of mode. No partition may be held.
func (t *tracker) rejoinNow() {
	if t.rejoin {
		t.rejoin = false
		t.join()
	}
}

// join tells the store of the mode. It may take partitions' locks.
func (t *tracker) join() {
	store := t.s.srv.store
	if t.mu.on {
		store.Join(t, t.mu.prefixes)
	} else {
		store.Leave(t)
	}
	t.s.srv.cast(t)
}

// drop has the session told to drop a key that it has read, and that nobody would tell it of.
func (t *tracker) drop(key []byte) { t.dropOf(key, origin{}) }

// dropOf is drop of a key that somebody has changed. It returns false where that is the session itself, which does not want to hear of it.
func (t *tracker) dropOf(key []byte, by origin) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mu.on && t.mu.noloop && by == t.s.origin() {
		return false
	}
	begins := func(prefix string) bool { return strings.HasPrefix(string(key), prefix) }
	if t.mu.on && (!t.mu.bcast || slices.ContainsFunc(t.mu.prefixes, begins)) {
		t.addLocked(key, by)
	}
	return true
}

// dropReads has the session told to drop what another node has read for it: that node knows nothing of it, and will not tell.
func (t *task) dropReads() { t.eachRead(t.by.drop) }

// eachRead calls f with the keys that the task reads.
func (t *task) eachRead(f func(key []byte)) {
	of := func(row *Row, args [][]byte) {
		if row.Flags&ReadOnly == 0 {
			return
		}
		for _, at := range row.keyPositions(nil, args) {
			f(args[at])
		}
	}
	if t.multi == nil {
		of(t.row, t.args)
		return
	}
	for _, q := range t.multi.queue {
		of(q.row, q.args)
	}
}

// partitions is a set of partitions.
type partitions []uint64

func (s *partitions) add(p int) {
	for p/64 >= len(*s) {
		*s = append(*s, 0)
	}
	(*s)[p/64] |= 1 << (p % 64)
}

func (s partitions) has(p int) bool { return p/64 < len(s) && s[p/64]&(1<<(p%64)) != 0 }

func (s partitions) remove(p int) {
	if p/64 < len(s) {
		s[p/64] &^= 1 << (p % 64)
	}
}

func (s partitions) empty() bool {
	for _, word := range s {
		if word != 0 {
			return false
		}
	}
	return true
}

// list is the set in order.
func (s partitions) list() (list []int) {
	for i := range 64 * len(s) {
		if s[i/64]&(1<<(i%64)) != 0 {
			list = append(list, i)
		}
	}
	return list
}
