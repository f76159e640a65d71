package cluster

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/neargrid/neargrid/cluster/core"
)

// Raft's times. A leader that reaches no majority steps down within leaseTimeout, well before the 2 L after which a lost
// partition may be reset (R10); a new one is there about a second after the old fell silent.
const (
	raftTimeout      = 500 * time.Millisecond // without the leader, before an election
	raftLeaseTimeout = 400 * time.Millisecond
	raftRPCTimeout   = 2 * time.Second
	raftPoolMax      = 2 // idle connections to each peer

	snapshotThreshold = 2048 // entries
	snapshotTrailing  = 2048
	snapshotInterval  = time.Minute
	snapshotsKept     = 2
)

// consensus is this node's raft. It runs on every node that may vote, and idles where no configuration names it.
type consensus struct {
	*raft.Raft
	self    raft.Server
	resumed bool // there was state on disk
	stores  raftStores
	config  *raft.Config
	stop    func() raft.Future // begins to stop raft, once
}

// raftStores is where one generation's raft keeps what it must not forget.
type raftStores struct {
	logs      raft.LogStore
	stable    raft.StableStore
	snapshots raft.SnapshotStore
	file      io.Closer // of log and votes; nil in memory
}

// openRaft starts raft over a transport, with stores that become its own. Where those are in memory a node must get another id at each
// start, for the same one could vote twice in a term. addressOf says where a node is now; "": as configured.
func openRaft(t *Transport, stores raftStores, fsm *tableFSM, addressOf func(core.NodeID) string, log *slog.Logger) (*consensus, error) {
	c := newConsensus(t, stores, log)
	network := &patientTransport{NetworkTransport: raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: t.RaftLayer(), MaxPool: raftPoolMax, Timeout: raftRPCTimeout, Logger: c.config.Logger,
		ServerAddressProvider: addressProvider(addressOf),
	})}
	if err := c.start(fsm, network); err != nil {
		return nil, errors.Join(err, network.Close(), stores.close())
	}
	network.raft.Store(c.Raft)
	return c, nil
}

// openIdleRaft starts a raft that nobody can reach and that has no state: for a node that is to take no part (R34).
func openIdleRaft(t *Transport, fsm *tableFSM, log *slog.Logger) (*consensus, error) {
	c := newConsensus(t, memoryStores(), log)
	_, network := raft.NewInmemTransport(raft.ServerAddress(t.Addr().String()))
	return c, c.start(fsm, network)
}

func newConsensus(t *Transport, stores raftStores, log *slog.Logger) *consensus {
	c := &consensus{config: raft.DefaultConfig(), self: raftServer(t), stores: stores}
	c.config.LocalID = c.self.ID
	c.config.Logger = raftLogger(log)
	c.config.HeartbeatTimeout, c.config.ElectionTimeout = raftTimeout, raftTimeout
	c.config.LeaderLeaseTimeout = raftLeaseTimeout
	c.config.PreVoteDisabled = false
	c.config.ShutdownOnRemove = false // it may be given the vote again
	c.config.SnapshotThreshold, c.config.TrailingLogs = snapshotThreshold, snapshotTrailing
	c.config.SnapshotInterval = snapshotInterval
	c.config.NoLegacyTelemetry = true
	return c
}

// raftServer is this node in raft's configuration.
func raftServer(t *Transport) raft.Server {
	return raft.Server{ID: raft.ServerID(t.Identity().Member.Node), Address: raft.ServerAddress(t.Addr().String())}
}

func (c *consensus) start(fsm *tableFSM, network raft.Transport) (err error) {
	if c.resumed, err = raft.HasExistingState(c.stores.logs, c.stores.stable, c.stores.snapshots); err != nil {
		return fmt.Errorf("read raft's state: %w", err)
	}
	if c.Raft, err = raft.NewRaft(c.config, fsm, c.stores.logs, c.stores.stable, c.stores.snapshots, network); err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	c.stop = sync.OnceValue(c.Shutdown)
	return nil
}

// raftDir is where a generation's raft has its files: each has its own, and those of former ones stay as they are, unread (R34).
func raftDir(dataDir string, generation uint64) string {
	if generation == 0 {
		return filepath.Join(dataDir, "raft")
	}
	return filepath.Join(dataDir, fmt.Sprintf("raft-%d", generation))
}

// openStores opens what a generation's raft has on disk; without a data directory its memory is the process's.
func openStores(dataDir string, generation uint64, log *slog.Logger) (s raftStores, err error) {
	if dataDir == "" {
		return memoryStores(), nil
	}
	dir := raftDir(dataDir, generation)
	store, err := openRaftStore(dir)
	if err != nil {
		return s, err
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, snapshotsKept, raftLogger(log))
	if err != nil {
		return s, errors.Join(fmt.Errorf("raft's snapshots: %w", err), store.Close())
	}
	return raftStores{store, store, snapshots, store}, nil
}

func memoryStores() raftStores {
	store := raft.NewInmemStore()
	return raftStores{store, store, raft.NewInmemSnapshotStore(), nil}
}

func (s raftStores) close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

// found makes empty stores those of a raft that has agreed on a table, in a term of the table's generation, and has one voter.
func (s raftStores) found(t *core.Table, self raft.Server) error {
	const first = 1 // index of the table and of the configuration
	term := t.Generation() << generationTermShift
	if err := s.stable.SetUint64([]byte("CurrentTerm"), term); err != nil {
		return fmt.Errorf("begin raft: %w", err)
	}
	only := raft.Configuration{Servers: []raft.Server{self}}
	_, names := raft.NewInmemTransport(self.Address) // it encodes addresses, for programs that know no configuration
	sink, err := s.snapshots.Create(raft.SnapshotVersionMax, first, term, only, first, names)
	if err == nil {
		err = tableSnapshot{t}.Persist(sink)
	}
	if err != nil {
		return fmt.Errorf("begin raft: %w", err)
	}
	return nil
}

// bootstrap makes this node the only voter of a control plane that has no state yet.
func (c *consensus) bootstrap() error {
	err := c.BootstrapCluster(raft.Configuration{Servers: []raft.Server{c.self}}).Error()
	if err != nil {
		return fmt.Errorf("begin the control plane: %w", err)
	}
	return nil
}

// servers returns the latest configuration, committed or not.
func (c *consensus) servers() []raft.Server { return c.GetConfiguration().Configuration().Servers }

// verify returns once a majority of the voters has confirmed, after the call, that this node leads. Raft's own check counts
// the answers of nonvoters as well; while there are some, an entry is committed instead. It may also count an answer that was
// on its way already: a leader that lives on such answers alone steps down within raftLeaseTimeout.
func (c *consensus) verify() error {
	servers, voters := c.servers(), 0
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			voters++
		}
	}
	if voters > 1 && voters < len(servers) {
		return c.Barrier(raftRPCTimeout).Error()
	}
	return c.VerifyLeader().Error()
}

// close stops raft and waits for its goroutines. What was asked of it before must have been answered: it forgets who waits.
func (c *consensus) close() error {
	return errors.Join(c.stop().Error(), c.stores.close())
}

type addressProvider func(core.NodeID) string

// ServerAddr finds a voter that has moved: raft's configuration has the address of when it was added.
func (f addressProvider) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if addr := f(core.NodeID(id)); addr != "" {
		return raft.ServerAddress(addr), nil
	}
	return "", fmt.Errorf("%s is not in the table", id)
}

// outcome is what a committed command has done.
type outcome struct {
	refused map[int]string // changes by index, and why
	err     error          // the whole command was refused
}

// tableFSM is raft's state machine: the table. Raft calls it from one goroutine.
type tableFSM struct {
	table   *core.Table
	shown   *core.Table // a clone of table as it is now
	publish func(*core.Table)
	// fail is told, once, that the table cannot go on: a committed entry is not understood (R27).
	fail   func(error)
	broken error
}

// newTableFSM has publish called with a clone of the table after every change, in order.
func newTableFSM(publish func(*core.Table), fail func(error)) *tableFSM {
	return &tableFSM{table: &core.Table{}, shown: &core.Table{}, publish: publish, fail: fail}
}

// Apply carries out one entry. The same entries make the same table everywhere, so one that this program does not know ends
// the state machine: the table stays as it was before, and no snapshot hides the entry from a program that knows it.
func (f *tableFSM) Apply(l *raft.Log) any {
	if f.broken != nil {
		return outcome{err: f.broken}
	}
	c, err := parseCommand(l.Data)
	if err != nil {
		f.broken = fmt.Errorf("the control plane stops at entry %d: %w", l.Index, err)
		f.fail(f.broken)
		return outcome{err: f.broken}
	}
	before := f.table.Version
	refused, err := f.table.Apply(c)
	if f.table.Version != before {
		f.show()
	}
	o := outcome{err: err}
	for i, why := range refused {
		if o.refused == nil {
			o.refused = map[int]string{}
		}
		o.refused[i] = why.Error()
	}
	return o
}

func (f *tableFSM) show() {
	f.shown = f.table.Clone()
	f.publish(f.shown)
}

// Snapshot is the table as it is now.
func (f *tableFSM) Snapshot() (raft.FSMSnapshot, error) {
	if f.broken != nil {
		return nil, f.broken
	}
	return tableSnapshot{f.shown}, nil
}

// Restore replaces the table by a snapshot's.
func (f *tableFSM) Restore(r io.ReadCloser) error {
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, tableSizeMax+1))
	if err != nil {
		return fmt.Errorf("read snapshot: %w", err)
	}
	t, err := parseTable(b)
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	f.table = t
	f.show()
	return nil
}

type tableSnapshot struct{ table *core.Table }

func (s tableSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := sink.Write(appendTable(nil, s.table)); err != nil {
		return errors.Join(fmt.Errorf("write snapshot: %w", err), sink.Cancel())
	}
	return sink.Close()
}

func (tableSnapshot) Release() {}

// raftLogger has raft's warnings and errors in our log, but for those about what is as it should be: a node that does not vote,
// and a voter that is not in the table yet.
func raftLogger(log *slog.Logger) hclog.Logger {
	usual := []string{"no known peers, aborting election", "unable to get address for server, using fallback address"}
	return hclog.New(&hclog.LoggerOptions{
		Name: "raft", Level: hclog.Warn, Output: logLines{log}, DisableTime: true,
		Exclude: func(_ hclog.Level, msg string, _ ...any) bool { return slices.Contains(usual, msg) },
	})
}

type logLines struct{ log *slog.Logger }

func (l logLines) Write(p []byte) (int, error) {
	l.log.Warn(strings.TrimSpace(string(p)))
	return len(p), nil
}
