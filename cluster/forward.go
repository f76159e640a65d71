package cluster

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

// Forwarded is a command that another node is to execute (R23). It and Answer are the same types as the server's, which this package does
// not import.
type Forwarded = struct {
	Session   uint64 // of the sending node: its commands are executed in order; 0 = no order is asked for
	Partition int
	// First: none of the session's commands to the node is under way. A node that has refused a command refuses what the
	// session sends behind it, up to the next First; or that would overtake it.
	First   bool
	DB      int
	Resp    int           // 2 or 3
	Timeout time.Duration // that was left when it was handed to Forward; it travels in whole milliseconds, rounded up
	Kind    ForwardKind
	By      [2]uint64 // whose changes it makes, for executors; zero: nobody's who asks
	Args    [][]byte
}

// ForwardKind says what a forwarded command is. Only executors know what the arguments of each are.
type ForwardKind = uint8

const (
	ForwardCommand     ForwardKind = iota // a command line
	ForwardWatch                          // keys to be watched
	ForwardExec                           // a transaction
	ForwardWalk                           // partitions, and a command line that walks those
	ForwardTracked                        // a command line; what it reads is tracked for the sending node
	ForwardTrackedExec                    // a transaction, the same
	ForwardRelay                          // a question: what has changed of that
	forwardKinds
)

// Answer ends a forwarded command.
type Answer = struct {
	Outcome Outcome
	Version uint64 // of the table of who refused it; where NotExecuted
	Reply   []byte // where Executed; the receiver's
}

// Outcome says what has become of a forwarded command.
type Outcome = uint8

const (
	Executed    Outcome = iota
	NotExecuted         // and never will be: it may go elsewhere (R24)
	Unknown             // it was sent; nobody knows whether it was executed
)

// Executor executes what other nodes send.
type Executor interface {
	// Execute is called on one goroutine for each stream, in the order in which its commands were sent; what waits in it keeps
	// back all that come behind. answer is called exactly once, on any goroutine, perhaps before Execute returns; it does not
	// wait, and copies the reply. f and its Args are the executor's until it calls answer, and are used again then. Whatever a peer
	// may send comes here: any partition, any numbers, no arguments at all.
	Execute(from core.Member, f *Forwarded, answer func(Answer))
	// Gone says that the stream from that start of a node has ended: Execute is not called for it any more, unless from calls
	// again, and what is known of its sessions may be dropped. Answers that are still owed may be given; they go nowhere.
	Gone(from core.Member)
}

// Forwarder sends commands to the nodes that are to execute them, and has those executed that come from others. To each node
// goes one stream, made when it is first needed, for the incarnation that the table shows: see forwardLink. Those that come are
// served by forward_serve.go.
type Forwarder struct {
	config  ForwarderConfig
	log     *slog.Logger
	closing context.Context // done once Close begins
	close   context.CancelFunc
	running sync.WaitGroup // links, the sweep, streams that are served

	links struct {
		sync.Mutex // held to change byNode, whose maps are replaced, never changed
		closed     bool
		byNode     atomic.Pointer[map[core.NodeID]*forwardLink]
	}
	streams struct {
		sync.Mutex
		closed bool
		from   map[core.Member]*forwardStream // the newest of each
	}
	together struct {
		sync.Mutex
		tellers int              // goroutines in Together
		streams []*forwardStream // what is answered there is to be flushed
	}
}

// ForwarderConfig is what a forwarder needs to know.
type ForwarderConfig struct {
	Transport *Transport
	Table     func() *core.Table   // the newest; it never goes back
	Now       func() time.Duration // a clock that never goes back
	Executor  Executor
	Sleeps    func() uint64 // counts suspensions of the machine: what was answered when it changes may rest on a lease that was over; nil: 0
	Idle      func()        // called when the commands that came together have been executed; nil: nothing is
	Log       *slog.Logger  // nil: none
}

// forwardSweep is the time between looks for commands that are over, and for nodes that have started anew.
const forwardSweep = 50 * time.Millisecond

// NewForwarder begins to serve peers.
func NewForwarder(config ForwarderConfig) *Forwarder {
	f := &Forwarder{config: config, log: config.Log}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	f.closing, f.close = context.WithCancel(context.Background())
	f.links.byNode.Store(&map[core.NodeID]*forwardLink{})
	f.streams.from = map[core.Member]*forwardStream{}
	config.Transport.Handle(Forward, f.serve)
	f.running.Go(f.sweep)
	return f
}

// Forward has another node execute a command. done is called exactly once, on any goroutine, perhaps before Forward returns, and
// at the latest a forwardSweep after c.Timeout is over; it must not wait, nor call Close. Commands to one node arrive in the order
// of the calls. c and its Args are read before Forward returns, and not kept.
func (f *Forwarder) Forward(to core.NodeID, c *Forwarded, done func(Answer)) {
	f.Queue(to, c, done)
	f.Flush()
}

// Flush has what was queued sent.
func (f *Forwarder) Flush() {
	for _, l := range *f.links.byNode.Load() {
		l.flush()
	}
}

// Queue is Forward, but for waking who sends: that takes longer than to write a command down, so it is done once for many, by Flush.
func (f *Forwarder) Queue(to core.NodeID, c *Forwarded, done func(Answer)) {
	table := f.config.Table()
	l := (*f.links.byNode.Load())[to]
	if l == nil || l.known.Load() != table {
		l = f.linkBy(table, to)
	}
	if l != nil && c.Timeout > 0 && l.add(c, done, f.config.Now()) {
		return
	}
	done(Answer{Outcome: NotExecuted, Version: table.Version})
}

// takesForwards tells whether commands may be sent to a node. A fenced one leads nothing: what waits for it is to go elsewhere, and of
// what it was sent nobody will know more.
func takesForwards(n *core.Node) bool { return n != nil && n.Status != core.Fenced }

// linkBy returns the link to the incarnation of a node that a table shows, and notes that this table has been asked; nil as link.
func (f *Forwarder) linkBy(table *core.Table, to core.NodeID) *forwardLink {
	n := table.Node(to)
	if !takesForwards(n) {
		return nil
	}
	l := (*f.links.byNode.Load())[to]
	if l == nil || l.to.Inc != n.Inc {
		l = f.link(to)
	}
	if l != nil && l.to.Inc == n.Inc {
		l.known.Store(table)
	}
	return l
}

// link returns the link to the present incarnation of a node, having made it where there is none. It returns nil where the table
// does not know the node, or has it fenced, or the forwarder is closed.
func (f *Forwarder) link(to core.NodeID) *forwardLink {
	f.links.Lock()
	defer f.links.Unlock()
	n := f.config.Table().Node(to) // under the lock, so that nobody with an older table brings an older incarnation back
	if !takesForwards(n) || f.links.closed {
		return nil
	}
	links := *f.links.byNode.Load()
	if l := links[to]; l != nil && l.to == n.Member() {
		return l
	}
	l := newForwardLink(f, n.Member())
	links = maps.Clone(links)
	if old := links[to]; old != nil {
		f.running.Go(old.end) // not here: it calls whoever waits
	}
	links[to] = l
	f.links.byNode.Store(&links)
	f.running.Go(l.run)
	return l
}

// sweep ends the commands that are over, and links to incarnations that the table knows no more, or has fenced.
func (f *Forwarder) sweep() {
	ticker := time.NewTicker(forwardSweep)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-f.closing.Done():
			return
		}
		table := f.config.Table()
		for node, l := range *f.links.byNode.Load() {
			if n := table.Node(node); !takesForwards(n) || n.Member() != l.to {
				f.forget(l)
			}
			l.sweep(f.config.Now())
			l.flush()
		}
	}
}

// forget ends a link.
func (f *Forwarder) forget(l *forwardLink) {
	f.links.Lock()
	if links := *f.links.byNode.Load(); links[l.to.Node] == l {
		links = maps.Clone(links)
		delete(links, l.to.Node)
		f.links.byNode.Store(&links)
	}
	f.links.Unlock()
	l.end()
}

// Close ends all streams, and all commands: those that were not sent are not executed, of the others nobody knows. It waits until
// nothing runs, Execute neither.
func (f *Forwarder) Close() {
	f.links.Lock()
	f.links.closed = true
	links := *f.links.byNode.Load()
	f.links.Unlock()
	f.streams.Lock()
	f.streams.closed = true
	f.streams.Unlock()
	f.close()
	f.config.Transport.stopKind(Forward)
	for _, l := range links {
		l.end()
	}
	f.running.Wait()
}
