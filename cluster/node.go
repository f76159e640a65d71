package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
	"github.com/neargrid/neargrid/internal/clock"
	"github.com/neargrid/neargrid/partition"
)

// Node is one start of a node of the grid: its peer port, Serf, its part in the control plane, and where it holds data, its
// copies and the commands that other nodes send here. OpenNode makes it a member; Start, once there is a store, has it take
// copies.
type Node struct {
	config    NodeConfig
	self      core.Member
	log       *slog.Logger
	transport *Transport
	members   *Membership
	control   atomic.Pointer[ControlPlane] // of the generation that the node follows; nil before there is one
	repl      *Replicator
	forwarder atomic.Pointer[Forwarder]    // nil before Start
	table     atomic.Pointer[core.Table]   // the newest that is applied here; never nil
	progress  progressLog                  // of moves
	failure   atomic.Pointer[error]        // why the node cannot go on
	failed    chan struct{}                // closed once failure is set
	settings  chan struct{}                // closed once a table with settings is known
	closing   context.Context              // done once Close begins
	close     context.CancelFunc           //
	running   sync.WaitGroup               // the node's own goroutines
	recovery  sync.Mutex                   // held while this node begins another control plane
	planned   atomic.Pointer[plannedMoves] // what Status last worked out
	planning  atomic.Bool                  // that is being done for who does not wait

	// feed is held while a table is applied, so that they come one after the other, before Start and after.
	feed struct {
		sync.Mutex
		started bool          // the replicator follows
		closed  bool          // nothing does any more
		seen    bool          // this start has been in the table
		changed chan struct{} // closed, and replaced, at each table
	}
}

// NodeConfig is what a node needs to know.
type NodeConfig struct {
	Network Network
	// Listen is the peer port's address; Advertise what peers are told, as TransportConfig has it.
	Listen, Advertise string
	Keys              *Keys

	Node    core.NodeID
	DataDir string // of the control plane's state: see ControlConfig
	Role    core.Role
	Zone    string
	Version string // of the program
	// Client and Cluster are the doors announced to peers and clients, host:port; empty: there is none.
	Client, Cluster string

	Join   []string       // peer ports of members: see ControlConfig
	Create *core.Settings // the same

	Now    func() time.Duration // a clock that never goes back
	Clock  *clock.Clock         // the same, to notice suspensions of the machine by; nil: there are none
	Random io.Reader            // for the incarnation, and a new grid's id and seed; nil: the system's
	Log    *slog.Logger         // nil: none

	// OnFailure is told once, on a goroutine of its own, that the node cannot go on and must end this incarnation: ErrLeft after a
	// drain, ErrSuperseded, ErrOtherGrid, ErrEncoding, or that its data cannot be trusted.
	OnFailure func(error)
	// OnTable is told of each table after it was applied here, in order. It must not call Start or Close. The first comes before
	// OpenNode returns.
	OnTable func(*core.Table)
}

// Feature levels that this program speaks (R27).
const (
	featureMin = 1
	featureMax = 1
)

// Times of a node.
const (
	nodeLease     = time.Second      // L
	resumeNews    = 5 * time.Second  // between log lines of a node that waits for its grid
	serfJoinRound = 10 * time.Second // for one attempt to meet the members, which is logged where it fails
)

// ErrLeft: the node was drained, and has left the grid.
var ErrLeft = errors.New("the node was drained and has left the grid")

// OpenNode opens the peer port and makes the node a member. It returns once a table with settings is known. A node with state
// resumes its grid, and waits for it as long as ctx lasts, saying every 5 s whom it waits for.
func OpenNode(ctx context.Context, config NodeConfig) (*Node, error) {
	n := &Node{config: config, log: config.Log, failed: make(chan struct{}), settings: make(chan struct{}), repl: NewReplicator()}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	if n.config.Random == nil {
		n.config.Random = rand.Reader
	}
	n.self.Node = config.Node
	if _, err := io.ReadFull(n.config.Random, n.self.Inc[:]); err != nil {
		return nil, fmt.Errorf("open node: %w", err)
	}
	n.table.Store(&core.Table{})
	n.feed.changed = make(chan struct{})
	n.closing, n.close = context.WithCancel(context.Background())
	if err := n.open(ctx); err != nil {
		stopping, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("open node: %w", err), n.Close(stopping))
	}
	return n, nil
}

// open starts the parts, in an order in which each knows the grid that it is of.
func (n *Node) open(ctx context.Context) (err error) {
	c := &n.config
	n.transport, err = OpenTransport(ctx, TransportConfig{
		Network: c.Network, Listen: c.Listen, Advertise: c.Advertise, Keys: c.Keys, Log: n.log,
		Identity: Identity{Member: n.self, FeatureMin: featureMin, FeatureMax: featureMax},
	})
	if err != nil {
		return err
	}
	control, err := StartControl(ctx, n.controlConfig(nil))
	if err != nil {
		return err
	}
	n.control.Store(control)
	n.running.Go(n.followGenerations)
	if err := n.awaitSettings(ctx); err != nil {
		return err
	}
	n.transport.SetGrid(n.Settings().Grid) // the control plane does so too, perhaps a little later
	n.members, err = OpenMembership(MembershipOptions{
		Transport: n.transport, Keys: c.Keys, Node: c.Node, Log: n.log,
		Tags: Tags{Role: c.Role, Client: c.Client, Cluster: c.Cluster, Zone: c.Zone, Version: c.Version},
	})
	if err != nil {
		return err
	}
	n.running.Go(n.meet)
	return nil
}

func (n *Node) controlConfig(h *heritage) ControlConfig {
	c := &n.config
	return ControlConfig{
		Transport: n.transport, Role: c.Role, Zone: c.Zone, Client: c.Client, Cluster: c.Cluster, DataDir: c.DataDir,
		Join: c.Join, Create: c.Create, OnTable: n.takeTable, OnFailure: n.fail, Now: c.Now, Random: c.Random, Lease: nodeLease, Log: n.log,
		heritage: h,
	}
}

// followGenerations has one control plane come after the other (R34). The copies and the doors go on meanwhile by the table they have.
func (n *Node) followGenerations() {
	for {
		old := n.control.Load()
		select {
		case <-old.promises.succeeded:
		case <-n.closing.Done():
			return
		}
		ctx, cancel := context.WithTimeout(n.closing, stopTimeout)
		err := old.Shutdown(ctx)
		cancel()
		var next *ControlPlane
		if err == nil {
			next, err = StartControl(n.closing, n.controlConfig(old.promises.next))
		}
		if err != nil {
			if n.closing.Err() == nil {
				n.fail(fmt.Errorf("go over to another control plane: %w", err))
			}
			return
		}
		n.control.Store(next)
	}
}

// awaitSettings waits for a table. Only who resumes has to: others are members by now.
func (n *Node) awaitSettings(ctx context.Context) error {
	ticker := time.NewTicker(resumeNews)
	defer ticker.Stop()
	for {
		select {
		case <-n.settings:
			return nil
		case <-n.failed:
			return *n.failure.Load()
		case <-ticker.C:
			n.log.Info("waits for the grid", "of", n.control.Load().addresses())
		case <-ctx.Done():
			return fmt.Errorf("wait for the grid, of %v: %w", n.control.Load().addresses(), ctx.Err())
		}
	}
}

// meet has Serf find the members: those of the list, and those that the table knows.
func (n *Node) meet() {
	for n.closing.Err() == nil {
		addrs := n.seeds()
		if len(addrs) == 0 {
			return // the first one: the others come here
		}
		ctx, cancel := context.WithTimeout(n.closing, serfJoinRound)
		err := n.members.Join(ctx, addrs)
		cancel()
		if err == nil {
			return
		}
		if n.closing.Err() == nil {
			n.log.Warn("meet the members", "error", err)
		}
	}
}

func (n *Node) seeds() (addrs []string) {
	own := n.transport.Addr().String()
	add := func(addr string) {
		if addr != "" && addr != own && !slices.Contains(addrs, addr) && len(addrs) < seedsMax {
			addrs = append(addrs, addr)
		}
	}
	for _, addr := range n.config.Join {
		add(addr)
	}
	t := n.Table()
	for i := range t.Nodes {
		add(t.Nodes[i].Peer)
	}
	return addrs
}

// takeTable follows the table: the replicator's copies, once it has started, then whoever is told.
func (n *Node) takeTable(d core.Delta) {
	n.feed.Lock()
	defer n.feed.Unlock()
	if n.feed.closed {
		return
	}
	if n.feed.started {
		n.repl.OnTable(d)
	}
	old := n.table.Load()
	t := old.Follow(d)
	n.table.Store(t)
	n.progress.note(old, t, d.Rows, n.config.Now())
	close(n.feed.changed)
	n.feed.changed = make(chan struct{})
	if len(old.Rows) == 0 && len(t.Rows) > 0 {
		close(n.settings)
	}
	if n.config.OnTable != nil {
		n.config.OnTable(t)
	}
	switch entry := t.Node(n.self.Node); {
	case entry == nil && n.feed.seen:
		n.fail(ErrLeft)
	case entry != nil && entry.Member() == n.self:
		n.feed.seen = true
	}
}

// watch returns the newest table, and a channel that is closed when there is another.
func (n *Node) watch() (*core.Table, <-chan struct{}) {
	n.feed.Lock()
	defer n.feed.Unlock()
	return n.table.Load(), n.feed.changed
}

// fail says that the node cannot go on, once.
func (n *Node) fail(err error) {
	if !n.failure.CompareAndSwap(nil, &err) {
		return
	}
	close(n.failed)
	if n.config.OnFailure != nil {
		go n.config.OnFailure(err)
	}
}

// Settings are the grid's.
func (n *Node) Settings() core.Settings { return n.Table().Settings }

// Table is the newest that is applied here; never nil, and not to be changed.
func (n *Node) Table() *core.Table { return n.table.Load() }

// Self is this start of the node.
func (n *Node) Self() core.Member { return n.self }

// Peer is where peers reach this node.
func (n *Node) Peer() string { return n.transport.Addr().String() }

// Sink is for the options of the store that Start gets.
func (n *Node) Sink(p *partition.Partition, b partition.Batch) (settled bool) {
	return n.repl.Sink(p, b)
}

// Start has a data node hold copies in a store, which has the grid's partitions and seed, Node.Sink, and Track set, and execute
// commands that others send here. It is called once; a witness never calls it.
func (n *Node) Start(store *partition.Store, e Executor) {
	n.feed.Lock()
	defer n.feed.Unlock()
	n.repl.Start(ReplicatorConfig{
		Transport: n.transport, Store: store, Settings: n.Settings(), Now: n.config.Now, Look: n.look, Lease: nodeLease,
		Vouched:   func() time.Duration { return n.control.Load().Vouched() },
		Propose:   func(changes []core.Change) { n.control.Load().ProposeLater(changes) },
		OnFailure: n.fail, Together: n.together, Log: n.log,
	})
	n.repl.OnTable(n.Table().Since(0))
	n.feed.started = true
	n.forwarder.Store(NewForwarder(ForwarderConfig{Transport: n.transport, Table: n.Table, Now: n.config.Now, Executor: e, Idle: n.repl.Flush, Sleeps: n.Sleeps, Log: n.log}))
}

// together has the answers that a function gives to other nodes leave together.
func (n *Node) together(tell func()) {
	if forwarder := n.forwarder.Load(); forwarder != nil {
		forwarder.Together(tell)
		return
	}
	tell()
}

// Serves, Writable, Await and Committed are the replicator's; they may be called once Start has returned.
func (n *Node) Serves(p int, at time.Duration) (reign uint64, ok bool) { return n.repl.Serves(p, at) }
func (n *Node) ServesUntil(p int, at time.Duration) time.Duration      { return n.repl.ServesUntil(p, at) }
func (n *Node) Writable(p int) bool                                    { return n.repl.Writable(p) }
func (n *Node) Await(rests []Rest, done func(error)) bool              { return n.repl.Await(rests, done) }
func (n *Node) Committed(rests []Rest) bool                            { return n.repl.Committed(rests) }

// Forward has another node execute a command, once Flush is called: see Forwarder. A node that was not started, as a witness, sends nothing.
func (n *Node) Forward(to core.NodeID, f *Forwarded, done func(Answer)) {
	forwarder := n.forwarder.Load()
	if forwarder == nil {
		done(Answer{Outcome: NotExecuted, Version: n.Table().Version})
		return
	}
	forwarder.Queue(to, f, done)
}

// Sleeps counts the suspensions of the machine, as clock.Clock's Look does; a node that is alone does not look.
func (n *Node) Sleeps() uint64 {
	switch {
	case n.config.Clock == nil:
		return 0
	case n.repl.alone.Load():
		return n.config.Clock.Sleeps()
	}
	return n.config.Clock.Look()
}

// look has Now count for how long the machine was suspended.
func (n *Node) look() {
	if n.config.Clock != nil {
		n.config.Clock.Look()
	}
}

// Flush has what was executed sent to the copies, and what was forwarded to other nodes. It is called after each batch of commands.
func (n *Node) Flush() {
	n.repl.Flush()
	if forwarder := n.forwarder.Load(); forwarder != nil {
		forwarder.Flush()
	}
}

// Close ends the node within the time of ctx, without handing anything over: see HandOver. What still waits for a commit ends as
// of unknown outcome. To the others the node has left Serf; the control plane finds it silent. Again is no error.
func (n *Node) Close(ctx context.Context) error {
	n.close()
	n.feed.Lock()
	again, started := n.feed.closed, n.feed.started
	n.feed.closed = true
	n.feed.Unlock()
	if again {
		return nil
	}
	if started {
		n.repl.Close()
		n.forwarder.Load().Close()
	}
	var errs []error
	if c := n.control.Load(); c != nil {
		errs = append(errs, c.Shutdown(ctx))
	}
	if n.members != nil {
		_ = n.members.Leave(ctx) // Shutdown waits for what is left of it
		errs = append(errs, n.members.Shutdown())
	}
	n.running.Wait()
	if c := n.control.Load(); c != nil {
		errs = append(errs, c.Shutdown(ctx)) // one that was just begun; again is no error
	}
	if n.transport != nil {
		errs = append(errs, n.transport.Close())
	}
	return errors.Join(errs...)
}
