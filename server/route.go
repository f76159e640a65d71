package server

import (
	"slices"
	"strconv"
	"time"

	"github.com/neargrid/neargrid/partition"
	"github.com/neargrid/neargrid/protocol"
)

// Answers of the grid. Those that begin with a word on which clients retry always mean that the command was not executed (R14).
const (
	errLost          = "CLUSTERDOWN The partition is lost: all nodes that had it are gone. 'neargrid recover' says what can be done"
	errNotServed     = "CLUSTERDOWN The partition has no node that serves it at present"
	errNoReplicas    = "NOREPLICAS Not enough copies are in sync to take writes"
	errUnconfirmed   = "TRYAGAIN The partition has changed hands, and what was read is not confirmed"
	errIndeterminate = "INDETERMINATE Executed, and not known to be held by all copies: it may be lost"
	errCrossSlot     = "CROSSSLOT Keys in request don't hash to the same slot; what is in {braces} alone counts: give them one such hash tag"
)

const (
	// commandTimeMax bounds how long a command may look for a node that executes it.
	commandTimeMax = 4500 * time.Millisecond
	// commitTimeMin is what is left for a commit where a command took all its time to find its node: then all of answerTimeMax is over.
	// How long looking may take without being taken off is lookTimeSlack.
	commitTimeMin = 500 * time.Millisecond
	answerTimeMax = commandTimeMax + commitTimeMin
	lookTimeSlack = 100 * time.Millisecond
	// The pause before a command that was refused is tried again doubles from the least to the most.
	retryPauseMin = time.Millisecond
	retryPauseMax = 20 * time.Millisecond
)

// place executes a command where its data is: on this loop if that is possible at once, otherwise as a task.
func (s *Session) place(c *Call) {
	if c.srv.upstream != nil {
		s.placeAway(c)
		return
	}
	row := c.Row
	switch {
	case row.Name == "exec" && row.container == nil:
		s.placeExec(c)
	case row.Name == "watch" && s.multi != nil: // refused, whoever has the keys
		c.parts, c.located = c.parts[:0], true
		c.call()
	case row.walks():
		s.placeWalk(c)
	case len(row.Keys) > 0:
		s.placeKeys(c)
	case row.OffLoop:
		s.runOffLoop(c)
	default:
		c.parts, c.located = c.parts[:0], row.Scope == ScopeKeys
		c.call()
	}
}

// walks tells whether a command is about all keys of a database.
func (r *Row) walks() bool {
	return r.Scope != ScopeKeys && r.Flags&(ReadOnly|Write) != 0 && len(r.Keys) == 0
}

// placeKeys places a command that has keys.
func (s *Session) placeKeys(c *Call) {
	top := c.srv.router.Topology()
	c.parts = c.addPartitions(c.parts[:0], c.Row, c.Args)
	owner, text := top.owner(c.parts)
	if len(c.keys) > 1 && (top.DataNodes > 1 || s.info.Cluster) && !oneSlot(c.Args, c.keys) {
		switch gathers := c.Row.Gather != nil && !s.info.Cluster; {
		case !gathers:
			s.reject(c, errCrossSlot)
			return
		case text != "" || owner != top.Self || s.travels.count > 0:
			s.gather(c)
			return
		}
	}
	if c.Row.Scope == ScopeAll && top.DataNodes == 1 {
		c.parts = top.all(c.parts[:0]) // its patterns may name any key
	}
	switch {
	case text != "":
		s.reject(c, text)
		return
	case owner != top.Self && s.info.Cluster:
		s.reject(c, top.moved(owner, c.Args[c.keys[0]]))
		return
	case owner == top.Self && !c.Row.OffLoop && !s.travels.with(c.parts):
		if top.DataNodes > 1 && !c.roomFor(s.grows(c.Row)) {
			s.reject(c, protocol.ErrOOM)
			return
		}
		start := len(c.W.Buf)
		c.located = true
		if c.call() {
			s.noteWrote(c)
			s.awaitCommit(c, start)
			return
		}
		if c.Row.Gather != nil && !s.info.Cluster && len(c.parts) > 1 {
			s.gather(c) // one of its partitions may be about to go elsewhere
			return
		}
	}
	if c.Row.Name == "watch" {
		s.placeWatch(c, owner)
		return
	}
	s.send(c, c.newTask(ForwardCommand, cloneArgs(c.Args), c.parts), owner)
}

// refuseMoved refuses a command that is to be queued at the cluster door where its keys are not this node's, as Redis Cluster does.
func (s *Session) refuseMoved(c *Call) bool {
	top := c.srv.router.Topology()
	c.parts = c.addPartitions(c.parts[:0], c.Row, c.Args)
	if len(c.keys) == 0 {
		return false
	}
	owner, text := top.owner(c.parts)
	switch {
	case !oneSlot(c.Args, c.keys):
		text = errCrossSlot
	case text == "" && owner != top.Self:
		text = top.moved(owner, c.Args[c.keys[0]])
	}
	if text != "" {
		s.reject(c, text)
	}
	return text != ""
}

// oneSlot tells whether the keys of a command, by position, are all of one slot.
func oneSlot(args [][]byte, keys []int) bool {
	slot := partition.Slot(args[keys[0]])
	for _, at := range keys[1:] {
		if partition.Slot(args[at]) != slot {
			return false
		}
	}
	return true
}

// owner is the one node that leads all of some partitions. Where there is none, text says why.
func (t *Topology) owner(parts []int) (owner NodeID, text string) {
	if len(parts) == 0 {
		return t.Self, ""
	}
	owner = t.Parts[parts[0]].Primary
	for _, p := range parts {
		switch primary := t.Parts[p].Primary; {
		case primary == "":
			return "", errLost
		case primary != owner:
			return "", errCrossSlot
		}
	}
	return owner, ""
}

// all appends every partition.
func (t *Topology) all(parts []int) []int {
	for p := range t.Parts {
		parts = append(parts, p)
	}
	return parts
}

// Node is a node of the topology, or nil.
func (t *Topology) Node(id NodeID) *GridNode {
	i, found := slices.BinarySearchFunc(t.Nodes, id, func(n GridNode, id NodeID) int {
		switch {
		case n.ID < id:
			return -1
		case n.ID > id:
			return 1
		}
		return 0
	})
	if !found {
		return nil
	}
	return &t.Nodes[i]
}

// moved is the cluster door's answer for a key of another node (R26).
func (t *Topology) moved(owner NodeID, key []byte) string {
	n := t.Node(owner)
	if n == nil || n.Cluster == "" {
		return errNotServed
	}
	return "MOVED " + strconv.Itoa(partition.Slot(key)) + " " + n.Cluster
}
