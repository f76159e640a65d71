package cluster

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/serf/serf"

	"github.com/neargrid/neargrid/cluster/core"
)

// Membership is a node's part in finding the others: Serf over the peer port. It knows who is there, what each says of
// itself, and has hints at who failed. A hint is not a decision: the control plane decides from its own heartbeats (R3), and
// a node that comes and goes here costs nobody anything.
//
// Whoever is of another grid (R33), has no common feature level (R27), or uses a node id that a living node has, is refused: by
// the handshake, by admission when lists of members are exchanged, and by admission again for each node that others gossip of.
type Membership struct {
	transport *Transport
	gossip    *gossip // over it
	log       *slog.Logger
	serf      atomic.Pointer[serf.Serf] // nil until it is running
	changes   changes
	running   sync.WaitGroup

	seeking     context.Context // done once the node looks for nobody any more
	stopSeeking context.CancelFunc
	using       chan struct{} // has one while Serf exchanges lists at our request, tells new tags, leaves or ends: see use
	moved       chan struct{} // has one when others know a former start of this node at another address: see announce

	leave sync.Once
	left  chan struct{} // closed once Leave has come to its end, or never can begin

	mu struct {
		sync.Mutex
		tags    Tags
		seeds   []string // addresses that Join was given last; len <= seedsMax
		learned [16]byte // the grid of the members, which counts while the node itself is of none
		refusal error    // the last one of admission
	}
}

// Bounds of membership.
const (
	membersMax      = 1024 // nodes known, those that failed or left lately included; further ones are refused
	seedsMax        = 64   // addresses to join
	serfEventsMax   = 64   // events that Serf has handed over and nobody has looked at; that takes no longer than a map's entry
	serfQueueMax    = 1024 // messages of Serf that wait to be gossiped; beyond it the oldest are dropped
	serfQueueLong   = 512  // from this many on, Serf warns every half minute
	serfLinesMax    = 50   // log lines of Serf and memberlist in a second; further ones are counted
	serfLineSizeMax = 512  // bytes; they print whole tags
)

// Times of membership. What is not here is memberlist's default for a LAN. A node that crashed is probed, and missed, within
// two probeIntervals in a small grid. It then has suspicionMult of them, times the logarithm of the number of nodes, to object,
// or twice that where nobody confirms the suspicion: 1 to 2 s in all.
const (
	probeInterval  = 300 * time.Millisecond
	probeTimeout   = 150 * time.Millisecond // of a packet's way there and back, before others are asked to try
	suspicionMult  = 3
	suspicionSlack = 2
	gossipInterval = 100 * time.Millisecond
	gossipTimeout  = 3 * time.Second // for each step of an exchange of lists of members

	exchangeTimeout = 4 * time.Second // to exchange lists with somebody who is no member yet, twice
	announcePause   = time.Second
	announcements   = 5 // of a node that has moved; after them everybody has found its former start dead

	broadcastTimeout = 2 * time.Second // for a farewell or new tags to go out
	farewellPause    = 500 * time.Millisecond
	// nameReclaim is how long a node has to be failed before its id may come back with another address: no time at all, since
	// whoever hears of the new address has not always heard of the failure first.
	nameReclaim = time.Nanosecond

	reconnectInterval = 3 * time.Second  // between attempts to reach members that failed
	seekInterval      = 10 * time.Second // between attempts to reach the addresses given to Join that are no members
	forgetFailed      = time.Hour
	forgetLeft        = time.Hour
	reapInterval      = 15 * time.Second

	joinPause        = 100 * time.Millisecond // doubles after each round
	joinPauseLongest = 2 * time.Second
)

var (
	// ErrNodeTwice: a living node has the same id at another address. A data directory was copied; or the node has moved, and
	// its former start has not been found dead yet: Join tries again, and that passes.
	ErrNodeTwice = errors.New("node id used twice")
	// ErrNobody: nothing that takes connections is at the address, or nothing answers.
	ErrNobody = errors.New("nobody there")

	// errFormer: somebody has to hear of a former start first, and comes again at once.
	errFormer = errors.New("former start remembered")
	errEnded  = fmt.Errorf("membership has ended: %w", net.ErrClosed)
)

// Tags are what a node tells of itself, beyond its Identity and the address of its peer port.
type Tags struct {
	Role            core.Role
	Client, Cluster string // addresses of the grid door and the cluster door, host:port; empty: closed
	Zone            string
	Version         string // of the program
}

// MemberStatus is what is known of a node's life.
type MemberStatus uint8

const (
	MemberUnknown MemberStatus = iota // not heard of, or forgotten
	MemberAlive
	MemberFailed // does not answer: a hint
	MemberLeft   // said goodbye
)

func (s MemberStatus) String() string {
	switch s {
	case MemberUnknown:
		return "unknown"
	case MemberAlive:
		return "alive"
	case MemberFailed:
		return "failed"
	case MemberLeft:
		return "left"
	}
	return fmt.Sprintf("status %d", uint8(s))
}

// MemberInfo is what is known of a node.
type MemberInfo struct {
	Identity
	Tags
	Peer   netip.AddrPort // its peer port
	Status MemberStatus
}

// MemberEvent is a change of what is known of a node. A node's events form a chain: Was is the Is of the one before, and
// MemberUnknown at first. While the receiver is busy, a node's changes become one, which stays in the place of the oldest; those
// that cancel each other out are left out. A quick restart shows as a change of the incarnation alone (R2).
type MemberEvent struct{ Was, Is MemberInfo }

// MembershipOptions is what OpenMembership needs.
type MembershipOptions struct {
	// Transport says who the node is; incarnation, feature levels and grid are told to others together with Tags.
	Transport *Transport
	Keys      *Keys       // the transport's
	Node      core.NodeID // the transport's
	Tags      Tags
	Log       *slog.Logger // nil: none
	// OnChange is told of changes, the node's own included, in order and one at a time. It may take its time, but must not
	// call Shutdown. Nil: nobody is.
	OnChange func(MemberEvent)
}

// OpenMembership starts with the node as the only member. It takes the transport's gossip until Shutdown. An error says that
// the options are wrong: tags that do not fit, above all.
func OpenMembership(o MembershipOptions) (*Membership, error) {
	m := &Membership{
		transport: o.Transport, log: o.Log, left: make(chan struct{}),
		using: make(chan struct{}, 1), moved: make(chan struct{}, 1),
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.mu.tags = o.Tags
	m.changes.init()
	if own := m.own(); o.Node != own {
		return nil, fmt.Errorf("open membership: node %s over the transport of %s", o.Node, own)
	}
	if strings.Contains(string(o.Node), "/") {
		return nil, fmt.Errorf("open membership: node id %q: Serf's addresses allow no slash in it", o.Node)
	}
	tags, err := encodeTags(m.transport.Identity(), o.Tags)
	if err != nil {
		return nil, fmt.Errorf("open membership: %w", err)
	}

	events := make(chan serf.Event, serfEventsMax)
	config := m.serfConfig(o.Keys, tags, events)
	s, err := serf.Create(config)
	if err != nil {
		_ = config.MemberlistConfig.Transport.Shutdown()
		return nil, fmt.Errorf("open membership: %w", err)
	}
	m.serf.Store(s)
	m.seeking, m.stopSeeking = context.WithCancel(context.Background())
	m.running.Go(func() { m.collect(events, s.ShutdownCh()) })
	m.running.Go(func() { m.deliver(o.OnChange, s.ShutdownCh()) })
	m.running.Go(m.seek)
	m.running.Go(m.announce)
	return m, nil
}

// serfConfig has no snapshot file: who is there is asked of those that are there.
func (m *Membership) serfConfig(keys *Keys, tags string, events chan<- serf.Event) *serf.Config {
	logger := log.New(&serfLog{log: m.log}, "", 0)
	c := serf.DefaultConfig()
	c.Logger, c.LogOutput = logger, nil
	c.NodeName = string(m.own())
	c.Tags = serfTags(tags)
	c.EventCh = events
	c.EnableNameConflictResolution = false // it ends one of the two by vote; here the newcomer is refused instead
	c.DisableCoordinates = true
	c.EventBuffer, c.QueryBuffer = 1, 1 // they are sent along with each list of members, and unused
	c.BroadcastTimeout, c.LeavePropagateDelay = broadcastTimeout, farewellPause
	c.ReconnectInterval, c.ReconnectTimeout = reconnectInterval, forgetFailed
	c.ReapInterval, c.TombstoneTimeout = reapInterval, forgetLeft
	c.QueueDepthWarning, c.MaxQueueDepth = serfQueueLong, serfQueueMax

	l := c.MemberlistConfig
	l.Logger = logger
	m.gossip = m.transport.newGossip()
	l.Transport = m.gossip
	l.SecretKey = keys.GossipKey()
	l.Alive, l.Merge = admission{m}, admission{m} // Serf's own Merge would hide who is dead
	l.ProbeInterval, l.ProbeTimeout = probeInterval, probeTimeout
	l.SuspicionMult, l.SuspicionMaxTimeoutMult = suspicionMult, suspicionSlack
	l.GossipInterval, l.TCPTimeout = gossipInterval, gossipTimeout
	l.EnableCompression = false // it was a third of what 64 idle nodes took, to save bytes of small packets
	l.DeadNodeReclaimTime = nameReclaim
	return c
}

func (m *Membership) own() core.NodeID { return m.transport.identity.Member.Node }

// Members are the nodes that are known, in order of their ids.
func (m *Membership) Members() []MemberInfo {
	var infos []MemberInfo
	for _, member := range m.serf.Load().Members() {
		if info, err := memberInfo(member); err == nil { // always: admission has parsed it
			infos = append(infos, info)
		}
	}
	slices.SortFunc(infos, func(a, b MemberInfo) int { return cmp.Compare(a.Member.Node, b.Member.Node) })
	return infos
}

// Tags are the node's own.
func (m *Membership) Tags() Tags {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mu.tags
}

// SetTags tells the others new tags, together with what the transport's Identity is now: after SetGrid, the same tags do. An
// error that wraps ErrOtherGrid says that the members are of another grid than the one that was set. Other errors: the tags do
// not fit, or there are others and none was told within 2 s, and they learn the tags later.
func (m *Membership) SetTags(tags Tags) error {
	id := m.transport.Identity()
	encoded, err := encodeTags(id, tags)
	if err != nil {
		return fmt.Errorf("set tags: %w", err)
	}
	if err := m.use(context.Background()); err != nil {
		return fmt.Errorf("set tags: %w", err)
	}
	defer m.release()
	m.mu.Lock()
	learned := m.mu.learned
	fits := known(id.Grid, learned) == known(learned, id.Grid)
	if fits {
		m.mu.tags = tags
	}
	m.mu.Unlock()
	if !fits {
		return fmt.Errorf("set tags: %w: the members are of grid %x, and this node of grid %x", ErrOtherGrid, learned, id.Grid)
	}
	if err := m.serf.Load().SetTags(serfTags(encoded)); err != nil {
		return fmt.Errorf("set tags: %w", err)
	}
	return nil
}

// use waits for its turn to have Serf do something that takes time: Serf itself keeps neither one SetTags from another nor a Join from
// the end of it all. It is followed by release. An error says that it is not to be had: ctx has ended, or the node looks for nobody any more. Whoever has
// it then gives up, so Leave and Shutdown do not wait long.
func (m *Membership) use(ctx context.Context) error {
	select {
	case m.using <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	case <-m.seeking.Done():
		return errEnded
	}
	if m.seeking.Err() != nil {
		m.release()
		return errEnded
	}
	return nil
}

func (m *Membership) release() { <-m.using }

// Leave says goodbye, so that the others take the node for one that left and not for a failed one. It takes a second, or a few
// where nobody answers; if ctx ends before, it goes on by itself, and Shutdown waits for it. Again is no error. Nothing but
// Shutdown follows.
func (m *Membership) Leave(ctx context.Context) error {
	m.leave.Do(func() {
		m.stopSeeking()
		go func() {
			defer close(m.left)
			m.using <- struct{}{}
			defer m.release()
			if err := m.serf.Load().Leave(); err != nil {
				m.log.Warn("leave", "error", err)
			}
		}()
	})
	select {
	case <-m.left:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("leave: %w", ctx.Err())
	}
}

// Shutdown ends membership and leaves the transport open. To the others it looks like a crash unless Leave was called before.
// Once it returns, OnChange is not called any more. Again is no error.
func (m *Membership) Shutdown() error {
	m.stopSeeking()
	m.leave.Do(func() { close(m.left) })
	<-m.left // memberlist panics where it is left after its end
	m.using <- struct{}{}
	err := m.serf.Load().Shutdown()
	m.release()
	m.running.Wait()
	if err != nil {
		return fmt.Errorf("end membership: %w", err)
	}
	return nil
}
