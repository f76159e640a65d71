package cluster

import (
	"net/netip"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// beat is a node's heartbeat, to every node of raft's configuration (R3).
type beat struct {
	Number  uint64        // only rises, within an incarnation: a packet that comes again does not count
	Sent    time.Duration // by the sender's clock
	Version uint64        // of the table that is applied there
	Index   uint64        // of raft's log, that is applied there; 0 without raft
}

// word is what a leader tells a node: an answer to its heartbeat, or news, with Number 0. It sends answers only once a
// majority has confirmed, after the heartbeat came, that it leads.
type word struct {
	Term    uint64
	Version uint64 // of the leader's table
	Servers uint64 // number of raft's configuration
	Number  uint64 // of the heartbeat
	Sent    time.Duration
	Vouched bool // the node's incarnation is in the table, not fenced, and has applied that (R10)
}

const (
	packetBeat byte = 1
	packetWord byte = 2
)

func appendBeat(dst []byte, b beat) []byte {
	var e encoder
	e.byte(packetBeat)
	e.uint(b.Number)
	e.uint(uint64(b.Sent))
	e.uint(b.Version)
	e.uint(b.Index)
	return e.appendTo(dst)
}

func appendWord(dst []byte, w word) []byte {
	var e encoder
	e.byte(packetWord)
	e.uint(w.Term)
	e.uint(w.Version)
	e.uint(w.Servers)
	e.uint(w.Number)
	e.uint(uint64(w.Sent))
	e.flag(w.Vouched)
	return e.appendTo(dst)
}

// parsePacket decodes a *beat or a *word.
func parsePacket(b []byte) (any, error) {
	d := newDecoder(b)
	switch kind := d.byte(); kind {
	case packetBeat:
		b := &beat{Number: d.uint(), Sent: time.Duration(d.uint()), Version: d.uint(), Index: d.uint()}
		return b, d.end()
	case packetWord:
		w := &word{
			Term: d.uint(), Version: d.uint(), Servers: d.uint(), Number: d.uint(), Sent: time.Duration(d.uint()), Vouched: d.flag(),
		}
		return w, d.end()
	default:
		d.fail("packet %d", kind)
		return nil, d.err
	}
}

// inHeartbeat is a packet that has come.
type inHeartbeat struct {
	from core.Member
	at   time.Duration
	what any // *beat or *word
}

// packetsMax bounds the packets that the loop has not looked at; further ones are lost, as packets are.
const packetsMax = 1024

// takePacket runs on the transport's goroutine.
func (c *ControlPlane) takePacket(from core.Member, payload []byte) {
	what, err := parsePacket(payload)
	if err != nil {
		return
	}
	select {
	case c.packets <- inHeartbeat{from, c.config.Now(), what}:
	default:
	}
}

// sendPacket sends to where the table says that a node is.
func (c *ControlPlane) sendPacket(to *core.Node, payload []byte) {
	addr, err := netip.ParseAddrPort(to.Peer)
	if err == nil {
		err = c.config.Transport.SendPacket(PacketHeartbeat, to.Member(), addr, payload)
	}
	if err != nil {
		c.log.Debug("send heartbeat", "to", to.ID, "error", err)
	}
}

// heardBeat is what the loop knows of a member by its newest heartbeat.
type heardBeat struct {
	beat
	at time.Duration
}

// heartbeat tells every server of raft that this node lives (R3).
func (l *controlLoop) heartbeat(now time.Duration) {
	l.number++
	l.beatAt = now
	b := beat{Number: l.number, Sent: now, Version: l.c.follower.applied.Load(), Index: l.c.raft.AppliedIndex()}
	packet := appendBeat(nil, b)
	t := l.c.follower.newest()
	for _, s := range l.c.servers().Servers {
		if s.ID == l.c.self.Node {
			l.takeBeat(l.c.self, &b, now)
			continue
		}
		if n := t.Node(s.ID); n != nil {
			l.c.sendPacket(n, packet)
		}
	}
}

// takeBeat notes a heartbeat. The leader answers it once it is known to be one.
func (l *controlLoop) takeBeat(from core.Member, b *beat, at time.Duration) {
	n := l.c.follower.newest().Node(from.Node)
	if n == nil || n.Inc != from.Inc || b.Number <= l.heard[from].Number {
		return
	}
	l.heard[from] = heardBeat{*b, at}
	if l.controller != nil {
		l.controller.Heard(from, b.Version, at)
	}
	if l.leads {
		l.unanswered[from] = *b
	}
}

// answer has raft confirm that this node leads, once for all heartbeats that have come since the last time, and then answers
// them.
func (l *controlLoop) answer() {
	if len(l.unanswered) == 0 || l.verifying {
		return
	}
	batch, term := l.unanswered, l.term
	l.unanswered, l.verifying = map[core.Member]beat{}, true
	l.spawn(func() func() {
		err := l.c.raft.verify()
		return func() {
			l.verifying = false
			if err != nil || !l.leads || l.term != term {
				return
			}
			for m, b := range batch {
				l.vouch(m, b)
			}
		}
	})
}

// vouch answers a heartbeat. A node that comes back knows the newest table sooner than its replicas do, and must not be vouched for before
// they know it too (R10):
//
//  1. P is cut off and fenced; its partition is lost, and reset at N.
//  2. P is back, hears that it was fenced, and registers again. Its replicas wait for a lock, with the table from before.
//  3. Vouched for, it would serve by that.
func (l *controlLoop) vouch(m core.Member, b beat) {
	n := l.c.follower.newest().Node(m.Node)
	if n == nil || n.Inc != m.Inc {
		return
	}
	w := l.word()
	w.Number, w.Sent, w.Vouched = b.Number, b.Sent, n.Status != core.Fenced && b.Version >= n.Version
	l.tell(n, w)
}

// word is the leader's news.
func (l *controlLoop) word() word {
	return word{Term: l.term, Version: l.c.follower.newest().Version, Servers: l.c.servers().Index}
}

func (l *controlLoop) tell(n *core.Node, w word) {
	if n.Member() == l.c.self {
		l.takeWord(l.c.self, &w, l.c.config.Now())
		return
	}
	l.c.sendPacket(n, appendWord(nil, w))
}

// spread tells the nodes of the newest table; those only that have not shown it by a heartbeat. A fenced one is told when it
// is heard again.
func (l *controlLoop) spread() {
	t := l.c.follower.newest()
	w := l.word()
	for i := range t.Nodes {
		n := &t.Nodes[i]
		if n.ID != l.c.self.Node && n.Status != core.Fenced && l.heard[n.Member()].Version < t.Version {
			l.tell(n, w)
		}
	}
}

// takeWord follows a leader's word.
func (l *controlLoop) takeWord(from core.Member, w *word, now time.Duration) {
	known := l.c.leader.Load()
	if w.Term < known.Term || generationOfTerm(w.Term) != l.c.generation.Number {
		return
	}
	if w.Term > known.Term || known.ID != from.Node {
		info := leaderInfo{Term: w.Term, ID: from.Node}
		if n := l.c.follower.newest().Node(from.Node); n != nil {
			info.Addr = n.Peer
		}
		l.c.leader.Store(&info)
	}
	l.wordAt = now
	if w.Vouched && w.Sent <= now {
		l.c.vouched.Store(max(l.c.vouched.Load(), int64(w.Sent+l.c.config.Lease)))
	}
	if w.Version > l.c.follower.newest().Version || w.Servers > l.c.servers().Index {
		signal(l.c.pullWanted)
	}
}
