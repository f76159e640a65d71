package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/neargrid/neargrid/cluster/core"
)

const (
	stopPause   = 200 * time.Millisecond // between attempts to be marked as stopping
	stopAttempt = time.Second            // for one of them
)

// HandOver gives every partition that this node leads to another copy that is in sync, and has the node get none back (R22).
// Where there is no such copy yet it waits for one. It returns once nothing is left that somebody could take, or, when ctx ends,
// says how much is. Close is to follow; until then the node goes on to hold its backups.
//
// The lead of the control plane goes before Close, too: when the node ends, the others have to take its copies out of their ISRs, and
// until they have, what they execute is not committed. So somebody must lead then.
func (n *Node) HandOver(ctx context.Context) error {
	err := n.handOverPartitions(ctx)
	n.control.Load().PassLead()
	return err
}

func (n *Node) handOverPartitions(ctx context.Context) error {
	for {
		t, changed := n.watch()
		entry := t.Node(n.self.Node)
		if entry == nil || entry.Member() != n.self {
			return nil // it holds nothing
		}
		leads := t.Primaries()[n.self.Node]
		going := entry.Status != core.Alive
		if going && leads == 0 || !t.OthersLead(n.self) {
			return nil
		}
		if !going {
			n.askToStop(ctx)
		}
		if err := awaitChange(ctx, changed, stopPause); err != nil {
			return fmt.Errorf("hand over: %d partitions are left: %w", leads, err)
		}
	}
}

// askToStop has the table say that this node is about to end. Whether that came about, the table tells.
func (n *Node) askToStop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, stopAttempt)
	defer cancel()
	_, err := n.control.Load().Propose(ctx, core.Command{Kind: core.Stop, Member: n.self})
	if err != nil && ctx.Err() == nil {
		n.log.Info("hand over", "error", err)
	}
}

// awaitChange waits for a signal, or for a while.
func awaitChange(ctx context.Context, changed <-chan struct{}, limit time.Duration) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// Drain has everything moved off a node, its vote first of all, and then lets it leave the grid; it ends with ErrLeft there. Drain
// returns once that is agreed on: Status shows how far it is. A node that is down can be drained too, so that it is expected
// no more. Again is no error.
func (n *Node) Drain(ctx context.Context, id core.NodeID) error {
	return n.change(ctx, id, "drain", core.Drain, func(e *core.Node) bool { return e.Drains })
}

// Undrain takes back Drain, or HandOver.
func (n *Node) Undrain(ctx context.Context, id core.NodeID) error {
	return n.change(ctx, id, "undrain", core.Undrain, func(e *core.Node) bool { return !e.Drains && e.Status != core.Stopping })
}

// change has a command about a node carried out. Whether it is done already, the leader knows: the table here may be an old one.
func (n *Node) change(ctx context.Context, id core.NodeID, what string, kind core.CommandKind, done func(*core.Node) bool) error {
	for {
		t, changed := n.watch()
		e := t.Node(id)
		if e == nil {
			return fmt.Errorf("%s %s: %w", what, id, core.ErrUnknown)
		}
		_, err := n.control.Load().Propose(ctx, core.Command{Kind: kind, Member: e.Member()})
		if errors.Is(err, core.ErrUnknown) && !done(e) { // it is another by now, or done: a newer table will show which
			err = awaitChange(ctx, changed, proposeTimeout)
			if err == nil {
				continue
			}
		}
		if err != nil && !errors.Is(err, core.ErrUnknown) {
			return fmt.Errorf("%s %s: %w", what, id, err)
		}
		return nil
	}
}

// AcceptLoss has lost partitions begin anew, empty (R34): a person accepts that their data are gone, and has made sure that the
// starts in dead, which had them last, are off and stay so (R10). Nothing is done unless that is so of every partition.
func (n *Node) AcceptLoss(ctx context.Context, partitions []int, dead ...core.Member) error {
	t := n.Table()
	load := t.Primaries()
	var changes []core.Change
	for _, p := range partitions {
		c, err := acceptLoss(t, p, dead, load)
		if err != nil {
			return fmt.Errorf("accept the loss of partition %d: %w", p, err)
		}
		changes = append(changes, c)
	}
	if len(changes) == 0 {
		return nil
	}
	refused, err := n.control.Load().Propose(ctx, core.Command{Kind: core.ChangeRows, Changes: changes})
	if err != nil {
		return fmt.Errorf("accept the loss of %d partitions: %w", len(changes), err)
	}
	n.log.Warn("a person has accepted the loss of data", "partitions", partitions, "dead", dead, "refused", len(refused))
	var errs []error
	for i, reason := range refused {
		errs = append(errs, fmt.Errorf("partition %d: %s", changes[i].Partition, reason))
	}
	return errors.Join(errs...)
}

// acceptLoss is the change for one partition; the node that gets it has it counted in load.
func acceptLoss(t *core.Table, p int, dead []core.Member, load map[core.NodeID]int) (core.Change, error) {
	if p < 0 || p >= len(t.Rows) {
		return core.Change{}, fmt.Errorf("there are %d", len(t.Rows))
	}
	r := &t.Rows[p]
	switch {
	case r.State != core.Lost:
		return core.Change{}, fmt.Errorf("it is not lost: %s leads it", r.Primary)
	case !slices.Contains(dead, r.LastDropped):
		return core.Change{}, fmt.Errorf("%s had it last, and was not said to be off", r.LastDropped)
	}
	heir := t.LeastLeading(load)
	if heir.IsZero() {
		return core.Change{}, errors.New("no node can take it")
	}
	load[heir.Node]++
	return core.Change{Kind: core.Reset, Partition: p, Epoch: r.Epoch, Member: heir, Accepted: true}, nil
}
