package cluster

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
)

// raftNode is a raft whose state machine is the list of what was applied.
type raftNode struct {
	*raft.Raft
	mu struct {
		sync.Mutex
		applied []string
	}
}

func (n *raftNode) Apply(l *raft.Log) any {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.mu.applied = append(n.mu.applied, string(l.Data))
	return nil
}

func (n *raftNode) Snapshot() (raft.FSMSnapshot, error) { return nil, fmt.Errorf("none in this test") }
func (n *raftNode) Restore(io.ReadCloser) error         { return fmt.Errorf("none in this test") }

func (n *raftNode) has(want ...string) func() bool {
	return func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return slices.Equal(n.mu.applied, want)
	}
}

// startRaft runs raft over transports, one for each node, and stops it before the test ends.
func startRaft(t *testing.T, transports []*Transport) (nodes []*raftNode) {
	t.Helper()
	var servers []raft.Server
	for _, tr := range transports {
		servers = append(servers, raft.Server{ID: raft.ServerID(tr.Identity().Member.Node), Address: raft.ServerAddress(tr.Addr().String())})
	}
	for i, tr := range transports {
		n := &raftNode{}
		c := raft.DefaultConfig()
		c.LocalID = servers[i].ID
		c.Logger = hclog.NewNullLogger()
		c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = 300*time.Millisecond, 300*time.Millisecond, 200*time.Millisecond
		store := raft.NewInmemStore()
		network := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: tr.RaftLayer(), MaxPool: 3, Timeout: time.Second, Logger: c.Logger,
		})
		snapshots := raft.NewInmemSnapshotStore()
		if err := raft.BootstrapCluster(c, store, store, snapshots, network, raft.Configuration{Servers: servers}); err != nil {
			t.Fatal(err)
		}
		var err error
		if n.Raft, err = raft.NewRaft(c, n, store, store, snapshots, network); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := n.Shutdown().Error(); err != nil {
				t.Error(err)
			}
		})
		nodes = append(nodes, n)
	}
	return nodes
}

// leader waits for one that all the given nodes follow.
func leader(t *testing.T, nodes ...*raftNode) (l *raftNode) {
	t.Helper()
	within(t, time.Minute, "one leader", func() bool {
		l = nil
		var known []raft.ServerAddress
		for _, n := range nodes {
			if n.State() == raft.Leader {
				l = n
			}
			addr, _ := n.LeaderWithID()
			known = append(known, addr)
		}
		return l != nil && len(slices.Compact(known)) == 1
	})
	return l
}

func apply(t *testing.T, n *raftNode, entry string) {
	t.Helper()
	if err := n.Raft.Apply([]byte(entry), time.Second).Error(); err != nil {
		t.Fatalf("apply %q: %v", entry, err)
	}
}

// TestRaft elects a leader among three, over the one port, and has them agree.
func TestRaft(t *testing.T) {
	overBoth(t, func(t *testing.T, host func(int) (Network, string)) {
		var transports []*Transport
		for i, name := range []string{"a", "b", "c"} {
			network, listen := host(i)
			transports = append(transports, open(t, network, listen, identity(name), rightKeys))
		}
		nodes := startRaft(t, transports)
		apply(t, leader(t, nodes...), "one")
		for _, n := range nodes {
			within(t, time.Minute, "the entry is everywhere", n.has("one"))
		}
	})
}

// TestRaftLeaderCut isolates the leader: the others elect one of themselves, and the old one follows it once it is back.
func TestRaftLeaderCut(t *testing.T) {
	inMemory(t, func(t *testing.T, network *MemNetwork) {
		hosts := []string{hostA, hostB, hostC}
		var transports []*Transport
		for i, h := range hosts {
			transports = append(transports, open(t, network.Host(h), h+":7000", identity(string(rune('a'+i))), rightKeys))
		}
		nodes := startRaft(t, transports)
		old := leader(t, nodes...)
		apply(t, old, "one")

		at := slices.Index(nodes, old)
		network.Isolate(hosts[at])
		others := slices.Delete(slices.Clone(nodes), at, at+1)
		apply(t, leader(t, others...), "two")
		if err := old.Raft.Apply([]byte("lost"), time.Second).Error(); err == nil {
			t.Error("the old leader has committed alone")
		}

		network.Rejoin(hosts[at])
		apply(t, leader(t, nodes...), "three")
		for _, n := range nodes {
			within(t, time.Minute, "all entries are everywhere", n.has("one", "two", "three"))
		}
	})
}
