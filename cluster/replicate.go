package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/partition"
)

// Replicator keeps a node's copies what the table says they are: it carries out what core.Replica decides for each partition,
// on the node's store and over Data streams and beacons to its peers.
//
// Locks, in the order in which they are taken; each is held for one event of one partition, or of those that a new table
// changes, and none over I/O:
//
//	replica.order    steps are carried out in the order in which they were decided
//	the partition's  what a command executes is proposed under it (Sink); so is what may forbid executing
//	leases           beacons are answered and counted under it, and tables applied: see core.Replica.ApplyRow
//	replica.mu       the state machine
type Replicator struct {
	config   ReplicatorConfig
	self     core.Member
	store    *partition.Store
	log      *slog.Logger
	replicas []*replica
	opt      core.Options // of all replicas; fixed once the first table has come
	table    atomic.Pointer[core.Table]
	alone    atomic.Bool   // no other node holds data, or may come back with some
	tx       *partition.Tx // OnTable's

	leases struct {
		sync.RWMutex
		*core.Leases
	}
	links struct {
		sync.Mutex // held to change all, whose slices are replaced, never changed
		closed     bool
		all        atomic.Pointer[[]*link] // one for each peer
	}
	leading chan struct{} // holds one: beacons are to be sent now
	closing context.Context
	close   context.CancelFunc
	running sync.WaitGroup
}

// ReplicatorConfig is what a replicator needs. Transport's Data streams and beacons become its own.
type ReplicatorConfig struct {
	Transport *Transport
	// Store must have Replicator.Sink for its sink, and Track set.
	Store *partition.Store
	// Settings are the grid's; Now is a clock that is never set (R9).
	Settings core.Settings
	Now      func() time.Duration
	Lease    time.Duration // L
	// Look has Now count for how long the machine was suspended; nil: it never is.
	Look func()
	// Vouched is until when the controller vouches for this node (R10), by the same clock.
	Vouched func() time.Duration
	// Propose hands changes of rows to the control plane; it does not wait.
	Propose func([]core.Change)
	// OnFailure is told that this node's data can no longer be trusted; it must end its incarnation.
	OnFailure func(error)
	// Together calls a function that tells who has waited for commits; what they answer then may leave together. nil: it is just called.
	Together func(tell func())
	Log      *slog.Logger // nil: none
}

// Times of a replicator.
const (
	replicaTick = 50 * time.Millisecond
	beaconPause = 200 * time.Millisecond // a fifth of a lease
	commitMax   = 5 * time.Second        // after which an executed command is answered as of unknown outcome (R14)
)

// What a wait for a commit ends with where it does not come.
var (
	// ErrIndeterminate: executed, and not known to be committed (R14).
	ErrIndeterminate = errors.New("executed, but not known to be committed")
	errStopped       = fmt.Errorf("%w: the node is stopping", ErrIndeterminate)
)

// NewReplicator makes a replicator that holds nothing yet; Start begins, OnTable tells it what to hold. Its Sink is for the
// store, which Start is given.
func NewReplicator() *Replicator {
	r := &Replicator{leading: make(chan struct{}, 1)}
	r.closing, r.close = context.WithCancel(context.Background())
	r.links.all.Store(new([]*link))
	r.table.Store(&core.Table{})
	return r
}

// Start begins to serve peers. Every partition of the store is inactive until a table makes this node its primary.
func (r *Replicator) Start(config ReplicatorConfig) {
	r.config, r.store, r.log = config, config.Store, config.Log
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	if r.config.Together == nil {
		r.config.Together = func(tell func()) { tell() }
	}
	r.self = config.Transport.Identity().Member
	r.tx = partition.NewTx(config.Store)
	r.leases.Leases = core.NewLeases(r.self, config.Lease, nil)
	r.opt = core.DefaultOptions(config.Settings)
	r.opt.ControllerLease = config.Vouched
	for p := range config.Store.Partitions() {
		config.Store.Partition(p).SetActive(false)
		r.replicas = append(r.replicas, newReplica(r, p))
	}
	config.Transport.Handle(Data, r.serve)
	config.Transport.HandlePackets(PacketBeacon, r.takeBeacon)
	r.running.Go(r.tick)
	r.running.Go(r.sendBeacons)
	r.running.Go(r.retireCopies)
}

// Close ends all streams; what waits for a commit is told so.
func (r *Replicator) Close() {
	r.close()
	r.config.Transport.stopKind(Data)
	r.links.Lock()
	r.links.closed = true
	r.links.Unlock()
	r.running.Wait()
	for _, a := range r.replicas {
		a.failWaiters(errStopped)
	}
}

// Sink is the store's: what a primary executes goes into its log, under the partition's lock.
func (r *Replicator) Sink(p *partition.Partition, b partition.Batch) (settled bool) {
	return r.replicas[p.ID].propose(b)
}

// OnTable follows the table. It is called with one delta after the other.
func (r *Replicator) OnTable(d core.Delta) {
	table := r.table.Load().Follow(d)
	ids := make([]int, 0, len(d.Rows))
	for i := range d.Rows {
		ids = append(ids, d.Rows[i].Partition) // ascending: a delta's rows are in the table's order
	}
	for _, p := range ids {
		r.replicas[p].order.Lock()
	}
	steps := make([]core.Step, len(ids))
	r.tx.Begin(0, ids...)
	r.leases.Lock()
	now := r.config.Now()
	for i, p := range ids {
		steps[i] = r.replicas[p].applyRow(&d.Rows[i], now, r.tx)
	}
	r.leases.TableApplied(d.Version)
	r.leases.Prune(func(m core.Member) bool {
		n := table.Node(m.Node)
		return n == nil || n.Inc != m.Inc
	}, now)
	r.table.Store(table)
	r.alone.Store(!slices.ContainsFunc(table.Nodes, func(n core.Node) bool { return n.Role == core.Data && n.Member() != r.self }))
	r.leases.Unlock()
	r.tx.End()
	for i, p := range ids {
		a := r.replicas[p]
		a.carryOut(steps[i])
		a.open(r.tx)
		a.answerEarly()
		a.order.Unlock()
	}
	if slices.ContainsFunc(d.Rows, func(row core.Row) bool { return row.Primary == r.self }) {
		signal(r.leading)
	}
	r.endLinks(table)
}

// tick passes time to every replica.
func (r *Replicator) tick() {
	ticker := time.NewTicker(replicaTick)
	defer ticker.Stop()
	tx := partition.NewTx(r.store)
	for {
		select {
		case <-r.closing.Done():
			return
		case <-ticker.C:
		}
		for _, a := range r.replicas {
			if a.leads.Load() { // a backup has nothing to do by itself
				a.tick(tx)
			}
		}
		r.Flush()
	}
}

// sendBeacons asks every node that holds a copy of what this one leads to go on accepting it (R6): all the time, and at once where a
// table gives it something to lead, or others a copy of that. Without their leases it would not serve, and not take the copy in.
func (r *Replicator) sendBeacons() {
	ticker := time.NewTicker(beaconPause)
	defer ticker.Stop()
	for {
		select {
		case <-r.closing.Done():
			return
		case <-ticker.C:
		case <-r.leading:
		}
		r.beacons()
	}
}

func (r *Replicator) beacons() {
	table := r.table.Load()
	peers := map[core.Member]bool{}
	for i := range table.Rows {
		if row := &table.Rows[i]; row.Primary == r.self {
			for _, s := range row.Stints {
				peers[s.Member] = s.Member != r.self
			}
		}
	}
	for m, other := range peers {
		if !other {
			continue
		}
		r.leases.RLock()
		b := r.leases.Beacon(m, r.config.Now())
		r.leases.RUnlock()
		r.sendPacket(table, m, appendBeacon(nil, beaconAsk, int64(b.Sent), b.Version))
	}
}

func (r *Replicator) sendPacket(table *core.Table, to core.Member, payload []byte) {
	n := table.Node(to.Node)
	if n == nil || n.Inc != to.Inc {
		return
	}
	addr, err := netip.ParseAddrPort(n.Peer)
	if err == nil {
		err = r.config.Transport.SendPacket(PacketBeacon, to, addr, payload)
	}
	if err != nil {
		r.log.Debug("beacon", "to", to.String(), "error", err)
	}
}

// takeBeacon answers a beacon, or counts the answer to one.
func (r *Replicator) takeBeacon(from core.Member, payload []byte) {
	kind, sent, version, err := decodeBeacon(payload)
	if err != nil {
		r.log.Warn("beacon", "from", from.String(), "error", err)
		return
	}
	if kind == beaconAsk && r.config.Look != nil {
		r.config.Look() // or the promise would be over early: the clock jumps when somebody finds out that the machine was suspended
	}
	now := r.config.Now()
	if kind == beaconAsk {
		r.leases.Lock()
		ack, ok := r.leases.OnBeacon(core.Beacon{From: from, To: r.self, Sent: time.Duration(sent), Version: version}, now)
		r.leases.Unlock()
		if ok {
			r.sendPacket(r.table.Load(), from, appendBeacon(nil, beaconAnswer, int64(ack.Sent), ack.Version))
		}
		return
	}
	r.leases.Lock()
	r.leases.OnAck(core.BeaconAck{From: from, To: r.self, Sent: time.Duration(sent), Version: version}, now)
	r.leases.Unlock()
	for _, a := range r.replicas {
		a.refresh()
	}
}

// Serves tells whether commands on a partition may be executed here at a time, which is read after the data (R9), and in which
// reign that is. The partition's lock must be held.
func (r *Replicator) Serves(p int, at time.Duration) (reign uint64, ok bool) {
	a := r.replicas[p]
	return a.reign.Load(), a.serves(at)
}

// ServesUntil is until when commands on a partition may be executed here, by what is known at a time: when the leases run out, if none
// is renewed. 0 = not now.
func (r *Replicator) ServesUntil(p int, at time.Duration) time.Duration {
	a := r.replicas[p]
	until := time.Duration(a.until.Load())
	if !a.serves(at) {
		return 0
	}
	return until
}

// Writable tells whether enough copies are in sync to take writes (R13).
func (r *Replicator) Writable(p int) bool { return r.replicas[p].writable.Load() }

// Rest is what a reply rests on: a batch of a partition, as it was in the reign in which the command was executed. It is the
// same type as the server's, which this package does not import.
type Rest = struct {
	partition.Seen
	Reign uint64
}

// Await calls done once, on any goroutine, when the batches that a reply rests on are committed, or with ErrIndeterminate when
// that is not to be expected (R12, R14). It returns true, and never calls done, where they already are. done must not wait.
func (r *Replicator) Await(rests []Rest, done func(error)) bool {
	if r.Committed(rests) {
		return true
	}
	w := &waiter{done: done, deadline: r.config.Now() + commitMax}
	w.left.Store(int32(len(rests)))
	for _, s := range rests {
		r.replicas[s.Partition].await(s, w)
	}
	return false
}

// Committed tells whether the batches that a reply rests on are committed.
func (r *Replicator) Committed(rests []Rest) bool {
	for _, s := range rests {
		if !r.replicas[s.Partition].committed(s) {
			return false
		}
	}
	return true
}

// waiter waits for commits of one or more partitions.
type waiter struct {
	left     atomic.Int32
	done     func(error)
	deadline time.Duration
}

func (w *waiter) committed() {
	if w.left.Add(-1) == 0 {
		w.done(nil)
	}
}

// failed ends the wait, unless it has ended. left stays below zero from then on.
func (w *waiter) failed(err error) {
	for {
		n := w.left.Load()
		if n <= 0 {
			return
		}
		if w.left.CompareAndSwap(n, -1<<30) {
			w.done(err)
			return
		}
	}
}
