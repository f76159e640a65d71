package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/neargrid/neargrid/cluster/core"
)

var (
	// ErrUnknownOutcome: a command may have been carried out, or may yet be.
	ErrUnknownOutcome = errors.New("it is not known whether the command was carried out")
	// ErrNoLeader: no leader took the command in time. It was not carried out.
	ErrNoLeader = errors.New("no leader of the control plane was found")
)

const (
	proposeTimeout      = 5 * time.Second // where the caller's context allows more
	proposeLaterTimeout = 2 * time.Second
	proposePause        = 50 * time.Millisecond // before another attempt to find the leader
	submitTimeout       = time.Second           // for raft to take an entry
	laterMax            = 2 * partitionsMax     // changes that wait; further ones are dropped
	laterBatchMax       = 4096                  // changes of one command
)

// RefusedError: the table's rules refused a command as a whole; nothing has changed. It wraps core.ErrStale, ErrUnknown or
// ErrRefused where one of them was the reason.
type RefusedError struct {
	Reason string
	cause  error
}

func (e *RefusedError) Error() string { return e.Reason }
func (e *RefusedError) Unwrap() error { return e.cause }

// Propose has the leader carry out a command, and returns once it is committed and applied there; refused says why single
// changes were not made. Other errors: a *RefusedError, ErrNoLeader, ErrUnknownOutcome, ErrEncoding. It takes 5 s at most.
func (c *ControlPlane) Propose(ctx context.Context, cmd core.Command) (refused map[int]string, err error) {
	return c.propose(ctx, cmd, true)
}

func (c *ControlPlane) propose(ctx context.Context, cmd core.Command, fresh bool) (refused map[int]string, err error) {
	b, err := appendCommand(nil, cmd)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	defer context.AfterFunc(c.closing, cancel)()
	var last error
	for ctx.Err() == nil {
		p, err := c.offerAround(ctx, b, fresh)
		switch {
		case err != nil && !errors.Is(err, errNotSent):
			return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		case err != nil:
			last = err
		case p.Status == proposalUnknown:
			return nil, ErrUnknownOutcome
		case p.Status == proposalBad:
			return nil, fmt.Errorf("%w: the leader cannot read the command", ErrEncoding)
		case p.Status == proposalDone && p.Reason != "":
			return nil, &RefusedError{p.Reason, refusalCauses[p.Cause]}
		case p.Status == proposalDone:
			return p.Refused, nil
		}
		pause(ctx, proposePause)
	}
	if last != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoLeader, last)
	}
	return nil, ErrNoLeader
}

// offerAround offers a command to whoever may lead, until one takes it. Who does not may know who does.
func (c *ControlPlane) offerAround(ctx context.Context, command []byte, fresh bool) (proposal, error) {
	if p := c.submit(command); p.Status != proposalNotTaken {
		return p, nil
	}
	var last error = errNotSent
	asked := map[string]bool{c.config.Transport.Addr().String(): true}
	todo := c.addresses()
	for len(todo) > 0 && len(asked) <= 2*addressesMax && ctx.Err() == nil {
		addr := todo[0]
		if todo = todo[1:]; asked[addr] {
			continue
		}
		asked[addr] = true
		p, err := c.links.propose(ctx, addr, fresh, command)
		switch {
		case errors.Is(err, errNotSent):
			last = err
			continue
		case err != nil || p.Status != proposalNotTaken:
			return p, err
		}
		if hint := p.Leader.Addr; hint != "" {
			todo = append([]string{hint}, todo...)
		}
	}
	return proposal{}, last
}

// submit answers a proposal: it goes into raft's log where this node leads.
func (c *ControlPlane) submit(command []byte) proposal {
	if !c.begin() {
		return proposal{Status: proposalNotTaken}
	}
	defer c.running.Done()
	return c.submitLocally(command)
}

// submitLocally is submit for work that is counted already.
func (c *ControlPlane) submitLocally(command []byte) proposal {
	if c.raft.State() != raft.Leader {
		return proposal{Status: proposalNotTaken, Leader: *c.leader.Load()}
	}
	if _, err := parseCommand(command); err != nil {
		return proposal{Status: proposalBad} // it must not enter the log: it would stop every node that cannot read it (R27)
	}
	future := c.raft.Apply(command, submitTimeout)
	switch err := future.Error(); {
	case err == nil:
		return proposalOf(future.Response().(outcome))
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return proposal{Status: proposalNotTaken, Leader: *c.leader.Load()}
	default:
		return proposal{Status: proposalUnknown}
	}
}

func proposalOf(o outcome) proposal {
	p := proposal{Status: proposalDone, Refused: o.refused}
	if o.err != nil {
		p.Reason = o.err.Error()
		for i, cause := range refusalCauses {
			if cause != nil && errors.Is(o.err, cause) {
				p.Cause = uint8(i)
			}
		}
	}
	return p
}

// ProposeLater has changes of rows proposed soon, together with others'. It does not wait, and nobody says what became of them
// but the table: who still wants a change that was lost proposes it again.
func (c *ControlPlane) ProposeLater(changes []core.Change) {
	defer signal(c.laterNews)
	c.later.Lock()
	defer c.later.Unlock()
	for _, change := range changes {
		if _, queued := c.later.queued[change]; queued {
			continue
		}
		if len(c.later.changes) == laterMax {
			return
		}
		if c.later.queued == nil {
			c.later.queued = map[core.Change]struct{}{}
		}
		c.later.queued[change] = struct{}{}
		c.later.changes = append(c.later.changes, change)
	}
}

func (c *ControlPlane) anyLater() bool {
	c.later.Lock()
	defer c.later.Unlock()
	return len(c.later.changes) > 0
}

// takeLater returns the changes that have waited longest.
func (c *ControlPlane) takeLater() []core.Change {
	c.later.Lock()
	defer c.later.Unlock()
	n := min(len(c.later.changes), laterBatchMax)
	batch := c.later.changes[:n:n]
	c.later.changes = append([]core.Change(nil), c.later.changes[n:]...)
	for _, change := range batch {
		delete(c.later.queued, change)
	}
	return batch
}

// laterGather is how long changes wait for others, so that those of one event are one command. Commands of clients wait as long where
// a partition is handed over or a copy is gone.
const laterGather = 2 * time.Millisecond

// flush proposes what ProposeLater has gathered, one command at a time, while there is a leader. It does not wait for a tick: a handover
// that did kept clients waiting for up to a third of a second.
func (l *controlLoop) flush() {
	c := l.c
	if id, _ := c.Leader(); l.flushing || id == "" || !c.anyLater() {
		return
	}
	l.flushing = true
	l.spawn(func() func() {
		ctx, cancel := context.WithTimeout(c.closing, proposeLaterTimeout)
		defer cancel()
		pause(ctx, laterGather)
		batch := c.takeLater()
		refused, err := c.propose(ctx, core.Command{Kind: core.ChangeRows, Changes: batch}, false)
		if err != nil || len(refused) > 0 {
			c.log.Debug("propose changes", "changes", len(batch), "refused", refused, "error", err)
		}
		return func() {
			l.flushing = false
			l.flush()
		}
	})
}

// describeCommand is a command for the log.
func describeCommand(cmd core.Command) string {
	switch cmd.Kind {
	case core.ChangeRows:
		return fmt.Sprintf("%d changes, first: %s of partition %d, %s", len(cmd.Changes), cmd.Changes[0].Kind, cmd.Changes[0].Partition, cmd.Changes[0].Member)
	case core.FenceNode:
		return "fence " + cmd.Member.String()
	case core.Leave:
		return "let go " + cmd.Member.String()
	case core.SetFeature:
		return fmt.Sprintf("raise the feature level to %d", cmd.Feature)
	}
	return fmt.Sprintf("command %d", cmd.Kind)
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
