package cluster

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
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

	"github.com/hashicorp/memberlist"
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
	log       *slog.Logger
	serf      atomic.Pointer[serf.Serf] // nil until it is running
	changes   changes
	running   sync.WaitGroup

	seeking     context.Context // done once the node looks for nobody any more
	stopSeeking context.CancelFunc
	joining     sync.Mutex // held while lists are exchanged at our request, and while Serf leaves or ends

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
	gossipTimeout  = 3 * time.Second // to exchange lists of members

	broadcastTimeout = 2 * time.Second // for a farewell or new tags to go out
	farewellPause    = 500 * time.Millisecond
	// nameReclaim is how long a node has to be failed before its id may come back with another address: no time at all, since
	// whoever hears of the new address has not always heard of the failure first.
	nameReclaim = time.Millisecond

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

	errEnded = fmt.Errorf("membership has ended: %w", net.ErrClosed)
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
	m := &Membership{transport: o.Transport, log: o.Log, left: make(chan struct{})}
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
	l.Transport = m.transport.Memberlist()
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

// Join finds the grid by the addresses of peer ports: one live node's is enough. It tries them all at once, again and again
// with pauses that grow, until it has exchanged members with one of them or ctx ends; then the error says for each address why
// not, wrapping ErrWrongSecret, ErrOtherGrid, ErrVersion, ErrNodeTwice, ErrSelf, ErrNotServed, ErrHandshake or ErrNobody.
//
// Whatever becomes of it, the membership goes on to look for those of the addresses that are no members, so that parts of a
// grid that began apart find each other.
func (m *Membership) Join(ctx context.Context, addrs []string) error {
	if n := len(addrs); n == 0 || n > seedsMax {
		return fmt.Errorf("join: %d addresses, and 1 to %d are wanted", n, seedsMax)
	}
	if m.seeking.Err() != nil {
		return fmt.Errorf("join: %w", errEnded)
	}
	m.mu.Lock()
	m.mu.seeds = slices.Clone(addrs)
	m.mu.Unlock()

	trying, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(m.seeking, cancel)()
	reasons := map[string]error{}
	for pause := joinPause; trying.Err() == nil; pause = min(2*pause, joinPauseLongest) {
		for r := range m.reachAll(trying, addrs) {
			if r.err == nil {
				return nil
			}
			if reasons[r.addr] == nil || trying.Err() == nil { // being cancelled is no better reason than the one before
				reasons[r.addr] = fmt.Errorf("%s: %w", r.addr, r.err)
			}
		}
		rest(trying, pause)
	}
	if m.seeking.Err() != nil {
		return fmt.Errorf("join: %w", errEnded)
	}
	failed := []error{ctx.Err()}
	for _, addr := range addrs {
		failed = append(failed, reasons[addr])
	}
	return fmt.Errorf("join: %w", errors.Join(failed...))
}

// rest waits, but not longer than ctx.
func rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// reached says what became of an address.
type reached struct {
	addr string
	err  error
}

// reachAll tries addresses at once, and says of each what became of it. What is not waited for is cancelled.
func (m *Membership) reachAll(ctx context.Context, addrs []string) func(yield func(reached) bool) {
	return func(yield func(reached) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var tries sync.WaitGroup
		defer tries.Wait()
		defer cancel()
		results := make(chan reached, len(addrs))
		others := m.others()
		for _, addr := range addrs {
			tries.Go(func() { results <- reached{addr, m.reach(ctx, addr, others)} })
		}
		for range addrs {
			if !yield(<-results) {
				return
			}
		}
	}
}

// reach makes sure that the node at an address is a member, as those of others are. It knocks first: memberlist knows no context, and
// its errors are text.
func (m *Membership) reach(ctx context.Context, addr string, others map[netip.AddrPort]bool) error {
	at, err := m.transport.Resolve(ctx, addr)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNobody, err)
	}
	if others[at] {
		return nil
	}
	conn, err := m.transport.Dial(ctx, at.String(), Gossip)
	if err != nil {
		return whyNot(err)
	}
	peer := conn.Peer.Member
	conn.Close()
	if peer.Node == m.own() {
		return fmt.Errorf("%w: it is running there as %s", ErrNodeTwice, peer)
	}
	return m.exchange(at)
}

// whyNot names an error of Dial that has no name.
func whyNot(err error) error {
	for _, known := range []error{ErrWrongSecret, ErrOtherGrid, ErrVersion, ErrSelf, ErrNotServed, ErrHandshake} {
		if errors.Is(err, known) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrNobody, err)
}

// others are the peer ports of the other nodes that are alive.
func (m *Membership) others() map[netip.AddrPort]bool {
	at := map[netip.AddrPort]bool{}
	for _, i := range m.Members() {
		if i.Status == MemberAlive && i.Member.Node != m.own() {
			at[i.Peer] = true
		}
	}
	return at
}

// exchange has both sides learn each other's members.
func (m *Membership) exchange(at netip.AddrPort) error {
	m.joining.Lock()
	defer m.joining.Unlock()
	if m.seeking.Err() != nil {
		return errEnded
	}
	m.refused(nil)
	_, err := m.serf.Load().Join([]string{at.String()}, true)
	if err == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.mu.refusal; r != nil && strings.Contains(err.Error(), r.Error()) {
		return r // what memberlist has made text of
	}
	return fmt.Errorf("exchange members: %w", err)
}

func (m *Membership) refused(why error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.refusal = why
}

// seek goes on where Join ended. Serf does so too, for nodes that were members once and have failed.
func (m *Membership) seek() {
	for {
		rest(m.seeking, seekInterval)
		if m.seeking.Err() != nil {
			return
		}
		m.mu.Lock()
		seeds := m.mu.seeds // replaced as a whole
		m.mu.Unlock()
		for r := range m.reachAll(m.seeking, seeds) {
			if r.err != nil && !errors.Is(r.err, ErrSelf) {
				m.log.Debug("not reached", "peer", r.addr, "reason", r.err)
			}
		}
	}
}

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
	m.joining.Lock() // also keeps one SetTags from the other: Serf does not
	defer m.joining.Unlock()
	if m.seeking.Err() != nil {
		return fmt.Errorf("set tags: %w", errEnded)
	}
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

// Leave says goodbye, so that the others take the node for one that left and not for a failed one. It takes a second, or a few
// where nobody answers; if ctx ends before, it goes on by itself, and Shutdown waits for it. Again is no error. Nothing but
// Shutdown follows.
func (m *Membership) Leave(ctx context.Context) error {
	m.leave.Do(func() {
		m.stopSeeking()
		go func() {
			defer close(m.left)
			m.joining.Lock()
			defer m.joining.Unlock()
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
	m.joining.Lock()
	err := m.serf.Load().Shutdown()
	m.joining.Unlock()
	m.running.Wait()
	if err != nil {
		return fmt.Errorf("end membership: %w", err)
	}
	return nil
}

// admission is what memberlist asks before it believes that a node is a member.
type admission struct{ *Membership }

var (
	_ memberlist.AliveDelegate = admission{}
	_ memberlist.MergeDelegate = admission{}
)

// NotifyMerge is asked about a list of members that another node sends, by both sides of a Join. An error refuses it whole.
func (a admission) NotifyMerge(peers []*memberlist.Node) error {
	listed := map[core.NodeID]*memberlist.Node{}
	for _, n := range peers {
		if n.State == memberlist.StateAlive || n.State == memberlist.StateSuspect {
			listed[core.NodeID(n.Name)] = n
		}
	}
	err := a.checkList(listed)
	if err != nil {
		a.refused(err)
	}
	return err
}

// checkList tells why nodes that another one takes for alive cannot be members together with those that this one does. Both
// sides of a Join know both lists, and so come to the same answer.
func (a admission) checkList(listed map[core.NodeID]*memberlist.Node) error {
	if a.serf.Load() == nil {
		return fmt.Errorf("%w: membership is about to start", ErrNotServed)
	}
	a.mu.Lock()
	grid := a.mu.learned
	a.mu.Unlock()
	here := a.Members()
	for node, n := range listed {
		id, err := a.check(n, grid)
		if err != nil {
			return err
		}
		grid = known(grid, id.Grid)
		for _, i := range here {
			at := peerPort(n.Addr, n.Port)
			switch {
			case i.Status != MemberAlive:
			case i.Member.Node == node && i.Peer != at:
				return fmt.Errorf("%w: %s is at %s, and alive at %s", ErrNodeTwice, node, at, i.Peer)
			case node == a.own() || listed[i.Member.Node] != nil: // what is listed may be newer
			case max(i.FeatureMin, id.FeatureMin) > min(i.FeatureMax, id.FeatureMax):
				return fmt.Errorf("%w: %s speaks feature levels %d to %d, and %s %d to %d", ErrVersion,
					id.Member, id.FeatureMin, id.FeatureMax, i.Member, i.FeatureMin, i.FeatureMax)
			}
		}
	}
	return nil
}

// NotifyAlive is asked about each node that anybody says is alive, and must not call memberlist, whose lock is held. That an
// address is new is memberlist's to judge: it knows whether the node was dead, and refutes what is wrong about the node itself.
func (a admission) NotifyAlive(n *memberlist.Node) error {
	if n.Name == string(a.own()) {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	id, err := a.check(n, a.mu.learned)
	if err != nil {
		return err
	}
	if s := a.serf.Load(); s != nil && s.NumNodes() >= membersMax && !isListed(s.Members(), n.Name) {
		return fmt.Errorf("no room for %s: %d nodes are known", id.Member, membersMax)
	}
	a.mu.learned = known(a.mu.learned, id.Grid)
	return nil
}

// check tells why a node cannot be a member; grid is what the members are known to be of. The node itself may be listed as it
// was before a restart, of any grid.
func (a admission) check(n *memberlist.Node, grid [16]byte) (Identity, error) {
	if n.Name == string(a.own()) {
		return Identity{}, nil
	}
	id, _, err := parseMeta(n.Meta, core.NodeID(n.Name))
	if err != nil {
		return Identity{}, err
	}
	if !peerPort(n.Addr, n.Port).IsValid() {
		return id, fmt.Errorf("%s has an address of %d bytes", id.Member, len(n.Addr))
	}
	self := a.transport.Identity()
	self.Grid = known(self.Grid, grid)
	return id, compatible(self, id)
}

func isListed(members []serf.Member, name string) bool {
	return slices.ContainsFunc(members, func(m serf.Member) bool { return m.Name == name })
}

// known is the grid that is not zero, the first one if both are not.
func known(a, b [16]byte) [16]byte {
	if a == [16]byte{} {
		return b
	}
	return a
}

func peerPort(ip net.IP, port uint16) netip.AddrPort {
	return addrPort(&net.UDPAddr{IP: ip, Port: int(port)})
}

// collect takes events from Serf, which must never wait for whoever is told of them.
func (m *Membership) collect(events <-chan serf.Event, end <-chan struct{}) {
	for {
		select {
		case e := <-events:
			if e, ok := e.(serf.MemberEvent); ok {
				m.changed(e)
			}
		case <-end:
			for len(events) > 0 { // room for what Serf has in its hand: it looks up only then
				<-events
			}
			return
		}
	}
}

func (m *Membership) changed(e serf.MemberEvent) {
	for _, member := range e.Members {
		info, err := memberInfo(member)
		if err != nil { // never: admission has parsed it
			m.log.Error("tags of a member", "node", member.Name, "error", err)
			continue
		}
		if e.Type == serf.EventMemberReap {
			info.Status = MemberUnknown
		}
		m.changes.put(info)
	}
}

func (m *Membership) deliver(onChange func(MemberEvent), end <-chan struct{}) {
	for {
		select {
		case <-m.changes.some:
		case <-end:
			return
		}
		e, ok := m.changes.take()
		if ok && onChange != nil {
			onChange(e)
		}
	}
}

// changes is a queue of changes to be told, one a node. Those who were told of are at most membersMax, and so are those who
// are members now, so it never has more than twice as many.
type changes struct {
	some chan struct{} // has one while there may be changes
	mu   struct {
		sync.Mutex
		order []core.NodeID // without repetition
		is    map[core.NodeID]MemberInfo
		told  map[core.NodeID]MemberInfo // never MemberUnknown
	}
}

func (q *changes) init() {
	q.some = make(chan struct{}, 1)
	q.mu.is, q.mu.told = map[core.NodeID]MemberInfo{}, map[core.NodeID]MemberInfo{}
}

func (q *changes) put(info MemberInfo) {
	q.mu.Lock()
	defer q.mu.Unlock()
	node := info.Member.Node
	if _, waits := q.mu.is[node]; !waits {
		q.mu.order = append(q.mu.order, node)
	}
	q.mu.is[node] = info
	if _, told := q.mu.told[node]; !told && info.Status == MemberUnknown { // came and went unnoticed
		delete(q.mu.is, node)
		q.mu.order = slices.DeleteFunc(q.mu.order, func(n core.NodeID) bool { return n == node })
	}
	q.wakeLocked()
}

// take returns the oldest change; false where there is none, or it was taken back.
func (q *changes) take() (MemberEvent, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.mu.order) == 0 {
		return MemberEvent{}, false
	}
	node := q.mu.order[0]
	q.mu.order = q.mu.order[1:]
	e := MemberEvent{q.mu.told[node], q.mu.is[node]}
	delete(q.mu.is, node)
	q.mu.told[node] = e.Is
	if e.Is.Status == MemberUnknown {
		delete(q.mu.told, node)
	}
	q.wakeLocked()
	return e, e.Was != e.Is
}

func (q *changes) wakeLocked() {
	if len(q.mu.order) == 0 {
		return
	}
	select {
	case q.some <- struct{}{}:
	default:
	}
}

// memberInfo makes sense of Serf's member. One that is leaving is alive until it has left: its event comes then.
func memberInfo(s serf.Member) (MemberInfo, error) {
	id, tags, err := parseTags([]byte(s.Tags[""]), core.NodeID(s.Name))
	info := MemberInfo{Identity: id, Tags: tags, Peer: peerPort(s.Addr, s.Port), Status: MemberAlive}
	switch s.Status {
	case serf.StatusFailed:
		info.Status = MemberFailed
	case serf.StatusLeft:
		info.Status = MemberLeft
	}
	return info, err
}

// Tags as they travel, in what memberlist calls meta. It has little room, so they are one tag of Serf's, with an empty name:
//
//	6 B   metaHead and the length: Serf's mark, and a map with one entry in msgpack
//	1 B   version
//	1 B   role
//	16 B  grid
//	16 B  incarnation
//	4 B   feature level from
//	4 B   to
//	      client address, cluster address, zone, version of the program: 1 B length and the bytes, each
//
// Further fields may follow; who does not know them skips them.
const (
	metaHead    = "\xff\x81\xa0\xda"
	tagsVersion = 1
	tagsSizeMax = memberlist.MetaMaxSize - len(metaHead) - 2 // bytes
	tagSizeMax  = 255
)

func serfTags(encoded string) map[string]string { return map[string]string{"": encoded} }

func encodeTags(id Identity, tags Tags) (string, error) {
	b := []byte{tagsVersion, byte(tags.Role)}
	b = append(b, id.Grid[:]...)
	b = append(b, id.Member.Inc[:]...)
	b = binary.LittleEndian.AppendUint32(b, id.FeatureMin)
	b = binary.LittleEndian.AppendUint32(b, id.FeatureMax)
	room := tagsSizeMax - len(b)
	for _, s := range []string{tags.Client, tags.Cluster, tags.Zone, tags.Version} {
		if len(s) > tagSizeMax {
			return "", fmt.Errorf("a tag of %d bytes, and %d are allowed: it begins with %.40q", len(s), tagSizeMax, s)
		}
		b = append(b, byte(len(s)))
		b = append(b, s...)
	}
	if over := len(b) - tagsSizeMax; over > 0 {
		return "", fmt.Errorf("addresses, zone and version need %d bytes together, and there is room for %d", room+over, room)
	}
	return string(b), nil
}

func parseMeta(meta []byte, node core.NodeID) (Identity, Tags, error) {
	b, ok := bytes.CutPrefix(meta, []byte(metaHead))
	if !ok || len(b) < 2 || len(b)-2 != int(binary.BigEndian.Uint16(b)) {
		return Identity{}, Tags{}, fmt.Errorf("%w: tags of %s: a form that this node does not know", ErrVersion, node)
	}
	return parseTags(b[2:], node)
}

func parseTags(b []byte, node core.NodeID) (Identity, Tags, error) {
	id, tags := Identity{Member: core.Member{Node: node}}, Tags{}
	const head = 2 + 16 + 16 + 4 + 4
	if len(b) < head || b[0] != tagsVersion {
		return id, tags, fmt.Errorf("%w: tags of %s: not version %d", ErrVersion, node, tagsVersion)
	}
	tags.Role = core.Role(b[1])
	id.Grid = [16]byte(b[2:])
	id.Member.Inc = core.Incarnation(b[18:])
	id.FeatureMin, id.FeatureMax = binary.LittleEndian.Uint32(b[34:]), binary.LittleEndian.Uint32(b[38:])
	b = b[head:]
	for _, s := range []*string{&tags.Client, &tags.Cluster, &tags.Zone, &tags.Version} {
		if len(b) == 0 || len(b)-1 < int(b[0]) {
			return id, tags, fmt.Errorf("%w: tags of %s: cut short", ErrVersion, node)
		}
		*s, b = string(b[1:1+int(b[0])]), b[1+int(b[0]):]
	}
	return id, tags, nil
}

// serfLog hands lines of Serf and memberlist on, within bounds: strangers can provoke them.
type serfLog struct {
	log *slog.Logger
	mu  struct {
		sync.Mutex
		since  time.Time // when the present second began
		lines  int       // in it
		others int       // not logged, since the last that was
	}
}

// Write takes one line.
func (l *serfLog) Write(line []byte) (int, error) {
	level, text := parseLogLine(string(line))
	if !l.log.Enabled(context.Background(), level) {
		return len(line), nil
	}
	if others, ok := l.admit(time.Now()); ok {
		var args []any
		if others > 0 {
			args = []any{"others", others}
		}
		l.log.Log(context.Background(), level, text, args...)
	}
	return len(line), nil
}

// admit says whether one more line is to be logged, and how many were not before it.
func (l *serfLog) admit(now time.Time) (others int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.mu.since) >= time.Second {
		l.mu.since, l.mu.lines = now, 0
	}
	if l.mu.lines == serfLinesMax {
		l.mu.others++
		return 0, false
	}
	l.mu.lines++
	others, l.mu.others = l.mu.others, 0
	return others, true
}

// parseLogLine finds the level in a line as Serf and memberlist write it: "[WARN] serf: text". A few have none, and are errors.
func parseLogLine(line string) (slog.Level, string) {
	line = strings.TrimRight(line, "\n")
	if len(line) > serfLineSizeMax {
		line = line[:serfLineSizeMax] + "..."
	}
	mark, text, ok := strings.Cut(strings.TrimPrefix(line, "["), "] ")
	if !ok {
		return slog.LevelError, line
	}
	switch mark {
	case "DEBUG", "TRACE":
		return slog.LevelDebug, text
	case "INFO":
		return slog.LevelInfo, text
	case "WARN":
		return slog.LevelWarn, text
	case "ERR", "ERROR":
		return slog.LevelError, text
	}
	return slog.LevelError, line
}
