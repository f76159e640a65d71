package server

import (
	"time"

	"github.com/neargrid/neargrid/partition"
)

// Router is what a server asks of the grid around it. Where Options has none the node is alone: every key is here, and what is
// executed is committed. Its methods may be called from any goroutine.
type Router interface {
	// Topology is the newest that this node knows of, never nil. It is not to be changed; a newer one is another pointer.
	Topology() *Topology
	// Serves tells whether commands on a partition may be executed here at a time of the server's clock (Options.Clock), and
	// in which reign that would be. The partition's lock must be held. A command is executed only where it holds before its first
	// look at data, and what it has read is answered only where it still holds after the last (R9).
	Serves(partition int, at time.Duration) (reign uint64, ok bool)
	// ServesUntil is until when commands on a partition may be executed here, as far as is known at a time; 0 = not now.
	ServesUntil(partition int, at time.Duration) time.Duration
	// Writable tells whether enough copies are in sync to take writes (R13).
	Writable(partition int) bool
	// Await calls done once, on any goroutine, when what a reply rests on is committed, or with an error where that cannot be
	// known (R12, R14). It returns true, and never calls done, where it already is.
	Await(rests []Rest, done func(error)) bool
	// Committed tells whether Await would return true.
	Committed(rests []Rest) bool
	// Flush has what was executed since the last call sent to the other copies, and what was forwarded to where it goes. It is called
	// after each batch of commands.
	Flush()
	// Forward has another node execute a command, and calls done once, on any goroutine, perhaps before it returns; at the latest
	// when f.Timeout is over. Commands to one node arrive in the order of the calls, and are sent by Flush. f is Forward's until done is called.
	Forward(to NodeID, f *Forwarded, done func(Answer))
	// Admin runs a command of a person about the grid: see cmd_grid.go for the words. It may take long, but for "info", which is asked on
	// a session's loop. The reply is text.
	Admin(words []string) (string, error)
}

// Rest is what a reply rests on: a batch of a partition, in the reign in which the command was executed. It is the same type
// as the cluster's, which this package does not import.
type Rest = struct {
	partition.Seen
	Reign uint64
}

// NodeID names a node of the grid.
type NodeID string

// Topology is the grid as doors see it: one version of its table.
type Topology struct {
	Version uint64
	Self    NodeID
	Nodes   []GridNode   // by ID
	Parts   []Assignment // by partition
	// DataNodes counts the nodes that hold data or may get some. With one, a command may take any keys.
	DataNodes int
}

// GridNode is one node of a topology.
type GridNode struct {
	ID      NodeID
	Run     string // 40 hexadecimal digits of this start, as CLUSTER NODES shows ids: made from ID, the same at each start
	Client  string // host:port of the grid door; "" = none
	Cluster string // host:port of the cluster door; "" = none
	Peer    string // host:port of the peer port
	Zone    string
	Witness bool
	Fenced  bool // is not taking part now
}

// Assignment says who holds a partition.
type Assignment struct {
	Epoch   uint64
	Primary NodeID // "" = the partition is lost
	Backups []NodeID
}

// Forwarded is a command that another node is to execute (R23). It and Answer are the same types as the cluster's, which this package does
// not import.
type Forwarded = struct {
	Session   uint64 // of the sending node: its commands are executed in order; 0 = no order is asked for
	Partition int
	// First: none of the session's commands to the node is under way. A node that has refused a command refuses what the
	// session sends behind it, up to the next First; or that would overtake it.
	First   bool
	DB      int
	Resp    int           // 2 or 3
	Timeout time.Duration // that is left
	Kind    ForwardKind
	By      [2]uint64 // whose changes it makes, as an origin: its family and number; zero: nobody asks
	Args    [][]byte
}

// ForwardKind says what a forwarded command is.
type ForwardKind = uint8

const (
	ForwardCommand     ForwardKind = iota // Args are a command line
	ForwardWatch                          // Args are keys; the answer is a token for each (R25)
	ForwardExec                           // Args are a transaction, as encodeExec makes them (R25)
	ForwardWalk                           // Args are partitions, as encodeParts makes them, and a command line that walks those
	ForwardTracked                        // a ForwardCommand; what it reads is tracked for the sending node: see relay.go
	ForwardTrackedExec                    // a ForwardExec, the same
	ForwardRelay                          // Args are a question, the answer is what has changed of what is tracked for the node
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
