package server

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeRouter is a grid as a test wants it. Without a word it serves what its topology says is its own, takes writes, and has
// everything committed at once; what it forwards waits for the test's answer.
type fakeRouter struct {
	t *testing.T

	// Set before use.
	onForward func(to NodeID, f *Forwarded, done func(Answer)) // nil: the test answers, by sent
	onAdmin   func(words []string) (string, error)             // nil: the words come back
	onServes  func()                                           // before Serves answers

	mu struct {
		sync.Mutex
		top      *Topology
		reigns   map[int]uint64 // of partitions served; nil: reign 1 of those whose primary is Self
		readonly map[int]bool
		left     map[int]time.Duration
		holding  bool // Await holds back
		unknown  bool // what was held back the last time will never be known to be committed
		held     []*heldReply
		sent     []*sentCommand
		admin    [][]string
	}
}

// heldReply is a call of Await that has not been answered.
type heldReply struct {
	rests []Rest
	done  func(error)
}

// sentCommand is a call of Forward.
type sentCommand struct {
	to   NodeID
	f    *Forwarded
	done func(Answer)
}

// newFakeRouter makes the router of a node that sees a topology.
func newFakeRouter(t *testing.T, top *Topology) *fakeRouter {
	r := &fakeRouter{t: t}
	r.mu.top = top
	r.mu.readonly, r.mu.left = map[int]bool{}, map[int]time.Duration{}
	return r
}

// gridOf is a topology of partitions, each written "primary backup backup ..."; "" is lost. Its nodes are those of ids, the first at
// 10.0.0.1; self is one of them. Epochs are the version, times 100, plus the partition.
func gridOf(version uint64, self NodeID, ids []NodeID, parts ...string) *Topology {
	top := &Topology{Version: version, Self: self}
	for i, id := range slices.Sorted(slices.Values(ids)) {
		top.Nodes = append(top.Nodes, GridNode{
			ID: id, Run: fmt.Sprintf("%040x", i+1), Client: fmt.Sprintf("10.0.0.%d:6379", i+1),
			Cluster: fmt.Sprintf("10.0.0.%d:7379", i+1), Peer: fmt.Sprintf("10.0.0.%d:16379", i+1), Zone: "z",
		})
	}
	top.DataNodes = len(top.Nodes)
	for p, text := range parts {
		a := Assignment{Epoch: 100*version + uint64(p)}
		for i, id := range strings.Fields(text) {
			if i == 0 {
				a.Primary = NodeID(id)
			} else {
				a.Backups = append(a.Backups, NodeID(id))
			}
		}
		top.Parts = append(top.Parts, a)
	}
	return top
}

func (r *fakeRouter) Topology() *Topology {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.top
}

// setTopology makes another table known.
func (r *fakeRouter) setTopology(top *Topology) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.top = top
}

// setServes says which partitions are served, and in which reign, whatever the topology says; nil: as it says.
func (r *fakeRouter) setServes(reigns map[int]uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.reigns = reigns
}

func (r *fakeRouter) Serves(partition int, _ time.Duration) (reign uint64, ok bool) {
	if r.onServes != nil {
		r.onServes()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.reigns != nil {
		reign, ok = r.mu.reigns[partition]
		return reign, ok
	}
	return 1, r.mu.top.Parts[partition].Primary == r.mu.top.Self
}

// ServesUntil is a second from now, or what the test has set.
func (r *fakeRouter) ServesUntil(partition int, at time.Duration) time.Duration {
	if _, ok := r.Serves(partition, at); !ok {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if left, set := r.mu.left[partition]; set {
		return at + left
	}
	return at + time.Second
}

// setLeft says for how long a partition is served from whenever that is asked.
func (r *fakeRouter) setLeft(partition int, left time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.left[partition] = left
}

// setWritable says whether a partition takes writes.
func (r *fakeRouter) setWritable(partition int, writable bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.readonly[partition] = !writable
}

func (r *fakeRouter) Writable(partition int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.mu.readonly[partition]
}

// hold has Await hold back from now on.
func (r *fakeRouter) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.holding = true
}

// release answers all that waits, and holds back nothing more.
func (r *fakeRouter) release(err error) {
	r.mu.Lock()
	held := r.mu.held
	r.mu.held, r.mu.holding, r.mu.unknown = nil, false, err != nil
	r.mu.Unlock()
	for _, h := range held {
		h.done(err)
	}
}

func (r *fakeRouter) Committed([]Rest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.mu.holding && !r.mu.unknown
}

func (r *fakeRouter) Flush() {}

func (r *fakeRouter) Await(rests []Rest, done func(error)) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.mu.holding {
		r.mu.unknown = false // that was of earlier commands
		return true
	}
	r.mu.held = append(r.mu.held, &heldReply{slices.Clone(rests), done})
	return false
}

func (r *fakeRouter) Forward(to NodeID, f *Forwarded, done func(Answer)) {
	r.mu.Lock()
	r.mu.sent = append(r.mu.sent, &sentCommand{to, f, done})
	r.mu.Unlock()
	if r.onForward != nil {
		r.onForward(to, f, done)
	}
}

// sent are the commands forwarded so far, in order.
func (r *fakeRouter) sent() []*sentCommand {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.mu.sent)
}

func (r *fakeRouter) Admin(words []string) (string, error) {
	r.mu.Lock()
	r.mu.admin = append(r.mu.admin, slices.Clone(words))
	r.mu.Unlock()
	if r.onAdmin != nil {
		return r.onAdmin(words)
	}
	return fmt.Sprint(words), nil
}
