package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/neargrid/neargrid/cluster/core"
)

// ControlPlane is a node's part in the control plane: it follows the table, keeps the node registered and heard of, takes
// proposals to the leader, and where the node votes or leads, does what voters and leaders do. What it decides is decided by
// core.Controller and planVoters.
//
// One goroutine, the loop, has all that is decided upon; it never waits for a disk or a peer. Others pull the table, hand it
// out, and wait for raft.
type ControlPlane struct {
	config ControlConfig
	self   core.Member
	log    *slog.Logger

	raft     *consensus
	follower *tableFollower
	links    controlLinks
	packets  chan inHeartbeat
	news     chan struct{} // the newest table is another
	results  chan func()   // of what the loop had done elsewhere; run by the loop

	pullWanted chan struct{}
	registered chan struct{} // closed when a table with this node in it has been handed out
	leader     atomic.Pointer[leaderInfo]
	list       atomic.Pointer[serverList]
	vouched    atomic.Int64
	broken     atomic.Pointer[error]
	remembered []string               // addresses of former servers, from disk; fixed once started
	founder    atomic.Pointer[string] // where the generation begins that was promised to be followed; nil: none was since the start
	generation Generation             // fixed
	promises   promises
	state      struct {
		sync.Mutex
		saved savedGrid // as it is on disk
	}

	later struct {
		sync.Mutex
		changes []core.Change // len <= laterMax
		queued  map[core.Change]struct{}
	}
	laterNews chan struct{} // there are changes
	life      struct {
		sync.Mutex
		closed bool
	}
	closing context.Context // done once Shutdown begins
	close   context.CancelFunc
	running sync.WaitGroup
}

// ControlConfig is what a control plane needs to know. Transport's Control and Raft streams and its heartbeats become the
// control plane's, which there is one of in a transport's life.
type ControlConfig struct {
	Transport *Transport
	Role      core.Role
	Zone      string
	// Client and Cluster are the node's doors, host:port, for the table.
	Client, Cluster string

	// DataDir keeps raft's log and votes, and the grid's id. It belongs to one node id. Empty: they are kept in memory, and the
	// node's id must be another at each start.
	DataDir string

	// Join is where members of the grid may be found. Create has the node make a grid: at once without Join, otherwise where
	// no listed node answers as a member for joinTime (R33). Its Grid and Seed are chosen at random.
	Join   []string
	Create *core.Settings

	// OnTable is told of every change of the table, in order; the first delta is from 0. Changes that come close together are
	// one delta. The next waits until it returns, and only then do heartbeats say that the version is applied here.
	OnTable func(core.Delta)
	// OnFailure is told, on a goroutine of its own, that the node cannot go on: ErrEncoding, ErrSuperseded, ErrOtherGrid.
	OnFailure func(error)

	Now    func() time.Duration // a clock that never goes back
	Random io.Reader            // for the id and the seed of a new grid
	Tick   time.Duration        // 0: 100 ms
	Lease  time.Duration        // L; 0: a second
	Log    *slog.Logger         // nil: none

	heritage *heritage // of the control plane before; nil: what is on disk counts
	joining  bool      // the node was about to join when that one ended
}

// Times and bounds of a control plane.
const (
	controlTick    = 100 * time.Millisecond
	controlLease   = time.Second
	heartbeatPause = 200 * time.Millisecond // between heartbeats (R3)
	leaderSilence  = time.Second            // without a word, after which a node asks others for the table
	registerPause  = 500 * time.Millisecond // between attempts
	pullTimeout    = 500 * time.Millisecond // for a stream to a peer, and again for its answer; a node behind for 2 s is fenced
	resultsMax     = 16                     // more than there are kinds of work that the loop has done elsewhere

	serversTermShift = 20 // the number of raft's configuration begins with the leader's term: there are fewer changes in one
	firstServers     = 1  // number of a list that no leader has numbered
)

// ErrSuperseded: another process has registered with this node's id. One of them has a copy of the other's data directory.
var ErrSuperseded = errors.New("another process has this node's id")

// StartControl starts a node's control plane. A node that has state resumes its grid, and does not wait for it; any other
// returns once it is a member, or with the reason why it is not: a *JoinError, or that ctx ended.
func StartControl(ctx context.Context, config ControlConfig) (*ControlPlane, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	config.setDefaults()
	for {
		c, err := startControl(ctx, config)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, errSucceeded) {
			return nil, err
		}
		config.heritage, config.joining = c.promises.next, true // it is to be a member of a later generation (R34)
	}
}

// startControl starts the control plane of one generation; with errSucceeded it is over, and the next can be started.
func startControl(ctx context.Context, config ControlConfig) (*ControlPlane, error) {
	c := &ControlPlane{
		config: config, self: config.Transport.Identity().Member, log: config.Log,
		links:      controlLinks{transport: config.Transport},
		packets:    make(chan inHeartbeat, packetsMax),
		news:       make(chan struct{}, 1),
		results:    make(chan func(), resultsMax),
		pullWanted: make(chan struct{}, 1),
		laterNews:  make(chan struct{}, 1),
		registered: make(chan struct{}),
		promises:   newPromises(),
	}
	c.leader.Store(&leaderInfo{})
	c.list.Store(&serverList{})
	c.closing, c.close = context.WithCancel(context.Background())
	c.follower = newTableFollower(c.tableArrived(), func() { signal(c.news) })

	saved, err := c.load()
	if err == nil {
		err = c.openRaft(saved)
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("start the control plane: %w", err)
	}
	config.Transport.SetGeneration(c.generation)
	config.Transport.HandleGenerations(c.hear)
	config.Transport.Handle(Control, c.serve)
	config.Transport.HandlePackets(PacketHeartbeat, c.takePacket)
	c.running.Go(func() { c.follower.run(c.closing.Done()) })
	c.running.Go(c.pullTables)
	c.running.Go(newControlLoop(c).run)

	if err := c.enter(ctx, saved); err != nil {
		stopping, cancel := context.WithTimeout(context.Background(), stopTimeout)
		defer cancel()
		return c, errors.Join(err, c.Shutdown(stopping))
	}
	return c, nil
}

func (config *ControlConfig) check() error {
	switch {
	case config.Transport == nil || config.Now == nil:
		return errors.New("start the control plane: a transport and a clock are needed")
	case config.Create != nil && config.Random == nil:
		return errors.New("start the control plane: to create a grid needs randomness")
	case config.Create != nil && config.Role != core.Data:
		return errors.New("start the control plane: a witness cannot create a grid: its first node holds all the data")
	case len(config.Join) > joinAddressMax:
		return fmt.Errorf("start the control plane: %d addresses to join, and %d are allowed", len(config.Join), joinAddressMax)
	}
	return nil
}

func (config *ControlConfig) setDefaults() {
	if config.Tick == 0 {
		config.Tick = controlTick
	}
	if config.Lease == 0 {
		config.Lease = controlLease
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.OnTable == nil {
		config.OnTable = func(core.Delta) {}
	}
	if config.OnFailure == nil {
		config.OnFailure = func(error) {}
	}
}

// tableArrived hands a delta on, and notes when this node is in the table.
func (c *ControlPlane) tableArrived() func(core.Delta) {
	done := false
	return func(d core.Delta) {
		c.config.OnTable(d)
		if n := c.Table().Node(c.self.Node); !done && n != nil && n.Member() == c.self {
			done = true
			c.promises.entered.Store(true)
			close(c.registered)
		}
	}
}

// Table is the newest table that OnTable was called for; never nil. It is not to be changed.
func (c *ControlPlane) Table() *core.Table { return c.follower.current.Load() }

// Vouched is until when, by the node's clock, the leader vouches for this incarnation: a leader that a majority confirmed
// after it had the heartbeat. It counts from when that was sent (R10).
func (c *ControlPlane) Vouched() time.Duration { return time.Duration(c.vouched.Load()) }

// Leader is who leads, and where peers reach it; "" where nobody is known to.
func (c *ControlPlane) Leader() (id core.NodeID, addr string) {
	l := c.leader.Load()
	return l.ID, l.Addr
}

// Voters are the nodes that vote, as far as this one knows.
func (c *ControlPlane) Voters() (ids []core.NodeID) {
	for _, s := range c.servers().Servers {
		if s.Votes {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func (c *ControlPlane) servers() *serverList { return c.list.Load() }

// addressOf is where a node is by the table; "" where it is not in it.
func (c *ControlPlane) addressOf(id core.NodeID) string {
	if n := c.follower.newest().Node(id); n != nil {
		return n.Peer
	}
	return ""
}

// fail ends the node's part in raft and says so, once.
func (c *ControlPlane) fail(err error) {
	if !c.broken.CompareAndSwap(nil, &err) {
		return
	}
	c.log.Error("control plane", "error", err)
	go c.config.OnFailure(err)
}

// stopTimeout bounds the end of a control plane that could not start.
const stopTimeout = 10 * time.Second

// Shutdown leaves the lead to another and ends the node's part, within the time of ctx. The table keeps the node; it will be
// found silent. Proposals that are under way end with an error.
func (c *ControlPlane) Shutdown(ctx context.Context) error {
	c.life.Lock()
	again := c.life.closed
	c.life.closed = true
	c.life.Unlock()
	if again {
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- c.shutdown() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("stop the control plane: %w", ctx.Err())
	}
}

// PassLead leaves the lead to another voter, where this node has it and there is one. It takes half a second at most.
func (c *ControlPlane) PassLead() {
	if c.raft.State() != raft.Leader || len(c.Voters()) < 2 {
		return
	}
	if err := c.raft.LeadershipTransfer().Error(); err != nil {
		c.log.Warn("hand over the lead", "error", err)
	}
}

func (c *ControlPlane) shutdown() error {
	c.PassLead()
	c.close()
	c.config.Transport.stopKind(Control)
	c.config.Transport.stopPackets(PacketHeartbeat)
	c.links.close()
	c.running.Wait() // raft forgets who waits for it once it stops
	return c.raft.close()
}

// begin counts a piece of work that Shutdown has to wait for; false: it is too late for it.
func (c *ControlPlane) begin() bool {
	c.life.Lock()
	defer c.life.Unlock()
	if c.life.closed {
		return false
	}
	c.running.Add(1)
	return true
}

// node is this node's entry of the registry.
func (c *ControlPlane) node() core.Node {
	id := c.config.Transport.Identity()
	return core.Node{
		ID: c.self.Node, Inc: c.self.Inc, Role: c.config.Role, Zone: c.config.Zone, FeatureMin: id.FeatureMin, FeatureMax: id.FeatureMax,
		Peer: c.config.Transport.Addr().String(), Client: c.config.Client, Cluster: c.config.Cluster,
	}
}

// serve answers a peer's requests.
func (c *ControlPlane) serve(conn *Conn) {
	if !c.begin() {
		conn.Close()
		return
	}
	defer c.running.Done()
	if err := serveControl(conn, c); err != nil && !errors.Is(err, io.EOF) && c.closing.Err() == nil {
		c.log.Debug("control stream", "from", conn.Peer.Member, "error", err)
	}
}

// info answers a pull.
func (c *ControlPlane) info(since uint64) gridInfo {
	t := c.follower.newest()
	if len(t.Rows) == 0 {
		return gridInfo{Generation: c.generation}
	}
	return gridInfo{
		Member: true, Grid: t.Settings.Grid, Leader: *c.leader.Load(), Servers: *c.servers(), Delta: t.Since(since), Generation: c.generation,
	}
}
